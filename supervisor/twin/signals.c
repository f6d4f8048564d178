/* SPDX-License-Identifier: Apache-2.0 */
/* Signals on their way to the active: which are its own business, and which would end it. */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

/* A signal frame, with the largest XSTATE, and what the ABI leaves free above it. */
#define FRAME_REACH (ARCH_XSTATE_MAX + 2048)
#define CRASH_REPORT_MAX (10 * NSEC_PER_SEC)

static bool is_ignored_by_default(int sig)
{
	return sig == SIGCHLD || sig == SIGURG || sig == SIGWINCH || sig == SIGCONT;
}

static bool is_stopping(int sig)
{
	return sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
}

bool signal_dumps_core(int sig)
{
	switch (sig) {
	case SIGQUIT:
	case SIGILL:
	case SIGTRAP:
	case SIGABRT:
	case SIGBUS:
	case SIGFPE:
	case SIGSEGV:
	case SIGXCPU:
	case SIGXFSZ:
	case SIGSYS:
		return true;
	default:
		return false;
	}
}

enum disposition { CAUGHT, HARMLESS, STOPS, KILLS };

static enum disposition disposition_of(struct twin_engine *e, int sig)
{
	char text[4096];
	uint64_t caught = 0, ignored = 0, bit = 1ULL << (sig - 1);

	if (sig == SIGSTOP)
		return STOPS;
	/* Where it cannot be known the signal is delivered, and tells by what it does. */
	if (proc_reread(e->status_fd, text, sizeof(text)) <= 0 &&
		proc_read(text, sizeof(text), "%d/status", e->pid) <= 0)
		return CAUGHT;
	(void)!proc_field(text, "SigCgt", 16, &caught);
	(void)!proc_field(text, "SigIgn", 16, &ignored);
	if (caught & bit)
		return CAUGHT;
	if ((ignored & bit) || is_ignored_by_default(sig))
		return HARMLESS;
	return is_stopping(sig) ? STOPS : KILLS;
}

static void report_fatal(struct twin_engine *e, struct thread *t, int sig)
{
	struct twin_event ev = {.type = TWIN_EVENT_FATAL,
		.pid = e->pid,
		.tid = t->tid,
		.signal = sig,
		.core = signal_dumps_core(sig)};
	struct arch_regs regs;
	siginfo_t info;

	e->fault_seen = now_nsec();
	e->fatal_tid = t->tid;
	e->fatal_signal = sig;
	if (ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info) == 0 &&
		arch_get_regs(t->tid, &regs) == 0) {
		bool faulted = sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE;
		ev.sender = info.si_code <= 0 ? info.si_pid : 0;
		ev.fault_address = faulted && info.si_code > 0 ? (uint64_t)info.si_addr : 0;
		/* Who is killed by another may be anywhere. */
		ev.instruction = info.si_code > 0 || info.si_pid == e->pid ? arch_ip(&regs) : 0;
	}
	engine_push_event(e, &ev);
}

/* Is there, between the thread's stack pointer and top, a frame of the signal that came then? */
static bool crash_frame_below(const struct thread *t, uint64_t sp, uint64_t top)
{
	uint64_t words[FRAME_REACH / sizeof(uint64_t)];
	uint64_t from = MAX2(sp, top - sizeof(words)) & ~7ULL;
	ssize_t len;

	if (from >= top || top - from > sizeof(words))
		return false;
	struct iovec mine = {words, top - from}, theirs = {(void *)from, top - from};
	len = process_vm_readv(t->tid, &mine, 1, &theirs, 1, 0);
	return len > 0 &&
	       arch_frame_saves(words, (size_t)len / sizeof(*words), t->crash_sp, t->crash_ip);
}

static bool crash_frame_lies(const struct thread *t, uint64_t sp)
{
	const struct arch_altstack *a = &t->altstack;

	if (t->crash_sp == 0)
		return false;
	return crash_frame_below(t, sp, t->crash_sp) ||
	       (!(a->flags & SS_DISABLE) && a->size && sp > a->sp &&
		       crash_frame_below(t, sp, a->sp + a->size));
}

static void begin_crash(struct thread *t, int sig)
{
	struct arch_regs regs;
	bool known = arch_get_regs(t->tid, &regs) == 0;

	/* A reporter may stumble where it looks around, and go on: the first one counts. */
	if (t->crash_signal && known && crash_frame_lies(t, arch_sp(&regs)))
		return;
	t->crash_signal = sig;
	t->crash_at = now_nsec();
	t->crash_sp = known ? arch_sp(&regs) : 0;
	t->crash_ip = known ? arch_ip(&regs) : 0;
}

void signals_handle(struct twin_engine *e, struct thread *t, int sig)
{
	if (!e->executed) {
		thread_go_on(t, sig);
		return;
	}
	switch (disposition_of(e, sig)) {
	case HARMLESS:
		restart_mend_stopped(e, t, false);
		waits_arm(e);
		thread_go_on(t, sig);
		break;
	case CAUGHT:
		partial_signal(t);
		restart_before_handler(t);
		if (signal_dumps_core(sig) && sig != SIGTRAP)
			begin_crash(t, sig);
		thread_go_on(t, sig);
		break;
	case STOPS:
		thread_go_on(t, sig);
		break;
	case KILLS:
		/* A second fatal signal waits: the first decides. */
		if (!e->fatal_tid)
			report_fatal(e, t, sig);
		else
			t->second_fatal = true;
		break;
	}
}

/*
 * A handler that answers a crash (a crash reporter, a JVM's null check) may be about to end the
 * process, after it has closed and freed much: nothing to make a twin of. It runs while its
 * signal is blocked in the thread, or, with SA_RESETHAND, while the signal has no handler, or while
 * its frame lies on the stack: a JVM lets the signal in again before it reports. What is left on
 * the stack by a handler that was left by a long jump looks the same until it is written over;
 * that is believed for as long as a report takes and no longer.
 */
static bool is_in_crash_handler(struct twin_engine *e, const struct thread *t)
{
	return (t->sigmask & (1ULL << (t->crash_signal - 1))) ||
	       disposition_of(e, t->crash_signal) == KILLS ||
	       (now_nsec() - t->crash_at < CRASH_REPORT_MAX &&
		       crash_frame_lies(t, arch_sp(&t->regs)));
}

bool signals_in_crash_handler(struct twin_engine *e)
{
	bool any = false;

	FOREACH_THREAD(e, t)
	{
		if (!t->crash_signal)
			continue;
		if (is_in_crash_handler(e, t))
			any = true;
		else
			t->crash_signal = 0;
	}
	return any;
}

static void peek(struct twin_engine *e, pid_t tid, bool shared)
{
	struct __ptrace_peeksiginfo_args args = {
		.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0,
		.nr = (int32_t)(PENDING_MAX - e->n_pending),
	};
	siginfo_t info[PENDING_MAX];
	long n = args.nr > 0 ? ptrace(PTRACE_PEEKSIGINFO, tid, &args, info) : PENDING_MAX;

	e->pending_incomplete |= n >= PENDING_MAX;
	for (long i = 0; args.nr > 0 && i < n; i++)
		e->pending[e->n_pending++] =
			(struct pending_signal){.tid = shared ? 0 : tid, .info = info[i]};
}

void signals_peek(struct twin_engine *e)
{
	e->n_pending = 0;
	e->pending_incomplete = false;
	peek(e, e->pid, true);
	FOREACH_THREAD(e, t)
	{
		peek(e, t->tid, false);
	}
}

static bool is_blocked(struct twin_engine *e, const struct pending_signal *p)
{
	uint64_t bit = 1ULL << (p->info.si_signo - 1);
	bool everywhere = true;

	FOREACH_THREAD(e, t)
	{
		if (p->tid == t->tid)
			return t->sigmask & bit;
		everywhere &= (t->sigmask & bit) != 0;
	}
	return everywhere;
}

/*
 * Most of what is pending is blocked; the rest came after the threads had stopped, and will be
 * delivered at the thaw. Where that is the end of the active, or may be, a twin of this moment
 * would take the same signal with it: false.
 */
bool signals_capture(struct twin_engine *e)
{
	signals_peek(e);
	for (unsigned i = 0; i < e->n_pending; i++) {
		const struct pending_signal *p = &e->pending[i];
		if (!is_blocked(e, p) && (signal_dumps_core(p->info.si_signo) ||
						 disposition_of(e, p->info.si_signo) == KILLS))
			return false;
	}
	return true;
}

/*
 * A process may send itself any siginfo, but to another thread none that claims to come from the
 * kernel or from kill(2) (do_rt_tgsigqueueinfo()); those go by tgkill(), with our own pid as
 * their sender.
 */
void signals_restore(struct twin_engine *e, struct leader_calls *calls)
{
	for (unsigned i = 0; i < e->n_pending; i++) {
		const struct pending_signal *p = &e->pending[i];
		uint64_t sig = (uint64_t)p->info.si_signo,
			 pid = (uint64_t)namespace_inner(e, e->pid),
			 tid = (uint64_t)namespace_inner(e, p->tid);

		if (p->tid == 0)
			leader_call(calls, SYS_rt_sigqueueinfo,
				(const uint64_t[6]){
					pid, sig, leader_data(calls, &p->info, sizeof(p->info))});
		else if (p->tid == e->pid || (p->info.si_code < 0 && p->info.si_code != SI_TKILL))
			leader_call(calls, SYS_rt_tgsigqueueinfo,
				(const uint64_t[6]){pid, tid, sig,
					leader_data(calls, &p->info, sizeof(p->info))});
		else
			leader_call(calls, SYS_tgkill, (const uint64_t[6]){pid, tid, sig});
	}
}
