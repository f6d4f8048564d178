/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "config/setting.h"
#include "config/strv.h"

int set_nothing(struct assignment *a _unused_, void *field _unused_)
{
	return 0;
}

static void replace(char **field, char *value)
{
	free(*field);
	*field = value;
}

int set_description(struct assignment *a, void *field)
{
	const char *bad;
	char *text = NULL;
	int r;

	if (*a->value) {
		/* "at 100% speed" is a fine description: not worth an error. */
		r = specifiers_expand(&a->specifiers, a->value, true, &text, &bad);
		if (r < 0)
			return r;
	}
	replace(field, text);
	return 0;
}

/* A name as useradd takes it, or a number. Whether there is such a user is not known here. */
static bool account_valid(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

	if (s[n] == '$') /* a machine account */
		n++;
	return n > 0 && n < 256 && !s[n] && !strchr("-.$", *s);
}

int set_account(struct assignment *a, void *field)
{
	char *text = NULL;
	int r;

	if (*a->value) {
		r = assignment_expand(a, a->value, &text);
		if (r <= 0)
			return r;
		if (!account_valid(text)) {
			free(text);
			return assignment_wrong(
				a, "\"%s\" is not a valid name", excerpt_of(a->value).text);
		}
	}
	replace(field, text);
	return 0;
}

/* An absolute path out of text, as assignment_expand(). */
static int take_path(struct assignment *a, const char *text, char **ret)
{
	_cleanup_free_ char *path = NULL;
	int r = assignment_expand(a, text, &path);

	if (r <= 0)
		return r;
	if (*path != '/')
		return assignment_wrong(a, "\"%s\" is not an absolute path", excerpt_of(path).text);
	if (strlen(path) >= PATH_MAX)
		return assignment_wrong(a, "\"%s\" is too long a path", excerpt_of(path).text);
	*ret = STEAL_PTR(path);
	return 1;
}

int set_working_directory(struct assignment *a, void *field)
{
	char *path = NULL;
	int r;

	if (*a->value) {
		r = take_path(a, a->value, &path);
		if (r <= 0)
			return r;
	}
	replace(field, path);
	a->unit->working_directory_line = a->line;
	return 0;
}

int set_output(struct assignment *a, void *field)
{
	const char *colon = strchr(a->value, ':');
	size_t n = colon ? (size_t)(colon - a->value) : strlen(a->value);
	char *path = NULL;
	int r;

	for (int i = 0; i < (int)a->setting->max; i++) {
		const char *word = a->setting->words[i];
		bool wants_path = i == OUTPUT_FILE || i == OUTPUT_APPEND;

		if (strlen(word) != n || memcmp(word, a->value, n) != 0)
			continue;
		if (wants_path && (!colon || !colon[1]))
			return assignment_wrong(a, "%s: needs a path", word);
		if (!wants_path && colon)
			break;
		if (wants_path) {
			r = take_path(a, colon + 1, &path);
			if (r <= 0)
				return r;
		}
		*(enum unit_output *)field = (enum unit_output)i;
		replace(&a->unit->standard_output_path, path);
		return 0;
	}
	return assignment_not_parsed(a, -EINVAL);
}

/* What turns one word into an item: 1 and *ret, or 0 after reporting it, or -ENOMEM. */
typedef int (*word_fn)(struct assignment *a, const char *word, char **ret);

static int name_of_word(struct assignment *a, const char *word, char **ret)
{
	_cleanup_free_ char *name = NULL;
	int r = assignment_expand(a, word, &name);
	size_t n;

	if (r <= 0)
		return r;
	n = strlen(name);
	if (n > 4 && strcmp(name + n - 4, ".ini") == 0)
		name[n - 4] = 0;
	if (!unit_id_valid(name))
		return assignment_wrong(a, "\"%s\" is no unit name", excerpt_of(name).text);
	*ret = STEAL_PTR(name);
	return 1;
}

static int variable_of_word(struct assignment *a, const char *word, char **ret)
{
	_cleanup_free_ char *text = NULL;
	int r = assignment_expand(a, word, &text);

	if (r <= 0)
		return r;
	if (!env_assignment_valid(text))
		return assignment_wrong(a, "\"%s\" is no NAME=value", excerpt_of(text).text);
	*ret = STEAL_PTR(text);
	return 1;
}

/* Words to new items; every wrong word is reported. 1 where all are good. */
static int convert_words(struct assignment *a, char **words, word_fn convert, struct strv *items)
{
	bool good = true;

	for (char **w = words; *w; w++) {
		char *item = NULL;
		int r = convert(a, *w, &item);

		if (r > 0)
			r = strv_take(items, item) < 0 ? -ENOMEM : 1;
		if (r < 0)
			return r;
		good &= r > 0;
	}
	return good;
}

/* Adds the value's words to the list; none of them where one is wrong. */
static int add_words(struct assignment *a, char ***list, word_fn convert)
{
	struct strv items = {0};
	char **words;
	int r;

	if (!*a->value) {
		strv_reset(*list);
		return 0;
	}
	r = assignment_words(a, &words);
	if (r <= 0)
		return r;
	r = strv_init(&items);
	if (r == 0)
		r = convert_words(a, words, convert, &items);
	strv_free(words);
	if (r > 0) {
		r = strv_append(list, items.items);
		if (r == 0)
			return 0;
	}
	strv_clear(&items);
	return r;
}

int set_names(struct assignment *a, void *field)
{
	size_t had = strv_length(*(char ***)field);
	int r = add_words(a, field, name_of_word);

	if (r < 0 || !*a->value)
		return r;
	/* Each new name is held against those before it, and PID 1 waits for the result. */
	if (strv_length(*(char ***)field) <= UNIT_NAMES_MAX) {
		strv_uniq(*(char ***)field, had);
		return 0;
	}
	strv_cut(*(char ***)field, had);
	return assignment_wrong(a, "more than %d names", UNIT_NAMES_MAX);
}

int set_environment(struct assignment *a, void *field)
{
	return add_words(a, field, variable_of_word);
}

int set_environment_file(struct assignment *a, void *field)
{
	struct env_file *files = a->unit->environment_files, f = {.line = a->line};
	const char *path = a->value;
	int r;

	(void)field; /* two members go together: list and length */
	if (!*path) {
		for (size_t i = 0; i < a->unit->n_environment_files; i++)
			free(files[i].path);
		a->unit->n_environment_files = 0;
		return 0;
	}
	if (*path == '-') {
		f.optional = true;
		path++;
	}
	/* systemd takes patterns there; a name with a star in it would be a surprise. */
	if (strpbrk(path, "*?["))
		return assignment_wrong(a, "\"%s\" has wildcards", excerpt_of(path).text);
	r = take_path(a, path, &f.path);
	if (r <= 0)
		return r;
	files = reallocarray(files, a->unit->n_environment_files + 1, sizeof(*files));
	if (!files) {
		free(f.path);
		return -ENOMEM;
	}
	files[a->unit->n_environment_files++] = f;
	a->unit->environment_files = files;
	return 0;
}
