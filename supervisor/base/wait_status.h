/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What waitpid(2) said, as a type of its own, and the one place that reads its bits.
 *
 * A raw status is ambiguous: the same bits mean a job-control stop for a plain child and a
 * signal-delivery stop for a seized tracee. So the caller says which of the two the task is, and
 * gets one word for what happened. Only PTRACE_SEIZE is known here: after PTRACE_ATTACH a group
 * stop looks like a signal-delivery stop. Classifying only names the event; acting on it is done
 * elsewhere. Nothing here allocates, logs or fails; all of it may run in a forked child.
 */
#include <stdbool.h>

/* Not an int, so that it cannot be mistaken for an exit status or a signal number. */
struct wait_status {
	int raw;
};

enum wait_kind {
	WAIT_EXITED,         /* exit_status */
	WAIT_KILLED,         /* signal */
	WAIT_CORE_DUMP,      /* signal; a core was written */
	WAIT_CONTINUED,      /* SIGCONT, only where WCONTINUED was asked for */
	WAIT_STOPPED,        /* job-control stop of a child that is not traced: signal */
	WAIT_SIGNAL_STOP,    /* signal-delivery stop: signal is about to be delivered */
	WAIT_GROUP_STOP,     /* the tracee's whole group stops: signal */
	WAIT_INTERRUPT_STOP, /* PTRACE_INTERRUPT, or the first stop of an auto-attached task */
	WAIT_SYSCALL_STOP,   /* needs PTRACE_O_TRACESYSGOOD */
	WAIT_PTRACE_EVENT,   /* event is PTRACE_EVENT_..., not _STOP */
	WAIT_UNKNOWN,        /* bits no kernel has sent so far */
	_WAIT_KIND_MAX
};
const char *wait_kind_to_string(enum wait_kind k);

struct wait_event {
	enum wait_kind kind;
	int exit_status; /* WAIT_EXITED, else 0 */
	int signal;      /* of a death or a stop; SIGTRAP where ptrace itself stopped the task */
	int event;       /* PTRACE_EVENT_..., else 0 */
};

struct wait_event wait_classify(struct wait_status s, bool traced);
/* The task is gone for good (and was reaped by the call that returned this). */
bool wait_is_end(const struct wait_event *e);
/* An end in siginfo's words: CLD_EXITED, CLD_KILLED or CLD_DUMPED, and si_status; 0, 0 where
 * the event is no end. */
int wait_si_code(const struct wait_event *e);
int wait_si_status(const struct wait_event *e);
