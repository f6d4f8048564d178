/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * twinit on D-Bus: the object tree of org.twinit1.xml over sd-bus, on the manager's libev loop.
 *
 * What it promises to a process that may be PID 1: it never blocks and makes no synchronous bus
 * call; there is no wake-up without a cause; everything a client can make grow has a bound. The
 * bus is a guest: it may be absent, come late, go and come back (the bus daemon may be a node of
 * ours), and is joined again with a back-off; nothing else of twinit depends on it.
 *
 * bus_open() fills m->events and m->events_userdata. It fails only where memory is short or the
 * address is unusable (-EINVAL: only unix: addresses are, since others may block in look-ups).
 * The manager must outlive the bus; nodes may come and go between calls of
 * manager_events.manager_changed, after which the bus holds no pointer to a removed one.
 */
#include "supervisor/manager.h"

#define BUS_NAME "org.twinit1"
#define BUS_ERROR_NO_NODE_FOR_PID "org.twinit1.NoNodeForPID"

struct bus;

/* address NULL: $DBUS_SYSTEM_BUS_ADDRESS, else the system bus' default. */
_must_check_ int bus_open(struct manager *m, const char *address, struct bus **ret);
void bus_close(struct bus *b); /* NULL is fine */
