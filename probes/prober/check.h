/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the kinds of looks share: every Interval= one begins, has Timeout= to end, and is reported.
 * A kind says how to begin, and how to be cancelled; it ends its look by one of the check_...()
 * calls, at once or from the loop. Never two looks of one probe at a time.
 */
#include <ev.h>

#include "config/unit.h"
#include "probes/prober/prober.h"
#include "probes/starvation.h"

struct check;
struct prober {
	struct ev_loop *loop;
	struct unit *unit;
	pid_t pid; /* 0: nothing to look at */
	usec_t since;
	usec_t frozen; /* in all */
	struct starvation_watch node, self;
	struct check *checks;
	size_t n_checks;
	ev_io orders;
};

struct check_ops {
	/* Of the probe; negative errno: it cannot be done here, told once. */
	int (*init)(struct check *c);
	void (*begin)(struct check *c);
	void (*cancel)(struct check *c); /* the look under way; may be NULL */
	void (*frozen)(struct check *c, const struct signs *before, usec_t end); /* may be NULL */
	void (*restart)(struct check *c); /* another process is looked at; may be NULL */
};
struct check {
	const struct check_ops *ops; /* NULL: none of ours */
	const struct probe_settings *settings;
	struct prober *prober;
	unsigned index;
	bool under_way;
	usec_t begun, interval;
	struct starvation_look node, self; /* when it began */
	ev_timer timer, timeout;
	void *own; /* of the kind */
};

void check_init(struct check *c, struct prober *p, unsigned index);
void check_start(struct check *c); /* StartDelay= from now on, then look after look */
void check_stop(struct check *c);
void check_good(struct check *c);
void check_bad(struct check *c, const char *fmt, ...) _printf_(2, 3);
/* Nothing can be said of the node: not reported. */
void check_unknown(struct check *c);

extern const struct check_ops check_tcp, check_http, check_exec, check_progress, check_resource,
	check_ping, check_dbus, check_topic;
