/* SPDX-License-Identifier: Apache-2.0 */
/* [Twin] GuardChildren= and ExcludeMemory= */
#include <errno.h>
#include <string.h>

#include "config/mapping_pattern.h"
#include "config/setting.h"
#include "config/strv.h"

#define EXCLUSIONS_AT_MOST 64

/* Identity= may come later: what does not fit is told at the end. */
int set_guard_children(struct assignment *a, void *field)
{
	a->unit->twin.guard_children_line = a->line;
	return set_bool(a, field);
}

void memory_exclusions_clear(struct twin_settings *t)
{
	while (t->n_exclusions > 0)
		free(t->exclusions[--t->n_exclusions].pattern);
	free(t->exclusions);
	t->exclusions = NULL;
}

/* "PATTERN", "PATTERN:zero" or "PATTERN:share"; a name may have colons of its own, and what follows
 * one of those is part of it. */
static bool take_setting(char *word, const char *setting)
{
	size_t len = strlen(word), tail = strlen(setting);

	if (len <= tail || strcmp(word + len - tail, setting) != 0)
		return false;
	word[len - tail] = '\0';
	return true;
}

/* 1 and *ret; 0 after reporting what is wrong; -ENOMEM. */
static int parse_exclusion(struct assignment *a, const char *text, struct memory_exclusion *ret)
{
	struct memory_exclusion x = {.pattern = strdup(text)};
	const char *vital;
	int r = 1;

	if (!x.pattern)
		return -ENOMEM;
	x.share = take_setting(x.pattern, ":share");
	if (!x.share)
		(void)take_setting(x.pattern, ":zero");
	vital = mapping_pattern_vital(x.pattern);
	if (vital)
		r = assignment_wrong(a, "\"%s\" means %s, too, without which no program goes on",
			excerpt_of(x.pattern).text, vital);
	else if (x.pattern[0] != '/' && x.pattern[0] != '[')
		r = assignment_wrong(
			a, "\"%s\" is no name of a mapping", excerpt_of(x.pattern).text);
	if (r == 1)
		*ret = x;
	else
		free(x.pattern);
	return r;
}

static int add(struct assignment *a, struct twin_settings *t, const char *word)
{
	struct memory_exclusion x = {0}, *more;
	int r = parse_exclusion(a, word, &x);

	if (r <= 0)
		return r;
	more = t->n_exclusions < EXCLUSIONS_AT_MOST
		       ? realloc(t->exclusions, (t->n_exclusions + 1) * sizeof(*more))
		       : NULL;
	if (!more) {
		free(x.pattern);
		return t->n_exclusions < EXCLUSIONS_AT_MOST ? -ENOMEM
							    : assignment_wrong(a, "too many");
	}
	t->exclusions = more;
	t->exclusions[t->n_exclusions++] = x;
	return 0;
}

int set_exclude_memory(struct assignment *a, void *field)
{
	struct twin_settings *t = field;
	char **words;
	int r;

	if (!*a->value) {
		memory_exclusions_clear(t);
		return 0;
	}
	r = assignment_words(a, &words);
	if (r <= 0)
		return r;
	r = 0;
	for (char **w = words; *w && r == 0; w++)
		r = add(a, t, *w);
	strv_free(words);
	return r;
}
