/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel does at a thread's end by addresses that it was told once: it wakes the joiner
 * (set_tid_address) and marks the robust mutexes that the dead one held (set_robust_list).
 */
#include "tests/victims/victim.h"

static pthread_mutex_t lock, lock_pi;
static _Atomic bool held;

static void *die_with_locks(void *arg)
{
	uint32_t rnd = (uint32_t)gettid();

	victim_check(pthread_mutex_lock(&lock) == 0, "lock");
	victim_check(pthread_mutex_lock(&lock_pi) == 0, "PI lock");
	atomic_store(&held, true);
	victim_nap(victim_random(&rnd) % 3000);
	return arg;
}

static void check_list(void)
{
	void *head = NULL;
	size_t len = 0;

	victim_check(
		syscall(SYS_get_robust_list, 0, &head, &len) == 0 && head && len, "no robust list");
}

static void init_robust(pthread_mutex_t *m, int protocol)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setprotocol(&a, protocol);
	victim_check(pthread_mutex_init(m, &a) == 0, "mutex");
}

static void take_over(pthread_mutex_t *m, const char *which)
{
	int r = pthread_mutex_lock(m);

	victim_check(r == EOWNERDEAD, "%s lock after its owner's death: %d", which, r);
	victim_check(pthread_mutex_consistent(m) == 0, "%s consistent", which);
	victim_check(pthread_mutex_unlock(m) == 0, "%s unlock", which);
}

int main(void)
{
	victim_begin();
	init_robust(&lock, PTHREAD_PRIO_NONE);
	init_robust(&lock_pi, PTHREAD_PRIO_INHERIT);
	for (unsigned i = 0; !victim_stopping(); i++) {
		atomic_store(&held, false);
		pthread_t t = victim_thread(die_with_locks, &lock);
		void *end = NULL;

		check_list();
		/* By turns the joiner or the one who waits for the lock is woken by the end. */
		if (i % 2) {
			victim_check(pthread_join(t, &end) == 0 && end == &lock, "join");
			take_over(&lock, "plain");
		} else {
			while (!atomic_load(&held))
				victim_nap(100);
			int r = pthread_mutex_lock(&lock);
			victim_check(r == EOWNERDEAD, "awaited lock: %d", r);
			pthread_mutex_consistent(&lock);
			pthread_mutex_unlock(&lock);
			victim_check(pthread_join(t, &end) == 0 && end == &lock, "join");
		}
		take_over(&lock_pi, "PI");
		victim_progress();
	}
	return 0;
}
