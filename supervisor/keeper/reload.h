/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * ExecReload=: a command beside the running node, one at a time, in a session of its own, with
 * $MAINPID in its environment and put into its arguments. It has TimeoutStartSec=, then it is
 * killed. A node that goes down takes it along. The answer to a request is sent at its end.
 */
#include <ev.h>

#include "supervisor/keeper/spawn.h"

struct keeper;
struct reload {
	struct spawned spawned; /* .pid 0: none under way */
	uint64_t serial;
	ev_timer timer;
};

void reload_init(struct keeper *k);
void reload_request(struct keeper *k, uint64_t serial);
/* Its end came; false: it was another's. */
bool reload_ended(struct keeper *k, pid_t pid, int status);
void reload_cancel(struct keeper *k);
