/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A crash reporter, as a JVM has one: the handler of SIGSEGV lets the signal in again, for it looks
 * at addresses that may not be there, reports for a while, and aborts; or leaves by a long jump,
 * when told VICTIM_EXEC. The counter says whether it is in there.
 */
#include "tests/victims/victim.h"

#include <setjmp.h>
#include <signal.h>

static sigjmp_buf out, look;
static volatile sig_atomic_t looking;

static void report(int sig)
{
	static int *volatile nowhere = (int *)16;
	sigset_t set;

	if (looking)
		siglongjmp(look, 1);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	looking = 1;
	if (sigsetjmp(look, 1) == 0)
		*nowhere = 1;
	looking = 0;
	atomic_store(&victim->counter, 1);
	for (;;) {
		switch (victim_command()) {
		case VICTIM_ABORT:
			abort();
		case VICTIM_EXEC:
			siglongjmp(out, 1);
		default:
			victim_nap(1000);
			victim_progress();
		}
	}
}

int main(void)
{
	struct sigaction sa = {.sa_handler = report};

	victim_begin();
	sigaction(SIGSEGV, &sa, NULL);
	(void)sigsetjmp(out, 1);
	while (!victim_stopping()) {
		atomic_store(&victim->counter, 0);
		victim_nap(500);
		victim_progress();
	}
	return 0;
}
