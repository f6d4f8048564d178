/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What belongs to a process, is not copied by fork (fork(2), timer_create(2), prctl(2)), and is
 * made again by a swapped-in twin's main thread: interval timers, POSIX timers with their ids,
 * the parent-death signal and the subreaper flag.
 *
 * Times are what remained at the checkpoint. POSIX timers are listed by /proc/PID/timers, before
 * the freeze; what they have left is asked inside it. A process keyring is found here as well.
 * Errors: negative errno.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"

#define POSIX_TIMERS_MAX 32
/* The kernel numbers the timers of a fresh process from 0; before Linux 6.15 ids below this can be
 * had again, since then all. */
#define POSIX_TIMER_ID_MAX 64

struct posix_timer {
	int id, clock, signal, notify;
	pid_t tid; /* SIGEV_THREAD_ID */
	uint64_t value;
	int64_t spec[4]; /* struct itimerspec: interval, value */
};
struct process_timers {
	struct posix_timer posix[POSIX_TIMERS_MAX];
	unsigned n_posix;
	bool incomplete;        /* more than we can keep */
	int64_t interval[3][4]; /* struct itimerval of ITIMER_REAL, _VIRTUAL, _PROF */
	int parent_death_signal;
	int subreaper;
	bool keyring; /* a process keyring, which cannot be had again */
};

struct twin_engine;
struct injection;
/* Outside the freeze. */
void timers_look(struct process_timers *t, pid_t pid);
/* After it: the timers are those that were seen before it, so those that it caught. */
bool timers_unchanged(const struct process_timers *t, pid_t pid);
/* Inside it, by an injection into the main thread; all: ask also what hardly ever changes. */
_must_check_ int timers_capture(struct process_timers *t, struct injection *in, bool all);

struct leader_calls;
/* Append the calls that make all of it anew. */
void timers_restore(struct process_timers *t, struct leader_calls *calls);
