/* SPDX-License-Identifier: Apache-2.0 */
/* The probes that look from outside, with twinit-prober under the real keeper. */
#include <netinet/in.h>

#include "tests/unit/test_keeper_marker.h"

static void test_tcp(void **state)
{
	struct run *r = *state;
	char steps[200], more[300];

	snprintf(steps, sizeof(steps), "listen:%s/s sleep:20 --fault deaf", r->dir);
	snprintf(more, sizeof(more),
		"Restart=on-failure\nRestartSec=0\n" TWIN
		"[Probe t]\nKind=tcp\nAddress=%s/s\nInterval=50ms\nStartDelay=300ms\n",
		r->dir);
	start_marker(r, steps, more);
	fault(r);
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_SUSPECT));
	/* cold: a twin does not get a listening socket back */
	WAIT_FOR(r, is_failover, 0);
	assert_int_equal(r->last.failover.cause, RESULT_HEARTBEAT);
	assert_true(r->last.failover.ok);
	expect_in_log(r, "Connection refused");
	end_run(r);
}

static int free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &(socklen_t){sizeof(at)}), 0);
	close(fd);
	return ntohs(at.sin_port);
}

/* The marker serves at a port; fault_steps is what it does then. */
static void check_served(struct run *r, const char *fault_steps, const char *probe,
	enum node_result cause, const char *detail)
{
	char steps[200], more[500], section[400];
	int port = free_port();

	snprintf(steps, sizeof(steps), "serve:%d --fault ", port);
	snprintf(steps + strlen(steps), sizeof(steps) - strlen(steps), fault_steps, port);
	snprintf(section, sizeof(section), probe, port, port);
	snprintf(more, sizeof(more),
		TWIN "[Probe p]\n%s\nInterval=50ms\nStartDelay=300ms\nTimeout=300ms\n", section);
	start_marker(r, steps, more);
	fault(r);
	expect_swap(r, cause);
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_FAILED));
	if (!strstr(r->last.probe.detail, detail))
		fail_msg("\"%s\" is not \"%s\"", r->last.probe.detail, detail);
	/* well again, and stays so */
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_ALIVE));
	end_run(r);
}

static void test_http_hang(void **state)
{
	check_served(*state, "hang", "Kind=http\nUrl=http://127.0.0.1:%d/x", RESULT_HEARTBEAT,
		"no answer within 300 ms");
}

static void test_http_status(void **state)
{
	check_served(*state, "status:503 serve:%d", "Kind=http\nUrl=http://127.0.0.1:%d/",
		RESULT_HEARTBEAT, "status 503");
}

static void test_ping(void **state)
{
	check_served(*state, "hang", "Kind=ping\nNode=/marker\nMaster=http://127.0.0.1:%d",
		RESULT_PING, "no answer within 300 ms");
}

/* A master that has gone is not the node's failure. */
static void test_ping_without_master(void **state)
{
	struct run *r = *state;
	struct keeper_msg m;
	char more[300];
	unsigned n = 0;

	snprintf(more, sizeof(more),
		TWIN "[Probe p]\nKind=ping\nNode=/x\nMaster=http://127.0.0.1:%d\nInterval=20ms\n",
		free_port());
	start_marker(r, "sleep:20", more);
	for (usec_t end = now_usec() + USEC_PER_SEC; next_message(r, &m, end);)
		n += m.type == KEEPER_MSG_PROBE || m.type == KEEPER_MSG_FAILOVER;
	assert_int_equal(n, 0);
	end_run(r);
}

static void test_exec(void **state)
{
	struct run *r = *state;
	char more[500], path[100];
	int fd;

	snprintf(path, sizeof(path), "%s/ok", r->dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
	/* the file is the node's health, and the test takes it away once */
	snprintf(more, sizeof(more),
		TWIN "[Probe e]\nKind=exec\nInterval=50ms\nTolerate=2\n"
		     "Command=/bin/sh -c \"test -e %s && test -d /proc/$MAINPID\"\n",
		path);
	start_marker(r, "sleep:20", more);
	fault(r);
	unlink(path);
	expect_swap(r, RESULT_HEARTBEAT);
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_FAILED));
	assert_non_null(strstr(r->last.probe.detail, "/bin/sh exited with status 1"));
	end_run(r);
}

static void test_exec_takes_too_long(void **state)
{
	struct run *r = *state;

	start_marker(r, "sleep:20",
		TWIN "[Probe e]\nKind=exec\nInterval=50ms\nTimeout=200ms\nTolerate=0\n"
		     "StartDelay=500ms\nCommand=/bin/sleep 1000\n");
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	expect_swap(r, RESULT_HEARTBEAT);
	end_run(r);
}

/* Checkpoints go on, and do not count as progress. */
static void test_progress(void **state)
{
	struct run *r = *state;

	start_marker(r, "sleep:20 --fault hang",
		"[Twin]\nInterval=200ms\nGenerations=8\n[Probe p]\nKind=progress\nWindow=1s\n");
	fault(r);
	expect_swap(r, RESULT_HEARTBEAT);
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_FAILED));
	assert_non_null(strstr(r->last.probe.detail, "no thread has run for "));
	end_run(r);
}

static void test_progress_of_a_slow_one(void **state)
{
	struct run *r = *state;
	struct keeper_msg m;
	unsigned n = 0;

	start_marker(
		r, "sleep:300", "[Twin]\nInterval=50ms\n[Probe p]\nKind=progress\nWindow=1s\n");
	for (usec_t end = now_usec() + 3 * USEC_PER_SEC; next_message(r, &m, end);)
		n += m.type == KEEPER_MSG_PROBE || m.type == KEEPER_MSG_FAILOVER;
	assert_int_equal(n, 0);
	end_run(r);
}

static void check_leak(struct run *r, const char *step, const char *limit, const char *detail)
{
	char steps[100], more[300];

	snprintf(steps, sizeof(steps), "sleep:20 --fault %s sleep:1", step);
	snprintf(more, sizeof(more),
		"Restart=on-failure\nRestartSec=0\n" TWIN
		"[Probe r]\nKind=resource\nInterval=50ms\nStartDelay=300ms\n%s\n",
		limit);
	start_marker(r, steps, more);
	fault(r);
	/* cold: a leak is in the twins too */
	WAIT_FOR(r, is_failover, 0);
	assert_int_equal(r->last.failover.cause, RESULT_RESOURCES);
	assert_true(r->last.failover.ok && r->last.failover.cold);
	expect_in_log(r, detail);
	end_run(r);
}

static void test_memory_leak(void **state)
{
	check_leak(*state, "leak:100", "MaxMemoryGrowth=20M\nWindow=10s",
		"memory in bytes: grown by ");
}

static void test_memory_limit(void **state)
{
	check_leak(*state, "leak:100", "MaxMemory=40M", "memory in bytes: ");
}

static void test_descriptor_leak(void **state)
{
	check_leak(*state, "open", "MaxDescriptorGrowth=50\nWindow=30s", "descriptors: grown by ");
}

static void test_thread_leak(void **state)
{
	check_leak(*state, "thread", "MaxThreads=30", "threads: ");
}

static void test_dbus(void **state)
{
	struct run *r = *state;
	char more[600], command[200], address[100];
	pid_t daemon;

	if (access("/usr/bin/dbus-daemon", X_OK) < 0)
		skip();
	snprintf(address, sizeof(address), "unix:path=%s/bus", r->dir);
	snprintf(command, sizeof(command), "--address=%s", address);
	daemon = fork();
	assert_true(daemon >= 0);
	if (daemon == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/usr/bin/dbus-daemon", "dbus-daemon", "--session", "--nofork", "--nopidfile",
			"--nosyslog", command, NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000 && access(address + strlen("unix:path="), F_OK) < 0; i++)
		usleep(10000);
	snprintf(more, sizeof(more),
		"Environment=BUS=%s\n" TWIN
		"[Probe b]\nKind=dbus\nBusName=org.example.Marker\nBus=%s\nInterval=50ms\n"
		"Timeout=300ms\nStartDelay=500ms\n",
		address, address);
	start_marker(r, "own:org.example.Marker talk --fault hang", more);
	fault(r);
	expect_swap(r, RESULT_HEARTBEAT);
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_FAILED));
	assert_non_null(strstr(r->last.probe.detail, "no answer within 300 ms"));
	WAIT_FOR(r, is_probe, PROBE(1, STAGE_ALIVE));
	/* no bus: nothing is known of the node, and nothing is done to it */
	kill(daemon, SIGKILL);
	waitpid(daemon, NULL, 0);
	unlink(address + strlen("unix:path="));
	end_run(r);
}

/* The prober is replaced; its absence is no verdict. */
static void test_prober_killed(void **state)
{
	struct run *r = *state;
	char text[64], path[100];
	FILE *f;
	int prober = 0;

	start_marker(r, "sleep:20 --fault hang", TWIN "[Probe p]\nKind=progress\nWindow=1s\n");
	WAIT_FOR(r, is_twin, TWIN_ARMED);
	for (int i = 0; i < 500 && prober <= 0; i++) {
		int pid;

		usleep(10000);
		snprintf(path, sizeof(path), "/proc/%d/task/%d/children", r->pid, r->pid);
		f = fopen(path, "re");
		assert_non_null(f);
		while (fscanf(f, "%d", &pid) == 1) {
			FILE *g;
			snprintf(path, sizeof(path), "/proc/%d/comm", pid);
			g = fopen(path, "re");
			if (g && fscanf(g, "%63s", text) == 1 && strcmp(text, "twinit-prober") == 0)
				prober = pid;
			if (g)
				fclose(g);
		}
		fclose(f);
	}
	assert_true(prober > 0);
	kill(prober, SIGKILL);
	expect_in_log(r, "twinit-prober ended, starting it again");
	request(r, KEEPER_REQ_CHECKPOINT, 78, 0);
	WAIT_FOR(r, is_reply, 78);
	request(r, KEEPER_REQ_KILL, 0, SIGUSR1);
	expect_swap(r, RESULT_HEARTBEAT);
	end_run(r);
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_tcp),
		T(test_http_hang),
		T(test_http_status),
		T(test_ping),
		T(test_ping_without_master),
		T(test_exec),
		T(test_exec_takes_too_long),
		T(test_progress),
		T(test_progress_of_a_slow_one),
		T(test_memory_leak),
		T(test_memory_limit),
		T(test_descriptor_leak),
		T(test_thread_leak),
		T(test_dbus),
		T(test_prober_killed),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
