/* SPDX-License-Identifier: Apache-2.0 */
/* [Failover] and the keys that say what an end is and what follows from it. */
#include "tests/unit/test_config.h"

static void exit_statuses(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "SuccessExitStatus=3 TEMPFAIL SIGUSR1\n"
					     "SuccessExitStatus=255 KILL\n");
	const struct exit_status_set *s = &l.unit->success_exit_status;

	assert_true(exit_status_has_code(s, 3));
	assert_true(exit_status_has_code(s, 75));
	assert_true(exit_status_has_code(s, 255));
	assert_false(exit_status_has_code(s, 4));
	assert_false(exit_status_has_code(s, 256));
	assert_true(exit_status_has_signal(s, SIGUSR1));
	assert_true(exit_status_has_signal(s, SIGKILL));
	assert_false(exit_status_has_signal(s, SIGSEGV));
	done(&l);
	l = load_clean(SERVICE "SuccessExitStatus=3\nSuccessExitStatus=\n");
	assert_false(exit_status_has_code(&l.unit->success_exit_status, 3));
	done(&l);
	expect_error(SERVICE "SuccessExitStatus=256\n", 3, "SuccessExitStatus", "\"256\" is no");
	expect_error(SERVICE "SuccessExitStatus=1 FOO\n", 3, "SuccessExitStatus", "\"FOO\" is no");
}

static void bindings(void **state _unused_)
{
	struct loaded l = load_clean("[Unit]\nBindsTo=a b.ini\nPartOf=c\nOnFailure=d e\n" SERVICE
				     "[Failover]\nFailsafeUnit=stop-car\nNotify=f g\n");

	assert_string_equal(l.unit->binds_to[1], "b");
	assert_string_equal(l.unit->requires[0], "a");
	assert_string_equal(l.unit->requires[1], "b");
	assert_string_equal(l.unit->part_of[0], "c");
	assert_string_equal(l.unit->on_failure[1], "e");
	assert_string_equal(l.unit->failover.failsafe[0], "stop-car");
	assert_string_equal(l.unit->failover.notify[1], "g");
	done(&l);
}

static void dependency_rules(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "[Failover]\nStableSec=5s\nEventFD=yes\n"
					     "OnDependencyFailover=checkpoint lidar=signal:HUP\n"
					     "OnDependencyFailover=map=stop lidar=restart\n");
	const struct dependency_rule *r = unit_dependency_rule(l.unit, "anybody");

	assert_int_equal(r->action, DEPENDENCY_CHECKPOINT);
	assert_int_equal(unit_dependency_rule(l.unit, "lidar")->action, DEPENDENCY_RESTART);
	assert_int_equal(unit_dependency_rule(l.unit, "map")->action, DEPENDENCY_STOP);
	assert_int_equal(l.unit->failover.stable, 5 * USEC_PER_SEC);
	assert_true(l.unit->failover.event_fd);
	done(&l);
	l = load_clean(SERVICE "[Failover]\nOnThreadExit=failover\n");
	assert_int_equal(l.unit->failover.on_thread_exit, THREAD_EXIT_FAILOVER);
	done(&l);
	expect_error(SERVICE "[Failover]\nOnThreadExit=restart\n", 4, "OnThreadExit", "");
	l = load_clean(SERVICE "[Failover]\nOnDependencyFailover=x=signal:SIGUSR2\n");
	assert_int_equal(unit_dependency_rule(l.unit, "y")->action, DEPENDENCY_NONE);
	assert_int_equal(unit_dependency_rule(l.unit, "x")->signal, SIGUSR2);
	done(&l);
	l = load_clean(SERVICE "[Failover]\nOnDependencyFailover=stop\nOnDependencyFailover=\n");
	assert_int_equal(unit_dependency_rule(l.unit, "x")->action, DEPENDENCY_NONE);
	done(&l);
	expect_error(SERVICE "[Failover]\nOnDependencyFailover=signal\n", 4, "OnDependencyFailover",
		"\"signal\"");
	expect_error(SERVICE "[Failover]\nOnDependencyFailover=a b=none\n", 4,
		"OnDependencyFailover", "\"a\"");
	expect_error(SERVICE "[Failover]\nOnDependencyFailover=-=stop=x\n", 4,
		"OnDependencyFailover", "");
	expect_error(SERVICE "[Failover]\nStableSec=infinity\n", 4, "StableSec", "");
}

static void back_off(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "RestartSteps=5\nRestartMaxDelaySec=30s\n"
					     "ExecReload=/bin/kill -HUP 1\n");

	assert_int_equal(l.unit->restart_steps, 5);
	assert_int_equal(l.unit->restart_max_delay, 30 * USEC_PER_SEC);
	assert_string_equal(l.unit->exec_reload.argv[1], "-HUP");
	done(&l);
	expect_error(SERVICE "ExecReload=kill\n", 3, "ExecReload", "");
	expect_error(SERVICE "ExecReload=/a\nExecReload=/b\n", 4, "ExecReload",
		"there is an ExecReload= in line 3 already");
}

static void memory_max(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "MemoryMax=64M\n");

	assert_int_equal(l.unit->memory_max, 64 * 1024 * 1024);
	done(&l);
	l = load_clean(SERVICE "MemoryMax=1G\nMemoryMax=infinity\n");
	assert_true(l.unit->memory_max == UINT64_MAX);
	done(&l);
	l = load_clean(SERVICE);
	assert_true(l.unit->memory_max == UINT64_MAX);
	done(&l);
	expect_error(SERVICE "MemoryMax=0\n", 3, "MemoryMax", "");
	expect_error(SERVICE "MemoryMax=10%\n", 3, "MemoryMax", "\"10%\" is no");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exit_statuses),
		cmocka_unit_test(bindings),
		cmocka_unit_test(dependency_rules),
		cmocka_unit_test(back_off),
		cmocka_unit_test(memory_max),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
