/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node does with what its keeper says. The table has the last word on whether a message
 * makes sense in a state; the handlers below it only carry it out.
 */
#include <errno.h>
#include <string.h>

#include "supervisor/base/log.h"
#include "supervisor/consequence.h"
#include "supervisor/manager.h"
#include "supervisor/node.h"
#include "supervisor/orphan.h"

enum verdict {
	VERDICT_REFUSE, /* against the protocol: logged and dropped */
	VERDICT_TAKE,
	VERDICT_LATE, /* was on its way when the node went down: dropped in silence */
};

/* A living node: its keeper may say anything that a keeper says, and no request of ours. */
#define ROW_ALIVE                                                                                  \
	{                                                                                          \
		[KEEPER_MSG_STATE] = VERDICT_TAKE, [KEEPER_MSG_STATUS] = VERDICT_TAKE,             \
		[KEEPER_MSG_TWIN] = VERDICT_TAKE, [KEEPER_MSG_FAILOVER] = VERDICT_TAKE,            \
		[KEEPER_MSG_PROBE] = VERDICT_TAKE, [KEEPER_MSG_RECORD] = VERDICT_TAKE,             \
		[KEEPER_MSG_REPLY] = VERDICT_TAKE,                                                 \
	}
/* The last word was said: no second one, but answers still count. */
#define ROW_DOWN                                                                                   \
	{                                                                                          \
		[KEEPER_MSG_STATE] = VERDICT_REFUSE, [KEEPER_MSG_STATUS] = VERDICT_LATE,           \
		[KEEPER_MSG_TWIN] = VERDICT_LATE, [KEEPER_MSG_FAILOVER] = VERDICT_LATE,            \
		[KEEPER_MSG_PROBE] = VERDICT_LATE, [KEEPER_MSG_RECORD] = VERDICT_TAKE,             \
		[KEEPER_MSG_REPLY] = VERDICT_TAKE,                                                 \
	}

static const enum verdict verdicts[_NODE_STATE_MAX][_KEEPER_MSG_MAX] = {
	[NODE_DEAD] = ROW_DOWN,
	[NODE_START_PRE] = ROW_ALIVE,
	[NODE_START] = ROW_ALIVE,
	[NODE_RUNNING] = ROW_ALIVE,
	[NODE_STOP_SIGTERM] = ROW_ALIVE,
	[NODE_STOP_SIGKILL] = ROW_ALIVE,
	[NODE_AUTO_RESTART] = ROW_ALIVE,
	[NODE_FAILED] = ROW_DOWN,
};
/* A new state or message has to be thought about here. */
_Static_assert(_NODE_STATE_MAX == 8 && _KEEPER_MSG_MAX == 13, "verdicts[][] needs a new line");

/* The wall-clock time of a moment on the monotonic clock. */
static usec_t to_realtime(usec_t monotonic)
{
	usec_t now = now_usec();
	return monotonic == 0 ? 0 : now_realtime_usec() - (now - MIN2(monotonic, now));
}

static void tell_node(struct node *n)
{
	struct manager *m = n->manager;
	if (m->events.node_changed)
		m->events.node_changed(n, m->events_userdata);
}

static void tell_twin(struct node *n)
{
	struct manager *m = n->manager;
	if (m->events.twin_changed)
		m->events.twin_changed(n, m->events_userdata);
}

static void take_state(struct node *n, const struct keeper_msg *msg)
{
	const struct keeper_state_report *r = &msg->state;

	/* A time converted twice would jitter: only where it is a new one. */
	if (r->exec_start != n->report.exec_start)
		n->exec_start_realtime = to_realtime(r->exec_start);
	if (r->exec_exit != n->report.exec_exit)
		n->exec_exit_realtime = to_realtime(r->exec_exit);
	n->report = *r;
	orphan_note(n);
	if (r->state == NODE_DEAD || r->state == NODE_FAILED)
		node_expect_keeper_end(n);
	if (r->state == n->state)
		tell_node(n);
	else
		node_set_state(n, r->state);
}

static void take_status(struct node *n, const struct keeper_msg *msg)
{
	memcpy(n->status_text, msg->text, sizeof(n->status_text));
	tell_node(n);
}

static void take_record(struct node *n, const struct keeper_msg *msg)
{
	memcpy(n->last_crash, msg->text, sizeof(n->last_crash));
	tell_node(n);
}

static void take_twin(struct node *n, const struct keeper_msg *msg)
{
	if (msg->twin.checkpoint_at != n->twin.checkpoint_at)
		n->checkpoint_realtime = to_realtime(msg->twin.checkpoint_at);
	n->twin = msg->twin;
	tell_twin(n);
}

static void log_failover(const struct node *n, const struct keeper_failover_report *r)
{
	char latency[24], rollback[24], old_pid[16], new_pid[16];
	const char *const fields[] = {"CAUSE", node_result_to_string(r->cause), "LATENCY_USEC",
		latency, "ROLLBACK_USEC", rollback, "OLD_PID", old_pid, "NEW_PID", new_pid, NULL};

	snprintf(latency, sizeof(latency), "%llu", (unsigned long long)r->latency / NSEC_PER_USEC);
	snprintf(rollback, sizeof(rollback), "%llu", (unsigned long long)r->rollback);
	snprintf(old_pid, sizeof(old_pid), "%d", (int)r->old_pid);
	snprintf(new_pid, sizeof(new_pid), "%d", (int)r->new_pid);
	log_fields(r->ok ? LOG_WARNING : LOG_ERR, n->id, fields, "%s%s%s",
		!r->ok    ? "failover failed"
		: r->cold ? "restarted cold"
			  : "failed over to its twin",
		r->detail[0] ? ": " : "", r->detail);
}

static void take_failover(struct node *n, const struct keeper_msg *msg)
{
	struct manager *m = n->manager;

	n->last_failover = msg->failover;
	n->last_failover_realtime = to_realtime(msg->failover.at);
	if (msg->failover.ok && !msg->failover.cold)
		n->n_failovers++;
	if (msg->failover.ok && msg->failover.new_pid > 0)
		n->report.main_pid = msg->failover.new_pid;
	orphan_note(n);
	log_failover(n, &msg->failover);
	if (m->events.node_failover)
		m->events.node_failover(n, &msg->failover, m->events_userdata);
	consequence_of_failover(n, &msg->failover);
	tell_twin(n);
	tell_node(n);
}

static void take_probe(struct node *n, const struct keeper_msg *msg)
{
	const struct keeper_probe_report *r = &msg->probe;
	struct manager *m = n->manager;

	n->n_watchdog_starved = r->n_starved;
	if (!n->probes && n->unit) {
		n->probes = calloc(n->unit->n_probes + 1, sizeof(*n->probes));
		n->n_probes = n->probes ? n->unit->n_probes + 1 : 0;
	}
	if (!n->probes || r->index >= n->n_probes)
		return;
	if (r->stage != STAGE_STARVED) {
		n->probes[r->index].stage = r->stage;
		memcpy(n->probes[r->index].detail, r->detail, sizeof(r->detail));
	}
	if (m->events.node_probe)
		m->events.node_probe(n, r, m->events_userdata);
	tell_node(n);
}

static void take_reply(struct node *n, const struct keeper_msg *msg)
{
	struct manager *m = n->manager;

	for (size_t i = 0; i < n->n_requests; i++) {
		if (n->requests[i] != msg->serial)
			continue;
		n->requests[i] = n->requests[--n->n_requests];
		if (m->events.node_reply)
			m->events.node_reply(n, msg->serial, &msg->reply, m->events_userdata);
		return;
	}
	log_node(LOG_DEBUG, n->id, "an answer that nobody waits for");
}

static void (*const handlers[_KEEPER_MSG_MAX])(struct node *n, const struct keeper_msg *msg) = {
	[KEEPER_MSG_STATE] = take_state,
	[KEEPER_MSG_STATUS] = take_status,
	[KEEPER_MSG_TWIN] = take_twin,
	[KEEPER_MSG_FAILOVER] = take_failover,
	[KEEPER_MSG_PROBE] = take_probe,
	[KEEPER_MSG_RECORD] = take_record,
	[KEEPER_MSG_REPLY] = take_reply,
};

void node_handle_message(struct node *n, const struct keeper_msg *msg)
{
	switch (verdicts[n->state][msg->type]) {
	case VERDICT_TAKE:
		handlers[msg->type](n, msg);
		return;
	case VERDICT_LATE:
		return;
	case VERDICT_REFUSE:
		if (n->n_bad_messages++ >= NODE_BAD_MESSAGES_LOGGED_MAX)
			return;
		log_node(LOG_WARNING, n->id, "refused \"%s\" from the keeper in state %s",
			keeper_msg_type_to_string(msg->type), node_state_to_string(n->state));
	}
}
