/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Environment files, in systemd's format.
 *
 * NAME=value a line; blank lines and lines that start with # or ; are nothing. A value may be
 * parted in '...' (all is text) and "..." (a backslash escapes " \ ` $ and the line end); both
 * may go over several lines. Outside of quotes a backslash escapes any character, and at a line
 * end it continues the line. Blanks around an unquoted value are dropped. Nothing is expanded.
 * Lines without '=' and names that no environment can hold are skipped.
 */
#include "config/strv.h"
#include "config/unit.h"

/* Told of each line skipped. Returns 0, or a negative errno that ends the parsing. */
typedef int (*env_skipped_fn)(void *user, unsigned line, const char *what);

/*
 * Adds the variables of a file's text to *env, in order. skipped may be NULL. -EBADMSG where the
 * text has NUL bytes or is not UTF-8; -ENOMEM; what skipped returned.
 */
_must_check_ int env_parse(
	const char *text, size_t len, struct strv *env, env_skipped_fn skipped, void *user);
/* The same of a file, besides -errno where it cannot be read. */
_must_check_ int env_read(const char *path, struct strv *env, env_skipped_fn skipped, void *user);
