/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/consequence.h"

#include <errno.h>
#include <string.h>

#include "supervisor/base/log.h"

static void add_job(struct node *because, enum job_type type, struct node *n, const char *word)
{
	const char *name = NULL;
	struct job *j;
	int r = manager_add_job(n->manager, type, n, "replace", &j, &name);

	if (r < 0)
		log_node(LOG_ERR, n->id, "%s of %s: cannot %s: %s", word, because->id,
			job_type_to_string(type), name ? name : strerror(-r));
	else
		log_node(LOG_NOTICE, n->id, "%s of %s: %s", word, because->id,
			job_type_to_string(type));
}

static bool too_many(struct node *n, const struct node *because)
{
	usec_t now = now_usec();

	if (n->n_consequences == 0 || now - n->consequence_window_start > CONSEQUENCES_INTERVAL) {
		n->consequence_window_start = now;
		n->n_consequences = 0;
	}
	if (++n->n_consequences == CONSEQUENCES_MAX + 1)
		log_node(LOG_ERR, n->id, "started because of others too often, last of %s",
			because->id);
	return n->n_consequences > CONSEQUENCES_MAX;
}

static void start_all(struct node *because, const struct node_list *l, const char *word)
{
	for (size_t i = 0; i < l->n; i++)
		if (!node_is_up(l->items[i]) && !too_many(l->items[i], because))
			add_job(because, JOB_START, l->items[i], word);
}

static void failed(struct node *n)
{
	start_all(n, &n->on_failure, "OnFailure=");
	if (n->failsafe.n == 0 || n->failsafe_on)
		return;
	n->failsafe_on = true;
	start_all(n, &n->failsafe, "FailsafeUnit=");
}

static void went_down(struct node *n)
{
	/* A stop or restart that was asked for has pulled them in already. */
	if (n->job && n->job->type != JOB_START)
		return;
	for (size_t i = 0; i < n->bound_by.n; i++) {
		struct node *d = n->bound_by.items[i];

		if (!node_is_settled(d) && (!d->job || d->job->type == JOB_START))
			add_job(n, JOB_STOP, d, "BindsTo=");
	}
}

static bool still_needed(const struct node *f)
{
	for (const struct node *o = f->manager->nodes; o; o = o->next)
		for (size_t i = 0; o->failsafe_on && i < o->failsafe.n; i++)
			if (o->failsafe.items[i] == f)
				return true;
	return false;
}

static void is_up(struct node *n)
{
	if (!n->failsafe_on)
		return;
	n->failsafe_on = false;
	for (size_t i = 0; i < n->failsafe.n; i++)
		if (!node_is_settled(n->failsafe.items[i]) && !still_needed(n->failsafe.items[i]))
			add_job(n, JOB_STOP, n->failsafe.items[i], "FailsafeUnit=");
}

static void look(struct node *n)
{
	if (n->state == NODE_FAILED)
		failed(n);
	if (node_is_down(n))
		went_down(n);
	if (node_is_up(n))
		is_up(n);
}

void consequence_run(struct manager *m)
{
	for (struct node *n = m->nodes; n; n = n->next) {
		if (!n->fate_news)
			continue;
		n->fate_news = false;
		if (m->state != SYSTEM_STOPPING)
			look(n);
	}
}

static void request(struct node *n, struct node *d, enum keeper_msg_type type, int signal)
{
	const char *name = NULL;
	uint64_t serial;
	int r = manager_request(d->manager, d, type, signal, &serial, &name);

	if (r < 0)
		log_node(LOG_WARNING, d->id, "OnDependencyFailover= for %s: %s", n->id,
			name ? name : strerror(-r));
}

static void act(struct node *n, struct node *d)
{
	const struct dependency_rule *rule = unit_dependency_rule(d->unit, n->id);

	if (rule->action == DEPENDENCY_NONE || !node_is_up(d))
		return;
	log_node(LOG_NOTICE, d->id, "%s has failed over: %s%s%s", n->id,
		dependency_action_to_string(rule->action),
		rule->action == DEPENDENCY_SIGNAL ? " SIG" : "",
		rule->action == DEPENDENCY_SIGNAL ? sigabbrev_np(rule->signal) : "");
	switch (rule->action) {
	case DEPENDENCY_SIGNAL:
		request(n, d, KEEPER_REQ_KILL, rule->signal);
		break;
	case DEPENDENCY_RELOAD:
		request(n, d, KEEPER_REQ_RELOAD, 0);
		break;
	case DEPENDENCY_CHECKPOINT:
		request(n, d, KEEPER_REQ_CHECKPOINT, 0);
		break;
	case DEPENDENCY_RESTART:
		if (too_many(d, n))
			break;
		add_job(n, JOB_RESTART, d, "OnDependencyFailover=");
		break;
	case DEPENDENCY_STOP:
		add_job(n, JOB_STOP, d, "OnDependencyFailover=");
		break;
	case DEPENDENCY_NONE:
	case _DEPENDENCY_MAX:
		break;
	}
}

/* Does any of the first n come before d? */
static bool comes_later(const struct node *d, struct node *const *others, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < d->after.n; k++)
			if (others[i] != d && d->after.items[k] == others[i])
				return true;
	return false;
}

void consequence_of_failover(struct node *n, const struct keeper_failover_report *r)
{
	struct node *left[MANAGER_NODES_MAX];
	size_t n_left = MIN2(n->dependents.n, ELEMENTSOF(left)), i;

	/* A node that is down for good is the other function's. */
	if (n->manager->state == SYSTEM_STOPPING || !r->ok || n_left == 0)
		return;
	memcpy(left, n->dependents.items, n_left * sizeof(left[0]));
	while (n_left > 0) {
		for (i = 0; i < n_left && comes_later(left[i], left, n_left); i++)
			;
		if (i == n_left)
			i = 0; /* a circle: it has no order */
		act(n, left[i]);
		left[i] = left[--n_left];
	}
}
