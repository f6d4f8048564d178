/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl show [NODE...] [-p PROPERTY,...] [--value]: properties as they are on the bus. */
#include <errno.h>
#include <string.h>

#include "tools/twinctl/twinctl.h"

/* -p takes a list, and may be given more than once. */
static bool is_wanted(const struct context *c, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < c->n_properties; i++)
		for (const char *p = c->properties[i]; *p; p += strspn(p, ",")) {
			size_t n = strcspn(p, ",");
			if (n == len && strncmp(p, name, n) == 0)
				return true;
			p += n;
		}
	return c->n_properties == 0;
}

static int show_property(struct context *c, struct json *j, const char *name, sd_bus_message *m)
{
	const char *contents;
	char type;

	if (!is_wanted(c, name))
		return sd_bus_message_skip(m, "v");
	if (c->json)
		return value_json(j, name, m);
	int r = sd_bus_message_peek_type(m, &type, &contents);
	if (r < 0)
		return r;
	if (!c->value)
		printf("%s=", name);
	r = value_text(stdout, name, m);
	putchar('\n');
	return r;
}

static int show_object(struct context *c, struct json *j, const char *path, const char *interface,
	const char *what)
{
	_cleanup_message_ sd_bus_message *reply = NULL;
	const char *name;

	int r = client_get_all(c, path, interface, what, &reply);
	if (r)
		return r;
	if (c->json)
		json_object_begin(j, NULL);
	r = sd_bus_message_enter_container(reply, 'a', "{sv}");
	while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
		r = sd_bus_message_read_basic(reply, 's', &name);
		if (r >= 0)
			r = show_property(c, j, name, reply);
		if (r >= 0)
			r = sd_bus_message_exit_container(reply);
	}
	if (c->json)
		json_object_end(j);
	return r < 0 ? client_fail(c, what, r, NULL) : 0;
}

int verb_show(struct context *c, int argc, char **argv)
{
	struct json j = json_to(stdout);
	int worst = 0;

	/* One object is an object, several are an array. */
	if (c->json && argc > 2)
		json_array_begin(&j, NULL);
	if (argc == 1)
		worst = show_object(c, &j, BUS_PATH, MANAGER_INTERFACE, "twinit");
	for (int i = 1; i < argc; i++) {
		_cleanup_free_ char *path = NULL;
		int r = client_node_path(c, argv[i], &path);
		if (i > 1 && !c->json && !r)
			putchar('\n');
		if (!r)
			r = show_object(c, &j, path, "", argv[i]);
		worst = MAX2(worst, r);
	}
	if (c->json && argc > 2)
		json_array_end(&j);
	if (c->json)
		json_finish(&j);
	return worst;
}
