/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Processes that are not our children: tracing needs no parenthood, a twin does.
 *
 * A copy made as a sibling (CLONE_PARENT) would be a child that the process's parent has never
 * made, with SIGCHLD for its end, and wait() there would wait for it. So twins and holder are
 * children of the process itself, with no signal for their end: wait() does not see such children,
 * but with __WALL or __WCLONE (wait(2)). We hear of their ends first, being their tracer; after
 * that they are zombies of the process, until it has waited for them: by an injected wait4() at the
 * next checkpoint, or when it is let go. When it ends they go where all its children go; a caller
 * should know that this is nobody who would mind (twin_is_subreaper() of its parent).
 *
 * Only a rollback in place gives such a process back to its parent: nobody ends.
 */
#include <stdbool.h>
#include <sys/types.h>

#include "config/macro.h"

#define FOSTER_STRAYS 32

struct twin_engine;
struct injection;

/* The process is new to us: what another guard has left, when it was killed, is ours to reap. */
void foster_find_strays(struct twin_engine *e);
/* A helper has ended, and we were told. */
void foster_ended(struct twin_engine *e, pid_t pid);
/* The main thread stands: it waits for those. */
_must_check_ int foster_reap(struct twin_engine *e, struct injection *in);
/* The process executes another program, and stands there. What ends later would be told to the new
 * one by SIGCHLD (kernel/signal.c, do_notify_parent()), when it may have a handler for it. */
void foster_await_helpers(struct twin_engine *e);
/* All threads stand, and are to be let go for good: nothing of ours stays. */
void foster_leave(struct twin_engine *e);
/* Among the children of the process. */
bool foster_is_ours(const struct twin_engine *e, pid_t pid);
