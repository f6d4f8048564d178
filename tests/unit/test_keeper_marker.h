/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The marker (tests/integration/marker.c) under a real keeper, and what its probes say. */
#include "tests/unit/test_keeper_fixture.h"

/* The stages of its probe that a test waits for, as index * 100 + stage. */
static inline bool is_probe(const struct keeper_msg *m, int what)
{
	return m->type == KEEPER_MSG_PROBE && (int)m->probe.index == what / 100 &&
	       (int)m->probe.stage == what % 100;
}
#define PROBE(index, stage) ((index)*100 + (int)(stage))

/* A unit around the marker; probes are its last sections. */
static inline void start_marker(struct run *r, const char *steps, const char *more)
{
	char text[3000], path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", r->keeper);
	snprintf(text, sizeof(text),
		"[Service]\nExecStart=%s/tests/integration/marker %s\nTimeoutStopSec=20s\n%s",
		dirname(path), steps, more);
	start(r, text);
}

/* The twin is made by fault(), and none after it: it would have the fault too. */
#define TWIN "[Twin]\nInterval=1h\n"

static inline void fault(struct run *r)
{
	/* a twin that is surely of before the fault */
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	request(r, KEEPER_REQ_CHECKPOINT, 77, 0);
	WAIT_FOR(r, is_reply, 77);
	assert_int_equal(r->last.reply.error, 0);
	request(r, KEEPER_REQ_KILL, 0, SIGUSR1);
}

static inline void expect_swap(struct run *r, enum node_result cause)
{
	WAIT_FOR(r, is_failover, 0);
	assert_string_equal(
		node_result_to_string(r->last.failover.cause), node_result_to_string(cause));
	assert_true(r->last.failover.ok && !r->last.failover.cold);
	assert_int_equal(r->last.failover.old_pid, r->last.failover.new_pid);
}

static inline void end_run(struct run *r)
{
	request(r, KEEPER_REQ_STOP, 0, 0);
	WAIT_FOR(r, is_state, NODE_STOP_SIGTERM);
	expect_last(r, NODE_DEAD, RESULT_SUCCESS, SIGTERM);
}

static inline void expect_in_log(struct run *r, const char *what)
{
	usec_t deadline = now_usec() + PATIENCE;
	char text[60000];

	do {
		int fd = open(r->log, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[MAX2(n, 0)] = '\0';
		if (strstr(text, what))
			return;
		usleep(10000);
	} while (now_usec() < deadline);
	fail_msg("the log never said \"%s\": %s", what, text);
}
