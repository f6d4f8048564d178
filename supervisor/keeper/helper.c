/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>

extern char **environ;

static int program_path(const char *program, char ret[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - 1);
	char *slash;

	if (n < 0)
		return -errno;
	ret[n] = '\0';
	slash = strrchr(ret, '/');
	if (!slash || (size_t)(slash + 1 - ret) + strlen(program) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(slash + 1, program);
	return 0;
}

/* Above all numbers that they will get, so that none is overwritten before its turn. */
static int lift(const int *fds, unsigned n, int ret[HELPER_FDS_MAX])
{
	for (unsigned i = 0; i < n; i++) {
		ret[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, HELPER_FD + HELPER_FDS_MAX);
		if (ret[i] < 0)
			return -errno;
	}
	return 0;
}

static int spawn(const char *path, char *const *args, const int *fds, unsigned n_fds)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t all, none;
	pid_t pid = -1;
	int r;

	sigfillset(&all);
	sigemptyset(&none);
	r = posix_spawn_file_actions_init(&actions);
	if (r != 0)
		return -r;
	r = posix_spawnattr_init(&attributes);
	if (r == 0) {
		posix_spawnattr_setsigdefault(&attributes, &all);
		posix_spawnattr_setsigmask(&attributes, &none);
		posix_spawnattr_setflags(
			&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
		for (unsigned i = 0; i < n_fds && r == 0; i++)
			r = posix_spawn_file_actions_adddup2(&actions, fds[i], HELPER_FD + (int)i);
		if (r == 0)
			r = posix_spawn(&pid, path, &actions, &attributes, args, environ);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return r != 0 ? -r : pid;
}

pid_t helper_spawn(const char *program, char *const *argv, const int *fds, unsigned n_fds)
{
	int lifted[HELPER_FDS_MAX] = {-1, -1}, r;
	char path[PATH_MAX], *args[16] = {NULL};

	r = program_path(program, path);
	if (r < 0)
		return r;
	args[0] = path;
	for (size_t i = 1; i < ELEMENTSOF(args) - 1 && argv[i]; i++)
		args[i] = argv[i];
	r = lift(fds, MIN2(n_fds, HELPER_FDS_MAX), lifted);
	if (r == 0)
		r = spawn(path, args, lifted, MIN2(n_fds, HELPER_FDS_MAX));
	for (unsigned i = 0; i < HELPER_FDS_MAX; i++)
		if (lifted[i] >= 0)
			close(lifted[i]);
	return r;
}
