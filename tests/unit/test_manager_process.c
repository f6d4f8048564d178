/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real twinit with the fake keeper (tests/integration/fake_keeper.c): what it starts, in what
 * order, and how it goes down.
 */
#include "tests/unit/test_daemon.h"

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
	wait_log("fail too often");
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
