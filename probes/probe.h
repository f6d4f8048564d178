/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What every failure detector looks like to the keeper that hosts it: started when the node
 * begins to run (and again after every swap), told what was seen, asked for its verdict.
 *
 * A probe does no I/O of its own, keeps no timer and allocates nothing: the host hands in
 * events and the time, asks again at the moment the probe named, and acts on the verdict. So
 * each probe can be tested by plain calls. Times are usec_t of CLOCK_MONOTONIC.
 */
#include <stdbool.h>

#include "config/clock.h"
#include "config/macro.h"

struct notify_message;

enum probe_verdict {
	PROBE_IDLE, /* off: says nothing */
	PROBE_ALIVE,
	PROBE_FAILED, /* the node counts as failed, with the probe's result word */
};

enum probe_event_type {
	PROBE_EVENT_NOTIFY, /* a notification of the node: .notify */
	_PROBE_EVENT_MAX
};
struct probe_event {
	enum probe_event_type type;
	usec_t at;
	const struct notify_message *notify;
};

struct probe;
struct probe_ops {
	const char *name;   /* for people */
	const char *result; /* the result word of a failure, as keeper/protocol.h spells it */
	void (*start)(struct probe *p, usec_t now);
	void (*event)(struct probe *p, const struct probe_event *e);
	/* *ret_again: when to ask again, USEC_INFINITY where only an event can change it. */
	enum probe_verdict (*verdict)(const struct probe *p, usec_t now, usec_t *ret_again);
};
/* The first member of every probe. */
struct probe {
	const struct probe_ops *ops;
};

static inline void probe_start(struct probe *p, usec_t now)
{
	p->ops->start(p, now);
}
static inline void probe_event(struct probe *p, const struct probe_event *e)
{
	p->ops->event(p, e);
}
static inline enum probe_verdict probe_verdict(const struct probe *p, usec_t now, usec_t *ret_again)
{
	return p->ops->verdict(p, now, ret_again);
}
