/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <string.h>

#include "config/ini_reader.h"
#include "config/utf8.h"

#define SYNTAX "[Section], Key=value, or a comment after # or ;"

/* What libinih was given last and has to hand to on_pair() before it asks for more. */
enum expect { EXPECT_NOTHING, EXPECT_SECTION, EXPECT_KEY };

struct reader {
	const char *next, *end; /* what is left of the file */
	unsigned lines_taken;

	char *logical; /* room for the whole file: joining lines never makes them longer */
	size_t logical_len;
	unsigned line; /* where the logical line starts */

	enum expect expect;
	unsigned token;
	bool announce;                     /* a section's name went out, its token did not yet */
	bool section_broken;               /* the last header was unreadable */
	char wanted[INI_SECTION_MAX + 1];  /* the section as handed to libinih */
	char section[INI_SECTION_MAX + 1]; /* the section as libinih gave it back */
	char *key, *value;                 /* inside of logical */
	const char *value_problem;

	const struct ini_events *events;
	void *user;
	int error;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Cut the blanks off both ends of s[0..*n). */
static char *trim(char *s, size_t *n)
{
	while (*n > 0 && is_blank(s[*n - 1]))
		(*n)--;
	while (*n > 0 && is_blank(*s)) {
		s++;
		(*n)--;
	}
	return s;
}

const char *text_problem(const char *s, size_t len)
{
	/* NUL and bad UTF-8 say more about a file than a control character: look for them first. */
	if (memchr(s, 0, len))
		return "has a NUL byte";
	if (!utf8_valid(s, len))
		return "is not valid UTF-8";
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7f)
			return "has a control character";
	return NULL;
}

static void broken(struct reader *r, const char *key, const char *subject, const char *problem)
{
	const char *section = r->section_broken ? NULL : r->section;
	char what[128];

	snprintf(what, sizeof(what), "%s %s", subject, problem);
	r->error = r->events->broken(r->user, r->line, section, key, what, SYNTAX);
}

/* The next line as it stands in the file, without its line end. False at the end of the file. */
static bool next_physical(struct reader *r, const char **ret, size_t *ret_len)
{
	const char *s = r->next, *nl;

	if (s == r->end)
		return false;
	nl = memchr(s, '\n', (size_t)(r->end - s));
	r->next = nl ? nl + 1 : r->end;
	r->lines_taken++;
	*ret = s;
	*ret_len = (size_t)((nl ? nl : r->end) - s);
	if (*ret_len > 0 && s[*ret_len - 1] == '\r')
		(*ret_len)--;
	return true;
}

static bool is_comment(const char *s, size_t n)
{
	while (n > 0 && is_blank(*s)) {
		s++;
		n--;
	}
	return n > 0 && (*s == '#' || *s == ';');
}

/* An odd number of backslashes at the end: an even one is a row of escaped backslashes. */
static bool is_continued(const char *s, size_t n)
{
	size_t k = 0;

	while (k < n && s[n - 1 - k] == '\\')
		k++;
	return k % 2 == 1;
}

static bool next_logical(struct reader *r)
{
	bool continued = false;
	const char *s;
	size_t n;

	r->logical_len = 0;
	while (next_physical(r, &s, &n)) {
		if (is_comment(s, n))
			continue;
		if (!continued)
			r->line = r->lines_taken;
		memcpy(r->logical + r->logical_len, s, n);
		r->logical_len += n;
		continued = is_continued(s, n);
		if (!continued)
			return true;
		r->logical[r->logical_len - 1] = ' ';
	}
	return continued; /* the file ends after a backslash: what was read so far still counts */
}

static const char *header_problem(const char *s, size_t n)
{
	if (text_problem(s, n))
		return text_problem(s, n);
	if (!memchr(s, ']', n))
		return "lacks its ']'";
	if (s[n - 1] != ']')
		return "is followed by other text";
	if (n == 2)
		return "has no name";
	if (n - 2 > INI_SECTION_MAX)
		return "has a name longer than 49 bytes";
	for (size_t i = 1; i < n - 1; i++)
		if (strchr("[];", s[i]))
			return "has one of the characters [ ] ; in its name";
	return NULL;
}

static void take_header(struct reader *r, const char *s, size_t n, char *out, size_t size)
{
	const char *problem = header_problem(s, n);

	if (problem) {
		/* What follows belongs nowhere; least of all to the section before. */
		r->section_broken = true;
		broken(r, NULL, "section header", problem);
		snprintf(out, size, "[?]\n");
		return;
	}
	snprintf(r->wanted, sizeof(r->wanted), "%.*s", (int)(n - 2), s + 1);
	snprintf(out, size, "[%s]\n", r->wanted);
	/* libinih tells nobody about a header: the pair "=TOKEN" after it will. */
	r->announce = true;
}

static const char *key_problem(const char *s, size_t n)
{
	if (n == 0)
		return "is missing before the '='";
	if (text_problem(s, n))
		return text_problem(s, n);
	if (n > INI_KEY_MAX)
		return "is longer than 49 bytes";
	for (size_t i = 0; i < n; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
			    (s[i] >= '0' && s[i] <= '9') || strchr("-_.", s[i])))
			return "has a character other than letters, digits and - _ .";
	return NULL;
}

/* False where the line is broken and libinih gets none of it. */
static bool take_assignment(struct reader *r, char *s, size_t n, char *out, size_t size)
{
	char *equals = memchr(s, '=', n), *key, *value;
	size_t key_len, value_len;
	const char *problem;

	if (!equals) {
		problem = text_problem(s, n);
		broken(r, NULL, "line", problem ? problem : "has no '='");
		return false;
	}
	key_len = (size_t)(equals - s);
	key = trim(s, &key_len);
	problem = key_problem(key, key_len);
	if (problem) {
		broken(r, NULL, "key", problem);
		return false;
	}
	value = equals + 1;
	value_len = n - (size_t)(value - s);
	value = trim(value, &value_len);
	r->value_problem = text_problem(value, value_len);
	key[key_len] = 0;
	value[value_len] = 0;
	r->key = key;
	r->value = value;
	r->expect = EXPECT_KEY;
	snprintf(out, size, "%s=%u\n", key, ++r->token);
	return true;
}

/* libinih's reader, with the contract of fgets(). */
static char *feed(char *out, int size, void *stream)
{
	struct reader *r = stream;

	if (r->expect != EXPECT_NOTHING) {
		r->section_broken |= r->expect == EXPECT_SECTION;
		r->expect = EXPECT_NOTHING;
		broken(r, NULL, "line", "is not understood by the INI parser");
	}
	if (!r->error && r->announce) {
		r->announce = false;
		r->expect = EXPECT_SECTION;
		snprintf(out, (size_t)size, "=%u\n", ++r->token);
		return out;
	}
	while (!r->error && next_logical(r)) {
		size_t n = r->logical_len;
		char *s = trim(r->logical, &n);

		if (n == 0)
			continue;
		if (*s == '[') {
			take_header(r, s, n, out, (size_t)size);
			return out;
		}
		if (take_assignment(r, s, n, out, (size_t)size))
			return out;
	}
	return NULL;
}

static void pair_assignment(struct reader *r)
{
	const char *section = r->section_broken ? NULL : r->section;

	if (r->value_problem) {
		broken(r, r->key, "value", r->value_problem);
		return;
	}
	r->error = r->events->assignment(r->user, r->line, section, r->key, r->value);
}

/* libinih's handler. 0 tells it of an error; feed() then finds its expectation unmet. */
static int on_pair(void *user, const char *section, const char *name, const char *value)
{
	struct reader *r = user;
	enum expect expect = r->expect;

	if (strtoul(value, NULL, 10) != r->token)
		return 0;
	if (expect == EXPECT_SECTION && !*name && strcmp(section, r->wanted) == 0) {
		r->expect = EXPECT_NOTHING;
		r->section_broken = false;
		strcpy(r->section, r->wanted);
		r->error = r->events->section(r->user, r->line, r->section);
		return 1;
	}
	if (expect == EXPECT_KEY && strcmp(name, r->key) == 0) {
		r->expect = EXPECT_NOTHING;
		pair_assignment(r);
		return 1;
	}
	return 0;
}

int ini_read(const char *text, size_t len, const struct ini_events *events, void *user)
{
	static const char bom[] = "\xef\xbb\xbf";
	_cleanup_free_ char *logical = malloc(len + 1);
	struct reader r = {
		.next = text,
		.end = text + len,
		.logical = logical,
		.events = events,
		.user = user,
	};

	if (!logical)
		return -ENOMEM;
	if (len >= 3 && memcmp(text, bom, 3) == 0)
		r.next += 3;
	/* Its verdict is known already: whatever libinih refuses, feed() has reported. */
	(void)ini_parse_stream(feed, &r, on_pair, &r);
	return r.error;
}
