/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Nodes without processes, for tests of order and jobs: units from text, a manager without a
 * loop, and starts and stops that only write down who was asked. A test says itself what became
 * of them (node_arrives() and friends) and runs the queue with jobs_run().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "supervisor/base/log.h"
#include "supervisor/job.h"
#include "supervisor/manager.h"
#include "supervisor/order.h"

/* "start a;stop b;" since the last take_trace(); "done a" and so on for jobs that ended. */
static char trace[4096];

static inline void note(const char *what, const struct node *n)
{
	size_t len = strlen(trace);
	snprintf(trace + len, sizeof(trace) - len, "%s %s;", what, n->id);
}

static inline int fake_start(struct node *n)
{
	note("start", n);
	n->want_up = true;
	n->report = (struct keeper_state_report){0};
	n->keeper_pid = 1000;
	node_set_state(n, NODE_START);
	return 0;
}

static inline void fake_stop(struct node *n)
{
	n->want_up = false;
	if (n->keeper_pid == 0)
		return;
	note("stop", n);
	node_set_state(n, NODE_STOP_SIGTERM);
}

static const struct node_ops fake_ops = {.start = fake_start, .stop = fake_stop};

static inline void on_job_removed(struct job *j, const char *result, _unused_ void *userdata)
{
	note(result, j->node);
}

/* What became of the nodes named, one letter each. */
static inline void node_arrives(struct manager *m, const char *ids)
{
	for (; *ids; ids++)
		node_set_state(manager_find_node(m, (char[]){*ids, 0}), NODE_RUNNING);
	jobs_run(m);
}

static inline void node_goes(struct manager *m, const char *ids, enum node_result result)
{
	for (; *ids; ids++) {
		struct node *n = manager_find_node(m, (char[]){*ids, 0});
		n->keeper_pid = 0;
		n->report.result = result;
		node_set_state(n, result == RESULT_SUCCESS ? NODE_DEAD : NODE_FAILED);
	}
	jobs_run(m);
}

static inline struct node *add_unit(struct manager *m, const char *id, const char *settings)
{
	struct diag_list diags = DIAG_LIST_INIT;
	struct node *n = node_new(m, id, id);
	char text[1024], name[80];

	assert_non_null(n);
	snprintf(name, sizeof(name), "%s.ini", id);
	snprintf(text, sizeof(text), "[Unit]\n%s\n[Service]\nExecStart=/bin/true\n", settings);
	assert_int_equal(unit_load_text(name, text, strlen(text), &n->unit, &diags), 0);
	diag_list_clear(&diags);
	n->load_state = "loaded";
	assert_int_equal(manager_insert_node(m, n), 0);
	return n;
}

/* Pairs of id and settings, NULL at the end. */
static inline struct manager *new_manager(const char *const *units)
{
	struct manager *m;

	log_set_journal(NULL);
	log_set_level(-1);
	assert_int_equal(manager_new(NULL, &m), 0);
	m->ops = &fake_ops;
	m->events.job_removed = on_job_removed;
	for (; units[0]; units += 2)
		add_unit(m, units[0], units[1]);
	assert_int_equal(order_resolve(m), 0);
	trace[0] = '\0';
	return m;
}

static inline void assert_trace(const char *expected)
{
	assert_string_equal(trace, expected);
	trace[0] = '\0';
}

static inline struct job *add_job(struct manager *m, enum job_type t, const char *id)
{
	const char *name = "unset";
	struct job *j = NULL;

	assert_int_equal(manager_add_job(m, t, manager_find_node(m, id), "replace", &j, &name), 0);
	assert_null(name);
	assert_non_null(j);
	return j;
}
