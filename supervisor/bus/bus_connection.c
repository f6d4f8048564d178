/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joining a bus that may not be there yet, losing it, joining again; and sd-bus on libev.
 *
 * sd_bus_start() connects without waiting; authentication, Hello and our name follow from the
 * loop. The prepare watcher runs once before every sleep of the loop: it sends what has gathered
 * and sets io and timer to what sd-bus wants next, touching them only where that has changed.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "supervisor/base/log.h"
#include "supervisor/bus/bus_internal.h"

#define DBUS_IN_QUEUE 2u /* of RequestName's answers */

int bus_address_check(const char *address)
{
	/* tcp: looks up hosts, unixexec: runs programs: neither is for a process that must not
	 * wait. */
	for (const char *p = address; *p;) {
		if (strncmp(p, "unix:", 5) != 0)
			return -EINVAL;
		p += strcspn(p, ";");
		p += *p == ';';
	}
	return *address ? 0 : -EINVAL;
}

int bus_add_objects(struct bus *b, sd_bus *sd)
{
	static const struct {
		const char *prefix, *interface;
		const sd_bus_vtable *vtable;
		sd_bus_object_find_t find;
	} objects[] = {
		{BUS_NODE_PREFIX, NODE_INTERFACE, bus_node_vtable, bus_find_node},
		{BUS_NODE_PREFIX, TWIN_INTERFACE, bus_twin_vtable, bus_find_node},
		{BUS_JOB_PREFIX, JOB_INTERFACE, bus_job_vtable, bus_find_job},
	};

	int r = sd_bus_add_object_vtable(
		sd, NULL, BUS_PATH, MANAGER_INTERFACE, bus_manager_vtable, b);
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(objects); i++)
		r = sd_bus_add_fallback_vtable(sd, NULL, objects[i].prefix, objects[i].interface,
			objects[i].vtable, objects[i].find, b);
	if (r >= 0)
		r = sd_bus_add_node_enumerator(sd, NULL, BUS_NODE_PREFIX, bus_enumerate_nodes, b);
	if (r >= 0)
		r = sd_bus_add_node_enumerator(sd, NULL, BUS_JOB_PREFIX, bus_enumerate_jobs, b);
	if (r >= 0)
		r = sd_bus_add_object_manager(sd, NULL, BUS_PATH);
	return r;
}

static void schedule_retry(struct bus *b)
{
	ev_timer_stop(b->manager->loop, &b->retry_timer);
	ev_timer_set(&b->retry_timer, b->backoff, 0.);
	ev_timer_start(b->manager->loop, &b->retry_timer);
	b->backoff = MIN2(b->backoff * 2, BUS_BACKOFF_MAX);
}

static void disconnect(struct bus *b)
{
	struct ev_loop *loop = b->manager->loop;

	ev_prepare_stop(loop, &b->prepare);
	ev_io_stop(loop, &b->io);
	ev_timer_stop(loop, &b->timer);
	b->timer_at = USEC_INFINITY;
	b->ready = b->has_name = false;
	/* Both hold messages, which hold the bus; and nobody is left to be answered. */
	bus_request_forget(b);
	bus_access_forget(b);
	if (b->sd)
		sd_bus_close(b->sd);
	b->sd = sd_bus_unref(b->sd);
}

/* error: negative errno. Said once, not at every attempt. */
static void lose(struct bus *b, int error)
{
	if (error != b->last_error) {
		if (b->ready)
			log_notice("lost the bus: %s", strerrordesc_np(-error));
		else
			log_info("no bus yet at %s: %s", b->address, strerrordesc_np(-error));
	}
	b->last_error = error;
	disconnect(b);
	schedule_retry(b);
}

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error _unused_)
{
	struct bus *b = userdata;
	const sd_bus_error *e = sd_bus_message_get_error(reply);
	uint32_t result;

	if (e) {
		if (b->last_error != -EACCES)
			log_error("the bus does not give us the name " BUS_NAME ": %s", e->message);
		/* The policy may be mended under way: leave, and come back after a while. */
		b->last_error = b->close_error = -EACCES;
		sd_bus_close(b->sd);
	} else if (sd_bus_message_read(reply, "u", &result) >= 0 && result == DBUS_IN_QUEUE)
		log_warning(
			"somebody else has the name " BUS_NAME " on the bus; we are next in line");
	return 1;
}

static int request_name(struct bus *b)
{
	return sd_bus_request_name_async(b->sd, NULL, BUS_NAME, SD_BUS_NAME_QUEUE, on_name, b);
}

/* NameAcquired and NameLost come to us alone and need no match rule. */
static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *ret_error _unused_)
{
	struct bus *b = userdata;
	const char *name, *sender = sd_bus_message_get_sender(m);
	bool acquired = sd_bus_message_is_signal(m, "org.freedesktop.DBus", "NameAcquired") > 0;

	if (!acquired && sd_bus_message_is_signal(m, "org.freedesktop.DBus", "NameLost") <= 0)
		return 0;
	if (!sender || strcmp(sender, "org.freedesktop.DBus") != 0 ||
		sd_bus_message_read(m, "s", &name) < 0 || strcmp(name, BUS_NAME) != 0)
		return 0;
	b->has_name = acquired;
	if (acquired) {
		b->backoff = BUS_BACKOFF_MIN;
		b->last_error = 0;
		log_info("joined the bus as " BUS_NAME);
	} else
		log_warning("lost the name " BUS_NAME " on the bus");
	return 0;
}

/* Let sd-bus work for a bounded while. The connection, and b->sd with it, may be gone after. */
static void pump(struct bus *b)
{
	int r = 1;

	for (unsigned i = 0; r > 0 && i < BUS_MESSAGES_PER_WAKE; i++) {
		r = sd_bus_process(b->sd, NULL);
		if (r < 0 || b->ready || sd_bus_is_ready(b->sd) <= 0)
			continue;
		/* Hello is answered: signals get through, and the name may be asked for. */
		b->ready = true;
		int q = request_name(b);
		if (q < 0)
			r = q;
	}
	if (r >= 0 && sd_bus_is_open(b->sd) <= 0)
		r = -ECONNRESET;
	if (r < 0)
		lose(b, b->close_error < 0 ? b->close_error : r);
}

static void on_io(struct ev_loop *loop _unused_, ev_io *w, int revents _unused_)
{
	pump(w->data);
}

static void on_timer(struct ev_loop *loop _unused_, ev_timer *w, int revents _unused_)
{
	struct bus *b = w->data;
	b->timer_at = USEC_INFINITY;
	pump(b);
}

/* 0 or the errno that ends the connection. */
static int rearm(struct bus *b, struct ev_loop *loop)
{
	uint64_t at, queued = 0;
	int fd = sd_bus_get_fd(b->sd);
	int events = sd_bus_get_events(b->sd);
	int r = sd_bus_get_timeout(b->sd, &at);

	if (fd < 0 || events < 0 || r < 0)
		return fd < 0 ? fd : events < 0 ? events : r;
	if (sd_bus_get_n_queued_write(b->sd, &queued) >= 0 && queued > BUS_WRITE_QUEUE_MAX)
		return -ENOBUFS; /* the daemon has stopped reading */

	int want = (events & POLLIN ? EV_READ : 0) | (events & POLLOUT ? EV_WRITE : 0);
	if (b->io.fd != fd || (b->io.events & (EV_READ | EV_WRITE)) != want ||
		!ev_is_active(&b->io)) {
		ev_io_stop(loop, &b->io);
		ev_io_set(&b->io, fd, want);
		if (want)
			ev_io_start(loop, &b->io);
	}
	if (at == b->timer_at)
		return 0;
	ev_timer_stop(loop, &b->timer);
	b->timer_at = at;
	if (at != USEC_INFINITY) {
		usec_t now = now_usec();
		/* Timers count from the loop's idea of now, which is as old as this turn; and one
		 * that fires early finds nothing to do, hence the millisecond. */
		double after = at <= now ? 0.
					 : (double)(at - now) / USEC_PER_SEC + 0.001 +
						   (ev_time() - ev_now(loop));
		ev_timer_set(&b->timer, after, 0.);
		ev_timer_start(loop, &b->timer);
	}
	return 0;
}

static void on_prepare(struct ev_loop *loop, ev_prepare *w, int revents _unused_)
{
	struct bus *b = w->data;

	bus_changes_flush(b);
	int r = rearm(b, loop);
	if (r < 0)
		lose(b, r);
}

static int start(struct bus *b)
{
	sd_bus *sd = NULL;

	int r = sd_bus_new(&sd);
	if (r >= 0)
		r = sd_bus_set_address(sd, b->address);
	if (r >= 0)
		r = sd_bus_set_bus_client(sd, 1);
	if (r >= 0)
		r = sd_bus_set_method_call_timeout(sd, BUS_CALL_TIMEOUT_USEC);
	if (r >= 0)
		r = bus_add_objects(b, sd);
	if (r >= 0)
		r = sd_bus_add_filter(sd, NULL, on_message, b);
	if (r >= 0)
		r = sd_bus_start(sd);
	if (r < 0) {
		sd_bus_unref(sd);
		return r;
	}
	b->sd = sd;
	b->close_error = 0;
	return 0;
}

static void join(struct bus *b)
{
	int r = start(b);
	if (r < 0) {
		lose(b, r);
		return;
	}
	b->timer_at = USEC_INFINITY;
	ev_prepare_start(b->manager->loop, &b->prepare);
}

static void on_retry(struct ev_loop *loop _unused_, ev_timer *w, int revents _unused_)
{
	join(w->data);
}

void bus_connection_init(struct bus *b)
{
	ev_init(&b->retry_timer, on_retry);
	ev_prepare_init(&b->prepare, on_prepare);
	ev_init(&b->io, on_io);
	ev_init(&b->timer, on_timer);
	b->io.fd = -1;
	b->retry_timer.data = b->prepare.data = b->io.data = b->timer.data = b;
	b->backoff = BUS_BACKOFF_MIN;
	join(b);
}

void bus_connection_nudge(struct bus *b)
{
	if (!b->sd && b->backoff > BUS_BACKOFF_MIN * 2) {
		b->backoff = BUS_BACKOFF_MIN;
		schedule_retry(b);
	}
}

/* A bus daemon that was rolled back to before we had our name still has our connection. */
void bus_connection_reassert(struct bus *b)
{
	if (b->ready)
		(void)request_name(b);
}

void bus_connection_done(struct bus *b)
{
	ev_timer_stop(b->manager->loop, &b->retry_timer);
	disconnect(b);
}
