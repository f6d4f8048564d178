/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Time as twinit counts it: usec_t and nsec_t, always of CLOCK_MONOTONIC unless a name says
 * "realtime". USEC_INFINITY is "never" and is UINT64_MAX on the bus too, as systemd has it.
 */
#include <stdint.h>
#include <time.h>

typedef uint64_t usec_t;
typedef uint64_t nsec_t;
#define USEC_INFINITY UINT64_MAX
#define USEC_PER_SEC 1000000ULL
#define USEC_PER_MSEC 1000ULL
#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_USEC 1000ULL

static inline nsec_t now_nsec(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + (nsec_t)ts.tv_nsec;
}
static inline usec_t now_usec(void)
{
	return now_nsec() / NSEC_PER_USEC;
}
static inline usec_t now_realtime_usec(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / NSEC_PER_USEC;
}
