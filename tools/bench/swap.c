/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench swap: from the fault to the first and to the last thread's next instruction, as the
 * process itself sees it, over memory, threads, and the share of the memory written to since the
 * checkpoint. The floor: a process of as many threads killed, reaped and made by plain calls.
 */
#include "tools/bench/load.h"
#include "tools/bench/report.h"

#include <libgen.h>
#include <limits.h>
#include <string.h>

#define SETTLING 3000000ULL
#define CHECKPOINT_PATIENCE (20 * NSEC_PER_SEC)
#include <unistd.h>

enum column {
	MB,
	THREADS,
	DIRTY,
	ROUNDS,
	FLOOR,
	FIRST,
	LAST,
	P99,
	MAX,
	NOTICED,
	LATENCY,
	REAPED,
	IN_PLACE,
	FAILED
};
static const struct report_column columns[] = {
	[MB] = {"mb", "MB", 6, 0},
	[THREADS] = {"threads", "threads", 8, 0},
	[DIRTY] = {"dirty_percent", "dirty %", 8, 0},
	[ROUNDS] = {"rounds", "rounds", 7, 0},
	[FLOOR] = {"floor_usec", "floor", 8, 0},
	[FIRST] = {"first_usec", "| first", 9, 0},
	[LAST] = {"last_usec", "last", 8, 0},
	[P99] = {"last_p99_usec", "p99", 8, 0},
	[MAX] = {"last_max_usec", "max", 8, 0},
	[NOTICED] = {"noticed_usec", "| noticed", 11, 0},
	[LATENCY] = {"engine_usec", "engine", 8, 0},
	[REAPED] = {"reaped_usec", "reaped", 8, 0},
	[IN_PLACE] = {"in_place", "in place", 9, 0},
	[FAILED] = {"failed", "failed", 8, 0},
};
enum choice { CAUSE, WAY, IDENTITY };
static const struct report_choice choices[] = {
	[CAUSE] = {"cause", "how the process ends: by a null pointer, or by kill -9",
		{"segv", "kill"}},
	[WAY] = {"way", "how the twin takes over", {"auto", "reclaim", "in-place"}},
	[IDENTITY] = {"identity", "[Twin] Identity= of the process", {"exact", "namespace"}},
};

static bool one(
	struct load *l, const struct report_options *o, size_t dirty_pages, struct twin_swap *ret)
{
	nsec_t end = now_nsec() + CHECKPOINT_PATIENCE;
	struct twin_checkpoint cp;

	/* On a busy machine a thread may wait for the CPU on which it is to stop. */
	while (twin_checkpoint(l->engine, true, &cp) < 0) {
		if (now_nsec() > end)
			bench_die("no checkpoint", twin_reason(l->engine));
		load_do(l, LOAD_STAMP, 0);
	}
	/* A fault within the first ms would wait for what is made ready only then. */
	load_pause(l, SETTLING);
	if (dirty_pages)
		load_do(l, LOAD_TOUCH, dirty_pages);
	if (strcmp(o->choice[CAUSE], "kill") == 0)
		load_kill(l);
	else
		load_crash(l);
	if (twin_swap(l->engine, 0, ret) == 0)
		return true;
	fprintf(stderr, "swap: %s\n", twin_reason(l->engine));
	return false;
}

static void measure(
	struct load *l, unsigned dirty, const struct report_options *o, struct report *r)
{
	struct bench_stats floors = {0}, first = {0}, last = {0}, noticed = {0}, latency = {0},
			   reaped = {0};
	double row[ELEMENTSOF(columns)] = {
		[MB] = (double)(l->bytes >> 20), [THREADS] = l->threads, [DIRTY] = dirty};
	nsec_t end = now_nsec() + (nsec_t)(o->seconds * NSEC_PER_SEC);

	for (unsigned i = 0; i < o->rounds && (i < 5 || now_nsec() < end); i++) {
		struct twin_swap sw;
		nsec_t t_first, t_last;

		bench_add(&floors, load_do(l, LOAD_REMAKE, 0));
		if (!one(l, o, (l->bytes >> 12) * dirty / 100, &sw)) {
			row[FAILED]++;
			break;
		}
		load_stamps(l, &t_first, &t_last);
		bench_add(&first, t_first);
		bench_add(&last, t_last);
		bench_add(&noticed, sw.begun - l->shared->fault);
		bench_add(&latency, sw.latency);
		bench_add(&reaped, sw.reaped);
		row[IN_PLACE] += sw.way == TWIN_WAY_IN_PLACE;
	}
	row[ROUNDS] = (double)last.n;
	row[FLOOR] = bench_quantile(&floors, .5);
	row[FIRST] = bench_quantile(&first, .5);
	row[LAST] = bench_quantile(&last, .5);
	row[P99] = bench_quantile(&last, .99);
	row[MAX] = bench_quantile(&last, 1);
	row[NOTICED] = bench_quantile(&noticed, .5);
	row[LATENCY] = bench_quantile(&latency, .5);
	row[REAPED] = bench_quantile(&reaped, .5);
	report_row(r, row);
	bench_clear(&floors);
	bench_clear(&first);
	bench_clear(&last);
	bench_clear(&noticed);
	bench_clear(&latency);
	bench_clear(&reaped);
	if (row[FAILED] > 0)
		bench_die("a swap failed", twin_reason(l->engine));
}

static const char *beside_us(char *path, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	snprintf(path, size, "%s/../../twinit-nsinit", dirname(self));
	return path;
}

int main(int argc, char **argv)
{
	struct report_options o = {.rounds = 200,
		.seconds = 2,
		.mb = {{10, 100, 1024, 4096}, 4},
		.threads = {{1, 4, 16, 64}, 4},
		.dirty = {{0, 10, 50}, 3}};
	const struct report_options quick = {.rounds = 50,
		.seconds = 1,
		.mb = {{10, 100}, 2},
		.threads = {{1, 4, 16}, 3},
		.dirty = {{0, 50}, 2}};
	struct twin_config config = {.generations = 1};
	char init[PATH_MAX + 32];
	struct report r;

	report_options(argc, argv,
		"bench swap: from a fault to the twin\n"
		"Times in microseconds, the median where nothing else is said. first, last: from\n"
		"the fault to the first and to the last thread's next instruction, as the process\n"
		"sees it; p99, max: of last. floor: a process of as many threads in the same\n"
		"memory made, killed and reaped by plain calls. noticed: until the engine saw\n"
		"it; engine: from then on until it had let the last thread go, by its own word;\n"
		"reaped: of that, until the old threads were gone. in place: how many of them.",
		choices, ELEMENTSOF(choices), &quick, &o);
	for (unsigned w = 0; w < _TWIN_WAY_MAX; w++)
		if (strcmp(o.choice[WAY], twin_way_to_string(w)) == 0)
			config.way = w;
	if (strcmp(o.choice[IDENTITY], "namespace") == 0) {
		config.identity = TWIN_NAMESPACE;
		config.namespace_init = beside_us(init, sizeof(init));
	}
	bench_prepare();
	report_begin(&r, "swap", &o, choices, ELEMENTSOF(choices), columns, ELEMENTSOF(columns));
	for (unsigned i = 0; i < o.mb.n; i++) {
		struct load l;

		load_start(&l, &config, o.mb.items[i] << 20);
		for (unsigned k = 0; k < o.threads.n; k++) {
			load_threads(&l, (unsigned)o.threads.items[k]);
			for (unsigned d = 0; d < o.dirty.n; d++)
				measure(&l, (unsigned)o.dirty.items[d], &o, &r);
		}
		load_stop(&l);
	}
	report_end(&r);
	return 0;
}
