/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When did a thread go to sleep? The kernel says it to nobody, but /proc/TID/sched has
 * se.exec_start: when the thread was last accounted for, that is, for a sleeper, when it went to
 * sleep, by the clock of the CPU that it slept on. Two clocks lead from there to CLOCK_MONOTONIC:
 * ours, where we run on the same CPU; and the thread's own a moment later, when it has been
 * stopped, where it was not moved to another CPU by that. Both may stand still while a CPU is taken
 * away (steal time), so a wait can seem to have begun too late but never too early.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

struct account {
	uint64_t switches, migrations;
	nsec_t exec_start;
};

/* Milliseconds with six decimals. */
static bool read_msec(const char *text, const char *key, nsec_t *ret)
{
	const char *p = strstr(text, key);
	unsigned long long ms;
	unsigned ns;

	p = p ? strchr(p, ':') : NULL;
	if (!p || sscanf(p + 1, " %llu.%6u", &ms, &ns) != 2)
		return false;
	*ret = ms * 1000000 + ns;
	return true;
}

static bool read_number(const char *text, const char *key, uint64_t *ret)
{
	const char *p = strstr(text, key);

	p = p ? strchr(p, ':') : NULL;
	if (!p)
		return false;
	*ret = strtoull(p + 1, NULL, 10);
	return true;
}

static bool read_account(pid_t pid, pid_t tid, struct account *ret)
{
	char text[4096];

	return proc_read(text, sizeof(text), "%d/task/%d/sched", pid, tid) > 0 &&
	       read_msec(text, "se.exec_start", &ret->exec_start) &&
	       read_number(text, "se.nr_migrations", &ret->migrations) &&
	       read_number(text, "nr_voluntary_switches", &ret->switches);
}

/* The CPU a task is or was last on: field 39 of /proc/TID/stat, counted from behind its name. */
static int last_cpu(pid_t pid, pid_t tid)
{
	char text[1024];
	const char *p;

	if (proc_read(text, sizeof(text), "%d/task/%d/stat", pid, tid) <= 0)
		return -1;
	p = strrchr(text, ')');
	for (unsigned field = 2; p && field < 39; field++)
		p = strchr(p + 1, ' ');
	return p ? atoi(p + 1) : -1;
}

/* What is to be added to this CPU's clock. Whoever comes back from a sleep has just been accounted
 * for; sched_yield() is no substitute in SCHED_FIFO. */
static bool calibrate(int cpu, nsec_t *ret_offset)
{
	const struct timespec shortest = {0, 1};
	struct account own;
	nsec_t woken;

	(void)nanosleep(&shortest, NULL);
	woken = now_nsec();
	if (!read_account(getpid(), gettid(), &own) || sched_getcpu() != cpu)
		return false;
	*ret_offset = woken - own.exec_start;
	return true;
}

void asleep_look(struct twin_engine *e, struct thread *t)
{
	struct account a;

	t->look.valid = false;
	if (!read_account(e->pid, t->tid, &a))
		return;
	t->look = (struct sleep_look){.valid = true,
		.switches = a.switches,
		.migrations = a.migrations,
		.asleep_since = a.exec_start,
		.cpu = last_cpu(e->pid, t->tid)};
}

/* After all of them, and anew each time: a clock that has stood still for a while since would let a
 * sleep seem to have begun too early. */
void asleep_date(struct twin_engine *e)
{
	int cpu = sched_getcpu();
	nsec_t offset = 0;

	FOREACH_THREAD(e, t)
	{
		if (!t->look.valid || t->look.cpu != cpu || cpu < 0)
			continue;
		if (!offset && !calibrate(cpu, &offset))
			return;
		t->look.began = t->look.asleep_since + offset;
	}
}

nsec_t asleep_since(
	struct twin_engine *e, const struct thread *t, nsec_t now, uint64_t *ret_switches)
{
	const struct sleep_look *l = &t->look;
	struct account a;

	*ret_switches = 0;
	if (!read_account(e->pid, t->tid, &a))
		return now;
	*ret_switches = a.switches;
	/* Once more to stand where it is; any other switch, and it slept somewhere else. */
	if (!l->valid || a.switches != l->switches + 1)
		return now;
	if (l->began)
		return MIN2(l->began, now);
	if (a.migrations == l->migrations && a.exec_start > l->asleep_since &&
		a.exec_start - l->asleep_since < now)
		return now - (a.exec_start - l->asleep_since);
	return now;
}

uint64_t asleep_switches(const struct twin_engine *e, const struct thread *t)
{
	struct account a;

	return read_account(e->pid, t->tid, &a) ? a.switches : 0;
}
