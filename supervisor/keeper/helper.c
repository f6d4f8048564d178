/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* In the new process; never returns. */
static _Noreturn void execute(const char *path, char *const *args, const int *fds, unsigned n_fds)
{
	const struct sigaction plain = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < _NSIG; sig++)
		(void)sigaction(sig, &plain, NULL);
	sigemptyset(&none);
	for (unsigned i = 0; i < n_fds; i++)
		if (dup2(fds[i], HELPER_FD + (int)i) < 0)
			_exit(EXIT_FAILURE);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(path, args, environ);
	_exit(127);
}

/* Not posix_spawn(3), whose caller stands still until the program has been read from the disk. */
static int spawn(const char *path, char *const *args, const int *fds, unsigned n_fds)
{
	sigset_t all, old;
	pid_t pid;

	if (access(path, X_OK) < 0)
		return -errno;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		execute(path, args, fds, n_fds);
	if (pid < 0)
		pid = -errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return pid;
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

int helper_unit_text(const struct unit *u)
{
	_cleanup_close_ int fd = memfd_create("unit", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (pwrite(fd, u->text, u->text_len, 0) != (ssize_t)u->text_len)
		return -EIO;
	return STEAL_FD(fd);
}
