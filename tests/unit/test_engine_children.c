/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of the children of a process whose twin takes over after it has ended: kept, killed
 * to the last, or a reason not to. And in place, where nothing becomes of them.
 */
#include "tests/unit/test_victim_run.h"

#define CHECK(cond, ...) ((cond) || run_fail(&run, #cond ": " __VA_ARGS__))

static struct victim_run run;

/* Living processes but this one, the victim and its engine's. */
static unsigned others(void)
{
	DIR *d = opendir("/proc");
	unsigned n = 0;

	for (struct dirent *entry; d && (entry = readdir(d));) {
		char path[300], text[512] = "";
		pid_t pid = atoi(entry->d_name);
		ssize_t len = -1;
		int fd;

		if (pid <= 0 || pid == run.pid || getsid(pid) == getsid(0))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		fd = open(path, O_RDONLY);
		if (fd >= 0) {
			len = read(fd, text, sizeof(text) - 1);
			close(fd);
		}
		/* A twin says so in its name. */
		n += len > 0 && !strstr(text, "(twin:") && !strstr(text, ") Z");
	}
	if (d)
		closedir(d);
	return n;
}

static bool begin(enum twin_children children)
{
	struct twin_checkpoint cp;

	run_children = children;
	return run_begin(&run, "brood", 1, true) && run_progress(&run, 5) &&
	       run_until(&run, others() >= 5, "its children") && run_checkpoint(&run, &cp);
}

/* In a pid namespace of our own; those that fork are met again. */
static bool kill_brood(void)
{
	bool any = false;
	DIR *d = opendir("/proc");

	for (struct dirent *entry; d && (entry = readdir(d));) {
		char path[300], exe[256] = "";
		pid_t pid = atoi(entry->d_name);

		snprintf(path, sizeof(path), "/proc/%d/exe", pid);
		if (pid > 0 && readlink(path, exe, sizeof(exe) - 1) > 0 && strstr(exe, "/brood")) {
			kill(pid, SIGKILL);
			any = true;
		}
	}
	if (d)
		closedir(d);
	return any;
}

static void end(bool gone)
{
	if (!gone || run.failure[0])
		run_end_of_victim(&run);
	else
		twin_forget(run.e);
	while (kill_brood())
		run_take_events(&run);
	run_children = TWIN_CHILDREN_KEEP;
	run_finish(&run);
}

static bool killed(int sig)
{
	return CHECK(twin_kill(run.e, sig) == 0, "kill") && run_await_end(&run);
}

static void in_place_they_stay(void **state)
{
	struct twin_swap sw = {0};

	(void)state;
	if (begin(TWIN_CHILDREN_KILL) && killed(SIGSEGV)) {
		int r = twin_swap(run.e, 0, &sw);
		run.end = (struct twin_event){0};
		(void)(CHECK(r == 0, "%s", twin_reason(run.e)) &&
			CHECK(sw.way == TWIN_WAY_IN_PLACE, "%s", sw.why) &&
			CHECK(others() >= 5, "%u left", others()) && run_progress(&run, 2));
	}
	end(false);
}

static void kill_them_all(void **state)
{
	struct twin_swap sw = {0};

	(void)state;
	if (begin(TWIN_CHILDREN_KILL)) {
		twin_prefer_way(run.e, TWIN_WAY_RECLAIM);
		int r = twin_swap(run.e, 0, &sw);
		run.end = (struct twin_event){0};
		(void)(CHECK(r == 0, "%d, %s", r, twin_reason(run.e)) &&
			CHECK(sw.way == TWIN_WAY_RECLAIM, "way") &&
			CHECK(strstr(sw.lost, "killed"), "%s", sw.lost) &&
			CHECK(others() == 0, "%u left: %s", others(), sw.lost) &&
			CHECK(getsid(run.pid) == run.pid, "session") && run_progress(&run, 2));
	}
	end(false);
}

static void kill_what_is_left(void **state)
{
	struct twin_swap sw = {0};

	(void)state;
	if (begin(TWIN_CHILDREN_KILL) && killed(SIGKILL)) {
		int r = twin_swap(run.e, 0, &sw);
		run.end = (struct twin_event){0};
		/* Who had left the session, and lost its parent, too. */
		(void)(CHECK(r == 0, "%d, %s", r, twin_reason(run.e)) &&
			CHECK(others() == 0, "%u left: %s", others(), sw.lost) &&
			run_progress(&run, 2));
	}
	end(false);
}

/* Nobody had seen the child: it was born after the checkpoint. */
static bool die_with_a_late_child(enum twin_children children)
{
	struct twin_checkpoint cp;
	bool good;

	run_children = children;
	setenv("BROOD", "late", 1);
	good = run_begin(&run, "brood", 1, true) && run_progress(&run, 5) &&
	       CHECK(others() == 0, "%u children", others()) && run_checkpoint(&run, &cp);
	unsetenv("BROOD");
	if (!good)
		return false;
	atomic_store(&run.shared->command, VICTIM_EXEC);
	return run_until(&run, others() == 1, "a child") && killed(SIGKILL);
}

static void kill_a_late_one(void **state)
{
	struct twin_swap sw = {0};

	(void)state;
	if (die_with_a_late_child(TWIN_CHILDREN_KILL)) {
		int r = twin_swap(run.e, 0, &sw);
		run.end = (struct twin_event){0};
		(void)(CHECK(r == 0, "%d, %s", r, twin_reason(run.e)) &&
			CHECK(others() == 0, "%u left: %s", others(), sw.lost) &&
			run_progress(&run, 2));
	}
	end(false);
}

static void a_late_one_in_the_way(void **state)
{
	struct twin_swap sw;

	(void)state;
	if (die_with_a_late_child(TWIN_CHILDREN_KEEP)) {
		int r = twin_swap(run.e, 0, &sw);
		(void)(CHECK(r == -EEXIST, "%d, %s", r, twin_reason(run.e)) &&
			CHECK(strstr(twin_reason(run.e), "session"), "%s", twin_reason(run.e)));
	}
	end(true);
}

static void refuse(void **state)
{
	struct twin_swap sw;

	(void)state;
	if (begin(TWIN_CHILDREN_REFUSE) && killed(SIGKILL)) {
		int r = twin_swap(run.e, 0, &sw);
		(void)(CHECK(r == -ECHILD, "%d", r) && CHECK(twin_reason(run.e)[0], "no reason") &&
			CHECK(twin_count(run.e) == 0, "twins"));
	}
	end(true);
}

/* Its pid is the number of a session that lives on. */
static void kept_but_in_the_way(void **state)
{
	struct twin_swap sw;

	(void)state;
	if (begin(TWIN_CHILDREN_KEEP) && killed(SIGKILL)) {
		int r = twin_swap(run.e, 0, &sw);
		(void)(CHECK(r == -EEXIST, "%d, %s", r, twin_reason(run.e)) &&
			CHECK(strstr(twin_reason(run.e), "session"), "%s", twin_reason(run.e)));
	}
	end(true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_place_they_stay),
		cmocka_unit_test(kill_them_all),
		cmocka_unit_test(kill_what_is_left),
		cmocka_unit_test(kill_a_late_one),
		cmocka_unit_test(a_late_one_in_the_way),
		cmocka_unit_test(refuse),
		cmocka_unit_test(kept_but_in_the_way),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("children of the active", tests, NULL, NULL);
}
