/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals of its own, with handlers, at a high rate: queued real-time signals to threads that
 * compute, sleep, and read with SA_RESTART, and a timer. Without swaps none is lost, none comes
 * twice, and each value arrives in order; with swaps what was pending is gone, but handlers go
 * on to run. A read with SA_RESTART never says EINTR.
 */
#include "tests/victims/victim.h"

#include <sched.h>
#include <signal.h>

enum way { COMPUTES, SLEEPS, READS, WAYS };

struct receiver {
	enum way way;
	pthread_t thread;
	_Atomic int received; /* the last value */
	int sent;
	int pipe[2];
};

static struct receiver receivers[WAYS];
static _Thread_local struct receiver *volatile me;
static _Atomic uint64_t ticks;
static _Atomic unsigned ready;

static void on_value(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (victim_is_swapped())
		atomic_store(&me->received, info->si_value.sival_int);
	else
		victim_check(atomic_fetch_add(&me->received, 1) + 1 == info->si_value.sival_int,
			"way %d: value %d after %d", me->way, info->si_value.sival_int,
			atomic_load(&me->received) - 1);
}

static void on_tick(int sig)
{
	(void)sig;
	atomic_fetch_add(&ticks, 1);
}

static void *receive(void *arg)
{
	struct receiver *r = arg;
	double x = 1;
	char c;

	me = r;
	atomic_fetch_add(&ready, 1);
	for (;;) { /* until the process ends: signals may be under way to it */
		struct timespec ts = {0, 3000000};
		int error;

		switch (r->way) {
		case COMPUTES:
			for (unsigned i = 1; i < 20000; i++)
				x += 1.0 / i - 1.0 / i;
			victim_check(x > 0.99 && x < 1.01, "floating point: %f", x);
			break;
		case SLEEPS:
			error = nanosleep(&ts, &ts);
			victim_check(error == 0 || errno == EINTR, "nanosleep");
			break;
		case READS:
			error = (int)read(r->pipe[0], &c, 1);
			victim_check(error == 1, "read said %d", error);
			break;
		default:
			break;
		}
	}
	return NULL;
}

static void send_some(struct receiver *r)
{
	int64_t until = victim_now_usec() + 5000000;

	for (unsigned i = 0; i < 5; i++) {
		union sigval v = {.sival_int = ++r->sent};
		int error = pthread_sigqueue(r->thread, SIGRTMIN + 2, v);
		victim_check(error == 0, "sigqueue: %d", error);
	}
	while (atomic_load(&r->received) != r->sent) {
		victim_check(victim_now_usec() < until || victim_is_swapped(),
			"way %d: only %d of %d signals came", r->way, atomic_load(&r->received),
			r->sent);
		if (victim_is_swapped() && victim_now_usec() > until - 4980000)
			break;
		sched_yield();
	}
}

static void start_timer(void)
{
	struct sigevent sev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	struct itimerspec its = {{0, 2000000}, {0, 2000000}};
	timer_t timer;

	victim_check(timer_create(CLOCK_MONOTONIC, &sev, &timer) == 0, "timer_create");
	victim_check(timer_settime(timer, 0, &its, NULL) == 0, "timer_settime");
}

static void catch_signals(void)
{
	struct sigaction value = {.sa_sigaction = on_value, .sa_flags = SA_SIGINFO | SA_RESTART},
			 tick = {.sa_handler = on_tick, .sa_flags = SA_RESTART};

	sigaction(SIGRTMIN + 2, &value, NULL);
	sigaction(SIGALRM, &tick, NULL);
}

int main(void)
{
	int64_t begun;
	uint64_t expected;

	victim_begin();
	catch_signals();
	for (enum way w = COMPUTES; w < WAYS; w++) {
		struct receiver *r = &receivers[w];
		r->way = w;
		victim_check(pipe(r->pipe) == 0, "pipe");
		r->thread = victim_thread(receive, r);
	}
	while (atomic_load(&ready) < WAYS - COMPUTES) /* until each has said who it is */
		victim_nap(200);
	begun = victim_now_usec();
	if (!victim_is_swapped())
		start_timer();
	while (!victim_stopping()) {
		for (enum way w = COMPUTES; w < WAYS; w++)
			send_some(&receivers[w]);
		victim_check(write(receivers[READS].pipe[1], "x", 1) == 1, "write");
		victim_progress();
	}
	expected = (uint64_t)(victim_now_usec() - begun) / 2000;
	if (!victim_is_swapped())
		victim_check(atomic_load(&ticks) > expected / 4, "%lu ticks in %lu periods",
			(unsigned long)atomic_load(&ticks), (unsigned long)expected);
	return 0;
}
