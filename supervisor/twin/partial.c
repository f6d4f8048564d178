/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/partial.h"

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/twin/engine.h"

/* The call is over, with what was moved in all. */
static void finish(struct partial_call *p, struct arch_regs *r)
{
	*r = p->regs;
	p->kind = PARTIAL_NONE;
	arch_finish_syscall(r, (long)p->done);
}

/* Twins of a moment in this call. */
static void tell_twins(struct twin_engine *e, const struct thread *t)
{
	const struct partial_call *p = &t->partial;

	for (unsigned i = 0; p->sends && i < e->n_twins; i++)
		for (unsigned k = 0; k < e->twins[i]->n_threads; k++) {
			struct twin_thread *tt = &e->twins[i]->threads[k];
			if (tt->tid == namespace_inner(e, t->tid) && tt->partial.kind &&
				tt->partial.serial == p->serial)
				tt->partial.done = p->done;
		}
}

static void go_for_next(struct twin_engine *e, struct thread *t, struct arch_regs *r)
{
	t->partial.entered = false;
	if (t->partial.done >= t->partial.total || !pieces_next(e, t->tid, &t->partial, r))
		finish(&t->partial, r);
}

bool partial_begin(struct twin_engine *e, struct thread *t, struct arch_regs *r)
{
	const struct wait_record *w = &t->wait;
	struct partial_call p;

	if (t->partial.kind == PARTIAL_CONNECT && !restart_is_made_again(t, r))
		t->partial.kind = PARTIAL_NONE; /* it has ended by itself */
	if (t->partial.kind)
		return false;
	if (w->mark && w->nr == SYS_connect && w->error == -ERESTARTNOHAND &&
		restart_is_made_again(t, r)) {
		t->partial = (struct partial_call){.kind = PARTIAL_CONNECT, .ip = w->ip};
		return false;
	}
	if (!pieces_broken(e, t->tid, r, &p))
		return false;
	t->partial = p;
	t->partial.ip = arch_ip(r);
	t->partial.serial = ++e->partials;
	go_for_next(e, t, r);
	return true;
}

/* What a connect() says that was made again. */
static long connected(struct twin_engine *e, const struct thread *t, const struct arch_regs *r)
{
	long result = arch_syscall_result(r);

	if (result == -EALREADY && t->wait.error == -ERESTARTNOHAND)
		return waits_result(e, &t->wait, r);
	if (result == -EISCONN)
		return 0;
	/* The active has closed that socket, and what stands there now is none to connect. */
	if (t->partial.adopted &&
		(result == -EINVAL || result == -EAFNOSUPPORT || result == -EPROTOTYPE ||
			result == -ENOTSOCK || result == -EBADF || result == -EOPNOTSUPP))
		return -ECONNRESET;
	return result;
}

static void connect_stop(struct twin_engine *e, struct thread *t, struct arch_regs *r)
{
	if (restart_is_blocked(r)) {
		(void)restart_mend(e, t, r, now_nsec(), false);
		if (restart_stand_before(t, r)) {
			t->partial.entered = false;
			return;
		}
	}
	if (arch_in_syscall(r))
		arch_finish_syscall(r, connected(e, t, r));
	t->partial.kind = PARTIAL_NONE;
}

static void piece_stop(struct twin_engine *e, struct thread *t, struct arch_regs *r)
{
	long moved = arch_syscall_result(r);

	if (moved > 0) {
		t->partial.done += (uint64_t)moved;
		tell_twins(e, t);
	}
	/* Broken by the next freeze: again. A signal that broke it is told before it gets there. */
	if (moved > 0 || restart_is_blocked(r))
		go_for_next(e, t, r);
	else
		finish(&t->partial, r);
}

/* At the end of a piece. */
static void end_stop(struct twin_engine *e, struct thread *t, struct arch_regs *r)
{
	if (t->partial.kind == PARTIAL_CONNECT)
		connect_stop(e, t, r);
	else
		piece_stop(e, t, r);
	if (arch_set_regs(t->tid, r) < 0)
		t->partial.kind = PARTIAL_NONE; /* dead */
}

void partial_stop(struct twin_engine *e, struct thread *t)
{
	struct arch_regs regs;

	/* A twin's thread makes some calls before it gets back to its own. */
	if (!t->partial.kind || arch_get_regs(t->tid, &regs) < 0 || arch_ip(&regs) != t->partial.ip)
		return;
	if (t->partial.entered)
		end_stop(e, t, &regs);
	else
		t->partial.entered = true;
}

/* At its beginning a piece can still be taken back: without a number it is not made, and the thread
 * stops once more at the end of that, in front of the call. */
static bool take_back(struct twin_engine *e, struct thread *t, struct arch_regs *r)
{
	if (t->partial.kind == PARTIAL_CONNECT) {
		if (!restart_stand_before(t, r))
			return false;
	} else
		go_for_next(e, t, r);
	return arch_set_regs(t->tid, r) == 0;
}

bool partial_settle(struct twin_engine *e, struct thread *t)
{
	struct arch_regs regs;

	if (!t->partial.kind || arch_get_regs(t->tid, &regs) < 0)
		return false;
	if (arch_ip(&regs) + ARCH_SYSCALL_SIZE == t->partial.ip)
		return true; /* it was taken back before */
	if (arch_ip(&regs) != t->partial.ip)
		return false;
	if (!t->partial.entered)
		return take_back(e, t, &regs);
	end_stop(e, t, &regs);
	return true;
}

void partial_signal(struct thread *t)
{
	enum partial_kind kind = t->partial.kind;
	struct arch_regs regs;

	t->partial.kind = PARTIAL_NONE;
	if (kind == PARTIAL_NONE || kind == PARTIAL_CONNECT)
		return;
	/* A handler comes first: as without us, it cuts the call short. */
	finish(&t->partial, &regs);
	if (arch_set_regs(t->tid, &regs) < 0)
		return; /* dead */
}

void partial_for_twin(const struct thread *t, struct twin_thread *tt)
{
	const struct partial_call *now = &t->partial;
	struct partial_call *p = &tt->partial;

	*p = t->partial_then;
	p->done_then = p->done;
	/* It runs again already. */
	if (p->kind && p->sends)
		p->done = now->serial == p->serial ? now->done : p->total;
	if (!p->kind && tt->wait.mark && tt->wait.nr == SYS_connect)
		*p = (struct partial_call){.kind = PARTIAL_CONNECT, .ip = tt->wait.ip};
	p->entered = false;
	p->adopted = true;
}

/* What the active has read of a file since is not to be read again. */
static int advance_offset(
	struct twin_engine *e, const struct twin *w, struct partial_call *p, pid_t in_place)
{
	uint64_t pointer, ahead = p->done - p->done_then;
	int64_t offset;
	int fd, r = 0;

	if (ahead == 0 || !pieces_offset(&p->regs, &fd, &pointer))
		return 0;
	if (!pointer) /* after that of the checkpoint has been put back */
		return repair_add(e, SYS_lseek, (const uint64_t[6]){(uint64_t)fd, ahead, SEEK_CUR})
			       ? 0
			       : -ENOSPC;
	if (!p->offset_known)
		r = image_read(w->pid, pointer, &p->offset_then, sizeof(p->offset_then));
	p->offset_known = r == 0;
	offset = p->offset_then + (int64_t)ahead;
	if (r == 0 && in_place)
		r = image_write(in_place, pointer, &offset, sizeof(offset));
	return r < 0 ? r : image_write(w->pid, pointer, &offset, sizeof(offset));
}

void partial_before_end(struct twin_engine *e)
{
	bool any = false;

	FOREACH_THREAD(e, t)
	{
		any |= t->partial.kind && t->partial.sends;
	}
	/* A call that a kill breaks tells nobody how much it has moved. */
	if (any && engine_stop_all(e) < 0)
		e->reason[0] = '\0';
}

/* The frame says where the call stood at the checkpoint. */
int partial_at_swap(struct twin_engine *e, struct twin *w, struct twin_thread *tt, pid_t in_place,
	struct arch_regs *ret)
{
	struct partial_call *p = &tt->partial;
	int r;

	if (!p->kind || p->kind == PARTIAL_CONNECT)
		return 0;
	r = advance_offset(e, w, p, in_place);
	if (r < 0)
		return r;
	p->finished = p->done >= p->total || !pieces_next(e, w->pid, p, ret);
	if (p->finished) {
		struct partial_call over = *p; /* the twin's own is needed if this way fails */
		finish(&over, ret);
	}
	return 1;
}

bool partial_is_watched(const struct twin_thread *tt)
{
	return tt->partial.kind && !tt->partial.finished;
}

void partial_adopt(struct twin_engine *e, struct thread *t, const struct twin_thread *tt)
{
	t->partial = tt->partial;
	if (!partial_is_watched(tt))
		t->partial.kind = PARTIAL_NONE;
	t->partial.finished = false;
	t->partial.serial = ++e->partials;
}
