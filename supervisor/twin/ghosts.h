/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Children that a process had at the checkpoint and has waited for since. Rolled back in place it
 * will wait for them once more, and would do so for ever: a shell in wait4() for the command that
 * it runs. So each of them ends once more: a child is made under the same number, which ends at
 * once in the same way, and does nothing else.
 *
 * How it ended is known from a pidfd, opened at the checkpoint, where the kernel keeps the status
 * for it (PIDFD_GET_INFO with PIDFD_INFO_EXIT, linux/pidfd.h, since Linux 6.15). Where it does not,
 * the child is given as killed by SIGKILL: not what it did, but nobody takes it for a success.
 */
#include "config/macro.h"

struct twin_engine;
struct twin;
struct inplace_twin;
struct twin_swap;

/* In the freeze: whoever is new among the recorded children is not gone before it is held. before:
 * of the last checkpoint, or NULL. */
void ghosts_hold(const struct inplace_twin *before, struct inplace_twin *t);
/* Afterwards: the rest. */
void ghosts_record(const struct inplace_twin *before, struct inplace_twin *t);
void ghosts_forget(struct inplace_twin *t);
/* When the main thread stands ready to be let go. Who could not be made again, and who is not known
 * to it, is named in ret->lost. Never fails: what is missing then is a child. */
void ghosts_raise(struct twin_engine *e, struct twin *w, struct twin_swap *ret);
