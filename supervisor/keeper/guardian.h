/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a keeper and its guards of children have in common, before they guard anything. */
#include "config/clock.h"
#include "config/unit.h"
#include "supervisor/twin/twin.h"

#define GUARDIAN_FREEZE_DEADLINE (50 * NSEC_PER_USEC * USEC_PER_MSEC)

/* Errors are logged. */
_must_check_ int guardian_read_unit(const char *id, const char *path, int fd, struct unit **ret);
/* Real-time priority, locked memory, spared by the OOM killer; as far as it is permitted. */
void guardian_harden(const char *id);
/* What twins are made without. The engine keeps the list for as long as it lives, and the unit has
 * to live as long. */
_must_check_ int guardian_exclude(const struct unit *u, struct twin_config *config);
