/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arming: look, freeze, copy, let go, make ready.
 *
 * The copy is made by clone() injected into the main thread, without CLONE_VM: a fork. The
 * descriptor table is shared with the active, not copied, so that what the active closes is
 * closed, and what it opens is there at a swap. CLONE_PARENT makes the copy our child; of a process
 * that is not ours it would make the parent's (foster.h).
 */
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/generations.h"
#include "supervisor/twin/owned.h"
#include "supervisor/twin/ghosts.h"
#include "supervisor/twin/procfs.h"

/*
 * CLONE_PTRACE instead of PTRACE_O_TRACECLONE: the copy is attached before it runs, as with the
 * option, but the parent need not stop once more to say so.
 */
#define FORK_FLAGS (CLONE_PARENT | CLONE_FILES | CLONE_SYSVSEM | CLONE_PTRACE)
#define HOLDER_FLAGS (FORK_FLAGS | CLONE_VM)

void twin_slot_clear(struct twin_engine *e, unsigned generation)
{
	struct twin *w = e->twins[generation];

	engine_kill_helper(e, w->pid);
	namespace_drop(e, w);
	closep(&w->pidfd);
	closep(&w->fd_dir);
	closep(&w->oom_fd);
	ghosts_forget(&w->in_place);
	w->pidfd = w->fd_dir = w->oom_fd = -1;
	w->pid = 0;
	w->lost[0] = '\0';
	if (generation >= e->n_twins)
		return;
	e->n_twins--;
	/* Those that are not in use move up as well: the first of them may be in preparation. */
	for (unsigned i = generation; i + 1 < ELEMENTSOF(e->twins); i++)
		e->twins[i] = e->twins[i + 1];
	e->twins[ELEMENTSOF(e->twins) - 1] = w;
}

/*
 * Options for the main thread while it makes copies: a copy inherits them, and must die with us
 * from its first moment, for it would wake up and run beside the active. For these microseconds
 * the active would die with us too.
 */
static int set_copy_options(struct twin_engine *e)
{
	long options = PTRACE_O_EXITKILL;

	if (!e->cannot_suspend_seccomp || e->filtered) {
		if (ptrace(PTRACE_SETOPTIONS, e->pid, NULL, options | PTRACE_O_SUSPEND_SECCOMP) ==
			0)
			return 0;
		if (e->filtered)
			return -errno; /* the filter might kill it for our calls */
		e->cannot_suspend_seccomp = true;
	}
	return ptrace(PTRACE_SETOPTIONS, e->pid, NULL, options) < 0 ? -errno : 0;
}

static int fork_in(struct injection *in, uint64_t flags, pid_t *ret)
{
	long result;
	int r;

	if (in->e->config.foster)
		flags &= ~(uint64_t)CLONE_PARENT;
	r = inject_call(in, SYS_clone, (const uint64_t[6]){flags, 0, 0, 0, 0, 0}, &result);

	if (r < 0) {
		/* Killed at the step: whether a copy was made is not known; if so, it will report.
		 */
		in->e->copy_unknown = true;
		return r;
	}
	if (result <= 0)
		return result == -EAGAIN || result == -ENOMEM ? -EBUSY : (int)result;
	*ret = (pid_t)result;
	return 0;
}

/* Once for each program. It is born under a name of its own, for it has no memory of its own to
 * take one from later. */
static int make_holder(struct twin_engine *e, const struct thread *leader, struct injection *in)
{
	uint64_t args[6] = {PR_SET_NAME};
	char name[16];
	int r, back;

	snprintf(name, sizeof(name), "twin:%.10s", leader->name);
	r = inject_input(in, SYS_prctl, args, 1, name, sizeof(name));
	if (r < 0)
		return r;
	r = fork_in(in, HOLDER_FLAGS, &e->holder);
	e->holder_fresh = r == 0;
	back = inject_input(in, SYS_prctl, args, 1, leader->name, sizeof(leader->name));
	return r < 0 ? r : back;
}

/* Fork; where the copy lacks mappings, find out which, and fork again with all of them. */
static int fork_whole(struct twin_engine *e, struct twin *w, struct injection *in)
{
	int r, marked;

	e->left_out.n = 0;
	r = fork_in(in, FORK_FLAGS, &w->pid);
	if (r < 0 || mappings_size(e->pid) == mappings_size(w->pid) + exclude_missing(&e->excluded))
		return r;
	r = mappings_left_out(&e->left_out, e->pid, w->pid);
	/* A copy that was killed lacks everything. */
	if (r == 0 && mappings_size(w->pid) == 0)
		r = -EBUSY;
	if (r == 0) {
		exclude_claim(e, &e->left_out);
		if (e->left_out.n == 0)
			return 0;
	}
	engine_kill_helper(e, w->pid);
	w->pid = 0;
	if (r < 0) {
		e->left_out.n = 0;
		return r;
	}
	r = mappings_unmark(&e->left_out, in);
	if (r == 0)
		r = fork_in(in, FORK_FLAGS, &w->pid);
	marked = mappings_mark(&e->left_out, in);
	return r < 0 ? r : marked;
}

/*
 * The rest of what is to be read of the threads, some 5 us each, while the main thread makes the
 * copy on another processor: that has to be woken (50 us and more), and is slower at it for not
 * having been at work, so only where it is a lot. Measured by tools/bench/freeze.
 */
#define MEANWHILE_THREADS 12
#define MEANWHILE_FORK 300000ULL

static bool worth_two(const struct twin_engine *e)
{
	return !e->inside && e->n_threads >= MEANWHILE_THREADS && e->fork_took >= MEANWHILE_FORK;
}

static int read_the_rest(struct twin_engine *e)
{
	FOREACH_THREAD(e, t)
	{
		int r = t->tid == e->pid ? 0 : capture_rest(t);
		if (r < 0)
			return r;
	}
	return 0;
}

static int copy(struct twin_engine *e, struct twin *w, struct thread *leader, bool meanwhile,
	struct twin_checkpoint *ret)
{
	struct injection in;
	nsec_t begun;
	int r = e->inside ? 0 : set_copy_options(e), marked = 0, rest;

	if (r < 0)
		return engine_fail(e, r, "ptrace options: %s", strerror(-r));
	e->copying = !e->inside;
	r = inject_begin(e, leader->tid, &leader->regs, true, &in);
	if (r == 0)
		r = timers_capture(&e->timers, &in, (e->n_checkpoints & 7) < 2);
	if (r == 0 && e->timers.keyring)
		r = -ENOTSUP;
	if (r == 0 && e->config.foster)
		r = foster_reap(e, &in);
	if (r == 0 && !e->holder)
		r = make_holder(e, leader, &in);
	if (r == 0)
		r = inject_clean(&in);
	if (e->inside) {
		if (r == 0)
			r = credentials_capture(e, w);
		/* A fork of the leader would be in its namespace. */
		inject_end(&in);
		if (r == 0)
			r = inject_begin(e, e->holder, &e->holder_regs, false, &in);
	}
	begun = now_nsec();
	if (r == 0)
		r = mappings_unmark(&e->wiped, &in);
	if (r == 0)
		r = exclude_mark(e, &in);
	if (r == 0 && meanwhile) {
		inject_elsewhere(&in);
		in.meanwhile = read_the_rest;
	}
	if (r == 0)
		r = fork_whole(e, w, &in);
	marked = exclude_unmark(e, &in);
	if (marked == 0 && e->wiped.n > 0)
		marked = mappings_mark(&e->wiped, &in);
	e->fork_took = ret->fork = now_nsec() - begun;
	inject_end(&in);
	e->copying = false;
	if (!e->inside && ptrace(PTRACE_SETOPTIONS, e->pid, NULL, ACTIVE_OPTIONS) < 0 &&
		errno == ESRCH)
		return engine_fail(e, -ESRCH, "the process is ending");
	if (e->timers.keyring)
		return engine_fail(e, -ENOTSUP, "it has a process keyring");
	if (r == -ENOTSUP)
		return engine_fail(e, r, "it has device memory that cannot be copied");
	if (r == 0)
		r = marked;
	if (r < 0)
		return engine_fail(e, r, "fork: %s", strerror(-r));
	rest = in.meanwhile ? -EBUSY : in.meanwhile_failed;
	return rest < 0 ? engine_fail(e, rest == -ENOTSUP ? rest : -EBUSY, "state of a thread: %s",
				  strerror(-rest))
			: 0;
}

/* Registers of all threads, interruptions mended; -EAGAIN when one was caught at work. */
static int read_threads(struct twin_engine *e, bool force, bool *ret_quiet)
{
	nsec_t now = now_nsec();

	*ret_quiet = true;
	FOREACH_THREAD(e, t)
	{
		const char *why;
		int r = arch_get_regs(t->tid, &t->regs);
		if (r < 0)
			return engine_fail(
				e, r, "registers of thread %d: %s", t->tid, strerror(-r));
		if (!arch_is_native(&t->regs))
			return engine_fail(e, -ENOTSUP, "thread %d runs 32-bit code", t->tid);
		why = restart_unsupported(&t->regs);
		if (why)
			return engine_fail(e, -ENOTSUP, "%s", why);
		if (capture_dispatched(t))
			return engine_fail(
				e, -ENOTSUP, "thread %d has its system calls dispatched", t->tid);
		*ret_quiet &= restart_is_blocked(&t->regs);
		bool changed = restart_mend(e, t, &t->regs, now, false);
		changed |= partial_begin(e, t, &t->regs);
		t->wait_then = t->wait;
		t->partial_then = t->partial;
		if (capture_rseq(t) || changed) {
			r = arch_set_regs(t->tid, &t->regs);
			if (r < 0)
				return engine_fail(e, r, "thread %d: %s", t->tid, strerror(-r));
		}
		t->mended = true;
		if (e->scratch.code_len &&
			arch_ip(&t->regs) - e->scratch.code < e->scratch.code_len)
			return engine_fail(e, -EAGAIN, "thread %d is still being rebuilt", t->tid);
	}
	return *ret_quiet || force ? 0 : engine_fail(e, -EAGAIN, "a thread is at work");
}

static int in_the_freeze(
	struct twin_engine *e, struct twin *w, bool force, struct twin_checkpoint *ret)
{
	struct thread *leader = thread_find(e, e->pid);
	bool meanwhile = worth_two(e);
	int r = read_threads(e, force, &w->quiet);

	if (r < 0)
		return r;
	if (!leader)
		return engine_fail(e, -ESRCH, "the process is ending");
	r = files_scan(&w->files, e->pid, e->pidfd, e->fd_dir);
	if (r == 0)
		r = streams_sample(&w->streams, &w->files, e->pidfd);
	if (r < 0)
		return engine_fail(
			e, r == -ENOSPC ? -EAGAIN : -EBUSY, "descriptors: %s", strerror(-r));
	if (w->files.unfit)
		return engine_fail(e, -ENOTSUP, "%s", w->files.unfit);
	w->quiet &= streams_judge(&e->streams_seen, &w->streams);
	if (!w->quiet && !force)
		return engine_fail(e, -EAGAIN, "a stream is moving");
	FOREACH_THREAD(e, t)
	{
		r = capture_once(e, t);
		if (r == 0)
			r = capture_thread(e, t);
		if (r == 0 && (!meanwhile || t == leader))
			r = capture_rest(t);
		if (r == 0)
			r = namespace_learn(e, t);
		if (r < 0)
			return engine_fail(e, r == -ENOTSUP ? r : -EBUSY, "state of thread %d: %s",
				t->tid, strerror(-r));
	}
	r = alike_check(e);
	if (r < 0)
		return r;
	/* sched_fork() */
	if (leader->sched.size && leader->sched.policy == SCHED_DEADLINE &&
		!(leader->sched.flags & SCHED_FLAG_RESET_ON_FORK))
		return engine_fail(
			e, -ENOTSUP, "its main thread is of the deadline class, which cannot fork");
	if (signals_in_crash_handler(e))
		return engine_fail(e, -EBUSY, "the handler of a crash is running");
	if (!signals_capture(e))
		return engine_fail(e, -EAGAIN, "a fatal signal is on its way");
	/* Some of them may have ended, and others begun, a moment later. */
	if (e->had_children) {
		w->in_place.n_children = state_children(e, w->in_place.children, INPLACE_CHILDREN);
		ghosts_hold(e->n_twins ? &e->twins[0]->in_place : NULL, &w->in_place);
	}
	return copy(e, w, leader, meanwhile, ret);
}

/* Children keep the pid in use as number of their group and session, so it cannot be had again by
 * reclaim. */
static bool pid_stays_in_use(struct twin_engine *e, const struct twin *w)
{
	return (getsid(e->pid) == e->pid || getpgid(e->pid) == e->pid) &&
	       w->in_place.n_children > 0;
}

static void note_loss(struct twin *w, const char *what)
{
	size_t len = strlen(w->lost);

	snprintf(w->lost + len, sizeof(w->lost) - len, "%s%s", len ? ", " : "", what);
}

/* What a twin of this moment will not have is at least named. */
static void note_losses(struct twin_engine *e, struct twin *w)
{
	if (e->excluded_text[0]) {
		char text[EXCLUDED_TEXT_MAX + 16];
		snprintf(text, sizeof(text), "memory: %s", e->excluded_text);
		note_loss(w, text);
	}
	w->in_place.pid_in_use = !e->inside && pid_stays_in_use(e, w);
	if (e->pending_incomplete)
		note_loss(w, "some pending signals");
	if (e->timers.incomplete || e->leader_calls.full)
		note_loss(w, "some timers or owners of descriptors");
	if (w->locked.incomplete)
		note_loss(w, "some locks of memory");
	if (w->files.incomplete)
		note_loss(w, "long epoll sets");
	if (w->files.perf)
		note_loss(w, "perf events of its own");
	if (w->files.locks.incomplete)
		note_loss(w, "some file locks");
}

/* The holder is in the active's memory: through it, what the last swap left there is unmapped
 * without stopping anybody. No thread is in it any more: read_threads() looked. */
static void remove_scratch(struct twin_engine *e)
{
	struct injection in;

	if ((!e->scratch.code_len && !e->scratch.data_len) || !e->holder || e->holder_busy)
		return;
	if (inject_begin(e, e->holder, &e->holder_regs, false, &in) < 0)
		return;
	if (image_remove_scratch(&in, &e->scratch) < 0)
		e->reason[0] = '\0'; /* it stays, until the next checkpoint */
	inject_end(&in);
}

/* The first stop of a new holder. It leaves session and group, for it would keep the old pid in
 * use as their number; being forked it leads no group, so setsid() cannot be refused. */
static int settle_holder(struct twin_engine *e)
{
	struct injection in;
	long result;
	int raw, r;

	if (!e->holder_fresh)
		return 0;
	e->holder_fresh = false;
	r = engine_wait(e->holder, &raw);
	if (r < 0)
		return r;
	if (wait_classify((struct wait_status){raw}, true).kind != WAIT_INTERRUPT_STOP) {
		engine_handle(e, e->holder, raw);
		return -ESRCH;
	}
	r = arch_get_regs(e->holder, &e->holder_regs);
	if (r == 0)
		r = inject_begin(e, e->holder, &e->holder_regs, false, &in);
	if (r < 0)
		return r;
	r = inject_call(&in, SYS_setsid, (const uint64_t[6]){0}, &result);
	inject_end(&in);
	return r;
}

static int check_possible(struct twin_engine *e)
{
	if (!e->pid || e->ended || e->fatal_tid)
		return engine_fail(e, -ESRCH, "the process is ending");
	if (!e->traced)
		return engine_fail(e, -EPERM, "not traced");
	if (!e->executed)
		return engine_fail(e, -EBUSY, "not yet executed");
	/* There was no descriptor left when the last swap wanted them. */
	if ((e->pidfd < 0 || e->status_fd < 0 || e->fd_dir < 0) && engine_open_proc(e) < 0)
		return engine_fail(e, -EBUSY, "cannot open /proc/%d", e->pid);
	if (e->group_stopped)
		return engine_fail(e, -EBUSY, "stopped by a signal");
	if (!e->syscall_insn)
		return engine_fail(e, -ENOTSUP, "it has no vdso with a system call instruction");
	return 0;
}

static void drop_one(struct twin_engine *e)
{
	uint64_t numbers[TWIN_GENERATIONS_MAX + 1];

	for (unsigned i = 0; i < e->n_twins; i++)
		numbers[i] = e->twins[i]->number;
	twin_slot_clear(e, generation_to_drop(numbers, e->n_twins));
}

/* Born while another node was brought back under numbers of its own, ours may have got one of
 * them, and would keep it for long. */
static int check_numbers(struct twin_engine *e, struct twin *w)
{
	bool holder = e->holder_fresh && steer_is_strays(&e->steering, e->holder);
	struct schedule soon;

	if (!holder && !steer_is_strays(&e->steering, w->pid))
		return 0;
	schedule_read(e->pid, &soon);
	if (holder) {
		engine_kill_helper(e, e->holder);
		(void)schedule_restore(e->holder, &soon);
		e->holder = 0;
		e->holder_fresh = false;
	}
	/* That node waits for it to be gone. */
	engine_kill_helper(e, w->pid);
	(void)schedule_restore(w->pid, &soon);
	w->pid = 0;
	return engine_fail(e, -EAGAIN, "the copy got the number of another node");
}

int twin_checkpoint(struct twin_engine *e, bool force, struct twin_checkpoint *ret)
{
	struct twin *w = e->twins[e->n_twins];
	struct twin_checkpoint cp = {0};
	bool quiet = false, scanned = false;
	pid_t tracee;
	int r;

	e->reason[0] = '\0';
	r = check_possible(e);
	if (r == 0)
		r = capture_look(e, &quiet);
	if (r == 0)
		r = namespace_check(e);
	if (r < 0)
		return r;
	if (!quiet && !force)
		return engine_fail(e, -EAGAIN, "not quiet");
	if (threads_reserve(e, e->n_threads + 16) < 0 || remains_reserve(e, e->n_threads + 2) < 0 ||
		files_reserve(&w->files) < 0 ||
		streams_reserve(&w->streams, e->files_now.n * 2) < 0)
		return engine_fail(e, -EBUSY, "out of memory");
	timers_look(&e->timers, e->pid);
	r = scan_at_leisure(e, &scanned);
	if (r == 0 && (tracee = owned_tracee(e, scanned)))
		r = engine_fail(e, -ENOTSUP, "it traces process %d", tracee);
	if (r == 0 && exclude_look(e) < 0)
		r = engine_fail(e, -EBUSY, "its mappings cannot be read");
	if (r < 0)
		return r;
	w->pid = 0;
	w->lost[0] = '\0';
	if (!e->had_children) {
		pid_t any;
		e->had_children = state_children(e, &any, 1) > 0;
	}
	steer_look(&e->steering);
	cp.at = now_nsec();
	r = engine_freeze(e);
	if (r == 0)
		r = in_the_freeze(e, w, force, &cp);
	cp.n_threads = e->n_threads;
	engine_note_late(e, r);
	engine_thaw(e);
	waits_arm(e);
	cp.freeze = now_nsec() - cp.at;
	if (r == 0)
		r = check_numbers(e, w);
	if (settle_holder(e) < 0 && r == 0)
		r = engine_fail(e, -EBUSY, "the holder of the memory ended");
	if (r == 0 && !timers_unchanged(&e->timers, e->pid))
		r = engine_fail(e, -EAGAIN, "its timers were changed just now");
	if (r == 0 && !capture_same_names(e))
		r = engine_fail(e, -EAGAIN, "a thread gave itself a name just now");
	if (r == 0 && scanned && locked_ask(e) < 0)
		r = engine_fail(e, -EBUSY, "its memory could not be asked for");
	w->locked = e->locked;
	w->locked.kb = e->locked_kb;
	w->excluded = e->excluded;
	if (r == 0)
		r = image_prepare(e, w);
	if (r < 0) {
		twin_slot_clear(e, e->n_twins);
		engine_take_deferred(e);
		return r;
	}
	remove_scratch(e);
	exclude_describe(&w->excluded, e->excluded_text, sizeof(e->excluded_text));
	inplace_record(e, w);
	note_losses(e, w);
	w->at = cp.at;
	cp.quiet = w->quiet;
	cp.twin_pid = w->nest.leader ? w->nest.leader : w->pid;
	for (unsigned i = e->n_twins; i > 0; i--)
		e->twins[i] = e->twins[i - 1];
	e->twins[0] = w;
	e->n_twins++;
	w->number = e->n_checkpoints++;
	e->in_place_last = false;
	e->copy_unknown = false; /* it would have told of itself by now */
	while (e->n_twins > e->config.generations)
		drop_one(e);
	*ret = cp;
	engine_take_deferred(e); /* told while the twin was built */
	if (e->inside)
		rest_note(e);
	return 0;
}
