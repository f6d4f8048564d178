/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "config/file.h"

/* Open for reading if it is a regular file. */
static int open_regular(const char *path)
{
	/* A FIFO without O_NONBLOCK would hang whoever reads units, which may be PID 1. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return STEAL_FD(fd);
}

int file_read(const char *path, size_t max, char **ret, size_t *ret_len)
{
	_cleanup_close_ int fd = open_regular(path);
	_cleanup_free_ char *text = NULL;
	size_t len = 0, room = 0;

	if (fd < 0)
		return fd;
	/* st_size may be wrong by the time of reading, and is 0 in /proc: read until the end. */
	for (;;) {
		ssize_t n;

		if (len + 1 >= room) {
			char *more = realloc(text, room = room ? room * 2 : 4096);

			if (!more)
				return -ENOMEM;
			text = more;
		}
		n = read(fd, text + len, room - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return -EFBIG;
	}
	text[len] = 0;
	*ret = STEAL_PTR(text);
	*ret_len = len;
	return 0;
}

const char *file_strerror(int error)
{
	return error == -EINVAL ? "not a regular file" : strerrordesc_np(-error);
}
