/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/logical.h"

#include <string.h>

#include "probes/notify.h"

_Static_assert(PROBE_MARKS_MAX <= 32, "next[] has a bit for each mark");

static struct logical *of_probe(struct probe *p)
{
	return (struct logical *)p; /* the probe is its first member */
}

static void start(struct probe *p, _unused_ usec_t now)
{
	struct logical *l = of_probe(p);

	l->last = l->wrong = -1;
}

static int find(const struct probe_settings *s, const char *mark)
{
	for (size_t i = 0; i < s->n_marks; i++)
		if (strcmp(s->marks[i], mark) == 0)
			return (int)i;
	return -1;
}

static void event(struct probe *p, const struct probe_event *e)
{
	struct logical *l = of_probe(p);

	if (e->type != PROBE_EVENT_NOTIFY)
		return;
	for (unsigned i = 0; i < e->notify->n_marks && l->wrong < 0; i++) {
		int mark = find(l->settings, e->notify->marks[i]);

		if (mark < 0)
			continue;
		if (l->last >= 0 && !(l->next[l->last] & 1u << mark)) {
			l->wrong = mark;
			return;
		}
		l->last = mark;
		probe_spoke(p, e->at);
	}
}

static enum probe_verdict verdict(struct probe *p, _unused_ usec_t now, usec_t *ret_again)
{
	*ret_again = USEC_INFINITY;
	return of_probe(p)->wrong < 0 ? PROBE_ALIVE : PROBE_FAILED;
}

static void describe(const struct probe *p, _unused_ usec_t now, char *ret, size_t size)
{
	const struct logical *l = (const struct logical *)p;

	if (l->wrong < 0 || l->last < 0)
		snprintf(ret, size, "nothing is wrong");
	else
		snprintf(ret, size, "\"%s\" came after \"%s\"", l->settings->marks[l->wrong],
			l->settings->marks[l->last]);
}

static const struct probe_ops logical_ops = {
	.result = "logical",
	.start = start,
	.event = event,
	.verdict = verdict,
	.describe = describe,
};

void logical_init(struct logical *l, const struct probe_settings *s)
{
	*l = (struct logical){
		.probe = {.ops = &logical_ops, .name = s->name},
		.settings = s,
		.last = -1,
		.wrong = -1,
	};
	for (size_t i = 0; i < s->n_edges; i++)
		l->next[s->edges[i].from] |= 1u << s->edges[i].to;
}
