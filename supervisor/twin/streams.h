/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * TCP streams of a process: where each stood at a checkpoint, and what became of it since.
 *
 * Memory goes back at a swap, a stream does not. Told apart here: streams that did not move;
 * that moved and rest between two messages; that were caught in the middle of one, where a
 * rolled-back parser would read garbage. The last are reset (connect to AF_UNSPEC), so that both
 * ends see a clean loss; finer remedies need knowledge of every message boundary.
 *
 * "In the middle" is judged from the kernel's side only: unread input that begins neither with
 * a plausible TCPROS length (followed through all that is unread) nor with an HTTP line; output
 * for which the process was waiting to write on; a request that has no answer yet.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/macro.h"
#include "supervisor/twin/files.h"

struct stream {
	int fd;
	uint64_t link_hash;
	uint64_t consumed, written; /* bytes read by, and accepted from, the process */
	uint32_t unread, unsent;
	uint32_t sent_ago, received_ago; /* ms */
	uint32_t segs_in, segs_out;      /* with data */
	uint16_t port;                   /* local, network order */
	bool server;                     /* accepted, not opened, by the process */
	bool at_rest;                    /* between two messages, as far as can be judged */
	bool listening;                  /* of any family; all counts are 0 */
};
struct stream_table {
	struct stream *items;
	size_t n, n_max;
};

_must_check_ int streams_reserve(struct stream_table *t, size_t n);
void streams_free(struct stream_table *t);
/* All connected TCP sockets among the descriptors of files. */
_must_check_ int streams_sample(struct stream_table *t, struct file_table *files, int pidfd);
/* Two samples some time apart: fill at_rest in the second; true when all streams stood still,
 * with nothing unread and no question of ours without an answer. */
bool streams_judge(const struct stream_table *before, struct stream_table *after);

struct twin_engine;
struct twin_swap;
/* Classify, count, and append a reset for each torn stream. -ESTALE: the twin would be deaf. */
_must_check_ int streams_reconcile(struct twin_engine *e, const struct stream_table *then,
	const struct stream_table *now, const struct file_table *files_then,
	const struct file_table *files_now, int pidfd, struct twin_swap *ret);
