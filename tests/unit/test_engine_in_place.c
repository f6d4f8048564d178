/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rolled back in place: what the kernel keeps for each thread by itself, changed since the
 * checkpoint, is as it was; and what of it cannot be undone makes it a reclaim.
 */
#include "tests/unit/test_victim_run.h"

#define CHECK(cond, ...) ((cond) || run_fail(&run, #cond ": " __VA_ARGS__))
#define TIMES 5

static struct victim_run run;

static bool change_and_swap(struct twin_swap *ret)
{
	struct twin_checkpoint cp;

	if (!run_checkpoint(&run, &cp))
		return false;
	atomic_store(&run.shared->command, VICTIM_EXEC);
	if (!run_until(&run, atomic_load(&run.shared->counter) == 2, "the change"))
		return false;
	int r = twin_swap(run.e, 0, ret);
	run.end = (struct twin_event){0};
	return CHECK(r == 0, "%s", twin_reason(run.e)) &&
	       run_until(&run, atomic_load(&run.shared->counter) == 0, "the rollback") &&
	       run_progress(&run, 3);
}

static void undone(void **state)
{
	struct twin_swap sw;

	(void)state;
	if (run_begin(&run, "self_state", 1, true)) {
		twin_prefer_way(run.e, TWIN_WAY_IN_PLACE);
		for (unsigned i = 0; i < TIMES; i++)
			if (!change_and_swap(&sw) ||
				!CHECK(sw.way == TWIN_WAY_IN_PLACE, "%s", sw.why))
				break;
	}
	run_end(&run);
}

static void by_reclaim(void **state)
{
	struct twin_swap sw;

	(void)state;
	if (run_begin(&run, "self_state", 1, true)) {
		twin_prefer_way(run.e, TWIN_WAY_RECLAIM);
		for (unsigned i = 0; i < TIMES; i++)
			if (!change_and_swap(&sw))
				break;
	}
	run_end(&run);
}

static void a_keyring_is_not(void **state)
{
	struct twin_swap sw;

	(void)state;
	setenv("SELF_STATE", "keyring", 1);
	if (run_begin(&run, "self_state", 1, true)) {
		twin_prefer_way(run.e, TWIN_WAY_IN_PLACE);
		if (change_and_swap(&sw))
			(void)(CHECK(sw.way == TWIN_WAY_RECLAIM, "%s", sw.why) &&
				CHECK(strstr(sw.why, "keyring"), "%s", sw.why));
	}
	unsetenv("SELF_STATE");
	run_end(&run);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(undone),
		cmocka_unit_test(by_reclaim),
		cmocka_unit_test(a_keyring_is_not),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("in place", tests, NULL, NULL);
}
