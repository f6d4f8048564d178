/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * [Failover] EventFD=yes: the node has a descriptor, its number in $TWINIT_EVENT_FD, on which a
 * datagram tells each swap to the twin that took over, for programs that want to know that they
 * were rolled back. Lines of NAME=value:
 *
 *	FAILOVER=1
 *	CAUSE=signal
 *	GENERATION=0
 *	ROLLBACK_USEC=412345	(age of the memory that it woke up with)
 *	LATENCY_USEC=640
 *
 * It is one end of an AF_UNIX datagram socket pair and non-blocking for the keeper: who does not
 * read loses the newest once the queue is full, nothing else.
 */
#include "supervisor/keeper/protocol.h"

/* Both ends, -1 where there are none. */
struct event_fd {
	int keeper, node;
};
#define EVENT_FD_NONE                                                                              \
	{                                                                                          \
		-1, -1                                                                             \
	}

_must_check_ int event_fd_open(struct event_fd *e);
void event_fd_close(struct event_fd *e);
void event_fd_tell(const struct event_fd *e, const struct keeper_failover_report *r);
