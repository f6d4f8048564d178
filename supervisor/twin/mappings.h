/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Mappings that fork() leaves out or wipes: MADV_DONTFORK and MADV_WIPEONFORK (madvise(2)).
 *
 * A twin needs them like all others (V8 marks its whole heap so), hence they are unmarked for
 * the copy and marked again, in the active and in the copy. That something was left out is seen
 * by the size of the copy, what it was by comparing the two lists of mappings, both while all
 * stands still. Wiped mappings show only in smaps, which is slow, so it is read at leisure and
 * rarely: at the 1st, 4th, 16th, ... checkpoint of a program, and when something else tells that
 * it has changed.
 *
 * Errors: negative errno. The list has a fixed size; -E2BIG where a program needs more.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"

#define MARKED_MAX 4096

struct marked_range {
	uint64_t start, end;
	int unmark, mark; /* advice for madvise() */
	int prot;
	bool plain; /* private and anonymous, and not the heap or the stack */
};
struct marked_list {
	struct marked_range items[MARKED_MAX];
	unsigned n;
};

/* Total size of the mappings in pages, as /proc/PID/statm has it; 0 when unreadable. */
uint64_t mappings_size(pid_t pid);
/* Append what pid has and copy has not, marked MADV_DONTFORK. Both must stand still. */
_must_check_ int mappings_left_out(struct marked_list *l, pid_t pid, pid_t copy);
/* "start-end " at the beginning of a line of maps or smaps. */
bool mappings_parse_range(const char *line, uint64_t *start, uint64_t *end);

/* Slow, at leisure: what pid marked MADV_WIPEONFORK and what it locked; *ret_unfit: a mapping that
 * no copy can have, in words; NULL: none. */
struct locked_memory;
_must_check_ int mappings_scan(
	pid_t pid, struct marked_list *wiped, struct locked_memory *locked, const char **ret_unfit);

struct injection;
/* madvise() all, by an injection that has begun. What is gone meanwhile leaves the list. */
_must_check_ int mappings_unmark(struct marked_list *l, struct injection *in);
_must_check_ int mappings_mark(const struct marked_list *l, struct injection *in);
