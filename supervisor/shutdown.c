/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/shutdown.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "supervisor/base/log.h"
#include "supervisor/job.h"
#include "supervisor/reap.h"

#define TERM_SEC 5.0
#define KILL_SEC 2.0
/* Who was sent in from outside ends without a SIGCHLD for us: it has to be looked for. */
#define LOOK_SEC 0.1
#define SIGNALLED_MAX 256
/* The inode of the initial pid namespace is fixed in the kernel (PROC_PID_INIT_INO). */
#define INITIAL_PID_NAMESPACE_INODE 0xEFFFFFFCU

enum phase { PHASE_NODES, PHASE_TERM, PHASE_KILL, PHASE_DONE, _PHASE_MAX };

static const char *const phase_names[_PHASE_MAX] = {
	[PHASE_NODES] = "stopping the nodes",
	[PHASE_TERM] = "terminating what is left",
	[PHASE_KILL] = "killing what is left",
	[PHASE_DONE] = "done",
};

struct shutdown {
	enum phase phase;
	ev_timer timer; /* the limit of the phase */
	ev_timer look;
	/* Children that have had their SIGTERM: a second one hurries some programs. Beyond
	 * this number they get only SIGKILL. */
	pid_t signalled[SIGNALLED_MAX];
	size_t n_signalled;
};

static void advance(struct manager *m, enum phase phase);

/* --- what remains ---------------------------------------------------------------------------- */

static bool is_pid1(void)
{
	return getpid() == 1;
}

static bool anything_remains(struct manager *m)
{
	bool children = reap_drain(m);
	/* Not all of a namespace need be children of its init: some were sent in from outside. */
	return children || (is_pid1() && kill(-1, 0) == 0);
}

static bool signal_once(struct shutdown *s, pid_t pid)
{
	for (size_t i = 0; i < s->n_signalled; i++)
		if (s->signalled[i] == pid)
			return false;
	if (s->n_signalled == ELEMENTSOF(s->signalled))
		return false;
	s->signalled[s->n_signalled++] = pid;
	return true;
}

/* Children only, and only by a number that cannot be a stranger's. */
static void signal_children(struct shutdown *s, int sig)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;

	if (!proc) {
		log_error("cannot find children that remain: /proc: %m");
		return;
	}
	while ((e = readdir(proc))) {
		pid_t pid = isdigit((unsigned char)e->d_name[0]) ? atoi(e->d_name) : 0;

		if (!reap_is_child(pid) || (sig == SIGTERM && !signal_once(s, pid)))
			continue;
		log_debug("signal %d to %d", sig, (int)pid);
		kill(pid, sig);
	}
	closedir(proc);
}

static void signal_remaining(struct shutdown *s, int sig)
{
	if (!is_pid1())
		signal_children(s, sig);
	else if (sig == SIGKILL || signal_once(s, -1))
		kill(-1, sig);
}

/* --- phases ---------------------------------------------------------------------------------- */

static bool nodes_remain(const struct manager *m)
{
	for (const struct node *n = m->nodes; n; n = n->next)
		if (!node_is_settled(n))
			return true;
	return false;
}

static void log_late_nodes(const struct manager *m)
{
	for (const struct node *n = m->nodes; n; n = n->next)
		if (!node_is_settled(n))
			log_node(LOG_ERR, n->id, "not stopped in time");
}

static void on_timer(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct manager *m = w->data;

	log_error("shutdown: time is up while %s", phase_names[m->shutdown->phase]);
	if (m->shutdown->phase == PHASE_NODES)
		log_late_nodes(m);
	advance(m, m->shutdown->phase + 1);
}

static void on_look(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	shutdown_check(w->data);
}

static void start_looking(struct manager *m)
{
	ev_timer *t = &m->shutdown->look;

	if (!is_pid1() || ev_is_active(t))
		return;
	ev_timer_set(t, LOOK_SEC, LOOK_SEC);
	ev_timer_start(m->loop, t);
}

static void set_timer(struct manager *m, double seconds)
{
	ev_timer *t = &m->shutdown->timer;

	ev_timer_stop(m->loop, t);
	ev_now_update(m->loop);
	ev_timer_set(t, seconds, 0.);
	ev_timer_start(m->loop, t);
}

static void advance(struct manager *m, enum phase phase)
{
	struct shutdown *s = m->shutdown;

	s->phase = phase;
	log_debug("shutdown: %s", phase_names[phase]);
	switch (phase) {
	case PHASE_TERM:
		set_timer(m, TERM_SEC);
		start_looking(m);
		break;
	case PHASE_KILL:
		set_timer(m, KILL_SEC);
		break;
	case PHASE_DONE:
		ev_timer_stop(m->loop, &s->timer);
		ev_timer_stop(m->loop, &s->look);
		ev_break(m->loop, EVBREAK_ALL);
		return;
	default:
		break;
	}
	shutdown_check(m);
}

void shutdown_check(struct manager *m)
{
	struct shutdown *s = m->shutdown;

	if (s->phase == PHASE_DONE)
		return;
	if (s->phase == PHASE_NODES) {
		if (!nodes_remain(m))
			advance(m, PHASE_TERM);
		return;
	}
	if (!anything_remains(m)) {
		advance(m, PHASE_DONE);
		return;
	}
	/* Each death may have left us new children. */
	signal_remaining(s, s->phase == PHASE_TERM ? SIGTERM : SIGKILL);
}

void shutdown_begin(struct manager *m, const char *why)
{
	/* There is one manager a process, and there must be a way down without memory too. */
	static struct shutdown the_shutdown;

	if (m->shutdown) {
		log_notice("%s again: no more waiting for nodes", why);
		if (m->shutdown->phase == PHASE_NODES)
			advance(m, PHASE_TERM);
		return;
	}
	log_notice("%s: shutting down", why);
	the_shutdown = (struct shutdown){.phase = PHASE_NODES};
	m->shutdown = &the_shutdown;
	ev_init(&m->shutdown->timer, on_timer);
	ev_init(&m->shutdown->look, on_look);
	m->shutdown->timer.data = m->shutdown->look.data = m;
	set_timer(m, (double)m->shutdown_timeout / USEC_PER_SEC);
	manager_set_state(m, SYSTEM_STOPPING);
	jobs_stop_all(m);
}

void shutdown_free(struct manager *m)
{
	if (!m->shutdown)
		return;
	ev_timer_stop(m->loop, &m->shutdown->timer);
	ev_timer_stop(m->loop, &m->shutdown->look);
	m->shutdown = NULL;
}

/* --- the end --------------------------------------------------------------------------------- */

bool is_real_init(void)
{
	struct stat st;

	if (!is_pid1())
		return false;
	/* Without /proc nobody knows: rather hang than panic. */
	return stat("/proc/self/ns/pid", &st) < 0 || st.st_ino == INITIAL_PID_NAMESPACE_INODE;
}

void shutdown_finish(struct manager *m)
{
	if (!is_real_init())
		return;
	log_notice("all is stopped; the system can be halted");
	shutdown_free(m);
	for (;;)
		ev_run(m->loop, 0);
}
