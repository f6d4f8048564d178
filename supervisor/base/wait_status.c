/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/base/wait_status.h"

#include <signal.h>
#include <stddef.h>
#include <linux/ptrace.h>
#include <sys/wait.h>

static const char *const wait_kind_names[_WAIT_KIND_MAX] = {
	[WAIT_EXITED] = "exited",
	[WAIT_KILLED] = "killed",
	[WAIT_CORE_DUMP] = "core-dump",
	[WAIT_CONTINUED] = "continued",
	[WAIT_STOPPED] = "stopped",
	[WAIT_SIGNAL_STOP] = "signal-delivery-stop",
	[WAIT_GROUP_STOP] = "group-stop",
	[WAIT_INTERRUPT_STOP] = "interrupt-stop",
	[WAIT_SYSCALL_STOP] = "syscall-stop",
	[WAIT_PTRACE_EVENT] = "ptrace-event",
	[WAIT_UNKNOWN] = "unknown",
};

const char *wait_kind_to_string(enum wait_kind k)
{
	return (unsigned)k < _WAIT_KIND_MAX ? wait_kind_names[k] : NULL;
}

/* The signals whose default action stops a group: only they make a group stop. */
static bool is_stopping_signal(int sig)
{
	return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

static struct wait_event classify_stop(int raw, bool traced)
{
	/* Bits 16 and up are the ptrace event; WSTOPSIG() is bits 8 to 15. */
	int event = (int)((unsigned)raw >> 16), sig = WSTOPSIG(raw);
	struct wait_event e = {.kind = WAIT_UNKNOWN, .signal = sig, .event = event};

	if (!traced)
		e.kind = event == 0 ? WAIT_STOPPED : WAIT_UNKNOWN;
	else if (event == PTRACE_EVENT_STOP)
		e.kind = is_stopping_signal(sig) ? WAIT_GROUP_STOP : WAIT_INTERRUPT_STOP;
	else if (event != 0)
		e.kind = WAIT_PTRACE_EVENT;
	else if (sig == (SIGTRAP | 0x80)) {
		e.kind = WAIT_SYSCALL_STOP;
		e.signal = SIGTRAP;
	} else
		e.kind = WAIT_SIGNAL_STOP;
	return e;
}

struct wait_event wait_classify(struct wait_status s, bool traced)
{
	int raw = s.raw;

	/* WIFCONTINUED first: its pattern (0xffff) would pass for other things further down. */
	if (WIFCONTINUED(raw))
		return (struct wait_event){.kind = WAIT_CONTINUED, .signal = SIGCONT};
	if (WIFSTOPPED(raw))
		return classify_stop(raw, traced);
	if (WIFEXITED(raw))
		return (struct wait_event){.kind = WAIT_EXITED, .exit_status = WEXITSTATUS(raw)};
	if (WIFSIGNALED(raw))
		return (struct wait_event){.kind = WCOREDUMP(raw) ? WAIT_CORE_DUMP : WAIT_KILLED,
			.signal = WTERMSIG(raw)};
	return (struct wait_event){.kind = WAIT_UNKNOWN};
}

bool wait_is_end(const struct wait_event *e)
{
	return e->kind == WAIT_EXITED || e->kind == WAIT_KILLED || e->kind == WAIT_CORE_DUMP;
}

int wait_si_code(const struct wait_event *e)
{
	switch (e->kind) {
	case WAIT_EXITED:
		return CLD_EXITED;
	case WAIT_KILLED:
		return CLD_KILLED;
	case WAIT_CORE_DUMP:
		return CLD_DUMPED;
	default:
		return 0;
	}
}

int wait_si_status(const struct wait_event *e)
{
	if (e->kind == WAIT_EXITED)
		return e->exit_status;
	return wait_is_end(e) ? e->signal : 0;
}
