/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/alive.h"

#include <string.h>

#include "probes/notify.h"

static struct alive *of_probe(struct probe *p)
{
	return (struct alive *)p; /* the probe is its first member */
}

static void begin_cycle(struct alive *a, usec_t at)
{
	a->probe.since = at;
	a->probe.at_ease = a->settings->min_marks == 0;
	a->end = usec_after(at, a->settings->cycle);
	a->marks = 0;
}

static void start(struct probe *p, usec_t now)
{
	struct alive *a = of_probe(p);

	begin_cycle(a, now);
	a->bad = 0;
}

/* Judge the cycle that is over. A host that is late has seen one longer cycle, not several empty
 * ones: nobody can tell what would have come in them. */
static void close_cycle(struct alive *a, usec_t at)
{
	const struct probe_settings *s = a->settings;
	usec_t length = at - a->probe.since;
	unsigned most = s->max_marks;

	if (length > s->cycle && most)
		most = (unsigned)MIN2((uint64_t)most * (length / s->cycle + 1), UINT32_MAX);
	if (a->marks < s->min_marks || (most && a->marks > most)) {
		a->bad++;
		a->probe.judged = a->probe.since;
		a->bad_marks = a->marks;
	} else {
		a->bad = 0;
		probe_spoke(&a->probe, at);
	}
	begin_cycle(a, at);
}

static void event(struct probe *p, const struct probe_event *e)
{
	struct alive *a = of_probe(p);

	if (e->type != PROBE_EVENT_NOTIFY)
		return;
	/* A mark of the next cycle does not save this one. */
	if (e->at >= a->end && e->notify->n_marks > 0)
		close_cycle(a, e->at);
	for (unsigned i = 0; i < e->notify->n_marks; i++)
		if (strcmp(e->notify->marks[i], a->settings->mark) == 0 && a->marks < UINT32_MAX)
			a->marks++;
	p->at_ease = a->marks >= a->settings->min_marks;
}

static enum probe_verdict verdict(struct probe *p, usec_t now, usec_t *ret_again)
{
	struct alive *a = of_probe(p);

	if (a->bad <= a->settings->tolerate && now >= a->end)
		close_cycle(a, now);
	*ret_again = USEC_INFINITY;
	if (a->bad > a->settings->tolerate)
		return PROBE_FAILED;
	*ret_again = a->end;
	return a->bad ? PROBE_SUSPECT : PROBE_ALIVE;
}

static void excuse(struct probe *p, usec_t now, usec_t by)
{
	struct alive *a = of_probe(p);

	/* The cycle that did it is not counted, and the next one may take longer. */
	if (a->bad)
		a->bad--;
	a->end = usec_after(now, MAX2(by, a->settings->cycle));
}

static void describe(const struct probe *p, _unused_ usec_t now, char *ret, size_t size)
{
	const struct alive *a = (const struct alive *)p;
	const struct probe_settings *s = a->settings;
	char most[24] = "";

	if (s->max_marks)
		snprintf(most, sizeof(most), " to %u", s->max_marks);
	snprintf(ret, size, "mark \"%s\" came %u times in a cycle of %llu ms (%u%s wanted)",
		s->mark, a->bad_marks, (unsigned long long)(s->cycle / USEC_PER_MSEC), s->min_marks,
		most);
}

static const struct probe_ops alive_ops = {
	.result = "heartbeat",
	.start = start,
	.event = event,
	.verdict = verdict,
	.excuse = excuse,
	.describe = describe,
};

void alive_init(struct alive *a, const struct probe_settings *s)
{
	*a = (struct alive){
		.probe = {.ops = &alive_ops,
			.name = s->name,
			.notice = usec_after(0, (s->tolerate + 1ull) * s->cycle)},
		.settings = s,
	};
}
