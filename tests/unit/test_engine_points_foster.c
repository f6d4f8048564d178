/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that is another's child: that one blocks in wait() all the time, and hears of nothing
 * but the end of its child, as it was, and of no child that it has not made.
 */
#include "tests/unit/test_victim_run.h"

#include <poll.h>

#include "supervisor/twin/fault_point.h"

#define CHECK(cond, ...) ((cond) || run_fail(&run, #cond ": " __VA_ARGS__))

/* What wait() told the parent. */
struct told {
	pid_t pid;
	int status;
};

static struct victim_run run;
static int told_fd = -1;

static void tell(int fd, pid_t pid, int status)
{
	struct told t = {pid, status};

	if (write(fd, &t, sizeof(t)) != sizeof(t))
		_exit(1);
}

/* The parent: one child, and then nobody. */
static void be_parent(const char *name, int memfd, int fd)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		exec_victim(&run, name, memfd, true);
	tell(fd, pid, 0);
	pid = wait(&status);
	tell(fd, pid, status);
	pid = wait(&status);
	tell(fd, pid < 0 ? -errno : pid, 0);
	_exit(0);
}

static struct told listen(void)
{
	struct told t = {0};
	struct pollfd p = {.fd = told_fd, .events = POLLIN};
	nsec_t until = now_nsec() + VICTIM_PATIENCE;

	/* Its child's end passes through our hands. */
	while (poll(&p, 1, 1) == 0 && now_nsec() < until)
		run_take_events(&run);
	if (read(told_fd, &t, sizeof(t)) != sizeof(t))
		(void)run_fail(&run, "the parent says nothing");
	return t;
}

static bool parent_heard(void)
{
	struct pollfd p = {.fd = told_fd, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

static bool begin(const char *name)
{
	int fds[2], memfd, r;
	pid_t parent;

	run_config.foster = true;
	run_config.way = TWIN_WAY_IN_PLACE;
	memfd = run_prepare(&run, 1);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	parent = fork();
	assert_true(parent >= 0);
	if (parent == 0)
		be_parent(name, memfd, fds[1]);
	close(fds[1]);
	close(memfd);
	told_fd = fds[0];
	run.pid = listen().pid;
	if (!run_progress(&run, 1))
		return false;
	r = twin_attach_running(run.e, run.pid);
	return CHECK(r == 0, "%d, %s", r, twin_reason(run.e));
}

/* The end as the parent has to see it, of a child that nobody keeps. */
static bool parent_sees(int status)
{
	struct told end = listen(), nobody = listen();

	return CHECK(end.pid == run.pid && end.status == status, "wait(): %d, status %x", end.pid,
		       (unsigned)end.status) &&
	       CHECK(nobody.pid == -ECHILD, "wait() again: %d", nobody.pid);
}

static void finish(void)
{
	if (twin_active_pid(run.e)) {
		(void)kill(run.pid, SIGKILL);
		run.end = (struct twin_event){0};
		(void)run_until(&run, run.end.type == TWIN_EVENT_EXITED, "the end by force");
	}
	twin_forget(run.e);
	close(told_fd);
	run_take_away(&run);
	run_config.foster = false;
	if (run.failure[0])
		fail_msg("%s", run.failure);
}

/* Its children and those of them that are zombies. */
static unsigned children(pid_t pid, unsigned *ret_zombies)
{
	char path[64], stat[256];
	unsigned n = 0;
	int child;

	*ret_zombies = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	FILE *f = fopen(path, "re");
	while (f && fscanf(f, "%d", &child) == 1) {
		n++;
		snprintf(path, sizeof(path), "/proc/%d/stat", child);
		FILE *g = fopen(path, "re");
		*ret_zombies += g && fgets(stat, sizeof(stat), g) && strstr(stat, ") Z ");
		if (g)
			fclose(g);
	}
	if (f)
		fclose(f);
	return n;
}

static bool crash_and_swap(void)
{
	struct twin_checkpoint cp;
	struct twin_swap sw;
	uint64_t then;
	int r;

	if (!run_checkpoint(&run, &cp) || !run_progress(&run, 3))
		return false;
	then = atomic_load(&run.shared->counter); /* 0: it counts otherwise */
	atomic_store(&run.shared->command, VICTIM_SEGV);
	if (!run_await_end(&run) || !CHECK(run.end.type == TWIN_EVENT_FATAL, "no fault") ||
		!CHECK(run.end.sender == 0, "sent by %d", run.end.sender))
		return false;
	run.end = (struct twin_event){0};
	r = twin_swap(run.e, 0, &sw);
	return CHECK(r == 0, "%d, %s", r, twin_reason(run.e)) &&
	       CHECK(sw.way == TWIN_WAY_IN_PLACE && sw.new_pid == run.pid, "%s", sw.why) &&
	       CHECK(sw.lost[0] == '\0', "%s", sw.lost) &&
	       run_until(&run, !then || atomic_load(&run.shared->counter) < then, "the rollback") &&
	       run_progress(&run, 3) && CHECK(!parent_heard(), "the parent heard of it");
}

/* Each victim counts in its own memory. */
static void crashes(const char *name)
{
	if (begin(name)) {
		for (unsigned i = 0; i < 5 && crash_and_swap(); i++)
			;
		if (!run.failure[0]) {
			atomic_store(&run.shared->stop, 1);
			(void)parent_sees(0);
		}
	}
	finish();
}

static void one_thread_crashes(void **state)
{
	(void)state;
	crashes("one_thread");
}

static void many_checkpoints(void **state)
{
	struct twin_checkpoint cp;
	unsigned zombies = 0, n = 0;

	(void)state;
	if (begin("sixteen_threads")) {
		for (unsigned i = 0; i < 20 && run_checkpoint(&run, &cp); i++)
			(void)run_progress(&run, 1);
		n = children(run.pid, &zombies);
		/* The holder, a twin, and the one before it. */
		(void)(CHECK(n <= 3 && zombies <= 1, "%u children, %u zombies", n, zombies) &&
			CHECK(!parent_heard(), "the parent heard of it"));
		atomic_store(&run.shared->command, VICTIM_EXIT_BY_THREAD);
		(void)parent_sees(VICTIM_EXIT_STATUS << 8);
	}
	finish();
}

static void killed(void **state)
{
	struct twin_checkpoint cp;
	struct twin_swap sw;

	(void)state;
	if (begin("one_thread") && run_checkpoint(&run, &cp)) {
		(void)kill(run.pid, SIGKILL);
		(void)(run_await_end(&run) && CHECK(run.end.type == TWIN_EVENT_EXITED, "no end") &&
			CHECK(twin_swap(run.e, 0, &sw) == -ENODATA, "a twin took over") &&
			parent_sees(SIGKILL));
	}
	finish();
}

static void let_die(void **state)
{
	struct twin_checkpoint cp;

	(void)state;
	if (begin("one_thread") && run_checkpoint(&run, &cp)) {
		(void)kill(run.pid, SIGTERM);
		if (run_await_end(&run) && CHECK(run.end.signal == SIGTERM, "no signal") &&
			CHECK(run.end.sender == getpid(), "sent by %d", run.end.sender)) {
			twin_let_die(run.e);
			(void)parent_sees(SIGTERM);
		}
	}
	finish();
}

/* What was guarded, checkpointed and rolled back is let go, and is as if nobody had been there. */
static void let_go(void **state)
{
	unsigned zombies, n;
	char text[64];

	(void)state;
	for (unsigned i = 0; i < 2 && (i > 0 || begin("sixteen_threads")); i++) {
		if (i > 0) { /* once more */
			int r = twin_attach_running(run.e, run.pid);
			if (!CHECK(r == 0, "%d, %s", r, twin_reason(run.e)))
				break;
		}
		if (!crash_and_swap())
			break;
		twin_forget(run.e);
		n = children(run.pid, &zombies);
		snprintf(text, sizeof(text), "%u children", n);
		if (!CHECK(n == 0, "%s", text) || !run_progress(&run, 3))
			break;
	}
	if (!run.failure[0]) {
		atomic_store(&run.shared->stop, 1);
		(void)parent_sees(0);
	} else {
		(void)kill(run.pid, SIGKILL);
	}
	finish();
}

static void executes(void **state)
{
	struct twin_checkpoint cp;
	unsigned zombies;

	(void)state;
	if (begin("execs_itself")) {
		while (!run.failure[0] && run.n_execs < 10 && run_checkpoint(&run, &cp))
			(void)run_progress(&run, 7);
		(void)(run_checkpoint(&run, &cp) && run_checkpoint(&run, &cp) &&
			CHECK(children(run.pid, &zombies) <= 5, "strays") &&
			CHECK(!parent_heard(), "the parent heard of it"));
		atomic_store(&run.shared->stop, 1);
		(void)parent_sees(0);
	}
	finish();
}

/* --- a rollback that fails half-way ---------------------------------------------------------- */
static unsigned calls, refused_call;

static int count_and_refuse(const struct fault_call *c)
{
	bool counts = strstr(c->point->file, "/inplace") || strstr(c->point->file, "/pages.c") ||
		      strstr(c->point->file, "/inject.c") || strstr(c->point->file, "/layout.c");

	return counts && ++calls == refused_call ? -EIO : 0;
}

/* -1: it was untouched or killed, as it should be. */
static int swap_refused(unsigned which)
{
	struct twin_checkpoint cp;
	struct twin_swap sw;
	int r;

	if (!run_checkpoint(&run, &cp) || !run_progress(&run, 1))
		return -1;
	calls = 0;
	refused_call = which;
	fault_hook = count_and_refuse;
	r = twin_swap(run.e, 0, &sw);
	fault_hook = NULL;
	if (r == -ENODATA)
		return run_progress(&run, 1) ? 1 : -1;
	if (r < 0) {
		(void)(CHECK(twin_reason(run.e)[0], "no reason") && parent_sees(SIGKILL));
		return -1;
	}
	return CHECK(!parent_heard(), "the parent heard of it") && run_progress(&run, 1) ? 0 : -1;
}

static void half_way(void **state)
{
	unsigned which = 1, died = 0;

	(void)state;
	for (bool more = true; more;) {
		run.failure[0] = '\0';
		if (begin("one_thread")) {
			while (swap_refused(which) >= 0 && (more = which <= calls + 10))
				which += 3;
			died += twin_active_pid(run.e) == 0;
			which += 3;
		}
		more = more && !run.failure[0];
		finish();
	}
	print_message("             of %u refusals %u ended it\n", which / 3, died);
	assert_true(died > 0);
}

static int refuse_wait(const struct fault_call *c)
{
	return c->point->kind == FAULT_INJECT && c->number == SYS_wait4 ? -ENOSYS : 0;
}

/* Strays wait until they can be waited for. */
static void cannot_wait(void **state)
{
	struct twin_checkpoint cp;
	unsigned zombies = 0;

	(void)state;
	if (begin("one_thread")) {
		fault_hook = refuse_wait;
		for (unsigned i = 0; i < 5; i++)
			(void)(run_checkpoint(&run, &cp) && run_progress(&run, 1));
		fault_hook = NULL;
		(void)children(run.pid, &zombies);
		(void)CHECK(zombies >= 3, "%u", zombies);
		(void)(run_checkpoint(&run, &cp) && run_progress(&run, 1));
		(void)children(run.pid, &zombies);
		(void)CHECK(zombies <= 1, "%u", zombies);
		atomic_store(&run.shared->stop, 1);
		(void)parent_sees(0);
	}
	finish();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_thread_crashes),
		cmocka_unit_test(many_checkpoints),
		cmocka_unit_test(killed),
		cmocka_unit_test(let_die),
		cmocka_unit_test(let_go),
		cmocka_unit_test(executes),
		cmocka_unit_test(half_way),
		cmocka_unit_test(cannot_wait),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("foster", tests, NULL, NULL);
}
