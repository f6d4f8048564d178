/* SPDX-License-Identifier: Apache-2.0 */
/* How a process comes to be guarded. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"

int twin_attach(struct twin_engine *e, pid_t pid)
{
	long options = ACTIVE_OPTIONS;

	if (e->pid)
		return -EBUSY;
	/* With us, what was lent to it must not outlive us. */
	if (e->lent)
		options |= PTRACE_O_EXITKILL;
	if (ptrace(PTRACE_SEIZE, pid, NULL, options) < 0)
		return engine_fail(e, -errno, "ptrace: %s", strerror(errno));
	twin_watch(e, pid);
	e->traced = true;
	if (!thread_add(e, pid) || engine_open_proc(e) < 0) {
		(void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
		twin_forget(e);
		return engine_fail(e, -ENOMEM, "cannot open /proc/%d", pid);
	}
	return 0;
}

void twin_lend(struct twin_engine *e, uint64_t capabilities)
{
	e->lent = capabilities;
}

/* 1: it may have made another meanwhile, which is not traced. */
static int seize_others_once(struct twin_engine *e)
{
	char path[32], buf[4096];
	int any = 0;
	long len;

	snprintf(path, sizeof(path), "/proc/%d/task", e->pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((len = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < len;) {
			const struct dirent64 *d = (const struct dirent64 *)(buf + at);
			pid_t tid = isdigit((unsigned char)d->d_name[0]) ? atoi(d->d_name) : 0;

			at += d->d_reclen;
			/* Those made by one that is traced are, and tell so: EPERM. */
			if (tid <= 0 || thread_find(e, tid) ||
				ptrace(PTRACE_SEIZE, tid, NULL, ACTIVE_OPTIONS) < 0)
				continue;
			if (!thread_add(e, tid))
				return -ENOMEM;
			any = 1;
		}
	return len < 0 ? -errno : any;
}

static int seize_others(struct twin_engine *e)
{
	int r;

	do
		r = seize_others_once(e);
	while (r > 0);
	return r;
}

int twin_attach_running(struct twin_engine *e, pid_t pid)
{
	int r = twin_attach(e, pid);

	if (r < 0)
		return r;
	e->executed = true;
	if (e->config.foster)
		foster_find_strays(e);
	r = seize_others(e);
	if (r < 0) {
		twin_forget(e);
		return engine_fail(e, r, "the threads of %d: %s", pid, strerror(-r));
	}
	r = engine_find_vdso(e, pid);
	if (r == 0 && e->config.identity == TWIN_NAMESPACE) {
		/* Refused it stays outside. */
		(void)!namespace_enter(e, e->threads[0]);
		thread_go_on(e->threads[0], 0);
		engine_take_deferred(e);
	}
	return r;
}

/* All else that is still to be told is of a process that is forgotten. */
void engine_keep_news_of_others(struct twin_engine *e)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < e->n_events; i++)
		if (e->events[i].type == TWIN_EVENT_CHILD)
			e->events[kept++] = e->events[i];
	e->n_events = kept;
}

void twin_watch(struct twin_engine *e, pid_t pid)
{
	e->pid = pid;
	e->traced = e->executed = e->ended = e->group_stopped = false;
	e->fatal_tid = 0;
	e->fault_seen = 0;
	e->n_checkpoints = 0;
	e->copy_unknown = false;
	engine_keep_news_of_others(e);
	memset(e->strays, 0, sizeof(e->strays));
}
