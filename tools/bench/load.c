/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/load.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
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

#define PAGE 4096u
#define STACK (64u * 1024)
/* Generous: a crash with a machine full of others, orders that write gigabytes. */
#define PATIENCE (300 * NSEC_PER_SEC)

static struct load_shared *shared; /* of the load that runs: one at a time */
static uint8_t *memory;
static size_t memory_bytes;
static unsigned n_threads = 1;

void bench_die(const char *what, const char *why)
{
	fprintf(stderr, "bench: %s%s%s\n", what, why ? ": " : "", why ? why : "");
	exit(1);
}

/* --- the load ---------------------------------------------------------------------------- */

static void await(_Atomic uint32_t *word, uint32_t seen)
{
	while (atomic_load(word) == seen)
		syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void *waiter(void *arg)
{
	_Atomic uint64_t *stamp = &shared->stamp[(uintptr_t)arg];
	uint32_t seen = atomic_load(&shared->call);

	for (;;) {
		atomic_fetch_add(&shared->ready, 1);
		wake(&shared->ready);
		await(&shared->call, seen);
		atomic_store(stamp, now_nsec());
		seen = atomic_load(&shared->call);
	}
	return NULL;
}

static nsec_t have_threads(unsigned n)
{
	pthread_attr_t small;
	pthread_t t;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK);
	for (; n_threads < n; n_threads++)
		if (pthread_create(&t, &small, waiter, (void *)(uintptr_t)n_threads) != 0)
			_exit(3);
	pthread_attr_destroy(&small);
	return 0;
}

static nsec_t touch(size_t pages)
{
	nsec_t begun = now_nsec();

	for (size_t i = 0; i < pages && i * PAGE < memory_bytes; i++)
		memory[i * PAGE]++;
	return now_nsec() - begun;
}

/* With SIGCHLD ignored, so that no signal stops the load under its tracer: they reap themselves. */
static void await_child(pid_t pid)
{
	while (waitpid(pid, NULL, 0) == pid || errno != ECHILD)
		;
}

static nsec_t plain_fork(void)
{
	nsec_t begun = now_nsec(), took;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	took = now_nsec() - begun;
	if (pid < 0)
		_exit(5);
	await_child(pid);
	return took;
}

/* For LOAD_REMAKE: tasks without thread-local storage of their own, so without the C library. */
struct remade {
	uint8_t *stacks;
	unsigned n;
	_Atomic uint32_t born, never;
	_Atomic uint64_t last;
};

static int remade_thread(void *arg)
{
	struct remade *r = arg;

	if (atomic_fetch_add(&r->born, 1) + 1 == r->n)
		atomic_store(&r->last, now_nsec());
	for (;;)
		await(&r->never, 0);
	return 0;
}

static int remade_leader(void *arg)
{
	struct remade *r = arg;

	for (unsigned i = 1; i < r->n; i++)
		if (clone(remade_thread, r->stacks + (i + 1) * STACK,
			    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
				    CLONE_SYSVSEM,
			    r) < 0)
			_exit(6);
	return remade_thread(r);
}

/* A process of as many threads in this very memory, made, killed and reaped by the plain calls. */
static nsec_t remake(void)
{
	struct remade r = {.n = n_threads};
	nsec_t begun, made, killed;
	pid_t pid;

	r.stacks = mmap(NULL, (size_t)r.n * STACK, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r.stacks == MAP_FAILED)
		_exit(7);
	for (unsigned i = 1; i <= r.n; i++)
		r.stacks[i * STACK - 1] = 0;
	begun = now_nsec();
	pid = clone(
		remade_leader, r.stacks + STACK, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, &r);
	if (pid < 0)
		_exit(8);
	while (atomic_load(&r.last) == 0)
		sched_yield();
	made = atomic_load(&r.last) - begun;
	begun = now_nsec();
	kill(pid, SIGKILL);
	await_child(pid);
	killed = now_nsec() - begun;
	munmap(r.stacks, (size_t)r.n * STACK);
	return made + killed;
}

static void crash(void)
{
	/* The twin finds this order where the crash was; it is the twin that will have done it. */
	shared->what = LOAD_STAMP;
	atomic_fetch_add(&shared->call, 1);
	shared->fault = now_nsec();
	*shared->nowhere = 0;
}

static nsec_t obey(enum load_order what, uint64_t arg)
{
	switch (what) {
	case LOAD_STAMP:
		return 0;
	case LOAD_THREADS:
		return have_threads((unsigned)arg);
	case LOAD_TOUCH:
		return touch(arg);
	case LOAD_FORK:
		return plain_fork();
	case LOAD_REMAKE:
		return remake();
	case LOAD_CRASH:
		crash();
	}
	return 0;
}

static void run_load(void)
{
	uint32_t seen = 0;

	memory = mmap(
		NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		_exit(2);
	/* A page table entry for each 4 KiB is the dear case, and that of a heap that has lived. */
	madvise(memory, memory_bytes, MADV_NOHUGEPAGE);
	memset(memory, 1, memory_bytes);
	for (;;) {
		await(&shared->order, seen);
		atomic_store(&shared->stamp[0], now_nsec());
		seen = atomic_load(&shared->order);
		shared->result = obey(shared->what, shared->arg);
		atomic_store(&shared->done, seen);
		wake(&shared->done);
	}
}

/* --- the bench ------------------------------------------------------------------------------- */

/* Sleep as the keeper does, until a child has news. */
static void await_news(void)
{
	struct timespec limit = {0, 100000000};
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	(void)sigtimedwait(&chld, NULL, &limit);
}

static void handle_events(struct twin_engine *e, const char *during)
{
	struct twin_event ev;

	while ((ev = twin_next_event(e)).type != TWIN_EVENT_NONE) {
		if (ev.type != TWIN_EVENT_FATAL && ev.type != TWIN_EVENT_EXITED)
			continue;
		fprintf(stderr, "bench: event %d, signal %d, status %x, address %lx, ip %lx\n",
			ev.type, ev.signal, (unsigned)ev.status, (unsigned long)ev.fault_address,
			(unsigned long)ev.instruction);
		bench_die("the load ended by itself", during);
	}
}

static void await_load(struct load *l, _Atomic uint32_t *word, uint32_t wanted, const char *what)
{
	nsec_t end = now_nsec() + PATIENCE;

	for (;;) {
		/* Seldom: a bench that looks all the time takes the CPU from what it measures. */
		struct timespec limit = {0, 2000000};
		uint32_t seen;

		handle_events(l->engine, what);
		seen = atomic_load(word);
		if (seen == wanted)
			return;
		if (now_nsec() > end)
			bench_die("the load is not heard of", what);
		syscall(SYS_futex, word, FUTEX_WAIT, seen, &limit, NULL, 0);
	}
}

static void give(struct load *l, enum load_order what, uint64_t arg)
{
	struct load_shared *s = l->shared;

	s->what = what;
	s->arg = arg;
	atomic_fetch_add(&s->order, 1);
	wake(&s->order);
}

nsec_t load_do(struct load *l, enum load_order what, uint64_t arg)
{
	give(l, what, arg);
	await_load(l, &l->shared->done, atomic_load(&l->shared->order), "an order");
	return l->shared->result;
}

void load_pause(struct load *l, nsec_t time)
{
	const struct timespec step = {0, 1000000};

	for (nsec_t end = now_nsec() + time; now_nsec() < end;) {
		(void)nanosleep(&step, NULL);
		handle_events(l->engine, "a pause");
	}
}

void load_threads(struct load *l, unsigned n)
{
	load_do(l, LOAD_THREADS, n);
	l->threads = n;
	load_settle(l);
}

void load_settle(struct load *l)
{
	/* The main thread has obeyed its last order, and the others have said that they wait. */
	await_load(l, &l->shared->done, atomic_load(&l->shared->order), "an order");
	await_load(l, &l->shared->ready, l->threads - 1, "its threads");
}

void load_crash(struct load *l)
{
	for (unsigned i = 0; i < l->threads; i++)
		atomic_store(&l->shared->stamp[i], 0);
	atomic_store(&l->shared->ready, 0);
	give(l, LOAD_CRASH, 0);
	bench_wait(l->engine, TWIN_EVENT_FATAL);
}

void load_kill(struct load *l)
{
	struct load_shared *s = l->shared;

	atomic_store(&s->ready, 0);
	s->what = LOAD_STAMP;
	/* Nobody is woken by this, but whoever waits anew does not wait. */
	atomic_fetch_add(&s->order, 1);
	atomic_fetch_add(&s->call, 1);
	for (unsigned i = 0; i < l->threads; i++)
		atomic_store(&s->stamp[i], 0);
	s->fault = now_nsec();
	twin_kill(l->engine, SIGKILL);
	bench_wait(l->engine, TWIN_EVENT_EXITED);
}

void load_stamps(struct load *l, nsec_t *ret_first, nsec_t *ret_last)
{
	nsec_t first = UINT64_MAX, last = 0;

	load_settle(l);
	for (unsigned i = 0; i < l->threads; i++) {
		nsec_t at = atomic_load(&l->shared->stamp[i]);
		first = MIN2(first, at);
		last = MAX2(last, at);
	}
	*ret_first = first - l->shared->fault;
	*ret_last = last - l->shared->fault;
}

void load_start(struct load *l, const struct twin_config *config, size_t bytes)
{
	int gate[2], r;
	pid_t pid;
	char c = 0;

	memset(l, 0, sizeof(*l));
	r = twin_engine_new(config, &l->engine);
	if (r < 0)
		bench_die("no engine", strerror(-r));
	shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || pipe(gate) < 0)
		bench_die("no memory", NULL);
	memory_bytes = bytes;
	pid = fork();
	if (pid == 0) {
		struct sched_param other = {0};
		sigset_t none;

		close(gate[1]);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGCHLD, SIG_IGN);
		sched_setscheduler(0, SCHED_OTHER, &other);
		/* The engine lets the active outlive its tracer; a bench that is broken off shall
		 * not. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(gate[0], &c, 1) != 1)
			_exit(4);
		run_load();
	}
	close(gate[0]);
	if (pid < 0 || twin_attach_running(l->engine, pid) < 0)
		bench_die("cannot trace the load", twin_reason(l->engine));
	if (write(gate[1], &c, 1) != 1)
		bench_die("the load ended", NULL);
	close(gate[1]);
	l->shared = shared;
	l->bytes = bytes;
	l->threads = 1;
	load_do(l, LOAD_STAMP, 0);
}

void load_stop(struct load *l)
{
	twin_kill(l->engine, SIGKILL);
	bench_wait(l->engine, TWIN_EVENT_EXITED);
	twin_forget(l->engine);
	twin_engine_free(l->engine);
	munmap(l->shared, sizeof(*l->shared));
}

struct twin_event bench_wait(struct twin_engine *e, enum twin_event_type type)
{
	nsec_t end = now_nsec() + PATIENCE;

	while (now_nsec() < end) {
		struct twin_event ev = twin_next_event(e);

		if (ev.type == type)
			return ev;
		if (ev.type == TWIN_EVENT_NONE)
			await_news();
		else if (ev.type == TWIN_EVENT_EXITED || ev.type == TWIN_EVENT_FATAL)
			bench_die("the load ended in another way than it was told to", NULL);
	}
	bench_die("the end of the load is not seen", NULL);
}

void bench_prepare(void)
{
	struct sched_param fifo = {.sched_priority = 10};
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	if (sched_setscheduler(0, SCHED_FIFO, &fifo) < 0)
		fprintf(stderr, "bench: no SCHED_FIFO here: %s\n", strerror(errno));
}

void bench_add(struct bench_stats *s, nsec_t t)
{
	double *p = realloc(s->items, (s->n + 1) * sizeof(*p));

	if (!p)
		bench_die("no memory", NULL);
	s->items = p;
	s->items[s->n++] = (double)t / NSEC_PER_USEC;
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
