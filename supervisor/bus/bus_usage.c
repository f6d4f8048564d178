/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process uses, from /proc/<pid>/stat: one short read of a file that takes none of the
 * process' memory locks, so that a process stuck in the kernel cannot hold up PID 1.
 */
#include <fcntl.h>
#include <string.h>

#include "supervisor/bus/bus_internal.h"

void bus_usage_read(pid_t pid, struct bus_usage *ret)
{
	char path[32], text[1024];
	unsigned long utime, stime, threads;
	long rss;

	*ret = (struct bus_usage){UINT64_MAX, UINT64_MAX, UINT64_MAX};
	if (pid <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t len = read(fd, text, sizeof(text) - 1);
	if (len <= 0)
		return;
	text[len] = '\0';
	/* The name, second field, may hold anything: what follows it starts after the last ")". */
	const char *rest = strrchr(text, ')');
	if (!rest || sscanf(rest + 1,
			     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d"
			     " %lu %*d %*u %*u %ld",
			     &utime, &stime, &threads, &rss) != 4)
		return;
	long ticks = sysconf(_SC_CLK_TCK), page = sysconf(_SC_PAGESIZE);
	ret->cpu_nsec = (uint64_t)(utime + stime) * (NSEC_PER_SEC / (uint64_t)ticks);
	ret->memory = (uint64_t)rss * (uint64_t)page;
	ret->tasks = threads;
}
