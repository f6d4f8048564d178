/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/prober/check.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "supervisor/base/log.h"

static const struct check_ops *const kinds[_KIND_MAX] = {
	[KIND_PING] = &check_ping,
	[KIND_TOPIC] = &check_topic,
	[KIND_TCP] = &check_tcp,
	[KIND_HTTP] = &check_http,
	[KIND_DBUS] = &check_dbus,
	[KIND_EXEC] = &check_exec,
	[KIND_PROGRESS] = &check_progress,
	[KIND_RESOURCE] = &check_resource,
};

static double seconds(usec_t t)
{
	return (double)t / USEC_PER_SEC;
}

static void again_in(struct check *c, usec_t delay)
{
	ev_now_update(c->prober->loop);
	ev_timer_stop(c->prober->loop, &c->timer);
	ev_timer_set(&c->timer, seconds(delay), 0.);
	ev_timer_start(c->prober->loop, &c->timer);
}

static void look(const struct check *c, struct starvation_look *node, struct starvation_look *self)
{
	starvation_look(&c->prober->node, c->prober->frozen, true, node);
	starvation_look(&c->prober->self, 0, false, self);
}

/* The look is over: the next one begins an interval after this one began. */
static void finish(struct check *c)
{
	usec_t next = c->begun + c->interval, now = now_usec();

	c->under_way = false;
	ev_timer_stop(c->prober->loop, &c->timeout);
	again_in(c, next > now ? next - now : 0);
}

static void send_report(struct check *c, bool good, bool starved, const char *detail)
{
	struct prober_report r = {
		.version = PROBER_VERSION,
		.index = c->index,
		.pid = c->prober->pid,
		.good = good,
		.starved = starved,
		.begun = c->begun,
		.at = now_usec(),
	};

	snprintf(r.detail, sizeof(r.detail), "%s", detail);
	/* A keeper that does not read them has better things to do. */
	(void)send(PROBER_SOCKET_FD, &r, sizeof(r), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void check_good(struct check *c)
{
	if (!c->under_way)
		return;
	finish(c);
	send_report(c, true, false, "");
}

void check_unknown(struct check *c)
{
	if (c->under_way)
		finish(c);
}

void check_bad(struct check *c, const char *fmt, ...)
{
	struct starvation_look node, self;
	char detail[POLLED_DETAIL_MAX];
	enum starvation s, own;
	usec_t more;
	va_list ap;
	size_t len;

	if (!c->under_way)
		return;
	va_start(ap, fmt);
	vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	finish(c);
	look(c, &node, &self);
	s = starvation_judge(&c->node, &node, 1, &more);
	own = starvation_judge(&c->self, &self, 1, &more);
	len = strlen(detail);
	if (s != STARVATION_NONE)
		snprintf(
			detail + len, sizeof(detail) - len, ", but it %s", starvation_to_string(s));
	else if (own != STARVATION_NONE)
		snprintf(detail + len, sizeof(detail) - len, ", but who looks %s",
			starvation_to_string(own));
	send_report(c, false, s != STARVATION_NONE || own != STARVATION_NONE, detail);
}

static void on_timeout(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct check *c = w->data;

	if (!c->under_way)
		return;
	if (c->ops->cancel)
		c->ops->cancel(c);
	check_bad(c, "no answer within %llu ms",
		(unsigned long long)(c->settings->timeout / USEC_PER_MSEC));
}

static void on_timer(struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct check *c = w->data;

	c->begun = now_usec();
	c->under_way = true;
	look(c, &c->node, &c->self);
	ev_timer_set(&c->timeout, seconds(c->settings->timeout), 0.);
	ev_timer_start(loop, &c->timeout);
	c->ops->begin(c);
}

void check_init(struct check *c, struct prober *p, unsigned index)
{
	const struct probe_settings *s = &p->unit->probes[index];
	int r;

	*c = (struct check){.settings = s,
		.prober = p,
		.index = index,
		.ops = kinds[s->kind],
		.interval = s->interval};
	if (!c->ops)
		return;
	ev_init(&c->timer, on_timer);
	ev_init(&c->timeout, on_timeout);
	/* An answer that is there as well as the end of its time counts as an answer. */
	ev_set_priority(&c->timeout, EV_MINPRI);
	c->timer.data = c->timeout.data = c;
	r = c->ops->init ? c->ops->init(c) : 0;
	if (r < 0) {
		log_node(LOG_ERR, p->unit->id, "probe %s cannot look: %s", s->name, strerror(-r));
		c->ops = NULL;
	}
}

void check_start(struct check *c)
{
	const struct probe_settings *s = c->settings;
	usec_t now = now_usec(), begin = c->prober->since + s->start_delay;

	if (!c->ops)
		return;
	check_stop(c);
	if (c->ops->restart)
		c->ops->restart(c);
	again_in(c, begin > now ? begin - now : 0);
}

void check_stop(struct check *c)
{
	if (!c->ops)
		return;
	if (c->under_way && c->ops->cancel)
		c->ops->cancel(c);
	c->under_way = false;
	ev_timer_stop(c->prober->loop, &c->timer);
	ev_timer_stop(c->prober->loop, &c->timeout);
}
