/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench swap: freeze time of a checkpoint and latency of a swap, over memory and threads, with a
 * plain fork() of a process of the same size measured in the same run as the floor.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench/load.h"

static double fork_floor(size_t bytes, unsigned rounds)
{
	struct bench_stats s = {0};
	double median;
	pid_t pid;
	int raw, result[2];

	if (pipe(result) < 0)
		return 0;
	/* A process of its own size, so that only its pages are counted. */
	pid = fork();
	if (pid == 0) {
		uint8_t *m = mmap(
			NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(m, 1, bytes);
		for (unsigned i = 0; i < rounds; i++) {
			nsec_t t0 = now_nsec();
			pid_t c = fork();
			if (c == 0)
				_exit(0);
			bench_add(&s, (double)(now_nsec() - t0) / 1e3);
			(void)waitpid(c, &raw, 0);
			m[(i * 4096) % bytes]++;
		}
		median = bench_quantile(&s, 0.5);
		_exit(write(result[1], &median, sizeof(median)) != sizeof(median));
	}
	if (read(result[0], &median, sizeof(median)) != sizeof(median))
		median = 0;
	(void)waitpid(pid, &raw, 0);
	close(result[0]);
	close(result[1]);
	return median;
}

static void measure(size_t mb, unsigned threads, unsigned rounds)
{
	struct twin_config config = {.generations = 1};
	struct bench_load load = {.bytes = mb << 20, .threads = threads, .beat_usec = 1000};
	struct bench_stats freeze = {0}, swap = {0}, gap = {0}, reap = {0};
	struct twin_engine *e;
	struct bench_shared *shared;
	unsigned good = 0;

	if (twin_engine_new(&config, &e) < 0)
		exit(1);
	shared = bench_start(e, &load);
	for (unsigned i = 0; i < rounds; i++) {
		struct twin_checkpoint cp;
		struct twin_swap sw;
		int r = twin_checkpoint(e, true, &cp);

		if (r < 0) {
			fprintf(stderr, "checkpoint: %s\n", twin_reason(e));
			continue;
		}
		bench_add(&freeze, (double)cp.freeze / 1e3);
		bench_wait_beats(e, shared, 3);
		atomic_store(&shared->longest, 0);
		twin_kill(e, SIGSEGV);
		bench_wait(e, TWIN_EVENT_FATAL);
		r = twin_swap(e, 0, &sw);
		if (r < 0) {
			fprintf(stderr, "swap: %s\n", twin_reason(e));
			exit(1);
		}
		good++;
		bench_wait_beats(e, shared, 3);
		bench_add(&swap, (double)sw.latency / 1e3);
		bench_add(&reap, (double)sw.reaped / 1e3);
		bench_add(&gap, (double)atomic_load(&shared->longest) / 1e3);
	}
	printf("%6zu %4u | %8.0f | %8.0f %8.0f %8.0f | %8.0f %8.0f %8.0f %8.0f | %8.0f | %u/%u\n",
		mb, threads, fork_floor(mb << 20, rounds), bench_quantile(&freeze, .5),
		bench_quantile(&freeze, .99), bench_quantile(&freeze, 1), bench_quantile(&reap, .5),
		bench_quantile(&swap, .5), bench_quantile(&swap, .99), bench_quantile(&swap, 1),
		bench_quantile(&gap, .5), good, rounds);
	fflush(stdout);
	bench_stop(e);
	twin_engine_free(e);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 50;
	const size_t sizes[] = {10, 100, 500};
	const unsigned threads[] = {1, 4, 16};

	bench_realtime();
	printf("all times in microseconds; %u rounds each; gap includes the load's own pause of 1 "
	       "ms\n"
	       "    MB  thr |     fork | freeze m      p99      max |  reaped swap med      p99"
	       "      max | gap med | good\n",
		rounds);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (size_t k = 0; k < sizeof(threads) / sizeof(*threads); k++)
			measure(sizes[i], threads[k], rounds);
	return 0;
}
