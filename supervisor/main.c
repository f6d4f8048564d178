/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twinit: PID 1 of a machine or a namespace, or child subreaper anywhere else. Here is only the
 * frame: what a process has to have before anything else, the loop, and the way out.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "config/unit.h"
#include "supervisor/base/log.h"
#include "supervisor/bus/bus.h"
#include "supervisor/manager.h"
#include "supervisor/options.h"
#include "supervisor/reap.h"
#include "supervisor/runtime_dir.h"
#include "supervisor/shutdown.h"

/* Descriptors 0 to 2 must be taken, or a socket of ours will become somebody's stderr. */
static void ensure_stdio(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		int got;

		if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
			continue;
		got = open("/dev/null", O_RDWR);
		/* No /dev yet: a place-holder that neither reads nor writes. */
		if (got < 0)
			got = open("/", O_PATH);
		if (got >= 0 && got != fd) {
			dup2(got, fd);
			close(got);
		}
	}
}

static void mask_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(how, &set, NULL);
}

static void prepare_process(void)
{
	ensure_stdio();
	umask(022);
	/* What comes before its watcher is there waits for it instead of ending us, or, sent to a
	 * PID 1 without a handler, being lost. */
	mask_signals(SIG_BLOCK);
	/* A log's reader that went away must be an error code, not our death; and a terminal
	 * that goes away is no reason to stop robots. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		log_error("cannot become subreaper: %m");
}

static int take_lock(const char *runtime_dir)
{
	pid_t holder = 0;
	int r = runtime_dir_lock(runtime_dir, &holder);

	if (r == -EBUSY) {
		log_error("%s: in use by another twinit (process %d); give this one a "
			  "--runtime-dir= of its own",
			runtime_dir, (int)holder);
		/* An init of the real system may not leave, whatever it finds. */
		return is_real_init() ? 0 : r;
	}
	if (r < 0)
		log_warning("%s/lock: %s; nothing keeps a second twinit away", runtime_dir,
			strerror(-r));
	return 0;
}

static int take_options(struct manager *m, struct options *o)
{
	int r;

	if (asprintf(&m->notify_dir, "%s/notify", o->runtime_dir) < 0) {
		m->notify_dir = NULL;
		return -ENOMEM;
	}
	r = runtime_dir_make(m->notify_dir);
	/* Without it no node of Type=notify can start, but the others can. */
	if (r < 0)
		log_error("%s: %s", m->notify_dir, strerror(-r));
	if (asprintf(&m->crash_dir, "%s/crash", o->state_dir) < 0) {
		m->crash_dir = NULL;
		return -ENOMEM;
	}
	/* It is made by who first writes there: PID 1 does not wait for a disk. */
	r = take_lock(o->runtime_dir);
	if (r < 0)
		return r;
	m->unit_path = STEAL_PTR(o->unit_path);
	m->keeper_path = STEAL_PTR(o->keeper_path);
	m->shutdown_timeout = o->shutdown_timeout;
	if (access(m->keeper_path, X_OK) < 0)
		log_error("keeper %s: %m", m->keeper_path);
	return 0;
}

static void on_stop_signal(_unused_ struct ev_loop *loop, ev_signal *w, _unused_ int revents)
{
	shutdown_begin(w->data, w->signum == SIGTERM ? "SIGTERM" : "SIGINT");
}

static int run(struct ev_loop *loop, struct options *o)
{
	static ev_signal on_term, on_int;
	_cleanup_(manager_freep) struct manager *m = NULL;
	struct bus *bus = NULL;
	int r = manager_new(loop, &m);

	if (r < 0 || (r = take_options(m, o)) < 0)
		return r;
	ev_signal_init(&on_term, on_stop_signal, SIGTERM);
	ev_signal_init(&on_int, on_stop_signal, SIGINT);
	on_term.data = on_int.data = m;
	ev_signal_start(loop, &on_term);
	ev_signal_start(loop, &on_int);
	reap_start(m);
	mask_signals(SIG_UNBLOCK);
	/* What cannot be loaded was logged; the rest is started all the same. */
	r = manager_load_units(m);
	if (r < 0)
		m->start_incomplete = true;
	if (!o->no_bus && (r = bus_open(m, o->bus_address, &bus)) < 0)
		log_error("no bus: %s", strerror(-r));
	manager_begin(m, o->start);
	ev_run(loop, 0);
	bus_close(bus);
	shutdown_finish(m);
	reap_stop(m);
	ev_signal_stop(loop, &on_term);
	ev_signal_stop(loop, &on_int);
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct ev_loop *loop;
	int r;

	log_open("twinit");
	prepare_process();
	r = options_parse(argc, argv, &o);
	if (r < 0 || o.done) {
		options_clear(&o);
		return r < 0 ? 2 : 0;
	}
	/* Never the default loop: its SIGCHLD handler would reap for itself. */
	loop = ev_loop_new(EVFLAG_AUTO);
	r = loop ? run(loop, &o) : -ENOMEM;
	if (r < 0)
		log_error("cannot run: %s", strerror(-r));
	options_clear(&o);
	if (loop)
		ev_loop_destroy(loop);
	return r < 0 ? 1 : 0;
}
