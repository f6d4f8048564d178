/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Like a shell: leads a session with a controlling terminal, has a job in the foreground, one in
 * the background, a helper that answers through pipes, and a thread that waits for a child that
 * does not end. All of them stay its children, whatever befalls it, and find the same parent.
 */
#include "tests/victims/victim.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>

static int master, terminal, to_helper[2], from_helper[2];
static pid_t self, foreground, background, helper, awaited;

static void check_parent(void)
{
	victim_check(getppid() == self, "the parent is %d, not %d", getppid(), self);
}

/* A child of its own group. Its end goes with the parent's: nothing may be left of a test. */
static pid_t start(void (*run)(void), bool own_group)
{
	pid_t child = fork();

	victim_check(child >= 0, "fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (own_group)
			setpgid(0, 0);
		run();
		_exit(0);
	}
	if (own_group)
		setpgid(child, child);
	return child;
}

/* Says each line that it is told once more. */
static void run_foreground(void)
{
	char line[64];

	signal(SIGTTOU, SIG_IGN);
	for (;;) {
		ssize_t n = read(terminal, line, sizeof(line));
		if (n < 0 && errno == EIO) { /* not in the foreground yet */
			usleep(1000);
			continue;
		}
		if (n <= 0)
			_exit(1);
		check_parent();
		victim_check(write(terminal, line, (size_t)n) == n, "write");
	}
}

static void run_idle(void)
{
	for (;;) {
		usleep(5000);
		check_parent();
	}
}

static void run_helper(void)
{
	uint64_t n;

	while (read(to_helper[0], &n, sizeof(n)) == sizeof(n)) {
		check_parent();
		victim_check(write(from_helper[1], &n, sizeof(n)) == sizeof(n), "answer");
	}
}

static void *wait_for_it(void *arg)
{
	int raw = 0;
	pid_t r = waitpid(awaited, &raw, 0);

	victim_check(r == awaited, "waitpid() said %d", r);
	victim_check(WIFSIGNALED(raw) && WTERMSIG(raw) == SIGUSR1, "status %x", raw);
	return arg;
}

static void take_terminal(void)
{
	struct termios t;
	char name[64];

	victim_check(setsid() == self || getsid(0) == self, "setsid");
	master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	victim_check(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "pty");
	victim_check(ptsname_r(master, name, sizeof(name)) == 0, "its name");
	terminal = open(name, O_RDWR);
	victim_check(terminal >= 0 && tcgetattr(terminal, &t) == 0, "terminal");
	cfmakeraw(&t);
	victim_check(tcsetattr(terminal, TCSANOW, &t) == 0, "raw");
	signal(SIGTTOU, SIG_IGN);
	ioctl(terminal, TIOCSCTTY, 0);
}

/* The other side does not go back in time: answers to questions that were not asked yet are passed
 * over, what nobody answers is asked again, and what poll() has seen may have been read since. */
static bool ask(int to, int from, uint64_t n)
{
	struct pollfd p = {.fd = from, .events = POLLIN};
	uint64_t answer;

	victim_check(write(to, &n, sizeof(n)) == sizeof(n), "question");
	while (poll(&p, 1, 100) > 0) {
		ssize_t len = read(from, &answer, sizeof(answer));
		if (len < 0 && errno == EAGAIN)
			continue;
		victim_check(len == sizeof(answer), "an answer of %zd", len);
		if (answer == n)
			return true;
	}
	return false;
}

static void check_terminal(void)
{
	victim_check(tcgetpgrp(terminal) == foreground, "foreground group %d, not %d",
		tcgetpgrp(terminal), foreground);
	victim_check(tcgetsid(terminal) == self, "session %d", tcgetsid(terminal));
	victim_check(getsid(0) == self && getpgrp() == self, "session or group");
	victim_check(getpgid(background) == background, "group of the background job");
}

static void short_child(unsigned status)
{
	pid_t child = fork();
	int raw = 0;

	victim_check(child >= 0, "fork");
	if (child == 0)
		_exit((int)status);
	pid_t r = waitpid(child, &raw, 0);
	/* Waited for in a time that was taken back. */
	if (victim_is_swapped() && r < 0 && errno == ECHILD)
		return;
	victim_check(r == child && WIFEXITED(raw) && WEXITSTATUS(raw) == (int)status,
		"waitpid(%d) said %d, status %x", child, r, raw);
}

int main(void)
{
	char line[64], echo[64];
	pthread_t waiter;

	victim_begin();
	self = getpid();
	take_terminal();
	victim_check(pipe(to_helper) == 0 && pipe(from_helper) == 0, "pipe");
	fcntl(from_helper[0], F_SETFL, O_NONBLOCK);
	foreground = start(run_foreground, true);
	background = start(run_idle, true);
	helper = start(run_helper, false);
	awaited = start(run_idle, false);
	victim_check(tcsetpgrp(terminal, foreground) == 0, "tcsetpgrp");
	waiter = victim_thread(wait_for_it, NULL);
	for (unsigned i = 1; !victim_stopping(); i++) {
		struct pollfd p = {.fd = master, .events = POLLIN};
		check_terminal();
		for (unsigned tries = 0; !ask(to_helper[1], from_helper[0], i); tries++)
			victim_check(tries < 50, "the helper does not answer");
		short_child(i % 100);
		/* A terminal: whatever comes is something that was once said. */
		int n = snprintf(line, sizeof(line), "%06u", i);
		victim_check(write(master, line, (size_t)n) == n, "master");
		if (poll(&p, 1, 100) > 0)
			victim_check(
				read(master, echo, sizeof(echo)) > 0 || errno == EAGAIN, "no echo");
		victim_progress();
	}
	kill(awaited, SIGUSR1);
	pthread_join(waiter, NULL);
	kill(foreground, SIGKILL);
	kill(background, SIGKILL);
	kill(helper, SIGKILL);
	for (unsigned left = 3; left > 0;) {
		pid_t r = wait(NULL);
		bool known = r == foreground || r == background || r == helper;
		left -= known;
		/* Short ones of a time that was taken back. */
		victim_check(known || (r > 0 && victim_is_swapped()), "wait: %d", r);
	}
	return 0;
}
