/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The twin engine where things go wrong: processes that stop, end, exec or lose their main
 * thread, twins killed from outside, no right to trace, generations, and orders that make no sense.
 */
#include <sys/fanotify.h>

#include "tests/unit/test_victim_run.h"

#define CHECK(cond, ...) ((cond) || run_fail(&run, #cond ": " __VA_ARGS__))

static struct victim_run run;
static char fds_before[1024];

static int begin(void **state)
{
	(void)state;
	list_own_fds(fds_before, sizeof(fds_before));
	return 0;
}

static int nothing_left(void **state)
{
	char fds_after[1024];
	int raw;

	(void)state;
	list_own_fds(fds_after, sizeof(fds_after));
	if (strcmp(fds_before, fds_after) != 0)
		print_error("descriptors before: %s after: %s\n", fds_before, fds_after);
	return strcmp(fds_before, fds_after) != 0 || waitpid(-1, &raw, __WALL | WNOHANG) != -1;
}

static bool checkpoint(void)
{
	struct twin_checkpoint cp;
	return run_checkpoint(&run, &cp) && CHECK(cp.twin_pid == twin_pid(run.e, 0), "twin");
}

static bool swap_ok(unsigned generation)
{
	struct twin_swap sw;
	int r = twin_swap(run.e, generation, &sw);

	run.end = (struct twin_event){0};
	return CHECK(r == 0, "%d, %s", r, twin_reason(run.e)) &&
	       CHECK(twin_active_pid(run.e) == run.pid && sw.new_pid == run.pid, "pid") &&
	       run_progress(&run, 2);
}

/* One call that must be refused so, with a sentence, and leave the victim alone. */
static bool checkpoint_says(int error)
{
	struct twin_checkpoint cp;
	int r = twin_checkpoint(run.e, true, &cp);

	return CHECK(r == error, "%d, not %d: %s", r, error, twin_reason(run.e)) &&
	       CHECK(twin_reason(run.e)[0], "no reason");
}

static bool swap_says(int error)
{
	struct twin_swap sw;
	int r = twin_swap(run.e, 0, &sw);

	return CHECK(r == error, "%d, not %d: %s", r, error, twin_reason(run.e)) &&
	       CHECK(twin_reason(run.e)[0], "no reason");
}

static void refuses_bad_generations(void **state)
{
	struct twin_config none = {.generations = 0},
			   many = {.generations = TWIN_GENERATIONS_MAX + 1};
	struct twin_engine *e = NULL;

	(void)state;
	assert_int_equal(twin_engine_new(&none, &e), -EINVAL);
	assert_int_equal(twin_engine_new(&many, &e), -EINVAL);
	assert_null(e);
}

static void knows_nobody(void **state)
{
	struct twin_config config = {.generations = 1};
	struct twin_checkpoint cp;
	struct twin_swap sw;
	struct twin_engine *e;

	(void)state;
	assert_int_equal(twin_engine_new(&config, &e), 0);
	assert_int_equal(twin_active_pid(e), 0);
	assert_int_equal(twin_count(e), 0);
	assert_int_equal(twin_pid(e, 0), 0);
	assert_int_equal(twin_checkpoint(e, true, &cp), -ESRCH);
	assert_int_equal(twin_swap(e, 0, &sw), -ENODATA);
	assert_int_equal(twin_kill(e, SIGTERM), -ESRCH);
	assert_int_equal(twin_attach(e, getpid()), -EPERM);
	assert_int_equal(twin_next_event(e).type, TWIN_EVENT_NONE);
	twin_engine_free(e);
}

static void stopped(void **state)
{
	(void)state;
	(void)(run_begin(&run, "sixteen_threads", 1, true) && checkpoint() &&
		CHECK(twin_kill(run.e, SIGSTOP) == 0, "stop") &&
		run_until(&run, run.n_stops > 0, "the stop") && checkpoint_says(-EBUSY) &&
		CHECK(twin_count(run.e) == 1, "the earlier twin is gone") &&
		CHECK(twin_kill(run.e, SIGCONT) == 0, "go on") &&
		run_until(&run, run.n_continues > 0, "the going on") && run_progress(&run, 2) &&
		checkpoint() && CHECK(twin_kill(run.e, SIGSEGV) == 0, "kill") &&
		run_await_end(&run) && swap_ok(0));
	run_end(&run);
}

/* SIGKILL ends even what is stopped. */
static void killed_while_stopped(void **state)
{
	(void)state;
	(void)(run_begin(&run, "one_thread", 1, true) && checkpoint() &&
		CHECK(twin_kill(run.e, SIGSTOP) == 0, "stop") &&
		run_until(&run, run.n_stops > 0, "the stop") &&
		CHECK(twin_kill(run.e, SIGKILL) == 0, "kill") && run_await_end(&run) &&
		CHECK(run.end.type == TWIN_EVENT_EXITED && run.end.status == SIGKILL, "end") &&
		swap_ok(0) && checkpoint());
	run_end(&run);
}

static bool ends_by(enum victim_command command, int status)
{
	atomic_store(&run.shared->command, (int)command);
	return run_await_end(&run) &&
	       CHECK(run.end.type == TWIN_EVENT_EXITED, "event %d", run.end.type) &&
	       CHECK(run.end.status == status, "status %x", (unsigned)run.end.status) &&
	       CHECK(twin_active_pid(run.e) == 0, "still active");
}

static void exited(void **state)
{
	(void)state;
	(void)(run_begin(&run, "one_thread", 1, true) && checkpoint() &&
		ends_by(VICTIM_EXIT, VICTIM_EXIT_STATUS << 8) && checkpoint_says(-ESRCH) &&
		CHECK(twin_kill(run.e, SIGTERM) == -ESRCH, "kill") && swap_ok(0) && checkpoint());
	run_end(&run);
}

static void exited_by_a_thread(void **state)
{
	(void)state;
	(void)(run_begin(&run, "sixteen_threads", 1, true) && checkpoint() &&
		ends_by(VICTIM_EXIT_BY_THREAD, VICTIM_EXIT_STATUS << 8) && swap_ok(0) &&
		CHECK(twin_n_threads(run.e) == 16, "%u threads", twin_n_threads(run.e)));
	run_end(&run);
}

static void killed_as_by_oom(void **state)
{
	(void)state;
	(void)(run_begin(&run, "sixteen_threads", 1, true) && checkpoint() &&
		CHECK(twin_kill(run.e, SIGKILL) == 0, "kill") && run_await_end(&run) &&
		CHECK(run.end.type == TWIN_EVENT_EXITED && run.end.status == SIGKILL, "status %x",
			(unsigned)run.end.status) &&
		swap_ok(0));
	run_end(&run);
}

static void fatal_is_described(void **state)
{
	(void)state;
	(void)(run_begin(&run, "one_thread", 1, true) && checkpoint());
	atomic_store(&run.shared->command, VICTIM_SEGV);
	(void)(run_await_end(&run) && CHECK(run.end.type == TWIN_EVENT_FATAL, "event") &&
		CHECK(run.end.signal == SIGSEGV && run.end.core, "signal %d", run.end.signal) &&
		CHECK(run.end.fault_address == 16, "address") &&
		CHECK(run.end.instruction != 0, "instruction") &&
		CHECK(run.end.tid == run.pid, "thread") && checkpoint_says(-ESRCH) && swap_ok(0));
	run_end(&run);
}

/* Somebody strikes at any moment, above all in the middle of a checkpoint. */
static void *striker(void *arg)
{
	nsec_t until = now_nsec() + (uintptr_t)arg * NSEC_PER_USEC;

	while (now_nsec() < until)
		continue;
	(void)kill(run.pid, SIGSEGV);
	return NULL;
}

/* A signal that comes while all stand still is not in the twin of that moment: it would kill it
 * as well. */
static void struck_in_a_checkpoint(void **state)
{
	struct twin_checkpoint cp;
	bool good = run_begin(&run, "one_thread", 1, true);

	(void)state;
	for (unsigned i = 0; good && i < 100 && checkpoint(); i++) {
		pthread_t t;
		uintptr_t delay = i * 37 % 1500;
		int r = pthread_create(&t, NULL, striker, (void *)delay);

		good = CHECK(r == 0, "pthread_create");
		while (good && run.end.type == TWIN_EVENT_NONE) {
			if (twin_checkpoint(run.e, true, &cp) < 0)
				run.skipped++;
			run_take_events(&run);
		}
		pthread_join(t, NULL);
		good = good && swap_ok(0) && run_progress(&run, 1);
	}
	run_end(&run);
}

/* The keeper may say no: then the signal ends it as it would have without us. */
/* What a crash reporter is doing when it crashes or ends is nothing to come back to. */
static void reports_its_crash(void **state)
{
	(void)state;
	if (!run_begin(&run, "crash_report", 1, true))
		goto end;
	for (unsigned i = 0; i < 3; i++) {
		if (!checkpoint() || !CHECK(twin_kill(run.e, SIGSEGV) == 0, "kill") ||
			!run_until(&run, atomic_load(&run.shared->counter) == 1, "the handler"))
			goto end;
		for (unsigned k = 0; k < 5; k++)
			if (!run_progress(&run, 2) || !checkpoint_says(-EBUSY))
				goto end;
		atomic_store(&run.shared->command, i == 1 ? VICTIM_EXEC : VICTIM_ABORT);
		if (i == 1 ? !run_until(&run, atomic_load(&run.shared->counter) == 0, "its way out")
			   : !(run_await_end(&run) && CHECK(run.end.signal == SIGABRT, "signal") &&
				     swap_ok(0) &&
				     CHECK(atomic_load(&run.shared->command) == VICTIM_RUN,
					     "twin")))
			goto end;
	}
end:
	run_end(&run);
}

static void let_die(void **state)
{
	(void)state;
	if (run_begin(&run, "sixteen_threads", 2, true) && checkpoint() &&
		CHECK(twin_kill(run.e, SIGTERM) == 0, "kill") && run_await_end(&run) &&
		CHECK(run.end.type == TWIN_EVENT_FATAL && run.end.signal == SIGTERM, "event") &&
		CHECK(!run.end.core, "core")) {
		run.end = (struct twin_event){0};
		twin_let_die(run.e);
		(void)(run_await_end(&run) && CHECK(run.end.type == TWIN_EVENT_EXITED, "event") &&
			CHECK(run.end.status == SIGTERM, "status %x", (unsigned)run.end.status) &&
			CHECK(twin_count(run.e) == 1, "twins") && swap_ok(0));
	}
	run_end(&run);
}

static void no_twin(void **state)
{
	(void)state;
	(void)(run_begin(&run, "one_thread", 1, true) && swap_says(-ENODATA) &&
		run_progress(&run, 2) && checkpoint());
	twin_drop_all(run.e);
	(void)(CHECK(twin_count(run.e) == 0, "twins") && swap_says(-ENODATA) &&
		run_progress(&run, 2) && checkpoint() &&
		CHECK(twin_memory_private(run.e) > 0, "memory"));
	run_end(&run);
}

static void twin_killed(void **state)
{
	pid_t twin;

	(void)state;
	if (run_begin(&run, "one_thread", 2, true) && checkpoint() && checkpoint()) {
		twin = twin_pid(run.e, 1);
		kill(twin, SIGKILL);
		(void)(run_until(&run, run.n_lost == 1, "the loss") &&
			CHECK(run.lost_pid == twin, "pid %d", run.lost_pid) &&
			CHECK(twin_count(run.e) == 1, "%u twins", twin_count(run.e)));
		kill(twin_pid(run.e, 0), SIGKILL);
		(void)(run_until(&run, run.n_lost == 2, "the second loss") &&
			CHECK(twin_count(run.e) == 0, "%u twins", twin_count(run.e)) &&
			swap_says(-ENODATA) && run_progress(&run, 2) && checkpoint() &&
			CHECK(twin_kill(run.e, SIGKILL) == 0, "kill") && run_await_end(&run) &&
			swap_ok(0));
	}
	run_end(&run);
}

/* Killed so shortly before the swap that nobody has been told yet. */
static void twin_killed_unseen(void **state)
{
	struct twin_swap sw;

	(void)state;
	if (run_begin(&run, "one_thread", 2, true) && checkpoint() && run_progress(&run, 2) &&
		checkpoint()) {
		kill(twin_pid(run.e, 0), SIGKILL);
		int r = twin_swap(run.e, 0, &sw);
		run.end = (struct twin_event){0};
		/* It may fail, but then the older one must do. */
		(void)(CHECK(r < 0, "a dead twin was swapped in") &&
			CHECK(twin_count(run.e) == 1, "%u twins", twin_count(run.e)) && swap_ok(0));
	}
	run_end(&run);
}

/* A child of our own ends while the swap is under way, which fails. */
static void others_are_told(void **state)
{
	struct twin_swap sw;
	bool told = false;
	siginfo_t info;
	pid_t ours;

	(void)state;
	if (run_begin(&run, "sixteen_threads", 1, true) && checkpoint()) {
		twin_prefer_way(run.e, TWIN_WAY_RECLAIM);
		kill(twin_pid(run.e, 0), SIGKILL);
		ours = fork();
		if (ours == 0)
			_exit(0);
		(void)waitid(P_PID, (id_t)ours, &info, WEXITED | WNOWAIT);
		(void)CHECK(twin_swap(run.e, 0, &sw) < 0, "a dead twin was swapped in");
		for (struct twin_event ev = twin_next_event(run.e); ev.type != TWIN_EVENT_NONE;
			ev = twin_next_event(run.e)) {
			told |= ev.type == TWIN_EVENT_CHILD && ev.pid == ours;
			(void)CHECK(ev.pid != run.pid, "event %d of the dead", (int)ev.type);
		}
		(void)CHECK(told, "its end was not told");
		twin_forget(run.e);
	}
	run_finish(&run);
}

static bool sleeps_uninterruptibly(void)
{
	char path[64], text[512] = "";
	const char *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", run.pid);
	f = fopen(path, "re");
	if (f) {
		(void)!fgets(text, sizeof(text), f);
		fclose(f);
	}
	p = strrchr(text, ')');
	return p && p[2] == 'D';
}

/* The time of a freeze is lost once to a thread that does not stop, and not at the swap again. */
static void stuck_in_the_kernel(void **state)
{
	struct twin_swap sw = {0};
	char path[64];
	int watch = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);

	(void)state;
	if (watch < 0)
		skip();
	if (run_begin(&run, "stuck", 1, true) && checkpoint() && run_progress(&run, 2)) {
		twin_prefer_way(run.e, TWIN_WAY_IN_PLACE);
		snprintf(path, sizeof(path), "%s/watched", run.dir);
		if (fanotify_mark(watch, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, path) == 0)
			atomic_store(&run.shared->command, VICTIM_EXEC);
		(void)(run_until(&run, sleeps_uninterruptibly(), "the sleep") &&
			checkpoint_says(-EBUSY) &&
			CHECK(twin_swap(run.e, 0, &sw) == 0, "%s", twin_reason(run.e)) &&
			CHECK(sw.way == TWIN_WAY_RECLAIM, "way") &&
			CHECK(strcmp(sw.why, "a thread does not come out of the kernel") == 0, "%s",
				sw.why) &&
			run_progress(&run, 2));
	}
	close(watch);
	run_end(&run);
}

static void generations(void **state)
{
	uint64_t counter[4];
	nsec_t taken[3];

	(void)state;
	if (!run_begin(&run, "one_thread", 3, true))
		goto end;
	for (unsigned i = 0; i < 4; i++) {
		counter[i] = atomic_load(&run.shared->counter);
		if (!checkpoint() || !run_progress(&run, 30))
			goto end;
	}
	for (unsigned g = 0; g < 3; g++)
		taken[g] = twin_taken_at(run.e, g);
	if (!CHECK(twin_count(run.e) == 3, "%u twins", twin_count(run.e)) ||
		!CHECK(taken[0] > taken[1] && taken[1] > taken[2], "order") ||
		!CHECK(twin_pid(run.e, 3) == 0, "a fourth") || !swap_ok(1))
		goto end;
	/* Of the four the third has gone: their distance doubles. */
	uint64_t now = atomic_load(&run.shared->counter);
	(void)(CHECK(now >= counter[1] && now < counter[2], "counter %lu, not %lu to %lu",
		       (unsigned long)now, (unsigned long)counter[1], (unsigned long)counter[2]) &&
		CHECK(twin_count(run.e) == 1, "%u twins", twin_count(run.e)) &&
		CHECK(twin_taken_at(run.e, 0) == taken[2], "the wrong one is left") && swap_ok(0) &&
		CHECK(twin_count(run.e) == 0, "%u twins", twin_count(run.e)));
	now = atomic_load(&run.shared->counter);
	(void)CHECK(now >= counter[0] && now < counter[1], "counter %lu", (unsigned long)now);
end:
	run_end(&run);
}

static void exec_drops_twins(void **state)
{
	unsigned execs;

	(void)state;
	if (run_begin(&run, "execs_itself", 2, true)) {
		execs = run.n_execs;
		(void)(checkpoint() && run_until(&run, run.n_execs > execs, "an exec") &&
			CHECK(twin_count(run.e) == 0, "%u twins", twin_count(run.e)) &&
			swap_says(-ENODATA) && run_progress(&run, 2) && checkpoint() && swap_ok(0));
	}
	run_end(&run);
}

/* A process that is ending looks the same for a moment, so the engine may say that first. */
static void holds_io_uring(void **state)
{
	struct twin_checkpoint cp;

	(void)state;
	if (run_begin(&run, "uring", 1, true)) {
		int r = twin_checkpoint(run.e, true, &cp);
		(void)(CHECK(r == -ENOTSUP ||
				       access("/proc/sys/kernel/io_uring_disabled", F_OK) != 0,
			       "%d: %s", r, twin_reason(run.e)) &&
			run_progress(&run, 3));
	}
	run_end(&run);
}

static void main_thread_left(void **state)
{
	struct twin_checkpoint cp;
	int r = -ESRCH;

	(void)state;
	if (run_begin(&run, "main_leaves", 1, true)) {
		for (unsigned i = 0; i < 10 && r == -ESRCH && run_progress(&run, 1); i++)
			r = twin_checkpoint(run.e, true, &cp);
		(void)(CHECK(r == -ENOTSUP, "%d: %s", r, twin_reason(run.e)) &&
			CHECK(strstr(twin_reason(run.e), "main thread"), "reason: %s",
				twin_reason(run.e)) &&
			run_progress(&run, 3));
	}
	run_end(&run);
}

/* As another user, who may not trace a process of root's: watched all the same. */
static int watch_without_rights(void)
{
	struct twin_config config = {.generations = 1};
	struct twin_checkpoint cp;
	struct twin_engine *e;
	struct twin_event ev;
	int gate[2];
	char c;
	pid_t pid;

	if (twin_engine_new(&config, &e) < 0 || pipe(gate) < 0)
		return 10;
	pid = fork();
	if (pid == 0) {
		close(gate[1]);
		_exit(read(gate[0], &c, 1) == 0 ? 5 : 6);
	}
	close(gate[0]);
	if (setresuid(65534, 65534, 65534) < 0)
		return 11;
	if (twin_attach(e, pid) != -EPERM || !twin_reason(e)[0] || twin_active_pid(e) != 0)
		return 12;
	twin_watch(e, pid);
	if (twin_active_pid(e) != pid || twin_checkpoint(e, true, &cp) != -EPERM)
		return 13;
	close(gate[1]);
	while ((ev = twin_next_event(e)).type == TWIN_EVENT_NONE)
		wait_a_little();
	if (ev.type != TWIN_EVENT_EXITED || ev.pid != pid || ev.status != 5 << 8)
		return 14;
	twin_forget(e);
	twin_engine_free(e);
	return 0;
}

static void no_right_to_trace(void **state)
{
	int raw;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	pid = fork();
	if (pid == 0)
		_exit(watch_without_rights());
	assert_int_equal(waitpid(pid, &raw, 0), pid);
	assert_int_equal(raw, 0);
}

/* The keeper goes: the node runs on, its twins do not. */
static void forgets_a_running_process(void **state)
{
	pid_t twin;

	(void)state;
	if (run_begin(&run, "sixteen_threads", 1, false) && checkpoint()) {
		twin = twin_pid(run.e, 0);
		twin_forget(run.e);
		run.n_stops = 0;
		(void)(CHECK(twin_active_pid(run.e) == 0, "active") && run_progress(&run, 3) &&
			run_until(&run, kill(twin, 0) < 0, "the twin's end") &&
			CHECK(twin_attach_running(run.e, run.pid) == 0 || !twin_active_pid(run.e),
				"attach again: %s", twin_reason(run.e)));
	}
	run_end(&run);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, nothing_left)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(refuses_bad_generations),
		TEST(knows_nobody),
		TEST(stopped),
		TEST(killed_while_stopped),
		TEST(exited),
		TEST(exited_by_a_thread),
		TEST(killed_as_by_oom),
		TEST(fatal_is_described),
		TEST(struck_in_a_checkpoint),
		TEST(reports_its_crash),
		TEST(let_die),
		TEST(no_twin),
		TEST(twin_killed),
		TEST(twin_killed_unseen),
		TEST(others_are_told),
		TEST(stuck_in_the_kernel),
		TEST(generations),
		TEST(exec_drops_twins),
		TEST(main_thread_left),
		TEST(holds_io_uring),
		TEST(no_right_to_trace),
		TEST(forgets_a_running_process),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("engine faults", tests, NULL, NULL);
}
