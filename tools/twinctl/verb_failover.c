/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl failover NODE: let the twin take over, and say how it went. */
#include <errno.h>
#include <string.h>

#include "tools/twinctl/twinctl.h"

#define SIGNAL_WAIT (2 * USEC_PER_SEC) /* the figures come by signal, soon after the reply */

struct failover {
	const char *wanted; /* node id */
	bool heard;
	char cause[32], result[32];
	uint32_t old_pid, new_pid, generation;
	uint64_t latency, rollback;
};

static int on_failover(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
	struct failover *f = userdata;
	const char *id, *cause, *result;
	uint32_t old_pid, new_pid, generation;
	uint64_t latency, rollback;

	if (sd_bus_message_read(m, "sossuuttu", &id, NULL, &cause, &result, &old_pid, &new_pid,
		    &latency, &rollback, &generation) < 0 ||
		strcmp(id, f->wanted) != 0)
		return 0;
	f->heard = true;
	snprintf(f->cause, sizeof(f->cause), "%s", cause);
	snprintf(f->result, sizeof(f->result), "%s", result);
	f->old_pid = old_pid;
	f->new_pid = new_pid;
	f->generation = generation;
	f->latency = latency;
	f->rollback = rollback;
	return 0;
}

static int hear(struct context *c, struct failover *f)
{
	usec_t end = now_usec() + SIGNAL_WAIT, now;

	while (!f->heard && (now = now_usec()) < end) {
		int r = sd_bus_process(c->bus, NULL);
		if (r == 0)
			r = sd_bus_wait(c->bus, end - now);
		if (r < 0 && r != -EINTR)
			return client_fail(c, f->wanted, r, NULL);
	}
	if (f->heard)
		return 0;
	complain("%s: the failover was accepted, but no report of it came", f->wanted);
	return EXIT_FAILURE;
}

static void print_json(const struct failover *f)
{
	struct json j = json_to(stdout);

	json_object_begin(&j, NULL);
	json_string(&j, "id", f->wanted);
	json_string(&j, "cause", f->cause);
	json_string(&j, "result", f->result);
	json_uint(&j, "old_pid", f->old_pid);
	json_uint(&j, "new_pid", f->new_pid);
	json_uint(&j, "latency_usec", f->latency);
	json_uint(&j, "rollback_usec", f->rollback);
	json_uint(&j, "generation", f->generation);
	json_object_end(&j);
	json_finish(&j);
}

static void print_text(const struct failover *f)
{
	char latency[FORMAT_MAX], rollback[FORMAT_MAX];

	format_span(latency, f->latency);
	format_span(rollback, f->rollback);
	if (strcmp(f->result, "success") != 0)
		printf("%s: %s after %s\n", f->wanted, f->result, latency);
	else if (f->old_pid == f->new_pid)
		printf("%s: twin took over in %s, rolled back %s, pid %u kept\n", f->wanted,
			latency, rollback, f->new_pid);
	else
		printf("%s: twin took over in %s, rolled back %s, pid %u was %u\n", f->wanted,
			latency, rollback, f->new_pid, f->old_pid);
}

int verb_failover(struct context *c, int argc _unused_, char **argv)
{
	_cleanup_free_ char *id = node_id(argv[1]);
	struct failover f = {.wanted = id};

	int r = client_open(c);
	if (r)
		return r;
	r = sd_bus_match_signal(c->bus, NULL, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "NodeFailover",
		on_failover, &f);
	if (r < 0)
		return client_fail(c, id, r, NULL);
	r = client_call(c, "FailoverNode", id, "requested", NULL);
	if (!r)
		r = hear(c, &f);
	if (r)
		return r;
	if (c->json)
		print_json(&f);
	else if (!c->quiet)
		print_text(&f);
	return strcmp(f.result, "success") == 0 ? 0 : EXIT_FAILURE;
}
