/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks held and waited for: normal, recursive, error-checking, robust and PI mutexes (four of
 * these hold the owner's tid, PI ones in the kernel too), condition variables, rwlocks,
 * semaphores, a barrier, and a pthread_join that is pending all the time.
 */
#include "tests/victims/victim.h"

#include <semaphore.h>

enum kind { NORMAL, RECURSIVE, ERRORCHECK, ROBUST, PI, PI_ROBUST, KINDS };

struct guarded {
	pthread_mutex_t lock;
	enum kind kind;
	unsigned a, b; /* equal whenever the lock is free */
	pid_t owner;
};

static struct guarded guarded[KINDS];
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_filled = PTHREAD_COND_INITIALIZER, queue_taken;
static unsigned queue, produced, consumed;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static unsigned rw_a, rw_b;
static sem_t ping, pong;
static pthread_barrier_t barrier;
static volatile unsigned rounds[2];
static volatile bool ended;

static void init_mutex(struct guarded *g, enum kind kind)
{
	pthread_mutexattr_t a;

	g->kind = kind;
	pthread_mutexattr_init(&a);
	if (kind == RECURSIVE)
		pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	if (kind == ERRORCHECK || kind == PI)
		pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK);
	if (kind == ROBUST || kind == PI_ROBUST)
		pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	if (kind == PI || kind == PI_ROBUST)
		pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	victim_check(pthread_mutex_init(&g->lock, &a) == 0, "mutex %d", kind);
}

/* What only the owner may do, by the tid that is in the mutex. */
static void check_owner(struct guarded *g)
{
	int r;

	victim_check(g->owner == gettid(), "kind %d: two owners", g->kind);
	if (g->kind == RECURSIVE) {
		r = pthread_mutex_lock(&g->lock);
		victim_check(r == 0, "kind %d: recursive lock: %d", g->kind, r);
		r = pthread_mutex_unlock(&g->lock);
		victim_check(r == 0, "kind %d: recursive unlock: %d", g->kind, r);
	} else if (g->kind == ERRORCHECK || g->kind == PI) {
		r = pthread_mutex_lock(&g->lock);
		victim_check(r == EDEADLK, "kind %d: second lock: %d", g->kind, r);
	}
}

static void *use_mutex(void *arg)
{
	struct guarded *g = arg;
	uint32_t rnd = (uint32_t)gettid();

	while (!ended) {
		int r = pthread_mutex_lock(&g->lock);
		victim_check(r == 0, "kind %d: lock: %d", g->kind, r);
		victim_check(g->a == g->b, "kind %d: %u, %u", g->kind, g->a, g->b);
		g->owner = gettid();
		g->a++;
		check_owner(g);
		victim_nap(victim_random(&rnd) % 800);
		check_owner(g);
		g->b++;
		r = pthread_mutex_unlock(&g->lock);
		victim_check(r == 0, "kind %d: unlock: %d", g->kind, r);
		if (g->kind == ERRORCHECK) {
			r = pthread_mutex_unlock(&g->lock);
			victim_check(r == EPERM, "unlocked twice: %d", r);
		}
		victim_nap(victim_random(&rnd) % 200);
	}
	return arg;
}

static void *produce(void *arg)
{
	while (!ended) {
		pthread_mutex_lock(&queue_lock);
		while (queue > 3 && !ended)
			pthread_cond_wait(&queue_taken, &queue_lock);
		queue++;
		produced++;
		pthread_cond_signal(&queue_filled);
		pthread_mutex_unlock(&queue_lock);
	}
	return arg;
}

static void *consume(void *arg)
{
	while (!ended) {
		struct timespec ts;
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_sec += 100;
		pthread_mutex_lock(&queue_lock);
		while (queue == 0 && !ended) {
			int r = pthread_cond_timedwait(&queue_filled, &queue_lock, &ts);
			victim_check(r == 0, "cond_timedwait: %d", r);
		}
		if (queue > 0) {
			queue--;
			consumed++;
		}
		victim_check(
			produced == consumed + queue, "%u != %u + %u", produced, consumed, queue);
		pthread_cond_signal(&queue_taken);
		pthread_mutex_unlock(&queue_lock);
		victim_nap(100);
	}
	return arg;
}

static void *read_or_write(void *arg)
{
	bool writer = arg == NULL;

	while (!ended) {
		if (writer) {
			victim_check(pthread_rwlock_wrlock(&rw) == 0, "wrlock");
			rw_a++;
			victim_nap(300);
			rw_b++;
		} else {
			victim_check(pthread_rwlock_rdlock(&rw) == 0, "rdlock");
			victim_check(rw_a == rw_b, "read %u, %u", rw_a, rw_b);
			victim_nap(200);
		}
		victim_check(pthread_rwlock_unlock(&rw) == 0, "rwlock unlock");
		victim_nap(100);
	}
	return arg;
}

static void *play(void *arg)
{
	sem_t *mine = arg, *theirs = mine == &ping ? &pong : &ping;

	for (unsigned n = 0; !ended; n++) {
		victim_check(sem_wait(mine) == 0, "sem_wait");
		sem_post(theirs);
	}
	sem_post(theirs);
	return arg;
}

static void *meet(void *arg)
{
	volatile unsigned *mine = arg, *theirs = mine == &rounds[0] ? &rounds[1] : &rounds[0];

	/* Between the two barriers nobody counts. */
	for (;;) {
		bool last = ended && mine == &rounds[0];
		if (last)
			*mine = UINT32_MAX;
		else
			++*mine;
		int r = pthread_barrier_wait(&barrier);
		victim_check(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD, "barrier: %d", r);
		if (rounds[0] == UINT32_MAX)
			return arg;
		victim_check(*mine == *theirs, "rounds %u, %u", *mine, *theirs);
		pthread_barrier_wait(&barrier);
		victim_nap(50);
	}
}

int main(void)
{
	pthread_t t[3 * KINDS + 16];
	unsigned n = 0;

	victim_begin();
	for (enum kind k = NORMAL; k < KINDS; k++) {
		init_mutex(&guarded[k], k);
		for (unsigned i = 0; i < 3; i++)
			t[n++] = victim_thread(use_mutex, &guarded[k]);
	}
	pthread_cond_init(&queue_taken, NULL);
	sem_init(&ping, 0, 1);
	sem_init(&pong, 0, 0);
	pthread_barrier_init(&barrier, NULL, 2);
	t[n++] = victim_thread(produce, NULL);
	t[n++] = victim_thread(consume, NULL);
	t[n++] = victim_thread(consume, NULL);
	t[n++] = victim_thread(read_or_write, NULL);
	t[n++] = victim_thread(read_or_write, &rw);
	t[n++] = victim_thread(read_or_write, &rw);
	t[n++] = victim_thread(play, &ping);
	t[n++] = victim_thread(play, &pong);
	t[n++] = victim_thread(meet, (void *)&rounds[0]);
	t[n++] = victim_thread(meet, (void *)&rounds[1]);
	while (!victim_stopping()) {
		victim_nap(1000);
		victim_progress();
	}
	ended = true;
	pthread_mutex_lock(&queue_lock);
	pthread_cond_broadcast(&queue_filled);
	pthread_cond_broadcast(&queue_taken);
	pthread_mutex_unlock(&queue_lock);
	for (unsigned i = 0; i < n; i++)
		victim_check(pthread_join(t[i], NULL) == 0, "join");
	for (enum kind k = NORMAL; k < KINDS; k++)
		victim_check(guarded[k].a > 0 && guarded[k].a == guarded[k].b, "kind %d", k);
	return 0;
}
