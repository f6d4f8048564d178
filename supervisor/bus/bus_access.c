/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may change things: uid 0 and the uid we run with.
 *
 * sd-bus' own ways to learn a sender's uid call the bus daemon and wait. So a privileged call is
 * put aside, the daemon is asked without waiting, and the call goes on when the answer is there;
 * answers come in the order of the questions, so calls of one sender keep theirs. Nothing is
 * remembered from one call to the next: a bus daemon never gives out a unique name twice, but
 * ours may be a node, fail over to its twin, and then has forgotten which names it gave out.
 */
#include <errno.h>
#include <string.h>

#include "supervisor/bus/bus_internal.h"

struct bus_question {
	struct bus *bus;
	sd_bus_message *msg;
	sd_bus_message_handler_t act;
	sd_bus_slot *slot;
	struct bus_question *next;
};

bool bus_uid_allowed(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

static int deny(sd_bus_error *error)
{
	sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED,
		"Only root and the user that twinit runs as may change anything.");
	return -EACCES;
}

static void question_free(struct bus_question *q)
{
	sd_bus_slot_unref(q->slot);
	sd_bus_message_unref(q->msg);
	free(q);
}

static void question_unlink(struct bus_question *q)
{
	struct bus_question **p = &q->bus->questions;
	while (*p != q)
		p = &(*p)->next;
	*p = q->next;
	q->bus->n_questions--;
}

static int on_uid(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error _unused_)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	struct bus_question *q = userdata;
	uint32_t uid;
	int r;

	question_unlink(q);
	/* An error: the sender has left, or the daemon would not say. */
	if (!sd_bus_message_is_method_error(reply, NULL) &&
		sd_bus_message_read(reply, "u", &uid) >= 0 && bus_uid_allowed(uid))
		r = q->act(q->msg, q->bus, &error);
	else
		r = deny(&error);
	if (r < 0 || sd_bus_error_is_set(&error))
		(void)sd_bus_reply_method_errno(q->msg, r, &error);
	question_free(q);
	return 1;
}

/* A message may have megabytes, and is kept until the answer comes: not for an id and a word. */
static int check_size(sd_bus_message *msg, sd_bus_error *error)
{
	const char *signature = sd_bus_message_get_signature(msg, 1), *text;
	int r = signature ? 0 : -EINVAL;

	for (; r >= 0 && *signature == 's'; signature++) {
		r = sd_bus_message_read_basic(msg, 's', &text);
		if (r >= 0 && strlen(text) > BUS_ARGUMENT_MAX)
			return sd_bus_error_set(
				error, SD_BUS_ERROR_INVALID_ARGS, "An argument is too long.");
	}
	return r < 0 ? r : sd_bus_message_rewind(msg, 1);
}

int bus_privileged(
	struct bus *b, sd_bus_message *msg, sd_bus_message_handler_t act, sd_bus_error *error)
{
	const char *sender = sd_bus_message_get_sender(msg);
	if (!sender)
		return deny(error);
	int r = check_size(msg, error);
	if (r < 0)
		return r;
	if (b->n_questions >= BUS_QUESTIONS_MAX)
		return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
			"Too many calls wait for their sender to be identified.");
	struct bus_question *q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	r = sd_bus_call_method_async(b->sd, &q->slot, "org.freedesktop.DBus",
		"/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixUser", on_uid, q,
		"s", sender);
	if (r < 0) {
		free(q);
		return r;
	}
	q->bus = b;
	q->msg = sd_bus_message_ref(msg);
	q->act = act;
	q->next = b->questions;
	b->questions = q;
	b->n_questions++;
	return 1;
}

void bus_access_forget(struct bus *b)
{
	struct bus_question *q;
	while ((q = b->questions)) {
		b->questions = q->next;
		question_free(q);
	}
	b->n_questions = 0;
}
