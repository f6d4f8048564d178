/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "config/parse.h"
#include "config/setting.h"

/* The "..._set" flag next to a field that may be unset, and nothing for the others. */
static void mark(struct assignment *a, bool set)
{
	if (a->setting->flag)
		*(bool *)((char *)a->unit + a->setting->flag) = set;
}

int set_bool(struct assignment *a, void *field)
{
	int r = parse_bool(a->value, field);

	return r < 0 ? assignment_not_parsed(a, r) : 0;
}

int set_unsigned(struct assignment *a, void *field)
{
	uint64_t v;
	int r = parse_u64(a->value, &v);

	if (r == 0 && (v < (uint64_t)a->setting->min || v > (uint64_t)a->setting->max))
		r = -ERANGE;
	if (r < 0)
		return assignment_not_parsed(a, r);
	*(unsigned *)field = (unsigned)v;
	return 0;
}

int set_memory_max(struct assignment *a, void *field)
{
	uint64_t v = UINT64_MAX;
	int r = *a->value && strcmp(a->value, "infinity") != 0 ? parse_size(a->value, &v) : 0;

	if (r == 0 && v == 0)
		r = -ERANGE;
	if (r < 0)
		return assignment_not_parsed(a, r);
	*(uint64_t *)field = v;
	return 0;
}

int set_int(struct assignment *a, void *field)
{
	int64_t v;
	int r;

	if (!*a->value) {
		*(int *)field = 0;
		mark(a, false);
		return 0;
	}
	r = parse_i64(a->value, &v);
	if (r == 0 && (v < a->setting->min || v > a->setting->max))
		r = -ERANGE;
	if (r < 0)
		return assignment_not_parsed(a, r);
	*(int *)field = (int)v;
	mark(a, true);
	return 0;
}

int set_time(struct assignment *a, void *field)
{
	unsigned how = a->setting->how;
	usec_t v;
	int r = parse_time_span(a->value, &v);

	if (r == 0 && v < (usec_t)a->setting->min)
		r = -ERANGE;
	if (r == 0 && v == USEC_INFINITY && (how & TIME_FINITE))
		r = -ERANGE;
	if (r < 0)
		return assignment_not_parsed(a, r);
	if (v == 0 && (how & TIME_ZERO_IS_INFINITY))
		v = USEC_INFINITY;
	else if (v == USEC_INFINITY && (how & TIME_INFINITY_IS_ZERO))
		v = 0;
	*(usec_t *)field = v;
	return 0;
}

int set_soft_time(struct assignment *a, void *field)
{
	a->unit->watchdog_soft_line = a->line;
	return set_time(a, field);
}

int set_enum(struct assignment *a, void *field)
{
	int v, r = parse_word(a->value, a->setting->words, (size_t)a->setting->max, &v);

	if (r < 0)
		return assignment_not_parsed(a, r);
	/* The enums of struct unit have no negative values: all are unsigned int to the compiler.
	 */
	*(unsigned *)field = (unsigned)v;
	return 0;
}

int set_type(struct assignment *a, void *field)
{
	static const char *const of_systemd[] = {
		"exec", "oneshot", "forking", "dbus", "idle", "notify-reload"};
	int v;

	if (parse_word(a->value, of_systemd, ELEMENTSOF(of_systemd), &v) == 0)
		return assignment_wrong(a, "Type=%s is not supported", a->value);
	return set_enum(a, field);
}

int set_signal(struct assignment *a, void *field)
{
	int r = parse_signal(a->value, field);

	return r < 0 ? assignment_not_parsed(a, r) : 0;
}

int set_cpus(struct assignment *a, void *field)
{
	cpu_set_t more, *set = field;
	int r;

	if (!*a->value) {
		CPU_ZERO(set);
		mark(a, false);
		return 0;
	}
	r = parse_cpu_list(a->value, &more);
	if (r < 0)
		return assignment_not_parsed(a, r);
	/* A list like others: a second assignment adds to the first. */
	CPU_OR(set, set, &more);
	mark(a, true);
	return 0;
}

int set_limit(struct assignment *a, void *field)
{
	struct limit_setting *limit = field, v = {.set = true};
	int r;

	if (!*a->value) {
		*limit = (struct limit_setting){0};
		return 0;
	}
	r = parse_limit(a->value, a->setting->how & LIMIT_IS_SIZE, &v.soft, &v.hard);
	if (r < 0)
		return assignment_not_parsed(a, r);
	if (v.soft > v.hard)
		return assignment_wrong(a, "the soft limit of \"%s\" is above the hard one",
			excerpt_of(a->value).text);
	*limit = v;
	return 0;
}
