/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking calls that need another's help to move all their bytes: none is ever cut short by a
 * freeze, no byte is lost, doubled or moved, and no register and no argument in memory is changed.
 */
#include "tests/victims/raw_call.h"

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <termios.h>

#define CHUNK 300000
#define PIECES 7    /* of vectors; the first of them is empty */
#define MESSAGES 40 /* of sendmmsg, recvmmsg */
#define BURST 60    /* bytes a terminal waits for */

struct stream;
struct kind {
	const char *name;
	int (*open_pair)(struct stream *s);
	ssize_t (*put)(struct stream *s);
	ssize_t (*get)(struct stream *s, unsigned at); /* NULL: slowly, by read() */
};
struct stream {
	const struct kind *kind;
	int in, out, helper[2];
	size_t size;
	unsigned char *to, *from;
	struct iovec iov[PIECES];
};

static int open_pipe(struct stream *s)
{
	int fd[2], r = pipe(fd);
	s->in = fd[0];
	s->out = fd[1];
	return r;
}
static int open_unix(struct stream *s)
{
	int fd[2], r = socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
	s->in = fd[0];
	s->out = fd[1];
	return r;
}
static int open_datagrams(struct stream *s)
{
	int fd[2], r = socketpair(AF_UNIX, SOCK_DGRAM, 0, fd);
	s->in = fd[0];
	s->out = fd[1];
	s->size = MESSAGES * 1000;
	return r;
}
static int open_tcp(struct stream *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(l, (struct sockaddr *)&a, len) < 0 || listen(l, 1) < 0 ||
		getsockname(l, (struct sockaddr *)&a, &len) < 0)
		return -1;
	s->out = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(s->out, (struct sockaddr *)&a, len) < 0)
		return -1;
	s->in = accept(l, NULL, NULL);
	close(l);
	return s->in < 0 ? -1 : 0;
}
static int open_terminal(struct stream *s)
{
	struct termios t;

	s->in = posix_openpt(O_RDWR | O_NOCTTY);
	if (s->in < 0 || grantpt(s->in) < 0 || unlockpt(s->in) < 0)
		return -1;
	s->out = open(ptsname(s->in), O_RDWR | O_NOCTTY);
	if (s->out < 0 || tcgetattr(s->out, &t) < 0)
		return -1;
	cfmakeraw(&t);
	t.c_cc[VMIN] = BURST;
	s->size = 20000;
	return tcsetattr(s->out, TCSANOW, &t);
}
static int open_terminal_back(struct stream *s)
{
	int r = open_terminal(s), fd = s->in;

	s->in = s->out;
	s->out = fd;
	s->size = BURST;
	return r;
}

static ssize_t put_write(struct stream *s)
{
	return RAW(SYS_write, s->out, s->to, s->size);
}
static ssize_t put_send(struct stream *s)
{
	return RAW(SYS_sendto, s->out, s->to, s->size, MSG_NOSIGNAL, NULL, 0);
}
static ssize_t put_writev(struct stream *s)
{
	return RAW(SYS_writev, s->out, s->iov, PIECES);
}
static ssize_t put_sendmsg(struct stream *s)
{
	struct msghdr m = {.msg_iov = s->iov, .msg_iovlen = PIECES};
	return RAW(SYS_sendmsg, s->out, &m, MSG_NOSIGNAL);
}
/* The pages themselves are sent, so each time they are others. */
static int new_file(struct stream *s)
{
	int fd = memfd_create("whole", 0);
	victim_check(write(fd, s->to, s->size) == (ssize_t)s->size, "write");
	return fd;
}
static ssize_t put_sendfile(struct stream *s)
{
	int file = new_file(s);
	off_t at = 0;
	ssize_t n = RAW(SYS_sendfile, s->out, file, &at, s->size);
	victim_check(at == (off_t)s->size, "offset %lld", (long long)at);
	close(file);
	return n;
}
static ssize_t put_sendfile_here(struct stream *s)
{
	int file = new_file(s);
	lseek(file, 0, SEEK_SET);
	ssize_t n = RAW(SYS_sendfile, s->out, file, NULL, s->size);
	victim_check(lseek(file, 0, SEEK_CUR) == (off_t)s->size, "offset");
	close(file);
	return n;
}
static ssize_t put_splice(struct stream *s)
{
	/* The pipe has room for all of it. */
	victim_check(write(s->helper[1], s->to, s->size) == (ssize_t)s->size, "write");
	return RAW(SYS_splice, s->helper[0], NULL, s->out, NULL, s->size, 0);
}
static ssize_t put_in_drops(struct stream *s)
{
	for (unsigned i = 0; i < s->size; i += 10) {
		victim_check(write(s->out, s->to + i, 10) == 10, "write");
		victim_nap(50);
	}
	return (ssize_t)s->size;
}

static void fill_messages(
	struct stream *s, struct mmsghdr *m, struct iovec *iov, unsigned char *base)
{
	memset(m, 0, sizeof(*m) * MESSAGES);
	for (unsigned i = 0; i < MESSAGES; i++) {
		iov[i] = (struct iovec){base + i * (s->size / MESSAGES), s->size / MESSAGES};
		m[i].msg_hdr.msg_iov = &iov[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
}
static ssize_t count_messages(struct stream *s, const struct mmsghdr *m, long n)
{
	victim_check(n == MESSAGES, "%s: only %ld messages", s->kind->name, n);
	for (unsigned i = 0; i < MESSAGES; i++)
		victim_check(m[i].msg_len == s->size / MESSAGES, "%s: message of %u bytes",
			s->kind->name, m[i].msg_len);
	return (ssize_t)s->size;
}
static ssize_t put_messages(struct stream *s)
{
	struct mmsghdr m[MESSAGES];
	struct iovec iov[MESSAGES];

	fill_messages(s, m, iov, s->to);
	return count_messages(s, m, RAW(SYS_sendmmsg, s->out, m, MESSAGES, 0));
}
static ssize_t put_messages_slowly(struct stream *s)
{
	for (unsigned i = 0; i < MESSAGES; i++) {
		victim_nap(200);
		victim_check(send(s->out, s->to + i * (s->size / MESSAGES), s->size / MESSAGES,
				     0) == (ssize_t)(s->size / MESSAGES),
			"send");
	}
	return (ssize_t)s->size;
}

static ssize_t get_all(struct stream *s, unsigned at)
{
	return RAW(SYS_recvfrom, s->in, s->from + at, s->size - at, MSG_WAITALL, NULL, NULL);
}
static ssize_t get_message(struct stream *s, unsigned at)
{
	struct iovec iov[2] = {{s->from + at, 1000}, {s->from + at + 1000, s->size - at - 1000}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
	return RAW(SYS_recvmsg, s->in, &m, MSG_WAITALL);
}
static ssize_t get_messages(struct stream *s, unsigned at)
{
	struct mmsghdr m[MESSAGES];
	struct iovec iov[MESSAGES];
	long n;

	(void)at;
	fill_messages(s, m, iov, s->from);
	n = RAW(SYS_recvmmsg, s->in, m, MESSAGES, 0, NULL);
	return n > 0 && m[0].msg_len == 0 ? 0 : count_messages(s, m, n);
}
static ssize_t get_burst(struct stream *s, unsigned at)
{
	return RAW(SYS_read, s->in, s->from + at, s->size - at);
}

static const struct kind kinds[] = {
	{"write to a pipe", open_pipe, put_write, NULL},
	{"write to a socket", open_unix, put_write, get_all},
	{"send", open_unix, put_send, get_all},
	{"send by TCP", open_tcp, put_send, get_all},
	{"writev to a pipe", open_pipe, put_writev, NULL},
	{"writev to a socket", open_unix, put_writev, get_message},
	{"sendmsg", open_unix, put_sendmsg, get_message},
	{"sendmsg by TCP", open_tcp, put_sendmsg, get_message},
	{"sendfile", open_unix, put_sendfile, get_all},
	{"sendfile by TCP", open_tcp, put_sendfile_here, get_all},
	{"splice", open_unix, put_splice, get_all},
	{"sendmmsg", open_datagrams, put_messages, NULL},
	{"recvmmsg", open_datagrams, put_messages_slowly, get_messages},
	{"write to a terminal", open_terminal, put_write, NULL},
	{"read of a terminal, VMIN", open_terminal_back, put_in_drops, get_burst},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))
static struct stream streams[KINDS];

static void *writer(void *arg)
{
	struct stream *s = arg;

	for (unsigned round = 0; !victim_stopping(); round++) {
		for (unsigned i = 0; i < s->size; i++)
			s->to[i] = (unsigned char)(i * 7 + round);
		ssize_t n = s->kind->put(s);
		victim_check(
			n == (ssize_t)s->size, "%s: %zd of %zu bytes", s->kind->name, n, s->size);
	}
	/* A datagram of no bytes is an end as well. */
	for (unsigned i = 0;
		s->kind->open_pair == open_datagrams && i < (s->kind->get ? MESSAGES : 1); i++)
		(void)!send(s->out, "", 0, 0);
	shutdown(s->out, SHUT_WR);
	close(s->out);
	return NULL;
}

static ssize_t take(struct stream *s, unsigned at)
{
	if (s->kind->get)
		return s->kind->get(s, at);
	/* Slowly, so that the writer waits. */
	victim_nap(200);
	return read(s->in, s->from + at, s->size - at);
}

static void *reader(void *arg)
{
	struct stream *s = arg;

	for (unsigned round = 0;; round++) {
		unsigned got = 0;
		while (got < s->size) {
			ssize_t n = take(s, got);
			if ((n == 0 || n == -1 || n == -EIO) && got == 0 && victim->stop)
				return NULL; /* EIO: the other side of a terminal was closed */
			/* What a terminal still held is lost when its other side is closed. */
			if (s->kind->get == get_burst && victim->stop)
				return NULL;
			victim_check(n > 0, "%s: read says %zd at %u", s->kind->name, n, got);
			victim_check(!s->kind->get || n == (ssize_t)s->size,
				"%s: only %zd bytes read", s->kind->name, n);
			got += (unsigned)n;
		}
		for (unsigned i = 0; i < s->size; i++)
			victim_check(s->from[i] == (unsigned char)(i * 7 + round),
				"%s: byte %u of round %u", s->kind->name, i, round);
	}
}

/* What is cut short by any signal, without another's help. */
static void *devices(void *arg)
{
	static unsigned char bytes[4 << 20];
	int zero = open("/dev/zero", O_RDONLY), random = open("/dev/urandom", O_RDONLY);

	while (!victim->stop) {
		long n = RAW(SYS_getrandom, bytes, sizeof(bytes), 0);
		victim_check(n == sizeof(bytes), "getrandom says %ld", n);
		n = RAW(SYS_read, random, bytes, sizeof(bytes));
		victim_check(n == sizeof(bytes), "/dev/urandom says %ld", n);
		n = RAW(SYS_read, zero, bytes, sizeof(bytes));
		victim_check(n == sizeof(bytes), "/dev/zero says %ld", n);
		victim_nap(1000);
	}
	return arg;
}

static void set_up(struct stream *s)
{
	size_t each;

	s->size = CHUNK;
	victim_check(s->kind->open_pair(s) == 0, "%s", s->kind->name);
	s->to = malloc(s->size);
	s->from = malloc(s->size);
	victim_check(
		pipe(s->helper) == 0 && fcntl(s->helper[1], F_SETPIPE_SZ, 1 << 20) > 0, "pipe");
	each = s->size / (PIECES - 1);
	for (unsigned i = 1; i < PIECES; i++)
		s->iov[i] = (struct iovec){
			s->to + (i - 1) * each, i == PIECES - 1 ? s->size - (i - 1) * each : each};
	s->iov[0] = (struct iovec){s->to, 0};
}

int main(void)
{
	pthread_t t[KINDS * 2], d;

	victim_begin();
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < KINDS; i++) {
		streams[i].kind = &kinds[i];
		set_up(&streams[i]);
		t[i * 2] = victim_thread(writer, &streams[i]);
		t[i * 2 + 1] = victim_thread(reader, &streams[i]);
	}
	d = victim_thread(devices, NULL);
	while (!victim->stop) {
		victim_nap(1000);
		victim_progress();
	}
	for (unsigned i = 0; i < KINDS * 2; i++)
		pthread_join(t[i], NULL);
	pthread_join(d, NULL);
	return 0;
}
