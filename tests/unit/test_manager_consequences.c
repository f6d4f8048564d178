/* SPDX-License-Identifier: Apache-2.0 */
/* What the fate of one node means for others: consequence.c upon nodes without processes. */
#include "supervisor/consequence.h"
#include "tests/unit/test_manager_fixture.h"

static void up(struct manager *m, const char *ids)
{
	for (const char *id = ids; *id; id++) {
		add_job(m, JOB_START, (char[]){*id, 0});
		jobs_run(m);
		node_arrives(m, (char[]){*id, 0});
	}
	trace[0] = '\0';
}

static void failed_over(struct manager *m, const char *id, bool ok)
{
	const struct keeper_failover_report r = {.ok = ok};

	consequence_of_failover(manager_find_node(m, id), &r);
	jobs_run(m);
}

static void failure_starts_units(_unused_ void **state)
{
	const char *const units[] = {"a", "OnFailure=b gone\n[Failover]\nFailsafeUnit=c\n[Unit]",
		"b", "", "c", "", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	up(m, "a");
	node_goes(m, "a", RESULT_SUCCESS);
	assert_trace("");
	up(m, "a");
	node_goes(m, "a", RESULT_SIGNAL);
	assert_trace("start b;start c;");
	node_arrives(m, "bc");
	trace[0] = '\0';
	/* It fails again before it was up: nothing is started twice. */
	add_job(m, JOB_START, "a");
	jobs_run(m);
	node_goes(m, "a", RESULT_SIGNAL);
	assert_trace("start a;failed a;");
	add_job(m, JOB_START, "a");
	jobs_run(m);
	node_arrives(m, "a");
	assert_trace("start a;done a;stop c;");
}

static void bound_units_stop(_unused_ void **state)
{
	const char *const units[] = {
		"a", "", "b", "BindsTo=a", "c", "PartOf=a", "d", "Requires=a", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	up(m, "abcd");
	node_goes(m, "a", RESULT_SIGNAL);
	assert_trace("stop b;");
	node_goes(m, "b", RESULT_SUCCESS);
	up(m, "ab");
	add_job(m, JOB_STOP, "a");
	jobs_run(m);
	assert_non_null(strstr(trace, "stop c;"));
	assert_non_null(strstr(trace, "stop d;"));
	node_goes(m, "bcda", RESULT_SUCCESS);
	/* Each was stopped once. */
	assert_null(strstr(strstr(trace, "stop b;") + 1, "stop b;"));
}

static void dependents_in_order(_unused_ void **state)
{
	const char *const units[] = {"a", "", "b",
		"Requires=a\nAfter=c\n[Failover]\nOnDependencyFailover=stop\n[Unit]", "c",
		"Requires=a\n[Failover]\nOnDependencyFailover=stop\n[Unit]", "d", "Requires=a",
		NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	up(m, "acbd");
	failed_over(m, "a", false);
	assert_trace("");
	failed_over(m, "a", true);
	/* Stops go against After=: what comes later goes first. */
	assert_trace("stop b;");
	node_goes(m, "b", RESULT_SUCCESS);
	assert_trace("done b;stop c;");
}

static void nothing_follows_while_stopping(_unused_ void **state)
{
	const char *const units[] = {"a", "OnFailure=b", "b", "", "c",
		"Requires=a\n[Failover]\nOnDependencyFailover=stop\n[Unit]", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	up(m, "ac");
	manager_set_state(m, SYSTEM_STOPPING);
	failed_over(m, "a", true);
	node_goes(m, "a", RESULT_SIGNAL);
	assert_trace("");
}

/* A start that fails at once stops who is bound to it, while the queue holds its job. */
static void failure_inside_the_queue(_unused_ void **state)
{
	const char *const units[] = {"a", "BindsTo=b", "b", "PartOf=a\nRequires=nosuch", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	add_job(m, JOB_START, "a");
	jobs_run(m);
	jobs_run(m);
	assert_non_null(strstr(trace, "failed b;"));
	assert_non_null(strstr(trace, "stop a;"));
}

static void units_that_start_each_other(_unused_ void **state)
{
	const char *const units[] = {"a", "OnFailure=b", "b", "OnFailure=a", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);
	unsigned starts = 0;

	up(m, "a");
	node_goes(m, "a", RESULT_SIGNAL);
	for (unsigned i = 0; i < 100; i++) {
		const char *id = i % 2 ? "a" : "b";
		if (manager_find_node(m, id)->state != NODE_START)
			break;
		starts++;
		node_goes(m, id, RESULT_SIGNAL);
	}
	assert_in_range(starts, 2, 2 * CONSEQUENCES_MAX);
}

static void failsafe_serves_two(_unused_ void **state)
{
	const char *const units[] = {"a", "[Failover]\nFailsafeUnit=c\n[Unit]", "b",
		"[Failover]\nFailsafeUnit=c\n[Unit]", "c", "", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	up(m, "ab");
	node_goes(m, "ab", RESULT_SIGNAL);
	node_arrives(m, "c");
	up(m, "a");
	assert_trace("");
	add_job(m, JOB_START, "b");
	jobs_run(m);
	node_arrives(m, "b");
	assert_non_null(strstr(trace, "stop c;"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failure_starts_units),
		cmocka_unit_test(bound_units_stop),
		cmocka_unit_test(dependents_in_order),
		cmocka_unit_test(nothing_follows_while_stopping),
		cmocka_unit_test(failure_inside_the_queue),
		cmocka_unit_test(units_that_start_each_other),
		cmocka_unit_test(failsafe_serves_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
