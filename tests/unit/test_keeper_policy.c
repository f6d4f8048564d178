/* SPDX-License-Identifier: Apache-2.0 */
/* What an end means, what Restart= makes of it, the start limit, the ladder, the figures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/keeper/arm.h"
#include "supervisor/keeper/policy.h"
#include "supervisor/keeper/thread_end.h"

static enum node_result result_of(int raw)
{
	struct wait_event e = wait_classify((struct wait_status){raw}, false);
	return policy_result_of_end(NULL, &e, false);
}

static void test_result_of_end(_unused_ void **state)
{
	const struct exit_status_set wanted = {.signals = UINT64_C(1) << (SIGKILL - 1)};
	struct wait_event oom = wait_classify((struct wait_status){W_EXITCODE(0, SIGKILL)}, false);
	struct wait_event segv = wait_classify((struct wait_status){W_EXITCODE(0, SIGSEGV)}, false);

	assert_int_equal(result_of(W_EXITCODE(0, 0)), RESULT_SUCCESS);
	assert_int_equal(result_of(W_EXITCODE(3, 0)), RESULT_EXIT_CODE);
	assert_int_equal(result_of(W_EXITCODE(255, 0)), RESULT_EXIT_CODE);
	assert_int_equal(result_of(W_EXITCODE(0, SIGKILL)), RESULT_SIGNAL);
	assert_int_equal(result_of(W_EXITCODE(0, SIGSEGV)), RESULT_SIGNAL);
	assert_int_equal(policy_result_of_end(NULL, &oom, true), RESULT_OOM_KILL);
	assert_int_equal(policy_result_of_end(&wanted, &oom, true), RESULT_SUCCESS);
	assert_int_equal(policy_result_of_end(NULL, &segv, true), RESULT_SIGNAL);
	assert_int_equal(result_of(W_EXITCODE(0, SIGSEGV) | WCOREFLAG), RESULT_CORE_DUMP);
}

static void test_clean_signals(_unused_ void **state)
{
	for (int sig = 1; sig < NSIG; sig++) {
		bool clean = sig == SIGHUP || sig == SIGINT || sig == SIGTERM || sig == SIGPIPE;

		assert_int_equal(policy_is_clean_signal(sig), clean);
		assert_int_equal(policy_result_of_signal(NULL, sig, false),
			clean ? RESULT_SUCCESS : RESULT_SIGNAL);
		assert_int_equal(policy_result_of_signal(NULL, sig, true), RESULT_CORE_DUMP);
	}
}

/* systemd.service(5), "Exit causes and the effect of the Restart= settings". */
static void test_restart_table(_unused_ void **state)
{
	static const struct {
		enum node_result result;
		const char row[_RESTART_MAX + 1]; /* in the order of enum unit_restart */
	} table[] = {
		/*                       no, success, failure, abnormal, abort, watchdog, always */
		{RESULT_SUCCESS, "-+----+"},
		{RESULT_EXIT_CODE, "--+---+"},
		{RESULT_SIGNAL, "--+++-+"},
		{RESULT_CORE_DUMP, "--+++-+"},
		{RESULT_TIMEOUT, "--++--+"},
		{RESULT_WATCHDOG, "--++-++"},
		{RESULT_PROTOCOL, "--++--+"},
		{RESULT_RESOURCES, "--++--+"},
		{RESULT_OOM_KILL, "--++--+"},
		{RESULT_TWIN_FAILED, "--++--+"},
		{RESULT_START_LIMIT_HIT, "-------"},
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		for (int r = 0; r < _RESTART_MAX; r++)
			if (policy_wants_restart((enum unit_restart)r, table[i].result) !=
				(table[i].row[r] == '+'))
				fail_msg("Restart=%s after %s",
					unit_restart_to_string((enum unit_restart)r),
					node_result_to_string(table[i].result));
}

static void test_start_limit(_unused_ void **state)
{
	struct start_limit l = {0};
	usec_t now = 5 * USEC_PER_SEC, interval = 10 * USEC_PER_SEC;

	for (int i = 0; i < 5; i++)
		assert_true(start_limit_allows(&l, interval, 5, now + (usec_t)i));
	assert_false(start_limit_allows(&l, interval, 5, now + 5));
	assert_false(start_limit_allows(&l, interval, 5, now + interval - 1));
	assert_true(start_limit_allows(&l, interval, 5, now + interval));
	for (int i = 0; i < 1000; i++) {
		assert_true(start_limit_allows(&l, 0, 5, now));
		assert_true(start_limit_allows(&l, interval, 0, now));
	}
	/* An interval without end: burst starts, and never another. */
	l = (struct start_limit){0};
	assert_true(start_limit_allows(&l, USEC_INFINITY, 1, now));
	assert_false(start_limit_allows(&l, USEC_INFINITY, 1, UINT64_MAX - 1));
}

#define SOON USEC_PER_SEC
static void test_ladder_goes_down(_unused_ void **state)
{
	struct ladder l = {0};
	usec_t now = 100 * USEC_PER_SEC;

	/* no twin at all */
	assert_int_equal(ladder_failure(&l, 0, SOON, now), -1);
	/* quick failures go one generation further each time, then cold */
	assert_int_equal(ladder_failure(&l, 2, SOON, now), 0);
	ladder_swapped(&l, now);
	assert_int_equal(ladder_failure(&l, 2, SOON, now += 1000), 1);
	ladder_swapped(&l, now);
	assert_int_equal(ladder_failure(&l, 2, SOON, now += 1000), 1); /* the oldest there is */
	ladder_swapped(&l, now);
	assert_int_equal(ladder_failure(&l, 2, SOON, now += 1000), -1);
}

static void test_ladder_forgets(_unused_ void **state)
{
	struct ladder l = {0};
	usec_t now = 100 * USEC_PER_SEC;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(ladder_failure(&l, 3, SOON, now), 0);
		ladder_swapped(&l, now);
		now += SOON + 1;
	}
}

static void test_figures(_unused_ void **state)
{
	struct arm_figures f = {0};

	assert_int_equal(arm_figures_median(&f), 0);
	arm_figures_add(&f, 700);
	assert_int_equal(arm_figures_median(&f), 700);
	for (unsigned i = 0; i < ARM_FIGURES; i++)
		arm_figures_add(&f, (i * 37) % ARM_FIGURES);
	/* the first has left the window, but not the maximum */
	assert_int_equal(arm_figures_median(&f), ARM_FIGURES / 2);
	assert_int_equal(f.max, 700);
	assert_int_equal(f.last, (63 * 37) % ARM_FIGURES);
}

static void test_more_success(_unused_ void **state)
{
	struct exit_status_set set = {.codes = {1u << 3}, .signals = 1u << (SIGABRT - 1)};
	struct wait_event e = {.kind = WAIT_EXITED, .exit_status = 3};

	assert_int_equal(policy_result_of_end(&set, &e, false), RESULT_SUCCESS);
	assert_int_equal(policy_result_of_end(NULL, &e, false), RESULT_EXIT_CODE);
	e.exit_status = 4;
	assert_int_equal(policy_result_of_end(&set, &e, false), RESULT_EXIT_CODE);
	assert_int_equal(policy_result_of_signal(&set, SIGABRT, true), RESULT_SUCCESS);
	assert_int_equal(policy_result_of_signal(&set, SIGSEGV, true), RESULT_CORE_DUMP);
}

static void test_restart_delay(_unused_ void **state)
{
	struct unit u = {.restart_sec = USEC_PER_SEC, .restart_max_delay = USEC_INFINITY};

	assert_int_equal(policy_restart_delay(&u, 7), USEC_PER_SEC);
	u.restart_max_delay = 16 * USEC_PER_SEC;
	assert_int_equal(policy_restart_delay(&u, 7), USEC_PER_SEC);
	u.restart_steps = 4;
	for (unsigned n = 0; n <= 4; n++)
		assert_in_range(policy_restart_delay(&u, n), (USEC_PER_SEC << n) - 1,
			(USEC_PER_SEC << n) + 1);
	assert_int_equal(policy_restart_delay(&u, 1000), 16 * USEC_PER_SEC);
	u.restart_sec = 0;
	assert_int_equal(policy_restart_delay(&u, 0), 0);
	assert_in_range(policy_restart_delay(&u, 1), 1, 16 * USEC_PER_SEC);
}

static void test_process_lives(_unused_ void **state)
{
	siginfo_t info;
	pid_t pid;

	assert_true(process_lives(getpid()));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	/* It is gone, and not reaped. */
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_false(process_lives(pid));
	waitpid(pid, NULL, 0);
	assert_false(process_lives(pid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_result_of_end),
		cmocka_unit_test(test_clean_signals),
		cmocka_unit_test(test_restart_table),
		cmocka_unit_test(test_start_limit),
		cmocka_unit_test(test_ladder_goes_down),
		cmocka_unit_test(test_ladder_forgets),
		cmocka_unit_test(test_more_success),
		cmocka_unit_test(test_restart_delay),
		cmocka_unit_test(test_figures),
		cmocka_unit_test(test_process_lives),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
