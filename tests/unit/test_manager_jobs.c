/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test_manager_fixture.h"

static const char *const pair[] = {"a", "", "b", "Requires=a\nAfter=a", NULL};

static void requires_pulls_in_and_fails(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);
	struct node *b = manager_find_node(m, "b");

	struct job *j = add_job(m, JOB_START, "b");
	assert_ptr_equal(j, b->job);
	/* Nothing runs before the caller has its job. */
	assert_trace("");
	jobs_run(m);
	assert_trace("start a;");
	node_goes(m, "a", RESULT_EXIT_CODE);
	assert_trace("failed a;dependency b;");
	assert_int_equal(b->state, NODE_FAILED);
	assert_string_equal(b->report.detail, "required unit a did not start");
	assert_null(m->jobs);
}

static void dependent_that_started_beside_is_stopped(_unused_ void **state)
{
	const char *const units[] = {"a", "", "b", "Requires=a", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	add_job(m, JOB_START, "b");
	jobs_run(m);
	assert_trace("start a;start b;");
	node_goes(m, "a", RESULT_TIMEOUT);
	assert_trace("failed a;dependency b;stop b;");
}

static void missing_requires_fails_the_job(_unused_ void **state)
{
	const char *const units[] = {"a", "Requires=gone", "b", "Requires=a", "c", "Wants=a", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);
	struct node *a = manager_find_node(m, "a");

	add_job(m, JOB_START, "b");
	add_job(m, JOB_START, "c");
	jobs_run(m);
	assert_trace("failed a;dependency b;start c;");
	assert_non_null(strstr(a->report.detail, "Requires=gone"));
	assert_int_equal(a->report.result, RESULT_RESOURCES);
}

static void short_program_is_a_good_start(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);

	add_job(m, JOB_START, "b");
	jobs_run(m);
	node_goes(m, "a", RESULT_SUCCESS);
	assert_trace("start a;done a;start b;");
}

static void auto_restart_keeps_the_job(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);
	struct node *a = manager_find_node(m, "a");

	add_job(m, JOB_START, "a");
	jobs_run(m);
	node_set_state(a, NODE_AUTO_RESTART);
	jobs_run(m);
	assert_trace("start a;");
	node_arrives(m, "a");
	assert_trace("done a;");
}

static void stop_takes_dependents_first(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);

	add_job(m, JOB_START, "b");
	jobs_run(m);
	node_arrives(m, "a");
	node_arrives(m, "b");
	trace[0] = '\0';
	add_job(m, JOB_STOP, "a");
	jobs_run(m);
	assert_trace("stop b;");
	node_goes(m, "b", RESULT_SUCCESS);
	assert_trace("done b;stop a;");
	/* The keeper's last word alone does not end the job: its process must be gone. */
	node_set_state(manager_find_node(m, "a"), NODE_DEAD);
	jobs_run(m);
	assert_trace("");
	node_goes(m, "a", RESULT_SUCCESS);
	assert_trace("done a;");
}

static void restart_goes_down_and_up_with_dependents(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);

	add_job(m, JOB_START, "b");
	jobs_run(m);
	node_arrives(m, "a");
	node_arrives(m, "b");
	trace[0] = '\0';
	add_job(m, JOB_RESTART, "a");
	jobs_run(m);
	node_goes(m, "b", RESULT_SUCCESS);
	node_goes(m, "a", RESULT_SUCCESS);
	assert_trace("stop b;stop a;start a;");
	node_arrives(m, "a");
	node_arrives(m, "b");
	assert_trace("done a;start b;done b;");
}

static void restart_of_a_dead_node_starts_it(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);

	add_job(m, JOB_RESTART, "b");
	jobs_run(m);
	assert_trace("start a;");
	node_arrives(m, "a");
	node_arrives(m, "b");
	assert_trace("done a;start b;done b;");
}

static void replace_and_fail(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);
	struct node *a = manager_find_node(m, "a");
	const char *name;
	struct job *j = NULL;
	uint32_t id;

	id = add_job(m, JOB_START, "a")->id;
	/* The same again is the same job. */
	assert_int_equal(add_job(m, JOB_START, "a")->id, id);
	jobs_run(m);
	assert_int_equal(manager_add_job(m, JOB_STOP, a, "fail", &j, &name), -EBUSY);
	assert_string_equal(name, BUS_ERROR_NODE_BUSY);
	assert_null(j);
	assert_trace("start a;");
	add_job(m, JOB_STOP, "a");
	assert_trace("canceled a;");
	jobs_run(m);
	/* A start that comes while it stops waits for the end of it. */
	add_job(m, JOB_START, "a");
	jobs_run(m);
	assert_trace("stop a;canceled a;");
	node_goes(m, "a", RESULT_SUCCESS);
	assert_trace("start a;");
	assert_int_equal(manager_add_job(m, JOB_STOP, a, "isolate", &j, &name), -EINVAL);
}

static void nothing_to_do_is_done(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);

	add_job(m, JOB_STOP, "a");
	jobs_run(m);
	assert_trace("done a;");
	add_job(m, JOB_START, "b");
	jobs_run(m);
	node_arrives(m, "a");
	node_arrives(m, "b");
	trace[0] = '\0';
	/* Up already, and what it requires as well: one job, and that ends at once. */
	add_job(m, JOB_START, "b");
	assert_ptr_equal(m->jobs, manager_find_node(m, "b")->job);
	assert_null(m->jobs->next);
	jobs_run(m);
	assert_trace("done b;");
}

static void refuses_what_cannot_be(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);
	struct node *broken = node_new(m, "c", "c.ini"), *a = manager_find_node(m, "a");
	const char *name;
	struct job *j;
	uint64_t serial;

	assert_int_equal(manager_insert_node(m, broken), 0);
	assert_int_equal(manager_add_job(m, JOB_START, broken, "replace", &j, &name), -ENOEXEC);
	assert_string_equal(name, BUS_ERROR_LOAD_FAILED);
	assert_int_equal(manager_request(m, a, KEEPER_REQ_FAILOVER, 0, &serial, &name), -ENODATA);
	assert_string_equal(name, BUS_ERROR_NO_TWIN);
	a->twin.state = TWIN_SWAPPING;
	assert_int_equal(manager_request(m, a, KEEPER_REQ_FAILOVER, 0, &serial, &name), -EALREADY);
	assert_string_equal(name, BUS_ERROR_FAILOVER_IN_PROGRESS);
	assert_int_equal(manager_request(m, a, KEEPER_REQ_CHECKPOINT, 0, &serial, &name), -ESRCH);
	assert_null(name); /* bus_error_set() makes NodeBusy of it */
	assert_int_equal(manager_request(m, a, KEEPER_REQ_KILL, 999, &serial, &name), -EINVAL);
	assert_int_equal(manager_request(m, a, KEEPER_REQ_STOP, 0, &serial, &name), -EINVAL);
	manager_set_state(m, SYSTEM_STOPPING);
	assert_int_equal(manager_add_job(m, JOB_START, a, "replace", &j, &name), -ESHUTDOWN);
	assert_string_equal(name, BUS_ERROR_SHUTTING_DOWN);
}

static void system_state_follows_the_nodes(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);

	manager_begin(m, (char *[]){"b", NULL});
	assert_int_equal(m->state, SYSTEM_STARTING);
	jobs_run(m);
	node_arrives(m, "a");
	manager_update_state(m);
	assert_int_equal(m->state, SYSTEM_STARTING);
	node_arrives(m, "b");
	manager_update_state(m);
	assert_int_equal(m->state, SYSTEM_RUNNING);
	assert_true(m->finish_monotonic >= m->userspace_monotonic);
	node_goes(m, "a", RESULT_SIGNAL);
	manager_update_state(m);
	assert_int_equal(m->state, SYSTEM_DEGRADED);
	add_job(m, JOB_START, "a");
	jobs_run(m);
	node_arrives(m, "a");
	manager_update_state(m);
	assert_int_equal(m->state, SYSTEM_RUNNING);
}

static void unknown_id_degrades(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(pair);

	manager_begin(m, (char *[]){"gone", NULL});
	jobs_run(m);
	manager_update_state(m);
	assert_int_equal(m->state, SYSTEM_DEGRADED);
}

static void names(_unused_ void **state)
{
	for (int t = 0; t < _JOB_TYPE_MAX; t++)
		assert_non_null(job_type_to_string((enum job_type)t));
	for (int s = 0; s < _JOB_STATE_MAX; s++)
		assert_non_null(job_state_to_string((enum job_state)s));
	for (int s = 0; s < _SYSTEM_STATE_MAX; s++)
		assert_non_null(system_state_to_string((enum system_state)s));
	assert_null(job_type_to_string(_JOB_TYPE_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requires_pulls_in_and_fails),
		cmocka_unit_test(dependent_that_started_beside_is_stopped),
		cmocka_unit_test(missing_requires_fails_the_job),
		cmocka_unit_test(short_program_is_a_good_start),
		cmocka_unit_test(auto_restart_keeps_the_job),
		cmocka_unit_test(stop_takes_dependents_first),
		cmocka_unit_test(restart_goes_down_and_up_with_dependents),
		cmocka_unit_test(restart_of_a_dead_node_starts_it),
		cmocka_unit_test(replace_and_fail),
		cmocka_unit_test(nothing_to_do_is_done),
		cmocka_unit_test(refuses_what_cannot_be),
		cmocka_unit_test(system_state_follows_the_nodes),
		cmocka_unit_test(unknown_id_degrades),
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
