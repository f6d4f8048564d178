/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/protocol.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "config/probe.h"

/* A kernel default socket buffer takes dozens of these; PID 1 keeps two on its stack. */
_Static_assert(sizeof(struct keeper_msg) <= 1024, "keeper_msg has grown out of hand");

static const char *const node_state_names[_NODE_STATE_MAX] = {
	[NODE_DEAD] = "dead",
	[NODE_START_PRE] = "start-pre",
	[NODE_START] = "start",
	[NODE_RUNNING] = "running",
	[NODE_STOP_SIGTERM] = "stop-sigterm",
	[NODE_STOP_SIGKILL] = "stop-sigkill",
	[NODE_AUTO_RESTART] = "auto-restart",
	[NODE_FAILED] = "failed",
};

static const char *const node_result_names[_RESULT_MAX] = {
	[RESULT_SUCCESS] = "success",
	[RESULT_PROTOCOL] = "protocol",
	[RESULT_TIMEOUT] = "timeout",
	[RESULT_EXIT_CODE] = "exit-code",
	[RESULT_SIGNAL] = "signal",
	[RESULT_CORE_DUMP] = "core-dump",
	[RESULT_WATCHDOG] = "watchdog",
	[RESULT_START_LIMIT_HIT] = "start-limit-hit",
	[RESULT_OOM_KILL] = "oom-kill",
	[RESULT_RESOURCES] = "resources",
	[RESULT_HEARTBEAT] = "heartbeat",
	[RESULT_DEADLINE] = "deadline",
	[RESULT_LOGICAL] = "logical",
	[RESULT_PING] = "ping",
	[RESULT_THREAD_EXIT] = "thread-exit",
	[RESULT_TWIN_FAILED] = "twin-failed",
	[RESULT_REQUESTED] = "requested",
};

static const char *const twin_state_names[_TWIN_STATE_MAX] = {
	[TWIN_NONE] = "none",
	[TWIN_ARMING] = "arming",
	[TWIN_ARMED] = "armed",
	[TWIN_SWAPPING] = "swapping",
	[TWIN_FAILED] = "failed",
};

static const char *const probe_stage_names[_STAGE_MAX] = {
	[STAGE_ALIVE] = "alive",
	[STAGE_STARVED] = "starved",
	[STAGE_SUSPECT] = "suspect",
	[STAGE_FAILED] = "failed",
};

static const char *const keeper_msg_names[_KEEPER_MSG_MAX] = {
	[KEEPER_MSG_STATE] = "state",
	[KEEPER_MSG_STATUS] = "status",
	[KEEPER_MSG_TWIN] = "twin",
	[KEEPER_MSG_FAILOVER] = "failover",
	[KEEPER_MSG_PROBE] = "probe",
	[KEEPER_MSG_REPLY] = "reply",
	[KEEPER_REQ_STOP] = "stop",
	[KEEPER_MSG_RECORD] = "record",
	[KEEPER_REQ_CHECKPOINT] = "checkpoint",
	[KEEPER_REQ_FAILOVER] = "request-failover",
	[KEEPER_REQ_DROP_TWIN] = "drop-twin",
	[KEEPER_REQ_KILL] = "kill",
	[KEEPER_REQ_RELOAD] = "reload",
};

#define NAME_OF(table, i) ((size_t)(i) < ELEMENTSOF(table) ? (table)[i] : NULL)

const char *node_state_to_string(enum node_state s)
{
	return NAME_OF(node_state_names, s);
}

enum node_state node_state_from_string(const char *s)
{
	for (size_t i = 0; s && i < ELEMENTSOF(node_state_names); i++)
		if (strcmp(node_state_names[i], s) == 0)
			return (enum node_state)i;
	return _NODE_STATE_MAX;
}

const char *node_result_to_string(enum node_result r)
{
	return NAME_OF(node_result_names, r);
}

const char *twin_state_to_string(enum twin_state s)
{
	return NAME_OF(twin_state_names, s);
}

const char *probe_stage_to_string(enum probe_stage s)
{
	return NAME_OF(probe_stage_names, s);
}

const char *keeper_msg_type_to_string(enum keeper_msg_type t)
{
	return NAME_OF(keeper_msg_names, t);
}

int keeper_send(int fd, const struct keeper_msg *msg)
{
	struct keeper_msg copy = *msg;
	ssize_t n;

	copy.version = KEEPER_PROTOCOL_VERSION;
	do
		n = send(fd, &copy, sizeof(copy), MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void terminate(char text[KEEPER_TEXT_MAX])
{
	text[KEEPER_TEXT_MAX - 1] = '\0';
}

/* A bool that holds anything but 0 or 1 may not even be looked at as a bool. */
static bool is_bool(const bool *b)
{
	unsigned char raw;
	memcpy(&raw, b, 1);
	return raw <= 1;
}

/* Everything that is later used as an index or a string, made safe in one place. */
static int check_msg(struct keeper_msg *m)
{
	switch (m->type) {
	case KEEPER_MSG_STATE:
		terminate(m->state.detail);
		if ((unsigned)m->state.state >= _NODE_STATE_MAX ||
			(unsigned)m->state.result >= _RESULT_MAX)
			return -EBADMSG;
		return 0;
	case KEEPER_MSG_STATUS:
	case KEEPER_MSG_RECORD:
		terminate(m->text);
		return 0;
	case KEEPER_MSG_TWIN:
		terminate(m->twin.skip_reason);
		m->twin.excluded[sizeof(m->twin.excluded) - 1] = '\0';
		if ((unsigned)m->twin.state >= _TWIN_STATE_MAX ||
			m->twin.n_generations > KEEPER_GENERATIONS_MAX)
			return -EBADMSG;
		return 0;
	case KEEPER_MSG_FAILOVER:
		terminate(m->failover.detail);
		terminate(m->failover.fault);
		m->failover.way[sizeof(m->failover.way) - 1] = '\0';
		if ((unsigned)m->failover.cause >= _RESULT_MAX || !is_bool(&m->failover.cold) ||
			!is_bool(&m->failover.ok))
			return -EBADMSG;
		return 0;
	case KEEPER_MSG_PROBE:
		terminate(m->probe.detail);
		if ((unsigned)m->probe.stage >= _STAGE_MAX || m->probe.index > PROBES_MAX)
			return -EBADMSG;
		return 0;
	case KEEPER_MSG_REPLY:
		terminate(m->reply.text);
		return 0;
	case KEEPER_REQ_STOP:
	case KEEPER_REQ_CHECKPOINT:
	case KEEPER_REQ_FAILOVER:
	case KEEPER_REQ_DROP_TWIN:
	case KEEPER_REQ_KILL:
	case KEEPER_REQ_RELOAD:
		return 0;
	case _KEEPER_MSG_MAX:
		break;
	}
	return -EBADMSG;
}

int keeper_recv(int fd, struct keeper_msg *ret)
{
	struct keeper_msg m;
	ssize_t n;
	int r;

	/* MSG_TRUNC makes recv() tell the real length, so that a longer message is not taken
	 * for one of ours that happens to begin the same way. */
	do
		n = recv(fd, &m, sizeof(m), MSG_DONTWAIT | MSG_TRUNC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;
	if (n != (ssize_t)sizeof(m) || m.version != KEEPER_PROTOCOL_VERSION)
		return -EBADMSG;
	r = check_msg(&m);
	if (r < 0)
		return r;
	*ret = m;
	return 1;
}
