/* SPDX-License-Identifier: Apache-2.0 */
/* org.twinit1.Manager; org.twinit1.xml says what each member is for. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/utsname.h>

#include "supervisor/base/log.h"
#include "supervisor/bus/bus_internal.h"

#define GETTER(name)                                                                               \
	static int name(sd_bus *sd, const char *path, const char *interface, const char *property, \
		sd_bus_message *reply, void *userdata, sd_bus_error *error)
#define METHOD(name) static int name(sd_bus_message *m, void *userdata, sd_bus_error *error)

GETTER(get_version);
GETTER(get_architecture);
GETTER(get_system_state);
GETTER(get_n_nodes);
GETTER(get_n_failed);
GETTER(get_n_armed);
GETTER(get_twin_memory);
GETTER(get_time);
GETTER(get_unit_path);
GETTER(get_log_level);
METHOD(method_get_node);
METHOD(method_get_node_by_pid);
METHOD(method_list_nodes);
METHOD(method_start);
METHOD(method_stop);
METHOD(method_restart);
METHOD(method_failover);
METHOD(method_checkpoint);
METHOD(method_drop_twin);
METHOD(method_kill);
METHOD(method_subscribe);

#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
/* Without it sd-bus asks the bus daemon for the sender's credentials, and waits: bus_privileged()
 * does that job here. */
#define OPEN SD_BUS_VTABLE_UNPRIVILEGED
#define ARGS SD_BUS_ARGS

const sd_bus_vtable bus_manager_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Version", "s", get_version, 0, CONST),
	SD_BUS_PROPERTY("Architecture", "s", get_architecture, 0, CONST),
	SD_BUS_PROPERTY("SystemState", "s", get_system_state, 0, EMITS),
	SD_BUS_PROPERTY("NNodes", "u", get_n_nodes, 0, EMITS),
	SD_BUS_PROPERTY("NFailedNodes", "u", get_n_failed, 0, EMITS),
	SD_BUS_PROPERTY("NTwinsArmed", "u", get_n_armed, 0, EMITS),
	SD_BUS_PROPERTY("TwinMemoryCurrent", "t", get_twin_memory, 0, 0),
	SD_BUS_PROPERTY("UserspaceTimestamp", "t", get_time, 0, CONST),
	SD_BUS_PROPERTY("UserspaceTimestampMonotonic", "t", get_time, 0, CONST),
	SD_BUS_PROPERTY("FinishTimestamp", "t", get_time, 0, EMITS),
	SD_BUS_PROPERTY("FinishTimestampMonotonic", "t", get_time, 0, EMITS),
	SD_BUS_PROPERTY("UnitPath", "as", get_unit_path, 0, CONST),
	SD_BUS_PROPERTY("LogLevel", "s", get_log_level, 0, 0),

	SD_BUS_METHOD_WITH_ARGS("GetNode", ARGS("s", id), ARGS("o", node), method_get_node, OPEN),
	SD_BUS_METHOD_WITH_ARGS(
		"GetNodeByPID", ARGS("u", pid), ARGS("o", node), method_get_node_by_pid, OPEN),
	SD_BUS_METHOD_WITH_ARGS(
		"ListNodes", SD_BUS_NO_ARGS, ARGS("a(sssssouuo)", nodes), method_list_nodes, OPEN),
	SD_BUS_METHOD_WITH_ARGS(
		"StartNode", ARGS("s", id, "s", mode), ARGS("o", job), method_start, OPEN),
	SD_BUS_METHOD_WITH_ARGS(
		"StopNode", ARGS("s", id, "s", mode), ARGS("o", job), method_stop, OPEN),
	SD_BUS_METHOD_WITH_ARGS(
		"RestartNode", ARGS("s", id, "s", mode), ARGS("o", job), method_restart, OPEN),
	SD_BUS_METHOD_WITH_ARGS(
		"FailoverNode", ARGS("s", id, "s", cause), SD_BUS_NO_RESULT, method_failover, OPEN),
	SD_BUS_METHOD_WITH_ARGS(
		"CheckpointNode", ARGS("s", id), SD_BUS_NO_RESULT, method_checkpoint, OPEN),
	SD_BUS_METHOD_WITH_ARGS(
		"DropTwin", ARGS("s", id), SD_BUS_NO_RESULT, method_drop_twin, OPEN),
	SD_BUS_METHOD_WITH_ARGS("KillNode", ARGS("s", id, "s", whom, "i", signal), SD_BUS_NO_RESULT,
		method_kill, OPEN),
	SD_BUS_METHOD_WITH_ARGS(
		"Subscribe", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_subscribe, OPEN),
	SD_BUS_METHOD_WITH_ARGS(
		"Unsubscribe", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_subscribe, OPEN),

	SD_BUS_SIGNAL_WITH_ARGS("NodeNew", ARGS("s", id, "o", node), 0),
	SD_BUS_SIGNAL_WITH_ARGS("NodeRemoved", ARGS("s", id, "o", node), 0),
	SD_BUS_SIGNAL_WITH_ARGS("JobNew", ARGS("u", id, "o", job, "s", node), 0),
	SD_BUS_SIGNAL_WITH_ARGS("JobRemoved", ARGS("u", id, "o", job, "s", node, "s", result), 0),
	SD_BUS_SIGNAL_WITH_ARGS("StartupFinished", ARGS("t", total_usec), 0),
	SD_BUS_SIGNAL_WITH_ARGS("NodeFailover",
		ARGS("s", id, "o", node, "s", cause, "s", result, "u", old_pid, "u", new_pid, "t",
			latency_usec, "t", rollback_usec, "u", generation),
		0),
	SD_BUS_SIGNAL_WITH_ARGS("NodeProbe",
		ARGS("s", id, "o", node, "s", probe, "s", kind, "s", stage, "s", detail), 0),
	SD_BUS_VTABLE_END,
};

/* Most handlers need two or three of their seven arguments. */
#define UNUSED_GETTER_ARGS (void)sd, (void)path, (void)interface, (void)property, (void)error

GETTER(get_version)
{
	UNUSED_GETTER_ARGS, (void)userdata;
	return sd_bus_message_append(reply, "s", TWINIT_VERSION);
}

GETTER(get_architecture)
{
	UNUSED_GETTER_ARGS, (void)userdata;
	static const char *const words[][2] = {
		{"x86_64", "x86-64"},
		{"aarch64", "arm64"},
		{"armv7l", "arm"},
		{"i686", "x86"},
	};
	struct utsname u;
	const char *word = "unknown";

	if (uname(&u) >= 0) {
		word = u.machine;
		for (size_t i = 0; i < ELEMENTSOF(words); i++)
			if (strcmp(u.machine, words[i][0]) == 0)
				word = words[i][1];
	}
	return sd_bus_message_append(reply, "s", word);
}

GETTER(get_system_state)
{
	UNUSED_GETTER_ARGS;
	struct bus *b = userdata;
	return sd_bus_message_append(reply, "s", system_state_to_string(b->manager->state));
}

static bool is_any(const struct node *n _unused_)
{
	return true;
}

static bool is_failed(const struct node *n)
{
	return n->state == NODE_FAILED;
}

static bool is_armed(const struct node *n)
{
	return n->twin.state == TWIN_ARMED;
}

GETTER(get_n_nodes)
{
	UNUSED_GETTER_ARGS;
	struct bus *b = userdata;
	return sd_bus_message_append(reply, "u", manager_count(b->manager, is_any));
}

GETTER(get_n_failed)
{
	UNUSED_GETTER_ARGS;
	struct bus *b = userdata;
	return sd_bus_message_append(reply, "u", manager_count(b->manager, is_failed));
}

GETTER(get_n_armed)
{
	UNUSED_GETTER_ARGS;
	struct bus *b = userdata;
	return sd_bus_message_append(reply, "u", manager_count(b->manager, is_armed));
}

GETTER(get_twin_memory)
{
	UNUSED_GETTER_ARGS;
	struct bus *b = userdata;
	uint64_t sum = 0;

	for (const struct node *n = b->manager->nodes; n; n = n->next)
		if (n->twin.n_generations > 0)
			sum += n->twin.memory_private;
	return sd_bus_message_append(reply, "t", sum);
}

GETTER(get_time)
{
	UNUSED_GETTER_ARGS;
	const struct manager *m = ((struct bus *)userdata)->manager;
	bool monotonic = strstr(property, "Monotonic"), finish = property[0] == 'F';

	return sd_bus_message_append(reply, "t",
		finish ? (monotonic ? m->finish_monotonic : m->finish_realtime)
		       : (monotonic ? m->userspace_monotonic : m->userspace_realtime));
}

GETTER(get_unit_path)
{
	UNUSED_GETTER_ARGS;
	struct bus *b = userdata;

	int r = sd_bus_message_open_container(reply, 'a', "s");
	for (char **p = b->manager->unit_path; r >= 0 && p && *p; p++)
		r = sd_bus_message_append(reply, "s", bus_text(*p));
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_log_level)
{
	UNUSED_GETTER_ARGS, (void)userdata;
	static const char *const words[] = {
		"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"};
	int level = log_level();
	return sd_bus_message_append(reply, "s",
		level >= 0 && (size_t)level < ELEMENTSOF(words) ? words[level] : "info");
}

static int reply_node(sd_bus_message *m, const struct node *n)
{
	_cleanup_free_ char *path = NULL;
	int r = bus_node_path(n->id, &path);
	return r < 0 ? r : sd_bus_reply_method_return(m, "o", path);
}

METHOD(method_get_node)
{
	const char *id;
	struct node *n;

	int r = sd_bus_message_read(m, "s", &id);
	if (r >= 0)
		r = bus_get_node(userdata, id, &n, error);
	return r < 0 ? r : reply_node(m, n);
}

METHOD(method_get_node_by_pid)
{
	struct bus *b = userdata;
	uint32_t pid;

	int r = sd_bus_message_read(m, "u", &pid);
	if (r < 0)
		return r;
	struct node *n =
		pid > 0 && pid <= INT32_MAX ? manager_find_pid(b->manager, (pid_t)pid) : NULL;
	if (!n)
		return sd_bus_error_setf(
			error, BUS_ERROR_NO_NODE_FOR_PID, "PID %u belongs to no node.", pid);
	return reply_node(m, n);
}

static int append_node(sd_bus_message *reply, const struct node *n)
{
	_cleanup_free_ char *path = NULL, *job = NULL;

	int r = bus_node_path(n->id, &path);
	if (r >= 0 && n->job)
		r = bus_job_path(n->job->id, &job);
	if (r < 0)
		return r;
	return sd_bus_message_append(reply, "(sssssouuo)", bus_text(n->id),
		bus_text(n->unit ? n->unit->description : n->id), n->load_state,
		node_active_state(n), node_state_to_string(n->state), path,
		(uint32_t)n->report.main_pid, n->job ? n->job->id : 0u, job ? job : "/");
}

METHOD(method_list_nodes)
{
	struct bus *b = userdata;
	_cleanup_message_ sd_bus_message *reply = NULL;
	(void)error;

	int r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "(sssssouuo)");
	for (const struct node *n = b->manager->nodes; r >= 0 && n; n = n->next)
		r = append_node(reply, n);
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* The second half of the methods that change something: here the sender may. */

static int add_job(sd_bus_message *m, struct bus *b, enum job_type type, sd_bus_error *error)
{
	const char *id, *mode, *name = NULL;
	_cleanup_free_ char *path = NULL;
	struct node *n;
	struct job *j = NULL;

	int r = sd_bus_message_read(m, "ss", &id, &mode);
	if (r < 0)
		return r;
	if (strcmp(mode, "replace") != 0 && strcmp(mode, "fail") != 0)
		return sd_bus_error_set(
			error, SD_BUS_ERROR_INVALID_ARGS, "mode is one of \"replace\", \"fail\".");
	r = bus_get_node(b, id, &n, error);
	if (r < 0)
		return r;
	r = manager_add_job(b->manager, type, n, mode, &j, &name);
	if (r < 0)
		return bus_error_set(error, r, name, id, n->load_error);
	if (j) {
		r = bus_job_path(j->id, &path);
		if (r < 0)
			return r;
	}
	return sd_bus_reply_method_return(m, "o", path ? path : "/");
}

METHOD(may_start)
{
	return add_job(m, userdata, JOB_START, error);
}

METHOD(may_stop)
{
	return add_job(m, userdata, JOB_STOP, error);
}

METHOD(may_restart)
{
	return add_job(m, userdata, JOB_RESTART, error);
}

static int request(sd_bus_message *m, struct bus *b, const char *id, enum keeper_msg_type type,
	int signo, sd_bus_error *error)
{
	struct node *n;
	int r = bus_get_node(b, id, &n, error);
	return r < 0 ? r : bus_request_start(b, m, n, type, signo, error);
}

METHOD(may_failover)
{
	const char *id, *cause;

	int r = sd_bus_message_read(m, "ss", &id, &cause);
	if (r < 0)
		return r;
	if (*cause && strcmp(cause, node_result_to_string(RESULT_REQUESTED)) != 0)
		return sd_bus_error_set(
			error, SD_BUS_ERROR_INVALID_ARGS, "cause is \"requested\" or empty.");
	return request(m, userdata, id, KEEPER_REQ_FAILOVER, 0, error);
}

METHOD(may_checkpoint)
{
	const char *id;
	int r = sd_bus_message_read(m, "s", &id);
	return r < 0 ? r : request(m, userdata, id, KEEPER_REQ_CHECKPOINT, 0, error);
}

METHOD(may_drop_twin)
{
	const char *id;
	int r = sd_bus_message_read(m, "s", &id);
	return r < 0 ? r : request(m, userdata, id, KEEPER_REQ_DROP_TWIN, 0, error);
}

METHOD(may_kill)
{
	const char *id, *whom;
	int32_t signo;

	int r = sd_bus_message_read(m, "ssi", &id, &whom, &signo);
	if (r < 0)
		return r;
	if (*whom && strcmp(whom, "main") != 0)
		return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, "whom is \"main\".");
	if (signo <= 0 || signo > SIGRTMAX)
		return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
			"%d is not the number of a signal.", signo);
	return request(m, userdata, id, KEEPER_REQ_KILL, signo, error);
}

METHOD(method_start)
{
	return bus_privileged(userdata, m, may_start, error);
}

METHOD(method_stop)
{
	return bus_privileged(userdata, m, may_stop, error);
}

METHOD(method_restart)
{
	return bus_privileged(userdata, m, may_restart, error);
}

METHOD(method_failover)
{
	return bus_privileged(userdata, m, may_failover, error);
}

METHOD(method_checkpoint)
{
	return bus_privileged(userdata, m, may_checkpoint, error);
}

METHOD(method_drop_twin)
{
	return bus_privileged(userdata, m, may_drop_twin, error);
}

METHOD(method_kill)
{
	return bus_privileged(userdata, m, may_kill, error);
}

METHOD(method_subscribe)
{
	(void)userdata, (void)error;
	return sd_bus_reply_method_return(m, NULL);
}

const char *bus_failover_result(const struct keeper_failover_report *r)
{
	return !r->ok ? "failed" : r->cold ? "cold-restart" : "success";
}

void bus_emit_failover(struct bus *b, const struct node *n, const struct keeper_failover_report *r)
{
	_cleanup_free_ char *path = NULL;

	if (!b->ready || bus_node_path(n->id, &path) < 0)
		return;
	(void)sd_bus_emit_signal(b->sd, BUS_PATH, MANAGER_INTERFACE, "NodeFailover", "sossuuttu",
		bus_text(n->id), path, node_result_to_string(r->cause), bus_failover_result(r),
		(uint32_t)r->old_pid, (uint32_t)r->new_pid, r->latency / NSEC_PER_USEC, r->rollback,
		r->generation);
}

void bus_emit_probe(struct bus *b, const struct node *n, const struct keeper_probe_report *r)
{
	_cleanup_free_ char *path = NULL;
	const char *name, *kind;

	if (!b->ready || bus_node_path(n->id, &path) < 0)
		return;
	bus_probe_names(n, r->index, &name, &kind);
	(void)sd_bus_emit_signal(b->sd, BUS_PATH, MANAGER_INTERFACE, "NodeProbe", "sossss",
		bus_text(n->id), path, name, kind, probe_stage_to_string(r->stage),
		bus_text(r->detail));
}

void bus_emit_startup_finished(struct bus *b)
{
	const struct manager *m = b->manager;
	if (b->ready)
		(void)sd_bus_emit_signal(b->sd, BUS_PATH, MANAGER_INTERFACE, "StartupFinished", "t",
			m->finish_monotonic - m->userspace_monotonic);
}

void bus_emit_job(struct bus *b, const struct job *j, const char *result)
{
	_cleanup_free_ char *path = NULL;

	if (!b->ready || bus_job_path(j->id, &path) < 0)
		return;
	if (result)
		(void)sd_bus_emit_signal(b->sd, BUS_PATH, MANAGER_INTERFACE, "JobRemoved", "uoss",
			j->id, path, bus_text(j->node->id), result);
	else
		(void)sd_bus_emit_signal(b->sd, BUS_PATH, MANAGER_INTERFACE, "JobNew", "uos", j->id,
			path, bus_text(j->node->id));
}

void bus_emit_node(struct bus *b, const char *id, bool is_new)
{
	_cleanup_free_ char *path = NULL;

	if (!b->ready || bus_node_path(id, &path) < 0)
		return;
	(void)sd_bus_emit_signal(b->sd, BUS_PATH, MANAGER_INTERFACE,
		is_new ? "NodeNew" : "NodeRemoved", "so", bus_text(id), path);
	/* The same for clients of the ObjectManager. */
	if (is_new)
		(void)sd_bus_emit_interfaces_added(
			b->sd, path, NODE_INTERFACE, TWIN_INTERFACE, NULL);
	else
		(void)sd_bus_emit_interfaces_removed(
			b->sd, path, NODE_INTERFACE, TWIN_INTERFACE, NULL);
}
