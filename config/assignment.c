/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "config/ini_reader.h"
#include "config/setting.h"

static int report(struct assignment *a, enum diag_level level, const char *what, va_list ap)
{
	const struct diag_place at = {
		.file = a->unit->path,
		.line = a->line,
		.section = a->section,
		.key = a->setting->key,
	};
	_cleanup_free_ char *text = NULL;

	if (vasprintf(&text, what, ap) < 0) {
		text = NULL;
		return -ENOMEM;
	}
	if (level == DIAG_ERROR)
		(*a->n_errors)++;
	return diag_add(
		a->diags, level, &at, level == DIAG_ERROR ? a->setting->allowed : NULL, "%s", text);
}

int assignment_wrong(struct assignment *a, const char *what, ...)
{
	va_list ap;
	int r;

	va_start(ap, what);
	r = report(a, DIAG_ERROR, what, ap);
	va_end(ap);
	return r;
}

int assignment_warn(struct assignment *a, const char *what, ...)
{
	va_list ap;
	int r;

	va_start(ap, what);
	r = report(a, DIAG_WARNING, what, ap);
	va_end(ap);
	return r;
}

int assignment_not_parsed(struct assignment *a, int r)
{
	if (!*a->value)
		return assignment_wrong(a, "the value is empty");
	return assignment_wrong(a,
		r == -ERANGE ? "\"%s\" is out of range" : "\"%s\" is not understood",
		excerpt_of(a->value).text);
}

int assignment_expand(struct assignment *a, const char *text, char **ret)
{
	const char *bad = NULL;
	int r = specifiers_expand(&a->specifiers, text, false, ret, &bad);

	if (r == 0)
		return 1;
	if (r != -EINVAL)
		return r;
	if (bad[1] > ' ' && bad[1] < 0x7f)
		return assignment_wrong(a,
			"unknown specifier %%%c (known: %%i %%n %%N, and %%%% for a percent sign)",
			bad[1]);
	return assignment_wrong(a, "a single %% (write %%%% for a percent sign)");
}

int assignment_words(struct assignment *a, char ***ret)
{
	const char *problem = NULL;
	bool odd = false;
	int r = words_split(a->value, ret, &problem, &odd);

	if (r == -EINVAL)
		return assignment_wrong(a, "\"%s\" %s", excerpt_of(a->value).text, problem);
	if (r < 0)
		return r;
	if (odd) {
		r = assignment_warn(a, "unknown escape sequence in \"%s\", kept as written",
			excerpt_of(a->value).text);
		if (r < 0) {
			strv_free(*ret);
			return r;
		}
	}
	return 1;
}

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool unit_id_valid(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > UNIT_ID_MAX || *s == '.')
		return false;
	for (; *s; s++)
		if (!is_alnum(*s) && !strchr("-_.:@", *s))
			return false;
	return true;
}

bool env_assignment_valid(const char *s)
{
	const char *equals = strchr(s, '=');

	if (!equals || equals == s || (*s >= '0' && *s <= '9'))
		return false;
	for (; s < equals; s++)
		if (!is_alnum(*s) && *s != '_')
			return false;
	/* Newlines are what "\n" is for; other control characters have no place there. */
	for (s = equals + 1; *s;) {
		size_t n = strcspn(s, "\n");

		if (text_problem(s, n))
			return false;
		s += n + (s[n] == '\n');
	}
	return true;
}
