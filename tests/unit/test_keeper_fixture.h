/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A keeper under test: this program in the supervisor's place. Starts the real keeper with a
 * unit in a memfd, reads its messages, sends requests; the keeper and all it has are gone after
 * each test. Tests are skipped where the keeper is not built.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "supervisor/keeper/protocol.h"

#define PATIENCE (20 * USEC_PER_SEC)

struct run {
	char keeper[PATH_MAX], dir[64], log[96];
	pid_t pid;
	int fd;
	bool small_socket;      /* set before start(): takes a few messages only */
	bool deny_ptrace;       /* set before start(): ptrace() says -EPERM to the keeper */
	struct keeper_msg last; /* what wait_for() has found */
};

static inline int setup(void **state)
{
	struct run *r = calloc(1, sizeof(*r));
	char self[PATH_MAX - 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (!r || n < 0)
		return -1;
	self[n] = '\0'; /* build/MODE/tests/unit/test_keeper_run */
	for (int i = 0; i < 3; i++)
		dirname(self);
	snprintf(r->keeper, sizeof(r->keeper), "%s/twinit-keeper", self);
	strcpy(r->dir, "/tmp/test-keeper-XXXXXX");
	if (!mkdtemp(r->dir))
		return -1;
	snprintf(r->log, sizeof(r->log), "%s/log", r->dir);
	r->fd = -1;
	/* What the keeper leaves behind is to come here, not to the machine's init. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	*state = r;
	return 0;
}

static inline int teardown(void **state)
{
	struct run *r = *state;
	char path[128];

	if (r->fd >= 0)
		close(r->fd);
	if (r->pid > 0) {
		kill(r->pid, SIGKILL);
		waitpid(r->pid, NULL, 0);
	}
	snprintf(path, sizeof(path), "%s/unit.sock", r->dir);
	unlink(path);
	unlink(r->log);
	rmdir(r->dir);
	free(r);
	return 0;
}

/* As in a container whose filter knows no ptrace. */
static inline void deny_ptrace(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {.len = ELEMENTSOF(code), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		_exit(126);
}

static inline void start(struct run *r, const char *text)
{
	int sv[2], unit = memfd_create("unit", 0), log;
	char args[4][64];

	if (access(r->keeper, X_OK) < 0)
		skip();
	assert_true(unit >= 0);
	assert_int_equal(write(unit, text, strlen(text)), strlen(text));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
	fcntl(sv[0], F_SETFD, FD_CLOEXEC);
	if (r->small_socket)
		setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int));
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		snprintf(args[0], sizeof(args[0]), "--unit-fd=%d", unit);
		snprintf(args[1], sizeof(args[1]), "--control-fd=%d", sv[1]);
		snprintf(args[2], sizeof(args[2]), "--notify-dir=%.40s", r->dir);
		log = open(r->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		dup2(log, STDERR_FILENO);
		dup2(log, STDOUT_FILENO);
		if (r->deny_ptrace) {
			/* the leak sanitizer needs ptrace as well, and fails without */
			setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
			deny_ptrace();
		}
		execl(r->keeper, r->keeper, "--id=unit", "--unit-path=/unit.ini", args[0], args[1],
			args[2], NULL);
		_exit(127);
	}
	close(sv[1]);
	close(unit);
	r->fd = sv[0];
}

static inline bool next_message(struct run *r, struct keeper_msg *m, usec_t deadline)
{
	for (;;) {
		int e = keeper_recv(r->fd, m);
		usec_t now = now_usec();

		if (e == 1)
			return true;
		if (e != -EAGAIN || now >= deadline)
			return false;
		poll(&(struct pollfd){.fd = r->fd, .events = POLLIN}, 1,
			(int)((deadline - now) / 1000) + 1);
	}
}

typedef bool (*match_fn)(const struct keeper_msg *m, int what);

static inline void wait_for(struct run *r, match_fn match, int what, const char *name)
{
	usec_t deadline = now_usec() + PATIENCE;

	while (next_message(r, &r->last, deadline))
		if (match(&r->last, what))
			return;
	fail_msg("never came: %s %d", name, what);
}
#define WAIT_FOR(r, match, what) wait_for(r, match, what, #match)

static inline bool is_state(const struct keeper_msg *m, int state)
{
	return m->type == KEEPER_MSG_STATE && (int)m->state.state == state;
}
static inline bool is_twin(const struct keeper_msg *m, int state)
{
	return m->type == KEEPER_MSG_TWIN && (int)m->twin.state == state;
}
static inline bool is_failover(const struct keeper_msg *m, _unused_ int any)
{
	return m->type == KEEPER_MSG_FAILOVER;
}
static inline bool is_reply(const struct keeper_msg *m, int serial)
{
	return m->type == KEEPER_MSG_REPLY && (int)m->serial == serial;
}
static inline bool is_status(const struct keeper_msg *m, _unused_ int any)
{
	return m->type == KEEPER_MSG_STATUS;
}

static inline void request(struct run *r, enum keeper_msg_type type, uint64_t serial, int sig)
{
	struct keeper_msg m = {.type = type, .serial = serial};

	if (type == KEEPER_REQ_KILL)
		m.signal = sig;
	assert_int_equal(keeper_send(r->fd, &m), 0);
}

static inline void expect_end(struct run *r)
{
	usec_t deadline = now_usec() + PATIENCE;
	int status = 0;
	pid_t pid;

	while ((pid = waitpid(r->pid, &status, WNOHANG)) == 0 && now_usec() < deadline)
		usleep(2000);
	assert_int_equal(pid, r->pid);
	r->pid = 0;
	assert_int_equal(status, 0);
}

static inline void expect_last(
	struct run *r, enum node_state state, enum node_result result, int status)
{
	WAIT_FOR(r, is_state, (int)state);
	assert_string_equal(
		node_result_to_string(r->last.state.result), node_result_to_string(result));
	assert_int_equal(r->last.state.exit_status, status);
	assert_int_equal(r->last.state.main_pid, 0);
	expect_end(r);
}
