/* SPDX-License-Identifier: Apache-2.0 */
/* What a node takes from its keeper in which state, and what crosses the socket at all. */
#include "tests/unit/test_manager_fixture.h"

#include <sys/socket.h>

#include "supervisor/base/wait_status.h"

static unsigned n_node_changed, n_twin_changed, n_failovers;
static int last_reply_error;
static uint64_t last_reply_serial;

static void node_changed(_unused_ struct node *n, _unused_ void *u)
{
	n_node_changed++;
}
static void twin_changed(_unused_ struct node *n, _unused_ void *u)
{
	n_twin_changed++;
}
static void node_failover(
	_unused_ struct node *n, _unused_ const struct keeper_failover_report *r, _unused_ void *u)
{
	n_failovers++;
}
static void node_reply(
	_unused_ struct node *n, uint64_t serial, const struct keeper_reply *r, _unused_ void *u)
{
	last_reply_error = r->error;
	last_reply_serial = serial;
}

static struct manager *one_node(struct node **ret, int *ret_peer)
{
	struct manager *m = new_manager((const char *[]){"a", "", NULL});
	int sv[2];

	m->events = (struct manager_events){.node_changed = node_changed,
		.twin_changed = twin_changed,
		.node_failover = node_failover,
		.node_reply = node_reply};
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	*ret = m->nodes;
	(*ret)->control_fd = sv[0];
	(*ret)->keeper_pid = 1000;
	(*ret)->want_up = true;
	*ret_peer = sv[1];
	n_node_changed = n_twin_changed = n_failovers = 0;
	return m;
}

/* The table as the protocol promises it, written down a second time. */
static void takes_messages_by_state(_unused_ void **state)
{
	for (int s = 0; s < _NODE_STATE_MAX; s++) {
		_cleanup_close_ int peer = -1;
		struct node *n;
		_cleanup_(manager_freep) struct manager *m = one_node(&n, &peer);
		bool down = s == NODE_DEAD || s == NODE_FAILED;

		node_set_state(n, (enum node_state)s);
		n_node_changed = n_twin_changed = 0;
		node_handle_message(
			n, &(struct keeper_msg){.type = KEEPER_MSG_TWIN, .twin.state = TWIN_ARMED});
		assert_int_equal(n_twin_changed, !down);
		assert_int_equal(n->twin.state, down ? TWIN_NONE : TWIN_ARMED);
		node_handle_message(
			n, &(struct keeper_msg){.type = KEEPER_MSG_STATUS, .text = "hi"});
		assert_string_equal(n->status_text, down ? "" : "hi");
		node_handle_message(
			n, &(struct keeper_msg){.type = KEEPER_MSG_FAILOVER, .failover.ok = true});
		assert_int_equal(n->n_failovers, !down);
		for (int t = KEEPER_REQ_STOP; t < _KEEPER_MSG_MAX; t++) {
			unsigned before = n_node_changed;
			node_handle_message(
				n, &(struct keeper_msg){.type = (enum keeper_msg_type)t});
			assert_int_equal(n_node_changed, before);
		}
		n->requests[0] = 7;
		n->n_requests = 1;
		node_handle_message(
			n, &(struct keeper_msg){
				   .type = KEEPER_MSG_REPLY, .serial = 7, .reply.error = -s});
		assert_int_equal(n->n_requests, 0);
		assert_int_equal(last_reply_error, -s);
		for (int to = 0; to < _NODE_STATE_MAX; to++) {
			node_set_state(n, (enum node_state)s);
			node_handle_message(n, &(struct keeper_msg){.type = KEEPER_MSG_STATE,
						       .state.state = (enum node_state)to});
			assert_int_equal(n->state, down ? s : to);
		}
	}
}

static void going_down_drops_the_twins(_unused_ void **state)
{
	_cleanup_close_ int peer = -1;
	struct node *n;
	_cleanup_(manager_freep) struct manager *m = one_node(&n, &peer);

	node_set_state(n, NODE_RUNNING);
	node_handle_message(n, &(struct keeper_msg){.type = KEEPER_MSG_TWIN,
				       .twin = {.state = TWIN_ARMED,
					       .n_generations = 1,
					       .pids = {4242},
					       .n_checkpoints = 3}});
	assert_ptr_equal(manager_find_pid(m, 4242), n);
	node_handle_message(
		n, &(struct keeper_msg){.type = KEEPER_MSG_STATE, .state.state = NODE_DEAD});
	assert_null(manager_find_pid(m, 4242));
	assert_int_equal(n->twin.n_checkpoints, 3);
	assert_string_equal(node_active_state(n), "inactive");
}

static void failover_moves_the_main_pid(_unused_ void **state)
{
	_cleanup_close_ int peer = -1;
	struct node *n;
	_cleanup_(manager_freep) struct manager *m = one_node(&n, &peer);
	struct keeper_msg msg = {.type = KEEPER_MSG_FAILOVER,
		.failover = {.ok = true, .old_pid = 10, .new_pid = 11, .at = now_usec()}};

	node_set_state(n, NODE_RUNNING);
	node_handle_message(n, &msg);
	assert_int_equal(n->report.main_pid, 11);
	assert_int_equal(n_failovers, 1);
	assert_true(n->last_failover_realtime > 0);
	/* A cold one is told, but is none to a twin. */
	msg.failover.cold = true;
	node_handle_message(n, &msg);
	assert_int_equal(n_failovers, 2);
	assert_int_equal(n->n_failovers, 1);
	(void)m;
}

static void requests_are_answered_even_by_death(_unused_ void **state)
{
	_cleanup_close_ int peer = -1;
	struct node *n;
	_cleanup_(manager_freep) struct manager *m = one_node(&n, &peer);
	struct wait_event e = {.kind = WAIT_EXITED};
	struct keeper_msg got;
	const char *name;
	uint64_t serial = 0;

	node_set_state(n, NODE_RUNNING);
	for (int i = 0; i < NODE_REQUESTS_MAX; i++)
		assert_int_equal(
			manager_request(m, n, KEEPER_REQ_CHECKPOINT, 0, &serial, &name), 0);
	assert_int_equal(keeper_recv(peer, &got), 1);
	assert_int_equal(got.type, KEEPER_REQ_CHECKPOINT);
	assert_int_equal(got.serial, 1);
	assert_int_equal(manager_request(m, n, KEEPER_REQ_CHECKPOINT, 0, &serial, &name), -EBUSY);
	assert_string_equal(name, BUS_ERROR_NODE_BUSY);
	/* The keeper's last word is still in the socket when its end is seen. */
	assert_int_equal(keeper_send(peer, &(struct keeper_msg){.type = KEEPER_MSG_STATE,
						   .state.state = NODE_DEAD}),
		0);
	node_keeper_ended(n, &e);
	assert_int_equal(n->state, NODE_DEAD);
	assert_int_equal(n->n_requests, 0);
	assert_int_equal(last_reply_error, -ECONNRESET);
	assert_int_equal(last_reply_serial, 1);
	assert_true(node_is_settled(n));
}

static void crash_is_no_last_word(_unused_ void **state)
{
	_cleanup_close_ int peer = -1;
	struct node *n;
	_cleanup_(manager_freep) struct manager *m = one_node(&n, &peer);
	struct wait_event e = {.kind = WAIT_KILLED, .signal = SIGSEGV};

	node_set_state(n, NODE_RUNNING);
	n->unit->restart = RESTART_ALWAYS;
	n->unit->start_limit_burst = 1;
	node_keeper_ended(n, &e);
	assert_int_equal(n->state, NODE_AUTO_RESTART);
	assert_int_equal(n->report.result, RESULT_RESOURCES);
	assert_non_null(strstr(n->report.detail, "SEGV"));
	/* Again at once: too often. */
	node_set_state(n, NODE_RUNNING);
	node_keeper_ended(n, &e);
	assert_int_equal(n->state, NODE_FAILED);
	assert_int_equal(n->report.result, RESULT_START_LIMIT_HIT);
	/* While it is being stopped nothing is restarted. */
	node_set_state(n, NODE_STOP_SIGTERM);
	n->want_up = false;
	n->keeper_killed = true;
	node_keeper_ended(n, &e);
	assert_int_equal(n->state, NODE_FAILED);
	assert_int_equal(n->report.result, RESULT_TIMEOUT);
	(void)m;
}

static void wire_refuses_rubbish(_unused_ void **state)
{
	struct keeper_msg good = {.version = KEEPER_PROTOCOL_VERSION}, bad, got;
	int sv[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(keeper_recv(sv[0], &got), -EAGAIN);
#define REFUSED(how)                                                                               \
	do {                                                                                       \
		memset(&bad, 0, sizeof(bad));                                                      \
		bad.version = KEEPER_PROTOCOL_VERSION;                                             \
		how;                                                                               \
		assert_int_equal(send(sv[1], &bad, sizeof(bad), 0), sizeof(bad));                  \
		assert_int_equal(keeper_recv(sv[0], &got), -EBADMSG);                              \
	} while (0)
	REFUSED(bad.version++);
	REFUSED(bad.type = _KEEPER_MSG_MAX);
	REFUSED(bad.type = (enum keeper_msg_type) - 1);
	REFUSED(bad.state.state = _NODE_STATE_MAX);
	REFUSED(bad.state.result = _RESULT_MAX);
	REFUSED((bad.type = KEEPER_MSG_TWIN, bad.twin.n_generations = KEEPER_GENERATIONS_MAX + 1));
	REFUSED((bad.type = KEEPER_MSG_TWIN, bad.twin.state = _TWIN_STATE_MAX));
	REFUSED((bad.type = KEEPER_MSG_FAILOVER, bad.failover.cause = _RESULT_MAX));
	REFUSED((bad.type = KEEPER_MSG_FAILOVER, memset(&bad.failover.ok, 2, 1)));
	assert_int_equal(send(sv[1], &good, sizeof(good) - 1, 0), sizeof(good) - 1);
	assert_int_equal(keeper_recv(sv[0], &got), -EBADMSG);
	char longer[sizeof(good) + 1] = {0};
	memcpy(longer, &good, sizeof(good));
	assert_int_equal(send(sv[1], longer, sizeof(longer), 0), sizeof(longer));
	assert_int_equal(keeper_recv(sv[0], &got), -EBADMSG);
	/* Texts that have no end get one. */
	bad = (struct keeper_msg){.version = KEEPER_PROTOCOL_VERSION, .type = KEEPER_MSG_STATUS};
	memset(bad.text, 'x', sizeof(bad.text));
	assert_int_equal(send(sv[1], &bad, sizeof(bad), 0), sizeof(bad));
	assert_int_equal(keeper_recv(sv[0], &got), 1);
	assert_int_equal(strlen(got.text), KEEPER_TEXT_MAX - 1);
	/* A peer that does not read is -EAGAIN, one that has gone -EPIPE: never a wait. */
	int r;
	while ((r = keeper_send(sv[1], &good)) == 0)
		;
	assert_int_equal(r, -EAGAIN);
	close(sv[0]);
	/* What it left unread makes it a reset, once; then it is simply not there. */
	assert_int_equal(keeper_send(sv[1], &good), -ECONNRESET);
	assert_int_equal(keeper_send(sv[1], &good), -EPIPE);
	assert_int_equal(keeper_recv(sv[1], &got), 0);
	close(sv[1]);
}

static void names(_unused_ void **state)
{
	for (int i = 0; i < _NODE_STATE_MAX; i++)
		assert_int_equal(
			node_state_from_string(node_state_to_string((enum node_state)i)), i);
	assert_int_equal(node_state_from_string("nonsense"), _NODE_STATE_MAX);
	assert_int_equal(node_state_from_string(NULL), _NODE_STATE_MAX);
	for (int i = 0; i < _RESULT_MAX; i++)
		assert_non_null(node_result_to_string((enum node_result)i));
	for (int i = 0; i < _TWIN_STATE_MAX; i++)
		assert_non_null(twin_state_to_string((enum twin_state)i));
	for (int i = 0; i < _KEEPER_MSG_MAX; i++)
		assert_non_null(keeper_msg_type_to_string((enum keeper_msg_type)i));
	assert_null(node_state_to_string(_NODE_STATE_MAX));
	assert_null(node_result_to_string(_RESULT_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_messages_by_state),
		cmocka_unit_test(going_down_drops_the_twins),
		cmocka_unit_test(failover_moves_the_main_pid),
		cmocka_unit_test(requests_are_answered_even_by_death),
		cmocka_unit_test(crash_is_no_last_word),
		cmocka_unit_test(wire_refuses_rubbish),
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
