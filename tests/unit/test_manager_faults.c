/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real twinit where things go wrong around it: a second one, keepers that die and leave
 * processes behind, no descriptors left, folders and unit files that are not what they should be.
 */
#include "tests/unit/test_daemon.h"

#include <sys/resource.h>

static void second_twinit_is_refused(_unused_ void **state)
{
	struct daemon first;
	char expected[64];

	add_unit("n", "plain", "", "");
	start(false, NULL);
	wait_log("start-up finished");
	first = d;
	start(false, NULL);
	format_path(expected, sizeof(expected), "in use by another twinit (process %d)",
		(int)first.pid);
	wait_log(expected);
	wait_exit(1);
	close(d.log_fd);
	d = first;
	/* It lets go however it ends. */
	kill(d.pid, SIGKILL);
	assert_int_equal(waitpid(d.pid, NULL, 0), d.pid);
	close(d.log_fd);
	start(false, NULL);
	wait_log("start-up finished");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void lock_belongs_to_its_owner(_unused_ void **state)
{
	char path[128];
	struct stat st;

	start(false, NULL);
	wait_log("start-up finished");
	/* Whoever can open it can lock it. */
	format_path(path, sizeof(path), "%s/run/lock", d.dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void family_of_a_dead_keepers_node(_unused_ void **state)
{
	add_unit("n", "family", "", "");
	start(false, NULL);
	pid_t keeper = pid_in_log("n: keeper ");
	wait_log("start-up finished");
	kill(keeper, SIGKILL);
	/* The node and its child, which is in another process group. */
	wait_log("killed 2 of session");
	wait_log("killing ");
	wait_log("killed 9");
	wait_log("killed 9");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void command_of_a_dead_keeper(_unused_ void **state)
{
	add_unit("n", "pre", "", "Restart=on-success");
	start(false, NULL);
	pid_t keeper = pid_in_log("n: keeper ");
	wait_log("n: start-pre ");
	kill(keeper, SIGKILL);
	wait_log("killed 2 of session");
	wait_log("killing ");
	wait_log("killed 9");
	wait_log("killed 9");
	/* A crash is no success. */
	assert_null(strstr(d.log, "auto-restart"));
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void keeper_that_does_not_leave(_unused_ void **state)
{
	add_unit("n", "once lingers", "", "");
	start(false, NULL);
	wait_log("n: dead ");
	wait_log("is late: killing it");
	wait_log("ended badly after its last word");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void no_descriptors_for_a_keeper(_unused_ void **state)
{
	struct rlimit before, few = {.rlim_cur = 4};

	add_unit("n", "plain", "", "Restart=always\nRestartSec=100ms");
	start(false, NULL);
	pid_t keeper = pid_in_log("n: keeper ");
	wait_log("start-up finished");
	assert_int_equal(prlimit(d.pid, RLIMIT_NOFILE, NULL, &before), 0);
	few.rlim_max = before.rlim_max;
	assert_int_equal(prlimit(d.pid, RLIMIT_NOFILE, &few, NULL), 0);
	kill(keeper, SIGKILL);
	wait_log("cannot start a keeper: Too many open files");
	assert_int_equal(prlimit(d.pid, RLIMIT_NOFILE, &before, NULL), 0);
	wait_log("n: running ");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void unit_that_is_wrong_in_every_line(_unused_ void **state)
{
	char path[128];
	unsigned n = 0;
	FILE *f;

	format_path(path, sizeof(path), "%s/units/bad.ini", d.dir);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs("[Twin]\n", f);
	for (unsigned i = 0; i < 9000; i++)
		fprintf(f, "Nonsense%u=1\n", i);
	assert_int_equal(fclose(f), 0);
	add_unit("good", "plain", "", "");
	start(false, NULL);
	wait_log("more; see twinctl verify");
	wait_log("good: running");
	wait_log("system is degraded");
	for (const char *p = d.log; (p = strstr(p, "unknown key")); p++)
		n++;
	assert_in_range(n, 1, 20);
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void folder_that_is_none(_unused_ void **state)
{
	char path[128], option[192];
	char *more[] = {option, NULL};

	add_unit("n", "plain", "", "");
	format_path(path, sizeof(path), "%s/units/n.ini/sub", d.dir);
	format_path(option, sizeof(option), "--unit-path=%s", path);
	start(false, more);
	wait_log("Not a directory");
	wait_log("n: running");
	wait_log("system is degraded");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void no_folder_at_all(_unused_ void **state)
{
	char path[128];

	format_path(path, sizeof(path), "%s/units", d.dir);
	assert_int_equal(rmdir(path), 0);
	start(false, NULL);
	wait_log("there is no folder of units");
	wait_log("system is degraded");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

/* Ctrl-C, or a kill of the job: only the supervisor hears it, and stops the nodes in order. */
static void sigterm_to_the_whole_group(_unused_ void **state)
{
	pid_t keeper;

	add_unit("one", "plain", "", "");
	add_unit("two", "plain", "After=one", "");
	start(false, NULL);
	keeper = pid_in_log("one: keeper ");
	wait_log("start-up finished");
	assert_int_equal(getsid(keeper), keeper);
	forget_events();
	assert_int_equal(kill(-d.pid, SIGTERM), 0);
	wait_exit(0);
	assert_string_equal(events(), "stop two;dead two;stop one;dead one;");
}

/* A process in init's namespace whose parent is outside: its end is no news to init. */
static pid_t send_in(pid_t init)
{
	char path[64];
	int ready[2];
	pid_t pid;
	char c;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", init);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || setns(fd, CLONE_NEWPID) < 0)
			_exit(1);
		if (fork() == 0) {
			if (write(ready[1], "r", 1) == 1)
				pause();
			_exit(1);
		}
		close(ready[1]);
		_exit(wait(NULL) > 0 ? 0 : 1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void end_of_what_was_sent_in(_unused_ void **state)
{
	usec_t begun;
	pid_t pid;

	add_unit("n", "plain", "", "");
	start(true, NULL);
	wait_log("start-up finished");
	pid = send_in(d.pid);
	begun = now_usec();
	kill(d.pid, SIGTERM);
	wait_exit(0);
	assert_true(now_usec() - begun < 4 * USEC_PER_SEC);
	assert_null(strstr(d.log, "time is up"));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(second_twinit_is_refused),
		T(lock_belongs_to_its_owner),
		T(family_of_a_dead_keepers_node),
		T(command_of_a_dead_keeper),
		T(keeper_that_does_not_leave),
		T(no_descriptors_for_a_keeper),
		T(unit_that_is_wrong_in_every_line),
		T(folder_that_is_none),
		T(no_folder_at_all),
		T(sigterm_to_the_whole_group),
		T(end_of_what_was_sent_in),
	};
	find_programs();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
