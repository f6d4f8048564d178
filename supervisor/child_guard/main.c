/* SPDX-License-Identifier: Apache-2.0 */
/* twinit-child-guard: see child_guard.h. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>

#include "supervisor/base/log.h"
#include "supervisor/child_guard/child_guard.h"
#include "supervisor/keeper/arm.h"
#include "supervisor/keeper/guardian.h"
#include "supervisor/keeper/policy.h"
#include "supervisor/twin/procfs.h"

struct options {
	const char *id, *unit_path;
	pid_t child, parent;
	unsigned long long started;
};

struct guard {
	struct options o;
	struct unit *unit;
	struct twin_engine *engine;
	int child_fd; /* SIGCHLD */
	struct ladder ladder;
	bool armed; /* and told */
	bool stopped, done;
	/* the round under way, as arm.h says */
	bool searching;
	unsigned looks, forced, refusals;
	usec_t next, round_began, window_end;
};

static void tell(enum child_word word, struct child_report r, const char *text)
{
	r.version = CHILD_GUARD_VERSION;
	r.word = word;
	snprintf(r.text, sizeof(r.text), "%s", text);
	/* The keeper may be gone, or behind; neither keeps us from guarding. */
	(void)send(CHILD_GUARD_SOCKET_FD, &r, sizeof(r), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void refuse(struct guard *g, const char *why)
{
	tell(CHILD_REFUSED, (struct child_report){0}, why);
	g->done = true;
}

/* --- checkpoints ---------------------------------------------------------------------------- */

static void end_round(struct guard *g, usec_t interval)
{
	g->searching = false;
	g->next = MAX2(g->round_began + interval, now_usec() + ARM_RETRY);
}

static void skip(struct guard *g, int error, const char *why)
{
	log_node(LOG_DEBUG, g->o.id, "child %d: checkpoint skipped: %s", g->o.child, why);
	/* Once may be a moment of its life, or of its death; twice is what it is. */
	g->refusals = error == -ENOTSUP ? g->refusals + 1 : 0;
	if (g->refusals >= 2 && !g->armed) {
		refuse(g, why);
		return;
	}
	end_round(g, g->refusals >= 2 ? ARM_BACK_OFF : MIN2(g->unit->twin.interval, ARM_SKIPPED));
}

static void checkpoint(struct guard *g)
{
	struct twin_checkpoint c;
	const char *why;
	bool force;
	int r;

	if (!g->searching) {
		g->searching = true;
		g->looks = g->forced = 0;
		g->round_began = now_usec();
		g->window_end = g->round_began + g->unit->twin.quiet_window;
	}
	if (g->stopped) {
		skip(g, -EBUSY, "stopped by a signal");
		return;
	}
	force = now_usec() >= g->window_end && g->looks >= ARM_LOOKS;
	r = twin_checkpoint(g->engine, force, &c);
	if (r == -EAGAIN && (!force || g->forced++ < ARM_FORCED)) {
		g->looks++;
		g->next = now_usec() + ARM_RETRY;
		return;
	}
	if (r < 0) {
		why = twin_reason(g->engine);
		skip(g, r, *why ? why : strerror(-r));
		return;
	}
	g->refusals = 0;
	if (!g->armed)
		tell(CHILD_ARMED, (struct child_report){0}, "");
	g->armed = true;
	log_node(LOG_DEBUG, g->o.id, "child %d: armed: twin %d, %u threads, frozen for %llu us%s",
		g->o.child, c.twin_pid, c.n_threads, (unsigned long long)(c.freeze / NSEC_PER_USEC),
		c.quiet ? ", quiet" : "");
	end_round(g, g->unit->twin.interval);
}

/* --- its end -------------------------------------------------------------------------------- */

static void let_die(struct guard *g, const struct twin_event *e, const char *why)
{
	twin_let_die(g->engine);
	/* A core dump may take seconds; connections must not stay open that long. */
	twin_drop_all(g->engine);
	if (why)
		tell(CHILD_LEFT_TO_DIE, (struct child_report){.signal = e->signal}, why);
}

/* NULL: *ret_generation is to take over; up to there nothing is told. "": it is as it should be. */
static const char *why_no_twin(struct guard *g, const struct twin_event *e, int *ret_generation)
{
	struct pollfd keeper = {.fd = CHILD_GUARD_SOCKET_FD, .events = POLLIN};
	pid_t parent;

	if (policy_is_clean_signal(e->signal))
		return "";
	/* Parents end their children in many ways, SIGABRT for the sake of a core file among them.
	 */
	parent = proc_parent(g->o.child);
	if (e->sender > 0 && (e->sender == parent || e->sender == g->o.parent))
		return "its parent sent it";
	/* Without the parent that it was guarded for it is nobody's, and may have been told so. */
	if (parent > 0 && parent != g->o.parent)
		return "its parent has ended";
	/* The node is being stopped, and the signal is a part of that. */
	if (poll(&keeper, 1, 0) > 0)
		return "its guard was called back";
	if (twin_count(g->engine) == 0)
		return g->ladder.last_swap ? "no twin was left" : "there was no twin yet";
	*ret_generation = ladder_failure(
		&g->ladder, twin_count(g->engine), g->unit->failover.stable, now_usec());
	return *ret_generation < 0 ? "the twins failed again at once, three times in a row" : NULL;
}

static void on_fatal(struct guard *g, const struct twin_event *e)
{
	struct twin_swap s;
	int generation, r;
	const char *why = why_no_twin(g, e, &generation);
	char text[TWIN_REASON_MAX];

	if (why) {
		let_die(g, e, *why ? why : NULL);
		return;
	}
	r = twin_swap(g->engine, (unsigned)generation, &s);
	if (r == 0) {
		ladder_swapped(&g->ladder, now_usec());
		g->searching = false;
		g->next = now_usec() + MIN2(ARM_AGAIN, g->unit->twin.interval);
		tell(CHILD_TOOK_OVER,
			(struct child_report){.signal = e->signal,
				.address = e->fault_address,
				.latency = s.latency,
				.rollback = s.rollback / NSEC_PER_USEC},
			s.lost);
		log_node(LOG_DEBUG, g->o.id, "child %d: rolled back: %s", g->o.child, s.why);
		return;
	}
	snprintf(text, sizeof(text), "%s", twin_reason(g->engine));
	if (r == -ENODATA) {
		let_die(g, e, text);
		return;
	}
	tell(CHILD_LEFT_TO_DIE, (struct child_report){.signal = e->signal}, text);
	tell(CHILD_ENDED, (struct child_report){.status = SIGKILL}, "");
	g->done = true;
}

static void on_event(struct guard *g, const struct twin_event *e)
{
	switch (e->type) {
	case TWIN_EVENT_FATAL:
		on_fatal(g, e);
		break;
	case TWIN_EVENT_EXITED:
		tell(CHILD_ENDED, (struct child_report){.status = e->status}, "");
		g->done = true;
		break;
	case TWIN_EVENT_EXEC:
		g->searching = false;
		g->next = now_usec() + g->unit->twin.interval;
		break;
	case TWIN_EVENT_TWIN_LOST: /* not at once: who killed it for memory's sake would again */
		if (!g->searching && twin_count(g->engine) == 0)
			g->next = now_usec() + MIN2(ARM_SKIPPED, g->unit->twin.interval);
		break;
	case TWIN_EVENT_STOPPED:
		g->stopped = true;
		break;
	case TWIN_EVENT_CONTINUED:
		g->stopped = false;
		break;
	case TWIN_EVENT_THREADS_ENDED: /* a matter of the node */
	case TWIN_EVENT_CHILD:         /* none is ours */
	case TWIN_EVENT_NONE:
		break;
	}
}

static void drain(struct guard *g)
{
	struct twin_event e;

	while (!g->done && (e = twin_next_event(g->engine)).type != TWIN_EVENT_NONE)
		on_event(g, &e);
}

/* --- the loop ------------------------------------------------------------------------------- */

static void wait_for_something(struct guard *g)
{
	struct pollfd fds[] = {
		{.fd = g->child_fd, .events = POLLIN},
		{.fd = twin_timer_fd(g->engine), .events = POLLIN},
		{.fd = CHILD_GUARD_SOCKET_FD, .events = POLLIN},
	};
	usec_t now = now_usec(), left = g->next > now ? g->next - now : 0;
	struct timespec timeout = {
		(time_t)(left / USEC_PER_SEC), (long)(left % USEC_PER_SEC * NSEC_PER_USEC)};
	struct signalfd_siginfo info;

	if (ppoll(fds, ELEMENTSOF(fds), &timeout, NULL) <= 0)
		return;
	if (fds[0].revents && read(g->child_fd, &info, sizeof(info)) < 0 && errno != EAGAIN)
		g->done = true;
	/* The keeper says nothing but its end. */
	if (fds[2].revents)
		g->done = true;
}

static void run(struct guard *g)
{
	while (!g->done) {
		drain(g);
		if (!g->done && twin_active_pid(g->engine) && now_usec() >= g->next) {
			checkpoint(g); /* it waits for threads, and may have eaten news of others */
			drain(g);
		}
		if (!g->done)
			wait_for_something(g);
	}
}

/* Seized, it keeps its number: now look whether it is the one that was meant. */
static bool is_meant(const struct options *o)
{
	char text[512];
	uint64_t parent, started;

	return proc_read(text, sizeof(text), "%d/stat", o->child) > 0 &&
	       proc_stat_field(text, CHILD_STAT_PARENT, &parent) == 0 &&
	       proc_stat_field(text, CHILD_STAT_STARTED, &started) == 0 &&
	       parent == (uint64_t)o->parent && started == o->started;
}

static int begin(struct guard *g)
{
	struct twin_config config = {.freeze_deadline = GUARDIAN_FREEZE_DEADLINE,
		.way = TWIN_WAY_IN_PLACE,
		.foster = true};
	sigset_t child;
	int r;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	g->child_fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (g->child_fd < 0)
		return -errno;
	r = guardian_read_unit(g->o.id, g->o.unit_path, CHILD_GUARD_UNIT_FD, &g->unit);
	if (r < 0 || !g->unit)
		return r < 0 ? r : -EINVAL;
	close(CHILD_GUARD_UNIT_FD);
	r = guardian_exclude(g->unit, &config);
	if (r < 0)
		return r;
	config.generations = MIN2(MAX2(g->unit->twin.generations, 1u), TWIN_GENERATIONS_MAX);
	r = twin_engine_new(&config, &g->engine);
	if (r < 0)
		return r;
	r = twin_attach_running(g->engine, g->o.child);
	/* It has ended meanwhile: no news. */
	if (r < 0 && (kill(g->o.child, 0) == 0 || errno == EPERM))
		refuse(g, twin_reason(g->engine));
	return r;
}

static bool parse_child(const char *text, struct options *o)
{
	int len = 0;

	return sscanf(text, "%d:%llu:%d%n", &o->child, &o->started, &o->parent, &len) == 3 &&
	       !text[len] && o->child > 0 && o->parent > 0;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
	enum { ID = 1, UNIT_PATH, LOG_LEVEL, CHILD };
	static const struct option known[] = {
		{"id", required_argument, NULL, ID},
		{"unit-path", required_argument, NULL, UNIT_PATH},
		{"log-level", required_argument, NULL, LOG_LEVEL},
		{"child", required_argument, NULL, CHILD},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) >= 0)
		switch (c) {
		case ID:
			o->id = optarg;
			break;
		case UNIT_PATH:
			o->unit_path = optarg;
			break;
		case LOG_LEVEL:
			log_set_level(atoi(optarg));
			break;
		case CHILD:
			if (!parse_child(optarg, o))
				return false;
			break;
		default:
			return false;
		}
	return o->id && o->unit_path && o->child > 0 && fcntl(CHILD_GUARD_SOCKET_FD, F_GETFD) >= 0;
}

int main(int argc, char **argv)
{
	static struct guard g = {.child_fd = -1};
	int r;

	log_open("twinit-child-guard");
	if (!parse_options(argc, argv, &g.o)) {
		fprintf(stderr, "twinit-child-guard is started by twinit-keeper\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	/* A terminal's Ctrl-C is for the supervisor, and the keeper says when to end. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	(void)close_range(CHILD_GUARD_SOCKET_FD, ~0u, CLOSE_RANGE_CLOEXEC);
	guardian_harden(g.o.id);
	r = begin(&g);
	if (r == 0 && g.unit && is_meant(&g.o))
		run(&g);
	else if (!g.done && (r == 0 || r == -ESRCH)) /* else it may be tried again, not for ever */
		tell(CHILD_ENDED, (struct child_report){0}, "");
	if (g.engine)
		twin_engine_free(g.engine);
	unit_freep(&g.unit);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
