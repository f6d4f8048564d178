/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the fault to the end of a swap nothing is allocated, whichever way it goes. The allocator's
 * entries are this program's own, so that what the C library allocates for itself is seen as well.
 */
#include "tests/unit/test_victim_run.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);

static bool counting;
static unsigned counted;

void *malloc(size_t size)
{
	counted += counting;
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	counted += counting;
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size)
{
	counted += counting;
	return __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	counted += counting;
	return __libc_memalign(align, size);
}

void free(void *p)
{
	counted += counting && p;
	__libc_free(p);
}

struct swap_case {
	const char *victim;
	enum twin_way way;
	int signal;
};

static void the_counter_counts(void **state)
{
	void *volatile p;

	(void)state;
	counting = true;
	counted = 0;
	p = malloc(1);
	free(p);
	free(fopen("/dev/null", "re") ? NULL : p); /* the C library's own */
	counting = false;
	assert_true(counted >= 3);
}

static void swap_ten_times(void **state)
{
	const struct swap_case *c = *state;
	struct victim_run r;

	if (!run_begin(&r, c->victim, 1, true)) {
		run_end(&r);
		return;
	}
	twin_prefer_way(r.e, c->way);
	for (unsigned i = 0; i < 10 && !r.failure[0]; i++) {
		struct twin_checkpoint cp;
		struct twin_swap sw;
		int error;

		if (!run_checkpoint(&r, &cp) || !run_progress(&r, 1))
			break;
		(void)twin_kill(r.e, c->signal);
		if (!run_await_end(&r))
			break;
		atomic_fetch_add(&r.shared->swaps, 1);
		counted = 0;
		counting = true;
		error = twin_swap(r.e, 0, &sw);
		counting = false;
		r.end = (struct twin_event){0};
		if (error < 0)
			run_fail(&r, "swap: %d, %s", error, twin_reason(r.e));
		else if (sw.way != c->way)
			run_fail(&r, "%s", twin_way_to_string(sw.way));
		else if (counted > 0)
			run_fail(&r, "swap %u: the allocator was called %u times", i, counted);
		else if (!run_progress(&r, 1))
			break;
	}
	run_end(&r);
}

int main(void)
{
	static struct swap_case cases[] = {
		{"sixteen_threads", TWIN_WAY_RECLAIM, SIGKILL},
		{"sixteen_threads", TWIN_WAY_RECLAIM, SIGSEGV},
		{"sixteen_threads", TWIN_WAY_IN_PLACE, SIGSEGV},
		{"files", TWIN_WAY_RECLAIM, SIGKILL},
		{"files", TWIN_WAY_IN_PLACE, SIGSEGV},
		{"user_nobody", TWIN_WAY_RECLAIM, SIGKILL},
		{"process_timers", TWIN_WAY_RECLAIM, SIGKILL},
		{"seccomp", TWIN_WAY_RECLAIM, SIGKILL},
	};
	struct CMUnitTest tests[ELEMENTSOF(cases) + 1] = {cmocka_unit_test(the_counter_counts)};

	for (size_t i = 0; i < ELEMENTSOF(cases); i++)
		tests[i + 1] = (struct CMUnitTest){.name = cases[i].victim,
			.test_func = swap_ten_times,
			.initial_state = &cases[i]};
	return cmocka_run_group_tests_name("no allocation", tests, NULL, NULL);
}
