/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The descriptor table of a process, recorded at a checkpoint and compared at a swap.
 *
 * Active and twin share one table, so at a swap it holds what the active had at its end. What is
 * recorded: for each descriptor the text of its /proc link (as a hash: socket and pipe links
 * carry the inode), the offset of what can seek, the path of what can be opened again, and the
 * interest list of each epoll set. What a closed descriptor cannot give back (a connection) is
 * replaced by a placeholder that reads as a lost one.
 *
 * Memory is got by files_reserve() outside of every freeze; a scan that does not fit says
 * -ENOSPC and remembers what it would need.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"
#include "supervisor/twin/file_locks.h"

enum file_kind {
	FILE_PATH,
	FILE_SOCKET,
	FILE_PIPE,
	FILE_EPOLL,
	FILE_SIGNALFD,
	FILE_PIDFD,
	FILE_OTHER,
};

struct file_entry {
	int fd;
	enum file_kind kind;
	uint64_t link_hash;
	bool close_on_exec, flags_known;
	int64_t offset; /* -1: cannot seek */
	int flags;      /* as /proc has them */
	int status;     /* F_GETFL; -1: unknown. Of files and sockets */
	uint32_t path;  /* index into the pool; 0: unknown */
};
struct epoll_entry {
	int epfd, fd;
	uint32_t events;
	uint64_t data;
};
struct file_table {
	struct file_entry *entries;
	struct epoll_entry *epoll;
	char *pool;
	size_t n, n_max, n_epoll, epoll_max, pool_len, pool_max;
	struct file_lock_table locks;
	bool incomplete;   /* an interest list was longer than we can read */
	bool perf;         /* it counts its own events, maybe: they end with the task */
	const char *unfit; /* a descriptor whose kernel state no copy can have; NULL: none */
};

_must_check_ int files_reserve(struct file_table *t);
void files_free(struct file_table *t);
/* pidfd and dir (/proc/PID/fd) are of the process to look at, which must stand still. */
_must_check_ int files_scan(struct file_table *t, pid_t pid, int pidfd, int dir);
/* At leisure: the flags that the scan left out, from a task that shares the table. Programs set
 * close-on-exec at once or never. */
void files_note_flags(struct file_table *t, pid_t pid);
const struct file_entry *files_find(const struct file_table *t, int fd);
/* What is opened when the table is as it was then gets this number. */
int files_lowest_free(const struct file_table *t);
/* The epoll entry, in order of the list; NULL when fd is in no set. */
const struct epoll_entry *files_find_epoll(const struct file_table *t, int epfd, int fd);

struct twin_engine;
struct twin;
struct twin_swap;
/* Append the calls that lead from the table as it is back to the table as it was; pid is a task
 * that shares it. */
void files_reconcile(struct twin_engine *e, pid_t pid, const struct file_table *then,
	const struct file_table *now, struct twin_swap *ret);
/* Append one call; false when the list is full. */
bool repair_add(struct twin_engine *e, long nr, const uint64_t args[6]);
/* Room for len bytes in the twin's repair area: its address there, 0 when full. */
uint64_t repair_data(struct twin_engine *e, const void *data, size_t len);
