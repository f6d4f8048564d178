/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of a process that is rolled back in place: who goes, who stays, who comes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"

#define STEP_DEADLINE 2000000000ULL
/* Of struct rseq the kernel keeps cpu_id_start and cpu_id at 0, node_id and mm_cid at 20. */
#define RSEQ_NOW_LEN 32

/* Whoever was born at the very moment has not been heard of yet; it runs no instruction before
 * its first stop. */
int inplace_meet_threads(struct twin_engine *e)
{
	char path[32];
	long len;
	char buf[4096];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", e->pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	engine_deadline_set(e, STEP_DEADLINE);
	while (r == 0 && (len = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
		for (long at = 0; r == 0 && at < len;) {
			const struct dirent64 *d = (const struct dirent64 *)(buf + at);
			pid_t tid = d->d_name[0] == '.' ? 0 : atoi(d->d_name);
			struct thread *t;
			int raw;

			at += d->d_reclen;
			if (tid == 0 || thread_find(e, tid))
				continue;
			r = engine_wait(tid, &raw);
			if (r == -ECHILD) /* ended, and told already */
				r = 0;
			else if (r > 0) {
				struct wait_event ev =
					wait_classify((struct wait_status){raw}, true);
				r = 0;
				if (wait_is_end(&ev))
					continue;
				t = thread_add(e, tid);
				if (!t)
					r = -ENOMEM;
				else
					t->stopped = true;
			}
		}
	}
	engine_deadline_clear(e);
	return r;
}

int inplace_judge_stops(struct twin_engine *e)
{
	FOREACH_THREAD(e, t)
	{
		if (t->stop.kind == WAIT_GROUP_STOP)
			return engine_fail(e, -EBUSY, "it was stopped by a signal just now");
		if (capture_dispatched(t))
			return engine_fail(
				e, -ENOTSUP, "thread %d has its system calls dispatched", t->tid);
	}
	return 0;
}

static struct twin_thread *twin_thread_of(struct twin *w, pid_t tid)
{
	for (unsigned i = 0; i < w->n_threads; i++)
		if (w->threads[i].tid == tid)
			return &w->threads[i];
	return NULL;
}

static int end_thread(struct twin_engine *e, struct thread *t)
{
	struct arch_regs regs;
	struct wait_event ev;
	pid_t tid = t->tid;
	int raw, r = arch_get_regs(tid, &regs);

	if (r < 0)
		return r;
	arch_prepare_call(&regs, e->syscall_insn, SYS_exit, (const uint64_t[6]){0});
	r = arch_set_regs(tid, &regs);
	if (r == 0)
		r = inject_mask_all(tid, NULL);
	engine_deadline_set(e, STEP_DEADLINE);
	while (r == 0) {
		/* ESRCH: killed, and its end is still to be told. */
		if (ptrace(PTRACE_CONT, tid, NULL, NULL) < 0 && errno != ESRCH) {
			r = -errno;
			break;
		}
		r = engine_wait(tid, &raw);
		if (r < 0)
			break;
		r = 0;
		ev = wait_classify((struct wait_status){raw}, true);
		if (wait_is_end(&ev)) {
			thread_remove(e, t);
			break;
		}
	}
	engine_deadline_clear(e);
	return r;
}

/* One that was registered since, or elsewhere: the kernel would write into memory that is
 * something else then. */
static int match_rseq(struct twin_engine *e, struct thread *t, const struct twin_thread *tt)
{
	struct injection in;
	struct arch_regs regs;
	long result;
	int r;

	(void)capture_rseq(t); /* its registers will be others anyway */
	if (!t->rseq || t->rseq == tt->rseq)
		return 0;
	r = arch_get_regs(t->tid, &regs);
	if (r == 0)
		r = inject_begin(e, t->tid, &regs, false, &in);
	if (r < 0)
		return r;
	r = inject_call(&in, SYS_rseq,
		(const uint64_t[6]){
			t->rseq, t->rseq_len, 1 /* RSEQ_FLAG_UNREGISTER */, t->rseq_sig},
		&result);
	inject_end(&in);
	return r < 0 ? r : (int)MIN2(result, 0L);
}

int inplace_end_threads(struct twin_engine *e, struct twin *w)
{
	for (unsigned i = 0; i < e->n_threads;) {
		struct thread *t = e->threads[i];
		int r;

		if (twin_thread_of(w, t->tid)) {
			i++;
			continue;
		}
		r = end_thread(e, t); /* another takes its slot */
		if (r < 0)
			return r;
	}
	FOREACH_THREAD(e, t)
	{
		int r = match_rseq(e, t, twin_thread_of(w, t->tid));
		if (r < 0)
			return r;
	}
	return 0;
}

int inplace_take_hold(struct twin_engine *e, struct twin *w)
{
	long options = PTRACE_O_EXITKILL | (w->filtered ? PTRACE_O_SUSPEND_SECCOMP : 0);

	for (unsigned i = 0; i < w->n_threads; i++)
		w->threads[i].stands = false;
	FOREACH_THREAD(e, t)
	{
		struct twin_thread *tt = twin_thread_of(w, t->tid);
		if (ptrace(PTRACE_SETOPTIONS, t->tid, NULL, options) < 0)
			return -errno;
		if (tt)
			tt->stands = true;
		t->partial.kind = PARTIAL_NONE;
	}
	return w->threads[0].stands ? 0 : -ESRCH;
}

static uint64_t rseq_of(const struct twin_thread *t)
{
	return t->stands ? t->rseq : 0;
}

void inplace_keep_rseq(struct twin_engine *e, struct twin *w)
{
	for (unsigned i = 0; i < w->n_threads; i++) {
		struct twin_thread *t = &w->threads[i];
		if (rseq_of(t) && image_read(e->pid, t->rseq, t->rseq_now, RSEQ_NOW_LEN) < 0)
			memset(t->rseq_now, 0, RSEQ_NOW_LEN);
	}
}

/* On which CPU a thread is, is no memory of the past. */
int inplace_put_rseq(struct twin_engine *e, struct twin *w)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < w->n_threads; i++) {
		struct twin_thread *t = &w->threads[i];
		if (!rseq_of(t))
			continue;
		r = image_write(e->pid, t->rseq, t->rseq_now, 8);
		if (r == 0)
			r = image_write(e->pid, t->rseq + 20, t->rseq_now + 20, 8);
	}
	return r;
}

/* Of signals that wait for one thread alone only that thread can rid itself. */
int inplace_drop_signals(struct twin_engine *e, struct twin *w)
{
	struct {
		uint64_t set;
		int64_t at_once[2];
	} args = {.set = ~(1ULL << (SIGCHLD - 1))};
	uint64_t at = w->in_place.area + offsetof(struct inplace_area, path);
	int r = 0;

	signals_peek(e);
	if (e->pending_incomplete)
		return -E2BIG;
	for (unsigned i = 0; r == 0 && i < e->n_pending; i++) {
		pid_t tid = e->pending[i].tid;
		struct arch_regs regs;
		struct injection in;
		long result;

		if (tid == 0 || tid == e->pid)
			continue;
		r = arch_get_regs(tid, &regs);
		if (r == 0)
			r = image_write(e->pid, at, &args, sizeof(args));
		if (r == 0)
			r = inject_begin(e, tid, &regs, false, &in);
		if (r < 0)
			return r;
		r = inject_call(&in, SYS_rt_sigtimedwait,
			(const uint64_t[6]){at, 0, at + 8, sizeof(args.set)}, &result);
		inject_end(&in);
	}
	return r;
}

int inplace_aim_threads(struct twin *w)
{
	for (unsigned i = 0; i < w->n_threads; i++) {
		const struct twin_thread *t = &w->threads[i];
		struct arch_regs regs = t->regs;
		int r;

		if (!t->stands)
			continue;
		arch_prepare_routine(&regs, w->code, i == 0 ? ROUTINE_LEADER : ROUTINE_THREAD,
			w->data, w->threads_at + i * sizeof(struct routine_thread));
		r = arch_set_regs(t->tid, &regs);
		if (r == 0)
			r = inject_mask_all(t->tid, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}
