/* SPDX-License-Identifier: Apache-2.0 */
/* Its main thread ends and leaves the others alone. */
#include "tests/victims/victim.h"

static void *run(void *arg)
{
	(void)arg;
	while (!victim_stopping()) {
		victim_nap(700);
		victim_progress();
	}
	exit(0);
}

int main(void)
{
	victim_begin();
	victim_thread(run, NULL);
	pthread_exit(NULL);
}
