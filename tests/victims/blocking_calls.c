/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread for each way to wait. None may see EINTR or come back early, however often it is
 * frozen, swapped, or sent signals that are ignored. At the end each is given what it waits for
 * and must get just that.
 */
#include "tests/victims/victim.h"

#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>

#define LONG_SECONDS 1000
#define SIG_KICK SIGUSR2    /* has a handler */
#define SIG_AWAITED SIGUSR1 /* blocked, for sigtimedwait */
#define SIG_AWAITED_TOO (SIGRTMIN + 2)
#define SIG_TO_FD (SIGRTMIN + 1) /* blocked, for signalfd */

static volatile bool ended;
static int quit[2], pipes[2], event, timer, signals, watch, listener, lock_fd[2], ofd_holder, file;
static int stream[2], timed[2], datagrams[2], full[2], epoll, full_event, full_msg_id, ofd_file;
static int sem_id, msg_id;
static mqd_t queue, full_queue;
static volatile uint32_t futex_word;
static uint32_t pi_word;
static sem_t semaphore;
static pid_t child;
static const struct timespec far = {LONG_SECONDS, 0};
static char path[2][128], fifo[128];

static long in_futex(void)
{
	return syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &far, NULL, 0);
}
static long in_futex_forever(void)
{
	return syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}
static long in_poll(void)
{
	struct pollfd p = {.fd = quit[0], .events = POLLIN};
	return poll(&p, 1, LONG_SECONDS * 1000);
}
static long in_ppoll(void)
{
	struct pollfd p = {.fd = quit[0], .events = POLLIN};
	return ppoll(&p, 1, &far, NULL);
}
static long in_select(void)
{
	struct timeval tv = {LONG_SECONDS, 0};
	fd_set set;
	FD_ZERO(&set);
	FD_SET(quit[0], &set);
	return select(quit[0] + 1, &set, NULL, NULL, &tv);
}
static long in_pselect(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(quit[0], &set);
	return pselect(quit[0] + 1, &set, NULL, NULL, &far, NULL);
}
static long in_nanosleep(void)
{
	return nanosleep(&far, NULL);
}
static long in_clock_nanosleep(void)
{
	errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &far, NULL);
	return errno ? -1 : 0;
}
static long in_clock_nanosleep_absolute(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += LONG_SECONDS;
	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	return errno ? -1 : 0;
}
static long in_read_pipe(void)
{
	char c;
	return read(pipes[0], &c, 1);
}
static long in_read_eventfd(void)
{
	uint64_t v;
	return read(event, &v, sizeof(v)) == sizeof(v);
}
static long in_read_timerfd(void)
{
	uint64_t v;
	return read(timer, &v, sizeof(v)) == sizeof(v);
}
static long in_read_signalfd(void)
{
	struct signalfd_siginfo v;
	return read(signals, &v, sizeof(v)) == sizeof(v) && v.ssi_signo == (unsigned)SIG_TO_FD;
}
static long in_read_inotify(void)
{
	char v[512];
	return read(watch, v, sizeof(v)) > 0;
}
static long in_accept(void)
{
	return accept(listener, NULL, NULL) >= 0;
}
static long in_recv(void)
{
	char c;
	return recv(stream[0], &c, 1, 0);
}
static long in_recv_with_timeout(void)
{
	char c;
	return recv(timed[0], &c, 1, 0);
}
static long in_recvmmsg(void)
{
	char c;
	struct iovec iov = {&c, 1};
	struct mmsghdr m = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
	return recvmmsg(datagrams[0], &m, 1, 0, NULL);
}
static long in_sigtimedwait(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIG_AWAITED);
	return sigtimedwait(&set, NULL, &far) == SIG_AWAITED;
}
static long in_semtimedop(void)
{
	struct sembuf op = {.sem_op = -1};
	return semtimedop(sem_id, &op, 1, &far) == 0;
}
static long in_semop(void)
{
	struct sembuf op = {.sem_op = -1};
	return semop(sem_id, &op, 1) == 0;
}
static long in_msgrcv(void)
{
	struct {
		long type;
		char text[8];
	} m;
	return msgrcv(msg_id, &m, sizeof(m.text), 0, 0) >= 0;
}
static long in_mq_timedreceive(void)
{
	struct timespec ts;
	char m[64];
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += LONG_SECONDS;
	return mq_timedreceive(queue, m, sizeof(m), NULL, &ts) > 0;
}
static long in_flock(void)
{
	return flock(lock_fd[1], LOCK_EX) == 0;
}
/* Two wait for the same one. */
static long lock_and_unlock(int fd, int how)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int r = fcntl(fd, how, &l);
	l.l_type = F_UNLCK;
	return r == 0 && fcntl(fd, how, &l) == 0;
}
static long in_setlkw(void)
{
	return lock_and_unlock(file, F_SETLKW);
}
static long in_wait4(void)
{
	int raw;
	return child ? waitpid(child, &raw, 0) == child : in_poll();
}
static long in_sigsuspend(void)
{
	sigset_t set;
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	return sigsuspend(&set);
}
static long in_pause(void)
{
	return pause();
}

static long in_epoll(void)
{
	struct epoll_event ev;
	return epoll_wait(epoll, &ev, 1, -1);
}
static long in_sigwaitinfo(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIG_AWAITED_TOO);
	return sigwaitinfo(&set, NULL) == SIG_AWAITED_TOO;
}
static long in_lock_pi(void)
{
	return syscall(SYS_futex, &pi_word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0);
}
static long in_waitv(void)
{
	struct {
		uint64_t val, uaddr;
		uint32_t flags, reserved;
	} v = {0, (uint64_t)&futex_word, 2 /* 32 bits */ | FUTEX_PRIVATE_FLAG, 0};
	return syscall(449 /* futex_waitv */, &v, 1, 0, NULL, 0);
}
static long in_write_eventfd(void)
{
	uint64_t v = 1;
	return write(full_event, &v, sizeof(v)) == sizeof(v);
}
static long in_send(void)
{
	return send(full[0], "x", 1, 0);
}
static long in_recvmsg(void)
{
	char c;
	struct iovec iov = {&c, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	return recvmsg(stream[0], &m, 0);
}
static long in_msgsnd(void)
{
	struct {
		long type;
		char text[8];
	} m = {1, "text"};
	return msgsnd(full_msg_id, &m, sizeof(m.text), 0);
}
static long in_mq_send(void)
{
	return mq_send(full_queue, "x", 1, 0);
}
static long in_ofd_setlkw(void)
{
	return lock_and_unlock(ofd_file, F_OFD_SETLKW);
}
static long in_open_fifo(void)
{
	return open(fifo, O_RDONLY) >= 0;
}
static long in_waitid(void)
{
	siginfo_t info;
	return child ? waitid(P_PID, (id_t)child, &info, WSTOPPED) == 0 : in_poll();
}
static long in_sem_wait(void)
{
	return sem_wait(&semaphore);
}
static void *joined(void *arg)
{
	return in_poll() == 1 ? arg : NULL;
}
static long in_join(void)
{
	return pthread_join(victim_thread(joined, NULL), NULL);
}

enum result { ONE, ZERO, WOKEN /* when futex_word changes */, KICKED };

static const struct call {
	const char *name;
	long (*run)(void);
	enum result result;
} calls[] = {
	{"futex", in_futex, WOKEN},
	{"futex without timeout", in_futex_forever, WOKEN},
	{"poll", in_poll, ONE},
	{"ppoll", in_ppoll, ONE},
	{"select", in_select, ONE},
	{"pselect", in_pselect, ONE},
	{"nanosleep", in_nanosleep, KICKED},
	{"clock_nanosleep", in_clock_nanosleep, KICKED},
	{"clock_nanosleep, absolute", in_clock_nanosleep_absolute, KICKED},
	{"read of a pipe", in_read_pipe, ONE},
	{"read of an eventfd", in_read_eventfd, ONE},
	{"read of a timerfd", in_read_timerfd, ONE},
	{"read of a signalfd", in_read_signalfd, ONE},
	{"read of inotify", in_read_inotify, ONE},
	{"accept", in_accept, ONE},
	{"recv", in_recv, ONE},
	{"recv with a timeout", in_recv_with_timeout, ONE},
	{"recvmmsg", in_recvmmsg, ONE},
	{"sigtimedwait", in_sigtimedwait, ONE},
	{"semtimedop", in_semtimedop, ONE},
	{"semop", in_semop, ONE},
	{"msgrcv", in_msgrcv, ONE},
	{"mq_timedreceive", in_mq_timedreceive, ONE},
	{"flock", in_flock, ONE},
	{"F_SETLKW", in_setlkw, ONE},
	{"waitid", in_waitid, ONE},
	{"wait4", in_wait4, ONE},
	{"epoll_wait", in_epoll, ONE},
	{"sigwaitinfo", in_sigwaitinfo, ONE},
	{"futex LOCK_PI", in_lock_pi, ZERO},
	{"futex_waitv", in_waitv, WOKEN},
	{"write to an eventfd", in_write_eventfd, ONE},
	{"send", in_send, ONE},
	{"recvmsg", in_recvmsg, ONE},
	{"msgsnd", in_msgsnd, ZERO},
	{"mq_send", in_mq_send, ZERO},
	{"F_OFD_SETLKW", in_ofd_setlkw, ONE},
	{"open of a FIFO", in_open_fifo, ONE},
	{"sem_wait", in_sem_wait, ZERO},
	{"pthread_join", in_join, ZERO},
	{"sigsuspend", in_sigsuspend, KICKED},
	{"pause", in_pause, KICKED},
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

static void *run(void *arg)
{
	const struct call *c = arg;
	long r = c->run();

	/* Broken, and made again only when the word was changed already, but nobody woken yet. */
	if (r == -1 && errno == EAGAIN && c->result == WOKEN && futex_word != 0)
		r = 0;
	victim_check(ended, "%s came back with %ld", c->name, r);
	victim_check(c->result == KICKED ? r == -1 && errno == EINTR : r == (c->result == ONE),
		"%s ended with %ld", c->name, r);
	return arg;
}

static void on_kick(int sig)
{
	(void)sig;
}

static void set_up_signals(void)
{
	struct sigaction kick = {.sa_handler = on_kick};
	sigset_t set;

	sigaction(SIG_KICK, &kick, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIG_TO_FD);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	sigaddset(&set, SIG_AWAITED);
	sigaddset(&set, SIG_AWAITED_TOO);
	sigprocmask(SIG_BLOCK, &set, NULL);
	victim_check(signals >= 0, "signalfd");
}

static void set_up_sockets(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct timeval tv = {LONG_SECONDS, 0};

	snprintf(a.sun_path, sizeof(a.sun_path), "%.80s/socket", getenv("VICTIM_DIR"));
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	victim_check(bind(listener, (struct sockaddr *)&a, sizeof(a)) == 0, "bind");
	victim_check(listen(listener, 5) == 0, "listen");
	victim_check(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0 &&
			     socketpair(AF_UNIX, SOCK_STREAM, 0, timed) == 0 &&
			     socketpair(AF_UNIX, SOCK_STREAM, 0, full) == 0 &&
			     socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams) == 0,
		"socketpair");
	victim_check(
		setsockopt(timed[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == 0, "SO_RCVTIMEO");
}

/* Held by descriptors of this process: an OFD lock stands in the way of its own F_SETLKW too. */
static void set_up_locks(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	for (unsigned i = 0; i < 2; i++) {
		snprintf(path[i], sizeof(path[i]), "%s/lock%u", getenv("VICTIM_DIR"), i);
		lock_fd[i] = open(path[0], O_RDWR | O_CREAT, 0600);
		victim_check(lock_fd[i] >= 0, "open");
	}
	victim_check(flock(lock_fd[0], LOCK_EX) == 0, "flock");
	snprintf(fifo, sizeof(fifo), "%s/fifo", getenv("VICTIM_DIR"));
	ofd_file = open(path[1], O_RDWR | O_CREAT, 0600);
	ofd_holder = open(path[1], O_RDWR | O_CREAT, 0600);
	file = open(path[1], O_RDWR);
	victim_check(file >= 0 && fcntl(ofd_holder, F_OFD_SETLK, &l) == 0, "F_OFD_SETLK");
}

/* What one can wait for to have room again. */
static void fill(void)
{
	uint64_t most = UINT64_MAX - 1;
	struct epoll_event ev = {.events = EPOLLIN};
	struct {
		long type;
		char text[1024];
	} m = {1, ""};
	struct msqid_ds ds;

	full_event = eventfd(0, 0);
	full_msg_id = msgget(IPC_PRIVATE, 0600);
	epoll = epoll_create1(0);
	sem_init(&semaphore, 0, 0);
	victim_check(write(full_event, &most, sizeof(most)) == sizeof(most), "eventfd");
	victim_check(mq_send(full_queue, "x", 1, 0) == 0 && mq_send(full_queue, "x", 1, 0) == 0,
		"mq_send");
	while (msgsnd(full_msg_id, &m, sizeof(m.text), IPC_NOWAIT) == 0)
		;
	/* Up to the last byte. */
	while (msgctl(full_msg_id, IPC_STAT, &ds) == 0 &&
		msgsnd(full_msg_id, &m, 8, IPC_NOWAIT) == 0)
		;
	while (send(full[0], m.text, sizeof(m.text), MSG_DONTWAIT) > 0)
		;
	while (send(full[0], "x", 1, MSG_DONTWAIT) > 0)
		;
	victim_check(epoll_ctl(epoll, EPOLL_CTL_ADD, quit[0], &ev) == 0, "epoll");
	victim_check(mkfifo(fifo, 0600) == 0, "mkfifo");
	pi_word = (uint32_t)gettid();
}

static void set_up(void)
{
	struct itimerspec its = {.it_value = far};
	struct mq_attr attr = {.mq_maxmsg = 2, .mq_msgsize = 64};
	char name[32];

	set_up_signals();
	set_up_sockets();
	set_up_locks();
	victim_check(pipe(quit) == 0 && pipe(pipes) == 0, "pipe");
	event = eventfd(0, 0);
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	victim_check(timerfd_settime(timer, 0, &its, NULL) == 0, "timerfd");
	watch = inotify_init1(0);
	victim_check(inotify_add_watch(watch, path[0], IN_ATTRIB) >= 0, "inotify");
	sem_id = semget(IPC_PRIVATE, 1, 0600);
	msg_id = msgget(IPC_PRIVATE, 0600);
	snprintf(name, sizeof(name), "/victim-%d", getpid());
	queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	victim_check(sem_id >= 0 && msg_id >= 0 && queue >= 0, "IPC");
	mq_unlink(name);
	full_queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	mq_unlink(name);
	fill();
	if (victim_is_swapped())
		return;
	child = fork(); /* a child is lost in a swap */
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* should this victim fail */
		for (;;)
			pause();
	}
}

static void give_room(void)
{
	char bytes[65536];
	uint64_t v;
	struct {
		long type;
		char text[1024];
	} m;

	syscall(SYS_futex, &pi_word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0);
	victim_check(read(full_event, &v, sizeof(v)) == sizeof(v), "eventfd");
	while (recv(full[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	victim_check(msgrcv(full_msg_id, &m, sizeof(m.text), 0, 0) >= 0, "msgrcv");
	victim_check(mq_receive(full_queue, bytes, sizeof(bytes), NULL) == 1, "mq_receive");
	victim_check(open(fifo, O_RDWR) >= 0, "fifo");
	sem_post(&semaphore);
	kill(getpid(), SIG_AWAITED_TOO);
}

static void give_all(void)
{
	struct flock l = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	struct itimerspec soon = {.it_value = {0, 1}};
	struct sockaddr_un a;
	socklen_t len = sizeof(a);
	struct sembuf op = {.sem_op = 2};
	struct {
		long type;
		char text[8];
	} m = {1, "text"};
	uint64_t one = 1;

	futex_word = 1;
	syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0);
	victim_check(write(quit[1], "x", 1) == 1 && write(pipes[1], "x", 1) == 1, "write");
	victim_check(write(event, &one, sizeof(one)) == sizeof(one), "eventfd");
	victim_check(timerfd_settime(timer, 0, &soon, NULL) == 0, "timerfd");
	kill(getpid(), SIG_TO_FD);
	victim_check(fchmod(lock_fd[0], 0640) == 0, "chmod");
	getsockname(listener, (struct sockaddr *)&a, &len);
	int client = socket(AF_UNIX, SOCK_STREAM, 0);
	victim_check(connect(client, (struct sockaddr *)&a, len) == 0, "connect");
	victim_check(send(stream[1], "xx", 2, 0) == 2 && send(timed[1], "x", 1, 0) == 1 &&
			     send(datagrams[1], "x", 1, 0) == 1,
		"send");
	kill(getpid(), SIG_AWAITED);
	victim_check(semop(sem_id, &op, 1) == 0, "semop");
	victim_check(msgsnd(msg_id, &m, sizeof(m.text), 0) == 0, "msgsnd");
	victim_check(mq_send(queue, "x", 1, 0) == 0, "mq_send");
	flock(lock_fd[0], LOCK_UN);
	victim_check(fcntl(ofd_holder, F_OFD_SETLK, &l) == 0, "unlock");
	give_room();
	if (child)
		kill(child, SIGSTOP); /* for waitid */
}

static void take_back(void)
{
	semctl(sem_id, 0, IPC_RMID);
	msgctl(msg_id, IPC_RMID, NULL);
	msgctl(full_msg_id, IPC_RMID, NULL);
}

static void join(pthread_t t, const struct call *c)
{
	int r = ETIMEDOUT;

	if (c->run == in_wait4 && child)
		kill(child, SIGKILL);
	/* A kick may come before the thread is in its call again: kick until it ends. */
	for (unsigned tries = 0; tries < 500 && r == ETIMEDOUT; tries++) {
		struct timespec until;
		if (c->result == KICKED)
			pthread_kill(t, SIG_KICK);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 10000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		r = pthread_timedjoin_np(t, NULL, &until);
	}
	victim_check(r == 0, "%s does not end: %d", c->name, r);
}

int main(void)
{
	pthread_t t[CALLS];

	victim_begin();
	set_up();
	for (unsigned i = 0; i < CALLS; i++)
		t[i] = victim_thread(run, (void *)&calls[i]);
	while (!victim_stopping()) {
		victim_nap(1000);
		victim_progress();
	}
	ended = true;
	give_all();
	for (unsigned i = 0; i < CALLS; i++)
		join(t[i], &calls[i]);
	take_back();
	return 0;
}
