/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl start|stop|restart NODE...: queue the jobs, wait for their end, say what went wrong. */
#include <errno.h>
#include <string.h>

#include "tools/twinctl/twinctl.h"

struct wanted {
	char *id, *job, *result; /* result NULL: under way */
};

struct jobs {
	struct wanted *list;
	size_t n, n_open;
	bool twinit_left;
};

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
	struct jobs *jobs = userdata;
	const char *path, *result;

	if (sd_bus_message_read(m, "uoss", NULL, &path, NULL, &result) < 0)
		return 0;
	for (size_t i = 0; i < jobs->n; i++) {
		struct wanted *w = &jobs->list[i];
		if (w->job && !w->result && strcmp(w->job, path) == 0) {
			w->result = strdup(result);
			jobs->n_open--;
		}
	}
	return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_)
{
	struct jobs *jobs = userdata;
	const char *name, *owner;

	if (sd_bus_message_read(m, "sss", &name, NULL, &owner) >= 0 && !*owner)
		jobs->twinit_left = true;
	return 0;
}

static int listen(struct context *c, struct jobs *jobs)
{
	int r = client_open(c);
	if (r)
		return r;
	r = sd_bus_match_signal(c->bus, NULL, BUS_NAME, BUS_PATH, MANAGER_INTERFACE, "JobRemoved",
		on_job_removed, jobs);
	if (r >= 0)
		r = sd_bus_add_match(c->bus, NULL,
			"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',"
			"arg0='" BUS_NAME "'",
			on_owner_changed, jobs);
	return r < 0 ? client_fail(c, "JobRemoved", r, NULL) : 0;
}

static int queue(struct context *c, struct jobs *jobs, const char *method, const char *node)
{
	_cleanup_message_ sd_bus_message *reply = NULL;
	_cleanup_free_ char *id = node_id(node);
	const char *path;

	int r = client_call(c, method, id, "replace", &reply);
	if (r)
		return r;
	r = sd_bus_message_read(reply, "o", &path);
	if (r < 0)
		return client_fail(c, node, r, NULL);
	struct wanted *w = &jobs->list[jobs->n++];
	*w = (struct wanted){.id = STEAL_PTR(id), .job = strdup(path)};
	if (strcmp(path, "/") == 0)
		w->result = strdup("done"); /* there was nothing to do */
	else
		jobs->n_open++;
	return 0;
}

static int wait_all(struct context *c, struct jobs *jobs)
{
	while (jobs->n_open > 0) {
		int r = sd_bus_process(c->bus, NULL);
		if (r >= 0 && jobs->twinit_left) {
			complain("twinit has left the bus before the job was done");
			return EXIT_FAILURE;
		}
		if (r == 0)
			r = sd_bus_wait(c->bus, UINT64_MAX);
		if (r < 0 && r != -EINTR)
			return client_fail(c, "waiting for the job", r, NULL);
	}
	return 0;
}

/* The node itself knows best why its job failed. */
static void explain(struct context *c, const struct wanted *w)
{
	_cleanup_node_info_ struct node_info n = {0};

	if (strcmp(w->result, "canceled") == 0)
		complain("%s: job canceled: another one took its place", w->id);
	else if (node_info_get(c, w->id, &n) != 0)
		complain("%s: job %s", w->id, w->result);
	else
		complain("%s: job %s: %s%s%s; see 'twinctl status %s'", w->id, w->result, n.result,
			*n.result_detail ? ", " : "", n.result_detail, w->id);
}

static void report_json(const struct jobs *jobs)
{
	struct json j = json_to(stdout);

	json_array_begin(&j, NULL);
	for (size_t i = 0; i < jobs->n; i++) {
		json_object_begin(&j, NULL);
		json_string(&j, "id", jobs->list[i].id);
		json_string(&j, "job", jobs->list[i].job);
		json_string(&j, "result", jobs->list[i].result);
		json_object_end(&j);
	}
	json_array_end(&j);
	json_finish(&j);
}

int verb_job(struct context *c, int argc, char **argv)
{
	const char *method = strcmp(argv[0], "start") == 0  ? "StartNode"
			     : strcmp(argv[0], "stop") == 0 ? "StopNode"
							    : "RestartNode";
	struct jobs jobs = {.list = calloc((size_t)argc, sizeof(struct wanted))};
	int worst, r;

	if (!jobs.list)
		return client_fail(c, argv[0], -ENOMEM, NULL);
	worst = listen(c, &jobs);
	for (int i = 1; i < argc && c->bus; i++) {
		r = queue(c, &jobs, method, argv[i]);
		worst = MAX2(worst, r);
	}
	if (jobs.n > 0 && !c->no_block) {
		r = wait_all(c, &jobs);
		worst = MAX2(worst, r);
	}
	if (c->json)
		report_json(&jobs);
	for (size_t i = 0; i < jobs.n; i++) {
		struct wanted *w = &jobs.list[i];
		if (w->result && strcmp(w->result, "done") != 0 &&
			strcmp(w->result, "skipped") != 0) {
			explain(c, w);
			worst = MAX2(worst, EXIT_FAILURE);
		}
		free(w->id);
		free(w->job);
		free(w->result);
	}
	free(jobs.list);
	return worst;
}
