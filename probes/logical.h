/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Logical supervision: marks may follow each other only as the pairs of Order= say. Marks that
 * are in no pair are not looked at. The first mark after a start may be any: a twin begins in the
 * middle. What is wrong is told at once.
 */
#include "config/probe.h"
#include "probes/probe.h"

struct logical {
	struct probe probe;
	const struct probe_settings *settings;
	uint32_t next[PROBE_MARKS_MAX]; /* by mark: a bit for each mark that may follow it */
	int last;                       /* the mark before; -1: none since the start */
	int wrong;                      /* the mark that must not follow it; -1: none */
};

void logical_init(struct logical *l, const struct probe_settings *s);
