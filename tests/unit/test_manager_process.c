/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real twinit with the fake keeper (tests/integration/fake_keeper.c): what it starts, in what
 * order, and how it goes down. Nothing here sleeps: a test waits for a line of the log, for a
 * process to end, or for a FIFO, and fails where that takes longer than PATIENCE_MSEC.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "config/clock.h"
#include "config/macro.h"

#define PATIENCE_MSEC 20000

struct daemon {
	char dir[64];
	pid_t pid;
	int log_fd;
	char log[262144];
	size_t log_len, log_seen;
};
static struct daemon d;
static char twinit_path[PATH_MAX], keeper_path[PATH_MAX + 64];

static void format_path(char *buf, size_t size, const char *fmt, ...) _printf_(3, 4);
static void format_path(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	assert_in_range(vsnprintf(buf, size, fmt, ap), 1, size - 1);
	va_end(ap);
}

static int remove_one(const char *path, _unused_ const struct stat *st, _unused_ int type,
	_unused_ struct FTW *ftw)
{
	return remove(path);
}

static int set_up(_unused_ void **state)
{
	char path[128];

	memset(&d, 0, sizeof(d));
	d.log_fd = -1;
	strcpy(d.dir, "/tmp/twinit-test-XXXXXX");
	if (!mkdtemp(d.dir))
		return -1;
	format_path(path, sizeof(path), "%s/units", d.dir);
	return mkdir(path, 0755);
}

static int tear_down(_unused_ void **state)
{
	if (d.pid > 0) {
		kill(d.pid, SIGKILL);
		waitpid(d.pid, NULL, 0);
	}
	closep(&d.log_fd);
	return nftw(d.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void add_unit(
	const char *id, const char *behaviour, const char *more_unit, const char *more_service)
{
	char path[128];
	FILE *f;

	format_path(path, sizeof(path), "%s/units/%s.ini", d.dir, id);
	f = fopen(path, "we");
	assert_non_null(f);
	fprintf(f,
		"[Unit]\nDescription=%s\n%s\n[Service]\nExecStart=/bin/true\n%s\n"
		"[Install]\nWantedBy=default.target\n",
		behaviour, more_unit, more_service);
	assert_int_equal(fclose(f), 0);
}

static void exec_twinit(bool own_namespace, int log_fd, char *const *more)
{
	char units[128], runtime[128], keeper[PATH_MAX + 128];
	char *argv[16] = {twinit_path, units, runtime, keeper, (char *)"--no-bus",
		(char *)"--log-level=debug"};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(units, sizeof(units), "--unit-path=%s/units", d.dir);
	snprintf(runtime, sizeof(runtime), "--runtime-dir=%s/run", d.dir);
	snprintf(keeper, sizeof(keeper), "--keeper=%s", keeper_path);
	for (size_t i = 0; more && more[i] && i < 9; i++)
		argv[6 + i] = more[i];
	dup2(log_fd, STDERR_FILENO);
	if (own_namespace && (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
				     mount("proc", "/proc", "proc", 0, NULL) < 0))
		_exit(80);
	execv(argv[0], argv);
	_exit(81);
}

static void start(bool own_namespace, char *const *more)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	d.pid = (pid_t)syscall(
		SYS_clone, SIGCHLD | (own_namespace ? CLONE_NEWPID | CLONE_NEWNS : 0), 0, 0, 0, 0);
	if (d.pid < 0 && errno == EPERM) {
		close(p[0]);
		close(p[1]);
		skip();
	}
	if (d.pid == 0)
		exec_twinit(own_namespace, p[1], more);
	close(p[1]);
	d.log_fd = p[0];
	d.log_len = d.log_seen = 0;
	fcntl(d.log_fd, F_SETFL, O_NONBLOCK);
}

/* False at the end of the log. */
static bool read_log(void)
{
	struct pollfd p = {.fd = d.log_fd, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, PATIENCE_MSEC) != 1)
		fail_msg("nothing more in the log:\n%s", d.log);
	n = read(d.log_fd, d.log + d.log_len, sizeof(d.log) - 1 - d.log_len);
	if (n > 0)
		d.log_len += (size_t)n;
	d.log[d.log_len] = '\0';
	return n != 0;
}

/* Until that text has appeared in the log, once more than so far. */
static void wait_log(const char *text)
{
	const char *at;

	while (!(at = strstr(d.log + d.log_seen, text)))
		if (!read_log())
			fail_msg("\"%s\" is not in the log:\n%s", text, d.log);
	d.log_seen = (size_t)(at - d.log) + strlen(text);
}

static void wait_exit(int expected)
{
	int status;

	while (read_log())
		;
	assert_int_equal(waitpid(d.pid, &status, 0), d.pid);
	d.pid = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
		fail_msg("status 0x%x, log:\n%s", (unsigned)status, d.log);
}

static const char *events(void)
{
	static char text[8192];
	char path[128];
	size_t n;
	FILE *f;

	format_path(path, sizeof(path), "%s/run/events", d.dir);
	f = fopen(path, "re");
	n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	text[n] = '\0';
	if (f)
		fclose(f);
	for (char *p = text; *p; p++)
		if (*p == '\n')
			*p = ';';
	return text;
}

static void forget_events(void)
{
	char path[128];

	format_path(path, sizeof(path), "%s/run/events", d.dir);
	assert_int_equal(truncate(path, 0), 0);
}

static void open_gate(const char *id)
{
	char path[128];
	int fd = -1;

	format_path(path, sizeof(path), "%s/run/gate-%s", d.dir, id);
	/* Blocks until the keeper stands at the gate. */
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
}

static void make_gate(const char *id)
{
	char path[128];

	format_path(path, sizeof(path), "%s/run", d.dir);
	mkdir(path, 0755);
	format_path(path, sizeof(path), "%s/run/gate-%s", d.dir, id);
	assert_int_equal(mkfifo(path, 0644), 0);
}

/* The number behind text in the log line that wait_log() has just seen. */
static pid_t pid_in_log(const char *text)
{
	wait_log(text);
	return (pid_t)atoi(d.log + d.log_seen);
}

/* --- tests ----------------------------------------------------------------------------------- */

static void add_three(void)
{
	add_unit("one", "gate", "", "");
	add_unit("two", "plain", "After=one\nRequires=one", "");
	add_unit("three", "plain", "After=two", "");
	make_gate("one");
}

static void starts_and_stops_in_order(bool own_namespace)
{
	add_three();
	start(own_namespace, NULL);
	open_gate("one");
	wait_log("start-up finished");
	assert_string_equal(
		events(), "start one;running one;start two;running two;start three;running three;");
	assert_non_null(strstr(d.log, "system is running"));
	forget_events();
	kill(d.pid, SIGTERM);
	wait_exit(0);
	assert_string_equal(events(), "stop three;dead three;stop two;dead two;stop one;dead one;");
}

static void order_as_subreaper(_unused_ void **state)
{
	starts_and_stops_in_order(false);
}

static void order_as_pid_1(_unused_ void **state)
{
	starts_and_stops_in_order(true);
}

static void failing_start_and_cycle_leave_the_rest(_unused_ void **state)
{
	add_unit("bad", "fail", "", "");
	add_unit("child", "plain", "Requires=bad\nAfter=bad", "");
	add_unit("x", "plain", "After=y", "");
	add_unit("y", "plain", "After=x", "");
	add_unit("good", "plain", "After=child x", "");
	add_unit("lost", "plain", "Requires=nowhere", "");
	add_unit("broken", "plain", "", "Nice=very");
	start(false, NULL);
	wait_log("x -> y -> x");
	wait_log("start-up finished");
	assert_non_null(strstr(d.log, "system is degraded"));
	assert_non_null(strstr(d.log, "required unit bad did not start"));
	assert_non_null(strstr(d.log, "Requires=nowhere"));
	assert_non_null(strstr(d.log, "broken.ini:6"));
	assert_string_equal(events(), "start bad;failed bad;start good;running good;");
	kill(d.pid, SIGINT);
	wait_exit(0);
}

static void start_option_names_units(_unused_ void **state)
{
	char *const more[] = {(char *)"--start=b", (char *)"--start=nowhere", NULL};

	add_unit("a", "plain", "", "");
	add_unit("b", "once", "", "");
	start(false, more);
	wait_log("nowhere: cannot be started");
	wait_log("system is degraded");
	kill(d.pid, SIGTERM);
	wait_exit(0);
	assert_string_equal(events(), "start b;running b;dead b;");
}

/* The keeper dies: its node may not stay unguarded, and both come back. */
static void keeper_is_replaced(_unused_ void **state)
{
	pid_t keeper, node;
	char text[64];

	add_unit("n", "plain", "", "Restart=on-failure\nRestartSec=0");
	start(false, NULL);
	keeper = pid_in_log("n: keeper ");
	node = pid_in_log("MAIN_PID=");
	while (node == 0)
		node = pid_in_log("MAIN_PID=");
	wait_log("start-up finished");
	kill(keeper, SIGKILL);
	format_path(text, sizeof(text), "killing %d,", (int)node);
	wait_log(text);
	format_path(text, sizeof(text), "reaped %d:", (int)node);
	wait_log(text);
	wait_log("n: running");
	assert_int_equal(kill(node, 0), -1);
	assert_string_equal(events(), "start n;running n;start n;running n;");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void keeper_is_not_replaced_where_restart_is_no(_unused_ void **state)
{
	add_unit("n", "plain", "", "Restart=no");
	start(false, NULL);
	pid_t keeper = pid_in_log("n: keeper ");
	wait_log("start-up finished");
	kill(keeper, SIGKILL);
	wait_log("n: failed: keeper");
	wait_log("system is degraded");
	kill(d.pid, SIGTERM);
	wait_exit(0);
	assert_string_equal(events(), "start n;running n;");
}

static void keeper_that_always_crashes_hits_the_limit(_unused_ void **state)
{
	add_unit("n", "mute", "StartLimitBurst=2\nStartLimitIntervalSec=1h",
		"Restart=always\nRestartSec=0");
	start(false, NULL);
	wait_log("crash too often");
	wait_log("start-up finished");
	assert_string_equal(events(), "start n;start n;start n;");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void keeper_that_cannot_be_executed(_unused_ void **state)
{
	char *const more[] = {(char *)"--keeper=/nonexistent/keeper", NULL};

	add_unit("n", "plain", "", "Restart=no");
	start(false, more);
	wait_log("cannot execute /nonexistent/keeper");
	wait_log("n: failed");
	wait_log("start-up finished");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void rubbish_from_a_keeper_is_survived(_unused_ void **state)
{
	add_unit("n", "garbage", "", "");
	start(false, NULL);
	wait_log("no message of ours");
	wait_log("refused \"stop\" from the keeper");
	wait_log("system is running");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

/* A keeper that does not hear its stop is killed, and its node with it. */
static void deaf_keeper_ends_at_its_deadline(bool own_namespace)
{
	usec_t before;

	add_unit("deaf", "stubborn", "", "TimeoutStopSec=1ms");
	add_unit("good", "plain", "Before=deaf", "");
	start(own_namespace, NULL);
	wait_log("start-up finished");
	before = now_usec();
	kill(d.pid, SIGTERM);
	wait_log("is late: killing it");
	wait_exit(0);
	/* It has TimeoutStopSec= and the margin, and no less. */
	assert_true(now_usec() - before >= 4 * USEC_PER_SEC);
	assert_non_null(strstr(d.log, "RESULT=timeout"));
	assert_non_null(strstr(events(), "stop deaf;stop good;dead good;"));
}

static void deaf_keeper(_unused_ void **state)
{
	deaf_keeper_ends_at_its_deadline(false);
}

static void overall_deadline(_unused_ void **state)
{
	char *const more[] = {(char *)"--shutdown-timeout=0", NULL};

	add_unit("deaf", "stubborn", "", "TimeoutStopSec=infinity");
	start(true, more);
	wait_log("start-up finished");
	kill(d.pid, SIGTERM);
	wait_log("deaf: not stopped in time");
	wait_exit(0);
}

static void second_signal_hurries(_unused_ void **state)
{
	add_unit("deaf", "stubborn", "", "TimeoutStopSec=infinity");
	start(false, NULL);
	wait_log("start-up finished");
	kill(d.pid, SIGINT);
	wait_log("shutting down");
	kill(d.pid, SIGINT);
	wait_log("no more waiting");
	wait_exit(0);
}

static void without_units(_unused_ void **state)
{
	start(false, NULL);
	wait_log("start-up finished");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void bad_options(_unused_ void **state)
{
	char *const more[] = {(char *)"--frobnicate", NULL};
	char *const value[] = {(char *)"--shutdown-timeout=soon", NULL};

	start(false, more);
	wait_log("--frobnicate: no such option");
	wait_exit(2);
	closep(&d.log_fd);
	start(false, value);
	wait_log("soon: no such option, or a value");
	wait_exit(2);
	closep(&d.log_fd);
	/* An init gets words that were not meant for it. */
	start(true, more);
	wait_log("--frobnicate: no such option");
	wait_log("start-up finished");
	kill(d.pid, SIGTERM);
	wait_exit(0);
}

static void find_programs(void)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n < 0 ? 0 : n] = '\0';
	/* BUILD/tests/unit/test_... */
	for (int i = 0; i < 3 && strrchr(self, '/'); i++)
		*strrchr(self, '/') = '\0';
	snprintf(twinit_path, sizeof(twinit_path), "%.4000s/twinit", self);
	snprintf(keeper_path, sizeof(keeper_path), "%s/tests/integration/fake_keeper", self);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(order_as_subreaper),
		T(order_as_pid_1),
		T(failing_start_and_cycle_leave_the_rest),
		T(start_option_names_units),
		T(keeper_is_replaced),
		T(keeper_is_not_replaced_where_restart_is_no),
		T(keeper_that_always_crashes_hits_the_limit),
		T(keeper_that_cannot_be_executed),
		T(rubbish_from_a_keeper_is_survived),
		T(deaf_keeper),
		T(overall_deadline),
		T(second_signal_hurries),
		T(without_units),
		T(bad_options),
	};
	find_programs();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
