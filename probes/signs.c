/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/signs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

static void add_thread(int tasks, const char *tid, struct signs *s)
{
	char path[64], text[128], *end;
	_cleanup_close_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%.20s/schedstat", tid);
	fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return; /* it has ended */
	text[n] = '\0';
	s->cpu += strtoull(text, &end, 10);
	(void)strtoull(end, &end, 10);
	s->slices += strtoull(end, NULL, 10);
	s->n++;
}

int signs_take(pid_t pid, struct signs *ret)
{
	/* readdir(3) allocates. */
	char path[64], buffer[4096] __attribute__((aligned(8)));
	struct signs s = {.at = now_usec()};
	_cleanup_close_ int tasks = -1;
	long n;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tasks < 0)
		return -ESRCH;
	while ((n = syscall(SYS_getdents64, tasks, buffer, sizeof(buffer))) > 0)
		for (long at = 0; at < n;) {
			const struct dirent64 *d = (const struct dirent64 *)(buffer + at);
			if (d->d_name[0] != '.')
				add_thread(tasks, d->d_name, &s);
			at += d->d_reclen;
		}
	if (s.n == 0)
		return -ESRCH;
	*ret = s;
	return 0;
}
