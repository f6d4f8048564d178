/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a keeper that died has left behind. Its twins die with their tracer, but its node, a
 * command of ExecStartPre= and all their children fall to us, and nobody watches them any more.
 * They are found by session: each node and each such command is started in one of its own.
 */
#include "supervisor/node.h"

/* A new report has come: remember the session of the process that it names. */
void orphan_note(struct node *n);
/* The keeper is gone and reaped: kill what is left. n->orphan_pid is what is still to be reaped. */
void orphan_take(struct node *n);
