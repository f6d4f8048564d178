/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a failed process was doing: the registers of its threads as the swap found them, and a task
 * in which its memory is kept. For post-mortems, which have all the time of the world, in another
 * process: the memory costs what the dead had written since its last checkpoint.
 *
 * Taken only with twin_config.keep_remains, which makes a swap stop the threads that are at work
 * before it kills them. Threads of a process that was gone already (SIGKILL, exit) have no
 * registers left. A process that lives can be looked at the same way with twin_snapshot(): then
 * the tops of the stacks are copied, because the memory goes on.
 */
#include "supervisor/twin/arch/arch.h"
#include "supervisor/twin/twin.h"

#define TWIN_STACK_MAX 16384

struct twin_remains_thread {
	pid_t tid;
	bool at_fault;
	char name[16];
	struct arch_regs regs;
	uint64_t stack_at; /* of .stack; 0: not copied, it is in the memory */
	size_t stack_len;
	uint8_t *stack;
};

/* Of the last swap, or the last process that was let die and forgotten. *ret_memory: a parked task
 * that shares the memory of the dead, 0: none. Both stay until twin_remains_drop(), the next swap,
 * or the end of the engine. */
unsigned twin_remains(const struct twin_engine *e, pid_t *ret_memory,
	const struct twin_remains_thread **ret_threads);
void twin_remains_drop(struct twin_engine *e);

/* The threads of the active, stopped for a moment at one time: how many, or negative errno.
 * The result is twin_remains()'s, with no task for the memory: it is the active's. */
_must_check_ int twin_snapshot(struct twin_engine *e);
