/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All threads stopped at one moment: every one is asked first, then all are waited for. Anything
 * else that waitpid() tells meanwhile is put aside and handled after the thaw.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

/* PTRACE_O_TRACESYSGOOD, ptrace(2) */
#define SYSCALL_STOP_BIT 0x80

static volatile sig_atomic_t deadline_passed;

static void on_deadline(int sig)
{
	(void)sig;
	deadline_passed = 1;
}

/* The timer fires again and again: a signal that arrives just before waitpid() blocks must not
 * be the only one. */
void engine_deadline_set(struct twin_engine *e, nsec_t in)
{
	struct itimerspec its = {
		.it_value = {(time_t)(in / NSEC_PER_SEC), (long)(in % NSEC_PER_SEC)},
		.it_interval = {0, 10000000},
	};

	if (!e->deadline_timer_made) {
		struct sigaction sa = {.sa_handler = on_deadline};
		struct sigevent sev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 4};
		sigaction(sev.sigev_signo, &sa, NULL);
		if (timer_create(CLOCK_MONOTONIC, &sev, &e->deadline_timer) < 0)
			return;
		e->deadline_timer_made = true;
	}
	deadline_passed = 0;
	e->deadline_set = timer_settime(e->deadline_timer, 0, &its, NULL) == 0;
}

void engine_deadline_clear(struct twin_engine *e)
{
	struct itimerspec its = {0};

	if (e->deadline_set)
		timer_settime(e->deadline_timer, 0, &its, NULL);
	e->deadline_set = false;
	deadline_passed = 0;
}

pid_t engine_wait(pid_t pid, int *ret_raw)
{
	for (;;) {
		pid_t r;
		/* If it was we who were kept from running, what came is there all the same. */
		bool late = deadline_passed;
		r = waitpid(pid, ret_raw, late ? __WALL | WNOHANG : __WALL);
		if (r == 0 && late)
			return -ETIMEDOUT;
		if (r >= 0)
			return r;
		if (errno != EINTR)
			return -errno;
	}
}

/* Nobody has to wait for it in the stop under way. */
static bool is_left_alone(const struct thread *t)
{
	return t->rest.holds || t->let_be;
}

static unsigned count_running(struct twin_engine *e)
{
	unsigned n = 0;
	FOREACH_THREAD(e, t)
	{
		n += !t->stopped && !is_left_alone(t);
	}
	return n;
}

/* What came while we waited for the threads. true: one thread fewer is running. */
static bool note_stop(struct twin_engine *e, pid_t pid, int raw)
{
	struct thread *t = thread_find(e, pid);
	struct wait_event ev = wait_classify((struct wait_status){raw}, true);
	bool running = t && !t->stopped && !is_left_alone(t);

	if (!t && !wait_is_end(&ev) && proc_tgid(pid) == e->pid && (t = thread_add(e, pid))) {
		/* Born so recently that its creator's stop is yet to come: it was not counted. */
		t->stopped = true;
		t->stop = ev;
		return false;
	}
	if (!t) {
		engine_defer(e, pid, raw);
		return false;
	}
	if (wait_is_end(&ev)) {
		if (pid == e->pid)
			engine_defer(e, pid, raw);
		else
			thread_ended(e, t);
		return running;
	}
	t->stopped = true;
	t->stop = ev;
	t->mended = false;
	t->settled = ev.kind == WAIT_SYSCALL_STOP && partial_settle(e, t);
	/* "any trap clears pending STOP trap" (kernel/signal.c, ptrace_stop()): whatever the stop
	 * is, the interrupt may be gone with it. One too many does no harm. */
	t->asked = t->late = false;
	return running;
}

/* Ask one thread to stop; false when there is no such task (any more, or not yet seen to end). One
 * that sleeps on an idle processor takes 50 us and more to come; bound to ours for that moment it
 * takes 10, but it may be awake by now, and see that, or bind itself. */
static bool ask(struct twin_engine *e, struct thread *t)
{
	if (t->asked || ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) == 0) {
		t->asked = true;
		return true;
	}
	/* A zombie still has its end to be told by waitpid(). */
	return proc_tgid(t->tid) == e->pid;
}

void engine_note_late(struct twin_engine *e, int error)
{
	FOREACH_THREAD(e, t)
	{
		t->late = error == -EBUSY && !t->stopped;
	}
}

/* In the kernel for so long that it would not be waited for in vain again; proc(5), stat. */
bool thread_is_stuck(const struct twin_engine *e, const struct thread *t)
{
	char text[512];
	const char *p;

	if (!t->late || t->stopped ||
		proc_read(text, sizeof(text), "%d/task/%d/stat", e->pid, t->tid) <= 0)
		return false;
	p = strrchr(text, ')');
	return p && p[1] && p[2] == 'D';
}

/* All others are gone then, and whoever called exec tells nothing more under its old number. */
static bool is_at_exec(struct twin_engine *e, pid_t pid)
{
	const struct thread *t = pid == e->pid ? thread_find(e, pid) : NULL;

	return t && t->stopped && t->stop.kind == WAIT_PTRACE_EVENT &&
	       t->stop.event == PTRACE_EVENT_EXEC;
}

static int stop_threads(struct twin_engine *e, bool for_good)
{
	unsigned running = 0;

	for (unsigned i = 0; i < e->n_threads;) {
		struct thread *t = e->threads[i];
		if (!t->stopped && !t->let_be && !ask(e, t)) {
			thread_remove(e, t); /* another takes its slot */
			continue;
		}
		t->rest.holds = for_good && !t->stopped && rest_holds(t);
		running += !t->stopped && !is_left_alone(t);
		i++;
	}
	engine_deadline_set(e, e->config.freeze_deadline);
	while (running > 0) {
		int raw;
		pid_t pid = engine_wait(-1, &raw);

		if (pid == -ETIMEDOUT) {
			FOREACH_THREAD(e, t)
			{
				if (!t->stopped && !is_left_alone(t))
					return engine_fail(e, -EBUSY,
						"thread %d did not stop in time", t->tid);
			}
		}
		if (pid < 0)
			return engine_fail(e, pid, "waiting for the threads: %s", strerror(-pid));
		if (note_stop(e, pid, raw))
			running--;
		else
			running = count_running(e); /* one may have been added */
		if (is_at_exec(e, pid))
			return engine_fail(e, -EAGAIN, "it executes another program");
		if (e->n_deferred > 0 && e->deferred[e->n_deferred - 1].pid == e->pid)
			return engine_fail(e, -ESRCH, "the process is ending");
	}
	engine_deadline_clear(e);
	return 0;
}

int engine_stop_all(struct twin_engine *e)
{
	return stop_threads(e, false);
}

int engine_stop_for_good(struct twin_engine *e)
{
	return stop_threads(e, true);
}

/* Act on where a thread was found; it goes on, if it may. */
static void handle_stop(struct twin_engine *e, const struct thread *t)
{
	int sig = t->stop.signal | (t->stop.kind == WAIT_SYSCALL_STOP ? SYSCALL_STOP_BIT : 0);

	engine_handle(e, t->tid, t->stop.event << 16 | sig << 8 | 0x7f);
}

static struct thread *find_busy(struct twin_engine *e)
{
	FOREACH_THREAD(e, t)
	{
		if (t->stop.kind != WAIT_INTERRUPT_STOP && !t->settled)
			return t;
	}
	return NULL;
}

/* Of a program that gets signals or makes threads all the time there is always one at such a
 * stop. It has its signal, while the others stand, and is stopped right behind that. */
#define BUSY_MAX 32

int engine_freeze(struct twin_engine *e)
{
	nsec_t until = now_nsec() + e->config.freeze_deadline;

	for (unsigned i = 0;; i++) {
		struct thread *t;
		int r = engine_stop_all(e);

		if (r < 0)
			return r;
		t = find_busy(e);
		if (!t)
			return 0;
		if (i < BUSY_MAX && now_nsec() < until && !e->fatal_tid &&
			(t->stop.kind == WAIT_SIGNAL_STOP ||
				(t->stop.kind == WAIT_PTRACE_EVENT &&
					t->stop.event == PTRACE_EVENT_CLONE)))
			handle_stop(e, t);
		if (t->stopped)
			return engine_fail(e, -EAGAIN, "thread %d is at a %s", t->tid,
				wait_kind_to_string(t->stop.kind));
	}
}

/* Let all go that stand where we put them; then act on what else was seen meanwhile. */
void engine_thaw(struct twin_engine *e)
{
	struct thread *others[16];
	unsigned n_others = 0;
	bool more;

	engine_deadline_clear(e);
	FOREACH_THREAD(e, t)
	{
		if (!t->stopped || (t->stop.kind != WAIT_INTERRUPT_STOP && !t->settled))
			continue;
		/* A freeze that was given up half-way has broken calls all the same. */
		if (!t->mended) {
			restart_mend_stopped(e, t, false);
			if (arch_get_regs(t->tid, &t->regs) < 0)
				continue; /* dead: its end is on the way */
		}
		if (partial_begin(e, t, &t->regs) && arch_set_regs(t->tid, &t->regs) < 0)
			continue;
		thread_go_on(t, 0);
	}
	do {
		/* Handling may change the table, so collect first. */
		n_others = 0;
		more = false;
		FOREACH_THREAD(e, t)
		{
			if (!t->stopped || t->tid == e->fatal_tid || t->second_fatal)
				continue;
			if (n_others < ELEMENTSOF(others))
				others[n_others++] = t;
			else
				more = true;
		}
		for (unsigned i = 0; i < n_others; i++) {
			struct thread *t = others[i];
			if (t->used && t->stopped)
				handle_stop(e, t);
		}
	} while (more && n_others > 0);
	for (unsigned i = 0; i < e->n_deferred; i++)
		engine_handle(e, e->deferred[i].pid, e->deferred[i].raw);
	e->n_deferred = 0;
}
