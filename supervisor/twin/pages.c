/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages to look at is asked of PAGEMAP_SCAN (Linux 6.7), which skips what was never touched:
 * most of the address space of a program with many threads. An older kernel is asked for the
 * frame numbers of everything, mapping by mapping.
 *
 * A page of a private mapping is either the program's own (anonymous) or still what lies under
 * it: the file, or zeros. Of the latter kind all are equal. Contents are read from the source
 * through its own page tables, which is right for both kinds.
 */
#include "supervisor/twin/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "supervisor/twin/engine.h"

#define PAGE 4096ULL
#define CHUNK 8192 /* pages whose frames are compared in one go */
#define BUFFER (256 * 1024)
#define RUNS_MAX 512
#define REGIONS_MAX 256
/* From here on it is cheaper to drop pages that the source does not have than to write zeros. */
#define DROP_MIN 32
#define USER_SPACE_END 0x7ffffffff000ULL

/* Documentation/admin-guide/mm/pagemap.rst. */
#define PM_FRAME ((1ULL << 55) - 1)
#define PM_FILE (1ULL << 61)
#define PM_SWAPPED (1ULL << 62)
#define PM_PRESENT (1ULL << 63)

/* uapi/linux/fs.h of 6.7; newer than the headers that we build with. */
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
		category_mask, category_anyof_mask, return_mask;
};
struct scan_region {
	uint64_t start, end, categories;
};
#define SCAN_PAGEMAP _IOWR('f', 16, struct scan_arg)
#define SCAN_FILE (1U << 2)
#define SCAN_PRESENT (1U << 3)
#define SCAN_SWAPPED (1U << 4)
#define SCAN_ZERO (1U << 5)

struct scan {
	int fd;
	uint64_t at;
	struct scan_region regions[REGIONS_MAX];
	unsigned n, i;
};

struct pages {
	bool visible;
	uint64_t zero_frame;
	struct scan to, from;
	uint64_t frames_to[CHUNK], frames_from[CHUNK];
	struct iovec runs[RUNS_MAX];
	unsigned n_runs;
	size_t runs_len;
	uint8_t buffer[BUFFER];
	/* of the restore under way */
	pid_t target, source;
	struct injection *in;
	const struct page_range *skip;
	unsigned n_skip;
	uint64_t copied;
};

static uint64_t own_frame(int fd, const void *p)
{
	uint64_t v = 0;

	if (pread(fd, &v, sizeof(v), (off_t)((uintptr_t)p / PAGE * sizeof(v))) != sizeof(v))
		return 0;
	return v & PM_PRESENT ? v & PM_FRAME : 0;
}

int pages_new(struct pages **ret)
{
	struct pages *p = calloc(1, sizeof(*p));
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	volatile uint8_t *zero = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!p)
		return -ENOMEM;
	if (fd >= 0 && zero != MAP_FAILED && *zero == 0) {
		p->zero_frame = own_frame(fd, (const void *)zero);
		p->visible = p->zero_frame != 0;
	}
	if (zero != MAP_FAILED)
		munmap((void *)zero, PAGE);
	*ret = p;
	return 0;
}

void pages_free(struct pages *p)
{
	free(p);
}

bool pages_visible(const struct pages *p)
{
	return p->visible;
}

static ssize_t mem_io(pid_t pid, bool to_process, uint64_t at, void *data, size_t len)
{
	char path[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = to_process ? pwrite(fd, data, len, (off_t)at) : pread(fd, data, len, (off_t)at);
	return n < 0 ? -errno : n;
}

/* What the protection of the mapping forbids, a tracer may do all the same. */
static int transfer(pid_t pid, bool to_process, struct iovec *theirs, unsigned n, void *data)
{
	size_t total = 0, at = 0;
	ssize_t done;

	for (unsigned i = 0; i < n; i++)
		total += theirs[i].iov_len;
	struct iovec mine = {data, total};
	done = to_process ? process_vm_writev(pid, &mine, 1, theirs, n, 0)
			  : process_vm_readv(pid, &mine, 1, theirs, n, 0);
	if (done == (ssize_t)total)
		return 0;
	if (done < 0 && errno != EFAULT)
		return -errno;
	for (unsigned i = 0; i < n; i++) {
		done = mem_io(pid, to_process, (uint64_t)theirs[i].iov_base, (uint8_t *)data + at,
			theirs[i].iov_len);
		if (done != (ssize_t)theirs[i].iov_len)
			return done < 0 ? (int)done : -EFAULT;
		at += theirs[i].iov_len;
	}
	return 0;
}

static int flush(struct pages *p)
{
	int r = 0;

	if (p->n_runs > 0) {
		r = transfer(p->source, false, p->runs, p->n_runs, p->buffer);
		if (r == 0)
			r = transfer(p->target, true, p->runs, p->n_runs, p->buffer);
	}
	p->copied += p->runs_len;
	p->n_runs = 0;
	p->runs_len = 0;
	return r;
}

static int copy(struct pages *p, uint64_t start, uint64_t end)
{
	int r = 0;

	while (r == 0 && start < end) {
		size_t len = MIN2(end - start, BUFFER - p->runs_len);
		if (len == 0 || p->n_runs == RUNS_MAX) {
			r = flush(p);
			continue;
		}
		p->runs[p->n_runs++] = (struct iovec){(void *)start, len};
		p->runs_len += len;
		start += len;
	}
	return r;
}

int pages_copy(struct pages *p, pid_t target, pid_t source, uint64_t at, size_t len)
{
	int r;

	p->target = target;
	p->source = source;
	p->n_runs = 0;
	p->runs_len = 0;
	r = copy(p, at, at + len);
	return r < 0 ? r : flush(p);
}

/* Locked memory cannot be dropped. */
static int drop(struct pages *p, uint64_t start, uint64_t end)
{
	long result;
	int r;

	if (end - start < DROP_MIN * PAGE)
		return copy(p, start, end);
	r = inject_call(p->in, SYS_madvise, (const uint64_t[6]){start, end - start, MADV_DONTNEED},
		&result);
	if (r < 0)
		return r;
	return result < 0 ? copy(p, start, end) : 0;
}

/* 0 for what is not the program's own. */
static uint64_t own(const struct pages *p, uint64_t entry)
{
	if (entry & PM_SWAPPED)
		return entry & (PM_FRAME | PM_SWAPPED);
	if (!(entry & PM_PRESENT) || (entry & PM_FILE) || (entry & PM_FRAME) == p->zero_frame)
		return 0;
	return entry & (PM_FRAME | PM_PRESENT);
}

static int read_frames(int fd, uint64_t start, uint64_t *frames, size_t n)
{
	ssize_t got =
		pread(fd, frames, n * sizeof(*frames), (off_t)(start / PAGE * sizeof(*frames)));

	if (got < 0)
		return -errno;
	return (size_t)got == n * sizeof(*frames) ? 0 : -EIO;
}

enum page_fate { EQUAL, COPY, DROP };

static enum page_fate fate(const struct pages *p, size_t i)
{
	uint64_t to = own(p, p->frames_to[i]), from = own(p, p->frames_from[i]);

	return to == from ? EQUAL : from ? COPY : DROP;
}

static int compare_chunk(struct pages *p, uint64_t start, size_t n)
{
	int r = read_frames(p->to.fd, start, p->frames_to, n);

	if (r == 0)
		r = read_frames(p->from.fd, start, p->frames_from, n);
	for (size_t i = 0, k; r == 0 && i < n; i = k) {
		enum page_fate f = fate(p, i);
		for (k = i + 1; k < n && fate(p, k) == f; k++)
			;
		if (f == COPY)
			r = copy(p, start + i * PAGE, start + k * PAGE);
		else if (f == DROP)
			r = drop(p, start + i * PAGE, start + k * PAGE);
	}
	return r;
}

static int compare(struct pages *p, uint64_t start, uint64_t end)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < p->n_skip; i++) {
		const struct page_range *s = &p->skip[i];
		if (start >= s->end || end <= s->start)
			continue;
		if (start < s->start)
			r = compare(p, start, s->start);
		if (end <= s->end)
			return r;
		start = s->end;
	}
	while (r == 0 && start < end) {
		size_t n = MIN2((end - start) / PAGE, (uint64_t)CHUNK);
		r = compare_chunk(p, start, n);
		start += n * PAGE;
	}
	return r;
}

/* The next stretch of pages of its own; start is UINT64_MAX at the end. */
static int scan_next(struct scan *s, struct page_range *ret)
{
	while (s->i == s->n) {
		struct scan_arg a = {
			.size = sizeof(a),
			.start = s->at,
			.end = USER_SPACE_END,
			.vec = (uint64_t)s->regions,
			.vec_len = REGIONS_MAX,
			.category_inverted = SCAN_FILE | SCAN_ZERO,
			.category_mask = SCAN_FILE | SCAN_ZERO,
			.category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
			.return_mask = SCAN_FILE,
		};
		int n;

		if (s->at >= USER_SPACE_END) {
			ret->start = ret->end = UINT64_MAX;
			return 0;
		}
		n = ioctl(s->fd, SCAN_PAGEMAP, &a);
		if (n < 0)
			return -errno;
		s->n = (unsigned)n;
		s->i = 0;
		s->at = a.walk_end > s->at ? a.walk_end : USER_SPACE_END;
	}
	*ret = (struct page_range){s->regions[s->i].start, s->regions[s->i].end};
	s->i++;
	return 0;
}

/* Each stretch that either of the two has. */
static int scan_both(struct pages *p)
{
	struct page_range a = {0}, b = {0};
	int r = scan_next(&p->to, &a);

	if (r == 0)
		r = scan_next(&p->from, &b);
	while (r == 0 && (a.start != UINT64_MAX || b.start != UINT64_MAX)) {
		struct page_range u = a.start <= b.start ? a : b;

		while (r == 0 && (a.start <= u.end || b.start <= u.end)) {
			bool first = a.start <= u.end;
			u.end = MAX2(u.end, first ? a.end : b.end);
			r = first ? scan_next(&p->to, &a) : scan_next(&p->from, &b);
		}
		if (r == 0)
			r = compare(p, u.start, u.end);
	}
	return r;
}

/* Kernels before 6.7: all that is mapped in the target, and so in the source. */
static int compare_all(struct pages *p)
{
	static char text[65536];
	char path[32];
	size_t len = 0;
	ssize_t n;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", p->target);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (r == 0 && (n = read(fd, text + len, sizeof(text) - 1 - len)) > 0) {
		char *line = text, *end, *rest;
		len += (size_t)n;
		while (r == 0 && (end = memchr(line, '\n', len - (size_t)(line - text)))) {
			uint64_t start = strtoull(line, &rest, 16);
			uint64_t stop = *rest == '-' ? strtoull(rest + 1, &rest, 16) : 0;
			/* " rw-p" */
			if (*rest == ' ' && rest[4] == 'p' && stop <= USER_SPACE_END)
				r = compare(p, start, stop);
			line = end + 1;
		}
		len -= (size_t)(line - text);
		memmove(text, line, len);
	}
	return r;
}

static int open_pagemap(struct scan *s, pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	s->at = 0;
	s->n = s->i = 0;
	return s->fd < 0 ? -errno : 0;
}

int pages_restore(struct pages *p, pid_t target, pid_t source, struct injection *in,
	const struct page_range *skip, unsigned n_skip, uint64_t *ret_copied)
{
	int r;

	p->target = target;
	p->source = source;
	p->in = in;
	p->skip = skip;
	p->n_skip = n_skip;
	p->n_runs = 0;
	p->runs_len = 0;
	p->copied = 0;
	p->from.fd = -1;
	r = open_pagemap(&p->to, target);
	if (r == 0)
		r = open_pagemap(&p->from, source);
	if (r == 0)
		r = scan_both(p);
	if (r == -ENOTTY || r == -EINVAL)
		r = compare_all(p);
	if (r == 0)
		r = flush(p);
	closep(&p->to.fd);
	closep(&p->from.fd);
	*ret_copied = p->copied;
	return r;
}
