/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Has short children one after the other beside one that stays, and waits as a shell does: for
 * whoever ends, for one by its pid, for one by its group. Each ends in a way of its own, and that
 * is what the parent hears, also where it has heard of it before it was rolled back.
 */
#include "tests/victims/victim.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>

static const int signals[] = {0, SIGTERM, 0, SIGKILL, SIGUSR1, 0, SIGABRT};
#define WAYS (sizeof(signals) / sizeof(signals[0]))

static bool status_is_kept;
static unsigned told;

/* A handler of the parent's must not catch what ends the child. */
static void on_signal(int sig)
{
	(void)sig;
}

/* Linux 6.15 and later keep the status of who was waited for. */
static bool kernel_keeps_status(void)
{
	struct utsname u;
	int major = 0, minor = 0;

	return uname(&u) == 0 && sscanf(u.release, "%d.%d", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 15));
}

static void on_child(int sig)
{
	(void)sig;
	told++;
}

static pid_t start(unsigned i, bool own_group)
{
	pid_t parent = getpid(), child = fork();

	victim_check(child >= 0, "fork");
	if (child == 0) {
		int sig = signals[i % WAYS];

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (own_group)
			setpgid(0, 0);
		if (getppid() == parent)
			usleep(i * 7919 % 3000);
		if (sig) {
			signal(sig, SIG_DFL);
			raise(sig);
		}
		_exit((int)(i % 251));
	}
	if (own_group)
		setpgid(child, child);
	return child;
}

static void check(unsigned i, int status)
{
	int sig = signals[i % WAYS];

	if (!status_is_kept && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return;
	if (sig)
		victim_check(WIFSIGNALED(status) && WTERMSIG(status) == sig, "status %x, not %d",
			status, sig);
	else
		victim_check(WIFEXITED(status) && WEXITSTATUS(status) == (int)(i % 251),
			"status %x, not %u", status, i % 251);
}

/* Whoever was born since the checkpoint is not known: not awaited, and heard of all the same. */
static int wait_for(pid_t child, bool by_group)
{
	int status = -1;

	for (;;) {
		pid_t r = waitpid(by_group ? -child : -1, &status, 0);

		if (r < 0 && errno == EINTR)
			continue;
		if (r == child)
			return status;
		victim_check(r > 0 && victim_is_swapped(), "waitpid for %d said %d", child, r);
	}
}

int main(void)
{
	struct sigaction sa = {.sa_handler = on_child, .sa_flags = SA_RESTART};

	victim_begin();
	status_is_kept = kernel_keeps_status() || !victim_is_swapped();
	sigaction(SIGCHLD, &sa, NULL);
	signal(SIGUSR1, on_signal);
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	for (unsigned i = 0; !victim_stopping(); i++) {
		unsigned before = told;
		bool own_group = i % 3 == 0;
		pid_t child = start(i, own_group);

		check(i, wait_for(child, own_group));
		victim_check(told > before, "nobody told of %d", child);
		victim_progress();
	}
	return 0;
}
