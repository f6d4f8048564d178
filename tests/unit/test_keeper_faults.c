/* SPDX-License-Identifier: Apache-2.0 */
/* Bad units and bad nodes, each met by the real keeper. */
#include <pthread.h>

#include "tests/unit/test_keeper_fixture.h"

#define MANY_THREADS 300

static bool is_skipped(const struct keeper_msg *m, int least)
{
	return m->type == KEEPER_MSG_TWIN && (int)m->twin.n_skipped >= least;
}

static bool is_named(pid_t pid, const char *name)
{
	char path[64], comm[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (fscanf(f, "%31s", comm) != 1)
		comm[0] = '\0';
	fclose(f);
	return strcmp(comm, name) == 0;
}

/* A twin takes its name back by itself, once it gets to run. */
static bool is_running_as(pid_t pid, const char *name)
{
	for (int i = 0; i < 1000 && !is_named(pid, name); i++)
		usleep(1000);
	return is_named(pid, name);
}

static void test_no_such_program(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/nonexistent/x\n");
	expect_last(r, NODE_FAILED, RESULT_EXIT_CODE, 203);
	assert_string_equal(
		r->last.state.detail, "ExecStart=/nonexistent/x: No such file or directory");
}

static void test_not_executable(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/etc/passwd\n");
	expect_last(r, NODE_FAILED, RESULT_EXIT_CODE, 203);
	assert_string_equal(r->last.state.detail, "ExecStart=/etc/passwd: Permission denied");
}

static void test_no_such_user(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/true\nUser=nosuch\n");
	expect_last(r, NODE_FAILED, RESULT_EXIT_CODE, 217);
	assert_string_equal(r->last.state.detail, "User=nosuch: no such user");
}

static void test_no_such_directory(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/true\nWorkingDirectory=/nonexistent\n");
	expect_last(r, NODE_FAILED, RESULT_EXIT_CODE, 200);
	assert_string_equal(
		r->last.state.detail, "WorkingDirectory=/nonexistent: No such file or directory");
}

static void test_pre_fails(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStartPre=/bin/true\nExecStartPre=/bin/sh -c \"exit 4\"\n"
		 "ExecStart=/bin/true\n");
	expect_last(r, NODE_FAILED, RESULT_EXIT_CODE, 4);
	assert_string_equal(r->last.state.detail, "ExecStartPre=/bin/sh: exited with status 4");
}

static void test_stubborn(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nTimeoutStopSec=200ms\n"
		 "ExecStart=/bin/sh -c \"trap : TERM; while :; do sleep 0.02; done\"\n");
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	request(r, KEEPER_REQ_STOP, 0, 0);
	WAIT_FOR(r, is_state, NODE_STOP_SIGKILL);
	expect_last(r, NODE_FAILED, RESULT_TIMEOUT, SIGKILL);
}

static void test_sigstop(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\n[Twin]\nInterval=50ms\n");
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	request(r, KEEPER_REQ_KILL, 0, SIGSTOP);
	WAIT_FOR(r, is_skipped, 2);
	assert_string_equal(r->last.twin.skip_reason, "stopped by SIGSTOP");
	request(r, KEEPER_REQ_KILL, 0, SIGCONT);
	usleep(100000);
	request(r, KEEPER_REQ_CHECKPOINT, 5, 0);
	WAIT_FOR(r, is_reply, 5);
	assert_int_equal(r->last.reply.error, 0);
	request(r, KEEPER_REQ_STOP, 0, 0);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

/* The twins of the old program must not come back; those of the new one do their work. */
static void test_exec_by_itself(void **state)
{
	struct run *r = *state;
	pid_t pid;

	start(r, "[Service]\nExecStart=/usr/bin/perl -e "
		 "\"select undef, undef, undef, 0.3; exec '/bin/sleep', 1000\"\n"
		 "[Twin]\nInterval=50ms\n");
	WAIT_FOR(r, is_state, NODE_RUNNING);
	pid = r->last.state.main_pid;
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	assert_true(is_running_as(pid, "perl"));
	WAIT_FOR(r, is_twin, TWIN_ARMING); /* none, after having had one: the exec */
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	assert_true(is_running_as(pid, "sleep"));
	request(r, KEEPER_REQ_KILL, 0, SIGSEGV);
	WAIT_FOR(r, is_failover, 0);
	assert_true(r->last.failover.ok && !r->last.failover.cold);
	assert_true(is_running_as(pid, "sleep"));
	request(r, KEEPER_REQ_STOP, 0, 0);
	WAIT_FOR(r, is_state, NODE_STOP_SIGTERM);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

static void test_watchdog_without_twin(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\nWatchdogSec=200ms\n[Twin]\nEnabled=no\n");
	WAIT_FOR(r, is_state, NODE_STOP_SIGTERM);
	expect_last(r, NODE_FAILED, RESULT_WATCHDOG, SIGABRT);
}

static void test_watchdog_with_twin(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\nWatchdogSec=400ms\n");
	WAIT_FOR(r, is_failover, 0);
	assert_int_equal(r->last.failover.cause, RESULT_WATCHDOG);
	assert_true(r->last.failover.ok && !r->last.failover.cold);
	request(r, KEEPER_REQ_STOP, 0, 0);
	WAIT_FOR(r, is_state, NODE_STOP_SIGTERM);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

/* A fault that comes back at once: down the ladder, cold, and in the end the start limit. */
static void test_ladder(void **state)
{
	struct run *r = *state;
	unsigned warm = 0, cold = 0;
	usec_t deadline = now_usec() + PATIENCE;

	start(r, "[Unit]\nStartLimitBurst=2\n[Service]\nRestart=on-failure\nRestartSec=10ms\n"
		 "ExecStart=/usr/bin/perl -e \"select undef, undef, undef, 0.3; kill SEGV => $$\"\n"
		 "[Twin]\nInterval=60ms\nGenerations=2\n");
	while (next_message(r, &r->last, deadline) && !is_state(&r->last, NODE_FAILED))
		if (r->last.type == KEEPER_MSG_FAILOVER) {
			warm += !r->last.failover.cold;
			cold += r->last.failover.cold && r->last.failover.ok;
		}
	assert_true(is_state(&r->last, NODE_FAILED));
	assert_int_equal(r->last.state.result, RESULT_START_LIMIT_HIT);
	assert_int_equal(cold, 1);
	assert_in_range(warm, 2, 2 * 3);
	expect_end(r);
}

static void test_start_limit(void **state)
{
	struct run *r = *state;

	start(r, "[Unit]\nStartLimitBurst=3\n[Service]\nExecStart=/bin/sh -c \"exit 3\"\n"
		 "Restart=on-failure\nRestartSec=10ms\n");
	expect_last(r, NODE_FAILED, RESULT_START_LIMIT_HIT, 3);
	assert_int_equal(r->last.state.n_restarts, 2);
}

static void test_no_permission_to_ptrace(void **state)
{
	struct run *r = *state;
	char log[4096] = "";
	FILE *f;

	r->deny_ptrace = true;
	start(r, "[Service]\nExecStart=/bin/sleep 1000\nRestart=on-failure\nRestartSec=10ms\n"
		 "[Twin]\nInterval=50ms\n");
	WAIT_FOR(r, is_twin, TWIN_FAILED);
	assert_string_equal(r->last.twin.skip_reason, "cannot trace: Operation not permitted");
	request(r, KEEPER_REQ_CHECKPOINT, 1, 0);
	WAIT_FOR(r, is_reply, 1);
	assert_int_equal(r->last.reply.error, -EPERM);
	request(r, KEEPER_REQ_FAILOVER, 2, 0);
	WAIT_FOR(r, is_reply, 2);
	assert_int_equal(r->last.reply.error, -ENODATA);
	/* still supervised: its crash is seen, and Restart= done */
	request(r, KEEPER_REQ_KILL, 0, SIGSEGV);
	WAIT_FOR(r, is_failover, 0);
	assert_true(r->last.failover.ok && r->last.failover.cold);
	WAIT_FOR(r, is_state, NODE_RUNNING);
	assert_int_equal(r->last.state.n_restarts, 1);
	request(r, KEEPER_REQ_STOP, 0, 0);
	WAIT_FOR(r, is_state, NODE_STOP_SIGTERM);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
	f = fopen(r->log, "re");
	assert_non_null(f);
	assert_true(fread(log, 1, sizeof(log) - 1, f) > 0);
	fclose(f);
	assert_non_null(strstr(log, "cannot trace: Operation not permitted"));
	assert_non_null(strstr(log, "supervised without a twin"));
}

/* The swap leaves the children of the dead running; a stop takes them along. */
static void test_forks_children(void **state)
{
	struct run *r = *state;
	pid_t pid, child;

	start(r, "[Service]\nType=notify\n"
		 "ExecStart=/usr/bin/perl -MSocket -e "
		 "'$p = fork; if (!$p) { sleep 1000; exit }"
		 "socket(S,AF_UNIX,SOCK_DGRAM,0);"
		 "send(S,qq(READY=1\\nSTATUS=$p),0,sockaddr_un($ENV{NOTIFY_SOCKET}));"
		 "sleep 1000 while 1'\n[Twin]\nInterval=50ms\n");
	WAIT_FOR(r, is_status, 0);
	child = atoi(r->last.text);
	assert_true(child > 1);
	WAIT_FOR(r, is_state, NODE_RUNNING);
	pid = r->last.state.main_pid;
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	request(r, KEEPER_REQ_KILL, 0, SIGSEGV);
	WAIT_FOR(r, is_failover, 0);
	assert_true(r->last.failover.ok && !r->last.failover.cold);
	assert_int_equal(r->last.failover.new_pid, pid);
	assert_int_equal(kill(child, 0), 0);
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	request(r, KEEPER_REQ_STOP, 0, 0);
	WAIT_FOR(r, is_state, NODE_STOP_SIGTERM);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
	/* it has fallen to this process, the subreaper */
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static _Noreturn void *sleeper(_unused_ void *arg)
{
	for (;;)
		pause();
}

/* This program as the node. */
static int victim_threads(void)
{
	pthread_attr_t small;
	pthread_t t;

	/* Built with a sanitizer, this program has its handler there: not what is tested. */
	signal(SIGSEGV, SIG_DFL);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	for (int i = 1; i < MANY_THREADS; i++)
		if (pthread_create(&t, &small, sleeper, NULL) != 0)
			return 1;
	sleeper(NULL);
}

static bool is_full(const struct keeper_msg *m, int n)
{
	return m->type == KEEPER_MSG_TWIN && m->twin.state == TWIN_ARMED &&
	       (int)m->twin.n_threads == n;
}

static unsigned count_threads(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir)))
		n += d->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void test_many_threads(void **state)
{
	struct run *r = *state;
	char self[PATH_MAX], text[PATH_MAX + 200];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	pid_t pid;

	assert_true(n > 0);
	self[n] = '\0';
	snprintf(text, sizeof(text),
		"[Service]\nExecStart=%s victim-threads\n[Twin]\nInterval=200ms\n", self);
	start(r, text);
	WAIT_FOR(r, is_state, NODE_RUNNING);
	pid = r->last.state.main_pid;
	for (int i = 0; i < 3; i++) {
		WAIT_FOR(r, is_full, MANY_THREADS);
		request(r, KEEPER_REQ_KILL, 0, i % 2 ? SIGKILL : SIGSEGV);
		WAIT_FOR(r, is_failover, 0);
		assert_true(r->last.failover.ok && !r->last.failover.cold);
		assert_int_equal(r->last.failover.new_pid, pid);
		assert_int_equal(r->last.failover.n_threads, MANY_THREADS);
		assert_int_equal(count_threads(pid), MANY_THREADS);
		usleep(1050000);
	}
	request(r, KEEPER_REQ_STOP, 0, 0);
	WAIT_FOR(r, is_state, NODE_STOP_SIGTERM);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

/* Words that nobody reads fill the socket: no node runs that the supervisor does not know of. */
static void test_full_socket(void **state)
{
	struct run *r = *state;
	char text[1024], path[96];
	size_t n;

	snprintf(path, sizeof(path), "%s/ran", r->dir);
	n = (size_t)snprintf(text, sizeof(text),
		"[Service]\nExecStart=/bin/sh -c \""
		"echo >%s; exec sleep infinity\"\n",
		path);
	for (int i = 0; i < 20; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "ExecStartPre=/bin/true\n");
	r->small_socket = true;
	start(r, text);
	usleep(1000000);
	assert_int_equal(access(path, F_OK), -1);
	WAIT_FOR(r, is_state, NODE_START);
	assert_true(r->last.state.main_pid > 0);
	WAIT_FOR(r, is_state, NODE_RUNNING);
	for (int i = 0; i < 1000 && access(path, F_OK) < 0; i++)
		usleep(2000);
	assert_int_equal(unlink(path), 0);
	request(r, KEEPER_REQ_STOP, 0, 0);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

/* The same, and never read: it can be stopped all the same. */
static void test_full_socket_and_stopped(void **state)
{
	struct run *r = *state;
	char text[1024];
	size_t n;

	n = (size_t)snprintf(text, sizeof(text), "[Service]\nExecStart=/bin/sleep infinity\n");
	for (int i = 0; i < 20; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "ExecStartPre=/bin/true\n");
	r->small_socket = true;
	start(r, text);
	usleep(1000000);
	request(r, KEEPER_REQ_STOP, 0, 0);
	usleep(300000);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

static void test_stopped_between_restarts(void **state)
{
	struct run *r = *state;
	char log[4096] = "";
	FILE *f;

	start(r, "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=60\n");
	WAIT_FOR(r, is_state, NODE_AUTO_RESTART);
	request(r, KEEPER_REQ_STOP, 0, 0);
	expect_last(r, NODE_DEAD, RESULT_EXIT_CODE, 1);
	f = fopen(r->log, "re");
	assert_non_null(f);
	(void)!fread(log, 1, sizeof(log) - 1, f);
	fclose(f);
	assert_null(strstr(log, "failed"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_no_such_program),
		T(test_not_executable),
		T(test_no_such_user),
		T(test_no_such_directory),
		T(test_pre_fails),
		T(test_stubborn),
		T(test_sigstop),
		T(test_exec_by_itself),
		T(test_watchdog_without_twin),
		T(test_watchdog_with_twin),
		T(test_ladder),
		T(test_start_limit),
		T(test_no_permission_to_ptrace),
		T(test_forks_children),
		T(test_many_threads),
		T(test_full_socket),
		T(test_full_socket_and_stopped),
		T(test_stopped_between_restarts),
	};

	if (argc == 2 && strcmp(argv[1], "victim-threads") == 0)
		return victim_threads();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
