/* SPDX-License-Identifier: Apache-2.0 */
/* Kind=dbus: org.freedesktop.DBus.Peer.Ping of whoever owns BusName=. libdbus, GDBus and sd-bus
 * answer it in the loop that does the node's own calls. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "probes/prober/check.h"

struct dbus {
	sd_bus *bus; /* NULL: not connected */
	sd_bus_slot *call;
	ev_io io;
	ev_timer timer; /* sd-bus' own */
};

static void disconnect(struct check *c)
{
	struct dbus *d = c->own;

	ev_io_stop(c->prober->loop, &d->io);
	ev_timer_stop(c->prober->loop, &d->timer);
	d->call = sd_bus_slot_unref(d->call);
	/* Not flushed: that could wait. */
	sd_bus_close(d->bus);
	d->bus = sd_bus_unref(d->bus);
}

static void cancel(struct check *c)
{
	struct dbus *d = c->own;

	d->call = sd_bus_slot_unref(d->call);
}

/* The bus is not the node: without one, nothing can be said. */
static void lost(struct check *c)
{
	disconnect(c);
	check_unknown(c);
}

static void watch(struct check *c)
{
	struct dbus *d = c->own;
	int events = sd_bus_get_events(d->bus);
	uint64_t until = UINT64_MAX;

	if (events < 0 || sd_bus_get_timeout(d->bus, &until) < 0) {
		lost(c);
		return;
	}
	ev_io_stop(c->prober->loop, &d->io);
	ev_io_set(&d->io, sd_bus_get_fd(d->bus), EV_READ | (events & POLLOUT ? EV_WRITE : 0));
	ev_io_start(c->prober->loop, &d->io);
	ev_timer_stop(c->prober->loop, &d->timer);
	if (until == UINT64_MAX)
		return;
	ev_now_update(c->prober->loop);
	ev_timer_set(&d->timer,
		until > now_usec() ? (double)(until - now_usec()) / USEC_PER_SEC : 0., 0.);
	ev_timer_start(c->prober->loop, &d->timer);
}

static void process(struct check *c)
{
	struct dbus *d = c->own;
	int r;

	do
		r = d->bus ? sd_bus_process(d->bus, NULL) : 0;
	while (r > 0);
	if (r < 0)
		lost(c);
	else if (d->bus)
		watch(c);
}

static void on_io(_unused_ struct ev_loop *loop, ev_io *w, _unused_ int revents)
{
	process(w->data);
}

static void on_timer(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	process(w->data);
}

static int on_reply(sd_bus_message *m, void *user, _unused_ sd_bus_error *error)
{
	struct check *c = user;
	const sd_bus_error *e = sd_bus_message_get_error(m);

	cancel(c);
	/* An answer is an answer, also that it knows no Ping. */
	if (!e || sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_METHOD) ||
		sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_OBJECT) ||
		sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_INTERFACE) ||
		sd_bus_error_has_name(e, SD_BUS_ERROR_ACCESS_DENIED))
		check_good(c);
	else if (sd_bus_error_has_name(e, SD_BUS_ERROR_DISCONNECTED))
		check_unknown(c);
	else
		check_bad(c, "%s: %s", c->settings->bus_name, e->message ? e->message : e->name);
	return 0;
}

static int join(struct check *c)
{
	const char *address = c->settings->bus;
	struct dbus *d = c->own;
	int r;

	if (!address || strcmp(address, "system") == 0)
		address = "unix:path=/run/dbus/system_bus_socket";
	r = sd_bus_new(&d->bus);
	if (r >= 0)
		r = sd_bus_set_address(d->bus, address);
	if (r >= 0)
		r = sd_bus_set_bus_client(d->bus, true);
	return r < 0 ? r : sd_bus_start(d->bus);
}

static void begin(struct check *c)
{
	struct dbus *d = c->own;
	sd_bus_message *m = NULL;
	int r = d->bus ? 0 : join(c);

	if (r >= 0)
		r = sd_bus_message_new_method_call(d->bus, &m, c->settings->bus_name, "/",
			"org.freedesktop.DBus.Peer", "Ping");
	/* It is the node that has to have the name, not one that the bus would start. */
	if (r >= 0)
		r = sd_bus_message_set_auto_start(m, false);
	if (r >= 0)
		r = sd_bus_call_async(
			d->bus, &d->call, m, on_reply, c, c->settings->timeout + USEC_PER_SEC);
	sd_bus_message_unref(m);
	if (r < 0)
		lost(c);
	else
		process(c);
}

static int init(struct check *c)
{
	struct dbus *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	ev_init(&d->io, on_io);
	ev_init(&d->timer, on_timer);
	d->io.data = d->timer.data = c;
	c->own = d;
	return 0;
}

const struct check_ops check_dbus = {.init = init, .begin = begin, .cancel = cancel};
