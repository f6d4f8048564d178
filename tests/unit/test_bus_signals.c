/* SPDX-License-Identifier: Apache-2.0 */
/* What the bus says by itself, and how much of it: against a real dbus-daemon. */
#include "tests/unit/test_bus_daemon.h"

/* Waits until the burst (below) is over, and counts. */
static int client_counts(void)
{
	sd_bus *bus = NULL;
	struct heard h = {0};

	OK(client_open(&bus));
	CHECK(listen_all(bus, &h) == 0);
	OK(sd_bus_call_method(bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "StopNode", NULL, NULL,
		"ss", "odd.name-1", "replace")); /* starts the burst */
	OK(process_for(bus, 100000));
	h.node_changed = h.twin_changed = 0;
	OK(process_for(bus, 700000));
	fprintf(stderr, "heard of 1000 changes: %u node, %u twin\n", h.node_changed,
		h.twin_changed);
	CHECK(h.node_changed >= 1 && h.node_changed <= 5 && h.twin_changed == 0);
	return 0;
}

/* A node's STATUS= is any bytes; the daemon would throw us out for passing them on. */
static int client_odd_bytes(void)
{
	sd_bus *bus = NULL;
	_cleanup_free_ char *text = NULL;
	struct heard h = {0};

	OK(client_open(&bus));
	CHECK(listen_all(bus, &h) == 0);
	OK(sd_bus_call_method(bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "StopNode", NULL, NULL,
		"ss", "odd.name-1", "replace"));
	OK(process_for(bus, 300000));
	CHECK(h.node_changed >= 2);
	OK(sd_bus_get_property_string(bus, BUS_NAME, BUS_NODE_PREFIX "/voxel", NODE_INTERFACE,
		"StatusText", NULL, &text));
	CHECK(strcmp(text, "half\xef\xbf\xbd") == 0);
	return 0;
}

static void on_odd_bytes(struct ev_loop *l _unused_, ev_timer *w _unused_, int revents _unused_)
{
	struct node *v = &mock_nodes[3];

	if (mock.last_job_id == 0 || !mock.events.node_changed)
		return;
	strcpy(v->status_text, "half\xc3");
	mock.events.node_changed(v, mock.events_userdata);
}

static void test_odd_bytes(void **state _unused_)
{
	ev_timer odd;
	ev_timer_init(&odd, on_odd_bytes, 0.01, 0.01);
	ev_timer_start(loop, &odd);
	run_client(client_odd_bytes);
	ev_timer_stop(loop, &odd);
	assert_true(!have_daemon() || bus_under_test->has_name);
}

/* A checkpoint and a new status text every millisecond, and in each ten changes of the state
 * that cancel out: at most four signals a second for the text, none for the rest. */
static void on_burst(struct ev_loop *l _unused_, ev_timer *w _unused_, int revents _unused_)
{
	static unsigned count;
	struct node *v = &mock_nodes[3];

	if (mock.last_job_id == 0 || !mock.events.node_changed)
		return;
	for (int i = 0; i < 10; i++) {
		v->state = i % 2 ? NODE_RUNNING : NODE_START;
		mock.events.node_changed(v, mock.events_userdata);
	}
	v->twin.n_checkpoints = ++count;
	v->twin.freeze_last++;
	snprintf(v->status_text, sizeof(v->status_text), "%u", count);
	mock.events.twin_changed(v, mock.events_userdata);
	mock.events.node_changed(v, mock.events_userdata);
}

static void test_no_storm(void **state _unused_)
{
	ev_timer burst;
	ev_timer_init(&burst, on_burst, 0.001, 0.001);
	ev_timer_start(loop, &burst);
	run_client(client_counts);
	ev_timer_stop(loop, &burst);
}

static int on_word(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_)
{
	char *heard = userdata;
	const char *id = "", *member = sd_bus_message_get_member(m);
	if (strncmp(member, "Node", 4) == 0)
		OK(sd_bus_message_read(m, "s", &id));
	strncat(heard, member, 400 - strlen(heard));
	strncat(heard, id, 400 - strlen(heard));
	strncat(heard, " ", 400 - strlen(heard));
	return 0;
}

/* "idle" goes, then comes back. */
static int client_comings(void)
{
	sd_bus *bus = NULL;
	char heard[512] = "";

	OK(client_open(&bus));
	OK(sd_bus_match_signal(
		bus, NULL, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, NULL, on_word, heard));
	OK(sd_bus_match_signal(bus, NULL, BUS_NAME, BUS_PATH, "org.freedesktop.DBus.ObjectManager",
		NULL, on_word, heard));
	OK(sd_bus_call_method(bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "KillNode", NULL, NULL,
		"ssi", "voxel", "main", 10));
	OK(process_for(bus, 500000));
	CHECK(strcmp(heard, "NodeRemovedidle InterfacesRemoved NodeNewidle InterfacesAdded ") == 0);
	return 0;
}

static void on_coming(struct ev_loop *l _unused_, ev_timer *w _unused_, int revents _unused_)
{
	struct node *broken = &mock_nodes[0], *idle = &mock_nodes[1];

	if (mock.last_serial == 0 || !mock.events.manager_changed)
		return;
	bool gone = broken->next != idle;
	if (idle->n_failovers) /* the mark that it is back */
		return;
	broken->next = gone ? idle : idle->next;
	idle->n_failovers = gone;
	mock.events.manager_changed(&mock, mock.events_userdata);
}

static void test_nodes_come_and_go(void **state _unused_)
{
	ev_timer coming;
	ev_timer_init(&coming, on_coming, 0.05, 0.05);
	ev_timer_start(loop, &coming);
	run_client(client_comings);
	ev_timer_stop(loop, &coming);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE(test_no_storm),
		LIVE(test_odd_bytes),
		LIVE(test_nodes_come_and_go),
	};
	return cmocka_run_group_tests_name("bus signals", tests, prepare_dir, remove_dir);
}
