/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/owned.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#define MQUEUE_MAGIC 0x19800202 /* ipc/mqueue.c */
#define CHILDREN_MAX 32

/* One that can only be written to is opened once more: what it says is not among its messages. */
static ssize_t read_queue(int fd, char *text, size_t size)
{
	ssize_t len = pread(fd, text, size - 1, 0);
	char path[32];

	if (len < 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		_cleanup_close_ int again = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		len = again < 0 ? -1 : pread(again, text, size - 1, 0);
	}
	text[MAX2(len, (ssize_t)0)] = '\0';
	return len;
}

bool owned_queue(int fd, const char *link, pid_t pid)
{
	char text[128];
	const char *p;
	struct statfs fs;

	/* A queue is called by its name in a file system that has no folders. */
	if (strrchr(link, '/') != link || fstatfs(fd, &fs) < 0 || fs.f_type != MQUEUE_MAGIC)
		return false;
	if (read_queue(fd, text, sizeof(text)) < 0)
		return false;
	p = strstr(text, "NOTIFY_PID:");
	return p && atoi(p + 11) == pid;
}

static bool is_traced_by(struct twin_engine *e, pid_t pid)
{
	char text[4096];
	uint64_t tracer;

	return proc_read(text, sizeof(text), "%d/status", pid) > 0 &&
	       proc_field(text, "TracerPid", 10, &tracer) == 0 && tracer != 0 &&
	       thread_find(e, (pid_t)tracer);
}

pid_t owned_tracee(struct twin_engine *e, bool all)
{
	const struct inplace_twin *t = e->n_twins > 0 ? &e->twins[0]->in_place : NULL;
	char buf[8192];
	long len;

	for (unsigned i = 0; t && i < MIN2(t->n_children, CHILDREN_MAX); i++)
		if (is_traced_by(e, t->children[i]))
			return t->children[i];
	if (!all)
		return 0;
	_cleanup_close_ int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && (len = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < len;) {
			const struct dirent64 *d = (const struct dirent64 *)(buf + at);
			pid_t pid = isdigit((unsigned char)d->d_name[0]) ? atoi(d->d_name) : 0;

			at += d->d_reclen;
			if (pid && is_traced_by(e, pid))
				return pid;
		}
	return 0;
}
