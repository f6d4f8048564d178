/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"

#define PEEK_MAX 65536
/* TCPROS: a longer message is refused by roscpp itself; text protocols read as more than that. */
#define LENGTH_MAX (1u << 28)
/* An answer that has not come by then is not waited for any more. */
#define REQUEST_OPEN_MS 3000
/* Within a message there are no such pauses; the kernel counts in ticks of up to 10 ms. */
#define REST_MS 20
enum { TCP_STATE_ESTABLISHED = 1, TCP_STATE_CLOSE_WAIT = 8, TCP_STATE_LISTEN = 10 };

int streams_reserve(struct stream_table *t, size_t n)
{
	size_t want = MAX2(t->n_max, (size_t)64);
	struct stream *p;

	while (want < n)
		want *= 2;
	if (want == t->n_max)
		return 0;
	p = realloc(t->items, want * sizeof(*p));
	if (!p)
		return -ENOMEM;
	t->items = p;
	t->n_max = want;
	return 0;
}

void streams_free(struct stream_table *t)
{
	free(t->items);
	memset(t, 0, sizeof(*t));
}

static uint16_t local_port(int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a;
	socklen_t len = sizeof(a);

	memset(&a, 0, sizeof(a));
	if (getsockname(fd, &a.any, &len) < 0)
		return 0;
	return a.any.sa_family == AF_INET6 ? a.in6.sin6_port : a.in.sin_port;
}

static bool is_listening(int fd)
{
	int listening = 0;
	socklen_t len = sizeof(listening);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

/* The state of the connection, 0 when this is none; *s is filled for open connections. */
static int sample_one(int fd, struct stream *s)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int unread = 0, unsent = 0;

	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return is_listening(fd) ? TCP_STATE_LISTEN : 0;
	s->port = local_port(fd);
	if (info.tcpi_state != TCP_STATE_ESTABLISHED && info.tcpi_state != TCP_STATE_CLOSE_WAIT)
		return info.tcpi_state;
	if (ioctl(fd, SIOCINQ, &unread) < 0 || ioctl(fd, SIOCOUTQ, &unsent) < 0)
		return 0;
	s->consumed = info.tcpi_bytes_received - (uint64_t)unread;
	s->written = info.tcpi_bytes_acked + (uint64_t)unsent;
	s->unread = (uint32_t)unread;
	s->unsent = (uint32_t)unsent;
	s->sent_ago = info.tcpi_last_data_sent;
	s->received_ago = info.tcpi_last_data_recv;
	s->segs_in = info.tcpi_data_segs_in;
	s->segs_out = info.tcpi_data_segs_out;
	return info.tcpi_state;
}

int streams_sample(struct stream_table *t, struct file_table *files, int pidfd)
{
	t->n = 0;
	for (size_t i = 0; i < files->n; i++) {
		struct file_entry *f = &files->entries[i];
		struct stream s = {.fd = f->fd, .link_hash = f->link_hash};
		int state, fd;

		if (f->kind != FILE_SOCKET)
			continue;
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, f->fd, 0);
		if (fd < 0 && errno != EBADF)
			return -errno; /* we have no room: nothing is known of it */
		if (fd < 0)
			continue;
		f->status = fcntl(fd, F_GETFL);
		state = sample_one(fd, &s);
		close(fd);
		s.listening = state == TCP_STATE_LISTEN;
		if (!s.listening && state != TCP_STATE_ESTABLISHED && state != TCP_STATE_CLOSE_WAIT)
			continue;
		if (t->n >= t->n_max)
			return -ENOSPC;
		t->items[t->n++] = s;
	}
	/* An accepted connection has its listener's port: there the peer asks and we answer. */
	for (size_t i = 0; i < t->n; i++)
		for (size_t k = 0; t->items[i].port && k < t->n; k++)
			t->items[i].server |=
				t->items[k].listening && t->items[i].port == t->items[k].port;
	return 0;
}

static const struct stream *find(const struct stream_table *t, const struct stream *s)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->items[i].fd == s->fd && t->items[i].link_hash == s->link_hash)
			return &t->items[i];
	return NULL;
}

static bool same_place(const struct stream *a, const struct stream *b)
{
	return a->consumed == b->consumed && a->written == b->written;
}

/* Both sides talk in turns, as opposed to one that sends and one that listens. */
static bool is_dialogue(const struct stream *s)
{
	return s->segs_in > 0 && s->segs_out > 0 && (uint64_t)s->segs_in * 4 >= s->segs_out &&
	       (uint64_t)s->segs_out * 4 >= s->segs_in;
}

/* A question without an answer: sent and nothing received since, or, on the serving side, the
 * other way round. The kernel counts in ticks; what fell into one tick is taken as answered. */
static bool is_open_question(const struct stream *s)
{
	uint32_t asked = s->server ? s->received_ago : s->sent_ago;
	uint32_t answered = s->server ? s->sent_ago : s->received_ago;
	return is_dialogue(s) && asked < answered && asked < REQUEST_OPEN_MS;
}

bool streams_judge(const struct stream_table *before, struct stream_table *after)
{
	bool all_still = before->n == after->n;

	for (size_t i = 0; i < after->n; i++) {
		struct stream *s = &after->items[i];
		const struct stream *b = find(before, s);
		bool still = b && same_place(b, s) && s->unread == 0;

		/* A dialogue rests after each answer, however fast it goes; and what nobody has
		 * said anything on for a while rests, whether or not it was looked at then. */
		s->at_rest = still ||
			     (s->unread == 0 && s->unsent == 0 &&
				     MIN2(s->sent_ago, s->received_ago) >= REST_MS) ||
			     (is_dialogue(s) && s->unread == 0 && !is_open_question(s));
		/* A rolled-back client would wait for an answer that has been read already. */
		all_still &= still && (s->server || !is_open_question(s));
	}
	return all_still;
}

static bool is_http_line(const uint8_t *p, size_t n)
{
	static const char *const starts[] = {"HTTP/", "POST ", "GET ", "HEAD ", "PUT "};
	for (size_t i = 0; i < ELEMENTSOF(starts); i++)
		if (n >= strlen(starts[i]) && memcmp(p, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

/* Whether what is unread begins with a message. Lengths are followed as far as we can see, for
 * the first words of a torn body may look like one. */
static bool begins_message(const uint8_t *p, size_t n, size_t unread)
{
	size_t at = 0;

	if (is_http_line(p, n))
		return true;
	while (at + 4 <= n) {
		uint32_t len;
		memcpy(&len, p + at, 4);
		if (len == 0 || len > LENGTH_MAX)
			return false;
		at += 4 + (size_t)len;
	}
	/* The last length seen must not end in the middle of nowhere. */
	return at > 0 && (at >= unread || at + 4 > n);
}

static bool input_torn(const struct stream *s, int pidfd)
{
	static uint8_t buf[PEEK_MAX];
	ssize_t n = -1;
	int fd;

	if (s->unread == 0)
		return false;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, s->fd, 0);
	if (fd >= 0) {
		n = recv(fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
		close(fd);
	}
	return n <= 0 || !begins_message(buf, (size_t)n, s->unread);
}

/* It waited for room to write on: so a message was half written. */
static bool output_torn(const struct file_table *then, const struct file_table *now, int fd)
{
	const struct epoll_entry *was = files_find_epoll(then, -1, fd);
	const struct epoll_entry *is = files_find_epoll(now, -1, fd);
	return is && (is->events & EPOLLOUT) && !(was && (was->events & EPOLLOUT));
}

/* An answer that the twin will not expect, or a question that it has not seen. */
static bool dialogue_torn(const struct stream *s)
{
	return is_open_question(s) || (is_dialogue(s) && !s->server && s->unread > 0);
}

int streams_reconcile(struct twin_engine *e, const struct stream_table *then,
	const struct stream_table *now, const struct file_table *files_then,
	const struct file_table *files_now, int pidfd, struct twin_swap *ret)
{
	for (size_t i = 0; i < then->n; i++) {
		const struct stream *t = &then->items[i], *n = find(now, t);
		struct sockaddr unspec = {.sa_family = AF_UNSPEC};
		uint64_t at;

		if (!n && t->listening)
			return engine_fail(e, -ESTALE,
				"it has closed listening socket %d, which cannot be given back",
				t->fd);
		if (t->listening)
			continue;
		if (!n) /* closed, or ended by the peer: the descriptor table's affair */
			continue;
		if (same_place(t, n)) {
			ret->streams_kept++;
			continue;
		}
		if (t->at_rest && !input_torn(n, pidfd) &&
			!output_torn(files_then, files_now, t->fd) && !dialogue_torn(n)) {
			ret->streams_moved++;
			continue;
		}
		ret->streams_torn++;
		at = repair_data(e, &unspec, sizeof(unspec));
		if (at)
			(void)repair_add(e, SYS_connect,
				(const uint64_t[6]){(uint64_t)t->fd, at, sizeof(unspec)});
	}
	return 0;
}
