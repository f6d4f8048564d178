/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl list: one line a node. */
#include <string.h>

#include "tools/twinctl/twinctl.h"

static void print_table(const struct context *c, const struct node_info *list, size_t n)
{
	static const char *const heads[] = {
		"NODE", "LOAD", "ACTIVE", "SUB", ">PID", "TWIN", "DESCRIPTION"};
	struct table *t = table_new(heads, ELEMENTSOF(heads));

	for (size_t i = 0; i < n; i++) {
		const struct node_info *p = &list[i];
		char pid[16] = "-";
		if (p->main_pid)
			snprintf(pid, sizeof(pid), "%u", p->main_pid);
		table_add(t, p->id, COLOUR_NONE);
		table_add(t, p->load_state,
			strcmp(p->load_state, "loaded") == 0 ? COLOUR_NONE : COLOUR_RED);
		table_add(t, p->active_state, colour_of_state(p->active_state));
		table_add(t, p->sub_state, COLOUR_NONE);
		table_add(t, pid, COLOUR_NONE);
		table_add(t, p->twin_enabled ? p->twin_state : "off", COLOUR_NONE);
		table_add(t, p->description, COLOUR_NONE);
	}
	table_print(t, !c->quiet);
	table_free(t);
}

int verb_list(struct context *c, int argc _unused_, char **argv _unused_)
{
	struct node_info *list = NULL;
	size_t n = 0;

	int r = node_info_list(c, &list, &n);
	if (r)
		return r;
	if (c->json) {
		struct json j = json_to(stdout);
		json_array_begin(&j, NULL);
		for (size_t i = 0; i < n; i++) {
			json_object_begin(&j, NULL);
			node_info_json(&j, &list[i]);
			json_object_end(&j);
		}
		json_array_end(&j);
		json_finish(&j);
	} else
		print_table(c, list, n);
	node_info_list_free(list, n);
	return 0;
}
