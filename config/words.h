/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A value to its words, as systemd splits command lines, and specifiers to text.
 *
 * Words are parted by blanks. A part in '...' or "..." keeps its blanks, wherever in the word it
 * starts; "" is an empty word. A backslash escapes inside and outside of both kinds of quotes:
 * \a \b \f \n \r \t \v \\ \" \' \; \s (blank) \xHH \NNN \uXXXX \UXXXXXXXX. Another one is kept
 * as written, with a remark, as systemd does. There is no other syntax: ';' and '$' are text.
 *
 * Specifiers: %i and %N the unit's id, %n its file name, %% a percent sign.
 *
 * 0 on success, -EINVAL for wrong text, -ENOMEM. Outputs are untouched on failure, but for the
 * one that says why.
 */
#include <stdbool.h>

#include "config/macro.h"

/*
 * The words as a new list. *ret_problem says in a constant text what is wrong on -EINVAL;
 * *ret_odd_escape is set where an unknown escape was kept.
 */
_must_check_ int words_split(
	const char *text, char ***ret, const char **ret_problem, bool *ret_odd_escape);

struct specifiers {
	const char *id;   /* %i %N */
	const char *name; /* %n */
};
/*
 * A new string with specifiers put in. An unknown one is -EINVAL, and *ret_bad points to its
 * percent sign within text; with lenient it is kept as written.
 */
_must_check_ int specifiers_expand(const struct specifiers *sp, const char *text, bool lenient,
	char **ret, const char **ret_bad);
