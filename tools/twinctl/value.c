/* SPDX-License-Identifier: Apache-2.0 */
/* Any value of a message, by its type, as JSON or as text. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "tools/twinctl/twinctl.h"

union basic {
	uint8_t y;
	int b; /* as sd-bus reads it */
	int16_t n;
	uint16_t q;
	int32_t i;
	uint32_t u;
	int64_t x;
	uint64_t t;
	double d;
	const char *s;
};

static bool is_text(char type)
{
	return type == 's' || type == 'o' || type == 'g';
}

/* y q u t, widened; false for other types. */
static bool as_unsigned(char type, const union basic *v, uint64_t *ret)
{
	*ret = type == 'y' ? v->y : type == 'q' ? v->q : type == 'u' ? v->u : v->t;
	return strchr("yqut", type) != NULL;
}

static int64_t as_signed(char type, const union basic *v)
{
	return type == 'n' ? v->n : type == 'x' ? v->x : v->i;
}

static int array_json(struct json *j, sd_bus_message *m);

static int container_json(
	struct json *j, const char *key, sd_bus_message *m, char type, const char *contents)
{
	int r = sd_bus_message_enter_container(m, type, contents);
	if (r < 0)
		return r;
	if (type == 'v')
		r = value_json(j, key, m);
	else {
		bool dict = type == 'a' && contents[0] == '{';
		dict ? json_object_begin(j, key) : json_array_begin(j, key);
		r = array_json(j, m);
		dict ? json_object_end(j) : json_array_end(j);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* The items of an array or struct; dictionary entries with string keys become members. */
static int array_json(struct json *j, sd_bus_message *m)
{
	const char *contents, *key;
	char type;
	int r;

	while ((r = sd_bus_message_at_end(m, 0)) == 0) {
		r = sd_bus_message_peek_type(m, &type, &contents);
		if (r >= 0 && type == 'e') {
			r = sd_bus_message_enter_container(m, type, contents);
			if (r >= 0)
				r = is_text(contents[0])
					    ? sd_bus_message_read_basic(m, contents[0], &key)
					    : -EOPNOTSUPP;
			if (r >= 0)
				r = value_json(j, key, m);
			if (r >= 0)
				r = sd_bus_message_exit_container(m);
		} else if (r >= 0)
			r = value_json(j, NULL, m);
		if (r < 0)
			return r;
	}
	return r;
}

int value_json(struct json *j, const char *key, sd_bus_message *m)
{
	const char *contents;
	char type;
	union basic v;
	uint64_t number;

	int r = sd_bus_message_peek_type(m, &type, &contents);
	if (r <= 0)
		return r < 0 ? r : -ENXIO;
	if (contents)
		return container_json(j, key, m, type, contents);
	r = sd_bus_message_read_basic(m, type, &v);
	if (r < 0)
		return r;
	if (is_text(type))
		json_string(j, key, v.s);
	else if (type == 'b')
		json_bool(j, key, v.b);
	else if (type == 'd')
		json_real(j, key, v.d);
	else if (as_unsigned(type, &v, &number))
		json_uint(j, key, number);
	else
		json_int(j, key, as_signed(type, &v));
	return 0;
}

static bool ends_with(const char *s, const char *tail)
{
	size_t n = strlen(s), k = strlen(tail);
	return n >= k && strcmp(s + n - k, tail) == 0;
}

/* As it is for a pipe, whose reader wants just that; safe for a terminal. */
static void print_text(FILE *out, const char *text)
{
	_cleanup_free_ char *copy = isatty(fileno(out)) ? strdup(text) : NULL;

	if (copy)
		make_printable(copy, true);
	fputs(copy ? copy : text, out);
}

int value_text(FILE *out, const char *property, sd_bus_message *m)
{
	const char *contents;
	char type;
	union basic v;
	uint64_t number;
	int r = sd_bus_message_peek_type(m, &type, &contents);

	if (r <= 0)
		return r < 0 ? r : -ENXIO;
	if (contents) {
		bool first = true;
		r = sd_bus_message_enter_container(m, type, contents);
		while (r >= 0 && (r = sd_bus_message_at_end(m, 0)) == 0) {
			if (!first)
				putc(' ', out);
			first = false;
			r = value_text(out, property, m);
		}
		return r < 0 ? r : sd_bus_message_exit_container(m);
	}
	r = sd_bus_message_read_basic(m, type, &v);
	if (r < 0)
		return r;
	if (is_text(type))
		print_text(out, v.s);
	else if (type == 'b')
		fputs(v.b ? "yes" : "no", out);
	else if (type == 'd')
		fprintf(out, "%g", v.d);
	else if (!as_unsigned(type, &v, &number))
		fprintf(out, "%" PRId64, as_signed(type, &v));
	else if (type == 't' && number == UINT64_MAX)
		fputs(ends_with(property, "USec") ? "infinity" : "[not set]", out);
	else
		fprintf(out, "%" PRIu64, number);
	return 0;
}
