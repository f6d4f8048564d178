/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"

int layout_reserve(struct layout *l, size_t n)
{
	struct mapping *p;

	if (n <= l->n_max)
		return 0;
	p = realloc(l->items, n * sizeof(*p));
	if (!p)
		return -ENOMEM;
	l->items = p;
	l->n_max = n;
	return 0;
}

void layout_free(struct layout *l)
{
	free(l->items);
	memset(l, 0, sizeof(*l));
}

static const char *hex(const char *p, uint64_t *ret)
{
	uint64_t v = 0;

	for (;; p++) {
		unsigned c = (unsigned char)*p;
		if (c - '0' < 10)
			v = v << 4 | (c - '0');
		else if (c - 'a' < 6)
			v = v << 4 | (c - 'a' + 10);
		else
			break;
	}
	*ret = v;
	return p;
}

/* start-end rwxp offset major:minor inode   name */
static void parse_line(const char *p, struct mapping *m)
{
	uint64_t major, minor;

	*m = (struct mapping){.kind = MAPPING_ANONYMOUS};
	p = hex(p, &m->start);
	p = hex(p + 1, &m->end) + 1;
	m->prot = (uint8_t)((p[0] == 'r' ? PROT_READ : 0) | (p[1] == 'w' ? PROT_WRITE : 0) |
			    (p[2] == 'x' ? PROT_EXEC : 0));
	m->shared = p[3] == 's';
	p = hex(p + 5, &m->offset);
	p = hex(p + 1, &major);
	p = hex(p + 1, &minor) + 1;
	m->device = (uint32_t)(major << 20 | minor);
	for (; *p >= '0' && *p <= '9'; p++)
		m->inode = m->inode * 10 + (uint64_t)(*p - '0');
	p += strspn(p, " ");
	if (m->inode)
		m->kind = MAPPING_FILE;
	else if (strncmp(p, "[v", 2) == 0 || strncmp(p, "[uprobes", 8) == 0)
		m->kind = MAPPING_KERNEL;
	m->aio = strncmp(p, "/[aio]", 6) == 0;
}

int layout_read(struct layout *l, pid_t pid)
{
	char text[16384], path[32];
	size_t len = 0;
	ssize_t n;

	l->n = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((n = read(fd, text + len, sizeof(text) - len)) > 0) {
		char *line = text, *end;
		len += (size_t)n;
		for (; (end = memchr(line, '\n', len - (size_t)(line - text))); line = end + 1) {
			*end = '\0';
			if (l->n < l->n_max)
				parse_line(line, &l->items[l->n]);
			l->n++;
		}
		len -= (size_t)(line - text);
		memmove(text, line, len);
	}
	if (n < 0)
		return -errno;
	return l->n > l->n_max ? -ENOSPC : 0;
}

void layout_insert(struct layout *l, const struct mapping *m)
{
	size_t i = 0;

	if (l->n >= l->n_max)
		return;
	while (i < l->n && l->items[i].start < m->start)
		i++;
	memmove(l->items + i + 1, l->items + i, (l->n - i) * sizeof(*m));
	l->items[i] = *m;
	l->n++;
}

void layout_leave_out(struct layout *l, uint64_t start, uint64_t end)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct mapping *m = &l->items[i];
		if (m->start >= end || m->end <= start) {
			l->items[kept++] = *m;
			continue;
		}
		/* Neighbours may have become one with it. */
		if (m->start < start && m->end > end) {
			if (l->n < l->n_max) {
				memmove(m + 2, m + 1, (l->n - i - 1) * sizeof(*m));
				m[1] = *m;
				m[1].offset += end - m->start;
				m[1].start = end;
				l->n++;
			}
			m->end = start;
			l->items[kept++] = *m;
		} else if (m->start < start) {
			m->end = start;
			l->items[kept++] = *m;
		} else if (m->end > end) {
			m->offset += end - m->start;
			m->start = end;
			l->items[kept++] = *m;
		}
	}
	l->n = kept;
}

/* A stretch in which both layouts have one mapping or none. */
struct stretch {
	uint64_t start, end;
	const struct mapping *then, *now;
};
struct walk {
	const struct layout *then, *now;
	size_t i_then, i_now;
	uint64_t at;
};

static const struct mapping *covering(
	const struct layout *l, size_t *i, uint64_t at, uint64_t *limit)
{
	while (*i < l->n && l->items[*i].end <= at)
		(*i)++;
	if (*i == l->n)
		return NULL;
	if (l->items[*i].start > at) {
		*limit = MIN2(*limit, l->items[*i].start);
		return NULL;
	}
	*limit = MIN2(*limit, l->items[*i].end);
	return &l->items[*i];
}

static bool walk_next(struct walk *w, struct stretch *ret)
{
	for (;;) {
		uint64_t limit = UINT64_MAX;
		ret->then = covering(w->then, &w->i_then, w->at, &limit);
		ret->now = covering(w->now, &w->i_now, w->at, &limit);
		if (limit == UINT64_MAX)
			return false;
		ret->start = w->at;
		ret->end = w->at = limit;
		if (ret->then || ret->now)
			return true;
	}
}

static bool same(const struct mapping *a, const struct mapping *b)
{
	if (!a || !b)
		return false;
	if (a->kind != b->kind || a->shared != b->shared)
		return false;
	if (a->kind != MAPPING_FILE)
		return true;
	return a->inode == b->inode && a->device == b->device &&
	       a->offset - a->start == b->offset - b->start;
}

static int call(struct injection *in, long nr, const uint64_t args[6])
{
	long result;
	int r = inject_call(in, nr, args, &result);

	return r < 0 ? r : result < 0 && result > -4096 ? (int)result : 0;
}

int layout_unmap(struct injection *in, const struct layout *then, const struct layout *now)
{
	struct walk w = {.then = then, .now = now};
	struct stretch s;
	uint64_t start = 0, end = 0;
	int r = 0;

	for (bool more = true; r == 0 && more;) {
		more = walk_next(&w, &s);
		if (more && (!s.now || same(s.then, s.now)))
			continue;
		if (more && (s.now->kind == MAPPING_KERNEL || s.now->aio))
			return -ESTALE;
		if (more && s.start == end) {
			end = s.end;
			continue;
		}
		if (end > start)
			r = call(in, SYS_munmap, (const uint64_t[6]){start, end - start});
		start = s.start;
		end = s.end;
	}
	return r;
}

static int open_in(struct injection *in, const char *path, uint64_t path_at, bool write)
{
	long result = -EFAULT;
	int r = image_write(in->tid, path_at, path, strlen(path) + 1);

	if (r == 0)
		r = inject_call(in, SYS_openat,
			(const uint64_t[6]){(uint64_t)AT_FDCWD, path_at,
				(write ? O_RDWR : O_RDONLY) | O_CLOEXEC},
			&result);
	return r < 0 ? r : (int)result;
}

static bool is_inode(pid_t pid, int fd, uint64_t inode)
{
	char path[48];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	return stat(path, &st) == 0 && st.st_ino == inode;
}

/* The descriptor, in a table that is the active's too. */
static int open_file(struct injection *in, const struct mapping *m, pid_t source, uint64_t path_at)
{
	char link[64], path[PATH_MAX];
	bool write = m->shared && (m->prot & PROT_WRITE);
	ssize_t len;
	int fd;

	snprintf(link, sizeof(link), "/proc/%d/map_files/%lx-%lx", source, (unsigned long)m->start,
		(unsigned long)m->end);
	fd = open_in(in, link, path_at, write);
	if (fd == -EPERM || fd == -EACCES || fd == -ENOENT) {
		len = readlink(link, path, sizeof(path) - 1);
		if (len < 0)
			return -errno;
		path[len] = '\0';
		fd = open_in(in, path, path_at, write);
	}
	if (fd >= 0 && !is_inode(in->tid, fd, m->inode)) {
		(void)!call(in, SYS_close, (const uint64_t[6]){(uint64_t)fd});
		return -ESTALE;
	}
	return fd;
}

static int map(struct injection *in, const struct stretch *s, pid_t source, uint64_t path_at)
{
	const struct mapping *m = s->then;
	uint64_t flags = MAP_FIXED_NOREPLACE | (m->shared ? MAP_SHARED : MAP_PRIVATE);
	int r, fd = -1;

	if (m->kind == MAPPING_KERNEL || m->aio)
		return -ESTALE;
	if (m->kind == MAPPING_FILE) {
		fd = open_file(in, m, source, path_at);
		if (fd < 0)
			return fd;
	} else
		flags |= MAP_ANONYMOUS | (m->prot ? 0 : MAP_NORESERVE);
	r = call(in, SYS_mmap,
		(const uint64_t[6]){s->start, s->end - s->start, m->prot, flags, (uint64_t)fd,
			fd >= 0 ? m->offset + (s->start - m->start) : 0});
	if (fd >= 0 && call(in, SYS_close, (const uint64_t[6]){(uint64_t)fd}) < 0 && r == 0)
		r = -EIO;
	return r;
}

int layout_map(struct injection *in, const struct layout *then, const struct layout *now,
	pid_t source, uint64_t path_at)
{
	struct walk w = {.then = then, .now = now};
	struct stretch s;
	int r = 0;

	while (r == 0 && walk_next(&w, &s)) {
		if (!s.then)
			continue;
		if (!same(s.then, s.now))
			r = map(in, &s, source, path_at);
		else if (s.then->prot != s.now->prot)
			r = call(in, SYS_mprotect,
				(const uint64_t[6]){s.start, s.end - s.start, s.then->prot});
	}
	return r;
}
