/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The swap. By reclaim: the active is killed and reaped to the last thread, so that its pid and
 * thread ids are free, descriptors and streams are reconciled, and the twin is rebuilt under the
 * old ids (rebuild.c). Or in place (inplace.c), which leaves the twin as it is, so that reclaim is
 * still there when it fails.
 *
 * Nothing here allocates, writes a file but under /proc, or waits for anybody but the tasks
 * concerned. The memory of the dead is held by the holder, so nobody waits for its teardown.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "supervisor/twin/engine.h"

#define REAP_DEADLINE 2000000000ULL

const char *twin_way_to_string(enum twin_way w)
{
	static const char *const names[_TWIN_WAY_MAX] = {
		[TWIN_WAY_AUTO] = "auto",
		[TWIN_WAY_RECLAIM] = "reclaim",
		[TWIN_WAY_IN_PLACE] = "in-place",
		[TWIN_WAY_NAMESPACE] = "namespace",
	};

	return (unsigned)w < _TWIN_WAY_MAX ? names[w] : "unknown";
}

void twin_prefer_way(struct twin_engine *e, enum twin_way way)
{
	e->config.way = way;
}

void swap_note_loss(struct twin_swap *ret, const char *fmt, ...)
{
	size_t len = strlen(ret->lost);
	va_list ap;

	if (len + 3 >= sizeof(ret->lost))
		return;
	if (len > 0)
		len += (size_t)snprintf(ret->lost + len, sizeof(ret->lost) - len, ", ");
	va_start(ap, fmt);
	vsnprintf(ret->lost + len, sizeof(ret->lost) - len, fmt, ap);
	va_end(ap);
}

int swap_reap_active(struct twin_engine *e)
{
	int r = 0;

	/* Its end may have been told while somebody else was waited for. */
	engine_take_deferred(e);
	if (e->ended)
		return 0;
	if (kill(e->pid, SIGKILL) < 0 && errno != ESRCH)
		return engine_fail(e, -errno, "kill: %s", strerror(errno));
	/* None of them will see user mode again. */
	FOREACH_THREAD(e, t)
	{
		schedule_boost(t->tid);
	}
	engine_deadline_set(e, REAP_DEADLINE);
	while (!e->ended) {
		int raw;
		pid_t pid = engine_wait(-1, &raw);
		struct wait_event ev;
		struct thread *t;

		if (pid < 0) {
			r = engine_fail(e, pid, "the old process does not end: %s", strerror(-pid));
			break;
		}
		ev = wait_classify((struct wait_status){raw}, true);
		t = thread_find(e, pid);
		if (pid == e->pid && wait_is_end(&ev)) {
			threads_clear(e);
			e->ended = true;
			e->end_status = raw;
		} else if (t && wait_is_end(&ev))
			thread_remove(e, t);
		else if (t)
			(void)ptrace(PTRACE_CONT, pid, NULL, NULL);
		else
			engine_defer(e, pid, raw);
	}
	engine_deadline_clear(e);
	return r;
}

static int write_repairs(struct twin_engine *e, struct twin *w)
{
	uint64_t n = e->n_repairs;
	struct iovec mine[3] = {
		{&n, sizeof(n)},
		{e->repairs, e->n_repairs * sizeof(e->repairs[0])},
		{e->repair_data, e->repair_data_len},
	};
	struct iovec theirs[3] = {
		{(void *)(w->data + offsetof(struct routine_args, n_calls)), sizeof(n)},
		{(void *)w->calls_at, mine[1].iov_len},
		{(void *)w->repair_data_at, mine[2].iov_len},
	};
	size_t len = mine[0].iov_len + mine[1].iov_len + mine[2].iov_len;
	ssize_t r = process_vm_writev(w->pid, mine, 3, theirs, 3, 0);

	return r == (ssize_t)len ? 0
				 : engine_fail(e, r < 0 ? -errno : -EFAULT,
					   "writing the repairs: %s", strerror(errno));
}

static int finish_reconciling(struct twin_engine *e, struct twin *w, const struct twin_swap *swap)
{
	/* In place the memory is there already. */
	int r = restart_at_swap(e, w, swap->way == TWIN_WAY_IN_PLACE ? e->pid : 0);

	return r < 0 ? engine_fail(e, r, "calls under way: %s", strerror(-r)) : write_repairs(e, w);
}

int swap_reconcile(struct twin_engine *e, struct twin *w, struct twin_swap *ret)
{
	int r = files_scan(&e->files_now, w->pid, w->pidfd, w->fd_dir);

	e->n_repairs = 0;
	e->lock_calls_from = e->lock_calls_to = 0;
	e->repairs_max = w->repair_calls;
	e->repair_data_max = w->repair_data_size;
	e->repairs_full = false;
	e->repair_data_len = 0;
	e->repair_data_at = w->repair_data_at;
	if (r == 0)
		r = streams_sample(&e->streams_now, &e->files_now, w->pidfd);
	if (r < 0) {
		/* More descriptors than there is room for, here or in our own table: better run
		 * with them than not run. */
		swap_note_loss(ret, "descriptors opened, closed or moved on since");
		return finish_reconciling(e, w, ret);
	}
	r = streams_reconcile(
		e, &w->streams, &e->streams_now, &w->files, &e->files_now, w->pidfd, ret);
	if (r < 0)
		return r;
	files_reconcile(e, w->pid, &w->files, &e->files_now, ret);
	if (e->repairs_full)
		swap_note_loss(ret, "more descriptors than can be put back");
	return finish_reconciling(e, w, ret);
}

/* n_twins: it is not among them any more. */
static unsigned place_of(const struct twin_engine *e, const struct twin *w)
{
	unsigned i = 0;

	while (i < e->n_twins && e->twins[i] != w)
		i++;
	return i;
}

/* The twin is the active now. */
static void adopt(struct twin_engine *e, struct twin *w, bool in_place)
{
	unsigned generation;

	e->ended = false;
	e->group_stopped = false;
	e->fatal_tid = 0;
	e->fault_seen = 0;
	e->streams_seen.n = 0;
	e->scratch = (struct scratch_left){w->code, w->data, w->code_len, w->data_len};
	if (in_place)
		e->remains.fresh = false; /* its memory has become the twin's */
	if (!in_place) {                  /* its template is the holder of its memory */
		remains_keep(e, e->holder);
		e->holder = w->pid;
		e->holder_fresh = e->holder_busy = false;
		e->holder_regs = w->regs;
		locked_start(e, w, false);
		w->pid = 0;
	} else if (e->holder) {
		locked_start(e, w, true);
	}
	/* A newer one may have ended meanwhile, and all others have moved up. */
	generation = place_of(e, w);
	if (generation < e->n_twins)
		twin_slot_clear(e, generation);
	for (unsigned i = MIN2(generation, e->n_twins); i > 0; i--)
		twin_slot_clear(e, i - 1);
	if (!in_place && engine_open_proc(e) < 0)
		e->reason[0] = '\0'; /* the next checkpoint will say what is wrong */
}

/* Whatever was still to be said of the old process is answered by the swap. */
static void drop_old_events(struct twin_engine *e)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < e->n_events; i++)
		if (e->events[i].type == TWIN_EVENT_CHILD ||
			e->events[i].type == TWIN_EVENT_TWIN_LOST)
			e->events[kept++] = e->events[i];
	e->n_events = kept;
}

/* Reclaim takes about so long with so many threads; see COST_... in inplace.c. */
#define RECLAIM_BASE 300000ULL
#define RECLAIM_THREAD 32000ULL

/* Why in place, or NULL: then *ret_why says why not. */
static const char *why_in_place(struct twin_engine *e, const struct twin *w, const char **ret_why)
{
	if (e->inside) {
		*ret_why = "its threads stand ready in a namespace";
		return NULL;
	}
	if (e->config.way == TWIN_WAY_RECLAIM) {
		*ret_why = "as set";
		return NULL;
	}
	*ret_why = inplace_impossible(e, w);
	if (*ret_why)
		return NULL;
	if (e->config.way == TWIN_WAY_IN_PLACE)
		return "as set";
	if (w->in_place.pid_in_use)
		return "its group or session has other members";
	if (w->in_place.n_children > 0)
		return "it has children";
	if (w->stepwise)
		return "it may not choose its pid";
	if (e->in_place_last) {
		*ret_why = "it failed again after a rollback in place";
		return NULL;
	}
	if (inplace_estimate(e, w) <= RECLAIM_BASE + w->n_threads * RECLAIM_THREAD)
		return "it is faster";
	*ret_why = "it is faster";
	return NULL;
}

/* A twin has failed for which the active only stood still; what comes next counts on its end. */
static void end_stopped(struct twin_engine *e)
{
	char reason[TWIN_REASON_MAX];

	snprintf(reason, sizeof(reason), "%s", e->reason);
	namespace_read_old(e);
	if (swap_reap_active(e) == 0 || reason[0])
		snprintf(e->reason, sizeof(e->reason), "%s", reason);
}

static int end_active(struct twin_engine *e, const struct twin *w)
{
	engine_take_deferred(e);
	children_note(e);
	if (!e->ended && w->nest.leader && namespace_stop_old(e))
		return 0;
	if (w->nest.leader)
		remains_take(e);
	else
		remains_glance(e);
	if (e->ended)
		return 0;
	partial_before_end(e);
	return swap_reap_active(e);
}

static int swap_by_reclaim(struct twin_engine *e, struct twin *w, struct twin_swap *swap)
{
	int r = end_active(e, w);

	if (r < 0)
		return r;
	swap->reaped = now_nsec() - swap->begun;
	if (w->pid == 0)
		r = engine_fail(e, -ESRCH, "the twin has ended");
	if (r == 0)
		r = children_settle(e, w, swap);
	if (r == 0)
		r = swap_reconcile(e, w, swap);
	if (r == 0)
		r = w->nest.leader ? namespace_late_calls(e, w) : rebuild_run(e, w);
	if (r == 0 && !exclude_fetch(e, w))
		swap_note_loss(swap, "contents of memory that was to be kept as it is");
	if (r < 0 && !e->ended)
		end_stopped(e);
	return r;
}

static int swap_in_place(struct twin_engine *e, struct twin *w, struct twin_swap *swap)
{
	struct twin_swap fresh = *swap;
	int r;

	swap->way = TWIN_WAY_IN_PLACE;
	r = inplace_run(e, w, swap);
	if (r < 0) { /* the twin is unharmed */
		*swap = fresh;
		snprintf(e->in_place_failed, sizeof(e->in_place_failed), "in place: %.200s",
			e->reason);
		swap->why = e->in_place_failed;
		e->reason[0] = '\0';
	} else if (w->excluded.n > 0) {
		char text[EXCLUDED_TEXT_MAX];
		exclude_describe(&w->excluded, text, sizeof(text));
		swap_note_loss(swap, "memory: %s", text);
	}
	return r;
}

int twin_swap(struct twin_engine *e, unsigned generation, struct twin_swap *ret)
{
	struct twin_swap swap = {.generation = generation,
		.old_pid = e->pid,
		.new_pid = e->pid,
		.way = TWIN_WAY_RECLAIM};
	const char *why;
	struct twin *w;
	int r = -EAGAIN;

	e->reason[0] = '\0';
	if (generation >= e->n_twins || !e->traced)
		return engine_fail(e, -ENODATA, "no twin of generation %u", generation);
	w = e->twins[generation];
	swap.begun = e->fault_seen ? e->fault_seen : now_nsec();
	swap.n_threads = w->n_threads;
	swap.rollback = swap.begun - w->at;
	snprintf(swap.lost, sizeof(swap.lost), "%s", w->lost);
	remains_begin(e);
	why = why_in_place(e, w, &swap.why);
	if (!why && e->config.foster)
		return engine_fail(e, -ENODATA, "%s", swap.why);
	if (why) {
		swap.why = why;
		r = swap_in_place(e, w, &swap);
	}
	if (r < 0 && e->config.foster && !e->in_place_begun) {
		/* Nothing was done to it: it may go on, or die as it was about to. */
		engine_thaw(e);
		r = engine_fail(e, -ENODATA, "%s", e->in_place_failed);
	} else if (r < 0 && e->config.foster) {
		/* Half rolled back it may not run, and nobody else can be its parent's child. */
		engine_take_deferred(e);
		if (e->ended || swap_reap_active(e) == 0)
			(void)engine_fail(e, r, "%s", e->in_place_failed);
	} else if (r < 0) {
		if (w->nest.leader)
			swap.way = TWIN_WAY_NAMESPACE;
		r = swap_by_reclaim(e, w, &swap);
	}
	/* Of a process that is gone nothing may be told after that of the next. */
	if (r < 0)
		engine_take_deferred(e);
	drop_old_events(e);
	if (r < 0) {
		/* One that ended by itself has left its place. */
		generation = place_of(e, w);
		if (generation < e->n_twins)
			twin_slot_clear(e, generation);
		return e->reason[0] ? r : engine_fail(e, r, "the swap: %s", strerror(-r));
	}
	if (!file_locks_are_back(e, w, swap.way == TWIN_WAY_IN_PLACE ? e->pid : w->pid))
		swap_note_loss(&swap, "a file lock that somebody else has by now");
	if (w->nest.leader) {
		swap.latency = namespace_let_go(e, w) - swap.begun;
		swap.new_pid = e->pid;
	} else {
		rebuild_let_go(e, w);
		swap.latency = now_nsec() - swap.begun;
	}
	if (w->oom_score_lost)
		swap_note_loss(&swap, "its OOM score (it is the first to go)");
	if (w->schedules_lost)
		swap_note_loss(&swap, "the scheduling of some threads");
	e->in_place_last = swap.way == TWIN_WAY_IN_PLACE;
	adopt(e, w, e->in_place_last);
	waits_arm(e);
	engine_take_deferred(e);
	*ret = swap;
	return 0;
}
