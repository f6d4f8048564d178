/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "config/file.h"
#include "config/ini_reader.h"
#include "config/setting.h"
#include "config/strv.h"

#define SECTIONS_TEXT "[Unit], [Service], [Install], [Twin], [Failover], [Probe NAME]"

static const struct {
	const char *name;
	enum diag_level unknown_key; /* systemd lets its sections grow; ours are known in full */
} sections[] = {
	{"Unit", DIAG_WARNING},
	{"Service", DIAG_WARNING},
	{"Install", DIAG_WARNING},
	{"Twin", DIAG_ERROR},
	{"Failover", DIAG_ERROR},
};

struct loader {
	struct unit *unit;
	const char *file_name; /* the last part of the path */
	struct diag_list *diags;
	unsigned n_errors;
	bool exec_start_seen; /* right or wrong, anywhere: no second error for its absence */
};

static int report(struct loader *l, enum diag_level level, const struct diag_place *where,
	const char *what, const char *allowed)
{
	struct diag_place at = *where;

	at.file = l->unit->path;
	if (level == DIAG_ERROR)
		l->n_errors++;
	return diag_add(l->diags, level, &at, allowed, "%s", what);
}

static int section_index(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(sections); i++)
		if (strcmp(sections[i].name, name) == 0)
			return (int)i;
	return -1;
}

/* A section without a key is a probe as well: one whose Kind= is missing. */
static int probe_header(struct loader *l, const struct diag_place *at)
{
	const struct setting *setting;
	void *field;
	int r = probe_setting_find(l->unit, at->section, NULL, at->line, &setting, &field);

	if (r == -EINVAL)
		return report(l, DIAG_ERROR, at, "the probe has no valid name",
			"[Probe NAME], NAME of at most 32 letters, digits and - _ .");
	if (r == -E2BIG)
		return report(l, DIAG_ERROR, at, "too many probes", "at most 32 a unit");
	return r;
}

static int on_section(void *user, unsigned line, const char *name)
{
	const struct diag_place at = {.line = line, .section = name};

	if (section_index(name) >= 0)
		return 0;
	if (probe_section(name))
		return probe_header(user, &at);
	return report(user, DIAG_ERROR, &at, "unknown section", SECTIONS_TEXT);
}

static int on_broken(void *user, unsigned line, const char *section, const char *key,
	const char *what, const char *allowed)
{
	const struct diag_place at = {.line = line, .section = section, .key = key};
	struct loader *l = user;

	l->exec_start_seen |= key && strcmp(key, "ExecStart") == 0;
	return report(l, DIAG_ERROR, &at, what, allowed);
}

/* A key that its section does not know: in the wrong place, or nowhere known. */
static int unknown_key(struct loader *l, const struct diag_place *at)
{
	int index = section_index(at->section);
	const struct setting *elsewhere = setting_find(NULL, at->key);
	enum diag_level level = index < 0 ? DIAG_ERROR : sections[index].unknown_key;
	_cleanup_free_ char *text = NULL;

	/* A probe shares names with other sections: only what is nowhere else is its own. */
	if (!elsewhere && index >= 0)
		elsewhere = probe_setting_named(at->key);

	if (elsewhere) {
		if (asprintf(&text, "%s= belongs in [%s]", at->key, elsewhere->section) < 0) {
			text = NULL;
			return -ENOMEM;
		}
		return report(l, DIAG_ERROR, at, text, NULL);
	}
	text = index < 0 ? probe_setting_keys() : setting_keys(at->section);
	if (!text)
		return -ENOMEM;
	return report(
		l, level, at, level == DIAG_ERROR ? "unknown key" : "unknown key, ignored", text);
}

static int on_probe(struct loader *l, struct assignment *a, const struct diag_place *at)
{
	void *field = NULL;
	int r = probe_setting_find(l->unit, at->section, at->key, at->line, &a->setting, &field);

	/* What is wrong with the section was reported with its header. */
	if (r == -EINVAL || r == -E2BIG)
		return 0;
	if (r < 0)
		return r;
	return a->setting ? a->setting->set(a, field) : unknown_key(l, at);
}

static int on_assignment(
	void *user, unsigned line, const char *section, const char *key, const char *value)
{
	const struct diag_place at = {.line = line, .section = section, .key = key};
	struct loader *l = user;
	struct assignment a = {
		.section = section,
		.unit = l->unit,
		.specifiers = {.id = l->unit->id, .name = l->file_name},
		.value = value,
		.line = line,
		.diags = l->diags,
		.n_errors = &l->n_errors,
	};

	if (strcmp(key, "ExecStart") == 0)
		l->exec_start_seen = *value;
	if (section && !*section)
		return report(l, DIAG_ERROR, &at, "stands before the first section", SECTIONS_TEXT);
	if (section && probe_section(section))
		return on_probe(l, &a, &at);
	/* One error for an unknown section is enough; it was reported with its header. */
	if (!section || section_index(section) < 0)
		return 0;
	a.setting = setting_find(section, key);
	if (!a.setting)
		return unknown_key(l, &at);
	return a.setting->set(&a, (char *)l->unit + a.setting->field);
}

static int init_lists(struct unit *u)
{
	char ***const lists[] = {&u->after, &u->before, &u->requires, &u->wants, &u->environment,
		&u->wanted_by, &u->binds_to, &u->part_of, &u->on_failure, &u->failover.failsafe,
		&u->failover.notify};

	for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
		*lists[i] = calloc(1, sizeof(char *));
		if (!*lists[i])
			return -ENOMEM;
	}
	return 0;
}

/* A unit with all defaults. */
static struct unit *unit_new(
	const char *path, const char *id, size_t id_len, const char *text, size_t len)
{
	struct unit *u = malloc(sizeof(*u));

	if (!u)
		return NULL;
	*u = (struct unit){
		.id = strndup(id, id_len),
		.path = strdup(path),
		.text = malloc(len + 1),
		.text_len = len,
		.start_limit_interval = 10 * USEC_PER_SEC,
		.start_limit_burst = 5,
		.restart_sec = 100 * USEC_PER_MSEC,
		.restart_max_delay = USEC_INFINITY,
		.memory_max = UINT64_MAX,
		.timeout_start_usec = 90 * USEC_PER_SEC,
		.timeout_stop_usec = 90 * USEC_PER_SEC,
		.kill_signal = SIGTERM,
		.notify_access = NOTIFY_ALL,
		.twin =
			{
				.enabled = true,
				.interval = USEC_PER_SEC,
				.generations = 1,
				.quiet_window = 20 * USEC_PER_MSEC,
			},
		.failover = {.stable = USEC_PER_SEC, .post_mortem = true},
	};
	if (!u->id || !u->path || !u->text || init_lists(u) < 0) {
		unit_free(u);
		return NULL;
	}
	memcpy(u->text, text, len);
	u->text[len] = 0;
	return u;
}

static int report_probe(
	void *user, const struct diag_place *at, const char *what, const char *allowed)
{
	return report(user, DIAG_ERROR, at, what, allowed);
}

/* What can be said only when all of the file is known. */
static int finish(struct loader *l)
{
	struct unit *u = l->unit;
	const struct diag_place file = {0}, service = {.section = "Service", .key = "ExecStart"};

	if (!u->description) {
		u->description = strdup(u->id);
		if (!u->description)
			return -ENOMEM;
	}
	if (!unit_id_valid(u->id) && report(l, DIAG_ERROR, &file, "the file's name is no unit name",
					     "at most 63 letters, digits and - _ . : @ before "
					     "\".ini\", no dot in front") < 0)
		return -ENOMEM;
	if (!u->exec_start.argv && (!l->exec_start_seen || !l->n_errors) &&
		report(l, DIAG_ERROR, &service, "is missing",
			setting_find("Service", "ExecStart")->allowed) < 0)
		return -ENOMEM;
	if (u->watchdog_soft_usec && u->watchdog_soft_usec >= u->watchdog_usec) {
		const struct diag_place soft = {.line = u->watchdog_soft_line,
			.section = "Service",
			.key = "WatchdogSoftSec"};

		if (report(l, DIAG_ERROR, &soft, "the soft stage is not before WatchdogSec=",
			    setting_find("Service", "WatchdogSoftSec")->allowed) < 0)
			return -ENOMEM;
	}
	if (u->twin.guard_children && u->twin.identity == IDENTITY_NAMESPACE) {
		const struct diag_place guard = {.line = u->twin.guard_children_line,
			.section = "Twin",
			.key = "GuardChildren"};

		if (report(l, DIAG_ERROR, &guard, "cannot be together with Identity=namespace",
			    setting_find("Twin", "GuardChildren")->allowed) < 0)
			return -ENOMEM;
	}
	if (probe_settings_finish(u, report_probe, l) < 0)
		return -ENOMEM;
	return l->n_errors ? -EBADMSG : 0;
}

int unit_load_text(const char *path, const char *text, size_t len, struct unit **ret_unit,
	struct diag_list *diags)
{
	static const struct ini_events events = {
		.section = on_section,
		.assignment = on_assignment,
		.broken = on_broken,
	};
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = strlen(name), id_len = n >= 4 && strcmp(name + n - 4, ".ini") == 0 ? n - 4 : n;
	_cleanup_(unit_freep) struct unit *u = NULL;
	struct loader l = {.file_name = name, .diags = diags};
	int r;

	if (len > UNIT_FILE_MAX) {
		r = diag_add(diags, DIAG_ERROR, &(struct diag_place){.file = path},
			"at most 256 KiB", "cannot read: too large");
		return r < 0 ? r : -EFBIG;
	}
	u = unit_new(path, name, id_len, text, len);
	if (!u)
		return -ENOMEM;
	l.unit = u;
	r = ini_read(text, len, &events, &l);
	if (r == 0)
		r = finish(&l);
	if (r < 0)
		return r;
	*ret_unit = STEAL_PTR(u);
	return 0;
}

int unit_load(const char *path, struct unit **ret_unit, struct diag_list *diags)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = file_read(path, UNIT_FILE_MAX, &text, &len);

	if (r < 0) {
		const struct diag_place at = {.file = path};
		int q = diag_add(diags, DIAG_ERROR, &at, r == -EFBIG ? "at most 256 KiB" : NULL,
			"cannot read: %s", file_strerror(r));

		return q < 0 ? q : r;
	}
	return unit_load_text(path, text, len, ret_unit, diags);
}

void unit_free(struct unit *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < u->n_exec_start_pre; i++)
		exec_command_clear(&u->exec_start_pre[i]);
	for (size_t i = 0; i < u->n_environment_files; i++)
		free(u->environment_files[i].path);
	for (size_t i = 0; i < u->n_probes; i++)
		probe_settings_clear(&u->probes[i]);
	free(u->probes);
	exec_command_clear(&u->exec_start);
	exec_command_clear(&u->exec_reload);
	dependency_rules_clear(&u->failover);
	memory_exclusions_clear(&u->twin);
	strv_free(u->failover.failsafe);
	strv_free(u->failover.notify);
	strv_free(u->binds_to);
	strv_free(u->part_of);
	strv_free(u->on_failure);
	strv_free(u->after);
	strv_free(u->before);
	strv_free(u->requires);
	strv_free(u->wants);
	strv_free(u->environment);
	strv_free(u->wanted_by);
	free(u->exec_start_pre);
	free(u->environment_files);
	free(u->id);
	free(u->path);
	free(u->text);
	free(u->description);
	free(u->user);
	free(u->group);
	free(u->working_directory);
	free(u->standard_output_path);
	free(u);
}
