/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl verify FILE...: read unit files as twinit would, and print all that is wrong. Needs no
 * bus. With -q warnings are left out. */
#include <string.h>

#include "config/unit.h"
#include "tools/twinctl/twinctl.h"

static void print_text(const struct context *c, const struct diag_list *diags)
{
	for (size_t i = 0; i < diags->n; i++) {
		const struct diag *d = &diags->items[i];
		_cleanup_free_ char *text = diag_format(d);
		bool error = d->level == DIAG_ERROR;

		if (c->quiet && !error)
			continue;
		printf("%s%s:%s %s\n", colour_on(error ? COLOUR_RED : COLOUR_YELLOW),
			error ? "error" : "warning", colour_off(), text ? text : d->what);
	}
}

static void print_json(struct json *j, const char *path, bool ok, const struct diag_list *diags)
{
	json_object_begin(j, NULL);
	json_string(j, "file", path);
	json_bool(j, "ok", ok);
	json_array_begin(j, "findings");
	for (size_t i = 0; i < diags->n; i++) {
		const struct diag *d = &diags->items[i];
		json_object_begin(j, NULL);
		json_string(j, "level", d->level == DIAG_ERROR ? "error" : "warning");
		json_string(j, "file", d->file);
		json_uint(j, "line", d->line);
		json_string(j, "section", d->section);
		json_string(j, "key", d->key);
		json_string(j, "what", d->what);
		json_string(j, "allowed", d->allowed);
		json_object_end(j);
	}
	json_array_end(j);
	json_object_end(j);
}

static bool verify(const struct context *c, const char *path, struct json *j)
{
	_cleanup_(diag_list_clear) struct diag_list diags = DIAG_LIST_INIT;
	_cleanup_(unit_freep) struct unit *u = NULL;

	int r = unit_load(path, &u, &diags);
	if (r >= 0)
		unit_check_host(u, &diags);
	bool ok = r >= 0 && !diag_list_has_errors(&diags);
	if (c->json) {
		print_json(j, path, ok, &diags);
		return ok;
	}
	print_text(c, &diags);
	if (r < 0 && !diag_list_has_errors(&diags))
		complain("%s: %s", path, strerror(-r));
	if (ok && !c->quiet)
		printf("%s: ok\n", path);
	return ok;
}

int verb_verify(struct context *c, int argc, char **argv)
{
	struct json j = json_to(stdout);
	bool ok = true;

	if (c->json)
		json_array_begin(&j, NULL);
	for (int i = 1; i < argc; i++)
		ok &= verify(c, argv[i], &j);
	if (c->json) {
		json_array_end(&j);
		json_finish(&j);
	}
	return ok ? 0 : EXIT_FAILURE;
}
