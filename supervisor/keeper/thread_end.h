/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A thread of the node ended, and the process goes on. To a program that may be all right, as
 * with the workers of a pool, or be its silent death; nobody but its author knows. So each
 * is counted, and [Failover] OnThreadExit= says whether it is an end of the node as well.
 *
 * Only threads that the newest twin has count: not those which come and go. At the end of the
 * process its threads end one after the other, too; so it is looked at again
 * THREAD_END_PATIENCE later, and as long as all that is left of it is on its way out nothing is
 * said. The main thread's own pthread_exit(3) is not seen: the kernel keeps it until the others
 * have ended.
 */
#include <ev.h>
#include <stdbool.h>
#include <sys/types.h>

#define THREAD_END_PATIENCE 0.1

struct keeper;
struct twin_event;

struct thread_end {
	ev_timer timer;
	unsigned pending; /* ended, and the process has not been looked at since */
	unsigned n;       /* of this run */
	pid_t tid;        /* the last, and its name */
	char name[16];
};

void thread_end_init(struct keeper *k);
void thread_end_note(struct keeper *k, const struct twin_event *e);
/* Another process, or another state of it. */
void thread_end_forget(struct keeper *k);
/* No twin is to be made of what may have to be failed over. */
bool thread_end_suspects(const struct keeper *k);

/* Some thread of the process is neither killed nor exiting. */
bool process_lives(pid_t pid);
