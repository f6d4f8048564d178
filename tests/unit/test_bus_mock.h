/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A manager that only pretends, for the bus' tests: it defines what the bus calls of manager.h
 * and node.h, so that the real ones are not linked. Four nodes:
 *   broken       whose unit did not load
 *   idle         dead, without a twin
 *   odd.name-1   running; its id needs escaping
 *   voxel        running, armed, failed over once
 * Jobs end after 20 ms, requests are answered after 10 ms; all from the loop.
 */
#include <errno.h>
#include <string.h>

#include "supervisor/manager.h"

#define MOCK_PID 4000000

struct mock_timer {
	ev_timer timer;
	struct node *node;
	struct job *job;
	enum keeper_msg_type type;
	uint64_t serial;
};

static const char *const mock_none[] = {NULL};
static struct unit mock_units[4];
static struct node mock_nodes[4];
static struct manager mock;

static inline void mock_init(struct ev_loop *loop)
{
	static const char *const ids[] = {"broken", "idle", "odd.name-1", "voxel"};
	static char *path[] = {(char *)"/etc/twinit", NULL};

	memset(&mock, 0, sizeof(mock));
	memset(mock_nodes, 0, sizeof(mock_nodes));
	mock.loop = loop;
	mock.state = SYSTEM_RUNNING;
	mock.unit_path = path;
	mock.userspace_realtime = now_realtime_usec();
	mock.userspace_monotonic = now_usec();
	for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
		struct node *n = &mock_nodes[i];
		struct unit *u = &mock_units[i];
		char **none = (char **)mock_none;
		*u = (struct unit){.id = (char *)ids[i],
			.description = (char *)"A node of the mock",
			.after = none,
			.before = none,
			.requires = none,
			.wants = none,
			.wanted_by = none,
			.timeout_stop_usec = USEC_INFINITY,
			.twin = {.enabled = true, .interval = USEC_PER_SEC, .generations = 2}};
		n->manager = &mock;
		n->id = (char *)ids[i];
		n->fragment_path = (char *)"/etc/twinit/x.ini";
		n->load_state = i == 0 ? "error" : "loaded";
		n->load_error = i == 0 ? (char *)"x.ini:3: bad" : NULL;
		n->unit = i == 0 ? NULL : u;
		n->next = i + 1 < ELEMENTSOF(ids) ? n + 1 : NULL;
		if (i >= 2) {
			n->state = n->report.state = NODE_RUNNING;
			n->report.main_pid = MOCK_PID + (pid_t)i;
			n->report.exec_start = now_usec();
			n->exec_start_realtime = now_realtime_usec();
		}
	}
	struct node *v = &mock_nodes[3];
	v->twin = (struct keeper_twin_report){.state = TWIN_ARMED,
		.n_generations = 2,
		.pids = {MOCK_PID + 10, MOCK_PID + 11},
		.checkpoint_at = now_usec(),
		.freeze_last = 710,
		.freeze_median = 700,
		.freeze_max = 1200,
		.memory_private = 3 << 20,
		.n_threads = 5,
		.n_checkpoints = 7,
		.n_skipped = 1,
		.skip_reason = "no quiet moment"};
	v->last_failover = (struct keeper_failover_report){.cause = RESULT_SIGNAL,
		.signal = 11,
		.ok = true,
		.at = now_usec(),
		.latency = 712345,
		.rollback = 321000};
	v->n_failovers = 1;
	v->last_failover_realtime = now_realtime_usec();
	strcpy(v->status_text, "12 scans/s");
	mock.nodes = mock_nodes;
}

struct node *manager_find_node(struct manager *m, const char *id)
{
	for (struct node *n = m->nodes; n; n = n->next)
		if (strcmp(n->id, id) == 0)
			return n;
	return NULL;
}

struct node *manager_find_pid(struct manager *m, pid_t pid)
{
	for (struct node *n = m->nodes; n; n = n->next)
		if (n->report.main_pid == pid || (n->twin.n_generations && n->twin.pids[0] == pid))
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

const char *system_state_to_string(enum system_state s)
{
	return s == SYSTEM_RUNNING ? "running" : "stopping";
}

const char *job_type_to_string(enum job_type t)
{
	return t == JOB_START ? "start" : t == JOB_STOP ? "stop" : "restart";
}

const char *job_state_to_string(enum job_state s)
{
	return s == JOB_WAITING ? "waiting" : "running";
}

const char *node_active_state(const struct node *n)
{
	return n->state == NODE_RUNNING  ? "active"
	       : n->state == NODE_FAILED ? "failed"
					 : "inactive";
}

static void mock_job_done(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct mock_timer *t = (struct mock_timer *)w;
	struct node *n = t->node;
	(void)loop, (void)revents;

	bool up = t->job->type != JOB_STOP;
	n->state = up ? NODE_RUNNING : NODE_DEAD;
	n->report.main_pid = up ? MOCK_PID + 100 + (pid_t)t->job->id : 0;
	n->job = NULL;
	mock.jobs = NULL;
	if (mock.events.node_changed)
		mock.events.node_changed(n, mock.events_userdata);
	if (mock.events.job_removed)
		mock.events.job_removed(t->job, "done", mock.events_userdata);
	free(t->job);
	free(t);
}

int manager_add_job(struct manager *m, enum job_type type, struct node *n, const char *mode,
	struct job **ret_job, const char **ret_error_name)
{
	(void)mode;
	if (!n->unit) {
		*ret_error_name = BUS_ERROR_LOAD_FAILED;
		return -EBADMSG;
	}
	if (n->job) {
		*ret_error_name = BUS_ERROR_NODE_BUSY;
		return -EBUSY;
	}
	struct job *j = calloc(1, sizeof(*j));
	struct mock_timer *t = calloc(1, sizeof(*t));
	if (!j || !t)
		abort();
	*j = (struct job){.id = ++m->last_job_id, .type = type, .node = n};
	t->node = n;
	t->job = n->job = m->jobs = j;
	ev_timer_init(&t->timer, mock_job_done, 0.02, 0.);
	ev_timer_start(m->loop, &t->timer);
	if (m->events.job_new)
		m->events.job_new(j, m->events_userdata);
	*ret_job = j;
	return 0;
}

static void mock_answer(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct mock_timer *t = (struct mock_timer *)w;
	struct node *n = t->node;
	struct keeper_reply reply = {0};
	(void)loop, (void)revents;

	if (n->twin.state != TWIN_ARMED && t->type != KEEPER_REQ_KILL)
		reply = (struct keeper_reply){-ENODATA, ""};
	if (mock.events.node_reply)
		mock.events.node_reply(n, t->serial, &reply, mock.events_userdata);
	if (t->type == KEEPER_REQ_FAILOVER && reply.error == 0) {
		n->last_failover.cause = RESULT_REQUESTED;
		n->last_failover.at = now_usec();
		n->last_failover.old_pid = n->last_failover.new_pid = n->report.main_pid;
		n->n_failovers++;
		if (mock.events.node_failover)
			mock.events.node_failover(n, &n->last_failover, mock.events_userdata);
	}
	free(t);
}

int manager_request(struct manager *m, struct node *n, enum keeper_msg_type req, int signal,
	uint64_t *ret_serial, const char **ret_error_name)
{
	(void)signal;
	if (n->state != NODE_RUNNING && n->unit && strcmp(n->id, "idle") != 0) {
		*ret_error_name = BUS_ERROR_NODE_BUSY;
		return -ESRCH;
	}
	struct mock_timer *t = calloc(1, sizeof(*t));
	if (!t)
		abort();
	t->node = n;
	t->type = req;
	*ret_serial = t->serial = ++m->last_serial;
	ev_timer_init(&t->timer, mock_answer, 0.01, 0.);
	ev_timer_start(m->loop, &t->timer);
	return 0;
}
