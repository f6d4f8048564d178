/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

/* Lines of a /proc file of any length, without allocation. */
struct lines {
	int fd;
	size_t len, at;
	char buf[16384];
};

static int lines_open(struct lines *l, pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	l->len = l->at = 0;
	l->fd = open(path, O_RDONLY | O_CLOEXEC);
	return l->fd < 0 ? -errno : 0;
}

/* The next line, NULL at the end; valid until the next call. */
static char *lines_next(struct lines *l)
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

static bool parse_range(const char *line, uint64_t *start, uint64_t *end)
{
	char *p;

	*start = strtoull(line, &p, 16);
	if (p == line || *p != '-')
		return false;
	*end = strtoull(p + 1, &p, 16);
	return *p == ' ';
}

static bool next_range(struct lines *l, uint64_t *start, uint64_t *end)
{
	char *line;

	while ((line = lines_next(l)))
		if (parse_range(line, start, end))
			return true;
	*start = *end = UINT64_MAX;
	return false;
}

static int append(struct marked_list *l, uint64_t start, uint64_t end, int unmark, int mark)
{
	if (l->n >= MARKED_MAX)
		return -E2BIG;
	l->items[l->n++] = (struct marked_range){start, end, unmark, mark};
	return 0;
}

uint64_t mappings_size(pid_t pid)
{
	char text[128];
	return proc_read(text, sizeof(text), "%d/statm", pid) > 0 ? strtoull(text, NULL, 10) : 0;
}

int mappings_left_out(struct marked_list *l, pid_t pid, pid_t copy)
{
	static struct lines mine, theirs;
	uint64_t start, end, has_start, has_end;
	int r = lines_open(&mine, pid, "maps");

	if (r < 0)
		return r;
	r = lines_open(&theirs, copy, "maps");
	if (r < 0) {
		close(mine.fd);
		return r;
	}
	/* Both are in order. Neighbours may be one mapping in one list and two in the other. */
	next_range(&theirs, &has_start, &has_end);
	while (r == 0 && next_range(&mine, &start, &end)) {
		while (r == 0 && start < end) {
			if (has_end <= start) {
				next_range(&theirs, &has_start, &has_end);
				continue;
			}
			if (start < has_start)
				r = append(
					l, start, MIN2(end, has_start), MADV_DOFORK, MADV_DONTFORK);
			start = MIN2(end, has_end);
		}
	}
	close(mine.fd);
	close(theirs.fd);
	return r;
}

int mappings_wiped(struct marked_list *l, pid_t pid)
{
	static struct lines smaps;
	uint64_t start = 0, end = 0;
	char *line;
	int r = lines_open(&smaps, pid, "smaps");

	while (r == 0 && (line = lines_next(&smaps))) {
		uint64_t s, e;
		if (parse_range(line, &s, &e)) {
			start = s;
			end = e;
			if (strstr(line, "/[aio]"))
				r = -ENOTSUP;
		} else if (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " wf"))
			r = append(l, start, end, MADV_KEEPONFORK, MADV_WIPEONFORK);
	}
	if (smaps.fd >= 0)
		close(smaps.fd);
	return r;
}

static int advise(struct injection *in, const struct marked_range *m, int advice, long *ret)
{
	return inject_call(in, SYS_madvise,
		(const uint64_t[6]){m->start, m->end - m->start, (uint64_t)advice}, ret);
}

int mappings_unmark(struct marked_list *l, struct injection *in)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < l->n; i++) {
		long result;
		int r = advise(in, &l->items[i], l->items[i].unmark, &result);
		if (r < 0)
			return r;
		/* A device's memory cannot be copied at all. */
		if (result == -EINVAL && l->items[i].unmark == MADV_DOFORK)
			return -ENOTSUP;
		if (result == 0)
			l->items[kept++] = l->items[i];
	}
	l->n = kept;
	return 0;
}

int mappings_mark(const struct marked_list *l, struct injection *in)
{
	for (unsigned i = 0; i < l->n; i++) {
		long result;
		int r = advise(in, &l->items[i], l->items[i].mark, &result);
		if (r < 0)
			return r;
	}
	return 0;
}
