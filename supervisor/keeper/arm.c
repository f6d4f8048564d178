/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/arm.h"

#include <errno.h>
#include <string.h>

#include "supervisor/keeper/keeper.h"

/* Reading how much memory a twin holds walks its page tables; a keeper is late for a crash
 * while it does so. */
#define MEMORY_EVERY 10u
#define MEMORY_AT_MOST USEC_PER_SEC

void arm_figures_add(struct arm_figures *f, usec_t freeze)
{
	f->ring[f->n++ % ARM_FIGURES] = freeze;
	f->last = freeze;
	f->max = MAX2(f->max, freeze);
}

usec_t arm_figures_median(const struct arm_figures *f)
{
	usec_t sorted[ARM_FIGURES];
	unsigned n = MIN2(f->n, ARM_FIGURES);

	/* By insertion: 64 numbers at most, nearly all of one size, once an interval. */
	for (unsigned i = 0; i < n; i++) {
		unsigned j = i;
		for (; j > 0 && sorted[j - 1] > f->ring[i]; j--)
			sorted[j] = sorted[j - 1];
		sorted[j] = f->ring[i];
	}
	return n ? sorted[n / 2] : 0;
}

static enum twin_state state_of(const struct arm *a)
{
	const struct keeper *k = a->keeper;

	if (!k->unit->twin.enabled)
		return TWIN_NONE;
	if (twin_count(k->engine) > 0)
		return TWIN_ARMED;
	if (a->refused)
		return TWIN_FAILED;
	return a->on ? TWIN_ARMING : TWIN_NONE;
}

void arm_report(struct arm *a)
{
	struct keeper *k = a->keeper;
	struct keeper_msg m = {.type = KEEPER_MSG_TWIN};
	struct keeper_twin_report *t = &m.twin;

	t->state = state_of(a);
	t->n_generations = MIN2(twin_count(k->engine), KEEPER_GENERATIONS_MAX);
	for (unsigned i = 0; i < t->n_generations; i++)
		t->pids[i] = twin_pid(k->engine, i);
	t->checkpoint_at = a->checkpoint_at;
	t->freeze_last = a->figures.last;
	t->freeze_median = arm_figures_median(&a->figures);
	t->freeze_max = a->figures.max;
	t->memory_private = t->n_generations ? a->memory_private : 0;
	t->n_threads = a->n_threads;
	t->n_checkpoints = a->n_checkpoints;
	t->n_skipped = a->n_skipped;
	t->n_threads_ended = k->thread_end.n;
	t->n_children = k->children.n_armed;
	t->n_child_failovers = k->children.n_failovers;
	snprintf(t->skip_reason, sizeof(t->skip_reason), "%s", a->skip_reason);
	snprintf(t->excluded, sizeof(t->excluded), "%s", twin_excluded(k->engine));
	report_send(&k->report, &m);
}

static void set_timer(struct arm *a, usec_t delay)
{
	struct ev_loop *loop = a->keeper->loop;

	ev_timer_stop(loop, &a->timer);
	if (delay == USEC_INFINITY)
		return;
	ev_now_update(loop);
	ev_timer_set(&a->timer, (double)delay / USEC_PER_SEC, 0.);
	ev_timer_start(loop, &a->timer);
}

static void answer(struct arm *a, int error, const char *text)
{
	report_reply(&a->keeper->report, a->serial, error, text);
	a->serial = 0;
}

/* The next round is one interval after this one began, not after it ended. */
static void end_round(struct arm *a, usec_t interval)
{
	usec_t now = now_usec(), next = a->round_began + interval;

	a->searching = false;
	arm_report(a);
	set_timer(a, interval == USEC_INFINITY ? interval : next > now ? next - now : ARM_RETRY);
}

static void skip(struct arm *a, int error, const char *reason)
{
	struct keeper *k = a->keeper;
	bool news = strcmp(a->skip_reason, reason) != 0;

	a->n_skipped++;
	snprintf(a->skip_reason, sizeof(a->skip_reason), "%s", reason);
	/* Once may be a moment of its life, or of its death; twice is what it is. */
	a->refusals = error == -ENOTSUP ? a->refusals + 1 : 0;
	if (a->refusals >= 2 && !a->refused) {
		a->refused = true;
		log_node(LOG_WARNING, k->unit->id, "cannot be armed: %s", reason);
	} else if (news) {
		log_node(LOG_INFO, k->unit->id, "checkpoint skipped: %s", reason);
	}
	answer(a, error, reason);
	/* A node is not left without a fresh twin for a long interval because of one moment. */
	if (error == -EPERM)
		end_round(a, USEC_INFINITY);
	else if (a->refused)
		end_round(a, ARM_BACK_OFF);
	else if (a->stopped)
		end_round(a, k->unit->twin.interval);
	else
		end_round(a, MIN2(k->unit->twin.interval, ARM_SKIPPED));
}

/* Once for each program. */
static void tell_excluded(struct arm *a)
{
	const char *what = twin_excluded(a->keeper->engine);

	if (a->excluded_told || !*what)
		return;
	a->excluded_told = true;
	log_node(LOG_INFO, a->keeper->unit->id, "memory that its twins are made without: %s", what);
}

static void took(struct arm *a, const struct twin_checkpoint *c)
{
	struct keeper *k = a->keeper;
	usec_t now = now_usec();

	a->n_checkpoints++;
	a->refused = false;
	a->refusals = 0;
	a->n_threads = c->n_threads;
	a->checkpoint_at = c->at / NSEC_PER_USEC;
	arm_figures_add(&a->figures, c->freeze / NSEC_PER_USEC);
	a->frozen += c->freeze / NSEC_PER_USEC;
	if (a->memory_at == 0 ||
		(++a->memory_age >= MEMORY_EVERY && now - a->memory_at >= MEMORY_AT_MOST)) {
		a->memory_private = twin_memory_private(k->engine);
		a->memory_at = now;
		a->memory_age = 0;
	}
	log_node(LOG_DEBUG, k->unit->id, "armed: twin %d, %u threads, frozen for %llu us%s",
		c->twin_pid, c->n_threads, (unsigned long long)(c->freeze / NSEC_PER_USEC),
		c->quiet ? ", quiet" : "");
	tell_excluded(a);
	children_look(&k->children);
	answer(a, 0, c->quiet ? "armed at a quiet moment" : "armed");
	end_round(a, k->unit->twin.interval);
}

static void try_now(struct arm *a)
{
	struct keeper *k = a->keeper;
	struct twin_checkpoint c = {0};
	uint64_t kills = node_cgroup_kills(&k->cgroup);
	/* A keeper that was not scheduled for the whole window has not looked yet: what is at
	 * rest shows only by comparison with an earlier look. */
	bool force = now_usec() >= a->window_end && a->looks >= ARM_LOOKS;
	const char *why;
	int r;

	if (a->stopped) {
		skip(a, -EBUSY, "stopped by SIGSTOP");
		return;
	}
	if (probes_suspicion(k)) {
		/* It would bring the fault back. */
		skip(a, -EBUSY, "a probe suspects the node");
		return;
	}
	if (thread_end_suspects(k)) {
		skip(a, -EBUSY, "a thread of it has ended");
		return;
	}
	prober_before_freeze(k);
	r = twin_checkpoint(k->engine, force, &c);
	prober_after_freeze(k);
	/* It waits for the node's threads, and may have eaten the news of anything else. */
	ev_feed_event(k->loop, &k->sigchld, EV_SIGNAL);
	/* Forced, it is a matter of luck with a node that makes threads all the time. */
	if (r == -EAGAIN && (!force || a->forced++ < ARM_FORCED)) {
		a->looks++;
		set_timer(a, ARM_RETRY);
		return;
	}
	if (r == 0) {
		/* The OOM killer has been here, and it was not the node that it took. */
		node_cgroup_account(&k->cgroup, kills);
		took(a, &c);
		return;
	}
	why = twin_reason(k->engine);
	skip(a, r, why && *why ? why : strerror(-r));
}

static void begin_round(struct arm *a)
{
	a->searching = true;
	a->looks = a->forced = 0;
	a->round_began = now_usec();
	a->window_end = a->round_began + a->keeper->unit->twin.quiet_window;
	try_now(a);
}

static void on_timer(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct arm *a = w->data;

	if (!a->on)
		return;
	if (a->searching)
		try_now(a);
	else
		begin_round(a);
}

void arm_init(struct arm *a, struct keeper *k)
{
	*a = (struct arm){.keeper = k};
	ev_init(&a->timer, on_timer);
	a->timer.data = a;
}

void arm_start(struct arm *a, usec_t delay)
{
	const struct twin_settings *t = &a->keeper->unit->twin;

	if (!t->enabled)
		return;
	a->on = true;
	a->searching = false;
	if (a->keeper->traced)
		set_timer(a, MIN2(delay, t->interval));
	arm_report(a);
}

void arm_stop(struct arm *a)
{
	bool was_on = a->on;

	a->on = a->searching = a->stopped = false;
	ev_timer_stop(a->keeper->loop, &a->timer);
	children_drop_all(&a->keeper->children);
	answer(a, -EBUSY, "the node is going down");
	if (was_on)
		arm_report(a);
}

void arm_forget(struct arm *a)
{
	a->refused = false;
	a->refusals = 0;
	a->skip_reason[0] = '\0';
	a->memory_at = 0;
	a->excluded_told = false;
}

void arm_refuse(struct arm *a, const char *reason)
{
	a->refused = true;
	snprintf(a->skip_reason, sizeof(a->skip_reason), "%s", reason);
}

void arm_request(struct arm *a, uint64_t serial)
{
	struct report *report = &a->keeper->report;

	if (!a->keeper->unit->twin.enabled)
		report_reply(report, serial, -EOPNOTSUPP, "[Twin] Enabled=no");
	else if (!a->on)
		report_reply(report, serial, -EBUSY, "the node does not run");
	else if (!a->keeper->traced)
		report_reply(report, serial, -EPERM, a->skip_reason);
	else if (a->serial)
		report_reply(report, serial, -EALREADY, "a checkpoint is under way");
	else {
		a->serial = serial;
		if (!a->searching)
			begin_round(a);
	}
}
