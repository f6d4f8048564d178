/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/starvation.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#define TEXT_MAX 512

/* A small file of /proc or of a cgroup as text; its length, or -1. */
static ssize_t read_text(int dir, const char *path, char *ret, size_t size)
{
	_cleanup_close_ int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

	if (n >= 0)
		ret[n] = '\0';
	return n;
}

/* --- where the cgroup counts --------------------------------------------------------------------
 */

static int open_stat(const char *mount, const char *path)
{
	char name[PATH_MAX];

	if (snprintf(name, sizeof(name), "%s%s/cpu.stat", mount, path) >= (int)sizeof(name))
		return -1;
	return open(name, O_RDONLY | O_CLOEXEC);
}

static bool has_controller(const char *list, const char *end, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; p < end; p++) {
		size_t len = strcspn(p, ",:");
		if (len == n && memcmp(p, name, n) == 0)
			return true;
		p += len;
	}
	return false;
}

/* One line of /proc/PID/cgroup: "ID:CONTROLLERS:PATH". */
static void try_hierarchy(struct starvation_watch *w, char *line)
{
	static const char *const v2[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
	static const char *const v1[] = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"};
	char *controllers = strchr(line, ':'),
	     *path = controllers ? strchr(++controllers, ':') : NULL;
	bool unified;

	if (!path || w->throttle_fd >= 0)
		return;
	unified = path == controllers;
	if (!unified && !has_controller(controllers, path, "cpu"))
		return;
	for (size_t i = 0; i < 2 && w->throttle_fd < 0; i++)
		w->throttle_fd = open_stat(unified ? v2[i] : v1[i], path + 1);
	w->throttle_nsec = !unified;
}

static void open_throttle(struct starvation_watch *w)
{
	char path[40], text[4096], *rest = text, *line;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", w->pid);
	if (read_text(AT_FDCWD, path, text, sizeof(text)) <= 0)
		return;
	while ((line = strsep(&rest, "\n")))
		try_hierarchy(w, line);
}

void starvation_open(struct starvation_watch *w, pid_t pid)
{
	char path[40];

	starvation_close(w);
	w->pid = pid;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	w->tasks_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	open_throttle(w);
}

void starvation_close(struct starvation_watch *w)
{
	if (w->tasks_fd >= 0)
		close(w->tasks_fd);
	if (w->throttle_fd >= 0)
		close(w->throttle_fd);
	*w = (struct starvation_watch)STARVATION_WATCH_NONE;
}

/* --- looks ------------------------------------------------------------------------------------ */

static void look_at_thread(int tasks, const char *tid, struct starvation_look *l)
{
	char path[64], text[TEXT_MAX], *end;

	snprintf(path, sizeof(path), "%.20s/schedstat", tid);
	if (read_text(tasks, path, text, sizeof(text)) <= 0)
		return; /* it has ended */
	l->cpu += strtoull(text, &end, 10);
	l->run_delay += strtoull(end, NULL, 10);
	l->n_threads++;
	snprintf(path, sizeof(path), "%.20s/stat", tid);
	if (read_text(tasks, path, text, sizeof(text)) <= 0)
		return;
	/* The name in parentheses may hold anything. */
	end = strrchr(text, ')');
	if (end && end[1] == ' ') {
		l->n_runnable += end[2] == 'R';
		l->n_blocked += end[2] == 'D';
	}
}

/* readdir(3) allocates. */
static void look_at_threads(int tasks, struct starvation_look *l)
{
	char buffer[4096] __attribute__((aligned(8)));
	long n;

	if (lseek(tasks, 0, SEEK_SET) < 0)
		return;
	while (l->n_threads < STARVATION_THREADS &&
		(n = syscall(SYS_getdents64, tasks, buffer, sizeof(buffer))) > 0)
		for (long at = 0; at < n && l->n_threads < STARVATION_THREADS;) {
			const struct dirent64 *d = (const struct dirent64 *)(buffer + at);
			if (d->d_name[0] >= '0' && d->d_name[0] <= '9')
				look_at_thread(tasks, d->d_name, l);
			at += d->d_reclen;
		}
}

static usec_t read_throttled(const struct starvation_watch *w)
{
	char text[TEXT_MAX];
	ssize_t n = w->throttle_fd < 0 ? -1 : pread(w->throttle_fd, text, sizeof(text) - 1, 0);
	const char *value;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	value = strstr(text, w->throttle_nsec ? "throttled_time " : "throttled_usec ");
	if (!value)
		return 0;
	return strtoull(strchr(value, ' '), NULL, 10) / (w->throttle_nsec ? NSEC_PER_USEC : 1);
}

/* "0.20 0.18 0.12 3/1240 11206": runnable of all. */
static bool is_contended(void)
{
	char text[TEXT_MAX];
	const char *slash;
	long running;

	if (read_text(AT_FDCWD, "/proc/loadavg", text, sizeof(text)) <= 0)
		return true;
	slash = strchr(text, '/');
	if (!slash)
		return true;
	while (slash > text && slash[-1] != ' ')
		slash--;
	running = strtol(slash, NULL, 10);
	return running > sysconf(_SC_NPROCESSORS_ONLN);
}

static usec_t read_pressure(void)
{
	static const char *const files[] = {
		"/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"};
	char text[TEXT_MAX];
	usec_t most = 0;

	for (size_t i = 0; i < ELEMENTSOF(files); i++) {
		const char *total;
		/* "full" of memory and io: somebody waiting is what disks are for. */
		if (read_text(AT_FDCWD, files[i], text, sizeof(text)) <= 0)
			continue;
		total = strstr(i == 0 ? text : strstr(text, "full") ?: text, "total=");
		if (total)
			most += strtoull(total + 6, NULL, 10);
	}
	return most;
}

static usec_t read_suspended(void)
{
	struct timespec boot, mono;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	return (usec_t)(boot.tv_sec - mono.tv_sec) * USEC_PER_SEC +
	       (usec_t)((boot.tv_nsec - mono.tv_nsec) / (long)NSEC_PER_USEC);
}

void starvation_look(
	const struct starvation_watch *w, usec_t frozen, bool pressure, struct starvation_look *ret)
{
	*ret = (struct starvation_look){.at = now_usec(), .frozen = frozen};
	if (w->tasks_fd >= 0)
		look_at_threads(w->tasks_fd, ret);
	ret->contended = is_contended();
	ret->throttled = read_throttled(w);
	ret->suspended = read_suspended();
	if (pressure)
		ret->pressure = read_pressure();
}

/* --- the judgement ------------------------------------------------------------------------------
 */

static const char *const names[_STARVATION_MAX] = {
	[STARVATION_NONE] = "was let run",
	[STARVATION_RUN_DELAY] = "waited for a processor",
	[STARVATION_THROTTLED] = "was throttled by its cgroup",
	[STARVATION_BLOCKED] = "was in uninterruptible sleep",
	[STARVATION_FROZEN] = "was held for a checkpoint",
	[STARVATION_SUSPENDED] = "was suspended with the machine",
	[STARVATION_PRESSURE] = "ran on a machine under pressure",
	[STARVATION_WATCHER] = "was watched by a keeper that was not let run",
};

const char *starvation_to_string(enum starvation s)
{
	return (unsigned)s < _STARVATION_MAX ? names[s] : "?";
}

static usec_t grown(usec_t from, usec_t to)
{
	return to > from ? to - from : 0; /* threads come and go */
}

/* The time in which it was not let run, and why; a sum over threads, so at most the time itself. */
static enum starvation find_reason(const struct starvation_look *from,
	const struct starvation_look *to, usec_t time, usec_t *ret_denied)
{
	usec_t delay = grown(from->run_delay, to->run_delay) / NSEC_PER_USEC;
	usec_t cpu = grown(from->cpu, to->cpu) / NSEC_PER_USEC;
	const usec_t denied[_STARVATION_MAX] = {
		[STARVATION_RUN_DELAY] =
			to->n_runnable && to->contended ? MAX2(delay, grown(cpu, time)) : delay,
		[STARVATION_THROTTLED] = grown(from->throttled, to->throttled),
		[STARVATION_BLOCKED] = to->n_blocked ? time / 2 : 0,
		[STARVATION_FROZEN] = grown(from->frozen, to->frozen),
		/* Not a second of it on this clock, and everything has to be found again. */
		[STARVATION_SUSPENDED] = to->suspended > from->suspended + USEC_PER_MSEC ? time : 0,
		[STARVATION_PRESSURE] = to->n_runnable || from->n_runnable
						? grown(from->pressure, to->pressure)
						: 0,
	};

	for (int s = STARVATION_NONE + 1; s < _STARVATION_MAX; s++)
		if (denied[s] >= time / STARVATION_SHARE && denied[s] > 0) {
			*ret_denied = MIN2(denied[s], time);
			return (enum starvation)s;
		}
	return STARVATION_NONE;
}

enum starvation starvation_judge(const struct starvation_look *from,
	const struct starvation_look *to, usec_t period, usec_t *ret_extension)
{
	usec_t time = grown(from->at, to->at), denied = 0;
	enum starvation s;
	unsigned factor;

	if (from->at == 0 || time == 0)
		return STARVATION_NONE;
	s = find_reason(from, to, time, &denied);
	if (s == STARVATION_NONE)
		return s;
	/* At a tenth of the pace the same work takes ten times as long. */
	factor = (unsigned)MIN2(time / MAX2(time - denied, 1), STARVATION_EXTENSIONS_MAX);
	*ret_extension = period > USEC_INFINITY / STARVATION_EXTENSIONS_MAX
				 ? USEC_INFINITY
				 : period * MAX2(factor, STARVATION_EXTENSIONS_MIN);
	return s;
}
