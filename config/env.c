/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "config/env.h"
#include "config/file.h"
#include "config/setting.h"
#include "config/utf8.h"

#define ENV_FILE_MAX (1024u * 1024)

struct env_parser {
	const char *p; /* NUL-terminated text */
	unsigned line;
	char *out; /* room for the whole text: nothing gets longer by parsing */
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static char take(struct env_parser *e)
{
	char c = *e->p++;

	e->line += c == '\n';
	return c;
}

static void put(struct env_parser *e, char c)
{
	e->out[e->len++] = c;
}

static void skip_line(struct env_parser *e)
{
	while (*e->p && *e->p != '\n')
		e->p++;
}

/* To the next line that is neither blank nor comment. False at the end of the text. */
static bool next_line(struct env_parser *e)
{
	for (;;) {
		while (is_blank(*e->p) || *e->p == '\n')
			take(e);
		if (*e->p != '#' && *e->p != ';')
			return *e->p;
		skip_line(e);
	}
}

/* A part of a value within quotes; the text's end closes it too, as in systemd. */
static void take_quoted(struct env_parser *e, char quote)
{
	while (*e->p) {
		char c = take(e);

		if (c == quote)
			return;
		if (c == '\\' && quote == '"' && *e->p) {
			c = take(e);
			if (c == '\n')
				continue;
			if (!strchr("\"\\`$", c))
				put(e, '\\');
		}
		put(e, c);
	}
}

/* What is not in quotes; once begun it goes on to the line's end, and quotes are text in it. */
static void take_plain(struct env_parser *e)
{
	size_t end = e->len; /* behind the last character that is no trailing blank */

	while (*e->p && *e->p != '\n') {
		char c = take(e);

		if (c == '\\') {
			if (!*e->p)
				break;
			/* A blank that is escaped is wanted, even at the end. */
			c = take(e);
			if (c != '\n')
				put(e, c);
			end = e->len;
			continue;
		}
		put(e, c);
		if (!is_blank(c))
			end = e->len;
	}
	e->len = end;
}

static void take_value(struct env_parser *e)
{
	for (;;) {
		while (is_blank(*e->p))
			take(e);
		if (*e->p == '\'' || *e->p == '"')
			take_quoted(e, take(e));
		else
			break;
	}
	take_plain(e);
}

/* The line at e->p as NAME=value in e->out; NULL, or why it is none. */
static const char *take_variable(struct env_parser *e)
{
	e->len = 0;
	while (*e->p && *e->p != '\n' && *e->p != '=')
		put(e, take(e));
	if (*e->p != '=')
		return "line without a '=', skipped";
	while (e->len > 0 && is_blank(e->out[e->len - 1]))
		e->len--;
	put(e, take(e));
	take_value(e);
	e->out[e->len] = 0;
	return env_assignment_valid(e->out) ? NULL : "no NAME=value, skipped";
}

int env_parse(const char *text, size_t len, struct strv *env, env_skipped_fn skipped, void *user)
{
	_cleanup_free_ char *room = malloc(len + 1);
	struct env_parser e = {.p = text, .line = 1, .out = room};

	if (!room)
		return -ENOMEM;
	if (memchr(text, 0, len) || !utf8_valid(text, len))
		return -EBADMSG;
	while (next_line(&e)) {
		unsigned line = e.line;
		const char *problem = take_variable(&e);
		int r = 0;

		if (!problem)
			r = strv_copy(env, e.out);
		else if (skipped)
			r = skipped(user, line, problem);
		if (r < 0)
			return r;
	}
	return 0;
}

int env_read(const char *path, struct strv *env, env_skipped_fn skipped, void *user)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = file_read(path, ENV_FILE_MAX, &text, &len);

	return r < 0 ? r : env_parse(text, len, env, skipped, user);
}

/* Of each name only the last setting stays. */
static void keep_last(struct strv *env)
{
	size_t n = 0;

	for (size_t i = 0; i < env->n; i++) {
		char *s = env->items[i];
		size_t name = strcspn(s, "=") + 1, at = 0;

		while (at < n && strncmp(env->items[at], s, name) != 0)
			at++;
		if (at < n)
			free(env->items[at]);
		else
			n++;
		env->items[at] = s;
	}
	env->items[n] = NULL;
	env->n = n;
}

static int collect(const struct unit *u, struct strv *env, const char **ret_path)
{
	int r = strv_init(env);

	for (char **s = u->environment; *s && r == 0; s++)
		r = strv_copy(env, *s);
	for (size_t i = 0; i < u->n_environment_files && r == 0; i++) {
		const struct env_file *f = &u->environment_files[i];

		r = env_read(f->path, env, NULL, NULL);
		if (r == -ENOENT && f->optional)
			r = 0;
		if (r < 0 && r != -ENOMEM && ret_path)
			*ret_path = f->path;
	}
	return r;
}

int unit_environment(const struct unit *u, char ***ret_env, const char **ret_path)
{
	struct strv env = {0};
	int r = collect(u, &env, ret_path);

	if (r < 0) {
		strv_clear(&env);
		return r;
	}
	keep_last(&env);
	*ret_env = env.items;
	return 0;
}
