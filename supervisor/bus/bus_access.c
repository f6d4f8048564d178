/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may change things: uid 0 and the uid we run with.
 *
 * sd-bus' own ways to learn a sender's uid call the bus daemon and wait. So a sender's first
 * privileged call is put aside, the daemon is asked without waiting, and the call goes on when
 * the answer is there. Calls of one sender keep their order. What was learned stays true as long
 * as the connection lives, since a bus daemon never gives out a unique name twice.
 */
#include <errno.h>
#include <string.h>

#include "supervisor/bus/bus_internal.h"

struct waiting {
	sd_bus_message *msg;
	sd_bus_message_handler_t act;
	struct waiting *next;
};

struct bus_sender {
	struct bus *bus;
	char *name;
	bool known;
	uid_t uid;
	sd_bus_slot *slot; /* the question under way */
	struct waiting *waiting;
	struct bus_sender *next;
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

static void sender_free(struct bus *b, struct bus_sender *s)
{
	struct waiting *w;
	while ((w = s->waiting)) {
		s->waiting = w->next;
		sd_bus_message_unref(w->msg);
		free(w);
		b->n_waiting--;
	}
	sd_bus_slot_unref(s->slot);
	free(s->name);
	free(s);
	b->n_senders--;
}

static struct bus_sender **sender_find(struct bus *b, const char *name)
{
	struct bus_sender **p = &b->senders;
	while (*p && strcmp((*p)->name, name) != 0)
		p = &(*p)->next;
	return p;
}

/* Make room: the sender that was silent longest and has nothing under way goes. */
static int evict(struct bus *b)
{
	struct bus_sender **oldest = NULL;
	for (struct bus_sender **p = &b->senders; *p; p = &(*p)->next)
		if ((*p)->known)
			oldest = p;
	if (!oldest)
		return -ENOBUFS;
	struct bus_sender *s = *oldest;
	*oldest = s->next;
	sender_free(b, s);
	return 0;
}

static void answer(struct bus *b, struct bus_sender *s, struct waiting *w)
{
	_cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
	int r;

	if (s->known && bus_uid_allowed(s->uid))
		r = w->act(w->msg, b, &error);
	else
		r = deny(&error);
	if (r < 0 || sd_bus_error_is_set(&error))
		(void)sd_bus_reply_method_errno(w->msg, r, &error);
}

static int on_uid(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error _unused_)
{
	struct bus_sender *s = userdata;
	struct bus *b = s->bus;
	uint32_t uid;
	struct waiting *w;

	if (!sd_bus_message_is_method_error(reply, NULL) &&
		sd_bus_message_read(reply, "u", &uid) >= 0) {
		s->known = true;
		s->uid = uid;
	}
	s->slot = sd_bus_slot_unref(s->slot);
	while ((w = s->waiting)) {
		s->waiting = w->next;
		b->n_waiting--;
		answer(b, s, w);
		sd_bus_message_unref(w->msg);
		free(w);
	}
	if (!s->known) { /* the sender has left, or the daemon would not say */
		struct bus_sender **p = sender_find(b, s->name);
		*p = s->next;
		sender_free(b, s);
	}
	return 1;
}

static int sender_add(struct bus *b, const char *name, struct bus_sender **ret)
{
	if (b->n_senders >= BUS_SENDERS_MAX) {
		int r = evict(b);
		if (r < 0)
			return r;
	}
	struct bus_sender *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	b->n_senders++;
	s->bus = b;
	s->name = strdup(name);
	int r = s->name ? sd_bus_call_method_async(b->sd, &s->slot, "org.freedesktop.DBus",
				  "/org/freedesktop/DBus", "org.freedesktop.DBus",
				  "GetConnectionUnixUser", on_uid, s, "s", name)
			: -ENOMEM;
	if (r < 0) {
		sender_free(b, s);
		return r;
	}
	s->next = b->senders;
	b->senders = s;
	*ret = s;
	return 0;
}

int bus_privileged(
	struct bus *b, sd_bus_message *msg, sd_bus_message_handler_t act, sd_bus_error *error)
{
	const char *name = sd_bus_message_get_sender(msg);
	if (!name)
		return deny(error);

	struct bus_sender **p = sender_find(b, name), *s = *p;
	if (s) { /* to the front */
		*p = s->next;
		s->next = b->senders;
		b->senders = s;
		if (s->known)
			return bus_uid_allowed(s->uid) ? act(msg, b, error) : deny(error);
	}
	if (b->n_waiting >= BUS_WAITING_MAX)
		return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
			"Too many calls wait for their sender to be identified.");
	struct waiting *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	if (!s) {
		int r = sender_add(b, name, &s);
		if (r < 0) {
			free(w);
			return bus_error_set(error, r, NULL, name, NULL);
		}
	}
	w->msg = sd_bus_message_ref(msg);
	w->act = act;
	struct waiting **end = &s->waiting;
	while (*end)
		end = &(*end)->next;
	*end = w;
	b->n_waiting++;
	return 1;
}

void bus_access_forget(struct bus *b)
{
	struct bus_sender *s;
	while ((s = b->senders)) {
		b->senders = s->next;
		sender_free(b, s);
	}
}
