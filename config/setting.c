/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <string.h>

#include "config/setting.h"

#define FIELD(f) .field = offsetof(struct unit, f)
#define FLAG(f) .flag = offsetof(struct unit, f)

#define TIME_TEXT "a time span such as 250ms, 2s or 1min 30s"
#define LIMIT_TEXT "a value or SOFT:HARD, SOFT not above HARD"
#define NAMES_TEXT "unit names of at most 63 letters, digits and - _ . : @, parted by blanks"
#define COMMAND_TEXT "an absolute path and arguments, with - in front to ignore failure"
#define BOOL_TEXT "yes or no (true, on, 1; false, off, 0)"
#define ACCOUNT_TEXT "a name of letters, digits and - _ . or a number"

const char *const unit_type_names[_UNIT_TYPE_MAX] = {
	[UNIT_SIMPLE] = "simple",
	[UNIT_NOTIFY] = "notify",
};

const char *const unit_takeover_names[_TAKEOVER_MAX] = {
	[TAKEOVER_AUTO] = "auto",
	[TAKEOVER_RECLAIM] = "reclaim",
	[TAKEOVER_IN_PLACE] = "in-place",
};
const char *const unit_identity_names[_IDENTITY_MAX] = {
	[IDENTITY_EXACT] = "exact",
	[IDENTITY_NAMESPACE] = "namespace",
};
const char *const unit_children_names[_CHILDREN_MAX] = {
	[CHILDREN_KEEP] = "keep",
	[CHILDREN_KILL] = "kill",
	[CHILDREN_REFUSE] = "refuse",
};
const char *const unit_restart_names[_RESTART_MAX] = {
	[RESTART_NO] = "no",
	[RESTART_ON_SUCCESS] = "on-success",
	[RESTART_ON_FAILURE] = "on-failure",
	[RESTART_ON_ABNORMAL] = "on-abnormal",
	[RESTART_ON_ABORT] = "on-abort",
	[RESTART_ON_WATCHDOG] = "on-watchdog",
	[RESTART_ALWAYS] = "always",
};

static const char *const notify_access_names[_NOTIFY_MAX] = {
	[NOTIFY_NONE] = "none",
	[NOTIFY_MAIN] = "main",
	[NOTIFY_ALL] = "all",
};

static const char *const output_names[_OUTPUT_MAX] = {
	[OUTPUT_INHERIT] = "inherit",
	[OUTPUT_NULL] = "null",
	[OUTPUT_JOURNAL] = "journal",
	[OUTPUT_FILE] = "file",
	[OUTPUT_APPEND] = "append",
};

static const char *const dont_fork_names[_DONT_FORK_MAX] = {
	[DONT_FORK_NO] = "no",
	[DONT_FORK_YES] = "yes",
	[DONT_FORK_ZERO] = "zero",
	[DONT_FORK_SHARE] = "share",
};

static const char *const thread_exit_names[_THREAD_EXIT_MAX] = {
	[THREAD_EXIT_IGNORE] = "ignore",
	[THREAD_EXIT_LOG] = "log",
	[THREAD_EXIT_FAILOVER] = "failover",
};

/* clang-format off */
const struct setting settings[] = {
	{ "Unit", "Description", set_description, FIELD(description), .allowed = "any text" },
	{ "Unit", "Documentation", set_nothing, .allowed = "any text" },
	{ "Unit", "After", set_names, FIELD(after), .allowed = NAMES_TEXT },
	{ "Unit", "Before", set_names, FIELD(before), .allowed = NAMES_TEXT },
	{ "Unit", "Requires", set_names, FIELD(requires), .allowed = NAMES_TEXT },
	{ "Unit", "Wants", set_names, FIELD(wants), .allowed = NAMES_TEXT },
	{ "Unit", "BindsTo", set_binds_to, FIELD(binds_to), .allowed = NAMES_TEXT },
	{ "Unit", "PartOf", set_names, FIELD(part_of), .allowed = NAMES_TEXT },
	{ "Unit", "OnFailure", set_names, FIELD(on_failure), .allowed = NAMES_TEXT },
	{ "Unit", "StartLimitIntervalSec", set_time, FIELD(start_limit_interval),
	  .allowed = TIME_TEXT ", 0 for no limit, or infinity" },
	{ "Unit", "StartLimitBurst", set_unsigned, FIELD(start_limit_burst), .max = INT_MAX,
	  .allowed = "a whole number, 0 for no limit" },

	{ "Service", "Type", set_type, FIELD(type), .words = unit_type_names,
	  .max = _UNIT_TYPE_MAX, .allowed = "simple, notify" },
	{ "Service", "ExecStart", set_exec_start, FIELD(exec_start), .allowed = COMMAND_TEXT },
	{ "Service", "ExecStartPre", set_exec_start_pre, FIELD(exec_start_pre),
	  .allowed = COMMAND_TEXT },
	{ "Service", "Environment", set_environment, FIELD(environment),
	  .allowed = "NAME=value, parted by blanks, quoted where a value has blanks" },
	{ "Service", "EnvironmentFile", set_environment_file, FIELD(environment_files),
	  .allowed = "an absolute path without wildcards, with - in front where it may be missing" },
	{ "Service", "User", set_account, FIELD(user), .allowed = ACCOUNT_TEXT },
	{ "Service", "Group", set_account, FIELD(group), .allowed = ACCOUNT_TEXT },
	{ "Service", "WorkingDirectory", set_working_directory, FIELD(working_directory),
	  .allowed = "an absolute path" },
	{ "Service", "Restart", set_enum, FIELD(restart), .words = unit_restart_names,
	  .max = _RESTART_MAX,
	  .allowed = "no, on-success, on-failure, on-abnormal, on-abort, on-watchdog, always" },
	{ "Service", "RestartSec", set_time, FIELD(restart_sec), .how = TIME_FINITE,
	  .allowed = TIME_TEXT ", not infinity" },
	{ "Service", "RestartSteps", set_unsigned, FIELD(restart_steps), .max = 1000,
	  .allowed = "a whole number from 0 to 1000" },
	{ "Service", "RestartMaxDelaySec", set_time, FIELD(restart_max_delay),
	  .allowed = TIME_TEXT ", or infinity" },
	{ "Service", "SuccessExitStatus", set_exit_status, FIELD(success_exit_status),
	  .allowed = "exit codes from 0 to 255, their names (sysexits.h) such as TEMPFAIL, and "
		     "signals such as SIGUSR1" },
	{ "Service", "ExecReload", set_exec_start, FIELD(exec_reload), .allowed = COMMAND_TEXT },
	{ "Service", "TimeoutStartSec", set_time, FIELD(timeout_start_usec),
	  .how = TIME_ZERO_IS_INFINITY, .allowed = TIME_TEXT ", 0 or infinity for no timeout" },
	{ "Service", "TimeoutStopSec", set_time, FIELD(timeout_stop_usec),
	  .how = TIME_ZERO_IS_INFINITY, .allowed = TIME_TEXT ", 0 or infinity for no timeout" },
	{ "Service", "WatchdogSec", set_time, FIELD(watchdog_usec),
	  .how = TIME_INFINITY_IS_ZERO, .allowed = TIME_TEXT ", 0 or infinity for no watchdog" },
	{ "Service", "WatchdogSoftSec", set_soft_time, FIELD(watchdog_soft_usec),
	  .how = TIME_INFINITY_IS_ZERO, .allowed = TIME_TEXT ", below WatchdogSec=, 0 for none" },
	{ "Service", "NotifyAccess", set_enum, FIELD(notify_access), .words = notify_access_names,
	  .max = _NOTIFY_MAX, .allowed = "none, main, all" },
	{ "Service", "KillSignal", set_signal, FIELD(kill_signal),
	  .allowed = "a signal such as SIGINT, INT, 2 or SIGRTMIN+3" },
	{ "Service", "StandardOutput", set_output, FIELD(standard_output), .words = output_names,
	  .max = _OUTPUT_MAX, .allowed = "inherit, null, journal, file:PATH, append:PATH" },
	{ "Service", "Nice", set_int, FIELD(nice), FLAG(nice_set), .min = -20, .max = 19,
	  .allowed = "a whole number from -20 to 19" },
	{ "Service", "CPUAffinity", set_cpus, FIELD(cpu_affinity), FLAG(cpu_affinity_set),
	  .allowed = "CPU numbers and ranges below 1024, such as 0-1,3" },
	{ "Service", "LimitNOFILE", set_limit, FIELD(limit_nofile),
	  .allowed = LIMIT_TEXT "; each a whole number or infinity" },
	{ "Service", "LimitCORE", set_limit, FIELD(limit_core), .how = LIMIT_IS_SIZE,
	  .allowed = LIMIT_TEXT "; each a size such as 64M, or infinity" },
	{ "Service", "OOMScoreAdjust", set_int, FIELD(oom_score_adjust),
	  FLAG(oom_score_adjust_set), .min = -1000, .max = 1000,
	  .allowed = "a whole number from -1000 to 1000" },
	{ "Service", "MemoryMax", set_memory_max, FIELD(memory_max),
	  .allowed = "a size such as 64M, or infinity" },

	{ "Install", "WantedBy", set_names, FIELD(wanted_by), .allowed = NAMES_TEXT },

	{ "Twin", "Enabled", set_bool, FIELD(twin.enabled), .allowed = BOOL_TEXT },
	{ "Twin", "Interval", set_time, FIELD(twin.interval), .min = 5 * USEC_PER_MSEC,
	  .how = TIME_FINITE, .allowed = TIME_TEXT ", at least 5ms, not infinity" },
	{ "Twin", "Generations", set_unsigned, FIELD(twin.generations), .min = 1, .max = 8,
	  .allowed = "a whole number from 1 to 8" },
	{ "Twin", "QuietWindow", set_time, FIELD(twin.quiet_window), .how = TIME_FINITE,
	  .allowed = TIME_TEXT ", not infinity" },
	{ "Twin", "ExcludeMemory", set_exclude_memory, FIELD(twin),
	  .allowed = "names of mappings as /proc/PID/maps has them, with wildcards, such as "
		     "/memfd:cache*, [anon:frames]:zero or /dev/shm/map:share" },
	{ "Twin", "HonourDontFork", set_enum, FIELD(twin.dont_fork), .words = dont_fork_names,
	  .max = _DONT_FORK_MAX, .allowed = "no, yes, zero, share" },
	{ "Twin", "Takeover", set_enum, FIELD(twin.takeover), .words = unit_takeover_names,
	  .max = _TAKEOVER_MAX, .allowed = "auto, reclaim, in-place" },
	{ "Twin", "Children", set_enum, FIELD(twin.children), .words = unit_children_names,
	  .max = _CHILDREN_MAX, .allowed = "keep, kill, refuse" },
	{ "Twin", "GuardChildren", set_guard_children, FIELD(twin.guard_children),
	  .allowed = BOOL_TEXT ", yes only with Identity=exact" },
	{ "Twin", "Identity", set_enum, FIELD(twin.identity), .words = unit_identity_names,
	  .max = _IDENTITY_MAX, .allowed = "exact, namespace" },

	{ "Failover", "StableSec", set_time, FIELD(failover.stable), .how = TIME_FINITE,
	  .allowed = TIME_TEXT ", not infinity" },
	{ "Failover", "FailsafeUnit", set_names, FIELD(failover.failsafe), .allowed = NAMES_TEXT },
	{ "Failover", "Notify", set_names, FIELD(failover.notify), .allowed = NAMES_TEXT },
	{ "Failover", "OnDependencyFailover", set_dependency_action, FIELD(failover),
	  .allowed = "none, signal:SIGNAL, reload, restart, checkpoint or stop; for one node "
		     "alone as NODE=restart" },
	{ "Failover", "OnThreadExit", set_enum, FIELD(failover.on_thread_exit),
	  .words = thread_exit_names, .max = _THREAD_EXIT_MAX, .allowed = "ignore, log, failover" },
	{ "Failover", "PostMortem", set_bool, FIELD(failover.post_mortem), .allowed = BOOL_TEXT },
	{ "Failover", "CoreDump", set_bool, FIELD(failover.core_dump), .allowed = BOOL_TEXT },
	{ "Failover", "EventFD", set_bool, FIELD(failover.event_fd), .allowed = BOOL_TEXT },
};
/* clang-format on */
const size_t n_settings = ELEMENTSOF(settings);

const struct setting *setting_find(const char *section, const char *key)
{
	for (size_t i = 0; i < n_settings; i++)
		if ((!section || strcmp(settings[i].section, section) == 0) &&
			strcmp(settings[i].key, key) == 0)
			return &settings[i];
	return NULL;
}

char *setting_keys(const char *section)
{
	char *out = NULL;
	const char *comma = "";
	size_t size;
	FILE *f = open_memstream(&out, &size);

	if (!f)
		return NULL;
	for (size_t i = 0; i < n_settings; i++) {
		if (strcmp(settings[i].section, section) != 0)
			continue;
		fprintf(f, "%s%s=", comma, settings[i].key);
		comma = ", ";
	}
	if (fclose(f) != 0) {
		free(out);
		return NULL;
	}
	return out;
}

const char *unit_type_to_string(enum unit_type t)
{
	return (unsigned)t < _UNIT_TYPE_MAX ? unit_type_names[t] : "?";
}

const char *unit_restart_to_string(enum unit_restart r)
{
	return (unsigned)r < _RESTART_MAX ? unit_restart_names[r] : "?";
}

const char *unit_notify_access_to_string(enum unit_notify_access a)
{
	return (unsigned)a < _NOTIFY_MAX ? notify_access_names[a] : "?";
}

const char *unit_output_to_string(enum unit_output o)
{
	return (unsigned)o < _OUTPUT_MAX ? output_names[o] : "?";
}
