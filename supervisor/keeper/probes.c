/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/probes.h"

#include <errno.h>
#include <string.h>

#include "supervisor/keeper/keeper.h"

#define TRACE_TRIES 20u
#define TRACE_AGAIN (100 * USEC_PER_MSEC)
#define WORDS_MAX 10u
#define WORDS_EVERY USEC_PER_SEC
#define STEADY USEC_PER_SEC /* without a failure: it is well again */

static enum node_result result_from_string(const char *s)
{
	for (unsigned i = 0; i < _RESULT_MAX; i++)
		if (strcmp(node_result_to_string((enum node_result)i), s) == 0)
			return (enum node_result)i;
	return RESULT_WATCHDOG;
}

static void init_one(struct keeper *k, struct hosted_probe *h, const struct probe_settings *s)
{
	*h = (struct hosted_probe){.settings = s, .told = STAGE_ALIVE};
	if (!s) {
		watchdog_init(&h->watchdog, k->unit->watchdog_usec, k->unit->watchdog_soft_usec);
		return;
	}
	switch (s->kind) {
	case KIND_ALIVE:
		alive_init(&h->alive, s);
		break;
	case KIND_DEADLINE:
		deadline_init(&h->deadline, s);
		break;
	case KIND_LOGICAL:
		logical_init(&h->logical, s);
		break;
	default:
		polled_init(&h->polled, s);
		break;
	}
}

/* --- telling -------------------------------------------------------------------------------- */

static void tell(struct keeper *k, struct hosted_probe *h, enum probe_stage stage)
{
	struct keeper_msg m = {.type = KEEPER_MSG_PROBE};

	m.probe.index = (unsigned)(h - k->probes.list);
	m.probe.stage = stage;
	m.probe.n_starved = k->probes.n_starved;
	snprintf(m.probe.detail, sizeof(m.probe.detail), "%s", h->why);
	report_send(&k->report, &m);
	if (stage != STAGE_STARVED)
		h->told = stage;
	log_node(stage == STAGE_FAILED || stage == STAGE_SUSPECT ? LOG_WARNING : LOG_INFO,
		k->unit->id, "probe %s: %s: %s", h->probe.name, probe_stage_to_string(stage),
		h->why);
}

/* --- starvation ----------------------------------------------------------------------------- */

/* One look a round, however many probes ask. */
static const struct starvation_look *look(struct keeper *k)
{
	struct probe_host *p = &k->probes;

	if (p->look.at == 0) {
		if (p->starvation.pid != k->main_pid)
			starvation_open(&p->starvation, k->main_pid);
		starvation_look(&p->starvation, k->arm.frozen, false, &p->look);
	}
	return &p->look;
}

/* True: it could not have done better, and has been given more time. */
static bool excuse(struct keeper *k, struct hosted_probe *h, usec_t now)
{
	struct probe *p = &h->probe;
	usec_t by = 0, since = p->judged ? p->judged : p->since;
	enum starvation s = STARVATION_NONE;

	if (!p->ops->excuse || p->notice == 0 || h->excused)
		return false;
	if (h->base.at >= since)
		s = starvation_judge(&h->base, look(k), now - since, &by);
	else if (k->probes.late >= (now - since) / STARVATION_SHARE) {
		/* Nobody was there to look: where a keeper is not let run, who is? It is looked at
		 * now, and its own excuse is still to come. */
		h->base = *look(k);
		s = STARVATION_WATCHER;
		by = now - since;
	}
	if (s == STARVATION_NONE)
		return false;
	p->ops->describe(p, now, h->why, sizeof(h->why) - 80);
	snprintf(h->why + strlen(h->why), 80, ", but it %s: %llu ms more", starvation_to_string(s),
		(unsigned long long)(by / USEC_PER_MSEC));
	p->ops->excuse(p, now, by);
	h->excused = s != STARVATION_WATCHER;
	h->excused_good = p->last_good;
	k->probes.n_starved++;
	tell(k, h, STAGE_STARVED);
	return true;
}

/* When the middle of the silence is, the node is looked at for the first time. */
static usec_t prepare_excuse(struct keeper *k, struct hosted_probe *h, usec_t now, usec_t again)
{
	struct probe *p = &h->probe;
	usec_t middle;

	if (!p->ops->excuse || again == USEC_INFINITY || p->at_ease || h->excused ||
		h->base.at >= p->since)
		return again;
	middle = p->since + (again - MIN2(p->since, again)) / 2;
	if (now < middle)
		return middle;
	h->base = *look(k);
	return again;
}

/* --- judging -------------------------------------------------------------------------------- */

/* The node has failed. From here on the state of everything may have changed. */
static void condemn(struct keeper *k, struct hosted_probe *h, usec_t now)
{
	struct probe *p = &h->probe;
	enum probe_action action = h->settings ? h->settings->action : ACTION_FAILOVER;

	h->failed_at = now;
	h->doubted_good = p->last_good;
	p->ops->describe(p, now, h->why, sizeof(h->why));
	/* Not suspect any more, whatever takes its place. */
	if (action != ACTION_REPORT) {
		h->told = STAGE_FAILED;
		guard_dispatch(k, &(struct guard_input){.event = GUARD_HANG,
					  .seen = now * NSEC_PER_USEC,
					  .cause = result_from_string(p->ops->result),
					  .probe = p,
					  .probe_number = (int)(h - k->probes.list),
					  .why = h->why,
					  .cold = action == ACTION_RESTART});
	}
	if (h->told != STAGE_FAILED || action != ACTION_REPORT)
		tell(k, h, STAGE_FAILED);
	if (action == ACTION_REPORT)
		probe_start(p, now);
}

static void suspect(struct keeper *k, struct hosted_probe *h, usec_t now)
{
	if (h->told == STAGE_SUSPECT)
		return;
	h->probe.ops->describe(&h->probe, now, h->why, sizeof(h->why));
	tell(k, h, STAGE_SUSPECT);
	h->doubted_good = h->probe.last_good;
	h->traces_left = h->settings ? 0 : TRACE_TRIES;
}

/* The time of the next try, where there is to be one. */
static usec_t try_trace(struct keeper *k, struct hosted_probe *h, usec_t now)
{
	if (h->traces_left == 0)
		return USEC_INFINITY;
	if (backtrace_start(k, h->why) != -EAGAIN)
		h->traces_left = 0;
	else if (--h->traces_left == 0)
		log_node(LOG_WARNING, k->unit->id, "no back trace: %s", twin_reason(k->engine));
	return h->traces_left ? now + TRACE_AGAIN : USEC_INFINITY;
}

/* 0: it may be told; else when. What flutters is told WORDS_MAX times, then every WORDS_EVERY. */
static usec_t hold_tongue(struct hosted_probe *h, usec_t now)
{
	usec_t full = WORDS_MAX * WORDS_EVERY;

	if (h->words_until + full < now)
		h->words_until = now - full;
	if (h->words_until + WORDS_EVERY > now)
		return h->words_until + WORDS_EVERY;
	h->words_until += WORDS_EVERY;
	return 0;
}

/* The time of the next try, where there is to be one. */
static usec_t recover(struct keeper *k, struct hosted_probe *h, usec_t now)
{
	usec_t later;

	/* More time is no sign of life. */
	if (h->told == STAGE_ALIVE || !h->probe.spoke || h->probe.last_good == h->doubted_good)
		return USEC_INFINITY;
	/* One that only reports is started anew after each failure, and knows nothing of them. */
	if (h->told == STAGE_FAILED && now < h->failed_at + STEADY + h->probe.notice)
		return USEC_INFINITY;
	/* Suspect for longer: each suspicion that is told ends in a word that it was none. */
	later = hold_tongue(h, now);
	if (later)
		return later;
	snprintf(h->why, sizeof(h->why), "well again");
	tell(k, h, STAGE_ALIVE);
	return USEC_INFINITY;
}

/* When to ask again; 0: the node was condemned. */
static usec_t judge_one(struct keeper *k, struct hosted_probe *h, usec_t now)
{
	struct probe *p = &h->probe;
	usec_t begin = h->settings ? usec_after(k->probes.started, h->settings->start_delay) : 0;
	usec_t again, later = USEC_INFINITY;
	enum probe_verdict v;

	if (!p->ops)
		return USEC_INFINITY;
	if (!h->begun && now < begin)
		return begin;
	if (!h->begun) {
		h->begun = true;
		probe_start(p, MAX2(begin, k->probes.started));
	}
	v = probe_verdict(p, now, &again);
	/* Asking may have closed a good cycle: what begins now is another silence. */
	if (h->excused && p->last_good != h->excused_good)
		h->excused = false;
	if ((v == PROBE_FAILED || (v == PROBE_SUSPECT && h->told != STAGE_SUSPECT)) &&
		excuse(k, h, now))
		v = probe_verdict(p, now, &again);
	switch (v) {
	case PROBE_FAILED:
		condemn(k, h, now);
		return h->settings && h->settings->action == ACTION_REPORT ? now + 1 : 0;
	case PROBE_SUSPECT:
		suspect(k, h, now);
		later = try_trace(k, h, now);
		break;
	case PROBE_ALIVE:
		later = recover(k, h, now);
		break;
	case PROBE_IDLE:
		break;
	}
	return MIN2(prepare_excuse(k, h, now, again), later);
}

void probes_judge(struct keeper *k)
{
	struct probe_host *p = &k->probes;
	usec_t now = now_usec(), next = USEC_INFINITY;

	ev_timer_stop(k->loop, &p->timer);
	p->news = false;
	p->late = p->planned && now > p->planned ? now - p->planned : 0;
	p->planned = 0;
	if (!p->on || k->state != NODE_RUNNING || k->arm.stopped)
		return;
	p->look.at = 0;
	for (size_t i = 0; i < p->n; i++) {
		usec_t again = judge_one(k, &p->list[i], now);

		/* Whoever goes on after it has set the timer. */
		if (again == 0)
			return;
		next = MIN2(next, again);
	}
	if (next == USEC_INFINITY)
		return;
	p->planned = next;
	now = now_usec();
	ev_now_update(k->loop);
	ev_timer_set(&p->timer, (double)(next > now ? next - now : 0) / USEC_PER_SEC, 0.);
	ev_timer_start(k->loop, &p->timer);
}

void probes_event(struct keeper *k, const struct probe_event *e)
{
	const struct notify_message *n = e->notify;

	/* A plain WATCHDOG=1 only puts it off: the timer stands where it would expire without it,
	 * and looks again then. */
	k->probes.news |= !n || n->n_marks > 0 || n->watchdog_trigger || n->has_watchdog_usec ||
			  (n->watchdog && k->probes.list[0].told == STAGE_SUSPECT);
	for (size_t i = 0; i < k->probes.n; i++) {
		struct hosted_probe *h = &k->probes.list[i];
		/* The watchdog hears WATCHDOG_USEC= also while the node starts. */
		if (h->probe.ops && (h->begun || !h->settings))
			probe_event(&h->probe, e);
	}
}

/* One excuse, which lasts as many looks as a silence may be drawn out: of a kind that judges a
 * window at each look, as many windows. */
static unsigned excused_looks(const struct probe_settings *s)
{
	usec_t window = s->kind == KIND_PROGRESS || s->kind == KIND_TOPIC ? s->window : s->interval;

	return STARVATION_EXTENSIONS_MAX * (unsigned)MAX2(window / MAX2(s->interval, 1), 1);
}

void probes_observed(struct keeper *k, unsigned index, const struct probe_event *e, bool starved)
{
	struct hosted_probe *h = index + 1 < k->probes.n ? &k->probes.list[index + 1] : NULL;

	if (!h || !k->probes.on || probe_kind_is_marked(h->settings->kind) || !h->begun)
		return;
	if (e->good)
		h->starved_looks = 0;
	if (starved && h->starved_looks < excused_looks(h->settings)) {
		if (h->starved_looks++ > 0)
			return;
		k->probes.n_starved++;
		snprintf(h->why, sizeof(h->why), "%s", e->detail);
		if (hold_tongue(h, now_usec()) == 0)
			tell(k, h, STAGE_STARVED);
		return;
	}
	probe_event(&h->probe, e);
	/* Most looks change nothing. */
	if (!e->good || h->told != STAGE_ALIVE)
		probes_judge(k);
}

const char *probes_suspicion(const struct keeper *k)
{
	for (size_t i = 0; k->probes.on && i < k->probes.n; i++)
		if (k->probes.list[i].told == STAGE_SUSPECT)
			return k->probes.list[i].probe.name;
	return NULL;
}

/* --- life ---------------------------------------------------------------------------------------
 */

static void on_timer(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct keeper *k = w->data;

	/* A mark may lie unread in the socket, sent in time, behind whatever else: no hang. */
	listen_read_all(k);
	probes_judge(k);
}

int probes_init(struct keeper *k)
{
	struct probe_host *p = &k->probes;

	p->n = 1 + k->unit->n_probes;
	p->list = calloc(p->n, sizeof(*p->list));
	if (!p->list)
		return -ENOMEM;
	p->starvation = (struct starvation_watch)STARVATION_WATCH_NONE;
	prober_init(k);
	ev_init(&p->timer, on_timer);
	p->timer.data = k;
	probes_reset(k);
	return 0;
}

void probes_done(struct keeper *k)
{
	prober_done(k);
	starvation_close(&k->probes.starvation);
	free(k->probes.list);
	k->probes.list = NULL;
	k->probes.n = 0;
}

void probes_reset(struct keeper *k)
{
	init_one(k, &k->probes.list[0], NULL);
	for (size_t i = 1; i < k->probes.n; i++)
		init_one(k, &k->probes.list[i], &k->unit->probes[i - 1]);
}

void probes_start(struct keeper *k, usec_t since)
{
	struct probe_host *p = &k->probes;

	p->on = true;
	p->started = since;
	for (size_t i = 0; i < p->n; i++) {
		struct hosted_probe *h = &p->list[i];
		h->begun = h->excused = false;
		h->starved_looks = 0;
		h->base.at = 0;
		/* Another process, or another time of it: what was suspected is over. */
		if (h->told == STAGE_SUSPECT) {
			snprintf(h->why, sizeof(h->why), "judged anew");
			tell(k, h, STAGE_ALIVE);
		}
		if (!h->settings || h->settings->start_delay == 0) {
			h->begun = true;
			if (h->probe.ops)
				probe_start(&h->probe, since);
		}
	}
	/* A period that is over by now would end the node in the middle of the caller's work,
	 * who would then arm what is going down. */
	p->planned = 0;
	starvation_close(&p->starvation); /* a twin is another process of the same number */
	ev_timer_stop(k->loop, &p->timer);
	ev_timer_set(&p->timer, 0., 0.);
	ev_timer_start(k->loop, &p->timer);
	prober_run(k);
}

void probes_stop(struct keeper *k)
{
	if (k->probes.on)
		prober_pause(k);
	k->probes.on = false;
	ev_timer_stop(k->loop, &k->probes.timer);
	starvation_close(&k->probes.starvation);
}
