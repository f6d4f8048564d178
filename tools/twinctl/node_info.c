/* SPDX-License-Identifier: Apache-2.0 */
/* A node's properties into a struct, and from there into JSON. */
#include <errno.h>
#include <string.h>

#include "tools/twinctl/twinctl.h"

/* Which property goes where. Properties not named here are passed over. */
static const struct field {
	const char *name, *type;
	size_t offset;
} fields[] = {
#define FIELD(name, type, member)                                                                  \
	{                                                                                          \
		name, type, offsetof(struct node_info, member)                                     \
	}
	FIELD("Id", "s", id),
	FIELD("Description", "s", description),
	FIELD("LoadState", "s", load_state),
	FIELD("LoadError", "(ss)", load_error), /* the second of the two */
	FIELD("ActiveState", "s", active_state),
	FIELD("SubState", "s", sub_state),
	FIELD("FragmentPath", "s", fragment_path),
	FIELD("Result", "s", result),
	FIELD("ResultDetail", "s", result_detail),
	FIELD("StatusText", "s", status_text),
	FIELD("MainPID", "u", main_pid),
	FIELD("NRestarts", "u", n_restarts),
	FIELD("ExecMainCode", "i", exit_code),
	FIELD("ExecMainStatus", "i", exit_status),
	FIELD("ExecMainStartTimestamp", "t", exec_start_realtime),
	FIELD("ExecMainStartTimestampMonotonic", "t", exec_start),
	FIELD("ExecMainExitTimestamp", "t", exec_exit_realtime),
	FIELD("ExecMainExitTimestampMonotonic", "t", exec_exit),
	FIELD("CPUUsageNSec", "t", cpu_nsec),
	FIELD("MemoryCurrent", "t", memory),
	FIELD("TasksCurrent", "t", tasks),
	FIELD("Enabled", "b", twin_enabled),
	FIELD("State", "s", twin_state),
	FIELD("IntervalUSec", "t", interval),
	FIELD("Generations", "u", generations),
	FIELD("CheckpointTimestampMonotonic", "t", checkpoint_at),
	FIELD("FreezeLastUSec", "t", freeze_last),
	FIELD("FreezeMedianUSec", "t", freeze_median),
	FIELD("FreezeMaxUSec", "t", freeze_max),
	FIELD("MemoryPrivate", "t", memory_private),
	FIELD("NThreads", "u", n_threads),
	FIELD("NCheckpoints", "u", n_checkpoints),
	FIELD("NSkipped", "u", n_skipped),
	FIELD("SkipReason", "s", skip_reason),
	FIELD("ExcludedMemory", "s", excluded_memory),
	FIELD("NFailovers", "u", n_failovers),
	FIELD("NChildrenGuarded", "u", n_children),
	FIELD("NChildFailovers", "u", n_child_failovers),
	FIELD("LastFailoverTimestamp", "t", failover_realtime),
	FIELD("LastFailoverTimestampMonotonic", "t", failover_at),
	FIELD("LastFailoverCause", "s", failover_cause),
	FIELD("LastFailoverResult", "s", failover_result),
	FIELD("LastFailoverLatencyUSec", "t", failover_latency),
	FIELD("LastFailoverRollbackUSec", "t", failover_rollback),
	FIELD("LastFailoverGeneration", "u", failover_generation),
	FIELD("LastFailoverDetail", "s", failover_detail),
	FIELD("LastFailoverWay", "s", failover_way),
	FIELD("LastFailoverFault", "s", failover_fault),
#undef FIELD
};

static bool is_text(const struct field *f)
{
	return f->type[0] == 's' || f->type[0] == '(';
}

static int read_field(sd_bus_message *m, const struct field *f, struct node_info *n)
{
	void *target = (char *)n + f->offset;
	const char *text;

	int r = sd_bus_message_enter_container(m, 'v', f->type);
	if (r < 0)
		return r;
	if (is_text(f)) {
		r = f->type[0] == '(' ? sd_bus_message_read(m, "(ss)", NULL, &text)
				      : sd_bus_message_read_basic(m, 's', &text);
		if (r >= 0 && !(*(char **)target = strdup(text)))
			r = -ENOMEM;
	} else
		r = sd_bus_message_read_basic(m, f->type[0], target);
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_pids(sd_bus_message *m, struct node_info *n)
{
	const void *pids;
	size_t size;

	int r = sd_bus_message_enter_container(m, 'v', "au");
	if (r >= 0)
		r = sd_bus_message_read_array(m, 'u', &pids, &size);
	if (r < 0)
		return r;
	n->twin_pids = malloc(size + 1);
	if (!n->twin_pids)
		return -ENOMEM;
	memcpy(n->twin_pids, pids, size);
	n->n_twin_pids = size / sizeof(uint32_t);
	return sd_bus_message_exit_container(m);
}

static int read_property(sd_bus_message *m, const char *name, struct node_info *n)
{
	if (strcmp(name, "PIDs") == 0)
		return read_pids(m, n);
	for (size_t i = 0; i < ELEMENTSOF(fields); i++)
		if (strcmp(fields[i].name, name) == 0)
			return read_field(m, &fields[i], n);
	return sd_bus_message_skip(m, "v");
}

/* What a twinit of another version does not tell is empty, not NULL. */
static int fill_gaps(struct node_info *n)
{
	for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
		char **text = (char **)(void *)((char *)n + fields[i].offset);
		if (is_text(&fields[i]) && !*text && !(*text = strdup("")))
			return -ENOMEM;
	}
	return 0;
}

/* A node says what it likes in STATUS=, and root reads it. */
static void make_all_printable(struct node_info *n)
{
	for (size_t i = 0; i < ELEMENTSOF(fields); i++)
		if (is_text(&fields[i]))
			make_printable(*(char **)(void *)((char *)n + fields[i].offset),
				fields[i].type[0] == '('); /* LoadError: a finding a line */
}

static int info_from_path(
	struct context *c, const char *path, const char *what, struct node_info *ret)
{
	_cleanup_message_ sd_bus_message *reply = NULL;
	_cleanup_node_info_ struct node_info n = {0};
	const char *name;

	int r = client_get_all(c, path, "", what, &reply);
	if (r)
		return r;
	r = sd_bus_message_enter_container(reply, 'a', "{sv}");
	while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
		r = sd_bus_message_read_basic(reply, 's', &name);
		if (r >= 0)
			r = read_property(reply, name, &n);
		if (r >= 0)
			r = sd_bus_message_exit_container(reply);
	}
	if (r >= 0)
		r = fill_gaps(&n);
	if (r >= 0 && !c->json)
		make_all_printable(&n);
	if (r >= 0 && !(n.path = strdup(path)))
		r = -ENOMEM;
	if (r < 0)
		return client_fail(c, what, r, NULL);
	*ret = n;
	n = (struct node_info){0};
	return 0;
}

int node_info_get(struct context *c, const char *node, struct node_info *ret)
{
	_cleanup_free_ char *path = NULL;
	int r = client_node_path(c, node, &path);
	return r ? r : info_from_path(c, path, node, ret);
}

int node_info_list(struct context *c, struct node_info **ret, size_t *ret_n)
{
	_cleanup_message_ sd_bus_message *reply = NULL;
	struct node_info *list = NULL;
	const char *id, *path;
	size_t n = 0;

	int r = client_call(c, "ListNodes", NULL, NULL, &reply);
	if (r)
		return r;
	r = sd_bus_message_enter_container(reply, 'a', "(sssssouuo)");
	while (r >= 0 && (r = sd_bus_message_read(reply, "(sssssouuo)", &id, NULL, NULL, NULL, NULL,
				  &path, NULL, NULL, NULL)) > 0) {
		list = reallocarray(list, n + 1, sizeof(*list));
		if (!list)
			abort();
		int status = info_from_path(c, path, id, &list[n]);
		if (status) {
			node_info_list_free(list, n);
			return status;
		}
		n++;
	}
	if (r < 0) {
		node_info_list_free(list, n);
		return client_fail(c, "ListNodes", r, NULL);
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

void node_info_clear(struct node_info *n)
{
	for (size_t i = 0; i < ELEMENTSOF(fields); i++)
		if (is_text(&fields[i]))
			free(*(char **)((char *)n + fields[i].offset));
	free(n->twin_pids);
	free(n->path);
	*n = (struct node_info){0};
}

void node_info_list_free(struct node_info *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		node_info_clear(&list[i]);
	free(list);
}

static void json_known(struct json *j, const char *key, uint64_t value)
{
	if (value == UINT64_MAX)
		json_string(j, key, NULL);
	else
		json_uint(j, key, value);
}

void node_info_json(struct json *j, const struct node_info *n)
{
	json_string(j, "id", n->id);
	json_string(j, "description", n->description);
	json_string(j, "load_state", n->load_state);
	json_string(j, "load_error", n->load_error);
	json_string(j, "active_state", n->active_state);
	json_string(j, "sub_state", n->sub_state);
	json_string(j, "result", n->result);
	json_string(j, "result_detail", n->result_detail);
	json_string(j, "status_text", n->status_text);
	json_string(j, "fragment_path", n->fragment_path);
	json_string(j, "object_path", n->path);
	json_uint(j, "main_pid", n->main_pid);
	json_uint(j, "n_restarts", n->n_restarts);
	json_uint(j, "started_usec", n->exec_start_realtime);
	json_uint(j, "ended_usec", n->exec_exit_realtime);
	json_int(j, "exit_code", n->exit_code);
	json_int(j, "exit_status", n->exit_status);
	json_known(j, "cpu_nsec", n->cpu_nsec);
	json_known(j, "memory_bytes", n->memory);
	json_known(j, "tasks", n->tasks);
	json_object_begin(j, "twin");
	node_info_json_twin(j, n);
	json_object_end(j);
}

void node_info_json_twin(struct json *j, const struct node_info *n)
{
	usec_t now = now_usec();

	json_bool(j, "enabled", n->twin_enabled);
	json_string(j, "state", n->twin_state);
	json_array_begin(j, "pids");
	for (size_t i = 0; i < n->n_twin_pids; i++)
		json_uint(j, NULL, n->twin_pids[i]);
	json_array_end(j);
	json_known(j, "interval_usec", n->interval);
	json_uint(j, "generations", n->generations);
	json_known(
		j, "age_usec", n->checkpoint_at ? now - MIN2(now, n->checkpoint_at) : UINT64_MAX);
	json_uint(j, "freeze_last_usec", n->freeze_last);
	json_uint(j, "freeze_median_usec", n->freeze_median);
	json_uint(j, "freeze_max_usec", n->freeze_max);
	json_uint(j, "memory_private_bytes", n->memory_private);
	json_uint(j, "n_threads", n->n_threads);
	json_uint(j, "n_checkpoints", n->n_checkpoints);
	json_uint(j, "n_skipped", n->n_skipped);
	json_string(j, "skip_reason", n->skip_reason);
	json_string(j, "excluded_memory", n->excluded_memory);
	json_uint(j, "n_failovers", n->n_failovers);
	json_uint(j, "n_children_guarded", n->n_children);
	json_uint(j, "n_child_failovers", n->n_child_failovers);
	if (n->failover_at == 0) {
		json_string(j, "last_failover", NULL);
		return;
	}
	json_object_begin(j, "last_failover");
	json_uint(j, "at_usec", n->failover_realtime);
	json_string(j, "cause", n->failover_cause);
	json_string(j, "result", n->failover_result);
	json_uint(j, "latency_usec", n->failover_latency);
	json_uint(j, "rollback_usec", n->failover_rollback);
	json_uint(j, "generation", n->failover_generation);
	json_string(j, "detail", n->failover_detail);
	json_string(j, "way", n->failover_way);
	json_string(j, "fault", n->failover_fault);
	json_object_end(j);
}
