/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench freeze: how long a checkpoint stops a process, over its memory and its threads, beside a
 * plain fork() that the same process calls itself, in turn with the checkpoints.
 */
#include "tools/bench/load.h"
#include "tools/bench/report.h"

/* What a process at work writes to between two checkpoints at the least. */
#define TOUCHED_PAGES 16u

enum column {
	MB,
	THREADS,
	ROUNDS,
	FORK,
	FORK_P99,
	FREEZE,
	P99,
	MAX,
	RATIO,
	EXCESS,
	FORKING,
	SKIPPED
};
static const struct report_column columns[] = {
	[MB] = {"mb", "MB", 6, 0},
	[THREADS] = {"threads", "threads", 8, 0},
	[ROUNDS] = {"rounds", "rounds", 7, 0},
	[FORK] = {"fork_usec", "fork", 9, 0},
	[FORK_P99] = {"fork_p99_usec", "p99", 8, 0},
	[FREEZE] = {"freeze_usec", "| freeze", 10, 0},
	[P99] = {"freeze_p99_usec", "p99", 8, 0},
	[MAX] = {"freeze_max_usec", "max", 8, 0},
	[RATIO] = {"ratio", "| ratio", 9, 2},
	[EXCESS] = {"excess_per_thread_usec", "excess/thread", 14, 1},
	[FORKING] = {"injected_fork_usec", "in fork", 9, 0},
	[SKIPPED] = {"skipped", "skipped", 9, 0},
};

static void measure(struct load *l, const struct report_options *o, struct report *r)
{
	struct bench_stats forks = {0}, freezes = {0}, forking = {0};
	double row[ELEMENTSOF(columns)] = {[MB] = (double)(l->bytes >> 20), [THREADS] = l->threads};
	nsec_t end = now_nsec() + (nsec_t)(o->seconds * NSEC_PER_SEC);

	for (unsigned i = 0; i < o->rounds && (i < 5 || now_nsec() < end); i++) {
		struct twin_checkpoint cp;

		/* Both find the same: nearly all pages shared with the last twin. */
		load_do(l, LOAD_TOUCH, TOUCHED_PAGES);
		bench_add(&forks, load_do(l, LOAD_FORK, 0));
		load_do(l, LOAD_TOUCH, TOUCHED_PAGES);
		if (twin_checkpoint(l->engine, true, &cp) < 0) {
			fprintf(stderr, "checkpoint: %s\n", twin_reason(l->engine));
			row[SKIPPED]++;
			continue;
		}
		bench_add(&freezes, cp.freeze);
		bench_add(&forking, cp.fork);
	}
	row[ROUNDS] = (double)freezes.n;
	row[FORK] = bench_quantile(&forks, .5);
	row[FORK_P99] = bench_quantile(&forks, .99);
	row[FREEZE] = bench_quantile(&freezes, .5);
	row[P99] = bench_quantile(&freezes, .99);
	row[MAX] = bench_quantile(&freezes, 1);
	row[RATIO] = row[FREEZE] / row[FORK];
	row[EXCESS] = (row[FREEZE] - 1.1 * row[FORK]) / l->threads;
	row[FORKING] = bench_quantile(&forking, .5);
	report_row(r, row);
	bench_clear(&forks);
	bench_clear(&freezes);
	bench_clear(&forking);
}

int main(int argc, char **argv)
{
	struct report_options o = {.rounds = 200,
		.seconds = 4,
		.mb = {{10, 100, 500, 1024, 4096}, 5},
		.threads = {{1, 4, 16, 64}, 4}};
	const struct report_options quick = {
		.rounds = 50, .seconds = 1, .mb = {{10, 100, 500}, 3}, .threads = {{1, 16}, 2}};
	const struct twin_config config = {.generations = 1};
	struct report r;

	report_options(argc, argv,
		"bench freeze: how long a checkpoint stops a process\n"
		"Times in microseconds, the median where nothing else is said. fork: a plain\n"
		"fork() by the same process; ratio: freeze / fork; excess/thread: what of the\n"
		"freeze goes beyond 1.1 forks, by thread; in fork: the injected fork alone.",
		NULL, 0, &quick, &o);
	bench_prepare();
	report_begin(&r, "freeze", &o, NULL, 0, columns, ELEMENTSOF(columns));
	for (unsigned i = 0; i < o.mb.n; i++) {
		struct load l;

		load_start(&l, &config, o.mb.items[i] << 20);
		for (unsigned k = 0; k < o.threads.n; k++) {
			load_threads(&l, (unsigned)o.threads.items[k]);
			measure(&l, &o, &r);
		}
		load_stop(&l);
	}
	report_end(&r);
	return 0;
}
