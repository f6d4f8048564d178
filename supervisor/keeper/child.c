/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way from fork to exec, in the new process. The order matters: what needs privilege comes
 * before the user is switched, the working directory after it (so that the node's own rights
 * decide), and the descriptors last of all.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "supervisor/keeper/spawn.h"

#define JOURNAL_STDOUT "/run/systemd/journal/stdout"

static int move_fd(int fd, int to)
{
	int r = fd == to ? 0 : dup2(fd, to);

	if (r < 0)
		return -errno;
	if (fd > STDERR_FILENO)
		close(fd);
	return 0;
}

static int open_onto(const char *path, int flags, int to)
{
	int fd = open(path, flags | O_NOCTTY | O_CLOEXEC, 0644);

	return fd < 0 ? -errno : move_fd(fd, to);
}

/* A stream of lines to journald, opened by the header that it expects. */
static int journal_stream(const char *id)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = JOURNAL_STDOUT};
	char header[512];
	int fd, n;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* identifier, unit, priority, level prefix, forward to syslog, kmsg, console */
	n = snprintf(header, sizeof(header), "%s\n%s\n6\n1\n0\n0\n0\n", id, id);
	if (n >= (int)sizeof(header))
		n = (int)sizeof(header) - 1;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		send(fd, header, (size_t)n, MSG_NOSIGNAL) != n) {
		int e = -errno;
		close(fd);
		return e;
	}
	return fd;
}

static int set_output(const struct unit *u)
{
	int r = 0, fd;

	switch (u->standard_output) {
	case OUTPUT_NULL:
		r = open_onto("/dev/null", O_WRONLY, STDOUT_FILENO);
		break;
	case OUTPUT_FILE:
		r = open_onto(u->standard_output_path, O_WRONLY | O_CREAT, STDOUT_FILENO);
		break;
	case OUTPUT_APPEND:
		r = open_onto(
			u->standard_output_path, O_WRONLY | O_CREAT | O_APPEND, STDOUT_FILENO);
		break;
	case OUTPUT_JOURNAL:
		fd = journal_stream(u->id);
		if (fd < 0)
			return 0; /* no journal here: the supervisor's own streams */
		r = move_fd(fd, STDOUT_FILENO);
		break;
	default:
		return 0;
	}
	/* StandardError= is "inherit", which in systemd's words is: what stdout has. */
	if (r == 0 && dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
		r = -errno;
	return r;
}

static int set_limit(int resource, const struct limit_setting *l)
{
	struct rlimit rl = {.rlim_cur = l->soft, .rlim_max = l->hard};

	return l->set && setrlimit((__rlimit_resource_t)resource, &rl) < 0 ? -errno : 0;
}

/* Back to a plain process, whatever the keeper is: SCHED_FIFO, unkillable by the OOM killer. */
static int set_oom_score_adj(const struct unit *u)
{
	int value = u->oom_score_adjust_set ? u->oom_score_adjust : 0;
	char text[16];
	int fd, n, r = 0;

	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	n = snprintf(text, sizeof(text), "%d", value);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		r = -errno;
	if (fd >= 0)
		close(fd);
	/* Where it was not asked for, no /proc is no reason not to run. */
	return u->oom_score_adjust_set ? r : 0;
}

static int set_scheduling(const struct unit *u, struct spawn_failure *f)
{
	static const struct sched_param zero;

	f->step = SPAWN_SCHEDULER;
	if (sched_setscheduler(0, SCHED_OTHER, &zero) < 0)
		return -errno;
	f->step = SPAWN_NICE;
	if (u->nice_set && setpriority(PRIO_PROCESS, 0, u->nice) < 0)
		return -errno;
	f->step = SPAWN_AFFINITY;
	if (u->cpu_affinity_set &&
		sched_setaffinity(0, sizeof(u->cpu_affinity), &u->cpu_affinity) < 0)
		return -errno;
	return 0;
}

/*
 * One capability more than User= has, as an ambient one, so that no program notices: the engine
 * takes it away from the node before its first instruction. Refused, the node has an exact
 * identity.
 */
static void lend(void)
{
	struct {
		struct __user_cap_header_struct header;
		struct __user_cap_data_struct data[2];
	} caps = {.header = {.version = _LINUX_CAPABILITY_VERSION_3}};
	const uint32_t low = (uint32_t)SPAWN_LENT_CAPABILITIES;

	caps.data[0] = (struct __user_cap_data_struct){low, low, low};
	if (syscall(SYS_capset, &caps.header, caps.data) == 0)
		(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, __builtin_ctz(low), 0, 0);
}

static int switch_user(const struct spawn_plan *p, bool lent, struct spawn_failure *f)
{
	if (!p->switch_user)
		return 0;
	f->step = SPAWN_GROUP;
	if (setgroups(p->n_groups, p->groups) < 0 || setresgid(p->gid, p->gid, p->gid) < 0)
		return -errno;
	f->step = SPAWN_USER;
	if (lent)
		(void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	if (setresuid(p->uid, p->uid, p->uid) < 0)
		return -errno;
	if (lent)
		lend();
	return 0;
}

static void reset_signals(void)
{
	struct sigaction sa = {.sa_handler = SIG_DFL};

	/* Fails for SIGKILL, SIGSTOP and the C library's own two: all as they should be. */
	for (int sig = 1; sig < _NSIG; sig++)
		(void)sigaction(sig, &sa, NULL);
}

/* A refusal matters only to who wants a limit. */
static int enter_cgroup(const struct spawn_plan *p)
{
	int r = 0;

	for (int i = 0; i < _CGROUP_MAX; i++)
		if (p->cgroup[i] >= 0 && write(p->cgroup[i], "0", 1) < 0)
			r = -errno;
	return p->unit->memory_max == UINT64_MAX ? 0 : r;
}

static int prepare(const struct spawn_plan *p, bool lent, struct spawn_failure *f)
{
	const struct unit *u = p->unit;
	int r;

	f->step = SPAWN_CGROUP;
	r = enter_cgroup(p);
	if (r < 0)
		return r;
	r = set_scheduling(u, f);
	if (r < 0)
		return r;
	f->step = SPAWN_OOM_ADJUST;
	r = set_oom_score_adj(u);
	if (r < 0)
		return r;
	f->step = SPAWN_LIMIT_NOFILE;
	r = set_limit(RLIMIT_NOFILE, &u->limit_nofile);
	if (r < 0)
		return r;
	f->step = SPAWN_LIMIT_CORE;
	r = set_limit(RLIMIT_CORE, &u->limit_core);
	if (r < 0)
		return r;
	f->step = SPAWN_STDIN;
	r = open_onto("/dev/null", O_RDONLY, STDIN_FILENO);
	if (r < 0)
		return r;
	f->step = SPAWN_STDOUT;
	r = set_output(u);
	if (r < 0)
		return r;
	r = switch_user(p, lent, f);
	if (r < 0)
		return r;
	f->step = SPAWN_CHDIR;
	/* systemd's default for a system service is the root directory. */
	return chdir(u->working_directory ? u->working_directory : "/") < 0 ? -errno : 0;
}

/* In this process, which has the list for itself. */
static void drop_variable(char **environment, const char *begin)
{
	char **to = environment;

	for (; *environment; environment++)
		if (strncmp(*environment, begin, strlen(begin)) != 0)
			*to++ = *environment;
	*to = NULL;
}

_Noreturn void child_run(
	const struct spawn_plan *p, const struct exec_command *c, int go_fd, int status_fd)
{
	struct spawn_failure f = {0};
	sigset_t none;
	char byte = 0;
	ssize_t n;

	reset_signals();
	/* Until the keeper traces this process. Its end of the pipe closed without a word: it
	 * is gone, and nobody would guard what runs here. */
	if (go_fd >= 0) {
		do
			n = read(go_fd, &byte, 1);
		while (n < 0 && errno == EINTR);
		if (n != 1)
			_exit(EXIT_FAILURE);
	}
	umask(0022);
	f.error = prepare(p, byte == SPAWN_GO_LENT[0], &f);
	if (f.error == 0) {
		f.step = SPAWN_EXEC;
		/* Each descriptor is born close-on-exec; this is for what others leave open. */
		(void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
		if (c == &p->unit->exec_start && p->event_fd >= 0)
			(void)fcntl(p->event_fd, F_SETFD, 0);
		else
			drop_variable(p->environment, "TWINIT_EVENT_FD=");
		sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
		execve(c->argv[0], c->argv, p->environment);
		f.error = -errno;
	}
	n = write(status_fd, &f, sizeof(f)); /* fits a pipe; with no reader nobody asks */
	(void)n;
	_exit(spawn_exit_status(f.step));
}
