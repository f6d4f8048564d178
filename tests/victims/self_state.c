/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel keeps for each thread by itself, in two threads. Told VICTIM_EXEC both change all
 * of it; rolled back to the time before, all is as it was. With SELF_STATE=keyring in the
 * environment they enter another session keyring as well.
 */
#include <linux/keyctl.h>
#include <linux/mempolicy.h>
#include <sys/personality.h>
#include <sys/prctl.h>

#include "tests/victims/victim.h"

#define THREADS 2
#define IOPRIO_IDLE (3 << 13)
#define IOPRIO_WHO_PROCESS 1

struct state {
	int policy, death;
	unsigned long nodes[4];
	long keep_capabilities, personality, machine_checks, flusher, slack, io, keyring;
};

static _Atomic bool changed; /* goes back with the memory */
static _Atomic unsigned changes;

static struct state look(void)
{
	struct state s;

	memset(&s, 0, sizeof(s));
	syscall(SYS_get_mempolicy, &s.policy, s.nodes, 8 * sizeof(s.nodes), 0, 0);
	prctl(PR_GET_PDEATHSIG, &s.death);
	s.keep_capabilities = prctl(PR_GET_KEEPCAPS);
	s.personality = personality(0xffffffff);
	s.machine_checks = prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
	s.flusher = prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0);
	s.slack = prctl(PR_GET_TIMERSLACK);
	s.io = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
	s.keyring = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
	return s;
}

static void change(void)
{
	unsigned long nodes[4] = {1};
	const char *how = getenv("SELF_STATE");

	syscall(SYS_set_mempolicy, MPOL_PREFERRED, nodes, 8 * sizeof(nodes));
	prctl(PR_SET_PDEATHSIG, 10);
	prctl(PR_SET_KEEPCAPS, 1);
	personality(ADDR_NO_RANDOMIZE);
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	prctl(PR_SET_TIMERSLACK, 1234567);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
	if (how && strcmp(how, "keyring") == 0)
		syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	atomic_fetch_add(&changes, 1);
}

static void check(const struct state *was)
{
	struct state is = look();

	if (atomic_load(&changed))
		return;
	victim_check(
		is.policy == was->policy && memcmp(is.nodes, was->nodes, sizeof(is.nodes)) == 0,
		"memory policy %d", is.policy);
	victim_check(is.death == was->death, "parent-death signal %d", is.death);
	victim_check(is.keep_capabilities == was->keep_capabilities, "keep capabilities");
	victim_check(is.personality == was->personality, "personality %lx", is.personality);
	victim_check(is.machine_checks == was->machine_checks, "machine checks");
	victim_check(is.flusher == was->flusher, "I/O flusher %ld", is.flusher);
	victim_check(is.slack == was->slack, "timer slack %ld, not %ld", is.slack, was->slack);
	victim_check(is.io == was->io, "I/O priority %lx, not %lx", is.io, was->io);
	victim_check(is.keyring == was->keyring, "session keyring");
}

static void *run(void *arg)
{
	struct state was = look();
	bool done = false;

	while (arg ? !atomic_load(&victim->stop) : !victim_stopping()) {
		victim_nap(500);
		if (atomic_load(&changed) && !done) {
			change();
			done = true;
		}
		check(&was);
		if (arg)
			continue;
		if (atomic_load(&victim->command) == VICTIM_EXEC && victim_command())
			atomic_store(&changed, true);
		atomic_store(&victim->counter, atomic_load(&changes));
		victim_progress();
	}
	return NULL;
}

int main(void)
{
	static char other;
	pthread_t t;

	victim_begin();
	t = victim_thread(run, &other);
	run(NULL);
	pthread_join(t, NULL);
	return 0;
}
