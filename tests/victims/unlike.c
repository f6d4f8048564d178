/* SPDX-License-Identifier: Apache-2.0 */
/* A process of which no twin can be made, in the way that VICTIM_UNLIKE names. */
#include <grp.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/mempolicy.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>

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

static const struct {
	const char *name;
	int (*make)(void);
	bool by_thread;
} ways[] = {
	{"filter", filter_alone, true},
	{"policy", own_policy, true},
	{"keyring", own_keyring, true},
	{"user", own_user, true},
	{"files", own_files, true},
	{"folder", own_folder, true},
	{"network", own_network, true},
	{"personality", own_personality, true},
	{"securebits", own_secure_bits, true},
	{"dispatch", dispatch, true},
	{"process keyring", process_keyring, false},
	{"hugetlb", huge_pages, false},
};

static _Atomic bool made;

static void make(bool in_thread)
{
	const char *name = getenv("VICTIM_UNLIKE");

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (strcmp(ways[i].name, name) == 0 && ways[i].by_thread == in_thread)
			victim_check(ways[i].make() >= 0, "%s", name);
}

static void *run(void *arg)
{
	make(true);
	made = true;
	while (!victim_stopping())
		victim_nap(1000);
	return arg;
}

int main(void)
{
	victim_begin();
	make(false);
	pthread_t t = victim_thread(run, NULL);
	while (!made)
		victim_nap(100);
	while (!victim_stopping()) {
		victim_nap(1000);
		victim_progress();
	}
	pthread_join(t, NULL);
	return 0;
}
