/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What befalls the engine at a fault point (supervisor/twin/fault_point.h), for tests.
 *
 * A path is a fault point and the way the engine came there: the same point reached by another
 * caller is another path, for another caller has to clean up. A first run of a scenario lists its
 * paths, later runs let one thing happen at one of them.
 */
#include <elf.h>
#include <execinfo.h>
#include <link.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/fault_point.h"
#include "supervisor/twin/procfs.h"
#include "tests/unit/test_victim_run.h"

enum act {
	ACT_REFUSE,     /* the call fails, once */
	ACT_EXHAUST,    /* it and all others of its kind fail from here on */
	ACT_KILL_NODE,  /* by SIGKILL, and no call reaches it any more */
	ACT_KILL_TASK,  /* the same for the twin or the helper that the call is about */
	ACT_KILL_TWINS, /* the same for all twins and helpers */
	ACT_STOP_NODE,  /* SIGSTOP */
	ACT_STRIKE,     /* SIGSEGV to the node, as if it had come from outside */
	ACTS
};
static const char *const act_names[ACTS] = {"call refused", "resource exhausted", "node killed",
	"task killed", "twins killed", "node stopped", "node struck"};

#define PATH_DEPTH 20
#define FRAMES_BELOW 4 /* path_of(), the hook, and its two callers */
#define PATHS_MAX 4096
struct path {
	struct fault_point *point;
	long number;
	void *callers[PATH_DEPTH];
	int depth;
	unsigned seen;    /* in the run under way */
	unsigned most;    /* in any run */
	bool about_other; /* the call is about a twin or helper */
};

static struct {
	enum { HOOK_PASSES, HOOK_LISTS, HOOK_STRIKES } mode;
	struct path paths[PATHS_MAX];
	unsigned n_paths;
	struct path *at; /* where the act comes, at its which-th time in the run */
	unsigned which;
	enum act act;
	int error;
	bool happened;
	pid_t node;
	void *top; /* where the calls that are looked at return to */
	/* Options that the engine has set last, by task. */
	struct {
		pid_t tid;
		long options;
	} options[2048];
	unsigned n_options;
} hook;

/* --- names of callers, from this program's own symbol table --------------------------------- */
static struct {
	const ElfW(Sym) * symbols;
	const char *names;
	size_t n;
	uintptr_t base;
} own;

static void read_own_symbols(void)
{
	struct stat st;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	const uint8_t *image;
	const ElfW(Ehdr) * head;
	const ElfW(Shdr) * sections;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	image = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(image, MAP_FAILED);
	close(fd);
	head = (const void *)image;
	sections = (const void *)(image + head->e_shoff);
	for (unsigned i = 0; i < head->e_shnum; i++)
		if (sections[i].sh_type == SHT_SYMTAB) {
			own.symbols = (const void *)(image + sections[i].sh_offset);
			own.n = sections[i].sh_size / sizeof(*own.symbols);
			own.names = (const char *)image + sections[sections[i].sh_link].sh_offset;
		}
	assert_non_null(own.symbols);
	/* Where it was loaded: the difference between an address as it is and as it is linked. */
	for (size_t i = 0; i < own.n; i++)
		if (strcmp(own.names + own.symbols[i].st_name, "fault_get") == 0)
			own.base = (uintptr_t)fault_get - own.symbols[i].st_value;
}

static const char *caller_name(const void *address)
{
	uintptr_t at = (uintptr_t)address - own.base;

	for (size_t i = 0; i < own.n; i++)
		if (ELF64_ST_TYPE(own.symbols[i].st_info) == STT_FUNC &&
			at - own.symbols[i].st_value < own.symbols[i].st_size)
			return own.names + own.symbols[i].st_name;
	return "?";
}

static bool path_passes(const struct path *p, const char *function)
{
	if (strcmp(p->point->function, function) == 0)
		return true;
	for (int i = 0; i < p->depth; i++)
		if (strcmp(caller_name(p->callers[i]), function) == 0)
			return true;
	return false;
}

static void describe_path(const struct path *p, char *text, size_t size)
{
	size_t len = (size_t)snprintf(text, size, "%s(%s) in %s()", p->point->call,
		p->point->what[0] ? p->point->what : "", p->point->function);

	if (p->point->kind == FAULT_INJECT)
		len += (size_t)snprintf(text + len, size - len, " of system call %ld", p->number);
	for (int i = 0; i < p->depth && len < size; i++)
		len += (size_t)snprintf(
			text + len, size - len, " < %s", caller_name(p->callers[i]));
}

/* --- the hook ------------------------------------------------------------------------------- */
static bool is_traced_stop(pid_t tid)
{
	char text[4096];
	const char *p;

	if (proc_read(text, sizeof(text), "%d/status", tid) <= 0)
		return false;
	p = strstr(text, "\nState:\t");
	return p && p[8] == 't';
}

/* Until no ptrace call can reach any of its threads: a task that stands still when it is killed
 * has to get as far as its own end. */
static void kill_for_good(pid_t pid)
{
	struct tid_set tids;

	if (kill(pid, SIGKILL) < 0)
		return;
	list_tids(pid, &tids);
	for (unsigned i = 0; i < tids.n; i++)
		while (is_traced_stop(tids.tids[i]))
			sched_yield();
}

static void for_children(void (*f)(pid_t))
{
	char path[64];
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	FILE *list = fopen(path, "re");
	while (list && fscanf(list, "%d", &pid) == 1)
		f(pid);
	if (list)
		fclose(list);
}

static void kill_if_other(pid_t pid)
{
	if (pid != hook.node)
		kill_for_good(pid);
}

static int error_of(const struct fault_call *c)
{
	if (hook.error)
		return hook.error;
	switch (c->point->kind) {
	case FAULT_WAIT:
		return -EINTR;
	case FAULT_MEMORY:
		return -EFAULT;
	case FAULT_INJECT:
	case FAULT_ALLOCATE:
		return -ENOMEM;
	case FAULT_OPEN:
		return -EMFILE;
	default:
		return -EIO;
	}
}

static int happen(const struct fault_call *c)
{
	switch (hook.act) {
	case ACT_REFUSE:
	case ACT_EXHAUST:
		return error_of(c);
	case ACT_KILL_NODE:
		kill_for_good(hook.node);
		break;
	case ACT_KILL_TASK:
		if (c->pid > 0 && proc_tgid(c->pid) != hook.node)
			kill_for_good(c->pid);
		break;
	case ACT_KILL_TWINS:
		for_children(kill_if_other);
		break;
	case ACT_STOP_NODE:
		kill(hook.node, SIGSTOP);
		break;
	case ACT_STRIKE:
		kill(hook.node, SIGSEGV);
		break;
	case ACTS:
		break;
	}
	return 0;
}

static struct path *path_of(const struct fault_call *c)
{
	void *callers[PATH_DEPTH + FRAMES_BELOW];
	int depth = backtrace(callers, PATH_DEPTH + FRAMES_BELOW) - FRAMES_BELOW;
	struct path *p = hook.paths;

	/* What lies above the test's own call is no part of the way. */
	for (int i = 0; i < depth; i++)
		if (callers[FRAMES_BELOW + i] == hook.top)
			depth = i;
	depth = depth < 0 ? 0 : depth;
	for (; p < hook.paths + hook.n_paths; p++)
		if (p->point == c->point && p->number == c->number && p->depth == depth &&
			memcmp(p->callers, callers + FRAMES_BELOW,
				(size_t)depth * sizeof(void *)) == 0)
			return p;
	/* What is reached after a fault is the way back from it. */
	if (hook.n_paths >= PATHS_MAX || hook.happened)
		return NULL;
	*p = (struct path){.point = c->point, .number = c->number, .depth = depth};
	memcpy(p->callers, callers + FRAMES_BELOW, (size_t)depth * sizeof(void *));
	hook.n_paths++;
	return p;
}

static void note_options(const struct fault_call *c)
{
	unsigned i = 0;

	if (c->point->kind != FAULT_PTRACE ||
		(c->number != PTRACE_SEIZE && c->number != PTRACE_SETOPTIONS))
		return;
	while (i < hook.n_options && hook.options[i].tid != c->pid)
		i++;
	if (i >= ELEMENTSOF(hook.options))
		return;
	hook.options[i].tid = c->pid;
	hook.options[i].options = c->data;
	if (i == hook.n_options)
		hook.n_options++;
}

static int on_fault_point(const struct fault_call *c)
{
	static bool inside; /* what we ask /proc goes through the engine's own functions */
	struct path *p = NULL;
	int r = 0;

	if (inside)
		return 0;
	inside = true;
	c->point->hits++;
	if (hook.mode != HOOK_PASSES)
		p = path_of(c);
	if (p) {
		p->seen++;
		p->most = MAX2(p->most, p->seen);
		p->about_other |=
			c->pid > 0 && c->pid != hook.node && proc_tgid(c->pid) != hook.node;
	}
	if (hook.mode == HOOK_STRIKES && !hook.happened && p == hook.at && p->seen == hook.which) {
		hook.happened = true;
		c->point->taken++;
		r = happen(c);
	} else if (hook.mode == HOOK_STRIKES && hook.happened && hook.act == ACT_EXHAUST &&
		   c->point->kind == hook.at->point->kind) {
		c->point->taken++;
		r = happen(c);
	}
	if (r == 0)
		note_options(c);
	inside = false;
	return r;
}

static void hook_start(int mode, pid_t node)
{
	for (unsigned i = 0; i < hook.n_paths; i++)
		hook.paths[i].seen = 0;
	hook.mode = mode;
	hook.node = node;
	hook.happened = false;
}
