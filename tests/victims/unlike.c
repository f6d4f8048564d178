/* SPDX-License-Identifier: Apache-2.0 */
/* A process of which no twin can be made, in the way that VICTIM_UNLIKE names. */
#include <grp.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/victims/victim.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#endif

static char dispatch_selector; /* 0: allow */

static int filter_alone(void)
{
	struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog prog = {1, allow};
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static int own_policy(void)
{
	unsigned long nodes = 1;
	return (int)syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 64);
}

static int own_keyring(void)
{
	return (int)syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_THREAD_KEYRING, 1);
}

static int process_keyring(void)
{
	return (int)syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1);
}

static int own_user(void)
{
	return (int)syscall(SYS_setresuid, 65534, 65534, 65534);
}

static int own_files(void)
{
	return unshare(CLONE_FILES);
}

static int own_folder(void)
{
	return unshare(CLONE_FS);
}

static int own_network(void)
{
	return unshare(CLONE_NEWNET);
}

static int own_personality(void)
{
	return personality(ADDR_NO_RANDOMIZE) < 0 ? -1 : 0;
}

static int own_secure_bits(void)
{
	return prctl(PR_SET_SECUREBITS, 0x4);
}

static int dispatch(void)
{
	return prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &dispatch_selector);
}

static int huge_pages(void)
{
	return mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1,
		       0) == MAP_FAILED
		       ? -1
		       : 0;
}

/* Written to only, so that what it says of itself cannot be read from it. */
static int be_notified(void)
{
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	char name[32];

	signal(SIGUSR1, SIG_IGN);
	snprintf(name, sizeof(name), "/unlike-%d", getpid());
	mqd_t q = mq_open(name, O_WRONLY | O_CREAT, 0600, NULL);
	mq_unlink(name);
	return q == (mqd_t)-1 ? -1 : mq_notify(q, &ev);
}

/* Somebody whose parent it is not, for those are seen otherwise. */
static int trace(void)
{
	int traced[2];
	pid_t pid = 0, child = pipe(traced) == 0 ? fork() : -1;

	if (child == 0) {
		child = fork();
		if (child > 0 && write(traced[1], &child, sizeof(child)) == sizeof(child))
			_exit(0);
		while (child == 0)
			pause(); /* until its tracer ends */
		_exit(0);
	}
	if (child < 0 || waitpid(child, NULL, 0) < 0 || read(traced[0], &pid, sizeof(pid)) < 0)
		return -1;
	return (int)ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_EXITKILL);
}

static int be_of_the_deadline_class(void)
{
	/* struct sched_attr: linux/sched/types.h and libc's <sched.h> exclude each other. */
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} a = {.size = 48,
		.policy = 6,
		.runtime = 1000000,
		.deadline = 20000000,
		.period = 20000000};

	return (int)syscall(SYS_sched_setattr, 0, &a, 0);
}

enum who { MAIN, THREAD, MAIN_LATER };
static const struct {
	const char *name;
	int (*make)(void);
	enum who who;
} ways[] = {
	{"filter", filter_alone, THREAD},
	{"policy", own_policy, THREAD},
	{"keyring", own_keyring, THREAD},
	{"user", own_user, THREAD},
	{"files", own_files, THREAD},
	{"folder", own_folder, THREAD},
	{"network", own_network, THREAD},
	{"personality", own_personality, THREAD},
	{"securebits", own_secure_bits, THREAD},
	{"dispatch", dispatch, THREAD},
	{"process keyring", process_keyring, MAIN},
	{"hugetlb", huge_pages, MAIN},
	{"mq_notify", be_notified, MAIN},
	{"tracer", trace, MAIN},
	{"deadline", be_of_the_deadline_class, MAIN_LATER},
};

static _Atomic bool made;

static void make(enum who who)
{
	const char *name = getenv("VICTIM_UNLIKE");

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (strcmp(ways[i].name, name) == 0 && ways[i].who == who)
			victim_check(ways[i].make() >= 0, "%s", name);
}

static void *run(void *arg)
{
	make(THREAD);
	made = true;
	while (!victim_stopping())
		victim_nap(1000);
	return arg;
}

int main(void)
{
	victim_begin();
	make(MAIN);
	pthread_t t = victim_thread(run, NULL);
	while (!made)
		victim_nap(100);
	make(MAIN_LATER);
	while (!victim_stopping()) {
		victim_nap(1000);
		victim_progress();
	}
	pthread_join(t, NULL);
	return 0;
}
