/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/locked.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

/* linux/prctl.h, Linux 6.3 and 6.6 */
#define PR_SET_MDWE_NR 65
#define PR_GET_MDWE_NR 66
#define PR_MDWE_NO_INHERIT_BIT 2UL

/* Of an odd size, so that no other change of the amount looks the same. */
#define PROBE_PAGES 37ULL
#define PROBE_PAGE 4096ULL

void locked_begin(struct locked_memory *l)
{
	l->n = 0;
	l->all = l->incomplete = l->unlocked = false;
}

static bool has_flag(const char *flags, const char *two)
{
	char word[5] = {' ', two[0], two[1], ' ', '\0'};
	return strstr(flags, word);
}

/* What mlockall() passes by (mm/mlock.c, mlock_fixup()): special mappings and huge pages. */
static bool is_exempt(const char *head, const char *flags)
{
	static const char *const special[] = {"io", "pf", "mm", "de", "ht", "dp"};

	for (size_t i = 0; i < ELEMENTSOF(special); i++)
		if (has_flag(flags, special[i]))
			return true;
	return strstr(head, "[vsyscall]") || strstr(head, "[vvar") || strstr(head, "[vdso]");
}

void locked_add(
	struct locked_memory *l, uint64_t start, uint64_t end, const char *head, const char *flags)
{
	struct locked_range *last = l->n ? &l->ranges[l->n - 1] : NULL;
	bool on_fault = has_flag(flags, "lf");

	if (!has_flag(flags, "lo")) {
		l->unlocked |= !is_exempt(head, flags);
		return;
	}
	/* Its pages never leave memory anyway, and cannot be locked by their name. */
	if (strstr(head, "/secretmem"))
		return;
	if (last && last->end == start && last->on_fault == on_fault)
		last->end = end;
	else if (l->n < LOCKED_MAX)
		l->ranges[l->n++] = (struct locked_range){start, end, on_fault};
	else
		l->incomplete = true;
}

void locked_end(struct locked_memory *l)
{
	bool mixed = false;

	for (unsigned i = 1; i < l->n; i++)
		mixed |= l->ranges[i].on_fault != l->ranges[0].on_fault;
	l->all = l->n > 0 && !l->unlocked && !mixed;
	if (l->all)
		l->incomplete = false;
}

static uint64_t locked_kb(const struct twin_engine *e)
{
	char text[4096];
	uint64_t kb = 0;

	if (proc_reread(e->status_fd, text, sizeof(text)) > 0)
		(void)!proc_field(text, "VmLck", 10, &kb);
	return kb;
}

/* From outside: a call of the holder has no memory of its own to write an answer to. */
static bool is_resident(pid_t pid, uint64_t at)
{
	const uint64_t present = 1ULL << 63; /* pagemap(5) */
	uint64_t entry = 0;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 &&
	       pread(fd, &entry, sizeof(entry), (off_t)(at / PROBE_PAGE * sizeof(entry))) ==
		       (ssize_t)sizeof(entry) &&
	       (entry & present);
}

/*
 * A new mapping is locked, or it is not; populated, or only to be when touched. A shared one, for
 * it is never merged with its neighbours. The active goes on meanwhile, so the amount may change
 * for another reason: then it is tried again.
 */
static int ask_future(struct twin_engine *e, struct injection *in)
{
	const uint64_t size = PROBE_PAGES * PROBE_PAGE;
	struct locked_memory *l = &e->locked;

	for (unsigned tries = 0; tries < 16; tries++) {
		uint64_t before = locked_kb(e), during;
		bool resident;
		long at, result;
		int r = inject_call(in, SYS_mmap,
			(const uint64_t[6]){
				0, size, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, (uint64_t)-1, 0},
			&at);

		if (r < 0)
			return r;
		/* Beyond RLIMIT_MEMLOCK, for one: no mapping can be made at all then. */
		if (at < 0) {
			l->future = at == -EAGAIN;
			return 0;
		}
		during = locked_kb(e);
		resident = is_resident(in->tid, (uint64_t)at);
		r = inject_call(in, SYS_munmap, (const uint64_t[6]){(uint64_t)at, size}, &result);
		if (r < 0)
			return r;
		if (locked_kb(e) != before || (during != before && during != before + size / 1024))
			continue;
		l->future = during == before + size / 1024;
		l->future_on_fault = l->future && !resident;
		return 0;
	}
	return 0; /* as it was known */
}

int locked_ask(struct twin_engine *e)
{
	struct injection in;
	long flags = 0;
	int r;

	if (!e->holder || e->holder_busy || e->holder_fresh)
		return 0;
	r = inject_begin(e, e->holder, &e->holder_regs, false, &in);
	if (r < 0)
		return r;
	if (e->n_checkpoints == 0 || e->locked.n > 0 || e->locked.future)
		r = ask_future(e, &in);
	if (r == 0)
		r = inject_call(
			&in, SYS_prctl, (const uint64_t[6]){PR_GET_MDWE_NR, 0, 0, 0, 0}, &flags);
	e->locked.no_exec_gain = r == 0 && flags > 0 ? (unsigned long)flags : 0;
	inject_end(&in);
	return r;
}

/* Costs nothing, and the threads may map at once. */
static uint64_t future_flags(const struct locked_memory *l)
{
	return !l->future ? 0 : MCL_FUTURE | (l->future_on_fault ? MCL_ONFAULT : 0);
}

void locked_restore(const struct locked_memory *l, struct leader_calls *calls)
{
	if (l->no_exec_gain & PR_MDWE_NO_INHERIT_BIT)
		leader_call(calls, SYS_prctl, (const uint64_t[6]){PR_SET_MDWE_NR, l->no_exec_gain});
	if (l->future)
		leader_call(calls, SYS_mlockall, (const uint64_t[6]){future_flags(l)});
}

static unsigned list_calls(const struct locked_memory *l, struct routine_call *calls)
{
	unsigned n = 0;

	if (l->all) {
		uint64_t kind = l->ranges[0].on_fault ? MCL_ONFAULT : 0;
		uint64_t future = l->future ? MCL_FUTURE : 0;

		calls[n++] = (struct routine_call){
			.nr = SYS_mlockall, .args = {MCL_CURRENT | future | kind}};
		if (future && l->future_on_fault != l->ranges[0].on_fault)
			calls[n++] = (struct routine_call){
				.nr = SYS_mlockall, .args = {future_flags(l)}};
		return n;
	}
	for (unsigned i = 0; i < l->n; i++)
		calls[n++] = (struct routine_call){.nr = SYS_mlock2,
			.args = {l->ranges[i].start, l->ranges[i].end - l->ranges[i].start,
				l->ranges[i].on_fault ? MLOCK_ONFAULT : 0}};
	return n;
}

/* By nobody's priority but the node's own: it may take long. */
static void lower(const struct twin_engine *e, const struct twin *w)
{
	struct sched_param normal = {0};

	(void)sched_setscheduler(e->holder, SCHED_OTHER, &normal);
	if (CPU_COUNT(&w->threads[0].affinity) > 0)
		(void)sched_setaffinity(e->holder, sizeof(cpu_set_t), &w->threads[0].affinity);
}

/* Nothing tells what exactly is different, so all is unlocked first. */
static unsigned list_corrections(const struct locked_memory *l, struct routine_call *calls)
{
	unsigned n;

	calls[0] = (struct routine_call){.nr = SYS_munlockall};
	n = 1 + list_calls(l, calls + 1);
	if (l->future && !l->all)
		calls[n++] = (struct routine_call){.nr = SYS_mlockall, .args = {future_flags(l)}};
	return n;
}

void locked_start(struct twin_engine *e, const struct twin *w, bool in_place)
{
	struct routine_call calls[LOCKED_MAX + 3];
	struct arch_regs regs = in_place ? e->holder_regs : w->regs;
	uint64_t n = 0;

	if (!in_place)
		n = list_calls(&w->locked, calls);
	else if (locked_kb(e) != w->locked.kb)
		n = list_corrections(&w->locked, calls);
	if (n == 0 && in_place)
		return;
	e->locked = w->locked;
	e->locked_kb = UINT64_MAX;
	if (n == 0)
		return;
	/* The calls of the swap lie there, and have been made. */
	if (image_write(e->holder, w->calls_at, calls, n * sizeof(calls[0])) < 0 ||
		image_write(e->holder, w->data + offsetof(struct routine_args, n_calls), &n,
			sizeof(n)) < 0)
		return;
	lower(e, w);
	arch_prepare_routine(&regs, w->code, ROUTINE_CALLS, w->data, 0);
	if (arch_set_regs(e->holder, &regs) == 0 && ptrace(PTRACE_CONT, e->holder, NULL, NULL) == 0)
		e->holder_busy = true;
}

void locked_event(struct twin_engine *e, int raw)
{
	struct wait_event ev = wait_classify((struct wait_status){raw}, true);

	if (!e->holder_busy)
		return;
	if (ev.kind == WAIT_SIGNAL_STOP && ev.signal == SIGTRAP)
		e->holder_busy = false;
	else if (!wait_is_end(&ev))
		(void)ptrace(PTRACE_CONT, e->holder, NULL, NULL);
}
