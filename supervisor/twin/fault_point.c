/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/fault_point.h"

#ifdef TWIN_FAULT_POINTS

int (*fault_hook)(const struct fault_call *call);

/* The linker's own: the ends of a section whose name is an identifier. */
extern struct fault_point __start_fault_points[], __stop_fault_points[];

unsigned fault_count(void)
{
	return (unsigned)(__stop_fault_points - __start_fault_points);
}

struct fault_point *fault_get(unsigned i)
{
	return &__start_fault_points[i];
}

static int ask_hook(const struct fault_call *call)
{
	int kept = errno, r;

	if (!fault_hook)
		return 0;
	r = fault_hook(call);
	errno = kept;
	return r;
}

int fault_reached(struct fault_point *p, long number, pid_t pid, long data)
{
	int r = ask_hook(&(struct fault_call){p, number, pid, data});

	if (r == 0)
		return 0;
	errno = -r;
	return -1;
}

int fault_injected(struct fault_point *p, long nr, pid_t tid)
{
	return ask_hook(&(struct fault_call){p, nr, tid, 0});
}

#endif
