/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine tells, turned into events of the node's state machine. */
#include <errno.h>
#include <string.h>

#include "supervisor/keeper/keeper.h"

static void on_fatal(struct keeper *k, const struct twin_event *e, nsec_t seen)
{
	bool clean = policy_result_of_signal(&k->unit->success_exit_status, e->signal, e->core) ==
		     RESULT_SUCCESS;

	guard_dispatch(k, &(struct guard_input){
				  .event = clean ? GUARD_FATAL_CLEAN : GUARD_FATAL,
				  .seen = seen,
				  .signal = e->signal,
				  .core = e->core,
				  .address = e->fault_address,
				  .instruction = e->instruction,
			  });
}

static void on_exited(struct keeper *k, const struct twin_event *e, nsec_t seen)
{
	struct wait_event end = wait_classify((struct wait_status){e->status}, false);
	bool clean =
		policy_result_of_end(&k->unit->success_exit_status, &end, false) == RESULT_SUCCESS;

	/* ExecStart=-: whatever it exits with was on purpose; to be killed still is not. */
	clean |= end.kind == WAIT_EXITED && k->unit->exec_start.ignore_failure;
	if (k->main_pid == 0)
		return;
	/* The word about the exec is in the pipe by now, even if the loop has not been there. */
	if (k->state != NODE_RUNNING)
		start_check_exec(k);
	guard_dispatch(k, &(struct guard_input){
				  .event = clean ? GUARD_ENDED_CLEAN : GUARD_ENDED,
				  .seen = seen,
				  .status = e->status,
			  });
}

static void on_child(struct keeper *k, const struct twin_event *e)
{
	struct wait_event end = wait_classify((struct wait_status){e->status}, false);
	bool ok;

	if (e->pid == k->spawned.anchor)
		k->spawned.anchor = 0;
	if (e->pid != k->pre_pid) {
		(void)(reload_ended(k, e->pid, e->status) || backtrace_ended(k, e->pid, e->status));
		return;
	}
	start_check_exec(k);
	/* What it has left in its session is not for the node to live with (systemd.service(5)).
	 * It led the group: reaped, it leaves the number to nobody but the group's members. */
	if (kill(e->pid, 0) < 0 && errno == ESRCH)
		(void)kill(-e->pid, SIGKILL);
	ok = end.kind == WAIT_EXITED && end.exit_status == 0;
	k->pre_pid = 0;
	if (!ok && k->command->ignore_failure) {
		log_node(LOG_INFO, k->unit->id, "ExecStartPre=-%s failed, ignored",
			k->command->argv[0]);
		ok = true;
	}
	guard_dispatch(k, &(struct guard_input){.event = ok ? GUARD_PRE_OK : GUARD_PRE_FAILED,
				  .status = e->status});
}

/* It has entered a namespace of its own, as another process, or was to. */
static void note_identity(struct keeper *k)
{
	if (k->unit->twin.identity != IDENTITY_NAMESPACE || !k->traced)
		return;
	if (!twin_is_inside(k->engine)) {
		log_node(LOG_WARNING, k->unit->id, "%s; its identity is exact",
			twin_reason(k->engine));
		return;
	}
	guard_follow(k, twin_active_pid(k->engine));
	guard_report_state(k);
}

static void on_exec(struct keeper *k)
{
	if (!k->executed) {
		k->executed = true;
		note_identity(k);
		return;
	}
	log_node(LOG_INFO, k->unit->id, "process %d executed another program; its twins are gone",
		k->main_pid);
	arm_forget(&k->arm);
	thread_end_forget(k);
	if (k->arm.on)
		arm_start(&k->arm, k->unit->twin.interval);
}

static void on_twin_lost(struct keeper *k, const struct twin_event *e)
{
	bool oom = node_cgroup_kills(&k->cgroup) > 0;

	node_cgroup_account(&k->cgroup, oom);
	log_node(LOG_WARNING, k->unit->id, "twin %d was killed%s", e->pid,
		oom ? " by the OOM killer" : "");
	/* Not at once: who killed it for memory's sake would do so again. */
	if (k->arm.on && !k->arm.searching && twin_count(k->engine) == 0)
		arm_start(&k->arm, ARM_SKIPPED);
	else
		arm_report(&k->arm);
}

static void on_event(struct keeper *k, const struct twin_event *e, nsec_t seen)
{
	switch (e->type) {
	case TWIN_EVENT_FATAL:
		on_fatal(k, e, seen);
		break;
	case TWIN_EVENT_EXITED:
		on_exited(k, e, seen);
		break;
	case TWIN_EVENT_THREADS_ENDED:
		thread_end_note(k, e);
		break;
	case TWIN_EVENT_CHILD:
		on_child(k, e);
		break;
	case TWIN_EVENT_EXEC:
		on_exec(k);
		break;
	case TWIN_EVENT_STOPPED:
		log_node(LOG_INFO, k->unit->id, "stopped by SIG%s", sigabbrev_np(e->signal));
		k->arm.stopped = true;
		break;
	case TWIN_EVENT_CONTINUED:
		log_node(LOG_INFO, k->unit->id, "continued");
		k->arm.stopped = false;
		if (k->probes.on)
			probes_start(k, now_usec());
		if (k->arm.on)
			arm_start(&k->arm, ARM_AGAIN);
		break;
	case TWIN_EVENT_TWIN_LOST:
		on_twin_lost(k, e);
		break;
	case TWIN_EVENT_NONE:
		break;
	}
}

void events_drain(struct keeper *k)
{
	struct twin_event e;

	for (;;) {
		e = twin_next_event(k->engine);
		if (e.type == TWIN_EVENT_NONE)
			return;
		on_event(k, &e, now_nsec());
	}
}
