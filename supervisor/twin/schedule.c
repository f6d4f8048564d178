/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"

/* The least real-time priority does: what competes is not real-time at all. */
#define BOOST_PRIORITY 1

void schedule_read(pid_t tid, struct schedule *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (syscall(SYS_sched_getattr, tid, ret, sizeof(*ret), 0) < 0)
		ret->size = 0;
}

void schedule_boost(pid_t tid)
{
	struct sched_param fifo = {.sched_priority = BOOST_PRIORITY};

	if (sched_setscheduler(tid, SCHED_FIFO, &fifo) < 0)
		return;
}

void schedule_last(pid_t tid)
{
	struct sched_param none = {0};

	if (sched_setscheduler(tid, SCHED_IDLE, &none) < 0)
		return;
}

void schedule_restore(pid_t tid, const struct schedule *attr)
{
	struct schedule a = *attr;

	if (a.size == 0 || syscall(SYS_sched_setattr, tid, &a, 0) < 0)
		return;
}
