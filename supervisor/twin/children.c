/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/children.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#define PATIENCE 1000000000ULL
#define PAUSE 200000L

struct facts {
	char state;
	pid_t parent, group, session;
	uint64_t started;
};

static bool read_facts(pid_t pid, struct facts *ret)
{
	char text[512];
	const char *p;
	int parent, group, session;
	unsigned long long started;

	if (proc_read(text, sizeof(text), "%d/stat", pid) <= 0 || !(p = strrchr(text, ')')))
		return false;
	if (sscanf(p,
		    ") %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
		    "%llu",
		    &ret->state, &parent, &group, &session, &started) != 5)
		return false;
	ret->parent = parent;
	ret->group = group;
	ret->session = session;
	ret->started = started;
	return true;
}

static void add(struct twin_engine *e, pid_t pid)
{
	struct facts f;

	for (unsigned i = 0; i < e->n_descendants; i++)
		if (e->descendants[i].pid == pid)
			return;
	if (e->n_descendants < DESCENDANTS_MAX && read_facts(pid, &f))
		e->descendants[e->n_descendants++] = (struct descendant){pid, f.started};
}

static void add_children_of(struct twin_engine *e, pid_t pid, pid_t tid)
{
	char text[4096], *p = text, *end;

	if (proc_read(text, sizeof(text), "%d/task/%d/children", pid, tid) <= 0)
		return;
	for (long child; (child = strtol(p, &end, 10)) > 0 && end != p; p = end)
		add(e, (pid_t)child);
}

/* Each thread has children of its own. */
static void add_children_of_all(struct twin_engine *e, pid_t pid)
{
	char path[32], buf[4096];
	long len;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && (len = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < len;) {
			const struct dirent64 *d = (const struct dirent64 *)(buf + at);
			at += d->d_reclen;
			if (isdigit((unsigned char)d->d_name[0]))
				add_children_of(e, pid, atoi(d->d_name));
		}
}

uint64_t children_started(pid_t pid)
{
	struct facts f;

	return read_facts(pid, &f) ? f.started : 0;
}

void children_note(struct twin_engine *e)
{
	e->n_descendants = 0;
	e->descendants_unseen = e->ended;
	if (e->ended || e->config.children == TWIN_CHILDREN_KEEP)
		return;
	FOREACH_THREAD(e, t)
	{
		add_children_of(e, e->pid, t->tid);
	}
	for (unsigned i = 0; i < e->n_descendants; i++)
		add_children_of_all(e, e->descendants[i].pid);
}

static bool is_ours(const struct twin_engine *e, pid_t pid)
{
	if (pid == e->holder || pid == getpid())
		return true;
	for (unsigned i = 0; i < e->n_twins; i++)
		if (e->twins[i]->pid == pid)
			return true;
	for (unsigned i = 0; i < ELEMENTSOF(e->dying); i++)
		if (e->dying[i] == pid)
			return true;
	return false;
}

/* Everybody who has the pid of the dead as number of group or session. */
static unsigned count_members(const struct twin_engine *e, bool and_kill)
{
	char buf[8192];
	unsigned n = 0;
	long len;

	_cleanup_close_ int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && (len = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < len;) {
			const struct dirent64 *d = (const struct dirent64 *)(buf + at);
			pid_t pid = isdigit((unsigned char)d->d_name[0]) ? atoi(d->d_name) : 0;
			struct facts f;

			at += d->d_reclen;
			if (!pid || is_ours(e, pid) || !read_facts(pid, &f) ||
				(f.group != e->pid && f.session != e->pid))
				continue;
			n++;
			if (and_kill && f.state != 'Z')
				(void)kill(pid, SIGKILL);
		}
	return n;
}

/* Their children as well, seen while they live; a number may be somebody else's by now. */
static unsigned kill_descendants(struct twin_engine *e)
{
	unsigned n = 0;

	for (unsigned i = 0; i < e->n_descendants; i++) {
		struct facts f;
		pid_t pid = e->descendants[i].pid;

		if (!read_facts(pid, &f) || f.started != e->descendants[i].started ||
			f.state == 'Z')
			continue;
		n++;
		/* What is killed makes no more children (kernel/fork.c: a fork with a signal
		 * pending is begun anew), so those that it has are all. */
		(void)kill(pid, SIGKILL);
		add_children_of_all(e, pid);
	}
	return n;
}

/* Where it had ended before anybody could look, at least those that it had at the checkpoint. */
static void add_known(struct twin_engine *e, const struct inplace_twin *t)
{
	for (unsigned i = 0; i < t->n_children; i++)
		if (children_started(t->children[i]) == t->children_started[i])
			add(e, t->children[i]);
}

/* Some that are born since the checkpoint may still have its pid as their group. */
static bool may_be_in_use(const struct twin_engine *e, const struct inplace_twin *t)
{
	return t->pid_in_use ||
	       (e->descendants_unseen && t->group == e->pid && kill(-e->pid, 0) == 0);
}

/* Orphans come to us where we are a subreaper, and their numbers are free only when reaped. */
static void reap(struct twin_engine *e)
{
	int raw;
	pid_t pid;

	while ((pid = waitpid(-1, &raw, __WALL | WNOHANG)) > 0)
		engine_defer(e, pid, raw);
}

static void kill_all(struct twin_engine *e, struct twin_swap *ret)
{
	const struct timespec pause = {0, PAUSE};
	nsec_t until = now_nsec() + PATIENCE;
	unsigned first = e->n_descendants, left;

	while ((left = kill_descendants(e) + count_members(e, true)) > 0 && now_nsec() < until) {
		first = MAX2(first, left);
		(void)nanosleep(&pause, NULL);
		reap(e);
	}
	if (first > 0)
		swap_note_loss(ret, "%u child process%s (killed)", first, first == 1 ? "" : "es");
	if (left > 0)
		swap_note_loss(ret, "%u of them still there", left);
}

static void name(const struct twin *w, struct twin_swap *ret)
{
	const struct inplace_twin *t = &w->in_place;
	char text[128] = "";
	size_t len = 0;

	for (unsigned i = 0; i < t->n_children && len + 24 < sizeof(text); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, " %d", t->children[i]);
	swap_note_loss(ret, "its children%s%s (they go on, and wait() will not find them)", text,
		len + 24 < sizeof(text) ? "" : " ...");
}

int children_settle(struct twin_engine *e, struct twin *w, struct twin_swap *ret)
{
	bool any = w->in_place.n_children > 0 || e->n_descendants > 0;

	switch (e->config.children) {
	case TWIN_CHILDREN_REFUSE:
		return any ? engine_fail(e, -ECHILD, "it had children, and they must not be left")
			   : 0;
	case TWIN_CHILDREN_KILL:
		add_known(e, &w->in_place);
		if (any || e->descendants_unseen || w->in_place.pid_in_use)
			kill_all(e, ret);
		return 0;
	default:
		if (may_be_in_use(e, &w->in_place) && count_members(e, false) > 0)
			return engine_fail(e, -EEXIST,
				"pid %d is still in use, by members of its group or session",
				e->pid);
		if (w->in_place.n_children > 0)
			name(w, ret);
		return 0;
	}
}

unsigned twin_children(const struct twin_engine *e, pid_t *ret, unsigned max)
{
	const struct inplace_twin *t = e->n_twins > 0 ? &e->twins[0]->in_place : NULL;
	unsigned n = t ? MIN2(t->n_children, max) : 0;

	if (n > 0)
		memcpy(ret, t->children, n * sizeof(*ret));
	return n;
}

bool twin_is_subreaper(const struct twin_engine *e)
{
	return e->timers.subreaper != 0;
}
