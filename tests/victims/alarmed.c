/* SPDX-License-Identifier: Apache-2.0 */
/* Sets a timer that fires all the time when it is told VICTIM_EXEC; rolled back to the time before
 * it has none, and hears of none. */
#include "tests/victims/victim.h"

#include <signal.h>
#include <sys/time.h>

static volatile bool armed;

static void on_alarm(int sig)
{
	victim_check(armed, "signal %d of a timer that was never set", sig);
}

int main(void)
{
	const struct itimerval often = {{0, 2000}, {0, 2000}};

	victim_begin();
	signal(SIGALRM, on_alarm);
	while (!victim_stopping()) {
		struct timespec nap = {0, 500000};

		nanosleep(&nap, NULL);
		if (atomic_load(&victim->command) == VICTIM_EXEC && victim_command()) {
			armed = true;
			setitimer(ITIMER_REAL, &often, NULL);
		}
		atomic_store(&victim->counter, armed);
		victim_progress();
	}
	return 0;
}
