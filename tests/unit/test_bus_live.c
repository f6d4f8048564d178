/* SPDX-License-Identifier: Apache-2.0 */
/* Calls, access, and joining: the bus against a real dbus-daemon. */
#include "tests/unit/test_bus_daemon.h"

static int call(sd_bus *bus, const char *method, sd_bus_error *e, sd_bus_message **reply,
	const char *types, const char *a, const char *b)
{
	sd_bus_error_free(e);
	if (b)
		return sd_bus_call_method(
			bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, method, e, reply, types, a, b);
	return sd_bus_call_method(
		bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, method, e, reply, types, a);
}

static int client_reads(void)
{
	sd_bus *bus = NULL;
	_cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *m = NULL;
	const char *path, *id, *active, *job;
	uint32_t pid, job_id;

	OK(client_open(&bus));
	OK(call(bus, "GetNode", &e, &m, "s", "odd.name-1", NULL));
	OK(sd_bus_message_read(m, "o", &path));
	CHECK(strcmp(path, BUS_NODE_PREFIX "/odd_2ename_2d1") == 0);
	m = sd_bus_message_unref(m);
	OK(sd_bus_call_method(bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "GetNodeByPID", &e, &m,
		"u", MOCK_PID + 10));
	OK(sd_bus_message_read(m, "o", &path));
	CHECK(strcmp(path, BUS_NODE_PREFIX "/voxel") == 0);
	CHECK(sd_bus_call_method(bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "GetNodeByPID", &e,
		      NULL, "u", 1) < 0);
	CHECK(sd_bus_error_has_name(&e, BUS_ERROR_NO_NODE_FOR_PID));
	CHECK(call(bus, "GetNode", &e, NULL, "s", "nobody", NULL) < 0);
	CHECK(sd_bus_error_has_name(&e, BUS_ERROR_NO_SUCH_NODE));
	m = sd_bus_message_unref(m);
	OK(sd_bus_call_method(
		bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "ListNodes", NULL, &m, ""));
	OK(sd_bus_message_enter_container(m, 'a', "(sssssouuo)"));
	unsigned n = 0;
	while (sd_bus_message_read(m, "(sssssouuo)", &id, NULL, NULL, &active, NULL, &path, &pid,
		       &job_id, &job) > 0)
		n++;
	CHECK(n == 4 && strcmp(id, "voxel") == 0 && strcmp(active, "active") == 0);
	CHECK(pid == MOCK_PID + 3 && job_id == 0 && strcmp(job, "/") == 0);
	/* Every property of every object can be read. */
	m = sd_bus_message_unref(m);
	OK(sd_bus_call_method(bus, BUS_NAME, BUS_PATH, "org.freedesktop.DBus.ObjectManager",
		"GetManagedObjects", NULL, &m, ""));
	return 0;
}

static int client_changes(void)
{
	sd_bus *bus = NULL;
	_cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
	_cleanup_message_ sd_bus_message *m = NULL;
	struct heard h = {0};
	const char *job;

	OK(client_open(&bus));
	CHECK(listen_all(bus, &h) == 0);
	OK(call(bus, "StartNode", &e, &m, "ss", "idle", "replace"));
	OK(sd_bus_message_read(m, "o", &job));
	CHECK(strncmp(job, BUS_JOB_PREFIX "/", strlen(BUS_JOB_PREFIX) + 1) == 0);
	CHECK(call(bus, "StartNode", &e, NULL, "ss", "idle", "fail") < 0);
	CHECK(sd_bus_error_has_name(&e, BUS_ERROR_NODE_BUSY));
	OK(process_for(bus, 200000));
	CHECK(h.job_removed == 1 && strcmp(h.result, "done") == 0 && h.node_changed >= 1);
	CHECK(call(bus, "StartNode", &e, NULL, "ss", "idle", "quickly") < 0);
	CHECK(sd_bus_error_has_name(&e, SD_BUS_ERROR_INVALID_ARGS));
	CHECK(call(bus, "StartNode", &e, NULL, "ss", "broken", "replace") < 0);
	CHECK(sd_bus_error_has_name(&e, BUS_ERROR_LOAD_FAILED) && strstr(e.message, "x.ini:3"));
	OK(call(bus, "CheckpointNode", &e, NULL, "s", "voxel", NULL));
	OK(call(bus, "DropTwin", &e, NULL, "s", "voxel", NULL));
	CHECK(call(bus, "CheckpointNode", &e, NULL, "s", "odd.name-1", NULL) < 0);
	CHECK(sd_bus_error_has_name(&e, BUS_ERROR_NO_TWIN));
	CHECK(call(bus, "FailoverNode", &e, NULL, "ss", "voxel", "boredom") < 0);
	CHECK(sd_bus_error_has_name(&e, SD_BUS_ERROR_INVALID_ARGS));
	h = (struct heard){0};
	OK(call(bus, "FailoverNode", &e, NULL, "ss", "voxel", "requested"));
	OK(process_for(bus, 100000));
	CHECK(h.failover == 1 && strcmp(h.cause, "requested") == 0 && h.latency == 712);
	CHECK(h.twin_changed == 1);
	CHECK(sd_bus_call_method(bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "KillNode", &e, NULL,
		      "ssi", "voxel", "main", 99) < 0);
	CHECK(sd_bus_error_has_name(&e, SD_BUS_ERROR_INVALID_ARGS));
	OK(sd_bus_call_method(bus, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "KillNode", NULL, NULL,
		"ssi", "voxel", "main", 10));
	return 0;
}

static int client_stranger(void)
{
	sd_bus *bus = NULL;
	_cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;

	if (geteuid() != 0)
		return 77;
	CHECK(setuid(65534) == 0);
	OK(client_open(&bus));
	OK(call(bus, "GetNode", &e, NULL, "s", "voxel", NULL));
	for (int i = 0; i < 2; i++) {
		CHECK(call(bus, "StopNode", &e, NULL, "ss", "voxel", "replace") < 0);
		CHECK(sd_bus_error_has_name(&e, SD_BUS_ERROR_ACCESS_DENIED));
	}
	CHECK(call(bus, "FailoverNode", &e, NULL, "ss", "voxel", "requested") < 0);
	CHECK(sd_bus_error_has_name(&e, SD_BUS_ERROR_ACCESS_DENIED));
	return 0;
}

/* Calls of one sender keep their order, though each has to wait for its uid. */
static int client_order(void)
{
	sd_bus *bus = NULL;
	uint32_t ids[20], answered = 0;
	_cleanup_message_ sd_bus_message *m = NULL;
	uint64_t first = 0, cookie;

	OK(client_open(&bus));
	for (unsigned i = 0; i < ELEMENTSOF(ids); i++) {
		_cleanup_message_ sd_bus_message *q = NULL;
		OK(sd_bus_message_new_method_call(
			bus, &q, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "KillNode"));
		OK(sd_bus_message_append(q, "ssi", "nobody", "main", 99 + (int)i));
		OK(sd_bus_send(bus, q, &cookie));
		first = first ? first : cookie;
	}
	for (usec_t end = now_usec() + USEC_PER_SEC;
		answered < ELEMENTSOF(ids) && now_usec() < end;) {
		m = sd_bus_message_unref(m);
		if (sd_bus_process(bus, &m) == 0)
			OK(sd_bus_wait(bus, 20000));
		if (m && sd_bus_message_is_method_error(m, SD_BUS_ERROR_INVALID_ARGS)) {
			OK(sd_bus_message_get_reply_cookie(m, &cookie));
			CHECK(cookie == first + answered);
			answered++;
		}
	}
	CHECK(answered == ELEMENTSOF(ids));
	return 0;
}

/* --- tests -------------------------------------------------------------------------------------
 */

static void test_reads(void **state _unused_)
{
	run_client(client_reads);
}

static void test_changes(void **state _unused_)
{
	run_client(client_changes);
}

static void test_stranger(void **state _unused_)
{
	run_client(client_stranger);
}

static void test_order(void **state _unused_)
{
	run_client(client_order);
}

static int client_there(void)
{
	sd_bus *bus = NULL;
	OK(client_open(&bus));
	return 0;
}

static void on_idle_over(struct ev_loop *l, ev_timer *w _unused_, int revents _unused_)
{
	ev_break(l, EVBREAK_ALL);
}

static void test_late_and_rejoin(void **state _unused_)
{
	ev_timer idle;

	if (!have_daemon())
		skip();
	ev_timer_init(&idle, on_idle_over, 0.3, 0.);
	ev_timer_start(loop, &idle);
	ev_run(loop, 0); /* no bus, and nothing happens */
	assert_null(bus_under_test->sd);
	for (int i = 0; i < 3; i++) {
		daemon_start();
		sleep_until_exists(socket_path);
		run_until_ended(loop, spawn(client_there));
		assert_true(bus_under_test->has_name);
		daemon_stop();
	}
}

/* Joined and left alone, the loop sleeps. */
static void test_no_wakeups(void **state _unused_)
{
	ev_timer idle;

	run_client(client_there);
	ev_timer_init(&idle, on_idle_over, 0.5, 0.);
	ev_timer_start(loop, &idle);
	ev_run(loop, 0); /* the client's leave is over */
	unsigned before = ev_iteration(loop);
	ev_timer_set(&idle, 0.5, 0.);
	ev_timer_start(loop, &idle);
	ev_run(loop, 0);
	assert_true(ev_iteration(loop) - before <= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIVE(test_reads),
		LIVE(test_changes),
		LIVE(test_stranger),
		LIVE(test_order),
		LIVE(test_late_and_rejoin),
		LIVE(test_no_wakeups),
	};
	return cmocka_run_group_tests_name("bus live", tests, prepare_dir, remove_dir);
}
