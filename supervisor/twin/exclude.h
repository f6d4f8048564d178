/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Memory that is left out of twins, by the name of its mapping or because the program has marked it
 * MADV_DONTFORK, so that a freeze does not copy its page tables and no page of it is ever copied.
 *
 * What was left out comes back as zero pages, or with the contents that it had at the end of the
 * active (share), which are fetched at the swap: some 0.4 ms a MB that is in use. A mapping that is
 * shared with others (MAP_SHARED) is never copied anyway and stays as it is.
 *
 * The names are looked up at leisure; in the freeze only that each range is still what it was.
 * Anonymous memory is wiped in the copy (MADV_WIPEONFORK), else the copy is made without it
 * (MADV_DONTFORK) and given new anonymous memory in its place; both marks are taken back before
 * the active goes on. A private mapping of a file that can still be opened by its name comes back
 * as the file is. Mappings that can be executed, and those of files that are also mapped so,
 * are never left out. Errors: negative errno.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/macro.h"

#define EXCLUDED_MAX 64
#define EXCLUDED_TEXT_MAX 128

struct excluded_range {
	uint64_t start, end, inode, offset;
	int prot;
	bool share;
	bool anonymous;  /* wiped; else left out */
	bool by_program; /* MADV_DONTFORK */
	bool marked;
	uint32_t device; /* as in struct mapping */
	char name[160];
};
struct excluded_memory {
	struct excluded_range items[EXCLUDED_MAX];
	unsigned n;
	uint64_t shared_anyway; /* bytes of mappings that were named, but are MAP_SHARED */
	bool incomplete;        /* more than EXCLUDED_MAX: the others are copied as usual */
};

struct twin_engine;
struct twin;
struct injection;
struct marked_list;
struct twin_swap;

/* At leisure. */
_must_check_ int exclude_look(struct twin_engine *e);
/* In the freeze, around the fork. */
_must_check_ int exclude_mark(struct twin_engine *e, struct injection *in);
_must_check_ int exclude_unmark(struct twin_engine *e, struct injection *in);
/* Pages that the copy lacks by our will. */
uint64_t exclude_missing(const struct excluded_memory *x);
/* Of what the copy lacks, take out what it lacks by our will or the program's. */
void exclude_claim(struct twin_engine *e, struct marked_list *left_out);
/* In the copy: what is left out is there again, empty. Before anything else is mapped. */
_must_check_ int exclude_fill(struct twin *w, struct injection *in);
/* Calls of the new main thread. */
struct leader_calls;
void exclude_restore(const struct twin *w, struct leader_calls *calls);
/* At the swap, the active dead and the twin not yet let go. False: some contents were not to be
 * had. */
bool exclude_fetch(struct twin_engine *e, const struct twin *w);
/* For a rollback in place: the layout of the copy as that of the active was, and what of the
 * active's memory is to be left as it is. */
struct layout;
struct page_range;
void exclude_amend(const struct excluded_memory *x, struct layout *l);
unsigned exclude_kept(const struct excluded_memory *x, struct page_range *ret, unsigned max);
/* "64.0M as zeros, 1.5M shared"; "" where nothing is. */
void exclude_describe(const struct excluded_memory *x, char *text, size_t size);
