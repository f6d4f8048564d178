/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/job.h"

#include <errno.h>
#include <string.h>

#include "supervisor/base/log.h"
#include "supervisor/consequence.h"
#include "supervisor/order.h"

/* Long enough for a few dozen ids; a longer cycle is cut in the message, not in the handling. */
#define CYCLE_TEXT_MAX 1024

static const char *const job_type_names[_JOB_TYPE_MAX] = {
	[JOB_START] = "start",
	[JOB_STOP] = "stop",
	[JOB_RESTART] = "restart",
};
static const char *const job_state_names[_JOB_STATE_MAX] = {
	[JOB_WAITING] = "waiting",
	[JOB_RUNNING] = "running",
};

const char *job_type_to_string(enum job_type t)
{
	return (unsigned)t < _JOB_TYPE_MAX ? job_type_names[t] : NULL;
}

const char *job_state_to_string(enum job_state s)
{
	return (unsigned)s < _JOB_STATE_MAX ? job_state_names[s] : NULL;
}

/* --- the end of a job ------------------------------------------------------------------------ */

static void job_unlink(struct job *j)
{
	struct job **p = &j->node->manager->jobs;

	while (*p != j)
		p = &(*p)->next;
	*p = j->next;
	j->node->job = NULL;
}

static void job_finish(struct job *j, const char *result)
{
	struct node *n = j->node;
	struct manager *m = n->manager;
	const char *const fields[] = {
		"JOB_TYPE", job_type_to_string(j->type), "JOB_RESULT", result, NULL};

	job_unlink(j);
	m->n_jobs_ended++;
	log_fields(LOG_DEBUG, n->id, fields, "job %u ended", j->id);
	if (m->events.job_removed)
		m->events.job_removed(j, result, m->events_userdata);
	if (m->events.node_changed)
		m->events.node_changed(n, m->events_userdata);
	free(j);
	manager_kick(m);
}

/* A required node did not start: neither may those that are on their way because of it. */
static void fail_dependents(struct node *n)
{
	for (size_t i = 0; i < n->required_by.n; i++) {
		struct node *d = n->required_by.items[i];

		if (!d->job || !job_will_start(d->job))
			continue;
		/* The job first: what requires itself in a circle must find an end here. */
		job_finish(d->job, "dependency");
		if (d->keeper_pid == 0)
			node_fail(d, RESULT_RESOURCES, "required unit %s did not start", n->id);
		else {
			log_node(LOG_ERR, d->id, "required unit %s did not start: stopping", n->id);
			n->manager->ops->stop(d);
		}
		fail_dependents(d);
	}
}

static void job_fail(struct job *j)
{
	struct node *n = j->node;

	job_finish(j, "failed");
	fail_dependents(n);
}

/* --- running --------------------------------------------------------------------------------- */

static bool begin_stop(struct job *j)
{
	struct node *n = j->node;

	j->state = JOB_RUNNING;
	n->manager->ops->stop(n);
	return true;
}

static bool begin_start(struct job *j)
{
	struct node *n = j->node;

	if (n->missing_requires) {
		node_fail(n, RESULT_RESOURCES, "Requires=%s: no such unit, or it did not load",
			n->missing_requires);
		job_fail(j);
		return true;
	}
	/* Up, or on its way up: nothing to do but to see it arrive. */
	if (n->keeper_pid != 0 && n->want_up && !node_is_down(n)) {
		j->state = JOB_RUNNING;
		return true;
	}
	/* The last run is still going away; its end kicks the queue. */
	if (n->keeper_pid != 0 || n->orphan_pid != 0)
		return false;
	j->state = JOB_RUNNING;
	if (n->manager->ops->start(n) < 0)
		job_fail(j);
	return true;
}

/* Has what the job set going come to rest? */
static bool check_running(struct job *j)
{
	struct node *n = j->node;

	if (job_will_stop(j)) {
		if (!node_is_settled(n))
			return false;
		if (j->type == JOB_STOP) {
			job_finish(j, "done");
			return true;
		}
		j->stopped = true;
		j->state = JOB_WAITING;
		return true;
	}
	if (node_is_up(n)) {
		job_finish(j, "done");
		return true;
	}
	if (!node_is_settled(n))
		return false;
	/* A short program may have come and gone by now: that is a good start too. */
	if (n->state == NODE_DEAD && n->report.result == RESULT_SUCCESS)
		job_finish(j, "done");
	else
		job_fail(j);
	return true;
}

static bool job_step(struct job *j)
{
	if (j->state == JOB_RUNNING)
		return check_running(j);
	if (job_will_stop(j))
		return order_stop_blocker(j->node) ? false : begin_stop(j);
	return order_start_blocker(j->node) ? false : begin_start(j);
}

static bool waits_to_start(const struct node *n)
{
	return n->job && job_will_start(n->job) && n->job->state == JOB_WAITING;
}

/* Nobody in a circle of After= can be first: all of them fail, and are named. */
static void fail_cycles(struct manager *m)
{
	struct node *cycle[MANAGER_NODES_MAX];
	char text[CYCLE_TEXT_MAX];
	size_t n;

	while ((n = order_find_cycle(m, waits_to_start, cycle)) > 0) {
		order_format_cycle(cycle, n, text, sizeof(text));
		log_error("units are ordered in a cycle (-> is \"after\"): %s", text);
		/* All members first: none of them is to fail as some other's dependent. */
		for (size_t i = 0; i < n; i++) {
			if (cycle[i]->keeper_pid == 0)
				node_fail(cycle[i], RESULT_RESOURCES, "order cycle: %s", text);
			job_finish(cycle[i]->job, "failed");
		}
		for (size_t i = 0; i < n; i++)
			fail_dependents(cycle[i]);
	}
}

/* Every job that can move, once. The list changes under us: begin anew after each end. */
static bool step_all(struct manager *m)
{
	bool progress = false;

	for (struct job *j = m->jobs, *next; j; j = next) {
		unsigned ended = m->n_jobs_ended;

		next = j->next;
		progress |= job_step(j);
		if (m->n_jobs_ended != ended)
			next = m->jobs;
	}
	return progress;
}

/* Stops that wait for each other in a circle: the order cannot be kept, so the first goes. */
static bool break_stop_cycle(struct manager *m)
{
	struct job *stuck = NULL;

	for (struct job *j = m->jobs; j; j = j->next) {
		if (j->state == JOB_RUNNING)
			return false;
		if (!stuck && job_will_stop(j))
			stuck = j;
	}
	if (!stuck)
		return false;
	log_node(LOG_WARNING, stuck->node->id, "stopped out of order: %s is to stop before it",
		order_stop_blocker(stuck->node)->id);
	return begin_stop(stuck);
}

void jobs_run(struct manager *m)
{
	consequence_run(m);
	fail_cycles(m);
	while (step_all(m) || break_stop_cycle(m))
		;
}

/* --- transactions ---------------------------------------------------------------------------- */

/* In a node's mark while a transaction is put together: 1 + job type, 0 for none. */
static bool mark(struct node *n, enum job_type t)
{
	/* A restart includes a start; the two never meet a stop in one transaction. */
	if (n->mark != 0 && !(n->mark == 1 + JOB_START && t == JOB_RESTART))
		return false;
	n->mark = 1 + t;
	return true;
}

static void pull_start(struct node *n)
{
	if (!mark(n, JOB_START))
		return;
	for (size_t i = 0; i < n->requires.n; i++)
		pull_start(n->requires.items[i]);
	for (size_t i = 0; i < n->wants.n; i++)
		pull_start(n->wants.items[i]);
}

/* Those that require n go down with it, and for a restart come back with it. */
static void pull_dependents(struct node *n, enum job_type t)
{
	if (!mark(n, t))
		return;
	for (size_t i = 0; i < n->required_by.n; i++) {
		struct node *d = n->required_by.items[i];
		if (!node_is_settled(d) || d->job)
			pull_dependents(d, t);
	}
	for (size_t i = 0; i < n->parts.n; i++) {
		struct node *d = n->parts.items[i];
		if (!node_is_settled(d) || d->job)
			pull_dependents(d, t);
	}
}

static void collect(struct manager *m, enum job_type type, struct node *n)
{
	for (struct node *o = m->nodes; o; o = o->next)
		o->mark = 0;
	if (type != JOB_START)
		pull_dependents(n, type);
	if (type == JOB_RESTART) {
		for (size_t i = 0; i < n->requires.n; i++)
			pull_start(n->requires.items[i]);
		for (size_t i = 0; i < n->wants.n; i++)
			pull_start(n->wants.items[i]);
	}
	if (type == JOB_START)
		pull_start(n);
	/* What is pulled in and up already needs no job. */
	for (struct node *o = m->nodes; o; o = o->next)
		if (o != n && o->mark == 1 + JOB_START && node_is_up(o) && o->want_up && !o->job)
			o->mark = 0;
}

/* The job that n has is all that is asked for. */
static bool is_covered(const struct node *n)
{
	enum job_type t = (enum job_type)(n->mark - 1);

	if (!n->job)
		return false;
	if (n->job->type == t)
		return t != JOB_RESTART || !n->job->stopped;
	return n->job->type == JOB_RESTART && t == JOB_START;
}

static int check_busy(struct manager *m)
{
	for (struct node *o = m->nodes; o; o = o->next)
		if (o->mark != 0 && o->job && !is_covered(o))
			return -EBUSY;
	return 0;
}

static int allocate_jobs(struct manager *m, struct job **ret_list)
{
	struct job *list = NULL, **tail = &list, *j;

	for (struct node *o = m->nodes; o; o = o->next) {
		if (o->mark == 0 || is_covered(o))
			continue;
		j = calloc(1, sizeof(*j));
		if (!j) {
			while ((j = list)) {
				list = j->next;
				free(j);
			}
			return -ENOMEM;
		}
		*j = (struct job){.type = (enum job_type)(o->mark - 1), .node = o};
		*tail = j;
		tail = &j->next;
	}
	*ret_list = list;
	return 0;
}

static void install(struct manager *m, struct job *j)
{
	struct job **tail;

	if (j->node->job)
		job_finish(j->node->job, "canceled");
	/* 0 is no id, also after the counter has wrapped. */
	if (++m->last_job_id == 0)
		++m->last_job_id;
	j->id = m->last_job_id;
	j->next = NULL;
	for (tail = &m->jobs; *tail; tail = &(*tail)->next)
		;
	*tail = j;
	j->node->job = j;
	if (m->events.job_new)
		m->events.job_new(j, m->events_userdata);
	if (m->events.node_changed)
		m->events.node_changed(j->node, m->events_userdata);
}

int job_transaction(struct manager *m, enum job_type type, struct node *n, const char *mode,
	struct job **ret_job, const char **ret_error_name)
{
	bool may_replace = strcmp(mode, "replace") == 0;
	struct job *list, *next;
	int r;

	if (!may_replace && strcmp(mode, "fail") != 0)
		return -EINVAL;
	if (!n->unit && type != JOB_STOP) {
		*ret_error_name = BUS_ERROR_LOAD_FAILED;
		return -ENOEXEC;
	}
	collect(m, type, n);
	if (!may_replace && check_busy(m) < 0) {
		*ret_error_name = BUS_ERROR_NODE_BUSY;
		return -EBUSY;
	}
	r = allocate_jobs(m, &list);
	if (r < 0)
		return r;
	for (; list; list = next) {
		next = list->next;
		install(m, list);
	}
	*ret_job = n->job;
	manager_kick(m);
	return 0;
}

void jobs_stop_all(struct manager *m)
{
	while (m->jobs)
		job_finish(m->jobs, "canceled");
	for (struct node *n = m->nodes; n; n = n->next) {
		struct job *j;

		if (node_is_settled(n))
			continue;
		j = calloc(1, sizeof(*j));
		if (!j) {
			log_node(LOG_ERR, n->id, "out of memory: stopping out of order");
			m->ops->stop(n);
			continue;
		}
		*j = (struct job){.type = JOB_STOP, .node = n};
		install(m, j);
	}
	manager_kick(m);
}

void jobs_free(struct manager *m)
{
	while (m->jobs) {
		struct job *j = m->jobs;
		job_unlink(j);
		free(j);
	}
}
