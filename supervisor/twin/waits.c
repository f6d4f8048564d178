/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/waits.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/twin/engine.h"

/* Longer waits than this one (30 years) have no end. */
#define FOREVER (1000000000ULL * NSEC_PER_SEC)

/* Where a call has its time, and what it says when that is over. */
enum place {
	IN_MSEC,     /* an int in a register */
	IN_TIMESPEC, /* behind a pointer */
	IN_TIMEVAL,
	IN_OPTION, /* of a socket */
};
struct timed_call {
	long nr;
	enum place place;
	unsigned arg;   /* of the time; of the descriptor where IN_OPTION */
	bool in_memory; /* the kernel writes back what is left */
	int left_arg;   /* or writes it here; -1 */
	int option;
	int result; /* when the time is over */
};

/* Calls with absolute times are not here: they are made again as they are. */
static const struct timed_call timed_calls[] = {
#ifdef SYS_epoll_wait
	{SYS_epoll_wait, IN_MSEC, 3, false, -1, 0, 0},
#endif
	{SYS_epoll_pwait, IN_MSEC, 3, false, -1, 0, 0},
#ifdef SYS_epoll_pwait2
	{SYS_epoll_pwait2, IN_TIMESPEC, 3, false, -1, 0, 0},
#endif
#ifdef SYS_poll
	{SYS_poll, IN_MSEC, 2, false, -1, 0, 0},
#endif
	{SYS_ppoll, IN_TIMESPEC, 2, true, -1, 0, 0},
#ifdef SYS_select
	{SYS_select, IN_TIMEVAL, 4, true, -1, 0, 0},
#endif
	{SYS_pselect6, IN_TIMESPEC, 4, true, -1, 0, 0},
	{SYS_nanosleep, IN_TIMESPEC, 0, false, 1, 0, 0},
	{SYS_clock_nanosleep, IN_TIMESPEC, 2, false, 3, 0, 0},
	{SYS_futex, IN_TIMESPEC, 3, false, -1, 0, -ETIMEDOUT},
	{SYS_rt_sigtimedwait, IN_TIMESPEC, 2, false, -1, 0, -EAGAIN},
	{SYS_semtimedop, IN_TIMESPEC, 3, false, -1, 0, -EAGAIN},
	{SYS_recvmmsg, IN_OPTION, 0, false, -1, SO_RCVTIMEO, -EAGAIN},
	{SYS_read, IN_OPTION, 0, false, -1, SO_RCVTIMEO, -EAGAIN},
	{SYS_readv, IN_OPTION, 0, false, -1, SO_RCVTIMEO, -EAGAIN},
	{SYS_recvfrom, IN_OPTION, 0, false, -1, SO_RCVTIMEO, -EAGAIN},
	{SYS_recvmsg, IN_OPTION, 0, false, -1, SO_RCVTIMEO, -EAGAIN},
	{SYS_accept, IN_OPTION, 0, false, -1, SO_RCVTIMEO, -EAGAIN},
	{SYS_accept4, IN_OPTION, 0, false, -1, SO_RCVTIMEO, -EAGAIN},
	{SYS_connect, IN_OPTION, 0, false, -1, SO_SNDTIMEO, -EINPROGRESS},
	{SYS_write, IN_OPTION, 0, false, -1, SO_SNDTIMEO, -EAGAIN},
	{SYS_writev, IN_OPTION, 0, false, -1, SO_SNDTIMEO, -EAGAIN},
	{SYS_sendto, IN_OPTION, 0, false, -1, SO_SNDTIMEO, -EAGAIN},
	{SYS_sendmsg, IN_OPTION, 0, false, -1, SO_SNDTIMEO, -EAGAIN},
	{SYS_sendmmsg, IN_OPTION, 0, false, -1, SO_SNDTIMEO, -EAGAIN},
	{SYS_sendfile, IN_OPTION, 0, false, -1, SO_SNDTIMEO, -EAGAIN},
	{SYS_splice, IN_OPTION, 2, false, -1, SO_SNDTIMEO, -EAGAIN},
};

static const struct timed_call *find_call(long nr)
{
	for (unsigned i = 0; i < ELEMENTSOF(timed_calls); i++)
		if (timed_calls[i].nr == nr)
			return &timed_calls[i];
	return NULL;
}

/* A call of several kinds, only some of which have a relative time. */
static bool is_relative(const struct arch_regs *r, long nr)
{
	int clock = (int)arch_syscall_arg(r, 0), op;

	switch (nr) {
	case SYS_futex:
		op = (int)arch_syscall_arg(r, 1) & FUTEX_CMD_MASK;
		return op == FUTEX_WAIT;
	case SYS_clock_nanosleep:
		if ((int)arch_syscall_arg(r, 1) & TIMER_ABSTIME)
			return false;
		/* Not the clocks of CPU time. */
		return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC ||
		       clock == CLOCK_BOOTTIME || clock == CLOCK_TAI ||
		       clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
	default:
		return true;
	}
}

static nsec_t to_nsec(int64_t sec, int64_t fraction, nsec_t unit)
{
	if (sec < 0 || fraction < 0)
		return 0;
	return (nsec_t)sec >= FOREVER / NSEC_PER_SEC
		       ? FOREVER
		       : (nsec_t)sec * NSEC_PER_SEC + (nsec_t)fraction * unit;
}

static nsec_t read_time(const struct thread *t, uint64_t at, enum place place)
{
	int64_t v[2]; /* struct timespec, struct timeval */

	if (!at || image_read(t->tid, at, v, sizeof(v)) < 0)
		return FOREVER;
	return to_nsec(v[0], v[1], place == IN_TIMEVAL ? NSEC_PER_USEC : 1);
}

static nsec_t read_option(const struct twin_engine *e, int fd, int option)
{
	struct timeval tv = {0};
	socklen_t len = sizeof(tv);
	int copy = (int)syscall(SYS_pidfd_getfd, e->pidfd, fd, 0);
	bool known = copy >= 0 && getsockopt(copy, SOL_SOCKET, option, &tv, &len) == 0;

	closep(&copy);
	return known && (tv.tv_sec || tv.tv_usec) ? to_nsec(tv.tv_sec, tv.tv_usec, NSEC_PER_USEC)
						  : FOREVER;
}

/* VTIME of termios(3), where it is the time of the whole read. Each read has its full time. */
static nsec_t read_terminal(const struct twin_engine *e, int fd)
{
	const struct file_entry *f = files_find(&e->files_now, fd);
	nsec_t time = FOREVER;
	struct termios t;
	int copy;

	if (!f || f->kind != FILE_PATH)
		return FOREVER;
	copy = (int)syscall(SYS_pidfd_getfd, e->pidfd, fd, 0);
	if (copy >= 0 && tcgetattr(copy, &t) == 0 && !(t.c_lflag & ICANON) && t.c_cc[VMIN] == 0 &&
		t.c_cc[VTIME] > 0)
		time = (nsec_t)t.c_cc[VTIME] * (NSEC_PER_SEC / 10);
	closep(&copy);
	return time;
}

static nsec_t full_time(const struct twin_engine *e, const struct thread *t,
	const struct arch_regs *r, const struct timed_call *c)
{
	int ms;

	switch (c->place) {
	case IN_MSEC:
		ms = (int)arch_syscall_arg(r, c->arg);
		return ms < 0 ? FOREVER : (nsec_t)ms * 1000000;
	case IN_OPTION:
		/* Sockets without a time say -ERESTARTSYS (sock_intr_errno()), as terminals do. */
		if (arch_syscall_result(r) == -EINTR)
			return read_option(e, (int)arch_syscall_arg(r, c->arg), c->option);
		return c->nr == SYS_read || c->nr == SYS_readv
			       ? read_terminal(e, (int)arch_syscall_arg(r, c->arg))
			       : FOREVER;
	default:
		return read_time(t, arch_syscall_arg(r, c->arg), c->place);
	}
}

void waits_look(struct twin_engine *e, struct thread *t, const char *text)
{
	const struct timed_call *c = find_call(strtol(text, NULL, 10));

	t->look.valid = false;
	if (c)
		asleep_look(e, t);
}

void waits_note(struct twin_engine *e, struct thread *t, const struct arch_regs *r, nsec_t now)
{
	struct wait_record *w = &t->wait;
	const struct timed_call *c = find_call(w->nr);
	bool eintr = arch_syscall_result(r) == -EINTR;
	nsec_t time, left = FOREVER;

	if (!c || !is_relative(r, w->nr))
		return;
	/* Where it cannot write the rest of the time, the kernel says EINTR. */
	w->in_memory = c->in_memory && !eintr;
	w->by_kernel = !eintr && c->place != IN_OPTION;
	time = full_time(e, t, r, c);
	if (w->in_memory)
		left = time;
	else if (c->left_arg >= 0 && arch_syscall_arg(r, (unsigned)c->left_arg))
		left = read_time(t, arch_syscall_arg(r, (unsigned)c->left_arg), c->place);
	if (time >= FOREVER)
		return;
	if (left < FOREVER)
		w->deadline = now + left;
	else
		w->deadline = asleep_since(e, t, now, &w->switches) + time;
}

/* The kernel counts what is left when the call is broken, and does not count the freeze. */
static void write_left(
	pid_t tid, const struct wait_record *w, const struct arch_regs *r, nsec_t now)
{
	const struct timed_call *c = find_call(w->nr);
	nsec_t left = w->deadline > now ? w->deadline - now : 0;
	int64_t v[2] = {(int64_t)(left / NSEC_PER_SEC), (int64_t)(left % NSEC_PER_SEC)};

	if (!c)
		return;
	if (c->place == IN_TIMEVAL)
		v[1] = (v[1] + (int64_t)NSEC_PER_USEC - 1) / (int64_t)NSEC_PER_USEC;
	if (image_write(tid, arch_syscall_arg(r, c->arg), v, sizeof(v)) < 0)
		return; /* it waits for what it finds there */
}

void waits_again(struct twin_engine *e, struct thread *t, const struct arch_regs *r, nsec_t now)
{
	struct wait_record *w = &t->wait;

	if (!w->deadline)
		return;
	if (w->in_memory)
		write_left(t->tid, w, r, now);
	if (!w->by_kernel)
		w->switches = asleep_switches(e, t);
}

bool waits_is_over(const struct wait_record *w, nsec_t now)
{
	return w->deadline && !w->by_kernel && now >= w->deadline;
}

/* select() that timed out has no descriptor in its sets (include/linux/poll.h, FDS_BYTES). */
static void clear_sets(pid_t tid, const struct arch_regs *r)
{
	static const uint8_t zeros[FD_SETSIZE / 8];
	uint64_t len = ((uint64_t)(int)arch_syscall_arg(r, 0) + 63) / 64 * 8;

	for (unsigned i = 1; i <= 3; i++) {
		uint64_t at = arch_syscall_arg(r, i);
		for (uint64_t done = 0; at && done < len; done += sizeof(zeros))
			if (image_write(tid, at + done, zeros, MIN2(len - done, sizeof(zeros))) < 0)
				return; /* not writable: the kernel would have said so before */
	}
}

/* What connect() says depends on the kind of socket. */
static int connect_result(const struct twin_engine *e, const struct arch_regs *r)
{
	int copy = (int)syscall(SYS_pidfd_getfd, e->pidfd, (int)arch_syscall_arg(r, 0), 0);
	socklen_t len = sizeof(int);
	int domain = 0;

	if (copy >= 0)
		(void)getsockopt(copy, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	closep(&copy);
	return domain == AF_UNIX ? -EAGAIN : -EINPROGRESS;
}

int waits_result(
	const struct twin_engine *e, const struct wait_record *w, const struct arch_regs *r)
{
	const struct timed_call *c = find_call(w->nr);

	/* A terminal that has nothing to say is no socket. */
	if ((w->nr == SYS_read || w->nr == SYS_readv) && w->error == -ERESTARTSYS)
		return 0;
	if (w->nr == SYS_connect)
		return connect_result(e, r);
	return c ? c->result : 0;
}

bool waits_end(const struct twin_engine *e, pid_t tid, struct wait_record *w, struct arch_regs *r)
{
	const struct timed_call *c = find_call(w->nr);

	if (w->in_memory)
		write_left(tid, w, r, w->deadline);
	w->deadline = 0;
	if (!c || w->in_memory)
		return false;
	if (w->nr == SYS_pselect6
#ifdef SYS_select
		|| w->nr == SYS_select
#endif
	)
		clear_sets(tid, r);
	arch_finish_syscall(r, waits_result(e, w, r));
	w->mark = 0;
	return true;
}

void waits_adopt(struct thread *t, const struct wait_record *w)
{
	t->wait = *w;
	t->wait.switches = 0;
	t->look.valid = false;
}

static void set_timer(struct twin_engine *e, nsec_t at)
{
	struct itimerspec its = {
		.it_value = {(time_t)(at / NSEC_PER_SEC), (long)(at % NSEC_PER_SEC)}};

	e->next_deadline = at;
	if (e->timer_fd >= 0)
		(void)timerfd_settime(e->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

static bool is_waited_for(const struct thread *t)
{
	const struct wait_record *w = &t->wait;

	return w->mark && w->deadline && !w->by_kernel && !t->asked && !t->stopped;
}

void waits_arm(struct twin_engine *e)
{
	nsec_t next = 0;

	FOREACH_THREAD(e, t)
	{
		if (is_waited_for(t) && (!next || t->wait.deadline < next))
			next = t->wait.deadline;
	}
	if (next != e->next_deadline)
		set_timer(e, next);
}

/*
 * Each stop may break another wait, which then has a deadline of its own. So one that is over is
 * not to be stopped for: a thread that has slept more often than we made it is in another wait, or
 * woke up in this one for nothing. In doubt it is stopped, but not twice in a row.
 */
static bool may_still_wait(struct twin_engine *e, struct thread *t)
{
	const struct wait_record *w = &t->wait;

	if (!w->switches || !w->chained)
		return true;
	return asleep_switches(e, t) == w->switches + 1;
}

void waits_expire(struct twin_engine *e)
{
	nsec_t now = now_nsec();

	if (!e->next_deadline || now < e->next_deadline)
		return;
	set_timer(e, 0);
	if (e->group_stopped)
		return; /* the end of that ends the waits as well */
	FOREACH_THREAD(e, t)
	{
		if (!is_waited_for(t) || now < t->wait.deadline)
			continue;
		if (!may_still_wait(e, t)) {
			t->wait.deadline = 0;
			continue;
		}
		asleep_look(e, t);
		t->expiring = ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) == 0;
		t->asked = t->expiring;
		if (!t->expiring)
			t->wait.deadline = 0; /* dead */
	}
	waits_arm(e);
}
