/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "config/macro.h"
#include "tools/twinctl/format.h"

static int terminal_width(void)
{
	struct winsize w;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0)
		return INT_MAX / 2; /* no terminal: whoever reads it wants all of it */
	return w.ws_col > 0 ? w.ws_col : 80;
}

static const char *two(
	char buf[FORMAT_MAX], uint64_t a, const char *unit_a, uint64_t b, const char *unit_b)
{
	if (b)
		snprintf(buf, FORMAT_MAX, "%" PRIu64 " %s %" PRIu64 " %s", a, unit_a, b, unit_b);
	else
		snprintf(buf, FORMAT_MAX, "%" PRIu64 " %s", a, unit_a);
	return buf;
}

const char *format_span(char buf[FORMAT_MAX], usec_t span)
{
	uint64_t s = span / USEC_PER_SEC;

	if (span == USEC_INFINITY)
		snprintf(buf, FORMAT_MAX, "infinity");
	else if (span == 0)
		snprintf(buf, FORMAT_MAX, "0");
	else if (span < 10 * USEC_PER_MSEC)
		snprintf(buf, FORMAT_MAX, "%.2f ms", (double)span / USEC_PER_MSEC);
	else if (span < USEC_PER_SEC)
		snprintf(buf, FORMAT_MAX, "%" PRIu64 " ms", span / 1000);
	else if (s < 60 && span % USEC_PER_SEC == 0)
		snprintf(buf, FORMAT_MAX, "%" PRIu64 " s", s);
	else if (s < 60) /* cut, not rounded: 59.99 s are no minute yet */
		snprintf(buf, FORMAT_MAX, "%" PRIu64 ".%" PRIu64 " s", s, span / 100000 % 10);
	else if (s < 3600)
		return two(buf, s / 60, "min", s % 60, "s");
	else if (s < 86400)
		return two(buf, s / 3600, "h", s % 3600 / 60, "min");
	else
		return two(buf, s / 86400, "d", s % 86400 / 3600, "h");
	return buf;
}

const char *format_ago(char buf[FORMAT_MAX], usec_t at)
{
	usec_t now = now_usec();

	if (at == 0) {
		snprintf(buf, FORMAT_MAX, "never");
		return buf;
	}
	format_span(buf, now > at ? now - at : 0);
	strncat(buf, " ago", FORMAT_MAX - strlen(buf) - 1);
	return buf;
}

const char *format_moment(char buf[FORMAT_MAX], usec_t realtime)
{
	time_t t = (time_t)(realtime / USEC_PER_SEC);
	struct tm tm;

	if (realtime == 0 || !localtime_r(&t, &tm) ||
		strftime(buf, FORMAT_MAX, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(buf, FORMAT_MAX, "-");
	return buf;
}

const char *format_bytes(char buf[FORMAT_MAX], uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes / 1024;
	size_t u = 0;

	if (bytes == UINT64_MAX)
		snprintf(buf, FORMAT_MAX, "-");
	else if (bytes < 1024)
		snprintf(buf, FORMAT_MAX, "%" PRIu64 " B", bytes);
	else {
		for (; value >= 1024 && u + 1 < ELEMENTSOF(units); u++)
			value /= 1024;
		snprintf(buf, FORMAT_MAX, "%.1f %s", value, units[u]);
	}
	return buf;
}

void make_printable(char *text, bool keep_newlines)
{
	char *out = text;

	for (const char *s = text; *s; s++) {
		unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];
		/* U+0080 to U+009F: terminals know these as well. */
		bool c1 = c == 0xc2 && next >= 0x80 && next <= 0x9f;

		*out++ = (c < 0x20 && !(keep_newlines && c == '\n')) || c == 0x7f || c1 ? '?' : *s;
		s += c1;
	}
	*out = '\0';
}

static bool use_colour(void)
{
	static int answer = -1;
	if (answer < 0) {
		const char *term = getenv("TERM"), *no = getenv("NO_COLOR");
		answer = isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
	}
	return answer;
}

const char *colour_on(enum colour c)
{
	static const char *const sequences[] = {
		[COLOUR_NONE] = "",
		[COLOUR_GREEN] = "\033[0;32m",
		[COLOUR_RED] = "\033[0;1;31m",
		[COLOUR_YELLOW] = "\033[0;33m",
		[COLOUR_BOLD] = "\033[0;1m",
		[COLOUR_GREY] = "\033[0;90m",
	};
	return use_colour() ? sequences[c] : "";
}

const char *colour_off(void)
{
	return use_colour() ? "\033[0m" : "";
}

enum colour colour_of_state(const char *active_state)
{
	return strcmp(active_state, "active") == 0     ? COLOUR_GREEN
	       : strcmp(active_state, "failed") == 0   ? COLOUR_RED
	       : strcmp(active_state, "inactive") == 0 ? COLOUR_NONE
						       : COLOUR_YELLOW;
}

struct cell {
	char *text;
	enum colour colour;
};

struct table {
	const char *const *heads;
	size_t n_columns, n, allocated;
	struct cell *cells;
};

struct table *table_new(const char *const *heads, size_t n_columns)
{
	struct table *t = calloc(1, sizeof(*t));
	if (!t)
		abort(); /* a tool with so little memory has nothing to say */
	t->heads = heads;
	t->n_columns = n_columns;
	return t;
}

void table_add(struct table *t, const char *text, enum colour c)
{
	if (t->n == t->allocated) {
		t->allocated = t->allocated ? t->allocated * 2 : 64;
		t->cells = reallocarray(t->cells, t->allocated, sizeof(*t->cells));
		if (!t->cells)
			abort();
	}
	t->cells[t->n++] = (struct cell){strdup(text ? text : ""), c};
}

/* Columns on the screen; bytes where the locale cannot tell. */
static int width_of(const char *text)
{
	wchar_t wide[256];
	size_t n = mbstowcs(wide, text, ELEMENTSOF(wide));
	int w = n == (size_t)-1 || n >= ELEMENTSOF(wide) ? -1 : wcswidth(wide, n);
	return w < 0 ? (int)strlen(text) : w;
}

/* How many bytes of text fit into that many columns, whole characters only. */
static int fitting(const char *text, int columns)
{
	size_t len = strlen(text);
	char part[256];

	for (; len > 0; len--) {
		if (len >= sizeof(part) || ((unsigned char)text[len] & 0xc0) == 0x80)
			continue;
		memcpy(part, text, len);
		part[len] = '\0';
		if (width_of(part) <= columns)
			break;
	}
	return (int)len;
}

static void print_cell(
	const struct table *t, size_t column, int width, const char *text, enum colour c)
{
	int pad = width - width_of(text), len = (int)strlen(text);
	bool right = t->heads[column][0] == '>', last = column + 1 == t->n_columns;

	if (right)
		printf("%*s", pad, "");
	if (last && pad < 0)
		len = fitting(text, width);
	printf("%s%.*s%s", colour_on(c), len, text, c == COLOUR_NONE ? "" : colour_off());
	if (last)
		putchar('\n');
	else
		printf("%*s  ", right ? 0 : pad, "");
}

static const char *head_text(const struct table *t, size_t column)
{
	return t->heads[column] + (t->heads[column][0] == '>');
}

static void fit_last(const struct table *t, int *widths)
{
	int left = terminal_width();

	for (size_t i = 0; i + 1 < t->n_columns; i++)
		left -= widths[i] + 2;
	widths[t->n_columns - 1] = MIN2(widths[t->n_columns - 1], MAX2(left, 0));
}

void table_print(const struct table *t, bool with_heads)
{
	_cleanup_free_ int *widths = calloc(t->n_columns, sizeof(*widths));
	if (!widths)
		abort();
	for (size_t i = 0; with_heads && i < t->n_columns; i++)
		widths[i] = width_of(head_text(t, i));
	for (size_t i = 0; i < t->n; i++) {
		int *w = &widths[i % t->n_columns];
		*w = MAX2(*w, width_of(t->cells[i].text));
	}
	fit_last(t, widths);
	for (size_t i = 0; with_heads && i < t->n_columns; i++)
		print_cell(t, i, widths[i], head_text(t, i), COLOUR_BOLD);
	for (size_t i = 0; i < t->n; i++)
		print_cell(t, i % t->n_columns, widths[i % t->n_columns], t->cells[i].text,
			t->cells[i].colour);
}

void table_free(struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i].text);
	free(t->cells);
	free(t);
}
