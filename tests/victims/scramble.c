/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes everything about itself that can be changed, all the time, and knows in its memory how it
 * is: mappings (mapped, unmapped, moved, grown, protected, dropped, of files), the break, the
 * stack, threads, folder, umask, limits, handlers, timers, flags. Whatever is rolled back with the
 * memory must be rolled back to the same moment.
 */
#include "tests/victims/victim.h"

#include <limits.h>
#include <malloc.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define AREAS 12
#define PAGES 24
#define PAGE 4096
#define TIMERS 4
#define WORKERS 3

struct area {
	uint8_t *at; /* NULL: not mapped */
	unsigned pages;
	int prot;
	bool file;
	uint8_t seed[PAGES]; /* of each page; 0: never written */
};
struct worker {
	pthread_t thread;
	sem_t go;
	bool runs;
};

static struct area areas[AREAS];
static struct worker workers[WORKERS];
static uint32_t dice = 7;
static int file;
static bool below;
static mode_t mask = 022;
static rlim_t files_max;
static unsigned handler;
static bool dumpable = true;
static timer_t timers[TIMERS];
static bool armed[TIMERS];
static uint8_t *break_start;
static size_t break_pages;

static unsigned below_n(unsigned n)
{
	return victim_random(&dice) % n;
}

static uint8_t content(const struct area *a, unsigned page)
{
	return a->seed[page] ? a->seed[page] : a->file ? (uint8_t)(page + 1) : 0;
}

static void check_page(const struct area *a, unsigned page)
{
	const uint8_t *p = a->at + (size_t)page * PAGE;
	uint8_t want = content(a, page);

	if (!(a->prot & PROT_READ))
		return;
	victim_check(p[0] == want && p[PAGE / 2] == want && p[PAGE - 1] == want,
		"page %u of %p: %u, %u, %u, not %u", page, (void *)a->at, p[0], p[PAGE / 2],
		p[PAGE - 1], want);
}

static void write_page(struct area *a, unsigned page)
{
	uint8_t value = (uint8_t)(1 + below_n(255));

	if (!(a->prot & PROT_WRITE))
		return;
	a->seed[page] = value;
	memset(a->at + (size_t)page * PAGE, value, PAGE);
}

static void map(struct area *a)
{
	a->pages = 1 + below_n(PAGES - 1);
	a->prot = PROT_READ | PROT_WRITE;
	a->file = below_n(3) == 0;
	memset(a->seed, 0, sizeof(a->seed));
	a->at = mmap(NULL, (size_t)a->pages * PAGE, a->prot,
		MAP_PRIVATE | (a->file ? 0 : MAP_ANONYMOUS), a->file ? file : -1, 0);
	victim_check(a->at != MAP_FAILED, "mmap");
}

static void unmap(struct area *a)
{
	victim_check(munmap(a->at, (size_t)a->pages * PAGE) == 0, "munmap");
	a->at = NULL;
}

static void protect(struct area *a)
{
	static const int prots[] = {
		PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC};

	a->prot = prots[below_n(4)];
	victim_check(mprotect(a->at, (size_t)a->pages * PAGE, a->prot) == 0, "mprotect");
}

static void move(struct area *a)
{
	void *p = mremap(a->at, (size_t)a->pages * PAGE, (size_t)a->pages * PAGE,
		MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
	/* The old place is left empty, so take that away; not every kernel moves files so. */
	if (p == MAP_FAILED)
		return;
	munmap(a->at, (size_t)a->pages * PAGE);
	a->at = p;
}

static void drop(struct area *a)
{
	victim_check(madvise(a->at, (size_t)a->pages * PAGE, MADV_DONTNEED) == 0, "madvise");
	memset(a->seed, 0, sizeof(a->seed));
}

static void change_area(void)
{
	struct area *a = &areas[below_n(AREAS)];

	if (!a->at) {
		map(a);
		return;
	}
	switch (below_n(8)) {
	case 0:
		unmap(a);
		break;
	case 1:
		protect(a);
		break;
	case 2:
		move(a);
		break;
	case 3:
		drop(a);
		break;
	default:
		write_page(a, below_n(a->pages));
	}
}

static void check_areas(void)
{
	for (unsigned i = 0; i < AREAS; i++)
		for (unsigned page = 0; areas[i].at && page < areas[i].pages; page++)
			check_page(&areas[i], page);
}

/* malloc() here only uses mmap(), and nobody else the break. */
static void change_break(void)
{
	size_t now = below_n(20);

	victim_check(brk(break_start + now * PAGE) == 0, "brk");
	for (size_t i = break_pages; i < now; i++)
		break_start[i * PAGE] = (uint8_t)(i + 1);
	break_pages = now;
}

static void check_break(void)
{
	victim_check(sbrk(0) == break_start + break_pages * PAGE, "break");
	for (size_t i = 0; i < break_pages; i++)
		victim_check(break_start[i * PAGE] == (uint8_t)(i + 1), "page %zu of the break", i);
}

static unsigned grow_stack(unsigned depth)
{
	volatile uint8_t room[8192];

	room[0] = (uint8_t)depth;
	room[8191] = (uint8_t)(depth + 1);
	if (depth > 0)
		victim_check(grow_stack(depth - 1) == depth - 1, "stack");
	victim_check(room[0] == (uint8_t)depth && room[8191] == (uint8_t)(depth + 1), "stack");
	return depth;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (sem_wait(&w->go) < 0)
		;
	return arg;
}

static void change_worker(void)
{
	struct worker *w = &workers[below_n(WORKERS)];

	if (w->runs) {
		sem_post(&w->go);
		victim_check(pthread_join(w->thread, NULL) == 0, "join");
		w->runs = false;
	} else {
		sem_init(&w->go, 0, 0);
		w->thread = victim_thread(work, w);
		w->runs = true;
	}
}

static void handle_first(int sig)
{
	(void)sig;
}

static void handle_second(int sig)
{
	(void)sig;
}

static void (*const handlers[])(int) = {SIG_DFL, SIG_IGN, handle_first, handle_second};

static void change_process(void)
{
	struct rlimit limit;

	switch (below_n(5)) {
	case 0:
		below = !below;
		victim_check(chdir(below ? "below" : "..") == 0, "chdir");
		break;
	case 1:
		mask = (mode_t)below_n(0100);
		umask(mask);
		break;
	case 2:
		getrlimit(RLIMIT_NOFILE, &limit);
		files_max = 256 + below_n(256);
		limit.rlim_cur = files_max;
		victim_check(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
		break;
	case 3:
		handler = below_n(4);
		signal(SIGUSR2, handlers[handler]);
		break;
	default:
		dumpable = !dumpable;
		prctl(PR_SET_DUMPABLE, dumpable);
	}
}

static void check_process(void)
{
	struct rlimit limit;
	struct sigaction sa;
	char path[PATH_MAX];
	mode_t m = umask(0);

	umask(mask);
	victim_check(m == mask, "umask %o, not %o", m, mask);
	victim_check(getcwd(path, sizeof(path)), "getcwd");
	victim_check(below == (strstr(path, "/below") != NULL), "in %s", path);
	getrlimit(RLIMIT_NOFILE, &limit);
	victim_check(!files_max || limit.rlim_cur == files_max, "limit %lu, not %lu",
		(unsigned long)limit.rlim_cur, (unsigned long)files_max);
	sigaction(SIGUSR2, NULL, &sa);
	victim_check(sa.sa_handler == handlers[handler], "handler");
	victim_check(prctl(PR_GET_DUMPABLE) == dumpable, "dumpable");
}

/* None of them ever comes to its end. */
static void change_timer(void)
{
	unsigned i = below_n(TIMERS);
	struct itimerspec its = {.it_value = {10000 + (time_t)i, 0}};
	struct sigevent ev = {.sigev_notify = SIGEV_NONE};

	if (armed[i]) {
		victim_check(timer_delete(timers[i]) == 0, "timer_delete");
		armed[i] = false;
		return;
	}
	victim_check(timer_create(CLOCK_MONOTONIC, &ev, &timers[i]) == 0, "timer_create");
	victim_check(timer_settime(timers[i], 0, &its, NULL) == 0, "timer_settime");
	armed[i] = true;
}

static void check_timers(void)
{
	struct itimerspec its;

	for (unsigned i = 0; i < TIMERS; i++)
		victim_check(!armed[i] || (timer_gettime(timers[i], &its) == 0 &&
						  its.it_value.tv_sec >= 9000),
			"timer %u", i);
}

static void prepare(void)
{
	const char *dir = getenv("VICTIM_DIR");
	uint8_t page[PAGE];

	victim_check(chdir(dir ? dir : "/tmp") == 0, "chdir");
	(void)mkdir("below", 0700);
	file = open("pattern", O_RDWR | O_CREAT, 0600);
	victim_check(file >= 0, "open");
	for (unsigned i = 0; i < PAGES; i++) {
		memset(page, (int)i + 1, sizeof(page));
		victim_check(write(file, page, sizeof(page)) == sizeof(page), "write");
	}
	umask(mask);
	break_start = (uint8_t *)(((uintptr_t)sbrk(0) + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
	victim_check(brk(break_start) == 0, "brk");
}

int main(void)
{
	mallopt(M_MMAP_THRESHOLD, 0);
	victim_begin();
	prepare();
	while (!victim_stopping()) {
		for (unsigned i = 0; i < 8; i++)
			change_area();
		switch (below_n(6)) {
		case 0:
			change_break();
			break;
		case 1:
			change_worker();
			break;
		case 2:
			change_timer();
			break;
		case 3:
			grow_stack(2 + below_n(30));
			break;
		default:
			change_process();
		}
		check_areas();
		check_break();
		check_process();
		check_timers();
		victim_progress();
	}
	for (unsigned i = 0; i < WORKERS; i++)
		if (workers[i].runs) {
			sem_post(&workers[i].go);
			pthread_join(workers[i].thread, NULL);
		}
	return 0;
}
