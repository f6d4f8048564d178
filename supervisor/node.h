/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A node as the supervisor sees it: its unit, what is wanted of it, and the last word of its
 * keeper. The supervisor never ptraces and never waits; all here follows from the keeper's
 * messages (keeper/protocol.h) and from the keeper's own end.
 *
 * Desired and current state are two fields (want_up, state). node_set_state() is the only writer
 * of state; it also tells the bus. Ownership: the manager owns its nodes; a node its unit.
 */
#include <ev.h>
#include <stdbool.h>

#include "config/unit.h"
#include "supervisor/keeper/protocol.h"

struct manager;
struct job;
struct node;
struct wait_event;

#define NODE_ID_MAX (UNIT_ID_MAX + 1)
#define NODE_BAD_MESSAGES_LOGGED_MAX 8
#define NODE_REQUESTS_MAX 16 /* requests without an answer yet, a node */

/* Borrowed nodes, each once. */
struct node_list {
	struct node **items;
	size_t n;
};

/* What a keeper has said of a probe: [0] the watchdog, then the unit's own in their order. */
struct node_probe {
	enum probe_stage stage;
	char detail[KEEPER_TEXT_MAX];
};

struct node {
	struct manager *manager;
	struct unit *unit; /* NULL where the file did not load: load_state is "error" */
	char *id;
	char *fragment_path;
	const char *load_state; /* "loaded" or "error" */
	char *load_error;       /* the diags, one a line; NULL when loaded */

	bool want_up;
	enum node_state state;             /* written by node_set_state() only */
	struct keeper_state_report report; /* the keeper's last state message */
	struct keeper_twin_report twin;
	struct keeper_failover_report last_failover; /* valid where n_failovers > 0 */
	struct node_probe *probes;                   /* NULL: nothing was said yet */
	size_t n_probes; /* allocated: as many as the unit has, and the watchdog */
	unsigned n_watchdog_starved;
	unsigned n_failovers; /* to a twin; cold restarts are report.n_restarts */
	usec_t last_failover_realtime;
	char status_text[KEEPER_TEXT_MAX];
	char last_crash[KEEPER_TEXT_MAX]; /* file name of the last crash record */
	usec_t exec_start_realtime, exec_exit_realtime, checkpoint_realtime;

	pid_t keeper_pid; /* 0: none */
	int control_fd;   /* -1: none */
	ev_io control_io;
	ev_timer stop_timer; /* the keeper itself is late */
	struct job *job;     /* the start/stop/restart job under way, or NULL */
	struct node *next;

	/* Written by order_resolve(). before, required_by and wanted_by are the reverses, so
	 * that Before= of one unit is found in after of the other. */
	struct node_list after, before, requires, required_by, wants, wanted_by;
	struct node_list bound_by, parts;      /* reverses of BindsTo= and PartOf= */
	struct node_list on_failure, failsafe; /* of this unit */
	struct node_list dependents;           /* who hears of its failovers: consequence.c */
	bool failsafe_on;                      /* .failsafe was started because of this node */
	bool fate_news;                        /* its state moved: consequence_run() is to look */
	usec_t consequence_window_start;       /* starts of it because of others, limited */
	unsigned n_consequences;
	char *missing_requires; /* first Requires= that names no usable unit; NULL: none */
	unsigned mark;          /* scratch of order.c and job.c, meaningless between calls */

	pid_t session;           /* of the process that the keeper has reported last; 0: none */
	pid_t orphan_pid;        /* left behind by a dead keeper, killed, not yet reaped; 0: none */
	bool stop_unsent;        /* KEEPER_REQ_STOP found the socket full */
	bool keeper_killed;      /* by stop_timer */
	unsigned n_bad_messages; /* unreadable, or refused */
	uint64_t requests[NODE_REQUESTS_MAX]; /* serials */
	size_t n_requests;
	ev_timer restart_timer;    /* after a keeper's crash: RestartSec= */
	usec_t crash_window_start; /* keeper crashes, counted against StartLimit...= */
	unsigned n_crashes;
};

/* "active" "reloading" "inactive" "failed" "activating" "deactivating" */
const char *node_active_state(const struct node *n);
static inline bool node_is_up(const struct node *n)
{
	return n->state == NODE_RUNNING;
}
static inline bool node_is_down(const struct node *n)
{
	return n->state == NODE_DEAD || n->state == NODE_FAILED;
}
/* Down, and nothing of the last run is left: a keeper may be started. */
static inline bool node_is_settled(const struct node *n)
{
	return node_is_down(n) && n->keeper_pid == 0 && n->orphan_pid == 0;
}

/* NULL when out of memory. Takes no unit yet; node_free() expects it unlinked. */
struct node *node_new(struct manager *m, const char *id, const char *fragment_path);
void node_free(struct node *n);

/* The only writer of state. Tells the bus, and lets the job queue look again. */
void node_set_state(struct node *n, enum node_state s);
/* Failed without a keeper's word on it: result and one sentence why. */
void node_fail(struct node *n, enum node_result result, const char *fmt, ...) _printf_(3, 4);

/* Start a keeper; the node is then activating. -errno: the node has failed and was logged. */
_must_check_ int node_start(struct node *n);
/* Ask the keeper to stop the node; kill it where it is late. Down at once without a keeper. */
void node_stop(struct node *n);
/* Send a request; its serial is answered through manager_events.node_reply. */
_must_check_ int node_send_request(struct node *n, const struct keeper_msg *msg);

/* The keeper has said its last word: see that it goes. */
void node_expect_keeper_end(struct node *n);

/* What the keeper says, by the table [state][message] in node_message.c. */
void node_handle_message(struct node *n, const struct keeper_msg *msg);
/* Read what is in the socket; false at the keeper's end of it. */
bool node_drain(struct node *n);
/* From reap.c: the keeper, or the process it left behind, is gone and reaped. */
void node_keeper_ended(struct node *n, const struct wait_event *e);
void node_orphan_ended(struct node *n);
