/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Restartable sequences: the area that glibc registered stays registered, tells the right CPU,
 * and a sequence that was interrupted is begun anew. For that, two threads on one CPU count up
 * one variable without a lock, inside of sequences: nothing may get lost.
 */
#include "tests/victims/victim.h"

#include <sched.h>
#include <stddef.h>
#include <sys/rseq.h>

/* Known to the sequence below by number. */
_Static_assert(offsetof(struct rseq, rseq_cs) == 8, "rseq_cs");

static volatile uint64_t counter;
static _Atomic uint64_t expected;

static struct rseq *area(void)
{
	return (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
}

/* Read, dawdle, write back: true when it got through without an interruption. */
static bool count_in_sequence(void)
{
	uint64_t v = 0, spin = 300, got_through = 0;

	__asm__ volatile(
		".pushsection __rseq_cs, \"aw\"\n\t"
		".balign 32\n\t"
		"3: .long 0, 0\n\t"
		".quad 1f, 2f - 1f, 4f\n\t"
		".popsection\n\t"
		"leaq 3b(%%rip), %%rax\n\t"
		"movq %%rax, 8(%[area])\n\t"
		"1: movq %[counter], %[v]\n\t"
		"5: decq %[spin]\n\t"
		"jnz 5b\n\t"
		"incq %[v]\n\t"
		"movq %[v], %[counter]\n\t"
		"2: movl $1, %k[got]\n\t"
		".pushsection .text.unlikely, \"ax\"\n\t"
		".byte 0x0f, 0xb9, 0x3d\n\t"
		".long 0x53053053\n\t"
		"4: jmp 6f\n\t"
		".popsection\n\t"
		"6:\n\t"
		: [v] "+r"(v), [spin] "+r"(spin), [got] "+r"(got_through), [counter] "+m"(counter)
		: [area] "r"(area())
		: "memory", "cc", "rax");
	return got_through;
}

static void check_registered(void)
{
	struct rseq *a = area();
	/* Asking for the same again is refused as busy, only where it is registered. */
	long r = syscall(SYS_rseq, a, 32, 0, RSEQ_SIG);

	victim_check(r < 0 && errno == EBUSY, "rseq is not registered any more");
	victim_check((int)a->cpu_id >= 0, "cpu_id %d", (int)a->cpu_id);
}

static void *run(void *arg)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(*(int *)arg, &one);
	victim_check(sched_setaffinity(0, sizeof(one), &one) == 0, "affinity");
	while (!atomic_load(&victim->stop)) {
		for (unsigned i = 0; i < 200; i++)
			if (count_in_sequence())
				atomic_fetch_add(&expected, 1);
		check_registered();
		victim_check(sched_getcpu() == *(int *)arg, "on CPU %d", sched_getcpu());
		victim_check((int)area()->cpu_id == *(int *)arg, "area says %u", area()->cpu_id);
	}
	return NULL;
}

static void wander(const cpu_set_t *allowed)
{
	static int cpu;
	cpu_set_t one;

	do
		cpu = (cpu + 1) % CPU_SETSIZE;
	while (!CPU_ISSET(cpu, allowed));
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	victim_check(sched_setaffinity(0, sizeof(one), &one) == 0, "affinity");
	int here = sched_getcpu();
	if (here != cpu) {
		unsigned real = 0;
		cpu_set_t now;
		syscall(SYS_getcpu, &real, NULL, NULL);
		sched_getaffinity(0, sizeof(now), &now);
		victim_check(here == cpu,
			"sched_getcpu() says %d, now %d, the kernel %u; %d is %sallowed; "
			"registered again: %ld",
			here, sched_getcpu(), real, cpu, CPU_ISSET(cpu, &now) ? "" : "not ",
			syscall(SYS_rseq, area(), 32, 0, RSEQ_SIG));
	}
	victim_check((int)area()->cpu_id == cpu, "area says %u, not %d", area()->cpu_id, cpu);
}

int main(void)
{
	cpu_set_t allowed;
	pthread_t t[2];
	int cpu;

	victim_begin();
	victim_check(sched_getaffinity(0, sizeof(allowed), &allowed) == 0, "affinity");
	cpu = sched_getcpu();
	for (unsigned i = 0; i < 2 && __rseq_size; i++)
		t[i] = victim_thread(run, &cpu);
	while (!victim_stopping()) {
		if (__rseq_size) {
			check_registered();
			wander(&allowed);
		}
		victim_nap(500);
		victim_progress();
	}
	for (unsigned i = 0; i < 2 && __rseq_size; i++)
		pthread_join(t[i], NULL);
	victim_check(counter == atomic_load(&expected), "%lu counted, %lu expected", counter,
		atomic_load(&expected));
	return 0;
}
