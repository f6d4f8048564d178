/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Start the keeper of a node, as keeper/protocol.h says. Between fork and exec only
 * async-signal-safe calls are made; the keeper gets descriptors 0 to 2 and its two, default
 * signal actions, an empty mask and a session of its own (a Ctrl-C at the terminal, or a
 * SIGTERM to the whole group, is for the supervisor, which then stops the nodes in order). A keeper
 * that cannot be executed exits 127.
 */
#include "supervisor/node.h"

#define KEEPER_EXIT_EXEC 127

/* 0, the keeper's pid and our end of its socket, owned by the caller; or -errno, nothing left. */
_must_check_ int keeper_spawn(const struct node *n, pid_t *ret_pid, int *ret_control_fd);
