/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/remains.h"

#include <errno.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#define REMAINS_PATIENCE 5000000ULL

int remains_reserve(struct twin_engine *e, size_t n)
{
	struct remains *r = &e->remains;
	struct twin_remains_thread *more;

	if (!e->config.keep_remains)
		return 0;
	if (n > r->allocated) {
		more = reallocarray(r->threads, n, sizeof(*more));
		if (!more)
			return -ENOMEM;
		memset(more + r->allocated, 0, (n - r->allocated) * sizeof(*more));
		r->threads = more;
		r->allocated = n;
	}
	for (size_t i = 0; i < r->allocated; i++)
		if (!r->threads[i].stack && !(r->threads[i].stack = malloc(TWIN_STACK_MAX)))
			return -ENOMEM;
	return 0;
}

static void copy_stack(pid_t pid, struct twin_remains_thread *m)
{
	uint64_t sp = arch_sp(&m->regs) & ~UINT64_C(4095);
	struct iovec mine = {m->stack, 0}, theirs = {(void *)sp, 0};
	ssize_t n = -1;

	/* It may end sooner; what is below the page of the pointer, and so the red zone, matters
	 * to nobody who unwinds. */
	for (size_t len = TWIN_STACK_MAX; len >= 4096 && n <= 0; len /= 2) {
		mine.iov_len = theirs.iov_len = len;
		n = process_vm_readv(pid, &mine, 1, &theirs, 1, 0);
	}
	m->stack_at = n > 0 ? sp : 0;
	m->stack_len = n > 0 ? (size_t)n : 0;
}

void remains_begin(struct twin_engine *e)
{
	/* The next rung of a swap that has failed: the first one saw the threads. */
	if (e->ended && e->remains.fresh)
		return;
	e->remains.n = 0;
	e->remains.fresh = e->config.keep_remains;
}

/*
 * A thread that sleeps where it slept at the last freeze has the registers that it had then: what
 * /proc shows of it (proc(5): the stack and instruction pointers come last) says so, and to stop it
 * takes 20 us that the twin would have to wait.
 */
static bool sleeps_as_known(const struct thread *t, struct arch_regs *ret)
{
	char text[256], *p;
	uint64_t sp, ip;

	if (t->stopped || t->syscall_fd < 0 || arch_sp(&t->regs) == 0 ||
		proc_reread(t->syscall_fd, text, sizeof(text)) <= 0 || text[0] < '0' ||
		text[0] > '9')
		return false;
	p = strrchr(text, ' ');
	if (!p)
		return false;
	ip = strtoull(p, NULL, 16);
	*p = '\0';
	p = strrchr(text, ' ');
	sp = p ? strtoull(p, NULL, 16) : 0;
	if (sp != arch_sp(&t->regs) || ip - arch_ip(&t->regs) > ARCH_SYSCALL_SIZE)
		return false;
	*ret = t->regs;
	arch_set_ip(ret, ip);
	return true;
}

static struct twin_remains_thread *note(struct twin_engine *e, const struct thread *t)
{
	struct remains *r = &e->remains;
	struct twin_remains_thread *m = r->n < r->allocated ? &r->threads[r->n] : NULL;

	if (!m)
		return NULL;
	m->tid = t->tid;
	m->at_fault = t->tid == e->fatal_tid;
	m->stack_at = 0;
	m->stack_len = 0;
	memcpy(m->name, t->name, sizeof(m->name));
	return m;
}

/* With a patience of its own: registers are worth less than the time of a failover. */
static void stop_for(struct twin_engine *e, int (*stop)(struct twin_engine *e))
{
	nsec_t patience = e->config.freeze_deadline;

	e->config.freeze_deadline = MIN2(patience, REMAINS_PATIENCE);
	if (stop(e) < 0)
		e->reason[0] = '\0'; /* as a rule because one stands at the fault already */
	e->config.freeze_deadline = patience;
	engine_deadline_clear(e);
}

/* The memory is kept, so nobody's stack is copied. */
void remains_glance(struct twin_engine *e)
{
	struct remains *r = &e->remains;
	struct twin_remains_thread *m;

	if (!r->fresh || r->n > 0 || e->ended)
		return;
	FOREACH_THREAD(e, t)
	{
		m = note(e, t);
		t->let_be = m && sleeps_as_known(t, &m->regs);
		r->n += t->let_be;
	}
	stop_for(e, engine_stop_all);
	FOREACH_THREAD(e, t)
	{
		m = t->let_be || !t->stopped ? NULL : note(e, t);
		r->n += m && arch_get_regs(t->tid, &m->regs) == 0;
		t->let_be = false;
	}
}

/* Nobody is waited for but the threads; where one does not stop, the others' are known. */
void remains_take(struct twin_engine *e)
{
	bool first = !(e->ended && e->remains.fresh);

	remains_begin(e);
	if (!first || !e->config.keep_remains || e->ended)
		return;
	stop_for(e, engine_freeze);
	remains_read(e);
}

void remains_read(struct twin_engine *e)
{
	struct remains *r = &e->remains;
	struct twin_remains_thread *m;

	if (!e->config.keep_remains)
		return;
	r->n = 0;
	r->fresh = true;
	FOREACH_THREAD(e, t)
	{
		m = note(e, t);
		if (!m)
			break;
		if (!t->stopped || arch_get_regs(t->tid, &m->regs) < 0)
			continue;
		if (m->stack)
			copy_stack(e->pid, m);
		r->n++;
	}
}

void remains_keep(struct twin_engine *e, pid_t holder)
{
	if (!e->remains.fresh) {
		engine_kill_helper(e, holder);
		return;
	}
	e->remains.fresh = false;
	engine_kill_helper(e, e->remains.memory);
	e->remains.memory = holder;
}

void remains_let_files_go(struct twin_engine *e)
{
	struct injection in;
	long result;

	/* Not stopped, or lent to somebody: then they stay open for as long as it lives. */
	if (!e->remains.fresh || !e->holder || e->holder_fresh || e->holder_busy ||
		inject_begin(e, e->holder, &e->holder_regs, false, &in) < 0)
		return;
	(void)!inject_call(
		&in, SYS_close_range, (const uint64_t[6]){0, ~0u, CLOSE_RANGE_UNSHARE}, &result);
	inject_end(&in);
}

/*
 * A core dump ends all who share the memory (fs/coredump.c, zap_threads()), the holder too, so
 * the memory is copied once more. Only a process that has no twin dies this way.
 */
void remains_outlive_core(struct twin_engine *e)
{
	const uint64_t flags = CLONE_PARENT | CLONE_FILES | CLONE_PTRACE;
	struct injection in;
	long pid = 0;
	int raw;

	/* Others just die, and leave the holder alone. */
	if (!signal_dumps_core(e->fatal_signal))
		return;
	if (!e->config.keep_remains || !e->holder || e->holder_fresh || e->holder_busy ||
		inject_begin(e, e->holder, &e->holder_regs, false, &in) < 0)
		return;
	if (inject_call(&in, SYS_clone, (const uint64_t[6]){flags}, &pid) < 0) {
		e->copy_unknown = true;
		pid = 0;
	}
	inject_end(&in);
	if (pid <= 0 || engine_wait((pid_t)pid, &raw) < 0)
		return;
	engine_kill_helper(e, e->holder);
	e->holder = (pid_t)pid;
}

unsigned twin_remains(const struct twin_engine *e, pid_t *ret_memory,
	const struct twin_remains_thread **ret_threads)
{
	*ret_memory = e->remains.memory;
	*ret_threads = e->remains.threads;
	return e->remains.n;
}

void twin_remains_drop(struct twin_engine *e)
{
	engine_kill_helper(e, e->remains.memory);
	e->remains.memory = 0;
	e->remains.n = 0;
	e->remains.fresh = false;
}

void remains_free(struct twin_engine *e)
{
	twin_remains_drop(e);
	for (size_t i = 0; i < e->remains.allocated; i++)
		free(e->remains.threads[i].stack);
	free(e->remains.threads);
	e->remains = (struct remains){.n = 0};
}

int twin_snapshot(struct twin_engine *e)
{
	struct remains *r = &e->remains;
	int error;

	if (!e->pid || e->ended || !e->traced || e->fatal_tid || e->group_stopped)
		return engine_fail(e, -EBUSY, "its threads cannot be stopped now");
	twin_remains_drop(e);
	error = remains_reserve(e, e->n_threads + 16);
	if (error < 0)
		return engine_fail(e, error, "out of memory");
	error = engine_freeze(e);
	FOREACH_THREAD(e, t)
	{
		struct twin_remains_thread *m = &r->threads[r->n];

		if (r->n >= r->allocated)
			break;
		if (!t->stopped || arch_get_regs(t->tid, &m->regs) < 0)
			continue;
		m->tid = t->tid;
		m->at_fault = false;
		if (proc_read(m->name, sizeof(m->name), "%d/task/%d/comm", e->pid, t->tid) > 0)
			m->name[strcspn(m->name, "\n")] = '\0';
		copy_stack(e->pid, m);
		r->n++;
	}
	engine_thaw(e);
	return r->n > 0 ? (int)r->n : error < 0 ? error : -ESRCH;
}
