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

pid_t helper_spawn(const char *program, char *const *argv, int fd)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	char path[PATH_MAX], *args[16];
	sigset_t all, none;
	pid_t pid = -1;
	int r;

	r = program_path(program, path);
	if (r < 0)
		return r;
	args[0] = path;
	for (size_t i = 1; i < ELEMENTSOF(args); i++) {
		args[i] = argv[i];
		if (!argv[i])
			break;
	}
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
		/* Onto itself: that clears close-on-exec as well (posix_spawn(3)). */
		if (fd >= 0)
			r = posix_spawn_file_actions_adddup2(&actions, fd, HELPER_FD);
		if (r == 0)
			r = posix_spawn(&pid, path, &actions, &attributes, args, environ);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return r != 0 ? -r : pid;
}
