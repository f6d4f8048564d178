/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupted calls, made invisible.
 *
 * A stop breaks a blocking call. What the kernel then means to do stands in the result register
 * (linux/errno.h): -ERESTARTSYS, -ERESTARTNOINTR, -ERESTARTNOHAND are made again by themselves
 * when the thread goes on; -ERESTART_RESTARTBLOCK goes on as restart_syscall from a block that
 * the kernel keeps for this task only, so a twin must make the original call; and calls that
 * "never restart after a stop" (signal(7)) say -EINTR, which the program would see: those are
 * turned into -ERESTARTNOHAND. That word is exact: it becomes -EINTR again where a handler
 * really runs, and a restart where none does.
 *
 * A call made again waits its full time again: waits.h.
 *
 * A thread that is to make its call again stands, for a moment, in front of it, in user mode. A
 * signal with a handler that comes just then would be handled before the call, which would wait on
 * although it had to say EINTR. So such a thread is put back into its call before the handler runs.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"

#define MARK_MAX 0xffffff

static bool is_restart(long result)
{
	return result == -ERESTARTSYS || result == -ERESTARTNOINTR || result == -ERESTARTNOHAND;
}

bool restart_is_blocked(const struct arch_regs *r)
{
	long result = arch_syscall_result(r);
	return arch_in_syscall(r) &&
	       (is_restart(result) || result == -ERESTART_RESTARTBLOCK || result == -EINTR);
}

const char *restart_unsupported(const struct arch_regs *r)
{
	if (!arch_in_syscall(r))
		return NULL;
	switch (arch_syscall_nr(r)) {
	case SYS_io_getevents:
	case SYS_io_pgetevents:
		return "a thread waits in io_getevents: AIO contexts cannot be copied";
	case SYS_io_uring_enter:
		return "a thread waits in io_uring_enter: rings cannot be copied";
	default:
		return NULL;
	}
}

/* Where a thread is, seen from its last broken wait. */
enum place { ELSEWHERE, INSIDE, BEFORE };

/*
 * Stopped twice in a row, it may stand in front of its call and not have left the kernel since:
 * what it came in with is still there, and is of no more use to anybody. A twin that were taken for
 * somebody in a call would make restart_syscall, and see EINTR.
 */
static void leave_kernel(const struct wait_record *w, bool by_block, struct arch_regs *r)
{
	struct arch_regs left = *r;

	arch_leave_syscall(&left);
	if (arch_before_syscall(&left, w->ip, w->nr) ||
		(by_block && arch_before_syscall(&left, w->ip, SYS_restart_syscall)))
		*r = left;
}

static enum place place_of(const struct wait_record *w, struct arch_regs *r)
{
	bool by_block = w->error == -ERESTART_RESTARTBLOCK;

	if (!w->mark)
		return ELSEWHERE;
	leave_kernel(w, by_block, r);
	if (arch_in_syscall(r))
		return arch_mark(r) == w->mark || (by_block && arch_ip(r) == w->ip &&
							  arch_syscall_nr(r) == SYS_restart_syscall)
			       ? INSIDE
			       : ELSEWHERE;
	if (arch_before_syscall(r, w->ip, w->nr) && arch_mark(r) == w->mark)
		return BEFORE;
	return by_block && arch_before_syscall(r, w->ip, SYS_restart_syscall) ? BEFORE : ELSEWHERE;
}

/* Calls whose -EINTR is final: made again they would act twice. */
static bool acts_twice(const struct arch_regs *r, long nr)
{
	/* With nothing to submit it only waits. */
	return nr == SYS_io_uring_enter && arch_syscall_arg(r, 1) > 0;
}

static uint32_t new_mark(struct twin_engine *e)
{
	e->marks = e->marks % MARK_MAX + 1;
	return e->marks;
}

/* A thread in a broken call: true if the registers changed. */
static bool mend_inside(struct twin_engine *e, struct thread *t, struct arch_regs *r, nsec_t now,
	bool same, bool expiring)
{
	struct wait_record *w = &t->wait;
	long result = arch_syscall_result(r);

	if (same)
		waits_again(e, t, r, now);
	else {
		*w = (struct wait_record){.mark = new_mark(e),
			.nr = arch_syscall_nr(r),
			.ip = arch_ip(r),
			.chained = expiring};
		waits_note(e, t, r, now);
	}
	w->error = result == -EINTR ? -ERESTARTNOHAND : result;
	if (waits_is_over(w, now) && waits_end(e, t->tid, w, r))
		return true;
	/* By its block the kernel goes on with another number, whatever stands there; from then on
	 * that is the mark. */
	if (w->error == -ERESTART_RESTARTBLOCK && same)
		return false;
	arch_set_restart(r, w->nr, w->error);
	arch_set_mark(r, w->mark);
	return true;
}

bool restart_mend(
	struct twin_engine *e, struct thread *t, struct arch_regs *r, nsec_t now, bool by_user)
{
	struct wait_record *w = &t->wait;
	enum place place = place_of(w, r);
	bool expiring = t->expiring;
	long nr, result;

	t->expiring = false;
	if (place == BEFORE)
		return waits_is_over(w, now) && waits_end(e, t->tid, w, r);
	nr = arch_syscall_nr(r);
	result = arch_syscall_result(r);
	if (!restart_is_blocked(r) || (place == ELSEWHERE && nr == SYS_restart_syscall) ||
		(result == -EINTR && (by_user || acts_twice(r, nr)))) {
		w->mark = 0;
		return false;
	}
	/* It did what it could (close(2)): the descriptor is gone. */
	if (nr == SYS_close && result == -EINTR) {
		w->mark = 0;
		arch_finish_syscall(r, 0);
		return true;
	}
	return mend_inside(e, t, r, now, place == INSIDE, expiring);
}

int restart_for_twin(const struct thread *t, struct arch_regs *ret, struct wait_record *ret_wait)
{
	const struct wait_record *w = &t->wait_then;
	enum place place;

	*ret = t->regs;
	place = place_of(w, ret);
	*ret_wait = (struct wait_record){0};
	if (place == ELSEWHERE)
		return restart_is_blocked(ret) ? -EBUSY : 0;
	*ret_wait = *w;
	ret_wait->by_kernel = false; /* it knew that task */
	if (place == INSIDE)
		arch_rewind_syscall(ret, w->nr);
	else
		arch_set_next_syscall(ret, w->nr);
	arch_set_mark(ret, w->mark);
	return 0;
}

/* A wait whose time is over by now ends at once. */
static bool wait_at_swap(const struct twin_engine *e, struct twin *w, struct twin_thread *tt,
	pid_t in_place, nsec_t now, struct arch_regs *r)
{
	struct wait_record again = tt->wait;

	*r = tt->regs;
	if (!tt->wait.mark || !waits_is_over(&tt->wait, now))
		return false;
	if (in_place)
		(void)waits_end(e, in_place, &again, r);
	*r = tt->regs;
	return waits_end(e, w->pid, &tt->wait, r);
}

int restart_at_swap(struct twin_engine *e, struct twin *w, pid_t in_place)
{
	nsec_t now = now_nsec();

	for (unsigned i = 0; i < w->n_threads; i++) {
		struct twin_thread *tt = &w->threads[i];
		uint8_t context[ARCH_CONTEXT_SIZE];
		struct arch_regs regs;
		int r = partial_at_swap(e, w, tt, in_place, &regs);

		if (r < 0)
			return r;
		if (r == 0 && !wait_at_swap(e, w, tt, in_place, now, &regs))
			continue;
		arch_build_context(context, &regs);
		r = image_write(
			w->pid, tt->frame_at + ARCH_CONTEXT_OFFSET, context, sizeof(context));
		if (r < 0)
			return r;
	}
	return 0;
}

void restart_adopt(struct twin_engine *e, struct thread *t, const struct twin_thread *tt)
{
	waits_adopt(t, &tt->wait);
	partial_adopt(e, t, tt);
}

bool restart_is_made_again(const struct thread *t, const struct arch_regs *r)
{
	struct arch_regs regs = *r;

	return place_of(&t->wait, &regs) != ELSEWHERE;
}

bool restart_stand_before(const struct thread *t, struct arch_regs *r)
{
	enum place place = place_of(&t->wait, r);

	if (place == INSIDE) {
		arch_rewind_syscall(r, t->wait.nr);
		arch_set_mark(r, t->wait.mark);
	}
	return place != ELSEWHERE;
}

void restart_mend_stopped(struct twin_engine *e, struct thread *t, bool by_user)
{
	struct arch_regs regs;

	if (arch_get_regs(t->tid, &regs) < 0 || !restart_mend(e, t, &regs, now_nsec(), by_user))
		return;
	if (arch_set_regs(t->tid, &regs) < 0)
		return; /* dead: nothing left to mend */
}

void restart_before_handler(struct thread *t)
{
	struct wait_record *w = &t->wait;
	struct arch_regs regs;
	enum place place;

	if (!w->mark || arch_get_regs(t->tid, &regs) < 0)
		return;
	place = place_of(w, &regs);
	w->mark = 0;
	if (place == BEFORE)
		arch_reenter_syscall(&regs, w->nr, w->error);
	else if (place == INSIDE && arch_mark(&regs))
		arch_set_mark(&regs, 0); /* it would be in the handler's context */
	else
		return;
	if (arch_set_regs(t->tid, &regs) < 0)
		return; /* dead */
}
