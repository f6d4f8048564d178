/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of machine.c carried out: what each action does. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#include "supervisor/keeper/keeper.h"
#include "supervisor/twin/remains.h"

#define QUIT_PATIENCE 1.0 /* for the last words to be read */
/* For a back trace of what has failed for good. PID 1 waits for STOP_MARGIN_USEC. */
#define BACKTRACE_PATIENCE 4.0

void guard_report_state(struct keeper *k)
{
	struct keeper_msg m = {.type = KEEPER_MSG_STATE};
	struct keeper_state_report *s = &m.state;

	s->state = k->state;
	s->result = k->result;
	s->main_pid = k->main_pid;
	s->control_pid = k->pre_pid;
	s->exit_code = k->exit_code;
	s->exit_status = k->exit_status;
	s->exec_start = k->exec_start;
	s->exec_exit = k->exec_exit;
	s->n_restarts = k->n_restarts;
	snprintf(s->detail, sizeof(s->detail), "%s", k->detail);
	report_send(&k->report, &m);
}

void guard_set_state(struct keeper *k, enum node_state state)
{
	if (k->state != state)
		log_node(LOG_DEBUG, k->unit->id, "%s -> %s", node_state_to_string(k->state),
			node_state_to_string(state));
	k->state = state;
	guard_report_state(k);
}

void guard_expire_in(struct keeper *k, usec_t delay)
{
	ev_timer_stop(k->loop, &k->state_timer);
	if (delay == USEC_INFINITY)
		return;
	ev_now_update(k->loop);
	ev_timer_set(&k->state_timer, (double)delay / USEC_PER_SEC, 0.);
	ev_timer_start(k->loop, &k->state_timer);
}

void guard_blame(struct keeper *k, enum node_result result, const char *fmt, ...)
{
	va_list ap;

	if (k->result == RESULT_SUCCESS)
		k->result = result;
	if (k->detail[0])
		return;
	va_start(ap, fmt);
	vsnprintf(k->detail, sizeof(k->detail), fmt, ap);
	va_end(ap);
}

static void describe_end(const struct wait_event *e, bool oom, char *ret, size_t size)
{
	const char *name = e->signal ? sigabbrev_np(e->signal) : NULL;

	if (oom)
		snprintf(ret, size, "killed by the OOM killer");
	else if (e->kind == WAIT_EXITED)
		snprintf(ret, size, "exited with status %d", e->exit_status);
	else if (name)
		snprintf(ret, size, "killed by SIG%s%s", name,
			e->kind == WAIT_CORE_DUMP ? ", core dumped" : "");
	else
		snprintf(ret, size, "killed by signal %d", e->signal);
}

enum node_result guard_result_of_end(struct keeper *k, int status)
{
	struct wait_event e = wait_classify((struct wait_status){status}, false);

	if (e.kind == WAIT_KILLED && e.signal == SIGKILL && !k->oom_killed &&
		node_cgroup_kills(&k->cgroup) > 0) {
		node_cgroup_account(&k->cgroup, 1);
		k->oom_killed = true;
	}
	return policy_result_of_end(&k->unit->success_exit_status, &e, k->oom_killed);
}

void guard_note_end(struct keeper *k, int status)
{
	struct wait_event e = wait_classify((struct wait_status){status}, false);
	enum node_result result = guard_result_of_end(k, status);
	bool ending = k->state == NODE_STOP_SIGTERM || k->state == NODE_STOP_SIGKILL;
	bool asked = ending && e.kind != WAIT_EXITED && e.signal == k->unit->kill_signal;
	char how[64];

	k->exit_code = wait_si_code(&e);
	k->exit_status = wait_si_status(&e);
	describe_end(&e, k->oom_killed, how, sizeof(how));
	log_node(LOG_INFO, k->unit->id, "process %d %s", k->main_pid, how);
	/* To die of the signal that the unit itself names is what was asked for, also where it
	 * is none of the four. */
	if (result != RESULT_SUCCESS && !asked && !k->unit->exec_start.ignore_failure)
		guard_blame(k, result, "%s", how);
}

/*
 * All that is in the node's process group. Its number may be somebody else's by now only if no
 * member of ours is left, and then a process with that number exists, whereas the founder of
 * our group ended at once: once that is reaped, nobody may have the number as a pid.
 */
static bool kill_group(struct keeper *k, int sig)
{
	bool ours = k->spawned.anchor > 0 || (kill(k->group, 0) < 0 && errno == ESRCH);

	return k->group > 1 && ours && kill(-k->group, sig) == 0;
}

void guard_follow(struct keeper *k, pid_t pid)
{
	pid_t group = twin_group(k->engine);

	k->main_pid = pid;
	if (group > 0)
		k->group = group;
}

static void kill_helper(struct keeper *k, int sig)
{
	/* It may not have come to its setsid() yet. */
	if (k->pre_pid > 0 && kill(-k->pre_pid, sig) < 0)
		(void)kill(k->pre_pid, sig);
}

void guard_end_node(struct keeper *k, int sig)
{
	kill_helper(k, sig);
	kill_helper(k, SIGCONT);
	if (k->main_pid > 0) {
		/* The group has the node as well, unless it has made a group of its own; nobody
		 * should get the signal twice. */
		bool reached = kill_group(k, sig) && getpgid(k->main_pid) == k->group;
		if (!reached)
			(void)twin_kill(k->engine, sig);
		(void)twin_kill(k->engine, SIGCONT);
		/* Still held back, it has all signals blocked: it takes this one on its way. */
		spawn_release(&k->spawned);
	}
	guard_expire_in(k, k->unit->timeout_stop_usec);
	guard_set_state(k, sig == SIGKILL ? NODE_STOP_SIGKILL : NODE_STOP_SIGTERM);
}

static void drop_twins(struct keeper *k)
{
	twin_drop_all(k->engine);
	arm_stop(&k->arm);
	probes_stop(k);
}

static void finish(struct keeper *k, enum node_state state)
{
	failover_cold_over(k, false);
	guard_expire_in(k, USEC_INFINITY);
	guard_set_state(k, state);
	if (state == NODE_FAILED)
		log_node(LOG_ERR, k->unit->id, "failed: %s%s%s", node_result_to_string(k->result),
			k->detail[0] ? ": " : "", k->detail);
	k->done = true;
	ev_prepare_start(k->loop, &k->quit_prepare);
	ev_timer_set(&k->quit_timer, k->backtrace.pid > 0 ? BACKTRACE_PATIENCE : QUIT_PATIENCE, 0.);
	ev_timer_start(k->loop, &k->quit_timer);
}

void guard_settle(struct keeper *k)
{
	if (k->main_pid > 0) {
		twin_forget(k->engine);
		if (k->cold.at)
			backtrace_of_the_dead(k, &k->cold,
				k->want_up && policy_wants_restart(k->unit->restart, k->result));
		else if (k->backtrace.pid == 0)
			twin_remains_drop(k->engine);
		(void)kill_group(k, SIGKILL);
		k->exec_exit = now_usec();
		/* A run that lasted longer than any delay has nothing to do with those before. */
		if (k->unit->restart_max_delay != USEC_INFINITY &&
			k->exec_exit - k->exec_start > k->unit->restart_max_delay)
			k->restarts_in_row = 0;
	}
	k->main_pid = k->pre_pid = k->group = 0;
	ev_io_stop(k->loop, &k->exec_io);
	ev_prepare_stop(k->loop, &k->release_prepare);
	spawned_close(&k->spawned);
	arm_stop(&k->arm);
	probes_stop(k);
	reload_cancel(k);
	thread_end_forget(k);
	event_fd_close(&k->event_fd);

	if (k->want_up && policy_wants_restart(k->unit->restart, k->result)) {
		guard_expire_in(k, policy_restart_delay(k->unit, k->restarts_in_row++));
		guard_set_state(k, NODE_AUTO_RESTART);
		return;
	}
	finish(k, k->result == RESULT_SUCCESS ? NODE_DEAD : NODE_FAILED);
}

static void do_settle(struct keeper *k, const struct guard_input *in)
{
	if (in->event == GUARD_ENDED || in->event == GUARD_ENDED_CLEAN) {
		guard_note_end(k, in->status);
		if (k->state == NODE_START && k->unit->type == UNIT_NOTIFY)
			guard_blame(k, RESULT_PROTOCOL, "ended before it said READY=1");
	}
	guard_settle(k);
}

static void do_pre_broke(struct keeper *k, const struct guard_input *in)
{
	struct wait_event e = wait_classify((struct wait_status){in->status}, false);
	enum node_result result = policy_result_of_end(NULL, &e, false);
	char how[64];

	describe_end(&e, false, how, sizeof(how));
	/* Even a clean signal is no success for a command that has to succeed. */
	guard_blame(k, result == RESULT_SUCCESS ? RESULT_SIGNAL : result, "ExecStartPre=%s: %s",
		k->command->argv[0], how);
	k->exit_code = wait_si_code(&e);
	k->exit_status = wait_si_status(&e);
	guard_settle(k);
}

static void do_run(struct keeper *k, _unused_ const struct guard_input *in)
{
	failover_cold_over(k, true); /* READY=1 may be all that was heard of its start */
	guard_expire_in(k, USEC_INFINITY);
	guard_set_state(k, NODE_RUNNING);
	probes_start(k, now_usec());
	arm_start(&k->arm, ARM_FIRST);
}

static void do_enter(struct keeper *k, const struct guard_input *in)
{
	log_node(LOG_INFO, k->unit->id, "started, process %d", k->main_pid);
	failover_cold_over(k, true);
	if (k->unit->type == UNIT_NOTIFY)
		guard_report_state(k);
	else
		do_run(k, in);
}

static void do_let_die(struct keeper *k, _unused_ const struct guard_input *in)
{
	twin_let_die(k->engine);
}

static void do_let_leave(struct keeper *k, _unused_ const struct guard_input *in)
{
	twin_let_die(k->engine);
	/* It ends on purpose: its twins must not keep its connections open meanwhile. */
	drop_twins(k);
}

static void do_time_out(struct keeper *k, _unused_ const struct guard_input *in)
{
	guard_blame(k, RESULT_TIMEOUT, "%s timed out after TimeoutStartSec=",
		k->state == NODE_START_PRE ? "ExecStartPre=" : "start");
	guard_end_node(k, k->unit->kill_signal);
}

static void do_terminate(struct keeper *k, _unused_ const struct guard_input *in)
{
	k->want_up = false;
	drop_twins(k);
	guard_end_node(k, k->unit->kill_signal);
}

static void do_want_down(struct keeper *k, _unused_ const struct guard_input *in)
{
	k->want_up = false;
}

static void do_kill(struct keeper *k, _unused_ const struct guard_input *in)
{
	guard_blame(k, RESULT_TIMEOUT, "did not end within TimeoutStopSec=, killed");
	log_node(LOG_WARNING, k->unit->id, "does not end, sending SIGKILL");
	guard_end_node(k, SIGKILL);
}

static void do_give_up(struct keeper *k, _unused_ const struct guard_input *in)
{
	log_node(LOG_ERR, k->unit->id, "process %d survives SIGKILL (uninterruptible), left behind",
		k->main_pid ? k->main_pid : k->pre_pid);
	guard_blame(k, RESULT_TIMEOUT, "did not end after SIGKILL");
	k->main_pid = k->pre_pid = 0;
	arm_stop(&k->arm);
	probes_stop(k);
	reload_cancel(k);
	thread_end_forget(k);
	event_fd_close(&k->event_fd);
	finish(k, NODE_FAILED);
}

static void do_stay_down(struct keeper *k, _unused_ const struct guard_input *in)
{
	k->want_up = false;
	/* How the last run ended was told when it did; to stay down is what was asked for. */
	finish(k, NODE_DEAD);
}

typedef void (*action_fn)(struct keeper *k, const struct guard_input *in);
static const action_fn actions[] = {
	[_GUARD_HOLE] = NULL,
	[GUARD_IGNORE] = NULL,
	[GUARD_BEGIN] = start_begin,
	[GUARD_NEXT_PRE] = start_next_pre,
	[GUARD_PRE_BROKE] = do_pre_broke,
	[GUARD_ENTER] = do_enter,
	[GUARD_RUN] = do_run,
	[GUARD_NOTE_EXEC] = start_note_exec,
	[GUARD_LET_DIE] = do_let_die,
	[GUARD_LET_LEAVE] = do_let_leave,
	[GUARD_FAIL_OVER] = failover_run,
	[GUARD_TIME_OUT] = do_time_out,
	[GUARD_TERMINATE] = do_terminate,
	[GUARD_WANT_DOWN] = do_want_down,
	[GUARD_KILL] = do_kill,
	[GUARD_GIVE_UP] = do_give_up,
	[GUARD_SETTLE] = do_settle,
	[GUARD_STAY_DOWN] = do_stay_down,
};
static_assert(ELEMENTSOF(actions) == _GUARD_ACTION_MAX, "a function for each action");

void guard_dispatch(struct keeper *k, const struct guard_input *in)
{
	/* From here to twin_swap() nothing is logged, sent or allocated. */
	action_fn f = actions[machine_next(k->state, in->event)];

	if (f && !k->done)
		f(k, in);
	else if (in->event == GUARD_FAILOVER)
		report_reply(&k->report, in->serial, -EBUSY, "the node does not run");
}

static void on_state_timer(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	guard_dispatch(w->data, &(struct guard_input){.event = GUARD_EXPIRED});
}

static void on_quit_timer(struct ev_loop *loop, _unused_ ev_timer *w, _unused_ int revents)
{
	ev_break(loop, EVBREAK_ALL);
}

static void on_quit_prepare(struct ev_loop *loop, ev_prepare *w, _unused_ int revents)
{
	struct keeper *k = w->data;

	if (report_is_idle(&k->report) && k->backtrace.pid == 0)
		ev_break(loop, EVBREAK_ALL);
}

void guard_init(struct keeper *k)
{
	k->state = NODE_DEAD;
	k->want_up = true;
	k->spawned = (struct spawned)SPAWNED_NONE;
	k->event_fd = (struct event_fd)EVENT_FD_NONE;
	reload_init(k);
	thread_end_init(k);
	ev_init(&k->state_timer, on_state_timer);
	ev_init(&k->quit_timer, on_quit_timer);
	ev_prepare_init(&k->quit_prepare, on_quit_prepare);
	k->state_timer.data = k->quit_timer.data = k->quit_prepare.data = k;
}
