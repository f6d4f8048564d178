/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Fault points: every place at which the twin engine asks the kernel or the allocator for
 * something that may be refused, numbered, named, and reachable by tests.
 *
 * Nothing of this is in a release: sources of the engine do not include this header. The build
 * for tests (libtwin-faults.a, see the Makefile) puts it in front of each of them by -include
 * and so gives each call below a point of its own, new calls as well, with nothing to be written
 * where they are made. A point is known from the start, whether it is ever reached or not.
 *
 * Before each such call fault_hook is called, if set: 0 lets the call be made; a negative errno
 * makes it fail so without being made; and the hook may do to the processes concerned whatever
 * may befall them at that moment. close() has no point: it cannot be refused.
 *
 * The one exception: what an injected system call returns is nobody's call here, so inject.c
 * asks FAULT_INJECTED(), which is 0 in a release.
 */
#include <sys/types.h>

enum fault_kind {
	FAULT_PTRACE,   /* number: the request; pid; data */
	FAULT_WAIT,     /* pid */
	FAULT_MEMORY,   /* process_vm_readv, process_vm_writev; pid */
	FAULT_KILL,     /* number: the signal; pid */
	FAULT_INJECT,   /* number: of the system call; pid: the task that is to make it */
	FAULT_ALLOCATE, /* number: bytes */
	FAULT_OPEN,     /* whatever returns a new descriptor */
	FAULT_SYSTEM,   /* any other call; number: of the system call, where it is syscall(2) */
	_FAULT_KIND_MAX
};

struct fault_point {
	const char *function, *call, *what, *file;
	enum fault_kind kind;
	int line;
	unsigned hits, taken; /* for the hook to count in */
} __attribute__((aligned(64)));

struct fault_call {
	struct fault_point *point;
	long number;
	pid_t pid;
	long data;
};

/* NULL: none. Called in the thread that makes the call. */
extern int (*fault_hook)(const struct fault_call *call);

/* All that were compiled in; in the order of the sources. */
unsigned fault_count(void);
struct fault_point *fault_get(unsigned i);

/* For the macros below: 0, or -1 with errno set. */
int fault_reached(struct fault_point *p, long number, pid_t pid, long data);
/* 0, or the -errno that the call is to have returned. */
int fault_injected(struct fault_point *p, long nr, pid_t tid);

#ifndef TWIN_FAULT_POINTS

#define FAULT_INJECTED(nr, tid) 0

#else

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAULT_POINT_(kind_, call_, what_)                                                          \
	({                                                                                         \
		static struct fault_point fault_point_                                             \
			__attribute__((section("fault_points"), used)) = {.function = __func__,    \
				.call = call_,                                                     \
				.what = what_,                                                     \
				.file = __FILE__,                                                  \
				.kind = kind_,                                                     \
				.line = __LINE__};                                                 \
		&fault_point_;                                                                     \
	})
#define FAULT_REACHED_DATA_(kind_, call_, what_, number_, pid_, data_)                             \
	(fault_reached(FAULT_POINT_(kind_, call_, what_), (long)(number_), (pid_t)(pid_),          \
		 (long)(data_)) < 0)
#define FAULT_REACHED_(kind_, call_, what_, number_, pid_)                                         \
	FAULT_REACHED_DATA_(kind_, call_, what_, number_, pid_, 0)

#define FAULT_INJECTED(nr, tid)                                                                    \
	fault_injected(FAULT_POINT_(FAULT_INJECT, "inject", ""), (long)(nr), (tid))

/* A macro does not expand inside itself, so the call at the end of each is the real one. */
#define ptrace(request, pid, addr, data)                                                           \
	(FAULT_REACHED_DATA_(FAULT_PTRACE, "ptrace", #request, request, pid, data)                 \
			? -1L                                                                      \
			: ptrace(request, pid, addr, data))
#define waitpid(pid, raw, options)                                                                 \
	(FAULT_REACHED_(FAULT_WAIT, "waitpid", #pid, 0, pid) ? -1 : waitpid(pid, raw, options))
#define waitid(type, pid, ...)                                                                     \
	(FAULT_REACHED_(FAULT_WAIT, "waitid", #pid, 0, pid) ? -1 : waitid(type, pid, __VA_ARGS__))
#define process_vm_readv(pid, ...)                                                                 \
	(FAULT_REACHED_(FAULT_MEMORY, "process_vm_readv", #pid, 0, pid)                            \
			? -1                                                                       \
			: process_vm_readv(pid, __VA_ARGS__))
#define process_vm_writev(pid, ...)                                                                \
	(FAULT_REACHED_(FAULT_MEMORY, "process_vm_writev", #pid, 0, pid)                           \
			? -1                                                                       \
			: process_vm_writev(pid, __VA_ARGS__))
#define kill(pid, sig) (FAULT_REACHED_(FAULT_KILL, "kill", #sig, sig, pid) ? -1 : kill(pid, sig))
#define malloc(size)                                                                               \
	(FAULT_REACHED_(FAULT_ALLOCATE, "malloc", #size, size, 0) ? NULL : malloc(size))
#define calloc(n, size)                                                                            \
	(FAULT_REACHED_(FAULT_ALLOCATE, "calloc", #size, (n) * (size), 0) ? NULL : calloc(n, size))
#define realloc(p, size)                                                                           \
	(FAULT_REACHED_(FAULT_ALLOCATE, "realloc", #size, size, 0) ? NULL : realloc(p, size))
#define open(path, ...)                                                                            \
	(FAULT_REACHED_(FAULT_OPEN, "open", #path, 0, 0) ? -1 : open(path, __VA_ARGS__))
#define openat(dir, path, ...)                                                                     \
	(FAULT_REACHED_(FAULT_OPEN, "openat", #path, 0, 0) ? -1 : openat(dir, path, __VA_ARGS__))
#define syscall(nr, ...)                                                                           \
	(FAULT_REACHED_(                                                                           \
		 (nr) == SYS_pidfd_open || (nr) == SYS_pidfd_getfd ? FAULT_OPEN : FAULT_SYSTEM,    \
		 "syscall", #nr, nr, 0)                                                            \
			? -1L                                                                      \
			: syscall(nr, __VA_ARGS__))
#define FAULT_SYSTEM_(name, failed, ...)                                                           \
	(FAULT_REACHED_(FAULT_SYSTEM, #name, "", 0, 0) ? (failed) : name(__VA_ARGS__))
#define pread(...) FAULT_SYSTEM_(pread, -1, __VA_ARGS__)
#define pwrite(...) FAULT_SYSTEM_(pwrite, -1, __VA_ARGS__)
#define read(...) FAULT_SYSTEM_(read, -1, __VA_ARGS__)
#define write(...) FAULT_SYSTEM_(write, -1, __VA_ARGS__)
#define lseek(...) FAULT_SYSTEM_(lseek, (off_t)-1, __VA_ARGS__)
#define readlink(...) FAULT_SYSTEM_(readlink, -1, __VA_ARGS__)
#define readlinkat(...) FAULT_SYSTEM_(readlinkat, -1, __VA_ARGS__)
#define stat(...) FAULT_SYSTEM_(stat, -1, __VA_ARGS__)
#define ioctl(...) FAULT_SYSTEM_(ioctl, -1, __VA_ARGS__)
#define mmap(...) FAULT_SYSTEM_(mmap, MAP_FAILED, __VA_ARGS__)
#define recv(...) FAULT_SYSTEM_(recv, -1, __VA_ARGS__)
#define getsockopt(...) FAULT_SYSTEM_(getsockopt, -1, __VA_ARGS__)
#define sched_getaffinity(...) FAULT_SYSTEM_(sched_getaffinity, -1, __VA_ARGS__)
#define sched_setaffinity(...) FAULT_SYSTEM_(sched_setaffinity, -1, __VA_ARGS__)
#define sched_setscheduler(...) FAULT_SYSTEM_(sched_setscheduler, -1, __VA_ARGS__)
#define sched_getcpu(...) FAULT_SYSTEM_(sched_getcpu, -1, __VA_ARGS__)
#define timer_create(...) FAULT_SYSTEM_(timer_create, -1, __VA_ARGS__)
#define timer_settime(...) FAULT_SYSTEM_(timer_settime, -1, __VA_ARGS__)
#define fopen(...) FAULT_SYSTEM_(fopen, NULL, __VA_ARGS__)
#define opendir(...) FAULT_SYSTEM_(opendir, NULL, __VA_ARGS__)
#define prlimit(...) FAULT_SYSTEM_(prlimit, -1, __VA_ARGS__)
#define fcntl(...) FAULT_SYSTEM_(fcntl, -1, __VA_ARGS__)

#endif
