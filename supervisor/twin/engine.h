/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Inside the twin engine: what its files share. See twin.h for what it promises.
 *
 * Files: engine.c (life of an engine, events), attach.c, foster.c (processes that are not our
 * children), threads.c (the table of threads), freeze.c
 * (all threads stopped at one moment), inject.c (system calls made by a stopped task),
 * timers.c, signals.c, restart.c and partial.c (interrupted calls), capture.c (what is read of a
 * frozen thread), image.c (a twin made ready to run at leisure), checkpoint.c, swap.c,
 * rebuild.c, steer.c (pids by steering), inplace.c, inplace_threads.c, inplace_state.c and
 * inplace_self.c (rollback without a new process), layout.c (mappings), pages.c (memory), files.c
 * (descriptors), streams.c (TCP), schedule.c, alike.c (threads that differ), file_locks.c, locked.c
 * and exclude.c (memory), selfref.c (descriptors that name the process), procfs.c (/proc without
 * allocation), owned.c (what it has by its number), rest.c (threads at rest), tell.c (what it tells
 * of itself).
 *
 * Everything is allocated when the engine is made or at a checkpoint before the freeze.
 */
#include <sched.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include "supervisor/base/wait_status.h"
#include "supervisor/twin/arch/arch.h"
#include "supervisor/twin/children.h"
#include "supervisor/twin/exclude.h"
#include "supervisor/twin/files.h"
#include "supervisor/twin/foster.h"
#include "supervisor/twin/inplace.h"
#include "supervisor/twin/locked.h"
#include "supervisor/twin/mappings.h"
#include "supervisor/twin/partial.h"
#include "supervisor/twin/remains.h"
#include "supervisor/twin/selfref.h"
#include "supervisor/twin/namespace.h"
#include "supervisor/twin/rest.h"
#include "supervisor/twin/streams.h"
#include "supervisor/twin/timers.h"
#include "supervisor/twin/twin.h"
#include "supervisor/twin/waits.h"

/* struct sched_attr of sched_setattr(2): linux/sched/types.h and libc's <sched.h> exclude each
 * other. */
struct schedule {
	uint32_t size, policy; /* size 0: unknown */
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
};

/* What only a thread itself can be asked (alike.c). */
struct self_state {
	bool known, keyring;
	int parent_death_signal, tsc, policy;
	uint64_t nodes[4]; /* of the memory policy */
	long cpuid, securebits;
	long machine_checks, flusher, session_keyring;
};

struct thread {
	pid_t tid;
	pid_t inner;               /* its number in its namespace; 0: not known, or not inside */
	bool second_fatal;         /* stands at a fatal signal, but another came first */
	bool used, stopped, asked; /* asked: a PTRACE_INTERRUPT is under way */
	bool late;                 /* it did not stop in time for a checkpoint, and has not since */
	bool mended;               /* in this freeze: its registers are fit to go on with */
	bool group_stopped;        /* by a signal; the next stop is the end of that */
	bool expiring;             /* asked because its wait is over */
	bool let_be;               /* the stop under way is not for it */
	bool settled;              /* at a system-call-stop, but as if in user mode */
	struct wait_event stop;    /* where stopped */
	bool tid_addr_known;
	uint64_t tid_addr;
	unsigned altstack_queries;
	uint64_t last_ip, last_sp; /* at the freeze before */
	struct arch_altstack altstack;
	int crash_signal;            /* caught, and perhaps still being handled; 0: none */
	uint64_t crash_sp, crash_ip; /* where that was */
	nsec_t crash_at;
	char name[16];
	struct schedule sched;
	int io_priority;
	uint64_t timer_slack; /* ns; 0: unknown */
	cpu_set_t affinity;
	bool compared; /* with the main thread */
	struct self_state self;
	int syscall_fd; /* /proc/TID/syscall */
	int slices_fd;  /* /proc/TID/schedstat */
	struct rest rest;
	struct wait_record wait;
	struct sleep_look look;
	struct partial_call partial;
	/* of the freeze under way */
	struct wait_record wait_then;
	struct partial_call partial_then;
	struct arch_regs regs;
	struct arch_xstate xstate;
	uint64_t sigmask;
	uint64_t robust_head, robust_len;
	uint64_t rseq, rseq_len, rseq_sig;
};

/* What is known of a twin's thread beside its frame. */
struct twin_thread {
	pid_t tid;  /* as the process itself knows it */
	pid_t host; /* as we do; only in a namespace */
	struct schedule sched;
	int io_priority;
	uint64_t timer_slack;
	cpu_set_t affinity;
	struct self_state self;
	char name[16];
	uint64_t tid_addr;
	struct arch_altstack altstack;
	unsigned altstack_queries;
	struct wait_record wait;
	struct arch_regs regs; /* with which it goes on */
	uint64_t rseq, rseq_len, rseq_sig;
	uint8_t rseq_now[32]; /* in place: what the kernel has written there meanwhile */
	bool stands;          /* in place: it is there already */
	struct partial_call partial;
	uint64_t frame_at;
};

struct twin {
	pid_t pid; /* 0: empty slot */
	int pidfd, fd_dir;
	bool quiet; /* at the checkpoint */
	nsec_t at;
	uint64_t number; /* of the checkpoint */
	unsigned n_threads;
	struct twin_thread *threads; /* [0] is the leader */
	size_t threads_allocated;
	struct arch_regs regs;     /* of the template task, for injections */
	uint64_t code, data;       /* scratch mappings in its memory */
	size_t code_len, data_len; /* data_len: image_len and the in-place area behind it */
	size_t image_len;
	size_t repair_calls, repair_data_size;
	/* data: routine_args, threads, REPAIR_CALLS routine_calls, REPAIR_DATA bytes, the leader's
	 * calls and their data, frames */
	uint64_t threads_at, calls_at, repair_data_at, leader_calls_at;
	struct locked_memory locked;
	uint64_t thread_calls_at, nest_text_at;
	struct nest nest;                   /* where it stands ready; .leader 0: it does not */
	struct rlimit limits[RLIM_NLIMITS]; /* only in a namespace */
	bool limits_known;
	struct arch_regs leader_regs;         /* of its main thread there */
	uint64_t late_calls_at, n_late_calls; /* the leader's at the swap */
	struct excluded_memory excluded;
	bool filtered; /* a seccomp filter: stop once more before it applies */
	bool stepwise; /* no right to choose pids: ns_last_pid */
	struct file_table files;
	struct stream_table streams;
	char lost[TWIN_REASON_MAX];
	int oom_score_adj;
	int oom_fd;                          /* its oom_score_adj */
	bool oom_score_lost, schedules_lost; /* in the rebuilding */
	struct inplace_twin in_place;
};

/* What the new main thread does for the process when all its threads are there. */
#define LEADER_CALLS 128
#define LEADER_DATA 8192
struct leader_calls {
	struct routine_call calls[LEADER_CALLS];
	unsigned n;
	uint8_t data[LEADER_DATA];
	size_t data_len;
	uint64_t data_at; /* in the twin */
	bool full;
};
void leader_call(struct leader_calls *l, long nr, const uint64_t args[6]);
/* The address that a copy of these bytes will have. */
uint64_t leader_data(struct leader_calls *l, const void *data, size_t len);

/* At least; more where the table of descriptors is large. */
#define REPAIR_CALLS 512
#define REPAIR_DATA 8192
#define DEFERRED_MAX 64
#define EVENTS_MAX 64

struct deferred {
	pid_t pid;
	int raw;
};

#define DESCENDANTS_MAX 512
struct descendant {
	pid_t pid;
	uint64_t started; /* a number may be somebody else's later */
};

struct remains {
	pid_t memory; /* the holder of the dead; 0: none */
	bool fresh;   /* taken, and the memory yet to be kept */
	unsigned n;
	struct twin_remains_thread *threads;
	size_t allocated;
};

struct scratch_left {
	uint64_t code, data;
	size_t code_len, data_len;
};

/* ns_last_pid, and where it stood before it was moved, or when it was looked at. */
struct steering {
	int fd;
	pid_t before; /* 0: it was not moved */
	pid_t seen;   /* 0: unknown */
	bool locked;
};

struct twin_engine {
	struct twin_config config;
	pid_t pid; /* the active; 0: none */
	bool traced, executed, ended, group_stopped;
	int end_status;
	pid_t fatal_tid;
	int fatal_signal;
	nsec_t fault_seen;
	int pidfd;
	int status_fd; /* /proc/PID/status */
	int fd_dir;    /* /proc/PID/fd */

	struct thread **threads;
	size_t n_slots;
	unsigned n_threads;

	bool holder_busy; /* it locks memory (locked.c): not to be touched */
	struct nest nest; /* of the active; only while inside */
	bool inside;      /* the active lives in a pid namespace of its own */
	bool executed_inside;
	uint64_t lent;                  /* capabilities */
	struct credentials credentials; /* at the checkpoint under way */
	unsigned numbers_from;          /* of the newest namespace */
	struct pid_list gone;
	pid_t old_inits[OLD_INITS_MAX];

	bool holder_fresh; /* its first stop is yet to be waited for */
	pid_t holder;      /* parked task that shares the active's memory; 0: none */
	struct arch_regs holder_regs;
	struct remains remains;
	struct scratch_left scratch; /* in the active, since the last swap; a length of 0: none */

	struct twin *twins[TWIN_GENERATIONS_MAX + 1]; /* [0] is the newest; one spare */
	unsigned n_twins;
	pid_t dying[32];             /* killed helpers not yet reaped */
	pid_t strays[FOSTER_STRAYS]; /* ended ones that the active itself has to wait for */

	unsigned n_checkpoints; /* of this program */
	struct process_timers timers;
	struct leader_calls leader_calls, thread_calls;
	struct pending_signal pending[PENDING_MAX]; /* of the checkpoint under way */
	unsigned n_pending;
	bool pending_incomplete;
	bool filtered;     /* it has a seccomp filter */
	bool scan_failed;  /* the last look at its mappings */
	bool copy_unknown; /* a copy may have been made whose pid was not learnt */
	bool copying;      /* its main thread has the options of copies */
	unsigned zombie_looks;
	unsigned elsewhere_looks;
	unsigned renamed;      /* checkpoints in a row that were refused for a name */
	unsigned unlike_looks; /* in a row that found a thread unlike the main thread */
	unsigned turn;         /* whose turn it is to be compared */
	nsec_t turned_at;
	pid_t in_vfork;
	struct marked_list left_out, wiped; /* of the checkpoint under way */
	struct excluded_memory excluded;    /* of the checkpoint under way */
	char excluded_text[EXCLUDED_TEXT_MAX];
	struct locked_memory locked;
	uint64_t locked_kb, huge_kb, aio_contexts; /* when the mappings were last scanned */
	const char *unfit_mapping;
	uint64_t syscall_insn; /* in the active's vdso */
	timer_t deadline_timer;
	bool deadline_timer_made, deadline_set, cannot_suspend_seccomp;
	int timer_fd; /* readable when the next deadline of a wait has come */
	nsec_t next_deadline;
	uint32_t marks;
	uint64_t partials;
	struct steering steering;
	/* Looks outside of freezes; files_now and streams_now serve the swap as well. */
	struct file_table files_now;
	struct stream_table streams_seen, streams_now;
	nsec_t streams_seen_at;

	struct deferred deferred[DEFERRED_MAX];
	unsigned n_deferred;
	struct twin_event events[EVENTS_MAX];
	unsigned n_events;
	struct routine_call *repairs; /* as much room as the largest of the twins has */
	size_t n_repairs, repairs_allocated, repairs_max;
	uint8_t *repair_data;
	size_t repair_data_len, repair_data_allocated, repair_data_max;
	bool repairs_full;
	size_t lock_calls_from, lock_calls_to; /* which of them take file locks */
	uint64_t repair_data_at;
	struct inplace *in_place;
	bool in_place_begun; /* by the last try: something has been done to the active */
	bool in_place_last;  /* that was the last swap, and no checkpoint since */
	bool freezing;       /* threads are being stopped for a checkpoint */
	nsec_t fork_took;    /* at the last checkpoint */
	bool had_children;   /* at some checkpoint; then they are listed within the freeze */
	char in_place_failed[TWIN_REASON_MAX];
	struct descendant descendants[DESCENDANTS_MAX]; /* of the swap under way (children.c) */
	unsigned n_descendants;
	bool descendants_unseen; /* it had ended before anybody could look */
	uint8_t *image;          /* built here, then written into the twin */
	size_t image_size;
	char reason[TWIN_REASON_MAX];
};

/* engine.c */
int engine_fail(struct twin_engine *e, int error, const char *fmt, ...) _printf_(3, 4);
void engine_handle(struct twin_engine *e, pid_t pid, int raw);
void engine_defer(struct twin_engine *e, pid_t pid, int raw);
void engine_push_event(struct twin_engine *e, const struct twin_event *ev);
void engine_forget_active(struct twin_engine *e);
void engine_take_deferred(struct twin_engine *e);
void engine_kill_helper(struct twin_engine *e, pid_t pid);
bool engine_helper_ended(struct twin_engine *e, pid_t pid); /* true if it was one */
/* Options of an active task: it is never killed with its tracer. */
#define ACTIVE_OPTIONS (PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD)
_must_check_ int engine_open_proc(struct twin_engine *e);
_must_check_ int engine_find_vdso(struct twin_engine *e, pid_t pid);

/* attach.c */
void engine_keep_news_of_others(struct twin_engine *e);

/* threads.c */
struct thread *thread_find(struct twin_engine *e, pid_t tid);
struct thread *thread_add(struct twin_engine *e, pid_t tid);
void thread_remove(struct twin_engine *e, struct thread *t);
/* It ended, while the process may go on. */
void thread_ended(struct twin_engine *e, struct thread *t);
void threads_clear(struct twin_engine *e);
void threads_sort(struct twin_engine *e); /* by tid; at a checkpoint */
/* Each thread tells its stop and the end of it in its own time: the main thread may go on before
 * another has told that it was stopped. */
bool threads_any_stopped(struct twin_engine *e);
void thread_go_on(struct thread *t, int sig);
_must_check_ int threads_reserve(struct twin_engine *e, size_t n);
#define FOREACH_THREAD(e, t)                                                                       \
	for (size_t t##_i = 0; t##_i < (e)->n_slots; t##_i++)                                      \
		for (struct thread *t = (e)->threads[t##_i]; t && t->used; t = NULL)

/* signals.c */
bool signal_dumps_core(int sig); /* by default */
void signals_handle(struct twin_engine *e, struct thread *t, int sig);
/* All that is pending, into e->pending; the threads stand still. */
void signals_peek(struct twin_engine *e);
/* The same; false: a signal that ends the active, or may, is on its way. */
_must_check_ bool signals_capture(struct twin_engine *e);
void signals_restore(struct twin_engine *e, struct leader_calls *calls);
/* Inside a freeze, after capture_thread(): somebody is still in the handler of a crash. */
bool signals_in_crash_handler(struct twin_engine *e);

/* schedule.c: tasks that somebody waits for are given the keeper's class, so that a busy machine
 * does not make a failover wait; the rest of a task's life it has its own. Where that is not
 * permitted all is as it was, only later; where there is no way back, restore says false. */
void schedule_read(pid_t tid, struct schedule *ret);
void schedule_boost(pid_t tid);
int schedule_get_io(pid_t tid);
void schedule_set_io(pid_t tid, int priority);
bool schedule_restore(pid_t tid, const struct schedule *attr);
/* What is to tear down memory: a gigabyte takes tens of milliseconds, for which a twin that begins
 * to run must not wait, nor anybody for a lock that it holds. */
void schedule_plain(pid_t tid);
/* Both the caller and that task above the caller's own class; to be undone for the caller. */
void schedule_hurry(struct schedule *ret_own, pid_t other);

/* freeze.c */
/* All threads stopped, at whatever stop. */
_must_check_ int engine_stop_all(struct twin_engine *e);
/* What has become of a freeze, before the thaw. */
void engine_note_late(struct twin_engine *e, int error);
/* It was too late for a checkpoint, and does still not come out of the kernel. */
bool thread_is_stuck(const struct twin_engine *e, const struct thread *t);
/* The same of a process that will never go on: a thread that rests (rest.h) is asked to stop, but
 * its stop is not waited for. */
_must_check_ int engine_stop_for_good(struct twin_engine *e);
_must_check_ int engine_freeze(struct twin_engine *e);
void engine_thaw(struct twin_engine *e);
/* waitpid(pid, __WALL) that gives up at the deadline: -ETIMEDOUT, else the pid or -errno. */
pid_t engine_wait(pid_t pid, int *ret_raw);
void engine_deadline_set(struct twin_engine *e, nsec_t in);
void engine_deadline_clear(struct twin_engine *e);

/* inject.c */
struct injection {
	struct twin_engine *e;
	pid_t tid;
	struct arch_regs saved;
	uint64_t saved_mask;
	cpu_set_t saved_affinity;
	bool pinned, restore, unfiltered, stopped_by_user, timed;
	unsigned steps;  /* each is a voluntary switch of the task */
	uint64_t buffer; /* 0, or what was at that address is kept */
	uint8_t kept[32];
	/* Called once, while the task makes the next call; -errno stays in meanwhile_failed. */
	int (*meanwhile)(struct twin_engine *e);
	int meanwhile_failed;
};
_must_check_ int inject_begin(struct twin_engine *e, pid_t tid, const struct arch_regs *regs,
	bool restore, struct injection *ret);
_must_check_ int inject_call(struct injection *in, long nr, const uint64_t args[6], long *ret);
/* The same for a call that writes up to 32 bytes where argument out_arg points. */
_must_check_ int inject_output(
	struct injection *in, long nr, uint64_t args[6], unsigned out_arg, void *out, size_t len);
/* And for one that reads up to 32 bytes from there. */
_must_check_ int inject_input(struct injection *in, long nr, uint64_t args[6], unsigned in_arg,
	const void *data, size_t len);
/* What these two have left in its memory is put back; inject_end() does it as well. */
_must_check_ int inject_clean(struct injection *in);
/* Its next calls on another processor than ours, if it may. */
void inject_elsewhere(struct injection *in);
void inject_end(struct injection *in);
_must_check_ int inject_mask_all(pid_t tid, uint64_t *ret_old);

/* restart.c */
/* Make the interruption of a stopped thread with these registers invisible when it goes on; true
 * if they changed. by_user: it was stopped by a signal, and after that -EINTR is as it should be.
 */
bool restart_mend(
	struct twin_engine *e, struct thread *t, struct arch_regs *r, nsec_t now, bool by_user);
/* The same at a stop of one thread alone. */
void restart_mend_stopped(struct twin_engine *e, struct thread *t, bool by_user);
/* Of a thread mended in the freeze under way: the registers with which another task (or this one,
 * out of its call) makes the interrupted call again. -EBUSY when the call is not known. */
_must_check_ int restart_for_twin(
	const struct thread *t, struct arch_regs *ret, struct wait_record *ret_wait);
/* Write into a twin's frames what has become of its threads' calls since the checkpoint. in_place:
 * a task that has its memory already, or 0. */
_must_check_ int restart_at_swap(struct twin_engine *e, struct twin *w, pid_t in_place);
/* A thread that begins or goes back to the life of a twin's thread: what it then owes and waits
 * for. It is to be let go by thread_go_on() or as that does it. */
void restart_adopt(struct twin_engine *e, struct thread *t, const struct twin_thread *tt);
/* In or in front of the call that was broken last. */
bool restart_is_made_again(const struct thread *t, const struct arch_regs *r);
/* From in it to in front of it; false: it is over. */
bool restart_stand_before(const struct thread *t, struct arch_regs *r);
/* Before a signal with a handler is delivered. */
void restart_before_handler(struct thread *t);
bool restart_is_blocked(const struct arch_regs *r);
const char *restart_unsupported(const struct arch_regs *r); /* NULL: fine */

/* capture.c */
_must_check_ int capture_look(struct twin_engine *e, bool *ret_quiet); /* outside the freeze */
_must_check_ bool capture_same_names(struct twin_engine *e);           /* after it */
_must_check_ int capture_thread(struct twin_engine *e, struct thread *t);
/* What nothing depends on before the copy is made, and so may be read while it is. */
_must_check_ int capture_rest(struct thread *t);
_must_check_ int capture_once(struct twin_engine *e, struct thread *t);

/* alike.c */
/* Outside the freeze. -EAGAIN or -ENOTSUP: a thread differs in what a twin's threads share. */
_must_check_ int alike_look(struct twin_engine *e);
bool alike_must_ask(const struct twin_engine *e, const struct thread *t);
_must_check_ int alike_ask(struct injection *in, struct thread *t); /* inside it */
_must_check_ int alike_check(struct twin_engine *e);
/* A twin's main thread that was made by an agent: is it in all what the active's is? */
_must_check_ int alike_check_twin(
	struct twin_engine *e, pid_t twin, struct injection *in); /* after all were asked */

/* Its rseq registration; true if the registers were changed to abort a sequence. */
bool capture_rseq(struct thread *t);
/* Its system calls may be sent to itself as signals: nothing can be injected then. */
bool capture_dispatched(const struct thread *t);

/* image.c */
_must_check_ int image_prepare(struct twin_engine *e, struct twin *w);
_must_check_ int image_write(pid_t pid, uint64_t at, const void *data, size_t len);
_must_check_ int image_read(pid_t pid, uint64_t at, void *data, size_t len);

/* Unmap what a swap has left; what is gone is forgotten. */
_must_check_ int image_remove_scratch(struct injection *in, struct scratch_left *s);

/* steer.c */
void steer_open(struct steering *s);
void steer_close(struct steering *s);
/* The next clone in this pid namespace gets that number, unless somebody is faster. -EEXIST: in
 * use, and nothing was done; -EPERM: not permitted. */
_must_check_ int steer_begin(struct steering *s, pid_t wanted);
void steer_end(struct steering *s); /* after that clone; harmless where none was */
bool steer_in_use(pid_t pid);
/* Around the birth of a task that will stay: did it get a number that somebody steered to? */
void steer_look(struct steering *s);
bool steer_is_strays(struct steering *s, pid_t born);

/* remains.c */
_must_check_ int remains_reserve(struct twin_engine *e, size_t n_threads);
void remains_begin(struct twin_engine *e);
void remains_take(struct twin_engine *e); /* before the active is killed; all threads stop */
/* The same, where nothing but the memory is left behind, and time counts. */
void remains_glance(struct twin_engine *e);
void remains_read(struct twin_engine *e); /* of those of its threads that stand */
/* The holder of the dead's memory: kept where its remains were taken, else killed. */
void remains_keep(struct twin_engine *e, pid_t holder);
/* The holder that will be kept, of a process without a heir: what it has open (a port, a lock) must
 * not stay in the way of the next one. */
void remains_let_files_go(struct twin_engine *e);
void remains_outlive_core(struct twin_engine *e);
void remains_free(struct twin_engine *e);

/* rebuild.c */
/* The twin under the ids of the dead, all threads standing before their first instruction; on
 * failure nothing of it is left. */
_must_check_ int rebuild_run(struct twin_engine *e, struct twin *w);
/* In place: the main thread stands ready to run the routine, and so do `standing` others; it makes
 * those that are missing. On failure the process is fit for nothing but to be killed. */
_must_check_ int rebuild_missing(struct twin_engine *e, struct twin *w, unsigned standing);
void rebuild_let_go(struct twin_engine *e, struct twin *w);
void rebuild_oom_score(struct twin *w);
/* What is known of a thread of a twin, for the active that it becomes. */
struct thread *rebuild_adopt(struct twin_engine *e, const struct twin_thread *tt, pid_t tid);

/* scan.c: marks, locks and what cannot be copied; -ENOTSUP where a mapping is unfit. */
_must_check_ int scan_at_leisure(struct twin_engine *e, bool *ret_scanned);

/* checkpoint.c */
/* Kill the twin of a generation and close the gap. */
void twin_slot_clear(struct twin_engine *e, unsigned generation);
