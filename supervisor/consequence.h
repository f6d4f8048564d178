/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the fate of one node means for others.
 *
 * Down for good: OnFailure= and FailsafeUnit= are started, what is bound to it (BindsTo=) stops.
 * Up again: its FailsafeUnit= is stopped, if this is why it runs.
 * Failed over, by a twin or cold: each dependent, that is whoever requires it or is bound to it
 * and whomever its Notify= names, has the action of its own OnDependencyFailover= done to it,
 * in the order of After=.
 *
 * All of it is only queued or sent: nothing here waits. What follows from a state is looked for
 * before the queue runs, never while it does, so a node that only passes through "failed" on its
 * way to a restart has no consequences. Units are started because of others at most
 * CONSEQUENCES_MAX times in CONSEQUENCES_INTERVAL: two that start each other would never end. While
 * the system stops, nothing follows from anything.
 */
#include "supervisor/manager.h"

#define CONSEQUENCES_MAX 5u
#define CONSEQUENCES_INTERVAL (10 * USEC_PER_SEC)

void consequence_run(struct manager *m);
void consequence_of_failover(struct node *n, const struct keeper_failover_report *r);
