/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The decisions about an end of a node, as pure functions: what result an end is, whether it was
 * on purpose, whether Restart= starts the node again, whether the start limit allows it, and
 * how far down the ladder of twins to go. No state but what is handed in, no clock, no I/O.
 * The tables are systemd.service(5)'s.
 */
#include <stdbool.h>

#include "config/unit.h"
#include "supervisor/base/wait_status.h"
#include "supervisor/keeper/protocol.h"

/* SIGHUP, SIGINT, SIGTERM, SIGPIPE: who dies of these ended on purpose. */
bool policy_is_clean_signal(int sig);
/* RESULT_SUCCESS for exit code 0, clean signals and what SuccessExitStatus= adds (NULL: nothing),
 * else exit-code, signal or core-dump. oom: a SIGKILL was the OOM killer's. */
enum node_result policy_result_of_end(
	const struct exit_status_set *more, const struct wait_event *e, bool oom);
enum node_result policy_result_of_signal(const struct exit_status_set *more, int sig, bool core);
/* RestartSec=, growing in RestartSteps= equal ratios to RestartMaxDelaySec=; n: restarts in a row
 * before this one. */
usec_t policy_restart_delay(const struct unit *u, unsigned n);
bool policy_wants_restart(enum unit_restart restart, enum node_result result);

/* StartLimitIntervalSec=, StartLimitBurst=: up to burst starts an interval. */
struct start_limit {
	usec_t begin; /* of the current interval */
	unsigned n;   /* starts in it */
};
/* Counts this start, and says whether it may be made. interval or burst 0: no limit. */
bool start_limit_allows(struct start_limit *l, usec_t interval, unsigned burst, usec_t now);

/*
 * The ladder: a twin that fails again soon after it took over carries the fault in it, so each
 * quick failure in a row goes one generation further back; after LADDER_TRIES the node is
 * restarted cold.
 */
#define LADDER_TRIES 3u
/* A fault on the path that has faulted before needs no haste to be the same fault. */
#define LADDER_SAME_FAULT 10u
struct ladder {
	usec_t last_swap; /* 0: none since the last cold start */
	unsigned quick;   /* failures in a row, each soon after a swap */
};
/* A failure at now: the generation to try, of count that there are; -1: cold. within: how soon
 * after a swap a failure is the same one (StableSec=, and what it takes to see such a failure:
 * for a hang the watchdog's period). */
int ladder_failure(struct ladder *l, unsigned count, usec_t within, usec_t now);
void ladder_swapped(struct ladder *l, usec_t now);
