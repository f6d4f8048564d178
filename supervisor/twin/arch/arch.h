/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * All that the twin engine needs to know of a processor: registers, how a system call is made
 * and undone, how a thread's whole state is put into a signal frame, and the injected routine
 * that rebuilds a process out of a twin's memory. One folder per architecture implements it.
 *
 * Errors: negative errno. Nothing here allocates.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "config/macro.h"

/* Largest XSTATE image that PTRACE_GETREGSET may return here. */
#define ARCH_XSTATE_MAX 16384

struct arch_regs {
	struct user_regs_struct user;
};
struct arch_xstate {
	size_t len; /* as the signal frame will carry it */
	uint8_t *data;
};
struct arch_altstack {
	uint64_t sp;
	int32_t flags;
	uint32_t pad;
	uint64_t size;
};

_must_check_ int arch_get_regs(pid_t tid, struct arch_regs *ret);
_must_check_ int arch_set_regs(pid_t tid, const struct arch_regs *regs);
/* data has room for ARCH_XSTATE_MAX. -ENOTSUP: state that a signal frame cannot carry (AMX). */
_must_check_ int arch_get_xstate(pid_t tid, struct arch_xstate *ret);

bool arch_is_native(const struct arch_regs *r); /* 64-bit code: what we can inject into */
bool arch_in_syscall(const struct arch_regs *r);
long arch_syscall_nr(const struct arch_regs *r);
long arch_syscall_result(const struct arch_regs *r);
uint64_t arch_syscall_arg(const struct arch_regs *r, unsigned i);
void arch_set_syscall_arg(struct arch_regs *r, unsigned i, uint64_t value);
/*
 * A number of at most 24 bits that rides along with a system call, from the one in which the thread
 * stands to the same one made again, and is seen by nobody else (x86_64: the upper half of rax,
 * which the kernel keeps in orig_rax but does not take for a part of the number). 0: none.
 */
uint32_t arch_mark(const struct arch_regs *r);
void arch_set_mark(struct arch_regs *r, uint32_t mark);
/* As if it had returned to user mode since. */
void arch_leave_syscall(struct arch_regs *r);
/* Right in front of call nr, behind which is ip. */
bool arch_before_syscall(const struct arch_regs *r, uint64_t ip, long nr);
/* There: make it another one. */
void arch_set_next_syscall(struct arch_regs *r, long nr);
/* From in front of a call to the state of one that ended so. */
void arch_reenter_syscall(struct arch_regs *r, long nr, long error);
/* In or in front of a call: over, with that result. */
void arch_finish_syscall(struct arch_regs *r, long result);
/* What the kernel itself will look at when the thread goes on: real number and error. */
void arch_set_restart(struct arch_regs *r, long nr, long error);
/* As if the thread were just about to make system call nr once more. */
void arch_rewind_syscall(struct arch_regs *r, long nr);
/* The call by which a thread asks whether it may read the processor's identity; false: none. */
bool arch_identity_question(long *ret_nr, uint64_t ret_args[6]);
/* And the one by which it is told so again. */
bool arch_identity_answer(long told, long *ret_nr, uint64_t ret_args[6]);
uint64_t arch_ip(const struct arch_regs *r);
void arch_set_ip(struct arch_regs *r, uint64_t ip);
uint64_t arch_sp(const struct arch_regs *r);
uint64_t arch_tls(const struct arch_regs *r);
uint64_t arch_second_base(const struct arch_regs *r); /* GS; 0 where there is none */

/* The registers in the order of the architecture's DWARF numbers, for unwinding: how many, 0 to
 * n - 1, and the program counter. */
#define ARCH_DWARF_REGISTERS_MAX 32
#ifdef __x86_64__
#define ARCH_ELF_MACHINE EM_X86_64
#else
#define ARCH_ELF_MACHINE EM_AARCH64
#endif
unsigned arch_dwarf_registers(
	const struct arch_regs *r, uint64_t ret[ARCH_DWARF_REGISTERS_MAX], uint64_t *ret_pc);
/* One line each, for people. */
struct arch_register_name {
	const char *name;
	uint64_t value;
};
unsigned arch_list_registers(
	const struct arch_regs *r, struct arch_register_name *ret, unsigned max);

/* Offset of a system call instruction inside the vdso; -ENOTSUP when there is none. */
long arch_find_syscall(const void *vdso, size_t len);
#define ARCH_SYSCALL_SIZE 2
void arch_prepare_call(struct arch_regs *r, uint64_t insn, long nr, const uint64_t args[6]);
/* Where and with what the routine below starts; it uses no stack. code: where its copy is;
 * thread: address of the struct routine_thread, of ROUTINE_THREAD only. */
enum routine_entry {
	ROUTINE_BUILD,  /* all of it, in the template */
	ROUTINE_CALLS,  /* the first list of calls, then a trap */
	ROUTINE_LEADER, /* a leader that stands already: lists, missing threads, set-up, frame */
	ROUTINE_THREAD, /* a thread that stands already: set-up, frame */
	ROUTINE_LATE,   /* both lists of calls, then a trap */
};
void arch_prepare_routine(struct arch_regs *r, uint64_t code, enum routine_entry entry,
	uint64_t argument, uint64_t thread);

/* --- signal frames: the state of one thread, to be loaded by rt_sigreturn ------------------ */
size_t arch_frame_size(size_t xstate_len);
#define ARCH_FRAME_ALIGN 64
/* Build at buf what will live at addr in the twin. *ret_sp: the stack pointer for rt_sigreturn. */
void arch_build_frame(uint8_t *buf, uint64_t addr, const struct arch_regs *regs,
	const struct arch_xstate *xstate, uint64_t sigmask, const struct arch_altstack *altstack,
	uint64_t *ret_sp);
/* Is among these words of a stack a frame that the kernel made where a thread had this stack
 * pointer, and this instruction pointer or, to make a call again, the one in front of it? */
bool arch_frame_saves(const uint64_t *words, size_t n, uint64_t sp, uint64_t ip);

/* The registers in it, for what is known only later. */
#define ARCH_CONTEXT_OFFSET 48
#define ARCH_CONTEXT_SIZE 144
void arch_build_context(uint8_t *buf, const struct arch_regs *regs);

/* --- the injected routine (routine.S) ------------------------------------------------------- */
/*
 * It runs in the twin: first clone3 of the new leader, which makes one list of calls (descriptor
 * repairs), clones the threads, makes another list of calls (timers, signals) and stops; each of
 * them stands at its first ptrace stop until let go, then makes its own set-up calls and loads its
 * frame. In a process whose threads still stand (a rollback in place) the leader makes the lists
 * and only the threads that are missing: those whose result is not their tid yet. The layout below
 * is known to routine.S by number.
 */
struct routine_call {
	uint64_t nr;
	uint64_t args[6];
	int64_t result;
};
struct routine_thread {
	uint64_t clone_args[11]; /* struct clone_args, 88 bytes */
	int64_t result;          /* of clone3: the tid or -errno */
	uint32_t wanted_tid;     /* the set_tid array */
	uint32_t steer;          /* trap before it is cloned (see stepwise) */
	uint64_t tid_addr;
	uint64_t robust_head, robust_len;
	uint64_t rseq, rseq_len, rseq_sig;
	uint64_t gs_base;
	uint64_t frame_sp;
	char name[16];
	uint64_t timer_slack;         /* 0: leave it */
	uint64_t parent_death_signal; /* 0: none */
};
struct routine_args {
	uint64_t n_calls;
	uint64_t calls; /* address of struct routine_call[] */
	/* The keeper steers the pids by ns_last_pid: trap before the leader's clone and where a
	 * thread says so, and after each clone that missed. */
	uint64_t stepwise;
	uint64_t n_threads;                    /* [0] is the leader */
	uint64_t threads;                      /* address of struct routine_thread[] */
	uint64_t n_leader_calls, leader_calls; /* made by the leader when all threads are there */
	uint64_t trap_before_frame; /* each thread stops once more before it loads its frame */
	uint64_t n_thread_calls, thread_calls; /* made by each thread, before that stop */
};
/* Of a task that the routine has just cloned: the address of its struct routine_thread. */
uint64_t arch_routine_thread(const struct arch_regs *r);
extern const uint8_t arch_routine_begin[], arch_routine_end[];
