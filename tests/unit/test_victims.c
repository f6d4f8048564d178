/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Victims, each in six ways: frozen many times without a swap, swapped at random moments after
 * different deaths, and swapped in chains where every twin is a copy of a twin; both by reclaim and
 * in place (where the death allows it), and chains of both.
 *
 * VICTIM_ROUNDS: freezes; VICTIM_SWAPS: swaps; VICTIM_SEED: of the random moments. An argument
 * is a pattern of test names, as in test_victims 'epoll*'.
 */
#include "tests/unit/test_victim_run.h"

enum victim_flag {
	CHURN = 1,       /* its threads come and go */
	FREEZE_ONLY = 2, /* what it checks does not survive a swap by its nature */
	STANDS = 8,      /* has what only a rollback in place keeps */
	SENDS = 16,      /* what it is sending at its end is only known where it still stands */
	PESTERED = 4,    /* gets signals that are ignored by default, which nobody may notice */
	NOT_INSIDE =
		32, /* has no twin in a pid namespace of its own, or looks numbers up in /proc */
};

struct victim_kind {
	const char *name;
	unsigned flags;
	unsigned pace;            /* progress between two freezes; 0: 1 */
	unsigned share;           /* of the rounds, in percent; 0: 100 */
	const char *not_in_place; /* why it is rolled back in another way; NULL: it is not */
};

static const struct victim_kind kinds[] = {
	{.name = "one_thread"},
	{.name = "sixteen_threads"},
	{.name = "names"},
	{.name = "epoll_timeouts"},
	{.name = "epoll_timeouts", .flags = FREEZE_ONLY, .pace = 18, .share = 40},
	{.name = "timed_calls"},
	{.name = "timed_calls", .flags = FREEZE_ONLY, .pace = 10, .share = 25},
	{.name = "mutex_kinds"},
	{.name = "avx_state"},
	{.name = "blocking_calls", .flags = PESTERED | CHURN}, /* one of its calls makes a thread */
	{.name = "files"},
	{.name = "static_node"},
	{.name = "threads_300", .share = 25},
	{.name = "altstack"},
	{.name = "rseq"},
	{.name = "robust_list", .flags = CHURN},
	{.name = "session"},
	{.name = "group"},
	{.name = "user_nobody"},
	{.name = "forks_children"},
	{.name = "execs_itself", .flags = FREEZE_ONLY | NOT_INSIDE},
	{.name = "thread_churn", .flags = CHURN},
	{.name = "malloc_churn"},
	{.name = "signals"},
	{.name = "process_state"},
	{.name = "process_timers"},
	{.name = "whole_calls", .flags = FREEZE_ONLY},
	{.name = "handled_calls", .flags = FREEZE_ONLY | NOT_INSIDE},
	{.name = "torn_calls", .flags = SENDS},
	{.name = "seccomp", .flags = NOT_INSIDE},
	{.name = "stress", .flags = CHURN, .share = 50},
	{.name = "seccomp_strict", .flags = NOT_INSIDE},
	{.name = "pending"},
	{.name = "scramble", .flags = CHURN},
	{.name = "shell", .flags = STANDS},
	{.name = "reaps", .flags = STANDS},
	{.name = "locked_memory", .not_in_place = "no task to work with"},
	{.name = "locked_all", .flags = NOT_INSIDE, .not_in_place = "no task to work with"},
	{.name = "kernel_state", .flags = NOT_INSIDE},
	{.name = "owners", .flags = NOT_INSIDE},
	{.name = "file_locks"},
};

enum way { FROZEN, SWAPPED, CHAINED, IN_PLACE, IN_PLACE_CHAINED, MIXED, WAYS };
static const char *const way_names[] = {
	"frozen", "swapped", "in chains", "in place", "in place in chains", "mixed chains"};

struct test_case {
	const struct victim_kind *kind;
	enum way way;
	char name[48];
};

static uint32_t random_state;

static unsigned random_below(unsigned n)
{
	return victim_random(&random_state) % n;
}

/* Some hundred microseconds, so that moments do not fall into step with the victim. */
static void drift(void)
{
	nsec_t until = now_nsec() + random_below(1500) * NSEC_PER_USEC;
	while (now_nsec() < until)
		sched_yield();
}

static void pester(const struct victim_run *r)
{
	struct tid_set tids;

	list_tids(r->pid, &tids);
	kill(r->pid, SIGWINCH);
	if (tids.n > 0)
		syscall(SYS_tgkill, r->pid, tids.tids[random_below(tids.n)], SIGURG);
}

static void freeze_many_times(struct victim_run *r, const struct victim_kind *kind)
{
	unsigned rounds =
		env_number("VICTIM_ROUNDS", 200) * (kind->share ? kind->share : 100) / 100;

	for (unsigned i = 0; i < rounds; i++) {
		struct twin_checkpoint cp;
		if (!run_checkpoint(r, &cp) || !run_progress(r, kind->pace ? kind->pace : 1))
			return;
		if (kind->flags & PESTERED)
			pester(r);
	}
}

static bool prefer_in_place;

static void prefer(struct victim_run *r, bool in_place)
{
	prefer_in_place = in_place;
	twin_prefer_way(r->e, in_place ? TWIN_WAY_IN_PLACE : TWIN_WAY_RECLAIM);
}

static bool die_somehow(struct victim_run *r, const struct victim_kind *kind)
{
	static const int signals[] = {SIGSEGV, SIGABRT, SIGTERM, SIGKILL};
	static const enum victim_command commands[] = {
		VICTIM_EXIT, VICTIM_EXIT_BY_THREAD, VICTIM_ABORT, VICTIM_SEGV};
	const bool stands = kind->flags & (STANDS | SENDS);
	unsigned how = random_below(ELEMENTSOF(signals) + ELEMENTSOF(commands));

	if (stands && (how == 3 || how == 4 || how == 5))
		how -= 3;

	if (how < ELEMENTSOF(signals))
		(void)twin_kill(r->e, signals[how]);
	else
		atomic_store(&r->shared->command, commands[how - ELEMENTSOF(signals)]);
	return run_await_end(r);
}

static bool swap_and_check(
	struct victim_run *r, const struct victim_kind *kind, const struct tid_set *before)
{
	struct twin_swap sw;
	struct tid_set after;
	int error;

	if (atomic_load(&r->shared->failed))
		return run_fail(r, "%s", r->shared->message);
	atomic_fetch_add(&r->shared->swaps, 1);
	error = twin_swap(r->e, 0, &sw);
	if (error < 0)
		return run_fail(r, "swap: %d, %s", error, twin_reason(r->e));
	if (prefer_in_place && VICTIM_IDENTITY == TWIN_EXACT && r->end.type != TWIN_EVENT_EXITED &&
		sw.way != TWIN_WAY_IN_PLACE &&
		!(kind->not_in_place && strstr(sw.why, kind->not_in_place)))
		return run_fail(r, "not in place: %s", sw.why);
	if (!prefer_in_place && VICTIM_IDENTITY == TWIN_EXACT && sw.way != TWIN_WAY_RECLAIM)
		return run_fail(r, "%s, though not wanted", twin_way_to_string(sw.way));
	r->end = (struct twin_event){0};
	if (sw.new_pid != twin_active_pid(r->e) ||
		(VICTIM_IDENTITY == TWIN_EXACT) != (sw.new_pid == r->pid))
		return run_fail(r, "pid %d after %d", sw.new_pid, r->pid);
	r->pid = sw.new_pid;
	list_tids(r->pid, &after);
	if (!(kind->flags & CHURN) && !same_tids(before, &after))
		return run_fail(r, "%u threads, not the same as the %u before", after.n, before->n);
	return true;
}

static void swap_many_times(struct victim_run *r, const struct victim_kind *kind)
{
	unsigned swaps = env_number("VICTIM_SWAPS", 30);

	for (unsigned i = 0; i < swaps; i++) {
		struct twin_checkpoint cp;
		struct tid_set tids;

		drift();
		if (!run_checkpoint(r, &cp))
			return;
		list_tids(r->pid, &tids);
		if (!run_progress(r, random_below(4)))
			return;
		if (kind->flags & PESTERED)
			pester(r);
		drift();
		if (!die_somehow(r, kind) || !swap_and_check(r, kind, &tids) || !run_progress(r, 1))
			return;
	}
}

/* No pause between a swap and the next checkpoint: twins of twins of twins. */
static void swap_in_chains(struct victim_run *r, const struct victim_kind *kind, bool mixed)
{
	unsigned swaps = env_number("VICTIM_SWAPS", 30);

	for (unsigned i = 0; i < swaps; i++) {
		struct twin_checkpoint cp;
		struct tid_set tids;

		if (mixed)
			prefer(r, random_below(2) == 0);
		if (!run_checkpoint(r, &cp))
			return;
		/* Threads that were let go and have not made a step since. */
		if (i % 3 == 0 && !run_checkpoint(r, &cp))
			return;
		list_tids(r->pid, &tids);
		if (!swap_and_check(r, kind, &tids))
			return;
		if (i % 10 == 9 && !run_progress(r, 2))
			return;
	}
}

static void run_case(void **state)
{
	const struct test_case *c = *state;
	char fds_before[1024], fds_after[1024];
	struct victim_run r;

	list_own_fds(fds_before, sizeof(fds_before));
	if (run_begin(&r, c->kind->name, 1, c->way != FROZEN)) {
		prefer(&r, c->way >= IN_PLACE);
		if (c->way == FROZEN)
			freeze_many_times(&r, c->kind);
		else if (c->way == SWAPPED || c->way == IN_PLACE)
			swap_many_times(&r, c->kind);
		else
			swap_in_chains(&r, c->kind, c->way == MIXED);
	}
	run_end(&r);
	if (r.skipped > 0)
		print_message("             %u checkpoints put off\n", r.skipped);
	list_own_fds(fds_after, sizeof(fds_after));
	assert_string_equal(fds_before, fds_after);
}

int main(int argc, char **argv)
{
	static struct test_case cases[ELEMENTSOF(kinds) * WAYS];
	static struct CMUnitTest tests[ELEMENTSOF(cases)];
	size_t n = 0;

	run_seed = random_state = env_number("VICTIM_SEED", (unsigned)now_nsec());
	print_message("VICTIM_SEED=%u\n", run_seed);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
		for (enum way w = FROZEN; w < (VICTIM_IDENTITY == TWIN_EXACT ? WAYS : IN_PLACE);
			w++) {
			struct test_case *c = &cases[n];
			if (w != FROZEN && (kinds[i].flags & FREEZE_ONLY))
				continue;
			if ((kinds[i].flags & STANDS) && w != FROZEN && w != IN_PLACE &&
				w != IN_PLACE_CHAINED)
				continue;
			if ((kinds[i].flags & SENDS) && w != FROZEN && w != SWAPPED &&
				w != IN_PLACE)
				continue;
			if (VICTIM_IDENTITY == TWIN_NAMESPACE && (kinds[i].flags & NOT_INSIDE))
				continue;
			*c = (struct test_case){.kind = &kinds[i], .way = w};
			snprintf(c->name, sizeof(c->name), "%s %s", kinds[i].name, way_names[w]);
			tests[n++] = (struct CMUnitTest){
				.name = c->name, .test_func = run_case, .initial_state = c};
		}
	return _cmocka_run_group_tests("victims", tests, n, NULL, NULL);
}
