/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The soft stage's back trace. The keeper stops the node for as long as it takes to read the
 * registers, some 30 us a thread; the rest is twinit-backtrace's. The memory is read while the
 * node goes on: what has hung does not move, and for what has not there is no harm in a trace that
 * is a little off.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "supervisor/keeper/helper.h"
#include "supervisor/keeper/keeper.h"
#include "supervisor/postmortem/registers.h"

#define TRIES 3

static int read_registers(struct keeper *k, struct postmortem_registers *ret)
{
	size_t n = 0;
	int r;

	/* A thread may be at one of its own stops. */
	for (int i = 0;; i++) {
		r = twin_inspect(k->engine, ret->threads, POSTMORTEM_THREADS_MAX, &n);
		if (r != -EAGAIN || i >= TRIES)
			break;
	}
	/* It waits for the node's threads, and may have eaten the news of anything else. */
	ev_feed_event(k->loop, &k->sigchld, EV_SIGNAL);
	ret->magic = POSTMORTEM_MAGIC;
	ret->n_threads = (uint32_t)n;
	return r;
}

/* A memfd that the new program inherits; negative errno. */
static int capture(struct keeper *k)
{
	_cleanup_close_ int fd = memfd_create("registers", MFD_CLOEXEC);
	struct postmortem_registers *map;
	int r;

	if (fd < 0 || ftruncate(fd, sizeof(*map)) < 0)
		return -errno;
	map = mmap(NULL, sizeof(*map), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	r = read_registers(k, map);
	(void)munmap(map, sizeof(*map));
	return r < 0 ? r : STEAL_FD(fd);
}

int backtrace_start(struct keeper *k, const char *why)
{
	char id[96], pid[32], registers[32] = "", level[32], reason[KEEPER_TEXT_MAX + 8];
	char *argv[7] = {NULL, id, pid, reason, level, NULL};
	_cleanup_close_ int fd = -1;
	int r;

	if (k->backtrace_pid > 0 || k->main_pid <= 0)
		return 0;
	snprintf(id, sizeof(id), "--id=%s", k->unit->id);
	snprintf(pid, sizeof(pid), "--pid=%d", k->main_pid);
	snprintf(reason, sizeof(reason), "--why=%s", why);
	snprintf(level, sizeof(level), "--log-level=%d", log_level());
	if (k->traced) {
		fd = capture(k);
		if (fd == -EBUSY || fd == -EAGAIN)
			return -EAGAIN;
		if (fd < 0) {
			log_node(LOG_WARNING, k->unit->id, "no back trace: %s",
				twin_reason(k->engine));
			return fd;
		}
		snprintf(registers, sizeof(registers), "--registers-fd=%d", HELPER_FD);
		argv[5] = registers;
	}
	r = helper_spawn("twinit-backtrace", argv, fd);
	if (r < 0)
		log_node(LOG_WARNING, k->unit->id, "no back trace: %s", strerror(-r));
	else
		k->backtrace_pid = r;
	return MIN2(r, 0);
}
