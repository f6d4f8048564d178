/* SPDX-License-Identifier: Apache-2.0 */
/* Linked statically: no dynamic loader, TLS and rseq set up by the program's own start code. */
#include "tests/victims/victim.h"

static _Thread_local int in_tls;

static void *run(void *arg)
{
	pid_t tid = gettid();

	in_tls = tid;
	while (!atomic_load(&victim->stop)) {
		victim_check(gettid() == tid && in_tls == tid, "tid %d", gettid());
		victim_nap(900);
	}
	return arg;
}

int main(void)
{
	pthread_t t[3];

	victim_begin();
	in_tls = -1;
	for (unsigned i = 0; i < 3; i++)
		t[i] = victim_thread(run, &t[i]);
	while (!victim_stopping()) {
		victim_nap(700);
		victim_check(in_tls == -1, "TLS");
		victim_progress();
	}
	for (unsigned i = 0; i < 3; i++) {
		void *end;
		victim_check(pthread_join(t[i], &end) == 0 && end == &t[i], "join");
	}
	return 0;
}
