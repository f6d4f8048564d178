/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of [Probe NAME]: which there are, of which kinds, and what has to be said. */
#include "config/probe.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "config/setting.h"
#include "config/strv.h"

#define SECTION "Probe "

const char *const probe_kind_names[_KIND_MAX] = {
	[KIND_ALIVE] = "alive",
	[KIND_DEADLINE] = "deadline",
	[KIND_LOGICAL] = "logical",
	[KIND_PING] = "ping",
	[KIND_TOPIC] = "topic",
	[KIND_TCP] = "tcp",
	[KIND_HTTP] = "http",
	[KIND_DBUS] = "dbus",
	[KIND_EXEC] = "exec",
	[KIND_PROGRESS] = "progress",
	[KIND_RESOURCE] = "resource",
};
const char *const probe_action_names[_ACTION_MAX] = {
	[ACTION_FAILOVER] = "failover",
	[ACTION_RESTART] = "restart",
	[ACTION_REPORT] = "report",
};

#define KIND(k) (1u << KIND_##k)
#define ALL ((1u << _KIND_MAX) - 1)
#define LOOKS (KIND(PING) | KIND(TOPIC) | KIND(TCP) | KIND(HTTP) | KIND(DBUS) | KIND(EXEC))
#define WATCHES (KIND(PROGRESS) | KIND(RESOURCE))

#define FIELD(f) .field = offsetof(struct probe_settings, f)
#define TIME_TEXT "a time span such as 250ms, 2s or 1min 30s"
#define MARK_TEXT "at most 32 letters, digits and - _ . : /"
#define SIZE_TEXT "a size such as 64M, 0 for no limit"
#define COUNT_TEXT "a whole number, 0 for no limit"
#define HERTZ_TEXT "a rate such as 10 or 0.5, at most 100000; 0 for none"
#define ROS_NAME_TEXT "a ROS name such as /voxel_grid"

static const struct probe_key {
	struct setting setting;
	unsigned kinds, required;
} keys[] = {
	/* clang-format off */
	{ { "Probe", "Kind", set_enum, FIELD(kind), .words = probe_kind_names, .max = _KIND_MAX,
	    .allowed = "alive, deadline, logical, ping, topic, tcp, http, dbus, exec, "
		       "progress, resource" }, ALL, ALL },
	{ { "Probe", "Action", set_enum, FIELD(action), .words = probe_action_names,
	    .max = _ACTION_MAX, .allowed = "failover, restart, report" }, ALL, 0 },
	{ { "Probe", "StartDelay", set_time, FIELD(start_delay), .how = TIME_FINITE,
	    .allowed = TIME_TEXT ", not infinity" }, ALL, 0 },
	{ { "Probe", "Tolerate", set_count, FIELD(tolerate), .max = 1000,
	    .allowed = "a whole number up to 1000" }, LOOKS | KIND(ALIVE), 0 },
	{ { "Probe", "Interval", set_time, FIELD(interval), .min = 10 * USEC_PER_MSEC,
	    .how = TIME_FINITE, .allowed = TIME_TEXT ", at least 10ms, not infinity" },
	  LOOKS | WATCHES, 0 },
	{ { "Probe", "Timeout", set_time, FIELD(timeout), .min = 10 * USEC_PER_MSEC,
	    .how = TIME_FINITE, .allowed = TIME_TEXT ", at least 10ms, not infinity" }, LOOKS, 0 },
	{ { "Probe", "Window", set_time, FIELD(window), .min = 100 * USEC_PER_MSEC,
	    .how = TIME_FINITE, .allowed = TIME_TEXT ", at least 100ms, not infinity" },
	  WATCHES | KIND(TOPIC), 0 },

	{ { "Probe", "Mark", set_mark, FIELD(mark), .allowed = MARK_TEXT }, KIND(ALIVE), 0 },
	{ { "Probe", "Cycle", set_time, FIELD(cycle), .min = 10 * USEC_PER_MSEC,
	    .how = TIME_FINITE, .allowed = TIME_TEXT ", at least 10ms, not infinity" },
	  KIND(ALIVE), 0 },
	{ { "Probe", "MinMarks", set_unsigned, FIELD(min_marks), .max = 1000000,
	    .allowed = "a whole number" }, KIND(ALIVE), 0 },
	{ { "Probe", "MaxMarks", set_unsigned, FIELD(max_marks), .max = 1000000,
	    .allowed = COUNT_TEXT }, KIND(ALIVE), 0 },

	{ { "Probe", "From", set_mark, FIELD(from), .allowed = MARK_TEXT },
	  KIND(DEADLINE), KIND(DEADLINE) },
	{ { "Probe", "To", set_mark, FIELD(to), .allowed = MARK_TEXT },
	  KIND(DEADLINE), KIND(DEADLINE) },
	{ { "Probe", "MinTime", set_time, FIELD(min_time), .how = TIME_FINITE,
	    .allowed = TIME_TEXT ", not infinity" }, KIND(DEADLINE), 0 },
	{ { "Probe", "MaxTime", set_time, FIELD(max_time), .min = USEC_PER_MSEC,
	    .how = TIME_FINITE, .allowed = TIME_TEXT ", at least 1ms, not infinity" },
	  KIND(DEADLINE), KIND(DEADLINE) },

	{ { "Probe", "Order", set_order, 0, .allowed = "pairs such as grab>filter filter>publish" },
	  KIND(LOGICAL), KIND(LOGICAL) },

	{ { "Probe", "Node", set_ros_name, FIELD(node), .allowed = ROS_NAME_TEXT },
	  KIND(PING) | KIND(TOPIC), 0 },
	{ { "Probe", "Master", set_http_url, FIELD(master), .allowed = "http://HOST:PORT" },
	  KIND(PING) | KIND(TOPIC), 0 },
	{ { "Probe", "Topic", set_ros_name, FIELD(topic), .allowed = "a ROS name such as /points" },
	  KIND(TOPIC), KIND(TOPIC) },
	{ { "Probe", "MinHz", set_hertz, FIELD(min_hz), .allowed = HERTZ_TEXT }, KIND(TOPIC), 0 },
	{ { "Probe", "MaxHz", set_hertz, FIELD(max_hz), .allowed = HERTZ_TEXT }, KIND(TOPIC), 0 },
	{ { "Probe", "Address", set_address, FIELD(address),
	    .allowed = "PORT, IP:PORT, [IPv6]:PORT or an absolute path of a socket" },
	  KIND(TCP), KIND(TCP) },
	{ { "Probe", "Url", set_http_url, FIELD(url), .allowed = "http://... or https://..." },
	  KIND(HTTP), KIND(HTTP) },
	{ { "Probe", "Status", set_unsigned, FIELD(status), .min = 100, .max = 599,
	    .allowed = "a number from 100 to 599" }, KIND(HTTP), 0 },
	{ { "Probe", "BusName", set_bus_name, FIELD(bus_name),
	    .allowed = "a bus name such as org.example.Camera" }, KIND(DBUS), KIND(DBUS) },
	{ { "Probe", "Bus", set_bus_address, FIELD(bus),
	    .allowed = "system, or an address such as unix:path=/run/bus" }, KIND(DBUS), 0 },
	{ { "Probe", "Command", set_exec_start, FIELD(command),
	    .allowed = "an absolute path and arguments" }, KIND(EXEC), KIND(EXEC) },

	{ { "Probe", "MaxMemory", set_size, FIELD(max_memory), .allowed = SIZE_TEXT },
	  KIND(RESOURCE), 0 },
	{ { "Probe", "MaxMemoryGrowth", set_size, FIELD(max_memory_growth), .allowed = SIZE_TEXT },
	  KIND(RESOURCE), 0 },
	{ { "Probe", "MaxDescriptors", set_unsigned, FIELD(max_descriptors), .max = INT_MAX,
	    .allowed = COUNT_TEXT }, KIND(RESOURCE), 0 },
	{ { "Probe", "MaxDescriptorGrowth", set_unsigned, FIELD(max_descriptor_growth),
	    .max = INT_MAX, .allowed = COUNT_TEXT }, KIND(RESOURCE), 0 },
	{ { "Probe", "MaxThreads", set_unsigned, FIELD(max_threads), .max = INT_MAX,
	    .allowed = COUNT_TEXT }, KIND(RESOURCE), 0 },
	{ { "Probe", "MaxThreadGrowth", set_unsigned, FIELD(max_thread_growth), .max = INT_MAX,
	    .allowed = COUNT_TEXT }, KIND(RESOURCE), 0 },
	/* clang-format on */
};
static_assert(ELEMENTSOF(keys) <= PROBE_KEYS_MAX, "key_lines has no room for all keys");

const char *probe_kind_to_string(enum probe_kind k)
{
	return (unsigned)k < _KIND_MAX ? probe_kind_names[k] : "?";
}

bool probe_section(const char *section)
{
	return strncmp(section, SECTION, strlen(SECTION)) == 0 || strcmp(section, "Probe") == 0;
}

static bool name_valid(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	/* "watchdog" is what WatchdogSec= is told as. */
	return n > 0 && n <= PROBE_NAME_MAX && !s[n] && strcmp(s, "watchdog") != 0;
}

static struct probe_settings *add_probe(
	struct unit *u, const char *section, const char *name, unsigned line)
{
	struct probe_settings *more, *p;

	more = reallocarray(u->probes, u->n_probes + 1, sizeof(*more));
	if (!more)
		return NULL;
	u->probes = more;
	p = &more[u->n_probes];
	*p = (struct probe_settings){
		.name = strdup(name),
		.section = strdup(section),
		.line = line,
		.kind = _KIND_MAX,
		.action = _ACTION_MAX,
		.interval = USEC_PER_SEC,
		.timeout = 3 * USEC_PER_SEC,
		.cycle = USEC_PER_SEC,
		.min_marks = 1,
	};
	if (!p->name || !p->section) {
		probe_settings_clear(p);
		return NULL;
	}
	u->n_probes++;
	return p;
}

int probe_setting_find(struct unit *u, const char *section, const char *key, unsigned line,
	const struct setting **ret, void **ret_field)
{
	const char *name = section[strlen("Probe")] ? section + strlen(SECTION) : "";
	struct probe_settings *p = NULL;

	if (!name_valid(name))
		return -EINVAL;
	for (size_t i = 0; i < u->n_probes && !p; i++)
		if (strcmp(u->probes[i].name, name) == 0)
			p = &u->probes[i];
	if (!p && u->n_probes >= PROBES_MAX)
		return -E2BIG;
	if (!p)
		p = add_probe(u, section, name, line);
	if (!p)
		return -ENOMEM;
	*ret = NULL;
	for (size_t i = 0; key && i < ELEMENTSOF(keys); i++)
		if (strcmp(keys[i].setting.key, key) == 0) {
			p->key_lines[i] = line;
			*ret = &keys[i].setting;
			*ret_field = (char *)p + keys[i].setting.field;
		}
	return 0;
}

const struct setting *probe_setting_named(const char *key)
{
	for (size_t i = 0; i < ELEMENTSOF(keys); i++)
		if (strcmp(keys[i].setting.key, key) == 0)
			return &keys[i].setting;
	return NULL;
}

char *probe_setting_keys(void)
{
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	if (!f)
		return NULL;
	for (size_t i = 0; i < ELEMENTSOF(keys); i++)
		fprintf(f, "%s%s=", i ? ", " : "", keys[i].setting.key);
	if (fclose(f) != 0) {
		free(out);
		return NULL;
	}
	return out;
}

struct finish {
	const struct probe_settings *probe;
	probe_report_fn report;
	void *user;
};

static int say(const struct finish *f, const char *key, const char *what, const char *allowed)
{
	struct diag_place at = {.line = f->probe->line, .section = f->probe->section, .key = key};

	for (size_t i = 0; key && i < ELEMENTSOF(keys); i++)
		if (strcmp(keys[i].setting.key, key) == 0 && f->probe->key_lines[i])
			at.line = f->probe->key_lines[i];
	return f->report(f->user, &at, what, allowed);
}

/* Every key said is one of the kind, and every one that the kind needs is said: 0, or 1 after
 * reporting what is not so. */
static int check_keys(const struct finish *f)
{
	const struct probe_settings *p = f->probe;
	bool wrong = false;

	for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
		const struct setting *s = &keys[i].setting;
		char what[80];
		int r = 1;

		if (p->key_lines[i] && !(keys[i].kinds & 1u << p->kind)) {
			snprintf(what, sizeof(what), "is no key of Kind=%s",
				probe_kind_to_string(p->kind));
			r = say(f, s->key, what, NULL);
		} else if (!p->key_lines[i] && (keys[i].required & 1u << p->kind)) {
			r = say(f, s->key, "is missing", s->allowed);
		}
		if (r < 0)
			return r;
		wrong |= r == 0;
	}
	return wrong;
}

static int check_ranges(const struct finish *f)
{
	const struct probe_settings *p = f->probe;

	if (p->kind == KIND_ALIVE && p->max_marks && p->max_marks < p->min_marks)
		return say(f, "MaxMarks", "is below MinMarks=", NULL);
	if (p->kind == KIND_ALIVE && !p->max_marks && !p->min_marks)
		return say(f, "MinMarks", "0 without MaxMarks= asks for nothing", NULL);
	if (p->kind == KIND_DEADLINE && p->max_time && p->min_time > p->max_time)
		return say(f, "MinTime", "is above MaxTime=", NULL);
	if (p->kind == KIND_LOGICAL && !p->n_edges)
		return say(f, "Order", "is empty", NULL);
	if (p->kind == KIND_TOPIC && p->topic && *p->topic != '/')
		return say(f, "Topic", "has no / in front", NULL);
	if (p->kind == KIND_TOPIC && !p->min_hz && !p->max_hz)
		return say(f, NULL, "no limit is said", "MinHz=, MaxHz=");
	if (p->kind == KIND_TOPIC && p->max_hz && p->max_hz < p->min_hz)
		return say(f, "MaxHz", "is below MinHz=", NULL);
	if (p->kind == KIND_RESOURCE && !p->max_memory && !p->max_memory_growth &&
		!p->max_descriptors && !p->max_descriptor_growth && !p->max_threads &&
		!p->max_thread_growth)
		return say(f, NULL, "no limit is said",
			"MaxMemory=, MaxMemoryGrowth=, MaxDescriptors=, MaxDescriptorGrowth=, "
			"MaxThreads=, MaxThreadGrowth=");
	return 0;
}

static const usec_t windows[_KIND_MAX] = {
	[KIND_PROGRESS] = 5 * USEC_PER_SEC,
	[KIND_TOPIC] = 2 * USEC_PER_SEC,
	[KIND_RESOURCE] = 60 * USEC_PER_SEC,
};

/* The value of the first word that begins with this, or NULL. */
static const char *value_of(char *const *words, const char *begin)
{
	for (; words && *words; words++)
		if (strncmp(*words, begin, strlen(begin)) == 0)
			return *words + strlen(begin);
	return NULL;
}

/* What a ROS node is told about itself is not to be said twice. */
static int set_ros_defaults(const struct unit *u, struct probe_settings *p)
{
	const char *name = value_of(u->exec_start.argv, "__name:=");
	const char *space = value_of(u->environment, "ROS_NAMESPACE=");
	const char *master = value_of(u->environment, "ROS_MASTER_URI=");
	char *full = NULL;

	if (!p->master)
		p->master = strdup(master && *master ? master : "http://127.0.0.1:11311");
	if (!p->master)
		return -ENOMEM;
	if (p->node || !name || !*name)
		return 0;
	space = *name == '/' || !space ? "" : space;
	if (asprintf(&full, "%s%s%s%s", *space && *space != '/' ? "/" : "", space,
		    *name == '/' ? "" : "/", name) < 0)
		return -ENOMEM;
	p->node = full;
	return 0;
}

static int set_defaults(const struct unit *u, struct probe_settings *p)
{
	if (p->action == _ACTION_MAX)
		p->action = p->kind == KIND_RESOURCE ? ACTION_RESTART : ACTION_FAILOVER;
	if (!p->window)
		p->window = windows[p->kind];
	/* One look that fails may be the network's fault, or that of who looks. */
	if (!p->tolerate_set && (LOOKS & 1u << p->kind))
		p->tolerate = 1;
	if (p->kind == KIND_ALIVE && !p->mark) {
		p->mark = strdup(p->name);
		if (!p->mark)
			return -ENOMEM;
	}
	return p->kind == KIND_PING || p->kind == KIND_TOPIC ? set_ros_defaults(u, p) : 0;
}

int probe_settings_finish(struct unit *u, probe_report_fn report, void *user)
{
	for (size_t i = 0; i < u->n_probes; i++) {
		struct probe_settings *p = &u->probes[i];
		const struct finish f = {.probe = p, .report = report, .user = user};
		int r;

		if (p->kind == _KIND_MAX) {
			/* A wrong Kind= was reported where it stands. */
			r = p->key_lines[0]
				    ? 0
				    : say(&f, "Kind", "is missing", keys[0].setting.allowed);
			if (r < 0)
				return r;
			continue;
		}
		r = check_keys(&f);
		if (r == 0)
			r = check_ranges(&f);
		if (r == 0)
			r = set_defaults(u, p);
		if (r == 0 && (p->kind == KIND_PING || p->kind == KIND_TOPIC) && !p->node)
			r = say(&f, "Node",
				"is missing, and ExecStart= has no __name:=", ROS_NAME_TEXT);
		if (r < 0)
			return r;
	}
	return 0;
}

void probe_settings_clear(struct probe_settings *p)
{
	free(p->name);
	free(p->section);
	free(p->mark);
	free(p->from);
	free(p->to);
	if (p->marks)
		strv_free(p->marks);
	free(p->edges);
	free(p->node);
	free(p->topic);
	free(p->master);
	free(p->address);
	free(p->url);
	free(p->bus_name);
	free(p->bus);
	exec_command_clear(&p->command);
	*p = (struct probe_settings){0};
}
