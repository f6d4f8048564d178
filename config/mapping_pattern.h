/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Patterns for names of mappings as /proc/PID/maps has them: fnmatch(3), in which an asterisk also
 * stands for slashes. A pattern in brackets means the brackets themselves, as in [anon:cache*],
 * for such are the kernel's own names. " (deleted)" behind a name need not be matched.
 */
#include <stdbool.h>

bool mapping_pattern_matches(const char *pattern, const char *name);
/* What a program cannot do without: its heap, its stack, what the kernel maps for it, and mappings
 * that have no name. */
bool mapping_name_is_vital(const char *name);
/* The vital name that it matches, in words; NULL: none. */
const char *mapping_pattern_vital(const char *pattern);
