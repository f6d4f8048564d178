/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blocking write to a pipe or socket, or a recv() with MSG_WAITALL, that has moved some bytes
 * returns their number when a stop breaks it, and the program sees a short count that it would
 * not have seen without us. So the thread is sent back for the rest, and stopped once more when
 * that is done, to put the whole count where the program looks for it.
 *
 * A short count that had another reason (a non-blocking socket without room, a signal) stays
 * what it is: the second call moves nothing then. Calls with more than one buffer (writev,
 * sendmsg) are left alone.
 */
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"

enum { FD_ARG = 0, BUFFER_ARG = 1, LENGTH_ARG = 2, FLAGS_ARG = 3 };

static bool moves_all(const struct arch_regs *r)
{
	long nr = arch_syscall_nr(r);

	return nr == SYS_write || nr == SYS_sendto ||
	       (nr == SYS_recvfrom && (arch_syscall_arg(r, FLAGS_ARG) & MSG_WAITALL));
}

bool partial_is(const struct twin_engine *e, const struct arch_regs *r)
{
	const struct file_entry *f;
	long moved = arch_syscall_result(r);

	if (!arch_in_syscall(r) || !moves_all(r) || moved <= 0 ||
		(uint64_t)moved >= arch_syscall_arg(r, LENGTH_ARG))
		return false;
	f = files_find(&e->files_now, (int)arch_syscall_arg(r, FD_ARG));
	return f && (f->kind == FILE_SOCKET || f->kind == FILE_PIPE);
}

/* Back to the call instruction, for what is left. */
static void aim(struct thread *t)
{
	struct arch_regs regs = t->partial.regs;
	uint64_t done = t->partial.done;

	arch_set_syscall_arg(&regs, BUFFER_ARG, arch_syscall_arg(&regs, BUFFER_ARG) + done);
	arch_set_syscall_arg(&regs, LENGTH_ARG, arch_syscall_arg(&regs, LENGTH_ARG) - done);
	arch_rewind_syscall(&regs, arch_syscall_nr(&t->partial.regs));
	t->partial.entered = false;
	if (arch_set_regs(t->tid, &regs) < 0)
		t->partial.active = false; /* dead */
}

void partial_begin(struct twin_engine *e, struct thread *t, const struct arch_regs *r)
{
	if (t->partial.active || !partial_is(e, r))
		return;
	t->partial = (struct partial_call){
		.active = true, .regs = *r, .done = (uint64_t)arch_syscall_result(r)};
	aim(t);
}

/* The call is over, with what was moved in all. */
static void finish(struct thread *t)
{
	struct arch_regs regs = t->partial.regs;

	t->partial.active = false;
	arch_set_restart(&regs, -1, (long)t->partial.done);
	if (arch_set_regs(t->tid, &regs) < 0)
		return; /* dead */
}

void partial_stop(struct thread *t)
{
	struct arch_regs regs;
	long moved;

	if (!t->partial.active)
		return;
	if (!t->partial.entered) {
		t->partial.entered = true;
		return;
	}
	if (arch_get_regs(t->tid, &regs) < 0)
		return;
	moved = arch_syscall_result(&regs);
	if (moved > 0)
		t->partial.done += (uint64_t)moved;
	/* Broken by the next freeze: again. A signal that broke it is told before it gets there. */
	if (t->partial.done < arch_syscall_arg(&t->partial.regs, LENGTH_ARG) &&
		(moved > 0 || restart_is_blocked(&regs)))
		aim(t);
	else
		finish(t);
}

void partial_signal(struct thread *t)
{
	/* A handler comes first: as without us, it cuts the call short. */
	if (t->partial.active)
		finish(t);
}
