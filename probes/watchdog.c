/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/watchdog.h"

#include "probes/notify.h"

static struct watchdog *of_probe(struct probe *p)
{
	return (struct watchdog *)p; /* the probe is its first member */
}

static void start(struct probe *p, usec_t now)
{
	struct watchdog *w = of_probe(p);

	w->last = now;
	w->extended_until = 0;
	w->triggered = false;
	p->notice = w->period;
}

static void set_period(struct watchdog *w, usec_t period)
{
	/* The soft stage stays where it was in the period. */
	if (w->soft && w->period)
		w->soft = (usec_t)((double)w->soft / (double)w->period * (double)period);
	w->period = w->probe.notice = period;
}

static void event(struct probe *p, const struct probe_event *e)
{
	struct watchdog *w = of_probe(p);
	const struct notify_message *n = e->notify;

	if (e->type != PROBE_EVENT_NOTIFY)
		return;
	if (n->has_watchdog_usec) {
		set_period(w, n->watchdog_usec);
		w->last = MAX2(w->last, e->at);
	}
	if (n->watchdog) {
		probe_spoke(p, e->at);
		w->last = MAX2(w->last, e->at);
		w->extended_until = 0;
	}
	if (n->has_extend_timeout)
		w->extended_until = usec_after(e->at, n->extend_timeout_usec);
	p->since = w->last;
	if (n->watchdog_trigger) {
		w->triggered = true;
		p->notice = 0;
	}
}

static enum probe_verdict verdict(struct probe *p, usec_t now, usec_t *ret_again)
{
	const struct watchdog *w = of_probe(p);
	usec_t hard, soft;

	*ret_again = USEC_INFINITY;
	/* A node that asks for help is believed even where no period was set. */
	if (w->triggered)
		return PROBE_FAILED;
	if (w->period == 0 || w->period == USEC_INFINITY)
		return PROBE_IDLE;
	hard = MAX2(usec_after(w->last, w->period), w->extended_until);
	soft = w->soft ? MAX2(usec_after(w->last, w->soft), w->extended_until) : hard;
	if (now >= hard)
		return PROBE_FAILED;
	*ret_again = now >= soft ? hard : soft;
	return now >= soft ? PROBE_SUSPECT : PROBE_ALIVE;
}

static void excuse(struct probe *p, usec_t now, usec_t by)
{
	of_probe(p)->extended_until = usec_after(now, by);
}

static void describe(const struct probe *p, usec_t now, char *ret, size_t size)
{
	const struct watchdog *w = (const struct watchdog *)p;

	if (w->triggered)
		snprintf(ret, size, "the node said WATCHDOG=trigger");
	else
		snprintf(ret, size, "no WATCHDOG=1 for %llu ms",
			(unsigned long long)((now - w->last) / USEC_PER_MSEC));
}

static const struct probe_ops watchdog_ops = {
	.result = "watchdog",
	.start = start,
	.event = event,
	.verdict = verdict,
	.excuse = excuse,
	.describe = describe,
};

void watchdog_init(struct watchdog *w, usec_t period, usec_t soft)
{
	*w = (struct watchdog){
		.probe = {.ops = &watchdog_ops, .name = "watchdog", .notice = period},
		.period = period,
		.soft = soft,
	};
}
