/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The folder where our sockets live, and the lock that keeps it to one twinit: a second one
 * would take the sockets of the first one's nodes away.
 */
#include <sys/types.h>

#include "config/macro.h"

/* The folder path and those above it, where they are missing. */
_must_check_ int runtime_dir_make(const char *path);
/* Take runtime_dir/lock for as long as this process lives (the kernel lets go of it, however we
 * end). -EBUSY and *ret_holder (0: not known) where another twinit has it. */
_must_check_ int runtime_dir_lock(const char *runtime_dir, pid_t *ret_holder);
