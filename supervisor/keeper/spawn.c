/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const struct {
	int exit_status; /* systemd.exec(5), "Process exit codes" */
	const char *key;
} steps[_SPAWN_STEP_MAX] = {
	[SPAWN_EXEC] = {203, "ExecStart="},
	[SPAWN_CHDIR] = {200, "WorkingDirectory="},
	[SPAWN_CGROUP] = {219, "MemoryMax="},
	[SPAWN_STDIN] = {208, "/dev/null"},
	[SPAWN_STDOUT] = {209, "StandardOutput="},
	[SPAWN_NICE] = {201, "Nice="},
	[SPAWN_SCHEDULER] = {214, "scheduling policy"},
	[SPAWN_AFFINITY] = {215, "CPUAffinity="},
	[SPAWN_LIMIT_NOFILE] = {205, "LimitNOFILE="},
	[SPAWN_LIMIT_CORE] = {205, "LimitCORE="},
	[SPAWN_OOM_ADJUST] = {206, "OOMScoreAdjust="},
	[SPAWN_GROUP] = {216, "Group="},
	[SPAWN_USER] = {217, "User="},
};

int spawn_exit_status(enum spawn_step step)
{
	return (unsigned)step < _SPAWN_STEP_MAX ? steps[step].exit_status : 255;
}

void spawn_failure_format(const struct spawn_failure *f, const struct unit *u,
	const struct exec_command *command, char *ret, size_t size)
{
	const char *value = "", *key = steps[f->step].key;

	switch (f->step) {
	case SPAWN_EXEC:
		key = command == &u->exec_start    ? "ExecStart="
		      : command == &u->exec_reload ? "ExecReload="
						   : "ExecStartPre=";
		value = command->argv[0];
		break;
	case SPAWN_CHDIR:
		value = u->working_directory ? u->working_directory : "/";
		break;
	case SPAWN_STDOUT:
		value = u->standard_output_path ? u->standard_output_path
						: unit_output_to_string(u->standard_output);
		break;
	case SPAWN_USER:
	case SPAWN_GROUP:
		value = u->user ? u->user : "";
		if (f->step == SPAWN_GROUP && u->group)
			value = u->group;
		break;
	default:
		break;
	}
	snprintf(ret, size, "%s%s: %s", key, value, strerror(-f->error));
}

static void pipe_close(int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* What the anchor does: make session and group, then the node as its own sibling. */
static _Noreturn void anchor_run(const struct spawn_plan *p, int pid_fd, int go_fd, int status_fd)
{
	pid_t pid;
	ssize_t n;

	setsid(); /* cannot fail: a forked process leads no group */
	/* A fork in all but the parent. The exit signal is the anchor's own, SIGCHLD. */
	pid = (pid_t)syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0);
	if (pid == 0) {
		close(pid_fd);
		child_run(p, &p->unit->exec_start, go_fd, status_fd);
	}
	if (pid < 0)
		pid = -errno;
	/* Held here until this process gets to its end, it would hide that the node executed. */
	close(status_fd);
	n = write(pid_fd, &pid, sizeof(pid));
	_exit(n == (ssize_t)sizeof(pid) && pid > 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Signals stay blocked across the fork: a handler of the keeper's loop must not run in there. */
static pid_t fork_blocked(sigset_t *old)
{
	sigset_t all;
	pid_t pid;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, old);
	pid = fork();
	if (pid < 0)
		pid = -errno;
	if (pid != 0)
		sigprocmask(SIG_SETMASK, old, NULL);
	return pid;
}

int spawn_node(const struct spawn_plan *p, struct spawned *ret)
{
	int status[2] = {-1, -1}, go[2] = {-1, -1}, id[2] = {-1, -1};
	pid_t anchor, pid = 0;
	sigset_t old;
	ssize_t n;
	int r = 0;

	if (pipe2(status, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0 || pipe2(id, O_CLOEXEC) < 0) {
		r = -errno;
		goto out;
	}
	anchor = fork_blocked(&old);
	if (anchor == 0) {
		close(go[1]);
		close(id[0]);
		close(status[0]);
		anchor_run(p, id[1], go[0], status[1]);
	}
	if (anchor < 0) {
		r = anchor;
		goto out;
	}
	close(id[1]);
	id[1] = -1;
	/* A few tens of us: the anchor does two system calls first, and its end ends this too. */
	do
		n = read(id[0], &pid, sizeof(pid));
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(pid) || pid <= 0) {
		r = n == (ssize_t)sizeof(pid) && pid < 0 ? pid : -EAGAIN;
		goto out;
	}
	(void)fcntl(status[0], F_SETFL, O_NONBLOCK);
	*ret = (struct spawned){.pid = pid,
		.group = anchor,
		.anchor = anchor,
		.go_fd = STEAL_FD(go[1]),
		.status_fd = STEAL_FD(status[0])};
out:
	pipe_close(status);
	pipe_close(go);
	pipe_close(id);
	return r;
}

int spawn_helper(const struct spawn_plan *p, const struct exec_command *c, struct spawned *ret)
{
	int status[2] = {-1, -1};
	sigset_t old;
	pid_t pid;

	if (pipe2(status, O_CLOEXEC) < 0)
		return -errno;
	pid = fork_blocked(&old);
	if (pid == 0) {
		setsid();
		child_run(p, c, -1, status[1]);
	}
	if (pid < 0) {
		pipe_close(status);
		return pid;
	}
	close(status[1]);
	(void)fcntl(status[0], F_SETFL, O_NONBLOCK);
	*ret = (struct spawned){.pid = pid, .group = pid, .go_fd = -1, .status_fd = status[0]};
	return 0;
}

void spawn_release(struct spawned *s)
{
	ssize_t n;

	if (s->go_fd < 0)
		return;
	n = write(s->go_fd, s->lent ? SPAWN_GO_LENT : SPAWN_GO,
		1); /* where it is gone already, its end says so */
	(void)n;
	close(STEAL_FD(s->go_fd));
}

int spawn_result(struct spawned *s, struct spawn_failure *ret)
{
	struct spawn_failure f;
	ssize_t n;

	if (s->status_fd < 0)
		return -EAGAIN;
	do
		n = read(s->status_fd, &f, sizeof(f));
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	close(STEAL_FD(s->status_fd));
	if (n != (ssize_t)sizeof(f) || (unsigned)f.step >= _SPAWN_STEP_MAX)
		return 1;
	*ret = f;
	return 0;
}

void spawned_close(struct spawned *s)
{
	if (s->go_fd >= 0)
		close(s->go_fd);
	if (s->status_fd >= 0)
		close(s->status_fd);
	*s = (struct spawned)SPAWNED_NONE;
}
