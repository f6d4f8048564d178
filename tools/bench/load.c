/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/load.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bench_shared *shared;

static void die(const char *what)
{
	fprintf(stderr, "bench: %s\n", what);
	exit(1);
}

static void *waiter(void *arg)
{
	for (;;)
		poll(NULL, 0, 1000);
	return arg;
}

static void run_load(const struct bench_load *load)
{
	uint8_t *memory =
		mmap(NULL, load->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t t;

	if (memory == MAP_FAILED)
		_exit(2);
	memset(memory, 1, load->bytes);
	for (unsigned i = 1; i < load->threads; i++)
		if (pthread_create(&t, NULL, waiter, NULL) != 0)
			_exit(3);
	for (size_t at = 0;; at = (at + 4096) % load->bytes) {
		struct timespec pause = {0, (long)load->beat_usec * 1000};
		nsec_t now = now_nsec(), last = atomic_exchange(&shared->last_beat, now);
		memory[at]++;
		if (last && now - last > atomic_load(&shared->longest))
			atomic_store(&shared->longest, now - last);
		atomic_fetch_add(&shared->beats, 1);
		nanosleep(&pause, NULL);
	}
}

struct bench_shared *bench_start(struct twin_engine *e, const struct bench_load *load)
{
	int gate[2];
	pid_t pid;
	char c = 0;

	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || pipe(gate) < 0)
		die("no memory");
	memset((void *)shared, 0, sizeof(*shared));
	pid = fork();
	if (pid == 0) {
		struct sched_param other = {0};
		close(gate[1]);
		sched_setscheduler(0, SCHED_OTHER, &other);
		/* The engine lets the active outlive its tracer; a bench that is broken off shall
		 * not. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(gate[0], &c, 1) != 1)
			_exit(4);
		run_load(load);
	}
	close(gate[0]);
	if (pid < 0 || twin_attach_running(e, pid) < 0)
		die(twin_reason(e));
	if (write(gate[1], &c, 1) != 1)
		die("the load ended");
	close(gate[1]);
	bench_wait_beats(e, shared, 3);
	return shared;
}

void bench_stop(struct twin_engine *e)
{
	twin_kill(e, SIGKILL);
	bench_wait(e, TWIN_EVENT_EXITED);
	twin_forget(e);
}

struct twin_event bench_wait(struct twin_engine *e, enum twin_event_type type)
{
	nsec_t end = now_nsec() + 5 * NSEC_PER_SEC;

	while (now_nsec() < end) {
		struct twin_event ev = twin_next_event(e);
		if (ev.type == type)
			return ev;
		if (ev.type == TWIN_EVENT_NONE)
			sched_yield();
		else if (ev.type == TWIN_EVENT_EXITED || ev.type == TWIN_EVENT_FATAL) {
			fprintf(stderr, "bench: event %d, signal %d, status %x\n", ev.type,
				ev.signal, (unsigned)ev.status);
			die("the load ended by itself");
		}
	}
	die("no such event within 5 s");
	return (struct twin_event){.type = TWIN_EVENT_NONE};
}

void bench_wait_beats(struct twin_engine *e, struct bench_shared *s, uint64_t n)
{
	uint64_t until = atomic_load(&s->beats) + n;
	nsec_t end = now_nsec() + 5 * NSEC_PER_SEC;

	while (atomic_load(&s->beats) < until) {
		struct twin_event ev = twin_next_event(e);
		struct timespec ms = {0, 200000};
		if (ev.type == TWIN_EVENT_FATAL || ev.type == TWIN_EVENT_EXITED) {
			fprintf(stderr,
				"bench: event %d signal %d status %x tid %d addr %lx ip %lx\n",
				ev.type, ev.signal, (unsigned)ev.status, ev.tid,
				(unsigned long)ev.fault_address, (unsigned long)ev.instruction);
			die("the load failed");
		}
		if (now_nsec() > end)
			die("the load does not beat");
		nanosleep(&ms, NULL);
	}
}

void bench_add(struct bench_stats *s, double usec)
{
	double *p = realloc(s->items, (s->n + 1) * sizeof(*p));
	if (!p)
		die("no memory");
	s->items = p;
	s->items[s->n++] = usec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double bench_quantile(struct bench_stats *s, double q)
{
	if (s->n == 0)
		return 0;
	qsort(s->items, s->n, sizeof(*s->items), compare);
	return s->items[MIN2((size_t)(q * (double)s->n), s->n - 1)];
}

void bench_clear(struct bench_stats *s)
{
	free(s->items);
	memset(s, 0, sizeof(*s));
}

void bench_realtime(void)
{
	struct sched_param fifo = {.sched_priority = 10};
	if (sched_setscheduler(0, SCHED_FIFO, &fifo) < 0)
		fprintf(stderr, "bench: no SCHED_FIFO here: %s\n", strerror(errno));
}
