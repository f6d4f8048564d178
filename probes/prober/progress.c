/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kind=progress: a hang without any cooperation. No thread of the node has been given a processor
 * for Window=: a deadlock of all of it. A thread that does nothing but wake up and go to sleep
 * again is progress here; who wants to see more has to send marks.
 *
 * The keeper's own freezes make threads run for a moment. So for units with such a probe the keeper
 * looks just before each of them and sends what it saw: what lies between two looks with no freeze
 * between them is the node's own doing. A look is judged when the next one is taken, by when the
 * word of a freeze in between has come.
 */
#include <errno.h>

#include "probes/prober/check.h"
#include "probes/signs.h"

#define SETTLE (5 * USEC_PER_MSEC) /* after a freeze, until its threads sleep again */

struct progress {
	struct signs from, last; /* judged up to from; last is not judged yet */
	usec_t settled;          /* no look before */
	usec_t still;            /* for so long nothing has moved */
	bool moved;              /* something has, since the last report */
};

static void judge(struct progress *p, const struct signs *to)
{
	if (p->from.at == 0 || to->at <= p->from.at)
		return;
	if (signs_differ(&p->from, to)) {
		p->still = 0;
		p->moved = true;
	} else {
		p->still += to->at - p->from.at;
	}
}

static void take_last(struct progress *p)
{
	if (p->last.at == 0)
		return;
	judge(p, &p->last);
	p->from = p->last;
	p->last.at = 0;
}

static void on_freeze(struct check *c, const struct signs *before, usec_t end)
{
	struct progress *p = c->own;

	if (p->last.at && p->last.at <= before->at)
		take_last(p);
	judge(p, before);
	p->from.at = p->last.at = 0;
	p->settled = end + SETTLE;
}

static void begin(struct check *c)
{
	struct progress *p = c->own;
	struct signs now = {0};

	if (now_usec() >= p->settled) {
		if (signs_take(c->prober->pid, &now) < 0) {
			check_unknown(c); /* it is ending, and not hung */
			return;
		}
		take_last(p);
		if (p->from.at == 0)
			p->from = now;
		else
			p->last = now;
	}
	if (p->moved) {
		p->moved = false;
		check_good(c);
	} else if (p->still >= c->settings->window) {
		check_bad(c, "no thread has run for %llu ms",
			(unsigned long long)(p->still / USEC_PER_MSEC));
	} else {
		check_unknown(c);
	}
}

static void restart(struct check *c)
{
	*(struct progress *)c->own = (struct progress){0};
}

static int init(struct check *c)
{
	const struct unit *u = c->prober->unit;
	usec_t step = c->settings->window / 10;

	/* There has to be one between two freezes. */
	if (u->twin.enabled)
		step = MIN2(step, u->twin.interval / 3);
	c->interval = MAX2(MIN2(step, c->settings->interval), 2 * SETTLE);
	c->own = calloc(1, sizeof(struct progress));
	return c->own ? 0 : -ENOMEM;
}

const struct check_ops check_progress = {
	.init = init, .begin = begin, .restart = restart, .frozen = on_freeze};
