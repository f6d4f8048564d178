/* SPDX-License-Identifier: Apache-2.0 */
/* What comes in from outside: requests of the supervisor, notifications of the node. */
#include <errno.h>
#include <string.h>

#include "supervisor/keeper/keeper.h"

#define NOTIFICATIONS_A_TURN 64   /* a chatterbox must not keep the keeper from its node */
#define NOTIFICATIONS_QUEUED 1024 /* more than a socket holds (net.unix.max_dgram_qlen) */
#define REFUSED_A_TURN 16u
#define NOTIFY_PAUSE 0.020 /* seconds */

static void take_notification(struct keeper *k, const struct notify_message *n, usec_t at)
{
	struct probe_event e = {.type = PROBE_EVENT_NOTIFY, .at = at, .notify = n};

	if (n->has_status) {
		struct keeper_msg m = {.type = KEEPER_MSG_STATUS};
		snprintf(m.text, sizeof(m.text), "%s", n->status);
		report_send(&k->report, &m);
	}
	if (n->has_errno)
		log_node(LOG_WARNING, k->unit->id, "reports error %d (%s)", n->error,
			strerror(n->error));
	if (n->main_pid && n->main_pid != k->main_pid)
		log_node(LOG_DEBUG, k->unit->id, "MAINPID=%d ignored", n->main_pid);
	if (n->reloading)
		log_node(LOG_DEBUG, k->unit->id, "reloads");
	if (n->stopping)
		k->leaving = true;
	if (n->has_extend_timeout && ev_is_active(&k->state_timer)) {
		double left = ev_timer_remaining(k->loop, &k->state_timer);
		if ((double)n->extend_timeout_usec / USEC_PER_SEC > left)
			guard_expire_in(k, n->extend_timeout_usec);
	}
	probes_event(k, &e);
	/* It speaks, so it was executed: that word must not be taken after this one. */
	if (n->ready && k->state == NODE_START)
		start_check_exec(k);
	if (n->ready)
		guard_dispatch(k, &(struct guard_input){.event = GUARD_READY});
}

/* false: there were too many that are to be refused. */
static bool read_notifications(struct keeper *k, unsigned max, unsigned max_refused)
{
	struct notify_message n;
	struct notify_peers p = {.access = k->unit->notify_access};
	unsigned refused = 0;

	for (unsigned i = 0; i < max && k->notify_fd >= 0; i++) {
		int r;

		p.active = k->main_pid; /* what was read may have changed it */
		p.session = k->group;
		r = notify_receive(k->notify_fd, &p, &n);

		if (r < 0)
			break;
		if (r == 0) {
			log_node(LOG_DEBUG, k->unit->id, "notification of process %d refused",
				p.sender);
			if (++refused >= max_refused)
				return false;
		} else if (k->main_pid > 0 && !k->done) {
			/* A worker that says so speaks of itself, and must not end the guarding. */
			n.stopping = n.stopping && p.sender == k->main_pid;
			take_notification(k, &n, p.at);
		}
	}
	return true;
}

void listen_read_all(struct keeper *k)
{
	(void)read_notifications(k, NOTIFICATIONS_QUEUED, UINT_MAX);
}

static void on_notify(struct ev_loop *loop, ev_io *w, _unused_ int revents)
{
	struct keeper *k = w->data;

	/* Any user may send, and who he is costs a walk through /proc in a real-time process. */
	if (read_notifications(k, NOTIFICATIONS_A_TURN, REFUSED_A_TURN)) {
		if (k->probes.news)
			probes_judge(k);
		return;
	}
	ev_io_stop(loop, w);
	ev_timer_set(&k->notify_pause, NOTIFY_PAUSE, 0.);
	ev_timer_start(loop, &k->notify_pause);
}

static void on_notify_pause(struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct keeper *k = w->data;

	ev_io_start(loop, &k->notify_io);
}

static void request_failover(struct keeper *k, uint64_t serial)
{
	guard_dispatch(k, &(struct guard_input){.event = GUARD_FAILOVER,
				  .seen = now_nsec(),
				  .cause = RESULT_REQUESTED,
				  .serial = serial});
}

static void request_drop(struct keeper *k, uint64_t serial)
{
	twin_drop_all(k->engine);
	if (k->arm.on)
		arm_start(&k->arm, k->unit->twin.interval);
	report_reply(&k->report, serial, 0, "twins dropped");
}

static void request_kill(struct keeper *k, uint64_t serial, int sig)
{
	int r = -ESRCH;

	if (sig < 1 || sig >= _NSIG)
		r = -EINVAL;
	else if (k->main_pid > 0)
		r = twin_kill(k->engine, sig);
	report_reply(&k->report, serial, r, r < 0 ? strerror(-r) : "sent");
}

static void take_request(struct keeper *k, const struct keeper_msg *m)
{
	switch (m->type) {
	case KEEPER_REQ_STOP:
		report_reply(&k->report, m->serial, 0, "stopping");
		guard_dispatch(k, &(struct guard_input){.event = GUARD_STOP});
		break;
	case KEEPER_REQ_CHECKPOINT:
		arm_request(&k->arm, m->serial);
		break;
	case KEEPER_REQ_FAILOVER:
		request_failover(k, m->serial);
		break;
	case KEEPER_REQ_DROP_TWIN:
		request_drop(k, m->serial);
		break;
	case KEEPER_REQ_KILL:
		request_kill(k, m->serial, m->signal);
		break;
	case KEEPER_REQ_RELOAD:
		reload_request(k, m->serial);
		break;
	default:
		log_node(LOG_WARNING, k->unit->id, "supervisor sent \"%s\", which is no request",
			keeper_msg_type_to_string(m->type));
		break;
	}
}

/* The supervisor is gone: the node needs its guard all the more. */
static void lose_supervisor(struct keeper *k)
{
	log_node(LOG_NOTICE, k->unit->id, "supervisor is gone, guarding on");
	ev_io_stop(k->loop, &k->control_io);
	report_close(&k->report);
	close(STEAL_FD(k->control_fd));
}

static void on_control(_unused_ struct ev_loop *loop, ev_io *w, _unused_ int revents)
{
	struct keeper *k = w->data;
	struct keeper_msg m;

	while (k->control_fd >= 0) {
		int r = keeper_recv(k->control_fd, &m);

		if (r == -EAGAIN)
			return;
		if (r == -EBADMSG)
			log_node(LOG_WARNING, k->unit->id, "unreadable message of the supervisor");
		else if (r <= 0)
			lose_supervisor(k);
		else
			take_request(k, &m);
	}
}

void listen_init(struct keeper *k)
{
	ev_io_init(&k->control_io, on_control, k->control_fd, EV_READ);
	ev_io_init(&k->notify_io, on_notify, MAX2(k->notify_fd, 0), EV_READ);
	ev_init(&k->notify_pause, on_notify_pause);
	k->notify_pause.data = k;
	k->control_io.data = k->notify_io.data = k;
	ev_io_start(k->loop, &k->control_io);
	if (k->notify_fd >= 0)
		ev_io_start(k->loop, &k->notify_io);
}
