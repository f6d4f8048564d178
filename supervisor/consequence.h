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
 * All of it is only queued or sent: nothing here waits, and nothing calls back at once. While the
 * system stops, nothing follows from anything.
 */
#include "supervisor/manager.h"

void consequence_of_state(struct node *n);
void consequence_of_failover(struct node *n, const struct keeper_failover_report *r);
