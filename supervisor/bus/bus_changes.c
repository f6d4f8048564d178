/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PropertiesChanged, NodeNew and NodeRemoved.
 *
 * The hooks only mark; once a turn of the loop the marked nodes are held against what clients
 * were last told, and what differs goes out in one signal an object. So a burst is one signal,
 * and a checkpoint that changes nothing but figures is none. A view belongs to an id, not to a
 * pointer: nodes may go at any time.
 */
#include <string.h>

#include "supervisor/bus/bus_internal.h"

#define NAMES_MAX 24 /* more than any object has broadcast properties */

struct names {
	const char *list[NAMES_MAX + 1];
	size_t n;
};

static void names_add(struct names *names, const char *name)
{
	if (names->n < NAMES_MAX)
		names->list[names->n++] = name;
}

/* Remember the new value; name what has changed. */
#define TELL(names, was, is, ...)                                                                  \
	do {                                                                                       \
		if ((was) != (is)) {                                                               \
			static const char *const tell_[] = {__VA_ARGS__};                          \
			(was) = (is);                                                              \
			for (size_t i_ = 0; i_ < ELEMENTSOF(tell_); i_++)                          \
				names_add(names, tell_[i_]);                                       \
		}                                                                                  \
	} while (0)

static void tell_text(struct names *names, char *was, const char *is, const char *name)
{
	if (strncmp(was, is, KEEPER_TEXT_MAX) == 0)
		return;
	snprintf(was, KEEPER_TEXT_MAX, "%s", is);
	names_add(names, name);
}

static void diff_node(struct names *names, struct bus_view *v, const struct node *n)
{
	const struct keeper_state_report *r = &n->report;

	TELL(names, v->state, n->state, "ActiveState", "SubState");
	TELL(names, v->main_pid, r->main_pid, "MainPID");
	TELL(names, v->result, r->result, "Result");
	tell_text(names, v->detail, r->detail, "ResultDetail");
	tell_text(names, v->last_crash, n->last_crash, "LastCrash");
	TELL(names, v->exit_code, r->exit_code, "ExecMainCode");
	TELL(names, v->exit_status, r->exit_status, "ExecMainStatus");
	TELL(names, v->exec_start, r->exec_start, "ExecMainStartTimestamp",
		"ExecMainStartTimestampMonotonic");
	TELL(names, v->exec_exit, r->exec_exit, "ExecMainExitTimestamp",
		"ExecMainExitTimestampMonotonic");
	TELL(names, v->n_restarts, r->n_restarts, "NRestarts");
	TELL(names, v->n_watchdog_starved, n->n_watchdog_starved, "NWatchdogStarved");
	uint32_t job = n->job ? n->job->id : 0;
	TELL(names, v->job_id, job, "Job");
}

/* A node may say STATUS= a thousand times a second; its bus object says it four times. Returns
 * for how long the text is held back. */
static usec_t diff_status(struct names *names, struct bus_view *v, const struct node *n)
{
	usec_t now = now_usec();

	if (strncmp(v->status_text, n->status_text, KEEPER_TEXT_MAX) == 0)
		return 0;
	if (now - v->status_told_at < BUS_STATUS_INTERVAL_USEC)
		return v->status_told_at + BUS_STATUS_INTERVAL_USEC - now;
	v->status_told_at = now;
	tell_text(names, v->status_text, n->status_text, "StatusText");
	return 0;
}

static void diff_twin(struct names *names, struct bus_view *v, const struct node *n)
{
	TELL(names, v->twin, n->twin.state, "State");
	TELL(names, v->n_failovers, n->n_failovers, "NFailovers");
	TELL(names, v->n_children, n->twin.n_children, "NChildrenGuarded");
	TELL(names, v->n_child_failovers, n->twin.n_child_failovers, "NChildFailovers");
	TELL(names, v->failover_at, n->last_failover.at, "LastFailoverTimestamp",
		"LastFailoverTimestampMonotonic", "LastFailoverCause", "LastFailoverResult",
		"LastFailoverLatencyUSec", "LastFailoverRollbackUSec", "LastFailoverGeneration",
		"LastFailoverDetail", "LastFailoverWay", "LastFailoverFault");
}

static bool is_failed(const struct node *n)
{
	return n->state == NODE_FAILED;
}

static bool is_armed(const struct node *n)
{
	return n->twin.state == TWIN_ARMED;
}

static void diff_manager(struct names *names, struct bus_manager_view *v, struct manager *m)
{
	unsigned n_nodes = 0;

	for (const struct node *n = m->nodes; n; n = n->next)
		n_nodes++;
	TELL(names, v->state, m->state, "SystemState");
	TELL(names, v->finish, m->finish_monotonic, "FinishTimestamp", "FinishTimestampMonotonic");
	TELL(names, v->n_nodes, n_nodes, "NNodes");
	unsigned n_failed = manager_count(m, is_failed), n_armed = manager_count(m, is_armed);
	TELL(names, v->n_failed, n_failed, "NFailedNodes");
	TELL(names, v->n_armed, n_armed, "NTwinsArmed");
}

static void emit(struct bus *b, const char *path, const char *interface, struct names *names)
{
	if (b->ready && names->n > 0)
		(void)sd_bus_emit_properties_changed_strv(
			b->sd, path, interface, (char **)names->list);
}

static void hold_status(struct bus *b, usec_t wait)
{
	if (ev_is_active(&b->status_timer))
		return;
	ev_timer_set(&b->status_timer, (double)wait / USEC_PER_SEC, 0.);
	ev_timer_start(b->manager->loop, &b->status_timer);
}

static void flush_node(struct bus *b, struct bus_view *v, const struct node *n)
{
	struct names node_names = {0}, twin_names = {0};
	_cleanup_free_ char *path = NULL;

	if (v->node_dirty) {
		diff_node(&node_names, v, n);
		usec_t wait = diff_status(&node_names, v, n);
		if (wait > 0)
			hold_status(b, wait);
		v->node_dirty = wait > 0;
	}
	if (v->twin_dirty)
		diff_twin(&twin_names, v, n);
	v->twin_dirty = false;
	if (node_names.n + twin_names.n == 0 || bus_node_path(n->id, &path) < 0)
		return;
	emit(b, path, NODE_INTERFACE, &node_names);
	emit(b, path, TWIN_INTERFACE, &twin_names);
}

/* A fresh view: everything about the node is told by NodeNew or by being asked for. */
static int view_init(struct bus_view *v, const struct node *n)
{
	struct names ignored = {0};

	*v = (struct bus_view){.id = strdup(n->id)};
	if (!v->id)
		return -1;
	diff_node(&ignored, v, n);
	diff_twin(&ignored, v, n);
	snprintf(v->status_text, sizeof(v->status_text), "%s", n->status_text);
	return 0;
}

/* Bring the views in line with the nodes: both are in order of id. */
static void sync_views(struct bus *b)
{
	size_t n_nodes = 0, old = 0, new = 0;

	for (const struct node *n = b->manager->nodes; n; n = n->next)
		n_nodes++;
	struct bus_view *views = calloc(n_nodes + 1, sizeof(*views));
	if (!views) {
		b->dirty = true; /* and stale: the next turn tries again */
		return;
	}
	for (const struct node *n = b->manager->nodes; n; n = n->next) {
		int order = -1;
		while (old < b->n_views && (order = strcmp(b->views[old].id, n->id)) < 0) {
			bus_emit_node(b, b->views[old].id, false);
			free(b->views[old++].id);
		}
		if (old < b->n_views && order == 0)
			views[new ++] = b->views[old++];
		else if (view_init(&views[new], n) == 0) {
			new ++;
			bus_emit_node(b, n->id, true);
		}
	}
	for (; old < b->n_views; old++) {
		bus_emit_node(b, b->views[old].id, false);
		free(b->views[old].id);
	}
	free(b->views);
	b->views = views;
	b->n_views = new;
	b->nodes_stale = new != n_nodes;
}

static void on_status_timer(struct ev_loop *loop _unused_, ev_timer *w, int revents _unused_)
{
	struct bus *b = w->data;
	b->dirty = true; /* flushed before the loop sleeps again */
}

void bus_changes_flush(struct bus *b)
{
	struct names names = {0};
	size_t i = 0;

	if (!b->dirty)
		return;
	b->dirty = false;
	if (b->nodes_stale)
		sync_views(b);
	for (const struct node *n = b->manager->nodes; n && i < b->n_views; n = n->next) {
		if (strcmp(b->views[i].id, n->id) != 0)
			continue;
		struct bus_view *v = &b->views[i++];
		if (v->node_dirty || v->twin_dirty)
			flush_node(b, v, n);
	}
	diff_manager(&names, &b->manager_view, b->manager);
	emit(b, BUS_PATH, MANAGER_INTERFACE, &names);
}

static int compare_view(const void *id, const void *view)
{
	return strcmp(id, ((const struct bus_view *)view)->id);
}

static struct bus_view *mark(struct bus *b, const struct node *n)
{
	struct bus_view *v =
		b->n_views ? bsearch(n->id, b->views, b->n_views, sizeof(*b->views), compare_view)
			   : NULL;
	if (!v)
		b->nodes_stale = true;
	b->dirty = true;
	return v;
}

void bus_changes_node(struct bus *b, const struct node *n)
{
	struct bus_view *v = mark(b, n);
	if (v)
		v->node_dirty = true;
}

void bus_changes_twin(struct bus *b, const struct node *n)
{
	struct bus_view *v = mark(b, n);
	if (v)
		v->twin_dirty = true;
}

void bus_changes_manager(struct bus *b)
{
	b->dirty = b->nodes_stale = true;
}

void bus_changes_init(struct bus *b)
{
	struct names ignored = {0};

	ev_init(&b->status_timer, on_status_timer);
	b->status_timer.data = b;
	sync_views(b);
	diff_manager(&ignored, &b->manager_view, b->manager);
}

void bus_changes_done(struct bus *b)
{
	ev_timer_stop(b->manager->loop, &b->status_timer);
	for (size_t i = 0; i < b->n_views; i++)
		free(b->views[i].id);
	free(b->views);
	b->views = NULL;
	b->n_views = 0;
}
