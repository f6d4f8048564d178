/* SPDX-License-Identifier: Apache-2.0 */
/* What belongs to a process as a whole and is easily forgotten when it is made anew. */
#include "tests/victims/victim.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_BEST_EFFORT_6 (2 << 13 | 6)

static void on_signal(int sig)
{
	(void)sig;
}

static long field(const char *file, const char *key)
{
	char line[256];
	long v = -1;
	FILE *f = fopen(file, "re");

	victim_check(f, "%s", file);
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0)
			v = atol(line + strlen(key));
	fclose(f);
	return v;
}

static void set_up(void)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_NODEFER};
	struct rlimit limit = {123, 456};

	victim_check(chdir(getenv("VICTIM_DIR")) == 0, "chdir");
	umask(0135);
	sigaddset(&sa.sa_mask, SIGRTMIN + 3);
	sigaction(SIGUSR2, &sa, NULL);
	signal(SIGHUP, SIG_IGN);
	victim_check(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
	victim_check(setpriority(PRIO_PROCESS, 0, 3) == 0, "nice");
	victim_check(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_BEST_EFFORT_6) == 0,
		"ioprio");
	victim_check(prctl(PR_SET_TIMERSLACK, 77777) == 0, "timer slack");
	victim_check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
	victim_check(prctl(PR_SET_NAME, "a name") == 0, "name");
	victim_check(prctl(PR_SET_KEEPCAPS, 1) == 0, "keepcaps");
	victim_check(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0, "no huge pages");
	FILE *f = fopen("/proc/self/oom_score_adj", "we");
	victim_check(f && fputs("321", f) >= 0 && fclose(f) == 0, "oom_score_adj");
}

static void check_limits(void)
{
	struct rlimit limit;

	victim_check(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == 123 &&
			     limit.rlim_max == 456,
		"limit %lu", (unsigned long)limit.rlim_cur);
	victim_check(getpriority(PRIO_PROCESS, 0) == 3, "nice %d", getpriority(PRIO_PROCESS, 0));
	long ioprio = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
	victim_check(ioprio == IOPRIO_BEST_EFFORT_6, "ioprio %lx", ioprio);
	int slack = prctl(PR_GET_TIMERSLACK);
	victim_check(slack == 77777, "timer slack %d", slack);
	victim_check(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs");
	victim_check(prctl(PR_GET_KEEPCAPS) == 1, "keepcaps");
	victim_check(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1, "no huge pages");
	long oom = field("/proc/self/oom_score_adj", "");
	victim_check(oom == 321, "oom_score_adj %ld", oom);
}

static void check_rest(const char *cwd_then)
{
	char cwd[128], name[16];
	struct sigaction sa;
	mode_t mask = umask(0135);

	victim_check(mask == 0135, "umask %o", mask);
	victim_check(getcwd(cwd, sizeof(cwd)) && strcmp(cwd, cwd_then) == 0, "folder %s", cwd);
	victim_check(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "a name") == 0, "name %s", name);
	sigaction(SIGUSR2, NULL, &sa);
	victim_check(sa.sa_handler == on_signal && sa.sa_flags & SA_NODEFER &&
			     sigismember(&sa.sa_mask, SIGRTMIN + 3),
		"handler");
	sigaction(SIGHUP, NULL, &sa);
	victim_check(sa.sa_handler == SIG_IGN, "ignored signal");
	sigaction(SIGTERM, NULL, &sa);
	victim_check(sa.sa_handler == SIG_DFL, "default signal");
}

int main(void)
{
	char cwd[128];

	victim_begin();
	set_up();
	victim_check(getcwd(cwd, sizeof(cwd)), "getcwd");
	while (!victim_stopping()) {
		check_limits();
		check_rest(cwd);
		victim_nap(600);
		victim_progress();
	}
	return 0;
}
