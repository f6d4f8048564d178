/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Every probe that looks from outside: twinit-prober looks, this counts. More than Tolerate= bad
 * looks in a row, and the node has failed; until then it is suspect. No look is no verdict: what
 * befalls the prober is not the node's fault.
 */
#include "config/probe.h"
#include "probes/probe.h"

#define POLLED_DETAIL_MAX 200

struct polled {
	struct probe probe;
	const struct probe_settings *settings;
	unsigned bad; /* in a row */
	char detail[POLLED_DETAIL_MAX];
};

void polled_init(struct polled *p, const struct probe_settings *s);
