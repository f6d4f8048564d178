/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A process to measure on: some memory, some threads that wait in poll, and one that writes to
 * a part of the memory and beats a counter in shared memory, which a swap does not roll back.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "supervisor/twin/twin.h"

struct bench_load {
	size_t bytes;       /* touched before it starts beating */
	unsigned threads;   /* the main one included */
	unsigned beat_usec; /* pause between beats */
};
struct bench_shared {
	_Atomic uint64_t beats;
	_Atomic uint64_t last_beat; /* nsec_t */
	_Atomic uint64_t longest;   /* between two beats; reset by the reader */
};

/* Fork the load under the engine; it beats when this returns. Exits with a message on failure. */
struct bench_shared *bench_start(struct twin_engine *e, const struct bench_load *load);
void bench_stop(struct twin_engine *e);
/* Handle events until one of this type comes, which must be within 5 s. */
struct twin_event bench_wait(struct twin_engine *e, enum twin_event_type type);
void bench_wait_beats(struct twin_engine *e, struct bench_shared *s, uint64_t n);

struct bench_stats {
	double *items; /* microseconds */
	size_t n;
};
void bench_add(struct bench_stats *s, double usec);
double bench_quantile(struct bench_stats *s, double q); /* sorts */
void bench_clear(struct bench_stats *s);
/* SCHED_FIFO as the keeper has it; says so where it is not permitted. */
void bench_realtime(void);
