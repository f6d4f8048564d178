/* SPDX-License-Identifier: Apache-2.0 */
/* The hooks the manager calls, and the bus' life. */
#include <errno.h>
#include <string.h>

#include "supervisor/bus/bus_internal.h"

#define SYSTEM_BUS_ADDRESS "unix:path=/run/dbus/system_bus_socket"

static void on_node_changed(struct node *n, void *userdata)
{
	bus_changes_node(userdata, n);
}

static void on_twin_changed(struct node *n, void *userdata)
{
	bus_changes_twin(userdata, n);
}

static void on_failover(struct node *n, const struct keeper_failover_report *r, void *userdata)
{
	bus_emit_failover(userdata, n, r);
	bus_changes_twin(userdata, n);
	bus_connection_reassert(userdata);
}

static void on_probe(struct node *n, const struct keeper_probe_report *r, void *userdata)
{
	bus_emit_probe(userdata, n, r);
}

static void on_job_new(struct job *j, void *userdata)
{
	bus_emit_job(userdata, j, NULL);
	bus_changes_node(userdata, j->node);
}

static void on_job_removed(struct job *j, const char *result, void *userdata)
{
	struct bus *b = userdata;
	/* A client that waits for JobRemoved reads the node's state next: cached properties have
	 * to be right by then. */
	bus_changes_node(b, j->node);
	bus_changes_flush(b);
	bus_emit_job(b, j, result);
	bus_connection_nudge(b);
}

static void on_reply(
	struct node *n _unused_, uint64_t serial, const struct keeper_reply *r, void *userdata)
{
	bus_request_reply(userdata, serial, r);
}

static void on_manager_changed(struct manager *m _unused_, void *userdata)
{
	bus_changes_manager(userdata);
}

static void on_startup_finished(struct manager *m _unused_, void *userdata)
{
	bus_changes_manager(userdata);
	bus_changes_flush(userdata);
	bus_emit_startup_finished(userdata);
}

static const struct manager_events events = {
	.node_changed = on_node_changed,
	.twin_changed = on_twin_changed,
	.node_failover = on_failover,
	.node_probe = on_probe,
	.job_new = on_job_new,
	.job_removed = on_job_removed,
	.node_reply = on_reply,
	.manager_changed = on_manager_changed,
	.startup_finished = on_startup_finished,
};

int bus_open(struct manager *m, const char *address, struct bus **ret)
{
	if (!address)
		address = getenv("DBUS_SYSTEM_BUS_ADDRESS");
	if (!address || !*address)
		address = SYSTEM_BUS_ADDRESS;
	int r = bus_address_check(address);
	if (r < 0)
		return r;

	struct bus *b = calloc(1, sizeof(*b));
	char *own_address = strdup(address);
	if (!b || !own_address) {
		free(b);
		free(own_address);
		return -ENOMEM;
	}
	b->manager = m;
	b->address = own_address;
	b->timer_at = USEC_INFINITY;
	bus_changes_init(b);
	bus_connection_init(b);
	m->events = events;
	m->events_userdata = b;
	*ret = b;
	return 0;
}

void bus_close(struct bus *b)
{
	if (!b)
		return;
	b->manager->events = (struct manager_events){0};
	b->manager->events_userdata = NULL;
	bus_connection_done(b);
	bus_changes_done(b);
	free(b->address);
	free(b);
}
