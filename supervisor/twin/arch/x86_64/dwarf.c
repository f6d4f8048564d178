/* SPDX-License-Identifier: Apache-2.0 */
/* Registers for unwinders and people: System V ABI, AMD64 supplement, figure 3.36. */
#include "supervisor/twin/arch/arch.h"

unsigned arch_dwarf_registers(
	const struct arch_regs *r, uint64_t ret[ARCH_DWARF_REGISTERS_MAX], uint64_t *ret_pc)
{
	const struct user_regs_struct *u = &r->user;
	const uint64_t values[] = {u->rax, u->rdx, u->rcx, u->rbx, u->rsi, u->rdi, u->rbp, u->rsp,
		u->r8, u->r9, u->r10, u->r11, u->r12, u->r13, u->r14, u->r15, u->rip};

	for (unsigned i = 0; i < ELEMENTSOF(values); i++)
		ret[i] = values[i];
	*ret_pc = u->rip;
	return ELEMENTSOF(values);
}

unsigned arch_list_registers(
	const struct arch_regs *r, struct arch_register_name *ret, unsigned max)
{
	const struct user_regs_struct *u = &r->user;
	const struct arch_register_name all[] = {
		{"rax", u->rax},
		{"rbx", u->rbx},
		{"rcx", u->rcx},
		{"rdx", u->rdx},
		{"rsi", u->rsi},
		{"rdi", u->rdi},
		{"rbp", u->rbp},
		{"rsp", u->rsp},
		{"r8", u->r8},
		{"r9", u->r9},
		{"r10", u->r10},
		{"r11", u->r11},
		{"r12", u->r12},
		{"r13", u->r13},
		{"r14", u->r14},
		{"r15", u->r15},
		{"rip", u->rip},
		{"eflags", u->eflags},
		{"fs_base", u->fs_base},
		{"gs_base", u->gs_base},
		{"orig_rax", u->orig_rax},
	};
	unsigned n = MIN2((unsigned)ELEMENTSOF(all), max);

	for (unsigned i = 0; i < n; i++)
		ret[i] = all[i];
	return n;
}
