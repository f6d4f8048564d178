/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/machine.h"

#include <assert.h>

/* What a state without a process does with words about one: a tracee that stands at a signal
 * is let go in any state, because nobody else ever would. */
#define NO_PROCESS                                                                                 \
	[GUARD_PRE_OK] = GUARD_IGNORE, [GUARD_PRE_FAILED] = GUARD_IGNORE,                          \
	[GUARD_EXECUTED] = GUARD_IGNORE, [GUARD_EXEC_FAILED] = GUARD_IGNORE,                       \
	[GUARD_READY] = GUARD_IGNORE, [GUARD_FATAL_CLEAN] = GUARD_LET_DIE,                         \
	[GUARD_FATAL] = GUARD_LET_DIE, [GUARD_ENDED_CLEAN] = GUARD_IGNORE,                         \
	[GUARD_ENDED] = GUARD_IGNORE, [GUARD_HANG] = GUARD_IGNORE, [GUARD_FAILOVER] = GUARD_IGNORE

/* While the node (or its ExecStartPre= command) is being ended: any end of it is the end. */
#define BEING_ENDED                                                                                \
	[GUARD_START] = GUARD_IGNORE, [GUARD_PRE_OK] = GUARD_SETTLE,                               \
	[GUARD_PRE_FAILED] = GUARD_SETTLE, [GUARD_EXECUTED] = GUARD_IGNORE,                        \
	[GUARD_EXEC_FAILED] = GUARD_NOTE_EXEC, [GUARD_READY] = GUARD_IGNORE,                       \
	[GUARD_FATAL_CLEAN] = GUARD_LET_DIE, [GUARD_FATAL] = GUARD_LET_DIE,                        \
	[GUARD_ENDED_CLEAN] = GUARD_SETTLE, [GUARD_ENDED] = GUARD_SETTLE,                          \
	[GUARD_HANG] = GUARD_IGNORE, [GUARD_STOP] = GUARD_WANT_DOWN,                               \
	[GUARD_FAILOVER] = GUARD_IGNORE

static const enum guard_action table[][_GUARD_EVENT_MAX] = {
	[NODE_DEAD] =
		{
			[GUARD_START] = GUARD_BEGIN,
			NO_PROCESS,
			[GUARD_EXPIRED] = GUARD_IGNORE,
			[GUARD_STOP] = GUARD_IGNORE,
		},
	[NODE_START_PRE] =
		{
			[GUARD_START] = GUARD_IGNORE,
			[GUARD_PRE_OK] = GUARD_NEXT_PRE,
			[GUARD_PRE_FAILED] = GUARD_PRE_BROKE,
			[GUARD_EXECUTED] = GUARD_IGNORE,
			[GUARD_EXEC_FAILED] = GUARD_NOTE_EXEC,
			[GUARD_READY] = GUARD_IGNORE,
			[GUARD_FATAL_CLEAN] = GUARD_LET_DIE,
			[GUARD_FATAL] = GUARD_LET_DIE,
			[GUARD_ENDED_CLEAN] = GUARD_IGNORE,
			[GUARD_ENDED] = GUARD_IGNORE,
			[GUARD_EXPIRED] = GUARD_TIME_OUT,
			[GUARD_HANG] = GUARD_IGNORE,
			[GUARD_STOP] = GUARD_TERMINATE,
			[GUARD_FAILOVER] = GUARD_IGNORE,
		},
	[NODE_START] =
		{
			[GUARD_START] = GUARD_IGNORE,
			[GUARD_PRE_OK] = GUARD_IGNORE,
			[GUARD_PRE_FAILED] = GUARD_IGNORE,
			[GUARD_EXECUTED] = GUARD_ENTER,
			[GUARD_EXEC_FAILED] = GUARD_NOTE_EXEC,
			[GUARD_READY] = GUARD_RUN,
			[GUARD_FATAL_CLEAN] = GUARD_LET_DIE,
			[GUARD_FATAL] = GUARD_LET_DIE,
			[GUARD_ENDED_CLEAN] = GUARD_SETTLE,
			[GUARD_ENDED] = GUARD_SETTLE,
			[GUARD_EXPIRED] = GUARD_TIME_OUT,
			[GUARD_HANG] = GUARD_IGNORE,
			[GUARD_STOP] = GUARD_TERMINATE,
			[GUARD_FAILOVER] = GUARD_IGNORE,
		},
	[NODE_RUNNING] =
		{
			[GUARD_START] = GUARD_IGNORE,
			[GUARD_PRE_OK] = GUARD_IGNORE,
			[GUARD_PRE_FAILED] = GUARD_IGNORE,
			[GUARD_EXECUTED] = GUARD_IGNORE,
			[GUARD_EXEC_FAILED] = GUARD_NOTE_EXEC,
			[GUARD_READY] = GUARD_IGNORE,
			[GUARD_FATAL_CLEAN] = GUARD_LET_LEAVE,
			[GUARD_FATAL] = GUARD_FAIL_OVER,
			[GUARD_ENDED_CLEAN] = GUARD_SETTLE,
			[GUARD_ENDED] = GUARD_FAIL_OVER,
			[GUARD_EXPIRED] = GUARD_IGNORE,
			[GUARD_HANG] = GUARD_FAIL_OVER,
			[GUARD_STOP] = GUARD_TERMINATE,
			[GUARD_FAILOVER] = GUARD_FAIL_OVER,
		},
	[NODE_STOP_SIGTERM] = {BEING_ENDED, [GUARD_EXPIRED] = GUARD_KILL},
	[NODE_STOP_SIGKILL] = {BEING_ENDED, [GUARD_EXPIRED] = GUARD_GIVE_UP},
	[NODE_AUTO_RESTART] =
		{
			[GUARD_START] = GUARD_IGNORE,
			NO_PROCESS,
			[GUARD_EXPIRED] = GUARD_BEGIN,
			[GUARD_STOP] = GUARD_STAY_DOWN,
		},
	[NODE_FAILED] =
		{
			[GUARD_START] = GUARD_IGNORE,
			NO_PROCESS,
			[GUARD_EXPIRED] = GUARD_IGNORE,
			[GUARD_STOP] = GUARD_IGNORE,
		},
};
static_assert(ELEMENTSOF(table) == _NODE_STATE_MAX, "a line for each state");

static const char *const event_names[] = {
	[GUARD_START] = "start",
	[GUARD_PRE_OK] = "pre-ok",
	[GUARD_PRE_FAILED] = "pre-failed",
	[GUARD_EXECUTED] = "executed",
	[GUARD_EXEC_FAILED] = "exec-failed",
	[GUARD_READY] = "ready",
	[GUARD_FATAL_CLEAN] = "fatal-clean",
	[GUARD_FATAL] = "fatal",
	[GUARD_ENDED_CLEAN] = "ended-clean",
	[GUARD_ENDED] = "ended",
	[GUARD_EXPIRED] = "expired",
	[GUARD_HANG] = "hang",
	[GUARD_STOP] = "stop",
	[GUARD_FAILOVER] = "failover",
};
static_assert(ELEMENTSOF(event_names) == _GUARD_EVENT_MAX, "a name for each event");

enum guard_action machine_next(enum node_state state, enum guard_event event)
{
	if ((unsigned)state >= _NODE_STATE_MAX || (unsigned)event >= _GUARD_EVENT_MAX)
		return GUARD_IGNORE;
	return table[state][event];
}

const char *guard_event_to_string(enum guard_event e)
{
	return (unsigned)e < _GUARD_EVENT_MAX ? event_names[e] : NULL;
}
