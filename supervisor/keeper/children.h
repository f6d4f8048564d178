/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * [Twin] GuardChildren=yes: child processes of the node that live long are guarded as well, each by
 * a process of its own (supervisor/child_guard/child_guard.h). After each checkpoint of the node
 * its children are looked at: who was there at the one before, and has no children itself, gets a
 * guard; at most CHILDREN_GUARDED of them, the others are named in the log.
 *
 * Not where the node is a subreaper: orphans of its children would come to it, twins among them.
 */
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"

struct keeper;
struct child_report;

#define CHILDREN_GUARDED 16u
#define CHILDREN_KNOWN 128u
#define CHILD_GUARD_TRIES 3u /* for one child, where its guard ends without a word */

enum child_state {
	CHILD_FREE, /* no child in this place */
	CHILD_SEEN,
	CHILD_GUARDED,
	CHILD_LEFT, /* not to be guarded: told */
};
struct child {
	struct child_host *host;
	enum child_state state;
	pid_t pid;
	uint64_t started;
	char name[16];
	unsigned tries;
	bool armed, ended, there; /* there: at the look under way */
	int fd;                   /* GUARDED: of its guard */
	ev_io io;
};
struct child_host {
	struct keeper *keeper;
	struct child list[CHILDREN_KNOWN];
	unsigned n_guarded, n_armed;
	unsigned n_failovers; /* since the keeper began */
	bool told_subreaper, told_many;
};

void children_init(struct child_host *h, struct keeper *k);
/* The node has a new twin, which knows its children. */
void children_look(struct child_host *h);
/* They are not the node's any more, or it is going down: all guards let go. */
void children_drop_all(struct child_host *h);
