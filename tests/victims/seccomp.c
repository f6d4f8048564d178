/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filter that kills the process for what the engine itself needs (clone, clone3, prctl, rseq,
 * sigaltstack, mmap, ...) and is still in force after a swap: a forbidden call fails as the
 * filter says.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/victims/victim.h"

#define KILL_FOR(call)                                                                             \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1),                                     \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)

static void filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		KILL_FOR(clone),
		KILL_FOR(clone3),
		KILL_FOR(prctl),
		KILL_FOR(rseq),
		KILL_FOR(sigaltstack),
		KILL_FOR(set_robust_list),
		KILL_FOR(set_tid_address),
		KILL_FOR(mmap),
		KILL_FOR(munmap),
		KILL_FOR(getitimer),
		KILL_FOR(setsid),
		KILL_FOR(rt_sigreturn),
		KILL_FOR(arch_prctl),
		KILL_FOR(keyctl),
		KILL_FOR(get_mempolicy),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getuid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof(code) / sizeof(*code), code};

	victim_check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
	victim_check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0, "seccomp");
}

int main(void)
{
	victim_begin();
	filter();
	while (!victim_stopping()) {
		victim_check(syscall(SYS_getuid) == -1 && errno == EXDEV, "the filter is gone");
		victim_nap(700);
		victim_progress();
	}
	return 0;
}
