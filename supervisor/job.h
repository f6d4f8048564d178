/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The job queue: what has been asked for and is not yet done. A node has one job at most; a job
 * waits until order.h lets it run, and ends with one of systemd's words: "done", "failed",
 * "dependency" (a required node did not start), "canceled" (another job took its place).
 *
 * A request becomes a transaction: the job and all that it pulls in are added, or nothing is.
 * Adding never runs anything: the queue is run from the loop, so that who asked gets the job's
 * id before it hears of the job's end.
 */
#include "supervisor/manager.h"

/* manager_add_job() without its look at the system's state. */
_must_check_ int job_transaction(struct manager *m, enum job_type type, struct node *n,
	const char *mode, struct job **ret_job, const char **ret_error_name);
/* Let all jobs go as far as they can. */
void jobs_run(struct manager *m);
/* Replace whatever is queued by a stop of every node; works without memory, then unordered. */
void jobs_stop_all(struct manager *m);
/* Remove all jobs without a word to anyone. */
void jobs_free(struct manager *m);

/* Whether the job is yet to stop its node: a stop, or a restart's first half. */
static inline bool job_will_stop(const struct job *j)
{
	return j->type == JOB_STOP || (j->type == JOB_RESTART && !j->stopped);
}
static inline bool job_will_start(const struct job *j)
{
	return j->type == JOB_START || j->type == JOB_RESTART;
}
