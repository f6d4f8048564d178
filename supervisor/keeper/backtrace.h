/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Post-mortems: who the dead was and what it was doing, told by twinit-backtrace, which is started
 * when the node runs again (or has failed) and has no hurry. One at a time; what would come on top
 * is skipped and said so. The memory of the dead is held until it is done.
 */
#include <sys/types.h>

#include "supervisor/keeper/protocol.h"

struct keeper;
struct backtrace {
	pid_t pid;          /* of twinit-backtrace; 0: none runs */
	usec_t realtime;    /* which names the record */
	const char *folder; /* borrowed for good; "": no records are kept */
};

void backtrace_init(struct keeper *k, const char *folder);
/* Of the one that the last swap replaced, or of one that has just died. */
void backtrace_of_the_dead(
	struct keeper *k, const struct keeper_failover_report *r, bool runs_again);
/* Of the node as it runs, which stands still for as long as its registers are read. why: one line.
 * -EAGAIN: not at this moment. Another failure has been logged. */
_must_check_ int backtrace_start(struct keeper *k, const char *why);
/* false: the child was another. */
bool backtrace_ended(struct keeper *k, pid_t pid, int status);
