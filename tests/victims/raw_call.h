/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A system call as the processor sees it: every register that the kernel promises to keep is looked
 * at when it is over. */
#include "tests/victims/victim.h"

static inline long raw_call(
	const char *name, long nr, long a, long b, long c, long d, long e, long f)
{
	register long rdi __asm__("rdi") = a;
	register long rsi __asm__("rsi") = b;
	register long rdx __asm__("rdx") = c;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile(
		"syscall"
		: "=a"(result), "+r"(rdi), "+r"(rsi), "+r"(rdx), "+r"(r10), "+r"(r8), "+r"(r9)
		: "0"(nr)
		: "rcx", "r11", "memory");
	/* Out of the registers before anything else may use them. */
	const long now[6] = {rdi, rsi, rdx, r10, r8, r9}, then[6] = {a, b, c, d, e, f};
	for (unsigned i = 0; i < 6; i++)
		victim_check(now[i] == then[i], "%s: argument %u was %lx and is %lx", name, i,
			(unsigned long)then[i], (unsigned long)now[i]);
	return result;
}
#define RAW_PICK_(name, nr, a, b, c, d, e, f, ...)                                                 \
	raw_call(name, nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* Up to six arguments; those left out are marked, so that they are not 0 by chance. */
#define RAW(nr, ...) RAW_PICK_(#nr, nr, __VA_ARGS__, 0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0)
