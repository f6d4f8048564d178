/* SPDX-License-Identifier: Apache-2.0 */
/* Wait statuses made by hand, and the same from real children and tracees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "config/macro.h"
#include "supervisor/base/wait_status.h"

#define STOP(sig, event) ((event) << 16 | (sig) << 8 | 0x7f)

static void check(int raw, bool traced, enum wait_kind kind, int exit_status, int sig, int event)
{
	struct wait_event e = wait_classify((struct wait_status){raw}, traced);

	assert_string_equal(wait_kind_to_string(e.kind), wait_kind_to_string(kind));
	assert_int_equal(e.exit_status, exit_status);
	assert_int_equal(e.signal, sig);
	assert_int_equal(e.event, event);
}

static void classifies_by_hand(_unused_ void **state)
{
	for (int traced = 0; traced < 2; traced++) {
		check(0, traced, WAIT_EXITED, 0, 0, 0);
		check(255 << 8, traced, WAIT_EXITED, 255, 0, 0);
		check(SIGKILL, traced, WAIT_KILLED, 0, SIGKILL, 0);
		check(SIGSEGV | 0x80, traced, WAIT_CORE_DUMP, 0, SIGSEGV, 0);
		check(64, traced, WAIT_KILLED, 0, 64, 0);
		check(0xffff, traced, WAIT_CONTINUED, 0, SIGCONT, 0);
	}
	check(STOP(SIGSTOP, 0), false, WAIT_STOPPED, 0, SIGSTOP, 0);
	check(STOP(SIGSTOP, 0), true, WAIT_SIGNAL_STOP, 0, SIGSTOP, 0);
	check(STOP(SIGTRAP, 0), true, WAIT_SIGNAL_STOP, 0, SIGTRAP, 0);
	check(STOP(SIGSEGV, 0), true, WAIT_SIGNAL_STOP, 0, SIGSEGV, 0);
	check(STOP(SIGTRAP | 0x80, 0), true, WAIT_SYSCALL_STOP, 0, SIGTRAP, 0);
	check(STOP(SIGTRAP, PTRACE_EVENT_CLONE), true, WAIT_PTRACE_EVENT, 0, SIGTRAP,
		PTRACE_EVENT_CLONE);
	check(STOP(SIGTRAP, PTRACE_EVENT_EXIT), true, WAIT_PTRACE_EVENT, 0, SIGTRAP,
		PTRACE_EVENT_EXIT);
	check(STOP(SIGTRAP, PTRACE_EVENT_STOP), true, WAIT_INTERRUPT_STOP, 0, SIGTRAP,
		PTRACE_EVENT_STOP);
	int stopping[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
	for (size_t i = 0; i < ELEMENTSOF(stopping); i++)
		check(STOP(stopping[i], PTRACE_EVENT_STOP), true, WAIT_GROUP_STOP, 0, stopping[i],
			PTRACE_EVENT_STOP);
	/* A plain child cannot report an event. */
	check(STOP(SIGTRAP, PTRACE_EVENT_STOP), false, WAIT_UNKNOWN, 0, SIGTRAP, PTRACE_EVENT_STOP);
}

static void speaks_siginfo(_unused_ void **state)
{
	const struct {
		int raw, code, status;
	} rows[] = {
		{3 << 8, CLD_EXITED, 3},
		{SIGTERM, CLD_KILLED, SIGTERM},
		{SIGABRT | 0x80, CLD_DUMPED, SIGABRT},
		{STOP(SIGSTOP, 0), 0, 0},
	};
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct wait_event e = wait_classify((struct wait_status){rows[i].raw}, false);
		assert_int_equal(wait_si_code(&e), rows[i].code);
		assert_int_equal(wait_si_status(&e), rows[i].status);
		assert_int_equal(wait_is_end(&e), rows[i].code != 0);
	}
	for (int k = 0; k < _WAIT_KIND_MAX; k++)
		assert_non_null(wait_kind_to_string((enum wait_kind)k));
	assert_null(wait_kind_to_string(_WAIT_KIND_MAX));
}

static struct wait_event next(pid_t pid, int options, bool traced)
{
	struct wait_status s;

	assert_int_equal(waitpid(pid, &s.raw, options), pid);
	return wait_classify(s, traced);
}

static pid_t sleeper(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void classifies_a_real_child(_unused_ void **state)
{
	pid_t pid = sleeper();

	kill(pid, SIGSTOP);
	assert_int_equal(next(pid, WUNTRACED, false).kind, WAIT_STOPPED);
	kill(pid, SIGCONT);
	assert_int_equal(next(pid, WCONTINUED, false).kind, WAIT_CONTINUED);
	kill(pid, SIGKILL);
	assert_int_equal(next(pid, 0, false).kind, WAIT_KILLED);
}

static void classifies_a_real_tracee(_unused_ void **state)
{
	pid_t pid = sleeper();
	struct wait_event e;

	if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACEEXIT) < 0) {
		assert_int_equal(errno, EPERM);
		kill(pid, SIGKILL);
		next(pid, 0, false);
		skip();
	}
	ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	assert_int_equal(next(pid, 0, true).kind, WAIT_INTERRUPT_STOP);
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	kill(pid, SIGTSTP);
	e = next(pid, 0, true);
	assert_int_equal(e.kind, WAIT_SIGNAL_STOP);
	assert_int_equal(e.signal, SIGTSTP);
	ptrace(PTRACE_CONT, pid, NULL, (void *)(long)SIGSTOP);
	assert_int_equal(next(pid, 0, true).kind, WAIT_GROUP_STOP);
	kill(pid, SIGTERM);
	ptrace(PTRACE_LISTEN, pid, NULL, NULL);
	kill(pid, SIGCONT);
	do {
		e = next(pid, 0, true);
		/* SIGCONT is no gift to a dying process; hand on what comes. */
		ptrace(PTRACE_CONT, pid, NULL,
			(void *)(long)(e.kind == WAIT_SIGNAL_STOP ? e.signal : 0));
	} while (!wait_is_end(&e) && e.kind != WAIT_PTRACE_EVENT);
	assert_int_equal(e.event, PTRACE_EVENT_EXIT);
	e = next(pid, 0, true);
	assert_int_equal(e.kind, WAIT_KILLED);
	assert_int_equal(e.signal, SIGTERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classifies_by_hand),
		cmocka_unit_test(speaks_siginfo),
		cmocka_unit_test(classifies_a_real_child),
		cmocka_unit_test(classifies_a_real_tracee),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
