/* SPDX-License-Identifier: Apache-2.0 */
/* Identity by namespace: entering one, and who is who; see namespace.h. */
#include <errno.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#define LEADER_FLAGS                                                                               \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_SYSVSEM | CLONE_PARENT |        \
		CLONE_PTRACE)
/* Where nothing can be: below the red zone of a thread that stands, and its stack is fresh. */
#define BELOW_STACK 4096
#define FORWARD_MAX 31
#define INIT_DEADLINE 2000000000ULL

void namespace_bury(struct twin_engine *e, pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	namespace_expect_end(e, pid);
}

void namespace_expect_end(struct twin_engine *e, pid_t pid)
{
	if (e->gone.n < e->gone.allocated)
		e->gone.pids[e->gone.n++] = pid;
}

int namespace_reserve(struct twin_engine *e, unsigned n_threads)
{
	unsigned n = e->gone.n + n_threads + e->n_threads + 16;
	pid_t *p;

	for (unsigned i = 0; i < e->n_twins; i++)
		n += e->twins[i]->n_threads + 4;
	if (n <= e->gone.allocated)
		return 0;
	p = realloc(e->gone.pids, 2 * n * sizeof(*p));
	if (!p)
		return -ENOMEM;
	e->gone.pids = p;
	e->gone.allocated = 2 * n;
	return 0;
}

static bool take_gone(struct twin_engine *e, pid_t pid)
{
	for (unsigned i = 0; i < e->gone.n; i++)
		if (e->gone.pids[i] == pid) {
			e->gone.pids[i] = e->gone.pids[--e->gone.n];
			return true;
		}
	return false;
}

static bool is_thread_of(const struct twin *w, pid_t pid)
{
	for (unsigned i = 0; i < w->n_threads; i++)
		if (w->threads[i].host == pid)
			return true;
	return false;
}

static bool is_part_of(const struct twin *w, pid_t pid)
{
	return w->nest.init > 0 && (w->pid == pid || w->nest.init == pid || is_thread_of(w, pid));
}

static bool is_old_init(const struct twin_engine *e, pid_t pid)
{
	for (unsigned i = 0; i < OLD_INITS_MAX; i++)
		if (e->old_inits[i] == pid)
			return true;
	return false;
}

static struct nest *nest_of_init(struct twin_engine *e, pid_t pid)
{
	if (pid == e->nest.init)
		return &e->nest;
	for (unsigned i = 0; i <= e->n_twins; i++)
		if (e->twins[i]->nest.init == pid)
			return &e->twins[i]->nest;
	return NULL;
}

/* It executes, traps when it is ready, and is let go: untraced it survives us, as the node does. If
 * it could not execute, it goes, and all of the namespace with it. */
static void init_stopped(struct nest *n, const struct wait_event *ev)
{
	if (ev->kind == WAIT_PTRACE_EVENT && ev->event == PTRACE_EVENT_EXEC) {
		n->executed = true;
		(void)ptrace(PTRACE_CONT, n->init, NULL, NULL);
	} else if (ev->kind == WAIT_SIGNAL_STOP && ev->signal == SIGTRAP) {
		n->ready = n->executed;
		if (!n->ready)
			kill(n->init, SIGKILL);
		(void)ptrace(PTRACE_DETACH, n->init, NULL, NULL);
	} else {
		(void)ptrace(n->executed ? PTRACE_CONT : PTRACE_SINGLESTEP, n->init, NULL, NULL);
	}
}

int namespace_await_init(struct twin_engine *e, const struct nest *n)
{
	int r = 0, raw;

	if (!n->ready)
		engine_take_deferred(e);
	if (n->ready)
		return 0;
	engine_deadline_set(e, INIT_DEADLINE);
	while (r == 0 && n->init && !n->ready) {
		pid_t pid = engine_wait(n->init, &raw);
		if (pid < 0)
			r = pid;
		else
			engine_handle(e, pid, raw);
	}
	engine_deadline_clear(e);
	return r < 0 ? r : n->ready ? 0 : -ESRCH;
}

bool namespace_stopped(struct twin_engine *e, pid_t pid, const struct wait_event *ev)
{
	struct nest *n = nest_of_init(e, pid);

	if (n)
		init_stopped(n, ev);
	if (n || is_old_init(e, pid))
		return true;
	for (unsigned i = 0; i < e->n_twins; i++)
		if (is_part_of(e->twins[i], pid))
			return true;
	for (unsigned i = 0; i < e->gone.n; i++)
		if (e->gone.pids[i] == pid)
			return true;
	return false;
}

bool namespace_ended(struct twin_engine *e, pid_t pid)
{
	if (take_gone(e, pid))
		return true;
	if (pid == e->nest.init) {
		e->nest.init = 0; /* and the active is being killed by the kernel */
		return true;
	}
	for (unsigned i = 0; i < OLD_INITS_MAX; i++)
		if (e->old_inits[i] == pid) {
			e->old_inits[i] = 0;
			return true;
		}
	for (unsigned i = 0; i <= e->n_twins; i++) {
		struct twin *w = e->twins[i];
		pid_t leader = w->nest.leader;
		bool armed = i < e->n_twins;

		if (!is_part_of(w, pid))
			continue;
		if (w->pid == pid)
			w->pid = 0;
		if (w->nest.init == pid)
			w->nest.init = 0;
		for (unsigned k = 0; k < w->n_threads; k++)
			if (w->threads[k].host == pid)
				w->threads[k].host = 0;
		twin_slot_clear(e, i);
		if (armed)
			engine_push_event(e,
				&(struct twin_event){.type = TWIN_EVENT_TWIN_LOST, .pid = leader});
		return true;
	}
	return false;
}

void namespace_drop(struct twin_engine *e, struct twin *w)
{
	if (w->nest.init)
		for (unsigned i = 0; i < w->n_threads; i++)
			namespace_bury(e, w->threads[i].host);
	namespace_bury(e, w->nest.init);
	w->nest = (struct nest){0};
}

void namespace_forget(struct twin_engine *e)
{
	namespace_bury(e, e->nest.init);
	for (unsigned i = 0; i < OLD_INITS_MAX; i++) {
		namespace_bury(e, e->old_inits[i]);
		e->old_inits[i] = 0;
	}
	e->nest = (struct nest){0};
	e->inside = false;
}

pid_t namespace_inner(const struct twin_engine *e, pid_t tid)
{
	if (e->inside)
		for (unsigned i = 0; i < e->n_threads; i++)
			if (e->threads[i]->tid == tid)
				return e->threads[i]->inner;
	return tid;
}

const char *namespace_path(const struct twin_engine *e, const char *path, char *buf, size_t size)
{
	char own[32];
	int n = snprintf(own, sizeof(own), "/proc/%d/", e->pid);

	if (!e->inside || strncmp(path, own, (size_t)n) != 0)
		return path;
	snprintf(buf, size, "/proc/self/%s", path + n);
	return buf;
}

int namespace_learn(struct twin_engine *e, struct thread *t)
{
	char text[4096];
	const char *line, *last;

	if (!e->inside || t->inner)
		return 0;
	if (proc_read(text, sizeof(text), "%d/status", t->tid) < 0)
		return -ESRCH;
	line = strstr(text, "\nNSpid:");
	if (!line)
		return -ENOTSUP;
	line++;
	last = line + strcspn(line, "\n");
	while (last > line && last[-1] != '\t' && last[-1] != ' ')
		last--;
	t->inner = (pid_t)strtol(last, NULL, 10);
	return t->inner > 0 ? 0 : -ENOTSUP;
}

static bool same_object(pid_t a, pid_t b, int type)
{
	return syscall(SYS_kcmp, a, b, type, 0, 0) == 0;
}

/* Of the others it cannot be told apart that way. */
static bool same_namespaces(pid_t a, pid_t b)
{
	static const char *const kinds[] = {"mnt", "net", "ipc", "uts", "user", "cgroup", "time"};

	for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
		char path[64];
		struct stat one, other;
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", a, kinds[i]);
		if (stat(path, &one) < 0)
			continue; /* unknown to this kernel */
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", b, kinds[i]);
		if (stat(path, &other) < 0 || one.st_ino != other.st_ino)
			return false;
	}
	return true;
}

int namespace_check(struct twin_engine *e)
{
	static const struct {
		int type;
		const char *what;
	} shared[] = {
		{KCMP_VM, "memory"},
		{KCMP_FILES, "descriptors"},
		{KCMP_FS, "working directory"},
		{KCMP_SIGHAND, "signal handlers"},
		{KCMP_SYSVSEM, "semaphore undo list"},
	};

	if (!e->inside)
		return 0;
	if (e->executed_inside)
		return engine_fail(e, -ENOTSUP,
			"it has executed another program in its namespace; ExecStart= has to name "
			"that program itself, or Identity=exact");
	if (!e->holder || !e->nest.init)
		return engine_fail(e, -ENOTSUP, "its agent outside the namespace has ended");
	if (e->holder_busy)
		return engine_fail(e, -EBUSY, "its memory is being locked");
	if (e->filtered)
		return engine_fail(e, -ENOTSUP,
			"it has a seccomp filter, which a twin in a namespace cannot be given");
	for (size_t i = 0; i < ELEMENTSOF(shared); i++)
		if (!same_object(e->pid, e->holder, shared[i].type))
			return engine_fail(e, -ENOTSUP, "it has unshared its %s from its agent",
				shared[i].what);
	if ((getsid(e->pid) != e->nest.group && getsid(e->pid) != e->pid) ||
		(getpgid(e->pid) != e->nest.group && getpgid(e->pid) != e->pid))
		return engine_fail(e, -ENOTSUP, "it has joined the process group of another");
	if (!same_namespaces(e->pid, e->holder))
		return engine_fail(e, -ENOTSUP, "it has moved to other namespaces");
	return namespace_reserve(e, e->n_threads + 16);
}

/* A stop of which the registers are final: at the exec event they are not yet. */
static int stand_still(struct twin_engine *e, struct thread *t, uint64_t *ret_signals)
{
	struct wait_event ev;
	int raw;

	*ret_signals = 0;
	if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0)
		return -errno;
	if (t->stopped && ptrace(PTRACE_CONT, t->tid, NULL, NULL) < 0)
		return -errno;
	for (;;) {
		pid_t r = engine_wait(t->tid, &raw);
		if (r < 0)
			return r;
		ev = wait_classify((struct wait_status){raw}, true);
		if (wait_is_end(&ev)) {
			engine_defer(e, t->tid, raw);
			return -ESRCH;
		}
		if (ev.kind == WAIT_INTERRUPT_STOP)
			return 0;
		/* Sent meanwhile: the node shall have it when it runs. */
		if (ev.kind == WAIT_SIGNAL_STOP)
			*ret_signals |= 1ULL << (ev.signal - 1);
		if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0 ||
			ptrace(PTRACE_CONT, t->tid, NULL, NULL) < 0)
			return -errno;
	}
}

/* What waits for the agent, which will never take it. */
static uint64_t pending_signals(pid_t pid)
{
	uint64_t own = 0, shared = 0;
	char text[4096];

	if (proc_read(text, sizeof(text), "%d/status", pid) < 0)
		return 0;
	(void)!proc_field(text, "SigPnd", 16, &own);
	(void)!proc_field(text, "ShdPnd", 16, &shared);
	return own | shared;
}

/* The node's main thread, inside, with the registers of the one outside. */
static int make_leader(struct twin_engine *e, struct thread *t, struct nest_build *b)
{
	uint64_t at = (arch_sp(&t->regs) - BELOW_STACK) & ~63ULL;
	struct {
		struct clone_args args;
		uint64_t tid;
	} text = {.args = {.flags = LEADER_FLAGS, .set_tid_size = 1}, .tid = (uint64_t)t->tid};
	struct injection in;
	struct wait_record wait;
	struct arch_regs regs;
	struct wait_event ev;
	long result = 0;
	int raw, r;

	text.args.set_tid = at + ((uint8_t *)&text.tid - (uint8_t *)&text);
	r = image_write(b->builder, at, &text, sizeof(text));
	if (r == 0)
		r = inject_begin(e, b->builder, &b->builder_regs, false, &in);
	if (r < 0)
		return r;
	r = inject_call(&in, SYS_clone3, (const uint64_t[6]){at, sizeof(text.args)}, &result);
	inject_end(&in);
	if (r == 0 && result <= 0)
		r = (int)result;
	if (r < 0)
		return r;
	b->nest.leader = (pid_t)result;
	r = engine_wait(b->nest.leader, &raw);
	if (r < 0)
		return r;
	ev = wait_classify((struct wait_status){raw}, true);
	if (ev.kind != WAIT_INTERRUPT_STOP)
		return -ESRCH;
	r = restart_for_twin(t, &regs, &wait);
	if (r == 0)
		r = arch_set_regs(b->nest.leader, &regs);
	if (r == 0)
		r = nest_run_init(e, b, at, t->tid);
	return r;
}

/* What a thread has registered with the kernel and a clone of it has not; a program that has just
 * executed has registered nothing. */
static int move_registrations(struct twin_engine *e, struct thread *t, pid_t leader)
{
	struct injection in;
	long result;
	int r;

	if (!t->tid_addr && !t->rseq && !t->robust_len)
		return 0;
	r = inject_begin(e, t->tid, &t->regs, false, &in);
	if (r == 0 && t->rseq) {
		r = inject_call(&in, SYS_rseq,
			(const uint64_t[6]){t->rseq, t->rseq_len, 1, t->rseq_sig}, &result);
		inject_end(&in);
	}
	if (r == 0)
		r = inject_begin(e, leader, &t->regs, false, &in);
	if (r == 0 && t->tid_addr)
		r = inject_call(
			&in, SYS_set_tid_address, (const uint64_t[6]){t->tid_addr}, &result);
	if (r == 0 && t->robust_len)
		r = inject_call(&in, SYS_set_robust_list,
			(const uint64_t[6]){t->robust_head, t->robust_len}, &result);
	if (r == 0 && t->rseq)
		r = inject_call(&in, SYS_rseq,
			(const uint64_t[6]){t->rseq, t->rseq_len, 0, t->rseq_sig}, &result);
	return r;
}

/* Ready to run in place of the one that will be its agent. */
static int settle_leader(
	struct twin_engine *e, struct thread *t, const struct nest_build *b, uint64_t signals)
{
	pid_t leader = b->nest.leader;
	struct arch_regs regs;
	int r = arch_get_regs(leader, &regs);

	if (r == 0)
		r = move_registrations(e, t, leader);
	if (r == 0)
		r = credentials_lower(e, leader, &regs);
	if (r == 0)
		r = arch_set_regs(leader, &regs);
	if (r == 0 && ptrace(PTRACE_SETSIGMASK, leader, sizeof(t->sigmask), &t->sigmask) < 0)
		r = -errno;
	schedule_restore(leader, &t->sched);
	if (CPU_COUNT(&t->affinity) > 0)
		(void)sched_setaffinity(leader, sizeof(t->affinity), &t->affinity);
	signals |= pending_signals(t->tid);
	for (int sig = 1; r == 0 && sig <= FORWARD_MAX; sig++)
		if ((signals & (1ULL << (sig - 1))) && sig != SIGTRAP)
			kill(leader, sig);
	if (r == 0 && ptrace(PTRACE_SETOPTIONS, leader, NULL, ACTIVE_OPTIONS) < 0)
		r = -errno;
	return r;
}

static void name_agent(struct twin_engine *e, const struct thread *t)
{
	uint64_t args[6] = {PR_SET_NAME};
	char name[16], comm[32];
	struct injection in;

	if (proc_read(comm, sizeof(comm), "%d/comm", t->tid) < 0)
		return;
	comm[strcspn(comm, "\n")] = '\0';
	snprintf(name, sizeof(name), "twin:%.10s", comm);
	if (inject_begin(e, t->tid, &t->regs, false, &in) < 0)
		return;
	(void)!inject_input(&in, SYS_prctl, args, 1, name, sizeof(name));
	inject_end(&in);
}

static int enter(struct twin_engine *e, struct thread *t, struct nest_build *b, uint64_t signals)
{
	int r = arch_get_regs(t->tid, &t->regs);

	if (r < 0)
		return r;
	(void)capture_rseq(t);
	r = capture_thread(e, t);
	if (r == 0)
		r = capture_rest(t);
	if (r == 0 && t->stop.kind != WAIT_PTRACE_EVENT)
		r = capture_once(e, t);
	/* What it makes shall die with us from its first moment. */
	if (r == 0 && ptrace(PTRACE_SETOPTIONS, t->tid, NULL, PTRACE_O_EXITKILL) < 0)
		r = -errno;
	if (r == 0)
		r = nest_open(e, t->tid, &t->regs, b);
	if (r == 0)
		r = make_leader(e, t, b);
	if (r == 0)
		r = settle_leader(e, t, b, signals);
	return r;
}

int namespace_enter(struct twin_engine *e, struct thread *t)
{
	struct nest_build b = {.builder = 0};
	struct thread *inside;
	uint64_t signals = 0;
	pid_t agent = t->tid;
	int r = e->config.namespace_init ? namespace_reserve(e, 16) : -ENOTSUP;

	if (r == 0)
		r = stand_still(e, t, &signals);
	if (r < 0)
		return engine_fail(e, r, "cannot enter a namespace: %s", strerror(-r));
	r = enter(e, t, &b, signals);
	namespace_bury(e, b.builder);
	if (r < 0) {
		int lowered;

		namespace_bury(e, b.nest.leader);
		namespace_bury(e, b.nest.init);
		/* Where it was, with what it had; but not with what was lent to an agent. */
		lowered = credentials_lower(e, agent, &t->regs);
		if (lowered < 0)
			kill(agent, SIGKILL);
		if (lowered < 0 || arch_set_regs(agent, &t->regs) < 0 ||
			ptrace(PTRACE_SETSIGMASK, agent, sizeof(t->sigmask), &t->sigmask) < 0 ||
			ptrace(PTRACE_SETOPTIONS, agent, NULL, ACTIVE_OPTIONS) < 0)
			return engine_fail(e, -ESRCH, "the process is ending");
		for (int sig = 1; sig <= FORWARD_MAX; sig++)
			if (signals & (1ULL << (sig - 1)))
				kill(agent, sig);
		return engine_fail(e, r, "cannot enter a namespace: %s", strerror(-r));
	}
	name_agent(e, t);
	e->holder = agent;
	e->holder_fresh = false;
	e->holder_regs = t->regs;
	e->nest = b.nest;
	e->inside = true;
	e->executed_inside = false;
	/* Late, it gets there; dead, all of its namespace is. */
	(void)!namespace_await_init(e, &e->nest);
	struct thread before = *t;
	threads_clear(e);
	e->pid = b.nest.leader;
	inside = thread_add(e, e->pid);
	if (!inside || engine_open_proc(e) < 0)
		return engine_fail(e, -ENOMEM, "cannot open /proc/%d", e->pid);
	inside->inner = agent;
	inside->tid_addr = before.tid_addr;
	inside->tid_addr_known = before.tid_addr_known;
	inside->stopped = true;
	inside->stop = (struct wait_event){.kind = WAIT_INTERRUPT_STOP};
	return 0;
}
