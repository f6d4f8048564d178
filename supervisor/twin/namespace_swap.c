/* SPDX-License-Identifier: Apache-2.0 */
/* The swap of a twin whose threads stand ready in their own namespace; see namespace.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "supervisor/twin/engine.h"

#define LATE_DEADLINE 2000000000ULL
/* Registers for a post-mortem are worth no longer wait. */
#define STAND_PATIENCE 5000000ULL
#define HEADS_AT_ONCE 64

/* struct robust_list_head, linux/futex.h */
struct robust_head {
	uint64_t next, offset, pending;
};

/* Only where there are any: it is a round to the leader and back. */
int namespace_late_calls(struct twin_engine *e, struct twin *w)
{
	struct arch_regs regs = w->leader_regs;
	pid_t leader = w->nest.leader;
	int r = namespace_await_init(e, &w->nest), raw;

	if (r < 0)
		return engine_fail(e, r, "the twin's init: %s", strerror(-r));
	if (e->n_repairs == 0 && w->n_late_calls == 0)
		return 0;
	{
		const uint64_t list[2] = {w->n_late_calls, w->late_calls_at};

		r = image_write(leader, w->data + offsetof(struct routine_args, n_leader_calls),
			list, sizeof(list));
	}
	arch_prepare_routine(&regs, w->code, ROUTINE_LATE, w->data, 0);
	if (r == 0)
		r = arch_set_regs(leader, &regs);
	schedule_boost(leader); /* we wait for it */
	if (r == 0 && ptrace(PTRACE_CONT, leader, NULL, NULL) < 0)
		r = -errno;
	engine_deadline_set(e, LATE_DEADLINE);
	while (r == 0) {
		struct wait_event ev;
		pid_t pid = engine_wait(leader, &raw);

		if (pid < 0) {
			r = pid;
			break;
		}
		ev = wait_classify((struct wait_status){raw}, true);
		if (ev.kind == WAIT_SIGNAL_STOP && ev.signal == SIGTRAP)
			break;
		if (wait_is_end(&ev)) {
			engine_defer(e, leader, raw);
			r = -ESRCH;
		} else if (ptrace(PTRACE_CONT, leader, NULL, NULL) < 0)
			r = -errno;
	}
	engine_deadline_clear(e);
	namespace_restore_schedule(&w->threads[0]);
	if (r == 0)
		r = arch_set_regs(leader, &w->leader_regs);
	return r < 0 ? engine_fail(e, r, "the twin's late calls: %s", strerror(-r)) : 0;
}

static bool any_held(pid_t pid, const uint64_t *at, unsigned n)
{
	struct robust_head heads[HEADS_AT_ONCE];
	struct iovec mine = {heads, n * sizeof(heads[0])}, theirs[HEADS_AT_ONCE];

	if (n == 0)
		return false;
	for (unsigned i = 0; i < n; i++)
		theirs[i] = (struct iovec){(void *)at[i], sizeof(heads[0])};
	if (process_vm_readv(pid, &mine, 1, theirs, n, 0) != (ssize_t)mine.iov_len)
		return true;
	for (unsigned i = 0; i < n; i++)
		if (heads[i].next != at[i] || heads[i].pending)
			return true;
	return false;
}

/*
 * Who dies with a robust mutex has the kernel mark it as the mutex of a dead, and knows its owner
 * by a number that the twin's thread has as well. In shared memory the twin may have taken it anew
 * by then. So those who hold one end before it begins.
 */
static bool holds_robust(const struct twin_engine *e)
{
	uint64_t at[HEADS_AT_ONCE];
	unsigned n = 0;
	bool any = false;

	FOREACH_THREAD(e, t)
	{
		uint64_t head = t->robust_len ? t->robust_head : 0;
		size_t len;

		if (!head && syscall(SYS_get_robust_list, t->tid, &head, &len) < 0)
			return true;
		if (!head)
			continue;
		at[n++] = head;
		if (n == HEADS_AT_ONCE) {
			any = any || any_held(e->pid, at, n);
			n = 0;
		}
	}
	return any || any_held(e->pid, at, n);
}

bool namespace_stop_old(struct twin_engine *e)
{
	int r = engine_stop_for_good(e);

	engine_deadline_clear(e);
	if (r < 0)
		e->reason[0] = '\0'; /* it is killed, and waited for */
	return r == 0 && !e->ended && !holds_robust(e);
}

/* One that is at rest has been asked, and stops as soon as it gets a CPU. */
static void await_stop(struct twin_engine *e, struct thread *t)
{
	int raw;

	if (t->stopped || engine_wait(t->tid, &raw) != t->tid)
		return;
	if (((raw & 0xff) == 0x7f))
		t->stopped = true;
	else
		engine_defer(e, t->tid, raw);
}

void namespace_read_old(struct twin_engine *e)
{
	if (!e->config.keep_remains || e->ended)
		return;
	engine_deadline_set(e, STAND_PATIENCE);
	FOREACH_THREAD(e, t)
	{
		await_stop(e, t);
	}
	engine_deadline_clear(e);
	remains_read(e);
}

/* Those of the dead that are not reaped yet, and the init of their namespace, which stays as long
 * as children of the node live there. */
static void leave_old(struct twin_engine *e)
{
	namespace_read_old(e);
	if (!e->ended)
		kill(e->pid, SIGKILL);
	FOREACH_THREAD(e, t)
	{
		namespace_expect_end(e, t->tid);
	}
	threads_clear(e);
	for (unsigned i = 0; e->nest.init && i < OLD_INITS_MAX; i++)
		if (!e->old_inits[i]) {
			e->old_inits[i] = e->nest.init;
			e->nest.init = 0;
		}
	namespace_bury(e, e->nest.init); /* no room for more: the children go */
}

nsec_t namespace_let_go(struct twin_engine *e, struct twin *w)
{
	nsec_t gone;

	rebuild_oom_score(w);
	(void)ptrace(PTRACE_SETOPTIONS, w->nest.leader, NULL, ACTIVE_OPTIONS);
	for (unsigned i = 0; i < w->n_threads; i++)
		(void)ptrace(partial_is_watched(&w->threads[i]) ? PTRACE_SYSCALL : PTRACE_CONT,
			w->threads[i].host, NULL, NULL);
	/* All that follows has time. */
	gone = now_nsec();
	leave_old(e);
	for (unsigned i = 0; i < w->n_threads; i++) {
		struct thread *t = rebuild_adopt(e, &w->threads[i], w->threads[i].host);

		if (t)
			t->inner = w->threads[i].tid;
	}
	e->pid = w->nest.leader;
	e->nest = w->nest;
	w->nest = (struct nest){0};
	return gone;
}
