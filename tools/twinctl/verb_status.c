/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl status [NODE...]: the whole at a glance, or one node in full. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "tools/twinctl/twinctl.h"

struct system {
	char *version, *architecture, *state;
	uint32_t n_nodes, n_failed, n_armed;
	uint64_t twin_memory, since;
};

static void system_clear(struct system *s)
{
	free(s->version);
	free(s->architecture);
	free(s->state);
}

static int get_text(struct context *c, const char *name, char **ret)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_get_property_string(
		c->bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, name, &error, ret);
	return r < 0 ? client_fail(c, name, r, &error) : 0;
}

static int get_number(struct context *c, const char *name, char type, void *ret)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_get_property_trivial(
		c->bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, name, &error, type, ret);
	return r < 0 ? client_fail(c, name, r, &error) : 0;
}

static int get_system(struct context *c, struct system *s)
{
	int r = client_open(c);
	if (!r)
		r = get_text(c, "Version", &s->version);
	if (!r)
		r = get_text(c, "Architecture", &s->architecture);
	if (!r)
		r = get_text(c, "SystemState", &s->state);
	if (!r)
		r = get_number(c, "NNodes", 'u', &s->n_nodes);
	if (!r)
		r = get_number(c, "NFailedNodes", 'u', &s->n_failed);
	if (!r)
		r = get_number(c, "NTwinsArmed", 'u', &s->n_armed);
	if (!r)
		r = get_number(c, "TwinMemoryCurrent", 't', &s->twin_memory);
	if (!r)
		r = get_number(c, "UserspaceTimestampMonotonic", 't', &s->since);
	return r;
}

static void print_overview(const struct system *s, const struct node_info *list, size_t n)
{
	static const char *const heads[] = {"NODE", "STATE", ">PID", "TWIN", ">AGE", ">FREEZE",
		">FAILOVERS", ">RESTARTS", "DESCRIPTION"};
	char buf[FORMAT_MAX], up[FORMAT_MAX];
	enum colour c = strcmp(s->state, "running") == 0    ? COLOUR_GREEN
			: strcmp(s->state, "degraded") == 0 ? COLOUR_RED
							    : COLOUR_YELLOW;

	printf("twinit %s on %s: %s%s%s, up %s; %u node%s, %u failed; %u twin%s armed, %s\n\n",
		s->version, s->architecture, colour_on(c), s->state, colour_off(),
		format_span(up, (now_usec() - s->since) / USEC_PER_SEC * USEC_PER_SEC), s->n_nodes,
		s->n_nodes == 1 ? "" : "s", s->n_failed, s->n_armed, s->n_armed == 1 ? "" : "s",
		format_bytes(buf, s->twin_memory));
	struct table *t = table_new(heads, ELEMENTSOF(heads));
	for (size_t i = 0; i < n; i++) {
		const struct node_info *p = &list[i];
		bool armed = p->checkpoint_at && p->n_twin_pids > 0;

		table_add(t, p->id, COLOUR_NONE);
		if (strcmp(p->load_state, "loaded") == 0)
			table_add(t, p->sub_state, colour_of_state(p->active_state));
		else
			table_add(t, p->load_state, COLOUR_RED);
		snprintf(buf, sizeof(buf), "%u", p->main_pid);
		table_add(t, p->main_pid ? buf : "-", COLOUR_NONE);
		table_add(t, p->twin_enabled ? p->twin_state : "off", COLOUR_NONE);
		table_add(t, armed ? format_span(buf, now_usec() - p->checkpoint_at) : "-",
			COLOUR_NONE);
		table_add(t, p->n_checkpoints ? format_span(buf, p->freeze_median) : "-",
			COLOUR_NONE);
		snprintf(buf, sizeof(buf), "%u", p->n_failovers);
		table_add(t, buf, p->n_failovers ? COLOUR_YELLOW : COLOUR_NONE);
		snprintf(buf, sizeof(buf), "%u", p->n_restarts);
		table_add(t, buf, p->n_restarts ? COLOUR_YELLOW : COLOUR_NONE);
		table_add(t, p->description, COLOUR_NONE);
	}
	table_print(t, true);
	table_free(t);
}

static int show_overview(struct context *c)
{
	_cleanup_(system_clear) struct system s = {0};
	struct node_info *list = NULL;
	size_t n = 0;

	int r = get_system(c, &s);
	if (!r)
		r = node_info_list(c, &list, &n);
	if (r)
		return r;
	if (c->json) {
		struct json j = json_to(stdout);
		json_object_begin(&j, NULL);
		json_string(&j, "version", s.version);
		json_string(&j, "architecture", s.architecture);
		json_string(&j, "system_state", s.state);
		json_uint(&j, "n_nodes", s.n_nodes);
		json_uint(&j, "n_failed", s.n_failed);
		json_uint(&j, "n_twins_armed", s.n_armed);
		json_uint(&j, "twin_memory_bytes", s.twin_memory);
		json_uint(&j, "up_usec", now_usec() - s.since);
		json_array_begin(&j, "nodes");
		for (size_t i = 0; i < n; i++) {
			json_object_begin(&j, NULL);
			node_info_json(&j, &list[i]);
			json_object_end(&j);
		}
		json_array_end(&j);
		json_object_end(&j);
		json_finish(&j);
	} else
		print_overview(&s, list, n);
	node_info_list_free(list, n);
	return 0;
}

/* "killed by SIGSEGV" or "exited, status 1" */
static void print_end(const struct node_info *n)
{
	char ago[FORMAT_MAX], moment[FORMAT_MAX];
	bool killed = n->exit_code == CLD_KILLED || n->exit_code == CLD_DUMPED;
	const char *name = killed ? sigabbrev_np(n->exit_status) : NULL;

	if (n->exec_exit == 0)
		return;
	printf("  Last end: ");
	if (killed && name)
		printf("killed by SIG%s", name);
	else
		printf("%s %d", killed ? "killed by signal" : "exited with status", n->exit_status);
	printf(", %s (%s)\n", format_ago(ago, n->exec_exit),
		format_moment(moment, n->exec_exit_realtime));
}

static void print_process(const struct node_info *n)
{
	char memory[FORMAT_MAX], cpu[FORMAT_MAX];

	if (n->main_pid == 0)
		return;
	printf("  Main PID: %u", n->main_pid);
	if (n->tasks != UINT64_MAX)
		printf(" (%llu task%s, %s, %s of CPU)", (unsigned long long)n->tasks,
			n->tasks == 1 ? "" : "s", format_bytes(memory, n->memory),
			format_span(cpu, n->cpu_nsec / NSEC_PER_USEC));
	putchar('\n');
}

static void print_lines(const char *indent, const char *text)
{
	while (*text) {
		int len = (int)strcspn(text, "\n");
		printf("%s%.*s\n", indent, len, text);
		text += len + (text[len] == '\n');
	}
}

static void print_node(const struct node_info *n)
{
	enum colour c = colour_of_state(n->active_state);
	char ago[FORMAT_MAX], moment[FORMAT_MAX];
	bool up = strcmp(n->active_state, "active") == 0;

	printf("%s●%s %s - %s\n", colour_on(c), colour_off(), n->id, n->description);
	printf("    Loaded: %s (%s)\n", n->load_state, n->fragment_path);
	if (*n->load_error)
		print_lines("            ", n->load_error);
	printf("    Active: %s%s (%s)%s", colour_on(c), n->active_state, n->sub_state,
		colour_off());
	if (up && n->exec_start)
		printf(" since %s, %s", format_moment(moment, n->exec_start_realtime),
			format_ago(ago, n->exec_start));
	putchar('\n');
	if (strcmp(n->result, "success") != 0 && *n->result)
		printf("    Result: %s%s%s\n", n->result, *n->result_detail ? ": " : "",
			n->result_detail);
	if (!up)
		print_end(n);
	print_process(n);
	if (*n->status_text)
		printf("    Status: \"%s\"\n", n->status_text);
	if (n->n_restarts)
		printf("  Restarts: %u (cold)\n", n->n_restarts);
	print_twin(n);
}

static int show_node(struct context *c, const char *node, struct json *j)
{
	_cleanup_node_info_ struct node_info n = {0};

	int r = node_info_get(c, node, &n);
	if (r)
		return r;
	if (c->json) {
		json_object_begin(j, NULL);
		node_info_json(j, &n);
		json_object_end(j);
	} else
		print_node(&n);
	return strcmp(n.active_state, "active") == 0 ? 0 : EXIT_NOT_ACTIVE;
}

int verb_status(struct context *c, int argc, char **argv)
{
	struct json j = json_to(stdout);
	int worst = 0;

	if (argc == 1)
		return show_overview(c);
	/* One node is an object, several are an array. */
	if (c->json && argc > 2)
		json_array_begin(&j, NULL);
	for (int i = 1; i < argc; i++) {
		if (i > 1 && !c->json)
			putchar('\n');
		int r = show_node(c, argv[i], &j);
		worst = MAX2(worst, r);
	}
	if (c->json && argc > 2)
		json_array_end(&j);
	if (c->json)
		json_finish(&j);
	return worst;
}
