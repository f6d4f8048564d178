/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/report.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "config/macro.h"

enum { QUICK = 256, JSON, ROUNDS, SECONDS, MB, THREADS, DIRTY, HELP, CHOICE };

static void wrong(const char *option, const char *value)
{
	fprintf(stderr, "--%s: \"%s\" is not understood; see --help\n", option, value);
	exit(2);
}

static void parse_list(const char *option, const char *text, struct report_list *ret)
{
	const char *at = text;

	memset(ret, 0, sizeof(*ret));
	do {
		char *end;

		errno = 0;
		if (ret->n == REPORT_LIST_MAX)
			wrong(option, text);
		ret->items[ret->n++] = strtoul(at, &end, 10);
		if (errno || end == at || (*end && *end != ','))
			wrong(option, text);
		at = end + 1;
		if (!*end)
			break;
	} while (true);
}

static const char *parse_choice(const struct report_choice *c, const char *text)
{
	for (unsigned i = 0; i < ELEMENTSOF(c->words) && c->words[i]; i++)
		if (strcmp(c->words[i], text) == 0)
			return c->words[i];
	wrong(c->name, text);
	return NULL;
}

static void print_list(const char *name, const char *help, const struct report_list *l)
{
	printf("  --%s=N,...", name);
	printf("  %s (", help);
	for (unsigned i = 0; i < l->n; i++)
		printf("%s%lu", i ? "," : "", l->items[i]);
	puts(")");
}

static void help(const char *about, const struct report_choice *choices, unsigned n_choices,
	const struct report_options *o)
{
	puts(about);
	puts("  --quick  fewer rows and rounds\n"
	     "  --json FILE  the table, for programs");
	printf("  --rounds=N  of a row, at most (%u)\n  --seconds=N  of a row, about (%g)\n",
		o->rounds, o->seconds);
	if (o->mb.n)
		print_list("mb", "memory, MiB", &o->mb);
	if (o->threads.n)
		print_list("threads", "threads", &o->threads);
	if (o->dirty.n)
		print_list("dirty", "percent of the memory written to since the checkpoint",
			&o->dirty);
	for (unsigned i = 0; i < n_choices; i++) {
		printf("  --%s=", choices[i].name);
		for (unsigned k = 0; k < ELEMENTSOF(choices[i].words) && choices[i].words[k]; k++)
			printf("%s%s", k ? "|" : "", choices[i].words[k]);
		printf("  %s\n", choices[i].help);
	}
}

void report_options(int argc, char **argv, const char *about, const struct report_choice *choices,
	unsigned n_choices, const struct report_options *quick, struct report_options *o)
{
	struct option known[8 + ELEMENTSOF(o->choice) + 1] = {
		{"quick", no_argument, NULL, QUICK},
		{"json", required_argument, NULL, JSON},
		{"rounds", required_argument, NULL, ROUNDS},
		{"seconds", required_argument, NULL, SECONDS},
		{"mb", required_argument, NULL, MB},
		{"threads", required_argument, NULL, THREADS},
		{"dirty", required_argument, NULL, DIRTY},
		{"help", no_argument, NULL, HELP},
	};
	int c;

	for (unsigned i = 0; i < n_choices; i++) {
		known[8 + i] =
			(struct option){choices[i].name, required_argument, NULL, CHOICE + (int)i};
		o->choice[i] = choices[i].words[0];
	}
	/* First, for it is a set of defaults. */
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--quick") == 0) {
			struct report_options q = *quick;
			memcpy(q.choice, o->choice, sizeof(q.choice));
			*o = q;
			o->quick = true;
		}
	while ((c = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		struct report_list one;

		switch (c) {
		case QUICK:
			break;
		case JSON:
			o->json = optarg;
			break;
		case ROUNDS:
			parse_list("rounds", optarg, &one);
			o->rounds = (unsigned)one.items[0];
			break;
		case SECONDS:
			parse_list("seconds", optarg, &one);
			o->seconds = (double)one.items[0];
			break;
		case MB:
			parse_list("mb", optarg, &o->mb);
			break;
		case THREADS:
			parse_list("threads", optarg, &o->threads);
			break;
		case DIRTY:
			parse_list("dirty", optarg, &o->dirty);
			break;
		case HELP:
			help(about, choices, n_choices, o);
			exit(0);
		default:
			if (c < CHOICE || c >= CHOICE + (int)n_choices)
				exit(2);
			o->choice[c - CHOICE] = parse_choice(&choices[c - CHOICE], optarg);
		}
	}
	if (optind < argc)
		wrong("help", argv[optind]);
}

/* The value behind the first "KEY... : " of a file. */
static void file_value(const char *path, const char *key, char *ret, size_t size)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char line[512];

	snprintf(ret, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, key, strlen(key)) != 0 || !colon)
			continue;
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(ret, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
		return;
	}
}

static void fact(struct report *r, const char *name, const char *value)
{
	printf("%s: %s\n", name, value);
	if (r->json)
		fprintf(r->json, ", \"%s\": \"%s\"", name, value);
}

static void facts(struct report *r, const struct report_options *o,
	const struct report_choice *choices, unsigned n_choices)
{
	char text[512], value[300];
	double load[3] = {0};
	struct utsname u;

	if (r->json)
		fprintf(r->json, "{\"bench\": \"%s\", \"facts\": {\"quick\": %s", r->bench,
			o->quick ? "true" : "false");
	file_value("/proc/cpuinfo", "model name", value, sizeof(value));
	snprintf(text, sizeof(text), "%ld x %s", sysconf(_SC_NPROCESSORS_ONLN), value);
	fact(r, "cpu", text);
	file_value("/proc/meminfo", "MemTotal", value, sizeof(value));
	fact(r, "memory", value);
	uname(&u);
	snprintf(text, sizeof(text), "%s %s", u.sysname, u.release);
	fact(r, "kernel", text);
	(void)getloadavg(load, 3);
	snprintf(text, sizeof(text), "%.2f %.2f %.2f", load[0], load[1], load[2]);
	fact(r, "load before", text);
	fact(r, "policy",
		(sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) == SCHED_FIFO ? "SCHED_FIFO"
									     : "SCHED_OTHER");
	for (unsigned i = 0; i < n_choices; i++)
		fact(r, choices[i].name, o->choice[i]);
	if (r->json)
		fputs("}, \"rows\": [", r->json);
}

void report_begin(struct report *r, const char *bench, const struct report_options *o,
	const struct report_choice *choices, unsigned n_choices,
	const struct report_column *columns, unsigned n_columns)
{
	*r = (struct report){.bench = bench, .columns = columns, .n_columns = n_columns};
	if (o->json) {
		r->json = fopen(o->json, "we");
		if (!r->json) {
			fprintf(stderr, "%s: %s\n", o->json, strerror(errno));
			exit(1);
		}
	}
	printf("bench %s\n", bench);
	facts(r, o, choices, n_choices);
	for (unsigned i = 0; i < n_columns; i++)
		printf("%*s", columns[i].width, columns[i].head);
	putchar('\n');
	fflush(stdout);
}

void report_row(struct report *r, const double *values)
{
	if (r->json)
		fputs(r->n_rows ? ",\n{" : "\n{", r->json);
	for (unsigned i = 0; i < r->n_columns; i++) {
		const struct report_column *c = &r->columns[i];
		bool none = isnan(values[i]);

		if (none)
			printf("%*s", c->width, "-");
		else
			printf("%*.*f", c->width, c->digits, values[i]);
		if (!r->json)
			continue;
		fprintf(r->json, "%s\"%s\": ", i ? ", " : "", c->name);
		if (none)
			fputs("null", r->json);
		else
			fprintf(r->json, "%.*f", c->digits, values[i]);
	}
	r->n_rows++;
	if (r->json)
		fputc('}', r->json);
	putchar('\n');
	fflush(stdout);
}

void report_end(struct report *r)
{
	if (!r->json)
		return;
	fputs("\n]}\n", r->json);
	if (fclose(r->json) != 0) {
		fprintf(stderr, "--json: %s\n", strerror(errno));
		exit(1);
	}
	r->json = NULL;
}
