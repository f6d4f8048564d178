/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What all victims share: small programs that know nothing of twinit, each of which pins down
 * one behaviour of the kernel (set up, wait, check) while somebody freezes and replaces it.
 *
 * Victim and driver talk through shared memory, because a swap does not roll it back: VICTIM_FD
 * in the environment is a memfd that holds struct victim_shared. VICTIM_SWAPPED is set where
 * swaps will come, for what only holds without them. VICTIM_DIR is a folder for files.
 * Run by hand, without VICTIM_FD, a victim goes on until it is interrupted.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define VICTIM_FAILED 99 /* exit status */
#define VICTIM_EXIT_STATUS 3

/* What the driver may ask of a victim; obeyed in victim_stopping(), once. */
enum victim_command {
	VICTIM_RUN,
	VICTIM_ABORT,
	VICTIM_SEGV,
	VICTIM_EXIT, /* with VICTIM_EXIT_STATUS */
	VICTIM_EXIT_BY_THREAD,
	VICTIM_EXEC, /* only execs_itself knows it */
};

struct victim_shared {
	_Atomic uint64_t progress;
	_Atomic uint64_t counter; /* a copy of one in the victim's own memory */
	_Atomic int failed, stop, command;
	_Atomic unsigned swaps; /* counted by the driver, before each */
	char message[512];
};

static struct victim_shared *victim;

static inline void victim_begin(void)
{
	const char *fd = getenv("VICTIM_FD");
	void *p = mmap(NULL, sizeof(*victim), PROT_READ | PROT_WRITE,
		fd ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS, fd ? atoi(fd) : -1, 0);

	if (p == MAP_FAILED)
		_exit(VICTIM_FAILED);
	victim = p;
}

static inline bool victim_is_swapped(void)
{
	return getenv("VICTIM_SWAPPED") != NULL;
}

static inline void victim_progress(void)
{
	atomic_fetch_add(&victim->progress, 1);
}

__attribute__((format(printf, 4, 5), noreturn)) static inline void victim_fail(
	const char *cond, const char *file, int line, const char *fmt, ...)
{
	int error = errno, nobody = 0;
	va_list ap;

	/* The first one tells; the others wait for the end that it makes. */
	if (!atomic_compare_exchange_strong(&victim->failed, &nobody, 1))
		for (;;)
			pause();
	int n = snprintf(victim->message, sizeof(victim->message), "%s:%d: %s: ", file, line, cond);
	va_start(ap, fmt);
	n += vsnprintf(victim->message + n, sizeof(victim->message) - (size_t)n, fmt, ap);
	va_end(ap);
	snprintf(victim->message + n, sizeof(victim->message) - (size_t)n, " (errno: %s)",
		strerror(error));
	_exit(VICTIM_FAILED);
}
#define victim_check(cond, ...)                                                                    \
	do {                                                                                       \
		if (!(cond))                                                                       \
			victim_fail(#cond, __FILE__, __LINE__, __VA_ARGS__);                       \
	} while (0)

static inline pthread_t victim_thread(void *(*run)(void *), void *arg)
{
	pthread_t t;
	int r = pthread_create(&t, NULL, run, arg);

	errno = r;
	victim_check(r == 0, "no thread");
	return t;
}

static inline void *victim_exit_thread(void *arg)
{
	_exit(VICTIM_EXIT_STATUS);
	return arg;
}

/* The command, taken: after a swap the twin does not find it again. */
static inline enum victim_command victim_command(void)
{
	return (enum victim_command)atomic_exchange(&victim->command, VICTIM_RUN);
}

static inline void victim_obey(enum victim_command c)
{
	static int *volatile nowhere = (int *)16;

	switch (c) {
	case VICTIM_ABORT:
		abort();
	case VICTIM_SEGV:
		*nowhere = 1;
		break;
	case VICTIM_EXIT:
		_exit(VICTIM_EXIT_STATUS);
	case VICTIM_EXIT_BY_THREAD:
		victim_thread(victim_exit_thread, NULL);
		for (;;)
			pause();
	default:
		break;
	}
}

static inline bool victim_stopping(void)
{
	if (atomic_load(&victim->command))
		victim_obey(victim_command());
	return atomic_load(&victim->stop);
}

static inline int64_t victim_now_usec(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* A nap is never cut short: nobody sends this thread a signal with a handler. */
static inline void victim_nap(long usec)
{
	struct timespec ts = {usec / 1000000, usec % 1000000 * 1000};
	int r = nanosleep(&ts, NULL);
	victim_check(r == 0, "nanosleep");
}

/* Cheap, different in each thread, and part of the memory that a swap rolls back. */
static inline uint32_t victim_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}
