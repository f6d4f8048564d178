/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signal with a handler breaks a wait, as it should: exactly once, however often the wait is made
 * again behind the program's back. A signal that came between two freezes, just where the thread is
 * to make its call again, must not be handled before the call, which would then wait on.
 */
#include "tests/victims/raw_call.h"

#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/socket.h>

#define SIG_KICK SIGUSR1  /* without SA_RESTART */
#define SIG_AGAIN SIGUSR2 /* with it */

static const struct timespec far = {1000, 0};
static int ep, pipes[2], quiet[2], timed[2], sem_id;
static uint32_t word;
static uint64_t nothing_blocked;

static long in_pause(void)
{
	return RAW(SYS_pause, 0);
}
static long in_epoll(void)
{
	struct epoll_event ev;
	return RAW(SYS_epoll_wait, ep, &ev, 1, 1000000);
}
static long in_poll(void)
{
	struct pollfd p = {.fd = quiet[0], .events = POLLIN};
	return RAW(SYS_poll, &p, 1, 1000000);
}
static long in_ppoll(void)
{
	struct pollfd p = {.fd = quiet[0], .events = POLLIN};
	struct timespec ts = far;
	return RAW(SYS_ppoll, &p, 1, &ts, &nothing_blocked, 8);
}
static long in_nanosleep(void)
{
	struct timespec left = {0, 0};
	long r = RAW(SYS_nanosleep, &far, &left);
	victim_check(left.tv_sec > 0, "no rest");
	return r;
}
static long in_futex(void)
{
	return RAW(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &far);
}
static long in_sigsuspend(void)
{
	return RAW(SYS_rt_sigsuspend, &nothing_blocked, 8);
}
static long in_read(void)
{
	char c;
	return RAW(SYS_read, quiet[0], &c, 1);
}
static long in_recv(void)
{
	char c;
	return RAW(SYS_recvfrom, timed[0], &c, 1, 0, NULL, NULL);
}
static long in_semop(void)
{
	struct sembuf op = {.sem_op = -1};
	return RAW(SYS_semtimedop, sem_id, &op, 1, NULL);
}
static long in_read_again(void)
{
	char c;
	return RAW(SYS_read, pipes[0], &c, 1);
}

static const struct kind {
	const char *name;
	long (*run)(void);
	long nr;
	bool again; /* by SIG_AGAIN, and then given a byte */
} kinds[] = {
	{"pause", in_pause, SYS_pause, false},
	{"epoll_wait", in_epoll, SYS_epoll_wait, false},
	{"poll", in_poll, SYS_poll, false},
	{"ppoll", in_ppoll, SYS_ppoll, false},
	{"nanosleep", in_nanosleep, SYS_nanosleep, false},
	{"futex", in_futex, SYS_futex, false},
	{"sigsuspend", in_sigsuspend, SYS_rt_sigsuspend, false},
	{"read", in_read, SYS_read, false},
	{"recv, SO_RCVTIMEO", in_recv, SYS_recvfrom, false},
	{"semop", in_semop, SYS_semtimedop, false},
	{"read, SA_RESTART", in_read_again, SYS_read, true},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct waiter {
	const struct kind *kind;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic unsigned rounds, handled;
};
static struct waiter waiters[KINDS];
static __thread struct waiter *self;

static void on_kick(int sig)
{
	(void)sig;
	if (self)
		atomic_fetch_add(&self->handled, 1);
}

static void *run(void *arg)
{
	self = arg;
	atomic_store(&self->tid, gettid());
	while (!victim->stop) {
		long r = self->kind->run();
		unsigned n = atomic_load(&self->rounds);
		if (victim->stop)
			break;
		victim_check(
			r == (self->kind->again ? 1 : -EINTR), "%s says %ld", self->kind->name, r);
		victim_check(atomic_load(&self->handled) == n + 1, "%s: %u signals in round %u",
			self->kind->name, atomic_load(&self->handled), n);
		atomic_store(&self->rounds, n + 1);
	}
	return arg;
}

/* In its call, or about to make it once more. */
static bool is_waiting(const struct waiter *w)
{
	char path[64], text[256] = "";
	long nr;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", atomic_load(&w->tid));
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	nr = text[0] >= '0' && text[0] <= '9' ? strtol(text, NULL, 10) : -1;
	return nr == w->kind->nr || nr == SYS_restart_syscall;
}

static void kick(struct waiter *w, unsigned round)
{
	while (!is_waiting(w) && !victim->stop)
		victim_nap(200);
	if (victim->stop)
		return;
	pthread_kill(w->thread, w->kind->again ? SIG_AGAIN : SIG_KICK);
	while (atomic_load(&w->handled) <= round && !victim->stop)
		victim_nap(100);
	if (w->kind->again)
		victim_check(write(pipes[1], "x", 1) == 1, "write");
	/* The signal was not lost: the wait ends. */
	while (atomic_load(&w->rounds) <= round && !victim->stop)
		victim_nap(100);
}

static void set_up(void)
{
	struct sigaction kicked = {.sa_handler = on_kick};
	struct timeval tv = {1000, 0};

	sigaction(SIG_KICK, &kicked, NULL);
	kicked.sa_flags = SA_RESTART;
	sigaction(SIG_AGAIN, &kicked, NULL);
	ep = epoll_create1(0);
	sem_id = semget(IPC_PRIVATE, 1, 0600);
	victim_check(pipe(pipes) == 0 && pipe(quiet) == 0 &&
			     socketpair(AF_UNIX, SOCK_STREAM, 0, timed) == 0 && ep >= 0 &&
			     sem_id >= 0,
		"set-up");
	setsockopt(timed[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

int main(void)
{
	victim_begin();
	set_up();
	for (unsigned k = 0; k < KINDS; k++) {
		waiters[k].kind = &kinds[k];
		waiters[k].thread = victim_thread(run, &waiters[k]);
	}
	for (unsigned round = 0; !victim_stopping(); round++) {
		for (unsigned k = 0; k < KINDS && !victim->stop; k++)
			kick(&waiters[k], round);
		victim_progress();
	}
	semctl(sem_id, 0, IPC_RMID);
	_exit(0);
}
