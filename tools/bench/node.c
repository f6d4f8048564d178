/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node that bench overhead measures: it works in ticks of 1 ms, or without a pause, writes to
 * so many of its pages a second, and tells in a shared file how far it is. A plain program that
 * knows nothing of twinit:  node FILE MB THREADS PAGES_A_SECOND
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define TICK 1000000ULL
/* A fifth of a core or so: as a node at work, and with room for more. */
#define UNITS_A_TICK 20u
#define LATE_MAX 65536u

/* As overhead.py reads it. */
struct told {
	_Atomic uint64_t mode;           /* set from outside: 0 in ticks, 1 without a pause */
	_Atomic uint64_t sequence;       /* odd: is being written */
	uint64_t now, cpu, units, pages; /* nsec, nsec, all since the start */
	_Atomic uint64_t n_late;         /* ticks */
	_Atomic uint32_t late[LATE_MAX]; /* microseconds of the last ticks, in a ring */
};

static uint64_t clock_of(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static void *waiter(void *arg)
{
	struct timespec second = {1, 0};
	for (;;)
		nanosleep(&second, NULL);
	return arg;
}

/* Some microseconds of work in registers and cache; the result is used so that it is done. */
static uint64_t work(uint64_t x)
{
	for (unsigned i = 0; i < 6000; i++)
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
	return x;
}

static void tell(struct told *t, uint64_t units, uint64_t pages)
{
	atomic_fetch_add(&t->sequence, 1);
	t->now = clock_of(CLOCK_MONOTONIC);
	t->cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);
	t->units = units;
	t->pages = pages;
	atomic_fetch_add(&t->sequence, 1);
}

static void sleep_until(uint64_t at)
{
	struct timespec ts = {(time_t)(at / 1000000000ULL), (long)(at % 1000000000ULL)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static void run(struct told *t, uint8_t *memory, size_t n_pages, uint64_t rate)
{
	uint64_t begun = clock_of(CLOCK_MONOTONIC), next = begun, units = 0, pages = 0, x = 1;

	for (;;) {
		uint64_t now = clock_of(CLOCK_MONOTONIC);

		if (atomic_load(&t->mode) == 0) {
			next = next + TICK > now ? next + TICK : now + TICK;
			sleep_until(next);
			now = clock_of(CLOCK_MONOTONIC);
			atomic_store(&t->late[atomic_fetch_add(&t->n_late, 1) % LATE_MAX],
				(uint32_t)((now - next) / 1000));
		}
		for (unsigned i = 0; i < UNITS_A_TICK; i++)
			x = work(x);
		units += UNITS_A_TICK;
		for (; pages < (now - begun) / 1000 * rate / 1000000; pages++)
			memory[pages % n_pages * PAGE] = (uint8_t)x;
		tell(t, units, pages);
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;
	struct told *t;
	uint8_t *memory;
	size_t bytes;
	int fd;

	if (argc != 5)
		return 2;
	fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	bytes = (size_t)strtoul(argv[2], NULL, 10) << 20;
	if (fd < 0 || ftruncate(fd, sizeof(*t)) < 0)
		return 3;
	t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t == MAP_FAILED || memory == MAP_FAILED)
		return 4;
	madvise(memory, bytes, MADV_NOHUGEPAGE);
	memset(memory, 1, bytes);
	for (long i = strtol(argv[3], NULL, 10); i > 1; i--)
		if (pthread_create(&thread, NULL, waiter, NULL) != 0)
			return 5;
	run(t, memory, bytes / PAGE, strtoul(argv[4], NULL, 10));
	return 0;
}
