/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rollback in place of which every single request to the kernel is refused once: the same twin
 * then takes over by reclaim, or the refusal did not matter, and the victim is well either way.
 * And one that fails at its very end, when all is put back already: once more, and not twice.
 */
#include "tests/unit/test_victim_run.h"

#include "supervisor/twin/fault_point.h"

#define CALLS_MAX 4000

static struct victim_run run;
static unsigned calls, refused_call; /* 0: none */
static const struct fault_point *refused;
static int refusal;

/* What looks at descriptors is the business of both ways, and has tests of its own. */
static bool is_of_this_way(const struct fault_point *p)
{
	static const char *const files[] = {"/inplace", "/pages.c", "/layout.c", "/inject.c",
		"/freeze.c", "/rebuild.c", "/image.c"};

	/* It lets threads go that are ready: only a task that is dead can refuse that. */
	if (strcmp(p->function, "rebuild_let_go") == 0)
		return false;
	for (size_t i = 0; i < ELEMENTSOF(files); i++)
		if (strstr(p->file, files[i]))
			return true;
	return false;
}

static int count_and_refuse(const struct fault_call *c)
{
	if (!is_of_this_way(c->point) || ++calls != refused_call)
		return 0;
	refused = c->point;
	return refusal;
}

/* The results of the calls that have put descriptors back are about to be read. */
static bool rebuilt;

static int refuse_at_the_end(const struct fault_call *c)
{
	rebuilt |= strcmp(c->point->function, "restore_schedules") == 0;
	if (!rebuilt || refused || c->point->kind != FAULT_MEMORY)
		return 0;
	refused = c->point;
	return -EIO;
}

static bool swap_with_refusal(
	unsigned which, int (*how)(const struct fault_call *c), struct twin_swap *ret)
{
	int r;

	calls = 0;
	refused_call = which;
	refused = NULL;
	rebuilt = false;
	fault_hook = how;
	r = twin_swap(run.e, 0, ret);
	fault_hook = NULL;
	run.end = (struct twin_event){0};
	if (r < 0)
		return run_fail(&run, "call %u (%s in %s, line %d): %d, %s", which,
			refused ? refused->call : "none", refused ? refused->function : "",
			refused ? refused->line : 0, r, twin_reason(run.e));
	return true;
}

static void refuse_each(const char *name, int error)
{
	unsigned in_place = 0, reclaimed = 0, last = 1;
	struct twin_checkpoint cp;
	struct twin_swap sw;

	refusal = error;
	if (!run_begin(&run, name, 1, true))
		goto end;
	twin_prefer_way(run.e, TWIN_WAY_IN_PLACE);
	for (unsigned which = 1; which <= last + 10 && which < CALLS_MAX; which++) {
		if (!run_checkpoint(&run, &cp) || !run_progress(&run, which % 3) ||
			!swap_with_refusal(which, count_and_refuse, &sw) || !run_progress(&run, 1))
			goto end;
		in_place += sw.way == TWIN_WAY_IN_PLACE;
		reclaimed += sw.way == TWIN_WAY_RECLAIM;
		/* One swap has more calls than another: until all were refused in one. */
		if (refused)
			last = MAX2(last, which);
	}
	print_message(
		"             %u calls refused, %u swaps in place all the same, %u by reclaim\n",
		last, in_place, reclaimed);
	if (reclaimed == 0 || in_place == 0)
		run_fail(&run, "%u by reclaim, %u in place", reclaimed, in_place);
end:
	run_end(&run);
}

static void one_thread(void **state)
{
	(void)state;
	refuse_each("one_thread", -EIO);
}

static void changed_in_all_ways(void **state)
{
	(void)state;
	refuse_each("scramble", -EIO);
}

/* Calls that were under way at the checkpoint, most of which have ended by the time of the swap. */
static void in_the_middle_of_writes(void **state)
{
	uint32_t random = env_number("VICTIM_SEED", (unsigned)now_nsec());
	struct twin_checkpoint cp;
	struct twin_swap sw;

	(void)state;
	run_seed = random;
	if (!run_begin(&run, "torn_calls", 1, true))
		goto end;
	twin_prefer_way(run.e, TWIN_WAY_IN_PLACE);
	for (unsigned i = 0; i < env_number("VICTIM_SWAPS", 30); i++) {
		nsec_t until = now_nsec() + victim_random(&random) % 40000 * NSEC_PER_USEC;

		if (!run_checkpoint(&run, &cp))
			break;
		for (; now_nsec() < until; wait_a_little())
			run_take_events(&run);
		if (!swap_with_refusal(0, refuse_at_the_end, &sw))
			break;
		if (sw.way != TWIN_WAY_RECLAIM || !refused) {
			run_fail(&run, "nothing was refused");
			break;
		}
		if (!run_progress(&run, 1))
			break;
	}
end:
	run_end(&run);
}

static bool status_says(const char *line)
{
	char text[4096], path[64];
	ssize_t len = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", run.pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, text, sizeof(text) - 1);
		close(fd);
	}
	text[MAX2(len, 0)] = '\0';
	return strstr(text, line);
}

static bool stands(void)
{
	return status_says("\nState:\tt");
}

static void await_its_stand(void)
{
	for (nsec_t until = now_nsec() + VICTIM_PATIENCE; !stands() && now_nsec() < until;)
		wait_a_little();
}

static bool swaps_by_reclaim(const char *why)
{
	struct twin_swap sw;
	int r = twin_swap(run.e, 0, &sw);

	fault_hook = NULL;
	run.end = (struct twin_event){0};
	if (r < 0 || sw.way != TWIN_WAY_RECLAIM || !strstr(sw.why, why))
		return run_fail(&run, "%d, %s: %s", r, twin_way_to_string(sw.way),
			r < 0 ? twin_reason(run.e) : sw.why);
	return run_progress(&run, 2);
}

/* It executes a program when the rollback has been found possible. */
static int let_it_execute(const struct fault_call *c)
{
	if (c->point->kind != FAULT_PTRACE || c->number != PTRACE_INTERRUPT)
		return 0;
	fault_hook = NULL;
	atomic_store(&run.shared->command, VICTIM_EXEC);
	await_its_stand();
	return 0;
}

static void at_an_exec(void **state)
{
	struct twin_checkpoint cp;

	(void)state;
	if (run_begin(&run, "execs_itself", 1, true) && run_checkpoint(&run, &cp)) {
		twin_prefer_way(run.e, TWIN_WAY_IN_PLACE);
		fault_hook = let_it_execute;
		(void)swaps_by_reclaim("in place: it executes");
	}
	run_end(&run);
}

/* Between the delivery of SIGSTOP and what comes of it. */
static bool delivered;

static int hear_no_more(const struct fault_call *c)
{
	delivered |=
		c->point->kind == FAULT_PTRACE && c->number == PTRACE_CONT && c->data == SIGSTOP;
	return delivered && c->point->kind == FAULT_WAIT ? -EAGAIN : 0;
}

static void at_a_stop_by_signal(void **state)
{
	struct twin_checkpoint cp;

	(void)state;
	delivered = false;
	if (run_begin(&run, "one_thread", 1, true) && run_checkpoint(&run, &cp)) {
		twin_prefer_way(run.e, TWIN_WAY_IN_PLACE);
		(void)twin_kill(run.e, SIGSTOP);
		fault_hook = hear_no_more;
		(void)run_until(&run, delivered, "the delivery");
		fault_hook = NULL;
		await_its_stand();
		(void)swaps_by_reclaim("in place: it was stopped by a signal");
	}
	run_end(&run);
}

static bool peeked;

/* All pending signals have been looked at: time for another, if there will be one. */
static int wait_for_alarm(const struct fault_call *c)
{
	peeked |= c->point->kind == FAULT_PTRACE && c->number == PTRACE_PEEKSIGINFO;
	if (!peeked || c->point->kind != FAULT_MEMORY)
		return 0;
	fault_hook = NULL;
	for (nsec_t until = now_nsec() + 20 * 1000 * NSEC_PER_USEC;
		!status_says("\nShdPnd:\t0000000000002000") && now_nsec() < until;)
		wait_a_little();
	return 0;
}

static void a_timer_of_the_future(void **state)
{
	struct twin_checkpoint cp;
	struct twin_swap sw;

	(void)state;
	if (!run_begin(&run, "alarmed", 1, true))
		goto end;
	twin_prefer_way(run.e, TWIN_WAY_IN_PLACE);
	for (unsigned i = 0; i < 10; i++) {
		if (!run_checkpoint(&run, &cp))
			break;
		atomic_store(&run.shared->command, VICTIM_EXEC);
		if (!run_until(&run, atomic_load(&run.shared->counter) == 1, "the timer"))
			break;
		peeked = false;
		fault_hook = wait_for_alarm;
		int r = twin_swap(run.e, 0, &sw);
		fault_hook = NULL;
		if (r < 0 || sw.way != TWIN_WAY_IN_PLACE) {
			run_fail(&run, "%d, %s", r, r < 0 ? twin_reason(run.e) : sw.why);
			break;
		}
		if (!run_progress(&run, 3))
			break;
	}
end:
	run_end(&run);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_thread),
		cmocka_unit_test(changed_in_all_ways),
		cmocka_unit_test(in_the_middle_of_writes),
		cmocka_unit_test(at_an_exec),
		cmocka_unit_test(a_timer_of_the_future),
		cmocka_unit_test(at_a_stop_by_signal),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("refusals in place", tests, NULL, NULL);
}
