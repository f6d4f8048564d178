/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a failure was, so that the same one is known again: a node that is rolled back forgets the
 * path that led it into the fault, its keeper does not.
 *
 * A fault is signal and instruction (or exit status, or the name of the probe). The instruction's
 * address identifies it among all twins of one process. For the next process, which is loaded
 * elsewhere, fault_locate() finds the file, the offset in it and the build-id: of that the memory
 * of the process is asked, no disk. Not on the swap's path.
 *
 * Failures that come from outside (kill -9, a failover on request) are no faults.
 */
#include "supervisor/keeper/protocol.h"

#define FAULT_BUILD_ID_MAX 20

struct fault {
	enum node_result cause; /* RESULT_SUCCESS: none */
	int number;             /* the signal, or the exit status */
	uint64_t instruction, address;
	/* of the instruction, where it lies in a file */
	char module[64]; /* its last part, "" where not known */
	uint64_t offset;
	uint8_t build_id[FAULT_BUILD_ID_MAX];
	unsigned build_id_len;
	unsigned times; /* seen, in this keeper's life */
};

#define FAULTS_KEPT 16
struct fault_memory {
	struct fault known[FAULTS_KEPT];
	unsigned next;
	struct fault last; /* .cause RESULT_SUCCESS: the last failure was none */
};

/* In one process and its twins. */
bool fault_is_same(const struct fault *a, const struct fault *b);
void fault_locate(struct fault *f, pid_t pid);
/* Counts it, across processes where it could be located; f->times says how often by now. */
void fault_remember(struct fault_memory *m, struct fault *f);
/* "libnode.so+0x12ab (build-id 3f..), SIGSEGV at 0x0, seen 2 times"; "" for none. */
void fault_format(const struct fault *f, char *ret, size_t size);
