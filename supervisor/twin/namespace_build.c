/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A generation's namespace, and all its threads made beforehand; see namespace.h. Nothing of it
 * is on the path of a swap.
 */
#include <assert.h>
#include <errno.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#define BUILD_DEADLINE 2000000000ULL
/* Beside the agent: its memory, handlers and directories. CLONE_PARENT: a child of ours. */
#define BUILDER_FLAGS                                                                              \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_SYSVSEM | CLONE_PARENT |        \
		CLONE_PTRACE)
/* It shares the table of descriptors only until it gives it up, so that nothing in it is held
 * open, not for a moment. */
#define INIT_FLAGS (CLONE_VM | CLONE_FILES | CLONE_PARENT | CLONE_PTRACE)

/* Of pids, below the least pid_max that is usual. */
#define FIRST_NUMBER 1000u
#define NUMBERS_STEP 2000u
#define NUMBERS_MAX 30000u

static int first_stop(struct twin_engine *e, pid_t pid, struct arch_regs *ret)
{
	struct wait_event ev;
	int raw;
	pid_t r = engine_wait(pid, &raw);

	if (r < 0)
		return r;
	ev = wait_classify((struct wait_status){raw}, true);
	if (ev.kind != WAIT_INTERRUPT_STOP) {
		engine_handle(e, pid, raw);
		return -ESRCH;
	}
	return arch_get_regs(pid, ret);
}

/* Repeated where a signal was pending; -errno of the call itself, too. */
static int call(struct injection *in, long nr, const uint64_t args[6], long *ret)
{
	long result = 0;
	int r = inject_call(in, nr, args, &result);

	if (r < 0)
		return r;
	if (result < 0)
		return (int)result;
	if (ret)
		*ret = result;
	return 0;
}

static int clone_from(struct injection *in, uint64_t flags, pid_t *ret)
{
	long pid = 0;
	int r = call(in, SYS_clone, (const uint64_t[6]){flags}, &pid);

	*ret = (pid_t)pid;
	return r;
}

/* The init's own table of descriptors is born empty. */
static int prepare_init(struct twin_engine *e, struct nest_build *b)
{
	struct injection in;
	int r = first_stop(e, b->nest.init, &b->init_regs);

	if (r == 0)
		r = inject_begin(e, b->nest.init, &b->init_regs, false, &in);
	if (r < 0)
		return r;
	r = call(&in, SYS_close_range, (const uint64_t[6]){0, ~0u, CLOSE_RANGE_UNSHARE}, NULL);
	inject_end(&in);
	if (r < 0)
		return r;
	return ptrace(PTRACE_SETOPTIONS, b->nest.init, NULL,
		       PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC) < 0
		       ? -errno
		       : 0;
}

int nest_open(
	struct twin_engine *e, pid_t from, const struct arch_regs *regs, struct nest_build *ret)
{
	struct nest_build b = {.builder = 0};
	struct injection in;
	cpu_set_t anywhere;
	int r = inject_begin(e, from, regs, false, &in);

	if (r < 0)
		return r;
	r = clone_from(&in, BUILDER_FLAGS, &b.builder);
	inject_end(&in);
	if (r == 0)
		r = first_stop(e, b.builder, &b.builder_regs);
	if (r == 0)
		r = inject_begin(e, b.builder, &b.builder_regs, false, &in);
	if (r < 0)
		goto fail;
	r = call(&in, SYS_setsid, (const uint64_t[6]){0}, NULL);
	if (r == 0)
		r = call(&in, SYS_unshare, (const uint64_t[6]){CLONE_NEWPID}, NULL);
	if (r == 0)
		r = clone_from(&in, INIT_FLAGS, &b.nest.init);
	inject_end(&in);
	if (r == 0)
		r = prepare_init(e, &b);
	/* It was born where we are, and would have to stay there. */
	if (r == 0 && sched_getaffinity(0, sizeof(anywhere), &anywhere) == 0)
		(void)sched_setaffinity(b.nest.init, sizeof(anywhere), &anywhere);
	if (r < 0)
		goto fail;
	b.nest.group = b.builder;
	*ret = b;
	return 0;
fail:
	nest_abandon(e, &b);
	return r;
}

void nest_abandon(struct twin_engine *e, struct nest_build *b)
{
	if (b->builder > 0)
		engine_kill_helper(e, b->builder);
	if (b->nest.init > 0)
		engine_kill_helper(e, b->nest.init);
	b->builder = b->nest.init = 0;
}

/*
 * Where the numbers of new tasks begin in a namespace. In each of a node's elsewhere: a child that
 * the dead have left behind, of which the twin still knows, must not be taken for another.
 */
static unsigned next_numbers(struct twin_engine *e)
{
	e->numbers_from = (e->numbers_from + NUMBERS_STEP) % NUMBERS_MAX;
	return FIRST_NUMBER + e->numbers_from;
}

/* It is not waited for: namespace_stopped() lets it go when it has executed. */
int nest_run_init(struct twin_engine *e, struct nest_build *b, uint64_t text_at, pid_t inner)
{
	struct {
		uint64_t argv[4], envp[1];
		char node[16], number[16], path[NEST_TEXT - 72];
	} text = {.envp = {0}};
	struct arch_regs regs = b->init_regs;
	int r;

	static_assert(sizeof(text) == NEST_TEXT, "NEST_TEXT");
	snprintf(text.path, sizeof(text.path), "%s", e->config.namespace_init);
	snprintf(text.node, sizeof(text.node), "%d", inner);
	snprintf(text.number, sizeof(text.number), "%u", next_numbers(e));
	text.argv[0] = text_at + ((uint8_t *)text.path - (uint8_t *)&text);
	text.argv[1] = text_at + ((uint8_t *)text.node - (uint8_t *)&text);
	text.argv[2] = text_at + ((uint8_t *)text.number - (uint8_t *)&text);
	r = image_write(b->nest.init, text_at, &text, sizeof(text));
	if (r < 0)
		return r;
	arch_prepare_call(&regs, e->syscall_insn, SYS_execve,
		(const uint64_t[6]){text.argv[0], text_at,
			text_at + ((uint8_t *)text.envp - (uint8_t *)&text)});
	r = arch_set_regs(b->nest.init, &regs);
	if (r < 0)
		return r;
	return ptrace(PTRACE_SINGLESTEP, b->nest.init, NULL, NULL) < 0 ? -errno : 0;
}

/* Progress of a build. */
struct nesting {
	struct twin_engine *e;
	struct twin *w;
	struct nest_build b;
	bool builder_done;
	unsigned leader_traps, standing;
};

static struct twin_thread *find_host(const struct twin *w, pid_t host)
{
	for (unsigned i = 0; i < w->n_threads; i++)
		if (w->threads[i].host == host)
			return &w->threads[i];
	return NULL;
}

static int64_t result_of(const struct twin *w, unsigned i)
{
	int64_t v = -EFAULT;

	return image_read(w->pid,
		       w->threads_at + i * sizeof(struct routine_thread) +
			       offsetof(struct routine_thread, result),
		       &v, sizeof(v)) < 0
		       ? -EFAULT
		       : v;
}

static int go(pid_t pid)
{
	return ptrace(PTRACE_CONT, pid, NULL, NULL) < 0 ? -errno : 0;
}

/* Who was just born says so by the address that its maker has in a register. */
static struct twin_thread *newborn(const struct twin *w, pid_t pid)
{
	struct arch_regs regs;
	uint64_t at;

	if (arch_get_regs(pid, &regs) < 0)
		return NULL;
	at = arch_routine_thread(&regs) - w->threads_at;
	if (at % sizeof(struct routine_thread) != 0 ||
		at / sizeof(struct routine_thread) >= w->n_threads)
		return NULL;
	at /= sizeof(struct routine_thread);
	return w->threads[at].host ? NULL : &w->threads[at];
}

static int thread_trapped(struct nesting *n, const struct twin_thread *t)
{
	if (t != &n->w->threads[0] || ++n->leader_traps > 1) {
		n->standing++;
		return 0;
	}
	/* The leader when it has made all threads, or could not make one. */
	for (unsigned i = 1; i < n->w->n_threads; i++) {
		int64_t result = result_of(n->w, i);
		if (result != n->w->threads[i].tid)
			return engine_fail(n->e, -EBUSY, "clone of thread %d in its namespace: %s",
				n->w->threads[i].tid, strerror((int)-MIN2(result, 0)));
	}
	return go(t->host);
}

static int build_event(struct nesting *n, pid_t pid, const struct wait_event *ev, int raw)
{
	bool trap = ev->kind == WAIT_SIGNAL_STOP && ev->signal == SIGTRAP;
	struct twin_thread *t = find_host(n->w, pid);
	int64_t result;

	if (pid != n->b.builder && !t) {
		t = ev->kind == WAIT_INTERRUPT_STOP ? newborn(n->w, pid) : NULL;
		if (!t) {
			engine_defer(n->e, pid, raw);
			return 0;
		}
		t->host = pid;
		if (t == &n->w->threads[0])
			n->w->nest.leader = pid;
		return go(pid);
	}
	if (wait_is_end(ev))
		return engine_fail(n->e, -ESRCH, "task %d ended while the twin was built", pid);
	if (!trap)
		return go(pid); /* a stop signal: not for now */
	if (pid != n->b.builder)
		return thread_trapped(n, t);
	result = result_of(n->w, 0);
	if (result <= 0)
		return engine_fail(n->e, -EBUSY, "clone of %d in its namespace: %s",
			n->w->threads[0].tid, strerror((int)-result));
	n->builder_done = true;
	return 0;
}

static int start_builder(struct nesting *n)
{
	struct arch_regs regs = n->b.builder_regs;
	cpu_set_t here;
	int cpu = sched_getcpu(), r;

	if (cpu >= 0) {
		CPU_ZERO(&here);
		CPU_SET(cpu, &here);
		(void)sched_setaffinity(n->b.builder, sizeof(here), &here);
	}
	schedule_boost(n->b.builder); /* we wait for it */
	arch_prepare_routine(&regs, n->w->code, ROUTINE_BUILD, n->w->data, 0);
	r = arch_set_regs(n->b.builder, &regs);
	return r == 0 ? go(n->b.builder) : r;
}

/* A real-time task has no timer slack, and the default of those that it made is none. */
void namespace_restore_schedule(const struct twin_thread *t)
{
	char text[24];

	schedule_restore(t->host, &t->sched);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)t->timer_slack);
	if (t->timer_slack)
		(void)!proc_write(text, "%d/timerslack_ns", t->host);
}

/* Only the leader still dies with us, and all others with it; so there is less to be undone at
 * the swap. */
static int settle_threads(const struct twin *w)
{
	for (unsigned i = 0; i < w->n_threads; i++) {
		const struct twin_thread *t = &w->threads[i];

		if (CPU_COUNT(&t->affinity) > 0)
			(void)sched_setaffinity(t->host, sizeof(t->affinity), &t->affinity);
		namespace_restore_schedule(t);
		schedule_set_io(t->host, t->io_priority);
		if (i > 0 && ptrace(PTRACE_SETOPTIONS, t->host, NULL, ACTIVE_OPTIONS) < 0)
			return -errno;
	}
	return 0;
}

static int run_builder(struct nesting *n)
{
	int r = start_builder(n);

	engine_deadline_set(n->e, BUILD_DEADLINE);
	while (r == 0 && !(n->builder_done && n->standing == n->w->n_threads)) {
		int raw;
		pid_t pid = engine_wait(-1, &raw);
		struct wait_event ev;

		if (pid < 0) {
			r = engine_fail(n->e, pid, "building the twin: %s", strerror(-pid));
			break;
		}
		ev = wait_classify((struct wait_status){raw}, true);
		r = build_event(n, pid, &ev, raw);
	}
	engine_deadline_clear(n->e);
	return r;
}

static int check_leader(struct twin_engine *e, const struct twin *w)
{
	struct injection in;
	int r = inject_begin(e, w->nest.leader, &w->leader_regs, true, &in);

	if (r < 0)
		return r;
	r = alike_check_twin(e, w->nest.leader, &in);
	inject_end(&in);
	return r;
}

int namespace_build(struct twin_engine *e, struct twin *w)
{
	struct nesting n = {.e = e, .w = w};
	int r;

	for (unsigned i = 0; i < w->n_threads; i++)
		w->threads[i].host = 0;
	w->nest = (struct nest){0};
	r = nest_open(e, w->pid, &w->regs, &n.b);
	if (r < 0)
		return engine_fail(e, -EBUSY, "no namespace for the twin: %s", strerror(-r));
	w->nest.init = n.b.nest.init; /* from here twin_slot_clear() takes it away */
	w->nest.group = n.b.nest.group;
	r = run_builder(&n);
	if (r == 0)
		r = arch_get_regs(w->nest.leader, &w->leader_regs);
	if (r == 0)
		r = settle_threads(w);
	if (r == 0)
		r = credentials_set_limits(e, w);
	if (r == 0)
		r = credentials_check(e, w);
	if (r == 0)
		r = check_leader(e, w);
	if (r == 0)
		r = nest_run_init(e, &n.b, w->nest_text_at, w->threads[0].tid);
	namespace_bury(e, n.b.builder);
	if (r < 0 && !e->reason[0])
		return engine_fail(e, -EBUSY, "building the twin: %s", strerror(-r));
	return r;
}
