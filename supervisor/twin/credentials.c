/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A twin in a namespace is made by the agent, which keeps the right to make namespaces when the
 * node has none, and does not follow when the node changes its credentials. So each thread of the
 * twin first makes its own what the active's have. What cannot be had so is seen by a comparison
 * of the two, and there is no twin.
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

static const char *after(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	return p ? p + strlen(key) : NULL;
}

static bool read_numbers(const char *p, uint32_t *to, unsigned max, unsigned *ret_n)
{
	*ret_n = 0;
	while (p && *p && *p != '\n') {
		char *end;
		unsigned long v = strtoul(p, &end, 10);
		if (end == p)
			break; /* the blank at the end */
		if (*ret_n >= max)
			return false;
		to[(*ret_n)++] = (uint32_t)v;
		p = end + strspn(end, " \t");
	}
	return p != NULL;
}

static int read_credentials(pid_t tid, struct credentials *ret)
{
	char text[8192];
	unsigned n_uids, n_gids;

	memset(ret, 0, sizeof(*ret));
	if (proc_read(text, sizeof(text), "%d/status", tid) < 0)
		return -ESRCH;
	if (!read_numbers(after(text, "\nUid:\t"), ret->uid, 4, &n_uids) || n_uids != 4 ||
		!read_numbers(after(text, "\nGid:\t"), ret->gid, 4, &n_gids) || n_gids != 4 ||
		!read_numbers(after(text, "\nGroups:\t"), ret->groups, CREDENTIALS_GROUPS,
			&ret->n_groups) ||
		proc_field(text, "CapInh", 16, &ret->inheritable) < 0 ||
		proc_field(text, "CapPrm", 16, &ret->permitted) < 0 ||
		proc_field(text, "CapEff", 16, &ret->effective) < 0 ||
		proc_field(text, "CapBnd", 16, &ret->bounding) < 0 ||
		proc_field(text, "CapAmb", 16, &ret->ambient) < 0 ||
		proc_field(text, "NoNewPrivs", 10, &ret->no_new_privs) < 0)
		return -ENOTSUP;
	return 0;
}

static bool same_ids(const struct credentials *a, const struct credentials *b)
{
	return memcmp(a->uid, b->uid, sizeof(a->uid)) == 0 &&
	       memcmp(a->gid, b->gid, sizeof(a->gid)) == 0 && a->n_groups == b->n_groups &&
	       memcmp(a->groups, b->groups, a->n_groups * sizeof(a->groups[0])) == 0;
}

static bool same_credentials(const struct credentials *a, const struct credentials *b)
{
	return same_ids(a, b) && a->inheritable == b->inheritable && a->permitted == b->permitted &&
	       a->effective == b->effective && a->bounding == b->bounding &&
	       a->ambient == b->ambient && a->no_new_privs == b->no_new_privs;
}

static void set_ids(struct leader_calls *l, const struct credentials *want)
{
	leader_call(l, SYS_setgroups,
		(const uint64_t[6]){want->n_groups,
			leader_data(l, want->groups, want->n_groups * sizeof(want->groups[0]))});
	leader_call(
		l, SYS_setresgid, (const uint64_t[6]){want->gid[0], want->gid[1], want->gid[2]});
	leader_call(l, SYS_setfsgid, (const uint64_t[6]){want->gid[3]});
	leader_call(l, SYS_prctl, (const uint64_t[6]){PR_SET_KEEPCAPS, 1});
	leader_call(
		l, SYS_setresuid, (const uint64_t[6]){want->uid[0], want->uid[1], want->uid[2]});
	leader_call(l, SYS_setfsuid, (const uint64_t[6]){want->uid[3]});
	leader_call(l, SYS_prctl, (const uint64_t[6]){PR_SET_KEEPCAPS, 0});
}

struct capset_data {
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct data[2];
};

static struct capset_data capset_data(const struct credentials *want)
{
	struct capset_data c = {.header = {.version = _LINUX_CAPABILITY_VERSION_3}};

	for (unsigned i = 0; i < 2; i++)
		c.data[i] = (struct __user_cap_data_struct){
			.effective = (uint32_t)(want->effective >> (32 * i)),
			.permitted = (uint32_t)(want->permitted >> (32 * i)),
			.inheritable = (uint32_t)(want->inheritable >> (32 * i)),
		};
	return c;
}

static void set_capabilities(
	struct leader_calls *l, const struct credentials *have, const struct credentials *want)
{
	struct capset_data c = capset_data(want);
	uint64_t at;

	leader_call(l, SYS_prctl, (const uint64_t[6]){PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL});
	for (unsigned i = 0; i < 64; i++)
		if (have->bounding & ~want->bounding & (1ULL << i))
			leader_call(l, SYS_prctl, (const uint64_t[6]){PR_CAPBSET_DROP, i});
	at = leader_data(l, &c, sizeof(c));
	leader_call(
		l, SYS_capset, (const uint64_t[6]){at, at + offsetof(struct capset_data, data)});
	for (unsigned i = 0; i < 64; i++)
		if (want->ambient & (1ULL << i))
			leader_call(l, SYS_prctl,
				(const uint64_t[6]){PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i});
}

static void set_securebits(struct leader_calls *l, long have, long want)
{
	if (have == want)
		return;
	/* That one needs no right. */
	if (((have ^ want) & ~(long)SECBIT_KEEP_CAPS) == 0)
		leader_call(l, SYS_prctl,
			(const uint64_t[6]){PR_SET_KEEPCAPS, (want & SECBIT_KEEP_CAPS) != 0});
	else
		leader_call(l, SYS_prctl, (const uint64_t[6]){PR_SET_SECUREBITS, (uint64_t)want});
}

int credentials_capture(struct twin_engine *e, struct twin *w)
{
	/* Of another user's process they may be none of ours to ask for. */
	w->limits_known = true;
	for (int i = 0; i < RLIM_NLIMITS; i++)
		w->limits_known &= prlimit(e->pid, i, NULL, &w->limits[i]) == 0;
	return read_credentials(e->pid, &e->credentials);
}

static bool same_limits(pid_t a, pid_t b)
{
	char one[4096], other[4096];

	return proc_read(one, sizeof(one), "%d/limits", a) > 0 &&
	       proc_read(other, sizeof(other), "%d/limits", b) > 0 && strcmp(one, other) == 0;
}

int credentials_set_limits(struct twin_engine *e, const struct twin *w)
{
	struct rlimit ours;

	if (!w->limits_known)
		return same_limits(e->pid, w->nest.leader)
			       ? 0
			       : engine_fail(e, -ENOTSUP, "its limits cannot be given to a twin");

	for (int i = 0; i < RLIM_NLIMITS; i++)
		if (prlimit(w->nest.leader, i, NULL, &ours) == 0 &&
			memcmp(&w->limits[i], &ours, sizeof(ours)) != 0)
			if (prlimit(w->nest.leader, i, &w->limits[i], NULL) < 0)
				return engine_fail(e, -ENOTSUP,
					"its limits cannot be given to a twin: %s",
					strerror(errno));
	return 0;
}

int credentials_plan(struct twin_engine *e, struct twin *w, struct injection *in)
{
	struct leader_calls *l = &e->thread_calls;
	const struct credentials want = e->credentials;
	struct credentials have;
	const struct thread *leader = thread_find(e, e->pid);
	long dumpable, securebits = 0, wanted;
	int r;

	l->n = 0;
	l->data_len = 0;
	l->full = false;
	l->data_at = w->data + w->thread_calls_at + sizeof(l->calls);
	r = read_credentials(w->pid, &have);
	if (r == 0)
		r = inject_call(in, SYS_prctl, (const uint64_t[6]){PR_GET_SECUREBITS}, &securebits);
	wanted = leader && leader->self.known ? leader->self.securebits : securebits;
	if (r < 0 || (same_credentials(&have, &want) && securebits == wanted))
		return r;
	r = inject_call(in, SYS_prctl, (const uint64_t[6]){PR_GET_DUMPABLE}, &dumpable);
	if (r < 0)
		return r;
	if (!same_ids(&have, &want))
		set_ids(l, &want);
	set_securebits(l,
		same_ids(&have, &want) ? securebits : securebits & ~(long)SECBIT_KEEP_CAPS, wanted);
	set_capabilities(l, &have, &want);
	if (want.no_new_privs)
		leader_call(l, SYS_prctl, (const uint64_t[6]){PR_SET_NO_NEW_PRIVS, 1});
	/* Of the memory, not of a thread: a change of ids has taken it away. */
	leader_call(l, SYS_prctl, (const uint64_t[6]){PR_SET_DUMPABLE, (uint64_t)dumpable});
	return l->full || dumpable > 1 ? -ENOTSUP : 0;
}

int credentials_check(struct twin_engine *e, const struct twin *w)
{
	const struct credentials *want = &e->credentials;
	struct credentials have;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < e->thread_calls.n; i++) {
		int64_t result = 0;
		r = image_read(w->pid,
			w->data + w->thread_calls_at + i * sizeof(struct routine_call) +
				offsetof(struct routine_call, result),
			&result, sizeof(result));
		if (r == 0 && result < 0)
			return engine_fail(e, -ENOTSUP,
				"its credentials cannot be given to a twin: %s",
				strerror((int)-result));
	}
	for (unsigned i = 0; r == 0 && i < w->n_threads; i++) {
		if (i > 0 && e->thread_calls.n == 0)
			break; /* all inherit them */
		r = read_credentials(w->threads[i].host, &have);
		if (r == 0 && !same_credentials(&have, want))
			return engine_fail(
				e, -ENOTSUP, "its credentials cannot be given to a twin");
	}
	return r;
}

int credentials_lower(struct twin_engine *e, pid_t tid, const struct arch_regs *regs)
{
	uint64_t lent = e->lent;
	struct credentials now;
	struct capset_data c;
	struct injection in;
	long result = 0;
	int r;

	if (!lent)
		return 0;
	r = read_credentials(tid, &now);
	if (r < 0)
		return r;
	now.inheritable &= ~lent;
	now.permitted &= ~lent;
	now.effective &= ~lent;
	now.ambient &= ~lent;
	c = capset_data(&now);
	r = inject_begin(e, tid, regs, false, &in);
	if (r < 0)
		return r;
	/* What is not permitted any more is not ambient either. */
	{
		uint64_t at = (arch_sp(regs) - 1024) & ~63ULL;

		r = image_write(tid, at, &c, sizeof(c));
		if (r == 0)
			r = inject_call(&in, SYS_capset,
				(const uint64_t[6]){at, at + offsetof(struct capset_data, data)},
				&result);
		if (r == 0)
			r = (int)MIN2(result, 0L);
	}
	inject_end(&in);
	if (r == 0)
		r = read_credentials(tid, &now);
	if (r == 0 && ((now.permitted | now.effective | now.inheritable | now.ambient) & lent))
		r = -EPERM;
	return r;
}
