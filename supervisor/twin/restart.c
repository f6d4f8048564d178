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
 * A call made again waits its full time again. epoll_wait has its time in a register, so there
 * it is cut to what remains.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ERESTART_RESTARTBLOCK 516

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

/* Calls whose -EINTR is final: made again they would act twice. */
static bool acts_twice(long nr)
{
	return nr == SYS_close || nr == SYS_io_uring_enter;
}

static bool has_timeout_in_register(long nr)
{
#ifdef SYS_epoll_wait
	if (nr == SYS_epoll_wait)
		return true;
#endif
	return nr == SYS_epoll_pwait;
}

static uint64_t voluntary_switches(pid_t pid, pid_t tid)
{
	char text[4096];
	uint64_t n = 0;

	if (proc_read(text, sizeof(text), "%d/task/%d/status", pid, tid) < 0 ||
		proc_field(text, "voluntary_ctxt_switches", 10, &n) < 0)
		return 0;
	return n;
}

/* The same wait as at the last freeze: same call, and the thread slept through in between but
 * for the switches that we caused. */
static bool is_same_wait(const struct thread *t, long nr, uint64_t switches)
{
	const struct wait_record *w = &t->wait;

	if (w->deadline == 0 || w->nr != nr || w->sp != arch_sp(&t->regs) || switches == 0 ||
		switches != w->switches + w->disturbed)
		return false;
	for (unsigned i = 0; i < ELEMENTSOF(w->args); i++)
		if (w->args[i] != arch_syscall_arg(&t->regs, i))
			return false;
	return true;
}

/*
 * Cut a timeout in milliseconds to what remains of it. When a wait began before its first freeze
 * is not known, so that much it ends late, once: by no more than the time between two freezes.
 */
static void keep_deadline(pid_t pid, struct thread *t, long nr, nsec_t now)
{
	struct wait_record *w = &t->wait;
	int timeout = (int)arch_syscall_arg(&t->regs, 3);
	uint64_t switches;
	nsec_t left;

	if (timeout <= 0) {
		w->deadline = 0;
		return;
	}
	switches = voluntary_switches(pid, t->tid);
	if (!is_same_wait(t, nr, switches)) {
		w->deadline = now + (nsec_t)timeout * 1000000;
		w->nr = nr;
		w->sp = arch_sp(&t->regs);
	}
	left = w->deadline > now ? w->deadline - now : 0;
	arch_set_syscall_arg(&t->regs, 3, MIN2((left + 999999) / 1000000, (nsec_t)timeout));
	for (unsigned i = 0; i < ELEMENTSOF(w->args); i++)
		w->args[i] = arch_syscall_arg(&t->regs, i);
	w->switches = switches;
	w->disturbed = 2; /* once to sleep again, once to stop the next time */
}

bool restart_mend_active(pid_t pid, struct thread *t, nsec_t now)
{
	long nr, result;

	if (!arch_in_syscall(&t->regs))
		return false;
	nr = arch_syscall_nr(&t->regs);
	result = arch_syscall_result(&t->regs);
	if (result == -ERESTART_RESTARTBLOCK && nr != SYS_restart_syscall)
		t->restart_nr = nr;
	if (result != -EINTR || acts_twice(nr))
		return false;
	if (has_timeout_in_register(nr))
		keep_deadline(pid, t, nr, now);
	arch_set_restart(&t->regs, nr, -ERESTARTNOHAND);
	return true;
}

int restart_for_twin(const struct thread *t, struct arch_regs *ret)
{
	long nr, result;

	*ret = t->regs;
	if (!arch_in_syscall(ret))
		return 0;
	nr = arch_syscall_nr(ret);
	result = arch_syscall_result(ret);
	if (result == -ERESTART_RESTARTBLOCK) {
		if (nr == SYS_restart_syscall)
			nr = t->restart_nr;
		if (nr < 0)
			return -EBUSY;
		arch_rewind_syscall(ret, nr);
	} else if (is_restart(result))
		arch_rewind_syscall(ret, nr);
	return 0;
}

void restart_mend_ignored(struct thread *t)
{
	struct arch_regs regs;

	if (arch_get_regs(t->tid, &regs) < 0 || !arch_in_syscall(&regs))
		return;
	if (arch_syscall_result(&regs) == -ERESTART_RESTARTBLOCK &&
		arch_syscall_nr(&regs) != SYS_restart_syscall)
		t->restart_nr = arch_syscall_nr(&regs);
	if (arch_syscall_result(&regs) != -EINTR || acts_twice(arch_syscall_nr(&regs)))
		return;
	t->wait.disturbed += 2;
	arch_set_restart(&regs, arch_syscall_nr(&regs), -ERESTARTNOHAND);
	if (arch_set_regs(t->tid, &regs) < 0)
		return; /* dead: nothing left to mend */
}
