/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floating point and vector registers: x87 stack and control word, mxcsr, and xmm, ymm or zmm
 * with the mask registers, whatever the processor has; filled with a pattern of the thread's
 * own, left alone in a long loop, and compared.
 */
#include "tests/victims/victim.h"

#include <stddef.h>

#define THREADS 3
#define LOOPS 300000L

struct vectors {
	uint8_t v[32][64];
	uint64_t k[8];
	double x87[8];
	uint32_t mxcsr;
	uint16_t control;
} __attribute__((aligned(64)));

/* The loop keeps its counter in a register; the memory operands are only pointers. */
/* It would see statements there, and indent them further each time. */
/* clang-format off */
#define EACH8(M, ...) \
	M(0, __VA_ARGS__) M(1, __VA_ARGS__) M(2, __VA_ARGS__) M(3, __VA_ARGS__) \
	M(4, __VA_ARGS__) M(5, __VA_ARGS__) M(6, __VA_ARGS__) M(7, __VA_ARGS__)
#define EACH16(M, ...) \
	EACH8(M, __VA_ARGS__) \
	M(8, __VA_ARGS__) M(9, __VA_ARGS__) M(10, __VA_ARGS__) M(11, __VA_ARGS__) \
	M(12, __VA_ARGS__) M(13, __VA_ARGS__) M(14, __VA_ARGS__) M(15, __VA_ARGS__)
#define EACH32(M, ...) \
	EACH16(M, __VA_ARGS__) \
	M(16, __VA_ARGS__) M(17, __VA_ARGS__) M(18, __VA_ARGS__) M(19, __VA_ARGS__) \
	M(20, __VA_ARGS__) M(21, __VA_ARGS__) M(22, __VA_ARGS__) M(23, __VA_ARGS__) \
	M(24, __VA_ARGS__) M(25, __VA_ARGS__) M(26, __VA_ARGS__) M(27, __VA_ARGS__) \
	M(28, __VA_ARGS__) M(29, __VA_ARGS__) M(30, __VA_ARGS__) M(31, __VA_ARGS__)
/* clang-format on */
#define GET(n, insn, reg) insn " 64*" #n "(%[in]), %%" reg #n "\n\t"
#define PUT(n, insn, reg) insn " %%" reg #n ", 64*" #n "(%[out])\n\t"
#define GET_MASK(n, unused) "kmovw 2048+8*" #n "(%[in]), %%k" #n "\n\t"
#define PUT_MASK(n, unused) "kmovw %%k" #n ", 2048+8*" #n "(%[out])\n\t"
#define GET_X87(n, unused) "fldl 2112+8*" #n "(%[in])\n\t"
#define PUT_X87(n, unused) "fstpl 2112+8*" #n "(%[out])\n\t"
#define SPIN "1: dec %[loops]\n\tjnz 1b\n\t"
#define CONTROLS_IN "fninit\n\tldmxcsr 2176(%[in])\n\tfldcw 2180(%[in])\n\t"
#define CONTROLS_OUT "stmxcsr 2176(%[out])\n\tfnstcw 2180(%[out])\n\tfninit\n\t"
#define XMM_NAMES                                                                                  \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",   \
		"xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define X87_NAMES "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"

_Static_assert(offsetof(struct vectors, k) == 2048, "k");
_Static_assert(offsetof(struct vectors, x87) == 2112, "x87");
_Static_assert(offsetof(struct vectors, mxcsr) == 2176, "mxcsr");
_Static_assert(offsetof(struct vectors, control) == 2180, "control");

#define THROUGH_REGISTERS(name, get, put)                                                          \
	static void name(const struct vectors *in, struct vectors *out)                            \
	{                                                                                          \
		long loops = LOOPS;                                                                \
		uint32_t mxcsr;                                                                    \
		__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));                                      \
		__asm__ volatile(CONTROLS_IN EACH8(GET_X87, ) get SPIN put EACH8(PUT_X87, )        \
					 CONTROLS_OUT                                              \
				 : [loops] "+r"(loops)                                             \
				 : [in] "r"(in), [out] "r"(out)                                    \
				 : "memory", "cc", XMM_NAMES, X87_NAMES);                          \
		__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));                                     \
	}
THROUGH_REGISTERS(through_xmm, EACH16(GET, "movdqa", "xmm"), EACH16(PUT, "movdqa", "xmm"))
THROUGH_REGISTERS(
	through_ymm, EACH16(GET, "vmovdqa", "ymm"), EACH16(PUT, "vmovdqa", "ymm") "vzeroupper\n\t")
THROUGH_REGISTERS(through_zmm, EACH32(GET, "vmovdqa64", "zmm") EACH8(GET_MASK, ),
	EACH32(PUT, "vmovdqa64", "zmm") EACH8(PUT_MASK, ) "vzeroupper\n\t")

static void fill(struct vectors *in, uint32_t *rnd)
{
	uint8_t *bytes = &in->v[0][0];

	for (size_t i = 0; i < sizeof(in->v); i++)
		bytes[i] = (uint8_t)victim_random(rnd);
	for (unsigned i = 0; i < 8; i++) {
		in->k[i] = victim_random(rnd) & 0xffff;
		in->x87[7 - i] = victim_random(rnd) * 0.5;
	}
	in->mxcsr = 0x1f80 | (victim_random(rnd) % 4) << 13; /* rounding */
	in->control = (uint16_t)(0x37f ^ (victim_random(rnd) % 4) << 10);
}

static void *run(void *arg)
{
	static const size_t widths[] = {16, 32, 64};
	uint32_t rnd = (uint32_t)(uintptr_t)arg * 77;
	struct vectors in, out;
	unsigned level = __builtin_cpu_supports("avx512f") ? 2
			 : __builtin_cpu_supports("avx")   ? 1
							   : 0;

	while (!atomic_load(&victim->stop)) {
		unsigned way = victim_random(&rnd) % (level + 1);
		fill(&in, &rnd);
		memset(&out, 0, sizeof(out));
		if (way == 2)
			through_zmm(&in, &out);
		else if (way == 1)
			through_ymm(&in, &out);
		else
			through_xmm(&in, &out);
		for (unsigned i = 0; i < (way == 2 ? 32 : 16); i++)
			victim_check(memcmp(in.v[i], out.v[i], widths[way]) == 0,
				"register %u of width %zu", i, widths[way]);
		for (unsigned i = 0; i < 8; i++) {
			victim_check(way < 2 || in.k[i] == out.k[i], "k%u", i);
			victim_check(in.x87[i] == out.x87[7 - i], "st(%u)", 7 - i);
		}
		victim_check(in.mxcsr == out.mxcsr, "mxcsr %x, not %x", out.mxcsr, in.mxcsr);
		victim_check(in.control == out.control, "x87 control %x, not %x", out.control,
			in.control);
	}
	return NULL;
}

int main(void)
{
	victim_begin();
	for (uintptr_t i = 1; i <= THREADS; i++)
		victim_thread(run, (void *)i);
	while (!victim_stopping()) {
		victim_nap(1000);
		victim_progress();
	}
	return 0;
}
