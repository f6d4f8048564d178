/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From fault to twin. failover_run() is entered with the fault fresh; up to the return of
 * twin_swap() it only decides: no log line, no message, no allocation. All that is to be told
 * is told when the node runs again.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "supervisor/keeper/keeper.h"

struct attempt {
	struct twin_swap swap;
	bool tried;      /* the engine was asked, and the active is no more */
	int error;       /* of the last try */
	const char *why; /* no twin was usable: in words */
	struct fault fault;
	char reason[TWIN_REASON_MAX];
};

static const char *may_not_swap(const struct keeper *k)
{
	if (!k->unit->twin.enabled)
		return "[Twin] Enabled=no";
	if (!k->traced)
		return "the node could not be traced";
	if (!k->want_up || k->leaving || k->no_swap)
		return "the node was ending";
	if (twin_count(k->engine) == 0)
		return k->ladder.last_swap ? "no twin was left" : "there was no twin yet";
	return NULL;
}

/*
 * A hang shows long after it began, and checkpoints go on meanwhile: of the twins taken since the
 * last sign of life none is known to be free of it, the newest least of all. So the newest that
 * was alive after its checkpoint, else the oldest; and -1 where all are copies of a twin that
 * took over and has never spoken since: they would hang as well, for ever.
 */
static int before_the_hang(const struct keeper *k, const struct guard_input *in, int generation)
{
	int count = (int)twin_count(k->engine);
	usec_t taken = 0;

	for (; generation < count; generation++) {
		taken = twin_taken_at(k->engine, (unsigned)generation) / NSEC_PER_USEC;
		if (taken <= in->probe->last_good)
			break;
	}
	generation = MIN2(generation, count - 1);
	if (k->ladder.last_swap && !in->probe->spoke && taken > k->ladder.last_swap)
		return -1;
	return generation;
}

static enum node_result cause_of(struct keeper *k, const struct guard_input *in)
{
	switch (in->event) {
	case GUARD_FATAL:
		return RESULT_SIGNAL; /* no core was written, and with luck none will be */
	case GUARD_ENDED:
		return guard_result_of_end(k, in->status);
	case GUARD_FAILOVER:
		return RESULT_REQUESTED;
	default:
		return in->cause;
	}
}

static struct fault fault_of(const struct guard_input *in)
{
	struct wait_event e;

	switch (in->event) {
	case GUARD_FATAL:
		if (!in->instruction)
			break;
		return (struct fault){.cause = RESULT_SIGNAL,
			.number = in->signal,
			.instruction = in->instruction,
			.address = in->address};
	case GUARD_ENDED:
		e = wait_classify((struct wait_status){in->status}, false);
		if (e.kind != WAIT_EXITED)
			break;
		return (struct fault){.cause = RESULT_EXIT_CODE, .number = e.exit_status};
	case GUARD_HANG:
		return (struct fault){.cause = in->cause, .number = in->probe_number};
	default:
		break;
	}
	return (struct fault){.cause = RESULT_SUCCESS};
}

static void swap_down_the_ladder(struct keeper *k, const struct guard_input *in, struct attempt *a)
{
	/* WATCHDOG=trigger is told at once; silence takes a period to be noticed. */
	bool silent = in->event == GUARD_HANG && in->probe && in->probe->notice;
	usec_t within = k->unit->failover.stable + (silent ? in->probe->notice : 0);
	int generation = 0, left;

	a->fault = fault_of(in);
	/* On the same path into the same fault: that it took longer is no sign of health. */
	if (fault_is_same(&a->fault, &k->faults.last))
		within *= LADDER_SAME_FAULT;
	a->error = -ENODATA;
	a->why = in->cold ? "[Probe] Action=restart" : may_not_swap(k);
	if (a->why)
		return;
	if (in->event != GUARD_FAILOVER)
		generation = ladder_failure(&k->ladder, twin_count(k->engine), within, now_usec());
	if (generation < 0) {
		a->why = "the twins failed again at once, three times in a row";
		return;
	}
	if (silent)
		generation = before_the_hang(k, in, generation);
	if (generation < 0) {
		a->why = "the twin hung as well";
		return;
	}
	/* A generation that failed is used up, and the older ones have moved up. */
	for (unsigned i = 0; i < TWIN_GENERATIONS_MAX; i++) {
		a->error = twin_swap(k->engine, (unsigned)generation, &a->swap);
		if (a->error == 0 || a->error == -ENODATA)
			return;
		a->tried = true;
		snprintf(a->reason, sizeof(a->reason), "%s", twin_reason(k->engine));
		a->why = a->reason;
		left = (int)twin_count(k->engine);
		if (left == 0)
			return;
		generation = MIN2(generation, left - 1);
	}
}

static int signal_of(const struct guard_input *in)
{
	if (in->event == GUARD_FATAL)
		return in->signal;
	return in->event == GUARD_ENDED && WIFSIGNALED(in->status) ? WTERMSIG(in->status) : 0;
}

#define FIELD_WIDTH 24
struct fields {
	char text[20][FIELD_WIDTH];
	const char *list[2 * 24 + 1];
	unsigned n_text, n;
};

static void add_text(struct fields *f, const char *key, const char *value)
{
	if (f->n + 2 >= ELEMENTSOF(f->list))
		return;
	f->list[f->n++] = key;
	f->list[f->n++] = value;
}

static void add_number(struct fields *f, const char *key, unsigned long long v)
{
	if (f->n_text >= ELEMENTSOF(f->text))
		return;
	snprintf(f->text[f->n_text], FIELD_WIDTH, "%llu", v);
	add_text(f, key, f->text[f->n_text++]);
}

static void log_failover(struct keeper *k, const struct keeper_failover_report *r, uint64_t address,
	const char *why_way)
{
	const char *sig = r->signal ? sigabbrev_np(r->signal) : NULL;
	struct fields f = {.n = 0};
	char why[40] = "", where[32] = "";

	add_text(&f, "CAUSE", node_result_to_string(r->cause));
	add_number(&f, "SIGNAL", (unsigned)r->signal);
	add_text(&f, "COLD", r->cold ? "yes" : "no");
	add_number(&f, "LATENCY_USEC", r->latency / NSEC_PER_USEC);
	add_number(&f, "ROLLBACK_USEC", r->rollback);
	add_number(&f, "OLD_PID", (unsigned)r->old_pid);
	add_number(&f, "NEW_PID", (unsigned)r->new_pid);
	if (!r->cold) {
		add_text(&f, "WAY", r->way);
		add_text(&f, "WHY_THIS_WAY", why_way ? why_way : "");
		add_number(&f, "GENERATION", r->generation);
		add_number(&f, "THREADS", r->n_threads);
		add_number(&f, "FDS_CLOSED", r->fds_closed);
		add_number(&f, "FDS_REPLACED", r->fds_replaced);
		add_number(&f, "EPOLL_CHANGES", r->epoll_changes);
		add_number(&f, "OFFSETS_RESTORED", r->offsets_restored);
		add_number(&f, "STREAMS_KEPT", r->streams_kept);
		add_number(&f, "STREAMS_MOVED", r->streams_moved);
		add_number(&f, "STREAMS_TORN", r->streams_torn);
	}
	if (r->detail[0])
		add_text(&f, r->cold ? "WHY_COLD" : "LOST", r->detail);
	if (r->fault[0])
		add_text(&f, "FAULT", r->fault);
	f.list[f.n] = NULL;

	if (sig)
		snprintf(why, sizeof(why), " (SIG%s)", sig);
	if (address)
		snprintf(where, sizeof(where), " at 0x%llx", (unsigned long long)address);
	log_fields(r->ok ? LOG_WARNING : LOG_ERR, k->unit->id, f.list, "%s%s%s: %s after %llu us",
		node_result_to_string(r->cause), why, where,
		!r->ok    ? "no twin and no restart"
		: r->cold ? "restarted cold"
			  : "twin took over",
		(unsigned long long)(r->latency / NSEC_PER_USEC));
}

static void send_failover(struct keeper *k, const struct keeper_failover_report *r)
{
	struct keeper_msg m = {.type = KEEPER_MSG_FAILOVER, .failover = *r};

	report_send(&k->report, &m);
}

/* The end that the twin made up for; the process itself may never have come to it. */
static void note_prevented_end(struct keeper *k, const struct guard_input *in)
{
	struct wait_event e;

	if (in->event == GUARD_FATAL) {
		k->exit_code = CLD_KILLED;
		k->exit_status = in->signal;
	} else if (in->event == GUARD_ENDED) {
		e = wait_classify((struct wait_status){in->status}, false);
		k->exit_code = wait_si_code(&e);
		k->exit_status = wait_si_status(&e);
	} else {
		return;
	}
	k->exec_exit = in->seen / NSEC_PER_USEC;
}

/* What a swap has cost the node's peers, in words. */
static void describe_loss(const struct twin_swap *s, char ret[KEEPER_TEXT_MAX])
{
	char torn[64] = "";

	if (s->streams_torn)
		snprintf(torn, sizeof(torn), "%u stream%s torn in mid-message", s->streams_torn,
			s->streams_torn == 1 ? "" : "s");
	/* The number first: what is cut off at the end is the engine's longer list. */
	snprintf(ret, KEEPER_TEXT_MAX, "%s%s%.160s", torn, torn[0] && s->lost[0] ? ", " : "",
		s->lost);
}

/* pid: a process that is laid out as the one that failed. */
static void note_fault(
	struct keeper *k, const struct attempt *a, pid_t pid, char ret[KEEPER_TEXT_MAX])
{
	struct fault f = a->fault;

	fault_locate(&f, pid);
	fault_remember(&k->faults, &f);
	fault_format(&f, ret, KEEPER_TEXT_MAX);
}

static void took_over(struct keeper *k, const struct guard_input *in, const struct attempt *a)
{
	const struct twin_swap *s = &a->swap;
	struct keeper_failover_report r = {
		.cause = cause_of(k, in),
		.signal = signal_of(in),
		.ok = true,
		.old_pid = s->old_pid,
		.new_pid = s->new_pid,
		.latency = s->latency,
		.at = s->begun / NSEC_PER_USEC,
		.rollback = s->rollback / NSEC_PER_USEC,
		.generation = s->generation,
		.n_threads = s->n_threads,
		.fds_closed = s->fds_closed,
		.fds_replaced = s->fds_replaced,
		.epoll_changes = s->epoll_changes,
		.offsets_restored = s->offsets_restored,
		.streams_kept = s->streams_kept,
		.streams_moved = s->streams_moved,
		.streams_torn = s->streams_torn,
	};

	describe_loss(s, r.detail);
	/* In place they are still its children, else nobody's that would be pleased. */
	if (s->way != TWIN_WAY_IN_PLACE)
		children_drop_all(&k->children);
	snprintf(r.way, sizeof(r.way), "%s", twin_way_to_string(s->way));
	note_fault(k, a, s->new_pid, r.fault);
	guard_follow(k, s->new_pid);
	k->leaving = false;
	thread_end_forget(k);
	k->arm.stopped = k->arm.refused = false;
	/* What was asked for is no failure that could come again soon. */
	if (in->event != GUARD_FAILOVER)
		ladder_swapped(&k->ladder, now_usec());
	note_prevented_end(k, in);
	/* What was said before that moment was said by the dead. */
	probes_start(k, (s->begun + s->latency) / NSEC_PER_USEC);
	log_failover(k, &r, in->address, s->why);
	event_fd_tell(&k->event_fd, &r);
	send_failover(k, &r);
	report_reply(&k->report, in->serial, 0, "twin took over");
	guard_report_state(k);
	backtrace_of_the_dead(k, &r, true);
	arm_start(&k->arm, ARM_AGAIN);
}

/* The cold way begins: what will be reported when it is at its end. */
static void go_cold(struct keeper *k, const struct guard_input *in, const struct attempt *a)
{
	k->no_swap = true;
	k->cold_seen = in->seen;
	k->cold = (struct keeper_failover_report){
		.cause = cause_of(k, in),
		.signal = signal_of(in),
		.cold = true,
		.old_pid = k->main_pid,
		.at = in->seen / NSEC_PER_USEC,
	};
	k->cold_tried = a->tried;
	note_fault(k, a, k->main_pid, k->cold.fault);
	snprintf(k->cold.detail, sizeof(k->cold.detail), "%s", a->why ? a->why : "");
}

void failover_cold_over(struct keeper *k, bool ok)
{
	struct keeper_failover_report *r = &k->cold;

	if (r->at == 0)
		return;
	r->ok = ok;
	r->new_pid = k->main_pid;
	r->latency = now_nsec() - k->cold_seen;
	/* A node that had no twin, and is not to be restarted, has simply failed. */
	if (ok || (k->cold_tried && k->want_up)) {
		log_failover(k, r, 0, NULL);
		send_failover(k, r);
	}
	*r = (struct keeper_failover_report){0};
}

/* The engine was asked, failed, and the active is gone: down, by the rules of Restart=. */
static void swap_broke(struct keeper *k, const struct guard_input *in, const struct attempt *a)
{
	log_node(LOG_ERR, k->unit->id, "twin could not take over: %s", a->why);
	report_reply(&k->report, in->serial, a->error, a->why);
	note_prevented_end(k, in);
	/* The cause stays the cause; only a node that was well until it was asked to fail over
	 * has failed because of its twin. */
	guard_blame(k, in->event == GUARD_FAILOVER ? RESULT_TWIN_FAILED : cause_of(k, in),
		"twin could not take over: %s", a->why);
	guard_settle(k);
}

static void no_twin(struct keeper *k, const struct guard_input *in, const struct attempt *a)
{
	switch (in->event) {
	case GUARD_FATAL:
		twin_let_die(k->engine);
		/* A core dump may take seconds; connections must not stay open that long. */
		twin_drop_all(k->engine);
		arm_stop(&k->arm);
		probes_stop(k);
		break;
	case GUARD_ENDED:
		guard_note_end(k, in->status);
		guard_settle(k);
		break;
	case GUARD_HANG:
		log_node(LOG_ERR, k->unit->id, "%s, and no twin: %s; sending SIGABRT",
			node_result_to_string(in->cause), a->why);
		guard_blame(k, in->cause, "%s", in->why);
		twin_drop_all(k->engine);
		arm_stop(&k->arm);
		probes_stop(k);
		guard_end_node(k, SIGABRT);
		break;
	default:
		break;
	}
}

void failover_run(struct keeper *k, const struct guard_input *in)
{
	struct attempt a = {.tried = false};

	k->oom_killed = false;
	swap_down_the_ladder(k, in, &a);
	/* It waited for children itself, and may have eaten the news of others. */
	ev_feed_event(k->loop, &k->sigchld, EV_SIGNAL);
	if (a.error == 0) {
		took_over(k, in, &a);
		return;
	}
	if (in->event == GUARD_FAILOVER && !a.tried) {
		report_reply(&k->report, in->serial, -ENODATA, a.why ? a.why : "there is no twin");
		return;
	}
	if (k->cold.at == 0)
		go_cold(k, in, &a);
	if (a.tried)
		swap_broke(k, in, &a);
	else
		no_twin(k, in, &a);
}
