/* SPDX-License-Identifier: Apache-2.0 */
/* org.twinit1.Job; org.twinit1.xml says what each member is for. */
#include "supervisor/bus/bus_internal.h"
#include "supervisor/bus/bus_property.h"

static int get_id(PROPERTY_GETTER_ARGS);
static int get_node(PROPERTY_GETTER_ARGS);
static int get_type(PROPERTY_GETTER_ARGS);
static int get_state(PROPERTY_GETTER_ARGS);

const sd_bus_vtable bus_job_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Id", "u", get_id, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("Node", "(so)", get_node, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("JobType", "s", get_type, 0, PROPERTY_CONST),
	SD_BUS_PROPERTY("State", "s", get_state, 0, PROPERTY_TICKS),
	SD_BUS_VTABLE_END,
};

static int get_id(PROPERTY_GETTER_ARGS)
{
	const struct job *j = userdata;
	return sd_bus_message_append(reply, "u", j->id);
}

static int get_node(PROPERTY_GETTER_ARGS)
{
	const struct job *j = userdata;
	_cleanup_free_ char *node = NULL;

	int r = bus_node_path(j->node->id, &node);
	return r < 0 ? r : sd_bus_message_append(reply, "(so)", bus_text(j->node->id), node);
}

static int get_type(PROPERTY_GETTER_ARGS)
{
	const struct job *j = userdata;
	return sd_bus_message_append(reply, "s", job_type_to_string(j->type));
}

static int get_state(PROPERTY_GETTER_ARGS)
{
	const struct job *j = userdata;
	return sd_bus_message_append(reply, "s", job_state_to_string(j->state));
}
