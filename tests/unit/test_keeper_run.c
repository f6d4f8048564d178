/* SPDX-License-Identifier: Apache-2.0 */
/* The real keeper with real units: the ways of a node, and the faults on them. */
#include "tests/unit/test_keeper_fixture.h"

static void test_done(void **state)
{
	start(*state, "[Service]\nExecStart=/bin/true\n");
	expect_last(*state, NODE_DEAD, RESULT_SUCCESS, 0);
}

static void test_exit_code(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/sh -c \"exit 3\"\n");
	expect_last(r, NODE_FAILED, RESULT_EXIT_CODE, 3);
	assert_string_equal(r->last.state.detail, "exited with status 3");
}

static void test_pre_commands(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStartPre=-/nonexistent/x\nExecStartPre=-/bin/false\n"
		 "ExecStartPre=/bin/true\nExecStart=/bin/true\n");
	WAIT_FOR(r, is_state, NODE_START_PRE);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, 0);
}

static void test_start_times_out(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nType=notify\nExecStart=/bin/sleep 1000\nTimeoutStartSec=100ms\n");
	WAIT_FOR(r, is_state, NODE_STOP_SIGTERM);
	expect_last(r, NODE_FAILED, RESULT_TIMEOUT, SIGTERM);
}

static void test_notify(void **state)
{
	struct run *r = *state;
	/* As small as a notifying node gets without any library. */
	start(r,
		"[Service]\nType=notify\n[Twin]\nEnabled=no\n[Service]\n"
		"ExecStart=/usr/bin/env perl -MSocket -e "
		"'socket(S,AF_UNIX,SOCK_DGRAM,0);"
		"send(S,qq(READY=1\\nSTATUS=up),0,sockaddr_un($ENV{NOTIFY_SOCKET}));sleep 1000'\n");
	WAIT_FOR(r, is_status, 0);
	assert_string_equal(r->last.text, "up");
	WAIT_FOR(r, is_state, NODE_RUNNING);
	request(r, KEEPER_REQ_STOP, 1, 0);
	WAIT_FOR(r, is_reply, 1);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

static void test_ends_before_ready(void **state)
{
	start(*state, "[Service]\nType=notify\nExecStart=/bin/true\n");
	expect_last(*state, NODE_FAILED, RESULT_PROTOCOL, 0);
}

static pid_t group_of(pid_t pid)
{
	return getpgid(pid);
}

static void test_node_leads_nothing(void **state)
{
	struct run *r = *state;
	pid_t pid;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\n");
	WAIT_FOR(r, is_state, NODE_RUNNING);
	pid = r->last.state.main_pid;
	assert_true(group_of(pid) > 0 && group_of(pid) != pid);
	assert_true(getsid(pid) != pid && getsid(pid) == group_of(pid));
	assert_true(group_of(pid) != getpgrp());
	request(r, KEEPER_REQ_STOP, 0, 0);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

static int highest_fd(pid_t pid)
{
	char path[64];
	struct dirent *d;
	int highest = -1;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			highest = MAX2(highest, atoi(d->d_name));
	closedir(dir);
	return highest;
}

static void test_no_descriptor_leaks(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\n");
	WAIT_FOR(r, is_state, NODE_RUNNING);
	/* Just executed, it still opens libraries. */
	for (int i = 0; i < 1000 && highest_fd(r->last.state.main_pid) > 2; i++)
		usleep(1000);
	assert_int_equal(highest_fd(r->last.state.main_pid), 2);
	request(r, KEEPER_REQ_STOP, 0, 0);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

/* Dead in four ways, and each time the same pid goes on. */
static void test_swaps(void **state)
{
	static const int signals[] = {SIGSEGV, SIGKILL, SIGABRT, SIGFPE};
	struct run *r = *state;
	pid_t pid;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\n[Twin]\nInterval=100ms\n");
	WAIT_FOR(r, is_state, NODE_RUNNING);
	pid = r->last.state.main_pid;
	for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
		WAIT_FOR(r, is_twin, TWIN_ARMED);
		request(r, KEEPER_REQ_KILL, 10 + i, signals[i]);
		WAIT_FOR(r, is_failover, 0);
		assert_true(r->last.failover.ok && !r->last.failover.cold);
		assert_int_equal(r->last.failover.signal, signals[i]);
		assert_int_equal(r->last.failover.old_pid, pid);
		assert_int_equal(r->last.failover.new_pid, pid);
		assert_int_equal(r->last.failover.cause, RESULT_SIGNAL);
		/* apart enough not to count as one fault in a row */
		usleep(1050000);
	}
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	request(r, KEEPER_REQ_FAILOVER, 99, 0);
	WAIT_FOR(r, is_failover, 0);
	assert_int_equal(r->last.failover.cause, RESULT_REQUESTED);
	WAIT_FOR(r, is_reply, 99);
	assert_int_equal(r->last.reply.error, 0);
	request(r, KEEPER_REQ_STOP, 0, 0);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

static void test_clean_signal_is_no_crash(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\n[Twin]\nInterval=50ms\n");
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	request(r, KEEPER_REQ_KILL, 0, SIGTERM);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

static void test_requests_with_no_twin(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\n[Twin]\nEnabled=no\n");
	WAIT_FOR(r, is_state, NODE_RUNNING);
	request(r, KEEPER_REQ_FAILOVER, 1, 0);
	WAIT_FOR(r, is_reply, 1);
	assert_int_equal(r->last.reply.error, -ENODATA);
	request(r, KEEPER_REQ_CHECKPOINT, 2, 0);
	WAIT_FOR(r, is_reply, 2);
	assert_int_equal(r->last.reply.error, -EOPNOTSUPP);
	request(r, KEEPER_REQ_KILL, 3, 12345);
	WAIT_FOR(r, is_reply, 3);
	assert_int_equal(r->last.reply.error, -EINVAL);
	request(r, KEEPER_REQ_STOP, 0, 0);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

static void test_checkpoint_on_request(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\n[Twin]\nInterval=1h\n");
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	request(r, KEEPER_REQ_DROP_TWIN, 1, 0);
	WAIT_FOR(r, is_reply, 1);
	request(r, KEEPER_REQ_CHECKPOINT, 2, 0);
	WAIT_FOR(r, is_reply, 2);
	assert_int_equal(r->last.reply.error, 0);
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	assert_int_equal(r->last.twin.n_checkpoints, 2);
	request(r, KEEPER_REQ_STOP, 0, 0);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

static void test_sigterm_to_the_keeper(void **state)
{
	struct run *r = *state;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\n");
	WAIT_FOR(r, is_state, NODE_RUNNING);
	kill(r->pid, SIGTERM);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

/* With the supervisor gone the node is still guarded. */
static void test_supervisor_gone(void **state)
{
	struct run *r = *state;
	pid_t pid;

	start(r, "[Service]\nExecStart=/bin/sleep 1000\n[Twin]\nInterval=50ms\n");
	WAIT_FOR(r, is_state, NODE_RUNNING);
	pid = r->last.state.main_pid;
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	close(r->fd);
	r->fd = -1;
	usleep(100000);
	assert_int_equal(kill(pid, SIGSEGV), 0);
	usleep(300000);
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(waitpid(r->pid, NULL, WNOHANG), 0);
	kill(r->pid, SIGTERM);
	expect_end(r);
	assert_int_equal(kill(pid, 0), -1);
}

static void test_bad_options(void **state)
{
	struct run *r = *state;
	int status, null;
	pid_t pid;

	if (access(r->keeper, X_OK) < 0)
		skip();
	pid = fork();
	if (pid == 0) {
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(null, STDERR_FILENO);
		execl(r->keeper, r->keeper, "--id=x", "--unit-path=/x", "--unit-fd=77",
			"--control-fd=oops", "--notify-dir=/tmp", NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_done),
		T(test_exit_code),
		T(test_pre_commands),
		T(test_start_times_out),
		T(test_notify),
		T(test_ends_before_ready),
		T(test_node_leads_nothing),
		T(test_no_descriptor_leaks),
		T(test_swaps),
		T(test_clean_signal_is_no_crash),
		T(test_requests_with_no_twin),
		T(test_checkpoint_on_request),
		T(test_sigterm_to_the_keeper),
		T(test_supervisor_gone),
		T(test_bad_options),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
