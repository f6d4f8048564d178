/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/deadline.h"

#include <string.h>

#include "probes/notify.h"

static struct deadline *of_probe(struct probe *p)
{
	return (struct deadline *)p; /* the probe is its first member */
}

static void start(struct probe *p, _unused_ usec_t now)
{
	struct deadline *d = of_probe(p);

	d->open = d->too_early = d->too_late = false;
	p->judged = 0;
	p->notice = d->settings->max_time;
}

static void arrive(struct deadline *d, usec_t at)
{
	if (!d->open)
		return;
	d->open = false;
	d->took = at - d->from;
	if (d->took < d->settings->min_time) {
		d->too_early = true;
		d->probe.notice = 0;
	} else if (at > d->until) {
		/* Nobody has asked in time, and yet it was late. */
		d->too_late = true;
		d->probe.judged = d->from;
	} else {
		probe_spoke(&d->probe, at);
	}
}

static void leave(struct deadline *d, usec_t at)
{
	if (d->open)
		return;
	d->open = true;
	d->from = d->probe.since = at;
	d->until = usec_after(at, d->settings->max_time);
}

static void event(struct probe *p, const struct probe_event *e)
{
	struct deadline *d = of_probe(p);

	if (e->type != PROBE_EVENT_NOTIFY || d->too_early || d->too_late)
		return;
	for (unsigned i = 0; i < e->notify->n_marks; i++) {
		const char *mark = e->notify->marks[i];

		if (strcmp(mark, d->settings->to) == 0)
			arrive(d, e->at);
		if (strcmp(mark, d->settings->from) == 0)
			leave(d, e->at);
	}
}

static enum probe_verdict verdict(struct probe *p, usec_t now, usec_t *ret_again)
{
	struct deadline *d = of_probe(p);

	*ret_again = USEC_INFINITY;
	if (d->too_early || d->too_late)
		return PROBE_FAILED;
	if (!d->open)
		return PROBE_ALIVE;
	if (now > d->until)
		return PROBE_FAILED;
	*ret_again = usec_after(d->until, 1);
	return PROBE_ALIVE;
}

static void excuse(struct probe *p, usec_t now, usec_t by)
{
	struct deadline *d = of_probe(p);

	if (d->open)
		d->until = usec_after(now, by);
	d->too_late = false; /* it has come: nothing is awaited any more */
	p->judged = 0;
}

static void describe(const struct probe *p, usec_t now, char *ret, size_t size)
{
	const struct deadline *d = (const struct deadline *)p;
	const struct probe_settings *s = d->settings;
	usec_t took = d->open ? now - d->from : d->took;

	snprintf(ret, size, "\"%s\" %s %llu.%03llu ms after \"%s\" (%llu.%03llu to %llu.%03llu ms)",
		s->to, d->open ? "had not come" : "came", (unsigned long long)took / 1000,
		(unsigned long long)took % 1000, s->from, (unsigned long long)s->min_time / 1000,
		(unsigned long long)s->min_time % 1000, (unsigned long long)s->max_time / 1000,
		(unsigned long long)s->max_time % 1000);
}

static const struct probe_ops deadline_ops = {
	.result = "deadline",
	.start = start,
	.event = event,
	.verdict = verdict,
	.excuse = excuse,
	.describe = describe,
};

void deadline_init(struct deadline *d, const struct probe_settings *s)
{
	*d = (struct deadline){
		.probe = {.ops = &deadline_ops, .name = s->name, .notice = s->max_time},
		.settings = s,
	};
}
