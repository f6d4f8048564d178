/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The set of all nodes, the jobs upon them and the loop they live on. One manager a process.
 * Nothing in it blocks, and no function here waits for an event: requests return at once and
 * their outcome comes through the hooks of struct manager_events (which the bus implements).
 * Errors: negative errno; where a bus client can be told more, *ret_error_name is one of the
 * BUS_ERROR_* names below and stays NULL otherwise.
 */
#include <ev.h>
#include <stdbool.h>

#include "supervisor/node.h"

#define BUS_ERROR_NO_SUCH_NODE "org.twinit1.NoSuchNode"
#define BUS_ERROR_LOAD_FAILED "org.twinit1.LoadFailed"
#define BUS_ERROR_NODE_BUSY "org.twinit1.NodeBusy"
#define BUS_ERROR_NO_TWIN "org.twinit1.NoTwin"
#define BUS_ERROR_FAILOVER_IN_PROGRESS "org.twinit1.FailoverInProgress"
#define BUS_ERROR_SHUTTING_DOWN "org.twinit1.ShuttingDown"

enum job_type { JOB_START, JOB_STOP, JOB_RESTART, _JOB_TYPE_MAX };
enum job_state { JOB_WAITING, JOB_RUNNING, _JOB_STATE_MAX };
const char *job_type_to_string(enum job_type t);
const char *job_state_to_string(enum job_state s);

/* A job waits until the order of units allows it, then runs until its node has settled. */
struct job {
	uint32_t id;
	enum job_type type;
	enum job_state state;
	struct node *node;
	struct job *next;
	bool stopped; /* a restart's first half is done */
};

/* Who wants to know. All are called from the loop, after the fact; any may be NULL. */
struct manager_events {
	void (*node_changed)(struct node *n, void *userdata); /* a Node property changed */
	void (*twin_changed)(struct node *n, void *userdata); /* a Twin property changed */
	void (*node_failover)(
		struct node *n, const struct keeper_failover_report *r, void *userdata);
	void (*node_probe)(struct node *n, const struct keeper_probe_report *r, void *userdata);
	void (*job_new)(struct job *j, void *userdata);
	void (*job_removed)(struct job *j, const char *result, void *userdata);
	void (*node_reply)(struct node *n, uint64_t serial, const struct keeper_reply *r,
		void *userdata); /* to manager_request() */
	void (*manager_changed)(struct manager *m, void *userdata);
	void (*startup_finished)(struct manager *m, void *userdata);
};

enum system_state {
	SYSTEM_INITIALIZING,
	SYSTEM_STARTING,
	SYSTEM_RUNNING,
	SYSTEM_DEGRADED,
	SYSTEM_MAINTENANCE,
	SYSTEM_STOPPING,
	_SYSTEM_STATE_MAX
};
const char *system_state_to_string(enum system_state s);

/* What jobs do to nodes; node_start() and node_stop() but in tests. */
struct node_ops {
	int (*start)(struct node *n);
	void (*stop)(struct node *n);
};

#define MANAGER_NODES_MAX 512

struct manager {
	struct ev_loop *loop;
	struct node *nodes; /* in order of id */
	struct job *jobs;   /* in order of creation */
	struct manager_events events;
	void *events_userdata;
	enum system_state state; /* written by manager_set_state() only */
	usec_t userspace_realtime, userspace_monotonic, finish_realtime, finish_monotonic;
	char **unit_path; /* folders, as given */
	char *keeper_path;
	char *notify_dir;
	char *crash_dir; /* NULL: no crash records are kept */
	uint32_t last_job_id;
	uint64_t last_serial;

	const struct node_ops *ops;
	unsigned n_nodes;
	unsigned n_jobs_ended; /* moves whenever a job is removed */
	ev_timer run_timer;    /* the queue is to be looked at */
	ev_signal sigchld;
	bool start_incomplete;     /* something named at the start could not even be queued */
	usec_t shutdown_timeout;   /* for all of a shutdown's node stops together */
	struct shutdown *shutdown; /* NULL before SIGTERM or SIGINT */
};

/* loop may be NULL (tests): then the caller runs jobs_run() itself. */
_must_check_ int manager_new(struct ev_loop *loop, struct manager **ret);
void manager_free(struct manager *m);
static inline void manager_freep(struct manager **m)
{
	if (*m)
		manager_free(*m);
}
/* All *.ini of unit_path; a unit in an earlier folder hides those of later ones. A unit that
 * does not load is a node all the same, with load_state "error". */
_must_check_ int manager_load_units(struct manager *m);
/* Keeps the list in order of id; -EEXIST, -ENOSPC. The manager owns the node on success. */
_must_check_ int manager_insert_node(struct manager *m, struct node *n);
/* Queue the first starts: the ids given or, without any, all wanted by the default targets.
 * What cannot be queued is logged, and the system will be degraded. */
void manager_begin(struct manager *m, char **ids);
void manager_set_state(struct manager *m, enum system_state s);
/* Something changed that jobs or the system's state may hang on. Never calls back at once. */
void manager_kick(struct manager *m);
void manager_update_state(struct manager *m);

struct node *manager_find_node(struct manager *m, const char *id);
/* Active, twins of all generations and keepers; NULL when nobody has that pid. */
struct node *manager_find_pid(struct manager *m, pid_t pid);
/* Queue a job (and what it pulls in); *ret_job is owned by the manager. mode: "replace" "fail". */
_must_check_ int manager_add_job(struct manager *m, enum job_type type, struct node *n,
	const char *mode, struct job **ret_job, const char **ret_error_name);
/* Send KEEPER_REQ_CHECKPOINT, _FAILOVER, _DROP_TWIN, _RELOAD or _KILL; the answer comes by
 * node_reply with *ret_serial, also where the keeper dies before it answers (-ECONNRESET). */
_must_check_ int manager_request(struct manager *m, struct node *n, enum keeper_msg_type req,
	int signal, uint64_t *ret_serial, const char **ret_error_name);
unsigned manager_count(const struct manager *m, bool (*match)(const struct node *));
