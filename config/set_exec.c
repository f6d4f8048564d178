/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "config/setting.h"
#include "config/strv.h"

void exec_command_clear(struct exec_command *c)
{
	strv_free(c->argv);
	*c = (struct exec_command){0};
}

/* Takes the prefix off the first word. 1, or 0 after reporting one that means nothing here. */
static int take_prefix(struct assignment *a, struct exec_command *c)
{
	char *program = c->argv[0];

	if (!program)
		return assignment_wrong(a, "there is no program");
	if (*program == '-') {
		c->ignore_failure = true;
		memmove(program, program + 1, strlen(program));
	}
	if (*program && strchr("@+!:|", *program))
		return assignment_wrong(a, "the prefix '%c' is not supported", *program);
	if (!*program)
		return assignment_wrong(a, "there is no program after the prefix");
	return 1;
}

static int expand_all(struct assignment *a, char **argv)
{
	for (char **word = argv; *word; word++) {
		char *text;
		int r = assignment_expand(a, *word, &text);

		if (r <= 0)
			return r;
		free(*word);
		*word = text;
	}
	return 1;
}

static int check_program(struct assignment *a, const char *program)
{
	size_t n = strlen(program);

	if (*program != '/')
		return assignment_wrong(
			a, "\"%s\" is not an absolute path", excerpt_of(program).text);
	if (program[n - 1] == '/')
		return assignment_wrong(a, "\"%s\" is a folder", excerpt_of(program).text);
	if (n >= PATH_MAX)
		return assignment_wrong(a, "\"%s\" is too long a path", excerpt_of(program).text);
	return 1;
}

/* The value as a command: 1 and *ret, or 0 after reporting what is wrong, or -ENOMEM. */
static int take_command(struct assignment *a, struct exec_command *ret)
{
	struct exec_command c = {.line = a->line};
	int r = assignment_words(a, &c.argv);

	if (r <= 0)
		return r;
	r = take_prefix(a, &c);
	if (r > 0)
		r = expand_all(a, c.argv);
	if (r > 0)
		r = check_program(a, c.argv[0]);
	if (r <= 0) {
		exec_command_clear(&c);
		return r;
	}
	*ret = c;
	return 1;
}

int set_exec_start(struct assignment *a, void *field)
{
	struct exec_command *command = field, c;
	int r;

	if (!*a->value) {
		exec_command_clear(command);
		return 0;
	}
	r = take_command(a, &c);
	if (r <= 0)
		return r;
	if (command->argv) {
		exec_command_clear(&c);
		return assignment_wrong(a,
			"there is a%s %s= in line %u already (an empty %s= drops it)",
			*a->setting->key == 'E' ? "n" : "", a->setting->key, command->line,
			a->setting->key);
	}
	*command = c;
	return 0;
}

int set_exec_start_pre(struct assignment *a, void *field)
{
	struct exec_command **list = field, *more, c;
	size_t *n = &a->unit->n_exec_start_pre;
	int r;

	if (!*a->value) {
		while (*n > 0)
			exec_command_clear(&(*list)[--*n]);
		return 0;
	}
	r = take_command(a, &c);
	if (r <= 0)
		return r;
	more = reallocarray(*list, *n + 1, sizeof(*more));
	if (!more) {
		exec_command_clear(&c);
		return -ENOMEM;
	}
	more[(*n)++] = c;
	*list = more;
	return 0;
}
