/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Values of unit files: text to numbers, times, sizes, signals, CPU sets, and enum words.
 *
 * All of the text has to be used up; an empty text is always wrong. 0 on success; -EINVAL where
 * the text is nothing of the kind, -ERANGE where it is but does not fit. Outputs are untouched
 * on failure. No allocation, no locale.
 */
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "config/clock.h"
#include "config/macro.h"

_must_check_ int parse_u64(const char *s, uint64_t *ret); /* decimal digits, no sign */
_must_check_ int parse_i64(const char *s, int64_t *ret);  /* the same after + or - */
_must_check_ int parse_bool(const char *s, bool *ret);    /* 1 yes y true t on, and opposites */
/* Sums such as "1min 30s", "1.5h", "250ms"; a plain number is seconds; "infinity". */
_must_check_ int parse_time_span(const char *s, usec_t *ret);
_must_check_ int parse_size(const char *s, uint64_t *ret);      /* bytes; K M G T P E by 1024 */
_must_check_ int parse_signal(const char *s, int *ret);         /* SIGINT, INT, 2, SIGRTMIN+3 */
_must_check_ int parse_cpu_list(const char *s, cpu_set_t *ret); /* "0-1,3 5" */
/* "soft:hard", or one value for both; each a number (a size where sizes is set) or "infinity". */
_must_check_ int parse_limit(const char *s, bool sizes, rlim_t *ret_soft, rlim_t *ret_hard);
/* The index of s in names[0..n), which is the enum's value. */
_must_check_ int parse_word(const char *s, const char *const names[], size_t n, int *ret);
