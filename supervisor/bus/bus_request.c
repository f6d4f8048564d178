/* SPDX-License-Identifier: Apache-2.0 */
/* Method calls that a keeper answers: the call is kept until its reply comes by serial. */
#include <errno.h>
#include <string.h>

#include "supervisor/bus/bus_internal.h"

struct bus_request {
	uint64_t serial;
	sd_bus_message *msg;
	char *id;
	usec_t since;
	struct bus_request *next;
};

static void request_free(struct bus *b, struct bus_request *q)
{
	sd_bus_message_unref(q->msg);
	free(q->id);
	free(q);
	b->n_requests--;
}

static void request_finish(struct bus *b, struct bus_request *q, int r, const char *text)
{
	if (r < 0) {
		_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
		bus_error_set(&error, r, NULL, q->id, text);
		(void)sd_bus_reply_method_error(q->msg, &error);
	} else
		(void)sd_bus_reply_method_return(q->msg, NULL);
	request_free(b, q);
}

/* The oldest makes room, but only where its keeper has been silent for very long. */
static int make_room(struct bus *b)
{
	struct bus_request *q = b->requests;
	if (b->n_requests < BUS_REQUESTS_MAX)
		return 0;
	if (now_usec() - q->since < BUS_REQUEST_STALE_USEC)
		return -ENOBUFS;
	b->requests = q->next;
	request_finish(b, q, -ETIMEDOUT, NULL);
	return 0;
}

int bus_request_start(struct bus *b, sd_bus_message *msg, struct node *n, enum keeper_msg_type type,
	int signal, sd_bus_error *error)
{
	const char *name = NULL;

	int r = make_room(b);
	if (r < 0)
		return bus_error_set(error, r, NULL, n->id, NULL);
	struct bus_request *q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	b->n_requests++;
	q->msg = sd_bus_message_ref(msg);
	q->id = strdup(n->id);
	q->since = now_usec();
	r = q->id ? manager_request(b->manager, n, type, signal, &q->serial, &name) : -ENOMEM;
	if (r < 0) {
		request_free(b, q);
		return bus_error_set(error, r, name, n->id, NULL);
	}
	struct bus_request **end = &b->requests;
	while (*end)
		end = &(*end)->next;
	*end = q;
	return 1;
}

void bus_request_reply(struct bus *b, uint64_t serial, const struct keeper_reply *reply)
{
	for (struct bus_request **p = &b->requests; *p; p = &(*p)->next) {
		struct bus_request *q = *p;
		if (q->serial != serial)
			continue;
		*p = q->next;
		request_finish(b, q, reply->error, reply->text);
		return;
	}
}

void bus_request_forget(struct bus *b)
{
	struct bus_request *q;
	while ((q = b->requests)) {
		b->requests = q->next;
		request_free(b, q);
	}
}
