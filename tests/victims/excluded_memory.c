/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that its twins are made without, of four kinds; what it finds there after a swap is zeros,
 * or what was there at the end, as VICTIM_CACHE, VICTIM_TABLE and VICTIM_DONTFORK say (zero, share,
 * copy). And memory that is kept like all other.
 */
#include "tests/victims/victim.h"

#define SIZE (16UL << 20)
/* One page in each so many: that is enough for page tables to be there. */
#define PAGE 65536UL

struct region {
	const char *variable;
	char *at;
	unsigned long flags; /* bit 0: MADV_DONTFORK, bit 1: MADV_WIPEONFORK */
};

static char *map_named(const char *name, int how)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	victim_check(fd >= 0 && ftruncate(fd, (off_t)SIZE) == 0, "memfd");
	char *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, how, fd, 0);
	victim_check(p != MAP_FAILED, "mmap");
	close(fd);
	return p;
}

static void fill(char *at, uint64_t n)
{
	for (size_t i = 0; i < SIZE; i += PAGE)
		*(volatile uint64_t *)(at + i) = n;
}

static void check(const struct region *r, uint64_t mine, bool swapped)
{
	const char *how = getenv(r->variable);
	bool zero = swapped && strcmp(how, "zero") == 0;
	bool share = swapped && strcmp(how, "share") == 0;
	/* What was written last by whoever ran: told before it was begun. */
	uint64_t last = atomic_load(&victim->counter);

	for (size_t i = 0; i < SIZE; i += PAGE) {
		uint64_t v = *(volatile uint64_t *)(r->at + i);
		if (zero)
			victim_check(v == 0, "%s: page %zu has %lu", r->variable, i / PAGE, v);
		else if (share)
			victim_check(v == last || v + 1 == last, "%s: page %zu has %lu, not %lu",
				r->variable, i / PAGE, v, last);
		else
			victim_check(v == mine, "%s: page %zu has %lu, not %lu", r->variable,
				i / PAGE, v, mine);
	}
}

static unsigned long flags_of(const void *p)
{
	char line[512];
	unsigned long s, e, at = (unsigned long)p, found = 99;
	bool here = false;
	FILE *f = fopen("/proc/self/smaps", "re");

	victim_check(f, "smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &s, &e) == 2)
			here = s <= at && at < e;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			found = (strstr(line, " dc") ? 1 : 0) + (strstr(line, " wf") ? 2 : 0);
	}
	fclose(f);
	return found;
}

int main(void)
{
	static struct region regions[] = {
		{"VICTIM_CACHE", NULL, 0},
		{"VICTIM_TABLE", NULL, 0},
		{"VICTIM_DONTFORK", NULL, 1},
		{"VICTIM_KEPT", NULL, 0},
	};
	const size_t n = sizeof(regions) / sizeof(regions[0]);
	uint64_t mine = 0;

	victim_begin();
	regions[0].at = map_named("cache", MAP_PRIVATE);
	regions[1].at = map_named("table", MAP_PRIVATE);
	regions[2].at =
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	regions[3].at = map_named("kept", MAP_PRIVATE);
	char *common = map_named("common", MAP_SHARED);
	victim_check(
		regions[2].at != MAP_FAILED && madvise(regions[2].at, SIZE, MADV_DONTFORK) == 0,
		"madvise");
	while (!victim_stopping()) {
		unsigned swaps = atomic_load(&victim->swaps);

		mine = atomic_load(&victim->counter) + 1;
		atomic_store(&victim->counter, mine);
		for (size_t i = 0; i < n; i++)
			fill(regions[i].at, mine);
		*(volatile uint64_t *)common = mine;
		if (atomic_load(&victim->swaps) != swaps)
			continue; /* filled in part by one and in part by the other */
		victim_nap(300);
		for (size_t i = 0; i < n; i++) {
			/* In the middle of a look may be a swap. */
			bool swapped = atomic_load(&victim->swaps) != swaps;
			if (!swapped) {
				victim_check(*(volatile uint64_t *)regions[i].at == mine ||
						     atomic_load(&victim->swaps) != swaps,
					"%s: not what was written", regions[i].variable);
				continue;
			}
			check(&regions[i], mine, true);
			victim_check(
				*(volatile uint64_t *)common == atomic_load(&victim->counter) ||
					*(volatile uint64_t *)common + 1 ==
						atomic_load(&victim->counter),
				"shared memory was not shared");
		}
		for (size_t i = 0; i < n; i++)
			victim_check(flags_of(regions[i].at) == regions[i].flags ||
					     atomic_load(&victim->swaps) != swaps,
				"%s: flags %lu", regions[i].variable, flags_of(regions[i].at));
		victim_progress();
	}
	return 0;
}
