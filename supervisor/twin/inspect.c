/* SPDX-License-Identifier: Apache-2.0 */
/* Where the threads of the active are, without a copy of it. */
#include <errno.h>
#include <string.h>

#include "supervisor/twin/engine.h"

_Static_assert(sizeof(struct user_regs_struct) <= TWIN_REGISTERS_MAX, "struct twin_registers");

static int read_all(struct twin_engine *e, struct twin_registers *list, size_t max, size_t *ret_n)
{
	struct arch_regs regs;
	size_t n = 0;

	FOREACH_THREAD(e, t)
	{
		int r = n < max ? arch_get_regs(t->tid, &regs) : 0;

		if (r < 0)
			return engine_fail(
				e, r, "registers of thread %d: %s", t->tid, strerror(-r));
		if (n == max)
			break;
		list[n].tid = t->tid;
		list[n].len = sizeof(regs.user);
		memcpy(list[n++].data, &regs.user, sizeof(regs.user));
	}
	*ret_n = n;
	return 0;
}

int twin_inspect(struct twin_engine *e, struct twin_registers *list, size_t max, size_t *ret_n)
{
	int r;

	if (!e->pid || e->ended)
		return engine_fail(e, -ESRCH, "there is no process");
	if (!e->traced)
		return engine_fail(e, -EPERM, "it is not traced");
	if (e->fatal_tid || e->group_stopped)
		return engine_fail(e, -EBUSY, "it is stopped");
	/* Calls that the stop has broken are mended by the thaw. */
	r = engine_freeze(e);
	if (r == 0)
		r = read_all(e, list, max, ret_n);
	engine_thaw(e);
	return r;
}
