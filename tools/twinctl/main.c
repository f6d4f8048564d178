/* SPDX-License-Identifier: Apache-2.0 */
/* Options, the table of verbs, and help. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <string.h>

#include "tools/twinctl/twinctl.h"

static const struct verb {
	const char *name;
	int min, max; /* arguments, the verb itself not counted; max -1: any number */
	int (*run)(struct context *c, int argc, char **argv);
} verbs[] = {
	{"status", 0, -1, verb_status},
	{"list", 0, 0, verb_list},
	{"start", 1, -1, verb_job},
	{"stop", 1, -1, verb_job},
	{"restart", 1, -1, verb_job},
	{"failover", 1, 1, verb_failover},
	{"twin", 2, 2, verb_twin},
	{"show", 0, -1, verb_show},
	{"is-active", 1, -1, verb_is},
	{"is-failed", 1, -1, verb_is},
	{"kill", 1, -1, verb_kill},
	{"crash", 1, 2, verb_crash},
	{"log", 1, 1, verb_log},
	{"verify", 1, -1, verb_verify},
};

static const char help[] =
	"twinctl [OPTION...] [VERB] - look at and control twinit\n"
	"\n"
	"  status                  the whole at a glance (this is the default)\n"
	"  status NODE...          a node in full\n"
	"  list                    all nodes, one a line\n"
	"  start|stop|restart NODE...\n"
	"                          queue the job and wait for its end\n"
	"  failover NODE           let the twin take over now\n"
	"  twin status NODE        the node's twin\n"
	"  twin checkpoint NODE    make a twin now\n"
	"  twin drop NODE          drop its twins, until the next interval makes one\n"
	"  show [NODE...]          properties as on the bus; without NODE those of twinit\n"
	"  is-active|is-failed NODE...\n"
	"                          the state, as exit status as well\n"
	"  kill NODE...            send a signal to the node's process\n"
	"  log NODE                its failures, each with the top of the trace\n"
	"  crash list [NODE]       the crash records that are kept\n"
	"  crash show RECORD|NODE  one of them in full; of a node the last\n"
	"  verify FILE...          check unit files; needs no twinit\n"
	"\n"
	"      --address=ADDRESS   the bus; else $DBUS_SYSTEM_BUS_ADDRESS, else the system bus\n"
	"      --state-dir=DIR     of twinit, for log and crash (/var/lib/twinit)\n"
	"      --json              answer with one line of JSON\n"
	"  -p, --property=NAME,... show: these only\n"
	"      --value             show: the values alone\n"
	"  -s, --signal=SIGNAL     kill: by name or number, SIGTERM without\n"
	"      --no-block          start, stop, restart: do not wait\n"
	"  -q, --quiet             say less\n"
	"      --no-pager          accepted for systemctl's sake: there is no pager\n"
	"  -h, --help, --version\n"
	"\n"
	"Exit status: 0 good; 1 failed; 3 not active (status, is-active) or not armed (twin "
	"status);\n"
	"4 no such node.\n"
	"\n"
	"JSON. Times are microseconds, started, ended and at since the epoch; sizes bytes. Keys "
	"may be\n"
	"added in later versions, none is taken away or changed.\n"
	"  list                array of NODE\n"
	"  status              {version, architecture, system_state, n_nodes, n_failed, "
	"n_twins_armed,\n"
	"                      twin_memory_bytes, up_usec, nodes: [NODE...]}\n"
	"  status NODE         NODE; several: an array\n"
	"  twin status NODE    {id, TWIN's keys}\n"
	"  start stop restart  [{id, job, result}...]; result null with --no-block\n"
	"  failover            {id, cause, result, old_pid, new_pid, latency_usec, rollback_usec,\n"
	"                      generation}\n"
	"  twin checkpoint, twin drop  {id, done}\n"
	"  show                {property: value...}, as on the bus; several: an array\n"
	"  is-active is-failed [{id, active_state}...]\n"
	"  crash list          [{record, at_usec, id, kind, cause, outcome, fault, pid}...]\n"
	"  crash show          the same of one, and text; log: an array of these\n"
	"  verify              [{file, ok, findings: [{level, file, line, section, key, what,\n"
	"                      allowed}...]}...]\n"
	"NODE is {id, description, load_state, load_error, active_state, sub_state, result,\n"
	"result_detail, status_text, fragment_path, object_path, main_pid, n_restarts, "
	"started_usec, ended_usec,\n"
	"exit_code, exit_status, cpu_nsec, memory_bytes, tasks, twin: TWIN}; what is not known is "
	"null.\n"
	"TWIN is {enabled, state, pids, interval_usec, generations, age_usec, freeze_last_usec,\n"
	"freeze_median_usec, freeze_max_usec, memory_private_bytes, n_threads, n_checkpoints,\n"
	"n_skipped, skip_reason, excluded_memory, n_failovers, n_children_guarded, "
	"n_child_failovers,\n"
	"last_failover: null or {at_usec, cause, result,\n"
	"latency_usec, rollback_usec, generation, detail, fault}}.\n";

/* "SIGTERM" "TERM" "15" "RTMIN+3"; -EINVAL. */
static int parse_signal(const char *text)
{
	char *end;

	if (isdigit((unsigned char)text[0])) {
		long number = strtol(text, &end, 10);
		return *end || number <= 0 || number > SIGRTMAX ? -EINVAL : (int)number;
	}
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	if (strncasecmp(text, "RTMIN", 5) == 0) {
		long offset = text[5] == '+' ? strtol(text + 6, &end, 10) : text[5] ? -1 : 0;
		if (text[5] == '+' && (!isdigit((unsigned char)text[6]) || *end))
			return -EINVAL;
		return offset < 0 || SIGRTMIN + offset > SIGRTMAX ? -EINVAL
								  : SIGRTMIN + (int)offset;
	}
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *name = sigabbrev_np(i);
		if (name && strcasecmp(name, text) == 0)
			return i;
	}
	return -EINVAL;
}

enum {
	OPTION_ADDRESS = 256,
	OPTION_STATE_DIR,
	OPTION_JSON,
	OPTION_VALUE,
	OPTION_NO_BLOCK,
	OPTION_NO_PAGER,
	OPTION_VERSION
};

static const struct option options[] = {
	{"address", required_argument, NULL, OPTION_ADDRESS},
	{"state-dir", required_argument, NULL, OPTION_STATE_DIR},
	{"json", no_argument, NULL, OPTION_JSON},
	{"property", required_argument, NULL, 'p'},
	{"value", no_argument, NULL, OPTION_VALUE},
	{"signal", required_argument, NULL, 's'},
	{"no-block", no_argument, NULL, OPTION_NO_BLOCK},
	{"quiet", no_argument, NULL, 'q'},
	{"no-pager", no_argument, NULL, OPTION_NO_PAGER},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPTION_VERSION},
	{0},
};

/* 0 to go on, 1 where all is said, -EINVAL. */
static int take_option(struct context *c, int option, const char *value)
{
	switch (option) {
	case OPTION_ADDRESS:
		c->address = value;
		return 0;
	case OPTION_STATE_DIR:
		c->state_dir = value;
		return 0;
	case OPTION_JSON:
		c->json = true;
		return 0;
	case OPTION_VALUE:
		c->value = true;
		return 0;
	case OPTION_NO_BLOCK:
		c->no_block = true;
		return 0;
	case OPTION_NO_PAGER:
		return 0;
	case 'q':
		c->quiet = true;
		return 0;
	case 'p':
		if (c->n_properties == PROPERTIES_MAX) {
			complain("more than %d times -p", PROPERTIES_MAX);
			return -EINVAL;
		}
		c->properties[c->n_properties++] = value;
		return 0;
	case 's':
		c->signal = parse_signal(value);
		if (c->signal < 0)
			complain("'%s' is no signal", value);
		return c->signal < 0 ? -EINVAL : 0;
	case 'h':
		fputs(help, stdout);
		return 1;
	case OPTION_VERSION:
		puts("twinctl " TWINIT_VERSION);
		return 1;
	default: /* getopt has complained */
		return -EINVAL;
	}
}

static int run(struct context *c, int argc, char **argv)
{
	static char *status[] = {(char *)"status", NULL};

	if (argc == 0) {
		argc = 1;
		argv = status;
	}
	for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
		const struct verb *v = &verbs[i];
		if (strcmp(v->name, argv[0]) != 0)
			continue;
		if (argc - 1 < v->min) {
			complain("%s: %s is missing; see --help", v->name,
				v->run == verb_verify ? "the file" : "the node");
			return EXIT_FAILURE;
		}
		if (v->max >= 0 && argc - 1 > v->max) {
			complain("%s: '%s' is too much; see --help", v->name, argv[v->max + 1]);
			return EXIT_FAILURE;
		}
		return v->run(c, argc, argv);
	}
	complain("'%s' is no verb of twinctl; see --help", argv[0]);
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct context c = {.signal = SIGTERM};
	int option, r;

	setlocale(LC_CTYPE, ""); /* and no more: figures keep their decimal point */
	while ((option = getopt_long(argc, argv, "hqp:s:", options, NULL)) >= 0) {
		r = take_option(&c, option, optarg);
		if (r != 0)
			return r < 0 ? EXIT_FAILURE : 0;
	}
	r = run(&c, argc - optind, argv + optind);
	sd_bus_flush_close_unref(c.bus);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("cannot write the answer: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	return r;
}
