/* SPDX-License-Identifier: Apache-2.0 */
/* The shape of log lines, on a pipe for stderr and on a socket for the journal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

#include "supervisor/base/log.h"

static int real_stderr, pipe_read, pipe_write, journal;
static char journal_path[] = "/tmp/twinit-log-XXXXXX/journal";
static char expected_pid[32];

/* cmocka reports on stderr: hand it back before asserting. */
static void capture(void)
{
	assert_int_equal(dup2(pipe_write, STDERR_FILENO), STDERR_FILENO);
}

static const char *captured(void)
{
	static char text[70000];
	ssize_t n;

	dup2(real_stderr, STDERR_FILENO);
	n = read(pipe_read, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static size_t datagram(char buf[8192])
{
	ssize_t n = recv(journal, buf, 8191, MSG_DONTWAIT);

	buf[n < 0 ? 0 : n] = '\0';
	return n < 0 ? 0 : (size_t)n;
}

static int set_up(_unused_ void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char *slash = strrchr(journal_path, '/');
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	*slash = '\0';
	if (!mkdtemp(journal_path) || pipe2(p, O_CLOEXEC) < 0)
		return -1;
	*slash = '/';
	pipe_read = p[0];
	pipe_write = p[1];
	fcntl(pipe_read, F_SETFL, O_NONBLOCK);
	real_stderr = dup(STDERR_FILENO);
	journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	strcpy(sa.sun_path, journal_path);
	snprintf(expected_pid, sizeof(expected_pid), "[%d]: ", (int)getpid());
	log_open("test");
	log_set_journal(NULL);
	return bind(journal, (struct sockaddr *)&sa, sizeof(sa));
}

static int tear_down(_unused_ void **state)
{
	unlink(journal_path);
	*strrchr(journal_path, '/') = '\0';
	return rmdir(journal_path);
}

static void assert_line(const char *priority, const char *rest)
{
	char expected[8192];

	snprintf(expected, sizeof(expected), "%stest%s%s\n", priority, expected_pid, rest);
	assert_string_equal(captured(), expected);
}

static void one_record_is_one_line(_unused_ void **state)
{
	const char *const fields[] = {"PID", "12", "TEXT", "two words", "EMPTY", "", "QUOTE",
		"a\"b\\c", "LINES", "x\ny\tz\x01", NULL};

	capture();
	log_info("plain %d", 7);
	assert_line("<6>", "plain 7");
	capture();
	log_node(LOG_ERR, "camera", "died\nand left\r a mess");
	assert_line("<3>", "camera: died\\nand left\\x0d a mess");
	capture();
	log_fields(LOG_WARNING, "n", fields, "m");
	assert_line("<4>", "n: m PID=12 TEXT=\"two words\" EMPTY=\"\" QUOTE=\"a\\\"b\\\\c\" "
			   "LINES=\"x\\ny\\tz\\x01\"");
	capture();
	log_info("Grüße");
	assert_line("<6>", "Grüße");
}

static void long_lines_are_cut(_unused_ void **state)
{
	static char big[10000];
	const char *const fields[] = {"BIG", big, NULL};
	const char *got;

	memset(big, 'x', sizeof(big) - 1);
	capture();
	log_info("%s", big);
	got = captured();
	assert_in_range(strlen(got), 2000, 4096);
	assert_string_equal(got + strlen(got) - 4, "...\n");
	capture();
	log_fields(LOG_INFO, NULL, fields, "m");
	got = captured();
	assert_int_equal(strlen(got), 4096);
	assert_string_equal(got + strlen(got) - 4, "...\n");
}

static void levels(_unused_ void **state)
{
	assert_int_equal(log_level_from_string("err"), LOG_ERR);
	assert_int_equal(log_level_from_string("debug"), LOG_DEBUG);
	assert_int_equal(log_level_from_string("5"), LOG_NOTICE);
	assert_int_equal(log_level_from_string("8"), -EINVAL);
	assert_int_equal(log_level_from_string(""), -EINVAL);
	assert_int_equal(log_level_from_string("loud"), -EINVAL);
	log_set_level(LOG_ERR);
	capture();
	log_warning("not said");
	assert_string_equal(captured(), "");
	log_set_level(LOG_INFO);
	assert_int_equal(log_level(), LOG_INFO);
}

static void errno_survives(_unused_ void **state)
{
	capture();
	errno = ENOENT;
	log_info("%m");
	assert_int_equal(errno, ENOENT);
	assert_line("<6>", "No such file or directory");
}

static void a_full_pipe_drops_and_counts(_unused_ void **state)
{
	unsigned before = log_dropped();
	const char *got;
	char page[4096] = {0};

	/* Fill it as another process would that shares the pipe: its flags are not ours. */
	fcntl(pipe_write, F_SETFL, O_NONBLOCK);
	while (write(pipe_write, page, sizeof(page)) > 0)
		;
	fcntl(pipe_write, F_SETFL, 0);
	capture();
	log_info("lost"); /* a call that waited would hang the test here */
	log_info("lost as well");
	captured();
	assert_int_equal(log_dropped(), before + 2);
	capture();
	log_info("back");
	got = captured();
	assert_non_null(strstr(got, "back DROPPED=2\n"));
	capture();
	log_info("again");
	assert_line("<6>", "again");
	assert_int_equal(log_dropped(), before + 2);
}

static void a_reader_that_went_is_no_end(_unused_ void **state)
{
	unsigned before = log_dropped();
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	close(p[0]);
	dup2(p[1], STDERR_FILENO);
	log_info("to nobody");
	dup2(real_stderr, STDERR_FILENO);
	close(p[1]);
	assert_int_equal(log_dropped(), before + 1);
	capture();
	log_info("x");
	captured();
}

/* Ctrl-S on a console, or one that nobody reads. An alarm ends the test where we wait for it. */
static void a_stopped_terminal_drops(_unused_ void **state)
{
	int m = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), s;
	unsigned before = log_dropped();
	struct termios t;
	char text[4096];
	ssize_t n;

	assert_true(m >= 0);
	assert_int_equal(grantpt(m) | unlockpt(m), 0);
	s = open(ptsname(m), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(s >= 0);
	assert_int_equal(tcgetattr(s, &t), 0);
	cfmakeraw(&t);
	assert_int_equal(tcsetattr(s, TCSANOW, &t), 0);
	assert_int_equal(tcflow(s, TCOOFF), 0);
	dup2(s, STDERR_FILENO);
	alarm(10);
	log_info("into the void");
	dup2(real_stderr, STDERR_FILENO);
	assert_int_equal(log_dropped(), before + 1);
	assert_int_equal(tcflow(s, TCOON), 0);
	dup2(s, STDERR_FILENO);
	for (int i = 0; i < 10000; i++)
		log_info("more than it takes");
	dup2(real_stderr, STDERR_FILENO);
	assert_true(log_dropped() > before + 1);
	/* What is read again is lines again, whatever was cut. */
	while (fcntl(m, F_SETFL, O_NONBLOCK) == 0 && read(m, text, sizeof(text)) > 0)
		;
	dup2(s, STDERR_FILENO);
	log_info("back");
	dup2(real_stderr, STDERR_FILENO);
	alarm(0);
	n = read(m, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	assert_non_null(strstr(text, "back DROPPED="));
	close(s);
	close(m);
	/* The count starts anew for the tests that follow. */
	capture();
	log_info("clean");
	assert_non_null(strstr(captured(), "clean"));
}

static void a_full_stream_socket_drops(_unused_ void **state)
{
	unsigned before = log_dropped();
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	dup2(sv[1], STDERR_FILENO);
	for (int i = 0; i < 100000 && log_dropped() == before; i++)
		log_info("fill");
	dup2(real_stderr, STDERR_FILENO);
	close(sv[0]);
	close(sv[1]);
	assert_true(log_dropped() > before);
	capture();
	log_info("x");
	captured();
}

static void journal_gets_the_bytes(_unused_ void **state)
{
	const char *const fields[] = {
		"STATE", "running", "lower", "is no journal key", "LINES", "one\ntwo", NULL};
	static const char expected[] = "PRIORITY=4\nSYSLOG_IDENTIFIER=test\nMESSAGE=hello\n"
				       "TWINIT_NODE=cam\nSTATE=running\n"
				       "LINES\n\7\0\0\0\0\0\0\0one\ntwo\n";
	char buf[8192];

	log_set_journal(journal_path);
	capture();
	log_fields(LOG_WARNING, "cam", fields, "hello");
	captured();
	assert_int_equal(datagram(buf), sizeof(expected) - 1);
	assert_memory_equal(buf, expected, sizeof(expected) - 1);
	/* Nobody could read the lines of a value that was cut: such a field is left out. */
	static char big[9000];
	const char *const too_big[] = {"BIG", big, "SMALL", "1", NULL};
	memset(big, 'x', sizeof(big) - 1);
	capture();
	log_fields(LOG_INFO, NULL, too_big, "m");
	captured();
	datagram(buf);
	assert_string_equal(buf, "PRIORITY=6\nSYSLOG_IDENTIFIER=test\nMESSAGE=m\nSMALL=1\n");
}

static void a_full_or_absent_journal(_unused_ void **state)
{
	unsigned before = log_dropped(), n = 0;
	char buf[8192];

	for (; log_dropped() == before && n < 100000; n++) {
		capture();
		log_info("fill");
		captured();
	}
	assert_int_equal(log_dropped(), before + 1);
	while (datagram(buf) > 0)
		;
	capture();
	log_info("back");
	captured();
	datagram(buf);
	assert_non_null(strstr(buf, "MESSAGE=back\nDROPPED=1\n"));
	/* Where there is none, nothing is lost. */
	log_set_journal("/nonexistent/journal");
	capture();
	log_info("x");
	captured();
	assert_int_equal(log_dropped(), before + 1);
	log_set_journal(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_record_is_one_line),
		cmocka_unit_test(long_lines_are_cut),
		cmocka_unit_test(levels),
		cmocka_unit_test(errno_survives),
		cmocka_unit_test(a_full_pipe_drops_and_counts),
		cmocka_unit_test(a_reader_that_went_is_no_end),
		cmocka_unit_test(a_stopped_terminal_drops),
		cmocka_unit_test(a_full_stream_socket_drops),
		cmocka_unit_test(journal_gets_the_bytes),
		cmocka_unit_test(a_full_or_absent_journal),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
