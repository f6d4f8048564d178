/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test_manager_fixture.h"

static bool any(_unused_ const struct node *n)
{
	return true;
}

static void assert_cycle(const char *const *units, const char *expected)
{
	_cleanup_(manager_freep) struct manager *m = new_manager(units);
	struct node *cycle[MANAGER_NODES_MAX];
	char text[256] = "";
	size_t n = order_find_cycle(m, any, cycle);

	if (n > 0)
		order_format_cycle(cycle, n, text, sizeof(text));
	assert_string_equal(text, expected);
}

static void finds_cycles(_unused_ void **state)
{
	assert_cycle((const char *[]){"a", "After=b", "b", "After=c", "c", "", NULL}, "");
	assert_cycle((const char *[]){"a", "After=b", "b", "After=c", "c", "After=a", NULL},
		"a -> b -> c -> a");
	/* The way into a cycle is no part of it, and the smallest id comes first. */
	assert_cycle((const char *[]){"a", "After=z", "m", "After=y", "y", "After=z", "z",
			     "After=m", NULL},
		"m -> y -> z -> m");
	assert_cycle((const char *[]){"a", "After=a", NULL}, "a -> a");
	/* Before= of the one is After= of the other. */
	assert_cycle((const char *[]){"a", "After=b\nBefore=b", "b", "", NULL}, "a -> b -> a");
	/* Requires= and Wants= do not order. */
	assert_cycle((const char *[]){"a", "Requires=b", "b", "Wants=a", NULL}, "");
	/* A diamond is no cycle. */
	assert_cycle(
		(const char *[]){"a", "", "b", "After=a", "c", "After=a", "d", "After=b c", NULL},
		"");
}

static void cuts_a_long_cycle(_unused_ void **state)
{
	const char *const units[] = {
		"aaaaaaaa", "After=bbbbbbbb", "bbbbbbbb", "After=aaaaaaaa", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);
	struct node *cycle[MANAGER_NODES_MAX];
	size_t n = order_find_cycle(m, any, cycle);
	char text[16];

	order_format_cycle(cycle, n, text, sizeof(text));
	assert_string_equal(text, "aaaaaaaa -> ...");
}

/* As deep as it can get: the search must not take more of the stack than there is. */
static void searches_the_longest_chain(_unused_ void **state)
{
	_cleanup_(manager_freep) struct manager *m = new_manager((const char *[]){NULL});
	struct node *cycle[MANAGER_NODES_MAX];
	char id[16], after[32];

	for (int i = 0; i < MANAGER_NODES_MAX; i++) {
		snprintf(id, sizeof(id), "n%04d", i);
		snprintf(after, sizeof(after), "After=n%04d", (i + 1) % MANAGER_NODES_MAX);
		add_unit(m, id, after);
	}
	assert_int_equal(order_resolve(m), 0);
	assert_int_equal(order_find_cycle(m, any, cycle), MANAGER_NODES_MAX);
	struct node *n = node_new(m, "one-too-many", "");
	assert_int_equal(manager_insert_node(m, n), -ENOSPC);
	node_free(n);
}

static void resolves_names(_unused_ void **state)
{
	const char *const units[] = {"a", "After=b.ini gone b\nRequires=b b\nWants=c gone", "b", "",
		"c", "Requires=gone", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);
	struct node *a = manager_find_node(m, "a"), *b = manager_find_node(m, "b"),
		    *c = manager_find_node(m, "c");

	assert_int_equal(a->after.n, 1);
	assert_ptr_equal(a->after.items[0], b);
	assert_ptr_equal(b->before.items[0], a);
	assert_int_equal(a->requires.n, 1);
	assert_ptr_equal(b->required_by.items[0], a);
	assert_int_equal(a->wants.n, 1);
	assert_ptr_equal(c->wanted_by.items[0], a);
	assert_null(a->missing_requires);
	assert_string_equal(c->missing_requires, "gone");
	/* A second time changes nothing. */
	assert_int_equal(order_resolve(m), 0);
	assert_int_equal(b->required_by.n, 1);
}

static void starts_in_waves(_unused_ void **state)
{
	const char *const units[] = {"a", "", "b", "After=a\nRequires=a", "c", "After=a", "d",
		"After=b c\nRequires=b c", "e", "Before=a", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	add_job(m, JOB_START, "d");
	add_job(m, JOB_START, "e");
	jobs_run(m);
	assert_trace("start e;");
	node_arrives(m, "e");
	assert_trace("done e;start a;");
	node_arrives(m, "a");
	assert_trace("done a;start b;start c;");
	node_arrives(m, "c");
	assert_trace("done c;");
	node_arrives(m, "b");
	assert_trace("done b;start d;");
	node_arrives(m, "d");
	assert_trace("done d;");
	assert_null(m->jobs);
}

static void stops_in_reverse(_unused_ void **state)
{
	const char *const units[] = {"a", "", "b", "After=a", "c", "Requires=b", "d", "", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	for (struct node *n = m->nodes; n; n = n->next)
		add_job(m, JOB_START, n->id);
	jobs_run(m);
	node_arrives(m, "acd");
	node_arrives(m, "b");
	trace[0] = '\0';
	jobs_stop_all(m);
	jobs_run(m);
	/* c requires b, b is after a; d is free. */
	assert_trace("stop c;stop d;");
	node_goes(m, "c", RESULT_SUCCESS);
	assert_trace("done c;stop b;");
	node_goes(m, "b", RESULT_SUCCESS);
	assert_trace("done b;stop a;");
	node_goes(m, "ad", RESULT_SUCCESS);
	assert_trace("done a;done d;");
}

static void fails_a_cycle_and_goes_on(_unused_ void **state)
{
	const char *const units[] = {"a", "After=b", "b", "After=c", "c", "After=a", "d", "After=c",
		"e", "Requires=a", "f", "", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	for (struct node *n = m->nodes; n; n = n->next)
		add_job(m, JOB_START, n->id);
	jobs_run(m);
	assert_trace("failed a;failed b;failed c;dependency e;start d;start f;");
	for (const char *id = "abc"; *id; id++) {
		struct node *n = manager_find_node(m, (char[]){*id, 0});
		assert_int_equal(n->state, NODE_FAILED);
		assert_string_equal(n->report.detail, "order cycle: a -> b -> c -> a");
	}
	/* Alone, a member of the cycle is in nobody's way. */
	node_arrives(m, "df");
	assert_trace("done d;done f;");
	add_job(m, JOB_START, "b");
	jobs_run(m);
	assert_trace("start b;");
}

static void stops_those_that_require_each_other(_unused_ void **state)
{
	const char *const units[] = {"a", "Requires=b", "b", "Requires=a", NULL};
	_cleanup_(manager_freep) struct manager *m = new_manager(units);

	add_job(m, JOB_START, "a");
	jobs_run(m);
	assert_trace("start a;start b;");
	node_arrives(m, "ab");
	assert_trace("done a;done b;");
	add_job(m, JOB_STOP, "b");
	jobs_run(m);
	/* No order satisfies both; still both go. */
	assert_trace("stop a;");
	node_goes(m, "a", RESULT_SUCCESS);
	assert_trace("done a;stop b;");
	node_goes(m, "b", RESULT_SUCCESS);
	assert_trace("done b;");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_cycles),
		cmocka_unit_test(cuts_a_long_cycle),
		cmocka_unit_test(searches_the_longest_chain),
		cmocka_unit_test(resolves_names),
		cmocka_unit_test(starts_in_waves),
		cmocka_unit_test(stops_in_reverse),
		cmocka_unit_test(fails_a_cycle_and_goes_on),
		cmocka_unit_test(stops_those_that_require_each_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
