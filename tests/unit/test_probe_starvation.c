/* SPDX-License-Identifier: Apache-2.0 */
/* The judgement by made-up looks, and looks at real processes that starve, loop and sleep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "probes/starvation.h"

#define SECOND USEC_PER_SEC

static enum starvation judge(struct starvation_look to, usec_t *ret)
{
	struct starvation_look from = {.at = 10 * SECOND};

	to.at = 11 * SECOND;
	*ret = 0;
	return starvation_judge(&from, &to, 2 * SECOND, ret);
}

static void test_judgement(_unused_ void **state)
{
	usec_t more;

	assert_int_equal(judge((struct starvation_look){0}, &more), STARVATION_NONE);
	/* a deadlock beside others that are busy */
	assert_int_equal(
		judge((struct starvation_look){.contended = true}, &more), STARVATION_NONE);
	/* an endless loop that has a processor for itself */
	assert_int_equal(judge((struct starvation_look){.n_runnable = 1, .cpu = 999000000}, &more),
		STARVATION_NONE);
	/* a quarter of the time is an excuse, less is none */
	assert_int_equal(
		judge((struct starvation_look){.run_delay = 240000000}, &more), STARVATION_NONE);
	assert_int_equal(judge((struct starvation_look){.run_delay = 250000000}, &more),
		STARVATION_RUN_DELAY);
	assert_int_equal(more, 2 * SECOND * STARVATION_EXTENSIONS_MIN);
	/* it gets as much more as it was slower */
	(void)judge((struct starvation_look){.run_delay = 950000000}, &more);
	assert_int_equal(more, 2 * SECOND * 20);
	(void)judge((struct starvation_look){.run_delay = 99000000000}, &more);
	assert_int_equal(more, 2 * SECOND * STARVATION_EXTENSIONS_MAX);
	/* waits still, so that the kernel has not counted it yet */
	assert_int_equal(judge(
				 (struct starvation_look){
					 .n_runnable = 1, .contended = true, .cpu = 100000000},
				 &more),
		STARVATION_RUN_DELAY);
	assert_int_equal(more, 2 * SECOND * 10);
	assert_int_equal(judge((struct starvation_look){.throttled = SECOND / 2}, &more),
		STARVATION_THROTTLED);
	assert_int_equal(
		judge((struct starvation_look){.n_blocked = 1}, &more), STARVATION_BLOCKED);
	assert_int_equal(
		judge((struct starvation_look){.frozen = SECOND / 2}, &more), STARVATION_FROZEN);
	assert_int_equal(judge((struct starvation_look){.suspended = 5 * SECOND}, &more),
		STARVATION_SUSPENDED);
	assert_int_equal(
		judge((struct starvation_look){.pressure = SECOND / 2}, &more), STARVATION_NONE);
	assert_int_equal(
		judge((struct starvation_look){.pressure = SECOND / 2, .n_runnable = 1}, &more),
		STARVATION_PRESSURE);
	for (int i = 0; i < _STARVATION_MAX; i++)
		assert_non_null(starvation_to_string((enum starvation)i));
}

static void test_no_first_look(_unused_ void **state)
{
	struct starvation_look never = {0}, now = {.at = SECOND, .run_delay = UINT32_MAX};
	usec_t more = 7;

	assert_int_equal(starvation_judge(&never, &now, SECOND, &more), STARVATION_NONE);
	assert_int_equal(starvation_judge(&now, &now, SECOND, &more), STARVATION_NONE);
	assert_int_equal(more, 7);
	/* threads that end take their delays along */
	now.at = 2 * SECOND;
	never = (struct starvation_look){.at = SECOND, .run_delay = UINT64_MAX};
	assert_int_equal(starvation_judge(&never, &now, SECOND, &more), STARVATION_NONE);
}

static pid_t loop(int cpu)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		cpu_set_t set;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
		for (volatile int i = 0;; i++)
			;
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Ten on one processor: each waits most of the time, and the kernel says so. */
static void test_overload(_unused_ void **state)
{
	struct starvation_watch w = STARVATION_WATCH_NONE;
	struct starvation_look a, b;
	pid_t pids[10];
	usec_t more = 0;

	for (size_t i = 0; i < ELEMENTSOF(pids); i++)
		pids[i] = loop(0);
	starvation_open(&w, pids[0]);
	assert_true(w.tasks_fd >= 0);
	starvation_look(&w, 0, true, &a);
	assert_int_equal(a.n_threads, 1);
	/* until it was given the processor twice */
	do {
		usleep(10000);
		starvation_look(&w, 0, true, &b);
	} while (b.cpu < a.cpu + 8000000);
	assert_true(b.contended);
	assert_int_equal(starvation_judge(&a, &b, SECOND, &more), STARVATION_RUN_DELAY);
	assert_true(more >= 2 * SECOND);
	for (size_t i = 0; i < ELEMENTSOF(pids); i++)
		end(pids[i]);
	starvation_close(&w);
}

/* Asleep for ever beside the same ten: it could have run. */
static void test_deadlock_in_overload(_unused_ void **state)
{
	struct starvation_watch w = STARVATION_WATCH_NONE;
	struct starvation_look a, b;
	pid_t pids[10], deadlock = fork();
	char state_now = '?';
	usec_t more = 0;

	assert_true(deadlock >= 0);
	if (deadlock == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	for (size_t i = 0; i < ELEMENTSOF(pids); i++)
		pids[i] = loop(0);
	while (state_now != 'S') {
		char path[64];
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", deadlock);
		f = fopen(path, "re");
		assert_non_null(f);
		assert_int_equal(fscanf(f, "%*d (%*[^)]) %c", &state_now), 1);
		fclose(f);
	}
	starvation_open(&w, deadlock);
	starvation_look(&w, 0, true, &a);
	usleep(200000);
	starvation_look(&w, 0, true, &b);
	assert_int_equal(starvation_judge(&a, &b, SECOND, &more), STARVATION_NONE);
	for (size_t i = 0; i < ELEMENTSOF(pids); i++)
		end(pids[i]);
	end(deadlock);
	/* it has gone: nothing to see, and nothing to fall over */
	starvation_look(&w, 0, false, &b);
	assert_int_equal(b.n_threads, 0);
	starvation_close(&w);
	starvation_open(&w, INT_MAX);
	starvation_look(&w, 0, false, &b);
	assert_int_equal(b.n_threads, 0);
	starvation_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judgement),
		cmocka_unit_test(test_no_first_look),
		cmocka_unit_test(test_overload),
		cmocka_unit_test(test_deadlock_in_overload),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
