/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "supervisor/base/log.h"
#include "supervisor/manager.h"

/* Where the child finds its two descriptors; --unit-fd and --control-fd below say the same. */
#define CHILD_UNIT_FD 3
#define CHILD_CONTROL_FD 4
#define CHILD_FIRST_FREE_FD 5

/* Everything the child needs, made before the fork: it may not allocate. */
struct command {
	char *argv[9];
	const char *id;
	int unit_fd, control_fd;
};

static void command_clear(struct command *c)
{
	for (size_t i = 0; i < ELEMENTSOF(c->argv); i++)
		free(c->argv[i]);
	closep(&c->unit_fd);
	closep(&c->control_fd);
}

static char *option(const char *name, const char *value)
{
	char *s;
	return asprintf(&s, "--%s=%s", name, value) < 0 ? NULL : s;
}

static int command_fill(struct command *c, const struct node *n)
{
	char level[16];

	snprintf(level, sizeof(level), "%d", MAX2(log_level(), LOG_EMERG));
	c->id = n->id;
	c->argv[0] = strdup(n->manager->keeper_path);
	c->argv[1] = option("id", n->id);
	c->argv[2] = option("unit-path", n->fragment_path);
	c->argv[3] = option("unit-fd", "3");
	c->argv[4] = option("control-fd", "4");
	c->argv[5] = option("notify-dir", n->manager->notify_dir);
	c->argv[6] = option("log-level", level);
	c->argv[7] = option("crash-dir", n->manager->crash_dir ? n->manager->crash_dir : "");
	for (size_t i = 0; i < ELEMENTSOF(c->argv) - 1; i++)
		if (!c->argv[i])
			return -ENOMEM;
	return 0;
}

/* Sealed, so that what the keeper parses is what was checked here, whoever holds the memfd. */
static int unit_memfd(const struct unit *u)
{
	_cleanup_close_ int fd = memfd_create(u->id, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < u->text_len;) {
		ssize_t k = write(fd, u->text + done, u->text_len - done);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		done += (size_t)k;
	}
	/* The offset is shared with the keeper, which reads from it. */
	if (lseek(fd, 0, SEEK_SET) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) <
			0)
		return -errno;
	return STEAL_FD(fd);
}

static void reset_signals(void)
{
	const struct sigaction ignore = {.sa_handler = SIG_IGN}, sa = {.sa_handler = SIG_DFL};
	sigset_t none;

	/* SIGKILL, SIGSTOP and glibc's own two refuse, which is as it should be. To be ignored
	 * for a moment makes a signal forgotten that came to the supervisor's group since the
	 * fork: it was for the supervisor. */
	for (int sig = 1; sig < NSIG; sig++) {
		sigaction(sig, &ignore, NULL);
		sigaction(sig, &sa, NULL);
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Runs in the child. Never returns. */
static void exec_keeper(const struct command *c)
{
	int unit_fd, control_fd;

	/* Out of the supervisor's group before signals are let in, and without its handlers:
	 * one of them must not write into the parent's loop from here. */
	setsid();
	reset_signals();
	/* Out of the way first: either may sit on the other's place. */
	unit_fd = fcntl(c->unit_fd, F_DUPFD_CLOEXEC, CHILD_FIRST_FREE_FD);
	control_fd = fcntl(c->control_fd, F_DUPFD_CLOEXEC, CHILD_FIRST_FREE_FD);
	if (unit_fd < 0 || control_fd < 0 || dup2(unit_fd, CHILD_UNIT_FD) < 0 ||
		dup2(control_fd, CHILD_CONTROL_FD) < 0)
		_exit(KEEPER_EXIT_EXEC);
	/* Beyond them ours are CLOEXEC, all of them; descriptors that we were born with may
	 * not be. The log's sockets live until the exec, for the line below. */
	close_range(CHILD_FIRST_FREE_FD, ~0U, CLOSE_RANGE_CLOEXEC);
	execv(c->argv[0], c->argv);
	log_node(LOG_ERR, c->id, "cannot execute %s: %m", c->argv[0]);
	_exit(KEEPER_EXIT_EXEC);
}

int keeper_spawn(const struct node *n, pid_t *ret_pid, int *ret_control_fd)
{
	_cleanup_(command_clear) struct command c = {.unit_fd = -1, .control_fd = -1};
	sigset_t all, before;
	int sv[2], r;
	pid_t pid;

	r = command_fill(&c, n);
	if (r < 0)
		return r;
	c.unit_fd = r = unit_memfd(n->unit);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	c.control_fd = sv[1];
	/* No handler of ours may run in the child: it would act on the loop's shared pipe. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		exec_keeper(&c);
	r = pid < 0 ? -errno : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (r < 0) {
		close(sv[0]);
		return r;
	}
	*ret_pid = pid;
	*ret_control_fd = sv[0];
	return 0;
}
