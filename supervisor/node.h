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

struct node {
	struct manager *manager;
	struct unit *unit; /* NULL where the file did not load: load_state is "error" */
	char *id;
	char *fragment_path;
	const char *load_state; /* "loaded" or "error" */
	char *load_error;	/* the diags, one a line; NULL when loaded */

	bool want_up;
	enum node_state state;	    /* written by node_set_state() only */
	struct keeper_state_report report; /* the keeper's last state message */
	struct keeper_twin_report twin;
	struct keeper_failover_report last_failover; /* valid where n_failovers > 0 */
	unsigned n_failovers;	    /* to a twin; cold restarts are report.n_restarts */
	usec_t last_failover_realtime;
	char status_text[KEEPER_TEXT_MAX];
	usec_t exec_start_realtime, exec_exit_realtime, checkpoint_realtime;

	pid_t keeper_pid; /* 0: none */
	int control_fd;	  /* -1: none */
	ev_io control_io;
	ev_timer stop_timer; /* the keeper itself is late */
	struct job *job;     /* the start/stop/restart job under way, or NULL */
	struct node *next;
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
