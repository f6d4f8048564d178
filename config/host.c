/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "config/env.h"
#include "config/file.h"
#include "config/setting.h"

/* Out of memory here costs one finding, and there is nobody to tell: the caller has no verdict. */
static void found(struct diag_list *diags, enum diag_level level, const struct diag_place *at,
	const char *allowed, const char *path, const char *problem)
{
	if (diag_add(diags, level, at, allowed, "\"%s\": %s", excerpt_of(path).text, problem) < 0)
		return;
}

/* NULL, or why the path cannot be run. The x bits count for root as well. */
static const char *program_problem(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return strerrordesc_np(errno);
	if (S_ISDIR(st.st_mode))
		return "is a folder";
	if (!S_ISREG(st.st_mode))
		return "is not a regular file";
	if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return "is not executable";
	return NULL;
}

static void check_command(const struct unit *u, const char *key, const struct exec_command *c,
	struct diag_list *diags)
{
	const struct diag_place at = {u->path, c->line, "Service", key};
	const char *problem = program_problem(c->argv[0]);

	/* With "-" the unit starts all the same, without what the line was meant to do. */
	if (problem)
		found(diags, c->ignore_failure ? DIAG_WARNING : DIAG_ERROR, &at,
			"the path of an executable file", c->argv[0], problem);
}

static void check_working_directory(const struct unit *u, struct diag_list *diags)
{
	const struct diag_place at = {
		u->path, u->working_directory_line, "Service", "WorkingDirectory"};
	const char *problem = NULL, *path = u->working_directory;
	struct stat st;

	if (stat(path, &st) < 0)
		problem = strerrordesc_np(errno);
	else if (!S_ISDIR(st.st_mode))
		problem = "is not a folder";
	if (problem)
		found(diags, DIAG_ERROR, &at, "an existing folder", path, problem);
}

struct skipped {
	const char *path;
	struct diag_list *diags;
};

static int on_skipped(void *user, unsigned line, const char *what)
{
	struct skipped *s = user;
	const struct diag_place at = {.file = s->path, .line = line};

	return diag_add(
		s->diags, DIAG_WARNING, &at, "NAME=value, or a comment after # or ;", "%s", what);
}

static void check_env_file(const struct unit *u, const struct env_file *f, struct diag_list *diags)
{
	const struct diag_place at = {u->path, f->line, "Service", "EnvironmentFile"};
	struct skipped skipped = {f->path, diags};
	struct strv env;
	int r = strv_init(&env);

	if (r == 0)
		r = env_read(f->path, &env, on_skipped, &skipped);
	strv_clear(&env);
	if (r == 0 || r == -ENOMEM || (r == -ENOENT && f->optional))
		return;
	found(diags, DIAG_ERROR, &at, "a readable file of NAME=value lines", f->path,
		r == -EBADMSG ? "has NUL bytes or is not UTF-8" : file_strerror(r));
}

void unit_check_host(const struct unit *u, struct diag_list *diags)
{
	for (size_t i = 0; i < u->n_exec_start_pre; i++)
		check_command(u, "ExecStartPre", &u->exec_start_pre[i], diags);
	check_command(u, "ExecStart", &u->exec_start, diags);
	if (u->working_directory)
		check_working_directory(u, diags);
	for (size_t i = 0; i < u->n_environment_files; i++)
		check_env_file(u, &u->environment_files[i], diags);
}
