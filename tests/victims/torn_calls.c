/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Swapped in the middle of long writes. A child, which no swap rolls back, reads framed messages
 * from several streams and sees whole ones only: what the dead had sent of a message its twin does
 * not send again, and what was missing it sends. A message may come twice, for the twin has
 * forgotten it.
 */
#include "tests/victims/raw_call.h"

#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define CHUNK 200000
#define PIECES 5
#define MAGIC 0x7e57ca11u

struct header {
	uint32_t magic, round;
};
struct stream;
struct kind {
	const char *name;
	bool socket;
	ssize_t (*put)(struct stream *s);
};
struct stream {
	const struct kind *kind;
	int in, out, file;
	off_t at; /* of the message in the file */
	unsigned char bytes[CHUNK];
	struct iovec iov[PIECES];
};

static ssize_t put_write(struct stream *s)
{
	return RAW(SYS_write, s->out, s->bytes, CHUNK);
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
/* The pages themselves are sent, so each message has others. */
static ssize_t put_sendfile(struct stream *s)
{
	off_t at = s->at;
	victim_check(pwrite(s->file, s->bytes, CHUNK, s->at) == CHUNK, "pwrite");
	ssize_t n = RAW(SYS_sendfile, s->out, s->file, &at, CHUNK);
	victim_check(at == s->at + CHUNK, "offset %lld", (long long)at);
	return n;
}
static ssize_t put_sendfile_here(struct stream *s)
{
	victim_check(pwrite(s->file, s->bytes, CHUNK, s->at) == CHUNK, "pwrite");
	lseek(s->file, s->at, SEEK_SET);
	ssize_t n = RAW(SYS_sendfile, s->out, s->file, NULL, CHUNK);
	victim_check(lseek(s->file, 0, SEEK_CUR) == s->at + CHUNK, "offset");
	return n;
}

static const struct kind kinds[] = {
	{"write to a pipe", false, put_write},
	{"write to a socket", true, put_write},
	{"writev to a pipe", false, put_writev},
	{"writev to a socket", true, put_writev},
	{"sendmsg", true, put_sendmsg},
	{"sendfile", true, put_sendfile},
	{"sendfile, offset of the file", true, put_sendfile_here},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))
static struct stream streams[KINDS];

static unsigned char byte_of(unsigned i, uint32_t round)
{
	return (unsigned char)(i * 13 + round * 5);
}

/* How many messages may be begun. The victim sees by itself that it has been rolled back: the dead
 * must not begin one when the driver says that it will swap. */
static _Atomic unsigned allowed = 1;
static unsigned turns;
static _Atomic uint32_t *turns_of_all;

static void look_for_rollback(void)
{
	if (atomic_load(turns_of_all) != turns)
		atomic_fetch_add(&allowed, 1);
	turns = atomic_load(turns_of_all) + 1;
	atomic_store(turns_of_all, turns);
}

/* Of each stream the last message that the child has seen the beginning of, counted from 1. */
static _Atomic uint32_t *seen;

/* One message after each swap: what the dead had begun after the checkpoint would be torn anyhow.
 */
static void *writer(void *arg)
{
	struct stream *s = arg;

	for (uint32_t round = 0;; round++) {
		while (victim_is_swapped() && round >= atomic_load(&allowed) && !victim->stop)
			victim_nap(500);
		if (victim_stopping())
			break;
		struct header h = {MAGIC, round};
		memcpy(s->bytes, &h, sizeof(h));
		for (unsigned i = sizeof(h); i < CHUNK; i++)
			s->bytes[i] = byte_of(i, round);
		s->at = round % 64 * CHUNK;
		ssize_t n = s->kind->put(s);
		victim_check(n == CHUNK, "%s: %zd bytes", s->kind->name, n);
	}
	shutdown(s->out, SHUT_WR);
	close(s->out);
	return NULL;
}

static bool all_seen(void)
{
	for (unsigned k = 0; k < KINDS; k++)
		if (atomic_load(&seen[k]) < atomic_load(&allowed))
			return false;
	return true;
}

static void check(const struct stream *s, const unsigned char *bytes, uint32_t last)
{
	struct header h;

	memcpy(&h, bytes, sizeof(h));
	victim_check(h.magic == MAGIC, "%s: torn after round %u", s->kind->name, last);
	for (unsigned i = sizeof(h); i < CHUNK; i++)
		victim_check(bytes[i] == byte_of(i, h.round), "%s: byte %u of round %u is %d",
			s->kind->name, i, h.round, bytes[i]);
	victim_check(h.round <= last + 1 || last == UINT32_MAX, "%s: %u after %u", s->kind->name,
		h.round, last);
}

/* The child. Slowly, so that the writers wait. */
static void read_all(void)
{
	static unsigned char bytes[KINDS][CHUNK];
	unsigned got[KINDS] = {0}, open = KINDS;
	uint32_t last[KINDS];

	memset(last, 0xff, sizeof(last));
	for (unsigned k = 0; k < KINDS; k++)
		close(streams[k].out);
	for (; open > 0; victim_nap(1000))
		for (unsigned k = 0; k < KINDS; k++) {
			struct stream *s = &streams[k];
			if (s->in < 0)
				continue;
			struct pollfd p = {.fd = s->in, .events = POLLIN};
			if (poll(&p, 1, 0) == 0)
				continue;
			ssize_t n = read(s->in, bytes[k] + got[k],
				CHUNK - got[k] < 20000 ? CHUNK - got[k] : 20000);
			victim_check(n >= 0, "read");
			got[k] += (unsigned)n;
			if (n == 0) {
				victim_check(got[k] == 0, "%s: torn at its end", s->kind->name);
				close(s->in);
				s->in = -1;
				open--;
			}
			struct header h;
			memcpy(&h, bytes[k], sizeof(h));
			if (got[k] >= sizeof(h))
				atomic_store(&seen[k], h.round + 1);
			if (got[k] == CHUNK) {
				check(s, bytes[k], last[k]);
				last[k] = h.round;
				got[k] = 0;
			}
		}
}

static void set_up(struct stream *s)
{
	unsigned each = CHUNK / PIECES;
	int fd[2], room = CHUNK / 4;

	victim_check((s->kind->socket ? socketpair(AF_UNIX, SOCK_STREAM, 0, fd) : pipe(fd)) == 0,
		"streams");
	/* Room for a part of a message only. */
	victim_check(!s->kind->socket ||
			     setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0,
		"room");
	s->in = fd[0];
	s->out = fd[1];
	s->file = memfd_create("torn", 0);
	for (unsigned i = 0; i < PIECES; i++)
		s->iov[i] = (struct iovec){s->bytes + i * each, each};
}

int main(void)
{
	pthread_t t[KINDS];
	pid_t child;

	victim_begin();
	seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	turns_of_all = seen + KINDS;
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < KINDS; i++) {
		streams[i].kind = &kinds[i];
		set_up(&streams[i]);
	}
	child = fork();
	if (child == 0) {
		read_all();
		_exit(0);
	}
	for (unsigned i = 0; i < KINDS; i++)
		close(streams[i].in);
	for (unsigned i = 0; i < KINDS; i++)
		t[i] = victim_thread(writer, &streams[i]);
	while (!victim_stopping()) {
		victim_nap(2000);
		look_for_rollback();
		if (all_seen() || !victim_is_swapped())
			victim_progress();
	}
	for (unsigned i = 0; i < KINDS; i++)
		pthread_join(t[i], NULL);
	return 0;
}
