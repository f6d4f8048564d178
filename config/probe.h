/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * [Probe NAME]: a failure detector of one node, as plain settings. Several a unit; two sections of
 * one name are one probe. Kind= says what is watched, and which of the other keys make sense: one
 * that does not is an error that names its line. docs/probes.md explains each kind.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/clock.h"
#include "config/macro.h"

#define PROBE_NAME_MAX 32  /* also of a mark */
#define PROBES_MAX 32      /* a unit */
#define PROBE_MARKS_MAX 32 /* different ones in Order= */
#define PROBE_EDGES_MAX 256

enum probe_kind {
	KIND_ALIVE,
	KIND_DEADLINE,
	KIND_LOGICAL,
	KIND_PING,
	KIND_TCP,
	KIND_HTTP,
	KIND_DBUS,
	KIND_EXEC,
	KIND_PROGRESS,
	KIND_RESOURCE,
	KIND_TOPIC,
	_KIND_MAX /* not said */
};
/* Told by the node itself, by notification; the others are looked at from outside. */
static inline bool probe_kind_is_marked(enum probe_kind k)
{
	return k <= KIND_LOGICAL;
}
const char *probe_kind_to_string(enum probe_kind k);

enum probe_action {
	ACTION_FAILOVER, /* twin, older twin, cold restart */
	ACTION_RESTART,  /* cold at once: what is wrong is in the twins too */
	ACTION_REPORT,   /* only tell */
	_ACTION_MAX      /* not said: the kind's own */
};

/* One order that marks may come in: from, then to. Indices into marks. */
struct probe_edge {
	uint8_t from, to;
};

/* One command line: argv[0] is an absolute path. ignore_failure is the "-" prefix. */
struct exec_command {
	char **argv;
	bool ignore_failure;
	unsigned line;
};

#define PROBE_KEYS_MAX 40
struct probe_settings {
	char *name, *section;
	unsigned line;
	enum probe_kind kind;
	enum probe_action action;
	usec_t start_delay; /* of the node's run, in which nothing is judged; default 0 */
	usec_t interval;    /* between two looks; default 1s */
	usec_t timeout;     /* of one look; default 3s */
	unsigned tolerate;  /* bad cycles or looks in a row that are no failure yet */
	bool tolerate_set;
	usec_t window; /* progress: the time without any; resource, topic: what growth and rate
			* are taken over */

	/* alive */
	char *mark; /* default: the probe's name */
	usec_t cycle;
	unsigned min_marks, max_marks; /* a cycle; max 0: any number */
	/* deadline */
	char *from, *to;
	usec_t min_time, max_time;
	/* logical */
	char **marks;
	size_t n_marks;
	struct probe_edge *edges;
	size_t n_edges;
	/* topic */
	char *topic;
	unsigned min_hz, max_hz; /* in thousandths; 0: any */
	/* ping, topic */
	char *node,
		*master; /* default: __name:= of the command, ROS_MASTER_URI of the environment */
	/* tcp, http, dbus, exec */
	char *address;
	char *url;
	unsigned status; /* the one that is right; 0: 200 to 399 */
	char *bus_name, *bus;
	struct exec_command command;
	/* resource; 0: no such limit */
	uint64_t max_memory, max_memory_growth; /* bytes; growth: over window */
	unsigned max_descriptors, max_descriptor_growth;
	unsigned max_threads, max_thread_growth;

	unsigned key_lines[PROBE_KEYS_MAX]; /* by the table in probe.c; 0: not said */
};

void probe_settings_clear(struct probe_settings *p);
