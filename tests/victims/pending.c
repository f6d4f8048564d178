/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals that are blocked and pending, of the process and of two threads, with their values:
 * still pending, once each and unchanged, after any number of freezes and swaps.
 */
#include <signal.h>

#include "tests/victims/victim.h"

static _Atomic int thread_ready;

static void queue(int sig, int value)
{
	victim_check(sigqueue(getpid(), sig, (union sigval){.sival_int = value}) == 0, "sigqueue");
}

/* Take what is pending and put it back. */
static void check_queued(const sigset_t *set)
{
	struct timespec none = {0, 0};
	siginfo_t info;

	for (int value = 1; value <= 3; value++) {
		victim_check(
			sigtimedwait(set, &info, &none) == SIGRTMIN + 3, "signal %d lost", value);
		victim_check(info.si_value.sival_int == value && info.si_code == SI_QUEUE,
			"signal %d: value %d, code %d", value, info.si_value.sival_int,
			info.si_code);
	}
	victim_check(sigtimedwait(set, &info, &none) < 0, "one too many");
	for (int value = 1; value <= 3; value++)
		queue(SIGRTMIN + 3, value);
}

static void *other(void *arg)
{
	sigset_t pending;

	victim_check(pthread_kill(pthread_self(), SIGUSR2) == 0, "pthread_kill");
	thread_ready = 1;
	while (!victim_stopping()) {
		victim_check(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR2),
			"the thread's own signal is lost");
		victim_nap(900);
	}
	return arg;
}

int main(void)
{
	sigset_t set, blocked, pending;
	pthread_t t;

	victim_begin();
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	blocked = set;
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, SIGUSR2);
	victim_check(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0, "sigprocmask");
	for (int value = 1; value <= 3; value++)
		queue(SIGRTMIN + 3, value);
	victim_check(kill(getpid(), SIGUSR1) == 0, "kill");
	victim_check(pthread_create(&t, NULL, other, NULL) == 0, "pthread_create");
	while (!thread_ready)
		victim_nap(100);
	while (!victim_stopping()) {
		victim_check(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1),
			"the process's signal is lost");
		check_queued(&set);
		victim_progress();
		victim_nap(700);
	}
	victim_check(pthread_join(t, NULL) == 0, "pthread_join");
	return 0;
}
