/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The way down: all nodes in reverse order, each within its own deadline and all within one;
 * then SIGTERM and at last SIGKILL to whatever processes remain (as PID 1: in the pid namespace,
 * otherwise: our children, where all orphans of our nodes end up); then the loop is left. Each
 * phase ends as soon as nothing is left for it, and at its deadline in any case.
 */
#include "supervisor/manager.h"

#define SHUTDOWN_TIMEOUT_DEFAULT_USEC (120 * USEC_PER_SEC)

/* A second call hurries: it skips what is left of the nodes' own deadlines. */
void shutdown_begin(struct manager *m, const char *why);
/* Something ended: is the phase over? */
void shutdown_check(struct manager *m);
void shutdown_free(struct manager *m);
/* PID 1 of the machine, and not of some namespace: its end would be a kernel panic. */
bool is_real_init(void);
/* What a process does that has nothing left to do. Returns to exit(); the init of the real
 * system, whose exit is a kernel panic, goes on reaping instead and does not return. */
void shutdown_finish(struct manager *m);
