/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * All that one keeper holds. One keeper, one node, one thread; nothing in here is shared.
 *
 * main.c makes it, guard.c moves it from state to state (and is the only writer of .state),
 * failover.c lets a twin take over, arm.c makes the twins, children.c has child processes guarded,
 * listen.c takes what the supervisor and the node say. want_up and state are two things: what is
 * asked for, and what is.
 */
#include <ev.h>
#include <stdbool.h>

#include "config/unit.h"
#include "probes/notify.h"
#include "supervisor/base/log.h"
#include "supervisor/keeper/arm.h"
#include "supervisor/keeper/backtrace.h"
#include "supervisor/keeper/cgroup.h"
#include "supervisor/keeper/children.h"
#include "supervisor/keeper/event_fd.h"
#include "supervisor/keeper/fault.h"
#include "supervisor/keeper/machine.h"
#include "supervisor/keeper/policy.h"
#include "supervisor/keeper/probes.h"
#include "supervisor/keeper/reload.h"
#include "supervisor/keeper/report.h"
#include "supervisor/keeper/spawn.h"
#include "supervisor/keeper/thread_end.h"
#include "supervisor/twin/twin.h"

struct keeper {
	struct ev_loop *loop;
	struct unit *unit;
	struct twin_engine *engine;
	struct report report;
	struct arm arm;
	struct child_host children;
	struct probe_host probes;
	struct prober_host prober;
	struct reload reload;
	struct backtrace backtrace;
	struct event_fd event_fd; /* [Failover] EventFD= */
	struct node_cgroup cgroup;
	struct thread_end thread_end;

	int control_fd; /* -1: the supervisor is gone */
	int notify_fd;  /* -1: none could be made */
	char notify_path[NOTIFY_PATH_MAX];

	/* what is asked for, what is */
	bool want_up;
	enum node_state state;   /* guard_set_state() only */
	enum node_result result; /* of this run: the first thing that went wrong */
	char detail[KEEPER_TEXT_MAX];
	int exit_code, exit_status;
	bool oom_killed; /* the end that is being dealt with was the OOM killer's doing */
	usec_t exec_start, exec_exit;
	unsigned n_restarts;

	/* the run */
	struct spawn_plan *plan;
	struct spawned spawned;             /* the node, or the ExecStartPre= command under way */
	const struct exec_command *command; /* of it */
	size_t next_pre;
	pid_t main_pid, pre_pid;
	pid_t group; /* of the node; 0: none */
	bool traced;
	bool executed;    /* TWIN_EVENT_EXEC of ExecStart= was seen */
	bool leaving;     /* the node said STOPPING=1 */
	bool no_swap;     /* this end is final: the ladder has ended, or it is on purpose */
	unsigned n_looks; /* for the end of the last run's twins */
	unsigned restarts_in_row;
	struct start_limit start_limit;
	struct ladder ladder;
	struct fault_memory faults;
	/* a failure that a cold restart has to make up for; .at 0: none */
	struct keeper_failover_report cold;
	nsec_t cold_seen;
	bool cold_tried; /* a twin was to take over, and did not */

	ev_signal sigchld, sigterm;
	ev_io control_io, notify_io, exec_io, twin_io;
	ev_timer state_timer, quit_timer, notify_pause;
	ev_prepare quit_prepare, release_prepare;
	bool done; /* nothing left to do but to send what waits */
};

/* What came with an event. */
struct guard_input {
	enum guard_event event;
	nsec_t seen;
	int signal;                          /* FATAL */
	bool core;                           /* FATAL */
	uint64_t address, instruction;       /* FATAL: of the fault; 0: none */
	int status;                          /* ENDED, PRE_FAILED: raw wait status */
	enum node_result cause;              /* HANG */
	const struct probe *probe;           /* HANG: who says so */
	int probe_number;                    /* HANG: which of the unit's that is */
	const char *why;                     /* HANG: in words */
	bool cold;                           /* HANG: what is wrong is in the twins too */
	uint64_t serial;                     /* FAILOVER: of the request, 0 none */
	const struct spawn_failure *failure; /* EXEC_FAILED */
};

/* guard.c */
void guard_init(struct keeper *k);
void guard_dispatch(struct keeper *k, const struct guard_input *in);
void guard_set_state(struct keeper *k, enum node_state state);
void guard_report_state(struct keeper *k);
void guard_settle(struct keeper *k);
/* The first thing that went wrong in this run counts. */
void guard_blame(struct keeper *k, enum node_result result, const char *fmt, ...) _printf_(3, 4);
/* What an end of the node is to be called. Looks for the OOM killer: not on the way of a swap. */
enum node_result guard_result_of_end(struct keeper *k, int status);
/* An end of the node: its numbers, and the blame where it is one. */
void guard_note_end(struct keeper *k, int status);
/* The node has another pid: group and session with it. */
void guard_follow(struct keeper *k, pid_t pid);
void guard_end_node(struct keeper *k, int signal); /* and wait for it: stop-sigterm */
void guard_expire_in(struct keeper *k, usec_t delay);

/* start.c */
void start_init(struct keeper *k);
void start_begin(struct keeper *k, const struct guard_input *in);
void start_next_pre(struct keeper *k, const struct guard_input *in);
void start_note_exec(struct keeper *k, const struct guard_input *in);
/* Has the exec been decided? Tells the guard. */
void start_check_exec(struct keeper *k);

/* failover.c */
void failover_run(struct keeper *k, const struct guard_input *in);
/* The node was started again (or will not be): report what the cold way took. */
void failover_cold_over(struct keeper *k, bool ok);

/* listen.c */
void listen_init(struct keeper *k);
/* All notifications that lie in the socket. */
void listen_read_all(struct keeper *k);

/* events.c: everything that the engine has to tell, until it has no more */
void events_drain(struct keeper *k);
