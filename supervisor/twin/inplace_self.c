/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel keeps for each thread by itself: asked of a copy, and set by each thread. */
#include <errno.h>
#include <linux/keyctl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"

#define NODES_MAX (8 * sizeof(((struct inplace_told *)0)->nodes))
#define ARGS(...)                                                                                  \
	(const uint64_t[6])                                                                        \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static void ask(struct inplace_area *a, unsigned i, long nr, const uint64_t args[6])
{
	a->questions[i] = (struct routine_call){.nr = (uint64_t)nr};
	memcpy(a->questions[i].args, args, sizeof(a->questions[i].args));
}

/* Who has no session keyring yet is given one by being asked, with the user's for its own: so that
 * is not for a copy that has yet to become that user. */
void self_ask(struct inplace_area *a, uint64_t at, bool keyrings)
{
	uint64_t told = at + offsetof(struct inplace_area, told), args[6];
	long nr;

	memset(&a->told, 0, sizeof(a->told));
	ask(a, ASK_TSC, SYS_prctl, ARGS(PR_GET_TSC, told + offsetof(struct inplace_told, tsc)));
	ask(a, ASK_POLICY, SYS_get_mempolicy, ARGS(told + offsetof(struct inplace_told, policy)));
	ask(a, ASK_NODES, SYS_get_mempolicy,
		ARGS(0, told + offsetof(struct inplace_told, nodes), NODES_MAX));
	if (!arch_identity_question(&nr, args)) {
		nr = SYS_getpid;
		memset(args, 0, sizeof(args));
	}
	ask(a, ASK_IDENTITY, nr, args);
	ask(a, ASK_MACHINE_CHECKS, SYS_prctl, ARGS(PR_MCE_KILL_GET));
	ask(a, ASK_FLUSHER, SYS_prctl, ARGS(PR_GET_IO_FLUSHER));
	ask(a, ASK_SESSION_KEYRING, keyrings ? SYS_keyctl : SYS_getpid,
		ARGS(KEYCTL_GET_KEYRING_ID, (uint64_t)KEY_SPEC_SESSION_KEYRING));
}

/* Whatever is refused to a thread could not have been changed by it. */
unsigned self_restore(struct inplace_area *a, uint64_t at)
{
	const struct routine_call *q = a->questions;
	struct inplace_calls l = {.calls = a->self_calls};
	uint64_t nodes = at + offsetof(struct inplace_area, told.nodes), args[6];
	long nr;

	if (q[ASK_KEEP_CAPS].result >= 0)
		inplace_call(
			&l, SYS_prctl, ARGS(PR_SET_KEEPCAPS, (uint64_t)q[ASK_KEEP_CAPS].result));
	if (q[ASK_SECURE_BITS].result >= 0)
		inplace_call(&l, SYS_prctl,
			ARGS(PR_SET_SECUREBITS, (uint64_t)q[ASK_SECURE_BITS].result));
	inplace_call(&l, SYS_personality, ARGS((uint64_t)q[ASK_PERSONALITY].result));
	if (q[ASK_TSC].result == 0 && a->told.tsc)
		inplace_call(&l, SYS_prctl, ARGS(PR_SET_TSC, (uint64_t)a->told.tsc));
	if (q[ASK_POLICY].result == 0 && q[ASK_NODES].result == 0)
		inplace_call(
			&l, SYS_set_mempolicy, ARGS((uint64_t)a->told.policy, nodes, NODES_MAX));
	if (arch_identity_answer(q[ASK_IDENTITY].result, &nr, args))
		inplace_call(&l, nr, args);
	if (q[ASK_MACHINE_CHECKS].result >= 0)
		inplace_call(&l, SYS_prctl,
			ARGS(PR_MCE_KILL, PR_MCE_KILL_SET, (uint64_t)q[ASK_MACHINE_CHECKS].result));
	if (q[ASK_FLUSHER].result >= 0)
		inplace_call(
			&l, SYS_prctl, ARGS(PR_SET_IO_FLUSHER, (uint64_t)q[ASK_FLUSHER].result));
	/* That of the checkpoint is set behind these, where there was one. */
	inplace_call(&l, SYS_prctl, ARGS(PR_SET_PDEATHSIG, 0));
	return l.n;
}

void self_ask_again(struct inplace_calls *l)
{
	inplace_call(
		l, SYS_keyctl, ARGS(KEYCTL_GET_KEYRING_ID, (uint64_t)KEY_SPEC_SESSION_KEYRING));
	inplace_call(
		l, SYS_keyctl, ARGS(KEYCTL_GET_KEYRING_ID, (uint64_t)KEY_SPEC_PROCESS_KEYRING));
	inplace_call(l, SYS_keyctl, ARGS(KEYCTL_GET_KEYRING_ID, (uint64_t)KEY_SPEC_THREAD_KEYRING));
}

bool self_is_changed(const struct inplace_area *a, const struct routine_call *c)
{
	if (c->nr != SYS_keyctl || c->args[0] != KEYCTL_GET_KEYRING_ID)
		return false;
	if (c->args[1] == (uint64_t)KEY_SPEC_SESSION_KEYRING)
		return c->result != a->questions[ASK_SESSION_KEYRING].result;
	return c->result > 0; /* there is no twin of one that has such a keyring */
}
