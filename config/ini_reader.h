/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * libinih with a reader of ours in front, which keeps the stock library from damaging a unit.
 *
 * What stock libinih does to a unit file, silently: it splits a line of 200 bytes and more and
 * reads the tail as a new key; cuts a value at " ;"; knows no continuation lines; takes an
 * indented line as more of the key before; splits "Key:x" too; cuts names at 49 bytes; ignores
 * text after a section header and a header without keys. Here the file is cut into logical
 * lines first. libinih gets each section header, and each assignment as "Key=TOKEN": a number
 * that stands for the value, short enough and plain enough that nothing can happen to it. The
 * value itself stays with us and comes out as it stands in the file, blanks around it removed.
 * Should libinih still read something else than was handed to it, that is reported as broken.
 *
 * Logical lines are systemd's: a backslash as the last character joins the next line with a
 * blank in its place, comment lines (# or ;) in between are skipped, indentation means nothing.
 * CR LF and a byte order mark are accepted.
 *
 * Promises: events come in file order with the line of the file where the logical line starts.
 * Keys and values handed out hold no NUL, no control character but tab and only valid UTF-8.
 * Text must be in memory and is not changed. Nothing is kept after the call.
 */
#include <stddef.h>

#include "config/macro.h"

/* libinih's own limits, which its header does not tell: INI_MAX_SECTION and INI_MAX_NAME less one.
 */
#define INI_SECTION_MAX 49
#define INI_KEY_MAX 49

/*
 * What a caller is told. Strings are good for the call only. Each returns 0, or a negative errno
 * that ends the reading and is what ini_read() returns.
 * section "" is the part before the first header, NULL what follows a broken header.
 */
struct ini_events {
	int (*section)(void *user, unsigned line, const char *name);
	int (*assignment)(
		void *user, unsigned line, const char *section, const char *key, const char *value);
	/* key is NULL unless it could be told; what and allowed are for people. */
	int (*broken)(void *user, unsigned line, const char *section, const char *key,
		const char *what, const char *allowed);
};

_must_check_ int ini_read(
	const char *text, size_t len, const struct ini_events *events, void *user);

/* What makes bytes no plain text ("has a NUL byte", ...), or NULL. A newline is a control byte. */
const char *text_problem(const char *s, size_t len);
