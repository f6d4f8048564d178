/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "config/parse.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static const char *skip_blanks(const char *s)
{
	while (is_blank(*s))
		s++;
	return s;
}

/* Digits at *s, which moves behind them. strtoull() would take signs and blanks as well. */
static int take_u64(const char **s, uint64_t *ret)
{
	const char *p = *s;
	uint64_t v = 0;

	if (!is_digit(*p))
		return -EINVAL;
	for (; is_digit(*p); p++)
		if (__builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	*s = p;
	*ret = v;
	return 0;
}

int parse_u64(const char *s, uint64_t *ret)
{
	uint64_t v;
	int r = take_u64(&s, &v);

	if (r < 0)
		return r;
	if (*s)
		return -EINVAL;
	*ret = v;
	return 0;
}

int parse_i64(const char *s, int64_t *ret)
{
	bool negative = *s == '-';
	uint64_t v;
	int r = parse_u64(s + (negative || *s == '+'), &v);

	if (r < 0)
		return r;
	if (v > INT64_MAX)
		return -ERANGE;
	*ret = negative ? -(int64_t)v : (int64_t)v;
	return 0;
}

int parse_bool(const char *s, bool *ret)
{
	static const char *const words[][6] = {
		{"0", "no", "n", "false", "f", "off"},
		{"1", "yes", "y", "true", "t", "on"},
	};

	for (size_t v = 0; v < 2; v++)
		for (size_t i = 0; i < ELEMENTSOF(words[v]); i++)
			if (strcasecmp(s, words[v][i]) == 0) {
				*ret = v;
				return 0;
			}
	return -EINVAL;
}

static const struct {
	const char *name;
	usec_t usec;
} time_units[] = {
	{"", USEC_PER_SEC},
	{"us", 1},
	{"usec", 1},
	{"\xc2\xb5s", 1},
	{"\xce\xbcs", 1},
	{"ms", USEC_PER_MSEC},
	{"msec", USEC_PER_MSEC},
	{"s", USEC_PER_SEC},
	{"sec", USEC_PER_SEC},
	{"second", USEC_PER_SEC},
	{"seconds", USEC_PER_SEC},
	{"m", 60 * USEC_PER_SEC},
	{"min", 60 * USEC_PER_SEC},
	{"minute", 60 * USEC_PER_SEC},
	{"minutes", 60 * USEC_PER_SEC},
	{"h", 3600 * USEC_PER_SEC},
	{"hr", 3600 * USEC_PER_SEC},
	{"hour", 3600 * USEC_PER_SEC},
	{"hours", 3600 * USEC_PER_SEC},
	{"d", 24 * 3600 * USEC_PER_SEC},
	{"day", 24 * 3600 * USEC_PER_SEC},
	{"days", 24 * 3600 * USEC_PER_SEC},
	{"w", 7 * 24 * 3600 * USEC_PER_SEC},
	{"week", 7 * 24 * 3600 * USEC_PER_SEC},
	{"weeks", 7 * 24 * 3600 * USEC_PER_SEC},
};

/* The unit's name at *s is all that is neither digit nor blank: "1min30s" is two terms. */
static int take_time_unit(const char **s, usec_t *ret)
{
	const char *p = *s;
	size_t n = 0;

	while (p[n] && !is_digit(p[n]) && !is_blank(p[n]))
		n++;
	for (size_t i = 0; i < ELEMENTSOF(time_units); i++)
		if (strlen(time_units[i].name) == n && memcmp(time_units[i].name, p, n) == 0) {
			*ret = time_units[i].usec;
			*s = p + n;
			return 0;
		}
	return -EINVAL;
}

/* One term such as "1.5min" at *s. */
static int take_time_term(const char **s, usec_t *ret)
{
	const char *p = *s, *fraction = NULL;
	uint64_t whole;
	usec_t unit, v, part;
	int r = take_u64(&p, &whole);

	if (r < 0)
		return r;
	if (*p == '.') {
		fraction = ++p;
		if (!is_digit(*p))
			return -EINVAL;
		while (is_digit(*p))
			p++;
	}
	p = skip_blanks(p);
	r = take_time_unit(&p, &unit);
	if (r < 0)
		return r;
	if (__builtin_mul_overflow(whole, unit, &v))
		return -ERANGE;
	/* Digit by digit in whole microseconds; what is finer is dropped. */
	for (part = unit; fraction && is_digit(*fraction); fraction++) {
		part /= 10;
		if (__builtin_add_overflow(v, part * (usec_t)(*fraction - '0'), &v))
			return -ERANGE;
	}
	*s = p;
	*ret = v;
	return 0;
}

int parse_time_span(const char *s, usec_t *ret)
{
	usec_t sum = 0;

	s = skip_blanks(s);
	if (strcmp(s, "infinity") == 0) {
		*ret = USEC_INFINITY;
		return 0;
	}
	do {
		usec_t v;
		int r = take_time_term(&s, &v);

		if (r < 0)
			return r;
		if (__builtin_add_overflow(sum, v, &sum) || sum == USEC_INFINITY)
			return -ERANGE;
		s = skip_blanks(s);
	} while (*s);
	*ret = sum;
	return 0;
}

int parse_size(const char *s, uint64_t *ret)
{
	static const char units[] = "BKMGTPE";
	const char *unit;
	uint64_t v;
	int r = take_u64(&s, &v);

	if (r < 0)
		return r;
	s = skip_blanks(s);
	if (*s) {
		unit = strchr(units, *s);
		if (!unit || s[1])
			return -EINVAL;
		if (__builtin_mul_overflow(v, UINT64_C(1) << (10 * (unit - units)), &v))
			return -ERANGE;
	}
	*ret = v;
	return 0;
}

/* "RTMIN+3", "RTMAX-1", "RTMIN". glibc knows where the real-time signals start only when run. */
static int parse_rt_signal(const char *s, int *ret)
{
	bool from_min = strncmp(s, "RTMIN", 5) == 0;
	uint64_t n = 0;
	int r;

	if (!from_min && strncmp(s, "RTMAX", 5) != 0)
		return -EINVAL;
	s += 5;
	if (*s) {
		if (*s != (from_min ? '+' : '-'))
			return -EINVAL;
		r = parse_u64(s + 1, &n);
		if (r < 0)
			return r;
		if (n > (uint64_t)(SIGRTMAX - SIGRTMIN))
			return -ERANGE;
	}
	*ret = from_min ? SIGRTMIN + (int)n : SIGRTMAX - (int)n;
	return 0;
}

int parse_signal(const char *s, int *ret)
{
	uint64_t n;
	int r = parse_u64(s, &n);

	if (r == 0) {
		/* Between the classic and the real-time ones are those glibc keeps for itself. */
		if (n < 1 || n > (uint64_t)SIGRTMAX || (n > SIGSYS && n < (uint64_t)SIGRTMIN))
			return -ERANGE;
		*ret = (int)n;
		return 0;
	}
	if (r == -ERANGE)
		return r;
	if (strncmp(s, "SIG", 3) == 0)
		s += 3;
	for (int i = 1; i <= SIGSYS; i++) {
		const char *name = sigabbrev_np(i);

		if (name && strcmp(s, name) == 0) {
			*ret = i;
			return 0;
		}
	}
	return parse_rt_signal(s, ret);
}

int parse_cpu_list(const char *s, cpu_set_t *ret)
{
	static const char separators[] = ", \t";
	cpu_set_t set;

	CPU_ZERO(&set);
	for (s += strspn(s, separators); *s; s += strspn(s, separators)) {
		uint64_t from, to;
		int r = take_u64(&s, &from);

		if (r < 0)
			return r;
		to = from;
		if (*s == '-') {
			s++;
			r = take_u64(&s, &to);
			if (r < 0)
				return r;
		}
		if (*s && !strchr(separators, *s))
			return -EINVAL;
		if (to < from)
			return -EINVAL;
		if (to >= CPU_SETSIZE)
			return -ERANGE;
		for (uint64_t i = from; i <= to; i++)
			CPU_SET(i, &set);
	}
	if (CPU_COUNT(&set) == 0)
		return -EINVAL;
	*ret = set;
	return 0;
}

static int parse_limit_value(const char *s, bool sizes, rlim_t *ret)
{
	uint64_t v;
	int r;

	if (strcmp(s, "infinity") == 0) {
		*ret = RLIM_INFINITY;
		return 0;
	}
	r = sizes ? parse_size(s, &v) : parse_u64(s, &v);
	if (r < 0)
		return r;
	/* The last value there is means infinity to the kernel; as a number it is out of range. */
	if (v >= RLIM_INFINITY)
		return -ERANGE;
	*ret = v;
	return 0;
}

int parse_limit(const char *s, bool sizes, rlim_t *ret_soft, rlim_t *ret_hard)
{
	const char *colon = strchr(s, ':');
	char left[32];
	rlim_t soft = 0, hard = 0;
	int r;

	if (!colon) {
		r = parse_limit_value(s, sizes, &soft);
		hard = soft;
	} else {
		/* 20 digits are the longest number that fits: a longer left side is out of range.
		 */
		if ((size_t)(colon - s) >= sizeof(left))
			return -ERANGE;
		memcpy(left, s, (size_t)(colon - s));
		left[colon - s] = 0;
		r = parse_limit_value(left, sizes, &soft);
		if (r == 0)
			r = parse_limit_value(colon + 1, sizes, &hard);
	}
	if (r < 0)
		return r;
	*ret_soft = soft;
	*ret_hard = hard;
	return 0;
}

int parse_word(const char *s, const char *const names[], size_t n, int *ret)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(s, names[i]) == 0) {
			*ret = (int)i;
			return 0;
		}
	return -EINVAL;
}
