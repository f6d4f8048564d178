/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a keeper hands to twinit-backtrace, through a memfd: where each thread of a process was at
 * one moment. The memory that goes with it is read from a living process, which need not be that
 * one: any that shares or holds a copy of its memory will do.
 *
 * twinit-backtrace --id=NODE --pid=PID --registers-fd=N [--why=TEXT] [--log-level=LEVEL]
 *
 * writes the back traces with symbols into the log, under the node's name. It is a program of its
 * own because libdw reads files of any size and any content, for seconds: no keeper may wait for
 * that, or fall with it. Without a registers-fd it stops PID itself for a moment, where nobody
 * else traces it.
 */
#include <stdint.h>

#include "supervisor/twin/twin.h"

#define POSTMORTEM_MAGIC 0x54574e42u
#define POSTMORTEM_THREADS_MAX 256

struct postmortem_registers {
	uint32_t magic;
	uint32_t n_threads;
	struct twin_registers threads[POSTMORTEM_THREADS_MAX];
};
