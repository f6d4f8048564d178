/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The state machine of one node as a table: what is done when this happens in that state. Pure;
 * guard.c carries the actions out and is the only one to change the state. Every cell is
 * filled on purpose (a test looks for holes).
 */
#include "supervisor/keeper/protocol.h"

enum guard_event {
	GUARD_START,       /* the keeper begins */
	GUARD_PRE_OK,      /* an ExecStartPre= command ended well (or its failure is ignored) */
	GUARD_PRE_FAILED,  /* ... did not */
	GUARD_EXECUTED,    /* exec of ExecStart= worked */
	GUARD_EXEC_FAILED, /* it did not, or a step before it; the end follows as GUARD_ENDED */
	GUARD_READY,       /* READY=1 */
	GUARD_FATAL_CLEAN, /* the node stands at a signal that would end it as on purpose */
	GUARD_FATAL,       /* ... at one that is a failure */
	GUARD_ENDED_CLEAN, /* it is gone: exit code 0 or a clean signal */
	GUARD_ENDED,       /* it is gone: anything else */
	GUARD_EXPIRED,     /* the state's own timer */
	GUARD_HANG,        /* a probe says that it has failed */
	GUARD_STOP,        /* a stop is asked for */
	GUARD_FAILOVER,    /* a failover is asked for */
	_GUARD_EVENT_MAX
};

enum guard_action {
	_GUARD_HOLE, /* a cell nobody filled: a bug, found by the test */
	GUARD_IGNORE,
	GUARD_BEGIN,     /* count the start, look users up, first ExecStartPre= */
	GUARD_NEXT_PRE,  /* the next command, or the node itself */
	GUARD_PRE_BROKE, /* the start has failed */
	GUARD_ENTER,     /* Type=simple runs; Type=notify waits for READY=1 */
	GUARD_RUN,       /* it runs */
	GUARD_NOTE_EXEC, /* remember which step failed */
	GUARD_LET_DIE,   /* deliver the signal, go on with the end */
	GUARD_LET_LEAVE, /* the same, and its twins go at once */
	GUARD_FAIL_OVER, /* twin, older twin, or cold */
	GUARD_TIME_OUT,  /* the start took too long: terminate, with that result */
	GUARD_TERMINATE, /* not wanted any more: KillSignal= */
	GUARD_WANT_DOWN, /* it is being terminated already: only no restart after it */
	GUARD_KILL,      /* SIGKILL */
	GUARD_GIVE_UP,   /* not even SIGKILL helped */
	GUARD_SETTLE,    /* it is down: restart, dead or failed */
	GUARD_STAY_DOWN, /* no restart after all */
	_GUARD_ACTION_MAX
};

enum guard_action machine_next(enum node_state state, enum guard_event event);
const char *guard_event_to_string(enum guard_event e);
