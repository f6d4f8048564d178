/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A unit file as a plain struct. One unit describes one node.
 *
 * Shape: INI, systemd's vocabulary where it means the same ([Unit], [Service], [Install]), our
 * own in [Twin] and [Probe NAME]. A unit's id is its file name without ".ini". Times are usec_t,
 * USEC_INFINITY for "infinity". Lists are NULL-terminated arrays of strings and never NULL
 * themselves. Errors: negative errno, and one struct diag per finding (file, line, key, what,
 * allowed). Unknown keys in our sections are errors, in systemd's sections warnings. A known key in
 * the wrong section is an error. A file of more than UNIT_FILE_MAX bytes is refused.
 *
 * Repeating a list key adds to the list, repeating another one replaces the value. An empty
 * value resets lists, texts, Nice=, CPUAffinity=, OOMScoreAdjust= and Limit...=, and is an error
 * for the rest. Names in After=, Before=, Requires=, Wants= and WantedBy= are ids; ".ini" at
 * their end is dropped, and each name is kept once. Documentation= is accepted and not kept.
 *
 * Commands and Environment= are split into words as systemd does (config/words.h), but "$" is
 * ordinary text, ";" an ordinary argument, and of the prefixes only "-" is known.
 * Specifiers: %i and %N are the id, %n the unit's file name ("id.ini"), %% a percent sign. They
 * work in commands, Environment=, EnvironmentFile=, WorkingDirectory=, StandardOutput=, User=,
 * Group= and the lists of names, where any other "%" is an error, and in Description=, where it
 * is text.
 *
 * Ownership: everything inside a struct unit belongs to it; unit_free() releases all.
 * A loaded unit is immutable. This module knows no supervisor header, never logs and
 * never looks up a user: User= and Group= stay text.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <sys/resource.h>

#include "config/clock.h"
#include "config/macro.h"
#include "config/probe.h"

#define UNIT_FILE_MAX (256u * 1024)
#define UNIT_ID_MAX 63      /* an id becomes part of a socket path (108 bytes in all) */
#define UNIT_NAMES_MAX 1024 /* names in one After=, Before=, Requires=, Wants=, WantedBy= */

enum unit_type { UNIT_SIMPLE, UNIT_NOTIFY, _UNIT_TYPE_MAX };
enum unit_restart {
	RESTART_NO,
	RESTART_ON_SUCCESS,
	RESTART_ON_FAILURE,
	RESTART_ON_ABNORMAL,
	RESTART_ON_ABORT,
	RESTART_ON_WATCHDOG,
	RESTART_ALWAYS,
	_RESTART_MAX
};
/* Who may speak for the node by sd_notify(3). */
enum unit_notify_access {
	NOTIFY_NONE,
	NOTIFY_MAIN, /* the active, whichever twin that now is */
	NOTIFY_ALL,  /* any process of the node */
	_NOTIFY_MAX
};
enum unit_output {
	OUTPUT_INHERIT,
	OUTPUT_NULL,
	OUTPUT_JOURNAL,
	OUTPUT_FILE,
	OUTPUT_APPEND,
	_OUTPUT_MAX
};

struct unit;

struct env_file {
	char *path;
	bool optional; /* the "-" prefix: a missing file is no error */
	unsigned line;
};

struct limit_setting {
	bool set;
	rlim_t soft, hard;
};

/* SuccessExitStatus=: beside 0 and the four clean signals. */
struct exit_status_set {
	uint64_t codes[4]; /* bit per code, 0 to 255 */
	uint64_t signals;  /* bit N - 1: signal N */
};
static inline bool exit_status_has_code(const struct exit_status_set *s, int code)
{
	return code >= 0 && code < 256 && (s->codes[code / 64] >> (code % 64) & 1);
}
static inline bool exit_status_has_signal(const struct exit_status_set *s, int sig)
{
	return sig > 0 && sig <= 64 && (s->signals >> (sig - 1) & 1);
}

/* What a node wants done to itself when one that it depends on was failed over. */
enum dependency_action {
	DEPENDENCY_NONE,
	DEPENDENCY_SIGNAL,
	DEPENDENCY_RELOAD,
	DEPENDENCY_RESTART,
	DEPENDENCY_CHECKPOINT,
	DEPENDENCY_STOP,
	_DEPENDENCY_MAX
};
const char *dependency_action_to_string(enum dependency_action a);
struct dependency_rule {
	char *node; /* NULL: whichever */
	enum dependency_action action;
	int signal;
};
/* What a thread of the node that ended by itself, while the others go on, means. */
enum on_thread_exit { THREAD_EXIT_IGNORE, THREAD_EXIT_LOG, THREAD_EXIT_FAILOVER, _THREAD_EXIT_MAX };
struct failover_settings {
	usec_t stable;   /* StableSec=, default 1s: a failure sooner after a swap is the same one */
	char **failsafe; /* FailsafeUnit=: started when the node has failed for good */
	char **notify;   /* Notify=: nodes that are dependents though they name this one nowhere */
	struct dependency_rule *rules; /* OnDependencyFailover= */
	size_t n_rules;
	enum on_thread_exit on_thread_exit; /* OnThreadExit=, default ignore */
	bool event_fd;                      /* EventFD=: $TWINIT_EVENT_FD */
	bool post_mortem;                   /* PostMortem=, default yes: back traces of the dead */
	bool core_dump;                     /* CoreDump=: and a core file of them */
};
/* The rule for failovers of node; never NULL. */
const struct dependency_rule *unit_dependency_rule(const struct unit *u, const char *node);

enum takeover { TAKEOVER_AUTO, TAKEOVER_RECLAIM, TAKEOVER_IN_PLACE, _TAKEOVER_MAX };
enum children_policy { CHILDREN_KEEP, CHILDREN_KILL, CHILDREN_REFUSE, _CHILDREN_MAX };

/* ExcludeMemory=: memory that twins are made without. */
struct memory_exclusion {
	char *pattern; /* mapping_pattern.h */
	bool share;    /* its contents are fetched at the swap; else it is zeros */
};
/* HonourDontFork=: what becomes of memory that the program marked MADV_DONTFORK. */
enum dont_fork { DONT_FORK_NO, DONT_FORK_YES, DONT_FORK_ZERO, DONT_FORK_SHARE, _DONT_FORK_MAX };
enum twin_identity_setting { IDENTITY_EXACT, IDENTITY_NAMESPACE, _IDENTITY_MAX };

struct twin_settings {
	bool enabled;           /* Enabled=, default yes */
	usec_t interval;        /* Interval=, default 1s, at least 5ms, finite */
	unsigned generations;   /* Generations=, 1 to 8, default 1 */
	enum takeover takeover; /* Takeover=, default auto */
	/* Identity=, default exact: the same pid for everybody; namespace: only for the node. */
	enum twin_identity_setting identity;
	/* Children=, default keep: what becomes of child processes where the node itself had to
	 * end, so that the twin is no parent of theirs any more. */
	enum children_policy children;
	/* GuardChildren=, default no: long-lived child processes have twins of their own. */
	bool guard_children;
	unsigned guard_children_line;
	struct memory_exclusion *exclusions; /* ExcludeMemory= */
	size_t n_exclusions;
	enum dont_fork
		dont_fork;   /* HonourDontFork=, default no: copied like all else; yes is zero */
	usec_t quiet_window; /* QuietWindow=, how long to look for a quiet moment, default 20ms */
};

struct unit {
	char *id;
	char *path; /* as given to unit_load() */
	char *text; /* the file's bytes as read: handed to the keeper, which parses the same */
	size_t text_len;

	/* [Unit] */
	char *description; /* never NULL: the id if the file names none */
	char **after, **before, **requires, **wants;
	char **binds_to, **part_of; /* BindsTo= counts as Requires=, too, and is in both lists */
	char **on_failure;
	usec_t start_limit_interval; /* default 10s; 0: no limit; may be infinity */
	unsigned start_limit_burst;  /* default 5; 0: no limit */

	/* [Service] */
	enum unit_type type;
	struct exec_command exec_start;
	struct exec_command *exec_start_pre;
	size_t n_exec_start_pre;
	char **environment; /* "NAME=value" */
	struct env_file *environment_files;
	size_t n_environment_files;
	char *user, *group, *working_directory; /* NULL: not set */
	unsigned working_directory_line;
	enum unit_restart restart;
	usec_t restart_sec;       /* default 100ms, finite */
	unsigned restart_steps;   /* from RestartSec= to RestartMaxDelaySec=; 0: no back-off */
	usec_t restart_max_delay; /* infinity: no back-off */
	struct exit_status_set success_exit_status;
	struct exec_command exec_reload; /* argv NULL: none */
	usec_t timeout_start_usec; /* default 90s; "0" in the file is infinity, as in systemd */
	usec_t timeout_stop_usec;  /* the same */
	usec_t watchdog_usec;      /* default 0: off; "infinity" in the file is off too */
	usec_t watchdog_soft_usec; /* below it; default 0: no soft stage */
	unsigned watchdog_soft_line;
	enum unit_notify_access notify_access; /* default all */
	int kill_signal;                       /* default SIGTERM */
	enum unit_output standard_output;
	char *standard_output_path; /* OUTPUT_FILE, OUTPUT_APPEND */
	bool nice_set;
	int nice;
	bool cpu_affinity_set;
	cpu_set_t cpu_affinity;
	struct limit_setting limit_nofile, limit_core;
	bool oom_score_adjust_set;
	int oom_score_adjust;
	uint64_t memory_max; /* MemoryMax=; UINT64_MAX: no limit, the default */

	/* [Install] */
	char **wanted_by;

	/* [Twin] */
	struct twin_settings twin;

	/* [Failover] */
	struct failover_settings failover;

	/* [Probe NAME], in the order in which they are first named */
	struct probe_settings *probes;
	size_t n_probes;
};

enum diag_level { DIAG_WARNING, DIAG_ERROR };

/* One finding about a unit file. line 0: the file as a whole. All strings are owned. */
struct diag {
	enum diag_level level;
	char *file;
	unsigned line;
	char *section; /* may be NULL */
	char *key;     /* may be NULL */
	char *what;    /* what is wrong */
	char *allowed; /* what is allowed there; may be NULL */
};
struct diag_list {
	struct diag *items;
	size_t n, allocated;
};

/* clang-format off */
#define DIAG_LIST_INIT { 0 }
/* clang-format on */
void diag_list_clear(struct diag_list *l);
bool diag_list_has_errors(const struct diag_list *l);
/* "FILE:LINE: [Section] Key=: what; allowed: ..." in a malloc'd string; NULL when out of memory. */
char *diag_format(const struct diag *d);

/*
 * Read and check one unit file. 0 and *ret_unit on success (warnings may have been added to
 * diags); -EBADMSG where the text is wrong (diags has every error found, not just the first);
 * other negative errno where the file cannot be read (a diag says so too). *ret_unit is
 * untouched on failure.
 */
_must_check_ int unit_load(const char *path, struct unit **ret_unit, struct diag_list *diags);
/* The same from bytes in memory; path only names it and gives the id. */
_must_check_ int unit_load_text(const char *path, const char *text, size_t len,
	struct unit **ret_unit, struct diag_list *diags);
/*
 * What only this machine can tell: ExecStart= exists and is executable, WorkingDirectory=
 * exists, non-optional EnvironmentFile= is readable. Adds diags; touches nothing.
 */
void unit_check_host(const struct unit *u, struct diag_list *diags);
void unit_free(struct unit *u);
static inline void unit_freep(struct unit **u)
{
	if (*u)
		unit_free(*u);
}
/*
 * Environment= and the files of EnvironmentFile= in order, later ones winning, as a new
 * NULL-terminated array with each name once; -errno and *ret_path (borrowed) where a file cannot
 * be read, -EBADMSG where its bytes are no text. Files are read anew at each call, their format
 * is systemd's, and lines that assign nothing are skipped (unit_check_host() names them).
 */
_must_check_ int unit_environment(const struct unit *u, char ***ret_env, const char **ret_path);
void strv_free(char **l);

const char *unit_type_to_string(enum unit_type t);
const char *unit_restart_to_string(enum unit_restart r);
const char *unit_notify_access_to_string(enum unit_notify_access a);
const char *unit_output_to_string(enum unit_output o);
