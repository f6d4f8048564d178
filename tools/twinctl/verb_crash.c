/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl crash list [NODE], crash show RECORD|NODE, log NODE: the records that twinit-backtrace
 * has left in the state folder (supervisor/backtrace/record.h). Needs no bus. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "config/file.h"
#include "tools/twinctl/twinctl.h"

#define STATE_DIR_DEFAULT "/var/lib/twinit"
#define RECORD_BYTES_MAX (8u << 20)
#define LOG_FRAMES 6

struct record {
	char name[NAME_MAX + 1];
	char *text; /* NULL: could not be read */
	uint64_t realtime;
};

struct records {
	struct record *items;
	size_t n;
	char folder[PATH_MAX];
};

/* The value of a line KEY=value of the head, into buf; "" where there is none. */
static const char *field(const struct record *r, const char *key, char buf[256])
{
	size_t len = strlen(key);

	buf[0] = '\0';
	for (const char *line = r->text; line && *line && *line != '\n';) {
		size_t n = strcspn(line, "\n");
		if (strncmp(line, key, len) == 0 && line[len] == '=')
			snprintf(buf, 256, "%.*s", (int)(n - len - 1), line + len + 1);
		line += n + (line[n] == '\n');
	}
	make_printable(buf, false);
	return buf;
}

static int oldest_first(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	return x->realtime < y->realtime ? -1 : x->realtime > y->realtime;
}

static void records_clear(struct records *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->items[i].text);
	free(l->items);
	l->items = NULL;
	l->n = 0;
}

/* "voxel@1700000000000000.crash" of voxel, or of anybody where node is NULL. */
static bool parse_name(const char *name, const char *node, uint64_t *ret_realtime)
{
	const char *at = strrchr(name, '@');
	char *end;

	if (!at || (node && ((size_t)(at - name) != strlen(node) ||
				    strncmp(name, node, strlen(node)) != 0)))
		return false;
	*ret_realtime = strtoull(at + 1, &end, 10);
	return strcmp(end, ".crash") == 0;
}

static int add(struct records *l, const char *name, uint64_t realtime)
{
	struct record *more = reallocarray(l->items, l->n + 1, sizeof(*more));
	char path[PATH_MAX + NAME_MAX + 2];
	size_t len;

	if (!more)
		return -ENOMEM;
	l->items = more;
	more += l->n++;
	*more = (struct record){.realtime = realtime};
	snprintf(more->name, sizeof(more->name), "%s", name);
	snprintf(path, sizeof(path), "%s/%s", l->folder, name);
	/* It may go while we look: then there is nothing to say about it. */
	if (file_read(path, RECORD_BYTES_MAX, &more->text, &len) < 0)
		more->text = NULL;
	return 0;
}

/* 0, or an exit status after complaining. */
static int read_all(struct context *c, const char *node, struct records *ret)
{
	struct records l = {.n = 0};
	uint64_t realtime;
	int r = 0;
	DIR *d;

	snprintf(l.folder, sizeof(l.folder), "%s/crash",
		c->state_dir ? c->state_dir : STATE_DIR_DEFAULT);
	d = opendir(l.folder);
	if (!d && errno != ENOENT) {
		complain("%s: %s", l.folder, strerror(errno));
		return EXIT_FAILURE;
	}
	for (struct dirent *e; r == 0 && d && (e = readdir(d));)
		if (parse_name(e->d_name, node, &realtime))
			r = add(&l, e->d_name, realtime);
	if (d)
		closedir(d);
	if (r < 0) {
		records_clear(&l);
		complain("out of memory");
		return EXIT_FAILURE;
	}
	if (l.n > 0)
		qsort(l.items, l.n, sizeof(*l.items), oldest_first);
	*ret = l;
	return 0;
}

static void print_list(const struct context *c, const struct records *l)
{
	static const char *const heads[] = {"TIME", "NODE", "CAUSE", "OUTCOME", "FAULT", "RECORD"};
	struct table *t = table_new(heads, ELEMENTSOF(heads));
	char when[FORMAT_MAX], buf[256];

	for (size_t i = 0; i < l->n; i++) {
		const struct record *r = &l->items[i];
		table_add(t, format_moment(when, r->realtime), COLOUR_NONE);
		table_add(t, field(r, "NODE", buf), COLOUR_NONE);
		table_add(t, field(r, "CAUSE", buf), COLOUR_NONE);
		table_add(t, field(r, "OUTCOME", buf),
			strcmp(field(r, "OUTCOME", buf), "swapped") == 0 ? COLOUR_NONE
									 : COLOUR_YELLOW);
		table_add(t, field(r, "FAULT", buf), COLOUR_NONE);
		table_add(t, r->name, COLOUR_NONE);
	}
	table_print(t, !c->quiet);
	table_free(t);
}

static void print_json(struct json *j, const struct record *r, bool whole)
{
	char buf[256];

	json_object_begin(j, NULL);
	json_string(j, "record", r->name);
	json_uint(j, "at_usec", r->realtime);
	json_string(j, "id", field(r, "NODE", buf));
	json_string(j, "kind", field(r, "KIND", buf));
	json_string(j, "cause", field(r, "CAUSE", buf));
	json_string(j, "outcome", field(r, "OUTCOME", buf));
	json_string(j, "fault", field(r, "FAULT", buf));
	json_uint(j, "pid", strtoull(field(r, "PID", buf), NULL, 10));
	if (whole)
		json_string(j, "text", r->text);
	json_object_end(j);
}

static int crash_list(struct context *c, const char *node)
{
	struct records l;
	int r = read_all(c, node, &l);

	if (r)
		return r;
	if (c->json) {
		struct json j = json_to(stdout);
		json_array_begin(&j, NULL);
		for (size_t i = 0; i < l.n; i++)
			print_json(&j, &l.items[i], false);
		json_array_end(&j);
		json_finish(&j);
	} else
		print_list(c, &l);
	records_clear(&l);
	return 0;
}

/* The record of that name, or the last of that node. */
static const struct record *find(const struct records *l, const char *what, const char *node)
{
	const struct record *found = NULL;
	uint64_t realtime;

	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->items[i].name, what) == 0 ||
			parse_name(l->items[i].name, node, &realtime))
			found = &l->items[i];
	return found;
}

static int crash_show(struct context *c, const char *what)
{
	_cleanup_free_ char *node = node_id(what);
	const struct record *found;
	struct records l;
	int r = read_all(c, NULL, &l);

	if (r)
		return r;
	found = find(&l, what, node);
	if (!found || !found->text) {
		complain("there is no record of '%s' in %s", what, l.folder);
		r = EXIT_FAILURE;
	} else if (c->json) {
		struct json j = json_to(stdout);
		print_json(&j, found, true);
		json_finish(&j);
	} else {
		make_printable(found->text, true);
		fputs(found->text, stdout);
	}
	records_clear(&l);
	return r;
}

int verb_crash(struct context *c, int argc, char **argv)
{
	if (strcmp(argv[1], "list") == 0) {
		_cleanup_free_ char *node = argc > 2 ? node_id(argv[2]) : NULL;
		return crash_list(c, node);
	}
	if (strcmp(argv[1], "show") == 0 && argc > 2)
		return crash_show(c, argv[2]);
	complain("crash: list [NODE], or show RECORD|NODE");
	return EXIT_FAILURE;
}

/* Head and the top of the first trace, which is of the thread at fault. */
static void print_entry(const struct record *r)
{
	char when[FORMAT_MAX], buf[256];
	const char *trace = r->text ? strstr(r->text, "\n\n") : NULL;
	unsigned lines = 0;

	printf("%s %s: %s", format_moment(when, r->realtime), field(r, "KIND", buf),
		field(r, "CAUSE", buf));
	if (*field(r, "FAULT", buf))
		printf(", %s", buf);
	printf("; %s (%s)\n", field(r, "OUTCOME", buf), r->name);
	for (trace = trace ? trace + 2 : ""; *trace && *trace != '\n' && lines <= LOG_FRAMES;
		lines++) {
		size_t n = strcspn(trace, "\n");
		char line[256];
		snprintf(line, sizeof(line), "%.*s", (int)n, trace);
		make_printable(line, false);
		printf("    %s\n", line);
		trace += n + (trace[n] == '\n');
	}
}

int verb_log(struct context *c, int argc _unused_, char **argv)
{
	_cleanup_free_ char *node = node_id(argv[1]);
	struct records l;
	int r = read_all(c, node, &l);

	if (r)
		return r;
	if (c->json) {
		struct json j = json_to(stdout);
		json_array_begin(&j, NULL);
		for (size_t i = 0; i < l.n; i++)
			print_json(&j, &l.items[i], true);
		json_array_end(&j);
		json_finish(&j);
	}
	for (size_t i = 0; !c->json && i < l.n; i++)
		print_entry(&l.items[i]);
	records_clear(&l);
	return 0;
}
