/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same pid and thread ids for nodes that may not choose them (User=), 200 swaps in a row,
 * beside a storm of forks and beside other nodes that are swapped at the same time, each by a
 * tracer of its own as under the real keepers. All of them die by SIGKILL or exit, so that nothing
 * but new tasks under the old numbers can bring them back.
 *
 * VICTIM_SWAPS: swaps of each; VICTIM_SEED: of the moments.
 */
#include "tests/unit/test_victim_run.h"

#include <linux/sched.h>
#include <spawn.h>

#define DRIVERS 4
#define STORMS 2
#define SWAPS 200

extern char **environ;

struct storm_shared {
	_Atomic uint64_t forks;
	_Atomic int begun;
};
static struct storm_shared *storm;

/* As the keeper is. Where it is not permitted, more is lost to the storm, and no harm done. */
static void be_realtime(void)
{
	struct sched_param fifo = {.sched_priority = 10};
	(void)sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &fifo);
}

static void swap_by_force(struct victim_run *r, uint32_t *random)
{
	unsigned swaps = env_number("VICTIM_SWAPS", SWAPS);
	nsec_t longest = 0, sum = 0;

	for (unsigned i = 0; i < swaps; i++) {
		struct twin_checkpoint cp;
		struct tid_set before, after;
		struct twin_swap sw;
		int error;

		if (!run_checkpoint(r, &cp))
			return;
		list_tids(r->pid, &before);
		if (!run_progress(r, victim_random(random) % 3))
			return;
		if (victim_random(random) % 4 == 0)
			atomic_store(&r->shared->command, VICTIM_EXIT);
		else
			(void)twin_kill(r->e, SIGKILL);
		if (!run_await_end(r))
			return;
		error = twin_swap(r->e, 0, &sw);
		if (error < 0) {
			run_fail(r, "swap %u: %d, %s", i, error, twin_reason(r->e));
			return;
		}
		r->end = (struct twin_event){0};
		list_tids(r->pid, &after);
		if (sw.new_pid != r->pid || !same_tids(&before, &after)) {
			run_fail(r, "swap %u: other ids", i);
			return;
		}
		longest = MAX2(longest, sw.latency);
		sum += sw.latency;
		if (!run_progress(r, 1))
			return;
	}
	print_message("             %u swaps, mean %lu us, longest %lu us\n", swaps,
		(unsigned long)(sum / swaps / 1000), (unsigned long)(longest / 1000));
}

static void drive(void **state)
{
	uint32_t random = env_number("VICTIM_SEED", (unsigned)now_nsec()) ^ (uint32_t)getpid();
	struct victim_run r;

	(void)state;
	be_realtime();
	if (run_begin(&r, "user_nobody", 1, true))
		swap_by_force(&r, &random);
	run_end(&r);
}

static _Noreturn void run_storm(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	atomic_fetch_add(&storm->begun, 1);
	for (;;) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		if (pid < 0)
			continue;
		atomic_fetch_add(&storm->forks, 1);
		(void)waitpid(pid, NULL, 0);
	}
}

static pid_t start_driver(void)
{
	char *const argv[] = {"/proc/self/exe", "--drive", NULL};
	pid_t pid;

	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
	return pid;
}

/* The storm blows until the last of the drivers is done. */
static void drive_in_a_storm(unsigned n_drivers)
{
	pid_t storms[STORMS], drivers[DRIVERS];
	unsigned failed = 0;
	nsec_t begun;
	double seconds;
	int raw;

	for (unsigned i = 0; i < STORMS; i++) {
		storms[i] = fork();
		assert_true(storms[i] >= 0);
		if (storms[i] == 0)
			run_storm();
	}
	while (atomic_load(&storm->begun) < STORMS)
		sched_yield();
	atomic_store(&storm->forks, 0);
	begun = now_nsec();
	for (unsigned i = 0; i < n_drivers; i++)
		drivers[i] = start_driver();
	for (unsigned i = 0; i < n_drivers; i++)
		failed += waitpid(drivers[i], &raw, 0) != drivers[i] || raw != 0;
	seconds = (double)(now_nsec() - begun) / NSEC_PER_SEC;
	for (unsigned i = 0; i < STORMS; i++) {
		kill(storms[i], SIGKILL);
		waitpid(storms[i], &raw, 0);
	}
	atomic_store(&storm->begun, 0);
	print_message("             %.0f forks a second beside them for %.1f s\n",
		(double)atomic_load(&storm->forks) / seconds, seconds);
	assert_int_equal(failed, 0);
}

static void one_in_a_storm(void **state)
{
	(void)state;
	drive_in_a_storm(1);
}

static void four_in_a_storm(void **state)
{
	(void)state;
	drive_in_a_storm(DRIVERS);
}

/* A process under that number, which ends after so many milliseconds; 0: stays. */
static bool take(struct victim_run *r, pid_t number, long ms)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uint64_t)&number, .set_tid_size = 1};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	if (pid == 0) {
		if (ms == 0)
			pause();
		nanosleep(&time, NULL);
		_exit(0);
	}
	return pid == number || run_fail(r, "id %d: %s", number, strerror(errno));
}

/* The last of the threads' numbers is taken when the node is dead and its twin not yet there. */
static void swap_with_a_taker(const char *victim_name, long ms)
{
	struct twin_checkpoint cp;
	struct tid_set before, after;
	struct victim_run r;
	struct twin_swap sw;
	int error;

	if (run_begin(&r, victim_name, 1, true) && run_checkpoint(&r, &cp)) {
		list_tids(r.pid, &before);
		(void)twin_kill(r.e, SIGKILL);
		if (run_await_end(&r) && take(&r, before.tids[before.n - 1], ms)) {
			error = twin_swap(r.e, 0, &sw);
			list_tids(r.pid, &after);
			if (ms == 0 &&
				(error != -EBUSY || !strstr(twin_reason(r.e), "somebody else")))
				run_fail(&r, "swap: %d, %s", error, twin_reason(r.e));
			if (ms == 0)
				kill(before.tids[before.n - 1], SIGKILL);
			else if (error < 0 || !same_tids(&before, &after))
				run_fail(&r, "swap: %d, %s", error, twin_reason(r.e));
			else
				r.end = (struct twin_event){0};
		}
	}
	if (ms == 0 && !r.failure[0]) {
		/* It is gone for good, and so was asked for. */
		twin_forget(r.e);
		run_reap_all(&r);
		twin_engine_free(r.e);
		munmap(r.shared, sizeof(*r.shared));
		nftw(r.dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
		return;
	}
	run_end(&r);
}

static void who_leaves_is_waited_for(void **state)
{
	(void)state;
	swap_with_a_taker("user_nobody", 20);
	swap_with_a_taker("sixteen_threads", 20);
}

static void who_stays_is_named(void **state)
{
	(void)state;
	swap_with_a_taker("user_nobody", 0);
	swap_with_a_taker("sixteen_threads", 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest driver[] = {cmocka_unit_test(drive)};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_leaves_is_waited_for),
		cmocka_unit_test(who_stays_is_named),
		cmocka_unit_test(one_in_a_storm),
		cmocka_unit_test(four_in_a_storm),
	};

	if (argc > 1 && strcmp(argv[1], "--drive") == 0)
		return cmocka_run_group_tests_name("a node's driver", driver, NULL, NULL);
	storm = mmap(
		NULL, sizeof(*storm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (storm == MAP_FAILED)
		return 1;
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("ids", tests, NULL, NULL);
}
