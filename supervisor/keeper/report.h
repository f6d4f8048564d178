/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The keeper's words to the supervisor. Sending never blocks and never fails: what the socket
 * does not take at once waits in a small ring until it is writable. Twin reports are dropped
 * instead (the next one says all they said). When even the ring is full the oldest waiting
 * message goes, and its loss is logged. With no supervisor all is dropped.
 */
#include <ev.h>
#include <stdbool.h>

#include "supervisor/keeper/protocol.h"

#define REPORT_RING 32u

struct report {
	struct ev_loop *loop;
	int fd; /* borrowed; -1: nobody listens */
	ev_io writable;
	struct keeper_msg ring[REPORT_RING];
	unsigned first, n, lost;
};

void report_init(struct report *r, struct ev_loop *loop, int fd);
void report_send(struct report *r, const struct keeper_msg *msg);
void report_reply(struct report *r, uint64_t serial, int error, const char *text);
/* The peer is gone: forget what waits, and send nothing more. */
void report_close(struct report *r);
static inline bool report_is_idle(const struct report *r)
{
	return r->n == 0;
}
