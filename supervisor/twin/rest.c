/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/rest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/*
 * Not among them: whatever takes something from a descriptor when it is woken, so that the twin
 * would miss it. read() and its like, for data that come just when the thread is stopped are still
 * taken; epoll_wait(), which takes edges and one-shots with it.
 */
static bool is_harmless(long nr)
{
	switch (nr) {
	case SYS_futex:
	case SYS_futex_waitv:
	case SYS_clock_nanosleep:
	case SYS_ppoll:
	case SYS_pselect6:
	case SYS_rt_sigsuspend:
	case SYS_rt_sigtimedwait:
#ifdef SYS_nanosleep
	case SYS_nanosleep:
#endif
#ifdef SYS_poll
	case SYS_poll:
	case SYS_select:
	case SYS_pause:
#endif
		return true;
	default:
		return false;
	}
}

/* Time on a CPU, time in wait of one, how often it got one; 0: not known. */
static uint64_t read_slices(int fd)
{
	char text[96], *p;
	ssize_t len = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);

	if (len <= 0)
		return 0;
	text[len] = '\0';
	p = strrchr(text, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

static void note(struct twin_engine *e, struct thread *t)
{
	char text[256], path[64], *end;
	uint64_t slices;
	long nr;

	t->rest = (struct rest){0};
	if (t->slices_fd < 0) {
		snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", e->pid, t->tid);
		t->slices_fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	slices = read_slices(t->slices_fd);
	if (!slices || t->syscall_fd < 0 || proc_reread(t->syscall_fd, text, sizeof(text)) <= 0)
		return;
	nr = strtol(text, &end, 10); /* or it says "running" */
	/* The kernel looks twice whether it slept all the while in which it read that; and with as
	 * many slices as before it does so still. */
	if (end != text && is_harmless(nr) && read_slices(t->slices_fd) == slices)
		t->rest.slices = slices;
}

void rest_note(struct twin_engine *e)
{
	FOREACH_THREAD(e, t)
	{
		note(e, t);
	}
}

bool rest_holds(const struct thread *t)
{
	return t->rest.slices && read_slices(t->slices_fd) == t->rest.slices;
}
