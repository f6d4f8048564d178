/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The real twinit with the fake keeper (tests/integration/fake_keeper.c) in a scratch folder.
 * Nothing here sleeps: a test waits for a line of the log, for a process to end, or for a FIFO,
 * and fails where that takes longer than PATIENCE_MSEC.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "config/clock.h"
#include "config/macro.h"

#define PATIENCE_MSEC 20000

struct daemon {
	char dir[64];
	pid_t pid;
	int log_fd;
	char log[262144];
	size_t log_len, log_seen;
};
static struct daemon d;
static char twinit_path[PATH_MAX], keeper_path[PATH_MAX + 64];

static inline void format_path(char *buf, size_t size, const char *fmt, ...) _printf_(3, 4);
static inline void format_path(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	assert_in_range(vsnprintf(buf, size, fmt, ap), 1, size - 1);
	va_end(ap);
}

static inline int remove_one(const char *path, _unused_ const struct stat *st, _unused_ int type,
	_unused_ struct FTW *ftw)
{
	return remove(path);
}

static inline int set_up(_unused_ void **state)
{
	char path[128];

	memset(&d, 0, sizeof(d));
	d.log_fd = -1;
	strcpy(d.dir, "/tmp/twinit-test-XXXXXX");
	if (!mkdtemp(d.dir))
		return -1;
	format_path(path, sizeof(path), "%s/units", d.dir);
	return mkdir(path, 0755);
}

static inline int tear_down(_unused_ void **state)
{
	if (d.pid > 0) {
		kill(d.pid, SIGKILL);
		waitpid(d.pid, NULL, 0);
	}
	closep(&d.log_fd);
	return nftw(d.dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void add_unit(
	const char *id, const char *behaviour, const char *more_unit, const char *more_service)
{
	char path[128];
	FILE *f;

	format_path(path, sizeof(path), "%s/units/%s.ini", d.dir, id);
	f = fopen(path, "we");
	assert_non_null(f);
	fprintf(f,
		"[Unit]\nDescription=%s\n%s\n[Service]\nExecStart=/bin/true\n%s\n"
		"[Install]\nWantedBy=default.target\n",
		behaviour, more_unit, more_service);
	assert_int_equal(fclose(f), 0);
}

static inline void exec_twinit(bool own_namespace, int log_fd, char *const *more)
{
	char units[128], runtime[128], state[128], keeper[PATH_MAX + 128];
	char *argv[16] = {twinit_path, units, runtime, state, keeper, (char *)"--no-bus",
		(char *)"--log-level=debug"};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0); /* a signal to its group is none to us */
	snprintf(units, sizeof(units), "--unit-path=%s/units", d.dir);
	snprintf(runtime, sizeof(runtime), "--runtime-dir=%s/run", d.dir);
	snprintf(state, sizeof(state), "--state-dir=%s/state", d.dir);
	snprintf(keeper, sizeof(keeper), "--keeper=%s", keeper_path);
	for (size_t i = 0; more && more[i] && i < 8; i++)
		argv[7 + i] = more[i];
	dup2(log_fd, STDERR_FILENO);
	if (own_namespace && (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
				     mount("proc", "/proc", "proc", 0, NULL) < 0))
		_exit(80);
	execv(argv[0], argv);
	_exit(81);
}

static inline void start(bool own_namespace, char *const *more)
{
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	d.pid = (pid_t)syscall(
		SYS_clone, SIGCHLD | (own_namespace ? CLONE_NEWPID | CLONE_NEWNS : 0), 0, 0, 0, 0);
	if (d.pid < 0 && errno == EPERM) {
		close(p[0]);
		close(p[1]);
		skip();
	}
	if (d.pid == 0)
		exec_twinit(own_namespace, p[1], more);
	close(p[1]);
	d.log_fd = p[0];
	d.log_len = d.log_seen = 0;
	d.log[0] = '\0';
	fcntl(d.log_fd, F_SETFL, O_NONBLOCK);
}

/* False at the end of the log. */
static inline bool read_log(void)
{
	struct pollfd p = {.fd = d.log_fd, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, PATIENCE_MSEC) != 1)
		fail_msg("nothing more in the log:\n%s", d.log);
	n = read(d.log_fd, d.log + d.log_len, sizeof(d.log) - 1 - d.log_len);
	if (n > 0)
		d.log_len += (size_t)n;
	d.log[d.log_len] = '\0';
	return n != 0;
}

/* Until that text has appeared in the log, once more than so far. */
static inline void wait_log(const char *text)
{
	const char *at;

	while (!(at = strstr(d.log + d.log_seen, text)))
		if (!read_log())
			fail_msg("\"%s\" is not in the log:\n%s", text, d.log);
	d.log_seen = (size_t)(at - d.log) + strlen(text);
}

static inline void wait_exit(int expected)
{
	int status;

	while (read_log())
		;
	assert_int_equal(waitpid(d.pid, &status, 0), d.pid);
	d.pid = 0;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
		fail_msg("status 0x%x, log:\n%s", (unsigned)status, d.log);
}

static inline const char *events(void)
{
	static char text[8192];
	char path[128];
	size_t n;
	FILE *f;

	format_path(path, sizeof(path), "%s/run/events", d.dir);
	f = fopen(path, "re");
	n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	text[n] = '\0';
	if (f)
		fclose(f);
	for (char *p = text; *p; p++)
		if (*p == '\n')
			*p = ';';
	return text;
}

static inline void forget_events(void)
{
	char path[128];

	format_path(path, sizeof(path), "%s/run/events", d.dir);
	assert_int_equal(truncate(path, 0), 0);
}

static inline void open_gate(const char *id)
{
	char path[128];
	int fd = -1;

	format_path(path, sizeof(path), "%s/run/gate-%s", d.dir, id);
	/* Blocks until the keeper stands at the gate. */
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
}

static inline void make_gate(const char *id)
{
	char path[128];

	format_path(path, sizeof(path), "%s/run", d.dir);
	mkdir(path, 0755);
	format_path(path, sizeof(path), "%s/run/gate-%s", d.dir, id);
	assert_int_equal(mkfifo(path, 0644), 0);
}

/* The number behind text in the log line that wait_log() has just seen. */
static inline pid_t pid_in_log(const char *text)
{
	wait_log(text);
	return (pid_t)atoi(d.log + d.log_seen);
}

static inline void find_programs(void)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n < 0 ? 0 : n] = '\0';
	/* BUILD/tests/unit/test_... */
	for (int i = 0; i < 3 && strrchr(self, '/'); i++)
		*strrchr(self, '/') = '\0';
	snprintf(twinit_path, sizeof(twinit_path), "%.4000s/twinit", self);
	snprintf(keeper_path, sizeof(keeper_path), "%s/tests/integration/fake_keeper", self);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
