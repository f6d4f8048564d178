/* SPDX-License-Identifier: Apache-2.0 */
/* Executes itself again and again, by turns from its main thread and from another one. */
#include "tests/victims/victim.h"

static char **arguments;

static void *again(void *arg)
{
	execv("/proc/self/exe", arguments);
	victim_check(false, "exec");
	return arg;
}

static void *idle(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* The number of programs before this one is in the arguments; the pid must outlive them all. */
int main(int argc, char **argv)
{
	unsigned generation = argc > 1 ? (unsigned)atoi(argv[1]) : 0;
	pid_t pid = argc > 2 ? atoi(argv[2]) : getpid();
	char number[16], pid_text[16];
	char *const next[] = {argv[0], number, pid_text, NULL};

	victim_begin();
	victim_check(getpid() == pid && gettid() == pid, "pid %d, not %d", getpid(), pid);
	snprintf(number, sizeof(number), "%u", generation + 1);
	snprintf(pid_text, sizeof(pid_text), "%d", pid);
	arguments = (char **)next;
	victim_thread(idle, NULL);
	for (unsigned i = 0; !victim_stopping(); i++) {
		victim_nap(500);
		victim_progress();
		atomic_store(&victim->counter, generation);
		if (i < 20)
			continue;
		if (generation % 2)
			victim_thread(again, NULL);
		else
			again(NULL);
		for (;;)
			pause();
	}
	return 0;
}
