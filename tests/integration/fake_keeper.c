/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keeper for the supervisor's own tests: speaks supervisor/keeper/protocol.h, guards a process
 * that only sleeps, traces nothing. How it behaves are words in its unit's Description=:
 *   gate      READY only once somebody writes to the FIFO <notify-dir>/../gate-ID
 *   fail      the node fails to start
 *   once      the node runs and ends well at once
 *   mute      the keeper exits 3 without a word
 *   stubborn  KEEPER_REQ_STOP is not heard
 *   family    the node has a session of its own, and a child in a group of its own
 *   pre       a command of ExecStartPre= that never ends
 *   lingers   the keeper does not leave after its last word
 *   garbage   says things that are no messages, then goes on as usual
 * Every step is a line in <notify-dir>/../events: "start ID", "running ID", "stop ID", "dead ID".
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "supervisor/keeper/protocol.h"

static const char *id = "?", *notify_dir = ".";
static char description[256];
static int control_fd = -1;
static struct keeper_state_report report;

static void event(const char *what)
{
	char path[4096], line[256];
	int fd, n;

	snprintf(path, sizeof(path), "%s/../events", notify_dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	n = snprintf(line, sizeof(line), "%s %s\n", what, id);
	if (fd < 0 || write(fd, line, (size_t)n) != n)
		_exit(90);
	close(fd);
}

static int has(const char *word)
{
	return strstr(description, word) != NULL;
}

static void say(struct keeper_msg msg)
{
	msg.version = KEEPER_PROTOCOL_VERSION;
	if (send(control_fd, &msg, sizeof(msg), MSG_NOSIGNAL) < 0 && errno != EPIPE)
		_exit(91);
}

static void say_state(enum node_state state)
{
	report.state = state;
	say((struct keeper_msg){.type = KEEPER_MSG_STATE, .state = report});
}

/* Deaf, but not for longer than there is a supervisor. */
static void wait_for_end(void)
{
	struct pollfd p = {.fd = control_fd, .events = 0};

	while (poll(&p, 1, -1) < 0 || !(p.revents & POLLHUP))
		;
}

static void last_word(enum node_state state, enum node_result result)
{
	report.main_pid = 0;
	report.result = result;
	report.exec_exit = now_usec();
	event(state == NODE_FAILED ? "failed" : "dead");
	say_state(state);
	if (has("lingers"))
		wait_for_end();
	exit(0);
}

/* A process that only waits, with a child that does as well where it has a family. */
static pid_t sleeper(int own_session, int family)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready) < 0 || (pid = fork()) < 0)
		_exit(92);
	if (pid > 0) {
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 0) /* until both have come to their pause() */
			_exit(96);
		close(ready[0]);
		return pid;
	}
	close(control_fd);
	if (own_session)
		setsid();
	if (family && fork() == 0)
		setpgid(0, 0);
	close(ready[0]);
	close(ready[1]);
	for (;;)
		pause();
}

static void start_node(void)
{
	report.main_pid = sleeper(has("family"), has("family"));
	report.exec_start = now_usec();
}

static void end_node(void)
{
	kill(report.main_pid, SIGKILL);
	while (waitpid(report.main_pid, NULL, 0) < 0 && errno == EINTR)
		;
	report.exit_code = CLD_KILLED;
	report.exit_status = SIGKILL;
}

static void wait_at_gate(void)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/../gate-%s", notify_dir, id);
	fd = open(path, O_RDONLY); /* a FIFO: until there is a writer */
	if (fd < 0)
		_exit(93);
	close(fd);
}

static void reply(const struct keeper_msg *to, int error)
{
	say((struct keeper_msg){
		.type = KEEPER_MSG_REPLY, .serial = to->serial, .reply.error = error});
}

static void checkpoint(const struct keeper_msg *m)
{
	struct keeper_twin_report t = {.state = TWIN_ARMED,
		.n_generations = 1,
		.pids = {getpid()},
		.checkpoint_at = now_usec(),
		.n_checkpoints = 1};

	say((struct keeper_msg){.type = KEEPER_MSG_TWIN, .twin = t});
	reply(m, 0);
}

static void failover(const struct keeper_msg *m)
{
	say((struct keeper_msg){.type = KEEPER_MSG_FAILOVER,
		.failover = {.cause = RESULT_REQUESTED,
			.ok = true,
			.old_pid = report.main_pid,
			.new_pid = report.main_pid,
			.at = now_usec()}});
	reply(m, 0);
}

static void obey(const struct keeper_msg *m)
{
	switch (m->type) {
	case KEEPER_REQ_STOP:
		event("stop");
		if (has("stubborn"))
			return;
		say_state(NODE_STOP_SIGTERM);
		end_node();
		last_word(NODE_DEAD, RESULT_SUCCESS);
		return;
	case KEEPER_REQ_CHECKPOINT:
		checkpoint(m);
		return;
	case KEEPER_REQ_FAILOVER:
		failover(m);
		return;
	case KEEPER_REQ_KILL:
		reply(m, kill(report.main_pid, m->signal) < 0 ? -errno : 0);
		return;
	default:
		reply(m, 0);
	}
}

static void say_garbage(void)
{
	struct keeper_msg m = {.version = 4711, .type = KEEPER_MSG_STATUS};

	send(control_fd, "hello", 5, MSG_NOSIGNAL);
	send(control_fd, &m, sizeof(m), MSG_NOSIGNAL);
	say((struct keeper_msg){.type = KEEPER_MSG_STATE, .state.state = 77});
	say((struct keeper_msg){.type = KEEPER_REQ_STOP});
}

static void read_unit(int fd)
{
	char text[8192], *at;
	ssize_t n = read(fd, text, sizeof(text) - 1);

	if (n < 0 || write(fd, "x", 1) >= 0) /* must have been sealed */
		_exit(94);
	text[n] = '\0';
	at = strstr(text, "Description=");
	if (at)
		sscanf(at, "Description=%255[^\n]", description);
}

static void parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int fd;

		if (strncmp(argv[i], "--id=", 5) == 0)
			id = argv[i] + 5;
		else if (strncmp(argv[i], "--notify-dir=", 13) == 0)
			notify_dir = argv[i] + 13;
		else if (sscanf(argv[i], "--unit-fd=%d", &fd) == 1)
			read_unit(fd);
		else if (sscanf(argv[i], "--control-fd=%d", &fd) == 1)
			control_fd = fd;
	}
	/* Nothing else may have come along. */
	for (int fd = 5; fd < 64; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			_exit(95);
}

int main(int argc, char **argv)
{
	struct keeper_msg m;

	parse(argc, argv);
	event("start");
	if (has("mute"))
		return 3;
	say_state(NODE_START);
	if (has("garbage"))
		say_garbage();
	if (has("gate"))
		wait_at_gate();
	if (has("pre")) {
		report.control_pid = sleeper(1, 1);
		say_state(NODE_START_PRE);
		wait_for_end();
	}
	if (has("fail"))
		last_word(NODE_FAILED, RESULT_EXIT_CODE);
	start_node();
	event("running");
	say_state(NODE_RUNNING);
	if (has("once")) {
		end_node();
		last_word(NODE_DEAD, RESULT_SUCCESS);
	}
	for (;;) {
		struct pollfd p = {.fd = control_fd, .events = POLLIN};
		ssize_t n;

		poll(&p, 1, -1);
		n = recv(control_fd, &m, sizeof(m), 0);
		if (n == 0) { /* the supervisor is gone */
			end_node();
			return 0;
		}
		if (n == (ssize_t)sizeof(m))
			obey(&m);
	}
}
