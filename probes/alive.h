/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Alive supervision: a mark has to come MinMarks= to MaxMarks= times in each Cycle=. More than
 * Tolerate= bad cycles in a row, and the node has failed; until then it is suspect. Cycles begin
 * with the start, each when the one before was judged.
 */
#include "config/probe.h"
#include "probes/probe.h"

struct alive {
	struct probe probe;
	const struct probe_settings *settings;
	usec_t end;         /* of the cycle */
	unsigned marks;     /* in it */
	unsigned bad;       /* cycles in a row */
	unsigned bad_marks; /* in the last bad one */
};

void alive_init(struct alive *a, const struct probe_settings *s);
