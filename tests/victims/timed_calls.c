/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every call that waits for a time. In each round all threads wait the same time for something that
 * does not come, and one of them sleeps until the same moment by an absolute clock_nanosleep(),
 * which the kernel makes again by itself and exactly: that one is the measure. None may end early,
 * none with another result than that its time is over, none with a register changed, and none,
 * by the median of all rounds, later than the measure by more than TOLERANCE of its time; by the
 * whole of it where swaps come, for the measure does not wait for the driver to come round to it.
 */
#include "tests/victims/raw_call.h"

#include <linux/futex.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

#define TIME_USEC 100000 /* of each wait; VTIME counts in tenths of a second */
#define TOLERANCE 4      /* 1/4 */
#define ROUNDS_MAX 400
#define ROUNDS_TO_JUDGE 4

static const struct timespec time_const = {0, TIME_USEC * 1000L};
static int quiet, ep, terminal;
static int unix_pair[2], full_pair[2], unix_listener, full_listener, tcp_listener, udp;
static struct sockaddr_un unix_addr, full_addr;
static struct sockaddr_in tcp_addr;
static int sem_id;
static mqd_t queue, full_queue;
static uint32_t word, pi_word;
static sem_t semaphore;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER, own = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;

static struct timespec after(int clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	ts.tv_nsec += TIME_USEC * 1000L;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	return ts;
}

static long in_measure(void)
{
	struct timespec ts = after(CLOCK_MONOTONIC);
	return RAW(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}
static long in_epoll_wait(void)
{
	struct epoll_event ev;
	return RAW(SYS_epoll_wait, ep, &ev, 1, TIME_USEC / 1000);
}
static long in_epoll_pwait(void)
{
	struct epoll_event ev;
	uint64_t mask = 1 << 20;
	return RAW(SYS_epoll_pwait, ep, &ev, 1, TIME_USEC / 1000, &mask, 8);
}
static long in_epoll_pwait2(void)
{
	struct epoll_event ev;
	return RAW(SYS_epoll_pwait2, ep, &ev, 1, &time_const, NULL, 8);
}
static long in_poll(void)
{
	struct pollfd p = {.fd = quiet, .events = POLLIN, .revents = 7};
	long r = RAW(SYS_poll, &p, 1, TIME_USEC / 1000);
	victim_check(p.revents == 0, "revents %d", p.revents);
	return r;
}
static long in_ppoll(void)
{
	struct pollfd p = {.fd = quiet, .events = POLLIN, .revents = 7};
	struct timespec ts = time_const;
	uint64_t mask = 1 << 20;
	long r = RAW(SYS_ppoll, &p, 1, &ts, &mask, 8);
	victim_check(p.revents == 0 && ts.tv_sec == 0 && ts.tv_nsec == 0, "left %ld.%09ld",
		ts.tv_sec, ts.tv_nsec);
	return r;
}
static long in_ppoll_const(void)
{
	struct pollfd p = {.fd = quiet, .events = POLLIN, .revents = 7};
	long r = RAW(SYS_ppoll, &p, 1, &time_const, NULL, 8);
	victim_check(p.revents == 0, "revents %d", p.revents);
	return r;
}
static long in_select(void)
{
	struct timeval tv = {0, TIME_USEC};
	fd_set in, out;
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(quiet, &in);
	FD_SET(quiet, &out); /* full */
	long r = RAW(SYS_select, quiet + 1, &in, NULL, &out, &tv);
	victim_check(!FD_ISSET(quiet, &in) && !FD_ISSET(quiet, &out) && tv.tv_sec == 0 &&
			     tv.tv_usec == 0,
		"left %ld.%06ld", tv.tv_sec, tv.tv_usec);
	return r;
}
static long in_pselect_const(void)
{
	fd_set in;
	FD_ZERO(&in);
	FD_SET(quiet, &in);
	long r = RAW(SYS_pselect6, quiet + 1, &in, NULL, NULL, &time_const, NULL);
	victim_check(!FD_ISSET(quiet, &in), "still set");
	return r;
}
static long in_pselect(void)
{
	fd_set in;
	FD_ZERO(&in);
	FD_SET(quiet, &in);
	long r = pselect(quiet + 1, &in, NULL, NULL, &time_const, NULL);
	victim_check(!FD_ISSET(quiet, &in), "still set");
	return r;
}
static long in_nanosleep(void)
{
	return RAW(SYS_nanosleep, &time_const, NULL);
}
static long in_nanosleep_same(void)
{
	struct timespec ts = time_const;
	return RAW(SYS_nanosleep, &ts, &ts);
}
static long in_nanosleep_other(void)
{
	struct timespec left;
	return RAW(SYS_nanosleep, &time_const, &left);
}
static long in_clock_nanosleep(void)
{
	return RAW(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &time_const, NULL);
}
static long in_futex(void)
{
	return RAW(SYS_futex, &word, FUTEX_WAIT, 0, &time_const);
}
static long in_futex_bitset(void)
{
	struct timespec ts = after(CLOCK_MONOTONIC);
	return RAW(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &ts, NULL, 1);
}
static long in_futex_pi(void)
{
	struct timespec ts = after(CLOCK_REALTIME);
	return RAW(SYS_futex, &pi_word, FUTEX_LOCK_PI_PRIVATE, 0, &ts);
}
static long in_futex_pi2(void)
{
	struct timespec ts = after(CLOCK_MONOTONIC);
	return RAW(SYS_futex, &pi_word, 13 /* FUTEX_LOCK_PI2 */ | FUTEX_PRIVATE_FLAG, 0, &ts);
}
static long in_futex_requeue_pi(void)
{
	struct timespec ts = after(CLOCK_MONOTONIC);
	return RAW(SYS_futex, &word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, &ts, &pi_word);
}
static long in_futex_waitv(void)
{
	struct {
		uint64_t val, uaddr;
		uint32_t flags, reserved;
	} v[2] = {{0, (uint64_t)&word, 2, 0}, {0, (uint64_t)&word, 2 | 128, 0}};
	struct timespec ts = after(CLOCK_MONOTONIC);
	return RAW(449 /* futex_waitv */, v, 2, 0, &ts, CLOCK_MONOTONIC);
}
static long in_sigtimedwait(void)
{
	uint64_t set = 1 << (SIGUSR1 - 1);
	return RAW(SYS_rt_sigtimedwait, &set, NULL, &time_const, 8);
}
static long in_semtimedop(void)
{
	struct sembuf op = {.sem_op = -1};
	return RAW(SYS_semtimedop, sem_id, &op, 1, &time_const);
}
static long in_read(void)
{
	char c;
	return RAW(SYS_read, unix_pair[0], &c, 1);
}
static long in_recvfrom(void)
{
	char c[4];
	return RAW(SYS_recvfrom, udp, c, 4, MSG_WAITALL, NULL, NULL);
}
static long in_recvmsg(void)
{
	char c[4];
	struct iovec iov = {c, 4};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	return RAW(SYS_recvmsg, unix_pair[0], &m, MSG_WAITALL);
}
static long in_recvmmsg(void)
{
	char c;
	struct iovec iov = {&c, 1};
	struct mmsghdr m = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
	return RAW(SYS_recvmmsg, udp, &m, 1, 0, NULL);
}
static long in_accept(void)
{
	return RAW(SYS_accept, unix_listener, NULL, NULL);
}
static long in_write(void)
{
	return RAW(SYS_write, full_pair[0], "x", 1);
}
static long in_sendto(void)
{
	return RAW(SYS_sendto, full_pair[0], "x", 1, MSG_NOSIGNAL, NULL, 0);
}
static long in_sendmsg(void)
{
	struct iovec iov = {"x", 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	return RAW(SYS_sendmsg, full_pair[0], &m, 0);
}
static int timed_socket(int domain, int type)
{
	struct timeval tv = {0, TIME_USEC};
	int fd = socket(domain, type, 0);
	victim_check(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0 &&
			     setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0,
		"socket");
	return fd;
}
static long in_connect_unix(void)
{
	if (victim_is_swapped())
		return in_nanosleep() ? 1 : -EAGAIN;
	int fd = timed_socket(AF_UNIX, SOCK_STREAM);
	long r = RAW(SYS_connect, fd, &full_addr, sizeof(full_addr));
	close(fd);
	return r;
}
static long in_connect_tcp(void)
{
	/* Each needs a new socket, and that of the round before is closed after a swap. */
	if (victim_is_swapped())
		return in_nanosleep() ? 1 : -EINPROGRESS;
	int fd = timed_socket(AF_INET, SOCK_STREAM);
	long r = RAW(SYS_connect, fd, &tcp_addr, sizeof(tcp_addr));
	close(fd);
	return r;
}
static long in_terminal(void)
{
	char c;
	return RAW(SYS_read, terminal, &c, 1);
}
static long in_mq_receive(void)
{
	struct timespec ts = after(CLOCK_REALTIME);
	char m[64];
	return RAW(SYS_mq_timedreceive, queue, m, sizeof(m), NULL, &ts);
}
static long in_mq_send(void)
{
	struct timespec ts = after(CLOCK_REALTIME);
	return RAW(SYS_mq_timedsend, full_queue, "x", 1, 0, &ts);
}
static long in_sem_timedwait(void)
{
	struct timespec ts = after(CLOCK_REALTIME);
	return sem_timedwait(&semaphore, &ts) == 0 ? 0 : -errno;
}
static long in_mutex_timedlock(void)
{
	struct timespec ts = after(CLOCK_REALTIME);
	return -pthread_mutex_timedlock(&held, &ts);
}
static long in_cond_timedwait(void)
{
	struct timespec ts = after(CLOCK_REALTIME);
	int r = 0;
	pthread_mutex_lock(&own);
	while (r == 0)
		r = pthread_cond_timedwait(&never, &own, &ts);
	pthread_mutex_unlock(&own);
	return -r;
}

static const struct kind {
	const char *name;
	long (*run)(void);
	long result; /* when the time is over */
} kinds[] = {
	{"clock_nanosleep, absolute", in_measure, 0},
	{"epoll_wait", in_epoll_wait, 0},
	{"epoll_pwait", in_epoll_pwait, 0},
	{"epoll_pwait2", in_epoll_pwait2, 0},
	{"poll", in_poll, 0},
	{"ppoll", in_ppoll, 0},
	{"ppoll, read-only time", in_ppoll_const, 0},
	{"select", in_select, 0},
	{"pselect6, read-only time", in_pselect_const, 0},
	{"pselect", in_pselect, 0},
	{"nanosleep", in_nanosleep, 0},
	{"nanosleep, rest in place", in_nanosleep_same, 0},
	{"nanosleep, rest elsewhere", in_nanosleep_other, 0},
	{"clock_nanosleep, relative", in_clock_nanosleep, 0},
	{"futex WAIT", in_futex, -ETIMEDOUT},
	{"futex WAIT_BITSET", in_futex_bitset, -ETIMEDOUT},
	{"futex LOCK_PI", in_futex_pi, -ETIMEDOUT},
	{"futex LOCK_PI2", in_futex_pi2, -ETIMEDOUT},
	{"futex WAIT_REQUEUE_PI", in_futex_requeue_pi, -ETIMEDOUT},
	{"futex_waitv", in_futex_waitv, -ETIMEDOUT},
	{"sigtimedwait", in_sigtimedwait, -EAGAIN},
	{"semtimedop", in_semtimedop, -EAGAIN},
	{"read, SO_RCVTIMEO", in_read, -EAGAIN},
	{"recvfrom, SO_RCVTIMEO", in_recvfrom, -EAGAIN},
	{"recvmsg, SO_RCVTIMEO", in_recvmsg, -EAGAIN},
	{"recvmmsg, SO_RCVTIMEO", in_recvmmsg, -EAGAIN},
	{"accept, SO_RCVTIMEO", in_accept, -EAGAIN},
	{"write, SO_SNDTIMEO", in_write, -EAGAIN},
	{"sendto, SO_SNDTIMEO", in_sendto, -EAGAIN},
	{"sendmsg, SO_SNDTIMEO", in_sendmsg, -EAGAIN},
	{"connect, AF_UNIX, SO_SNDTIMEO", in_connect_unix, -EAGAIN},
	{"connect, TCP, SO_SNDTIMEO", in_connect_tcp, -EINPROGRESS},
	{"read of a terminal, VTIME", in_terminal, 0},
	{"mq_timedreceive", in_mq_receive, -ETIMEDOUT},
	{"mq_timedsend", in_mq_send, -ETIMEDOUT},
	{"sem_timedwait", in_sem_timedwait, -ETIMEDOUT},
	{"pthread_mutex_timedlock", in_mutex_timedlock, -ETIMEDOUT},
	{"pthread_cond_timedwait", in_cond_timedwait, -ETIMEDOUT},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int64_t ended[KINDS];            /* of the round under way */
static int32_t late[KINDS][ROUNDS_MAX]; /* against the measure */
static unsigned rounds;
static bool stopping;

static void *run(void *arg)
{
	const struct kind *k = arg;
	unsigned n = (unsigned)(k - kinds);

	for (;;) {
		pthread_barrier_wait(&barrier);
		if (stopping)
			return NULL;
		int64_t begun = victim_now_usec();
		long r = k->run();
		ended[n] = victim_now_usec();
		victim_check(r == k->result, "%s says %ld after %lld us", k->name, r,
			(long long)(ended[n] - begun));
		victim_check(ended[n] - begun >= TIME_USEC, "%s took only %lld us", k->name,
			(long long)(ended[n] - begun));
		pthread_barrier_wait(&barrier);
	}
}

static void set_up_sockets(void)
{
	struct timeval tv = {0, TIME_USEC};
	socklen_t len = sizeof(tcp_addr);
	char fill[4096] = {0};
	int fd;

	unix_addr.sun_family = full_addr.sun_family = AF_UNIX;
	snprintf(unix_addr.sun_path, 100, "%.80s/a", getenv("VICTIM_DIR"));
	snprintf(full_addr.sun_path, 100, "%.80s/b", getenv("VICTIM_DIR"));
	unix_listener = timed_socket(AF_UNIX, SOCK_STREAM);
	full_listener = timed_socket(AF_UNIX, SOCK_STREAM);
	victim_check(bind(unix_listener, (struct sockaddr *)&unix_addr, sizeof(unix_addr)) == 0 &&
			     listen(unix_listener, 1) == 0 &&
			     bind(full_listener, (struct sockaddr *)&full_addr,
				     sizeof(full_addr)) == 0 &&
			     listen(full_listener, 0) == 0,
		"listen");
	do
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	while (connect(fd, (struct sockaddr *)&full_addr, sizeof(full_addr)) == 0);
	udp = timed_socket(AF_INET, SOCK_DGRAM);
	tcp_listener = timed_socket(AF_INET, SOCK_STREAM);
	tcp_addr.sin_family = AF_INET;
	tcp_addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	victim_check(bind(udp, (struct sockaddr *)&tcp_addr, sizeof(tcp_addr)) == 0, "bind");
	victim_check(bind(tcp_listener, (struct sockaddr *)&tcp_addr, sizeof(tcp_addr)) == 0 &&
			     listen(tcp_listener, 0) == 0 &&
			     getsockname(tcp_listener, (struct sockaddr *)&tcp_addr, &len) == 0,
		"listen");
	/* A full queue drops what else wants to connect, without a word. */
	for (unsigned i = 0; i < 4; i++) {
		struct pollfd p = {
			.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .events = POLLOUT};
		(void)!connect(p.fd, (struct sockaddr *)&tcp_addr, sizeof(tcp_addr));
		if (poll(&p, 1, 200) == 0)
			break;
	}
	victim_check(socketpair(AF_UNIX, SOCK_STREAM, 0, unix_pair) == 0 &&
			     socketpair(AF_UNIX, SOCK_STREAM, 0, full_pair) == 0,
		"socketpair");
	setsockopt(unix_pair[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	while (send(full_pair[0], fill, sizeof(fill), MSG_DONTWAIT) > 0)
		;
	while (send(full_pair[0], fill, 1, MSG_DONTWAIT) > 0)
		;
	setsockopt(full_pair[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static void set_up_queues(void)
{
	struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 64};
	char name[32];

	snprintf(name, sizeof(name), "/timed-%d", getpid());
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	mq_unlink(name);
	full_queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	mq_unlink(name);
	sem_id = semget(IPC_PRIVATE, 1, 0600);
	victim_check(
		queue >= 0 && full_queue >= 0 && sem_id >= 0 && mq_send(full_queue, "x", 1, 0) == 0,
		"queues");
}

static void set_up(void)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct termios t;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	quiet = eventfd(0, 0);
	ep = epoll_create1(0);
	victim_check(quiet >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, quiet, &ev) == 0, "epoll");
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	victim_check(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "pty");
	terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
	victim_check(tcgetattr(terminal, &t) == 0, "terminal");
	cfmakeraw(&t);
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = TIME_USEC / 100000;
	victim_check(tcsetattr(terminal, TCSANOW, &t) == 0, "terminal");
	set_up_sockets();
	set_up_queues();
	sem_init(&semaphore, 0, 0);
	pthread_mutex_lock(&held);
	pi_word = (uint32_t)gettid();
	pthread_barrier_init(&barrier, NULL, KINDS + 1);
}

static int compare(const void *a, const void *b)
{
	return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1;
}

static void judge(void)
{
	unsigned n = rounds < ROUNDS_MAX ? rounds : ROUNDS_MAX;
	int32_t tolerated = TIME_USEC / (victim_is_swapped() ? 1 : TOLERANCE);

	for (unsigned k = 1; k < KINDS && n >= ROUNDS_TO_JUDGE; k++) {
		qsort(late[k], n, sizeof(late[k][0]), compare);
		if (getenv("VICTIM_TIMES"))
			fprintf(stderr, "%-32s %7d %7d %7d us late\n", kinds[k].name, late[k][0],
				late[k][n / 2], late[k][n - 1]);
		victim_check(late[k][n / 2] <= tolerated,
			"%s is late by %d us of %d, by the median of %u rounds", kinds[k].name,
			late[k][n / 2], TIME_USEC, n);
	}
}

static void *measure(void *arg)
{
	while (!stopping) {
		pthread_barrier_wait(&barrier); /* all begin */
		if (stopping)
			break;
		pthread_barrier_wait(&barrier); /* all have ended */
		for (unsigned k = 1; k < KINDS && rounds < ROUNDS_MAX; k++)
			late[k][rounds] = (int32_t)(ended[k] - ended[0]);
		rounds++;
		stopping = atomic_load(&victim->stop);
	}
	pthread_barrier_wait(&barrier);
	return arg;
}

int main(void)
{
	pthread_t threads[KINDS], m;

	victim_begin();
	set_up();
	for (unsigned k = 0; k < KINDS; k++)
		threads[k] = victim_thread(run, (void *)&kinds[k]);
	m = victim_thread(measure, NULL);
	while (!victim_stopping()) {
		victim_nap(TIME_USEC / 20);
		victim_progress();
	}
	pthread_join(m, NULL);
	for (unsigned k = 0; k < KINDS; k++)
		pthread_join(threads[k], NULL);
	semctl(sem_id, 0, IPC_RMID);
	judge();
	return 0;
}
