/* SPDX-License-Identifier: Apache-2.0 */
/* What ends well, and what follows from a failover elsewhere. */
#include <errno.h>
#include <string.h>
#include <sysexits.h>

#include "config/parse.h"
#include "config/setting.h"
#include "config/strv.h"

/* systemd.exec(5)'s names for sysexits.h. */
static const struct {
	const char *name;
	int code;
} exit_names[] = {
	{"SUCCESS", 0},
	{"FAILURE", 1},
	{"USAGE", EX_USAGE},
	{"DATAERR", EX_DATAERR},
	{"NOINPUT", EX_NOINPUT},
	{"NOUSER", EX_NOUSER},
	{"NOHOST", EX_NOHOST},
	{"UNAVAILABLE", EX_UNAVAILABLE},
	{"SOFTWARE", EX_SOFTWARE},
	{"OSERR", EX_OSERR},
	{"OSFILE", EX_OSFILE},
	{"CANTCREAT", EX_CANTCREAT},
	{"IOERR", EX_IOERR},
	{"TEMPFAIL", EX_TEMPFAIL},
	{"PROTOCOL", EX_PROTOCOL},
	{"NOPERM", EX_NOPERM},
	{"CONFIG", EX_CONFIG},
};

static bool add_exit_status(struct exit_status_set *set, const char *word)
{
	uint64_t code;
	int sig;

	if (parse_u64(word, &code) == 0) {
		if (code > 255)
			return false;
		set->codes[code / 64] |= UINT64_C(1) << (code % 64);
		return true;
	}
	for (size_t i = 0; i < ELEMENTSOF(exit_names); i++)
		if (strcmp(exit_names[i].name, word) == 0) {
			set->codes[exit_names[i].code / 64] |= UINT64_C(1)
							       << (exit_names[i].code % 64);
			return true;
		}
	if (parse_signal(word, &sig) < 0 || sig < 1 || sig > 64)
		return false;
	set->signals |= UINT64_C(1) << (sig - 1);
	return true;
}

int set_exit_status(struct assignment *a, void *field)
{
	struct exit_status_set *set = field, more = *set;
	char **words;
	int r;

	if (!*a->value) {
		*set = (struct exit_status_set){0};
		return 0;
	}
	r = assignment_words(a, &words);
	if (r <= 0)
		return r;
	r = 0;
	for (char **w = words; *w && r == 0; w++)
		if (!add_exit_status(&more, *w)) {
			r = assignment_wrong(
				a, "\"%s\" is no exit status and no signal", excerpt_of(*w).text);
			if (r == 0)
				r = 1;
		}
	strv_free(words);
	if (r == 0)
		*set = more;
	return r < 0 ? r : 0;
}

/* Whoever is bound to a node also requires it. */
int set_binds_to(struct assignment *a, void *field)
{
	struct assignment required = *a;
	unsigned n_errors = *a->n_errors;
	int r = set_names(a, field);

	/* An empty BindsTo= leaves what Requires= has said alone. */
	if (r < 0 || *a->n_errors != n_errors || !*a->value)
		return r;
	return set_names(&required, &a->unit->requires);
}

static const char *const action_names[_DEPENDENCY_MAX] = {
	[DEPENDENCY_NONE] = "none",
	[DEPENDENCY_SIGNAL] = "signal",
	[DEPENDENCY_RELOAD] = "reload",
	[DEPENDENCY_RESTART] = "restart",
	[DEPENDENCY_CHECKPOINT] = "checkpoint",
	[DEPENDENCY_STOP] = "stop",
};

const char *dependency_action_to_string(enum dependency_action a)
{
	return (unsigned)a < _DEPENDENCY_MAX ? action_names[a] : NULL;
}

void dependency_rules_clear(struct failover_settings *f)
{
	while (f->n_rules > 0)
		free(f->rules[--f->n_rules].node);
	free(f->rules);
	f->rules = NULL;
}

/* "restart", "signal:SIGHUP"; false where it is neither. */
static bool parse_action(const char *text, struct dependency_rule *ret)
{
	static const char prefix[] = "signal:";
	int v;

	if (strncmp(text, prefix, sizeof(prefix) - 1) == 0) {
		ret->action = DEPENDENCY_SIGNAL;
		return parse_signal(text + sizeof(prefix) - 1, &ret->signal) == 0;
	}
	if (parse_word(text, action_names, _DEPENDENCY_MAX, &v) < 0 || v == DEPENDENCY_SIGNAL)
		return false;
	ret->action = (enum dependency_action)v;
	return true;
}

static void drop_suffix(char *name)
{
	size_t n = strlen(name);

	if (n > 4 && strcmp(name + n - 4, ".ini") == 0)
		name[n - 4] = '\0';
}

/* 1 and *ret; 0 after reporting what is wrong; -ENOMEM. */
static int parse_rule(struct assignment *a, const char *word, struct dependency_rule *ret)
{
	const char *equals = strchr(word, '=');
	struct dependency_rule rule = {0};

	if (equals) {
		rule.node = strndup(word, (size_t)(equals - word));
		if (!rule.node)
			return -ENOMEM;
		drop_suffix(rule.node);
		if (!unit_id_valid(rule.node)) {
			int r = assignment_wrong(
				a, "\"%s\" is no unit name", excerpt_of(rule.node).text);
			free(rule.node);
			return r;
		}
	}
	if (!parse_action(equals ? equals + 1 : word, &rule)) {
		free(rule.node);
		return assignment_wrong(a, "\"%s\" is not understood", excerpt_of(word).text);
	}
	*ret = rule;
	return 1;
}

static bool same_node(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The last word on a node counts. */
static int add_rule(struct failover_settings *f, struct dependency_rule *rule)
{
	struct dependency_rule *more;

	for (size_t i = 0; i < f->n_rules; i++)
		if (same_node(f->rules[i].node, rule->node)) {
			free(f->rules[i].node);
			f->rules[i] = *rule;
			return 0;
		}
	more = reallocarray(f->rules, f->n_rules + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	f->rules = more;
	f->rules[f->n_rules++] = *rule;
	return 0;
}

int set_dependency_action(struct assignment *a, void *field)
{
	struct failover_settings *f = field;
	struct dependency_rule rule = {0};
	char **words;
	int r;

	if (!*a->value) {
		dependency_rules_clear(f);
		return 0;
	}
	r = assignment_words(a, &words);
	if (r <= 0)
		return r;
	for (char **w = words; *w && r >= 0; w++) {
		r = parse_rule(a, *w, &rule);
		if (r > 0 && add_rule(f, &rule) < 0) {
			free(rule.node);
			r = -ENOMEM;
		}
	}
	strv_free(words);
	return r < 0 ? r : 0;
}

const struct dependency_rule *unit_dependency_rule(const struct unit *u, const char *node)
{
	static const struct dependency_rule none = {.action = DEPENDENCY_NONE};
	const struct dependency_rule *rule = &none;

	for (size_t i = 0; i < u->failover.n_rules; i++) {
		if (same_node(u->failover.rules[i].node, node))
			return &u->failover.rules[i];
		if (!u->failover.rules[i].node)
			rule = &u->failover.rules[i];
	}
	return rule;
}
