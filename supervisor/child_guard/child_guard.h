/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * twinit-child-guard: guards one long-lived child process of a node, for the node's keeper ([Twin]
 * GuardChildren=yes). It makes twins of the child at the unit's interval, and on a fatal signal
 * rolls the child back in place: it keeps its pid and its parent, and its parent's wait() hears of
 * nothing (supervisor/twin/foster.h). Every other end is the child's own, and its parent sees it as
 * it was.
 *
 * One process for each child: ptrace belongs to one thread, and a fork of a large child must not
 * make the keeper late for the node's own crash. Where the guard ends the child goes on unguarded.
 * Where the keeper ends or closes the socket, the guard lets the child go and ends.
 *
 * twinit-child-guard --id=ID --unit-path=PATH --log-level=LEVEL --child=PID:STARTED:PARENT,
 * descriptor 3: the socket (SOCK_SEQPACKET), for reports; 4: a memfd with the unit's text. STARTED:
 * starttime of proc(5), so that no other process with that number is taken for it.
 */
#include <stdint.h>
#include <sys/types.h>

#include "config/clock.h"

#define CHILD_GUARD_VERSION 1u
#define CHILD_GUARD_SOCKET_FD 3
#define CHILD_GUARD_UNIT_FD 4
/* In proc(5)'s numbers. */
#define CHILD_STAT_PARENT 4
#define CHILD_STAT_STARTED 22

enum child_word {
	CHILD_ARMED,       /* it has its first twin */
	CHILD_REFUSED,     /* it cannot be guarded: .text; the guard ends */
	CHILD_TOOK_OVER,   /* after .signal; .text: what could not be kept */
	CHILD_LEFT_TO_DIE, /* of .signal; .text: why */
	CHILD_ENDED,       /* with .status; the guard ends */
	_CHILD_WORD_MAX
};
struct child_report {
	uint32_t version;
	enum child_word word;
	int32_t signal, status; /* status: as of wait(2) */
	uint64_t address;       /* of the fault; 0: none */
	nsec_t latency;
	usec_t rollback;
	char text[256];
};
