/* SPDX-License-Identifier: Apache-2.0 */
/* What a process is beside memory, threads and descriptors: recorded, compared, put back. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

#ifndef PR_TIMER_CREATE_RESTORE_IDS
#define PR_TIMER_CREATE_RESTORE_IDS 77 /* Linux 6.16 */
#endif
#define ARGS(...)                                                                                  \
	(const uint64_t[6])                                                                        \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static const char *const namespaces[INPLACE_NAMESPACES] = {
	"user", "mnt", "net", "ipc", "uts", "cgroup", "pid_for_children", "time_for_children"};

/* FNV-1a of the lines that a rollback in place cannot change. */
static uint64_t hash_identity(const char *status)
{
	static const char *const keys[] = {"Uid:", "Gid:", "Groups:", "NoNewPrivs:", "Seccomp:",
		"Seccomp_filters:", "Speculation_Store_Bypass:", "SpeculationIndirectBranch:",
		"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"};
	uint64_t h = 0xcbf29ce484222325ULL;

	for (const char *line = status; line && *line;) {
		const char *end = strchr(line, '\n');
		bool wanted = false;

		for (size_t i = 0; i < ELEMENTSOF(keys); i++)
			wanted |= strncmp(line, keys[i], strlen(keys[i])) == 0;
		for (; wanted && *line && *line != '\n'; line++)
			h = (h ^ (uint8_t)*line) * 0x100000001b3ULL;
		line = end ? end + 1 : NULL;
	}
	return h;
}

static void look(pid_t pid, const char *what, uint64_t ret[2])
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	ret[0] = ret[1] = 0;
	if (stat(path, &st) == 0) {
		ret[0] = st.st_ino;
		ret[1] = st.st_dev;
	}
}

uint64_t state_faults(const struct twin_engine *e)
{
	char text[512];
	const char *p;
	int field = 2; /* of proc(5); names may hold anything but end with the last parenthesis */

	if (proc_read(text, sizeof(text), "%d/stat", e->pid) <= 0)
		return 0;
	for (p = strrchr(text, ')'); p && field < 10; field++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

unsigned state_children(struct twin_engine *e, pid_t *ret, unsigned max)
{
	char text[4096];
	unsigned n = 0;

	FOREACH_THREAD(e, t)
	{
		char *p = text, *end;
		if (proc_read(text, sizeof(text), "%d/task/%d/children", e->pid, t->tid) <= 0)
			continue;
		for (long pid; (pid = strtol(p, &end, 10)) > 0 && end != p; p = end)
			if (!foster_is_ours(e, (pid_t)pid) && n++ < max)
				ret[n - 1] = (pid_t)pid;
	}
	return MIN2(n, max);
}

void state_record(struct twin_engine *e, struct twin *w)
{
	struct inplace_twin *t = &w->in_place;
	char text[4096], name[32];
	uint64_t mask = 0;

	t->timers = e->timers;
	t->n_pending = e->n_pending;
	memcpy(t->pending, e->pending, e->n_pending * sizeof(t->pending[0]));
	t->session = getsid(e->pid);
	t->group = getpgid(e->pid);
	t->faults = state_faults(e);
	if (proc_read(text, sizeof(text), "%d/status", w->pid) > 0 &&
		proc_field(text, "Umask", 8, &mask) == 0)
		t->identity = hash_identity(text);
	else
		t->why_not = "its state could not be read";
	t->umask = (unsigned)mask;
	look(w->pid, "cwd", t->cwd);
	look(w->pid, "root", t->root);
	for (unsigned i = 0; i < INPLACE_NAMESPACES; i++) {
		uint64_t id[2];
		snprintf(name, sizeof(name), "ns/%s", namespaces[i]);
		look(w->pid, name, id);
		t->namespaces[i] = id[0];
	}
	if (e->pending_incomplete || t->timers.incomplete)
		t->why_not = "more timers or pending signals than can be kept";
}

const char *state_changed(struct twin_engine *e, const struct twin *w)
{
	const struct inplace_twin *t = &w->in_place;
	char text[4096], name[32];
	uint64_t id[2];

	if (proc_reread(e->status_fd, text, sizeof(text)) <= 0)
		return "its state cannot be read";
	if (hash_identity(text) != t->identity)
		return "credentials or filters were changed";
	if (getsid(e->pid) != t->session || getpgid(e->pid) != t->group)
		return "session or group was changed";
	look(e->pid, "root", id);
	if (id[0] != t->root[0] || id[1] != t->root[1])
		return "the root folder was changed";
	for (unsigned i = 0; i < INPLACE_NAMESPACES; i++) {
		snprintf(name, sizeof(name), "ns/%s", namespaces[i]);
		look(e->pid, name, id);
		if (id[0] != t->namespaces[i])
			return "namespaces were changed";
	}
	return NULL;
}

void inplace_call(struct inplace_calls *l, long nr, const uint64_t args[6])
{
	if (l->n >= INPLACE_CALLS) {
		l->full = true;
		return;
	}
	l->calls[l->n] = (struct routine_call){.nr = (uint64_t)nr};
	memcpy(l->calls[l->n++].args, args, 6 * sizeof(args[0]));
}

static uint64_t data(struct inplace_calls *l, const void *p, size_t len)
{
	uint64_t at = l->data_at + l->data_len;

	if (l->data_len + len > INPLACE_DATA) {
		l->full = true;
		return 0;
	}
	memcpy(l->data + l->data_len, p, len);
	l->data_len += (len + 15) & ~(size_t)15;
	return at;
}

/* The actions themselves lie in the area already, where the template has written them. */
static void restore_handlers(const struct twin *w, struct inplace_calls *l)
{
	for (uint64_t sig = 1; sig <= SIGNALS_MAX; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			inplace_call(l, SYS_rt_sigaction,
				ARGS(sig,
					w->in_place.area + offsetof(struct inplace_area, actions) +
						(sig - 1) * sizeof(struct inplace_sigaction),
					0, 8));
}

static void restore_flags(
	const struct inplace_twin *t, const struct inplace_area *asked, struct inplace_calls *l)
{
	const struct routine_call *q = asked->questions;

	/* 2 is set by the kernel alone. */
	if (q[ASK_DUMPABLE].result == 0 || q[ASK_DUMPABLE].result == 1)
		inplace_call(l, SYS_prctl, ARGS(PR_SET_DUMPABLE, (uint64_t)q[ASK_DUMPABLE].result));
	if (q[ASK_THP_DISABLE].result >= 0)
		inplace_call(l, SYS_prctl,
			ARGS(PR_SET_THP_DISABLE, (uint64_t)q[ASK_THP_DISABLE].result));
	inplace_call(l, SYS_prctl, ARGS(PR_SET_CHILD_SUBREAPER, (uint64_t)t->timers.subreaper));
	inplace_call(l, SYS_umask, ARGS(t->umask));
}

static void restore_cwd(struct twin_engine *e, const struct twin *w, struct inplace_calls *l)
{
	uint64_t now[2];
	char path[48];

	look(e->pid, "cwd", now);
	if (now[0] == w->in_place.cwd[0] && now[1] == w->in_place.cwd[1])
		return;
	snprintf(path, sizeof(path), "/proc/%d/cwd", w->pid);
	inplace_call(l, SYS_chdir, ARGS(data(l, path, strlen(path) + 1)));
}

static void restore_limits(struct twin_engine *e, const struct twin *w)
{
	for (unsigned i = 0; i < RLIMIT_NLIMITS; i++) {
		struct rlimit64 then, now;
		if (prlimit64(w->pid, (enum __rlimit_resource)i, NULL, &then) == 0 &&
			prlimit64(e->pid, (enum __rlimit_resource)i, NULL, &now) == 0 &&
			(then.rlim_cur != now.rlim_cur || then.rlim_max != now.rlim_max))
			(void)prlimit64(e->pid, (enum __rlimit_resource)i, &then, NULL);
	}
}

/* The main thread can do it only one by one here, for what others have pending is for them to
 * forget before it runs. Timers of processor time stand still with the threads. */
int state_stop_timers(struct twin_engine *e)
{
	const int64_t off[4] = {0};
	struct arch_regs regs;
	struct injection in;
	int r = arch_get_regs(e->pid, &regs);

	timers_look(&e->timers, e->pid);
	if (r == 0)
		r = inject_begin(e, e->pid, &regs, false, &in);
	if (r < 0)
		return r;
	uint64_t real[6] = {ITIMER_REAL};
	r = inject_input(&in, SYS_setitimer, real, 1, off, sizeof(off));
	for (unsigned i = 0; r == 0 && i < e->timers.n_posix; i++) {
		uint64_t args[6] = {(uint64_t)e->timers.posix[i].id};
		r = inject_input(&in, SYS_timer_settime, args, 2, off, sizeof(off));
	}
	inject_end(&in);
	return r;
}

static const struct posix_timer *find_timer(const struct process_timers *t, int id)
{
	for (unsigned i = 0; i < t->n_posix; i++)
		if (t->posix[i].id == id)
			return &t->posix[i];
	return NULL;
}

static bool same_timer(const struct posix_timer *a, const struct posix_timer *b)
{
	return a->clock == b->clock && a->signal == b->signal && a->notify == b->notify &&
	       a->tid == b->tid && a->value == b->value;
}

/* struct sigevent as the kernel has it. */
struct kernel_sigevent {
	uint64_t value;
	int32_t signo, notify, tid;
	uint8_t pad[44];
};

static void make_timer(const struct posix_timer *p, struct inplace_calls *l)
{
	struct kernel_sigevent ev = {
		.value = p->value, .signo = p->signal, .notify = p->notify, .tid = p->tid};
	int32_t id = p->id;

	inplace_call(l, SYS_prctl, ARGS(PR_TIMER_CREATE_RESTORE_IDS, 1));
	inplace_call(l, SYS_timer_create,
		ARGS((uint64_t)p->clock, data(l, &ev, sizeof(ev)), data(l, &id, sizeof(id))));
	inplace_call(l, SYS_prctl, ARGS(PR_TIMER_CREATE_RESTORE_IDS, 0));
}

/* now: the active's, read a moment ago. */
static void restore_timers(const struct process_timers *then, const struct process_timers *now,
	struct inplace_calls *l)
{
	for (unsigned i = 0; i < now->n_posix; i++) {
		const struct posix_timer *t = find_timer(then, now->posix[i].id);
		if (!t || !same_timer(t, &now->posix[i]))
			inplace_call(l, SYS_timer_delete, ARGS((uint64_t)now->posix[i].id));
	}
	for (unsigned i = 0; i < then->n_posix; i++) {
		const struct posix_timer *t = &then->posix[i], *n = find_timer(now, t->id);
		if (!n || !same_timer(t, n))
			make_timer(t, l);
		inplace_call(l, SYS_timer_settime,
			ARGS((uint64_t)t->id, 0, data(l, t->spec, sizeof(t->spec))));
	}
	for (unsigned which = 0; which < ELEMENTSOF(then->interval); which++) {
		int64_t it[4];
		/* As timers.c says: nothing is left while the signal is on its way. */
		memcpy(it, then->interval[which], sizeof(it));
		if (it[2] == 0 && it[3] == 0 && (it[0] || it[1]))
			it[3] = 1;
		inplace_call(l, SYS_setitimer, ARGS(which, data(l, it, sizeof(it))));
	}
}

static void stop_cpu_timers(struct inplace_calls *l)
{
	const int64_t off[4] = {0};
	uint64_t at = data(l, off, sizeof(off));

	inplace_call(l, SYS_setitimer, ARGS(ITIMER_VIRTUAL, at));
	inplace_call(l, SYS_setitimer, ARGS(ITIMER_PROF, at));
}

/* Signals of the time since are forgotten, but for the news of children, which are not rolled
 * back. All are blocked in the main thread while it makes these calls. */
static void drop_pending(struct twin_engine *e, struct inplace_calls *l)
{
	uint64_t all = ~(1ULL << (SIGCHLD - 1));
	int64_t at_once[2] = {0, 0};
	uint64_t set_at = 0, time_at = 0;

	for (unsigned i = 0; i < e->n_pending; i++) {
		const struct pending_signal *p = &e->pending[i];
		if (p->info.si_signo == SIGCHLD || (p->tid != 0 && p->tid != e->pid))
			continue;
		if (!set_at) {
			set_at = data(l, &all, sizeof(all));
			time_at = data(l, at_once, sizeof(at_once));
		}
		inplace_call(l, SYS_rt_sigtimedwait, ARGS(set_at, 0, time_at, sizeof(all)));
	}
}

static void queue_again(
	struct twin_engine *e, const struct inplace_twin *t, struct inplace_calls *l)
{
	for (unsigned i = 0; i < t->n_pending; i++) {
		const struct pending_signal *p = &t->pending[i];
		uint64_t sig = (uint64_t)p->info.si_signo, pid = (uint64_t)e->pid,
			 tid = (uint64_t)p->tid;

		/* As signals_restore() says. */
		if (p->tid == 0)
			inplace_call(l, SYS_rt_sigqueueinfo,
				ARGS(pid, sig, data(l, &p->info, sizeof(p->info))));
		else if (p->tid == e->pid || (p->info.si_code < 0 && p->info.si_code != SI_TKILL))
			inplace_call(l, SYS_rt_tgsigqueueinfo,
				ARGS(pid, tid, sig, data(l, &p->info, sizeof(p->info))));
		else
			inplace_call(l, SYS_tgkill, ARGS(pid, tid, sig));
	}
}

/* A child that ended since: the news of it may have been taken by what is rolled back. Once more
 * does no harm, for signals of one kind are one (signal(7)). */
static void tell_of_children(
	struct twin_engine *e, const struct inplace_twin *t, struct inplace_calls *l)
{
	for (unsigned i = 0; i < t->n_children; i++) {
		char text[512];
		const char *p;
		siginfo_t info = {.si_signo = SIGCHLD};
		struct wait_event end;
		struct stat st;

		if (proc_read(text, sizeof(text), "%d/stat", t->children[i]) <= 0)
			continue;
		p = strrchr(text, ')');
		if (!p || p[2] != 'Z')
			continue;
		/* exit_code is the last of proc(5). */
		end = wait_classify((struct wait_status){atoi(strrchr(text, ' ') + 1)}, false);
		info.si_code = wait_si_code(&end);
		info.si_status = wait_si_status(&end);
		snprintf(text, sizeof(text), "/proc/%d", t->children[i]);
		info.si_pid = t->children[i];
		if (stat(text, &st) == 0)
			info.si_uid = st.st_uid;
		inplace_call(l, SYS_rt_sigqueueinfo,
			ARGS((uint64_t)e->pid, SIGCHLD, data(l, &info, sizeof(info))));
	}
}

void state_restore(struct twin_engine *e, struct twin *w, const struct inplace_area *asked,
	struct inplace_calls *l)
{
	struct inplace_twin *t = &w->in_place;

	restore_limits(e, w);
	restore_handlers(w, l);
	restore_flags(t, asked, l);
	self_ask_again(l);
	restore_cwd(e, w, l);
	stop_cpu_timers(l);
	drop_pending(e, l);
	restore_timers(&t->timers, &e->timers, l);
	queue_again(e, t, l);
	tell_of_children(e, t, l);
}
