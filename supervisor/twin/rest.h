/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Threads at rest: asleep in a call that has no effect on anything but the thread's own memory,
 * however it ends. When such a thread is told to stop for good, nobody has to wait until it has
 * stopped: it never comes back to its program, and nothing that it still does on its way is seen by
 * anybody. With dozens of threads, most of them at rest, that is most of the time of a swap.
 *
 * That a thread is in such a call is looked at after each checkpoint, and that it still is, by how
 * often the scheduler has let it run, which is one short read.
 */
#include <stdbool.h>
#include <stdint.h>

struct twin_engine;
struct thread;

struct rest {
	uint64_t slices; /* that the thread had had when it was seen at rest; 0: it was not */
	bool holds;      /* it was told to stop in there, and has not stopped yet */
};

/* Outside of freezes: who is at rest? */
void rest_note(struct twin_engine *e);
/* Is it at rest still, or was when it was asked to stop just now? */
bool rest_holds(const struct thread *t);
