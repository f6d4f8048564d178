/* SPDX-License-Identifier: Apache-2.0 */
/* When the mappings are looked at one by one, before a checkpoint. */
#include <errno.h>
#include <stdlib.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

static uint64_t number_in(const char *text, const char *key)
{
	uint64_t v = 0;
	(void)!proc_field(text, key, 10, &v);
	return v;
}

/*
 * Slow, so rarely: programs mark mappings when they start, if at all. That something has changed is
 * told by the amount of locked memory, of huge pages, and of AIO contexts of the whole machine.
 * Where all that is mapped gets locked as well (MCL_FUTURE), more of it is no news.
 */
static bool must_scan(struct twin_engine *e)
{
	unsigned n = e->n_checkpoints;
	uint64_t locked, huge, aio = 0;
	bool news = false;
	char text[4096];

	if (proc_reread(e->status_fd, text, sizeof(text)) <= 0)
		return true;
	locked = number_in(text, "VmLck");
	huge = number_in(text, "HugetlbPages");
	if (proc_read(text, sizeof(text), "sys/fs/aio-nr") > 0)
		aio = strtoull(text, NULL, 10);
	if (e->locked_kb == UINT64_MAX)
		news = !e->holder_busy;
	else if (locked != e->locked_kb)
		news = !(e->locked.all && e->locked.future && locked > e->locked_kb);
	news |= huge != e->huge_kb || (aio != 0 && aio != e->aio_contexts);
	/* What the last swap had locked is being locked again. */
	if (!e->holder_busy)
		e->locked_kb = locked;
	e->huge_kb = huge;
	e->aio_contexts = aio;
	/* Of those that are known one must be sure: what was unmapped and mapped anew would be
	 * marked after the copy though it was not before, and the node's own children find zeros.
	 */
	return news || e->wiped.n > 0 || e->unfit_mapping || n == 0 ||
	       ((n & (n - 1)) == 0 && (n & 0x55555555u) != 0);
}

int scan_at_leisure(struct twin_engine *e, bool *ret_scanned)
{
	const struct locked_memory known = e->locked;
	int r;

	*ret_scanned = e->scan_failed || must_scan(e);
	if (!*ret_scanned)
		return 0;
	r = mappings_scan(e->pid, &e->wiped, &e->locked, &e->unfit_mapping);
	if (e->holder_busy)
		e->locked = known;
	/* What is known of them by now is half of it. */
	e->scan_failed = r < 0;
	if (r < 0)
		return engine_fail(e, -EBUSY, "its mappings cannot be read");
	return e->unfit_mapping ? engine_fail(e, -ENOTSUP, "%s", e->unfit_mapping) : 0;
}
