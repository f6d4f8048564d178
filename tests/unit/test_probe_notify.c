/* SPDX-License-Identifier: Apache-2.0 */
/* The notification parser against good, bad and random bytes; the socket with real senders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "probes/notify.h"

static struct notify_message parse(const char *text)
{
	struct notify_message m;

	notify_parse(text, strlen(text), &m);
	return m;
}

static void test_known_keys(_unused_ void **state)
{
	struct notify_message m = parse("READY=1\nSTATUS=up and well\nMAINPID=42\nERRNO=2\n"
					"WATCHDOG=1\nWATCHDOG_USEC=1500000\n"
					"EXTEND_TIMEOUT_USEC=30\nSTOPPING=1\nRELOADING=1\n");

	assert_true(m.ready && m.stopping && m.reloading && m.watchdog && !m.watchdog_trigger);
	assert_string_equal(m.status, "up and well");
	assert_int_equal(m.main_pid, 42);
	assert_true(m.has_errno && m.error == 2);
	assert_true(m.has_watchdog_usec && m.watchdog_usec == 1500000);
	assert_true(m.has_extend_timeout && m.extend_timeout_usec == 30);
	assert_true(parse("WATCHDOG=trigger").watchdog_trigger);
}

static void test_what_is_ignored(_unused_ void **state)
{
	static const struct notify_message nothing;
	static const char *const texts[] = {"", "\n", "\n\n\n", "=", "=1", "READY",
		"READY=", "READY=0", "READY=11", "READY=1 ", " READY=1", "ready=1", "XREADY=1",
		"READYX=1", "STOPPING=yes", "WATCHDOG=", "WATCHDOG_USEC=", "WATCHDOG_USEC=0",
		"WATCHDOG_USEC=-1", "WATCHDOG_USEC=1s", "WATCHDOG_USEC= 1",
		"WATCHDOG_USEC=18446744073709551616", "ERRNO=99999", "ERRNO=-2", "MAINPID=0",
		"MAINPID=-1", "MAINPID=2147483648", "STATUS=\xff\xfe", "STATUS=a\xc3",
		"STATUS=\xed\xa0\x80", "STATUS=\xc0\x80", "FDSTORE=1\nFDNAME=x", "BARRIER=1"};

	for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
		struct notify_message m = parse(texts[i]);
		if (memcmp(&m, &nothing, sizeof(m)) != 0)
			fail_msg("text %zu was taken for something", i);
	}
}

static void test_status_text(_unused_ void **state)
{
	char text[2000] = "STATUS=";
	struct notify_message m;

	assert_string_equal(parse("STATUS=\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8d").status,
		"\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x8d");
	assert_string_equal(parse("STATUS=a\tb\x1b[31m").status, "a b [31m");
	m = parse("STATUS=");
	assert_true(m.has_status && m.status[0] == '\0');
	/* cut between characters, never inside one */
	for (int i = 0; i < 300; i++)
		strcat(text, "\xe2\x82\xac");
	m = parse(text);
	assert_true(m.has_status);
	assert_int_equal(strlen(m.status) % 3, 0);
	assert_true(strlen(m.status) >= NOTIFY_STATUS_MAX - 4);
	/* a NUL ends the message */
	notify_parse("STATUS=a\0READY=1", 16, &m);
	assert_string_equal(m.status, "a");
	assert_false(m.ready);
}

/* Any bytes: the text must stay a string, and nothing outside the buffer may be read (each is
 * a block of its own, so that a sanitizer would see it). */
static void test_random_bytes(_unused_ void **state)
{
	static const char *const pieces[] = {"READY=1",
		"STATUS=", "WATCHDOG_USEC=", "MAINPID=", "\n", "=", "\xc3", "\xf0\x9f", "9",
		"trigger", "WATCHDOG="};
	unsigned seed = 7;

	for (int round = 0; round < 20000; round++) {
		size_t len = 0, size = (size_t)(rand_r(&seed) % 600);
		char *text = malloc(size + 1);
		struct notify_message m;

		assert_non_null(text);
		while (len < size) {
			const char *p = pieces[(size_t)rand_r(&seed) % ELEMENTSOF(pieces)];
			if (rand_r(&seed) % 3 && len + strlen(p) <= size) {
				memcpy(text + len, p, strlen(p));
				len += strlen(p);
			} else {
				text[len++] = (char)rand_r(&seed);
			}
		}
		text = realloc(text, size ? size : 1);
		notify_parse(text, size, &m);
		assert_non_null(memchr(m.status, '\0', sizeof(m.status)));
		assert_true(m.main_pid >= 0);
		free(text);
	}
}

static void test_path(_unused_ void **state)
{
	char path[NOTIFY_PATH_MAX], long_id[200];

	assert_int_equal(notify_socket_path("/run/x", "voxel-grid_1@a", path), 0);
	assert_string_equal(path, "/run/x/voxel-grid_1@a.sock");
	assert_int_equal(notify_socket_path("/run/x", ".hidden %/y", path), 0);
	assert_string_equal(path, "/run/x/%2ehidden%20%25%2fy.sock");
	memset(long_id, 'a', sizeof(long_id) - 1);
	long_id[sizeof(long_id) - 1] = '\0';
	assert_int_equal(notify_socket_path("/run/x", long_id, path), -ENAMETOOLONG);
	assert_int_equal(notify_socket_path(long_id, "x", path), -ENAMETOOLONG);
	/* the longest that fits, to the byte */
	long_id[NOTIFY_PATH_MAX - strlen("/d/") - strlen(".sock") - 1] = '\0';
	assert_int_equal(notify_socket_path("/d", long_id, path), 0);
	assert_int_equal(strlen(path), NOTIFY_PATH_MAX - 1);
}

struct room {
	char dir[32];
	char path[NOTIFY_PATH_MAX];
	int fd;
};

static int setup(void **state)
{
	struct room *r = calloc(1, sizeof(*r));

	strcpy(r->dir, "/tmp/test-notify-XXXXXX");
	if (!mkdtemp(r->dir) || chmod(r->dir, 0755) < 0 ||
		notify_socket_path(r->dir, "n", r->path) < 0)
		return -1;
	r->fd = notify_open(r->path);
	*state = r;
	return r->fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	struct room *r = *state;

	close(r->fd);
	unlink(r->path);
	rmdir(r->dir);
	free(r);
	return 0;
}

/* From a process of its own, as user uid, with a descriptor in it if fd is one. */
static pid_t send_as(const struct room *r, uid_t uid, const char *text, int fd)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
	struct msghdr msg = {
		.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &iov, .msg_iovlen = 1};
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	strcpy(to.sun_path, r->path);
	if (fd >= 0) {
		struct cmsghdr *c;
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	if (uid != geteuid() && setresuid(uid, uid, uid) < 0)
		_exit(2);
	_exit(sendmsg(socket(AF_UNIX, SOCK_DGRAM, 0), &msg, 0) < 0);
}

static void reap(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_receive(void **state)
{
	struct room *r = *state;
	struct notify_message m;
	struct notify_peers p = {.access = NOTIFY_ALL};
	usec_t before = now_usec(), after;

	assert_int_equal(notify_receive(r->fd, &p, &m), -EAGAIN);
	p.active = send_as(r, geteuid(), "READY=1", -1);
	reap(p.active);
	after = now_usec();
	usleep(20000);
	assert_int_equal(notify_receive(r->fd, &p, &m), 1);
	assert_int_equal(p.sender, p.active);
	assert_true(m.ready);
	/* when it was sent, not when it was read; the two clocks are read one after the other */
	assert_true(p.at + 2000 >= before && p.at <= after + 2000);
}

/* A process in a session of its own that has sent, and lives until the pipe is closed. */
static pid_t send_and_stay(const struct room *r, int *ret_end)
{
	int stay[2];
	pid_t pid;

	assert_int_equal(pipe2(stay, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char c;
		close(stay[1]);
		setsid();
		struct sockaddr_un to = {.sun_family = AF_UNIX};
		strcpy(to.sun_path, r->path);
		sendto(socket(AF_UNIX, SOCK_DGRAM, 0), "WATCHDOG=1", 10, 0, (struct sockaddr *)&to,
			sizeof(to));
		_exit(read(stay[0], &c, 1) != 0);
	}
	close(stay[0]);
	*ret_end = stay[1];
	return pid;
}

static int receive(const struct room *r, struct notify_peers *p, struct notify_message *m)
{
	assert_int_equal(poll(&(struct pollfd){.fd = r->fd, .events = POLLIN}, 1, 5000), 1);
	return notify_receive(r->fd, p, m);
}

static void test_strangers_are_refused(void **state)
{
	struct room *r = *state;
	struct notify_message m;
	struct notify_peers p = {.access = NOTIFY_ALL, .active = INT_MAX};
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = send_as(r, 65534, "READY=1", -1);
	reap(pid);
	assert_int_equal(notify_receive(r->fd, &p, &m), 0);
	assert_int_equal(p.sender, pid);
	/* the same user, but it is the active */
	pid = send_as(r, 65534, "READY=1", -1);
	reap(pid);
	p.active = pid;
	assert_int_equal(notify_receive(r->fd, &p, &m), 1);
	/* or below it, and still there to be looked up */
	p.active = getpid();
	pid = send_as(r, 65534, "WATCHDOG=1", -1);
	assert_int_equal(poll(&(struct pollfd){.fd = r->fd, .events = POLLIN}, 1, 5000), 1);
	assert_int_equal(notify_receive(r->fd, &p, &m), 1);
	assert_true(m.watchdog);
	reap(pid);
	/* root out of a script, gone already */
	p.active = INT_MAX;
	reap(send_as(r, 0, "WATCHDOG=1", -1));
	assert_int_equal(notify_receive(r->fd, &p, &m), 1);
}

/* Another node of the same user, root even: its marks are not this node's. */
static void test_neighbours_are_refused(void **state)
{
	struct room *r = *state;
	struct notify_message m;
	struct notify_peers p = {.access = NOTIFY_ALL, .active = INT_MAX, .session = INT_MAX};
	int end;
	pid_t pid = send_and_stay(r, &end);

	assert_int_equal(receive(r, &p, &m), 0);
	assert_int_equal(p.sender, pid);
	close(end);
	reap(pid);
}

/* A child whose parent has gone is known by its session. */
static void test_session_is_the_nodes(void **state)
{
	struct room *r = *state;
	struct notify_message m;
	struct notify_peers p = {.access = NOTIFY_ALL, .active = INT_MAX};
	int end;
	pid_t pid = send_and_stay(r, &end);

	p.session = pid;
	assert_int_equal(receive(r, &p, &m), 1);
	assert_true(m.watchdog);
	close(end);
	reap(pid);
}

static void test_access(void **state)
{
	struct room *r = *state;
	struct notify_message m;
	struct notify_peers p = {.access = NOTIFY_MAIN, .active = getpid()};

	reap(send_as(r, geteuid(), "READY=1", -1)); /* a child, gone */
	assert_int_equal(notify_receive(r->fd, &p, &m), 0);
	p.active = send_as(r, geteuid(), "READY=1", -1);
	reap(p.active);
	assert_int_equal(notify_receive(r->fd, &p, &m), 1);
	p.access = NOTIFY_NONE;
	p.active = send_as(r, geteuid(), "READY=1", -1);
	reap(p.active);
	assert_int_equal(notify_receive(r->fd, &p, &m), 0);
}

static void test_marks(_unused_ void **state)
{
	struct notify_message m = parse("TWIN_MARK=grab\nWATCHDOG=1\nTWIN_MARK=a/b\nTWIN_MARK=\n"
					"TWIN_MARK=123456789012345678901234567890123");

	assert_int_equal(m.n_marks, 2);
	assert_string_equal(m.marks[0], "grab");
	assert_string_equal(m.marks[1], "a/b");
	m = parse("TWIN_MARK=1\nTWIN_MARK=2\nTWIN_MARK=3\nTWIN_MARK=4\nTWIN_MARK=5\n"
		  "TWIN_MARK=6\nTWIN_MARK=7\nTWIN_MARK=8\nTWIN_MARK=9");
	assert_int_equal(m.n_marks, NOTIFY_MARKS_MAX);
}

/* sd_notify_barrier(3) waits for its descriptor to be closed. */
static void test_descriptors_are_closed(void **state)
{
	struct room *r = *state;
	struct notify_message m;
	struct notify_peers peers = {.access = NOTIFY_ALL};
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	reap(send_as(r, geteuid(), "BARRIER=1", p[1]));
	close(p[1]);
	assert_int_equal(poll(&(struct pollfd){.fd = p[0]}, 1, 0), 0);
	assert_int_equal(notify_receive(r->fd, &peers, &m), 1);
	assert_int_equal(poll(&(struct pollfd){.fd = p[0]}, 1, 0), 1);
	close(p[0]);
}

static void test_long_datagram(void **state)
{
	struct room *r = *state;
	struct notify_message m;
	char text[NOTIFY_DATAGRAM_MAX + 100];
	struct notify_peers peers = {.access = NOTIFY_ALL};

	memset(text, 'x', sizeof(text));
	memcpy(text, "READY=1\n", 8);
	text[sizeof(text) - 1] = '\0';
	reap(send_as(r, geteuid(), text, -1));
	assert_int_equal(notify_receive(r->fd, &peers, &m), 0);
}

static void test_descendants(_unused_ void **state)
{
	assert_true(notify_is_descendant(getpid(), getpid()));
	assert_true(notify_is_descendant(getpid(), getppid()));
	assert_false(notify_is_descendant(getppid(), getpid()));
	assert_false(notify_is_descendant(0, 5));
	assert_false(notify_is_descendant(INT_MAX, 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_keys),
		cmocka_unit_test(test_what_is_ignored),
		cmocka_unit_test(test_status_text),
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_descendants),
		cmocka_unit_test(test_marks),
		cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strangers_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_neighbours_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_session_is_the_nodes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_access, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptors_are_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_datagram, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
