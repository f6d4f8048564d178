/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A process to measure on, guarded by an engine in the bench's own process: memory of a given
 * size, threads that all wait in a futex call, and a main thread that carries out orders.
 *
 * Orders and stamps go through shared memory, which a swap does not roll back. What a thread has
 * seen of them lies in its private memory, which a swap does: so a thread of the twin finds that
 * the word it waits for has changed, its call returns at once, and its next instruction takes the
 * time. The threads of the dead slept on, for nobody woke them.
 *
 * Everything here ends the bench with a message where it fails.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "supervisor/twin/twin.h"

#define LOAD_THREADS_MAX 64u

enum load_order {
	LOAD_STAMP,   /* nothing but the main thread's time stamp */
	LOAD_THREADS, /* have as many threads, the main one included */
	LOAD_TOUCH,   /* write to the first arg pages */
	LOAD_FORK,    /* a plain fork(): result is how long it blocked the caller */
	LOAD_REMAKE,  /* result: what to kill, reap and make the threads costs without an engine */
	LOAD_CRASH,   /* a null pointer; fault is when */
};

struct load_shared {
	_Atomic uint32_t order, done; /* numbers of the order given, and of the last one obeyed */
	_Atomic uint32_t call;        /* what the other threads wait for */
	_Atomic uint32_t ready;       /* threads that wait */
	enum load_order what;
	uint64_t arg;
	nsec_t result, fault;
	volatile int *nowhere;                    /* NULL */
	_Atomic uint64_t stamp[LOAD_THREADS_MAX]; /* nsec_t; the main thread's is the first */
};

struct load {
	struct twin_engine *engine;
	struct load_shared *shared;
	size_t bytes;
	unsigned threads;
};

/* A process of one thread with this much memory written to, in pages of 4 KiB. */
void load_start(struct load *l, const struct twin_config *config, size_t bytes);
void load_stop(struct load *l);
/* Carry out an order; its result. */
nsec_t load_do(struct load *l, enum load_order what, uint64_t arg);
/* Time passes. */
void load_pause(struct load *l, nsec_t time);
void load_threads(struct load *l, unsigned n);
/* Order the crash: returns at its TWIN_EVENT_FATAL. From here on each thread's first instruction
 * is stamped. */
void load_crash(struct load *l);
/* The same by SIGKILL from outside: returns at TWIN_EVENT_EXITED. */
void load_kill(struct load *l);
/* After a swap: the first and the last stamp, as time since the fault. */
void load_stamps(struct load *l, nsec_t *ret_first, nsec_t *ret_last);
/* Until all threads wait again. */
void load_settle(struct load *l);

/* Handle events until one of this type comes. */
struct twin_event bench_wait(struct twin_engine *e, enum twin_event_type type);
/* Scheduled as the keeper is; says so where it is not permitted. To be called first. */
void bench_prepare(void);
void bench_die(const char *what, const char *why) __attribute__((noreturn));

struct bench_stats {
	double *items; /* microseconds */
	size_t n;
};
void bench_add(struct bench_stats *s, nsec_t t);
double bench_quantile(struct bench_stats *s, double q); /* sorts */
void bench_clear(struct bench_stats *s);
