/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bus against a real dbus-daemon with a mock manager behind it. This process runs the loop;
 * the client of each test is a child that uses sd-bus in the blocking way and says by its exit
 * status how it went. Skipped where dbus-daemon is not installed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "supervisor/bus/bus_internal.h"
#include "tests/unit/test_bus_mock.h"

#define TEST_SECONDS 10.

#define OK(x)                                                                                      \
	do {                                                                                       \
		int ok_ = (x);                                                                     \
		if (ok_ < 0) {                                                                     \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x,                 \
				strerror(-ok_));                                                   \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)
#define CHECK(x)                                                                                   \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);            \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static char dir[] = "/tmp/test_bus_XXXXXX";
static char address[128], socket_path[96], config_path[96];
static pid_t daemon_pid;

static const char config_text[] =
	"<busconfig><type>custom</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>"
	"<policy context='default'><allow user='*'/><allow own='*'/><allow send_type='*'/>"
	"<allow send_destination='*' eavesdrop='true'/><allow "
	"receive_type='*'/></policy></busconfig>";

static pid_t spawn(int (*run)(void))
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(run());
	}
	return pid;
}

static int run_daemon(void)
{
	char option[128];
	snprintf(option, sizeof(option), "--config-file=%s", config_path);
	execlp("dbus-daemon", "dbus-daemon", option, "--nofork", "--nopidfile", "--nosyslog", NULL);
	return 127;
}

static void daemon_start(void)
{
	daemon_pid = spawn(run_daemon);
}

static void daemon_stop(void)
{
	if (daemon_pid <= 0)
		return;
	kill(daemon_pid, SIGKILL);
	waitpid(daemon_pid, NULL, 0);
	daemon_pid = 0;
	unlink(socket_path);
}

static bool have_daemon(void)
{
	for (const char *const *p =
			(const char *const[]){"/usr/bin/dbus-daemon", "/bin/dbus-daemon", NULL};
		*p; p++)
		if (access(*p, X_OK) == 0)
			return true;
	return false;
}

/* --- this side: the loop ---------------------------------------------------------------------- */

struct watch {
	ev_timer timer; /* looks whether the client has ended */
	pid_t client;
	int status;
	double left;
};

static void on_watch(struct ev_loop *loop, ev_timer *w, int revents _unused_)
{
	struct watch *x = (struct watch *)w;
	x->left -= 0.02;
	if (waitpid(x->client, &x->status, WNOHANG) == x->client)
		x->client = 0;
	else if (x->left > 0)
		return;
	ev_break(loop, EVBREAK_ALL);
}

static void run_until_ended(struct ev_loop *loop, pid_t client)
{
	struct watch x = {.client = client, .left = TEST_SECONDS};

	ev_timer_init(&x.timer, on_watch, 0.02, 0.02);
	ev_timer_start(loop, &x.timer);
	ev_run(loop, 0);
	ev_timer_stop(loop, &x.timer);
	if (x.client) {
		kill(x.client, SIGKILL);
		waitpid(x.client, NULL, 0);
		fail_msg("the client has not ended");
	}
	assert_true(WIFEXITED(x.status));
	if (WEXITSTATUS(x.status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(x.status), 0);
}

static void sleep_until_exists(const char *path)
{
	for (int i = 0; i < 500 && access(path, F_OK) < 0; i++)
		usleep(10000);
}

/* --- the other side: a client ----------------------------------------------------------------- */

/* Connected, and twinit is there. */
static int client_open(sd_bus **ret)
{
	int r = -ENOENT;

	for (int i = 0; i < 500 && r < 0; i++) {
		sd_bus *bus = NULL;
		r = sd_bus_new(&bus);
		if (r >= 0)
			r = sd_bus_set_address(bus, address);
		if (r >= 0)
			r = sd_bus_set_bus_client(bus, 1);
		if (r >= 0)
			r = sd_bus_start(bus);
		if (r >= 0)
			r = sd_bus_get_name_creds(bus, BUS_NAME, 0, NULL);
		if (r >= 0) {
			*ret = bus;
			break;
		}
		sd_bus_flush_close_unref(bus);
		usleep(10000);
	}
	return r;
}

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

struct heard {
	unsigned job_removed, failover, node_changed, twin_changed;
	char result[32], cause[32];
	uint64_t latency;
};

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_)
{
	struct heard *h = userdata;
	const char *result;
	OK(sd_bus_message_read(m, "uoss", NULL, NULL, NULL, &result));
	snprintf(h->result, sizeof(h->result), "%s", result);
	h->job_removed++;
	return 0;
}

static int on_failover(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_)
{
	struct heard *h = userdata;
	const char *cause, *result;
	OK(sd_bus_message_read(
		m, "sossuuttu", NULL, NULL, &cause, &result, NULL, NULL, &h->latency, NULL, NULL));
	snprintf(h->cause, sizeof(h->cause), "%s", cause);
	h->failover++;
	return 0;
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_)
{
	struct heard *h = userdata;
	const char *interface;
	OK(sd_bus_message_read(m, "s", &interface));
	h->node_changed += strcmp(interface, NODE_INTERFACE) == 0;
	h->twin_changed += strcmp(interface, TWIN_INTERFACE) == 0;
	return 0;
}

static int listen_all(sd_bus *bus, struct heard *h)
{
	OK(sd_bus_match_signal(
		bus, NULL, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "JobRemoved", on_job_removed, h));
	OK(sd_bus_match_signal(
		bus, NULL, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "NodeFailover", on_failover, h));
	OK(sd_bus_match_signal(bus, NULL, BUS_NAME, NULL, "org.freedesktop.DBus.Properties",
		"PropertiesChanged", on_changed, h));
	return 0;
}

static int process_for(sd_bus *bus, usec_t span)
{
	for (usec_t end = now_usec() + span; now_usec() < end;) {
		int r = sd_bus_process(bus, NULL);
		if (r == 0)
			r = sd_bus_wait(bus, 20000);
		if (r < 0)
			return r;
	}
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
	for (int i = 0; i < 2; i++) { /* asked, then remembered */
		CHECK(call(bus, "StopNode", &e, NULL, "ss", "voxel", "replace") < 0);
		CHECK(sd_bus_error_has_name(&e, SD_BUS_ERROR_ACCESS_DENIED));
	}
	CHECK(call(bus, "FailoverNode", &e, NULL, "ss", "voxel", "requested") < 0);
	CHECK(sd_bus_error_has_name(&e, SD_BUS_ERROR_ACCESS_DENIED));
	return 0;
}

/* Calls of one sender keep their order, though the first has to wait for its uid. */
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

/* --- tests -------------------------------------------------------------------------------------
 */

static struct ev_loop *loop;
static struct bus *bus_under_test;

static int setup(void **state _unused_)
{
	loop = ev_loop_new(EVFLAG_AUTO);
	mock_init(loop);
	bus_under_test = NULL;
	if (have_daemon() && bus_open(&mock, address, &bus_under_test) < 0)
		return -1;
	return 0;
}

static int teardown(void **state _unused_)
{
	bus_close(bus_under_test);
	daemon_stop();
	ev_loop_destroy(loop);
	return 0;
}

static void run_client(int (*client)(void))
{
	if (!have_daemon())
		skip();
	if (!daemon_pid)
		daemon_start();
	run_until_ended(loop, spawn(client));
}

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

static void test_no_storm(void **state _unused_)
{
	ev_timer burst;
	ev_timer_init(&burst, on_burst, 0.001, 0.001);
	ev_timer_start(loop, &burst);
	run_client(client_counts);
	ev_timer_stop(loop, &burst);
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

static int prepare_dir(void **state _unused_)
{
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return -1;
	snprintf(socket_path, sizeof(socket_path), "%s/bus", dir);
	snprintf(config_path, sizeof(config_path), "%s/conf", dir);
	snprintf(address, sizeof(address), "unix:path=%s", socket_path);
	_cleanup_fclose_ FILE *f = fopen(config_path, "we");
	return f && fprintf(f, config_text, socket_path) > 0 ? 0 : -1;
}

static int remove_dir(void **state _unused_)
{
	unlink(config_path);
	unlink(socket_path);
	return rmdir(dir);
}

int main(void)
{
#define LIVE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		LIVE(test_reads),
		LIVE(test_changes),
		LIVE(test_stranger),
		LIVE(test_order),
		LIVE(test_odd_bytes),
		LIVE(test_no_storm),
		LIVE(test_late_and_rejoin),
		LIVE(test_no_wakeups),
	};
	return cmocka_run_group_tests_name("bus live", tests, prepare_dir, remove_dir);
}
