/* SPDX-License-Identifier: Apache-2.0 */
/* The state table has no hole, and the rules that must never be broken hold in every state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "supervisor/keeper/machine.h"

static void test_no_holes(_unused_ void **state)
{
	for (int s = 0; s < _NODE_STATE_MAX; s++)
		for (int e = 0; e < _GUARD_EVENT_MAX; e++) {
			enum guard_action a = machine_next((enum node_state)s, (enum guard_event)e);

			if (a == _GUARD_HOLE)
				fail_msg("nothing is said of \"%s\" in state \"%s\"",
					guard_event_to_string((enum guard_event)e),
					node_state_to_string((enum node_state)s));
			assert_true(a < _GUARD_ACTION_MAX);
		}
}

static void test_every_event_has_a_name(_unused_ void **state)
{
	for (int e = 0; e < _GUARD_EVENT_MAX; e++)
		assert_non_null(guard_event_to_string((enum guard_event)e));
	assert_null(guard_event_to_string(_GUARD_EVENT_MAX));
	assert_int_equal(machine_next(_NODE_STATE_MAX, GUARD_STOP), GUARD_IGNORE);
}

/* A tracee at a fatal signal stands until somebody answers. */
static void test_fatal_is_always_answered(_unused_ void **state)
{
	for (int s = 0; s < _NODE_STATE_MAX; s++) {
		assert_int_not_equal(machine_next((enum node_state)s, GUARD_FATAL), GUARD_IGNORE);
		assert_int_not_equal(
			machine_next((enum node_state)s, GUARD_FATAL_CLEAN), GUARD_IGNORE);
	}
}

static void test_failover_only_while_running(_unused_ void **state)
{
	for (int s = 0; s < _NODE_STATE_MAX; s++)
		for (int e = 0; e < _GUARD_EVENT_MAX; e++)
			if (s != NODE_RUNNING)
				assert_int_not_equal(
					machine_next((enum node_state)s, (enum guard_event)e),
					GUARD_FAIL_OVER);
	assert_int_equal(machine_next(NODE_RUNNING, GUARD_FATAL), GUARD_FAIL_OVER);
	assert_int_equal(machine_next(NODE_RUNNING, GUARD_ENDED), GUARD_FAIL_OVER);
	assert_int_equal(machine_next(NODE_RUNNING, GUARD_HANG), GUARD_FAIL_OVER);
	assert_int_equal(machine_next(NODE_RUNNING, GUARD_FAILOVER), GUARD_FAIL_OVER);
}

static void test_ends_on_purpose_are_not_swapped(_unused_ void **state)
{
	assert_int_equal(machine_next(NODE_RUNNING, GUARD_ENDED_CLEAN), GUARD_SETTLE);
	assert_int_equal(machine_next(NODE_RUNNING, GUARD_FATAL_CLEAN), GUARD_LET_LEAVE);
}

/* Each state with a process gets out of it by a stop, at the latest by the timer after it. */
static void test_a_stop_leads_down(_unused_ void **state)
{
	assert_int_equal(machine_next(NODE_START_PRE, GUARD_STOP), GUARD_TERMINATE);
	assert_int_equal(machine_next(NODE_START, GUARD_STOP), GUARD_TERMINATE);
	assert_int_equal(machine_next(NODE_RUNNING, GUARD_STOP), GUARD_TERMINATE);
	assert_int_equal(machine_next(NODE_STOP_SIGTERM, GUARD_STOP), GUARD_WANT_DOWN);
	assert_int_equal(machine_next(NODE_AUTO_RESTART, GUARD_STOP), GUARD_STAY_DOWN);
	assert_int_equal(machine_next(NODE_STOP_SIGTERM, GUARD_EXPIRED), GUARD_KILL);
	assert_int_equal(machine_next(NODE_STOP_SIGKILL, GUARD_EXPIRED), GUARD_GIVE_UP);
}

/* The ways up, and the ways back up after a fall. */
static void test_life_of_a_node(_unused_ void **state)
{
	assert_int_equal(machine_next(NODE_DEAD, GUARD_START), GUARD_BEGIN);
	assert_int_equal(machine_next(NODE_START_PRE, GUARD_PRE_OK), GUARD_NEXT_PRE);
	assert_int_equal(machine_next(NODE_START_PRE, GUARD_PRE_FAILED), GUARD_PRE_BROKE);
	assert_int_equal(machine_next(NODE_START_PRE, GUARD_EXPIRED), GUARD_TIME_OUT);
	assert_int_equal(machine_next(NODE_START, GUARD_EXECUTED), GUARD_ENTER);
	assert_int_equal(machine_next(NODE_START, GUARD_EXEC_FAILED), GUARD_NOTE_EXEC);
	assert_int_equal(machine_next(NODE_START, GUARD_READY), GUARD_RUN);
	assert_int_equal(machine_next(NODE_START, GUARD_ENDED), GUARD_SETTLE);
	assert_int_equal(machine_next(NODE_START, GUARD_EXPIRED), GUARD_TIME_OUT);
	assert_int_equal(machine_next(NODE_AUTO_RESTART, GUARD_EXPIRED), GUARD_BEGIN);
	/* and nothing wakes the dead */
	for (int e = 0; e < _GUARD_EVENT_MAX; e++)
		if (e != GUARD_FATAL && e != GUARD_FATAL_CLEAN)
			assert_int_equal(
				machine_next(NODE_FAILED, (enum guard_event)e), GUARD_IGNORE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_holes),
		cmocka_unit_test(test_every_event_has_a_name),
		cmocka_unit_test(test_fatal_is_always_answered),
		cmocka_unit_test(test_failover_only_while_running),
		cmocka_unit_test(test_ends_on_purpose_are_not_swapped),
		cmocka_unit_test(test_a_stop_leads_down),
		cmocka_unit_test(test_life_of_a_node),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
