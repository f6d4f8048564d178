/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"

/* The least real-time priority does: what competes is not real-time at all. */
#define BOOST_PRIORITY 1
#define IOPRIO_WHO_PROCESS 1     /* linux/ioprio.h */
#define UTIL_CLAMP_FLAGS 0x60ULL /* SCHED_FLAG_UTIL_CLAMP_MIN, _MAX */
#define UTIL_MAX_DEFAULT 1024u

void schedule_read(pid_t tid, struct schedule *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (syscall(SYS_sched_getattr, tid, ret, sizeof(*ret), 0) < 0)
		ret->size = 0;
}

int schedule_get_io(pid_t tid)
{
	return MAX2((int)syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid), 0);
}

void schedule_set_io(pid_t tid, int priority)
{
	(void)!syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, tid, priority);
}

void schedule_boost(pid_t tid)
{
	struct sched_param fifo = {.sched_priority = BOOST_PRIORITY};

	if (sched_setscheduler(tid, SCHED_FIFO, &fifo) < 0)
		return;
}

void schedule_plain(pid_t tid)
{
	struct sched_param none = {0};

	if (sched_setscheduler(tid, SCHED_OTHER, &none) < 0)
		return;
}

/*
 * While pids are chosen by steering, each moment in which another real-time task gets in between,
 * our own kind first of all, may cost us the number.
 */
void schedule_hurry(struct schedule *ret_own, pid_t other)
{
	struct schedule own;

	schedule_read(0, ret_own);
	if (ret_own->size == 0 || (ret_own->policy != SCHED_FIFO && ret_own->policy != SCHED_RR) ||
		ret_own->priority >= (uint32_t)sched_get_priority_max(SCHED_FIFO)) {
		ret_own->size = 0;
		return;
	}
	own = *ret_own;
	own.priority++;
	(void)schedule_restore(0, &own);
	own.flags = 0; /* what it clones inherits its class */
	(void)schedule_restore(other, &own);
}

bool schedule_restore(pid_t tid, const struct schedule *attr)
{
	struct schedule a = *attr;

	/* They are read, but only set with their flags; in kernels without them they are 0. */
	if (a.util_max != 0 && (a.util_max != UTIL_MAX_DEFAULT || a.util_min != 0))
		a.flags |= UTIL_CLAMP_FLAGS;
	return a.size != 0 && syscall(SYS_sched_setattr, tid, &a, 0) == 0;
}
