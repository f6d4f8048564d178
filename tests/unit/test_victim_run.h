/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Running a victim under the twin engine, for tests. Failures are not asserted on the spot but
 * kept in run.failure, so that nothing stays behind: victim_run_end() cleans up and then tells.
 *
 * Waiting is always for an event or for the victim's progress counter, with a limit that only
 * a failure reaches.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "config/macro.h"
#include "supervisor/twin/twin.h"
#include "tests/victims/victim.h"

/* How the victims are guarded. */
#ifndef VICTIM_IDENTITY
#define VICTIM_IDENTITY TWIN_EXACT
#endif

#define VICTIM_PATIENCE (10 * NSEC_PER_SEC)
#define TIDS_MAX 1024

struct tid_set {
	pid_t tids[TIDS_MAX];
	unsigned n;
};

struct victim_run {
	struct twin_engine *e;
	struct victim_shared *shared;
	pid_t pid; /* of the active, as we know it */
	char init[PATH_MAX + 32];
	struct twin_event end; /* FATAL or EXITED, once it came */
	unsigned n_execs, n_stops, n_continues, n_lost;
	pid_t lost_pid;
	unsigned skipped; /* checkpoints that were refused for the moment */
	char dir[32];
	char failure[1024];
};

_unused_ static uint32_t run_seed;
_unused_ static enum twin_children run_children; /* of runs to begin */
/* For the engines of run_begin(), but for the generations. */
_unused_ static struct twin_config run_config = {
	.freeze_deadline = 500 * 1000 * NSEC_PER_USEC,
};

_printf_(2, 3) _unused_ static bool run_fail(struct victim_run *r, const char *fmt, ...)
{
	va_list ap;

	if (r->failure[0])
		return false; /* the first one tells */
	va_start(ap, fmt);
	vsnprintf(r->failure, sizeof(r->failure), fmt, ap);
	va_end(ap);
	return false;
}

_unused_ static unsigned env_number(const char *name, unsigned otherwise)
{
	const char *s = getenv(name);
	return s && *s ? (unsigned)strtoul(s, NULL, 0) : otherwise;
}

/* Descriptors of this process, as a list to compare; the one used to look is left out. */
_unused_ static void list_own_fds(char *text, size_t size)
{
	DIR *d = opendir("/proc/self/fd");
	size_t len = 0;

	text[0] = '\0';
	for (struct dirent *entry; d && (entry = readdir(d));)
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(d) && len < size)
			len += (size_t)snprintf(text + len, size - len, "%s ", entry->d_name);
	if (d)
		closedir(d);
}

/* What the thread itself knows as its number: the last that it has. */
_unused_ static pid_t own_number(pid_t tid)
{
	char path[64], line[256];
	pid_t number = tid;

	if (VICTIM_IDENTITY == TWIN_EXACT)
		return tid;
	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		const char *last = strrchr(line, '\t');
		if (strncmp(line, "NSpid:", 6) == 0 && last)
			number = atoi(last);
	}
	if (f)
		fclose(f);
	return number;
}

_unused_ static void list_tids(pid_t pid, struct tid_set *ret)
{
	char path[64];

	ret->n = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *d = opendir(path);
	/* The kernel lists threads in order of birth: compared as sets below. */
	for (struct dirent *entry; d && (entry = readdir(d));)
		if (entry->d_name[0] != '.' && ret->n < TIDS_MAX)
			ret->tids[ret->n++] = own_number(atoi(entry->d_name));
	if (d)
		closedir(d);
}

_unused_ static bool same_tids(const struct tid_set *a, const struct tid_set *b)
{
	unsigned found = 0;

	for (unsigned i = 0; i < a->n; i++)
		for (unsigned k = 0; k < b->n; k++)
			found += a->tids[i] == b->tids[k];
	return a->n == b->n && found == a->n;
}

/* SIGCHLD is blocked in the driver and awaited here; a millisecond bounds what it may miss. */
_unused_ static void wait_a_little(void)
{
	const struct timespec ms = {0, 1000000};
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	(void)sigtimedwait(&child, NULL, &ms);
}

_unused_ static void run_take_events(struct victim_run *r)
{
	for (;;) {
		struct twin_event ev = twin_next_event(r->e);
		switch (ev.type) {
		case TWIN_EVENT_NONE:
			return;
		case TWIN_EVENT_EXEC:
			r->n_execs++;
			r->pid = ev.pid;
			break;
		case TWIN_EVENT_FATAL:
		case TWIN_EVENT_EXITED:
			r->end = ev;
			break;
		case TWIN_EVENT_STOPPED:
			r->n_stops++;
			break;
		case TWIN_EVENT_CONTINUED:
			r->n_continues++;
			break;
		case TWIN_EVENT_TWIN_LOST:
			r->n_lost++;
			r->lost_pid = ev.pid;
			break;
		case TWIN_EVENT_CHILD:
		case TWIN_EVENT_THREADS_ENDED:
			break;
		}
	}
}

_unused_ static void describe_end(const struct victim_run *r, char *text, size_t size)
{
	const struct twin_event *ev = &r->end;

	if (ev->type == TWIN_EVENT_FATAL)
		snprintf(text, size, "fatal signal %d, thread %d, address %lx, at %lx; %.300s",
			ev->signal, ev->tid, (unsigned long)ev->fault_address,
			(unsigned long)ev->instruction, r->shared->message);
	else if (ev->type == TWIN_EVENT_EXITED)
		snprintf(text, size, "ended with status %x; %.300s", (unsigned)ev->status,
			r->shared->message);
	else
		snprintf(text, size, "runs; %.300s", r->shared->message);
}

/* Handle events until the condition holds. An end of the victim that nobody waits for fails. */
#define run_until(r, cond, what)                                                                   \
	({                                                                                         \
		nsec_t until_ = now_nsec() + VICTIM_PATIENCE;                                      \
		bool ok_ = true;                                                                   \
		char how_[512];                                                                    \
		for (;;) {                                                                         \
			run_take_events(r);                                                        \
			if (cond)                                                                  \
				break;                                                             \
			if ((r)->end.type != TWIN_EVENT_NONE || now_nsec() > until_) {             \
				describe_end(r, how_, sizeof(how_));                               \
				ok_ = run_fail(r, "waiting for %s: %s", what, how_);               \
				break;                                                             \
			}                                                                          \
			wait_a_little();                                                           \
		}                                                                                  \
		ok_;                                                                               \
	})

_unused_ static bool run_progress(struct victim_run *r, unsigned n)
{
	uint64_t until = atomic_load(&r->shared->progress) + n;
	return run_until(r, atomic_load(&r->shared->progress) >= until, "progress");
}

_unused_ static bool run_await_end(struct victim_run *r)
{
	return run_until(r, r->end.type != TWIN_EVENT_NONE, "the end");
}

_unused_ static void exec_victim(
	const struct victim_run *r, const char *name, int memfd, bool swapped)
{
	char self[PATH_MAX], path[PATH_MAX + 64], number[16];
	char *const argv[] = {path, NULL};
	sigset_t none;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	snprintf(path, sizeof(path), "%s/../victims/%s", dirname(self), name);
	fcntl(memfd, F_SETFD, 0);
	snprintf(number, sizeof(number), "%d", memfd);
	setenv("VICTIM_FD", number, 1);
	setenv("VICTIM_DIR", r->dir, 1);
	if (swapped)
		setenv("VICTIM_SWAPPED", "1", 1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(path, argv);
	_exit(127);
}

_unused_ static void find_init(char *path, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	snprintf(path, size, "%s/../../twinit-nsinit", dirname(self));
}

/* All but the victim; the descriptor that it gets. */
_unused_ static int run_prepare(struct victim_run *r, unsigned generations)
{
	struct twin_config config = run_config;
	int memfd = memfd_create("victim", MFD_CLOEXEC);
	sigset_t child;

	config.generations = generations;
	config.children = run_children;
	config.identity = VICTIM_IDENTITY;
	config.namespace_init = r->init;
	memset(r, 0, sizeof(*r));
	find_init(r->init, sizeof(r->init));
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	strcpy(r->dir, "/tmp/victim-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	assert_int_equal(ftruncate(memfd, sizeof(*r->shared)), 0);
	r->shared = mmap(NULL, sizeof(*r->shared), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	assert_ptr_not_equal(r->shared, MAP_FAILED);
	assert_int_equal(twin_engine_new(&config, &r->e), 0);
	return memfd;
}

/* The victim runs its program and has made its first progress when this returns. */
_unused_ static bool run_begin(
	struct victim_run *r, const char *name, unsigned generations, bool swapped)
{
	int gate[2], memfd = run_prepare(r, generations), error;
	char c = 0;

	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		close(gate[1]);
		if (read(gate[0], &c, 1) != 1)
			_exit(126);
		exec_victim(r, name, memfd, swapped);
	}
	close(gate[0]);
	close(memfd);
	error = twin_attach(r->e, r->pid);
	if (error == 0)
		assert_int_equal(write(gate[1], &c, 1), 1);
	close(gate[1]);
	if (error < 0)
		return run_fail(r, "attach: %s", twin_reason(r->e));
	return run_until(r, r->n_execs > 0, "exec") && run_progress(r, 1);
}

/* A checkpoint that is refused for the moment is tried again. One of these moments is an exec by
 * a thread: with its main thread dead the process looks as if it were ending (-ESRCH). */
_unused_ static bool run_checkpoint(struct victim_run *r, struct twin_checkpoint *ret)
{
	nsec_t until = now_nsec() + VICTIM_PATIENCE;
	char how[512];

	/* Time may jump where the whole machine stands still. */
	for (unsigned tries = 0; now_nsec() < until || tries < 20; tries++) {
		int error = twin_checkpoint(r->e, true, ret);

		if (error == 0)
			return true;
		if (error != -EAGAIN && error != -EBUSY && error != -ESRCH)
			return run_fail(r, "checkpoint: %d, %s", error, twin_reason(r->e));
		r->skipped++;
		if (env_number("VICTIM_TELL", 0))
			print_message("put off: %s\n", twin_reason(r->e));
		run_take_events(r);
		if (r->end.type != TWIN_EVENT_NONE)
			break;
		/* A thread that is still on its way tells nobody when it gets there. */
		(void)nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	describe_end(r, how, sizeof(how));
	return run_fail(r, "no checkpoint: %s; %s", twin_reason(r->e), how);
}

_unused_ static int remove_entry(
	const char *path, const struct stat *st, int type, struct FTW *place)
{
	(void)st;
	(void)type;
	(void)place;
	return remove(path);
}

_unused_ static void describe_children(char *text, size_t size)
{
	char path[64], stat[128];
	size_t len = 0;
	int pid;

	text[0] = '\0';
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	FILE *f = fopen(path, "re");
	while (f && fscanf(f, "%d", &pid) == 1 && len + sizeof(stat) < size) {
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		FILE *g = fopen(path, "re");
		if (g && fgets(stat, 40, g))
			len += (size_t)snprintf(text + len, size - len, "%s; ", stat);
		if (g)
			fclose(g);
	}
	if (f)
		fclose(f);
}

/* Of a test that failed nothing may stay behind either. */
_unused_ static void kill_children(void)
{
	char path[64];
	int pid, raw;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	FILE *f = fopen(path, "re");
	while (f && fscanf(f, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	if (f)
		fclose(f);
	while (waitpid(-1, &raw, __WALL) > 0)
		;
}

/* All helpers and orphans are reaped by the engine; false when some do not end. */
_unused_ static bool run_reap_all(struct victim_run *r)
{
	nsec_t until = now_nsec() + VICTIM_PATIENCE;
	char how[512];

	while (now_nsec() < until) {
		siginfo_t info;
		run_take_events(r);
		if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL) < 0 &&
			errno == ECHILD)
			return true;
		wait_a_little();
	}
	describe_children(how, sizeof(how));
	kill_children();
	return run_fail(r, "children are left: %s", how);
}

/* Nothing of the node, its twins and helpers is left running. */
_unused_ static void run_forget(struct victim_run *r)
{
	if (r->end.type != TWIN_EVENT_EXITED && twin_active_pid(r->e)) {
		r->end = (struct twin_event){0};
		(void)twin_kill(r->e, SIGKILL);
		(void)run_until(r, r->end.type == TWIN_EVENT_EXITED, "the end by force");
	}
	twin_forget(r->e);
}

/* Ask the victim to stop, unless it failed. */
_unused_ static void run_end_of_victim(struct victim_run *r)
{
	if (!r->failure[0]) {
		atomic_store(&r->shared->stop, 1);
		run_await_end(r);
		if (r->end.type != TWIN_EVENT_EXITED || r->end.status != 0 ||
			atomic_load(&r->shared->failed)) {
			char how[512];
			describe_end(r, how, sizeof(how));
			run_fail(r, "at its end: %s", how);
		}
	}
	run_forget(r);
}

/* All that there was for it goes. */
_unused_ static void run_take_away(struct victim_run *r)
{
	run_reap_all(r);
	twin_engine_free(r->e);
	munmap(r->shared, sizeof(*r->shared));
	nftw(r->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

_unused_ static void run_finish(struct victim_run *r)
{
	run_take_away(r);
	if (r->failure[0])
		fail_msg("%s (VICTIM_SEED=%u)", r->failure, run_seed);
}

_unused_ static void run_end(struct victim_run *r)
{
	run_end_of_victim(r);
	run_finish(r);
}
