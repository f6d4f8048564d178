/* SPDX-License-Identifier: Apache-2.0 */
/* org.twinit1.Node; org.twinit1.xml says what each member is for. */
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "supervisor/bus/bus_internal.h"
#include "supervisor/bus/bus_property.h"

/* clang-format off */
#define NODE_PROPERTIES(X)                                                                         \
	X(Id, TEXT, CONST, n->id)                                                                  \
	X(Description, TEXT, CONST, n->unit ? u->description : n->id)                              \
	X(LoadState, TEXT, CONST, n->load_state)                                                   \
	X(ActiveState, TEXT, EMITS, node_active_state(n))                                          \
	X(SubState, TEXT, EMITS, node_state_to_string(n->state))                                   \
	X(FragmentPath, TEXT, CONST, n->fragment_path)                                             \
	X(Type, TEXT, CONST, n->unit ? unit_type_to_string(u->type) : "")                          \
	X(User, TEXT, CONST, u->user)                                                              \
	X(Group, TEXT, CONST, u->group)                                                            \
	X(WorkingDirectory, TEXT, CONST, u->working_directory)                                     \
	X(Restart, TEXT, CONST, n->unit ? unit_restart_to_string(u->restart) : "")                 \
	X(RestartUSec, U64, CONST, u->restart_sec)                                                 \
	X(TimeoutStartUSec, U64, CONST, u->timeout_start_usec)                                     \
	X(TimeoutStopUSec, U64, CONST, u->timeout_stop_usec)                                       \
	X(WatchdogUSec, U64, CONST, u->watchdog_usec)                                              \
	X(StartLimitIntervalUSec, U64, CONST, u->start_limit_interval)                             \
	X(StartLimitBurst, U32, CONST, u->start_limit_burst)                                       \
	X(WatchdogSoftUSec, U64, CONST, u->watchdog_soft_usec)                                     \
	X(NotifyAccess, TEXT, CONST, n->unit ? unit_notify_access_to_string(u->notify_access) : "") \
	X(KillSignal, I32, CONST, u->kill_signal)                                                  \
	X(MainPID, U32, EMITS, n->report.main_pid)                                                 \
	X(KeeperPID, U32, TICKS, n->keeper_pid)                                                    \
	X(Result, TEXT, EMITS, node_result_to_string(n->report.result))                            \
	X(ResultDetail, TEXT, EMITS, n->report.detail)                                             \
	X(LastCrash, TEXT, EMITS, n->last_crash)                                                   \
	X(ExecMainStartTimestamp, U64, EMITS, n->exec_start_realtime)                              \
	X(ExecMainStartTimestampMonotonic, U64, EMITS, n->report.exec_start)                       \
	X(ExecMainExitTimestamp, U64, EMITS, n->exec_exit_realtime)                                \
	X(ExecMainExitTimestampMonotonic, U64, EMITS, n->report.exec_exit)                         \
	X(ExecMainCode, I32, EMITS, n->report.exit_code)                                           \
	X(ExecMainStatus, I32, EMITS, n->report.exit_status)                                       \
	X(StatusText, TEXT, EMITS, n->status_text)                                                 \
	X(NRestarts, U32, EMITS, n->report.n_restarts)                                             \
	X(NWatchdogStarved, U32, EMITS, n->n_watchdog_starved)                                     \
	X(CPUUsageNSec, U64, TICKS, usage(n).cpu_nsec)                                             \
	X(MemoryCurrent, U64, TICKS, usage(n).memory)                                              \
	X(TasksCurrent, U64, TICKS, usage(n).tasks)
/* clang-format on */

static int get_load_error(PROPERTY_GETTER_ARGS);
static int get_dependencies(PROPERTY_GETTER_ARGS);
static int get_job(PROPERTY_GETTER_ARGS);
static int get_exec_start(PROPERTY_GETTER_ARGS);
static int get_probes(PROPERTY_GETTER_ARGS);
static struct bus_usage usage(const struct node *n);

NODE_PROPERTIES(PROPERTY_GETTER)

const sd_bus_vtable bus_node_vtable[] = {
	SD_BUS_VTABLE_START(0),
	NODE_PROPERTIES(PROPERTY_ENTRY)
		SD_BUS_PROPERTY("LoadError", "(ss)", get_load_error, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("After", "as", get_dependencies, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("Before", "as", get_dependencies, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("Requires", "as", get_dependencies, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("RequiredBy", "as", get_dependencies, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("Wants", "as", get_dependencies, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("WantedBy", "as", get_dependencies, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("Job", "(uo)", get_job, 0, PROPERTY_EMITS),
	SD_BUS_PROPERTY("ExecStart", "as", get_exec_start, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("Probes", "a(ssss)", get_probes, 0, PROPERTY_TICKS),
	SD_BUS_VTABLE_END,
};

/* The dependency lists: what a unit says itself, and what others say that means the same. */
static const struct {
	const char *property;
	size_t own, others; /* offsets in struct unit; 0: none */
} dependencies[] = {
	{"After", offsetof(struct unit, after), offsetof(struct unit, before)},
	{"Before", offsetof(struct unit, before), offsetof(struct unit, after)},
	{"Requires", offsetof(struct unit, requires), 0},
	{"RequiredBy", 0, offsetof(struct unit, requires)},
	{"Wants", offsetof(struct unit, wants), offsetof(struct unit, wanted_by)},
	{"WantedBy", offsetof(struct unit, wanted_by), offsetof(struct unit, wants)},
};

static char *const *unit_list(const struct unit *u, size_t offset)
{
	static char *const none[] = {NULL};
	if (!u || offset == 0)
		return none;
	char *const *list = *(char **const *)((const char *)u + offset);
	return list ? list : none;
}

static bool list_has(char *const *list, const char *s)
{
	while (*list && strcmp(*list, s) != 0)
		list++;
	return *list != NULL;
}

/* Units name each other by id, with or without the suffix. */
static bool names_node(char *const *list, const char *id)
{
	char file[NAME_MAX + 1];

	snprintf(file, sizeof(file), "%s.ini", id);
	return list_has(list, id) || list_has(list, file);
}

static int get_dependencies(PROPERTY_GETTER_ARGS)
{
	const struct node *n = userdata;
	size_t k = 0;

	while (strcmp(dependencies[k].property, property) != 0)
		k++;
	char *const *own = unit_list(n->unit, dependencies[k].own);
	int r = sd_bus_message_open_container(reply, 'a', "s");
	for (char *const *p = own; r >= 0 && *p; p++)
		r = sd_bus_message_append(reply, "s", *p);
	for (const struct node *o = n->manager->nodes; r >= 0 && o; o = o->next)
		if (names_node(unit_list(o->unit, dependencies[k].others), n->id) &&
			!names_node(own, o->id))
			r = sd_bus_message_append(reply, "s", o->id);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_load_error(PROPERTY_GETTER_ARGS)
{
	const struct node *n = userdata;
	return sd_bus_message_append(
		reply, "(ss)", n->load_error ? BUS_ERROR_LOAD_FAILED : "", bus_text(n->load_error));
}

static int get_job(PROPERTY_GETTER_ARGS)
{
	const struct node *n = userdata;
	_cleanup_free_ char *job = NULL;

	if (n->job) {
		int r = bus_job_path(n->job->id, &job);
		if (r < 0)
			return r;
	}
	return sd_bus_message_append(reply, "(uo)", n->job ? n->job->id : 0u, job ? job : "/");
}

static int get_exec_start(PROPERTY_GETTER_ARGS)
{
	const struct node *n = userdata;
	return sd_bus_message_append_strv(reply, n->unit ? n->unit->exec_start.argv : NULL);
}

void bus_probe_names(
	const struct node *n, size_t index, const char **ret_name, const char **ret_kind)
{
	const struct unit *u = n->unit;
	bool own = u && index > 0 && index <= u->n_probes;

	*ret_name = own ? u->probes[index - 1].name : "watchdog";
	*ret_kind = own ? probe_kind_to_string(u->probes[index - 1].kind) : "watchdog";
}

static int get_probes(PROPERTY_GETTER_ARGS)
{
	const struct node *n = userdata;
	size_t count = n->unit ? n->unit->n_probes + 1 : 0;
	int r = sd_bus_message_open_container(reply, 'a', "(ssss)");

	for (size_t i = 0; r >= 0 && i < count; i++) {
		const struct node_probe *p = i < n->n_probes ? &n->probes[i] : NULL;
		const char *name, *kind;

		bus_probe_names(n, i, &name, &kind);
		r = sd_bus_message_append(reply, "(ssss)", name, kind,
			probe_stage_to_string(p ? p->stage : STAGE_ALIVE),
			bus_text(p ? p->detail : ""));
	}
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static struct bus_usage usage(const struct node *n)
{
	struct bus_usage u;
	bus_usage_read(n->report.main_pid, &u);
	return u;
}
