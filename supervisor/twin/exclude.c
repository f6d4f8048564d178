/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/exclude.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "config/mapping_pattern.h"
#include "supervisor/twin/engine.h"
#include "supervisor/twin/pages.h"
#include "supervisor/twin/procfs.h"

#define PAGE_SIZE_HERE 4096ULL
#define FETCH_PAGES 64u

/* linux/fs.h, Linux 6.11 */
struct mapping_query {
	uint64_t size, query_flags, query_addr;
	uint64_t start, end, flags, page_size, offset, inode;
	uint32_t dev_major, dev_minor, name_size, build_id_size;
	uint64_t name_addr, build_id_addr;
};
#define MAPPING_QUERY _IOWR('f', 17, struct mapping_query)
#define MAPPING_SHARED 8u

struct maps_line {
	uint64_t start, end, inode, offset;
	uint32_t device;
	char perms[5];
	const char *name;
};

static bool parse(const char *line, struct maps_line *ret)
{
	unsigned long long start, end, inode, offset;
	unsigned major, minor;
	int at = 0;

	if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end, ret->perms, &offset,
		    &major, &minor, &inode, &at) < 7)
		return false;
	ret->offset = offset;
	ret->device = major << 20 | minor;
	ret->start = start;
	ret->end = end;
	ret->inode = inode;
	ret->name = at ? line + at : "";
	return true;
}

static int prot_of(const char *perms)
{
	return (perms[0] == 'r' ? PROT_READ : 0) | (perms[1] == 'w' ? PROT_WRITE : 0) |
	       (perms[2] == 'x' ? PROT_EXEC : 0);
}

static const struct twin_exclusion *exclusion_of(const struct twin_engine *e, const char *name)
{
	if (mapping_name_is_vital(name))
		return NULL;
	for (unsigned i = 0; i < e->config.n_exclusions; i++)
		if (mapping_pattern_matches(e->config.exclusions[i].pattern, name))
			return &e->config.exclusions[i];
	return NULL;
}

static void add(struct excluded_memory *x, const struct excluded_range *r, const char *name)
{
	/* By a name that is cut off it would not be known again. */
	if (x->n >= EXCLUDED_MAX || strlen(name) >= sizeof(r->name)) {
		x->incomplete = true;
		return;
	}
	x->items[x->n] = *r;
	snprintf(x->items[x->n++].name, sizeof(r->name), "%s", name);
}

int exclude_look(struct twin_engine *e)
{
	static struct proc_lines maps;
	struct excluded_memory *x = &e->excluded;
	uint64_t program = 0; /* inode of the last file that is mapped to be executed */
	struct maps_line m;
	char *line;
	int r;

	x->n = 0;
	x->shared_anyway = 0;
	x->incomplete = false;
	if (e->config.n_exclusions == 0)
		return 0;
	r = proc_lines_open(&maps, e->pid, "maps");
	while (r == 0 && (line = proc_lines_next(&maps))) {
		const struct twin_exclusion *why;
		if (!parse(line, &m))
			continue;
		if (m.perms[2] == 'x')
			program = m.inode;
		if (m.perms[2] == 'x' || (m.inode && m.inode == program) ||
			!(why = exclusion_of(e, m.name)))
			continue;
		if (m.perms[3] == 's')
			x->shared_anyway += m.end - m.start;
		else
			add(x,
				&(struct excluded_range){.start = m.start,
					.end = m.end,
					.inode = m.inode,
					.offset = m.offset,
					.device = m.device,
					.prot = prot_of(m.perms),
					.share = why->share,
					.anonymous = m.inode == 0},
				m.name);
	}
	if (r == 0)
		proc_lines_close(&maps);
	return r;
}

static int open_of(pid_t pid, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return open(path, flags | O_CLOEXEC);
}

/* 1: the range is what it was at the look; 0: it is not; -ENOTTY: the kernel cannot say. */
static int ask_range(int maps, const struct excluded_range *r)
{
	struct mapping_query q = {.size = sizeof(q), .query_addr = r->start};

	if (ioctl(maps, MAPPING_QUERY, &q) < 0)
		return errno == ENOTTY ? -ENOTTY : 0;
	return q.start == r->start && q.end == r->end && q.inode == r->inode &&
	       (int)(q.flags & 7u) ==
		       ((r->prot & PROT_READ ? 1 : 0) | (r->prot & PROT_WRITE ? 2 : 0)) &&
	       !(q.flags & MAPPING_SHARED);
}

static bool find_range(pid_t pid, const struct excluded_range *r)
{
	static struct proc_lines maps;
	struct maps_line m;
	bool found = false;
	char *line;

	if (proc_lines_open(&maps, pid, "maps") < 0)
		return false;
	while (!found && (line = proc_lines_next(&maps)))
		found = parse(line, &m) && m.start == r->start && m.end == r->end &&
			m.inode == r->inode && prot_of(m.perms) == r->prot && m.perms[3] == 'p';
	proc_lines_close(&maps);
	return found;
}

static int advise(struct injection *in, const struct excluded_range *r, int advice, long *ret)
{
	return inject_call(in, SYS_madvise,
		(const uint64_t[6]){r->start, r->end - r->start, (uint64_t)advice}, ret);
}

int exclude_mark(struct twin_engine *e, struct injection *in)
{
	struct excluded_memory *x = &e->excluded;
	int r = 0;

	if (x->n == 0)
		return 0;
	_cleanup_close_ int maps = open_of(e->pid, "maps", O_RDONLY);
	if (maps < 0)
		return -errno;
	for (unsigned i = 0; r == 0 && i < x->n; i++) {
		struct excluded_range *range = &x->items[i];
		long result = 0;
		int same = ask_range(maps, range);

		range->marked = false;
		if (!(same == -ENOTTY ? find_range(e->pid, range) : same))
			continue;
		r = advise(in, range, range->anonymous ? MADV_WIPEONFORK : MADV_DONTFORK, &result);
		range->marked = r == 0 && result == 0;
	}
	return r;
}

/* Afterwards the list has what this copy was made without. */
int exclude_unmark(struct twin_engine *e, struct injection *in)
{
	struct excluded_memory *x = &e->excluded;
	unsigned kept = 0;
	int r = 0;

	for (unsigned i = 0; i < x->n; i++) {
		const struct excluded_range *range = &x->items[i];
		long result;
		if (range->marked && r == 0)
			r = advise(in, range, range->anonymous ? MADV_KEEPONFORK : MADV_DOFORK,
				&result);
		if (range->marked || range->by_program)
			x->items[kept++] = *range;
	}
	x->n = kept;
	return r;
}

static bool is_left_out(const struct excluded_range *r)
{
	return r->by_program || (r->marked && !r->anonymous);
}

uint64_t exclude_missing(const struct excluded_memory *x)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < x->n; i++)
		if (is_left_out(&x->items[i]))
			bytes += x->items[i].end - x->items[i].start;
	return bytes / PAGE_SIZE_HERE;
}

static bool covers(const struct excluded_memory *x, const struct marked_range *m)
{
	for (unsigned i = 0; i < x->n; i++)
		if (is_left_out(&x->items[i]) && x->items[i].start <= m->start &&
			x->items[i].end >= m->end)
			return true;
	return false;
}

/* What our own marks left out may be next to what the program's did: cut it off. */
static void cut(const struct excluded_memory *x, struct marked_range *m)
{
	for (unsigned i = 0; i < x->n; i++) {
		const struct excluded_range *r = &x->items[i];
		if (!is_left_out(r))
			continue;
		if (r->start <= m->start && r->end > m->start)
			m->start = MIN2(r->end, m->end);
		else if (r->start < m->end && r->end >= m->end)
			m->end = r->start;
	}
}

void exclude_claim(struct twin_engine *e, struct marked_list *left_out)
{
	struct excluded_memory *x = &e->excluded;
	unsigned kept = 0;

	for (unsigned i = 0; i < left_out->n; i++) {
		struct marked_range m = left_out->items[i];

		cut(x, &m);
		if (m.start >= m.end || covers(x, &m))
			continue;
		if (e->config.dont_fork != TWIN_DONT_FORK_COPY && m.plain && x->n < EXCLUDED_MAX)
			add(x,
				&(struct excluded_range){.start = m.start,
					.end = m.end,
					.prot = m.prot,
					.share = e->config.dont_fork == TWIN_DONT_FORK_SHARE,
					.by_program = true},
				"");
		else
			left_out->items[kept++] = m;
	}
	left_out->n = kept;
}

static int map_anew(const struct excluded_range *r, struct injection *in)
{
	long at, result;
	int e = inject_call(in, SYS_mmap,
		(const uint64_t[6]){r->start, r->end - r->start, (uint64_t)r->prot,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE,
			(uint64_t)-1, 0},
		&at);

	if (e == 0 && at != (long)r->start)
		e = at < 0 ? (int)at : -EEXIST;
	return e == 0 && r->by_program ? advise(in, r, MADV_DONTFORK, &result) : e;
}

int exclude_fill(struct twin *w, struct injection *in)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < w->excluded.n; i++) {
		const struct excluded_range *range = &w->excluded.items[i];
		long result;
		r = is_left_out(range) ? map_anew(range, in)
				       : advise(in, range, MADV_KEEPONFORK, &result);
	}
	return r;
}

/* A private mapping of a file that can still be opened by its name is one again. Else it becomes
 * one of a new file in memory, so that it is known again by its name. */
static uint64_t open_again(struct leader_calls *l, const struct excluded_range *r, uint64_t fd)
{
	char name[sizeof(r->name)];
	struct stat st;

	if (stat(r->name, &st) == 0 && st.st_ino == r->inode) {
		leader_call(l, SYS_openat,
			(const uint64_t[6]){(uint64_t)AT_FDCWD,
				leader_data(l, r->name, strlen(r->name) + 1), O_RDONLY});
		return r->offset;
	}
	snprintf(name, sizeof(name), "%s", r->name + (strncmp(r->name, "/memfd:", 7) == 0 ? 7 : 1));
	name[strcspn(name, " ")] = '\0';
	leader_call(l, SYS_memfd_create,
		(const uint64_t[6]){leader_data(l, name, strlen(name) + 1), 0});
	leader_call(l, SYS_ftruncate, (const uint64_t[6]){fd, r->end - r->start});
	return 0;
}

/* Where one of the calls fails, the empty memory of exclude_fill() stays. */
void exclude_restore(const struct twin *w, struct leader_calls *l)
{
	for (unsigned i = 0; i < w->excluded.n; i++) {
		const struct excluded_range *r = &w->excluded.items[i];
		uint64_t fd = (uint64_t)files_lowest_free(&w->files), offset;

		if (r->anonymous || r->by_program)
			continue;
		offset = open_again(l, r, fd);
		leader_call(l, SYS_mmap,
			(const uint64_t[6]){r->start, r->end - r->start, (uint64_t)r->prot,
				MAP_PRIVATE | MAP_FIXED, fd, offset});
		leader_call(l, SYS_close, (const uint64_t[6]){fd});
	}
}

void exclude_amend(const struct excluded_memory *x, struct layout *l)
{
	for (unsigned i = 0; i < x->n; i++) {
		const struct excluded_range *r = &x->items[i];
		if (r->anonymous || r->by_program)
			continue;
		layout_leave_out(l, r->start, r->end);
		layout_insert(l, &(struct mapping){.start = r->start,
					 .end = r->end,
					 .offset = r->offset,
					 .inode = r->inode,
					 .device = r->device,
					 .kind = MAPPING_FILE,
					 .prot = (uint8_t)r->prot});
	}
}

unsigned exclude_kept(const struct excluded_memory *x, struct page_range *ret, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < x->n && n < max; i++)
		if (x->items[i].share)
			ret[n++] = (struct page_range){x->items[i].start, x->items[i].end};
	return n;
}

/* Runs of pages that are there, one entry of pagemap(5) each. */
static bool is_there(uint64_t entry)
{
	return entry >> 62; /* present or swapped */
}

/* From /proc/PID/mem of the one to that of the other, for which no protection counts. */
struct fetch {
	int from, to, pagemap;
};

static bool copy_pages(const struct fetch *f, uint64_t at, size_t len)
{
	static uint8_t buf[FETCH_PAGES * PAGE_SIZE_HERE];

	return pread(f->from, buf, len, (off_t)at) == (ssize_t)len &&
	       pwrite(f->to, buf, len, (off_t)at) == (ssize_t)len;
}

static bool fetch_range(const struct fetch *f, const struct excluded_range *r)
{
	uint64_t entries[FETCH_PAGES], at = r->start;
	bool all = true;

	while (at < r->end) {
		size_t n = MIN2((r->end - at) / PAGE_SIZE_HERE, (uint64_t)FETCH_PAGES), i = 0;
		ssize_t len = pread(f->pagemap, entries, n * sizeof(entries[0]),
			(off_t)(at / PAGE_SIZE_HERE * sizeof(entries[0])));

		if (len != (ssize_t)(n * sizeof(entries[0])))
			return false;
		while (i < n) {
			size_t run = 0;
			while (i + run < n && is_there(entries[i + run]))
				run++;
			if (run)
				all &= copy_pages(f, at + i * PAGE_SIZE_HERE, run * PAGE_SIZE_HERE);
			i += run + 1;
		}
		at += n * PAGE_SIZE_HERE;
	}
	return all;
}

bool exclude_fetch(struct twin_engine *e, const struct twin *w)
{
	struct fetch f;
	bool all = true;

	for (unsigned i = 0; i < w->excluded.n; i++)
		all &= !w->excluded.items[i].share;
	if (all)
		return true;
	if (!e->holder)
		return false;
	f.pagemap = open_of(e->holder, "pagemap", O_RDONLY);
	f.from = open_of(e->holder, "mem", O_RDONLY);
	f.to = open_of(w->pid, "mem", O_RDWR);
	all = f.pagemap >= 0 && f.from >= 0 && f.to >= 0;
	for (unsigned i = 0; all && i < w->excluded.n; i++)
		if (w->excluded.items[i].share)
			all = fetch_range(&f, &w->excluded.items[i]);
	closep(&f.pagemap);
	closep(&f.from);
	closep(&f.to);
	return all;
}

static void append_size(char *text, size_t size, uint64_t bytes, const char *what)
{
	size_t len = strlen(text);

	if (bytes > 0)
		snprintf(text + len, size - len, "%s%.1f MB %s", len ? ", " : "",
			(double)bytes / (1 << 20), what);
}

void exclude_describe(const struct excluded_memory *x, char *text, size_t size)
{
	uint64_t sum[2][2] = {{0}};

	text[0] = '\0';
	for (unsigned i = 0; i < x->n; i++) {
		const struct excluded_range *r = &x->items[i];
		sum[r->by_program][r->share] += r->end - r->start;
	}
	append_size(text, size, sum[0][0], "come back as zeros");
	append_size(text, size, sum[0][1], "come back as they are");
	append_size(text, size, sum[1][0], "(MADV_DONTFORK) come back as zeros");
	append_size(text, size, sum[1][1], "(MADV_DONTFORK) come back as they are");
	append_size(text, size, x->shared_anyway, "stay shared");
	if (x->incomplete && strlen(text) + 1 < size)
		snprintf(text + strlen(text), size - strlen(text), "; the rest is copied");
}
