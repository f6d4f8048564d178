/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking writes that need a reader's help, and reads that wait for all: none is ever cut short
 * by a freeze, and no byte is lost, doubled or moved.
 */
#include <poll.h>
#include <sys/socket.h>

#include "tests/victims/victim.h"

#define CHUNK 300000

struct stream {
	int in, out;
	bool socket;
	unsigned char to[CHUNK], from[CHUNK];
};
static struct stream streams[2];

static void *writer(void *arg)
{
	struct stream *s = arg;

	for (unsigned round = 0; !victim_stopping(); round++) {
		for (unsigned i = 0; i < CHUNK; i++)
			s->to[i] = (unsigned char)(i * 7 + round);
		ssize_t n = s->socket ? send(s->out, s->to, CHUNK, MSG_NOSIGNAL)
				      : write(s->out, s->to, CHUNK);
		victim_check(n == CHUNK, "%zd of %d bytes written", n, CHUNK);
	}
	shutdown(s->out, SHUT_WR);
	close(s->out);
	return NULL;
}

static ssize_t take(struct stream *s, unsigned at)
{
	/* Slowly, so that the writer waits. */
	if (s->socket)
		return recv(s->in, s->from + at, CHUNK - at, MSG_WAITALL);
	victim_nap(200);
	return read(s->in, s->from + at, CHUNK - at);
}

static void *reader(void *arg)
{
	struct stream *s = arg;

	for (unsigned round = 0;; round++) {
		unsigned got = 0;
		while (got < CHUNK) {
			ssize_t n = take(s, got);
			if (n == 0 && got == 0)
				return NULL;
			victim_check(n > 0, "read");
			victim_check(!s->socket || n == CHUNK, "only %zd bytes read", n);
			got += (unsigned)n;
		}
		for (unsigned i = 0; i < CHUNK; i++)
			victim_check(s->from[i] == (unsigned char)(i * 7 + round),
				"byte %u of round %u", i, round);
		victim_progress();
	}
}

int main(void)
{
	pthread_t t[4];
	int fd[2];

	victim_begin();
	victim_check(pipe(fd) == 0, "pipe");
	streams[0].in = fd[0];
	streams[0].out = fd[1];
	victim_check(socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == 0, "socketpair");
	streams[1].in = fd[0];
	streams[1].out = fd[1];
	streams[1].socket = true;
	for (unsigned i = 0; i < 4; i++)
		victim_check(
			pthread_create(&t[i], NULL, i % 2 ? reader : writer, &streams[i / 2]) == 0,
			"pthread_create");
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	return 0;
}
