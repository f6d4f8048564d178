/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twinit-nsinit PID FIRST: process 1 of a node's pid namespace ([Twin] Identity=namespace). The
 * twin engine executes it; PID is the node's number in there, FIRST where new numbers begin.
 *
 * The kernel kills all that is in a pid namespace when its process 1 ends. So this one lives as
 * long as the node does, whoever supervises it, and longer while children of the node are left,
 * which it reaps. It is its keeper's child, not an ancestor of the node.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* False when there is nobody left to wait for. */
static bool reap(void)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG | __WALL)) > 0)
		;
	return pid == 0 || errno != ECHILD;
}

static void number_from(const char *first)
{
	int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);

	/* Refused, they begin at the bottom, as in any new namespace. */
	if (fd >= 0 && write(fd, first, strlen(first)) < 0)
		errno = 0;
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct signalfd_siginfo news[8];
	struct pollfd watched[2] = {{.events = POLLIN}, {.events = POLLIN}};
	bool node_lives = true, children;
	sigset_t all;

	if (argc != 3)
		return 2;
	number_from(argv[2]);
	(void)raise(SIGTRAP); /* ready: to the engine, which traces until now */
	/* Ignored it would stay so across exec, and the kernel would reap in our place. */
	if (signal(SIGCHLD, SIG_DFL) == SIG_ERR)
		return 1;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	(void)chdir("/");
	watched[0].fd = (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0);
	watched[1].fd = signalfd(-1, &all, SFD_NONBLOCK | SFD_CLOEXEC);
	if (watched[1].fd < 0)
		return 1;
	node_lives = watched[0].fd >= 0;
	for (;;) {
		children = reap();
		if (!node_lives && !children)
			return 0;
		if (poll(watched, 2, -1) < 0)
			continue;
		if (watched[0].revents) {
			node_lives = false;
			watched[0].fd = -1;
		}
		while (read(watched[1].fd, news, sizeof(news)) > 0)
			;
	}
}
