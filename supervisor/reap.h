/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The one place that waits for children. As PID 1 or subreaper all orphans are ours: whatever
 * ends is taken here, said what it was, and handed to the node that it belongs to; strangers are
 * reaped in silence. Nothing here blocks.
 */
#include "supervisor/manager.h"

void reap_start(struct manager *m);
void reap_stop(struct manager *m);
/* Take every end there is now. False: there is no child left at all. */
bool reap_drain(struct manager *m);
/* Whether pid is a child of ours, alive or not yet reaped: then, and only then, the number
 * cannot have passed to a stranger, and a signal to it hits what is meant. */
bool reap_is_child(pid_t pid);
