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
/* How long somebody may have a number that we want. Who forks and ends has it for milliseconds;
 * who still has it now will stay, and a cold restart does not take much longer than this. */
#define TAKEN_PATIENCE 500000000ULL
#define TAKEN_PAUSE 100000L

/* Progress of a rebuild. */
struct build {
	struct twin_engine *e;
	struct twin *w;
	pid_t leader; /* wanted */
	pid_t memory; /* a task in whose memory the routine runs */
	bool leader_born, leader_done, template_done, waited;
	unsigned standing;       /* threads at their first stop, the leader not counted */
	unsigned template_traps; /* of a stepwise one */
	pid_t steered;           /* clones now, under a number of our choice */
	pid_t held;              /* waits for a number to be free */
	pid_t held_for;          /* that number */
	nsec_t held_until;       /* 0: no number was taken yet */
	/* Steered clones that missed: by what the routine says, and by what they say themselves. */
	unsigned wrong_born, wrong_ended, n_wrong;
	pid_t wrong[32];
};

static bool is_wanted(const struct twin *w, pid_t tid)
{
	for (unsigned i = 1; i < w->n_threads; i++)
		if (w->threads[i].tid == tid)
			return true;
	return false;
}

static int64_t read_result(const struct build *b, unsigned i)
{
	int64_t v = -EFAULT;

	if (image_read(b->memory,
		    b->w->threads_at + i * sizeof(struct routine_thread) +
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

		if (!gone)
			schedule_boost(e->dying[i]);
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

/* The task is about to clone. */
static int let_clone(struct build *b, pid_t task, pid_t wanted)
{
	int r;

	b->held = 0;
	if (b->w->stepwise) {
		r = steer_begin(&b->e->steering, wanted);
		if (r == -EEXIST) {
			b->held = task;
			b->held_for = wanted;
			return 0;
		}
		if (r < 0)
			return engine_fail(b->e, r, "cannot choose the next pid");
		b->steered = task;
	}
	return go(task);
}

/* Somebody has the number: if it is one that ends soon, it must get to run, and we and what we
 * rebuild are real-time tasks. */
static int wait_for_number(struct build *b, pid_t task, pid_t wanted)
{
	if (b->held_until == 0)
		b->held_until = now_nsec() + TAKEN_PATIENCE;
	b->held = task;
	b->held_for = wanted;
	return 0;
}

static int try_held(struct build *b)
{
	const struct timespec pause = {0, TAKEN_PAUSE};

	if (b->held_until == 0)
		b->held_until = now_nsec() + TAKEN_PATIENCE;
	if (now_nsec() > b->held_until)
		return engine_fail(b->e, -EBUSY, "id %d belongs to somebody else now", b->held_for);
	(void)nanosleep(&pause, NULL);
	return let_clone(b, b->held, b->held_for);
}

/* The template trapped: before its first clone where that is steered, and after each. */
static int template_trapped(struct build *b)
{
	struct twin_engine *e = b->e;
	int64_t result = read_result(b, 0);

	if (b->w->stepwise && b->template_traps++ == 0)
		return let_clone(b, b->w->pid, b->leader);
	if (result == b->leader || (result >= 0 && !b->w->stepwise)) {
		b->template_done = true;
		return 0;
	}
	if (result == -EEXIST && !b->waited) {
		b->waited = true;
		reap_dying(e);
	}
	if (result == -EEXIST)
		return wait_for_number(b, b->w->pid, b->leader);
	if (result < 0)
		return engine_fail(
			e, (int)result, "clone of pid %d: %s", b->leader, strerror((int)-result));
	b->wrong_born++;
	return let_clone(b, b->w->pid, b->leader);
}

static int leader_trapped(struct build *b)
{
	unsigned next = 1;
	int64_t result;
	pid_t wanted;

	/* The first thread without its tid is the next to be cloned. */
	while (next < b->w->n_threads && read_result(b, next) == b->w->threads[next].tid)
		next++;
	if (next >= b->w->n_threads) {
		b->leader_done = true;
		return 0;
	}
	wanted = b->w->threads[next].tid;
	result = read_result(b, next);
	if (result == -EEXIST)
		return wait_for_number(b, b->leader, wanted);
	if (result < 0)
		return engine_fail(b->e, (int)result, "clone of thread %d: %s", wanted,
			strerror((int)-result));
	if (!b->w->stepwise)
		return engine_fail(b->e, -EIO, "thread %d was born as %d", wanted, (int)result);
	b->wrong_born += result > 0;
	return let_clone(b, b->leader, wanted);
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

static bool is_dying(const struct twin_engine *e, pid_t pid)
{
	for (unsigned i = 0; i < ELEMENTSOF(e->dying); i++)
		if (e->dying[i] == pid)
			return true;
	return false;
}

/* It sees that itself, and ends. */
static int note_wrong(struct build *b, pid_t pid)
{
	if (b->n_wrong >= ELEMENTSOF(b->wrong))
		return engine_fail(b->e, -EBUSY, "too many clones missed their numbers");
	b->wrong[b->n_wrong++] = pid;
	(void)go(pid); /* whatever befalls it, its end will be told */
	return 0;
}

static bool wrong_ended(struct build *b, pid_t pid)
{
	for (unsigned i = 0; i < b->n_wrong; i++)
		if (b->wrong[i] == pid) {
			b->wrong[i] = b->wrong[--b->n_wrong];
			b->wrong_ended++;
			return true;
		}
	return false;
}

/* Another child of ours that had the number while we waited for it. */
static bool strangers_end(const struct build *b, pid_t pid)
{
	for (unsigned i = 0; i < b->w->n_threads; i++)
		if (b->w->threads[i].tid == pid)
			return !(i == 0 && b->leader_born) && read_result(b, i) != pid;
	return false;
}

static int build_event(struct build *b, pid_t pid, const struct wait_event *ev, int raw)
{
	bool trap = ev->kind == WAIT_SIGNAL_STOP && ev->signal == SIGTRAP;
	bool first = ev->kind == WAIT_INTERRUPT_STOP;
	bool ours = pid == b->w->pid || pid == b->leader || is_wanted(b->w, pid);

	if (pid == b->steered && !first) {
		steer_end(&b->e->steering);
		b->steered = 0;
	}
	if (wait_is_end(ev) && wrong_ended(b, pid))
		return 0;
	/* Not to be put aside: later it would look like the end of the twin. */
	if (ours && wait_is_end(ev) && strangers_end(b, pid)) {
		engine_push_event(b->e,
			&(struct twin_event){.type = TWIN_EVENT_CHILD, .pid = pid, .status = raw});
		return 0;
	}
	if (pid == b->w->pid && wait_is_end(ev))
		b->w->pid = 0; /* reaped */
	/* In place it is the active that ends: whoever takes its place by other means must know. */
	if (b->memory == b->leader && wait_is_end(ev) && thread_find(b->e, pid))
		engine_defer(b->e, pid, raw);
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
	if (b->w->stepwise && first && proc_tgid(pid) > 0 && !is_dying(b->e, pid))
		return note_wrong(b, pid);
	engine_defer(b->e, pid, raw);
	return 0;
}

/* The new process inherits it from the template. */
void rebuild_oom_score(struct twin *w)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", w->oom_score_adj);

	/* Where it is refused it stays the first to go. */
	w->oom_score_lost = w->oom_fd >= 0 && pwrite(w->oom_fd, text, (size_t)n, 0) < 0;
}

static int run_template(struct twin_engine *e, struct twin *w, struct schedule *ret_own)
{
	cpu_set_t here;
	int cpu = sched_getcpu(), r;
	struct arch_regs regs = w->regs;

	if (cpu >= 0) {
		CPU_ZERO(&here);
		CPU_SET(cpu, &here);
		(void)sched_setaffinity(w->pid, sizeof(here), &here);
	}
	rebuild_oom_score(w);
	schedule_boost(w->pid); /* what it clones inherits that, until let go */
	if (w->stepwise)
		schedule_hurry(ret_own, w->pid);
	arch_prepare_routine(&regs, w->code, ROUTINE_BUILD, w->data, 0);
	r = arch_set_regs(w->pid, &regs);
	if (r == 0)
		r = inject_mask_all(w->pid, NULL);
	if (r == 0)
		r = go(w->pid);
	return r < 0 ? engine_fail(e, r, "starting the twin: %s", strerror(-r)) : 0;
}

static void restore_schedules(struct twin *w)
{
	w->schedules_lost = false;
	for (unsigned i = 0; i < w->n_threads; i++) {
		const struct twin_thread *t = &w->threads[i];
		/* In this order: the deadline class refuses who may not run everywhere. */
		if (CPU_COUNT(&t->affinity) > 0)
			w->schedules_lost |=
				sched_setaffinity(t->tid, sizeof(t->affinity), &t->affinity) < 0;
		w->schedules_lost |= !schedule_restore(t->tid, &t->sched);
		/* Inherited from the main thread of the checkpoint, but not in place. */
		if (t->stands || t->io_priority != w->threads[0].io_priority)
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
		else {
			if (wait_is_end(&ev) && thread_find(e, pid)) /* in place: the active's */
				engine_defer(e, pid, raw);
			r = engine_fail(e, -EIO, "thread %d: %s before it was let go", pid,
				wait_kind_to_string(ev.kind));
		}
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
static void drop_half_built(struct twin_engine *e, struct twin *w)
{
	pid_t leader = w->threads[0].tid, pid;
	struct wait_event ev;
	bool killed = false;
	int raw;

	/* Whoever ends is reaped, known or not: steered clones leave threads of wrong numbers, and
	 * the end of the main thread is told after all of theirs. The template goes first, for it
	 * may be about to make a leader, or have made one that was not seen yet. */
	if (w->pid)
		kill(w->pid, SIGKILL);
	engine_deadline_set(e, REAP_DEADLINE);
	for (;;) {
		if (!w->pid && (proc_tgid(leader) != leader || proc_parent(leader) != getpid()))
			break;
		if (!w->pid && !killed)
			killed = kill(leader, SIGKILL) == 0;
		pid = engine_wait(-1, &raw);
		if (pid < 0)
			break;
		ev = wait_classify((struct wait_status){raw}, true);
		if (pid == w->pid && wait_is_end(&ev))
			w->pid = 0;
		else if (pid == leader && wait_is_end(&ev))
			break;
		else if (pid != leader && pid != w->pid && !is_wanted(w, pid))
			engine_defer(e, pid, raw);
	}
	engine_deadline_clear(e);
}

static bool is_built(const struct build *b)
{
	return b->template_done && b->leader_done && b->standing == b->w->n_threads - 1 &&
	       b->wrong_ended >= b->wrong_born;
}

/* One event, or one more try where a number was taken. */
static int build_step(struct build *b)
{
	struct wait_event ev;
	int raw;
	pid_t pid = b->held ? waitpid(-1, &raw, __WALL | WNOHANG) : engine_wait(-1, &raw);

	if (b->held && pid <= 0)
		return try_held(b);
	if (pid < 0)
		return engine_fail(b->e, pid, "rebuilding: %s", strerror(-pid));
	ev = wait_classify((struct wait_status){raw}, true);
	return build_event(b, pid, &ev, raw);
}

static int await_all(struct build *b, const struct schedule *own)
{
	struct twin_engine *e = b->e;
	struct twin *w = b->w;
	int r = 0;

	engine_deadline_set(e, BUILD_DEADLINE);
	while (r == 0 && !is_built(b))
		r = build_step(b);
	engine_deadline_clear(e);
	steer_end(&e->steering);
	(void)schedule_restore(0, own);
	if (r == 0)
		restore_schedules(w);
	if (r == 0 && w->filtered)
		r = pass_filter(e, w);
	return r;
}

int rebuild_run(struct twin_engine *e, struct twin *w)
{
	struct build b = {.e = e, .w = w, .leader = w->threads[0].tid, .memory = w->pid};
	struct schedule own = {0};
	int r = run_template(e, w, &own);

	if (r == 0)
		r = await_all(&b, &own);
	else
		(void)schedule_restore(0, &own);
	if (r < 0)
		drop_half_built(e, w);
	return r;
}

int rebuild_missing(struct twin_engine *e, struct twin *w, unsigned standing)
{
	pid_t leader = w->threads[0].tid;
	struct build b = {.e = e,
		.w = w,
		.leader = leader,
		.memory = leader,
		.leader_born = true,
		.template_done = true,
		.standing = standing};
	struct schedule own = {0};
	int r;

	if (w->stepwise && standing < w->n_threads - 1)
		schedule_hurry(&own, leader);
	r = go(leader);
	if (r == 0)
		return await_all(&b, &own);
	(void)schedule_restore(0, &own);
	return engine_fail(e, r, "starting the main thread: %s", strerror(-r));
}

struct thread *rebuild_adopt(struct twin_engine *e, const struct twin_thread *tt, pid_t tid)
{
	struct thread *t = thread_add(e, tid);

	if (!t)
		return NULL;
	memcpy(t->name, tt->name, sizeof(t->name));
	t->timer_slack = tt->timer_slack;
	t->tid_addr = tt->tid_addr;
	t->tid_addr_known = true;
	t->altstack = tt->altstack;
	t->altstack_queries = tt->altstack_queries;
	t->self = tt->self;
	restart_adopt(e, t, tt);
	return t;
}

void rebuild_let_go(struct twin_engine *e, struct twin *w)
{
	for (unsigned i = 0; i < w->n_threads; i++) {
		const struct twin_thread *tt = &w->threads[i];

		(void)ptrace(PTRACE_SETOPTIONS, tt->tid, NULL, ACTIVE_OPTIONS);
		(void)rebuild_adopt(e, tt, tt->tid);
	}
	for (unsigned i = w->n_threads; i > 0; i--)
		(void)ptrace(partial_is_watched(&w->threads[i - 1]) ? PTRACE_SYSCALL : PTRACE_CONT,
			w->threads[i - 1].tid, NULL, NULL);
}
