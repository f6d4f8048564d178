/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Was the node slow, or was it not let run? A program that is late on a busy machine has not hung,
 * and to fail it over makes the machine busier. So before a silence condemns a node, two looks at
 * it are compared: one from the middle of the silence, one at its end.
 *
 * What counts as an excuse, in the time between them:
 *  - run delay: its threads were runnable and waited for a processor (/proc/TID/schedstat). The
 *    kernel adds a wait only when it is over, so a thread that is runnable now, on a machine with
 *    more runnable threads than processors, counts as waiting as well;
 *  - throttling: its cgroup had used its share up (cpu.stat, cgroup v1 or v2);
 *  - uninterruptible sleep: the kernel works for it and cannot be interrupted (a slow disk,
 * paging);
 *  - frozen time: we stopped it ourselves, for a checkpoint;
 *  - suspend: the machine slept (CLOCK_BOOTTIME against CLOCK_MONOTONIC);
 *  - pressure: where the caller asks for it, the machine's cpu, memory or io stall (PSI).
 *
 * A deadlock has none of these, and gets no excuse even under overload. An endless loop on a busy
 * machine looks like a node that starves; that is why an excuse holds once, and for a bounded
 * time: for as long as the node would take at the pace at which it was let run, 8 to 32 times its
 * own.
 *
 * A look costs some 10 us a thread and takes the first STARVATION_THREADS of them; it allocates
 * nothing and waits for nobody. PSI is not for real-time callers: reading it takes a lock that an
 * ordinary thread may hold while it waits for a processor itself.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/clock.h"
#include "config/macro.h"

#define STARVATION_THREADS 64u
#define STARVATION_SHARE 4u          /* an excuse: a quarter of the time */
#define STARVATION_EXTENSIONS_MIN 8u /* what half a silence shows of the load is a rough guess */
#define STARVATION_EXTENSIONS_MAX 32u

struct starvation_watch {
	pid_t pid;
	int tasks_fd;       /* /proc/PID/task */
	int throttle_fd;    /* cpu.stat of its cgroup; -1: none */
	bool throttle_nsec; /* version 1 counts in ns */
};
struct starvation_look {
	usec_t at;                      /* 0: none taken */
	nsec_t run_delay, cpu;          /* of all threads looked at */
	unsigned n_threads;             /* looked at */
	unsigned n_runnable, n_blocked; /* state R, state D */
	bool contended;                 /* more runnable threads than processors */
	usec_t throttled, suspended, frozen, pressure;
};
#define STARVATION_WATCH_NONE                                                                      \
	{                                                                                          \
		.tasks_fd = -1, .throttle_fd = -1                                                  \
	}

/* Whatever cannot be opened is left out of the looks. */
void starvation_open(struct starvation_watch *w, pid_t pid);
void starvation_close(struct starvation_watch *w);
/* frozen: for how long we have held the node, in all. */
void starvation_look(const struct starvation_watch *w, usec_t frozen, bool pressure,
	struct starvation_look *ret);

enum starvation {
	STARVATION_NONE,
	STARVATION_RUN_DELAY,
	STARVATION_THROTTLED,
	STARVATION_BLOCKED,
	STARVATION_FROZEN,
	STARVATION_SUSPENDED,
	STARVATION_PRESSURE,
	STARVATION_WATCHER, /* said by who looks: it was not there itself */
	_STARVATION_MAX
};
const char *starvation_to_string(enum starvation s); /* "waited for a processor" ... */
/* Pure. period: what the node was given; *ret_extension: what it is given now. */
enum starvation starvation_judge(const struct starvation_look *from,
	const struct starvation_look *to, usec_t period, usec_t *ret_extension);
