/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of all sizes, in several arenas and by mmap, each filled with a pattern of its own. */
#include "tests/victims/victim.h"

#include <malloc.h>

#define THREADS 4
#define BLOCKS 64

struct block {
	uint8_t *p;
	size_t size;
	uint8_t pattern;
};

static void check_and_free(struct block *b, unsigned thread)
{
	for (size_t i = 0; i < b->size; i++)
		victim_check(b->p[i] == b->pattern, "thread %u: byte %zu of %zu is %x, not %x",
			thread, i, b->size, b->p[i], b->pattern);
	free(b->p);
	b->p = NULL;
}

static size_t some_size(uint32_t *rnd)
{
	switch (victim_random(rnd) % 16) {
	case 0: /* by mmap */
		return 140000 + victim_random(rnd) % 100000;
	case 1:
	case 2:
		return 1 + victim_random(rnd) % 20000;
	default:
		return 1 + victim_random(rnd) % 500;
	}
}

static void *run(void *arg)
{
	unsigned nr = (unsigned)(uintptr_t)arg;
	struct block blocks[BLOCKS] = {0};
	uint32_t rnd = nr * 4711;

	while (!atomic_load(&victim->stop)) {
		struct block *b = &blocks[victim_random(&rnd) % BLOCKS];
		if (b->p)
			check_and_free(b, nr);
		b->size = some_size(&rnd);
		b->pattern = (uint8_t)victim_random(&rnd);
		b->p = malloc(b->size);
		victim_check(b->p, "malloc");
		memset(b->p, b->pattern, b->size);
		if (victim_random(&rnd) % 500 == 0)
			malloc_trim(0);
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		if (blocks[i].p)
			check_and_free(&blocks[i], nr);
	return arg;
}

int main(void)
{
	pthread_t t[THREADS];

	victim_begin();
	for (uintptr_t i = 0; i < THREADS; i++)
		t[i] = victim_thread(run, (void *)(i + 1));
	while (!victim_stopping()) {
		void *p = malloc(100);
		victim_nap(700);
		free(p);
		victim_progress();
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	return 0;
}
