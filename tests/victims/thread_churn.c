/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that are made and joined all the time, by several threads, some of them detached. */
#include "tests/victims/victim.h"

#define CREATORS 3

static _Atomic unsigned detached_ended;

static void *short_life(void *arg)
{
	pid_t tid = gettid();
	uint32_t rnd = (uint32_t)tid;

	if (victim_random(&rnd) % 2)
		victim_nap(victim_random(&rnd) % 500);
	victim_check(gettid() == tid, "tid %d, not %d", gettid(), tid);
	return (void *)((uintptr_t)arg * 2);
}

static void *detached_life(void *arg)
{
	(void)arg;
	victim_nap(200);
	atomic_fetch_add(&detached_ended, 1);
	return NULL;
}

static void *create(void *arg)
{
	unsigned detached = 0;
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	for (uintptr_t i = 1; !atomic_load(&victim->stop); i++) {
		pthread_t a = victim_thread(short_life, (void *)i), d;
		pthread_t b = victim_thread(short_life, (void *)(i + 1));
		void *end;

		if (i % 8 == 0) {
			victim_check(
				pthread_create(&d, &attr, detached_life, NULL) == 0, "detached");
			detached++;
		}
		victim_check(pthread_join(a, &end) == 0 && end == (void *)(i * 2), "join a");
		victim_check(pthread_join(b, &end) == 0 && end == (void *)(i * 2 + 2), "join b");
	}
	*(unsigned *)arg = detached;
	return arg;
}

int main(void)
{
	pthread_t t[CREATORS];
	unsigned detached[CREATORS], sum = 0;

	victim_begin();
	for (unsigned i = 0; i < CREATORS; i++)
		t[i] = victim_thread(create, &detached[i]);
	while (!victim_stopping()) {
		victim_nap(700);
		victim_progress();
	}
	for (unsigned i = 0; i < CREATORS; i++) {
		void *end;
		victim_check(pthread_join(t[i], &end) == 0 && end == &detached[i], "join");
		sum += detached[i];
	}
	for (unsigned i = 0; i < 2000 && atomic_load(&detached_ended) < sum; i++)
		victim_nap(1000);
	victim_check(atomic_load(&detached_ended) == sum, "%u of %u detached threads ended",
		atomic_load(&detached_ended), sum);
	return 0;
}
