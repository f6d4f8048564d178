/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sixteen threads that wait in different ways: each keeps its tid, pthread_self(), TLS, name,
 * affinity, nice value and scheduling policy.
 */
#include "tests/victims/victim.h"

#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>

#define THREADS 15

static _Thread_local uint64_t in_tls[32];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static cpu_set_t allowed;

struct identity {
	unsigned nr;
	pid_t tid;
	pthread_t self;
	char name[16];
	int nice, policy;
	cpu_set_t affinity;
};

static void take_identity(struct identity *me)
{
	struct sched_param param = {0};
	unsigned cpus = (unsigned)CPU_COUNT(&allowed), want = me->nr % cpus;

	me->tid = gettid();
	me->self = pthread_self();
	snprintf(me->name, sizeof(me->name), "victim-%u", me->nr);
	pthread_setname_np(me->self, me->name);
	me->nice = (int)(me->nr % 5);
	victim_check(setpriority(PRIO_PROCESS, (id_t)me->tid, me->nice) == 0, "nice");
	me->policy = me->nr % 3 == 2 ? SCHED_BATCH : SCHED_OTHER;
	victim_check(sched_setscheduler(0, me->policy, &param) == 0, "policy");
	me->affinity = allowed;
	for (int cpu = 0; me->nr % 2 && cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && want-- == 0) {
			CPU_ZERO(&me->affinity);
			CPU_SET(cpu, &me->affinity);
			break;
		}
	victim_check(sched_setaffinity(0, sizeof(me->affinity), &me->affinity) == 0, "affinity");
	for (unsigned i = 0; i < 32; i++)
		in_tls[i] = me->nr * 1000 + i;
}

static void check_identity(const struct identity *me)
{
	cpu_set_t affinity;
	char name[16];

	victim_check(gettid() == me->tid, "%u: tid %d, not %d", me->nr, gettid(), me->tid);
	victim_check(pthread_equal(pthread_self(), me->self), "%u: pthread_self()", me->nr);
	victim_check(pthread_getname_np(me->self, name, sizeof(name)) == 0, "name");
	victim_check(strcmp(name, me->name) == 0, "%u: name %s", me->nr, name);
	int nice = getpriority(PRIO_PROCESS, (id_t)me->tid);
	victim_check(nice == me->nice, "%u: nice %d, not %d", me->nr, nice, me->nice);
	int policy = sched_getscheduler(0);
	victim_check(policy == me->policy, "%u: policy %d", me->nr, policy);
	victim_check(sched_getaffinity(0, sizeof(affinity), &affinity) == 0, "affinity");
	victim_check(CPU_EQUAL(&affinity, &me->affinity), "%u: affinity", me->nr);
	for (unsigned i = 0; i < 32; i++)
		victim_check(in_tls[i] == me->nr * 1000 + i, "%u: TLS", me->nr);
}

static void wait_some_way(unsigned nr)
{
	static uint32_t futex_word;
	struct timespec ts;
	int r;

	switch (nr % 5) {
	case 0:
		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += 2000000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		pthread_mutex_lock(&lock);
		r = pthread_cond_timedwait(&cond, &lock, &ts);
		pthread_mutex_unlock(&lock);
		victim_check(r == 0 || r == ETIMEDOUT, "cond_timedwait: %d", r);
		break;
	case 1:
		ts = (struct timespec){0, 1700000};
		r = (int)syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0);
		victim_check(r < 0 && errno == ETIMEDOUT, "futex wait");
		break;
	case 2:
		r = poll(NULL, 0, 2);
		victim_check(r == 0, "poll");
		break;
	case 3:
		victim_nap(1300);
		break;
	case 4:
		for (volatile unsigned i = 0; i < 20000;)
			i++;
		sched_yield();
		break;
	}
}

static void *run(void *arg)
{
	struct identity me = {.nr = (unsigned)(uintptr_t)arg};

	take_identity(&me);
	while (!atomic_load(&victim->stop)) {
		check_identity(&me);
		wait_some_way(me.nr);
	}
	check_identity(&me);
	return arg;
}

int main(void)
{
	pthread_t t[THREADS];
	void *end;

	victim_begin();
	victim_check(sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "affinity");
	for (uintptr_t i = 0; i < THREADS; i++)
		t[i] = victim_thread(run, (void *)(i + 1));
	while (!victim_stopping()) {
		victim_nap(1000);
		pthread_cond_broadcast(&cond);
		victim_progress();
	}
	for (uintptr_t i = 0; i < THREADS; i++)
		victim_check(pthread_join(t[i], &end) == 0 && end == (void *)(i + 1), "join");
	return 0;
}
