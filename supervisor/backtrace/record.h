/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The folder of crash records: one text file a failure, NODE@REALTIME_USEC.crash, mode 0600, and
 * beside it NODE@REALTIME_USEC.core where the unit asked for one. A record is complete or not
 * there (written under another name, then renamed).
 *
 * Limits: RECORDS_MAX records and RECORDS_BYTES_MAX bytes with their cores; the oldest go first,
 * the one just written last. Symbolic links are not followed and never made. Errors: negative
 * errno.
 */
#include <stdio.h>

#include "supervisor/backtrace/order.h"

#define RECORDS_MAX 100u
#define RECORDS_BYTES_MAX (512ull << 20)

/* Made where it is missing (0700); -ENOTDIR, -EPERM where it is no folder of ours. */
_must_check_ int record_open_folder(const char *path);
/* Writes the record; its file name in ret. trace: text to put in. */
_must_check_ int record_write(
	int folder, const struct order *o, const char *trace, char *ret, size_t size);
/* The core of the process, under the record's name; -EFBIG where the limit has no room for it. */
_must_check_ int record_write_core(int folder, const struct order *o);
void record_prune(int folder, unsigned max_records, uint64_t max_bytes);
