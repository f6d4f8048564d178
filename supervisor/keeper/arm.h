/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The checkpoint schedule of one node, and its figures.
 *
 * Every Interval= a round begins: a checkpoint is tried at a quiet moment, again each 2 ms for
 * as long as QuietWindow= lasts (twice at least), and then taken as it comes. A round that fails
 * is counted as skipped, with the reason, and the next one is an interval later, or a second where
 * that is sooner (30 s where the program cannot be armed at all). The guard says when the node may
 * be checkpointed: nothing is ever tried between arm_stop() and arm_start(). Each round ends with a
 * twin report to the supervisor.
 */
#include <ev.h>
#include <stdbool.h>

#include "supervisor/keeper/protocol.h"
#include "supervisor/twin/twin.h"

struct keeper;

#define ARM_FIRST (100 * USEC_PER_MSEC) /* after the node runs */
#define ARM_AGAIN (50 * USEC_PER_MSEC)  /* after a swap: its threads have settled again */
#define ARM_RETRY (2 * USEC_PER_MSEC)
#define ARM_LOOKS 2u             /* at a node before it is copied at an unquiet moment */
#define ARM_FORCED 8u            /* tries at a node that is never at a fit moment */
#define ARM_SKIPPED USEC_PER_SEC /* after a skip, where Interval= is longer */
#define ARM_BACK_OFF (30 * USEC_PER_SEC)
#define ARM_FIGURES 64u

/* Freeze times: the last, the greatest, and the median of the last ARM_FIGURES. */
struct arm_figures {
	usec_t ring[ARM_FIGURES];
	unsigned n; /* all ever added */
	usec_t last, max;
};
void arm_figures_add(struct arm_figures *f, usec_t freeze);
usec_t arm_figures_median(const struct arm_figures *f);

struct arm {
	struct keeper *keeper;
	ev_timer timer;
	bool on;
	bool searching;    /* in a round */
	bool stopped;      /* by SIGSTOP */
	bool refused;      /* -ENOTSUP again, or no permission: told once, tried seldom or never */
	unsigned refusals; /* -ENOTSUP in a row */
	unsigned looks;    /* of this round that found no quiet moment */
	unsigned forced;   /* tries of it at an unquiet moment that came to nothing */
	usec_t window_end, round_began;
	uint64_t serial; /* of a request that waits for this round */
	struct arm_figures figures;
	usec_t frozen; /* all freezes of this keeper together */
	unsigned n_checkpoints, n_skipped, n_threads;
	usec_t checkpoint_at;
	uint64_t memory_private;
	unsigned memory_age; /* checkpoints since it was read */
	usec_t memory_at;
	bool excluded_told; /* what its twins are made without */
	char skip_reason[KEEPER_TEXT_MAX];
};

void arm_init(struct arm *a, struct keeper *k);
/* Rounds from now on, the first in delay (at most an interval). */
void arm_start(struct arm *a, usec_t delay);
void arm_stop(struct arm *a);
/* The program is another one now: what was said of the old one no longer holds. */
void arm_forget(struct arm *a);
/* Never to be armed, for this reason: supervised without a twin. */
void arm_refuse(struct arm *a, const char *reason);
/* A round now, on request; the reply is sent when it is over. */
void arm_request(struct arm *a, uint64_t serial);
void arm_report(struct arm *a);
