/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "config/strv.h"
#include "config/utf8.h"
#include "config/unit.h"
#include "config/words.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Exactly n digits of the base; false where there are fewer. */
static bool number(const char *s, size_t n, int base, uint32_t *ret)
{
	uint32_t v = 0;

	for (size_t i = 0; i < n; i++) {
		int d = digit_value(s[i]);

		if (d < 0 || d >= base)
			return false;
		v = v * (uint32_t)base + (uint32_t)d;
	}
	*ret = v;
	return true;
}

/*
 * The escape whose backslash stands before s. Returns how much of s it takes and writes the
 * *ret_len bytes that it means; 0 where it is none. A NUL can be no part of a word.
 */
static size_t unescape(const char *s, char out[4], size_t *ret_len)
{
	static const char from[] = "abfnrtvs\\\"';", to[] = "\a\b\f\n\r\t\v \\\"';";
	static const struct {
		char lead;
		size_t digits;
	} wide[] = {{'u', 4}, {'U', 8}};
	const char *plain = *s ? strchr(from, *s) : NULL;
	uint32_t v;

	*ret_len = 1;
	if (plain) {
		out[0] = to[plain - from];
		return 1;
	}
	if (*s == 'x' && number(s + 1, 2, 16, &v) && v != 0) {
		out[0] = (char)v;
		return 3;
	}
	if (number(s, 3, 8, &v) && v != 0 && v <= 0xff) {
		out[0] = (char)v;
		return 3;
	}
	for (size_t i = 0; i < ELEMENTSOF(wide); i++)
		if (*s == wide[i].lead && number(s + 1, wide[i].digits, 16, &v) && v != 0) {
			*ret_len = utf8_encode(v, out);
			return *ret_len ? 1 + wide[i].digits : 0;
		}
	return 0;
}

/* Reads the word at *s into out, which has room for all of the text. */
static int take_word(const char **s, char *out, const char **ret_problem, bool *odd_escape)
{
	const char *p = *s;
	char quote = 0;

	while (*p && (quote || !is_blank(*p))) {
		char c = *p++, bytes[4];
		size_t used, n;

		if (c == '\\') {
			if (!*p) {
				*ret_problem = "ends in a backslash";
				return -EINVAL;
			}
			used = unescape(p, bytes, &n);
			if (used == 0) {
				/* As written, and what comes next is not special any more. */
				*odd_escape = true;
				bytes[0] = '\\';
				bytes[1] = *p;
				used = 1;
				n = 2;
			}
			memcpy(out, bytes, n);
			out += n;
			p += used;
		} else if (quote ? c == quote : c == '"' || c == '\'') {
			quote = quote ? 0 : c;
		} else {
			*out++ = c;
		}
	}
	if (quote) {
		*ret_problem = quote == '"' ? "has a \" that is never closed"
					    : "has a ' that is never closed";
		return -EINVAL;
	}
	*out = 0;
	*s = p;
	return 0;
}

static int split_into(struct strv *words, const char *text, char *room, const char **ret_problem,
	bool *odd_escape)
{
	int r = strv_init(words);

	for (const char *p = text; r == 0;) {
		while (is_blank(*p))
			p++;
		if (!*p)
			break;
		r = take_word(&p, room, ret_problem, odd_escape);
		if (r == 0)
			r = strv_copy(words, room);
	}
	return r;
}

int words_split(const char *text, char ***ret, const char **ret_problem, bool *ret_odd_escape)
{
	/* No escape means more bytes than it is written with. */
	_cleanup_free_ char *room = malloc(strlen(text) + 1);
	struct strv words = {0};
	bool odd = false;
	int r = -ENOMEM;

	if (room)
		r = split_into(&words, text, room, ret_problem, &odd);
	if (r < 0) {
		strv_clear(&words);
		return r;
	}
	*ret_odd_escape = odd;
	*ret = words.items;
	return 0;
}

int specifiers_expand(const struct specifiers *sp, const char *text, bool lenient, char **ret,
	const char **ret_bad)
{
	_cleanup_free_ char *out = NULL;
	char *copy;
	size_t size;
	_cleanup_fclose_ FILE *f = open_memstream(&out, &size);

	if (!f)
		return -ENOMEM;
	for (const char *p = text; *p; p++) {
		if (*p != '%') {
			fputc(*p, f);
			continue;
		}
		switch (p[1]) {
		case 'i':
		case 'N':
			fputs(sp->id, f);
			break;
		case 'n':
			fputs(sp->name, f);
			break;
		case '%':
			fputc('%', f);
			break;
		default:
			if (!lenient) {
				*ret_bad = p;
				return -EINVAL;
			}
			fputc('%', f);
			continue; /* what follows is ordinary text */
		}
		p++;
	}
	if (fflush(f) != 0 || ferror(f))
		return -ENOMEM;
	copy = strdup(out);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}
