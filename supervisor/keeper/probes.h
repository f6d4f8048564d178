/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The failure detectors of one node: the watchdog and its [Probe NAME] sections. Started when the
 * node runs, started again after each swap, fed with its notifications and with what twinit-prober
 * saw, asked for their verdicts, and acted upon.
 *
 * The keeper's loop does nothing here but arithmetic, and two short looks at the node where it has
 * been silent for half of its time, and for all of it (probes/starvation.h). What is known to be
 * slow is not done here: a back trace and every look from outside are processes of their own.
 *
 * A verdict that could be starvation is put off once and counted. A suspicion is told, and no twin
 * is made while it lasts. A node stopped by SIGSTOP is not judged.
 */
#include <ev.h>
#include <stdbool.h>

#include "probes/alive.h"
#include "probes/deadline.h"
#include "probes/logical.h"
#include "probes/notify.h"
#include "probes/polled.h"
#include "probes/prober/prober.h"
#include "probes/starvation.h"
#include "probes/watchdog.h"
#include "supervisor/keeper/protocol.h"

struct keeper;

struct hosted_probe {
	const struct probe_settings *settings; /* NULL: the watchdog */
	union {
		struct probe probe; /* the first member of each */
		struct watchdog watchdog;
		struct alive alive;
		struct deadline deadline;
		struct logical logical;
		struct polled polled;
	};
	bool begun;                  /* StartDelay= is over */
	enum probe_stage told;       /* what the supervisor knows */
	struct starvation_look base; /* from the middle of the silence */
	bool excused;                /* in this silence, once */
	usec_t excused_good;    /* .last_good then: it is another silence when that has moved */
	unsigned starved_looks; /* in a row */
	unsigned traces_left;   /* tries at a back trace of this suspicion */
	usec_t doubted_good;    /* .last_good when it was last suspect or failed */
	usec_t words_until;     /* told so much that it would be even by then */
	usec_t failed_at;       /* the last time; 0: never */
	char why[KEEPER_TEXT_MAX];
};
struct probe_host {
	struct hosted_probe *list; /* [0] is the watchdog */
	size_t n;
	bool on;
	usec_t started;
	ev_timer timer;
	struct starvation_watch starvation;
	struct starvation_look look; /* of this round of judging; .at 0: none yet */
	unsigned n_starved;
	usec_t planned; /* when to judge again; 0: not */
	usec_t late;    /* by how much this round of judging is after it */
	bool news;      /* something came that may bring the next moment nearer */
};

_must_check_ int probes_init(struct keeper *k);
void probes_done(struct keeper *k);
/* A new run of the node: nothing that it said in the last one holds. */
void probes_reset(struct keeper *k);
/* It runs since then. Judged in a turn of its own, never in the caller's. */
void probes_start(struct keeper *k, usec_t since);
void probes_stop(struct keeper *k);
void probes_event(struct keeper *k, const struct probe_event *e);
/* Ask them all, act, and be woken when the next answer may change. */
void probes_judge(struct keeper *k);
/* NULL, or the name of the probe that does not trust the node now. */
const char *probes_suspicion(const struct keeper *k);

/* What the prober saw; starved: bad, but the node or the prober was not let run. */
void probes_observed(struct keeper *k, unsigned index, const struct probe_event *e, bool starved);

/* prober.c */
struct prober_host {
	bool needed;
	bool wants_signs;    /* before each freeze */
	struct signs before; /* .at 0: not looked */
	usec_t freeze_begun;
	int fd; /* -1: it does not run */
	ev_io io;
	ev_timer again;
};
void prober_init(struct keeper *k);
void prober_done(struct keeper *k);
void prober_run(struct keeper *k); /* the node runs since probes.started */
void prober_pause(struct keeper *k);
/* Around whatever freezes the node, whether it comes to something or not. */
void prober_before_freeze(struct keeper *k);
void prober_after_freeze(struct keeper *k);
