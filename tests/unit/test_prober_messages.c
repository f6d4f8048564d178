/* SPDX-License-Identifier: Apache-2.0 */
/* Messages counted out of real streams, in a control group of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probes/prober/message_count.h"
#include "supervisor/keeper/cgroup.h"

static struct node_cgroup group;
static struct message_count counter;

struct stream {
	int client, server;
	struct message_stream id;
	size_t unread;
};

static int setup(_unused_ void **state)
{
	char why[256], node[64];
	int r;

	counter = (struct message_count)MESSAGE_COUNT_NONE;
	snprintf(node, sizeof(node), "messages-%d", getpid());
	node_cgroup_open(&group, node, why, sizeof(why));
	if (!group.path[CGROUP_UNIFIED][0]) {
		print_message("no unified hierarchy that may be written: %s\n", why);
		return 0;
	}
	/* Sockets belong to the group in which they are made. */
	assert_int_equal(write(group.procs[CGROUP_UNIFIED], "0", 1), 1);
	r = message_count_open(&counter, group.folder[CGROUP_UNIFIED]);
	if (r < 0) {
		print_message("no eBPF here: %s\n", strerror(-r));
		/* Where it is allowed the program has to pass the verifier. */
		assert_true(r == -EPERM || r == -ENOSYS);
	}
	return 0;
}

static int teardown(_unused_ void **state)
{
	char path[PATH_MAX + 32];
	FILE *f;

	message_count_close(&counter);
	if (!group.path[CGROUP_UNIFIED][0])
		return 0;
	snprintf(path, sizeof(path), "%s/../../cgroup.procs", group.path[CGROUP_UNIFIED]);
	f = fopen(path, "w");
	if (f) {
		fputs("0", f);
		fclose(f);
	}
	node_cgroup_close(&group);
	return 0;
}

static void stream_open(struct stream *s)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(at);

	if (counter.map < 0)
		skip();
	assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	s->id.local_port = at.sin_port;
	s->client = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(s->client, (struct sockaddr *)&at, len), 0);
	s->server = accept(listener, (struct sockaddr *)&at, &len);
	assert_true(s->server >= 0);
	s->id.remote_port = at.sin_port;
	s->id.remote = at.sin_addr.s_addr;
	s->unread = 0;
	close(listener);
}

static void stream_close(struct stream *s)
{
	close(s->client);
	close(s->server);
}

static void drain(struct stream *s)
{
	static char waste[1 << 16];

	while (s->unread > 0) {
		ssize_t n = recv(
			s->client, waste, s->unread < sizeof(waste) ? s->unread : sizeof(waste), 0);
		assert_true(n > 0);
		s->unread -= (size_t)n;
	}
}

/* piece: how much at once. */
static void put(struct stream *s, const void *data, size_t len, size_t piece)
{
	for (size_t done = 0; done < len;) {
		size_t n = len - done < piece ? len - done : piece;
		ssize_t k = send(s->server, (const char *)data + done, n, MSG_DONTWAIT);
		if (k < 0) {
			assert_int_equal(errno, EAGAIN);
			drain(s);
			continue;
		}
		done += (size_t)k;
		s->unread += (size_t)k;
	}
}

/* A body that looks as little like lengths as possible, or as much. */
static char *message(size_t len, char fill)
{
	char *m = malloc(len + 4);
	uint32_t word = (uint32_t)len;

	assert_non_null(m);
	memcpy(m, &word, 4);
	memset(m + 4, fill, len);
	return m;
}

static void send_message(struct stream *s, size_t len, char fill, size_t piece)
{
	char *m = message(len, fill);

	put(s, m, len + 4, piece);
	free(m);
}

static uint64_t messages(struct stream *s)
{
	uint64_t n = 0;

	drain(s);
	assert_int_equal(message_count_read(&counter, &s->id, &n), 0);
	return n;
}

static void test_from_the_start(_unused_ void **state)
{
	struct stream s;

	stream_open(&s);
	send_message(&s, 200, 'h', SIZE_MAX); /* the header */
	assert_int_equal(messages(&s), 0);
	for (unsigned i = 0; i < 100; i++)
		send_message(&s, i, 0, SIZE_MAX);
	assert_int_equal(messages(&s), 100);
	for (unsigned i = 0; i < 3; i++)
		send_message(&s, 1800000 + i, 0, SIZE_MAX);
	assert_int_equal(messages(&s), 103);
	stream_close(&s);
}

/* Whatever pieces it goes out in, as long as no length is torn. */
static void test_pieces(_unused_ void **state)
{
	struct stream s;

	stream_open(&s);
	send_message(&s, 200, 'h', SIZE_MAX);
	assert_int_equal(setsockopt(s.server, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
	for (unsigned i = 0; i < 20; i++) {
		send_message(&s, 1000, (char)i, 4);
		send_message(&s, 5000, 1, 996);
	}
	assert_int_equal(messages(&s), 40);
	stream_close(&s);
}

/* Many in one packet. */
static void test_many_at_once(_unused_ void **state)
{
	static char heap[100 * 64];
	uint32_t word = 60;
	struct stream s;

	stream_open(&s);
	send_message(&s, 200, 'h', SIZE_MAX);
	for (unsigned i = 0; i < 100; i++)
		memcpy(heap + i * 64, &word, 4);
	for (unsigned i = 0; i < 10; i++)
		put(&s, heap, sizeof(heap), SIZE_MAX);
	assert_int_equal(messages(&s), 1000);
	stream_close(&s);
}

/* A length torn in two costs the count little: it is found again. */
static void test_torn(_unused_ void **state)
{
	struct stream s;
	uint64_t n;

	stream_open(&s);
	send_message(&s, 200, 'h', SIZE_MAX);
	assert_int_equal(setsockopt(s.server, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
	send_message(&s, 1000, 'x', 3);
	drain(&s);
	/* It rests between two messages: so it does with every node that is not at its limit. */
	for (unsigned i = 0; i < 20; i++) {
		send_message(&s, 1000, 'x', SIZE_MAX);
		drain(&s);
	}
	n = messages(&s);
	assert_in_range(n, 19, 21);
	for (unsigned i = 0; i < 20; i++)
		send_message(&s, 1000, 'x', SIZE_MAX);
	assert_int_equal(messages(&s), n + 20);
	stream_close(&s);
}

static void test_other_protocol(_unused_ void **state)
{
	struct stream s;
	uint64_t n;

	stream_open(&s);
	put(&s, "HTTP/1.0 200 OK\r\n\r\n", 19, SIZE_MAX);
	drain(&s);
	assert_int_equal(message_count_read(&counter, &s.id, &n), -EPROTO);
	stream_close(&s);
}

/* One that was there before: the program is not told of its beginning. */
static void test_older_stream(_unused_ void **state)
{
	struct stream s;
	uint64_t n, m;

	stream_open(&s);
	send_message(&s, 200, 'h', SIZE_MAX);
	drain(&s);
	message_count_close(&counter);
	assert_int_equal(message_count_open(&counter, group.folder[CGROUP_UNIFIED]), 0);
	assert_int_equal(message_count_read(&counter, &s.id, &n), -ENOENT);
	assert_int_equal(message_count_read(&counter, &s.id, &n), -EAGAIN);
	for (unsigned i = 0; i < 5; i++) {
		send_message(&s, 300000, 0, SIZE_MAX);
		drain(&s);
	}
	n = messages(&s);
	assert_in_range(n, 1, 5);
	for (unsigned i = 0; i < 50; i++)
		send_message(&s, i + 1, 0, SIZE_MAX);
	m = messages(&s);
	assert_int_equal(m, n + 50);
	stream_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_from_the_start),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_other_protocol),
		cmocka_unit_test(test_older_stream),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
