/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * twinctl: what its verbs share. Each verb_*.c holds one verb (or verbs that differ in a word),
 * main.c the options and the table of verbs. A verb returns the exit status; whatever it has to
 * complain about it has printed on stderr. stdout holds the answer alone: text, or with --json
 * one JSON value in a shape that only ever gains keys (main.c's help lists them).
 */
#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "config/clock.h"
#include "config/macro.h"
#include "tools/twinctl/format.h"
#include "tools/twinctl/json.h"

/* systemctl's (and LSB's) exit statuses. */
enum { EXIT_NOT_ACTIVE = 3, EXIT_NO_SUCH_NODE = 4 };

#define BUS_NAME "org.twinit1"
#define BUS_PATH "/org/twinit1"
#define MANAGER_INTERFACE "org.twinit1.Manager"
#define NODE_INTERFACE "org.twinit1.Node"
#define TWIN_INTERFACE "org.twinit1.Twin"
#define PROPERTIES_INTERFACE "org.freedesktop.DBus.Properties"

#define PROPERTIES_MAX 32

struct context {
	sd_bus *bus; /* NULL before client_open() */
	const char *address;
	const char *state_dir; /* NULL: the usual one */
	bool json, quiet, value, no_block;
	const char *properties[PROPERTIES_MAX]; /* -p, in order */
	size_t n_properties;
	int signal; /* -s; SIGTERM */
};

/* A node as the bus describes it, strings owned. */
struct node_info {
	char *path;
	char *id, *description, *load_state, *load_error, *active_state, *sub_state, *fragment_path,
		*result, *result_detail, *status_text;
	uint32_t main_pid, n_restarts;
	int32_t exit_code, exit_status;
	uint64_t exec_start, exec_start_realtime, exec_exit, exec_exit_realtime;
	uint64_t cpu_nsec, memory, tasks;

	char *twin_state, *skip_reason, *excluded_memory, *failover_cause, *failover_result,
		*failover_detail;
	char *failover_way;
	char *failover_fault;
	int twin_enabled;
	uint32_t *twin_pids;
	size_t n_twin_pids;
	uint64_t interval, checkpoint_at, freeze_last, freeze_median, freeze_max, memory_private;
	uint32_t generations, n_threads, n_checkpoints, n_skipped, n_failovers, failover_generation;
	uint32_t n_children, n_child_failovers;
	uint64_t failover_at, failover_realtime, failover_latency, failover_rollback;
};

/* client.c. Functions that return int give 0 or, having complained, an exit status. */
int client_open(struct context *c);
/* Complain about a failed call; the exit status that fits. */
int client_fail(const struct context *c, const char *what, int r, const sd_bus_error *error);
/* Call a method of the manager with string arguments (NULL: none). */
int client_call(struct context *c, const char *method, const char *a, const char *b,
	sd_bus_message **ret_reply);
int client_node_path(struct context *c, const char *node, char **ret_path);
int client_get_all(struct context *c, const char *path, const char *interface, const char *what,
	sd_bus_message **ret_reply);
/* "voxel" of "voxel" and of "voxel.ini"; malloc'd, never NULL. */
char *node_id(const char *argument);
void complain(const char *fmt, ...) _printf_(1, 2);

/* node_info.c */
int node_info_get(struct context *c, const char *node, struct node_info *ret);
/* All nodes in order of id. */
int node_info_list(struct context *c, struct node_info **ret, size_t *ret_n);
void node_info_clear(struct node_info *n);
void node_info_list_free(struct node_info *list, size_t n);
/* The members that "list", "status" and "twin status" share, into an open JSON object. */
void node_info_json(struct json *j, const struct node_info *n);
void node_info_json_twin(struct json *j, const struct node_info *n);
void print_twin(const struct node_info *n); /* the lines of "status NODE" on the twin */

/* value.c: any D-Bus value. */
int value_json(struct json *j, const char *key, sd_bus_message *m);
/* As systemctl show prints it. */
int value_text(FILE *out, const char *property, sd_bus_message *m);

int verb_status(struct context *c, int argc, char **argv);
int verb_list(struct context *c, int argc, char **argv);
int verb_job(struct context *c, int argc, char **argv);
int verb_failover(struct context *c, int argc, char **argv);
int verb_twin(struct context *c, int argc, char **argv);
int verb_show(struct context *c, int argc, char **argv);
int verb_is(struct context *c, int argc, char **argv);
int verb_kill(struct context *c, int argc, char **argv);
int verb_crash(struct context *c, int argc, char **argv);
int verb_log(struct context *c, int argc, char **argv);
int verb_verify(struct context *c, int argc, char **argv);

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
#define _cleanup_node_info_ _cleanup_(node_info_clear)
