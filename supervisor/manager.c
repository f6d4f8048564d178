/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/manager.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "supervisor/base/log.h"
#include "supervisor/job.h"
#include "supervisor/shutdown.h"

static const struct node_ops real_ops = {.start = node_start, .stop = node_stop};

/* Who wants a unit that is to be up without being asked for. */
static const char *const default_targets[] = {"default.target", "multi-user.target"};

static const char *const system_state_names[_SYSTEM_STATE_MAX] = {
	[SYSTEM_INITIALIZING] = "initializing",
	[SYSTEM_STARTING] = "starting",
	[SYSTEM_RUNNING] = "running",
	[SYSTEM_DEGRADED] = "degraded",
	[SYSTEM_MAINTENANCE] = "maintenance",
	[SYSTEM_STOPPING] = "stopping",
};

const char *system_state_to_string(enum system_state s)
{
	return (unsigned)s < _SYSTEM_STATE_MAX ? system_state_names[s] : NULL;
}

/* --- life ------------------------------------------------------------------------------------ */

static void on_run_timer(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct manager *m = w->data;

	jobs_run(m);
	manager_update_state(m);
	if (m->shutdown)
		shutdown_check(m);
}

int manager_new(struct ev_loop *loop, struct manager **ret)
{
	struct manager *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->loop = loop;
	m->ops = &real_ops;
	m->state = SYSTEM_INITIALIZING;
	m->userspace_realtime = now_realtime_usec();
	m->userspace_monotonic = now_usec();
	ev_init(&m->run_timer, on_run_timer);
	m->run_timer.data = m;
	*ret = m;
	return 0;
}

void manager_free(struct manager *m)
{
	struct node *n;

	m->events = (struct manager_events){0};
	jobs_free(m);
	shutdown_free(m);
	if (m->loop)
		ev_timer_stop(m->loop, &m->run_timer);
	while ((n = m->nodes)) {
		m->nodes = n->next;
		node_free(n);
	}
	strv_free(m->unit_path);
	free(m->keeper_path);
	free(m->notify_dir);
	free(m->crash_dir);
	free(m);
}

void manager_kick(struct manager *m)
{
	if (!m->loop || ev_is_active(&m->run_timer))
		return;
	ev_timer_set(&m->run_timer, 0., 0.);
	ev_timer_start(m->loop, &m->run_timer);
}

/* --- nodes ----------------------------------------------------------------------------------- */

int manager_insert_node(struct manager *m, struct node *n)
{
	struct node **p = &m->nodes;

	if (m->n_nodes >= MANAGER_NODES_MAX)
		return -ENOSPC;
	while (*p && strcmp((*p)->id, n->id) < 0)
		p = &(*p)->next;
	if (*p && strcmp((*p)->id, n->id) == 0)
		return -EEXIST;
	n->next = *p;
	*p = n;
	m->n_nodes++;
	return 0;
}

struct node *manager_find_node(struct manager *m, const char *id)
{
	for (struct node *n = m->nodes; n; n = n->next)
		if (strcmp(n->id, id) == 0)
			return n;
	return NULL;
}

static bool node_has_pid(const struct node *n, pid_t pid)
{
	if (n->report.main_pid == pid || n->keeper_pid == pid || n->orphan_pid == pid)
		return true;
	for (unsigned i = 0; i < n->twin.n_generations; i++)
		if (n->twin.pids[i] == pid)
			return true;
	return false;
}

struct node *manager_find_pid(struct manager *m, pid_t pid)
{
	if (pid <= 0)
		return NULL;
	for (struct node *n = m->nodes; n; n = n->next)
		if (node_has_pid(n, pid))
			return n;
	return NULL;
}

unsigned manager_count(const struct manager *m, bool (*match)(const struct node *))
{
	unsigned count = 0;

	for (const struct node *n = m->nodes; n; n = n->next)
		count += match(n);
	return count;
}

/* --- jobs and requests ----------------------------------------------------------------------- */

int manager_add_job(struct manager *m, enum job_type type, struct node *n, const char *mode,
	struct job **ret_job, const char **ret_error_name)
{
	*ret_error_name = NULL;
	if (m->state == SYSTEM_STOPPING) {
		*ret_error_name = BUS_ERROR_SHUTTING_DOWN;
		return -ESHUTDOWN;
	}
	return job_transaction(m, type, n, mode, ret_job, ret_error_name);
}

/* What the last reports say against a request; the keeper may still say no. */
static int check_request(
	const struct node *n, enum keeper_msg_type req, int signal, const char **ret_error_name)
{
	switch (req) {
	case KEEPER_REQ_KILL:
		if (signal <= 0 || signal >= NSIG)
			return -EINVAL;
		return n->keeper_pid != 0 && n->report.main_pid > 0 ? 0 : -ESRCH;
	case KEEPER_REQ_FAILOVER:
		if (n->twin.state == TWIN_SWAPPING) {
			*ret_error_name = BUS_ERROR_FAILOVER_IN_PROGRESS;
			return -EALREADY;
		}
		if (n->twin.n_generations == 0) {
			*ret_error_name = BUS_ERROR_NO_TWIN;
			return -ENODATA;
		}
		return 0;
	case KEEPER_REQ_CHECKPOINT:
	case KEEPER_REQ_DROP_TWIN:
	case KEEPER_REQ_RELOAD:
		/* None of them needs a twin, only a node that runs: busy, not NoTwin. */
		return node_is_up(n) ? 0 : -ESRCH;
	default:
		return -EINVAL;
	}
}

int manager_request(struct manager *m, struct node *n, enum keeper_msg_type req, int signal,
	uint64_t *ret_serial, const char **ret_error_name)
{
	struct keeper_msg msg = {.type = req};
	int r;

	*ret_error_name = NULL;
	r = check_request(n, req, signal, ret_error_name);
	if (r < 0)
		return r;
	if (req == KEEPER_REQ_KILL)
		msg.signal = signal;
	msg.serial = ++m->last_serial;
	r = node_send_request(n, &msg);
	if (r == -EBUSY)
		*ret_error_name = BUS_ERROR_NODE_BUSY;
	if (r < 0)
		return r;
	*ret_serial = msg.serial;
	return 0;
}

/* --- the system's state ---------------------------------------------------------------------- */

void manager_set_state(struct manager *m, enum system_state s)
{
	if (m->state == s)
		return;
	m->state = s;
	log_notice("system is %s", system_state_to_string(s));
	if (m->events.manager_changed)
		m->events.manager_changed(m, m->events_userdata);
}

static bool is_broken(const struct node *n)
{
	return n->state == NODE_FAILED || !n->unit;
}

static enum system_state settled_state(const struct manager *m)
{
	return m->start_incomplete || manager_count(m, is_broken) > 0 ? SYSTEM_DEGRADED
								      : SYSTEM_RUNNING;
}

void manager_update_state(struct manager *m)
{
	bool first = m->state == SYSTEM_STARTING;

	if (first && m->jobs)
		return;
	if (!first && m->state != SYSTEM_RUNNING && m->state != SYSTEM_DEGRADED)
		return;
	if (first) {
		m->finish_realtime = now_realtime_usec();
		m->finish_monotonic = now_usec();
	}
	manager_set_state(m, settled_state(m));
	if (!first)
		return;
	log_notice("start-up finished after %llu ms",
		(unsigned long long)(m->finish_monotonic - m->userspace_monotonic) / USEC_PER_MSEC);
	if (m->events.startup_finished)
		m->events.startup_finished(m, m->events_userdata);
}

/* --- the first starts ------------------------------------------------------------------------ */

static void begin_one(struct manager *m, struct node *n)
{
	const char *name;
	struct job *j;
	int r = manager_add_job(m, JOB_START, n, "replace", &j, &name);

	if (r < 0) {
		log_node(LOG_ERR, n->id, "cannot be started: %s",
			n->unit ? strerror(-r) : "its unit did not load");
		m->start_incomplete = true;
	}
}

static bool wanted_by_default(const struct node *n)
{
	for (char **target = n->unit ? n->unit->wanted_by : NULL; target && *target; target++)
		for (size_t i = 0; i < ELEMENTSOF(default_targets); i++)
			if (strcmp(*target, default_targets[i]) == 0)
				return true;
	return false;
}

void manager_begin(struct manager *m, char **ids)
{
	manager_set_state(m, SYSTEM_STARTING);
	for (char **id = ids; id && *id; id++) {
		struct node *n = manager_find_node(m, *id);

		if (n) {
			begin_one(m, n);
			continue;
		}
		log_node(LOG_ERR, *id, "cannot be started: no such unit");
		m->start_incomplete = true;
	}
	for (struct node *n = m->nodes; n && (!ids || !*ids); n = n->next)
		if (wanted_by_default(n))
			begin_one(m, n);
	/* Also with nothing to start: then the start is over at once. */
	manager_kick(m);
}
