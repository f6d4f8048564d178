/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The layout of an address space: recorded of a twin at leisure, compared with that of the active
 * at a rollback in place, and put back by system calls of a task that shares the memory. Contents
 * are not looked at here: see pages.h.
 *
 * What was mapped since is unmapped, what was unmapped or covered by something else since is mapped
 * again, protection is put back. A mapped file is found again through the twin's own mapping of
 * it (/proc/PID/map_files) or by its path.
 *
 * Memory is got by layout_reserve(), outside of the swap. Errors: negative errno; -ENOSPC from
 * layout_read() asks for more room.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"

enum mapping_kind { MAPPING_ANONYMOUS, MAPPING_FILE, MAPPING_KERNEL };

struct mapping {
	uint64_t start, end;
	uint64_t offset, inode;
	uint32_t device;
	uint8_t kind; /* enum mapping_kind; KERNEL: vdso and the like, never changed */
	uint8_t prot; /* PROT_... */
	bool shared;
	bool aio; /* the ring of an AIO context */
};
struct layout {
	struct mapping *items;
	size_t n, n_max; /* n may exceed n_max after -ENOSPC */
};

_must_check_ int layout_reserve(struct layout *l, size_t n);
void layout_free(struct layout *l);
_must_check_ int layout_read(struct layout *l, pid_t pid);
/* Leave out [start, end): scratch memory. */
void layout_leave_out(struct layout *l, uint64_t start, uint64_t end);
/* Where there is nothing, and room was reserved. */
void layout_insert(struct layout *l, const struct mapping *m);

struct injection;
/*
 * First what is in the way goes, then what is missing is made; between the two the caller may
 * map memory of its own where now has none. source is the twin, which has the layout then;
 * path_at: PATH_MAX bytes in the injected task's memory.
 */
_must_check_ int layout_unmap(
	struct injection *in, const struct layout *then, const struct layout *now);
_must_check_ int layout_map(struct injection *in, const struct layout *then,
	const struct layout *now, pid_t source, uint64_t path_at);
