/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls made by a stopped task: a system call instruction of the vdso, single-stepped.
 *
 * All signals but SIGTRAP are blocked meanwhile, so that nothing else can be delivered at the
 * step. SIGTRAP itself must stay open: the kernel forces it, and a forced signal that is blocked
 * has its handler taken away for good (force_sig_info_to_task()).
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/fault_point.h"
#include "supervisor/twin/procfs.h"

#define ERESTARTNOINTR_RESULT (-513)
#define STEPS_MAX 64

int inject_mask_all(pid_t tid, uint64_t *ret_old)
{
	uint64_t all = ~(1ULL << (SIGTRAP - 1));

	if (ret_old && ptrace(PTRACE_GETSIGMASK, tid, sizeof(*ret_old), ret_old) < 0)
		return -errno;
	return ptrace(PTRACE_SETSIGMASK, tid, sizeof(all), &all) < 0 ? -errno : 0;
}

static bool is_helper(const struct twin_engine *e, pid_t tid)
{
	bool is = tid == e->holder;

	for (unsigned i = 0; i < ELEMENTSOF(e->twins); i++)
		is |= tid == e->twins[i]->pid;
	return is;
}

/*
 * regs: what the task's registers are now. With restore set, they and the mask are put back at
 * the end. The task is brought to our CPU: waking it there costs 2 us, on an idle one 50 to 75.
 */
int inject_begin(struct twin_engine *e, pid_t tid, const struct arch_regs *regs, bool restore,
	struct injection *ret)
{
	cpu_set_t here;
	int cpu = sched_getcpu(), r;

	*ret = (struct injection){.e = e, .tid = tid, .saved = *regs, .restore = restore};
	/* A helper has no class of its own to get back, and runs but when it is waited for. */
	if (is_helper(e, tid))
		schedule_boost(tid);
	r = inject_mask_all(tid, &ret->saved_mask);
	if (r < 0) {
		ret->restore = false; /* the mask is not known */
		return r;
	}
	/* The main thread has its own options while copies are made. */
	if (restore && e->filtered && !e->copying) {
		if (ptrace(PTRACE_SETOPTIONS, tid, NULL,
			    ACTIVE_OPTIONS | PTRACE_O_SUSPEND_SECCOMP) < 0) {
			r = -errno; /* the filter might kill it for our call */
			(void)ptrace(
				PTRACE_SETSIGMASK, tid, sizeof(ret->saved_mask), &ret->saved_mask);
			ret->restore = false;
			return r;
		}
		ret->unfiltered = true;
	}
	if (cpu >= 0 &&
		sched_getaffinity(tid, sizeof(ret->saved_affinity), &ret->saved_affinity) == 0) {
		CPU_ZERO(&here);
		CPU_SET(cpu, &here);
		ret->pinned = sched_setaffinity(tid, sizeof(here), &here) == 0;
	}
	return 0;
}

void inject_elsewhere(struct injection *in)
{
	cpu_set_t others = in->saved_affinity;
	int cpu = sched_getcpu();

	if (!in->pinned || cpu < 0)
		return;
	CPU_CLR(cpu, &others);
	if (CPU_COUNT(&others) > 0)
		(void)sched_setaffinity(in->tid, sizeof(others), &others);
}

/* How long a step may take before a look at whether the process was killed meanwhile. */
#define KILLED_LOOK 10000000ULL

/*
 * The end of a main thread is told only when all others are reaped, and that is for us to do: a
 * process killed at a step would otherwise be waited for for ever. Nothing but a kill can end a
 * thread that stands still, so whoever called gives up soon.
 */
static void reap_killed_threads(struct twin_engine *e)
{
	bool again;

	do {
		again = false;
		FOREACH_THREAD(e, t)
		{
			siginfo_t info = {.si_signo = 0};
			if (again || t->tid == e->pid ||
				waitid(P_PID, (id_t)t->tid, &info, WEXITED | WNOHANG | __WALL) <
					0 ||
				info.si_pid != t->tid)
				continue;
			thread_remove(e, t);
			again = true;
		}
	} while (again);
}

/* A helper of ours that does not come to its next instruction for so long is given up: the guard of
 * a node may not wait for ever for a task that is starved of its processor. */
#define HELPER_PATIENCE 2000000000ULL

static pid_t wait_for_step(struct injection *in, int *ret_raw)
{
	struct twin_engine *e = in->e;
	bool main_thread = in->tid == e->pid, helper = is_helper(e, in->tid);
	pid_t r;

	/* The timer goes on until the injection is over: to set it at each step costs as much as
	 * the step. */
	if (main_thread && !e->deadline_set) {
		engine_deadline_set(e, KILLED_LOOK);
		in->timed = true;
	} else if (helper) {
		engine_deadline_set(e, HELPER_PATIENCE);
	}
	while ((r = engine_wait(in->tid, ret_raw)) == -ETIMEDOUT && main_thread) {
		reap_killed_threads(e);
		engine_deadline_set(e, KILLED_LOOK);
	}
	if (helper)
		engine_deadline_clear(e);
	if (r == -ETIMEDOUT && helper)
		kill(in->tid, SIGKILL); /* its end is told as that of any */
	return r;
}

/* One step; 0 when it was made, 1 when something else stopped the task, or -errno. */
static int step_once(struct injection *in)
{
	struct wait_event ev;
	int raw;
	pid_t r;

	if (ptrace(PTRACE_SINGLESTEP, in->tid, NULL, NULL) < 0)
		return -errno;
	in->steps++;
	if (in->meanwhile) {
		in->meanwhile_failed = in->meanwhile(in->e);
		in->meanwhile = NULL;
	}
	do
		r = wait_for_step(in, &raw);
	while (r == -EINTR);
	if (r < 0)
		return r;
	ev = wait_classify((struct wait_status){raw}, true);
	if (wait_is_end(&ev)) {
		engine_defer(in->e, in->tid, raw);
		return -ESRCH;
	}
	/* No mask keeps SIGSTOP out, and it is gone once the step goes on. */
	in->stopped_by_user |= ev.kind == WAIT_SIGNAL_STOP && ev.signal == SIGSTOP;
	return ev.kind == WAIT_SIGNAL_STOP && ev.signal == SIGTRAP ? 0 : 1;
}

int inject_call(struct injection *in, long nr, const uint64_t args[6], long *ret)
{
	struct arch_regs regs;
	uint64_t insn = in->e->syscall_insn;

	*ret = FAULT_INJECTED(nr, in->tid);
	if (*ret < 0)
		return 0;
	for (unsigned tries = 0; tries < STEPS_MAX; tries++) {
		int r;
		regs = in->saved;
		arch_prepare_call(&regs, insn, nr, args);
		r = arch_set_regs(in->tid, &regs);
		for (unsigned steps = 0; r >= 0 && steps < STEPS_MAX; steps++) {
			r = step_once(in);
			if (r == 0 || r < 0)
				break;
		}
		if (r < 0)
			return r;
		r = arch_get_regs(in->tid, &regs);
		if (r < 0)
			return r;
		/* A stop that was pending came before the instruction was executed: again. */
		if (arch_ip(&regs) != insn + ARCH_SYSCALL_SIZE)
			continue;
		if (arch_syscall_result(&regs) == ERESTARTNOINTR_RESULT)
			continue;
		*ret = arch_syscall_result(&regs);
		return 0;
	}
	return -EBUSY;
}

/* The buffer is below the red zone of the thread's stack, where nothing can be. The bytes there
 * are put back all the same, at the end or before a copy is made. */
static int call_with_buffer(struct injection *in, long nr, uint64_t args[6], unsigned arg,
	const void *input, void *output, size_t len)
{
	uint64_t at = (arch_sp(&in->saved) - 1024) & ~15ULL;
	long result;
	int r = in->buffer ? 0 : image_read(in->tid, at, in->kept, sizeof(in->kept));

	if (r == 0)
		in->buffer = at;
	if (r == 0 && input)
		r = image_write(in->tid, at, input, len);
	if (r < 0)
		return r;
	args[arg] = at;
	r = inject_call(in, nr, args, &result);
	if (r < 0)
		return r;
	return result < 0 ? (int)result : output ? image_read(in->tid, at, output, len) : 0;
}

int inject_clean(struct injection *in)
{
	uint64_t at = in->buffer;

	in->buffer = 0;
	return at ? image_write(in->tid, at, in->kept, sizeof(in->kept)) : 0;
}

int inject_output(
	struct injection *in, long nr, uint64_t args[6], unsigned out_arg, void *out, size_t len)
{
	return call_with_buffer(in, nr, args, out_arg, NULL, out, len);
}

int inject_input(struct injection *in, long nr, uint64_t args[6], unsigned in_arg, const void *data,
	size_t len)
{
	return call_with_buffer(in, nr, args, in_arg, data, NULL, len);
}

/* Unless it was continued since: SIGCONT would have taken the SIGSTOP back, and it is masked now,
 * so it still stands there. */
static void send_stop_again(const struct injection *in)
{
	const uint64_t cont = 1ULL << (SIGCONT - 1);
	char text[4096];
	uint64_t own = 0, shared = 0;

	if (proc_read(text, sizeof(text), "%d/status", in->tid) < 0)
		return;
	(void)!proc_field(text, "SigPnd", 16, &own);
	(void)!proc_field(text, "ShdPnd", 16, &shared);
	if (!((own | shared) & cont))
		(void)kill(in->e->pid, SIGSTOP);
}

void inject_end(struct injection *in)
{
	struct thread *t = thread_find(in->e, in->tid);

	(void)!inject_clean(in); /* fails only when the task is dead */
	if (in->timed)
		engine_deadline_clear(in->e);
	if (t)
		t->wait.switches += t->wait.switches ? in->steps : 0;
	if (in->pinned)
		(void)sched_setaffinity(in->tid, sizeof(in->saved_affinity), &in->saved_affinity);
	if (in->unfiltered)
		(void)ptrace(PTRACE_SETOPTIONS, in->tid, NULL, ACTIVE_OPTIONS);
	if (!in->restore)
		return;
	if (in->stopped_by_user)
		send_stop_again(in);
	/* Either fails only when the task is dead. */
	if (arch_set_regs(in->tid, &in->saved) == 0)
		(void)ptrace(PTRACE_SETSIGMASK, in->tid, sizeof(in->saved_mask), &in->saved_mask);
}
