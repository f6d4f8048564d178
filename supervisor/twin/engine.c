/* SPDX-License-Identifier: Apache-2.0 */
/* Life of an engine, and what each wait status means to it. */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

int engine_fail(struct twin_engine *e, int error, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->reason, sizeof(e->reason), fmt, ap);
	va_end(ap);
	return error;
}

const char *twin_reason(const struct twin_engine *e)
{
	return e->reason;
}

int twin_engine_new(const struct twin_config *config, struct twin_engine **ret)
{
	struct twin_engine *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->config = *config;
	/* Orphans must be reaped for the numbers they keep in use. */
	if (config->children == TWIN_CHILDREN_KILL)
		(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (e->config.generations < 1 || e->config.generations > TWIN_GENERATIONS_MAX) {
		free(e);
		return -EINVAL;
	}
	if (e->config.freeze_deadline == 0)
		e->config.freeze_deadline = 50000000;
	e->pidfd = e->status_fd = e->fd_dir = -1;
	e->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	steer_open(&e->steering);
	for (unsigned i = 0; i < ELEMENTSOF(e->twins); i++) {
		e->twins[i] = calloc(1, sizeof(struct twin));
		if (!e->twins[i])
			goto fail;
		e->twins[i]->pidfd = e->twins[i]->fd_dir = e->twins[i]->oom_fd = -1;
	}
	if (threads_reserve(e, 16) < 0 || files_reserve(&e->files_now) < 0 ||
		streams_reserve(&e->streams_now, 1) < 0 ||
		streams_reserve(&e->streams_seen, 1) < 0 || inplace_new(&e->in_place) < 0)
		goto fail;
	*ret = e;
	return 0;
fail:
	twin_engine_free(e);
	return -ENOMEM;
}

void twin_engine_free(struct twin_engine *e)
{
	if (e->pid)
		twin_forget(e);
	remains_free(e);
	for (unsigned i = 0; i < e->n_slots; i++) {
		free(e->threads[i]->xstate.data);
		free(e->threads[i]);
	}
	free(e->threads);
	for (unsigned i = 0; i < ELEMENTSOF(e->twins); i++) {
		if (!e->twins[i])
			continue;
		files_free(&e->twins[i]->files);
		streams_free(&e->twins[i]->streams);
		inplace_twin_free(&e->twins[i]->in_place);
		free(e->twins[i]->threads);
		free(e->twins[i]);
	}
	files_free(&e->files_now);
	streams_free(&e->streams_now);
	streams_free(&e->streams_seen);
	closep(&e->timer_fd);
	steer_close(&e->steering);
	if (e->deadline_timer_made)
		timer_delete(e->deadline_timer);
	if (e->in_place)
		inplace_free(e->in_place);
	free(e->gone.pids);
	free(e->image);
	free(e->repairs);
	free(e->repair_data);
	free(e);
}

int engine_open_proc(struct twin_engine *e)
{
	char path[64];

	closep(&e->pidfd);
	closep(&e->status_fd);
	closep(&e->fd_dir);
	e->pidfd = e->status_fd = e->fd_dir = -1;
	e->pidfd = (int)syscall(SYS_pidfd_open, e->pid, 0);
	if (e->pidfd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/%d/status", e->pid);
	e->status_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (e->status_fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/%d/fd", e->pid);
	e->fd_dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return e->fd_dir < 0 ? -errno : 0;
}

/* The vdso is the kernel's: ours has the same bytes, only its address differs. */
int engine_find_vdso(struct twin_engine *e, pid_t pid)
{
	unsigned long mine = getauxval(AT_SYSINFO_EHDR), auxv[128];
	const ElfW(Ehdr) *head = (const void *)mine;
	ssize_t len;
	long at;

	e->syscall_insn = 0;
	if (!mine)
		return -ENOTSUP;
	at = arch_find_syscall(head, head->e_shoff);
	len = proc_read((char *)auxv, sizeof(auxv), "%d/auxv", pid);
	if (at < 0 || len < 0)
		return -ENOTSUP;
	for (size_t i = 0; (i + 2) * sizeof(long) <= (size_t)len; i += 2)
		if (auxv[i] == AT_SYSINFO_EHDR)
			e->syscall_insn = auxv[i + 1] + (uint64_t)at;
	return e->syscall_insn ? 0 : -ENOTSUP;
}

void engine_kill_helper(struct twin_engine *e, pid_t pid)
{
	if (pid <= 0)
		return;
	schedule_plain(pid);
	kill(pid, SIGKILL);
	for (unsigned i = 0; i < ELEMENTSOF(e->dying); i++)
		if (e->dying[i] == 0) {
			e->dying[i] = pid;
			return;
		}
}

unsigned twin_dying(const struct twin_engine *e)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ELEMENTSOF(e->dying); i++)
		n += e->dying[i] != 0;
	return n;
}

static bool helper_ended(struct twin_engine *e, pid_t pid)
{
	if (pid == e->remains.memory) {
		e->remains.memory = 0;
		return true;
	}
	if (pid == e->holder) {
		e->holder = 0;
		e->holder_busy = false;
		return true;
	}
	if (namespace_ended(e, pid))
		return true;
	for (unsigned i = 0; i < ELEMENTSOF(e->dying); i++)
		if (e->dying[i] == pid) {
			e->dying[i] = 0;
			return true;
		}
	/* The one behind the last is being prepared. */
	if (e->twins[e->n_twins]->pid == pid) {
		e->twins[e->n_twins]->pid = 0;
		return true;
	}
	for (unsigned i = 0; i < e->n_twins; i++)
		if (e->twins[i]->pid == pid) {
			e->twins[i]->pid = 0;
			twin_slot_clear(e, i);
			engine_push_event(
				e, &(struct twin_event){.type = TWIN_EVENT_TWIN_LOST, .pid = pid});
			return true;
		}
	return false;
}

/* Ends of our own helpers. A twin that ends unasked is news. */
bool engine_helper_ended(struct twin_engine *e, pid_t pid)
{
	bool was = helper_ended(e, pid);

	if (was && e->config.foster)
		foster_ended(e, pid);
	return was;
}

void engine_push_event(struct twin_engine *e, const struct twin_event *ev)
{
	/* Whatever else is lost in a flood, the fate of the active is not. */
	bool vital = ev->type != TWIN_EVENT_CHILD && ev->type != TWIN_EVENT_TWIN_LOST &&
		     ev->type != TWIN_EVENT_THREADS_ENDED;

	if (e->n_events < (vital ? EVENTS_MAX : EVENTS_MAX - 8))
		e->events[e->n_events++] = *ev;
}

void engine_defer(struct twin_engine *e, pid_t pid, int raw)
{
	if (e->n_deferred < DEFERRED_MAX)
		e->deferred[e->n_deferred++] = (struct deferred){pid, raw};
	else /* better late in the order than lost */
		engine_handle(e, pid, raw);
}

struct clone_seen {
	uint64_t flags, tid_addr;
	bool known;
};

static struct clone_seen read_clone(const struct thread *t)
{
	struct clone_seen c = {0};
	struct arch_regs regs;

	if (arch_get_regs(t->tid, &regs) < 0)
		return c;
	if (arch_syscall_nr(&regs) == SYS_clone) {
		c.flags = arch_syscall_arg(&regs, 0);
		c.tid_addr = arch_syscall_arg(&regs, 3);
		c.known = true;
	} else if (arch_syscall_nr(&regs) == SYS_clone3) {
		uint64_t args[3]; /* flags, pidfd, child_tid */
		c.known = image_read(t->tid, arch_syscall_arg(&regs, 0), args, sizeof(args)) == 0;
		c.flags = args[0];
		c.tid_addr = args[2];
	}
	if (!(c.flags & CLONE_CHILD_CLEARTID))
		c.tid_addr = 0;
	return c;
}

/*
 * A new thread may be seen before its creator's stop, for waitpid() keeps no order between tasks;
 * it may even have ended by then, and must not be taken for a thread that is yet to come.
 */
static void handle_clone(struct twin_engine *e, struct thread *t)
{
	struct clone_seen c = read_clone(t);
	unsigned long tid = 0;

	if (ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &tid) == 0 && c.known &&
		(c.flags & CLONE_THREAD)) {
		struct thread *born = thread_find(e, (pid_t)tid);
		if (!born && proc_tgid((pid_t)tid) == e->pid)
			born = thread_add(e, (pid_t)tid);
		if (born) {
			born->tid_addr = c.tid_addr;
			born->tid_addr_known = true;
		}
	}
	thread_go_on(t, 0);
}

static void handle_exec(struct twin_engine *e)
{
	bool first = !e->executed;
	struct thread *t;

	/* Whoever called it, only the leader is left, and the memory is a new one. */
	threads_clear(e);
	twin_drop_all(e);
	engine_kill_helper(e, e->holder);
	e->holder = 0;
	e->holder_busy = false;
	if (e->config.foster)
		foster_await_helpers(e);
	e->scratch = (struct scratch_left){0};
	e->group_stopped = false;
	e->fatal_tid = 0;
	e->executed = true;
	e->n_checkpoints = 0;
	e->streams_seen.n = 0;
	if (engine_find_vdso(e, e->pid) < 0)
		e->syscall_insn = 0;
	t = thread_add(e, e->pid);
	if (t && first && e->config.identity == TWIN_NAMESPACE) {
		t->stopped = true;
		t->stop = (struct wait_event){
			.kind = WAIT_PTRACE_EVENT, .signal = SIGTRAP, .event = PTRACE_EVENT_EXEC};
		(void)!namespace_enter(e, t); /* refused, it stays outside */
		t = thread_find(e, e->pid);
	}
	e->executed_inside = e->inside && !first;
	engine_push_event(e, &(struct twin_event){.type = TWIN_EVENT_EXEC, .pid = e->pid});
	if (t)
		thread_go_on(t, 0);
	engine_take_deferred(e);
}

static void handle_end(struct twin_engine *e, struct thread *t, pid_t pid, int raw)
{
	if (pid != e->pid) {
		thread_ended(e, t);
		return;
	}
	threads_clear(e);
	e->ended = true;
	e->end_status = raw;
	if (!e->fault_seen)
		e->fault_seen = now_nsec();
	engine_push_event(
		e, &(struct twin_event){.type = TWIN_EVENT_EXITED, .pid = pid, .status = raw});
}

static void handle_thread(struct twin_engine *e, struct thread *t, const struct wait_event *w)
{
	t->stopped = true;
	t->stop = *w;
	t->asked = false; /* any stop takes an interrupt with it that was under way */
	t->late = false;
	switch (w->kind) {
	case WAIT_SIGNAL_STOP:
		signals_handle(e, t, w->signal);
		break;
	case WAIT_GROUP_STOP:
		t->stopped = false;
		t->group_stopped = true;
		(void)ptrace(PTRACE_LISTEN, t->tid, NULL, NULL);
		if (!e->group_stopped)
			engine_push_event(e, &(struct twin_event){.type = TWIN_EVENT_STOPPED,
						     .pid = e->pid,
						     .signal = w->signal});
		e->group_stopped = true;
		break;
	case WAIT_INTERRUPT_STOP:
		restart_mend_stopped(e, t, t->group_stopped);
		t->group_stopped = false;
		if (e->group_stopped && !threads_any_stopped(e)) {
			e->group_stopped = false;
			engine_push_event(e,
				&(struct twin_event){.type = TWIN_EVENT_CONTINUED, .pid = e->pid});
		}
		thread_go_on(t, 0);
		waits_arm(e);
		break;
	case WAIT_SYSCALL_STOP:
		partial_stop(e, t);
		thread_go_on(t, 0);
		break;
	case WAIT_PTRACE_EVENT:
		if (w->event == PTRACE_EVENT_CLONE)
			handle_clone(e, t);
		else if (w->event == PTRACE_EVENT_EXEC)
			handle_exec(e);
		else
			thread_go_on(t, 0);
		break;
	default:
		thread_go_on(t, 0);
		break;
	}
}

void engine_handle(struct twin_engine *e, pid_t pid, int raw)
{
	struct thread *t = thread_find(e, pid);
	struct wait_event w = wait_classify((struct wait_status){raw}, true);

	if (wait_is_end(&w)) {
		if (t || pid == e->pid)
			handle_end(e, t, pid, raw);
		else if (!engine_helper_ended(e, pid))
			engine_push_event(
				e, &(struct twin_event){
					   .type = TWIN_EVENT_CHILD, .pid = pid, .status = raw});
		return;
	}
	if (t) {
		handle_thread(e, t, &w);
		return;
	}
	for (unsigned i = 0; i < e->n_twins; i++)
		if (e->twins[i]->pid == pid)
			return; /* it stands still, as it shall */
	if (pid == e->holder) {
		locked_event(e, raw);
		return;
	}
	if (namespace_stopped(e, pid, &w))
		return;
	for (unsigned i = 0; i < ELEMENTSOF(e->dying); i++)
		if (e->dying[i] == pid)
			return;
	/* A thread of the active whose creator's stop is yet to come. Its parent is the active's,
	 * as that of a copy is. */
	if (proc_tgid(pid) == e->pid && (t = thread_add(e, pid)))
		thread_go_on(t, 0);
	/* Let go, it would wake up and run beside the active. */
	else if (e->copy_unknown && proc_tgid(pid) == pid &&
		 proc_parent(pid) == (e->config.foster ? e->pid : getpid()))
		engine_kill_helper(e, pid);
	/* A process that was made with clone(2) and no SIGCHLD, which is not ours to keep. */
	else
		(void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

void engine_take_deferred(struct twin_engine *e)
{
	for (unsigned i = 0; i < e->n_deferred; i++)
		engine_handle(e, e->deferred[i].pid, e->deferred[i].raw);
	e->n_deferred = 0;
}

struct twin_event twin_next_event(struct twin_engine *e)
{
	struct twin_event ev = {.type = TWIN_EVENT_NONE};

	waits_expire(e);
	while (e->n_events == 0) {
		int raw;
		pid_t pid = waitpid(-1, &raw, __WALL | WNOHANG);
		if (pid <= 0)
			return ev;
		engine_handle(e, pid, raw);
	}
	ev = e->events[0];
	memmove(e->events, e->events + 1, --e->n_events * sizeof(ev));
	return ev;
}

int twin_timer_fd(const struct twin_engine *e)
{
	return e->timer_fd;
}

void twin_let_die(struct twin_engine *e)
{
	struct thread *t;

	remains_take(e);
	remains_outlive_core(e);
	/* The others go on as they were, and what was seen meanwhile is told. */
	if (e->config.keep_remains)
		engine_thaw(e);
	t = thread_find(e, e->fatal_tid);
	e->fatal_tid = 0;
	if (t)
		thread_go_on(t, e->fatal_signal);
}

void engine_forget_active(struct twin_engine *e)
{
	e->pid = 0;
	e->traced = e->executed = e->ended = e->group_stopped = false;
	e->fatal_tid = 0;
	e->fault_seen = 0;
	threads_clear(e);
	closep(&e->pidfd);
	closep(&e->status_fd);
	closep(&e->fd_dir);
	e->pidfd = e->status_fd = e->fd_dir = -1;
}

void twin_forget(struct twin_engine *e)
{
	if (e->pid && !e->ended && e->traced) {
		/* It runs on, untraced: stop each thread for a moment to be allowed to let go. */
		bool frozen = engine_freeze(e) == 0;
		if (!frozen)
			e->reason[0] = '\0';
		engine_take_deferred(e);
		if (frozen && e->config.foster)
			foster_leave(e);
		FOREACH_THREAD(e, t)
		{
			partial_signal(t);
			(void)ptrace(PTRACE_DETACH, t->tid, NULL,
				t->stop.kind == WAIT_SIGNAL_STOP ? t->stop.signal : 0);
		}
		engine_deadline_clear(e);
	}
	twin_drop_all(e);
	remains_let_files_go(e);
	remains_keep(e, e->holder);
	e->holder = 0;
	e->holder_busy = false;
	e->scratch = (struct scratch_left){0};
	e->streams_seen.n = 0;
	namespace_forget(e);
	engine_take_deferred(e); /* while it is known whose ends these are */
	engine_forget_active(e);
	engine_keep_news_of_others(e);
}

void twin_drop_all(struct twin_engine *e)
{
	while (e->n_twins > 0)
		twin_slot_clear(e, e->n_twins - 1);
}

int twin_kill(struct twin_engine *e, int sig)
{
	if (!e->pid || e->ended)
		return -ESRCH;
	return kill(e->pid, sig) < 0 ? -errno : 0;
}
