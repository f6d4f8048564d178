/* SPDX-License-Identifier: Apache-2.0 */
/* [Twin] ExcludeMemory=, HonourDontFork= and GuardChildren=. */
#include "tests/unit/test_config.h"

static void exclusions(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "[Twin]\n"
					     "ExcludeMemory=/memfd:cache* [anon:frames]:zero\n"
					     "ExcludeMemory=/dev/shm/map:share\n");
	const struct twin_settings *t = &l.unit->twin;

	assert_int_equal(t->n_exclusions, 3);
	assert_string_equal(t->exclusions[0].pattern, "/memfd:cache*");
	assert_false(t->exclusions[0].share);
	assert_string_equal(t->exclusions[1].pattern, "[anon:frames]");
	assert_false(t->exclusions[1].share);
	assert_string_equal(t->exclusions[2].pattern, "/dev/shm/map");
	assert_true(t->exclusions[2].share);
	assert_int_equal(t->dont_fork, DONT_FORK_NO);
	done(&l);
	l = load_clean(SERVICE "[Twin]\nExcludeMemory=/a\nExcludeMemory=\nHonourDontFork=share\n");
	assert_int_equal(l.unit->twin.n_exclusions, 0);
	assert_int_equal(l.unit->twin.dont_fork, DONT_FORK_SHARE);
	done(&l);
}

static void exclusions_that_cannot_be(void **state _unused_)
{
	expect_error(SERVICE "[Twin]\nExcludeMemory=[heap]\n", 4, "ExcludeMemory", "the heap");
	expect_error(SERVICE "[Twin]\nExcludeMemory=[*]:share\n", 4, "ExcludeMemory", "the heap");
	expect_error(SERVICE "[Twin]\nExcludeMemory=/a *\n", 4, "ExcludeMemory", "without a name");
	expect_error(
		SERVICE "[Twin]\nExcludeMemory=[stack]:zero\n", 4, "ExcludeMemory", "the stack");
	expect_error(SERVICE "[Twin]\nExcludeMemory=cache\n", 4, "ExcludeMemory", "is no name of");
	expect_error(SERVICE "[Twin]\nHonourDontFork=maybe\n", 4, "HonourDontFork", "maybe");
}

static void guard_children(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "[Twin]\nInterval=1s\n");

	assert_false(l.unit->twin.guard_children);
	done(&l);
	l = load_clean(SERVICE "[Twin]\nGuardChildren=yes\nIdentity=exact\n");
	assert_true(l.unit->twin.guard_children);
	done(&l);
	l = load_clean(SERVICE "[Twin]\nGuardChildren=no\nIdentity=namespace\n");
	assert_false(l.unit->twin.guard_children);
	done(&l);
	expect_error(SERVICE "[Twin]\nGuardChildren=all\n", 4, "GuardChildren", "all");
	expect_error(SERVICE "[Twin]\nGuardChildren=yes\nIdentity=namespace\n", 4, "GuardChildren",
		"Identity=namespace");
	expect_error(SERVICE "[Twin]\nIdentity=namespace\nGuardChildren=yes\n", 5, "GuardChildren",
		"Identity=namespace");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exclusions),
		cmocka_unit_test(exclusions_that_cannot_be),
		cmocka_unit_test(guard_children),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
