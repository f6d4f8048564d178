/* SPDX-License-Identifier: Apache-2.0 */
/* What is read of the active: slowly and at leisure before a freeze, and quickly inside it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

/* A stream must have stood still for so long before a checkpoint counts as quiet. A longer pause
 * between two looks says nothing about the present. */
#define STILL_MIN 1500000ULL
#define STILL_MAX 60000000ULL
/* A thread may change its alternate stack at any time, but one that stands where it stood at the
 * last freeze goes round in its loop; runtimes set it when a thread starts. */
#define ALTSTACK_QUERIES 2
/* linux/rseq.h: struct rseq has the address of the current critical section at 8. */
#define RSEQ_CS_OFFSET 8

/* linux/ptrace.h, which <sys/ptrace.h> excludes; Linux 6.4 */
#ifndef PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
#define PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG 0x4211
#endif
#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif

/* What /proc alone tells; false: nothing, it has ended. */
static bool read_names(pid_t pid, pid_t tid, char name[16], uint64_t *ret_slack)
{
	char text[32];
	ssize_t len = proc_read(text, sizeof(text), "%d/timerslack_ns", tid);

	*ret_slack = len > 0 ? strtoull(text, NULL, 10) : 0;
	len = proc_read(text, sizeof(text), "%d/task/%d/comm", pid, tid);
	if (len <= 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	snprintf(name, 16, "%.15s", text);
	return true;
}

static void look_at_facts(struct twin_engine *e, struct thread *t)
{
	(void)read_names(e->pid, t->tid, t->name, &t->timer_slack);
	schedule_read(t->tid, &t->sched);
	t->io_priority = schedule_get_io(t->tid);
	if (sched_getaffinity(t->tid, sizeof(t->affinity), &t->affinity) < 0)
		CPU_ZERO(&t->affinity);
}

/* Names were read before the freeze; what is the same after it was the same in it. (A thread that
 * has yet to take back its own since a swap is not checkpointed at all.) Where they change all the
 * time they are read in the freeze, and take their time there. */
#define NAMES_TRIES 3

static bool names_change(const struct twin_engine *e)
{
	return e->renamed >= NAMES_TRIES;
}

bool capture_same_names(struct twin_engine *e)
{
	unsigned tries = e->renamed;
	char name[16];
	uint64_t slack;

	e->renamed = 0;
	if (tries >= NAMES_TRIES)
		return true;
	FOREACH_THREAD(e, t)
	{
		if (read_names(e->pid, t->tid, name, &slack) &&
			(strcmp(name, t->name) != 0 || slack != t->timer_slack)) {
			e->renamed = tries + 1;
			return false;
		}
	}
	return true;
}

/* Of a line of /proc/TID/syscall. */
static uint64_t nth_argument(const char *text, unsigned n)
{
	for (unsigned i = 0; text && i <= n; i++)
		text = strchr(text + 1, ' ');
	return text ? strtoull(text, NULL, 16) : 0;
}

/* true: it sleeps in a system call. */
static bool look_at_thread(struct twin_engine *e, struct thread *t)
{
	char text[256], path[64], stat_text[4096];

	if (t->syscall_fd < 0) {
		snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", e->pid, t->tid);
		t->syscall_fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	look_at_facts(e, t);
	t->look.valid = false;
	if (t->syscall_fd < 0 || proc_reread(t->syscall_fd, text, sizeof(text)) <= 0)
		return false;
	if (text[0] < '0' || text[0] > '9')
		return false;
	waits_look(e, t, text);
	switch (strtol(text, NULL, 10)) {
	case SYS_clone:
	case SYS_clone3:
#ifdef SYS_vfork
	case SYS_vfork:
#endif
		/* Asleep in there: until its child executes or ends. No stop reaches it, and all
		 * others would stand still until the deadline. */
		/* (At the stop of a clone event it is 't'.) */
		if (proc_read(stat_text, sizeof(stat_text), "%d/task/%d/status", e->pid, t->tid) >
				0 &&
			strstr(stat_text, "\nState:\tD"))
			e->in_vfork = t->tid;
		break;
	/* Broken in the middle these return what they have moved so far, and most programs take
	 * less than all for an error. No moment for a checkpoint that can wait. */
	case SYS_write:
	case SYS_writev:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_sendmmsg:
	case SYS_sendfile:
	case SYS_splice:
		return false;
	case SYS_recvfrom:
		return !(nth_argument(text, 3) & MSG_WAITALL);
	case SYS_recvmsg:
		return !(nth_argument(text, 2) & MSG_WAITALL);
	}
	return true;
}

/* More than one number: it lives in a pid namespace below ours, where its clone() would speak of
 * other numbers than we do. */
static bool in_inner_namespace(const char *text)
{
	const char *p = strstr(text, "\nNSpid:");

	if (!p)
		return false;
	p += strcspn(p + 1, "0123456789") + 1;
	p += strspn(p, "0123456789");
	return *p != '\n' && *p != '\0';
}

/* After unshare(CLONE_NEWPID) its next child is the init of a new namespace, and that may not be
 * one of our copies. */
static bool children_go_elsewhere(pid_t pid)
{
	static const char *const kinds[] = {"pid", "time"};

	for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
		char path[64];
		struct stat own, children;
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, kinds[i]);
		if (stat(path, &own) < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/ns/%s_for_children", pid, kinds[i]);
		/* Dangling while the namespace has no init yet: then it is another one, too. */
		if (stat(path, &children) < 0 || own.st_ino != children.st_ino)
			return true;
	}
	return false;
}

static int look_at_process(struct twin_engine *e)
{
	uint64_t seccomp = 0, sig_ignored = 0;
	char text[4096];
	const char *p;

	if (proc_reread(e->status_fd, text, sizeof(text)) <= 0)
		return engine_fail(e, -ESRCH, "the process is ending");
	p = strstr(text, "\nState:\t");
	if (p && p[8] == 'Z') {
		/* A process that is ending looks the same for a moment. */
		if (++e->zombie_looks < 3)
			return engine_fail(e, -ESRCH, "the process is ending");
		return engine_fail(e, -ENOTSUP, "its main thread has ended while others run");
	}
	e->zombie_looks = 0;
	if (!e->inside && in_inner_namespace(text))
		return engine_fail(e, -ENOTSUP, "it lives in a pid namespace of its own");
	/* In the middle of an exec by a thread it looks so for a moment. */
	e->elsewhere_looks = children_go_elsewhere(e->pid) ? e->elsewhere_looks + 1 : 0;
	if (e->elsewhere_looks > 0 && e->elsewhere_looks < 3)
		return engine_fail(e, -EAGAIN, "its namespaces are changing");
	if (e->elsewhere_looks > 0)
		return engine_fail(e, -ENOTSUP, "its children go into a namespace of their own");
	/* Each single step forces SIGTRAP, and where that is ignored the kernel makes it fatal
	 * (force_sig_info_to_task()). */
	if (proc_field(text, "SigIgn", 16, &sig_ignored) == 0 &&
		(sig_ignored & (1ULL << (SIGTRAP - 1))))
		return engine_fail(e, -ENOTSUP, "it ignores SIGTRAP");
	/* Return addresses on a stack of their own, which no frame that we build can set. */
	if ((p = strstr(text, "\nx86_Thread_features:")) && strcspn(p + 1, "\n") > 0 &&
		memmem(p + 1, strcspn(p + 1, "\n"), "shstk", 5))
		return engine_fail(e, -ENOTSUP, "it uses a shadow stack");
	e->filtered = proc_field(text, "Seccomp", 10, &seccomp) == 0 && seccomp != 0;
	return 0;
}

int capture_look(struct twin_engine *e, bool *ret_quiet)
{
	struct stream_table *seen = &e->streams_seen;
	nsec_t now, age;
	bool quiet = true;
	int r = look_at_process(e);

	if (r < 0)
		return r;
	e->in_vfork = 0;
	FOREACH_THREAD(e, t)
	{
		quiet &= look_at_thread(e, t);
	}
	asleep_date(e);
	r = alike_look(e);
	if (r < 0)
		return r;
	if (e->in_vfork)
		return engine_fail(e, -EBUSY, "thread %d waits in vfork", e->in_vfork);
	r = files_reserve(&e->files_now);
	if (r == 0)
		r = files_scan(&e->files_now, e->pid, e->pidfd, e->fd_dir);
	if (r == 0)
		r = streams_reserve(&e->streams_now, e->files_now.n);
	if (r == 0)
		r = streams_sample(&e->streams_now, &e->files_now, e->pidfd);
	if (r == -ENOSPC)
		return engine_fail(e, -EAGAIN, "more descriptors than before");
	if (r < 0)
		return engine_fail(e, -EBUSY, "descriptors: %s", strerror(-r));
	now = now_nsec();
	/* Before its threads are stopped, and a wait for its completions broken. */
	if (e->files_now.unfit)
		return engine_fail(e, -ENOTSUP, "%s", e->files_now.unfit);
	age = now - e->streams_seen_at;
	if (e->streams_now.n > 0)
		quiet &= age >= STILL_MIN && age <= STILL_MAX &&
			 streams_judge(seen, &e->streams_now);
	if (age >= STILL_MIN) { /* after too short a look the older sample stays */
		struct stream_table swap_buffers = *seen;
		*seen = e->streams_now;
		e->streams_now = swap_buffers;
		e->streams_seen_at = now;
	}
	*ret_quiet = quiet;
	return 0;
}

/*
 * A thread stopped inside a restartable sequence. The kernel sends it to the abort handler when
 * it goes on, but not where we make it run elsewhere first (an injected call: the kernel then
 * takes the sequence for left), and not in a twin, whose registration is a fresh one. So it is
 * done here, as kernel/rseq.c does it. True if the registers changed.
 */
static bool abort_rseq(struct thread *t)
{
	struct {
		uint32_t version, flags;
		uint64_t start, length, abort;
	} cs;
	uint64_t ptr;

	/* No system call may be made in such a sequence. */
	if (!t->rseq || arch_in_syscall(&t->regs) ||
		image_read(t->tid, t->rseq + RSEQ_CS_OFFSET, &ptr, sizeof(ptr)) < 0 || !ptr ||
		image_read(t->tid, ptr, &cs, sizeof(cs)) < 0)
		return false;
	if (arch_ip(&t->regs) - cs.start >= cs.length)
		return false;
	arch_set_ip(&t->regs, cs.abort);
	return true;
}

bool capture_rseq(struct thread *t)
{
	struct __ptrace_rseq_configuration rseq;

	t->rseq = 0;
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, t->tid, sizeof(rseq), &rseq) <= 0)
		return false;
	t->rseq = rseq.rseq_abi_pointer;
	t->rseq_len = rseq.rseq_abi_size;
	t->rseq_sig = rseq.signature;
	return abort_rseq(t);
}

bool capture_dispatched(const struct thread *t)
{
	/* linux/ptrace.h: struct ptrace_sud_config */
	struct {
		uint64_t mode, selector, offset, len;
	} config = {0};

	return ptrace((enum __ptrace_request)PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, t->tid,
		       sizeof(config), &config) == 0 &&
	       config.mode != 0;
}

/* What never or rarely changes and can only be asked by the thread itself. */
int capture_once(struct twin_engine *e, struct thread *t)
{
	struct injection in;
	int r;

	if (t->tid_addr_known && !alike_must_ask(e, t) && t->altstack_queries >= ALTSTACK_QUERIES &&
		t->last_ip == arch_ip(&t->regs) && t->last_sp == arch_sp(&t->regs) &&
		((e->n_checkpoints + (unsigned)t->tid) & 7) != 0)
		return 0;
	t->last_ip = arch_ip(&t->regs);
	t->last_sp = arch_sp(&t->regs);
	r = inject_begin(e, t->tid, &t->regs, true, &in);
	if (r < 0)
		return r;
	if (!t->tid_addr_known) {
		uint64_t args[6] = {PR_GET_TID_ADDRESS};
		r = inject_output(&in, SYS_prctl, args, 1, &t->tid_addr, sizeof(t->tid_addr));
		t->tid_addr_known = r == 0;
	}
	if (r == 0) {
		uint64_t args[6] = {0};
		r = inject_output(&in, SYS_sigaltstack, args, 1, &t->altstack, sizeof(t->altstack));
		t->altstack_queries++;
	}
	if (r == 0 && alike_must_ask(e, t))
		r = alike_ask(&in, t);
	inject_end(&in);
	return r;
}

int capture_thread(struct twin_engine *e, struct thread *t)
{
	if (t->sched.size == 0) /* born since the look */
		look_at_facts(e, t);
	else if (names_change(e))
		(void)read_names(e->pid, t->tid, t->name, &t->timer_slack);
	return ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(t->sigmask), &t->sigmask) < 0 ? -errno : 0;
}

int capture_rest(struct thread *t)
{
	void *head = NULL;
	size_t len = 0;

	/* What a thread may have changed since the look. */
	schedule_read(t->tid, &t->sched);
	if (sched_getaffinity(t->tid, sizeof(t->affinity), &t->affinity) < 0)
		CPU_ZERO(&t->affinity);
	if (syscall(SYS_get_robust_list, t->tid, &head, &len) < 0)
		len = 0;
	t->robust_head = (uint64_t)head;
	t->robust_len = head ? len : 0;
	return arch_get_xstate(t->tid, &t->xstate);
}
