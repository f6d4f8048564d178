/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

/* A pipe takes up to PIPE_BUF (4096) bytes whole or not at all. */
#define LINE_MAX_BYTES 4096
#define MESSAGE_MAX_BYTES 2048
#define DATAGRAM_MAX_BYTES 8192
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* Appends until full, then remembers that something was cut; never overruns. */
struct buffer {
	char *data;
	size_t len, size;
	bool cut;
};

static const char *log_program = "twinit";
static int log_max_level = LOG_INFO;
static int journal_fd = -1;
static const char *journal_path = JOURNAL_SOCKET;
static bool stderr_in_line; /* the last line went out in part */
/* What each sink has lost: all time, and since its last line that got through. */
static unsigned dropped_total, stderr_dropped, journal_dropped;

static const char *const level_names[] = {
	[LOG_EMERG] = "emerg",
	[LOG_ALERT] = "alert",
	[LOG_CRIT] = "crit",
	[LOG_ERR] = "err",
	[LOG_WARNING] = "warning",
	[LOG_NOTICE] = "notice",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

void log_open(const char *program)
{
	log_program = program;
	if (journal_fd < 0)
		journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

void log_set_journal(const char *path)
{
	journal_path = path;
}

void log_set_level(int max_level)
{
	log_max_level = max_level;
}

int log_level(void)
{
	return log_max_level;
}

int log_level_from_string(const char *s)
{
	for (size_t i = 0; i < ELEMENTSOF(level_names); i++)
		if (strcmp(level_names[i], s) == 0)
			return (int)i;
	if (s[0] >= '0' && s[0] <= '7' && s[1] == '\0')
		return s[0] - '0';
	return -EINVAL;
}

unsigned log_dropped(void)
{
	return __atomic_load_n(&dropped_total, __ATOMIC_RELAXED);
}

static void count_drop(unsigned *sink)
{
	__atomic_fetch_add(sink, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&dropped_total, 1, __ATOMIC_RELAXED);
}

static void put_bytes(struct buffer *b, const void *bytes, size_t n)
{
	if (n > b->size - b->len) {
		n = b->size - b->len;
		b->cut = true;
	}
	memcpy(b->data + b->len, bytes, n);
	b->len += n;
}

static void put_string(struct buffer *b, const char *s)
{
	put_bytes(b, s, strlen(s));
}

static void put_number(struct buffer *b, unsigned long n)
{
	char digits[24];
	put_bytes(b, digits, (size_t)snprintf(digits, sizeof(digits), "%lu", n));
}

/* Bytes of 128 and up are left alone: UTF-8 stays readable. */
static void put_escaped(struct buffer *b, const char *s, bool quoted)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		char hex[8];

		if (c == '\n')
			put_string(b, "\\n");
		else if (c == '\t')
			put_string(b, "\\t");
		else if (c < 0x20 || c == 0x7f)
			put_bytes(b, hex, (size_t)snprintf(hex, sizeof(hex), "\\x%02x", c));
		else if (quoted && (c == '"' || c == '\\')) {
			put_string(b, "\\");
			put_bytes(b, s, 1);
		} else
			put_bytes(b, s, 1);
	}
}

static bool needs_quotes(const char *s)
{
	if (*s == '\0')
		return true;
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || *s == '"' || *s == '\\' || *s == 0x7f)
			return true;
	return false;
}

static void put_text_field(struct buffer *b, const char *key, const char *value)
{
	bool quoted = needs_quotes(value);

	put_string(b, " ");
	put_string(b, key);
	put_string(b, quoted ? "=\"" : "=");
	put_escaped(b, value, quoted);
	if (quoted)
		put_string(b, "\"");
}

/*
 * stderr for pipes and terminals, as a file description of our own with O_NONBLOCK: that of
 * descriptor 2 is shared with others. -1 where there is no such thing to be had (no /proc, no
 * right to, another kind of file). Opened anew where descriptor 2 has become something else.
 */
static int own_stderr(void)
{
	static int fd = -1;
	static struct stat of;
	struct stat st;

	if (fstat(STDERR_FILENO, &st) < 0 || (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode)))
		return -1;
	if (fd >= 0 && st.st_dev == of.st_dev && st.st_ino == of.st_ino)
		return fd;
	if (fd >= 0)
		close(fd);
	/* A fork's descriptor 2 is our descriptor 2: no need to tell the two apart. */
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	of = st;
	return fd;
}

/*
 * How much went out, or -errno; -EAGAIN where it would have to wait. Between poll and write
 * another user of the same pipe can fill it: RWF_NOWAIT closes that gap where the kernel knows it
 * for this file, and own_stderr() where there is a /proc. A terminal, which may have room for
 * less than a line and be stopped for as long as somebody likes, can only be had without waiting
 * by the latter.
 */
static ssize_t write_now(const char *data, size_t len)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	ssize_t n = send(STDERR_FILENO, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	int own;

	if (n >= 0 || errno != ENOTSOCK)
		return n >= 0 ? n : -errno;
	own = own_stderr();
	if (own >= 0) {
		n = write(own, data, len);
		return n >= 0 ? n : -errno;
	}
	if (poll(&p, 1, 0) <= 0)
		return -EAGAIN;
	if (p.revents != POLLOUT)
		return -EPIPE;
	n = pwritev2(STDERR_FILENO, &iov, 1, -1, RWF_NOWAIT);
	if (n < 0 && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS))
		n = write(STDERR_FILENO, data, len);
	return n >= 0 ? n : -errno;
}

static void to_stderr(int level, const char *node, const char *const *fields, const char *message)
{
	char line[LINE_MAX_BYTES];
	struct buffer b = {.data = line, .size = sizeof(line) - strlen("...\n")};
	unsigned lost = __atomic_load_n(&stderr_dropped, __ATOMIC_RELAXED);
	char number[16];
	ssize_t n;

	if (stderr_in_line)
		put_string(&b, "\n");
	put_string(&b, "<");
	put_number(&b, (unsigned long)level);
	put_string(&b, ">");
	put_string(&b, log_program);
	put_string(&b, "[");
	put_number(&b, (unsigned long)getpid());
	put_string(&b, "]: ");
	if (node) {
		put_escaped(&b, node, false);
		put_string(&b, ": ");
	}
	put_escaped(&b, message, false);
	for (; fields && fields[0] && fields[1]; fields += 2)
		put_text_field(&b, fields[0], fields[1]);
	if (lost > 0) {
		snprintf(number, sizeof(number), "%u", lost);
		put_text_field(&b, "DROPPED", number);
	}
	b.size = sizeof(line);
	put_string(&b, b.cut ? "...\n" : "\n");
	n = write_now(b.data, b.len);
	if (n > 0)
		stderr_in_line = (size_t)n < b.len;
	if (n < (ssize_t)b.len)
		count_drop(&stderr_dropped);
	else
		__atomic_fetch_sub(&stderr_dropped, lost, __ATOMIC_RELAXED);
}

/* journald takes names of capital letters, digits and underscores that begin with a letter. */
static bool journal_key_is_valid(const char *key)
{
	if (key[0] < 'A' || key[0] > 'Z')
		return false;
	return key[strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] == '\0';
}

static void put_journal_field(struct buffer *b, const char *key, const char *value)
{
	size_t len = strlen(value);
	/* A field that was cut would swallow its neighbour: all or nothing. */
	if (!journal_key_is_valid(key) || strlen(key) + len + 16 > b->size - b->len)
		return;
	put_string(b, key);
	if (strchr(value, '\n')) {
		unsigned char length[8];
		for (size_t i = 0; i < sizeof(length); i++)
			length[i] = (unsigned char)((uint64_t)len >> (8 * i));
		put_string(b, "\n");
		put_bytes(b, length, sizeof(length));
	} else
		put_string(b, "=");
	put_bytes(b, value, len);
	put_string(b, "\n");
}

static void to_journal(int level, const char *node, const char *const *fields, const char *message)
{
	char datagram[DATAGRAM_MAX_BYTES], number[24];
	struct buffer b = {.data = datagram, .size = sizeof(datagram)};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	unsigned lost = __atomic_load_n(&journal_dropped, __ATOMIC_RELAXED);

	if (journal_fd < 0 || !journal_path || strlen(journal_path) >= sizeof(sa.sun_path))
		return;
	strcpy(sa.sun_path, journal_path);
	snprintf(number, sizeof(number), "%d", level);
	put_journal_field(&b, "PRIORITY", number);
	put_journal_field(&b, "SYSLOG_IDENTIFIER", log_program);
	put_journal_field(&b, "MESSAGE", message);
	if (node)
		put_journal_field(&b, "TWINIT_NODE", node);
	for (; fields && fields[0] && fields[1]; fields += 2)
		put_journal_field(&b, fields[0], fields[1]);
	if (lost > 0) {
		snprintf(number, sizeof(number), "%u", lost);
		put_journal_field(&b, "DROPPED", number);
	}
	if (sendto(journal_fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&sa,
		    offsetof(struct sockaddr_un, sun_path) + strlen(sa.sun_path) + 1) >= 0)
		__atomic_fetch_sub(&journal_dropped, lost, __ATOMIC_RELAXED);
	else if (errno != ENOENT && errno != ECONNREFUSED)
		count_drop(&journal_dropped); /* no journal at all is no loss */
}

static void log_valist(
	int level, const char *node, const char *const *fields, const char *fmt, va_list ap)
{
	char message[MESSAGE_MAX_BYTES];
	int saved = errno, n;

	if (level > log_max_level)
		return;
	n = vsnprintf(message, sizeof(message), fmt, ap);
	if (n >= (int)sizeof(message))
		memcpy(message + sizeof(message) - 4, "...", 4);
	if (n >= 0) {
		to_stderr(level, node, fields, message);
		to_journal(level, node, fields, message);
	}
	errno = saved;
}

void log_node(int level, const char *node, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	log_valist(level, node, NULL, fmt, ap);
	va_end(ap);
}

void log_fields(int level, const char *node, const char *const *fields, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	log_valist(level, node, fields, fmt, ap);
	va_end(ap);
}
