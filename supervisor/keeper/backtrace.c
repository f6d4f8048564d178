/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/backtrace.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#include "supervisor/keeper/helper.h"
#include "supervisor/keeper/keeper.h"
#include "supervisor/twin/remains.h"

void backtrace_init(struct keeper *k, const char *folder)
{
	k->backtrace.folder = folder ? folder : "";
}

static void print_hex(FILE *f, const void *data, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = data;
	char line[512];
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		line[n++] = digits[p[i] >> 4];
		line[n++] = digits[p[i] & 15];
		if (n == sizeof(line)) {
			fwrite(line, 1, n, f);
			n = 0;
		}
	}
	fwrite(line, 1, n, f);
	fputc('\n', f);
}

/* Stacks only where the memory has moved on. */
static void print_threads(
	FILE *f, const struct twin_remains_thread *threads, unsigned n, bool stacks)
{
	for (unsigned i = 0; i < n; i++) {
		const struct twin_remains_thread *t = &threads[i];

		fprintf(f, "THREAD=%d %d %.15s\nREGS=", t->tid, t->at_fault, t->name);
		print_hex(f, &t->regs, sizeof(t->regs));
		if (t->stack_at && stacks) {
			fprintf(f, "STACK=%llx ", (unsigned long long)t->stack_at);
			print_hex(f, t->stack, t->stack_len);
		}
	}
}

static void print_info(struct keeper *k, FILE *f)
{
	usec_t now = now_usec();

	fprintf(f, "INFO=NODE_STATE=%s\nINFO=RESTARTS=%u\n", node_state_to_string(k->state),
		k->n_restarts);
	for (size_t i = 0; i < k->probes.n; i++) {
		const struct hosted_probe *h = &k->probes.list[i];
		if (h->probe.started)
			fprintf(f, "INFO=PROBE=%s %s, last sign of life %llu us ago%s%s\n",
				h->probe.name, probe_stage_to_string(h->told),
				(unsigned long long)(now - MIN2(h->probe.last_good, now)),
				h->why[0] ? ": " : "", h->why);
	}
	fprintf(f, "INFO=TWINS=%u\nINFO=CHECKPOINTS=%u\nINFO=CHECKPOINTS_SKIPPED=%u\n",
		twin_count(k->engine), k->arm.n_checkpoints, k->arm.n_skipped);
}

/* The order as a descriptor to read from. */
static int order_fd(const char *text, size_t len)
{
	int fd = memfd_create("backtrace", MFD_CLOEXEC);
	size_t done = 0;

	while (fd >= 0 && done < len) {
		ssize_t n = write(fd, text + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int r = -errno;
			close(fd);
			return r;
		}
		done += (size_t)n;
	}
	if (fd < 0)
		return -errno;
	(void)lseek(fd, 0, SEEK_SET);
	return fd;
}

static int launch(struct keeper *k, const char *text, size_t len)
{
	struct backtrace *b = &k->backtrace;
	char folder[PATH_MAX + 16], level[32];
	char *argv[] = {NULL, level, b->folder[0] ? folder : NULL, NULL};
	int order = order_fd(text, len);

	if (order < 0)
		return order;
	snprintf(folder, sizeof(folder), "--folder=%s", b->folder);
	snprintf(level, sizeof(level), "--log-level=%d", MAX2(log_level(), LOG_EMERG));
	b->pid = helper_spawn("twinit-backtrace", argv, &order, 1);
	close(order);
	if (b->pid < 0) {
		int r = b->pid;
		b->pid = 0;
		return r;
	}
	return 0;
}

struct subject {
	const char *kind, *cause, *fault, *outcome;
	int signal;
	pid_t pid, memory;
	bool live; /* the memory is a running process's */
	bool core;
};

static int start(struct keeper *k, const struct subject *s,
	const struct twin_remains_thread *threads, unsigned n)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int r = f ? 0 : -ENOMEM;

	k->backtrace.realtime = now_realtime_usec();
	if (f) {
		fprintf(f, "NODE=%s\nKIND=%s\nCAUSE=%s\nSIGNAL=%d\nFAULT=%s\nOUTCOME=%s\n",
			k->unit->id, s->kind, s->cause, s->signal, s->fault, s->outcome);
		fprintf(f, "PID=%d\nMEMORY_PID=%d\nREALTIME_USEC=%llu\nCORE=%s\n", s->pid,
			s->memory, (unsigned long long)k->backtrace.realtime,
			s->core ? "yes" : "no");
		print_info(k, f);
		print_threads(f, threads, n, s->live);
		r = fclose(f) == 0 ? launch(k, text, len) : -ENOMEM;
	}
	free(text);
	if (r < 0)
		log_node(LOG_WARNING, k->unit->id, "no back trace: %s", strerror(-r));
	if (r < 0)
		twin_remains_drop(k->engine);
	return r;
}

void backtrace_of_the_dead(
	struct keeper *k, const struct keeper_failover_report *r, bool runs_again)
{
	const struct twin_remains_thread *threads;
	pid_t memory;
	unsigned n = twin_remains(k->engine, &memory, &threads);
	/* Rolled back in place, the process has its old memory no more, but the stacks are here. */
	if (!memory && n > 0 && threads[0].stack_at && !r->cold)
		memory = r->new_pid;
	const struct subject s = {
		.kind = "crash",
		.cause = node_result_to_string(r->cause),
		.fault = r->fault,
		.outcome = !r->cold     ? "swapped"
			   : runs_again ? "cold-restart"
					: "failed",
		.signal = r->signal,
		.pid = r->old_pid,
		.memory = memory,
		.live = memory == r->new_pid,
		.core = k->unit->failover.core_dump,
	};

	if (!k->unit->failover.post_mortem || r->cause == RESULT_REQUESTED || !memory) {
		twin_remains_drop(k->engine);
		return;
	}
	if (k->backtrace.pid > 0) {
		log_node(LOG_INFO, k->unit->id, "no back trace of process %d: another is made",
			r->old_pid);
		return; /* what is dropped at the end of the other are these remains */
	}
	(void)start(k, &s, threads, n);
}

int backtrace_start(struct keeper *k, const char *why)
{
	const struct twin_remains_thread *threads = NULL;
	pid_t memory;
	const struct subject s = {
		.kind = "hang",
		.cause = why,
		.fault = "",
		.outcome = "watched",
		.pid = k->main_pid,
		.memory = k->main_pid,
		.live = true,
	};
	int n = 0;

	if (k->backtrace.pid > 0 || k->main_pid <= 0)
		return 0;
	if (k->traced) {
		prober_before_freeze(k);
		n = twin_snapshot(k->engine);
		prober_after_freeze(k);
		/* It waits for the node's threads, and may have eaten the news of others. */
		ev_feed_event(k->loop, &k->sigchld, EV_SIGNAL);
		if (n == -EBUSY || n == -EAGAIN)
			return -EAGAIN;
		if (n < 0) {
			log_node(LOG_WARNING, k->unit->id, "no back trace: %s",
				twin_reason(k->engine));
			return n;
		}
		(void)twin_remains(k->engine, &memory, &threads);
	}
	return start(k, &s, threads, (unsigned)n);
}

bool backtrace_ended(struct keeper *k, pid_t pid, int status)
{
	struct backtrace *b = &k->backtrace;
	struct wait_event end = wait_classify((struct wait_status){status}, false);
	struct keeper_msg m = {.type = KEEPER_MSG_RECORD};

	if (pid <= 0 || pid != b->pid)
		return false;
	b->pid = 0;
	twin_remains_drop(k->engine);
	if (!b->folder[0] || end.kind != WAIT_EXITED || end.exit_status != 0)
		return true;
	snprintf(m.text, sizeof(m.text), "%s@%llu.crash", k->unit->id,
		(unsigned long long)b->realtime);
	log_node(LOG_INFO, k->unit->id, "crash record %s", m.text);
	report_send(&k->report, &m);
	return true;
}
