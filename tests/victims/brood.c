/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leads a session, with children of all kinds in it: one that sleeps, a line of processes each of
 * which makes the next and ends, one with children of its own, and one that has left the session.
 * It asks nothing of them. With BROOD=late in the environment it has none at first, and makes one
 * that sleeps when it is told VICTIM_EXEC.
 */
#include "tests/victims/victim.h"

static void sleep_on(void)
{
	for (;;)
		pause();
}

static void run_line(void)
{
	for (;;) {
		pid_t next = fork();
		if (next != 0) {
			usleep(300);
			_exit(0);
		}
	}
}

static void run_parent(void)
{
	for (unsigned i = 0; i < 2; i++)
		if (fork() == 0)
			sleep_on();
	sleep_on();
}

static void run_apart(void)
{
	setsid();
	sleep_on();
}

int main(void)
{
	void (*const kinds[])(void) = {sleep_on, run_line, run_parent, run_apart};

	victim_begin();
	victim_check(setsid() == getpid(), "setsid");
	for (unsigned i = 0; !getenv("BROOD") && i < 4; i++)
		if (fork() == 0)
			kinds[i]();
	while (!victim_stopping()) {
		victim_nap(500);
		if (atomic_load(&victim->command) == VICTIM_EXEC && victim_command() && fork() == 0)
			sleep_on();
		victim_progress();
	}
	return 0;
}
