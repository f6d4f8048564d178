/* SPDX-License-Identifier: Apache-2.0 */
/*
 * org.twinit1.xml against the live introspection, over a socketpair: every member, argument,
 * type and annotation has to be in both. Both texts are cut into tags, each tag is named with the
 * interface and member that it stands in, and the two sorted lists have to be the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/socket.h>

#include "supervisor/bus/bus_internal.h"
#include "tests/unit/test_bus_mock.h"

#define XML_PATH "supervisor/bus/org.twinit1.xml"
#define FACTS_MAX 1000

struct facts {
	char *list[FACTS_MAX];
	size_t n;
};

static char *attribute(const char *tag, const char *name)
{
	char key[32];
	snprintf(key, sizeof(key), " %s=\"", name);
	const char *p = strstr(tag, key);
	if (!p)
		return strdup("");
	p += strlen(key);
	return strndup(p, strcspn(p, "\""));
}

static void add_fact(struct facts *f, const char *interface, const char *member, const char *tag)
{
	_cleanup_free_ char *name = attribute(tag, "name"), *type = attribute(tag, "type"),
			    *direction = attribute(tag, "direction"),
			    *value = attribute(tag, "value");
	static unsigned position;

	/* Of arguments the order counts. */
	position = strncmp(tag, "arg", 3) == 0 ? position + 1 : 0;
	/* "true" is the default, which sd-bus leaves out. */
	if (strcmp(name, "org.freedesktop.DBus.Property.EmitsChangedSignal") == 0 &&
		strcmp(value, "true") == 0)
		return;
	assert_true(f->n < FACTS_MAX);
	assert_true(asprintf(&f->list[f->n++], "%s %s %.*s %u %s type=%s direction=%s value=%s",
			    interface, member, (int)strcspn(tag, " />"), tag, position, name, type,
			    direction, value) > 0);
}

/* Adds the facts of org.twinit1 interfaces in text, which is cut up. */
static void read_facts(struct facts *f, char *text)
{
	char *interface = NULL, *member = strdup("");

	for (char *p = text; (p = strchr(p, '<'));) {
		char *tag = p + 1;
		if (strncmp(tag, "!--", 3) == 0) {
			p = strstr(tag, "-->");
			assert_non_null(p);
			continue;
		}
		char *end = strchr(tag, '>');
		assert_non_null(end);
		*end = '\0';
		p = end + 1;
		if (strncmp(tag, "interface ", 10) == 0) {
			free(interface);
			interface = attribute(tag, "name");
			if (strncmp(interface, "org.twinit1.", 12) != 0) {
				free(interface);
				interface = NULL;
			}
		} else if (interface && tag[0] != '/' && strncmp(tag, "node", 4) != 0) {
			if (strncmp(tag, "arg", 3) != 0 && strncmp(tag, "annotation", 10) != 0) {
				free(member);
				member = attribute(tag, "name");
			}
			add_fact(f, interface, member, tag);
		}
	}
	free(interface);
	free(member);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void introspect(struct facts *f, sd_bus *server, sd_bus *client, const char *path)
{
	_cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
	const char *text;

	assert_true(sd_bus_message_new_method_call(client, &call, NULL, path,
			    "org.freedesktop.DBus.Introspectable", "Introspect") >= 0);
	uint64_t cookie = 0, answered = 0; /* cookies start at 1 */
	assert_true(sd_bus_send(client, call, &cookie) >= 0);
	for (int i = 0; i < 10000 && answered != cookie; i++) {
		assert_true(sd_bus_process(server, NULL) >= 0);
		reply = sd_bus_message_unref(reply);
		assert_true(sd_bus_process(client, &reply) >= 0);
		if (!reply || sd_bus_message_get_reply_cookie(reply, &answered) < 0)
			answered = 0;
	}
	assert_int_equal(answered, cookie);
	if (sd_bus_message_is_method_error(reply, NULL))
		fail_msg("%s: %s", path, sd_bus_message_get_error(reply)->message);
	assert_true(sd_bus_message_read(reply, "s", &text) >= 0);
	_cleanup_free_ char *own = strdup(text);
	read_facts(f, own);
}

static void live_facts(struct facts *f)
{
	struct bus b = {.manager = &mock};
	struct job j = {.id = 1, .node = &mock_nodes[3]};
	sd_bus *server = NULL, *client = NULL;
	sd_id128_t id = {0};
	int fds[2];

	mock_init(NULL);
	mock.jobs = &j;
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	id.bytes[0] = 1;
	assert_true(sd_bus_new(&server) >= 0 && sd_bus_new(&client) >= 0);
	assert_true(sd_bus_set_fd(server, fds[0], fds[0]) >= 0);
	assert_true(sd_bus_set_server(server, 1, id) >= 0);
	assert_true(sd_bus_set_anonymous(server, 1) >= 0);
	assert_true(bus_add_objects(&b, server) >= 0);
	assert_true(sd_bus_start(server) >= 0);
	assert_true(sd_bus_set_fd(client, fds[1], fds[1]) >= 0);
	assert_true(sd_bus_set_anonymous(client, 1) >= 0);
	assert_true(sd_bus_start(client) >= 0);
	introspect(f, server, client, BUS_PATH);
	introspect(f, server, client, BUS_NODE_PREFIX "/voxel");
	introspect(f, server, client, BUS_JOB_PREFIX "/1");
	sd_bus_close(client);
	sd_bus_unref(client);
	sd_bus_close(server);
	sd_bus_unref(server);
}

static void facts_clear(struct facts *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->list[i]);
}

static void test_xml(void **state _unused_)
{
	struct facts written = {0}, live = {0};
	static char text[200000];
	unsigned differences = 0;

	_cleanup_fclose_ FILE *file = fopen(XML_PATH, "re");
	if (!file)
		skip(); /* run from elsewhere */
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	read_facts(&written, text);
	live_facts(&live);
	qsort(written.list, written.n, sizeof(char *), by_text);
	qsort(live.list, live.n, sizeof(char *), by_text);
	assert_true(written.n > 100);
	for (size_t i = 0, k = 0; i < written.n || k < live.n;) {
		int order = i == written.n ? 1
			    : k == live.n  ? -1
					   : strcmp(written.list[i], live.list[k]);
		if (order < 0)
			print_error("only in the XML: %s\n", written.list[i]);
		if (order > 0)
			print_error("only live: %s\n", live.list[k]);
		differences += order != 0;
		i += order <= 0;
		k += order >= 0;
	}
	assert_int_equal(differences, 0);
	facts_clear(&written);
	facts_clear(&live);
}

/* Without this flag sd-bus would ask the daemon for credentials, and wait for them. */
static void test_methods_do_not_wait(void **state _unused_)
{
	unsigned methods = 0;
	for (const sd_bus_vtable *v = bus_manager_vtable; v->type != _SD_BUS_VTABLE_END; v++) {
		if (v->type != _SD_BUS_VTABLE_METHOD)
			continue;
		methods++;
		assert_true(v->flags & SD_BUS_VTABLE_UNPRIVILEGED);
	}
	assert_true(methods > 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xml),
		cmocka_unit_test(test_methods_do_not_wait),
	};
	return cmocka_run_group_tests_name("bus interface XML", tests, NULL, NULL);
}
