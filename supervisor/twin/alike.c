/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of one process that differ in what the kernel keeps for each task: credentials, filters,
 * namespaces, a table of descriptors of their own. A swap makes every thread as the main thread is,
 * so a process whose threads differ has no twin, and is told why.
 *
 * Looked at from outside, at leisure, by turns: new threads at once, the others again from time to
 * time. Only what the thread alone can be asked is asked in the freeze, once for each thread.
 */
#include <errno.h>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/procfs.h"

/* A turn costs some 25 us a thread; looks may follow each other in 2 ms. */
#define TURN_EVERY 100000000ULL
#define TURN_THREADS 8u
/* The C library changes credentials one thread after the other. */
#define LOOKS_TO_BELIEVE 3u
#define SELF_AGAIN 64u

#define PR_SCHED_CORE_GET_COOKIE 62

static const char *const namespaces[] = {
	"cgroup", "ipc", "mnt", "net", "pid_for_children", "time_for_children", "user", "uts"};

struct task_facts {
	char status[4096], cgroup[2048], label[256];
	uint64_t personality;
	ino_t ns[ELEMENTSOF(namespaces)];
	uint64_t cookie;
};

static bool read_facts(pid_t pid, pid_t tid, struct task_facts *f)
{
	char path[96], text[32];

	if (proc_read(f->status, sizeof(f->status), "%d/task/%d/status", pid, tid) <= 0)
		return false;
	(void)proc_read(f->cgroup, sizeof(f->cgroup), "%d/task/%d/cgroup", pid, tid);
	(void)proc_read(f->label, sizeof(f->label), "%d/task/%d/attr/current", pid, tid);
	f->personality = proc_read(text, sizeof(text), "%d/task/%d/personality", pid, tid) > 0
				 ? strtoull(text, NULL, 16)
				 : 0;
	for (size_t i = 0; i < ELEMENTSOF(namespaces); i++) {
		struct stat st;
		snprintf(path, sizeof(path), "/proc/%d/task/%d/ns/%s", pid, tid, namespaces[i]);
		f->ns[i] = stat(path, &st) == 0 ? st.st_ino : 0;
	}
	/* Where threads share a core only with those of the same cookie. */
	if (prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, tid, 0, &f->cookie) < 0)
		f->cookie = 0;
	return true;
}

/* "\nKey:..." up to the end of the line; empty where the kernel has no such line. */
static bool same_line(const char *a, const char *b, const char *key)
{
	char start[40];
	const char *p, *q;
	size_t n;

	snprintf(start, sizeof(start), "\n%s:", key);
	p = strstr(a, start);
	q = strstr(b, start);
	if (!p || !q)
		return p == q;
	n = strcspn(p + 1, "\n") + 1;
	return n == strcspn(q + 1, "\n") + 1 && strncmp(p, q, n) == 0;
}

static const char *differs(
	pid_t pid, pid_t tid, const struct task_facts *main, const struct task_facts *f)
{
	static const struct {
		const char *key, *what;
	} lines[] = {
		{"Uid", "credentials"},
		{"Gid", "credentials"},
		{"Groups", "groups"},
		{"CapInh", "capabilities"},
		{"CapPrm", "capabilities"},
		{"CapEff", "capabilities"},
		{"CapBnd", "capabilities"},
		{"CapAmb", "capabilities"},
		{"NoNewPrivs", "privileges"},
		{"Seccomp", "seccomp filters"},
		{"Seccomp_filters", "seccomp filters"},
		{"Speculation_Store_Bypass", "speculation control"},
		{"SpeculationIndirectBranch", "speculation control"},
	};

	for (size_t i = 0; i < ELEMENTSOF(lines); i++)
		if (!same_line(main->status, f->status, lines[i].key))
			return lines[i].what;
	for (size_t i = 0; i < ELEMENTSOF(namespaces); i++)
		if (main->ns[i] != f->ns[i])
			return "namespaces";
	if (strcmp(main->cgroup, f->cgroup) != 0)
		return "control groups";
	if (strcmp(main->label, f->label) != 0)
		return "security label";
	if (main->personality != f->personality)
		return "personality";
	if (main->cookie != f->cookie)
		return "core scheduling";
	if (syscall(SYS_kcmp, pid, tid, KCMP_FILES, 0, 0) > 0)
		return "descriptors";
	if (syscall(SYS_kcmp, pid, tid, KCMP_FS, 0, 0) > 0)
		return "working directory";
	if (syscall(SYS_kcmp, pid, tid, KCMP_SYSVSEM, 0, 0) > 0)
		return "semaphore undo list";
	return NULL;
}

/* It has given up what it shared, one thing after the other; proc(5), stat, the flags of a task. */
static bool is_exiting(pid_t pid, pid_t tid)
{
	const unsigned long exiting = 0x4; /* PF_EXITING, include/linux/sched.h */
	unsigned long flags = 0;
	char text[512];
	const char *p;

	if (proc_read(text, sizeof(text), "%d/task/%d/stat", pid, tid) <= 0)
		return true;
	p = strrchr(text, ')');
	return !p || sscanf(p, ") %*c %*d %*d %*d %*d %*d %lu", &flags) != 1 || (flags & exiting);
}

static bool is_new(const struct thread *t)
{
	return !t->compared;
}

/* Whose turn it is: all new ones, and a few of the others. */
static bool has_turn(struct twin_engine *e, const struct thread *t, unsigned i, bool turns)
{
	if (t->tid == e->pid)
		return false;
	return is_new(t) || e->unlike_looks > 0 ||
	       (turns && (i + e->n_threads - e->turn) % e->n_threads < TURN_THREADS);
}

int alike_look(struct twin_engine *e)
{
	static struct task_facts main, other;
	nsec_t now = now_nsec();
	bool turns = now - e->turned_at >= TURN_EVERY, any = false;
	const char *what = NULL;
	unsigned i = 0;
	pid_t who = 0;

	FOREACH_THREAD(e, t)
	{
		unsigned place = i++;
		if (what || !has_turn(e, t, place, turns))
			continue;
		if (!any && !read_facts(e->pid, e->pid, &main))
			return engine_fail(e, -ESRCH, "the process is ending");
		any = true;
		if (!read_facts(e->pid, t->tid, &other))
			continue;
		t->compared = true;
		what = differs(e->pid, t->tid, &main, &other);
		if (what && is_exiting(e->pid, t->tid))
			what = NULL;
		who = t->tid;
	}
	if (turns) {
		e->turned_at = now;
		e->turn = e->n_threads ? (e->turn + TURN_THREADS) % e->n_threads : 0;
	}
	if (!what) {
		e->unlike_looks = 0;
		return 0;
	}
	return engine_fail(e, ++e->unlike_looks < LOOKS_TO_BELIEVE ? -EAGAIN : -ENOTSUP,
		"thread %d has other %s than the main thread", who, what);
}

static int ask_policy(struct injection *in, struct self_state *ret)
{
	uint64_t args[6] = {0}, mask_args[6] = {0, 0, 8 * sizeof(ret->nodes)};
	int r = inject_output(in, SYS_get_mempolicy, args, 0, &ret->policy, sizeof(ret->policy));

	memset(ret->nodes, 0, sizeof(ret->nodes));
	if (r == -ENOSYS)
		ret->policy = r = 0;
	if (r == 0 && ret->policy != 0)
		r = inject_output(
			in, SYS_get_mempolicy, mask_args, 1, ret->nodes, sizeof(ret->nodes));
	return r;
}

/* A call whose refusal is an answer like any other. */
static int ask(struct injection *in, long nr, uint64_t a, uint64_t b, long *ret)
{
	return inject_call(in, nr, (const uint64_t[6]){a, b}, ret);
}

static int ask_self(struct injection *in, struct self_state *ret)
{
	uint64_t death[6] = {PR_GET_PDEATHSIG}, tsc[6] = {PR_GET_TSC};
	uint64_t args[6];
	long ring = 0, nr;
	int r = inject_output(in, SYS_prctl, death, 1, &ret->parent_death_signal, sizeof(int));

	if (r == 0) {
		r = inject_output(in, SYS_prctl, tsc, 1, &ret->tsc, sizeof(int));
		if (r == -EINVAL)
			ret->tsc = r = 0;
	}
	if (r == 0 && arch_identity_question(&nr, args))
		r = inject_call(in, nr, args, &ret->cpuid);
	if (r == 0)
		r = ask(in, SYS_prctl, PR_GET_SECUREBITS, 0, &ret->securebits);
	if (r == 0)
		r = ask(in, SYS_prctl, PR_MCE_KILL_GET, 0, &ret->machine_checks);
	if (r == 0)
		r = ask(in, SYS_prctl, PR_GET_IO_FLUSHER, 0, &ret->flusher);
	if (r == 0)
		r = ask(in, SYS_keyctl, KEYCTL_GET_KEYRING_ID, (uint64_t)KEY_SPEC_SESSION_KEYRING,
			&ret->session_keyring);
	if (r == 0)
		r = ask_policy(in, ret);
	if (r == 0)
		r = ask(in, SYS_keyctl, KEYCTL_GET_KEYRING_ID, (uint64_t)KEY_SPEC_THREAD_KEYRING,
			&ring);
	ret->keyring = ring > 0;
	return r;
}

bool alike_must_ask(const struct twin_engine *e, const struct thread *t)
{
	return !t->self.known || (e->n_checkpoints + (unsigned)t->tid) % SELF_AGAIN == 0;
}

int alike_ask(struct injection *in, struct thread *t)
{
	struct self_state s = {0};
	int r;

	r = ask_self(in, &s);
	s.known = r == 0;
	if (r == 0)
		t->self = s;
	return r;
}

/* All but the parent-death signal, which each thread is given anew. */
static const char *self_differs(const struct self_state *a, const struct self_state *b)
{
	if (a->tsc != b->tsc || a->cpuid != b->cpuid)
		return "right to read the processor's registers";
	if (a->securebits != b->securebits)
		return "set of secure bits";
	if (a->policy != b->policy || memcmp(a->nodes, b->nodes, sizeof(a->nodes)) != 0)
		return "memory policy";
	return NULL;
}

int alike_check(struct twin_engine *e)
{
	const struct thread *leader = thread_find(e, e->pid);

	FOREACH_THREAD(e, t)
	{
		const char *what = leader ? self_differs(&t->self, &leader->self) : NULL;
		if (t->self.keyring)
			return engine_fail(
				e, -ENOTSUP, "thread %d has a keyring of its own", t->tid);
		if (what)
			return engine_fail(e, -ENOTSUP,
				"thread %d has another %s than the main thread", t->tid, what);
	}
	return 0;
}

/* Credentials apart, which a twin is given (credentials.c). */
static const char *twin_differs(struct twin_engine *e, pid_t twin, struct injection *in)
{
	static struct task_facts theirs, ours;
	const struct thread *leader = thread_find(e, e->pid);
	struct self_state s = {0};

	if (!leader || ask_self(in, &s) < 0 || !read_facts(e->pid, e->pid, &theirs) ||
		!read_facts(twin, twin, &ours))
		return "fate";
	if (!same_line(theirs.status, ours.status, "Speculation_Store_Bypass") ||
		!same_line(theirs.status, ours.status, "SpeculationIndirectBranch"))
		return "speculation control";
	if (strcmp(theirs.cgroup, ours.cgroup) != 0)
		return "control groups";
	if (strcmp(theirs.label, ours.label) != 0)
		return "security label";
	if (theirs.personality != ours.personality)
		return "personality";
	if (s.machine_checks != leader->self.machine_checks)
		return "machine-check policy";
	if (s.flusher != leader->self.flusher)
		return "I/O-flusher flag";
	if (s.session_keyring != leader->self.session_keyring)
		return "session keyring";
	/* Given to it when it runs. */
	s.parent_death_signal = leader->self.parent_death_signal;
	return self_differs(&s, &leader->self);
}

int alike_check_twin(struct twin_engine *e, pid_t twin, struct injection *in)
{
	const char *what = twin_differs(e, twin, in);

	return what ? engine_fail(e, -ENOTSUP,
			      "it has changed its %s, which a twin in a namespace cannot be given",
			      what)
		    : 0;
}
