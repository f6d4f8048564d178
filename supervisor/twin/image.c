/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fresh copy made ready to run, while the active goes on: scratch memory is mapped in the
 * copy, and what each thread will need (its frame, its set-up calls) is written there, so that
 * a swap has nothing left to compute. The mappings exist in the copy alone; after a swap they
 * are taken away at the next checkpoint.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#define PAGE 4096ULL
#define TWIN_OOM_SCORE_ADJ "1000"
int image_write(pid_t pid, uint64_t at, const void *data, size_t len)
{
	struct iovec mine = {(void *)data, len}, theirs = {(void *)at, len};
	ssize_t n = process_vm_writev(pid, &mine, 1, &theirs, 1, 0);

	return n < 0 ? -errno : (size_t)n == len ? 0 : -EFAULT;
}

int image_read(pid_t pid, uint64_t at, void *data, size_t len)
{
	struct iovec mine = {data, len}, theirs = {(void *)at, len};
	ssize_t n = process_vm_readv(pid, &mine, 1, &theirs, 1, 0);

	return n < 0 ? -errno : (size_t)n == len ? 0 : -EFAULT;
}

/* Code pages are never writable, not even for a moment (PR_SET_MDWE); a tracer may poke them. */
static int write_code(pid_t pid, uint64_t at)
{
	const uint8_t *p = arch_routine_begin;

	for (; p < arch_routine_end; p += sizeof(long), at += sizeof(long)) {
		long word = 0;
		memcpy(&word, p, MIN2(sizeof(word), (size_t)(arch_routine_end - p)));
		if (ptrace(PTRACE_POKEDATA, pid, at, word) < 0)
			return -errno;
	}
	return 0;
}

static int unmap(struct injection *in, uint64_t at, size_t *len)
{
	long result = 0;
	int r = *len ? inject_call(in, SYS_munmap, (const uint64_t[6]){at, *len}, &result) : 0;

	if (r == 0)
		r = (int)result;
	if (r == 0)
		*len = 0; /* never again: something else may be there then */
	return r;
}

int image_remove_scratch(struct injection *in, struct scratch_left *s)
{
	int r = unmap(in, s->code, &s->code_len);

	return r < 0 ? r : unmap(in, s->data, &s->data_len);
}

/* A copy made soon after a swap has what that swap left in its original, and would hand it on to
 * all its copies. */
static int remove_inherited(struct twin_engine *e, struct injection *in)
{
	struct scratch_left inherited = e->scratch;

	return image_remove_scratch(in, &inherited);
}

static int map_scratch(struct twin_engine *e, struct twin *w, struct injection *in)
{
	long at;
	int r = inject_call(in, SYS_mmap,
		(const uint64_t[6]){0, w->code_len, PROT_READ | PROT_EXEC,
			MAP_PRIVATE | MAP_ANONYMOUS, (uint64_t)-1, 0},
		&at);

	if (r == 0 && at < 0)
		r = (int)at;
	if (r < 0)
		return engine_fail(e, -EBUSY, "no room for code in the twin: %s", strerror(-r));
	w->code = (uint64_t)at;
	r = inject_call(in, SYS_mmap,
		(const uint64_t[6]){0, w->data_len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, (uint64_t)-1, 0},
		&at);
	if (r == 0 && at < 0)
		r = (int)at;
	if (r < 0)
		return engine_fail(e, -EBUSY, "no room for data in the twin: %s", strerror(-r));
	w->data = (uint64_t)at;
	return 0;
}

static size_t image_layout(struct twin *w, unsigned n_threads, size_t frame)
{
	size_t at = sizeof(struct routine_args);

	w->threads_at = at;
	at += n_threads * sizeof(struct routine_thread);
	w->calls_at = at;
	at += w->repair_calls * sizeof(struct routine_call);
	w->repair_data_at = at;
	at += w->repair_data_size;
	w->leader_calls_at = at;
	at += LEADER_CALLS * sizeof(struct routine_call) + LEADER_DATA;
	w->thread_calls_at = at;
	at += LEADER_CALLS * sizeof(struct routine_call) + LEADER_DATA;
	w->nest_text_at = at;
	at += NEST_TEXT;
	at = (at + ARCH_FRAME_ALIGN - 1) & ~(size_t)(ARCH_FRAME_ALIGN - 1);
	return (at + n_threads * frame + PAGE - 1) & ~(PAGE - 1);
}

static int fill_thread(
	struct twin_engine *e, struct twin *w, const struct thread *t, unsigned i, size_t frame_at)
{
	uint8_t *image = e->image;
	struct routine_thread *rt = (struct routine_thread *)(image + w->threads_at) + i;
	struct clone_args ca = {
		.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SETTLS |
			 CLONE_PTRACE,
		.tls = arch_tls(&t->regs),
	};
	struct wait_record wait;
	struct arch_regs regs;
	int r = restart_for_twin(t, &regs, &wait);

	if (r < 0)
		return r;
	/* The first is the leader: a process of its own, and a child of the tracer. */
	ca.flags |= i == 0 ? CLONE_PARENT : CLONE_THREAD | CLONE_SIGHAND;
	if (e->inside)
		ca.flags |= CLONE_SIGHAND; /* of the agent */
	if (!w->stepwise) {
		ca.set_tid = w->data + w->threads_at + i * sizeof(*rt) +
			     offsetof(struct routine_thread, wanted_tid);
		ca.set_tid_size = 1;
	}
	memset(rt, 0, sizeof(*rt));
	memcpy(rt->clone_args, &ca, sizeof(ca));
	rt->wanted_tid = (uint32_t)namespace_inner(e, t->tid);
	/* Those with adjoining numbers are cloned in one go: each trap is time for others to fork.
	 */
	rt->steer = w->stepwise && i > 0 && (i == 1 || t->tid != w->threads[i - 1].tid + 1);
	rt->tid_addr = t->tid_addr;
	rt->robust_head = t->robust_head;
	rt->robust_len = sizeof(struct robust_list_head); /* also to take one away */
	rt->rseq = t->rseq;
	rt->rseq_len = t->rseq_len;
	rt->rseq_sig = t->rseq_sig;
	rt->gs_base = arch_second_base(&t->regs);
	memcpy(rt->name, t->name, sizeof(rt->name));
	rt->timer_slack = t->timer_slack;
	if (i > 0) /* the main thread's is among its own calls */
		rt->parent_death_signal = (uint64_t)t->self.parent_death_signal;
	arch_build_frame(image + frame_at, w->data + frame_at, &regs, &t->xstate, t->sigmask,
		&t->altstack, &rt->frame_sp);
	w->threads[i] = (struct twin_thread){.tid = (pid_t)rt->wanted_tid,
		.sched = t->sched,
		.io_priority = t->io_priority,
		.self = t->self,
		.timer_slack = t->timer_slack,
		.affinity = t->affinity,
		.tid_addr = t->tid_addr,
		.altstack = t->altstack,
		.altstack_queries = t->altstack_queries,
		.wait = wait,
		.regs = regs,
		.rseq = t->rseq,
		.rseq_len = t->rseq_len,
		.rseq_sig = t->rseq_sig,
		.frame_at = w->data + frame_at};
	partial_for_twin(t, &w->threads[i]);
	memcpy(w->threads[i].name, t->name, sizeof(t->name));
	return 0;
}

void leader_call(struct leader_calls *l, long nr, const uint64_t args[6])
{
	struct routine_call *c;

	if (l->n >= LEADER_CALLS) {
		l->full = true;
		return;
	}
	c = &l->calls[l->n++];
	*c = (struct routine_call){.nr = (uint64_t)nr};
	memcpy(c->args, args, sizeof(c->args));
}

uint64_t leader_data(struct leader_calls *l, const void *data, size_t len)
{
	uint64_t at = l->data_at + l->data_len;

	if (l->data_len + len > LEADER_DATA) {
		l->full = true;
		return 0;
	}
	memcpy(l->data + l->data_len, data, len);
	l->data_len += (len + 15) & ~(size_t)15;
	return at;
}

/* What may be done long before the swap goes to the front; credentials that are changed later take
 * some of it away again. How many these are. */
static unsigned early_calls(struct twin_engine *e)
{
	struct leader_calls *l = &e->leader_calls;
	unsigned n = 0;

	for (unsigned i = 0; e->inside && e->thread_calls.n == 0 && i < l->n; i++) {
		struct routine_call c = l->calls[i];
		bool early = c.nr == SYS_setsid || c.nr == SYS_setpgid;

		if (c.nr == SYS_prctl)
			early = c.args[0] == PR_SET_PDEATHSIG ||
				c.args[0] == PR_SET_CHILD_SUBREAPER;
		if (!early)
			continue;
		memmove(&l->calls[n + 1], &l->calls[n], (i - n) * sizeof(c));
		l->calls[n++] = c;
	}
	return n;
}

static unsigned fill_leader_calls(struct twin_engine *e, const struct twin *w)
{
	struct leader_calls *l = &e->leader_calls;
	uint8_t *to = e->image + w->leader_calls_at;
	unsigned n;

	locked_restore(&w->locked, l);
	for (unsigned i = 0; i < e->timers.n_posix; i++)
		e->timers.posix[i].tid = namespace_inner(e, e->timers.posix[i].tid);
	timers_restore(&e->timers, l);
	selfref_keep(e, w);
	exclude_restore(w, l);
	signals_restore(e, l);
	n = early_calls(e);
	memcpy(to, l->calls, sizeof(l->calls));
	memcpy(to + sizeof(l->calls), l->data, sizeof(l->data));
	if (!e->inside)
		return n;
	l = &e->thread_calls;
	to = e->image + w->thread_calls_at;
	memcpy(to, l->calls, sizeof(l->calls));
	memcpy(to + sizeof(l->calls), l->data, sizeof(l->data));
	return n;
}

static int fill(struct twin_engine *e, struct twin *w, size_t frame)
{
	struct routine_args *args = (struct routine_args *)e->image;
	size_t frame_at = w->image_len;
	unsigned i = 1, n_early;

	memset(e->image, 0, w->leader_calls_at);
	n_early = fill_leader_calls(e, w);
	*args = (struct routine_args){.calls = w->data + w->calls_at,
		.stepwise = w->stepwise,
		.n_threads = w->n_threads,
		.threads = w->data + w->threads_at,
		.n_leader_calls = e->inside ? n_early : e->leader_calls.n,
		.leader_calls = w->data + w->leader_calls_at,
		.trap_before_frame = w->filtered || e->inside,
		.n_thread_calls = e->inside ? e->thread_calls.n : 0,
		.thread_calls = w->data + w->thread_calls_at};
	w->n_late_calls = e->leader_calls.n - n_early;
	w->late_calls_at = args->leader_calls + n_early * sizeof(struct routine_call);
	threads_sort(e);
	FOREACH_THREAD(e, t)
	{
		int r;
		frame_at -= frame;
		r = fill_thread(e, w, t, t->tid == e->pid ? 0 : i++, frame_at);
		if (r < 0)
			return engine_fail(e, -EBUSY, "thread %d: %s", t->tid, strerror(-r));
	}
	w->calls_at += w->data;
	w->threads_at += w->data;
	w->repair_data_at += w->data;
	w->nest_text_at += w->data;
	return 0;
}

/*
 * The old pid can only be taken again when nobody uses it as group or session either, and a
 * copy inherits both. So it leaves them, and the new leader makes them anew.
 */
static int leave_session(struct twin_engine *e, const struct twin *w, struct injection *in)
{
	struct leader_calls *l = &e->leader_calls;
	long nr, result;
	int r;

	l->n = 0;
	l->data_len = 0;
	l->full = false;
	l->data_at = w->data + w->leader_calls_at + sizeof(l->calls);
	if (getsid(e->pid) == e->pid)
		nr = SYS_setsid;
	else if (getpgid(e->pid) == e->pid)
		nr = SYS_setpgid;
	else
		return 0;
	leader_call(l, nr, (const uint64_t[6]){0});
	if (e->inside)
		return 0; /* there it has a number of its own to be free */
	r = inject_call(in, nr, (const uint64_t[6]){0}, &result);
	return r < 0 ? r : (int)MIN2(result, 0L);
}

/* The main thread's own alternate stack is inherited by the copy, where asking costs no freeze. */
static int ask_altstack(struct twin_engine *e, struct injection *in)
{
	struct thread *leader = thread_find(e, e->pid);
	uint64_t args[6] = {0};

	return leader ? inject_output(in, SYS_sigaltstack, args, 1, &leader->altstack,
				sizeof(leader->altstack))
		      : -ESRCH;
}

/*
 * The template has the main thread's restartable sequence area registered, as any forked copy, and
 * after a swap it shares the memory: whenever it ran, the kernel would write its CPU there.
 */
static int leave_rseq(struct twin_engine *e, struct injection *in)
{
	const struct thread *leader = thread_find(e, e->pid);
	long result;

	if (!leader || !leader->rseq || e->inside)
		return 0;
	return inject_call(in, SYS_rseq,
		(const uint64_t[6]){leader->rseq, leader->rseq_len, 1 /* RSEQ_FLAG_UNREGISTER */,
			leader->rseq_sig},
		&result);
}

static void name_twin(struct twin *w, struct injection *in)
{
	char name[16];
	long result;

	snprintf(name, sizeof(name), "twin:%.10s", w->threads[0].name);
	if (image_write(w->pid, w->repair_data_at, name, sizeof(name)) < 0 ||
		inject_call(in, SYS_prctl, (const uint64_t[6]){PR_SET_NAME, w->repair_data_at},
			&result) < 0)
		return; /* it only looks like its original in ps(1) */
}

static bool same_namespace(pid_t pid, const char *kind)
{
	char path[64];
	struct stat theirs, ours;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, kind);
	if (stat(path, &theirs) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
	return stat(path, &ours) == 0 && theirs.st_ino == ours.st_ino &&
	       theirs.st_dev == ours.st_dev;
}

/* No right to choose a pid: then each clone is steered through ns_last_pid. */
static bool may_set_tid(pid_t pid)
{
	const uint64_t sys_admin = 1ULL << 21, checkpoint_restore = 1ULL << 40;
	char text[4096];
	uint64_t caps = 0;

	/* Capabilities count in its own user namespace; the pids are of ours. */
	if (!same_namespace(pid, "user"))
		return false;
	if (proc_read(text, sizeof(text), "%d/status", pid) < 0 ||
		proc_field(text, "CapEff", 16, &caps) < 0)
		return false;
	return caps & (sys_admin | checkpoint_restore);
}

static void keep_oom_score(const struct twin_engine *e, struct twin *w)
{
	char text[64];

	if (proc_read(text, sizeof(text), "%d/oom_score_adj", e->pid) > 0)
		w->oom_score_adj = atoi(text);
	if (e->config.keep_oom_score)
		return;
	snprintf(text, sizeof(text), "/proc/%d/oom_score_adj", w->pid);
	w->oom_fd = open(text, O_WRONLY | O_CLOEXEC);
	/* A twin is the first that may go when memory ends. Where that is refused it has the
	 * score of its active, as any copy. */
	if (w->oom_fd >= 0 && pwrite(w->oom_fd, TWIN_OOM_SCORE_ADJ, 4, 0) < 0) {
		close(w->oom_fd);
		w->oom_fd = -1;
	}
}

static int reserve(struct twin_engine *e, struct twin *w)
{
	if (w->threads_allocated < w->n_threads) {
		void *p = realloc(w->threads, w->n_threads * sizeof(*w->threads));
		if (!p)
			return -ENOMEM;
		w->threads = p;
		w->threads_allocated = w->n_threads;
	}
	if (e->repairs_allocated < w->repair_calls) {
		void *p = realloc(e->repairs, w->repair_calls * sizeof(*e->repairs));
		if (!p)
			return -ENOMEM;
		e->repairs = p;
		e->repairs_allocated = w->repair_calls;
	}
	if (e->repair_data_allocated < w->repair_data_size) {
		void *p = realloc(e->repair_data, w->repair_data_size);
		if (!p)
			return -ENOMEM;
		e->repair_data = p;
		e->repair_data_allocated = w->repair_data_size;
	}
	if (e->image_size < w->image_len) {
		void *p = realloc(e->image, w->image_len);
		if (!p)
			return -ENOMEM;
		e->image = p;
		e->image_size = w->image_len;
	}
	return 0;
}

static size_t largest_frame(struct twin_engine *e)
{
	size_t largest = 0;
	FOREACH_THREAD(e, t)
	{
		largest = MAX2(largest, arch_frame_size(t->xstate.len));
	}
	return largest;
}

static int open_twin(struct twin_engine *e, struct twin *w)
{
	char path[64];

	w->pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0);
	snprintf(path, sizeof(path), "/proc/%d/fd", w->pid);
	w->fd_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->pidfd < 0 || w->fd_dir < 0)
		return engine_fail(e, -EBUSY, "cannot open the twin: %s", strerror(errno));
	return 0;
}

/* It is the twin that is ending, when somebody is: no reason to give the active up. */
static int not_prepared(struct twin_engine *e, int error)
{
	if (!e->reason[0])
		(void)engine_fail(e, error, "preparing the twin: %s", strerror(-error));
	return error == -ESRCH ? -EBUSY : error;
}

int image_prepare(struct twin_engine *e, struct twin *w)
{
	size_t frame = largest_frame(e);
	struct injection in;
	int r, raw;

	w->n_threads = e->n_threads;
	w->code_len = PAGE;
	/* A descriptor may need to be opened and moved, its entries to be removed and added. */
	w->repair_calls = REPAIR_CALLS + 5 * w->files.n + 2 * w->files.n_epoll;
	w->repair_data_size =
		(REPAIR_DATA + 32 * (w->files.n + w->files.n_epoll) + w->files.pool_len + 15) &
		~(size_t)15;
	w->image_len = image_layout(w, w->n_threads, frame);
	w->data_len = w->image_len + INPLACE_AREA_SIZE;
	r = engine_wait(w->pid, &raw);
	if (r < 0)
		return engine_fail(e, -EBUSY, "the twin cannot be waited for: %s", strerror(-r));
	if (wait_classify((struct wait_status){raw}, true).kind != WAIT_INTERRUPT_STOP) {
		engine_handle(e, w->pid, raw);
		return engine_fail(e, -EBUSY, "the twin ended at once");
	}
	r = reserve(e, w);
	if (r == 0)
		r = open_twin(e, w);
	if (r == 0)
		r = arch_get_regs(w->pid, &w->regs);
	if (r == 0)
		r = inject_begin(e, w->pid, &w->regs, false, &in);
	if (r < 0)
		return not_prepared(e, r);
	w->filtered = e->filtered;
	w->stepwise = !may_set_tid(w->pid);
	if (w->stepwise && e->steering.fd < 0) {
		inject_end(&in);
		return engine_fail(e, -ENOTSUP, "no right to choose a pid, neither its nor ours");
	}
	r = remove_inherited(e, &in);
	if (r == 0)
		r = exclude_fill(w, &in);
	if (r == 0)
		r = map_scratch(e, w, &in);
	if (r == 0)
		r = mappings_mark(&e->left_out, &in);
	if (r == 0)
		r = mappings_mark(&e->wiped, &in);
	if (r == 0)
		r = leave_session(e, w, &in);
	if (r == 0 && !e->inside)
		r = ask_altstack(e, &in);
	if (r == 0 && e->inside)
		r = credentials_plan(e, w, &in);
	if (r == 0)
		r = fill(e, w, frame);
	if (r == 0)
		r = image_write(w->pid, w->data, e->image, w->image_len);
	if (r == 0)
		r = write_code(w->pid, w->code);
	if (r == 0)
		name_twin(w, &in);
	if (r == 0)
		r = leave_rseq(e, &in);
	if (r == 0)
		r = inplace_ask(e, w, &in);
	inject_end(&in);
	if (r < 0)
		return not_prepared(e, r);
	keep_oom_score(e, w);
	files_note_flags(&w->files, w->pid);
	return e->inside ? namespace_build(e, w) : 0;
}
