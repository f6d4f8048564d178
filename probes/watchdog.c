/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/watchdog.h"

#include "probes/notify.h"

static struct watchdog *of_probe(struct probe *p)
{
	return (struct watchdog *)p; /* the probe is its first member */
}

static void start(struct probe *p, usec_t now)
{
	struct watchdog *w = of_probe(p);

	w->last = now;
	w->triggered = w->marked = false;
}

static void event(struct probe *p, const struct probe_event *e)
{
	struct watchdog *w = of_probe(p);

	if (e->type != PROBE_EVENT_NOTIFY)
		return;
	if (e->notify->has_watchdog_usec) {
		w->period = e->notify->watchdog_usec;
		w->last = e->at;
	}
	w->marked |= e->notify->watchdog;
	if (e->notify->watchdog && e->at > w->last)
		w->last = e->at;
	if (e->notify->watchdog_trigger)
		w->triggered = true;
}

static enum probe_verdict verdict(const struct probe *p, usec_t now, usec_t *ret_again)
{
	const struct watchdog *w = (const struct watchdog *)p;

	*ret_again = USEC_INFINITY;
	/* A node that asks for help is believed even where no period was set. */
	if (w->triggered)
		return PROBE_FAILED;
	if (w->period == 0 || w->period == USEC_INFINITY)
		return PROBE_IDLE;
	if (now > w->last && now - w->last >= w->period)
		return PROBE_FAILED;
	*ret_again = w->period > USEC_INFINITY - 1 - w->last ? USEC_INFINITY : w->last + w->period;
	return PROBE_ALIVE;
}

static const struct probe_ops watchdog_ops = {
	.name = "watchdog",
	.result = "watchdog",
	.start = start,
	.event = event,
	.verdict = verdict,
};

void watchdog_init(struct watchdog *w, usec_t period)
{
	*w = (struct watchdog){.probe.ops = &watchdog_ops, .period = period};
}
