/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl is-active|is-failed NODE...: the state as a word and as exit status. 0 where at least
 * one of the nodes is active (failed). */
#include <string.h>

#include "tools/twinctl/twinctl.h"

int verb_is(struct context *c, int argc, char **argv)
{
	bool failed = strcmp(argv[0], "is-failed") == 0;
	int status = failed ? EXIT_FAILURE : EXIT_NOT_ACTIVE;
	struct json j = json_to(stdout);

	if (c->json)
		json_array_begin(&j, NULL);
	for (int i = 1; i < argc; i++) {
		_cleanup_node_info_ struct node_info n = {0};
		int r = node_info_get(c, argv[i], &n);
		if (r == EXIT_NO_SUCH_NODE && argc == 2)
			status = r;
		else if (r && r != EXIT_NO_SUCH_NODE) {
			status = r; /* no bus, or no twinit: nor will there be for the next */
			break;
		}
		if (r)
			continue;
		if (c->json) {
			json_object_begin(&j, NULL);
			json_string(&j, "id", n.id);
			json_string(&j, "active_state", n.active_state);
			json_object_end(&j);
		} else if (!c->quiet)
			puts(n.active_state);
		if (strcmp(n.active_state, failed ? "failed" : "active") == 0)
			status = 0;
	}
	if (c->json) {
		json_array_end(&j);
		json_finish(&j);
	}
	return status;
}
