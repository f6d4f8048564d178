/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/node.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "supervisor/base/log.h"
#include "supervisor/base/wait_status.h"
#include "supervisor/manager.h"
#include "supervisor/order.h"
#include "supervisor/orphan.h"
#include "supervisor/spawn.h"

/* How much later than TimeoutStopSec= a keeper may be with its last word, and how long it may
 * live on after that. */
#define STOP_MARGIN_USEC (5 * USEC_PER_SEC)
/* How long a keeper may live on after it has closed its socket. */
#define EOF_MARGIN_USEC (1 * USEC_PER_SEC)
/* Messages read in one go: one busy keeper must not starve the others. */
#define DRAIN_MAX 64
/* A keeper that crashes at once must not make PID 1 spin, whatever RestartSec= says. */
#define CRASH_RESTART_MIN_USEC (100 * USEC_PER_MSEC)

static const char *const active_states[_NODE_STATE_MAX] = {
	[NODE_DEAD] = "inactive",
	[NODE_START_PRE] = "activating",
	[NODE_START] = "activating",
	[NODE_RUNNING] = "active",
	[NODE_STOP_SIGTERM] = "deactivating",
	[NODE_STOP_SIGKILL] = "deactivating",
	[NODE_AUTO_RESTART] = "activating",
	[NODE_FAILED] = "failed",
};

const char *node_active_state(const struct node *n)
{
	return active_states[n->state];
}

/* --- timers and watchers --------------------------------------------------------------------- */

static void timer_arm(struct node *n, ev_timer *t, usec_t after)
{
	/* No loop: a unit test, which has no time either. */
	if (!n->manager->loop)
		return;
	ev_timer_stop(n->manager->loop, t);
	if (after == USEC_INFINITY)
		return;
	/* libev counts from the start of this turn of the loop: count from now. */
	ev_now_update(n->manager->loop);
	ev_timer_set(t, (double)after / USEC_PER_SEC, 0.);
	ev_timer_start(n->manager->loop, t);
}

static void timer_disarm(struct node *n, ev_timer *t)
{
	if (n->manager->loop)
		ev_timer_stop(n->manager->loop, t);
}

static void watch(struct node *n, int events)
{
	struct ev_loop *loop = n->manager->loop;

	if (!loop)
		return;
	ev_io_stop(loop, &n->control_io);
	if (events == 0)
		return;
	ev_io_set(&n->control_io, n->control_fd, events);
	ev_io_start(loop, &n->control_io);
}

static void on_stop_timer(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct node *n = w->data;

	if (n->keeper_pid == 0)
		return;
	log_node(LOG_ERR, n->id, "the keeper (%d) is late: killing it", (int)n->keeper_pid);
	/* The node's process becomes ours with the keeper's death, and is killed then: until
	 * then its number is known from hearsay only. */
	n->keeper_killed = true;
	kill(n->keeper_pid, SIGKILL);
}

static void on_restart_timer(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct node *n = w->data;
	const char *name = NULL;
	struct job *j;
	int r;

	if (n->state != NODE_AUTO_RESTART)
		return;
	if (n->job) {
		/* The start that the crash interrupted is still under way: it tries again. */
		n->job->state = JOB_WAITING;
		manager_kick(n->manager);
		return;
	}
	r = manager_add_job(n->manager, JOB_START, n, "replace", &j, &name);
	if (r < 0)
		node_fail(n, RESULT_RESOURCES, "cannot be restarted: %s", strerror(-r));
}

static void send_stop(struct node *n)
{
	const struct keeper_msg msg = {.type = KEEPER_REQ_STOP};
	int r = keeper_send(n->control_fd, &msg);

	n->stop_unsent = r == -EAGAIN;
	if (r == -EAGAIN)
		watch(n, EV_READ | EV_WRITE);
	else if (r < 0)
		log_node(LOG_DEBUG, n->id, "cannot ask the keeper to stop: %s", strerror(-r));
}

static void on_control(_unused_ struct ev_loop *loop, ev_io *w, int revents)
{
	struct node *n = w->data;

	if (n->stop_unsent && (revents & EV_WRITE)) {
		watch(n, EV_READ);
		send_stop(n);
	}
	if ((revents & EV_READ) && !node_drain(n)) {
		watch(n, 0);
		/* Its end comes by SIGCHLD as a rule; see that it does. */
		timer_arm(n, &n->stop_timer, EOF_MARGIN_USEC);
	}
}

/* --- life of the struct ---------------------------------------------------------------------- */

struct node *node_new(struct manager *m, const char *id, const char *fragment_path)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->manager = m;
	n->control_fd = -1;
	n->load_state = "error";
	n->id = strdup(id);
	n->fragment_path = strdup(fragment_path);
	ev_init(&n->control_io, on_control);
	ev_init(&n->stop_timer, on_stop_timer);
	ev_init(&n->restart_timer, on_restart_timer);
	n->control_io.data = n->stop_timer.data = n->restart_timer.data = n;
	if (!n->id || !n->fragment_path) {
		node_free(n);
		return NULL;
	}
	return n;
}

void node_free(struct node *n)
{
	watch(n, 0);
	timer_disarm(n, &n->stop_timer);
	timer_disarm(n, &n->restart_timer);
	closep(&n->control_fd);
	order_clear(n);
	if (n->unit)
		unit_free(n->unit);
	free(n->id);
	free(n->fragment_path);
	free(n->probes);
	free(n->load_error);
	free(n);
}

/* --- state ----------------------------------------------------------------------------------- */

static void log_state(const struct node *n)
{
	char pid[16];
	const char *const fields[] = {"STATE", node_state_to_string(n->state), "RESULT",
		node_result_to_string(n->report.result), "MAIN_PID", pid, NULL};
	int level = n->state == NODE_FAILED                             ? LOG_ERR
		    : n->state == NODE_RUNNING || n->state == NODE_DEAD ? LOG_INFO
									: LOG_DEBUG;

	snprintf(pid, sizeof(pid), "%d", (int)n->report.main_pid);
	if (n->report.detail[0])
		log_fields(level, n->id, fields, "%s: %s", node_state_to_string(n->state),
			n->report.detail);
	else
		log_fields(level, n->id, fields, "%s", node_state_to_string(n->state));
}

void node_set_state(struct node *n, enum node_state s)
{
	struct manager *m = n->manager;

	if (n->state == s)
		return;
	n->state = s;
	log_state(n);
	if (node_is_down(n)) {
		/* Twins do not outlive their node; the counters stay for who asks later. */
		n->twin.state = TWIN_NONE;
		n->twin.n_generations = 0;
		memset(n->twin.pids, 0, sizeof(n->twin.pids));
		if (m->events.twin_changed)
			m->events.twin_changed(n, m->events_userdata);
	}
	if (m->events.node_changed)
		m->events.node_changed(n, m->events_userdata);
	n->fate_news = true;
	manager_kick(m);
}

void node_fail(struct node *n, enum node_result result, const char *fmt, ...)
{
	va_list ap;

	n->report.result = result;
	n->report.main_pid = 0;
	va_start(ap, fmt);
	vsnprintf(n->report.detail, sizeof(n->report.detail), fmt, ap);
	va_end(ap);
	if (n->state == NODE_FAILED) /* failed anew, for another reason */
		log_state(n);
	node_set_state(n, NODE_FAILED);
	n->report.state = NODE_FAILED;
}

/* --- start and stop -------------------------------------------------------------------------- */

/* How Restart= sees a keeper that could not be started or has crashed ("resources"). */
static bool wants_restart(const struct unit *u)
{
	switch (u->restart) {
	case RESTART_ON_FAILURE:
	case RESTART_ON_ABNORMAL:
	case RESTART_ALWAYS:
		return true;
	default:
		return false;
	}
}

static bool crash_limit_hit(struct node *n)
{
	usec_t now = now_usec();

	if (n->unit->start_limit_interval == 0 || n->unit->start_limit_burst == 0)
		return false;
	if (n->n_crashes == 0 || now - n->crash_window_start > n->unit->start_limit_interval) {
		n->crash_window_start = now;
		n->n_crashes = 0;
	}
	return ++n->n_crashes > n->unit->start_limit_burst;
}

/* The node has failed for want of a keeper: once more, where the unit says so. */
static void plan_restart(struct node *n)
{
	if (!wants_restart(n->unit))
		return;
	if (crash_limit_hit(n)) {
		node_fail(n, RESULT_START_LIMIT_HIT, "its keepers fail too often");
		return;
	}
	node_set_state(n, NODE_AUTO_RESTART);
	timer_arm(n, &n->restart_timer, MAX2(n->unit->restart_sec, CRASH_RESTART_MIN_USEC));
}

int node_start(struct node *n)
{
	const struct keeper_state_report last = n->report;
	int r;

	timer_disarm(n, &n->restart_timer);
	n->want_up = true;
	n->keeper_killed = n->stop_unsent = false;
	n->n_bad_messages = 0;
	n->status_text[0] = '\0';
	n->n_watchdog_starved = 0;
	n->twin = (struct keeper_twin_report){0};
	n->checkpoint_realtime = 0;
	if (n->probes) /* what they said was of the last run */
		memset(n->probes, 0, n->n_probes * sizeof(*n->probes));
	n->report = (struct keeper_state_report){.exec_start = last.exec_start,
		.exec_exit = last.exec_exit,
		.exit_code = last.exit_code,
		.exit_status = last.exit_status};
	r = keeper_spawn(n, &n->keeper_pid, &n->control_fd);
	if (r < 0) {
		node_fail(n, RESULT_RESOURCES, "cannot start a keeper: %s", strerror(-r));
		plan_restart(n);
		return r;
	}
	watch(n, EV_READ);
	log_node(LOG_DEBUG, n->id, "keeper %d started", (int)n->keeper_pid);
	node_set_state(n, n->unit->n_exec_start_pre > 0 ? NODE_START_PRE : NODE_START);
	return 0;
}

void node_stop(struct node *n)
{
	usec_t limit = n->unit ? n->unit->timeout_stop_usec : 0;
	bool asked = n->keeper_pid != 0 && !n->want_up;

	n->want_up = false;
	timer_disarm(n, &n->restart_timer);
	if (n->keeper_pid == 0) {
		if (!node_is_down(n))
			node_set_state(n, NODE_DEAD);
		/* Else nothing changes, but somebody may wait for just that. */
		manager_kick(n->manager);
		return;
	}
	if (asked)
		return;
	send_stop(n);
	timer_arm(n, &n->stop_timer,
		limit >= USEC_INFINITY - STOP_MARGIN_USEC ? USEC_INFINITY
							  : limit + STOP_MARGIN_USEC);
}

void node_expect_keeper_end(struct node *n)
{
	timer_arm(n, &n->stop_timer, STOP_MARGIN_USEC);
}

int node_send_request(struct node *n, const struct keeper_msg *msg)
{
	int r;

	if (n->control_fd < 0)
		return -ESRCH;
	if (n->n_requests >= ELEMENTSOF(n->requests))
		return -EBUSY;
	r = keeper_send(n->control_fd, msg);
	if (r == -EAGAIN)
		return -EBUSY;
	if (r < 0)
		return r;
	n->requests[n->n_requests++] = msg->serial;
	return 0;
}

bool node_drain(struct node *n)
{
	struct keeper_msg msg;

	for (unsigned i = 0; i < DRAIN_MAX && n->control_fd >= 0; i++) {
		int r = keeper_recv(n->control_fd, &msg);

		if (r == -EAGAIN)
			return true;
		if (r == 0 || (r < 0 && r != -EBADMSG))
			return false;
		if (r > 0)
			node_handle_message(n, &msg);
		else if (n->n_bad_messages++ < NODE_BAD_MESSAGES_LOGGED_MAX)
			log_node(LOG_ERR, n->id, "the keeper sent what is no message of ours");
	}
	return true;
}

/* --- the end of a keeper --------------------------------------------------------------------- */

static void answer_all(struct node *n, int error, const char *text)
{
	struct manager *m = n->manager;
	struct keeper_reply reply = {.error = error};

	snprintf(reply.text, sizeof(reply.text), "%s", text);
	while (n->n_requests > 0) {
		uint64_t serial = n->requests[--n->n_requests];
		if (m->events.node_reply)
			m->events.node_reply(n, serial, &reply, m->events_userdata);
	}
}

/* The keeper went without a last word. */
static void keeper_crashed(struct node *n, pid_t keeper, const struct wait_event *e)
{
	char why[64];

	if (e->kind == WAIT_EXITED)
		snprintf(why, sizeof(why), "exited with status %d", e->exit_status);
	else
		snprintf(why, sizeof(why), "died of signal %d (%s)", e->signal,
			sigabbrev_np(e->signal) ? sigabbrev_np(e->signal) : "?");
	orphan_take(n);
	if (!n->want_up) {
		node_fail(n, n->keeper_killed ? RESULT_TIMEOUT : RESULT_RESOURCES,
			"keeper %d %s while stopping", (int)keeper, why);
		return;
	}
	node_fail(n, RESULT_RESOURCES, "keeper %d %s", (int)keeper, why);
	plan_restart(n);
}

void node_keeper_ended(struct node *n, const struct wait_event *e)
{
	pid_t keeper = n->keeper_pid;

	/* The last word may still be in the socket. Bounded: nobody writes any more. */
	while (n->control_fd >= 0 && node_drain(n)) {
		struct pollfd p = {.fd = n->control_fd, .events = POLLIN};
		if (poll(&p, 1, 0) <= 0)
			break;
	}
	watch(n, 0);
	timer_disarm(n, &n->stop_timer);
	closep(&n->control_fd);
	n->control_fd = -1;
	n->keeper_pid = 0;
	answer_all(n, -ECONNRESET, "the keeper has ended");
	if (!node_is_down(n))
		keeper_crashed(n, keeper, e);
	else {
		if (wait_si_status(e) != 0)
			log_node(LOG_WARNING, n->id, "keeper %d ended badly after its last word",
				(int)keeper);
		orphan_take(n); /* a last word with a process left is no last word */
	}
	if (n->manager->events.node_changed)
		n->manager->events.node_changed(n, n->manager->events_userdata);
	manager_kick(n->manager);
}

void node_orphan_ended(struct node *n)
{
	n->orphan_pid = 0;
	manager_kick(n->manager);
}
