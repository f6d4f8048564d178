/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/reap.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "supervisor/base/log.h"
#include "supervisor/base/wait_status.h"
#include "supervisor/shutdown.h"

/* Thousands of orphans may end at once: between so many, others get their turn. */
#define ENDS_A_TURN 1024u

static void dispatch(struct manager *m, pid_t pid, const struct wait_event *e)
{
	log_debug("reaped %d: %s %d", (int)pid, wait_kind_to_string(e->kind), wait_si_status(e));
	for (struct node *n = m->nodes; n; n = n->next) {
		if (n->keeper_pid == pid)
			return node_keeper_ended(n, e);
		if (n->orphan_pid == pid)
			return node_orphan_ended(n);
	}
}

enum reaped { REAPED_ALL, REAPED_LAST, REAPED_SOME };

/* REAPED_LAST: there is no child left at all; REAPED_SOME: there may be more to reap. */
static enum reaped reap_some(struct manager *m, unsigned max)
{
	for (unsigned i = 0; i < max; i++) {
		struct wait_status s;
		struct wait_event e;
		/* __WALL: a twin's exit signal is 0, which a plain wait passes over. */
		pid_t pid = waitpid(-1, &s.raw, __WALL | WNOHANG);

		if (pid == 0)
			return REAPED_ALL;
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0)
			return REAPED_LAST;
		/* Nothing is traced by us: only ends are reported. */
		e = wait_classify(s, false);
		if (wait_is_end(&e))
			dispatch(m, pid, &e);
	}
	return REAPED_SOME;
}

bool reap_drain(struct manager *m)
{
	enum reaped r;

	while ((r = reap_some(m, ENDS_A_TURN)) == REAPED_SOME)
		;
	return r != REAPED_LAST;
}

bool reap_is_child(pid_t pid)
{
	siginfo_t si;

	if (pid <= 0)
		return false;
	return waitid(P_PID, (id_t)pid, &si, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

static void on_sigchld(_unused_ struct ev_loop *loop, ev_signal *w, _unused_ int revents)
{
	struct manager *m = w->data;

	/* As if the signal had come once more: in the loop's next turn. */
	if (reap_some(m, ENDS_A_TURN) == REAPED_SOME)
		ev_feed_signal(SIGCHLD);
	if (m->shutdown)
		shutdown_check(m);
}

void reap_start(struct manager *m)
{
	ev_signal_init(&m->sigchld, on_sigchld, SIGCHLD);
	m->sigchld.data = m;
	ev_signal_start(m->loop, &m->sigchld);
	/* Children that we were executed with may have ended before there was a handler. */
	reap_drain(m);
}

void reap_stop(struct manager *m)
{
	ev_signal_stop(m->loop, &m->sigchld);
}
