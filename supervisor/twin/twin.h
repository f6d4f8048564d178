/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The twin engine: guards one process by ptrace, keeps frozen copy-on-write twins of it, and
 * lets a twin take its place under the same pid and the same thread ids.
 *
 * Knows no unit, no bus and no log sink; it could serve any program that is willing to be the
 * parent and the tracer of its child. Single-threaded, like ptrace: all calls must come from
 * the thread that called twin_attach(). The engine is the only caller of waitpid() in its
 * process: ends of other children are handed out as TWIN_EVENT_CHILD.
 *
 * Ways of a process: twin_attach() a child that waits before its exec, then call
 * twin_next_event() whenever SIGCHLD came, until it says TWIN_EVENT_NONE. From time to time
 * twin_checkpoint(). At TWIN_EVENT_FATAL the process still stands, in full, at the delivery of
 * the signal that would end it: answer with twin_swap() or twin_let_die(). At TWIN_EVENT_EXITED
 * it is gone (its memory is still held): answer with twin_swap() or twin_forget().
 *
 * Times are nsec_t of CLOCK_MONOTONIC. Errors: negative errno; twin_reason() then holds one
 * human sentence. Swapping allocates nothing, writes no file but /proc, and takes no lock.
 * Keeper death: twins and parked helpers die with the tracer (PTRACE_O_EXITKILL); the active
 * goes on untraced.
 *
 * Rules come from ptrace(2), clone(2), and the kernel's kernel/signal.c, kernel/fork.c and
 * arch/x86/kernel/signal.c.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/clock.h"
#include "config/macro.h"

#define TWIN_GENERATIONS_MAX 8
#define TWIN_REASON_MAX 256

struct twin_engine;

enum twin_event_type {
	TWIN_EVENT_NONE,    /* nothing more to report now */
	TWIN_EVENT_EXEC,    /* .pid executed a new program; all twins of the old one are gone. With
			     * TWIN_NAMESPACE it may have another pid than was attached */
	TWIN_EVENT_FATAL,   /* .tid stands at the delivery of fatal .signal */
	TWIN_EVENT_EXITED,  /* the whole process is gone; .status is its raw wait status */
	TWIN_EVENT_STOPPED, /* group-stopped by .signal: no checkpoints until continued */
	TWIN_EVENT_CONTINUED,
	TWIN_EVENT_TWIN_LOST,     /* the twin with .pid ended on its own (OOM killer, kill -9) */
	TWIN_EVENT_THREADS_ENDED, /* threads that the newest twin has, .count of them, the last
				   * being .tid with .name; at the end of a process, too */
	TWIN_EVENT_CHILD,         /* another child of this process, .pid, ended with .status */
};

struct twin_event {
	enum twin_event_type type;
	pid_t pid, tid;
	int signal;
	int status;
	unsigned count;         /* THREADS_ENDED */
	char name[16];          /* THREADS_ENDED */
	bool core;              /* FATAL: the signal's default action dumps core */
	uint64_t fault_address; /* FATAL by SIGSEGV, SIGBUS, SIGILL, SIGFPE of its own; else 0 */
	uint64_t instruction;   /* FATAL by its own doing, abort() too; 0: somebody else sent it */
	pid_t sender;           /* FATAL: who sent it, as kill(2) tells; 0: nobody did */
};

/* How a twin takes over. */
enum twin_way {
	TWIN_WAY_AUTO, /* of a swap that is to come: whichever is possible, keeps more, is faster */
	TWIN_WAY_RECLAIM,  /* the active ends; a new process is made under its ids */
	TWIN_WAY_IN_PLACE, /* nobody ends: the active is rolled back (only while it still stands) */
	TWIN_WAY_NAMESPACE, /* a new process that stands ready in a pid namespace */
	_TWIN_WAY_MAX
};
const char *twin_way_to_string(enum twin_way w);
/* Memory that twins are made without, by the name of its mapping (config/mapping_pattern.h). */
struct twin_exclusion {
	const char *pattern;
	bool share; /* its contents are fetched at the swap; else it is zeros */
};
/* What the program marked MADV_DONTFORK: copied like all else, or excluded as well. */
enum twin_dont_fork { TWIN_DONT_FORK_COPY, TWIN_DONT_FORK_ZERO, TWIN_DONT_FORK_SHARE };

/* What becomes of child processes where the active itself ends (reclaim), so that the twin cannot
 * be their parent. In place they stay what they are. */
enum twin_children {
	TWIN_CHILDREN_KEEP,   /* they go on, and are named among what was lost */
	TWIN_CHILDREN_KILL,   /* killed with all their descendants, before the twin runs; the caller
			       * becomes a subreaper for it (prctl(2)) */
	TWIN_CHILDREN_REFUSE, /* no twin then: twin_swap() fails */
};

enum twin_identity {
	TWIN_EXACT,     /* the same numbers for everybody */
	TWIN_NAMESPACE, /* the same for the process itself; others see a new one after a swap */
};

struct twin_config {
	unsigned generations; /* twins kept, 1 to TWIN_GENERATIONS_MAX: generations.h */
	bool keep_remains;    /* remains.h */
	bool keep_oom_score;  /* twins have the active's; else they are the first to go */
	const struct twin_exclusion *exclusions; /* the caller's, for as long as the engine lives */
	unsigned n_exclusions;
	enum twin_dont_fork dont_fork;
	nsec_t freeze_deadline; /* give a freeze up when a thread has not stopped by then */
	enum twin_way way;      /* which to prefer */
	enum twin_children children;
	enum twin_identity identity;
	/* The process is not the caller's child (foster.h): twin_attach_running(), and in place
	 * only. twin_swap() says -ENODATA where that is impossible, with the process untouched; one
	 * that failed half-way has killed it. */
	bool foster;
	/* TWIN_NAMESPACE: the program that is to be process 1 of the namespaces. */
	const char *namespace_init;
};

struct twin_checkpoint {
	pid_t twin_pid;
	unsigned n_threads;
	nsec_t at;     /* the moment of the freeze */
	nsec_t freeze; /* first thread asked to stop to last thread let go */
	nsec_t fork;   /* of it: the injected fork */
	bool quiet;    /* all threads were blocked and all streams still */
};

struct twin_swap {
	pid_t old_pid, new_pid; /* the same, unless twin_is_inside() */
	enum twin_way way;      /* taken */
	const char *why;        /* it, in a few words */
	unsigned generation;
	unsigned n_threads;
	nsec_t begun;    /* when the engine first saw the end of the active */
	nsec_t latency;  /* from begun to the last thread let go */
	nsec_t reaped;   /* of it: until the old threads were all gone */
	nsec_t rollback; /* age of the twin */
	unsigned fds_closed, fds_replaced, epoll_changes, offsets_restored;
	unsigned streams_kept, streams_moved, streams_torn;
	char lost[TWIN_REASON_MAX]; /* what could not be kept, "" when all was */
};

/* Allocates all that a swap will need. */
_must_check_ int twin_engine_new(const struct twin_config *config, struct twin_engine **ret);
/* Kills and reaps twins and helpers, detaches from the active if there is one. */
void twin_engine_free(struct twin_engine *e);

/*
 * Seize pid, a direct child of the caller that waits before its exec. -EPERM where ptrace is
 * not allowed: the process then has to be watched by other means (its end still arrives, as
 * TWIN_EVENT_EXITED, when it was announced with twin_watch()).
 */
_must_check_ int twin_attach(struct twin_engine *e, pid_t pid);
/*
 * Before twin_attach(), for TWIN_NAMESPACE: capabilities that the process will execute with, as
 * ambient ones, for the engine alone. It has lost them when its first instruction runs, and dies
 * with us until then. 0 where it may make namespaces of its own right.
 */
void twin_lend(struct twin_engine *e, uint64_t capabilities);
/* The same for a process that runs its program already, with all its threads. */
_must_check_ int twin_attach_running(struct twin_engine *e, pid_t pid);
/* Guard pid without ptrace: only its end is reported, checkpoints say -EPERM. */
void twin_watch(struct twin_engine *e, pid_t pid);

/* Never blocks. */
struct twin_event twin_next_event(struct twin_engine *e);
/* Readable when twin_next_event() has something to do that no SIGCHLD announces: a thread whose
 * wait was broken by a freeze has waited its time. To be watched, not to be read. */
int twin_timer_fd(const struct twin_engine *e);

/*
 * Arm: freeze all threads at one moment, copy, let go. With force unset only at a quiet moment
 * (all threads blocked, all TCP streams unmoved for a few ms): -EAGAIN means try again in
 * about 2 ms. With force set now, quiet or not.
 * -EBUSY: a thread did not stop in time, or the process is in a state that cannot be copied at
 * the moment; -ENOTSUP: this program cannot be armed at all; -ESRCH: it is ending; other
 * errors from fork (-ENOMEM, -EAGAIN from the kernel comes back as -EBUSY). After any error the
 * process runs on unharmed and earlier twins are still there. Makes room among the generations.
 */
_must_check_ int twin_checkpoint(struct twin_engine *e, bool force, struct twin_checkpoint *ret);

/*
 * Let the twin of a generation (0: newest) take the place of the active, which may stand at a
 * TWIN_EVENT_FATAL, have ended (TWIN_EVENT_EXITED), or run (a hang, or on request).
 * In place where that is possible and better (config.way), else, and whenever it fails, by reclaim.
 * On success the twin of that generation is used up and all newer ones are dropped.
 * On failure the active is gone (if it was not, it is killed), that generation is used up too,
 * and another may be tried. -ENODATA: there is no such twin; then, alone, the active is untouched.
 */
_must_check_ int twin_swap(struct twin_engine *e, unsigned generation, struct twin_swap *ret);

/* Instead of config.way, from now on. */
void twin_prefer_way(struct twin_engine *e, enum twin_way way);

/* Deliver the fatal signal of the last TWIN_EVENT_FATAL; the end comes as TWIN_EVENT_EXITED.
 * The twins are dropped only by twin_forget(), twin_drop_all() or twin_engine_free(). */
void twin_let_die(struct twin_engine *e);
/* Forget the process that ended, and its twins: the engine is ready for another twin_attach(). */
void twin_forget(struct twin_engine *e);
void twin_drop_all(struct twin_engine *e);
/* How many twins and helpers that were dropped have yet to end: they share the descriptors of the
 * process, so that its ports and locks are taken until then. */
unsigned twin_dying(const struct twin_engine *e);
int twin_kill(struct twin_engine *e, int sig); /* to the active */

pid_t twin_active_pid(const struct twin_engine *e); /* 0: none */
/* Its children, as the newest twin knows them: how many were written to ret. */
unsigned twin_children(const struct twin_engine *e, pid_t *ret, unsigned max);
/* At its last checkpoint: it takes orphans in (PR_SET_CHILD_SUBREAPER). */
bool twin_is_subreaper(const struct twin_engine *e);
/* It lives in a pid namespace of its own, as TWIN_NAMESPACE asks for; where that is refused, at its
 * first exec, it stays outside with an exact identity, and twin_reason() says why. */
bool twin_is_inside(const struct twin_engine *e);
/* Session and process group of the active and its children in there; 0: not inside. */
pid_t twin_group(const struct twin_engine *e);
unsigned twin_count(const struct twin_engine *e);
pid_t twin_pid(const struct twin_engine *e, unsigned generation); /* 0: none */
nsec_t twin_taken_at(const struct twin_engine *e, unsigned generation);
unsigned twin_n_threads(const struct twin_engine *e);
const char *twin_reason(const struct twin_engine *e);
/* What the newest twin was made without, in words: "64.0 MB come back as zeros"; "": nothing. */
const char *twin_excluded(const struct twin_engine *e);
/* Bytes that the newest twin alone holds (smaps_rollup Private_*); reads /proc, so not for hot
 * paths. 0 when there is none. */
uint64_t twin_memory_private(const struct twin_engine *e);
