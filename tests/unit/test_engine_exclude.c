/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that twins are made without: what comes back, what it saves, and what is said of it. */
#include "config/mapping_pattern.h"
#include "tests/unit/test_victim_run.h"

#define REGION_KB (16 * 1024)

static const struct twin_exclusion exclusions[] = {
	{"/memfd:cache", false},
	{"/memfd:tab*", true},
	{"/memfd:common*", false},
};

static void set_environment(const char *cache, const char *table, const char *dont_fork)
{
	setenv("VICTIM_CACHE", cache, 1);
	setenv("VICTIM_TABLE", table, 1);
	setenv("VICTIM_DONTFORK", dont_fork, 1);
	setenv("VICTIM_KEPT", "copy", 1);
}

static uint64_t page_tables_kb(pid_t pid)
{
	char path[64], line[256];
	unsigned long v = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "VmPTE:", 6) == 0)
			v = strtoul(line + 6, NULL, 10);
	if (f)
		fclose(f);
	return v;
}

static void swap_often(struct victim_run *r, const char *said)
{
	for (unsigned i = 0; i < 12; i++) {
		struct twin_checkpoint cp;
		struct twin_swap sw;

		if (!run_checkpoint(r, &cp))
			return;
		if (strcmp(twin_excluded(r->e), said) != 0) {
			run_fail(r, "said: %s", twin_excluded(r->e));
			return;
		}
		if (i % 3 && !run_progress(r, i % 3))
			return;
		/* It stands at its end, and does not see the number of swaps change. */
		(void)twin_kill(r->e, SIGSEGV);
		if (!run_await_end(r))
			return;
		if (atomic_load(&r->shared->failed)) {
			run_fail(r, "%s", r->shared->message);
			return;
		}
		atomic_fetch_add(&r->shared->swaps, 1);
		int error = twin_swap(r->e, 0, &sw);
		if (error < 0) {
			run_fail(r, "swap: %d, %s", error, twin_reason(r->e));
			return;
		}
		r->end = (struct twin_event){0};
		if (run_config.way != sw.way) {
			run_fail(r, "%s: %s", twin_way_to_string(sw.way), sw.why);
			return;
		}
		if ((*said != '\0') != (strstr(sw.lost, "memory: ") != NULL)) {
			run_fail(r, "lost: %s", sw.lost);
			return;
		}
		if (!run_progress(r, 2))
			return;
	}
}

static void run_one_way(enum twin_way way, const struct twin_exclusion *list, unsigned n,
	enum twin_dont_fork how, const char *said, unsigned saved_regions)
{
	struct victim_run r;
	struct twin_checkpoint cp;

	run_config.exclusions = list;
	run_config.n_exclusions = n;
	run_config.dont_fork = how;
	run_config.way = way;
	if (run_begin(&r, "excluded_memory", 1, true)) {
		/* 8 bytes a page of 4 KiB; a file's pages that were only read have none anyway. */
		if (run_checkpoint(&r, &cp)) {
			uint64_t mine = page_tables_kb(r.pid), its = page_tables_kb(cp.twin_pid);
			uint64_t saved = saved_regions * REGION_KB / 4 * 8 / 1024;
			if (its + saved > mine + 64 && saved)
				run_fail(
					&r, "page tables: %lu kB, and the twin has %lu", mine, its);
		}
		swap_often(&r, said);
	}
	run_end(&r);
	run_config.n_exclusions = 0;
	run_config.dont_fork = TWIN_DONT_FORK_COPY;
	run_config.way = TWIN_WAY_AUTO;
}

static void run(const struct twin_exclusion *list, unsigned n, enum twin_dont_fork how,
	const char *said, unsigned saved_regions)
{
	run_one_way(TWIN_WAY_RECLAIM, list, n, how, said, saved_regions);
	run_one_way(TWIN_WAY_IN_PLACE, list, n, how, said, saved_regions);
}

static void test_all_is_copied(void **state)
{
	(void)state;
	set_environment("copy", "copy", "copy");
	run(NULL, 0, TWIN_DONT_FORK_COPY, "", 0);
}

static void test_named_memory(void **state)
{
	(void)state;
	set_environment("zero", "share", "copy");
	run(exclusions, ELEMENTSOF(exclusions), TWIN_DONT_FORK_COPY,
		"16.0 MB come back as zeros, 16.0 MB come back as they are, 16.0 MB stay shared",
		2);
}

static void test_dont_fork_as_zeros(void **state)
{
	(void)state;
	set_environment("copy", "copy", "zero");
	run(NULL, 0, TWIN_DONT_FORK_ZERO, "16.0 MB (MADV_DONTFORK) come back as zeros", 1);
}

static void test_dont_fork_as_it_is(void **state)
{
	(void)state;
	set_environment("zero", "copy", "share");
	run(exclusions, 1, TWIN_DONT_FORK_SHARE,
		"16.0 MB come back as zeros, 16.0 MB (MADV_DONTFORK) come back as they are", 2);
}

static void test_patterns(void **state)
{
	(void)state;
	assert_true(mapping_pattern_matches("/dev/shm/big*", "/dev/shm/big/one"));
	assert_true(mapping_pattern_matches("/memfd:a", "/memfd:a (deleted)"));
	assert_false(mapping_pattern_matches("/memfd:a", "/memfd:ab (deleted)"));
	assert_true(mapping_pattern_matches("[anon:cache*]", "[anon:cache of maps]"));
	assert_false(mapping_pattern_matches("[anon:cache]", "a"));
	assert_false(mapping_pattern_matches("[anon:cache]", "[anon:cachet]"));
	assert_string_equal(mapping_pattern_vital("[heap]"), "the heap");
	assert_string_equal(mapping_pattern_vital("[s*]"), "the stack");
	assert_non_null(mapping_pattern_vital("*"));
	assert_null(mapping_pattern_vital("/memfd:*"));
	assert_null(mapping_pattern_vital("[anon:*]"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_is_copied),
		cmocka_unit_test(test_named_memory),
		cmocka_unit_test(test_dont_fork_as_zeros),
		cmocka_unit_test(test_dont_fork_as_it_is),
		cmocka_unit_test(test_patterns),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("exclude", tests, NULL, NULL);
}
