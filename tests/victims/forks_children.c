/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forks children and waits for them, from two threads. The children run as they like and are
 * never seen in a strange state; where swaps come, a child may have been left to another parent
 * (ECHILD), and only then.
 */
#include "tests/victims/victim.h"

#include <sys/wait.h>

static void wait_for(pid_t child, unsigned status)
{
	int raw = 0;
	pid_t r = waitpid(child, &raw, 0);

	if (victim_is_swapped() && r < 0 && errno == ECHILD)
		return;
	victim_check(r == child, "waitpid(%d) said %d", child, r);
	victim_check(WIFEXITED(raw) && WEXITSTATUS(raw) == (int)status, "status %x", raw);
}

static pid_t start(unsigned status)
{
	pid_t child = fork();

	victim_check(child >= 0, "fork");
	if (child == 0) {
		usleep(status % 7 * 200);
		_exit((int)status);
	}
	return child;
}

static pid_t start_by_vfork(unsigned status)
{
	pid_t child = vfork();

	if (child == 0)
		_exit((int)status);
	victim_check(child > 0, "vfork");
	return child;
}

static void *run(void *arg)
{
	for (unsigned i = 0; !atomic_load(&victim->stop); i++) {
		wait_for(i % 3 == 2 ? start_by_vfork(i % 100) : start(i % 100), i % 100);
	}
	return arg;
}

int main(void)
{
	pthread_t t;

	victim_begin();
	t = victim_thread(run, NULL);
	while (!victim_stopping()) {
		pid_t child = fork(), parent = getpid();
		victim_check(child >= 0, "fork");
		if (child == 0) {
			/* An orphan of a swap must not stay behind. */
			for (unsigned i = 0; i < 3 && getppid() == parent; i++)
				usleep(300);
			_exit(7);
		}
		wait_for(child, 7);
		victim_progress();
	}
	pthread_join(t, NULL);
	return 0;
}
