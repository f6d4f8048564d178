/* SPDX-License-Identifier: Apache-2.0 */
/* All memory locked, and all that will ever be mapped (MCL_FUTURE). */
#define VICTIM_LOCKS_ALL 1
#include "tests/victims/locked_memory.c"
