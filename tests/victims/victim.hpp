/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* victim.h for C++, where C's atomic types do not exist: the same memory, the same orders. */
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <sys/mman.h>
#include <unistd.h>

constexpr int VICTIM_FAILED = 99, VICTIM_EXIT_STATUS = 3;

enum victim_order { RUN, ABORT, SEGV, EXIT, EXIT_BY_THREAD };

struct victim_shared {
	std::atomic<uint64_t> progress, counter;
	std::atomic<int> failed, stop, command;
	std::atomic<unsigned> swaps;
	char message[512];
};
static_assert(sizeof(victim_shared) == 544, "as in victim.h");

extern victim_shared *victim;

static inline void victim_begin()
{
	const char *fd = getenv("VICTIM_FD");
	void *p = mmap(nullptr, sizeof(victim_shared), PROT_READ | PROT_WRITE,
		fd ? MAP_SHARED : MAP_SHARED | MAP_ANONYMOUS, fd ? atoi(fd) : -1, 0);

	if (p == MAP_FAILED)
		_exit(VICTIM_FAILED);
	victim = static_cast<victim_shared *>(p);
}

static inline bool victim_is_swapped()
{
	return getenv("VICTIM_SWAPPED") != nullptr;
}

__attribute__((format(printf, 4, 5), noreturn)) static inline void victim_fail(
	const char *cond, const char *file, int line, const char *fmt, ...)
{
	int error = errno, nobody = 0, n;
	va_list ap;

	/* The first one tells; the others wait for the end that it makes. */
	if (!victim->failed.compare_exchange_strong(nobody, 1))
		for (;;)
			pause();
	n = snprintf(victim->message, sizeof(victim->message), "%s:%d: %s: ", file, line, cond);
	va_start(ap, fmt);
	n += vsnprintf(victim->message + n, sizeof(victim->message) - (size_t)n, fmt, ap);
	va_end(ap);
	snprintf(victim->message + n, sizeof(victim->message) - (size_t)n, " (errno: %s)",
		strerror(error));
	if (!getenv("VICTIM_FD"))
		fprintf(stderr, "%s\n", victim->message);
	_exit(VICTIM_FAILED);
}
#define victim_check(cond, ...)                                                                    \
	do {                                                                                       \
		if (!(cond))                                                                       \
			victim_fail(#cond, __FILE__, __LINE__, __VA_ARGS__);                       \
	} while (0)

/* A nap is never cut short: nobody sends this thread a signal with a handler. */
static inline void victim_nap(long usec)
{
	struct timespec ts = {usec / 1000000, usec % 1000000 * 1000};
	int r = nanosleep(&ts, nullptr);
	victim_check(r == 0, "nanosleep");
}
