/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order matters: everything that can show a rollback to be impossible is looked at first; the
 * threads of the time since end while the memory is still theirs; then mappings, contents,
 * descriptors; and last, by the main thread itself, what only a task can do for its process.
 * From the first change on the active would not survive our death: half rolled back it may not
 * run.
 */
#include "supervisor/twin/inplace.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/ghosts.h"
#include "supervisor/twin/pages.h"
#include "supervisor/twin/procfs.h"

/* In ns, as measured with tools/bench/swap. */
#define COST_BASE 350000ULL
#define COST_PAGE 60ULL
#define COST_DIRTY 1800ULL
#define COST_MAPPING 600ULL
#define COST_THREAD 20000ULL

struct inplace {
	struct pages *pages;
	struct layout now;
	struct inplace_area area; /* built here */
};

int inplace_new(struct inplace **ret)
{
	struct inplace *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	r = pages_new(&p->pages);
	if (r < 0) {
		free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void inplace_free(struct inplace *p)
{
	pages_free(p->pages);
	layout_free(&p->now);
	free(p);
}

void inplace_twin_free(struct inplace_twin *t)
{
	ghosts_forget(t);
	layout_free(&t->layout);
}

/* --- while a twin is prepared --------------------------------------------------------------- */

static void ask(struct inplace_area *a, unsigned i, long nr, uint64_t arg0, uint64_t arg1)
{
	a->questions[i] = (struct routine_call){.nr = (uint64_t)nr, .args = {arg0, arg1}};
}

static void write_questions(struct inplace_area *a, uint64_t at)
{
	a->args = (struct routine_args){.n_calls = ASK_MAX + SIGNALS_MAX,
		.calls = at + offsetof(struct inplace_area, questions)};
	ask(a, ASK_DUMPABLE, SYS_prctl, PR_GET_DUMPABLE, 0);
	ask(a, ASK_KEEP_CAPS, SYS_prctl, PR_GET_KEEPCAPS, 0);
	ask(a, ASK_SECURE_BITS, SYS_prctl, PR_GET_SECUREBITS, 0);
	ask(a, ASK_THP_DISABLE, SYS_prctl, PR_GET_THP_DISABLE, 0);
	ask(a, ASK_PERSONALITY, SYS_personality, 0xffffffff, 0);
	ask(a, ASK_BREAK, SYS_brk, 0, 0);
	for (uint64_t i = 0; i < SIGNALS_MAX; i++)
		a->questions[ASK_MAX + i] = (struct routine_call){.nr = SYS_rt_sigaction,
			.args = {i + 1, 0,
				at + offsetof(struct inplace_area, actions) +
					i * sizeof(struct inplace_sigaction),
				8}};
}

/* Run the routine from some entry to its next trap. */
static int run_to_trap(struct twin_engine *e, pid_t tid)
{
	struct wait_event ev;
	int raw;
	pid_t r;

	if (ptrace(PTRACE_CONT, tid, NULL, NULL) < 0)
		return -errno;
	for (;;) {
		r = engine_wait(tid, &raw);
		if (r < 0)
			return r;
		ev = wait_classify((struct wait_status){raw}, true);
		if (wait_is_end(&ev)) {
			engine_defer(e, tid, raw);
			return -ESRCH;
		}
		if (ev.kind == WAIT_SIGNAL_STOP && ev.signal == SIGTRAP)
			return 0;
		if (ev.kind == WAIT_SIGNAL_STOP && ev.signal != SIGSTOP)
			return -EIO;
		if (ptrace(PTRACE_CONT, tid, NULL, NULL) < 0)
			return -errno;
	}
}

int inplace_ask(struct twin_engine *e, struct twin *w, struct injection *in)
{
	struct inplace_area *a = &e->in_place->area;
	struct arch_regs regs = w->regs;
	int r;

	(void)in; /* all signals are blocked by it */
	w->in_place.area = w->data + w->image_len;
	write_questions(a, w->in_place.area);
	self_ask(a, w->in_place.area, !e->inside);
	r = image_write(w->pid, w->in_place.area, a, offsetof(struct inplace_area, actions));
	if (r < 0)
		return r;
	arch_prepare_routine(&regs, w->code, ROUTINE_CALLS, w->in_place.area, 0);
	r = arch_set_regs(w->pid, &regs);
	return r < 0 ? r : run_to_trap(e, w->pid);
}

static int record_layout(struct twin_engine *e, struct twin *w)
{
	struct layout *l = &w->in_place.layout, *now = &e->in_place->now;
	int r = layout_reserve(l, MAX2(now->n_max, (size_t)256));

	if (r == 0)
		r = layout_read(l, w->pid);
	if (r == -ENOSPC) {
		r = layout_reserve(l, l->n + l->n / 2);
		if (r == 0)
			r = layout_read(l, w->pid);
	}
	if (r < 0)
		return r;
	/* Room for all that may have been mapped by then; two, for leaving out makes two of one. */
	r = layout_reserve(now, l->n * 4 + 256);
	if (r == 0)
		r = layout_reserve(l, l->n + 2 + 2 * w->excluded.n);
	layout_leave_out(l, w->code, w->code + w->code_len);
	layout_leave_out(l, w->data, w->data + w->data_len);
	exclude_amend(&w->excluded, l);
	return r;
}

void inplace_record(struct twin_engine *e, struct twin *w)
{
	struct inplace_twin *t = &w->in_place;

	t->why_not = NULL;
	if (!e->had_children)
		t->n_children = state_children(e, t->children, INPLACE_CHILDREN);
	e->had_children |= t->n_children > 0;
	ghosts_record(e->n_twins ? &e->twins[0]->in_place : NULL, t);
	for (unsigned i = 0; i < t->n_children; i++)
		t->children_started[i] = children_started(t->children[i]);
	state_record(e, w);
	if (record_layout(e, w) < 0)
		t->why_not = "its mappings could not be read";
	if (!pages_visible(e->in_place->pages))
		t->why_not = "no right to see page frames";
	t->fit = !t->why_not;
}

/* --- can it be, and what will it cost ------------------------------------------------------- */

const char *inplace_impossible(struct twin_engine *e, const struct twin *w)
{
	if (e->ended || !thread_find(e, e->pid))
		return "it has ended";
	if (e->group_stopped)
		return "it is stopped by a signal";
	FOREACH_THREAD(e, t)
	{
		if (thread_is_stuck(e, t))
			return "a thread does not come out of the kernel";
	}
	if (!w->in_place.fit)
		return w->in_place.why_not;
	if (!e->holder || e->holder_fresh || e->holder_busy)
		return "no task to work with in its memory";
	return state_changed(e, w);
}

/*
 * Each page that the active has touched anew since is a minor fault (the first write to a page that
 * it shares with its twin is one), and the frames of all of its own pages are compared.
 */
nsec_t inplace_estimate(struct twin_engine *e, const struct twin *w)
{
	char text[128];
	uint64_t resident = 0, file = 0, dirty = state_faults(e) - w->in_place.faults;
	char *p;

	if (proc_read(text, sizeof(text), "%d/statm", e->pid) > 0) {
		(void)strtoull(text, &p, 10);
		resident = strtoull(p, &p, 10);
		file = strtoull(p, &p, 10);
	}
	resident = resident > file ? resident - file : 0;
	return COST_BASE + resident * COST_PAGE + MIN2(dirty, resident) * COST_DIRTY +
	       w->in_place.layout.n * COST_MAPPING + w->n_threads * COST_THREAD;
}

/* --- the memory ----------------------------------------------------------------------------- */

static int map_at(struct injection *in, uint64_t at, size_t len, int prot)
{
	long result;
	int r = inject_call(in, SYS_mmap,
		(const uint64_t[6]){at, len, (uint64_t)prot,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, (uint64_t)-1, 0},
		&result);

	return r < 0 ? r : (uint64_t)result == at ? 0 : result < 0 ? (int)result : -EEXIST;
}

static int restore_break(struct injection *in, const struct inplace_area *asked)
{
	uint64_t want = (uint64_t)asked->questions[ASK_BREAK].result;
	long result;
	int r = inject_call(in, SYS_brk, (const uint64_t[6]){want}, &result);

	return r < 0 ? r : (uint64_t)result == want ? 0 : -ENOMEM;
}

static int restore_layout(struct twin_engine *e, struct twin *w, struct injection *in,
	const struct inplace_area *asked)
{
	struct inplace_twin *t = &w->in_place;
	struct layout *now = &e->in_place->now;
	int r = restore_break(in, asked);

	if (r == 0)
		r = layout_read(now, e->pid);
	if (r == 0)
		r = layout_unmap(in, &t->layout, now);
	if (r == 0)
		r = map_at(in, w->code, w->code_len, PROT_READ | PROT_EXEC);
	if (r == 0)
		r = map_at(in, w->data, w->data_len, PROT_READ | PROT_WRITE);
	if (r == 0)
		r = layout_map(
			in, &t->layout, now, w->pid, t->area + offsetof(struct inplace_area, path));
	return r;
}

static int restore_memory(struct twin_engine *e, struct twin *w, const struct inplace_area *asked)
{
	struct page_range skip[2 + EXCLUDED_MAX] = {
		{w->code, w->code + w->code_len}, {w->data, w->data + w->data_len}};
	unsigned n_skip = 2 + exclude_kept(&w->excluded, skip + 2, EXCLUDED_MAX);
	struct injection in;
	uint64_t copied;
	int r;

	schedule_boost(e->holder);
	r = inject_begin(e, e->holder, &e->holder_regs, false, &in);
	if (r < 0)
		return r;
	inplace_keep_rseq(e, w);
	r = restore_layout(e, w, &in, asked);
	if (r < 0)
		(void)engine_fail(e, r, "mappings: %s", strerror(-r));
	if (r == 0)
		r = pages_restore(e->in_place->pages, e->pid, w->pid, &in, skip, n_skip, &copied);
	if (r == 0)
		r = inplace_put_rseq(e, w);
	inject_end(&in);
	return r;
}

/* --- what the process does for itself ------------------------------------------------------- */

static int copy_scratch(struct twin_engine *e, struct twin *w)
{
	int r = pages_copy(e->in_place->pages, e->pid, w->pid, w->code, w->code_len);

	if (r == 0)
		r = pages_copy(e->in_place->pages, e->pid, w->pid, w->data,
			w->image_len + offsetof(struct inplace_area, calls));
	return r;
}

/* The image in the active says what it says in the twin, but for the list of the main thread and
 * the threads that need not be made. */
static int adapt_image(struct twin_engine *e, struct twin *w, const struct inplace_calls *l)
{
	struct inplace_area *a = &e->in_place->area;
	uint64_t list[2] = {l->n, w->in_place.area + offsetof(struct inplace_area, calls)};
	uint64_t self[2] = {self_restore(a, w->in_place.area),
		w->in_place.area + offsetof(struct inplace_area, self_calls)};
	uint64_t death = (uint64_t)w->in_place.timers.parent_death_signal;
	int r = image_write(e->pid, list[1], a->calls, l->n * sizeof(a->calls[0]));

	if (r == 0)
		r = image_write(e->pid, self[1], a->self_calls, sizeof(a->self_calls));
	if (r == 0)
		r = image_write(e->pid, w->data + offsetof(struct routine_args, n_thread_calls),
			self, sizeof(self));
	/* They begin with none. */
	if (r == 0)
		r = image_write(e->pid,
			w->threads_at + offsetof(struct routine_thread, parent_death_signal),
			&death, sizeof(death));

	if (r == 0 && l->data_len)
		r = image_write(e->pid, l->data_at, a->data, l->data_len);
	if (r == 0)
		r = image_write(e->pid, w->data + offsetof(struct routine_args, n_leader_calls),
			list, sizeof(list));
	for (unsigned i = 0; r == 0 && i < w->n_threads; i++) {
		uint64_t at = w->threads_at + i * sizeof(struct routine_thread);
		int64_t tid = w->threads[i].tid;
		uint32_t steer = w->stepwise;
		if (w->threads[i].stands)
			r = image_write(e->pid, at + offsetof(struct routine_thread, result), &tid,
				sizeof(tid));
		else
			r = image_write(e->pid, at + offsetof(struct routine_thread, steer), &steer,
				sizeof(steer));
	}
	return r;
}

/* A timer that was deleted since has its number again, or the rollback is none. */
static int check_calls(struct twin_engine *e, struct twin *w, const struct inplace_calls *l)
{
	struct inplace_area *a = &e->in_place->area;
	int r = image_read(e->pid, w->in_place.area + offsetof(struct inplace_area, calls),
		a->calls, l->n * sizeof(a->calls[0]));

	for (unsigned i = 0; r == 0 && i < l->n; i++) {
		const struct routine_call *c = &a->calls[i];

		if (c->nr == SYS_timer_create && (c->result < 0 || (i > 0 && c[-1].result < 0)))
			return engine_fail(e, -ENOTSUP, "a timer could not be made again");
		if (c->nr == SYS_chdir && c->result < 0)
			return engine_fail(
				e, -ENOTSUP, "its working folder could not be entered again");
		if (self_is_changed(a, c))
			return engine_fail(e, -ENOTSUP, "its keyrings were changed");
	}
	return r;
}

/* It is waited for: on our CPU, where it need not be woken from afar, and before others. What it
 * had is put back when it is let go. */
static void hurry(pid_t leader)
{
	int cpu = sched_getcpu();
	cpu_set_t here;

	schedule_boost(leader);
	if (cpu < 0)
		return;
	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	(void)sched_setaffinity(leader, sizeof(here), &here);
}

static int run_leader(struct twin_engine *e, struct twin *w, const struct inplace_area *asked)
{
	struct inplace_area *a = &e->in_place->area;
	struct inplace_calls l = {.calls = a->calls,
		.data = a->data,
		.data_at = w->in_place.area + offsetof(struct inplace_area, data)};
	unsigned standing = 0;
	int r = state_stop_timers(e);

	if (r == 0)
		r = inplace_drop_signals(e, w);
	if (r < 0)
		return r;
	state_restore(e, w, asked, &l);
	if (l.full)
		return engine_fail(e, -E2BIG, "too much to put back");
	r = adapt_image(e, w, &l);
	if (r == 0)
		r = inplace_aim_threads(w);
	if (r < 0)
		return r;
	for (unsigned i = 1; i < w->n_threads; i++)
		standing += w->threads[i].stands;
	hurry(e->pid);
	r = rebuild_missing(e, w, standing);
	return r < 0 ? r : check_calls(e, w, &l);
}

static int fail(struct twin_engine *e, int error, const char *step)
{
	return e->reason[0] ? error : engine_fail(e, error, "%s: %s", step, strerror(-error));
}

/* Whoever was made again ends with the process, and that end must not be taken for the end of the
 * one that is made next under the same number. */
static void know_new_threads(struct twin_engine *e, const struct twin *w)
{
	for (unsigned i = 0; i < w->n_threads; i++)
		if (!w->threads[i].stands && proc_tgid(w->threads[i].tid) == e->pid &&
			!thread_add(e, w->threads[i].tid))
			return; /* no memory: there was room for as many at the checkpoint */
}

int inplace_run(struct twin_engine *e, struct twin *w, struct twin_swap *ret)
{
	struct inplace_area *asked = &e->in_place->area;
	struct arch_regs regs;
	int r = engine_stop_all(e);

	e->in_place_begun = false;
	if (r == 0)
		r = inplace_meet_threads(e);
	if (r == 0)
		r = inplace_judge_stops(e);
	e->in_place_begun = r == 0;
	if (r == 0)
		r = inplace_take_hold(e, w);
	if (r < 0)
		return fail(e, r, "stopping its threads");
	remains_read(e);
	r = image_read(w->pid, w->in_place.area, asked, offsetof(struct inplace_area, actions));
	if (r == 0)
		r = inplace_end_threads(e, w);
	if (r < 0)
		return fail(e, r, "its threads");
	e->remains.fresh = false; /* what its memory was is gone from here on */
	r = restore_memory(e, w, asked);
	if (r < 0)
		return fail(e, r, "its memory");
	r = swap_reconcile(e, w, ret);
	if (r == 0)
		r = copy_scratch(e, w);
	if (r == 0)
		r = run_leader(e, w, asked);
	/* Killed for want of memory, it has lost pages while we read them. */
	if (r == 0)
		r = arch_get_regs(w->pid, &regs);
	if (r < 0) {
		know_new_threads(e, w);
		return fail(e, r, "its state");
	}
	ghosts_raise(e, w, ret); /* it has the threads' lists of children read */
	threads_clear(e);
	return 0;
}
