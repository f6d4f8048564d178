/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a node looks like from outside, as a text to compare: nothing of it may differ after a
 * fault, a checkpoint or a swap. And what must not be left behind anywhere.
 */
#include "tests/unit/test_points_hook.h"

#define PICTURE_MAX 65536

struct picture {
	char text[PICTURE_MAX];
	size_t len;
};

_printf_(2, 3) static void picture_add(struct picture *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (p->len < sizeof(p->text))
		p->len += (size_t)vsnprintf(p->text + p->len, sizeof(p->text) - p->len, fmt, ap);
	va_end(ap);
}

static void picture_lines(struct picture *p, const char *text, const char *const *keys)
{
	for (const char *line = text, *end; *line; line = end + 1) {
		end = strchrnul(line, '\n');
		for (unsigned i = 0; keys[i]; i++)
			if (strncmp(line, keys[i], strlen(keys[i])) == 0)
				picture_add(p, " %.*s", (int)(end - line), line);
		if (!*end)
			break;
	}
	picture_add(p, "\n");
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void picture_of_thread(struct picture *p, pid_t pid, pid_t tid)
{
	static const char *const keys[] = {
		"Name:", "TracerPid:", "SigBlk:", "SigIgn:", "SigCgt:", "Cpus_allowed:",
		"NoNewPrivs:", "Seccomp:", "CapEff:", "Uid:", "Gid:", "Groups:", "Umask:", NULL};
	char text[4096];
	struct schedule s;

	picture_add(p, "thread %d", tid);
	if (proc_read(text, sizeof(text), "%d/task/%d/status", pid, tid) > 0) {
		const char *state = strstr(text, "\nState:\t");
		picture_add(p, " %s", !state ? "?" : strchr("tTZX", state[8]) ? "stands" : "runs");
		picture_lines(p, text, keys);
	}
	schedule_read(tid, &s);
	picture_add(p, " policy %u flags %lx nice %d priority %u", s.policy, (unsigned long)s.flags,
		s.nice, s.priority);
	if (proc_read(text, sizeof(text), "%d/timerslack_ns", tid) > 0)
		picture_add(p, " slack %s", text);
}

static void picture_of_files(struct picture *p, pid_t pid)
{
	static const char *const keys[] = {"flags:", "tfd:", NULL};
	int fds[256], n = 0;
	char path[64], link[256], text[8192];

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *d = opendir(path);
	for (struct dirent *entry; d && (entry = readdir(d));)
		if (entry->d_name[0] != '.' && n < (int)ELEMENTSOF(fds))
			fds[n++] = atoi(entry->d_name);
	if (d)
		closedir(d);
	qsort(fds, (size_t)n, sizeof(fds[0]), by_number);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fds[i]);
		ssize_t len = readlink(path, link, sizeof(link) - 1);
		picture_add(p, "fd %d %.*s", fds[i], (int)MAX2(len, (ssize_t)0), link);
		if (proc_read(text, sizeof(text), "%d/fdinfo/%d", pid, fds[i]) > 0)
			picture_lines(p, text, keys);
	}
}

/* Mappings that nothing is mapped from; a heap may grow, but scratch left behind is one more. */
static unsigned count_mappings(pid_t pid)
{
	static char text[1 << 16];
	unsigned n = 0;

	if (proc_read(text, sizeof(text), "%d/maps", pid) > 0)
		for (const char *s = text; (s = strchr(s, '\n')); s++)
			n++;
	return n;
}

static void picture_take(struct picture *p, pid_t pid)
{
	struct tid_set tids;
	char text[256];

	p->len = 0;
	p->text[0] = '\0';
	if (proc_read(text, sizeof(text), "%d/oom_score_adj", pid) > 0)
		picture_add(p, "oom_score_adj %s", text);
	picture_add(
		p, "session %d group %d parent %d\n", getsid(pid), getpgid(pid), proc_parent(pid));
	if (proc_read(text, sizeof(text), "%d/coredump_filter", pid) > 0)
		picture_add(p, "coredump_filter %s", text);
	picture_add(p, "%u mappings\n", count_mappings(pid));
	list_tids(pid, &tids);
	qsort(tids.tids, tids.n, sizeof(tids.tids[0]), by_number);
	for (unsigned i = 0; i < tids.n; i++)
		picture_of_thread(p, pid, tids.tids[i]);
	picture_of_files(p, pid);
}

/* The first line that differs. */
static void picture_difference(
	const struct picture *a, const struct picture *b, char *text, size_t size)
{
	const char *x = a->text, *y = b->text;
	int nx = 0, ny = 0;

	while (*x && *y) {
		nx = (int)(strchrnul(x, '\n') - x);
		ny = (int)(strchrnul(y, '\n') - y);
		if (nx != ny || memcmp(x, y, (size_t)nx) != 0)
			break;
		x += nx + (x[nx] == '\n');
		y += ny + (y[ny] == '\n');
	}
	snprintf(text, size, "before: %.*s; now: %.*s", nx, x, ny, y);
}

/* The active would be killed with its tracer. */
static pid_t thread_with_exitkill(pid_t pid)
{
	struct tid_set tids;

	list_tids(pid, &tids);
	for (unsigned i = 0; i < tids.n; i++)
		for (unsigned k = 0; k < hook.n_options; k++)
			if (hook.options[k].tid == tids.tids[i] &&
				(hook.options[k].options & PTRACE_O_EXITKILL))
				return tids.tids[i];
	return 0;
}

static struct {
	const struct twin_engine *e;
	pid_t stray;
} known;

static void check_known(pid_t pid)
{
	bool ours = pid == known.e->pid || pid == known.e->holder;

	for (unsigned i = 0; i < known.e->n_twins; i++)
		ours |= pid == known.e->twins[i]->pid;
	if (!ours)
		known.stray = pid;
}

/* A child that is neither the node, nor a twin, nor the holder; 0: none. */
static pid_t find_stray(const struct twin_engine *e)
{
	known.e = e;
	known.stray = 0;
	for_children(check_known);
	return known.stray;
}

static unsigned count_own_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}
