/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives up all rights at its start, that to choose pids among them, and has some threads: all of
 * it has to be brought back under the same numbers all the same.
 */
#include "tests/victims/victim.h"

#include <grp.h>

#define NOBODY 65534

static void *run(void *arg)
{
	pid_t tid = gettid();

	while (!atomic_load(&victim->stop)) {
		victim_check(gettid() == tid, "tid %d, not %d", gettid(), tid);
		victim_check(geteuid() == NOBODY, "uid");
		victim_nap(900);
	}
	return arg;
}

int main(void)
{
	pid_t pid = getpid();

	victim_begin();
	if (geteuid() == 0) {
		victim_check(setgroups(0, NULL) == 0, "setgroups");
		victim_check(setresgid(NOBODY, NOBODY, NOBODY) == 0, "setresgid");
		victim_check(setresuid(NOBODY, NOBODY, NOBODY) == 0, "setresuid");
	}
	for (unsigned i = 0; i < 4; i++)
		victim_thread(run, NULL);
	while (!victim_stopping()) {
		uid_t r, e, s;
		victim_nap(500);
		victim_check(getpid() == pid, "pid %d, not %d", getpid(), pid);
		victim_check(getresuid(&r, &e, &s) == 0 && r == e && e == s, "uids");
		victim_check(getgroups(0, NULL) == 0 || e != NOBODY, "groups");
		victim_progress();
	}
	return 0;
}
