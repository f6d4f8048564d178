/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * /proc read without allocation: whole small files into the caller's buffer, and single fields
 * out of them. Errors: negative errno.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"

/* Read /proc/<fmt...>; the text is NUL-terminated; returns its length. */
ssize_t proc_read(char *buf, size_t size, const char *fmt, ...) _printf_(3, 4);
/* The same from a descriptor that is kept open, from offset 0. */
ssize_t proc_reread(int fd, char *buf, size_t size);
/* "Key:\t123" anywhere at the start of a line. */
_must_check_ int proc_field(const char *text, const char *key, int base, uint64_t *ret);
_must_check_ int proc_write(const char *text, const char *fmt, ...) _printf_(2, 3);
/* Of the text of /proc/PID/stat: a number, counted as proc(5) does, from the fourth on. */
_must_check_ int proc_stat_field(const char *text, unsigned field, uint64_t *ret);
/* The thread group of a task, -ESRCH when it is gone. */
pid_t proc_parent(pid_t pid);
pid_t proc_tgid(pid_t tid);

/* The lines of a file of /proc/PID, of any length, without allocation. */
struct proc_lines {
	int fd;
	size_t len, at;
	char buf[16384];
};
_must_check_ int proc_lines_open(struct proc_lines *l, pid_t pid, const char *name);
/* The next line, NULL at the end; valid until the next call. */
char *proc_lines_next(struct proc_lines *l);
void proc_lines_close(struct proc_lines *l);
