/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/probe.h"

const char *probe_verdict_to_string(enum probe_verdict v)
{
	static const char *const names[] = {
		[PROBE_IDLE] = "idle",
		[PROBE_ALIVE] = "alive",
		[PROBE_SUSPECT] = "suspect",
		[PROBE_FAILED] = "failed",
	};

	return (unsigned)v < ELEMENTSOF(names) ? names[v] : NULL;
}
