/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every fault point of the engine, taken: each call that can be refused is refused, and at each
 * the node or a twin is killed, stopped, or struck by a signal, in checkpoints and in swaps, with
 * one thread and with many, one after the other in the same process, so that each twin is a copy
 * of a twin that came through a fault.
 *
 * After each the node runs on unharmed, or its twin does, or its end is told; the next checkpoint
 * and the next swap work; nobody is left behind, stopped, or changed.
 *
 * FAULTS_ALL=1: everything at every path, else a choice by VICTIM_SEED. An argument is a pattern
 * of test names. FAULTS_TELL=1 lists the points that were not taken.
 */
#include "tests/unit/test_points_check.h"

#define GENERATIONS 2
#define LISTING_RUNS 6

struct scenario {
	const char *name;
	const char *victim;
	bool (*prepare)(void);
	int (*perform)(void);
	bool swaps;
	bool churns; /* its threads come and go: no two pictures are alike */
};

static struct victim_run run;
static struct picture before, now;
static unsigned fds_before, runs, happenings, cold_starts, losses;
static uint32_t random_state;
static char doing[2048];
static char lost[TWIN_REASON_MAX]; /* what the swaps since the fault said of it */

#define FAIL(...) run_fail(&run, __VA_ARGS__)

/* --- what is done --------------------------------------------------------------------------- */
static bool nothing(void)
{
	return true;
}

static bool strike(void)
{
	(void)twin_kill(run.e, SIGSEGV);
	return run_await_end(&run);
}

static bool slay(void)
{
	(void)twin_kill(run.e, SIGKILL);
	return run_await_end(&run);
}

static bool ask_to_exit(void)
{
	atomic_store(&run.shared->command, VICTIM_EXIT_BY_THREAD);
	return run_await_end(&run);
}

static int checkpoint(void)
{
	struct twin_checkpoint cp;
	return twin_checkpoint(run.e, true, &cp);
}

static int swap(void)
{
	struct twin_swap sw;
	int r;

	atomic_fetch_add(&run.shared->swaps, 1);
	r = twin_swap(run.e, 0, &sw);

	run.end = (struct twin_event){0};
	if (r == 0 && sw.lost[0])
		snprintf(lost, sizeof(lost), "%s", sw.lost);
	if (r == 0 && (sw.new_pid != run.pid || twin_active_pid(run.e) != run.pid))
		FAIL("swapped to pid %d", sw.new_pid);
	return r;
}

static const struct scenario scenarios[] = {
	{"a checkpoint", "one_thread", nothing, checkpoint, .swaps = false},
	{"a checkpoint", "mutex_kinds", nothing, checkpoint, .swaps = false},
	{"a checkpoint", "thread_churn", nothing, checkpoint, .swaps = false, .churns = true},
	{"a swap on request", "one_thread", nothing, swap, .swaps = true},
	{"a swap on request", "mutex_kinds", nothing, swap, .swaps = true},
	{"a swap after a fatal signal", "one_thread", strike, swap, .swaps = true},
	{"a swap after SIGKILL", "mutex_kinds", slay, swap, .swaps = true},
	{"a swap after an exit", "one_thread", ask_to_exit, swap, .swaps = true},
	{"a swap on request", "user_nobody", nothing, swap, .swaps = true},
	{"a checkpoint", "seccomp", nothing, checkpoint, .swaps = false},
	{"a swap on request", "seccomp", nothing, swap, .swaps = true},
	{"a checkpoint", "files", nothing, checkpoint, .swaps = false, .churns = true},
	{"a checkpoint", "process_timers", nothing, checkpoint, .swaps = false, .churns = true},
	{"a swap on request", "process_timers", nothing, swap, .swaps = true, .churns = true},
	{"a checkpoint", "locked_memory", nothing, checkpoint, .swaps = false, .churns = true},
	{"a swap on request", "file_locks", nothing, swap, .swaps = true, .churns = true},
	{"a checkpoint", "session", nothing, checkpoint, .swaps = false, .churns = true},
	{"a swap on request", "session", nothing, swap, .swaps = true, .churns = true},
};

/* --- afterwards ----------------------------------------------------------------------------- */
static void on_alarm(int sig)
{
	static const char text[] = "\nhangs: ";
	void *callers[32];

	(void)sig;
	(void)!write(2, text, sizeof(text) - 1);
	(void)!write(2, doing, strlen(doing));
	(void)!write(2, "\n", 1);
	int n = backtrace(callers, 32);
	for (int i = 2; i < n; i++) {
		const char *name = caller_name(callers[i]);
		(void)!write(2, name, strlen(name));
		(void)!write(2, "\n", 1);
	}
	(void)!system("ps -eLo pid,tid,ppid,cls,rtprio,pri,stat,psr,wchan:20,comm");
	kill_children();
	_exit(1);
}

/* The node makes progress, or its end came. */
static bool await_life_or_end(void)
{
	uint64_t until = atomic_load(&run.shared->progress) + 1;

	for (nsec_t limit = now_nsec() + VICTIM_PATIENCE; now_nsec() < limit;) {
		run_take_events(&run);
		if (run.end.type != TWIN_EVENT_NONE || atomic_load(&run.shared->progress) >= until)
			return true;
		wait_a_little();
	}
	return FAIL("it neither runs nor ends");
}

static bool begin_anew(const char *name);

/* Whatever state the fault has left: a running node again, by a twin where it is gone. */
static bool come_back(const struct scenario *s, bool may_be_lost)
{
	for (unsigned tries = 0; tries < 20; tries++) {
		if (twin_active_pid(run.e) && run.end.type == TWIN_EVENT_NONE) {
			if (!await_life_or_end())
				return false;
			if (run.end.type == TWIN_EVENT_NONE)
				return true;
		}
		if (twin_count(run.e) == 0)
			break;
		if (swap() < 0 && !twin_reason(run.e)[0])
			return FAIL("a swap failed without a reason");
	}
	if (!may_be_lost)
		return FAIL("no twin came back: %s", twin_reason(run.e));
	cold_starts++;
	run_forget(&run);
	run_take_away(&run);
	return !run.failure[0] && begin_anew(s->victim);
}

static bool looks_as_before(const struct scenario *s)
{
	char difference[700];
	pid_t pid;

	if (s->churns)
		return true;
	pid = thread_with_exitkill(run.pid);
	if (pid)
		return FAIL("thread %d would die with its tracer", pid);
	for (nsec_t limit = now_nsec() + VICTIM_PATIENCE; now_nsec() < limit;) {
		run_take_events(&run);
		picture_take(&now, run.pid);
		if (now.len == before.len && memcmp(now.text, before.text, now.len) == 0)
			return true;
		wait_a_little();
	}
	picture_difference(&before, &now, difference, sizeof(difference));
	return FAIL("it is changed: %s", difference);
}

static bool nobody_is_left(const struct scenario *s)
{
	pid_t stray = 0;

	for (nsec_t limit = now_nsec() + VICTIM_PATIENCE; now_nsec() < limit;) {
		run_take_events(&run);
		stray = find_stray(run.e);
		if (!stray && (s->churns || count_own_fds() == fds_before))
			return true;
		wait_a_little();
	}
	if (stray)
		return FAIL("process %d is left behind", stray);
	return FAIL("%u descriptors, not %u", count_own_fds(), fds_before);
}

static bool fill_generations(void)
{
	for (unsigned i = 0; i < GENERATIONS; i++) {
		struct twin_checkpoint cp;
		if (!run_checkpoint(&run, &cp))
			return false;
	}
	return true;
}

static bool begin_anew(const char *name)
{
	if (!run_begin(&run, name, GENERATIONS, true))
		return false;
	/* What it does once when it starts is done, and its descriptors are known. */
	if (!run_progress(&run, 3) || !fill_generations() || swap() < 0 || !run_progress(&run, 3) ||
		!fill_generations() || !fill_generations() || !run_progress(&run, 3) ||
		!fill_generations())
		return FAIL("at the start: %s", twin_reason(run.e));
	hook.n_options = 0;
	picture_take(&before, run.pid);
	fds_before = count_own_fds();
	return true;
}

/* The node is well, and what follows works as if nothing had happened. */
static bool proves_well(const struct scenario *s, bool may_lose)
{
	if (lost[0]) {
		/* It runs without what was named; the next is to have all of it again. */
		losses++;
		run_forget(&run);
		run_take_away(&run);
		return (may_lose || FAIL("it lost %s", lost)) && begin_anew(s->victim);
	}
	if (atomic_load(&run.shared->failed))
		return FAIL("%s", run.shared->message);
	if (fill_generations() && run.e->copy_unknown)
		return FAIL("it still takes children of ours for a copy");
	if (!fill_generations() || !looks_as_before(s))
		return false;
	hook.n_options = 0;
	if (swap() < 0)
		return FAIL("the next swap: %s", twin_reason(run.e));
	return run_progress(&run, 1) && fill_generations() && looks_as_before(s) &&
	       nobody_is_left(s);
}

static bool keeps_its_word(const struct scenario *s, int r, unsigned twins, enum act act)
{
	bool refused = act == ACT_REFUSE || act == ACT_EXHAUST;

	if (r < 0 && !twin_reason(run.e)[0])
		return FAIL("it failed (%d) without a reason", r);
	if (r < 0 && s->swaps && twin_active_pid(run.e))
		return FAIL(
			"a swap failed (%d, %s), and there is an active", r, twin_reason(run.e));
	if (r < 0 && s->swaps && twin_count(run.e) >= twins)
		return FAIL("a swap failed, and its twin was not used up");
	run_take_events(&run);
	if (refused && !s->swaps && (run.end.type != TWIN_EVENT_NONE || !twin_active_pid(run.e))) {
		char how[512];
		describe_end(&run, how, sizeof(how));
		return FAIL("the node ended by a checkpoint that was refused something: %s", how);
	}
	if (refused && !s->swaps && r < 0 && twin_count(run.e) < twins)
		return FAIL("an earlier twin is gone: %u of %u", twin_count(run.e), twins);
	return true;
}

/* Signals that were sent do not get lost. */
static bool signal_arrives(const struct scenario *s, enum act act)
{
	if (s->swaps)
		return true; /* it was sent to the old process, or to the new one, or to nobody */
	if (act == ACT_STRIKE)
		return run_await_end(&run);
	return run_until(&run, run.n_stops > 0, "the stop");
}

__attribute__((noinline)) static int perform(const struct scenario *s)
{
	int r;

	hook.top = __builtin_return_address(0);
	r = s->perform();
	hook.mode = HOOK_PASSES;
	return r;
}

static bool one_run(const struct scenario *s, struct path *p, unsigned which, enum act act)
{
	unsigned twins = twin_count(run.e);
	bool refused = act == ACT_REFUSE || act == ACT_EXHAUST;
	char where[1024] = "listing";
	int r;

	if (p)
		describe_path(p, where, sizeof(where));
	snprintf(doing, sizeof(doing), "%s of %s, %s at %s, time %u", s->name, s->victim,
		p ? act_names[act] : "nothing", where, which);
	if (env_number("FAULTS_TELL", 0) > 1)
		print_message("%s\n", doing);
	alarm(60);
	runs++;
	run.n_stops = 0;
	lost[0] = '\0';
	if (!s->prepare())
		return false;
	hook.at = p;
	hook.which = which;
	hook.act = act;
	hook_start(p ? HOOK_STRIKES : HOOK_LISTS, run.pid);
	r = perform(s);
	happenings += hook.happened;
	if (!p || !hook.happened)
		refused = false;
	if (!keeps_its_word(s, r, twins, hook.happened ? act : ACTS))
		return false;
	if (hook.happened && (act == ACT_STRIKE || act == ACT_STOP_NODE) && !signal_arrives(s, act))
		return false;
	if (hook.happened && act == ACT_STOP_NODE)
		(void)kill(run.pid, SIGCONT);
	return come_back(s, hook.happened && !refused && s->swaps) &&
	       proves_well(s, hook.happened && s->swaps);
}

/* --- which acts make sense where ------------------------------------------------------------ */
/*
 * What undoes or lets go cannot be refused while its task lives: the kernel has no reason to. So
 * there only the task's end is tried.
 */
static const char *const undoing[] = {"inject_end", "rebuild_let_go", "engine_kill_helper",
	"drop_half_built", "thread_go_on", "partial_begin", "partial_stop", "partial_signal",
	"restart_mend_ignored"};

static bool can_be_refused(const struct path *p)
{
	const struct fault_point *f = p->point;

	if (f->kind == FAULT_KILL)
		return false;
	if (f->kind == FAULT_PTRACE)
		switch (p->number) {
		case PTRACE_CONT:
		case PTRACE_SYSCALL:
		case PTRACE_SINGLESTEP:
		case PTRACE_DETACH:
		case PTRACE_LISTEN:
		case PTRACE_INTERRUPT:
			return false;
		}
	if (f->kind == FAULT_PTRACE && strcmp(f->function, "copy") == 0)
		return false;
	for (unsigned i = 0; i < ELEMENTSOF(undoing); i++)
		if (path_passes(p, undoing[i]))
			return false;
	return true;
}

static bool makes_sense(const struct path *p, enum act act)
{
	switch (act) {
	case ACT_REFUSE:
		return can_be_refused(p);
	case ACT_EXHAUST:
		return p->point->kind == FAULT_OPEN || p->point->kind == FAULT_ALLOCATE;
	case ACT_KILL_TASK:
		return p->about_other;
	default:
		return true;
	}
}

static bool chosen(const struct scenario *s, enum act act)
{
	bool many = strcmp(s->victim, "mutex_kinds") == 0 || s->churns;
	unsigned one_in = (act == ACT_REFUSE ? 1 : 4) * (many ? 4 : 1);

	return victim_random(&random_state) % one_in == 0;
}

static bool try_path(const struct scenario *s, struct path *p, bool all)
{
	for (enum act act = 0; act < ACTS; act++) {
		if (!makes_sense(p, act))
			continue;
		/* Of refusals none is left out, of the rest one in four; with many threads, where
		 * each run takes its time, fewer. */
		if (!all && !chosen(s, act))
			continue;
		if (!one_run(s, p, 1, act))
			return false;
		if (all && p->most > 1 && !one_run(s, p, p->most, act))
			return false;
	}
	return true;
}

static void run_scenario(void **state)
{
	const struct scenario *s = *state;
	bool all = env_number("FAULTS_ALL", 0) != 0, good = true;
	unsigned runs_then = runs, happened_then = happenings, cold_then = cold_starts,
		 losses_then = losses;

	hook.n_paths = 0;
	fault_hook = on_fault_point;
	good = begin_anew(s->victim);
	for (unsigned i = 0; good && i < LISTING_RUNS; i++)
		good = one_run(s, NULL, 0, ACTS);
	for (unsigned i = 0; good && i < hook.n_paths; i++)
		good = try_path(s, &hook.paths[i], all);
	alarm(0);
	fault_hook = NULL;
	if (!good)
		print_error("%s\n", doing);
	print_message("             %u paths, %u runs, %u faults, %u lossy, %u cold starts\n",
		hook.n_paths, runs - runs_then, happenings - happened_then, losses - losses_then,
		cold_starts - cold_then);
	run_end(&run);
}

int main(int argc, char **argv)
{
	static struct CMUnitTest tests[ELEMENTSOF(scenarios)];
	static char names[ELEMENTSOF(scenarios)][64];
	unsigned taken = 0, n = fault_count();
	int failed;

	run_seed = random_state = env_number("VICTIM_SEED", (unsigned)now_nsec());
	print_message("VICTIM_SEED=%u\n", run_seed);
	read_own_symbols();
	signal(SIGALRM, on_alarm);
	for (unsigned i = 0; i < ELEMENTSOF(scenarios); i++) {
		snprintf(names[i], sizeof(names[i]), "%s of %s", scenarios[i].name,
			scenarios[i].victim);
		tests[i] = (struct CMUnitTest){.name = names[i],
			.test_func = run_scenario,
			.initial_state = (void *)&scenarios[i]};
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	failed = _cmocka_run_group_tests("fault points", tests, ELEMENTSOF(tests), NULL, NULL);
	for (unsigned i = 0; i < n; i++) {
		const struct fault_point *p = fault_get(i);
		taken += p->taken > 0;
		if (!p->taken && env_number("FAULTS_TELL", 0))
			print_message("not taken (%u hits): %s:%d %s(%s) in %s()\n", p->hits,
				p->file, p->line, p->call, p->what, p->function);
	}
	print_message("%u fault points, %u taken\n", n, taken);
	return failed;
}
