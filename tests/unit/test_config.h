/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Shared by the tests of config/: load a unit from a text and look at what was found.
 * Each test owns one struct loaded, got from load() and given back with done().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "config/unit.h"

struct loaded {
	int r;
	struct unit *unit;
	struct diag_list diags;
};

static inline struct loaded load_bytes(const char *text, size_t len)
{
	struct loaded l = {.diags = DIAG_LIST_INIT};

	l.r = unit_load_text("/etc/twinit/talker.ini", text, len, &l.unit, &l.diags);
	/* Success and a unit, or -EBADMSG, no unit and an error that says why. */
	if (l.r == 0) {
		assert_non_null(l.unit);
		assert_false(diag_list_has_errors(&l.diags));
	} else {
		assert_int_equal(l.r, -EBADMSG);
		assert_null(l.unit);
		assert_true(diag_list_has_errors(&l.diags));
	}
	return l;
}

static inline struct loaded load(const char *text)
{
	return load_bytes(text, strlen(text));
}

static inline void done(struct loaded *l)
{
	unit_free(l->unit);
	diag_list_clear(&l->diags);
}

/* The text has to load, and without a warning. */
static inline struct loaded load_clean(const char *text)
{
	struct loaded l = load(text);

	for (size_t i = 0; i < l.diags.n; i++) {
		_cleanup_free_ char *s = diag_format(&l.diags.items[i]);

		print_error("%s\n", s);
	}
	assert_int_equal(l.r, 0);
	assert_int_equal(l.diags.n, 0);
	return l;
}

/* "[Service]" with an ExecStart=, and then the lines given, of which the first is line 3. */
#define SERVICE "[Service]\nExecStart=/bin/true\n"

static inline void expect_diag(const struct diag *d, enum diag_level level, unsigned line,
	const char *key, const char *what)
{
	assert_int_equal(d->level, level);
	assert_string_equal(d->file, "/etc/twinit/talker.ini");
	assert_int_equal(d->line, line);
	if (key)
		assert_string_equal(d->key, key);
	else
		assert_null(d->key);
	if (!strstr(d->what, what))
		fail_msg("\"%s\" does not contain \"%s\"", d->what, what);
}

/* The text has exactly one finding, an error, in that line and of that key. */
static inline void expect_error(const char *text, unsigned line, const char *key, const char *what)
{
	struct loaded l = load(text);

	assert_int_equal(l.r, -EBADMSG);
	assert_int_equal(l.diags.n, 1);
	expect_diag(&l.diags.items[0], DIAG_ERROR, line, key, what);
	done(&l);
}

/* One wrong value of a key of [Service]: it has to be named with what is allowed. */
static inline void expect_wrong(
	const char *section, const char *key, const char *value, const char *what)
{
	_cleanup_free_ char *text = NULL;
	struct loaded l;

	assert_true(asprintf(&text, SERVICE "[%s]\n%s=%s\n", section, key, value) > 0);
	l = load(text);
	assert_int_equal(l.r, -EBADMSG);
	assert_int_equal(l.diags.n, 1);
	expect_diag(&l.diags.items[0], DIAG_ERROR, 4, key, what);
	assert_string_equal(l.diags.items[0].section, section);
	assert_non_null(l.diags.items[0].allowed);
	done(&l);
}

static inline void expect_list(char *const *list, const char *const *want)
{
	size_t n = 0;

	for (; want[n]; n++) {
		assert_non_null(list[n]);
		assert_string_equal(list[n], want[n]);
	}
	assert_null(list[n]);
}
#define EXPECT_LIST(list, ...) expect_list(list, (const char *const[]){__VA_ARGS__, NULL})
#define EXPECT_EMPTY(list) expect_list(list, (const char *const[]){NULL})
