/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Adding findings to a struct diag_list (see config/unit.h for the list itself).
 *
 * Everything given is copied. The list may be NULL: the finding is then dropped, for callers
 * that only want the verdict. The only failure is -ENOMEM, and it leaves the list as it was.
 */
#include "config/unit.h"

/* Where a finding belongs. line 0: the file as a whole. section and key may be NULL. */
struct diag_place {
	const char *file;
	unsigned line;
	const char *section, *key;
};

_must_check_ _printf_(5, 6) int diag_add(struct diag_list *l, enum diag_level level,
	const struct diag_place *at, const char *allowed, const char *what, ...);

/* Show a piece of a user's text inside a message: cut where it is long, harmless on a terminal. */
#define EXCERPT_MAX 64
struct excerpt {
	char text[EXCERPT_MAX + 4];
};
struct excerpt excerpt_of(const char *text);
