/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "supervisor/bus/bus_internal.h"

/* Manager and keeper speak errno; clients are told by name, with a sentence where there is none. */
static const struct {
	int error;
	const char *name;
	const char *text;
} error_table[] = {
	{ENOENT, BUS_ERROR_NO_SUCH_NODE, "there is no such node"},
	{EBADMSG, BUS_ERROR_LOAD_FAILED, "its unit file did not load"},
	{EBUSY, BUS_ERROR_NODE_BUSY, "another request is in the way"},
	{ENODATA, BUS_ERROR_NO_TWIN, "it has no twin that could run"},
	{EALREADY, BUS_ERROR_FAILOVER_IN_PROGRESS, "it is being failed over"},
	{ESHUTDOWN, BUS_ERROR_SHUTTING_DOWN, "the system is shutting down"},
	{ESRCH, BUS_ERROR_NODE_BUSY, "it is not running"},
	{ENOTCONN, BUS_ERROR_NODE_BUSY, "it is not running"},
	{ECONNRESET, SD_BUS_ERROR_FAILED, "its keeper ended before it had answered"},
	{EINVAL, SD_BUS_ERROR_INVALID_ARGS, "that is not a valid request"},
	{EPERM, SD_BUS_ERROR_FAILED, "the kernel does not permit it"},
	{EOPNOTSUPP, SD_BUS_ERROR_NOT_SUPPORTED, "it is not supported for this node"},
	{ENOBUFS, SD_BUS_ERROR_LIMITS_EXCEEDED, "too many requests are under way"},
	{EAGAIN, SD_BUS_ERROR_LIMITS_EXCEEDED, "its keeper takes no more requests now"},
	{ETIMEDOUT, SD_BUS_ERROR_TIMEOUT, "its keeper did not answer in time"},
	{ENOMEM, SD_BUS_ERROR_NO_MEMORY, "out of memory"},
};

int bus_error_set(sd_bus_error *error, int r, const char *name, const char *id, const char *text)
{
	id = bus_text(id);
	text = text && *text ? bus_text(text) : NULL;
	for (size_t i = 0; i < ELEMENTSOF(error_table); i++) {
		bool match =
			name ? strcmp(error_table[i].name, name) == 0 : error_table[i].error == -r;
		if (!match)
			continue;
		/* Several errnos share a name: prefer the sentence of the very errno. */
		size_t say = i;
		for (size_t k = 0; name && k < ELEMENTSOF(error_table); k++)
			if (error_table[k].error == -r && strcmp(error_table[k].name, name) == 0)
				say = k;
		sd_bus_error_setf(error, error_table[i].name, "%s: %s", id,
			text ? text : error_table[say].text);
		return r;
	}
	if (name)
		sd_bus_error_setf(error, name, "%s: %s", id, text ? text : strerrordesc_np(-r));
	else
		sd_bus_error_set_errnof(error, r, "%s: %s", id, text ? text : strerrordesc_np(-r));
	return r;
}

int bus_get_node(struct bus *b, const char *id, struct node **ret, sd_bus_error *error)
{
	struct node *n = manager_find_node(b->manager, id);
	if (!n) {
		/* Not cut: half a character is not for the bus. */
		if (strlen(id) <= NAME_MAX)
			sd_bus_error_setf(
				error, BUS_ERROR_NO_SUCH_NODE, "There is no node '%s'.", id);
		else
			sd_bus_error_set(error, BUS_ERROR_NO_SUCH_NODE, "There is no such node.");
		return -ENOENT;
	}
	*ret = n;
	return 0;
}
