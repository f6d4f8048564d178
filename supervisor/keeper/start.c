/* SPDX-License-Identifier: Apache-2.0 */
/* The way up: start limit, lookups, ExecStartPre= one after the other, the node itself. */
#include <errno.h>
#include <string.h>

#include "supervisor/keeper/keeper.h"

/* What happened to the last run must not be told of this one. */
static void new_run(struct keeper *k)
{
	if (k->state == NODE_AUTO_RESTART)
		k->n_restarts++;
	k->result = RESULT_SUCCESS;
	k->detail[0] = '\0';
	k->oom_killed = false;
	k->thread_end.n = 0;
	k->next_pre = 0;
	k->traced = k->executed = k->leaving = k->no_swap = false;
	k->ladder = (struct ladder){0};
	probes_reset(k);
	arm_forget(&k->arm);
}

static void on_exec_io(_unused_ struct ev_loop *loop, ev_io *w, _unused_ int revents)
{
	events_drain(w->data); /* first who it is now: it may have entered a namespace */
	start_check_exec(w->data);
}

static void watch_exec(struct keeper *k)
{
	ev_io_stop(k->loop, &k->exec_io);
	ev_io_init(&k->exec_io, on_exec_io, k->spawned.status_fd, EV_READ);
	k->exec_io.data = k;
	ev_io_start(k->loop, &k->exec_io);
}

void start_check_exec(struct keeper *k)
{
	struct spawn_failure failure;
	int r = spawn_result(&k->spawned, &failure);

	if (r == -EAGAIN)
		return;
	ev_io_stop(k->loop, &k->exec_io);
	if (r == 0)
		guard_dispatch(
			k, &(struct guard_input){.event = GUARD_EXEC_FAILED, .failure = &failure});
	else if (k->main_pid > 0)
		guard_dispatch(k, &(struct guard_input){.event = GUARD_EXECUTED});
}

void start_note_exec(struct keeper *k, const struct guard_input *in)
{
	spawn_failure_format(in->failure, k->unit, k->command, k->detail, sizeof(k->detail));
	log_node(LOG_ERR, k->unit->id, "%s", k->detail);
	/* A failed ExecStartPre= with "-" is no failure of the node. */
	if (k->command->ignore_failure)
		k->detail[0] = '\0';
	else
		guard_blame(k, RESULT_EXIT_CODE, "%s", k->detail);
}

static void broke(struct keeper *k, int error, const char *what)
{
	guard_blame(k, RESULT_RESOURCES, "%s: %s", what, strerror(-error));
	guard_settle(k);
}

/* Supervised, but not guarded: said once, loudly. */
static void go_untraced(struct keeper *k, int error)
{
	char reason[KEEPER_TEXT_MAX];

	snprintf(reason, sizeof(reason), "cannot trace: %s", strerror(-error));
	log_node(LOG_ERR, k->unit->id, "%s; supervised without a twin", reason);
	twin_watch(k->engine, k->main_pid);
	arm_refuse(&k->arm, reason);
}

/*
 * The node may run only once the supervisor can know of it: if this process died in between,
 * nobody would. While it waits it is nothing but a fork, which ends with us.
 */
static void release_node(struct keeper *k)
{
	if (report_is_idle(&k->report))
		spawn_release(&k->spawned);
	else
		ev_prepare_start(k->loop, &k->release_prepare);
}

static void on_release_prepare(struct ev_loop *loop, ev_prepare *w, _unused_ int revents)
{
	struct keeper *k = w->data;

	if (!report_is_idle(&k->report))
		return;
	ev_prepare_stop(loop, w);
	spawn_release(&k->spawned);
}

void start_init(struct keeper *k)
{
	ev_prepare_init(&k->release_prepare, on_release_prepare);
	k->release_prepare.data = k;
}

static void start_node(struct keeper *k)
{
	int r;

	r = spawn_node(k->plan, &k->spawned);
	if (r < 0) {
		broke(k, r, "cannot fork");
		return;
	}
	k->command = &k->unit->exec_start;
	k->main_pid = k->spawned.pid;
	k->group = k->spawned.group;
	k->exec_start = now_usec();
	twin_lend(k->engine, k->plan->lends ? SPAWN_LENT_CAPABILITIES : 0);
	r = k->unit->twin.enabled ? twin_attach(k->engine, k->main_pid) : 0;
	k->traced = k->unit->twin.enabled && r == 0;
	k->spawned.lent = k->traced && k->plan->lends;
	if (r < 0)
		go_untraced(k, r);
	else if (!k->traced)
		twin_watch(k->engine, k->main_pid);
	watch_exec(k);
	guard_expire_in(k, k->unit->timeout_start_usec);
	guard_set_state(k, NODE_START);
	release_node(k);
}

void start_next_pre(struct keeper *k, _unused_ const struct guard_input *in)
{
	int r;

	k->pre_pid = 0;
	spawned_close(&k->spawned);
	if (k->next_pre >= k->unit->n_exec_start_pre) {
		start_node(k);
		return;
	}
	k->command = &k->unit->exec_start_pre[k->next_pre++];
	r = spawn_helper(k->plan, k->command, &k->spawned);
	if (r < 0) {
		broke(k, r, "cannot fork");
		return;
	}
	k->pre_pid = k->spawned.pid;
	watch_exec(k);
	guard_expire_in(k, k->unit->timeout_start_usec);
	guard_set_state(k, NODE_START_PRE);
}

/* The last run's twins hold its ports until they have ended. Nobody waits for that for ever. */
#define DYING_LOOK USEC_PER_MSEC
#define DYING_LOOKS 1000

void start_begin(struct keeper *k, _unused_ const struct guard_input *in)
{
	const struct unit *u = k->unit;
	char why[KEEPER_TEXT_MAX];
	int r, status;

	if (k->state == NODE_AUTO_RESTART && twin_dying(k->engine) > 0 &&
		k->n_looks++ < DYING_LOOKS) {
		guard_expire_in(k, DYING_LOOK);
		return;
	}
	k->n_looks = 0;
	if (!start_limit_allows(
		    &k->start_limit, u->start_limit_interval, u->start_limit_burst, now_usec())) {
		char last[KEEPER_TEXT_MAX];

		snprintf(last, sizeof(last), "%s", k->detail);
		k->result = RESULT_SUCCESS;
		k->detail[0] = '\0';
		guard_blame(k, RESULT_START_LIMIT_HIT,
			"started %u times within %llu ms; last: %.180s", u->start_limit_burst,
			(unsigned long long)(u->start_limit_interval / USEC_PER_MSEC),
			last[0] ? last : "ended");
		guard_settle(k);
		return;
	}
	new_run(k);
	spawn_plan_free(STEAL_PTR(k->plan));
	r = spawn_plan_new(u, k->notify_fd >= 0 ? k->notify_path : NULL, &k->plan, why, &status);
	if (r < 0) {
		log_node(LOG_ERR, u->id, "%s", why);
		/* As if the new process had found out: systemd's numbers for it. */
		k->exit_code = CLD_EXITED;
		k->exit_status = status;
		/* systemd's child finds out about User= and Group=, and exits with that number;
		 * files and memory are the manager's, which has only "resources" to say. */
		guard_blame(k,
			status == spawn_exit_status(SPAWN_USER) ||
					status == spawn_exit_status(SPAWN_GROUP)
				? RESULT_EXIT_CODE
				: RESULT_RESOURCES,
			"%s", why);
		guard_settle(k);
		return;
	}
	spawn_plan_set_cgroup(k->plan, &k->cgroup);
	if (u->failover.event_fd) {
		r = event_fd_open(&k->event_fd);
		if (r == 0)
			r = spawn_plan_set_event_fd(k->plan, k->event_fd.node);
		if (r < 0) {
			broke(k, r, "EventFD=");
			return;
		}
	}
	if (u->type == UNIT_NOTIFY && k->notify_fd < 0) {
		guard_blame(k, RESULT_RESOURCES, "Type=notify: no notification socket");
		guard_settle(k);
		return;
	}
	start_next_pre(k, in);
}
