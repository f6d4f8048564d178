/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What supervisor and keeper say to each other: fixed-size messages over one SOCK_SEQPACKET
 * socketpair a node, made before the keeper is executed. Both ends are non-blocking; neither
 * ever waits for the other. Both are built from one tree, and PROTOCOL_VERSION is checked on
 * every message, so that a keeper that outlives a re-executed supervisor is refused, not misread.
 *
 * The keeper is started as
 *   twinit-keeper --id=ID --unit-path=PATH --unit-fd=N --control-fd=M --notify-dir=DIR
 *		[--crash-dir=DIR] [--log-level=LEVEL]
 * where N is a sealed memfd with the unit's text (so both parse the same bytes) and M the
 * socket. It starts the node at once. When the node is down for good (stopped, done, failed)
 * the keeper sends KEEPER_MSG_STATE with its last word and exits 0.
 *
 * Times: usec_t of CLOCK_MONOTONIC. Strings: NUL-terminated, cut where too long.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/clock.h"
#include "config/macro.h"

#define KEEPER_PROTOCOL_VERSION 7u
#define KEEPER_TEXT_MAX 256
#define KEEPER_EXCLUDED_MAX 128
#define KEEPER_GENERATIONS_MAX 8

/* Sub-states of a node, systemd's words where they exist; supervisor/node.h maps them onto
 * the five ActiveState words. */
enum node_state {
	NODE_DEAD,         /* inactive */
	NODE_START_PRE,    /* activating */
	NODE_START,        /* activating: executed, READY=1 not yet seen */
	NODE_RUNNING,      /* active */
	NODE_STOP_SIGTERM, /* deactivating: KillSignal= sent */
	NODE_STOP_SIGKILL, /* deactivating */
	NODE_AUTO_RESTART, /* activating: waiting for RestartSec= */
	NODE_FAILED,       /* failed */
	_NODE_STATE_MAX
};
const char *node_state_to_string(enum node_state s);   /* "dead" "start-pre" ... */
enum node_state node_state_from_string(const char *s); /* _NODE_STATE_MAX when unknown */

/* Why a node ended or was failed over: systemd's result words and ours. */
enum node_result {
	RESULT_SUCCESS,
	RESULT_PROTOCOL,
	RESULT_TIMEOUT,
	RESULT_EXIT_CODE,
	RESULT_SIGNAL,
	RESULT_CORE_DUMP,
	RESULT_WATCHDOG,
	RESULT_START_LIMIT_HIT,
	RESULT_OOM_KILL,
	RESULT_RESOURCES,
	RESULT_HEARTBEAT,
	RESULT_DEADLINE,
	RESULT_LOGICAL,
	RESULT_PING,
	RESULT_THREAD_EXIT,
	RESULT_TWIN_FAILED,
	RESULT_REQUESTED,
	_RESULT_MAX
};
const char *node_result_to_string(enum node_result r); /* "success" "exit-code" ... */

enum twin_state { TWIN_NONE, TWIN_ARMING, TWIN_ARMED, TWIN_SWAPPING, TWIN_FAILED, _TWIN_STATE_MAX };
const char *twin_state_to_string(enum twin_state s);

/* What has become of a probe's trust in the node. */
enum probe_stage {
	STAGE_ALIVE,   /* well (again) */
	STAGE_STARVED, /* it seemed to fail and could not have done better: given more time */
	STAGE_SUSPECT, /* the soft stage */
	STAGE_FAILED,
	_STAGE_MAX
};
const char *probe_stage_to_string(enum probe_stage s); /* "alive" "starved" ... */

enum keeper_msg_type {
	/* keeper to supervisor */
	KEEPER_MSG_STATE,    /* .state: sent at every change of it */
	KEEPER_MSG_STATUS,   /* .text: STATUS= of sd_notify */
	KEEPER_MSG_TWIN,     /* .twin: after every checkpoint, drop, skip */
	KEEPER_MSG_FAILOVER, /* .failover */
	KEEPER_MSG_PROBE,    /* .probe: at every change of its stage */
	KEEPER_MSG_RECORD,   /* .text: a crash record was written, its file name */
	KEEPER_MSG_REPLY,    /* .reply: to a request that carries a serial */
	/* supervisor to keeper */
	KEEPER_REQ_STOP,       /* KillSignal=, TimeoutStopSec=, SIGKILL; then exit */
	KEEPER_REQ_CHECKPOINT, /* arm now; reply when done */
	KEEPER_REQ_FAILOVER,   /* let the twin take over now, cause "requested"; reply when done */
	KEEPER_REQ_DROP_TWIN,  /* drop all generations until the next interval */
	KEEPER_REQ_KILL,       /* .signal to the active */
	KEEPER_REQ_RELOAD,     /* ExecReload=; reply when it has ended */
	_KEEPER_MSG_MAX
};

struct keeper_state_report {
	enum node_state state;
	enum node_result result;
	pid_t main_pid;               /* 0 when none */
	pid_t control_pid;            /* the ExecStartPre= command that runs, 0 when none */
	int exit_code, exit_status;   /* si_code and si_status of the last end; 0, 0 before it */
	usec_t exec_start, exec_exit; /* monotonic; 0 when not yet */
	unsigned n_restarts;          /* cold restarts */
	char detail[KEEPER_TEXT_MAX]; /* one human sentence where something went wrong, else "" */
};
struct keeper_twin_report {
	enum twin_state state;
	unsigned n_generations;
	pid_t pids[KEEPER_GENERATIONS_MAX]; /* [0] is the newest */
	usec_t checkpoint_at;
	usec_t freeze_last, freeze_median, freeze_max;
	uint64_t memory_private; /* bytes the newest twin holds alone */
	unsigned n_threads, n_checkpoints, n_skipped;
	unsigned n_threads_ended;               /* of this run, without it */
	unsigned n_children, n_child_failovers; /* guarded now; taken over by a twin of theirs */
	char excluded[KEEPER_EXCLUDED_MAX];     /* memory that the newest twin was made without */
	char skip_reason[KEEPER_TEXT_MAX];      /* of the last skip, "" when there was none */
};
struct keeper_failover_report {
	enum node_result cause;
	int signal; /* that killed the active, 0 if none did */
	bool cold;  /* true: no usable twin, the node was restarted cold */
	bool ok;    /* the node runs again */
	pid_t old_pid, new_pid;
	nsec_t latency;      /* fault to last thread let go; cold: fault to exec */
	usec_t at, rollback; /* rollback: age of the twin; 0 when cold */
	unsigned generation;
	unsigned n_threads;
	unsigned fds_closed, fds_replaced, epoll_changes, offsets_restored;
	unsigned streams_kept, streams_moved, streams_torn;
	char way[12];                 /* in which a twin took over: twin_way_to_string() */
	char detail[KEEPER_TEXT_MAX]; /* what could not be kept; why no twin was usable */
	char fault[KEEPER_TEXT_MAX];  /* fault_format(); "" for what came from outside */
};
struct keeper_probe_report {
	unsigned index; /* 0: the watchdog; else the unit's probe with that number less one */
	enum probe_stage stage;
	unsigned n_starved; /* of all probes, since the keeper began */
	char detail[KEEPER_TEXT_MAX];
};
struct keeper_reply {
	int error; /* 0 or negative errno */
	char text[KEEPER_TEXT_MAX];
};
struct keeper_msg {
	uint32_t version;
	enum keeper_msg_type type;
	uint64_t serial; /* of a request; its reply carries the same; 0: no reply wanted */
	union {
		struct keeper_state_report state;
		struct keeper_twin_report twin;
		struct keeper_failover_report failover;
		struct keeper_probe_report probe;
		struct keeper_reply reply;
		char text[KEEPER_TEXT_MAX];
		int signal;
	};
};

/*
 * Neither call ever waits. keeper_send() fills in the version: 0, -EAGAIN where the peer is
 * behind and the socket full, -EPIPE or -ECONNRESET where it is gone. keeper_recv(): 1 and a
 * checked message (texts NUL-terminated, numbers that index something in range), 0 at the
 * peer's end, -EAGAIN where there is none yet, -EBADMSG where size, version, type or an enum is
 * wrong (the message is consumed and *ret untouched).
 */
_must_check_ int keeper_send(int fd, const struct keeper_msg *msg);
_must_check_ int keeper_recv(int fd, struct keeper_msg *ret);
const char *keeper_msg_type_to_string(enum keeper_msg_type t);
