/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tools/twinctl/json.h"

/* The length of the UTF-8 sequence at s (RFC 3629: shortest form, no surrogates), or 0. */
static unsigned utf8_length(const unsigned char *s)
{
	unsigned len = s[0] < 0x80   ? 1
		       : s[0] < 0xc2 ? 0
		       : s[0] < 0xe0 ? 2
		       : s[0] < 0xf0 ? 3
		       : s[0] < 0xf5 ? 4
				     : 0;
	for (unsigned i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

static void put_text(FILE *out, const char *text)
{
	static const char plain[] = "\"\\\b\f\n\r\t", escaped[] = "\"\\bfnrt";

	putc('"', out);
	for (const unsigned char *s = (const unsigned char *)text; *s;) {
		const char *e = strchr(plain, *s);
		unsigned len = utf8_length(s);
		if (e)
			fprintf(out, "\\%c", escaped[e - plain]);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(out, "\\u%04x", *s);
		else if (len > 0)
			fwrite(s, 1, len, out);
		else
			fputs("\xef\xbf\xbd", out);
		s += len > 0 ? len : 1;
	}
	putc('"', out);
}

static void begin_item(struct json *j, const char *key)
{
	j->any = true;
	if (j->depth > 0) {
		if (j->has_items[j->depth - 1])
			putc(',', j->out);
		j->has_items[j->depth - 1] = true;
	}
	if (key) {
		put_text(j->out, key);
		putc(':', j->out);
	}
}

static void nest(struct json *j, const char *key, char bracket)
{
	begin_item(j, key);
	putc(bracket, j->out);
	if (j->depth < JSON_DEPTH_MAX)
		j->has_items[j->depth++] = false;
}

static void unnest(struct json *j, char bracket)
{
	putc(bracket, j->out);
	if (j->depth > 0)
		j->depth--;
}

void json_object_begin(struct json *j, const char *key)
{
	nest(j, key, '{');
}

void json_object_end(struct json *j)
{
	unnest(j, '}');
}

void json_array_begin(struct json *j, const char *key)
{
	nest(j, key, '[');
}

void json_array_end(struct json *j)
{
	unnest(j, ']');
}

void json_string(struct json *j, const char *key, const char *value)
{
	begin_item(j, key);
	if (value)
		put_text(j->out, value);
	else
		fputs("null", j->out);
}

void json_uint(struct json *j, const char *key, uint64_t value)
{
	begin_item(j, key);
	fprintf(j->out, "%" PRIu64, value);
}

void json_int(struct json *j, const char *key, int64_t value)
{
	begin_item(j, key);
	fprintf(j->out, "%" PRId64, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
	begin_item(j, key);
	fputs(value ? "true" : "false", j->out);
}

void json_real(struct json *j, const char *key, double value)
{
	begin_item(j, key);
	if (isfinite(value))
		fprintf(j->out, "%.17g", value);
	else
		fputs("null", j->out);
}

void json_finish(struct json *j)
{
	if (j->any)
		putc('\n', j->out);
}
