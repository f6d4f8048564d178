/* SPDX-License-Identifier: Apache-2.0 */
/* Values that only [Probe NAME] has. */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "config/parse.h"
#include "config/setting.h"
#include "config/strv.h"

#define ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* Whether a text, expanded, is what a key allows. */
typedef bool (*valid_fn)(const char *s);

static int set_valid(struct assignment *a, char **field, valid_fn valid)
{
	char *text = NULL;
	int r = assignment_expand(a, a->value, &text);

	if (r <= 0)
		return r;
	if (!valid(text)) {
		free(text);
		return assignment_not_parsed(a, -EINVAL);
	}
	free(*field);
	*field = text;
	return 0;
}

bool mark_valid(const char *s)
{
	size_t n = strspn(s, ALNUM "-_.:/");

	return n > 0 && n <= PROBE_NAME_MAX && !s[n];
}

int set_mark(struct assignment *a, void *field)
{
	return set_valid(a, field, mark_valid);
}

/* The index of a mark among those of this probe, added where it is new; or negative errno. */
static int mark_index(struct probe_settings *p, const char *mark)
{
	char **more;

	for (size_t i = 0; i < p->n_marks; i++)
		if (strcmp(p->marks[i], mark) == 0)
			return (int)i;
	if (p->n_marks >= PROBE_MARKS_MAX)
		return -E2BIG;
	more = reallocarray(p->marks, p->n_marks + 2, sizeof(char *));
	if (!more)
		return -ENOMEM;
	p->marks = more;
	more[p->n_marks] = strdup(mark);
	more[p->n_marks + 1] = NULL;
	return more[p->n_marks] ? (int)p->n_marks++ : -ENOMEM;
}

/* "a>b>c" is a>b and b>c. 1, or 0 after reporting. */
static int add_edges(struct assignment *a, struct probe_settings *p, char *word)
{
	char *rest = word, *mark;
	int before = -1;
	unsigned n = 0;

	while ((mark = strsep(&rest, ">"))) {
		struct probe_edge *more;
		int i = mark_valid(mark) ? mark_index(p, mark) : -EINVAL;

		if (i == -ENOMEM)
			return i;
		if (i == -E2BIG)
			return assignment_wrong(a, "more than %d marks", PROBE_MARKS_MAX);
		if (i < 0)
			return assignment_wrong(a, "\"%s\" is no mark", excerpt_of(mark).text);
		if (n++ > 0) {
			if (p->n_edges >= PROBE_EDGES_MAX)
				return assignment_wrong(a, "more than %d pairs", PROBE_EDGES_MAX);
			more = reallocarray(p->edges, p->n_edges + 1, sizeof(*more));
			if (!more)
				return -ENOMEM;
			p->edges = more;
			more[p->n_edges++] = (struct probe_edge){(uint8_t)before, (uint8_t)i};
		}
		before = i;
	}
	return n < 2 ? assignment_wrong(a, "\"%s\" is no pair", excerpt_of(word).text) : 1;
}

/* A list like others: a second assignment adds, an empty one resets. */
int set_order(struct assignment *a, void *field)
{
	struct probe_settings *p = field; /* marks and edges go together */
	char **words;
	int r;

	if (!*a->value) {
		p->n_edges = p->n_marks = 0;
		if (p->marks)
			strv_reset(p->marks);
		return 0;
	}
	r = assignment_words(a, &words);
	if (r <= 0)
		return r;
	for (char **w = words; *w && r > 0; w++)
		r = add_edges(a, p, *w);
	strv_free(words);
	return r < 0 ? r : 0;
}

int set_size(struct assignment *a, void *field)
{
	int r = parse_size(a->value, field);

	return r < 0 ? assignment_not_parsed(a, r) : 0;
}

/* In thousandths. */
int set_hertz(struct assignment *a, void *field)
{
	const char *s = a->value;
	uint64_t v = 0, unit = 1000;
	bool point = false;

	for (; *s && v < UINT32_MAX; s++) {
		if (*s == '.' && !point && s != a->value && s[1]) {
			point = true;
		} else if (*s >= '0' && *s <= '9' && unit > (point ? 1 : 0)) {
			unit = point ? unit / 10 : unit;
			v = v * 10 + (uint64_t)(*s - '0');
		} else {
			return assignment_not_parsed(a, -EINVAL);
		}
	}
	v *= unit;
	if (v > 100000000u)
		return assignment_not_parsed(a, -ERANGE);
	if (!*a->value)
		return assignment_not_parsed(a, -EINVAL);
	*(unsigned *)field = (unsigned)v;
	return 0;
}

/* Tolerate=: its default depends on the kind. */
int set_count(struct assignment *a, void *field)
{
	struct probe_settings *p =
		(void *)((char *)field - offsetof(struct probe_settings, tolerate));

	p->tolerate_set = true;
	return set_unsigned(a, field);
}

static bool ros_name_valid(const char *s)
{
	size_t n = strspn(s, ALNUM "_/");

	return n > 0 && n < 256 && !s[n] && (s[0] < '0' || s[0] > '9') && !strstr(s, "//");
}

int set_ros_name(struct assignment *a, void *field)
{
	return set_valid(a, field, ros_name_valid);
}

static bool url_valid(const char *s)
{
	size_t scheme = strncmp(s, "http://", 7) == 0 ? 7 : strncmp(s, "https://", 8) == 0 ? 8 : 0;

	return scheme && strcspn(s + scheme, "/?#") > 0 && strlen(s) < 2000 && !strpbrk(s, " \"\\");
}

int set_http_url(struct assignment *a, void *field)
{
	return set_valid(a, field, url_valid);
}

static bool port_valid(const char *s)
{
	uint64_t v;

	return parse_u64(s, &v) == 0 && v >= 1 && v <= 65535;
}

/* Numbers only: a name would have to be looked up, which may take longer than a node may hang. */
static bool address_valid(const char *s)
{
	const char *colon = strrchr(s, ':');
	unsigned char raw[sizeof(struct in6_addr)];
	char host[64];
	size_t n;

	if (*s == '/')
		return strlen(s) < 108; /* sun_path */
	if (!colon)
		return port_valid(s);
	n = (size_t)(colon - s);
	if (!port_valid(colon + 1) || n >= sizeof(host) || n < 2)
		return false;
	memcpy(host, s, n);
	host[n] = '\0';
	if (*host != '[')
		return inet_pton(AF_INET, host, raw) == 1;
	if (host[n - 1] != ']')
		return false;
	host[n - 1] = '\0';
	return inet_pton(AF_INET6, host + 1, raw) == 1;
}

int set_address(struct assignment *a, void *field)
{
	return set_valid(a, field, address_valid);
}

static bool bus_name_valid(const char *s)
{
	size_t n = strspn(s, ALNUM "-_.");

	return n > 2 && n < 256 && !s[n] && strchr(s, '.') && *s != '.' && s[n - 1] != '.' &&
	       !strstr(s, "..");
}

int set_bus_name(struct assignment *a, void *field)
{
	return set_valid(a, field, bus_name_valid);
}

static bool bus_address_valid(const char *s)
{
	return strcmp(s, "system") == 0 || strncmp(s, "unix:", 5) == 0 ||
	       strncmp(s, "tcp:", 4) == 0;
}

int set_bus_address(struct assignment *a, void *field)
{
	return set_valid(a, field, bus_address_valid);
}
