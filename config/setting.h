/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The keys of a unit file: one table row each, and the functions that take their values.
 *
 * A row names section and key, the function that takes a value, where in struct unit it goes,
 * its range, and what is allowed there in words. A function takes one assignment; wrong values
 * it reports through assignment_wrong() and leaves the field alone. Functions return 0, also
 * for wrong values, or -ENOMEM.
 */
#include "config/diag.h"
#include "config/words.h"

struct assignment;
typedef int (*setting_fn)(struct assignment *a, void *field);

enum setting_how {
	HOW_PLAIN = 0,
	TIME_FINITE = 1 << 0,           /* infinity is out of range */
	TIME_ZERO_IS_INFINITY = 1 << 1, /* systemd's old way to switch a timeout off */
	TIME_INFINITY_IS_ZERO = 1 << 2, /* where 0 is how "off" is kept */
	LIMIT_IS_SIZE = 1 << 3,
};

struct setting {
	const char *section, *key;
	setting_fn set;
	size_t field;             /* offset in struct unit */
	size_t flag;              /* offset of its bool "..._set"; 0: none */
	int64_t min, max;         /* numbers and time spans (max 0: none) */
	const char *const *words; /* enums: words[0..max) */
	unsigned how;
	const char *allowed;
};

/* One assignment of a file, under way. */
struct assignment {
	const struct setting *setting;
	const char *section; /* as the file has it */
	struct unit *unit;
	struct specifiers specifiers;
	const char *value;
	unsigned line;
	struct diag_list *diags;
	unsigned *n_errors;
};

extern const struct setting settings[];
extern const size_t n_settings;
extern const char *const unit_type_names[], *const unit_restart_names[];
extern const char *const unit_identity_names[];
extern const char *const unit_takeover_names[], *const unit_children_names[];
extern const char *const probe_kind_names[], *const probe_action_names[];

/* The row of a key in a section; section NULL: in any. NULL: there is none. */
const struct setting *setting_find(const char *section, const char *key);
/* "Key=, Other=, ..." of a section as a new string; NULL when out of memory. */
char *setting_keys(const char *section);

/* probe.c: "Probe NAME" is a section of ours. */
bool probe_section(const char *section);
/* One assignment in it: the setting, where its field is, and the probe, made where it is new. 0
 * and *ret NULL: no such key, or key is NULL (the header alone). -EINVAL: the name is none; -E2BIG:
 * too many. */
_must_check_ int probe_setting_find(struct unit *u, const char *section, const char *key,
	unsigned line, const struct setting **ret, void **ret_field);
/* A row of its table by name alone, NULL: none. */
const struct setting *probe_setting_named(const char *key);
char *probe_setting_keys(void);
/* What can be said only when all of the file is known: each finding goes to report(). */
typedef int (*probe_report_fn)(
	void *user, const struct diag_place *at, const char *what, const char *allowed);
_must_check_ int probe_settings_finish(struct unit *u, probe_report_fn report, void *user);

/* Reports that the value is wrong; what is allowed comes from the table. */
_must_check_ _printf_(2, 3) int assignment_wrong(struct assignment *a, const char *what, ...);
/* Reports what is odd but goes. */
_must_check_ _printf_(2, 3) int assignment_warn(struct assignment *a, const char *what, ...);
/* "VALUE" is not what is allowed, with r of a parse function: -ERANGE is another text. */
_must_check_ int assignment_not_parsed(struct assignment *a, int r);

/* Text with specifiers put in: 1 and *ret, or 0 after reporting what is wrong, or -ENOMEM. */
_must_check_ int assignment_expand(struct assignment *a, const char *text, char **ret);
/* The value's words, the same way. */
_must_check_ int assignment_words(struct assignment *a, char ***ret);

/* A unit's name as an id: letters, digits and "-_.:@", no dot at the front, at most 200 bytes. */
bool unit_id_valid(const char *s);
/* "NAME=value" with a name and a value that an environment can hold. */
bool env_assignment_valid(const char *s);

/* set_scalar.c: one value, replaced each time */
int set_bool(struct assignment *a, void *field);
int set_unsigned(struct assignment *a, void *field);
int set_memory_max(struct assignment *a, void *field);
int set_int(struct assignment *a, void *field);
int set_time(struct assignment *a, void *field);
int set_soft_time(struct assignment *a, void *field);
int set_enum(struct assignment *a, void *field);
int set_signal(struct assignment *a, void *field);
int set_cpus(struct assignment *a, void *field);
int set_limit(struct assignment *a, void *field);
int set_type(struct assignment *a, void *field);

/* set_text.c: texts, paths and lists */
int set_nothing(struct assignment *a, void *field);
int set_description(struct assignment *a, void *field);
int set_account(struct assignment *a, void *field);
int set_working_directory(struct assignment *a, void *field);
int set_output(struct assignment *a, void *field);
int set_names(struct assignment *a, void *field);
int set_environment(struct assignment *a, void *field);
int set_environment_file(struct assignment *a, void *field);

/* set_failover.c */
int set_exit_status(struct assignment *a, void *field);
int set_binds_to(struct assignment *a, void *field);
int set_dependency_action(struct assignment *a, void *field);
void dependency_rules_clear(struct failover_settings *f);

/* set_probe.c */
int set_mark(struct assignment *a, void *field);
int set_order(struct assignment *a, void *field);
int set_size(struct assignment *a, void *field);
int set_count(struct assignment *a, void *field);
int set_hertz(struct assignment *a, void *field);
int set_ros_name(struct assignment *a, void *field);
int set_http_url(struct assignment *a, void *field);
int set_address(struct assignment *a, void *field);
int set_bus_name(struct assignment *a, void *field);
int set_bus_address(struct assignment *a, void *field);
bool mark_valid(const char *s);

/* set_twin.c */
int set_exclude_memory(struct assignment *a, void *field);
int set_guard_children(struct assignment *a, void *field);
void memory_exclusions_clear(struct twin_settings *t);

/* set_exec.c */
int set_exec_start(struct assignment *a, void *field);
int set_exec_start_pre(struct assignment *a, void *field);
void exec_command_clear(struct exec_command *c);
