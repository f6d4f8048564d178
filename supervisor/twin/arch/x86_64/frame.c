/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signal frames as arch/x86/kernel/signal_64.c and fpu/signal.c read them back. The kernel's
 * asm/ucontext.h cannot be included beside libc's headers, so its layout stands here.
 */
#include <assert.h>
#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include "supervisor/twin/arch/arch.h"

struct kernel_ucontext {
	uint64_t flags, link;
	struct arch_altstack stack;
	struct sigcontext mcontext;
	uint64_t sigmask;
};
struct rt_sigframe {
	uint64_t pretcode;
	struct kernel_ucontext uc;
	uint8_t info[128]; /* siginfo: rt_sigreturn does not read it */
};
static_assert(sizeof(struct sigcontext) == 256, "struct sigcontext_64");
static_assert(offsetof(struct kernel_ucontext, sigmask) == 296, "struct ucontext");

/* arch/x86/include/uapi/asm/ucontext.h */
#define UC_FP_XSTATE 0x1
#define UC_SIGCONTEXT_SS 0x2
#define UC_STRICT_RESTORE_SS 0x4

/* routine.S knows these by number. */
static_assert(offsetof(struct routine_args, threads) == 32, "A_THREADS");
static_assert(sizeof(struct routine_call) == 64, "C_SIZE");
static_assert(offsetof(struct routine_call, result) == 56, "C_RESULT");
static_assert(offsetof(struct routine_thread, result) == 88, "T_RESULT");
static_assert(offsetof(struct routine_thread, steer) == 100, "T_STEER");
static_assert(offsetof(struct routine_thread, gs_base) == 152, "T_GS");
static_assert(offsetof(struct routine_thread, frame_sp) == 160, "T_FRAME");
static_assert(offsetof(struct routine_thread, name) == 168, "T_NAME");
static_assert(offsetof(struct routine_args, trap_before_frame) == 56, "A_TRAP");
static_assert(offsetof(struct routine_args, n_thread_calls) == 64, "A_N_THREAD_CALLS");
static_assert(offsetof(struct routine_thread, timer_slack) == 184, "T_SLACK");
static_assert(offsetof(struct routine_thread, parent_death_signal) == 192, "T_DEATH");
static_assert(sizeof(struct routine_thread) == 200, "T_SIZE");

#define XSTATE_HEADER_OFFSET 512
#define XSTATE_MIN (512 + 64)
#define SW_BYTES_OFFSET 464
/* Features that a task has only after it asked for them (AMX tile data); a frame of a task
 * that did not may not claim the room for them. */
#define XFEATURES_DYNAMIC (1ULL << 18)

static size_t xstate_size_of(uint64_t features)
{
	size_t size = XSTATE_MIN;

	for (unsigned i = 2; i < 63; i++) {
		unsigned a, b, c, d;
		if (!(features & (1ULL << i)))
			continue;
		__cpuid_count(0xd, i, a, b, c, d);
		if (a && b + a > size)
			size = b + a;
	}
	return size;
}

int arch_get_xstate(pid_t tid, struct arch_xstate *ret)
{
	static uint64_t known_features;
	static size_t known_size;
	struct iovec iov = {ret->data, ARCH_XSTATE_MAX};
	uint64_t features, in_use;

	if (ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &iov) < 0)
		return -errno;
	if (iov.iov_len < XSTATE_MIN)
		return -ENOTSUP;
	memcpy(&features, ret->data + SW_BYTES_OFFSET, 8);
	memcpy(&in_use, ret->data + XSTATE_HEADER_OFFSET, 8);
	if (in_use & XFEATURES_DYNAMIC)
		return -ENOTSUP;
	features &= ~XFEATURES_DYNAMIC;
	/* cpuid leaves the guest under a hypervisor: tens of microseconds, so only once. */
	if (features != known_features) {
		known_size = xstate_size_of(features);
		known_features = features;
	}
	ret->len = MIN2(known_size, (size_t)iov.iov_len);
	return 0;
}

static size_t xstate_offset(void)
{
	return (sizeof(struct rt_sigframe) + 63) & ~(size_t)63;
}

size_t arch_frame_size(size_t xstate_len)
{
	/* 4 bytes of magic behind the state; whole cache lines. */
	return (xstate_offset() + xstate_len + sizeof(uint32_t) + 63) & ~(size_t)63;
}

static void put_xstate(uint8_t *to, const struct arch_xstate *x)
{
	struct _fpx_sw_bytes sw = {
		.magic1 = FP_XSTATE_MAGIC1,
		.extended_size = (uint32_t)(x->len + sizeof(uint32_t)),
		.xstate_size = (uint32_t)x->len,
	};
	uint32_t magic2 = FP_XSTATE_MAGIC2;

	memcpy(to, x->data, x->len);
	memcpy(&sw.xstate_bv, x->data + SW_BYTES_OFFSET, 8);
	sw.xstate_bv &= ~XFEATURES_DYNAMIC;
	memcpy(to + SW_BYTES_OFFSET, &sw, sizeof(sw));
	memcpy(to + x->len, &magic2, sizeof(magic2));
}

static_assert(offsetof(struct rt_sigframe, uc.mcontext) == ARCH_CONTEXT_OFFSET, "context");
static_assert(offsetof(struct sigcontext, cs) == ARCH_CONTEXT_SIZE, "registers first");

static void put_registers(struct sigcontext *c, const struct user_regs_struct *u)
{
	c->r8 = u->r8;
	c->r9 = u->r9;
	c->r10 = u->r10;
	c->r11 = u->r11;
	c->r12 = u->r12;
	c->r13 = u->r13;
	c->r14 = u->r14;
	c->r15 = u->r15;
	c->rdi = u->rdi;
	c->rsi = u->rsi;
	c->rbp = u->rbp;
	c->rbx = u->rbx;
	c->rdx = u->rdx;
	c->rax = u->rax;
	c->rcx = u->rcx;
	c->rsp = u->rsp;
	c->rip = u->rip;
	c->eflags = u->eflags;
}

void arch_build_context(uint8_t *buf, const struct arch_regs *regs)
{
	struct sigcontext c;

	put_registers(&c, &regs->user);
	memcpy(buf, &c, ARCH_CONTEXT_SIZE);
}

void arch_build_frame(uint8_t *buf, uint64_t addr, const struct arch_regs *regs,
	const struct arch_xstate *xstate, uint64_t sigmask, const struct arch_altstack *altstack,
	uint64_t *ret_sp)
{
	const struct user_regs_struct *u = &regs->user;
	struct rt_sigframe f;
	struct sigcontext *c = &f.uc.mcontext;

	memset(&f, 0, sizeof(f));
	f.uc.flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	f.uc.stack = *altstack;
	f.uc.sigmask = sigmask;
	put_registers(c, u);
	c->cs = (uint16_t)u->cs;
	c->__pad0 = (uint16_t)u->ss;
	c->__fpstate_word = addr + xstate_offset();
	memcpy(buf, &f, sizeof(f));
	put_xstate(buf + xstate_offset(), xstate);
	/* rt_sigreturn finds the frame one word below the stack pointer, where the signal
	 * handler's return address was. */
	*ret_sp = addr + sizeof(uint64_t);
}

static_assert(offsetof(struct sigcontext, rip) == offsetof(struct sigcontext, rsp) + 8, "rsp, rip");

bool arch_frame_saves(const uint64_t *words, size_t n, uint64_t sp, uint64_t ip)
{
	for (size_t i = 0; i + 1 < n; i++)
		if (words[i] == sp &&
			(words[i + 1] == ip || words[i + 1] == ip - ARCH_SYSCALL_SIZE))
			return true;
	return false;
}
