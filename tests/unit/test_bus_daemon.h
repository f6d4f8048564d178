/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The bus against a real dbus-daemon with a mock manager behind it. The test's process runs the
 * loop; the client of each test is a child that uses sd-bus in the blocking way and says by its
 * exit status how it went. Tests are skipped where dbus-daemon is not installed.
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

static inline pid_t spawn(int (*run)(void))
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(run());
	}
	return pid;
}

static inline int run_daemon(void)
{
	char option[128];
	snprintf(option, sizeof(option), "--config-file=%s", config_path);
	execlp("dbus-daemon", "dbus-daemon", option, "--nofork", "--nopidfile", "--nosyslog", NULL);
	return 127;
}

static inline void daemon_start(void)
{
	daemon_pid = spawn(run_daemon);
}

static inline void daemon_stop(void)
{
	if (daemon_pid <= 0)
		return;
	kill(daemon_pid, SIGKILL);
	waitpid(daemon_pid, NULL, 0);
	daemon_pid = 0;
	unlink(socket_path);
}

static inline bool have_daemon(void)
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

static inline void on_watch(struct ev_loop *loop, ev_timer *w, int revents _unused_)
{
	struct watch *x = (struct watch *)w;
	x->left -= 0.02;
	if (waitpid(x->client, &x->status, WNOHANG) == x->client)
		x->client = 0;
	else if (x->left > 0)
		return;
	ev_break(loop, EVBREAK_ALL);
}

static inline void run_until_ended(struct ev_loop *loop, pid_t client)
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

static inline void sleep_until_exists(const char *path)
{
	for (int i = 0; i < 500 && access(path, F_OK) < 0; i++)
		usleep(10000);
}

/* --- the other side: a client ----------------------------------------------------------------- */

/* Connected, and twinit is there. */
static inline int client_open(sd_bus **ret)
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

struct heard {
	unsigned job_removed, failover, node_changed, twin_changed;
	char result[32], cause[32];
	uint64_t latency;
};

static inline int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_)
{
	struct heard *h = userdata;
	const char *result;
	OK(sd_bus_message_read(m, "uoss", NULL, NULL, NULL, &result));
	snprintf(h->result, sizeof(h->result), "%s", result);
	h->job_removed++;
	return 0;
}

static inline int on_failover(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_)
{
	struct heard *h = userdata;
	const char *cause, *result;
	OK(sd_bus_message_read(
		m, "sossuuttu", NULL, NULL, &cause, &result, NULL, NULL, &h->latency, NULL, NULL));
	snprintf(h->cause, sizeof(h->cause), "%s", cause);
	h->failover++;
	return 0;
}

static inline int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *e _unused_)
{
	struct heard *h = userdata;
	const char *interface;
	OK(sd_bus_message_read(m, "s", &interface));
	h->node_changed += strcmp(interface, NODE_INTERFACE) == 0;
	h->twin_changed += strcmp(interface, TWIN_INTERFACE) == 0;
	return 0;
}

static inline int listen_all(sd_bus *bus, struct heard *h)
{
	OK(sd_bus_match_signal(
		bus, NULL, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "JobRemoved", on_job_removed, h));
	OK(sd_bus_match_signal(
		bus, NULL, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "NodeFailover", on_failover, h));
	OK(sd_bus_match_signal(bus, NULL, BUS_NAME, NULL, "org.freedesktop.DBus.Properties",
		"PropertiesChanged", on_changed, h));
	return 0;
}

static inline int process_for(sd_bus *bus, usec_t span)
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

/* --- each test ---------------------------------------------------------------------------- */

static struct ev_loop *loop;
static struct bus *bus_under_test;

static inline int setup(void **state _unused_)
{
	loop = ev_loop_new(EVFLAG_AUTO);
	mock_init(loop);
	bus_under_test = NULL;
	if (have_daemon() && bus_open(&mock, address, &bus_under_test) < 0)
		return -1;
	return 0;
}

static inline int teardown(void **state _unused_)
{
	bus_close(bus_under_test);
	daemon_stop();
	ev_loop_destroy(loop);
	return 0;
}

static inline void run_client(int (*client)(void))
{
	if (!have_daemon())
		skip();
	if (!daemon_pid)
		daemon_start();
	run_until_ended(loop, spawn(client));
}

static inline int prepare_dir(void **state _unused_)
{
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return -1;
	snprintf(socket_path, sizeof(socket_path), "%s/bus", dir);
	snprintf(config_path, sizeof(config_path), "%s/conf", dir);
	snprintf(address, sizeof(address), "unix:path=%s", socket_path);
	_cleanup_fclose_ FILE *f = fopen(config_path, "we");
	return f && fprintf(f, config_text, socket_path) > 0 ? 0 : -1;
}

static inline int remove_dir(void **state _unused_)
{
	unlink(config_path);
	unlink(socket_path);
	return rmdir(dir);
}
#define LIVE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
