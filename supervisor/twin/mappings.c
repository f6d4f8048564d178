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

bool mappings_parse_range(const char *line, uint64_t *start, uint64_t *end)
{
	char *p;
	uint64_t from = strtoull(line, &p, 16), to;

	if (p == line || *p != '-')
		return false;
	to = strtoull(p + 1, &p, 16);
	if (*p != ' ')
		return false;
	*start = from;
	*end = to;
	return true;
}

static bool next_range(struct proc_lines *l, uint64_t *start, uint64_t *end, const char **ret_line)
{
	char *line;

	while ((line = proc_lines_next(l)))
		if (mappings_parse_range(line, start, end)) {
			*ret_line = line;
			return true;
		}
	*start = *end = UINT64_MAX;
	return false;
}

static void describe(struct marked_range *m, const char *line)
{
	char perms[5] = "";
	unsigned long long inode = 1;
	int at = 0;

	if (sscanf(line, "%*x-%*x %4s %*x %*x:%*x %llu %n", perms, &inode, &at) < 2)
		return;
	m->prot = (perms[0] == 'r' ? PROT_READ : 0) | (perms[1] == 'w' ? PROT_WRITE : 0) |
		  (perms[2] == 'x' ? PROT_EXEC : 0);
	m->plain = perms[3] == 'p' && inode == 0 && at &&
		   (!line[at] || strncmp(line + at, "[anon:", 6) == 0);
}

static int append(struct marked_list *l, uint64_t start, uint64_t end, int unmark, int mark)
{
	if (l->n >= MARKED_MAX)
		return -E2BIG;
	l->items[l->n++] =
		(struct marked_range){.start = start, .end = end, .unmark = unmark, .mark = mark};
	return 0;
}

uint64_t mappings_size(pid_t pid)
{
	char text[128];
	return proc_read(text, sizeof(text), "%d/statm", pid) > 0 ? strtoull(text, NULL, 10) : 0;
}

int mappings_left_out(struct marked_list *l, pid_t pid, pid_t copy)
{
	static struct proc_lines mine, theirs;
	uint64_t start, end, has_start, has_end;
	const char *line, *unused;
	int r = proc_lines_open(&mine, pid, "maps");

	if (r < 0)
		return r;
	r = proc_lines_open(&theirs, copy, "maps");
	if (r < 0) {
		proc_lines_close(&mine);
		return r;
	}
	/* Both are in order. Neighbours may be one mapping in one list and two in the other. */
	next_range(&theirs, &has_start, &has_end, &unused);
	while (r == 0 && next_range(&mine, &start, &end, &line)) {
		while (r == 0 && start < end) {
			if (has_end <= start) {
				next_range(&theirs, &has_start, &has_end, &unused);
				continue;
			}
			if (start < has_start) {
				r = append(
					l, start, MIN2(end, has_start), MADV_DOFORK, MADV_DONTFORK);
				if (r == 0)
					describe(&l->items[l->n - 1], line);
			}
			start = MIN2(end, has_end);
		}
	}
	proc_lines_close(&mine);
	proc_lines_close(&theirs);
	return r;
}

/* Two letters of the line that smaps has for each mapping. */
static bool has_flag(const char *flags, const char *two)
{
	char word[5] = {' ', two[0], two[1], ' ', '\0'};
	return strstr(flags, word);
}

static bool contains(const char *text, const char *what)
{
	return strstr(text, what);
}

static const char *unfit_mapping(const char *head, const char *flags)
{
	if (contains(head, "/[aio]"))
		return "it has an AIO context";
	if (has_flag(flags, "um") || has_flag(flags, "uw") || has_flag(flags, "ui"))
		return "somebody handles its page faults (userfaultfd)";
	/* Where the pool is empty, the first write of the original takes the page from the copy. */
	if (has_flag(flags, "ht") && !has_flag(flags, "sh"))
		return "it has private huge pages (hugetlb)";
	return NULL;
}

int mappings_scan(
	pid_t pid, struct marked_list *wiped, struct locked_memory *locked, const char **ret_unfit)
{
	static struct proc_lines smaps;
	static char head[512];
	uint64_t start = 0, end = 0;
	char *line;
	int r = proc_lines_open(&smaps, pid, "smaps");

	wiped->n = 0;
	locked_begin(locked);
	*ret_unfit = NULL;
	while (r == 0 && (line = proc_lines_next(&smaps))) {
		if (mappings_parse_range(line, &start, &end)) {
			snprintf(head, sizeof(head), "%s", line);
			continue;
		}
		if (strncmp(line, "VmFlags:", 8) != 0)
			continue;
		if (has_flag(line, "wf"))
			r = append(wiped, start, end, MADV_KEEPONFORK, MADV_WIPEONFORK);
		locked_add(locked, start, end, head, line);
		if (!*ret_unfit)
			*ret_unfit = unfit_mapping(head, line);
	}
	proc_lines_close(&smaps);
	locked_end(locked);
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
	int r = 0;

	for (unsigned i = 0; r == 0 && i < l->n; i++) {
		long result = 0;
		r = advise(in, &l->items[i], l->items[i].unmark, &result);
		/* A device's memory cannot be copied at all. */
		if (r == 0 && result == -EINVAL && l->items[i].unmark == MADV_DOFORK)
			r = -ENOTSUP;
		if (r == 0 && result == 0)
			l->items[kept++] = l->items[i];
	}
	/* What was not unmarked is not to be marked again: it may never have been. */
	l->n = kept;
	return r;
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
