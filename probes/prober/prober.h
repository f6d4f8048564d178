/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * twinit-prober: looks at one node from outside, for its keeper. One process a keeper whose unit
 * has probes that need it; they talk over a SOCK_SEQPACKET pair in fixed-size messages, and
 * neither ever waits for the other. The keeper says whose pid to look at and when it froze it;
 * the prober says what each look has shown. A prober that ends is started anew, and nothing is
 * concluded meanwhile; a keeper that ends takes its prober along (end of file).
 *
 * Here and not in the keeper, because a connection, a program, an XML parser or a walk through
 * /proc take as long as they take, and because what parses a stranger's bytes should not be the
 * tracer of a process: the keeper only copies a bool and a text.
 *
 * Starvation is judged here for these probes: each look that fails is compared with the state of
 * the node, and of the prober itself, when it began (probes/starvation.h).
 *
 * twinit-prober --id=ID --unit-path=PATH [--log-level=LEVEL], descriptor 3: the socket, 4: a memfd
 * with the unit's text.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/clock.h"
#include "probes/polled.h"
#include "probes/signs.h"

#define PROBER_VERSION 2u
#define PROBER_SOCKET_FD 3
#define PROBER_UNIT_FD 4

enum prober_order_type {
	PROBER_RUN,    /* .pid runs since .at: begin (again) to look */
	PROBER_PAUSE,  /* no node: stop */
	PROBER_FROZEN, /* the keeper has held the node for .length, until .at */
};
struct prober_order {
	uint32_t version;
	enum prober_order_type type;
	pid_t pid;
	usec_t at, length;
	struct signs before; /* FROZEN: just before it; .at 0: not looked */
};
struct prober_report {
	uint32_t version;
	uint32_t index;         /* among the unit's probes */
	pid_t pid;              /* that was looked at */
	uint32_t good, starved; /* starved: bad, but it was not let run; why is in detail */
	usec_t begun, at;
	char detail[POLLED_DETAIL_MAX];
};
