/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A control group for each node, so that the kernel keeps count of what it does to that node alone:
 * above all of OOM kills, which nothing else tells from a SIGKILL by anybody.
 *
 * It is made as twinit/NODE below the keeper's own group, in the unified hierarchy and in that of
 * the v1 memory controller, where they are mounted and may be written; the node enters it before
 * its exec, and all that it makes, its twins too, is born there. Where a name is taken by a
 * living keeper (another supervisor with a node of that name), NODE.2 and so on; what a dead one
 * left is used again. Removed with the keeper. Nothing here is needed: without it a node runs
 * as it would, MemoryMax= has no effect, and an OOM kill is called "signal".
 */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"

enum { CGROUP_UNIFIED, CGROUP_MEMORY, _CGROUP_MAX };

struct node_cgroup {
	char path[_CGROUP_MAX][PATH_MAX]; /* "": none there */
	int folder[_CGROUP_MAX];          /* locked: it is in use; -1: none */
	int procs[_CGROUP_MAX];           /* to write to: who writes 0 enters; -1: none */
	int counter;                      /* has a line "oom_kill N"; -1: none */
	bool v2;                          /* whose memory controller that is */
	uint64_t accounted;               /* of these */
};
#define CGROUP_PARENT "twinit"
#define NODE_CGROUP_NONE                                                                           \
	{                                                                                          \
		.folder = {-1, -1}, .procs = {-1, -1}, .counter = -1                               \
	}

/* What could not be had is -1, and why holds one sentence about the memory controller, "" where
 * there is one. */
void node_cgroup_open(struct node_cgroup *c, const char *node, char *why, size_t size);
void node_cgroup_close(struct node_cgroup *c);
/* MemoryMax=. UINT64_MAX: no limit. */
_must_check_ int node_cgroup_limit(const struct node_cgroup *c, uint64_t bytes);
/* How many the OOM killer has killed in it that are not accounted for; 0 where nobody counts. */
uint64_t node_cgroup_kills(const struct node_cgroup *c);
/* It is known who n of them were. */
void node_cgroup_account(struct node_cgroup *c, uint64_t n);

/* The folder of the group that /proc/self/cgroup names, for a v1 controller or (NULL) the unified
 * hierarchy, by what is mounted (/proc/self/mountinfo). -ENOENT: not mounted; -EXDEV: the mount
 * does not reach so far up. */
_must_check_ int cgroup_find(
	const char *mountinfo, const char *cgroup, const char *controller, char ret[PATH_MAX]);
/* N of the line "KEY N". -ENODATA: there is none. */
_must_check_ int cgroup_count(const char *text, const char *key, uint64_t *ret);
