/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What every failure detector looks like to the keeper that hosts it: started when the node
 * begins to run (and again after every swap), told what was seen, asked for its verdict.
 *
 * A probe does no I/O of its own, keeps no timer and allocates nothing: the host hands in
 * events and the time, asks again at the moment the probe named, and acts on the verdict. So
 * each probe can be tested by plain calls, and none can hold up the keeper, which is a real-time
 * process that has to be there when its node falls. Whatever takes time (a connection, a program,
 * a walk through /proc) is done by a process of its own (prober.h) and comes in as an event.
 *
 * Times are usec_t of CLOCK_MONOTONIC. Events may be of the past, never of the future; those from
 * before the start are of another life of the node and left out.
 */
#include <stdbool.h>
#include <stddef.h>

#include "config/clock.h"
#include "config/macro.h"

struct notify_message;

enum probe_verdict {
	PROBE_IDLE, /* off: says nothing */
	PROBE_ALIVE,
	PROBE_SUSPECT, /* not well, and not yet failed: no twin is made of it now */
	PROBE_FAILED,  /* the node counts as failed, with the probe's result word */
};
const char *probe_verdict_to_string(enum probe_verdict v); /* "idle" "alive" ... */

enum probe_event_type {
	PROBE_EVENT_NOTIFY,   /* a notification of the node: .notify */
	PROBE_EVENT_OBSERVED, /* a look from outside is over: .good, .detail */
	_PROBE_EVENT_MAX
};
struct probe_event {
	enum probe_event_type type;
	usec_t at;
	const struct notify_message *notify;
	bool good;
	const char *detail; /* what was wrong */
};

struct probe;
struct probe_ops {
	const char *result; /* the result word of a failure, as keeper/protocol.h spells it */
	void (*start)(struct probe *p, usec_t now);
	void (*event)(struct probe *p, const struct probe_event *e);
	/* *ret_again: when to ask again, USEC_INFINITY where only an event can change it. */
	enum probe_verdict (*verdict)(struct probe *p, usec_t now, usec_t *ret_again);
	/* The last PROBE_FAILED (or PROBE_SUSPECT) was for want of processor time: as if it had
	 * not been, and the node has until now + by. NULL: that is no excuse here. */
	void (*excuse)(struct probe *p, usec_t now, usec_t by);
	/* Why it is suspect or has failed, as a sentence. */
	void (*describe)(const struct probe *p, usec_t now, char *ret, size_t size);
};
/* The first member of every probe. What is below ops is kept by the probe and read by the host. */
struct probe {
	const struct probe_ops *ops;
	const char *name;
	usec_t started;
	usec_t last_good; /* last sign of life, the start where there was none */
	usec_t since;     /* the silence, cycle or look that will be judged next began then */
	usec_t judged; /* and the one that was judged last, where that is another; 0: it is not */
	usec_t notice; /* what it takes to see a failure; 0: it is told at once */
	bool spoke;    /* a sign of life was seen since the start */
	bool at_ease;  /* no silence from now on can be the fault that is judged next */
};

static inline void probe_start(struct probe *p, usec_t now)
{
	p->started = p->last_good = p->since = now;
	p->spoke = false;
	p->ops->start(p, now);
}
static inline void probe_event(struct probe *p, const struct probe_event *e)
{
	if (e->at >= p->started)
		p->ops->event(p, e);
}
static inline enum probe_verdict probe_verdict(struct probe *p, usec_t now, usec_t *ret_again)
{
	return p->ops->verdict(p, now, ret_again);
}
/* For the probes: a sign of life. */
static inline void probe_spoke(struct probe *p, usec_t at)
{
	p->spoke = true;
	p->last_good = at > p->last_good ? at : p->last_good;
}
/* a + b, where that is not beyond all time. */
static inline usec_t usec_after(usec_t a, usec_t b)
{
	return b > USEC_INFINITY - 1 - a ? USEC_INFINITY : a + b;
}
