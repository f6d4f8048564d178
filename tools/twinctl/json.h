/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Writes one JSON value to a stream, compact and on one line. Commas, nesting and escaping are
 * kept right here: the caller only says what comes. Inside an object every call gives a key,
 * inside an array the key is NULL. What is not UTF-8 becomes U+FFFD; numbers are integers.
 * At most JSON_DEPTH_MAX levels, which is more than anything of twinctl's nests.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 32

struct json {
	FILE *out;
	unsigned depth;
	bool any; /* something was written */
	bool has_items[JSON_DEPTH_MAX];
};

static inline struct json json_to(FILE *out)
{
	return (struct json){.out = out};
}
void json_object_begin(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array_begin(struct json *j, const char *key);
void json_array_end(struct json *j);
void json_string(struct json *j, const char *key, const char *value); /* NULL: null */
void json_uint(struct json *j, const char *key, uint64_t value);
void json_int(struct json *j, const char *key, int64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_real(struct json *j, const char *key, double value); /* not finite: null */
void json_finish(struct json *j); /* the newline, where there was anything */
