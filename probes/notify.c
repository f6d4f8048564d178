/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/notify.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define ANCESTORS_MAX 64 /* deeper trees than this do not notify */

/* Bytes of the UTF-8 sequence at s (n are left), 0 where it is none. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
	size_t len = s[0] < 0x80                   ? 1
		     : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		     : (s[0] & 0xf0) == 0xe0       ? 3
		     : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						   : 0;

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, and what lies above U+10FFFF. */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return len;
}

static void parse_status(const char *value, size_t len, struct notify_message *m)
{
	const unsigned char *s = (const unsigned char *)value;
	char out[NOTIFY_STATUS_MAX];
	size_t n = 0;
	bool full = false;

	for (size_t i = 0, step; i < len; i += step) {
		step = utf8_length(s + i, len - i);
		if (step == 0)
			return;
		/* A long text is cut between characters; its rest still has to be valid. */
		full = full || n + step >= sizeof(out);
		if (full)
			continue;
		if (step == 1 && (s[i] < ' ' || s[i] == 0x7f))
			out[n++] = ' ';
		else
			for (size_t j = 0; j < step; j++)
				out[n++] = value[i + j];
	}
	memcpy(m->status, out, n);
	m->status[n] = '\0';
	m->has_status = true;
}

/* Decimal digits and nothing else, up to max. */
static bool parse_number(const char *s, size_t len, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned digit = (unsigned)((unsigned char)s[i] - '0');
		if (digit > 9 || v > (max - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*ret = v;
	return true;
}

static bool is(const char *s, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(s, word, len) == 0;
}

static void parse_mark(const char *value, size_t len, struct notify_message *m)
{
	if (m->n_marks >= NOTIFY_MARKS_MAX || len == 0 || len > PROBE_NAME_MAX)
		return;
	memcpy(m->marks[m->n_marks], value, len);
	m->marks[m->n_marks++][len] = '\0';
}

static void parse_line(const char *line, size_t len, struct notify_message *m)
{
	const char *eq = memchr(line, '=', len), *value;
	size_t key_len, value_len;
	uint64_t n;

	if (!eq)
		return;
	key_len = (size_t)(eq - line);
	value = eq + 1;
	value_len = len - key_len - 1;

	if (is(line, key_len, "READY"))
		m->ready |= is(value, value_len, "1");
	else if (is(line, key_len, "RELOADING"))
		m->reloading |= is(value, value_len, "1");
	else if (is(line, key_len, "STOPPING"))
		m->stopping |= is(value, value_len, "1");
	else if (is(line, key_len, "STATUS"))
		parse_status(value, value_len, m);
	else if (is(line, key_len, "WATCHDOG")) {
		m->watchdog |= is(value, value_len, "1");
		m->watchdog_trigger |= is(value, value_len, "trigger");
	} else if (is(line, key_len, "WATCHDOG_USEC")) {
		/* 0 would mean both "off" and "at once": refused, as elsewhere. */
		if (parse_number(value, value_len, UINT64_MAX, &n) && n > 0) {
			m->has_watchdog_usec = true;
			m->watchdog_usec = n;
		}
	} else if (is(line, key_len, "EXTEND_TIMEOUT_USEC")) {
		if (parse_number(value, value_len, UINT64_MAX, &n) && n > 0) {
			m->has_extend_timeout = true;
			m->extend_timeout_usec = n;
		}
	} else if (is(line, key_len, "ERRNO")) {
		if (parse_number(value, value_len, 4095, &n)) {
			m->has_errno = true;
			m->error = (int)n;
		}
	} else if (is(line, key_len, "TWIN_MARK")) {
		parse_mark(value, value_len, m);
	} else if (is(line, key_len, "MAINPID")) {
		if (parse_number(value, value_len, INT_MAX, &n) && n > 0)
			m->main_pid = (pid_t)n;
	}
}

void notify_parse(const char *text, size_t len, struct notify_message *ret)
{
	*ret = (struct notify_message){0};
	while (len > 0) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		/* A NUL ends the text, as it would for a C string; trailing ones are common. */
		if (memchr(text, '\0', n)) {
			parse_line(text, strlen(text), ret);
			return;
		}
		parse_line(text, n, ret);
		n += end != NULL;
		text += n;
		len -= n;
	}
}

int notify_socket_path(const char *dir, const char *id, char ret[NOTIFY_PATH_MAX])
{
	static const char hex[] = "0123456789abcdef", suffix[] = ".sock";
	char out[NOTIFY_PATH_MAX];
	size_t n = strlen(dir);

	if (n + 1 + sizeof(suffix) > sizeof(out))
		return -ENAMETOOLONG;
	memcpy(out, dir, n);
	out[n++] = '/';
	for (size_t i = 0; id[i]; i++) {
		unsigned char c = (unsigned char)id[i];
		/* '%' itself is never plain, so two ids never share a path. */
		bool plain =
			(isalnum(c) && c < 0x80) || (strchr("_-@:.", c) && !(c == '.' && i == 0));

		if (n + (plain ? 1 : 3) + sizeof(suffix) > sizeof(out))
			return -ENAMETOOLONG;
		if (plain)
			out[n++] = (char)c;
		else {
			out[n++] = '%';
			out[n++] = hex[c >> 4];
			out[n++] = hex[c & 15];
		}
	}
	memcpy(out + n, suffix, sizeof(suffix));
	memcpy(ret, out, n + sizeof(suffix));
	return 0;
}

int notify_open(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	static const int one = 1;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) < 0)
		return -errno;
	/* A keeper that was busy copying a gigabyte must not take a mark for late. */
	if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)) < 0)
		return -errno;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	/* A node under User= has to be able to send; who may speak is decided by credentials. */
	if (chmod(path, 0666) < 0)
		return -errno;
	return STEAL_FD(fd);
}

static pid_t parent_of(pid_t pid)
{
	char path[32], text[512], *p;
	_cleanup_close_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* The name in parentheses may hold anything, parentheses too: the last one counts. */
	p = strrchr(text, ')');
	if (!p || p[1] != ' ' || !p[2] || p[3] != ' ')
		return 0;
	return (pid_t)strtol(p + 4, NULL, 10);
}

bool notify_is_descendant(pid_t pid, pid_t ancestor)
{
	for (unsigned i = 0; i < ANCESTORS_MAX && pid > 0; i++) {
		if (pid == ancestor)
			return true;
		pid = parent_of(pid);
	}
	return false;
}

static bool may_notify(const struct ucred *sender, const struct notify_peers *p)
{
	pid_t session;

	if (p->access == NOTIFY_NONE)
		return false;
	if (p->active > 0 && sender->pid == p->active)
		return true;
	if (p->access == NOTIFY_MAIN || sender->pid <= 0)
		return false;
	/* Sessions outlive the parent: a child of a child that has gone is still the node's. */
	session = getsid(sender->pid);
	if (session < 0)
		return sender->uid == 0 || sender->uid == geteuid();
	return (p->session > 0 && session == p->session) ||
	       (p->active > 0 && notify_is_descendant(sender->pid, p->active));
}

/* The moment of a wall-clock time stamp, on the clock that does not jump. */
static usec_t stamp_to_monotonic(const struct timespec *stamp)
{
	usec_t sent = (usec_t)stamp->tv_sec * USEC_PER_SEC + (usec_t)stamp->tv_nsec / NSEC_PER_USEC;
	usec_t now = now_usec(), wall = now_realtime_usec(), ago = wall > sent ? wall - sent : 0;

	/* Somebody may have set the clock between the two. */
	return ago < now && ago < 60 * USEC_PER_SEC ? now - ago : now;
}

static void close_descriptors(const struct cmsghdr *c)
{
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;
		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
		close(fd);
	}
}

/* Sender and time, out of the control messages; descriptors are closed. */
static bool read_control(struct msghdr *msg, struct ucred *sender, struct notify_peers *peers)
{
	struct timespec stamp;
	bool known = false;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS)
			close_descriptors(c);
		else if (c->cmsg_type == SCM_CREDENTIALS &&
			 c->cmsg_len == CMSG_LEN(sizeof(*sender))) {
			memcpy(sender, CMSG_DATA(c), sizeof(*sender));
			known = true;
		} else if (c->cmsg_type == SCM_TIMESTAMPNS &&
			   c->cmsg_len == CMSG_LEN(sizeof(stamp))) {
			memcpy(&stamp, CMSG_DATA(c), sizeof(stamp));
			peers->at = stamp_to_monotonic(&stamp);
		}
	}
	return known;
}

int notify_receive(int fd, struct notify_peers *peers, struct notify_message *ret)
{
	char text[NOTIFY_DATAGRAM_MAX + 1];
	union {
		struct cmsghdr align;
		/* SCM_MAX_FD of the kernel is 253. */
		char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(struct timespec)) +
			   CMSG_SPACE(sizeof(int) * 253)];
	} control;
	struct iovec iov = {.iov_base = text, .iov_len = NOTIFY_DATAGRAM_MAX};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	struct ucred sender = {.uid = (uid_t)-1};
	bool known;
	ssize_t n;

	do
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	peers->at = now_usec();
	known = read_control(&msg, &sender, peers);
	peers->sender = known ? sender.pid : 0;
	if ((msg.msg_flags & MSG_TRUNC) || !known || !may_notify(&sender, peers))
		return 0;
	text[n] = '\0';
	notify_parse(text, (size_t)n, ret);
	return 1;
}
