/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/ghosts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/fault_point.h"

/* linux/pidfd.h of Linux 6.15, as far as it is asked for here. */
struct pidfd_exit_info {
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t status;
};
#define GET_EXIT_INFO _IOWR(0xff, 11, struct pidfd_exit_info)
#define INFO_EXIT (1ULL << 3)

/* It shares all that it can, for it does nothing with it. Handlers are not its own, and a signal is
 * to end it. */
#define GHOST_FLAGS                                                                                \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_PTRACE | CLONE_CLEAR_SIGHAND)
#define GHOSTS_MAX 32
#define TRIES 3
#define AS_BEFORE (-2)
#define PATIENCE 100000000ULL

struct ghost {
	pid_t pid, group;
	bool known;
	struct wait_status end;
};

static bool status_of(int fd, struct wait_status *ret)
{
	struct pidfd_exit_info info = {.mask = INFO_EXIT};

	if (fd < 0 || ioctl(fd, GET_EXIT_INFO, &info) < 0 || !(info.mask & INFO_EXIT))
		return false;
	ret->raw = info.status;
	return true;
}

static int look_up(const struct inplace_twin *t, pid_t pid)
{
	for (unsigned i = 0; t && i < t->n_child_fds; i++)
		if (t->children[i] == pid)
			return t->child_fds[i];
	return -1;
}

void ghosts_hold(const struct inplace_twin *before, struct inplace_twin *t)
{
	struct wait_status end;

	for (unsigned i = 0; i < t->n_children; i++) {
		int known = i < GHOSTS_MAX ? look_up(before, t->children[i]) : -1;

		t->child_groups[i] = getpgid(t->children[i]);
		t->child_fds[i] = AS_BEFORE;
		/* One that was waited for is somebody who had that number before. */
		if (i >= GHOSTS_MAX)
			t->child_fds[i] = -1;
		else if (known < 0 || status_of(known, &end))
			t->child_fds[i] = (int)syscall(SYS_pidfd_open, t->children[i], 0);
	}
	t->n_child_fds = t->n_children;
}

void ghosts_record(const struct inplace_twin *before, struct inplace_twin *t)
{
	if (t->n_child_fds < t->n_children)
		ghosts_hold(NULL, t);
	for (unsigned i = 0; i < t->n_child_fds; i++)
		if (t->child_fds[i] == AS_BEFORE)
			t->child_fds[i] =
				fcntl(look_up(before, t->children[i]), F_DUPFD_CLOEXEC, 0);
}

void ghosts_forget(struct inplace_twin *t)
{
	for (unsigned i = 0; i < t->n_child_fds; i++)
		closep(&t->child_fds[i]);
	t->n_child_fds = 0;
}

static struct ghost describe(const struct inplace_twin *t, unsigned i)
{
	struct ghost g = {.pid = t->children[i], .group = t->child_groups[i], .end = {SIGKILL}};

	g.known = status_of(t->child_fds[i], &g.end);
	return g;
}

/* The clone in the main thread; its number, or -errno. */
static pid_t clone_in(struct injection *in, const struct twin *w, pid_t wanted)
{
	struct {
		struct clone_args args;
		int32_t tid;
	} c = {.args = {.flags = GHOST_FLAGS, .exit_signal = SIGCHLD}, .tid = wanted};
	uint64_t at = w->in_place.area + offsetof(struct inplace_area, data);
	long result = 0;
	int r;

	if (!w->stepwise) {
		c.args.set_tid = at + offsetof(typeof(c), tid);
		c.args.set_tid_size = 1;
	}
	r = image_write(in->tid, at, &c, sizeof(c));
	if (r == 0 && w->stepwise)
		r = steer_begin(&in->e->steering, wanted);
	if (r < 0)
		return r;
	r = inject_call(in, SYS_clone3, (const uint64_t[6]){at, sizeof(c.args)}, &result);
	if (w->stepwise)
		steer_end(&in->e->steering);
	return r < 0 ? r : (pid_t)result;
}

static int await_stop(struct twin_engine *e, pid_t pid)
{
	struct wait_event ev;
	int raw;
	pid_t r;

	engine_deadline_set(e, PATIENCE);
	r = engine_wait(pid, &raw);
	engine_deadline_clear(e);
	if (r < 0)
		return r;
	ev = wait_classify((struct wait_status){raw}, true);
	return wait_is_end(&ev) ? -ESRCH : 0;
}

/* Not the one that was wanted: it goes, and nobody hears of it but by a SIGCHLD too many. */
static void bury(struct injection *in, pid_t pid)
{
	long result = 0;

	kill(pid, SIGKILL);
	while (await_stop(in->e, pid) == 0)
		;
	(void)!inject_call(
		in, SYS_wait4, (const uint64_t[6]){(uint64_t)pid, 0, __WALL, 0}, &result);
}

/* It stands at its first stop: let it end in its way, unseen by us. */
static int let_end(struct twin_engine *e, const struct ghost *g)
{
	/* No dump a second time (core(5): neither a file nor a pipe). */
	const struct rlimit64 no_core = {1, 1};
	struct wait_event end = wait_classify(g->end, false);
	struct arch_regs regs;
	/* A signal that the parent ignores does not end it: then as a shell would say it. */
	uint64_t none = 0,
		 code = (uint64_t)(end.kind == WAIT_EXITED ? end.exit_status : 128 + end.signal);
	int r = arch_get_regs(g->pid, &regs);

	if (r < 0)
		return r;
	(void)prlimit64(g->pid, RLIMIT_CORE, &no_core, NULL);
	arch_prepare_call(&regs, e->syscall_insn, SYS_exit_group, (const uint64_t[6]){code});
	r = arch_set_regs(g->pid, &regs);
	if (r < 0)
		return r;
	if (ptrace(PTRACE_SETSIGMASK, g->pid, sizeof(none), &none) < 0)
		return -errno;
	if (wait_is_end(&end) && end.signal)
		kill(g->pid, end.signal);
	/* That one does not wait for us; its parent hears of it when we have. */
	if (end.signal == SIGKILL) {
		while ((r = await_stop(e, g->pid)) == 0)
			;
		return r == -ESRCH ? 0 : r;
	}
	return ptrace(PTRACE_DETACH, g->pid, NULL, NULL) < 0 ? -errno : 0;
}

static int raise_one(struct injection *in, const struct twin *w, const struct ghost *g)
{
	pid_t pid = -EAGAIN;
	long result = 0;
	int r;

	for (unsigned i = 0; i < TRIES && pid != g->pid; i++) {
		pid = clone_in(in, w, g->pid);
		if (pid < 0)
			return pid;
		r = await_stop(in->e, pid);
		/* It must not go on: it would, in the memory and on the stack of its parent. */
		if (r < 0 && r != -ESRCH)
			engine_kill_helper(in->e, pid);
		if (r < 0)
			return r;
		if (pid != g->pid)
			bury(in, pid);
	}
	if (pid != g->pid)
		return -EEXIST;
	/* Whoever waits for its group must find it there. */
	if (g->group > 0 && g->group != getpgid(g->pid))
		(void)!inject_call(in, SYS_setpgid,
			(const uint64_t[6]){(uint64_t)g->pid, (uint64_t)g->group}, &result);
	r = let_end(in->e, g);
	if (r < 0)
		bury(in, pid);
	return r;
}

static bool contains(const pid_t *list, unsigned n, pid_t pid)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i] == pid)
			return true;
	return false;
}

static void name(struct twin_swap *ret, const struct ghost *g, int r)
{
	if (r < 0)
		swap_note_loss(ret, "child %d (waited for since)", g->pid);
	else if (!g->known)
		swap_note_loss(ret, "how child %d ended (it is told as killed)", g->pid);
}

void ghosts_raise(struct twin_engine *e, struct twin *w, struct twin_swap *ret)
{
	const struct inplace_twin *t = &w->in_place;
	pid_t now[INPLACE_CHILDREN];
	unsigned n = state_children(e, now, INPLACE_CHILDREN), missing = 0;
	struct arch_regs regs;
	struct injection in = {.e = e};
	int r = 0;

	for (unsigned i = 0; i < n; i++)
		if (!contains(t->children, t->n_children, now[i]))
			swap_note_loss(ret, "child %d is unknown to it (started since)", now[i]);
	for (unsigned i = 0; i < t->n_children; i++) {
		struct ghost g = describe(t, i);

		if (contains(now, n, g.pid))
			continue;
		if (missing++ == 0) {
			r = arch_get_regs(e->pid, &regs);
			if (r == 0)
				r = inject_begin(e, e->pid, &regs, true, &in);
		}
		name(ret, &g, r < 0 ? r : missing > GHOSTS_MAX ? -E2BIG : raise_one(&in, w, &g));
	}
	if (missing > 0 && r == 0)
		inject_end(&in);
}
