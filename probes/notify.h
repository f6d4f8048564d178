/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a node says by sd_notify(3): the parser of one datagram, and the socket that takes them.
 *
 * The parser trusts nothing: any bytes are fine, unknown keys and malformed values are ignored,
 * a STATUS= that is not UTF-8 is ignored (it would be no legal D-Bus string), control characters
 * in it become blanks. The receiver closes every descriptor it is sent (which is also all that
 * BARRIER=1 asks for), and lets only the node in. The sender is known by what the kernel says of
 * it, and has to be the active, or (NotifyAccess=all) a descendant of it or a member of its
 * session. A privileged sender that has ended before it could be looked up is let in: that is
 * systemd-notify(1) out of a script, and who is root could do worse. Neither allocates, logs or
 * blocks.
 *
 * TWIN_MARK=NAME says that the program has come to a certain point (docs/probes.md); several lines
 * in one datagram are several marks.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>

#include "config/clock.h"
#include "config/macro.h"
#include "config/unit.h"

#define NOTIFY_MARKS_MAX 8 /* a datagram; what is more is not heard */
#define NOTIFY_STATUS_MAX 256
#define NOTIFY_DATAGRAM_MAX 4096
#define NOTIFY_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

struct notify_message {
	bool ready, reloading, stopping;
	bool watchdog;         /* WATCHDOG=1 */
	bool watchdog_trigger; /* WATCHDOG=trigger */
	bool has_watchdog_usec, has_extend_timeout, has_errno, has_status;
	usec_t watchdog_usec, extend_timeout_usec;
	int error;      /* ERRNO=, positive */
	pid_t main_pid; /* MAINPID=, 0 where not said */
	char status[NOTIFY_STATUS_MAX];
	unsigned n_marks;
	char marks[NOTIFY_MARKS_MAX][PROBE_NAME_MAX + 1];
};
/* Who may speak, and who did. */
struct notify_peers {
	enum unit_notify_access access;
	pid_t active;  /* 0: none */
	pid_t session; /* of the node; 0: unknown */
	/* of the last datagram: */
	pid_t sender; /* 0: unknown */
	usec_t at;    /* when it was sent, which may be long before it is read */
};

void notify_parse(const char *text, size_t len, struct notify_message *ret);

/* DIR/ID.sock; bytes that could mislead a reader of the folder become %xx. -ENAMETOOLONG where
 * it does not fit a socket address. */
_must_check_ int notify_socket_path(const char *dir, const char *id, char ret[NOTIFY_PATH_MAX]);
/* A bound socket that every local user can send to, or negative errno. Replaces a stale one. */
_must_check_ int notify_open(const char *path);
/* Take one datagram. 1 and *ret; 0 where one came and was refused or unreadable; -EAGAIN where
 * there is none. The first two say in *peers whose it was, and when. */
_must_check_ int notify_receive(int fd, struct notify_peers *peers, struct notify_message *ret);
/* pid is ancestor, or has it among its ancestors. Reads /proc. */
bool notify_is_descendant(pid_t pid, pid_t ancestor);
