/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process made out of a twin under ids that are free: the twin's template task, which stands
 * ready with all that is needed in its own memory, clones a new leader under the old pid, and that
 * one the threads. Nothing here allocates.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#define REAP_DEADLINE 2000000000ULL
#define BUILD_DEADLINE 2000000000ULL
#define STEPWISE_TRIES 200

/* Progress of a rebuild. */
struct build {
	struct twin_engine *e;
	struct twin *w;
	pid_t leader; /* wanted */
	bool leader_born, leader_done, template_done, waited;
	unsigned standing; /* threads at their first stop, the leader not counted */
	unsigned tries;
	unsigned template_traps;
	unsigned wrong_born, wrong_ended; /* by steered clones that missed */
};

/* The tracer's privilege stands in for a right that the node does not have. */
static int steer_pid(struct twin_engine *e, pid_t wanted)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", wanted - 1);

	if (e->ns_last_pid_fd < 0 || pwrite(e->ns_last_pid_fd, text, (size_t)n, 0) != n)
		return engine_fail(e, -EPERM, "cannot choose the next pid");
	return 0;
}

static bool is_wanted(const struct twin *w, pid_t tid)
{
	for (unsigned i = 1; i < w->n_threads; i++)
		if (w->threads[i].tid == tid)
			return true;
	return false;
}

static int64_t read_result(struct twin *w, unsigned i)
{
	int64_t v = -EFAULT;

	if (image_read(w->pid,
		    w->threads_at + i * sizeof(struct routine_thread) +
			    offsetof(struct routine_thread, result),
		    &v, sizeof(v)) < 0)
		return -EFAULT;
	return v;
}

static int go(pid_t pid)
{
	return ptrace(PTRACE_CONT, pid, NULL, NULL) < 0 ? -errno : 0;
}

/* A copy that was given up before it had left the session of its original keeps the pid in use
 * until it is reaped. */
static void reap_dying(struct twin_engine *e)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0)
		engine_defer(e, pid, status);
	for (unsigned i = 0; i < e->n_deferred; i++)
		engine_handle(e, e->deferred[i].pid, e->deferred[i].raw);
	e->n_deferred = 0;
	for (unsigned i = 0; i < ELEMENTSOF(e->dying); i++) {
		bool gone = e->dying[i] == 0;

		while (!gone) {
			struct wait_event ev;
			int raw;
			pid_t r = engine_wait(e->dying[i], &raw);
			if (r == -ETIMEDOUT)
				return;
			ev = wait_classify((struct wait_status){raw}, true);
			gone = r < 0 || wait_is_end(&ev);
		}
		e->dying[i] = 0;
	}
}

/*
 * Somebody has the number. If it is one that ends soon, it must get to run: we and what we rebuild
 * are real-time tasks and would keep it from its end.
 */
static void let_others_end(const struct build *b)
{
	const struct timespec pause = {0, 500000};

	if (b->tries > STEPWISE_TRIES / 2)
		(void)nanosleep(&pause, NULL);
}

/* The template trapped: before a steered clone, or after a clone. */
static int template_trapped(struct build *b)
{
	struct twin_engine *e = b->e;
	int64_t result = read_result(b->w, 0);

	if (b->w->stepwise && result != b->leader) {
		if (result < 0)
			return engine_fail(e, (int)result, "clone of pid %d: %s", b->leader,
				strerror((int)-result));
		if (++b->tries > STEPWISE_TRIES * 2)
			return engine_fail(e, -EBUSY, "pid %d was not to be had", b->leader);
		/* Every other trap comes after a clone. */
		b->wrong_born += (++b->template_traps & 1) == 0 && result > 0;
		let_others_end(b);
		int r = steer_pid(e, b->leader);
		return r < 0 ? r : go(b->w->pid);
	}
	if (result == -EEXIST && !b->waited) {
		b->waited = true;
		reap_dying(e);
		return go(b->w->pid);
	}
	if (result < 0)
		return engine_fail(
			e, (int)result, "clone3 of pid %d: %s", b->leader, strerror((int)-result));
	b->template_done = true;
	return 0;
}

static int leader_trapped(struct build *b)
{
	unsigned next = 1;

	/* The first thread without its tid is the next to be cloned. */
	while (next < b->w->n_threads && read_result(b->w, next) == b->w->threads[next].tid)
		next++;
	if (next >= b->w->n_threads) {
		b->leader_done = true;
		return 0;
	}
	int64_t result = read_result(b->w, next);
	if (result < 0)
		return engine_fail(b->e, (int)result, "clone of thread %d: %s",
			b->w->threads[next].tid, strerror((int)-result));
	if (!b->w->stepwise || ++b->tries > STEPWISE_TRIES * (b->w->n_threads + 2))
		return engine_fail(
			b->e, -EBUSY, "thread id %d was not to be had", b->w->threads[next].tid);
	b->wrong_born += result > 0;
	let_others_end(b);
	int r = steer_pid(b->e, b->w->threads[next].tid);
	return r < 0 ? r : go(b->leader);
}

/* A steered clone may get the number that another thread is to have. */
static bool has_its_number(const struct twin *w, pid_t tid)
{
	struct arch_regs regs;
	uint64_t at;

	if (arch_get_regs(tid, &regs) < 0)
		return false;
	at = arch_routine_thread(&regs) - w->threads_at;
	return at / sizeof(struct routine_thread) < w->n_threads &&
	       w->threads[at / sizeof(struct routine_thread)].tid == tid;
}

static int build_event(struct build *b, pid_t pid, const struct wait_event *ev, int raw)
{
	bool trap = ev->kind == WAIT_SIGNAL_STOP && ev->signal == SIGTRAP;
	bool first = ev->kind == WAIT_INTERRUPT_STOP;
	bool ours = pid == b->w->pid || pid == b->leader || is_wanted(b->w, pid);

	if (b->w->stepwise && wait_is_end(ev) && pid != b->w->pid && pid != b->leader) {
		b->wrong_ended++; /* whosever number it had */
		return 0;
	}
	if (ours && wait_is_end(ev))
		return engine_fail(b->e, -ESRCH, "task %d ended while it was rebuilt", pid);
	/* A stop signal was sent to the twin (kill, or to a group that it is in): not for now. */
	if (ours && ev->kind == WAIT_SIGNAL_STOP && ev->signal == SIGSTOP)
		return go(pid);
	if (ours && !trap && !first)
		return engine_fail(b->e, -EIO, "task %d: %s by signal %d while it was rebuilt", pid,
			wait_kind_to_string(ev->kind), ev->signal);
	if (pid == b->w->pid)
		return trap ? template_trapped(b) : go(pid);
	if (pid == b->leader) {
		if (trap)
			return leader_trapped(b);
		b->leader_born = true;
		return go(pid);
	}
	if (ours && (!b->w->stepwise || has_its_number(b->w, pid))) {
		b->standing++;
		return 0;
	}
	/* Steered clones may miss: the wrong one sees it and ends itself. */
	if (b->w->stepwise && first && !wait_is_end(ev) && proc_tgid(pid) > 0) {
		(void)go(pid);
		return 0;
	}
	engine_defer(b->e, pid, raw);
	return 0;
}

/* The new process inherits it from the template. */
static void restore_oom_score(const struct twin *w)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", w->oom_score_adj);

	if (w->oom_fd >= 0 && pwrite(w->oom_fd, text, (size_t)n, 0) < 0)
		return; /* it stays the OOM killer's first choice */
}

static int run_template(struct twin_engine *e, struct twin *w)
{
	cpu_set_t here;
	int cpu = sched_getcpu(), r;
	struct arch_regs regs = w->regs;

	if (cpu >= 0) {
		CPU_ZERO(&here);
		CPU_SET(cpu, &here);
		(void)sched_setaffinity(w->pid, sizeof(here), &here);
	}
	restore_oom_score(w);
	schedule_boost(w->pid); /* what it clones inherits that, until let go */
	arch_prepare_routine(&regs, w->code, w->data);
	r = arch_set_regs(w->pid, &regs);
	if (r == 0)
		r = inject_mask_all(w->pid, NULL);
	if (r == 0)
		r = go(w->pid);
	return r < 0 ? engine_fail(e, r, "starting the twin: %s", strerror(-r)) : 0;
}

static void restore_schedules(const struct twin *w)
{
	for (unsigned i = 0; i < w->n_threads; i++) {
		const struct twin_thread *t = &w->threads[i];
		/* In this order: the deadline class refuses who may not run everywhere. */
		if (CPU_COUNT(&t->affinity) > 0)
			(void)sched_setaffinity(t->tid, sizeof(t->affinity), &t->affinity);
		schedule_restore(t->tid, &t->sched);
		/* Inherited from the main thread of the checkpoint. */
		if (t->io_priority != w->threads[0].io_priority)
			schedule_set_io(t->tid, t->io_priority);
	}
}

/* All threads go on until each has trapped once more. */
static int to_next_trap(struct twin_engine *e, const struct twin *w, enum __ptrace_request how)
{
	unsigned waiting = w->n_threads;
	int r = 0;

	for (unsigned i = 0; i < w->n_threads; i++)
		(void)ptrace(how, w->threads[i].tid, NULL, NULL);
	engine_deadline_set(e, BUILD_DEADLINE);
	while (r == 0 && waiting > 0) {
		int raw;
		pid_t pid = engine_wait(-1, &raw);
		struct wait_event ev;

		if (pid < 0) {
			r = engine_fail(e, pid, "letting go: %s", strerror(-pid));
			break;
		}
		ev = wait_classify((struct wait_status){raw}, true);
		if (pid != w->threads[0].tid && !is_wanted(w, pid))
			engine_defer(e, pid, raw);
		else if (ev.kind == WAIT_SIGNAL_STOP && ev.signal == SIGTRAP)
			waiting--;
		else
			r = engine_fail(e, -EIO, "thread %d: %s before it was let go", pid,
				wait_kind_to_string(ev.kind));
	}
	engine_deadline_clear(e);
	return r;
}

/*
 * A seccomp filter must not apply to our set-up calls, nor to the load of the frame, but to all
 * that follows: so each thread traps before that last call, at its entry and at its exit, and there
 * it stands with the registers it is to have.
 */
static int pass_filter(struct twin_engine *e, const struct twin *w)
{
	int r = to_next_trap(e, w, PTRACE_CONT);

	if (r == 0)
		r = to_next_trap(e, w, PTRACE_SYSCALL);
	return r < 0 ? r : to_next_trap(e, w, PTRACE_SYSCALL);
}

/* The half-built process goes as a whole; its ends would look like those of children. */
static void drop_half_built(struct twin_engine *e, const struct twin *w)
{
	pid_t leader = w->threads[0].tid, pid;
	struct wait_event ev;
	int raw;

	/* Whoever ends is reaped, known or not: steered clones leave threads of wrong numbers, and
	 * the end of the main thread is told after all of theirs. */
	kill(leader, SIGKILL);
	engine_deadline_set(e, REAP_DEADLINE);
	while (proc_tgid(leader) == leader && proc_parent(leader) == getpid()) {
		pid = engine_wait(-1, &raw);
		if (pid < 0)
			break;
		ev = wait_classify((struct wait_status){raw}, true);
		if (pid == leader && wait_is_end(&ev))
			break;
		if (pid != leader && !is_wanted(w, pid))
			engine_defer(e, pid, raw);
	}
	engine_deadline_clear(e);
}

int rebuild_run(struct twin_engine *e, struct twin *w)
{
	struct build b = {.e = e, .w = w, .leader = w->threads[0].tid};
	int r = run_template(e, w);

	engine_deadline_set(e, BUILD_DEADLINE);
	while (r == 0 && !(b.template_done && b.leader_done && b.standing == w->n_threads - 1 &&
				 b.wrong_ended >= b.wrong_born)) {
		int raw;
		pid_t pid = engine_wait(-1, &raw);
		struct wait_event ev;

		if (pid < 0) {
			r = engine_fail(e, pid, "rebuilding: %s", strerror(-pid));
			break;
		}
		ev = wait_classify((struct wait_status){raw}, true);
		r = build_event(&b, pid, &ev, raw);
	}
	engine_deadline_clear(e);
	if (r == 0)
		restore_schedules(w);
	if (r == 0 && w->filtered)
		r = pass_filter(e, w);
	if (r < 0 && b.leader_born)
		drop_half_built(e, w);
	return r;
}

void rebuild_let_go(struct twin_engine *e, struct twin *w)
{
	for (unsigned i = 0; i < w->n_threads; i++) {
		struct twin_thread *tt = &w->threads[i];
		struct thread *t = thread_add(e, tt->tid);

		(void)ptrace(PTRACE_SETOPTIONS, tt->tid, NULL, ACTIVE_OPTIONS);
		if (!t)
			continue;
		memcpy(t->name, tt->name, sizeof(t->name));
		t->timer_slack = tt->timer_slack;
		t->tid_addr = tt->tid_addr;
		t->tid_addr_known = true;
		t->altstack = tt->altstack;
		t->altstack_queries = tt->altstack_queries;
		t->self = tt->self;
		waits_adopt(t, &tt->wait);
	}
	for (unsigned i = w->n_threads; i > 0; i--)
		(void)ptrace(PTRACE_CONT, w->threads[i - 1].tid, NULL, NULL);
}
