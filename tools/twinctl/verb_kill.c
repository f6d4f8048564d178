/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl kill NODE... [-s SIGNAL]: a signal to the active. A fatal one is a fault like any. */
#include "tools/twinctl/twinctl.h"

static int kill_node(struct context *c, const char *node)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_free_ char *id = node_id(node);

	int r = client_open(c);
	if (r)
		return r;
	r = sd_bus_call_method(c->bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "KillNode", &error,
		NULL, "ssi", id, "main", c->signal);
	return r < 0 ? client_fail(c, id, r, &error) : 0;
}

int verb_kill(struct context *c, int argc, char **argv)
{
	int worst = 0;

	for (int i = 1; i < argc; i++) {
		int r = kill_node(c, argv[i]);
		worst = MAX2(worst, r);
	}
	return worst;
}
