/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The injected routine: rebuilds a process out of a twin's memory. Position-independent, uses
 * no stack and no data but the structures of arch/arch.h, whose offsets it knows by number
 * (checked by static assertions in frame.c).
 *
 * rbx: struct routine_args. Every int3 hands over to the keeper.
 */
	.section .rodata
	.globl arch_routine_begin, arch_routine_calls, arch_routine_end
	.globl arch_routine_leader, arch_routine_thread_entry, arch_routine_late
	.type arch_routine_begin, @object
	.type arch_routine_calls, @object
	.type arch_routine_end, @object

#define NR_arch_prctl 158
#define NR_prctl 157
#define NR_rt_sigreturn 15
#define NR_clone3 435
#define NR_set_tid_address 218
#define NR_set_robust_list 273
#define NR_rseq 334
#define NR_gettid 186
#define NR_exit 60

#define A_N_CALLS 0
#define A_CALLS 8
#define A_STEPWISE 16
#define A_N_THREADS 24
#define A_THREADS 32
#define A_N_LEADER_CALLS 40
#define A_LEADER_CALLS 48
#define A_TRAP 56
#define A_N_THREAD_CALLS 64
#define A_THREAD_CALLS 72

#define C_NR 0
#define C_ARGS 8
#define C_RESULT 56
#define C_SIZE 64

#define T_RESULT 88
#define T_WANTED 96
#define T_STEER 100
#define T_TID_ADDR 104
#define T_ROBUST 112
#define T_ROBUST_LEN 120
#define T_RSEQ 128
#define T_RSEQ_LEN 136
#define T_RSEQ_SIG 144
#define T_GS 152
#define T_FRAME 160
#define T_NAME 168
#define T_SLACK 184
#define T_DEATH 192
#define T_SIZE 200

	/* Make the calls of a list, one after the other; uses r12 and rbp. */
	.macro call_list n, calls
	movq \n(%rbx), %r12
	movq \calls(%rbx), %rbp
1:	testq %r12, %r12
	jz 2f
	movq C_ARGS + 0(%rbp), %rdi
	movq C_ARGS + 8(%rbp), %rsi
	movq C_ARGS + 16(%rbp), %rdx
	movq C_ARGS + 24(%rbp), %r10
	movq C_ARGS + 32(%rbp), %r8
	movq C_ARGS + 40(%rbp), %r9
	movq C_NR(%rbp), %rax
	syscall
	movq %rax, C_RESULT(%rbp)
	addq $C_SIZE, %rbp
	decq %r12
	jmp 1b
2:
	.endm

arch_routine_begin:
	jmp .Lleader

	/* Only the list of calls. */
arch_routine_calls:
	call_list A_N_CALLS, A_CALLS
	int3
	hlt

	/* A main thread that stands already. */
arch_routine_leader:
	movq A_THREADS(%rbx), %r13
	jmp .Lthreads

	/* The new leader: a process of its own out of this memory. */
.Lleader:
	movq A_THREADS(%rbx), %r13
	cmpq $0, A_STEPWISE(%rbx)
	je .Lleader_clone
	int3
.Lleader_clone:
	movq %r13, %r14		/* as for the threads: the keeper sees whose clone it is */
	movq %r13, %rdi
	movl $88, %esi
	movl $NR_clone3, %eax
	syscall
	testq %rax, %rax
	jz .Lin_leader
	movq %rax, T_RESULT(%r13)
	int3
	jmp .Lleader_clone	/* only where the keeper wants another try */

	/* In the leader: now the other threads. */
.Lin_leader:
	cmpq $0, A_STEPWISE(%rbx)
	je .Lthreads
	movl $NR_gettid, %eax
	syscall
	movl T_WANTED(%r13), %ecx
	cmpq %rcx, %rax
	jne .Lwrong_tid
.Lthreads:
	call_list A_N_CALLS, A_CALLS
	movq A_N_THREADS(%rbx), %r12
	decq %r12
	leaq T_SIZE(%r13), %r14
.Lthread:
	testq %r12, %r12
	jz .Lthreads_done
	movl T_WANTED(%r14), %ecx
	cmpq T_RESULT(%r14), %rcx
	je .Lthread_next	/* stands already */
	cmpl $0, T_STEER(%r14)
	je .Lthread_clone
.Lthread_again:
	int3
.Lthread_clone:
	movq %r14, %rdi
	movl $88, %esi
	movl $NR_clone3, %eax
	syscall
	testq %rax, %rax
	jz .Lin_thread
	movq %rax, T_RESULT(%r14)
	js .Lfailed
	movl T_WANTED(%r14), %ecx
	cmpq %rcx, %rax
	jne .Lthread_again	/* stepwise only: the wrong one ends itself */
.Lthread_next:
	addq $T_SIZE, %r14
	decq %r12
	jmp .Lthread
.Lthreads_done:
	call_list A_N_LEADER_CALLS, A_LEADER_CALLS
	int3
	jmp .Lset_up

.Lin_thread:
	movq %r14, %r13
	cmpq $0, A_STEPWISE(%rbx)
	je .Lset_up
	movl $NR_gettid, %eax
	syscall
	movl T_WANTED(%r13), %ecx
	cmpq %rcx, %rax
	je .Lset_up
.Lwrong_tid:
	xorl %edi, %edi
	movl $NR_exit, %eax
	syscall
	hlt
.Lfailed:
	int3
	jmp .Lthread_clone	/* likewise */

	/* What only a thread can do for itself; then its frame. r13: struct routine_thread. */
arch_routine_thread_entry:
.Lset_up:
	movq T_TID_ADDR(%r13), %rdi
	movl $NR_set_tid_address, %eax
	syscall
	movq T_ROBUST_LEN(%r13), %rsi
	testq %rsi, %rsi
	jz 1f
	movq T_ROBUST(%r13), %rdi
	movl $NR_set_robust_list, %eax
	syscall
1:	movq T_RSEQ(%r13), %rdi
	testq %rdi, %rdi
	jz 1f
	movq T_RSEQ_LEN(%r13), %rsi
	xorl %edx, %edx
	movq T_RSEQ_SIG(%r13), %r10
	movl $NR_rseq, %eax
	syscall
1:	movl $15, %edi		/* PR_SET_NAME */
	leaq T_NAME(%r13), %rsi
	movl $NR_prctl, %eax
	syscall
	movq T_SLACK(%r13), %rsi
	testq %rsi, %rsi
	jz 1f
	movl $29, %edi		/* PR_SET_TIMERSLACK */
	movl $NR_prctl, %eax
	syscall
	/* Credentials that change take the parent-death signal away. */
1:	call_list A_N_THREAD_CALLS, A_THREAD_CALLS
	movq T_DEATH(%r13), %rsi
	testq %rsi, %rsi
	jz 1f
	movl $1, %edi		/* PR_SET_PDEATHSIG */
	movl $NR_prctl, %eax
	syscall
1:	movq T_GS(%r13), %rsi
	testq %rsi, %rsi
	jz 1f
	movl $0x1001, %edi	/* ARCH_SET_GS */
	movl $NR_arch_prctl, %eax
	syscall
1:	cmpq $0, A_TRAP(%rbx)
	je 1f
	int3
1:	movq T_FRAME(%r13), %rsp
	movl $NR_rt_sigreturn, %eax
	syscall
	hlt

	/* A main thread whose threads were made long before: what had to wait for the swap. */
arch_routine_late:
	call_list A_N_CALLS, A_CALLS
	call_list A_N_LEADER_CALLS, A_LEADER_CALLS
	int3
	hlt
arch_routine_end:
	.size arch_routine_begin, . - arch_routine_begin

	.section .note.GNU-stack, "", @progbits
