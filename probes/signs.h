/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Whether any thread of a process has run between two looks: the processor time of all of them and
 * how often they were given a processor (/proc/TID/schedstat). About 10 us a thread; allocates
 * nothing, waits for nothing.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/clock.h"
#include "config/macro.h"

struct signs {
	usec_t at; /* 0: none taken */
	uint64_t cpu, slices, n;
};

/* -ESRCH: there is no such process (any more). */
_must_check_ int signs_take(pid_t pid, struct signs *ret);
static inline bool signs_differ(const struct signs *a, const struct signs *b)
{
	return a->cpu != b->cpu || a->slices != b->slices || a->n != b->n;
}
