/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Small language helpers shared by all of twinit: scope-bound clean-up and array sizes.
 * Nothing here allocates, logs or fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))
#define MIN2(a, b) ((a) < (b) ? (a) : (b))
#define MAX2(a, b) ((a) > (b) ? (a) : (b))
#define _cleanup_(f) __attribute__((cleanup(f)))
#define _must_check_ __attribute__((warn_unused_result))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))

static inline void freep(void *p)
{
	free(*(void **)p);
}
static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}
#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

/* Hand a pointer or descriptor on and forget it here, so that the scope's clean-up spares it. */
#define STEAL_PTR(p)                                                                               \
	({                                                                                         \
		__typeof__(p) *steal_p_ = &(p);                                                    \
		__typeof__(p) steal_v_ = *steal_p_;                                                \
		*steal_p_ = NULL;                                                                  \
		steal_v_;                                                                          \
	})
#define STEAL_FD(fd)                                                                               \
	({                                                                                         \
		int *steal_p_ = &(fd);                                                             \
		int steal_v_ = *steal_p_;                                                          \
		*steal_p_ = -1;                                                                    \
		steal_v_;                                                                          \
	})
