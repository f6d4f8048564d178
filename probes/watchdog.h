/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The watchdog of sd_notify(3): the node has to say WATCHDOG=1 at least once in each period
 * (WatchdogSec=, or what WATCHDOG_USEC= of the node changes it to). WATCHDOG=trigger fails it at
 * once. The first period begins with start(), so a node that never speaks fails after one period.
 * After the soft time (WatchdogSoftSec=) of silence it is suspect. EXTEND_TIMEOUT_USEC= puts both
 * off, once, until the next mark.
 */
#include "probes/probe.h"

struct watchdog {
	struct probe probe;
	usec_t period;         /* 0: off */
	usec_t soft;           /* 0: none */
	usec_t last;           /* the last mark, or the start */
	usec_t extended_until; /* 0: not */
	bool triggered;
};

/* period 0 or USEC_INFINITY: off until WATCHDOG_USEC= of the node says otherwise. */
void watchdog_init(struct watchdog *w, usec_t period, usec_t soft);
