/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the files of supervisor/bus share; nobody else includes this.
 *
 *   bus.c             the hooks the manager calls, opening, closing
 *   bus_connection.c  joining, losing and rejoining a bus; sd-bus on libev
 *   bus_changes.c     what clients were last told, and telling them what is new
 *   bus_access.c      who may change things
 *   bus_request.c     calls that wait for a keeper's reply
 *   bus_path.c bus_error.c bus_usage.c, and one *_interface.c for each interface
 */
#include <systemd/sd-bus.h>

#include "supervisor/bus/bus.h"

#define BUS_PATH "/org/twinit1"
#define BUS_NODE_PREFIX "/org/twinit1/node"
#define BUS_JOB_PREFIX "/org/twinit1/job"
#define MANAGER_INTERFACE "org.twinit1.Manager"
#define NODE_INTERFACE "org.twinit1.Node"
#define TWIN_INTERFACE "org.twinit1.Twin"
#define JOB_INTERFACE "org.twinit1.Job"

/* The bounds. Beyond them a client gets LimitsExceeded, or the connection is given up. */
#define BUS_REQUESTS_MAX 64u                       /* calls that wait for a keeper */
#define BUS_QUESTIONS_MAX 64u                      /* calls that wait for their sender's uid */
#define BUS_ARGUMENT_MAX 1024u                     /* bytes of a text in such a call */
#define BUS_WRITE_QUEUE_MAX 8192u                  /* messages that the bus daemon does not take */
#define BUS_MESSAGES_PER_WAKE 64u                  /* before the other watchers get their turn */
#define BUS_CALL_TIMEOUT_USEC (10 * USEC_PER_SEC)  /* of our calls to the bus daemon */
#define BUS_REQUEST_STALE_USEC (60 * USEC_PER_SEC) /* a keeper that long silent gives way */
#define BUS_STATUS_INTERVAL_USEC (250 * USEC_PER_MSEC)
#define BUS_BACKOFF_MIN 0.05 /* seconds */
#define BUS_BACKOFF_MAX 2.0

struct bus_question;
struct bus_request;

/* The broadcast properties of a node as clients were last told them. */
struct bus_view {
	char *id;
	bool node_dirty, twin_dirty;
	enum node_state state;
	enum node_result result;
	char last_crash[KEEPER_TEXT_MAX];
	char detail[KEEPER_TEXT_MAX];
	pid_t main_pid;
	int exit_code, exit_status;
	usec_t exec_start, exec_exit;
	unsigned n_restarts, n_watchdog_starved;
	uint32_t job_id;
	char status_text[KEEPER_TEXT_MAX];
	usec_t status_told_at;
	enum twin_state twin;
	unsigned n_failovers, n_children, n_child_failovers;
	usec_t failover_at;
};

struct bus_manager_view {
	enum system_state state;
	unsigned n_nodes, n_failed, n_armed;
	usec_t finish;
};

struct bus {
	struct manager *manager;
	char *address;

	sd_bus *sd; /* NULL: not joined, retry_timer runs */
	bool ready; /* Hello is done: messages get through */
	bool has_name;
	int last_error;  /* logged already; 0: none since the last success */
	int close_error; /* why we closed the connection ourselves, or 0 */
	double backoff;
	ev_timer retry_timer;
	ev_prepare prepare;
	ev_io io;
	ev_timer timer;        /* sd-bus' own timeouts */
	usec_t timer_at;       /* what timer is set to; USEC_INFINITY: it is not */
	ev_timer status_timer; /* a StatusText held back */

	struct bus_view *views; /* in order of id, as manager->nodes */
	size_t n_views;
	bool dirty, nodes_stale, status_due;
	struct bus_manager_view manager_view;

	struct bus_question *questions;
	unsigned n_questions;
	struct bus_request *requests; /* oldest first */
	unsigned n_requests;
};

/* bus_connection.c */
void bus_connection_init(struct bus *b);
void bus_connection_done(struct bus *b);
void bus_connection_nudge(struct bus *b);    /* something was started: it may be the bus */
void bus_connection_reassert(struct bus *b); /* something was rolled back: it may be the bus */
/* Split from joining so that a test can serve a socketpair. */
_must_check_ int bus_add_objects(struct bus *b, sd_bus *sd);
_must_check_ int bus_address_check(const char *address);

/* bus_changes.c */
void bus_changes_init(struct bus *b);
void bus_changes_node(struct bus *b, const struct node *n);
void bus_changes_twin(struct bus *b, const struct node *n);
void bus_changes_manager(struct bus *b); /* also: nodes may have come or gone */
void bus_changes_flush(struct bus *b);
void bus_changes_done(struct bus *b);

/* bus_access.c: act is called when the sender's uid is known; b is its userdata. It is
 * for methods of objects whose userdata is the bus, never a node (that may be gone by then). */
int bus_privileged(
	struct bus *b, sd_bus_message *msg, sd_bus_message_handler_t act, sd_bus_error *error);
bool bus_uid_allowed(uid_t uid);
void bus_access_forget(struct bus *b);

/* bus_request.c: ask n's keeper and answer msg when it has replied. A method's return value. */
int bus_request_start(struct bus *b, sd_bus_message *msg, struct node *n, enum keeper_msg_type type,
	int signal, sd_bus_error *error);
void bus_request_reply(struct bus *b, uint64_t serial, const struct keeper_reply *reply);
void bus_request_forget(struct bus *b);

/* bus_path.c: paths are malloc'd. */
_must_check_ int bus_node_path(const char *id, char **ret);
_must_check_ int bus_job_path(uint32_t id, char **ret);
/* sd-bus' find callbacks: *ret_found is the struct node or struct job. */
int bus_find_node(sd_bus *sd, const char *path, const char *interface, void *userdata,
	void **ret_found, sd_bus_error *error);
int bus_find_job(sd_bus *sd, const char *path, const char *interface, void *userdata,
	void **ret_found, sd_bus_error *error);
int bus_enumerate_nodes(
	sd_bus *sd, const char *prefix, void *userdata, char ***ret_paths, sd_bus_error *error);
int bus_enumerate_jobs(
	sd_bus *sd, const char *prefix, void *userdata, char ***ret_paths, sd_bus_error *error);

/* bus_error.c: fill error from what a manager function or a keeper said; returns negative errno.
 * name: a BUS_ERROR_* or NULL; text: a sentence, NULL or "". */
int bus_error_set(sd_bus_error *error, int r, const char *name, const char *id, const char *text);
/* The node, or the NoSuchNode error. */
int bus_get_node(struct bus *b, const char *id, struct node **ret, sd_bus_error *error);

/* bus_text.c: s as it may go on the bus: "" for NULL, U+FFFD for what is not UTF-8. Good until the
 * fourth next call; append at once. */
const char *bus_text(const char *s);

/* node_interface.c: what a probe of this node is called; index 0 is the watchdog. */
void bus_probe_names(
	const struct node *n, size_t index, const char **ret_name, const char **ret_kind);

/* bus_usage.c */
struct bus_usage {
	uint64_t cpu_nsec, memory, tasks; /* UINT64_MAX: not known */
};
void bus_usage_read(pid_t pid, struct bus_usage *ret);

/* *_interface.c */
extern const sd_bus_vtable bus_manager_vtable[];
extern const sd_bus_vtable bus_node_vtable[];
extern const sd_bus_vtable bus_twin_vtable[];
extern const sd_bus_vtable bus_job_vtable[];
const char *bus_failover_result(const struct keeper_failover_report *r);
void bus_emit_failover(struct bus *b, const struct node *n, const struct keeper_failover_report *r);
void bus_emit_probe(struct bus *b, const struct node *n, const struct keeper_probe_report *r);
void bus_emit_startup_finished(struct bus *b);
void bus_emit_job(struct bus *b, const struct job *j, const char *result /* NULL: JobNew */);
void bus_emit_node(struct bus *b, const char *id, bool is_new);

static inline void sd_bus_messagep(sd_bus_message **m)
{
	sd_bus_message_unref(*m);
}
#define _cleanup_message_ _cleanup_(sd_bus_messagep)
static inline void sd_bus_errorp(sd_bus_error *e)
{
	sd_bus_error_free(e);
}
#define _cleanup_bus_error_ _cleanup_(sd_bus_errorp)
