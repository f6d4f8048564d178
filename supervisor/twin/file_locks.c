/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/file_locks.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"

/* One line of fdinfo, after "lock:\t": "1: POSIX  ADVISORY  WRITE 123 08:01:4711 0 EOF". */
static bool parse(const char *line, struct file_lock *ret)
{
	char kind[16], type[16], end[32];
	long long start;

	if (sscanf(line, "%*d: %15s %*s %15s %*d %*s %lld %31s", kind, type, &start, end) != 4)
		return false;
	if (strcmp(kind, "POSIX") == 0)
		ret->kind = LOCK_POSIX;
	else if (strcmp(kind, "OFDLCK") == 0)
		ret->kind = LOCK_DESCRIPTION;
	else if (strcmp(kind, "FLOCK") == 0)
		ret->kind = LOCK_FLOCK;
	else
		return false; /* a lease */
	ret->write = strcmp(type, "WRITE") == 0;
	ret->start = start;
	ret->end = strcmp(end, "EOF") == 0 ? INT64_MAX : strtoll(end, NULL, 10);
	return true;
}

void file_locks_read(struct file_lock_table *t, int fd, const char *fdinfo)
{
	const char *line = fdinfo;

	while ((line = strstr(line, "\nlock:\t"))) {
		struct file_lock l = {.fd = fd};
		line += strlen("\nlock:\t");
		/* What does not fit into the text ends without an end of line. */
		if (!strchr(line, '\n')) {
			t->incomplete = true;
			return;
		}
		if (!parse(line, &l))
			continue;
		if (t->n < FILE_LOCKS_MAX)
			t->items[t->n++] = l;
		else
			t->incomplete = true;
	}
}

static bool same_place(const struct file_lock *a, const struct file_lock *b)
{
	return a->fd == b->fd && a->kind == b->kind;
}

static bool is_held(const struct file_lock_table *t, const struct file_lock *l)
{
	for (unsigned i = 0; i < t->n; i++)
		if (same_place(&t->items[i], l) && t->items[i].write == l->write &&
			t->items[i].start <= l->start && t->items[i].end >= l->end)
			return true;
	return false;
}

static void add_call(
	struct twin_engine *e, const struct file_lock *l, short type, int64_t start, int64_t end)
{
	struct flock f = {.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = end == INT64_MAX ? 0 : end - start + 1};
	uint64_t fd = (uint64_t)l->fd, at;

	if (l->kind == LOCK_FLOCK) {
		uint64_t how = type == F_UNLCK ? LOCK_UN
			       : l->write      ? LOCK_EX | LOCK_NB
					       : LOCK_SH | LOCK_NB;
		(void)repair_add(e, SYS_flock, (const uint64_t[6]){fd, how});
		return;
	}
	at = repair_data(e, &f, sizeof(f));
	if (at)
		(void)repair_add(e, SYS_fcntl,
			(const uint64_t[6]){fd, l->kind == LOCK_POSIX ? F_SETLK : F_OFD_SETLK, at});
}

/* Unlock what of n no lock of then covers. */
static void unlock_rest(
	struct twin_engine *e, const struct file_lock_table *then, const struct file_lock *n)
{
	int64_t pos = n->start;

	for (;;) {
		int64_t gap_end = n->end;
		bool covered = false;

		for (unsigned i = 0; i < then->n && !covered; i++) {
			const struct file_lock *t = &then->items[i];
			if (!same_place(t, n) || t->end < pos)
				continue;
			if (t->start <= pos) {
				covered = true;
				gap_end = t->end;
			} else if (t->start - 1 < gap_end) {
				gap_end = t->start - 1;
			}
		}
		if (!covered)
			add_call(e, n, F_UNLCK, pos, gap_end);
		if (gap_end >= n->end)
			return;
		pos = gap_end + 1;
	}
}

void file_locks_reconcile(struct twin_engine *e, const struct file_lock_table *then,
	const struct file_lock_table *now, bool closed)
{
	e->lock_calls_from = e->n_repairs;
	/* The close of any descriptor of a file drops the process's record locks on it. */
	for (unsigned i = 0; i < then->n; i++) {
		const struct file_lock *t = &then->items[i];
		if (!is_held(now, t) || (closed && t->kind == LOCK_POSIX))
			add_call(e, t, t->write ? F_WRLCK : F_RDLCK, t->start, t->end);
	}
	e->lock_calls_to = e->n_repairs;
	for (unsigned i = 0; i < now->n; i++)
		unlock_rest(e, then, &now->items[i]);
}

bool file_locks_are_back(const struct twin_engine *e, const struct twin *w, pid_t memory)
{
	for (size_t i = e->lock_calls_from; i < e->lock_calls_to; i++) {
		int64_t result = 0;
		uint64_t at = w->calls_at + i * sizeof(struct routine_call) +
			      offsetof(struct routine_call, result);
		if (image_read(memory, at, &result, sizeof(result)) < 0 || result < 0)
			return false;
	}
	return true;
}
