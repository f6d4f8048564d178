/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Alive supervision: the node has to say WATCHDOG=1 at least once in each period (WatchdogSec=,
 * or what WATCHDOG_USEC= of the node changes it to). WATCHDOG=trigger fails it at once. The
 * first period begins with start(), so a node that never speaks fails after one period.
 */
#include "probes/probe.h"

struct watchdog {
	struct probe probe;
	usec_t period; /* 0: off */
	usec_t last;   /* the last mark, or the start */
	bool triggered;
	bool marked; /* WATCHDOG=1 was said since the start */
};

/* period 0 or USEC_INFINITY: off until WATCHDOG_USEC= of the node says otherwise. */
void watchdog_init(struct watchdog *w, usec_t period);
