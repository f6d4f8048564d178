/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Memory locked by mlock(2), mlock2(2) and mlockall(2): fork unlocks it, and a swapped-in twin is
 * to have it locked again.
 *
 * What is locked shows in smaps (mappings_scan()); that future mappings will be (MCL_FUTURE) shows
 * nowhere, and is found out by a mapping made for it, in the task that shares the active's memory.
 * Locking means to touch all pages, so it is not done on the way of a swap but right after it, by
 * the template of the twin, which shares its memory, while the threads run: nobody waits for it.
 *
 * With it goes what else belongs to the memory and is lost by fork: PR_SET_MDWE with
 * PR_MDWE_NO_INHERIT. Errors: negative errno.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"

#define LOCKED_MAX 64

struct locked_memory {
	struct locked_range {
		uint64_t start, end;
		bool on_fault;
	} ranges[LOCKED_MAX];
	unsigned n;
	bool all;        /* whatever can be locked is */
	bool incomplete; /* more than LOCKED_MAX */
	bool future, future_on_fault;
	uint64_t kb;                /* all together; UINT64_MAX: unknown */
	bool unlocked;              /* of a scan: something is not */
	unsigned long no_exec_gain; /* of PR_GET_MDWE */
};

/* Of one scan: begin, add each mapping with its two lines of smaps, end. */
void locked_begin(struct locked_memory *l);
void locked_add(
	struct locked_memory *l, uint64_t start, uint64_t end, const char *head, const char *flags);
void locked_end(struct locked_memory *l);

struct twin_engine;
struct twin;
struct leader_calls;
/* At leisure, by the holder: what cannot be read. */
_must_check_ int locked_ask(struct twin_engine *e);
/* Calls of the new main thread. */
void locked_restore(const struct locked_memory *l, struct leader_calls *calls);
/* After a swap: the template, which is the holder now, begins to lock; after a rollback in place
 * the holder puts right what is locked otherwise than it was. */
void locked_start(struct twin_engine *e, const struct twin *w, bool in_place);
/* A wait status of the holder. */
void locked_event(struct twin_engine *e, int raw);
