/* SPDX-License-Identifier: Apache-2.0 */
/* One thread: pid, stack, heap, brk, registers, TLS, GS base and signal mask stay its own. */
#include "tests/victims/victim.h"

#include <asm/prctl.h>
#include <signal.h>

static _Thread_local uint64_t in_tls = 0x5a5a;

static uint64_t get_gs(void)
{
	uint64_t base = 0;
	victim_check(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0, "ARCH_GET_GS");
	return base;
}

/* All that the ABI gives to a function is in use across a loop long enough to be frozen in. */
static void registers_hold(uint64_t seed)
{
	uint64_t a = seed, b = seed + 1, c = seed + 2, d = seed + 3, e = seed + 4, f = seed + 5;

	for (unsigned i = 0; i < 20000; i++)
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));
	victim_check(a == seed && b == seed + 1 && c == seed + 2 && d == seed + 3 &&
			     e == seed + 4 && f == seed + 5,
		"registers");
}

int main(void)
{
	pid_t pid = getpid(), parent = getppid();
	uint64_t on_stack[64], counter = 0;
	uint64_t *heap = malloc(1 << 20);
	sigset_t blocked, now;
	void *brk_then = sbrk(65536);

	victim_begin();
	victim_check(heap && brk_then != (void *)-1, "no memory");
	memset(on_stack, 0x11, sizeof(on_stack));
	memset(brk_then, 0x22, 65536);
	victim_check(syscall(SYS_arch_prctl, ARCH_SET_GS, on_stack) == 0, "ARCH_SET_GS");
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, SIGRTMIN + 7);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	while (!victim_stopping()) {
		counter++;
		heap[counter % (1 << 17)] = counter;
		atomic_store(&victim->counter, counter);
		registers_hold(counter);
		victim_check(getpid() == pid && gettid() == pid, "pid %d", getpid());
		victim_check(getppid() == parent, "parent %d, not %d", getppid(), parent);
		victim_check(in_tls == 0x5a5a, "TLS");
		victim_check(get_gs() == (uint64_t)on_stack, "GS base");
		victim_check(sbrk(0) >= brk_then, "brk");
		for (unsigned i = 0; i < 64; i++)
			victim_check(on_stack[i] == 0x1111111111111111, "stack");
		victim_check(((uint8_t *)brk_then)[counter % 65536] == 0x22, "brk memory");
		sigprocmask(SIG_SETMASK, NULL, &now);
		victim_check(memcmp(&now, &blocked, 8) == 0, "signal mask");
		victim_nap(500);
		victim_progress();
		victim_check(heap[counter % (1 << 17)] == counter, "heap");
	}
	return 0;
}
