/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/timers.h"

#include <errno.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

/* linux/prctl.h, Linux 6.15 */
#define PR_TIMER_CREATE_RESTORE_IDS 77
#define PR_TIMER_IDS_OFF 0
#define PR_TIMER_IDS_ON 1
#define PR_TIMER_IDS_GET 2

/* struct sigevent as the kernel has it. */
struct kernel_sigevent {
	uint64_t value;
	int32_t signo, notify, tid;
	uint8_t pad[44];
};

static int notify_from_text(const char *s)
{
	if (strncmp(s, "none", 4) == 0)
		return SIGEV_NONE;
	return strncmp(s, "thread", 6) == 0 ? SIGEV_THREAD : SIGEV_SIGNAL;
}

static const char *parse_timer(const char *text, struct posix_timer *ret)
{
	unsigned long long value;
	char notify[16], kind[8];
	int used = 0, pid;

	*ret = (struct posix_timer){0};
	if (sscanf(text, "ID: %d\nsignal: %d/%llx\nnotify: %15[a-z]/%7[a-z].%d\nClockID: %d\n%n",
		    &ret->id, &ret->signal, &value, notify, kind, &pid, &ret->clock, &used) < 7 ||
		used == 0)
		return NULL;
	ret->value = value;
	ret->notify = notify_from_text(notify);
	if (strcmp(kind, "tid") == 0) {
		ret->notify |= SIGEV_THREAD_ID;
		ret->tid = pid;
	}
	return text + used;
}

void timers_look(struct process_timers *t, pid_t pid)
{
	static char text[8192];
	const char *p = text;
	ssize_t len = proc_read(text, sizeof(text), "%d/timers", pid);

	t->n_posix = 0;
	t->incomplete = len + 1 >= (ssize_t)sizeof(text);
	while (len > 0 && p && *p) {
		struct posix_timer timer;
		p = parse_timer(p, &timer);
		if (!p || t->n_posix >= POSIX_TIMERS_MAX) {
			t->incomplete = true;
			break;
		}
		t->posix[t->n_posix++] = timer;
	}
}

bool timers_unchanged(const struct process_timers *t, pid_t pid)
{
	struct process_timers now;

	timers_look(&now, pid);
	if (now.n_posix != t->n_posix || now.incomplete != t->incomplete)
		return false;
	/* Both in the kernel's order, but for one that was deleted when we asked. */
	for (unsigned i = 0; i < now.n_posix; i++) {
		bool found = false;
		for (unsigned k = 0; k < t->n_posix && !found; k++)
			found = now.posix[i].id == t->posix[k].id;
		if (!found)
			return false;
	}
	return true;
}

int timers_capture(struct process_timers *t, struct injection *in, bool all)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < t->n_posix; i++) {
		uint64_t args[6] = {(uint64_t)t->posix[i].id};
		r = inject_output(
			in, SYS_timer_gettime, args, 1, t->posix[i].spec, sizeof(t->posix[i].spec));
		if (r == -EINVAL) { /* deleted since we looked */
			t->posix[i--] = t->posix[--t->n_posix];
			r = 0;
		}
	}
	for (unsigned which = 0; r == 0 && which < (all ? 3u : 1u); which++) {
		uint64_t args[6] = {which};
		r = inject_output(
			in, SYS_getitimer, args, 1, t->interval[which], sizeof(t->interval[which]));
	}
	if (r == 0 && all) {
		uint64_t args[6] = {PR_GET_PDEATHSIG};
		r = inject_output(in, SYS_prctl, args, 1, &t->parent_death_signal, sizeof(int));
	}
	if (r == 0 && all) {
		uint64_t args[6] = {PR_GET_CHILD_SUBREAPER};
		r = inject_output(in, SYS_prctl, args, 1, &t->subreaper, sizeof(int));
	}
	if (r == 0 && all) {
		long ring = 0;
		r = inject_call(in, SYS_keyctl,
			(const uint64_t[6]){
				KEYCTL_GET_KEYRING_ID, (uint64_t)KEY_SPEC_PROCESS_KEYRING, 0},
			&ring);
		t->keyring = ring > 0;
	}
	return r;
}

static const struct posix_timer *find(const struct process_timers *t, int id)
{
	for (unsigned i = 0; i < t->n_posix; i++)
		if (t->posix[i].id == id)
			return &t->posix[i];
	return NULL;
}

static void create(const struct posix_timer *p, int id, struct leader_calls *calls)
{
	struct kernel_sigevent ev = {.notify = SIGEV_NONE};
	int32_t id_room = id;

	if (p)
		ev = (struct kernel_sigevent){
			.value = p->value, .signo = p->signal, .notify = p->notify, .tid = p->tid};
	leader_call(calls, SYS_timer_create,
		(const uint64_t[6]){p ? (uint64_t)p->clock : CLOCK_MONOTONIC,
			leader_data(calls, &ev, sizeof(ev)),
			leader_data(calls, &id_room, sizeof(id_room))});
}

/* The kernel gives ids in order, so the gaps are filled for a moment; false: one is too large. */
static bool create_in_order(const struct process_timers *t, struct leader_calls *calls)
{
	int last = -1;

	for (unsigned i = 0; i < t->n_posix; i++)
		last = MAX2(last, t->posix[i].id);
	if (last >= POSIX_TIMER_ID_MAX)
		return false;
	for (int id = 0; id <= last; id++)
		create(find(t, id), id, calls);
	for (int id = 0; id <= last; id++)
		if (!find(t, id))
			leader_call(calls, SYS_timer_delete, (const uint64_t[6]){(uint64_t)id});
	return true;
}

/* Since Linux 6.15 a process may say which ids it wants. */
static bool may_choose_ids(void)
{
	static int known;

	if (!known)
		known = prctl(PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_IDS_GET, 0, 0, 0) >= 0 ? 1 : -1;
	return known > 0;
}

static void choose_ids(struct leader_calls *calls, uint64_t on)
{
	leader_call(calls, SYS_prctl, (const uint64_t[6]){PR_TIMER_CREATE_RESTORE_IDS, on});
}

static bool restore_posix(const struct process_timers *t, struct leader_calls *calls)
{
	if (t->n_posix == 0)
		return true;
	if (may_choose_ids()) {
		choose_ids(calls, PR_TIMER_IDS_ON);
		for (unsigned i = 0; i < t->n_posix; i++)
			create(&t->posix[i], t->posix[i].id, calls);
		choose_ids(calls, PR_TIMER_IDS_OFF);
	} else if (!create_in_order(t, calls))
		return false;
	for (unsigned i = 0; i < t->n_posix; i++) {
		const struct posix_timer *p = &t->posix[i];
		if (p->spec[2] || p->spec[3])
			leader_call(calls, SYS_timer_settime,
				(const uint64_t[6]){(uint64_t)p->id, 0,
					leader_data(calls, p->spec, sizeof(p->spec)), 0});
	}
	return true;
}

/*
 * A periodic ITIMER_REAL is armed again when its signal is dequeued (kernel/signal.c), so while
 * one is pending nothing remains of it: then the signal, which is lost, comes at once.
 */
static void restore_interval(
	const struct process_timers *t, unsigned which, struct leader_calls *calls)
{
	int64_t it[4];

	memcpy(it, t->interval[which], sizeof(it));
	if (it[2] == 0 && it[3] == 0) {
		if (it[0] == 0 && it[1] == 0)
			return;
		it[3] = 1;
	}
	leader_call(calls, SYS_setitimer,
		(const uint64_t[6]){which, leader_data(calls, it, sizeof(it)), 0});
}

void timers_restore(struct process_timers *t, struct leader_calls *calls)
{
	for (unsigned which = 0; which < 3; which++)
		restore_interval(t, which, calls);
	t->incomplete |= !restore_posix(t, calls);
	if (t->parent_death_signal)
		leader_call(calls, SYS_prctl,
			(const uint64_t[6]){PR_SET_PDEATHSIG, (uint64_t)t->parent_death_signal});
	if (t->subreaper)
		leader_call(calls, SYS_prctl, (const uint64_t[6]){PR_SET_CHILD_SUBREAPER, 1});
}
