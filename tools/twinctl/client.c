/* SPDX-License-Identifier: Apache-2.0 */
/* The connection, calls, and what to say where they fail. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "tools/twinctl/twinctl.h"

#define SYSTEM_BUS_ADDRESS "unix:path=/run/dbus/system_bus_socket"

void complain(const char *fmt, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	fflush(stdout);
	if (text)
		make_printable(text, true);
	fprintf(stderr, "twinctl: %s\n", text ? text : strerror(ENOMEM));
}

char *node_id(const char *argument)
{
	size_t len = strlen(argument);
	if (len > 4 && strcmp(argument + len - 4, ".ini") == 0)
		len -= 4;
	char *id = strndup(argument, len);
	if (!id)
		abort();
	return id;
}

int client_open(struct context *c)
{
	if (c->bus)
		return 0;
	if (!c->address || !*c->address)
		c->address = getenv("DBUS_SYSTEM_BUS_ADDRESS");
	if (!c->address || !*c->address)
		c->address = SYSTEM_BUS_ADDRESS;

	sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, c->address);
	if (r >= 0)
		r = sd_bus_set_bus_client(bus, 1);
	if (r >= 0)
		r = sd_bus_start(bus);
	/* Waits for Hello: from here on every failure is twinit's. */
	if (r >= 0)
		r = sd_bus_get_unique_name(bus, &(const char *){NULL});
	if (r < 0) {
		complain("cannot reach the bus at %s: %s", c->address,
			r == -EINVAL ? "that is not a bus address" : strerror(-r));
		sd_bus_unref(bus);
		return EXIT_FAILURE;
	}
	c->bus = bus;
	return 0;
}

int client_fail(const struct context *c, const char *what, int r, const sd_bus_error *error)
{
	if (error && (sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
			     sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER)))
		complain("twinit is not on the bus at %s", c->address);
	else if (error && sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED))
		complain("%s: permission denied (are you root?)", what);
	else if (r == -ECONNRESET || r == -ENOTCONN || r == -EPIPE)
		complain("%s: the bus has closed the connection", what);
	else if (error && error->message && strstr(error->message, what))
		complain("%s", error->message); /* it says itself what it is about */
	else
		complain("%s: %s", what, error && error->message ? error->message : strerror(-r));
	if (error && sd_bus_error_has_name(error, "org.twinit1.NoSuchNode"))
		return EXIT_NO_SUCH_NODE;
	return EXIT_FAILURE;
}

int client_call(struct context *c, const char *method, const char *a, const char *b,
	sd_bus_message **ret_reply)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *call = NULL;

	int r = client_open(c);
	if (r)
		return r;
	r = sd_bus_message_new_method_call(
		c->bus, &call, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, method);
	if (r >= 0 && a)
		r = sd_bus_message_append(call, "s", a);
	if (r >= 0 && b)
		r = sd_bus_message_append(call, "s", b);
	if (r >= 0)
		r = sd_bus_call(c->bus, call, 0, &error, ret_reply);
	return r < 0 ? client_fail(c, a ? a : method, r, &error) : 0;
}

int client_node_path(struct context *c, const char *node, char **ret_path)
{
	_cleanup_free_ char *id = node_id(node);
	_cleanup_message_ sd_bus_message *reply = NULL;
	const char *path;

	int r = client_call(c, "GetNode", id, NULL, &reply);
	if (r)
		return r;
	r = sd_bus_message_read(reply, "o", &path);
	if (r < 0)
		return client_fail(c, node, r, NULL);
	*ret_path = strdup(path);
	return *ret_path ? 0 : client_fail(c, node, -ENOMEM, NULL);
}

int client_get_all(struct context *c, const char *path, const char *interface, const char *what,
	sd_bus_message **ret_reply)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

	int r = client_open(c);
	if (r)
		return r;
	r = sd_bus_call_method(c->bus, BUS_NAME, path, PROPERTIES_INTERFACE, "GetAll", &error,
		ret_reply, "s", interface);
	return r < 0 ? client_fail(c, what, r, &error) : 0;
}
