/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that refer to the process itself. The kernel does not keep numbers in them but tasks
 * and memories, so after a swap they would speak of the dead: owners that are told of input
 * (F_SETOWN, O_ASYNC, leases, watched folders), pidfds, open files of /proc/self. They are looked
 * for at leisure, and the new main thread makes them anew when all threads are there.
 */
#include "supervisor/twin/selfref.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#define ARGS(...)                                                                                  \
	(const uint64_t[6])                                                                        \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static bool is_ours(struct twin_engine *e, int type, pid_t owner)
{
	switch (type) {
	case F_OWNER_TID:
		return thread_find(e, owner) != NULL;
	case F_OWNER_PID:
		return owner == e->pid;
	case F_OWNER_PGRP: /* it leads it, alone: else it would not be armed */
		return owner == e->pid && getpgid(e->pid) == owner;
	default:
		return false;
	}
}

static void keep_owner(struct twin_engine *e, const struct twin *w, const struct file_entry *f)
{
	struct leader_calls *l = &e->leader_calls;
	struct f_owner_ex owner = {0};
	_cleanup_close_ int fd = (int)syscall(SYS_pidfd_getfd, w->pidfd, f->fd, 0);

	if (fd < 0 || fcntl(fd, F_GETOWN_EX, &owner) < 0 || owner.pid <= 0 ||
		!is_ours(e, owner.type, owner.pid))
		return;
	owner.pid = namespace_inner(e, owner.pid);
	leader_call(l, SYS_fcntl,
		ARGS((uint64_t)f->fd, F_SETOWN_EX, leader_data(l, &owner, sizeof(owner))));
}

static void replace(struct twin_engine *e, const struct file_table *t, const struct file_entry *f,
	bool close_on_exec)
{
	uint64_t opened = (uint64_t)files_lowest_free(t);

	leader_call(&e->leader_calls, SYS_dup3,
		ARGS(opened, (uint64_t)f->fd, close_on_exec ? O_CLOEXEC : 0));
	leader_call(&e->leader_calls, SYS_close, ARGS(opened));
}

static void keep_pidfd(struct twin_engine *e, const struct twin *w, const struct file_entry *f)
{
	uint64_t pid = 0, flags = 0;
	char text[512];

	if (proc_read(text, sizeof(text), "%d/fdinfo/%d", w->pid, f->fd) <= 0 ||
		proc_field(text, "Pid", 10, &pid) < 0 || proc_field(text, "flags", 8, &flags) < 0 ||
		!thread_find(e, (pid_t)pid))
		return;
	/* O_EXCL stands for PIDFD_THREAD in both. */
	leader_call(&e->leader_calls, SYS_pidfd_open,
		ARGS((uint64_t)namespace_inner(e, (pid_t)pid), flags & (O_EXCL | O_NONBLOCK)));
	replace(e, &w->files, f, flags & O_CLOEXEC);
}

static void keep_proc_file(struct twin_engine *e, const struct twin *w, const struct file_entry *f)
{
	const int kept = O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECTORY | O_PATH;
	struct leader_calls *l = &e->leader_calls;
	const char *path = w->files.pool + f->path;
	char own[32], renamed[128];

	snprintf(own, sizeof(own), "/proc/%d/", e->pid);
	if (!f->path || !f->flags_known || strncmp(path, own, strlen(own)) != 0)
		return;
	path = namespace_path(e, path, renamed, sizeof(renamed));
	leader_call(l, SYS_openat,
		ARGS((uint64_t)AT_FDCWD, leader_data(l, path, strlen(path) + 1),
			(uint64_t)(f->flags & kept)));
	if (f->offset > 0)
		leader_call(l, SYS_lseek,
			ARGS((uint64_t)files_lowest_free(&w->files), (uint64_t)f->offset,
				SEEK_SET));
	replace(e, &w->files, f, f->close_on_exec);
}

void selfref_keep(struct twin_engine *e, const struct twin *w)
{
	/* First what replaces files, for the owner belongs to the file. */
	for (size_t i = 0; i < w->files.n; i++) {
		const struct file_entry *f = &w->files.entries[i];
		if (f->kind == FILE_PIDFD)
			keep_pidfd(e, w, f);
		else if (f->kind == FILE_PATH && f->fd > 2)
			keep_proc_file(e, w, f);
	}
	for (size_t i = 0; i < w->files.n; i++)
		if (w->files.entries[i].fd > 2)
			keep_owner(e, w, &w->files.entries[i]);
}
