/* SPDX-License-Identifier: Apache-2.0 */
/* Three hundred threads, most of which wait for good and some of which work. */
#include "tests/victims/victim.h"

#define THREADS 299

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool ended;
static _Thread_local pid_t cached;

static void *run(void *arg)
{
	unsigned nr = (unsigned)(uintptr_t)arg;

	cached = gettid();
	if (nr % 10 == 0) {
		while (!atomic_load(&victim->stop)) {
			victim_nap(5000);
			victim_check(gettid() == cached, "tid %d, not %d", gettid(), cached);
		}
		return arg;
	}
	pthread_mutex_lock(&lock);
	while (!ended)
		pthread_cond_wait(&cond, &lock);
	pthread_mutex_unlock(&lock);
	victim_check(gettid() == cached, "tid %d, not %d", gettid(), cached);
	return arg;
}

int main(void)
{
	static pthread_t t[THREADS];
	pthread_attr_t small;

	victim_begin();
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	for (uintptr_t i = 0; i < THREADS; i++)
		victim_check(pthread_create(&t[i], &small, run, (void *)(i + 1)) == 0, "thread");
	while (!victim_stopping()) {
		victim_nap(1000);
		victim_progress();
	}
	pthread_mutex_lock(&lock);
	ended = true;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
	for (uintptr_t i = 0; i < THREADS; i++) {
		void *end;
		victim_check(pthread_join(t[i], &end) == 0 && end == (void *)(i + 1), "join");
	}
	return 0;
}
