/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Identity by namespace: each generation of a node lives in a pid namespace of its own, all of
 * them flat beside each other, under the same numbers. A twin's threads can so be made while the
 * active still has its own, and at a swap nothing is left to be made.
 *
 * Tasks of one generation:
 *   agent    outside the namespace, stopped for ever; shares memory, descriptors, directories and
 *            signal handlers with the node, so that a fork of it is a fork of the node. For an
 *            active it is the holder of the memory, for a twin its template.
 *   builder  outside, and gone when all is built; it makes the namespace by unshare(2), which
 *            needs no descriptor in the table that is shared with the node, and leads the
 *            generation's session and process group.
 *   init     the namespace's first: twinit-nsinit.
 *   leader   the node's main thread; a child of ours, as all of these.
 *
 * A node enters its first namespace when it has executed, before its first instruction: the task
 * that executed becomes the agent. Where that is refused the node stays outside, and its identity
 * is exact.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/clock.h"
#include "supervisor/twin/arch/arch.h"

struct twin_engine;
struct twin;
struct twin_thread;
struct thread;
struct twin_swap;
struct wait_event;
struct injection;

/* Numbers are ours, not the namespace's. */
struct nest {
	pid_t init, leader;   /* 0: none */
	pid_t group;          /* session and process group */
	bool executed, ready; /* the init has, is */
};

/* Tasks whose end may still be told and means nothing. */
struct pid_list {
	pid_t *pids;
	unsigned n, allocated;
};

#define NEST_TEXT 512
#define OLD_INITS_MAX 16

/* namespace.c */
/* The active stands where it was attached or has just executed. On failure it is unharmed, and
 * not inside. */
_must_check_ int namespace_enter(struct twin_engine *e, struct thread *t);
/* The number that a task has for the node itself. */
pid_t namespace_inner(const struct twin_engine *e, pid_t tid);
/* A path that the active had open: by which its twin, with another pid out here, will have the
 * same. */
const char *namespace_path(const struct twin_engine *e, const char *path, char *buf, size_t size);
_must_check_ int namespace_learn(struct twin_engine *e, struct thread *t);
/* Outside of freezes: may a fork of the agent stand for a fork of the active? */
_must_check_ int namespace_check(struct twin_engine *e);
/* Allocates. */
_must_check_ int namespace_reserve(struct twin_engine *e, unsigned n_threads);
/* A task that is ours, or was, stopped or ended: true where nobody else is concerned. */
bool namespace_stopped(struct twin_engine *e, pid_t pid, const struct wait_event *ev);
/* Until the init of a twin is ready: for the first ms after a checkpoint it may not be. */
_must_check_ int namespace_await_init(struct twin_engine *e, const struct nest *n);
bool namespace_ended(struct twin_engine *e, pid_t pid);
void namespace_drop(struct twin_engine *e, struct twin *w);
void namespace_forget(struct twin_engine *e);
void namespace_bury(struct twin_engine *e, pid_t pid); /* killed: its end means nothing */
void namespace_expect_end(struct twin_engine *e, pid_t pid);

/* namespace_build.c */
struct nest_build {
	struct nest nest;
	pid_t builder;
	struct arch_regs builder_regs, init_regs;
};
/* A builder out of the memory of a stopped task, with a namespace and its init, both stopped. */
_must_check_ int nest_open(
	struct twin_engine *e, pid_t from, const struct arch_regs *regs, struct nest_build *ret);
/* Let the init execute; NEST_TEXT bytes at text_at are for its arguments. */
_must_check_ int nest_run_init(
	struct twin_engine *e, struct nest_build *b, uint64_t text_at, pid_t inner);
void nest_abandon(struct twin_engine *e, struct nest_build *b);
/* All threads of a twin whose image is ready, each before its first instruction. */
_must_check_ int namespace_build(struct twin_engine *e, struct twin *w);

/* namespace_swap.c */
/*
 * The active stands still for good: no thread of it runs its program any more, or has any effect
 * on what it shares with the twin, and when it is killed later that harms nobody. false: that
 * cannot be had, and it has to be killed and reaped first.
 */
_must_check_ bool namespace_stop_old(struct twin_engine *e);
void namespace_read_old(struct twin_engine *e); /* its remains, where they are wanted */
/* What only can be done now: descriptors put back, timers. */
_must_check_ int namespace_late_calls(struct twin_engine *e, struct twin *w);
void namespace_restore_schedule(const struct twin_thread *t);
/* When the last of them was let go. */
nsec_t namespace_let_go(struct twin_engine *e, struct twin *w);

/* credentials.c */
#define CREDENTIALS_GROUPS 256

struct credentials {
	uint32_t uid[4], gid[4]; /* real, effective, saved, of the file system */
	uint32_t groups[CREDENTIALS_GROUPS];
	unsigned n_groups;
	uint64_t inheritable, permitted, effective, bounding, ambient;
	uint64_t no_new_privs;
};

/* In the freeze. */
_must_check_ int credentials_capture(struct twin_engine *e, struct twin *w);
_must_check_ int credentials_set_limits(struct twin_engine *e, const struct twin *w);
/* What a thread that the agent makes has to call to be what the active's threads are. */
_must_check_ int credentials_plan(struct twin_engine *e, struct twin *w, struct injection *in);
/* Did it come true? */
_must_check_ int credentials_check(struct twin_engine *e, const struct twin *w);
/* Take what was lent from a task that stands. */
_must_check_ int credentials_lower(struct twin_engine *e, pid_t tid, const struct arch_regs *regs);
