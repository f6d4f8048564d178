/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/foster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

/* For a killed helper to be torn down. */
#define PATIENCE 1000000000ULL
#define STAT_EXIT_SIGNAL 38

void foster_ended(struct twin_engine *e, pid_t pid)
{
	for (unsigned i = 0; i < ELEMENTSOF(e->strays); i++)
		if (e->strays[i] == 0) {
			e->strays[i] = pid;
			return;
		}
}

/* Its children with no signal for their end, dead, and named as twins are. */
static bool is_stray(pid_t pid)
{
	char text[512];
	const char *name, *end;
	uint64_t signal;

	if (proc_read(text, sizeof(text), "%d/stat", pid) <= 0 || !(name = strchr(text, '(')) ||
		!(end = strrchr(text, ')')))
		return false;
	return strncmp(name, "(twin:", 6) == 0 && strncmp(end, ") Z", 3) == 0 &&
	       proc_stat_field(text, STAT_EXIT_SIGNAL, &signal) == 0 && signal == 0;
}

void foster_find_strays(struct twin_engine *e)
{
	char text[4096], *p = text, *end;

	if (proc_read(text, sizeof(text), "%d/task/%d/children", e->pid, e->pid) <= 0)
		return;
	for (long pid; (pid = strtol(p, &end, 10)) > 0 && end != p; p = end)
		if (is_stray((pid_t)pid))
			foster_ended(e, (pid_t)pid);
}

int foster_reap(struct twin_engine *e, struct injection *in)
{
	for (unsigned i = 0; i < ELEMENTSOF(e->strays); i++) {
		pid_t pid = e->strays[i];
		long result;
		int r;

		if (pid == 0)
			continue;
		r = inject_call(in, SYS_wait4,
			(const uint64_t[6]){(uint64_t)pid, 0, __WALL | WNOHANG, 0}, &result);
		if (r < 0)
			return r;
		/* It may have waited for all there is (__WALL) itself. */
		if (result == pid || result == -ECHILD)
			e->strays[i] = 0;
	}
	return 0;
}

void foster_await_helpers(struct twin_engine *e)
{
	engine_deadline_set(e, PATIENCE);
	for (unsigned i = 0; i < ELEMENTSOF(e->dying); i++) {
		pid_t pid = e->dying[i];
		struct wait_event ev;
		int raw, r = 0;

		while (e->dying[i] != 0 && (r = engine_wait(pid, &raw)) == pid) {
			ev = wait_classify((struct wait_status){raw}, true);
			if (wait_is_end(&ev) && !engine_helper_ended(e, pid))
				break;
		}
		if (r == -ETIMEDOUT)
			break; /* the rest is told as ever */
	}
	engine_deadline_clear(e);
}

static bool in_scratch(const struct twin_engine *e, const struct arch_regs *r)
{
	return e->scratch.code_len && arch_ip(r) - e->scratch.code < e->scratch.code_len;
}

void foster_leave(struct twin_engine *e)
{
	struct thread *leader = thread_find(e, e->pid);
	struct injection in;
	bool scratch_in_use = false;
	int r;

	twin_drop_all(e);
	engine_kill_helper(e, e->holder);
	e->holder = 0;
	e->holder_busy = false;
	foster_await_helpers(e);
	FOREACH_THREAD(e, t)
	{
		restart_mend_stopped(e, t, t->group_stopped);
		if (arch_get_regs(t->tid, &t->regs) < 0)
			return; /* killed: what is left goes with it */
		scratch_in_use |= in_scratch(e, &t->regs);
	}
	if (!leader || inject_begin(e, leader->tid, &leader->regs, true, &in) < 0)
		return;
	r = foster_reap(e, &in);
	if (r == 0 && !scratch_in_use)
		r = image_remove_scratch(&in, &e->scratch);
	inject_end(&in);
	if (r < 0)
		e->reason[0] = '\0'; /* dead, as above */
}

bool foster_is_ours(const struct twin_engine *e, pid_t pid)
{
	bool ours = pid == e->holder;

	if (!e->config.foster)
		return false;
	for (unsigned i = 0; i < ELEMENTSOF(e->twins); i++)
		ours |= e->twins[i]->pid == pid;
	for (unsigned i = 0; i < ELEMENTSOF(e->dying); i++)
		ours |= e->dying[i] == pid;
	for (unsigned i = 0; i < ELEMENTSOF(e->strays); i++)
		ours |= e->strays[i] == pid;
	return ours;
}
