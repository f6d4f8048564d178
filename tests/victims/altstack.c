/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Alternate signal stacks, one a thread: registered for good (some only after a while), still
 * there when asked, and really used by handlers, even by one that is frozen while it runs.
 */
#include "tests/victims/victim.h"

#include <signal.h>

#define SIZE 65536

static _Thread_local char *volatile mine;
static _Thread_local volatile unsigned runs;

static bool is_on(const char *stack, const void *p)
{
	return stack && (const char *)p >= stack && (const char *)p < stack + SIZE;
}

static void handler(int sig)
{
	volatile char here = (char)sig;
	stack_t now;

	victim_check(is_on(mine, (const void *)&here), "handler not on its stack");
	victim_check(sigaltstack(NULL, &now) == 0 && now.ss_flags & SS_ONSTACK, "SS_ONSTACK");
	for (volatile unsigned i = 0; i < 30000;)
		i++;
	victim_check(is_on(mine, (const void *)&here) && here == (char)sig, "stack lost");
	runs++;
}

static void set_stack(char *p)
{
	stack_t s = {.ss_sp = p, .ss_size = SIZE};

	victim_check(p && sigaltstack(&s, NULL) == 0, "sigaltstack");
	mine = p;
}

static void check_stack(void)
{
	stack_t now;

	victim_check(sigaltstack(NULL, &now) == 0, "sigaltstack");
	if (mine)
		victim_check(now.ss_sp == mine && now.ss_size == SIZE && now.ss_flags == 0,
			"stack %p, not %p, flags %x", now.ss_sp, (void *)mine, now.ss_flags);
	else
		victim_check(now.ss_flags == SS_DISABLE, "a stack from nowhere");
}

static void *run(void *arg)
{
	unsigned nr = (unsigned)(uintptr_t)arg;
	char *p = malloc(SIZE);

	/* 0: at once, 1: after some loops, 2: never. */
	for (unsigned i = 0; !atomic_load(&victim->stop); i++) {
		unsigned before = runs;
		if (!mine && ((nr == 0) || (nr == 1 && i == 40)))
			set_stack(p);
		check_stack();
		if (mine) {
			pthread_kill(pthread_self(), SIGUSR1);
			victim_check(runs == before + 1, "handler did not run");
		}
		victim_nap(400);
	}
	return NULL;
}

int main(void)
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_ONSTACK};

	victim_begin();
	sigaction(SIGUSR1, &sa, NULL);
	set_stack(malloc(SIZE));
	for (uintptr_t i = 0; i < 3; i++)
		victim_thread(run, (void *)i);
	while (!victim_stopping()) {
		check_stack();
		raise(SIGUSR1);
		victim_nap(500);
		victim_progress();
	}
	return 0;
}
