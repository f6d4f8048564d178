/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine tells of itself when it is asked. */
#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

pid_t twin_active_pid(const struct twin_engine *e)
{
	return e->ended ? 0 : e->pid;
}

unsigned twin_count(const struct twin_engine *e)
{
	return e->n_twins;
}

pid_t twin_pid(const struct twin_engine *e, unsigned generation)
{
	const struct twin *w = generation < e->n_twins ? e->twins[generation] : NULL;

	return !w ? 0 : w->nest.leader ? w->nest.leader : w->pid;
}

bool twin_is_inside(const struct twin_engine *e)
{
	return e->inside;
}

pid_t twin_group(const struct twin_engine *e)
{
	return e->inside ? e->nest.group : 0;
}

nsec_t twin_taken_at(const struct twin_engine *e, unsigned generation)
{
	return generation < e->n_twins ? e->twins[generation]->at : 0;
}

unsigned twin_n_threads(const struct twin_engine *e)
{
	return e->n_threads;
}

const char *twin_excluded(const struct twin_engine *e)
{
	return e->n_twins > 0 ? e->excluded_text : "";
}

uint64_t twin_memory_private(const struct twin_engine *e)
{
	char text[4096];
	uint64_t clean = 0, dirty = 0;

	if (e->n_twins == 0 ||
		proc_read(text, sizeof(text), "%d/smaps_rollup", e->twins[0]->pid) < 0)
		return 0;
	(void)!proc_field(text, "Private_Clean", 10, &clean);
	(void)!proc_field(text, "Private_Dirty", 10, &dirty);
	return (clean + dirty) * 1024;
}
