/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Deadline supervision: after the mark From= the mark To= has to come within MaxTime=, and not
 * before MinTime=. A From= while one is open changes nothing, a To= without one neither: a twin
 * may begin between the two. From= and To= of one name: the time from mark to mark.
 */
#include "config/probe.h"
#include "probes/probe.h"

struct deadline {
	struct probe probe;
	const struct probe_settings *settings;
	bool open;
	usec_t from, until;
	bool too_early; /* failed: To= came before MinTime= */
	bool too_late;  /* failed: it came, but after its time */
	usec_t took;
};

void deadline_init(struct deadline *d, const struct probe_settings *s);
