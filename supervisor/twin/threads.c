/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the active's threads. Slots keep their memory when a thread ends. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#include "supervisor/twin/engine.h"

struct thread *thread_find(struct twin_engine *e, pid_t tid)
{
	FOREACH_THREAD(e, t)
	{
		if (t->tid == tid)
			return t;
	}
	return NULL;
}

static struct thread *slot_new(void)
{
	struct thread *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->xstate.data = malloc(ARCH_XSTATE_MAX);
	if (!t->xstate.data) {
		free(t);
		return NULL;
	}
	t->syscall_fd = t->slices_fd = -1;
	return t;
}

/* Used slots stay at the front, so that FOREACH_THREAD may pass over the free ones at once. */
int threads_reserve(struct twin_engine *e, size_t n)
{
	struct thread **grown;

	if (n <= e->n_slots)
		return 0;
	grown = realloc(e->threads, n * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	e->threads = grown;
	while (e->n_slots < n) {
		struct thread *t = slot_new();
		if (!t)
			return -ENOMEM;
		e->threads[e->n_slots++] = t;
	}
	return 0;
}

struct thread *thread_add(struct twin_engine *e, pid_t tid)
{
	struct thread *t = thread_find(e, tid);
	struct arch_xstate xstate;

	if (t)
		return t;
	if (e->n_threads >= e->n_slots && threads_reserve(e, e->n_slots * 2 + 16) < 0)
		return NULL;
	t = e->threads[e->n_threads++];
	xstate = t->xstate;
	memset(t, 0, sizeof(*t));
	t->xstate = xstate;
	t->syscall_fd = t->slices_fd = -1;
	t->tid = tid;
	t->used = true;
	return t;
}

void thread_remove(struct twin_engine *e, struct thread *t)
{
	for (unsigned i = 0; i < e->n_threads; i++) {
		if (e->threads[i] != t)
			continue;
		closep(&t->syscall_fd);
		closep(&t->slices_fd);
		t->syscall_fd = t->slices_fd = -1;
		t->used = false;
		e->n_threads--;
		e->threads[i] = e->threads[e->n_threads];
		e->threads[e->n_threads] = t;
		return;
	}
}

static bool is_in_twin(const struct twin_engine *e, pid_t tid)
{
	const struct twin *w = e->n_twins > 0 ? e->twins[0] : NULL;

	for (size_t i = 0; w && i < w->n_threads; i++)
		if (w->threads[i].tid == tid)
			return true;
	return false;
}

void thread_ended(struct twin_engine *e, struct thread *t)
{
	struct twin_event *event = NULL;

	if (is_in_twin(e, t->inner ? t->inner : t->tid)) {
		/* One event for all: they may be many. */
		for (unsigned i = 0; i < e->n_events; i++)
			if (e->events[i].type == TWIN_EVENT_THREADS_ENDED)
				event = &e->events[i];
		if (!event) {
			unsigned n = e->n_events;
			engine_push_event(e, &(struct twin_event){.type = TWIN_EVENT_THREADS_ENDED,
						     .pid = e->pid});
			event = e->n_events > n ? &e->events[n] : NULL;
		}
	}
	if (event) {
		event->count++;
		event->tid = t->tid;
		memcpy(event->name, t->name, sizeof(event->name));
	}
	thread_remove(e, t);
}

static int compare_tids(const void *a, const void *b)
{
	return (*(struct thread *const *)a)->tid - (*(struct thread *const *)b)->tid;
}

void threads_sort(struct twin_engine *e)
{
	qsort(e->threads, e->n_threads, sizeof(*e->threads), compare_tids);
}

void threads_clear(struct twin_engine *e)
{
	while (e->n_threads > 0)
		thread_remove(e, e->threads[0]);
}

bool threads_any_stopped(struct twin_engine *e)
{
	FOREACH_THREAD(e, t)
	{
		if (t->group_stopped)
			return true;
	}
	return false;
}

void thread_go_on(struct thread *t, int sig)
{
	t->stopped = t->second_fatal = t->settled = false;
	/* ESRCH: killed meanwhile; its end will be reported. */
	(void)ptrace(t->partial.kind ? PTRACE_SYSCALL : PTRACE_CONT, t->tid, NULL, sig);
}
