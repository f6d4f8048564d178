/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Structured log lines that never block.
 *
 * One record is one line on stderr, "<priority>twinit[pid]: NODE: message KEY=value ...", and the
 * same fields natively to journald's socket (/run/systemd/journal/socket) where there is one.
 * Both are written with O_NONBLOCK/MSG_DONTWAIT semantics: what does not go out at once is
 * dropped and counted, and the count is reported by the next line that does get through.
 * stderr's file description is shared with others, so its flags are not changed: a pipe or a
 * terminal is opened a second time through /proc, and without one a line is only written where
 * poll(2) says that it fits. A reader that has gone is told by poll as well, but
 * can go just after: callers ignore SIGPIPE. On stderr control characters are escaped and values
 * with blanks quoted, so that a record stays one line whatever a node puts into it; the journal
 * gets every byte, with the length in front where there is a newline. errno is preserved.
 * No allocation. Safe in a forked child before exec. Levels are syslog's (LOG_ERR ...).
 */
#include <stdarg.h>
#include <stdbool.h>
#include <syslog.h>

#include "config/macro.h"

void log_open(const char *program); /* must outlive all logging */
/* Where the journal listens, instead of its usual place; NULL: leave it out. path is borrowed. */
void log_set_journal(const char *path);
void log_set_level(int max_level);
int log_level(void);
int log_level_from_string(const char *s); /* "err" "warning" "info" "debug"...; -EINVAL */
unsigned log_dropped(void);               /* lines so far, each sink counted by itself */

/* node may be NULL. fields: NULL-terminated list of "KEY", "value" pairs for the structured part.
 */
void log_node(int level, const char *node, const char *fmt, ...) _printf_(3, 4);
void log_fields(int level, const char *node, const char *const *fields, const char *fmt, ...)
	_printf_(4, 5);

#define log_error(...) log_node(LOG_ERR, NULL, __VA_ARGS__)
#define log_warning(...) log_node(LOG_WARNING, NULL, __VA_ARGS__)
#define log_notice(...) log_node(LOG_NOTICE, NULL, __VA_ARGS__)
#define log_info(...) log_node(LOG_INFO, NULL, __VA_ARGS__)
#define log_debug(...) log_node(LOG_DEBUG, NULL, __VA_ARGS__)
