/* SPDX-License-Identifier: Apache-2.0 */
/* Each kind of probe in the real keeper: the fault, the verdict, the twin. */
#include <sys/sysinfo.h>

#include "tests/unit/test_keeper_marker.h"

static void test_alive_too_few(void **state)
{
	struct run *r = *state;

	start_marker(r, "mark:tick sleep:20 --fault sleep:20",
		TWIN "[Probe tick]\nKind=alive\nCycle=300ms\n");
	fault(r);
	expect_swap(r, RESULT_HEARTBEAT);
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_FAILED));
	assert_string_equal(
		r->last.probe.detail, "mark \"tick\" came 0 times in a cycle of 300 ms (1 wanted)");
	/* the twin does not know of the signal and goes on */
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_ALIVE));
	end_run(r);
}

static void test_alive_too_many(void **state)
{
	struct run *r = *state;

	start_marker(r, "mark:tick sleep:50 --fault mark:tick sleep:1",
		TWIN "[Probe x]\nKind=alive\nMark=tick\nCycle=500ms\nMaxMarks=60\n");
	fault(r);
	expect_swap(r, RESULT_HEARTBEAT);
	end_run(r);
}

static void test_alive_tolerates(void **state)
{
	struct run *r = *state;

	start_marker(r, "mark:tick sleep:20 --fault sleep:20",
		TWIN "[Probe tick]\nKind=alive\nCycle=200ms\nTolerate=2\n");
	fault(r);
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_SUSPECT));
	expect_swap(r, RESULT_HEARTBEAT);
	end_run(r);
}

static void test_deadline(void **state)
{
	struct run *r = *state;

	start_marker(r, "mark:a sleep:20 mark:b --fault mark:a sleep:5000 mark:b",
		TWIN "[Probe d]\nKind=deadline\nFrom=a\nTo=b\nMaxTime=300ms\n");
	fault(r);
	expect_swap(r, RESULT_DEADLINE);
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_FAILED));
	assert_non_null(strstr(r->last.probe.detail, "\"b\" had not come"));
	end_run(r);
}

static void test_deadline_too_early(void **state)
{
	struct run *r = *state;

	start_marker(r, "mark:a sleep:50 mark:b sleep:20 --fault mark:a mark:b sleep:50",
		TWIN "[Probe d]\nKind=deadline\nFrom=a\nTo=b\nMinTime=20ms\nMaxTime=30s\n");
	fault(r);
	expect_swap(r, RESULT_DEADLINE);
	end_run(r);
}

static void test_logical(void **state)
{
	struct run *r = *state;

	start_marker(r,
		"mark:a sleep:10 mark:b sleep:10 mark:c --fault mark:a sleep:10 mark:c sleep:20",
		TWIN "[Probe l]\nKind=logical\nOrder=a>b>c>a\n");
	fault(r);
	expect_swap(r, RESULT_LOGICAL);
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_FAILED));
	assert_non_null(strstr(r->last.probe.detail, " came after "));
	end_run(r);
}

/* What is in the twins too is not for them. */
static void test_action_restart(void **state)
{
	struct run *r = *state;

	start_marker(r, "mark:a sleep:10 mark:b --fault mark:b sleep:10",
		"Restart=on-failure\nRestartSec=0\n" TWIN
		"[Probe l]\nKind=logical\nOrder=a>b>a\nAction=restart\n");
	fault(r);
	WAIT_FOR(r, is_failover, 0);
	assert_int_equal(r->last.failover.cause, RESULT_LOGICAL);
	assert_true(r->last.failover.cold && r->last.failover.ok);
	end_run(r);
}

static void test_action_report(void **state)
{
	struct run *r = *state;
	struct keeper_msg m;
	unsigned n = 0;

	start_marker(r, "mark:a sleep:10 mark:b --fault mark:b sleep:10",
		TWIN "[Probe l]\nKind=logical\nOrder=a>b>a\nAction=report\n"
		     "[Probe t]\nKind=alive\nMark=b\nCycle=100ms\n");
	fault(r);
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_FAILED));
	/* told once, and nothing is done */
	for (usec_t end = now_usec() + 500000; next_message(r, &m, end);)
		n += is_probe(&m, PROBE(1, STAGE_FAILED)) || is_failover(&m, 0);
	assert_int_equal(n, 0);
	end_run(r);
}

static void test_soft_stage(void **state)
{
	struct run *r = *state;

	start_marker(r, "watchdog sleep:20 --fault hang",
		"WatchdogSec=4s\nWatchdogSoftSec=300ms\n" TWIN);
	fault(r);
	WAIT_FOR(r, is_probe, PROBE(0, STAGE_SUSPECT));
	assert_non_null(strstr(r->last.probe.detail, "no WATCHDOG=1 for "));
	/* no twin is made of what is suspect */
	request(r, KEEPER_REQ_CHECKPOINT, 5, 0);
	WAIT_FOR(r, is_reply, 5);
	assert_int_equal(r->last.reply.error, -EBUSY);
	assert_string_equal(r->last.reply.text, "a probe suspects the node");
	expect_swap(r, RESULT_WATCHDOG);
	WAIT_FOR(r, is_probe, PROBE(0, STAGE_FAILED));
	/* symbols of the program and of libc */
	expect_in_log(r, "fall_into_deadlock+0x");
	expect_in_log(r, "main+0x");
	expect_in_log(r, "libc.so.6");
	end_run(r);
}

/* A suspect that falls otherwise: what takes its place is not suspect, and that is told. */
static void test_suspicion_ends_with_a_swap(void **state)
{
	struct run *r = *state;

	start_marker(r, "watchdog sleep:20 --fault hang",
		"WatchdogSec=60s\nWatchdogSoftSec=300ms\n" TWIN);
	fault(r);
	WAIT_FOR(r, is_probe, PROBE(0, STAGE_SUSPECT));
	request(r, KEEPER_REQ_KILL, 0, SIGSEGV);
	WAIT_FOR(r, is_probe, PROBE(0, STAGE_ALIVE));
	assert_string_equal(r->last.probe.detail, "judged anew");
	expect_swap(r, RESULT_SIGNAL);
	end_run(r);
}

/* Suspect and well by turns, ten times a second: told some times, then once a second or so. */
static void test_fluttering(void **state)
{
	struct run *r = *state;
	struct keeper_msg m;
	unsigned n = 0;

	start_marker(r, "watchdog sleep:20 --fault watchdog sleep:60",
		"WatchdogSec=60s\nWatchdogSoftSec=30ms\n" TWIN);
	fault(r);
	for (usec_t end = now_usec() + 4 * USEC_PER_SEC; next_message(r, &m, end);)
		n += is_probe(&m, PROBE(0, STAGE_ALIVE));
	/* 50 turns at least on any machine that is not at its end, 14 words for them. */
	assert_in_range(n, 1, 16);
	end_run(r);
}

/* Late, but not hung: it is told, and that is all. The back trace has stopped it for a moment. */
static void test_soft_stage_passes(void **state)
{
	struct run *r = *state;

	start_marker(r, "watchdog sleep:20 --fault sleep:700 watchdog",
		"WatchdogSec=10s\nWatchdogSoftSec=300ms\n[Twin]\nInterval=1h\n");
	fault(r);
	WAIT_FOR(r, is_probe, PROBE(0, STAGE_SUSPECT));
	WAIT_FOR(r, is_probe, PROBE(0, STAGE_ALIVE));
	WAIT_FOR(r, is_probe, PROBE(0, STAGE_SUSPECT));
	end_run(r);
}

static void test_back_trace_without_tracing(void **state)
{
	struct run *r = *state;

	start_marker(r, "say:READY=1 watchdog sleep:20 --fault hang",
		"Type=notify\nWatchdogSec=5s\nWatchdogSoftSec=300ms\n[Twin]\nEnabled=no\n");
	WAIT_FOR(r, is_state, NODE_RUNNING);
	request(r, KEEPER_REQ_KILL, 0, SIGUSR1);
	WAIT_FOR(r, is_probe, PROBE(0, STAGE_SUSPECT));
	expect_in_log(r, "fall_into_deadlock+0x");
	WAIT_FOR(r, is_state, NODE_STOP_SIGTERM);
	expect_last(r, NODE_FAILED, RESULT_WATCHDOG, SIGABRT);
}

static void test_extended(void **state)
{
	struct run *r = *state;
	struct keeper_msg m;
	bool failed = false;

	start_marker(r, "watchdog sleep:20 --fault say:EXTEND_TIMEOUT_USEC=60000000 sleep:60000",
		"WatchdogSec=200ms\n[Twin]\nInterval=1h\n");
	fault(r);
	for (usec_t end = now_usec() + USEC_PER_SEC; next_message(r, &m, end);)
		failed |= is_failover(&m, 0);
	assert_false(failed);
	end_run(r);
}

/* Stopped by a user is not hung; the watchdog goes on when the node does. */
static void test_stopped_is_no_hang(void **state)
{
	struct run *r = *state;
	struct keeper_msg m;
	bool failed = false;

	start_marker(r, "watchdog sleep:20 --fault hang", "WatchdogSec=300ms\n" TWIN);
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	request(r, KEEPER_REQ_KILL, 0, SIGSTOP);
	for (usec_t end = now_usec() + USEC_PER_SEC; next_message(r, &m, end);)
		failed |= is_failover(&m, 0);
	assert_false(failed);
	request(r, KEEPER_REQ_KILL, 0, SIGCONT);
	fault(r);
	expect_swap(r, RESULT_WATCHDOG);
	end_run(r);
}

/* --- overload ------------------------------------------------------------------------------- */

static struct load {
	pid_t pids[200];
	size_t n;
} load;

/* Ten loops for each processor. */
static void load_begin(void)
{
	struct load *l = &load;

	for (l->n = 0; l->n < MIN2(10u * (unsigned)get_nprocs(), ELEMENTSOF(l->pids)); l->n++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			setsid(); /* the kernel shares out among sessions first */
			for (volatile int i = 0;; i++)
				;
		}
		l->pids[l->n] = pid;
	}
}

static void load_end(void)
{
	struct load *l = &load;

	while (l->n > 0) {
		kill(l->pids[--l->n], SIGKILL);
		waitpid(l->pids[l->n], NULL, 0);
	}
}

static int lighten(void **state)
{
	load_end();
	return teardown(state);
}

/*
 * It computes for 60 ms between two marks, and has 200 ms: plenty, until ten others want each
 * processor. Late, it is excused and not failed over; and when it really hangs, in the same
 * overload, it is caught.
 */
static void check_overload(struct run *r, const char *fault_steps)
{
	char steps[200];
	struct keeper_msg m;
	unsigned starved = 0, failed = 0;

	snprintf(steps, sizeof(steps), "watchdog mark:m burn:60 sleep:5 --fault %s", fault_steps);
	start_marker(r, steps,
		"Restart=on-failure\nWatchdogSec=200ms\n[Twin]\nInterval=300ms\nGenerations=8\n"
		"[Probe m]\nKind=alive\nCycle=250ms\n"
		"[Probe d]\nKind=deadline\nFrom=m\nTo=m\nMaxTime=200ms\n");
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	load_begin();
	for (usec_t end = now_usec() + 6 * USEC_PER_SEC; next_message(r, &m, end);) {
		failed += is_failover(&m, 0);
		starved += m.type == KEEPER_MSG_PROBE && m.probe.stage == STAGE_STARVED;
	}
	assert_int_equal(failed, 0);
	assert_true(starved > 0);
	request(r, KEEPER_REQ_KILL, 0, SIGUSR1);
	WAIT_FOR(r, is_failover, 0);
	assert_true(r->last.failover.ok);
	/* It may be on a cold way by now; the end of the keeper is its end as well. */
	load_end();
}

static void test_overload_and_deadlock(void **state)
{
	check_overload(*state, "hang");
}

static void test_overload_and_loop(void **state)
{
	check_overload(*state, "spin");
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, lighten)
	const struct CMUnitTest tests[] = {
		T(test_alive_too_few),
		T(test_alive_too_many),
		T(test_alive_tolerates),
		T(test_deadline),
		T(test_deadline_too_early),
		T(test_logical),
		T(test_action_restart),
		T(test_action_report),
		T(test_soft_stage),
		T(test_suspicion_ends_with_a_swap),
		T(test_fluttering),
		T(test_soft_stage_passes),
		T(test_back_trace_without_tracing),
		T(test_extended),
		T(test_stopped_is_no_hang),
		T(test_overload_and_deadlock),
		T(test_overload_and_loop),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
