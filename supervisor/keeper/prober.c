/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper's end of twinit-prober: started with the first run of a unit that needs it, told what
 * to look at, heard. Nothing here waits; see probes/prober/prober.h. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "supervisor/keeper/helper.h"
#include "supervisor/keeper/keeper.h"

#define START_AGAIN 1.0 /* seconds, after it has ended */
#define REPORTS_A_TURN 64

static void order(struct keeper *k, enum prober_order_type type, usec_t at, usec_t length)
{
	struct prober_order o = {.version = PROBER_VERSION,
		.type = type,
		.pid = k->main_pid,
		.at = at,
		.length = length,
		.before = k->prober.before};

	if (k->prober.fd >= 0)
		(void)send(k->prober.fd, &o, sizeof(o), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void take_report(struct keeper *k, struct prober_report *r)
{
	struct probe_event e = {.type = PROBE_EVENT_OBSERVED, .at = r->at, .good = r->good};

	r->detail[sizeof(r->detail) - 1] = '\0';
	e.detail = r->detail;
	/* A look that began before the swap has seen the dead. */
	if (r->version != PROBER_VERSION || r->pid != k->main_pid || r->begun < k->probes.started ||
		r->at > now_usec())
		return;
	probes_observed(k, r->index, &e, r->starved);
}

static void lose(struct keeper *k)
{
	struct prober_host *p = &k->prober;

	ev_io_stop(k->loop, &p->io);
	close(STEAL_FD(p->fd));
	if (k->done)
		return;
	log_node(LOG_WARNING, k->unit->id, "twinit-prober ended, starting it again");
	ev_timer_set(&p->again, START_AGAIN, 0.);
	ev_timer_start(k->loop, &p->again);
}

static void on_report(_unused_ struct ev_loop *loop, ev_io *w, _unused_ int revents)
{
	struct keeper *k = w->data;
	struct prober_report r;
	ssize_t n = 0;

	for (unsigned i = 0; i < REPORTS_A_TURN && k->prober.fd >= 0; i++) {
		n = recv(k->prober.fd, &r, sizeof(r), MSG_DONTWAIT);
		if (n != (ssize_t)sizeof(r))
			break;
		take_report(k, &r);
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		lose(k);
}

static int launch(struct keeper *k)
{
	char id[96], path[PATH_MAX + 16], level[32];
	char *argv[] = {NULL, id, path, level, NULL};
	_cleanup_close_ int text = -1, ours = -1, theirs = -1;
	int fds[2], r;

	text = helper_unit_text(k->unit);
	if (text < 0)
		return text;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -errno;
	ours = fds[0];
	theirs = fds[1];
	snprintf(id, sizeof(id), "--id=%s", k->unit->id);
	snprintf(path, sizeof(path), "--unit-path=%s", k->unit->path);
	snprintf(level, sizeof(level), "--log-level=%d", log_level());
	r = helper_spawn("twinit-prober", argv, (const int[]){theirs, text}, 2);
	if (r < 0)
		return r;
	k->prober.fd = STEAL_FD(ours);
	ev_io_set(&k->prober.io, k->prober.fd, EV_READ);
	ev_io_start(k->loop, &k->prober.io);
	return 0;
}

static void start(struct keeper *k)
{
	int r = launch(k);

	if (r < 0) {
		log_node(LOG_ERR, k->unit->id, "cannot start twinit-prober: %s", strerror(-r));
		ev_timer_set(&k->prober.again, START_AGAIN, 0.);
		ev_timer_start(k->loop, &k->prober.again);
		return;
	}
	if (k->probes.on)
		order(k, PROBER_RUN, k->probes.started, 0);
}

static void on_again(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	start(w->data);
}

void prober_init(struct keeper *k)
{
	struct prober_host *p = &k->prober;

	p->fd = -1;
	for (size_t i = 0; i < k->unit->n_probes; i++)
		p->needed |= !probe_kind_is_marked(k->unit->probes[i].kind);
	for (size_t i = 0; i < k->unit->n_probes; i++)
		p->wants_signs |= k->unit->probes[i].kind == KIND_PROGRESS;
	ev_init(&p->io, on_report);
	ev_init(&p->again, on_again);
	p->io.data = p->again.data = k;
}

void prober_run(struct keeper *k)
{
	if (!k->prober.needed)
		return;
	if (k->prober.fd < 0 && !ev_is_active(&k->prober.again)) {
		/* Not in the caller's turn: the node may have just been given back. */
		ev_timer_set(&k->prober.again, 0., 0.);
		ev_timer_start(k->loop, &k->prober.again);
		return;
	}
	order(k, PROBER_RUN, k->probes.started, 0);
}

void prober_pause(struct keeper *k)
{
	order(k, PROBER_PAUSE, 0, 0);
}

void prober_before_freeze(struct keeper *k)
{
	struct prober_host *p = &k->prober;

	p->freeze_begun = now_usec();
	p->before.at = 0;
	if (p->wants_signs && p->fd >= 0 && signs_take(k->main_pid, &p->before) < 0)
		p->before.at = 0; /* it is ending */
}

void prober_after_freeze(struct keeper *k)
{
	usec_t now = now_usec();

	order(k, PROBER_FROZEN, now, now - k->prober.freeze_begun);
}

void prober_done(struct keeper *k)
{
	/* It reads the end of the file, and ends. */
	if (k->prober.fd >= 0)
		close(STEAL_FD(k->prober.fd));
}
