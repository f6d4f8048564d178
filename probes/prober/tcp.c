/* SPDX-License-Identifier: Apache-2.0 */
/* Kind=tcp: does somebody take connections at Address=? A backlog that is not full is enough: the
 * kernel shakes hands for a program that has hung. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "probes/prober/check.h"

struct tcp {
	ev_io io;
	int fd;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} to;
	socklen_t len;
};

/* Checked by config/set_probe.c. */
static void parse(struct tcp *t, const char *s)
{
	const char *colon = strrchr(s, ':');
	in_port_t port = htons((uint16_t)strtoul(colon ? colon + 1 : s, NULL, 10));
	char host[64] = "127.0.0.1";

	if (*s == '/') {
		t->to.un = (struct sockaddr_un){.sun_family = AF_UNIX};
		snprintf(t->to.un.sun_path, sizeof(t->to.un.sun_path), "%s", s);
		t->len = sizeof(t->to.un);
		return;
	}
	if (colon)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - s), s);
	if (*host == '[') {
		host[strlen(host) - 1] = '\0';
		t->to.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
		(void)inet_pton(AF_INET6, host + 1, &t->to.in6.sin6_addr);
		t->len = sizeof(t->to.in6);
		return;
	}
	t->to.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
	(void)inet_pton(AF_INET, host, &t->to.in.sin_addr);
	t->len = sizeof(t->to.in);
}

static void hang_up(struct check *c)
{
	struct tcp *t = c->own;

	ev_io_stop(c->prober->loop, &t->io);
	if (t->fd >= 0)
		close(STEAL_FD(t->fd));
}

static void over(struct check *c, int error)
{
	hang_up(c);
	if (error)
		check_bad(c, "connection to %s: %s", c->settings->address, strerror(error));
	else
		check_good(c);
}

static void on_connected(_unused_ struct ev_loop *loop, ev_io *w, _unused_ int revents)
{
	int error = 0;

	if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof(error)}) < 0)
		error = errno;
	over(w->data, error);
}

static void begin(struct check *c)
{
	struct tcp *t = c->own;
	/* Closed with a reset, so that no look leaves a connection behind for a minute. */
	static const struct linger none = {.l_onoff = 1};

	t->fd = socket(t->to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (t->fd < 0) {
		check_unknown(c);
		return;
	}
	(void)setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	if (connect(t->fd, &t->to.any, t->len) == 0) {
		over(c, 0);
	} else if (errno != EINPROGRESS) {
		/* AF_UNIX says EAGAIN where the backlog is full. */
		over(c, errno);
	} else {
		ev_io_set(&t->io, t->fd, EV_WRITE);
		ev_io_start(c->prober->loop, &t->io);
	}
}

static int init(struct check *c)
{
	struct tcp *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->fd = -1;
	ev_init(&t->io, on_connected);
	t->io.data = c;
	parse(t, c->settings->address);
	c->own = t;
	return 0;
}

const struct check_ops check_tcp = {.init = init, .begin = begin, .cancel = hang_up};
