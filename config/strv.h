/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Lists of strings: NULL-terminated arrays that own their strings and know their length.
 *
 * A finished list is the plain array (see strv_free() in config/unit.h). While it grows it is a
 * struct strv, so that adding does not count it anew each time. Failure is -ENOMEM only, and
 * leaves the list as it was.
 */
#include <stddef.h>

#include "config/macro.h"

struct strv {
	char **items; /* NULL only before the first strv_init() */
	size_t n, allocated;
};

_must_check_ int strv_init(struct strv *l);          /* an empty list, which is an array too */
_must_check_ int strv_take(struct strv *l, char *s); /* s is freed where it cannot be added */
_must_check_ int strv_copy(struct strv *l, const char *s);
void strv_clear(struct strv *l); /* to the state before strv_init() */

size_t strv_length(char *const *l);
/* Keeps the first of equal strings and frees the others; the first n_known are unique already. */
void strv_uniq(char **l, size_t n_known);
/* Frees all but the first n strings. */
void strv_cut(char **l, size_t n);
/* Moves all strings of more to the end of *l and frees the array of more. */
_must_check_ int strv_append(char ***l, char **more);
/* Frees all strings of *l but keeps the list, empty. */
void strv_reset(char **l);
