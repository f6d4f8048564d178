/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What twinit-backtrace is asked to do: a text on its standard input, which it reads to the end.
 * Lines of KEY=value, in any order but for THREAD= and REGS=:
 *
 *	NODE=voxel-grid
 *	KIND=crash		(or hang)
 *	CAUSE=signal
 *	SIGNAL=11
 *	FAULT=SIGSEGV at 0x0 in libnode.so+0x12ab, seen 1 time
 *	PID=4711		(as it was)
 *	REALTIME_USEC=1700000000000000
 *	MEMORY_PID=4799		(a task whose memory is the process's)
 *	OUTCOME=swapped		(or cold-restart, failed, watched)
 *	CORE=yes
 *	INFO=any line, repeatable: what else the keeper knows
 *	THREAD=4711 1 name	(tid; 1: the one at fault; its name)
 *	STACK=address hex bytes	(the top of its stack as it was, where MEMORY_PID lives on)
 *	REGS=hex bytes of the architecture's register set; a thread without was not at hand
 *
 * Ownership: everything inside belongs to the order. Errors: -EBADMSG, -ENOMEM.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "supervisor/twin/arch/arch.h"

#define ORDER_TEXT_MAX 256
#define ORDER_THREADS_MAX 4096

struct order_thread {
	pid_t tid;
	bool at_fault, known;
	char name[32];
	struct arch_regs regs;
	uint64_t stack_at; /* memory that has moved on since; 0: none */
	uint8_t *stack;
	size_t stack_len;
};

struct order {
	char node[ORDER_TEXT_MAX], kind[16], cause[32], fault[ORDER_TEXT_MAX], outcome[32];
	int signal;
	pid_t pid, memory_pid;
	uint64_t realtime;
	bool core;
	char *info; /* lines, each ended by a newline; NULL: none */
	size_t info_len;
	struct order_thread *threads;
	size_t n_threads;
};

_must_check_ int order_parse(char *text, struct order *ret);
void order_clear(struct order *o);
