/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that name a process or a thread to be told: O_ASYNC with its owner and signal, a
 * lease, a watched folder, a pidfd on oneself, status flags, a signalfd in an epoll set, an open
 * file of /proc/self. The kernel knows tasks, not numbers, and a swap makes new tasks.
 */
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "tests/victims/victim.h"

#define TO_PROCESS (SIGRTMIN + 5)
#define TO_THREAD (SIGRTMIN + 6)
#define FOR_FD (SIGRTMIN + 7)
#define FOLDER_CHANGED (SIGRTMIN + 8)
#define PATIENCE_USEC 3000000

static volatile sig_atomic_t came[65];
static volatile pid_t came_to;
static _Atomic pid_t listener;

static void on_signal(int sig)
{
	came[sig]++;
	if (sig == TO_THREAD)
		came_to = (pid_t)syscall(SYS_gettid);
}

static void *listen_for_it(void *arg)
{
	sigset_t s;

	sigemptyset(&s);
	sigaddset(&s, TO_THREAD);
	pthread_sigmask(SIG_UNBLOCK, &s, NULL);
	listener = (pid_t)syscall(SYS_gettid);
	for (;;)
		poll(NULL, 0, 1000);
	return arg;
}

static void catch (int sig)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	victim_check(sigaction(sig, &sa, NULL) == 0, "sigaction");
}

static void await_signal(int sig, int more_than, const char *what)
{
	int64_t until = victim_now_usec() + PATIENCE_USEC;
	struct timespec ts = {0, 200000};

	while (came[sig] <= more_than && victim_now_usec() < until)
		(void)nanosleep(&ts, NULL);
	victim_check(came[sig] > more_than, "no signal: %s", what);
}

static void make_async(int fd, int type, pid_t pid, int sig)
{
	struct f_owner_ex owner = {type, pid};

	victim_check(fcntl(fd, F_SETOWN_EX, &owner) == 0, "F_SETOWN_EX");
	victim_check(fcntl(fd, F_SETSIG, sig) == 0, "F_SETSIG");
	victim_check(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) == 0, "F_SETFL");
}

static void check_async(const int pair[2], int sig, const char *what)
{
	int before = came[sig];
	char c;

	while (read(pair[0], &c, 1) == 1)
		;
	victim_check(errno == EAGAIN, "not O_NONBLOCK");
	victim_check(write(pair[1], "x", 1) == 1, "write");
	await_signal(sig, before, what);
}

static void check_folder(int folder)
{
	int before = came[FOLDER_CHANGED], fd;

	victim_check(
		fcntl(folder, F_NOTIFY, DN_CREATE | DN_DELETE | DN_MULTISHOT) == 0, "F_NOTIFY");
	(void)unlinkat(folder, "new", 0);
	fd = openat(folder, "new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	victim_check(fd >= 0 && close(fd) == 0, "a new file");
	/* A swap takes us back, but not the folder. */
	victim_check(unlinkat(folder, "new", 0) == 0 || errno == ENOENT, "unlink");
	await_signal(FOLDER_CHANGED, before, "a folder changes");
}

/* The lease itself is kept by the open file. */
static void check_lease(int fd)
{
	struct f_owner_ex owner = {0};
	int lease = fcntl(fd, F_GETLEASE);

	victim_check(lease == F_RDLCK, "lease %d", lease);
	victim_check(fcntl(fd, F_GETOWN_EX, &owner) == 0 && owner.pid == getpid(),
		"the lease's owner is %d", owner.pid);
}

static void check_self(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	victim_check(poll(&p, 1, 0) == 0, "the descriptor says that this process has ended");
	victim_check(syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0, "pidfd_send_signal");
}

static void check_proc(int fd)
{
	char line[64] = "", *p;
	victim_check(pread(fd, line, sizeof(line) - 1, 0) > 0, "reading /proc/self/stat");
	p = strchr(line, ' ');
	victim_check(p && atoi(line) == getpid(), "/proc/self/stat is of %s", line);
}

static void check_signalfd(int ep, int sfd, int sig)
{
	struct signalfd_siginfo info;
	struct epoll_event ev = {0};

	victim_check(kill(getpid(), sig) == 0, "kill");
	int n;
	do
		n = epoll_wait(ep, &ev, 1, 3000);
	while (n < 0 && errno == EINTR);
	victim_check(n == 1 && ev.data.u32 == 9, "no event of the signalfd: %d", n);
	/* The set may know of it from before. */
	while (read(sfd, &info, sizeof(info)) == sizeof(info))
		;
}

int main(void)
{
	int one[2], two[2], three[2], plain[2];
	char path[256];
	sigset_t s;

	victim_begin();
	for (int sig = TO_PROCESS; sig <= FOLDER_CHANGED; sig++)
		catch (sig);
	sigemptyset(&s);
	sigaddset(&s, TO_THREAD);
	sigaddset(&s, SIGUSR1);
	sigprocmask(SIG_BLOCK, &s, NULL);
	victim_thread(listen_for_it, NULL);
	while (!listener)
		victim_nap(100);
	victim_check(socketpair(AF_UNIX, SOCK_STREAM, 0, one) == 0 &&
			     socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0 && pipe(three) == 0 &&

			     socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, plain) == 0,
		"descriptors");
	make_async(one[0], F_OWNER_PID, getpid(), TO_PROCESS);
	make_async(two[0], F_OWNER_TID, listener, TO_THREAD);
	make_async(three[0], F_OWNER_PID, getpid(), FOR_FD);
	int folder = open(getenv("VICTIM_DIR"), O_RDONLY | O_DIRECTORY);
	victim_check(fcntl(folder, F_SETSIG, FOLDER_CHANGED) == 0, "F_SETSIG");
	snprintf(path, sizeof(path), "%s/leased", getenv("VICTIM_DIR"));
	int leased = open(path, O_CREAT | O_RDONLY, 0600);
	victim_check(leased >= 0 && fcntl(leased, F_SETLEASE, F_RDLCK) == 0, "F_SETLEASE");
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	int proc = open("/proc/self/stat", O_RDONLY);
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	int sfd = signalfd(-1, &s, SFD_NONBLOCK), ep = epoll_create1(0);
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 9};
	victim_check(
		pidfd >= 0 && proc >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, sfd, &ev) == 0, "set-up");
	while (!victim_stopping()) {
		check_async(one, TO_PROCESS, "a socket, to the process");
		check_async(two, TO_THREAD, "a socket, to a thread");
		victim_check(came_to == listener, "told thread %d, not %d", came_to, listener);
		check_async(three, FOR_FD, "a pipe");
		check_folder(folder);
		check_lease(leased);
		check_self(pidfd);
		check_proc(proc);
		check_signalfd(ep, sfd, SIGUSR1);
		/* For some moments it is another: a swap takes it back. */
		victim_check(fcntl(plain[0], F_GETFL) == (O_RDWR | O_NONBLOCK), "status flags %x",
			fcntl(plain[0], F_GETFL));
		fcntl(plain[0], F_SETFL, 0);
		fcntl(plain[0], F_SETFL, O_NONBLOCK);
		victim_progress();
		struct timespec ts = {0, 400000};
		(void)nanosleep(&ts, NULL);
	}
	return 0;
}
