/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Programs of ours that stand beside the keeper's own (in a build folder as where they are
 * installed) and do for it what takes time. They are ordinary processes: no real-time priority,
 * no locked memory, no protection from the OOM killer.
 */
#include <sys/types.h>

#include "config/macro.h"
#include "config/unit.h"

#define HELPER_FD 3 /* what is handed on has this number there, and those after it */
#define HELPER_FDS_MAX 2

/* argv[0] is put in. Returns the pid, whose end comes as a TWIN_EVENT_CHILD, or negative errno.
 * The caller does not wait for the program: one that cannot be executed ends with 127. */
_must_check_ pid_t helper_spawn(
	const char *program, char *const *argv, const int *fds, unsigned n_fds);
/* The unit's bytes, as they were read: a file may have changed since. A descriptor. */
_must_check_ int helper_unit_text(const struct unit *u);
