/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A small regular file as bytes in memory.
 *
 * Never blocks on what is no regular file, and never reads more than max bytes. 0 and a new
 * NUL-terminated buffer, or a negative errno: -EISDIR and -EINVAL for what is no regular file,
 * -EFBIG for too much, else what the kernel said. Outputs are untouched on failure.
 */
#include <stddef.h>

#include "config/macro.h"

_must_check_ int file_read(const char *path, size_t max, char **ret, size_t *ret_len);
/* The kernel's text for a negative errno of file_read(), or a better one. */
const char *file_strerror(int error);
