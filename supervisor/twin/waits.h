/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Waits that a stop has broken, and how long they still may last.
 *
 * Whatever breaks a blocking call (a freeze, an ignored signal) has it made again (restart.c), and
 * a call that is made again waits its full time again. So the deadline of each such wait is kept
 * here, and when it has come the thread is stopped and given the result that the kernel would have
 * given; no register and no byte of the node's memory says anything else meanwhile.
 *
 * A wait is known again for certain: its call is made again with a mark in the upper half of the
 * call number's register, which the kernel takes along but does not look at, and which is gone when
 * the call returns. When it began is known by the scheduler's account of when the thread went to
 * sleep; where that fails it is taken to have begun when it was broken, never earlier.
 *
 * In a twin a deadline is what it was: a moment of CLOCK_MONOTONIC. What is over by then ends at
 * once, as after any stall.
 */
#include <stdbool.h>
#include <stdint.h>

#include "config/clock.h"
#include "config/macro.h"
#include "supervisor/twin/arch/arch.h"

struct twin_engine;
struct thread;

/* linux/errno.h, and not for programs to see: what the kernel means to do with a broken call. */
#define ERESTARTSYS 512
#define ERESTARTNOINTR 513
#define ERESTARTNOHAND 514
#define ERESTART_RESTARTBLOCK 516

/* The wait of a thread that was broken last; it may be over. */
struct wait_record {
	uint32_t mark; /* 0: none */
	long nr;       /* of the call as the program made it */
	long error;    /* how it goes on: -ERESTART... (linux/errno.h) */
	uint64_t ip;   /* behind the call */
	nsec_t deadline;
	bool by_kernel;    /* the kernel keeps the deadline, as long as this task lives */
	bool in_memory;    /* and writes what is left of the time where the program keeps it */
	bool chained;      /* broken by the end of another wait */
	uint64_t switches; /* voluntary ones of the thread, before it went to sleep again */
};

/* A look at a thread asleep, before it is stopped. */
struct sleep_look {
	bool valid;
	uint64_t switches, migrations;
	nsec_t asleep_since; /* by the scheduler's clock of its CPU */
	int cpu;
	nsec_t began; /* the same by CLOCK_MONOTONIC; 0: not known */
};

/* waits.c */
/* Outside of freezes; syscall is the text of /proc/TID/syscall. */
void waits_look(struct twin_engine *e, struct thread *t, const char *syscall);
/* A wait that is seen broken for the first time: its deadline, how that is kept. */
void waits_note(struct twin_engine *e, struct thread *t, const struct arch_regs *r, nsec_t now);
/* The same one once more. */
void waits_again(struct twin_engine *e, struct thread *t, const struct arch_regs *r, nsec_t now);
bool waits_is_over(const struct wait_record *w, nsec_t now);
/* What the call says when its time is over. */
int waits_result(
	const struct twin_engine *e, const struct wait_record *w, const struct arch_regs *r);
/* End it as the kernel would; false: by making it once more, with no time left. tid: a task in
 * whose memory the call was made. */
bool waits_end(const struct twin_engine *e, pid_t tid, struct wait_record *w, struct arch_regs *r);
/* A thread that was given another life (a twin's, or a rollback in place) and its wait there. */
void waits_adopt(struct thread *t, const struct wait_record *w);
/* After any change: be called when the next deadline has come (twin_timer_fd()). */
void waits_arm(struct twin_engine *e);
/* Stop whoever's time is over. */
void waits_expire(struct twin_engine *e);

/* asleep.c */
void asleep_look(struct twin_engine *e, struct thread *t);
/* After looks at any number of threads. */
void asleep_date(struct twin_engine *e);
/* Of a stopped thread: since when it slept before that, at the latest; how often it slept. */
nsec_t asleep_since(
	struct twin_engine *e, const struct thread *t, nsec_t now, uint64_t *ret_switches);
/* Voluntary switches; 0: not known. */
uint64_t asleep_switches(const struct twin_engine *e, const struct thread *t);
