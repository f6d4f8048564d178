/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int proc_open(int flags, const char *fmt, va_list ap)
{
	char path[64] = "/proc/";
	int n = vsnprintf(path + 6, sizeof(path) - 6, fmt, ap), fd;

	if (n < 0 || (size_t)n >= sizeof(path) - 6)
		return -ENAMETOOLONG;
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Of a longer text the first read may give a part, but a kernel buffer of this size always holds
 * one that is shorter (fs/seq_file.c: a page, filled as far as whole records go). */
#define COMPLETE 1024

ssize_t proc_reread(int fd, char *buf, size_t size)
{
	size_t len = 0;

	while (len + 1 < size) {
		ssize_t n = pread(fd, buf + len, size - 1 - len, (off_t)len);
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len < COMPLETE)
			break;
	}
	buf[len] = '\0';
	return (ssize_t)len;
}

ssize_t proc_read(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	_cleanup_close_ int fd = proc_open(O_RDONLY, fmt, ap);
	va_end(ap);

	buf[0] = '\0';
	return fd < 0 ? fd : proc_reread(fd, buf, size);
}

int proc_write(const char *text, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	_cleanup_close_ int fd = proc_open(O_WRONLY, fmt, ap);
	va_end(ap);

	if (fd < 0)
		return fd;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int proc_field(const char *text, const char *key, int base, uint64_t *ret)
{
	size_t n = strlen(key);

	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		char *end;
		if (*line == '\n')
			line++;
		if (strncmp(line, key, n) != 0 || line[n] != ':')
			continue;
		line += n + 1;
		uint64_t v = strtoull(line, &end, base);
		if (end == line)
			return -EBADMSG;
		*ret = v;
		return 0;
	}
	return -ENODATA;
}

int proc_stat_field(const char *text, unsigned field, uint64_t *ret)
{
	/* A name may hold anything, but ends with the last parenthesis. */
	const char *p = strrchr(text, ')');

	for (unsigned i = 2; p && i < field; i++)
		p = strchr(p + 1, ' ');
	if (!p || field < 4)
		return -ENODATA;
	*ret = strtoull(p, NULL, 10);
	return 0;
}

pid_t proc_parent(pid_t pid)
{
	char buf[512];
	uint64_t v;

	if (proc_read(buf, sizeof(buf), "%d/status", pid) < 0)
		return -ESRCH;
	return proc_field(buf, "PPid", 10, &v) < 0 ? -ESRCH : (pid_t)v;
}

pid_t proc_tgid(pid_t tid)
{
	char buf[512];
	uint64_t v;

	if (proc_read(buf, sizeof(buf), "%d/status", tid) < 0)
		return -ESRCH;
	return proc_field(buf, "Tgid", 10, &v) < 0 ? -ESRCH : (pid_t)v;
}

int proc_lines_open(struct proc_lines *l, pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	l->len = l->at = 0;
	l->fd = open(path, O_RDONLY | O_CLOEXEC);
	return l->fd < 0 ? -errno : 0;
}

void proc_lines_close(struct proc_lines *l)
{
	closep(&l->fd);
	l->fd = -1;
}

char *proc_lines_next(struct proc_lines *l)
{
	for (;;) {
		char *line = l->buf + l->at, *end = memchr(line, '\n', l->len - l->at);
		ssize_t n;

		if (end) {
			*end = '\0';
			l->at = (size_t)(end - l->buf) + 1;
			return line;
		}
		if (l->at == 0 && l->len == sizeof(l->buf))
			return NULL; /* longer than any path can be */
		memmove(l->buf, line, l->len - l->at);
		l->len -= l->at;
		l->at = 0;
		n = read(l->fd, l->buf + l->len, sizeof(l->buf) - l->len);
		if (n <= 0)
			return NULL;
		l->len += (size_t)n;
	}
}
