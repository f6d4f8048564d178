/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Private memory of one process made equal to that of another which was forked from it: what
 * either has written since stands in another page frame, so frames are compared and contents
 * copied only where they differ.
 *
 * Both must stand still and have the same mappings. Shared mappings are left alone. The source is
 * only read. Nothing here allocates but pages_new(). Errors: negative errno; the target is then
 * half-way between the two, and fit for nothing.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"

struct pages;
struct injection;

_must_check_ int pages_new(struct pages **ret);
void pages_free(struct pages *p);
/* False: this process may not see frame numbers (it needs CAP_SYS_ADMIN). */
bool pages_visible(const struct pages *p);

struct page_range {
	uint64_t start, end;
};
/* in: an injection, begun, into a task that shares the target's memory. skip: left out. */
_must_check_ int pages_restore(struct pages *p, pid_t target, pid_t source, struct injection *in,
	const struct page_range *skip, unsigned n_skip, uint64_t *ret_copied);
/* One stretch of memory, whatever its protection. */
_must_check_ int pages_copy(struct pages *p, pid_t target, pid_t source, uint64_t at, size_t len);
