/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Rollback in place: the active becomes what its twin is without anybody being killed. Possible
 * while its threads still stand (at the delivery of a fatal signal, hung, or simply running): its
 * pid, children, session, terminal, pidfds and locks are then kept as a matter of course.
 *
 * All threads are stopped; those born since the checkpoint are ended, those that have ended since
 * are made again with their ids; mappings, the pages that differ, signal handlers, timers, limits
 * and the like are put back; and each thread loads its registers as a rebuilt one does. The twin
 * is only read, so that after any failure it can still take over the other way. What cannot be
 * put back (credentials, namespaces, filters added, ...) is seen before anything is changed.
 *
 * Memory for it all is got at the checkpoint. Errors: negative errno, twin_reason() says why.
 */
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/clock.h"
#include "config/macro.h"
#include "supervisor/twin/arch/arch.h"
#include "supervisor/twin/layout.h"
#include "supervisor/twin/timers.h"

#define PENDING_MAX 32
struct pending_signal {
	pid_t tid; /* 0: the process */
	siginfo_t info;
};

/* Not the kernel's numbers, but the order of the questions put to the template. */
enum inplace_question {
	ASK_DUMPABLE,
	ASK_KEEP_CAPS,
	ASK_SECURE_BITS,
	ASK_THP_DISABLE,
	ASK_PERSONALITY,
	ASK_BREAK,
	ASK_TSC,
	ASK_POLICY,
	ASK_NODES,
	ASK_IDENTITY,
	ASK_MACHINE_CHECKS,
	ASK_FLUSHER,
	ASK_SESSION_KEYRING,
	ASK_MAX
};
#define SIGNALS_MAX 64
struct inplace_sigaction {
	uint64_t handler, flags, restorer, mask;
};

/* What answers are written to. */
struct inplace_told {
	int tsc, policy;
	uint64_t nodes[4];
};
#define SELF_CALLS 12

#define INPLACE_CALLS 400
#define INPLACE_DATA 16384
/* Lies behind the image in the scratch memory of each twin. */
struct inplace_area {
	struct routine_args args; /* of the questions */
	struct routine_call questions[ASK_MAX + SIGNALS_MAX];
	struct inplace_told told;
	struct inplace_sigaction actions[SIGNALS_MAX];
	struct routine_call calls[INPLACE_CALLS], self_calls[SELF_CALLS];
	uint8_t data[INPLACE_DATA];
	char path[PATH_MAX];
};
#define INPLACE_AREA_SIZE ((sizeof(struct inplace_area) + 4095) & ~4095UL)

#define INPLACE_CHILDREN 128
#define INPLACE_NAMESPACES 8
/* Recorded at each checkpoint, outside the freeze, but for the children of one that has some. */
struct inplace_twin {
	bool fit; /* else no rollback in place; why_not says it */
	const char *why_not;
	uint64_t area; /* address of struct inplace_area in the twin */
	struct layout layout;
	struct process_timers timers;
	struct pending_signal pending[PENDING_MAX];
	unsigned n_pending;
	pid_t session, group;
	uint64_t identity; /* a hash of credentials, seccomp and the like */
	unsigned umask;
	uint64_t namespaces[INPLACE_NAMESPACES], cwd[2], root[2];
	uint64_t faults; /* minor ones of the active so far */
	pid_t children[INPLACE_CHILDREN], child_groups[INPLACE_CHILDREN];
	uint64_t children_started[INPLACE_CHILDREN]; /* a number may be somebody else's later */
	unsigned n_children;
	int child_fds[INPLACE_CHILDREN]; /* pidfds (ghosts.h) */
	unsigned n_child_fds;
	bool pid_in_use; /* as group or session of others: there is no other way than this */
};

struct inplace;
struct twin;
struct twin_engine;
struct twin_swap;
struct injection;

_must_check_ int inplace_new(struct inplace **ret);
void inplace_free(struct inplace *p);
void inplace_twin_free(struct inplace_twin *t);

/* While a twin is prepared: let the template say what only a task can say of itself. */
_must_check_ int inplace_ask(struct twin_engine *e, struct twin *w, struct injection *in);
/* When it is ready. Never fails: where something is missing the twin is not fit for it. */
void inplace_record(struct twin_engine *e, struct twin *w);

/* NULL: it can be tried; else why not. Changes nothing. */
const char *inplace_impossible(struct twin_engine *e, const struct twin *w);
/* In ns, from what the active has done since the checkpoint. */
nsec_t inplace_estimate(struct twin_engine *e, const struct twin *w);
/* Up to the point where all threads stand ready to be let go (rebuild_let_go()). */
_must_check_ int inplace_run(struct twin_engine *e, struct twin *w, struct twin_swap *ret);

/* swap.c: the calls that bring descriptors and streams back, written into the twin's scratch. */
/* Killed, and every thread of it reaped. */
_must_check_ int swap_reap_active(struct twin_engine *e);
_must_check_ int swap_reconcile(struct twin_engine *e, struct twin *w, struct twin_swap *ret);
void swap_note_loss(struct twin_swap *ret, const char *fmt, ...) _printf_(2, 3);

/* inplace_threads.c. All threads stand still. Meet: those are added that were born so recently that
 * nobody has heard of them. Hold: none outlives its tracer any more. */
_must_check_ int inplace_meet_threads(struct twin_engine *e);
/* Of a process that is stopped by a signal the kernel would not know that it goes on. */
_must_check_ int inplace_judge_stops(struct twin_engine *e);
_must_check_ int inplace_take_hold(struct twin_engine *e, struct twin *w);
/* Those born since the checkpoint; nor is anything of the others registered since left. */
_must_check_ int inplace_end_threads(struct twin_engine *e, struct twin *w);
/* What the kernel writes into the memory of threads is kept over the rollback of that memory. */
void inplace_keep_rseq(struct twin_engine *e, struct twin *w);
_must_check_ int inplace_put_rseq(struct twin_engine *e, struct twin *w);
/* Look what is pending, and take from threads but the main one what waits for them alone. */
_must_check_ int inplace_drop_signals(struct twin_engine *e, struct twin *w);
/* All that stand already: ready to run the routine when they are let go. */
_must_check_ int inplace_aim_threads(struct twin *w);

struct inplace_calls {
	struct routine_call *calls;
	unsigned n;
	uint8_t *data;
	size_t data_len;
	uint64_t data_at;
	bool full;
};
void inplace_call(struct inplace_calls *l, long nr, const uint64_t args[6]);

/* inplace_self.c: what the kernel keeps for each thread by itself. The template, a copy of the main
 * thread, is asked; what all threads have in common (alike.c) each of them sets for itself. Returns
 * how many calls these are. */
void self_ask(struct inplace_area *a, uint64_t at, bool keyrings);
unsigned self_restore(struct inplace_area *a, uint64_t at);
/* What can be asked but not set. */
void self_ask_again(struct inplace_calls *l);
bool self_is_changed(const struct inplace_area *a, const struct routine_call *c);

/* inplace_state.c: what a process is beside memory, threads and descriptors. */
/* Before signals are forgotten: the dead future sends no more of them. */
_must_check_ int state_stop_timers(struct twin_engine *e);
void state_record(struct twin_engine *e, struct twin *w);
/* NULL, or what has changed that cannot be undone. */
const char *state_changed(struct twin_engine *e, const struct twin *w);
void state_restore(struct twin_engine *e, struct twin *w, const struct inplace_area *asked,
	struct inplace_calls *l);
unsigned state_children(struct twin_engine *e, pid_t *ret, unsigned max);
uint64_t state_faults(const struct twin_engine *e);
