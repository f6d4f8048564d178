/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that give themselves new names, and new timer slacks, all the time: a twin has those of
 * its own moment, not those that were looked up shortly before.
 */
#include "tests/victims/victim.h"

#include <sys/prctl.h>

static void *run(void *arg)
{
	char name[16], now[16];

	for (unsigned i = 0; !atomic_load(&victim->stop); i++) {
		snprintf(name, sizeof(name), "%d-%u", (int)(intptr_t)arg, i);
		victim_check(prctl(PR_SET_NAME, name) == 0, "name");
		victim_check(prctl(PR_SET_TIMERSLACK, 60000 + i) == 0, "timer slack");
		for (unsigned k = 0; k < 4; k++) {
			victim_nap(700);
			victim_check(prctl(PR_GET_NAME, now) == 0 && strcmp(name, now) == 0,
				"%s, not %s", now, name);
			victim_check(prctl(PR_GET_TIMERSLACK) == (int)(60000 + i), "slack");
		}
	}
	return arg;
}

int main(void)
{
	victim_begin();
	for (intptr_t i = 0; i < 3; i++)
		victim_thread(run, (void *)i);
	while (!victim_stopping()) {
		victim_nap(500);
		victim_progress();
	}
	return 0;
}
