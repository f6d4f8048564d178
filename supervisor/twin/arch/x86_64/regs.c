/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "supervisor/twin/arch/arch.h"

#define USER64_CS 0x33
#define ARCH_GET_CPUID 0x1011 /* asm/prctl.h */
#define ARCH_SET_CPUID 0x1012

/* routine.S */
extern const uint8_t arch_routine_calls[], arch_routine_leader[], arch_routine_thread_entry[],
	arch_routine_late[];

int arch_get_regs(pid_t tid, struct arch_regs *ret)
{
	return ptrace(PTRACE_GETREGS, tid, NULL, &ret->user) < 0 ? -errno : 0;
}

int arch_set_regs(pid_t tid, const struct arch_regs *regs)
{
	return ptrace(PTRACE_SETREGS, tid, NULL, &regs->user) < 0 ? -errno : 0;
}

bool arch_is_native(const struct arch_regs *r)
{
	return r->user.cs == USER64_CS;
}

/* Entry by anything but a system call leaves -1 there (arch/x86/entry). */
bool arch_in_syscall(const struct arch_regs *r)
{
	return (long)r->user.orig_rax >= 0;
}

long arch_syscall_nr(const struct arch_regs *r)
{
	return (int)r->user.orig_rax; /* the kernel looks at no more of it */
}

#define MARK_SHIFT 32
#define NUMBER_MASK 0xffffffffULL

uint32_t arch_mark(const struct arch_regs *r)
{
	return (uint32_t)((arch_in_syscall(r) ? r->user.orig_rax : r->user.rax) >> MARK_SHIFT);
}

void arch_set_mark(struct arch_regs *r, uint32_t mark)
{
	unsigned long long *number = arch_in_syscall(r) ? &r->user.orig_rax : &r->user.rax;

	*number = (*number & NUMBER_MASK) | (unsigned long long)mark << MARK_SHIFT;
}

bool arch_before_syscall(const struct arch_regs *r, uint64_t ip, long nr)
{
	return !arch_in_syscall(r) && r->user.rip + ARCH_SYSCALL_SIZE == ip &&
	       (r->user.rax & NUMBER_MASK) == (unsigned long)nr;
}

void arch_leave_syscall(struct arch_regs *r)
{
	r->user.orig_rax = (unsigned long)-1L;
}

void arch_set_next_syscall(struct arch_regs *r, long nr)
{
	r->user.rax = (unsigned long)nr;
}

void arch_reenter_syscall(struct arch_regs *r, long nr, long error)
{
	r->user.rip += ARCH_SYSCALL_SIZE;
	r->user.orig_rax = (unsigned long)nr;
	r->user.rax = (unsigned long)error;
}

void arch_finish_syscall(struct arch_regs *r, long result)
{
	if (!arch_in_syscall(r))
		r->user.rip += ARCH_SYSCALL_SIZE;
	r->user.orig_rax = (unsigned long)-1L;
	r->user.rax = (unsigned long)result;
}

long arch_syscall_result(const struct arch_regs *r)
{
	return (long)r->user.rax;
}

uint64_t arch_syscall_arg(const struct arch_regs *r, unsigned i)
{
	const unsigned long long args[] = {
		r->user.rdi, r->user.rsi, r->user.rdx, r->user.r10, r->user.r8, r->user.r9};
	return i < ELEMENTSOF(args) ? args[i] : 0;
}

void arch_set_syscall_arg(struct arch_regs *r, unsigned i, uint64_t value)
{
	unsigned long long *const args[] = {
		&r->user.rdi, &r->user.rsi, &r->user.rdx, &r->user.r10, &r->user.r8, &r->user.r9};
	if (i < ELEMENTSOF(args))
		*args[i] = value;
}

void arch_set_restart(struct arch_regs *r, long nr, long error)
{
	r->user.orig_rax = (unsigned long)nr;
	r->user.rax = (unsigned long)error;
}

void arch_rewind_syscall(struct arch_regs *r, long nr)
{
	r->user.rip -= ARCH_SYSCALL_SIZE;
	r->user.rax = (unsigned long)nr;
	r->user.orig_rax = (unsigned long)-1L;
}

bool arch_identity_question(long *ret_nr, uint64_t ret_args[6])
{
	memset(ret_args, 0, 6 * sizeof(ret_args[0]));
	ret_args[0] = ARCH_GET_CPUID;
	*ret_nr = SYS_arch_prctl;
	return true;
}

bool arch_identity_answer(long told, long *ret_nr, uint64_t ret_args[6])
{
	memset(ret_args, 0, 6 * sizeof(ret_args[0]));
	ret_args[0] = ARCH_SET_CPUID;
	ret_args[1] = (uint64_t)told;
	*ret_nr = SYS_arch_prctl;
	return told >= 0;
}

uint64_t arch_ip(const struct arch_regs *r)
{
	return r->user.rip;
}

void arch_set_ip(struct arch_regs *r, uint64_t ip)
{
	r->user.rip = ip;
}

uint64_t arch_sp(const struct arch_regs *r)
{
	return r->user.rsp;
}

long arch_find_syscall(const void *vdso, size_t len)
{
	const uint8_t *p = vdso;

	/* We jump right at it and step over it, so it may be the middle of something else. */
	for (size_t i = 0; i + 1 < len; i++)
		if (p[i] == 0x0f && p[i + 1] == 0x05)
			return (long)i;
	return -ENOTSUP;
}

void arch_prepare_call(struct arch_regs *r, uint64_t insn, long nr, const uint64_t args[6])
{
	r->user.orig_rax = (unsigned long)-1L; /* no restart of what was interrupted */
	r->user.rax = (unsigned long)nr;
	r->user.rip = insn;
	for (unsigned i = 0; i < 6; i++)
		arch_set_syscall_arg(r, i, args[i]);
}

void arch_prepare_routine(struct arch_regs *r, uint64_t code, enum routine_entry entry,
	uint64_t argument, uint64_t thread)
{
	const uint8_t *const entries[] = {
		[ROUTINE_BUILD] = arch_routine_begin,
		[ROUTINE_CALLS] = arch_routine_calls,
		[ROUTINE_LEADER] = arch_routine_leader,
		[ROUTINE_THREAD] = arch_routine_thread_entry,
		[ROUTINE_LATE] = arch_routine_late,
	};

	r->user.orig_rax = (unsigned long)-1L;
	r->user.rip = code + (uint64_t)(entries[entry] - arch_routine_begin);
	r->user.rbx = argument;
	r->user.r13 = thread;
	r->user.eflags &= ~0x500UL; /* no direction flag, no trap flag */
}

uint64_t arch_tls(const struct arch_regs *r)
{
	return r->user.fs_base;
}

uint64_t arch_second_base(const struct arch_regs *r)
{
	return r->user.gs_base;
}

uint64_t arch_routine_thread(const struct arch_regs *r)
{
	return r->user.r14; /* routine.S */
}
