/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a node says by sd_notify(3): the parser of one datagram, and the socket that takes them.
 *
 * The parser trusts nothing: any bytes are fine, unknown keys and malformed values are ignored,
 * a STATUS= that is not UTF-8 is ignored (it would be no legal D-Bus string), control characters
 * in it become blanks. The receiver closes every descriptor it is sent (which is also all that
 * BARRIER=1 asks for), and lets only the node in: its active process, a descendant of it, or a
 * sender that is privileged anyway. Neither allocates, logs or blocks.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>

#include "config/clock.h"
#include "config/macro.h"

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
};

void notify_parse(const char *text, size_t len, struct notify_message *ret);

/* DIR/ID.sock; bytes that could mislead a reader of the folder become %xx. -ENAMETOOLONG where
 * it does not fit a socket address. */
_must_check_ int notify_socket_path(const char *dir, const char *id, char ret[NOTIFY_PATH_MAX]);
/* A bound socket that every local user can send to, or negative errno. Replaces a stale one. */
_must_check_ int notify_open(const char *path);
/*
 * Take one datagram. 1 and *ret; 0 where one came and was refused or unreadable (*ret_sender
 * says whose it was, 0 unknown); -EAGAIN where there is none.
 */
_must_check_ int notify_receive(
	int fd, pid_t active, struct notify_message *ret, pid_t *ret_sender);
/* pid is ancestor, or has it among its ancestors. Reads /proc. */
bool notify_is_descendant(pid_t pid, pid_t ancestor);
