/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory locked in three ways. Fork unlocks it, so after a swap it is locked again: at once for
 * what is mapped anew, and for the rest before long. Nothing is locked that was not.
 */
#include <sys/resource.h>

#include "tests/victims/victim.h"

#define SIZE (4 << 20)
#define PATIENCE_USEC 5000000

static long locked_kb(void)
{
	char line[256];
	long v = -1;
	FILE *f = fopen("/proc/self/status", "re");

	victim_check(f, "status");
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, "VmLck:", 6) == 0)
			v = atol(line + 6);
	fclose(f);
	return v;
}

static char *map(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	victim_check(p != MAP_FAILED, "mmap");
	return p;
}

static long flags_of(const void *p)
{
	char line[512];
	unsigned long s, e, at = (unsigned long)p;
	bool here = false;
	long found = -1;
	FILE *f = fopen("/proc/self/smaps", "re");

	victim_check(f, "smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &s, &e) == 2)
			here = s <= at && at < e;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			found = (strstr(line, " lo") ? 1 : 0) + (strstr(line, " lf") ? 2 : 0);
	}
	fclose(f);
	return found;
}

/* Off the way of a swap: for a moment it may not have come to it yet. */
static void await_locked(const void *p, long flags, const char *what)
{
	int64_t until = victim_now_usec() + PATIENCE_USEC;
	long f;

	while ((f = flags_of(p)) != flags && victim_now_usec() < until)
		victim_nap(1000);
	victim_check(f == flags, "%s: flags %ld, not %ld", what, f, flags);
}

static void await_amount(long kb)
{
	int64_t until = victim_now_usec() + PATIENCE_USEC;
	long now;

	while ((now = locked_kb()) != kb && victim_now_usec() < until)
		victim_nap(1000);
	victim_check(now == kb, "%ld kB are locked, not %ld", now, kb);
}

#ifndef VICTIM_LOCKS_ALL
#define VICTIM_LOCKS_ALL 0
#endif

static void check_ranges(const char *locked, const char *on_fault, const char *open, long kb)
{
	await_locked(locked, 1, "locked");
	await_locked(on_fault, 3, "locked on fault");
	victim_check(flags_of(open) == 0, "memory that was not locked is");
	await_amount(kb);
}

static void check_all(const char *locked, const char *on_fault, const char *open)
{
	await_locked(locked, 1, "locked");
	await_locked(on_fault, 1, "locked on fault before");
	await_locked(open, 1, "locked with all");
	await_locked(&open, 1, "the stack");
	char *later = map(3 * 4096);
	await_locked(later, 1, "mapped later");
	munmap(later, 3 * 4096);
}

int main(void)
{
	char *locked, *on_fault, *open;
	long kb;

	victim_begin();
	locked = map(SIZE);
	open = map(SIZE);
	on_fault = map(SIZE);
	victim_check(mlock(locked, SIZE) == 0, "mlock");
	victim_check(mlock2(on_fault, SIZE, MLOCK_ONFAULT) == 0, "mlock2");
	kb = locked_kb();
	if (VICTIM_LOCKS_ALL)
		victim_check(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "mlockall");
	while (!victim_stopping()) {
		if (VICTIM_LOCKS_ALL)
			check_all(locked, on_fault, open);
		else
			check_ranges(locked, on_fault, open, kb);
		victim_nap(500);
		victim_progress();
	}
	return 0;
}
