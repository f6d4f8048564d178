/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The child processes of an active that has to end for its twin to take over. They cannot be the
 * twin's children, and those in its session or group keep its pid in use as a number of theirs.
 *
 * Descendants are found while their parents live, by the lists of /proc, and members of the session
 * and group by their numbers, which fork hands on: so nobody escapes by forking. Of a node that was
 * killed the children of the last checkpoint are known; who was born since and has left session and
 * group is on its own.
 */
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"

struct twin_engine;
struct twin;
struct twin_swap;

/* In the kernel's ticks; 0: there is no such process. */
uint64_t children_started(pid_t pid);
/* While the active still stands, before anything is done to it: remember its descendants. */
void children_note(struct twin_engine *e);
/* By config.children. Refuse: -ECHILD where it had any. Kill: all of them, and waited for until
 * none is left or a second is over. Called when the active is gone. */
_must_check_ int children_settle(struct twin_engine *e, struct twin *w, struct twin_swap *ret);
