/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the kernel keeps for one process by name and would not know of its twin: registrations with
 * mq_notify(3), and those whom it traces. Who has such a thing is not armed.
 */
#include <stdbool.h>
#include <sys/types.h>

struct twin_engine;

/* fd: a copy of the process' descriptor, link: what that leads to. */
bool owned_queue(int fd, const char *link, pid_t pid);
/* At leisure; 0: none. all: among all processes, else among its known children. */
pid_t owned_tracee(struct twin_engine *e, bool all);
