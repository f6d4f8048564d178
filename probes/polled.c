/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/polled.h"

static struct polled *of_probe(struct probe *p)
{
	return (struct polled *)p; /* the probe is its first member */
}

static void start(struct probe *p, _unused_ usec_t now)
{
	of_probe(p)->bad = 0;
	of_probe(p)->detail[0] = '\0';
}

static void event(struct probe *p, const struct probe_event *e)
{
	struct polled *q = of_probe(p);

	if (e->type != PROBE_EVENT_OBSERVED)
		return;
	if (e->good) {
		q->bad = 0;
		probe_spoke(p, e->at);
		return;
	}
	q->bad++;
	snprintf(q->detail, sizeof(q->detail), "%s", e->detail ? e->detail : "");
}

static enum probe_verdict verdict(struct probe *p, _unused_ usec_t now, usec_t *ret_again)
{
	const struct polled *q = of_probe(p);

	*ret_again = USEC_INFINITY;
	if (q->bad > q->settings->tolerate)
		return PROBE_FAILED;
	return q->bad ? PROBE_SUSPECT : PROBE_ALIVE;
}

static void describe(const struct probe *p, _unused_ usec_t now, char *ret, size_t size)
{
	const struct polled *q = (const struct polled *)p;

	if (q->bad > 1)
		snprintf(ret, size, "%s (%u times in a row)", q->detail, q->bad);
	else
		snprintf(ret, size, "%s", q->detail);
}

/* No excuse: what the node could not do for want of processor time, the prober does not report. */
#define OPS(word)                                                                                  \
	{                                                                                          \
		.result = (word), .start = start, .event = event, .verdict = verdict,              \
		.describe = describe,                                                              \
	}
static const struct probe_ops heartbeat_ops = OPS("heartbeat"), ping_ops = OPS("ping"),
			      resource_ops = OPS("resources");

void polled_init(struct polled *p, const struct probe_settings *s)
{
	const struct probe_ops *ops = s->kind == KIND_PING       ? &ping_ops
				      : s->kind == KIND_RESOURCE ? &resource_ops
								 : &heartbeat_ops;
	usec_t look = s->kind == KIND_PROGRESS ? s->window
		      : s->kind == KIND_TOPIC  ? s->window + s->interval
					       : s->interval + s->timeout;

	*p = (struct polled){
		.probe = {.ops = ops, .name = s->name, .notice = (s->tolerate + 1) * look},
		.settings = s,
	};
}
