/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Locks on files: POSIX record locks, open file description locks, flock(2). They belong to the
 * descriptor table or to the open file, which twin and original share, so what was held at the
 * checkpoint and still is, stays held. What the original unlocked since is locked again at the
 * swap, what it locked since is unlocked; where another process has the lock by now, that is told.
 *
 * They show in /proc/PID/fdinfo, which is read for files anyway, but not for standard streams.
 * Leases go with the open file as they are.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FILE_LOCKS_MAX 64

struct file_lock {
	int fd;
	enum file_lock_kind { LOCK_POSIX, LOCK_DESCRIPTION, LOCK_FLOCK } kind;
	bool write;
	int64_t start, end; /* inclusive; end INT64_MAX: to the end of the file */
};
struct file_lock_table {
	struct file_lock items[FILE_LOCKS_MAX];
	unsigned n;
	bool incomplete; /* more than FILE_LOCKS_MAX */
};

/* Add those that the text of a descriptor's fdinfo tells. */
void file_locks_read(struct file_lock_table *t, int fd, const char *fdinfo);

struct twin_engine;
struct twin;
/* Append the calls that lead from now to then; closed: other repairs close descriptors. */
void file_locks_reconcile(struct twin_engine *e, const struct file_lock_table *then,
	const struct file_lock_table *now, bool closed);
/* Once the calls have been made: false where somebody else has a lock by now. */
/* memory: a task in whose memory the calls were made. */
bool file_locks_are_back(const struct twin_engine *e, const struct twin *w, pid_t memory);
