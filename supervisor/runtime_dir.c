/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

int runtime_dir_make(const char *path)
{
	_cleanup_free_ char *folder = strdup(path);

	if (!folder)
		return -ENOMEM;
	for (char *p = folder + (*folder == '/'); *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(folder, 0755) < 0 && errno != EEXIST && errno != EROFS)
			return -errno;
		*p = '/';
	}
	return mkdir(folder, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static pid_t read_pid(int fd)
{
	char text[16];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return (pid_t)strtol(text, NULL, 10);
}

int runtime_dir_lock(const char *runtime_dir, pid_t *ret_holder)
{
	static int lock_fd = -1; /* never closed: closing it would be letting go */
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *path = NULL;
	char text[16];

	if (asprintf(&path, "%s/lock", runtime_dir) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	/* Nobody else may open it: whoever can read a file can lock it. */
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return -errno;
		*ret_holder = read_pid(fd);
		return -EBUSY;
	}
	/* For the message above, in the other process; a lock without it is as good. */
	snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) == 0 && pwrite(fd, text, strlen(text), 0) < 0)
		(void)ftruncate(fd, 0);
	lock_fd = STEAL_FD(fd);
	return lock_fd >= 0 ? 0 : -EBADF;
}
