/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An ELF core file as the kernel would have written it (elf(5), core(5)): mappings from
 * /proc/MEMORY_PID/maps, their bytes from its mem, registers from the order; for gdb and other
 * readers of cores. Files mapped unchanged and never written to are left out but for their first
 * page, shared mappings and device memory are left out; pages never touched become holes.
 *
 * 0 or negative errno; -EFBIG beyond max_bytes. fd is a new, empty file.
 */
#include "supervisor/backtrace/order.h"

_must_check_ int core_write(int fd, const struct order *o, uint64_t max_bytes);
