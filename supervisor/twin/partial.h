/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Calls that need a hand at their end.
 *
 * A blocking call that has moved some bytes (a long write, a recv() with MSG_WAITALL, sendfile)
 * returns their number when a stop breaks it, and the program sees a short count that it would not
 * have seen without us. So the thread is sent back for the rest, piece by piece, with arguments of
 * ours, and stopped at the end of each piece; when all is done it has its own registers again, with
 * the whole count. A short count that had another reason (a socket without room that does not
 * block, an end of file, a signal) stays what it is: the next piece moves nothing then.
 *
 * A twin of a moment in such a call goes on where the active has got to: what has been sent is not
 * sent twice, and nothing is left out.
 *
 * connect() is watched as well: made again it may say that another one is under way (EALREADY), or,
 * in a twin, that the active has succeeded (EISCONN) or has closed that socket since.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "supervisor/twin/arch/arch.h"

struct twin_engine;
struct thread;
struct twin;
struct twin_thread;

enum partial_kind {
	PARTIAL_NONE,
	PARTIAL_BUFFER,   /* one buffer: address and length in registers */
	PARTIAL_LENGTH,   /* a length; where to go on is kept by the kernel */
	PARTIAL_VECTOR,   /* struct iovec[] */
	PARTIAL_MESSAGE,  /* struct msghdr */
	PARTIAL_MESSAGES, /* struct mmsghdr[]; counts messages */
	PARTIAL_CONNECT,
};

struct partial_call {
	enum partial_kind kind; /* PARTIAL_NONE: none under way */
	bool entered;           /* the piece was begun */
	bool sends;             /* what is done is done for the twin too */
	bool socket;
	bool adopted; /* CONNECT: by a twin */
	uint64_t ip;  /* behind the call */
	uint64_t serial;
	uint64_t done, total, done_then; /* then: at the checkpoint */
	int64_t offset_then;
	bool offset_known;
	bool finished;         /* a twin's: nothing was left to be moved at the swap */
	struct arch_regs regs; /* where it was broken */
};

/* partial.c */
/* A stopped thread with these registers, which are changed: sent back where that is due. */
bool partial_begin(struct twin_engine *e, struct thread *t, struct arch_regs *r);
/* At a system-call-stop. */
void partial_stop(struct twin_engine *e, struct thread *t);
/* The same in a freeze: the thread is brought in front of its next piece or behind its call, with
 * registers as in user mode; false: that cannot be. */
bool partial_settle(struct twin_engine *e, struct thread *t);
/* Before a signal with a handler is delivered, or the thread is let go for good. */
void partial_signal(struct thread *t);
/* What a twin's thread will have to complete; at the swap, how far the active got. */
void partial_for_twin(const struct thread *t, struct twin_thread *tt);
/* The active is about to be killed: how far has it got? */
void partial_before_end(struct twin_engine *e);
/* 1: with these registers; 0: there is no such call. The same once more after a way of the swap has
 * failed. */
_must_check_ int partial_at_swap(struct twin_engine *e, struct twin *w, struct twin_thread *tt,
	pid_t in_place, struct arch_regs *ret);
/* A twin's thread is to stop at the end of its call. */
bool partial_is_watched(const struct twin_thread *tt);
void partial_adopt(struct twin_engine *e, struct thread *t, const struct twin_thread *tt);

/* pieces.c */
/* Is this a short count that a stop has made? */
bool pieces_broken(
	struct twin_engine *e, pid_t tid, const struct arch_regs *r, struct partial_call *ret);
/* Where the call reads from a file: the descriptor, and the program's own offset or NULL. */
bool pieces_offset(const struct arch_regs *r, int *ret_fd, uint64_t *ret_pointer);
/* The registers of the call for the next piece; false: there is no way to make one. memory: a task
 * whose memory is that of the call. */
bool pieces_next(const struct twin_engine *e, pid_t memory, const struct partial_call *p,
	struct arch_regs *ret);
