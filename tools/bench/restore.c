/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench restore: how many of N random crashes end in a twin that runs, by the way they came.
 *
 *   restore [OPTION...] [-- COMMAND [ARGUMENT...]]
 *
 * Without a command the stress program of the tests is crashed, which checks itself all the time
 * and can be told to end itself in several ways. Of any other program a restore counts as good
 * where the process runs on under its pid, and --check=COMMAND, if given, says yes.
 */
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "config/clock.h"
#include "config/macro.h"
#include "supervisor/twin/twin.h"
#include "tests/victims/victim.h"

#define PATIENCE (20 * NSEC_PER_SEC)
#define LATENCIES_MAX 100000u

enum how { BY_SIGNAL, BY_ORDER, HANGS };
struct class
{
	const char *name;
	enum how how;
	int what; /* signal, or enum victim_command */
	unsigned crashes, good, same_pid, lossy;
	double *latency; /* usec */
};

static struct class classes[] = {
	{.name = "SIGSEGV from outside", .how = BY_SIGNAL, .what = SIGSEGV},
	{.name = "SIGABRT from outside", .how = BY_SIGNAL, .what = SIGABRT},
	{.name = "SIGKILL", .how = BY_SIGNAL, .what = SIGKILL},
	{.name = "SIGBUS from outside", .how = BY_SIGNAL, .what = SIGBUS},
	{.name = "hang (on request)", .how = HANGS},
	{.name = "null pointer", .how = BY_ORDER, .what = VICTIM_SEGV},
	{.name = "abort()", .how = BY_ORDER, .what = VICTIM_ABORT},
	{.name = "exit status", .how = BY_ORDER, .what = VICTIM_EXIT},
	{.name = "exit by a thread", .how = BY_ORDER, .what = VICTIM_EXIT_BY_THREAD},
};

static struct {
	struct twin_engine *e;
	struct victim_shared *shared; /* NULL: a program that knows nothing of it */
	int memfd;
	char **argv;
	pid_t pid;
	bool executed;
	struct twin_event end;
	unsigned crashes, settle_ms, starts;
	enum twin_way way;
	const char *json, *check;
	uint32_t random;
} b = {.crashes = 1000, .settle_ms = 30, .memfd = -1};

static void die(const char *what)
{
	fprintf(stderr, "restore: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned below(unsigned n)
{
	return victim_random(&b.random) % n;
}

static void take_events(void)
{
	for (;;) {
		struct twin_event ev = twin_next_event(b.e);
		if (ev.type == TWIN_EVENT_NONE)
			return;
		b.executed |= ev.type == TWIN_EVENT_EXEC;
		if (ev.type == TWIN_EVENT_FATAL || ev.type == TWIN_EVENT_EXITED)
			b.end = ev;
	}
}

/* Until the next event, or a millisecond. */
static void wait_a_little(void)
{
	const struct timespec ms = {0, 1000000};
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	(void)sigtimedwait(&child, NULL, &ms);
	take_events();
}

static bool ended(void)
{
	return b.end.type != TWIN_EVENT_NONE;
}

/* It runs on, and where it can tell, it gets on with its work. */
static const char *prove_alive(void)
{
	nsec_t begun = now_nsec(), settle = (nsec_t)b.settle_ms * 1000000;
	uint64_t until = b.shared ? atomic_load(&b.shared->progress) + 5 : 0;

	for (;;) {
		nsec_t now = now_nsec();
		wait_a_little();
		if (b.shared && atomic_load(&b.shared->failed))
			return b.shared->message;
		if (ended())
			return "it ended";
		if (b.shared ? atomic_load(&b.shared->progress) >= until : now - begun > settle)
			break;
		if (now - begun > PATIENCE)
			return "it makes no progress";
	}
	/* The shell is a child of ours that is waited for by name, so the engine does not see it.
	 */
	return b.check && system(b.check) != 0 ? "the check said no"
					       : NULL; /* NOLINT(cert-env33-c) */
}

static void child(int gate)
{
	char c, number[16];
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (b.shared) {
		snprintf(number, sizeof(number), "%d", b.memfd);
		setenv("VICTIM_FD", number, 1);
		setenv("VICTIM_SWAPPED", "1", 1);
	}
	if (read(gate, &c, 1) != 1)
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(b.argv[0], b.argv);
	_exit(127);
}

static void start(void)
{
	struct twin_config config = {.generations = 2, .way = b.way};
	int gate[2];

	if (b.shared)
		memset((void *)b.shared, 0, sizeof(*b.shared));
	b.end = (struct twin_event){0};
	b.executed = false;
	b.starts++;
	if (twin_engine_new(&config, &b.e) < 0 || pipe(gate) < 0)
		die("start");
	b.pid = fork();
	if (b.pid == 0) {
		close(gate[1]);
		child(gate[0]);
	}
	close(gate[0]);
	if (b.pid < 0 || twin_attach(b.e, b.pid) < 0 || write(gate[1], "", 1) != 1)
		die("attach");
	close(gate[1]);
	for (nsec_t begun = now_nsec(); !b.executed && now_nsec() - begun < PATIENCE;)
		wait_a_little();
	const char *wrong = prove_alive();
	if (wrong) {
		fprintf(stderr, "restore: %s does not even start: %s\n", b.argv[0], wrong);
		exit(1);
	}
}

static void stop(void)
{
	if (twin_active_pid(b.e)) {
		b.end = (struct twin_event){0};
		(void)twin_kill(b.e, SIGKILL);
		for (nsec_t begun = now_nsec();
			now_nsec() - begun < PATIENCE && b.end.type != TWIN_EVENT_EXITED;)
			wait_a_little();
	}
	twin_forget(b.e);
	twin_engine_free(b.e);
}

static const char *arm(void)
{
	struct twin_checkpoint cp;
	nsec_t begun = now_nsec();

	while (twin_checkpoint(b.e, true, &cp) < 0) {
		wait_a_little();
		if (ended() || now_nsec() - begun > PATIENCE)
			return ended() ? "it ended by itself" : twin_reason(b.e);
	}
	return NULL;
}

static const char *crash(const struct class *c)
{
	nsec_t begun = now_nsec();

	if (c->how == BY_SIGNAL)
		(void)twin_kill(b.e, c->what);
	else if (c->how == BY_ORDER)
		atomic_store(&b.shared->command, c->what);
	while (c->how != HANGS && !ended()) {
		wait_a_little();
		if (now_nsec() - begun > PATIENCE)
			return "it does not crash";
	}
	return NULL;
}

static void drift(void)
{
	for (nsec_t until = now_nsec() + below(20000) * NSEC_PER_USEC;
		now_nsec() < until && !ended();)
		wait_a_little();
}

/* One crash; NULL: restored. */
static const char *one(struct class *c)
{
	struct twin_swap sw;
	const char *wrong = arm();
	int r;

	if (wrong)
		return wrong;
	drift();
	wrong = crash(c);
	if (wrong)
		return wrong;
	r = twin_swap(b.e, 0, &sw);
	b.end = (struct twin_event){0};
	if (r < 0)
		return twin_reason(b.e);
	c->latency[c->good] = (double)sw.latency / 1e3;
	c->same_pid += sw.new_pid == b.pid;
	c->lossy += sw.lost[0] != '\0';
	return prove_alive();
}

static int compare(const void *x, const void *y)
{
	double d = *(const double *)x - *(const double *)y;
	return (d > 0) - (d < 0);
}

static double quantile(struct class *c, double q)
{
	if (c->good == 0)
		return 0;
	qsort(c->latency, c->good, sizeof(double), compare);
	return c->latency[MIN2((unsigned)(q * c->good), c->good - 1)];
}

static bool tell(void)
{
	FILE *json = b.json ? fopen(b.json, "we") : NULL;
	unsigned crashes = 0, good = 0;

	if (b.json && !json)
		die(b.json);
	if (json)
		fprintf(json,
			"{\"bench\": \"restore\", \"facts\": {\"program\": \"%s\"}, \"rows\": [",
			b.argv[0]);
	printf("%-22s %8s %8s %8s %8s %10s %10s\n", "class", "crashes", "restored", "same pid",
		"lossy", "median us", "p99 us");
	for (size_t i = 0; i < ELEMENTSOF(classes); i++) {
		struct class *c = &classes[i];

		if (c->crashes == 0)
			continue;
		printf("%-22s %8u %8u %8u %8u %10.0f %10.0f\n", c->name, c->crashes, c->good,
			c->same_pid, c->lossy, quantile(c, .5), quantile(c, .99));
		if (json)
			fprintf(json,
				"%s{\"class\": \"%s\", \"crashes\": %u, \"restored\": %u, "
				"\"same_pid\": %u, \"lossy\": %u, \"latency_usec_median\": %.1f, "
				"\"latency_usec_p99\": %.1f}",
				crashes ? ", " : "", c->name, c->crashes, c->good, c->same_pid,
				c->lossy, quantile(c, .5), quantile(c, .99));
		crashes += c->crashes;
		good += c->good;
	}
	printf("%u crashes, %u restored (%.2f %%), %u starts\n", crashes, good,
		crashes ? 100.0 * good / crashes : 0, b.starts);
	if (json) {
		fprintf(json, "]}\n");
		fclose(json);
	}
	return good == crashes;
}

static char *stress_program(void)
{
	static char path[PATH_MAX + 64];
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	snprintf(path, sizeof(path), "%s/../../tests/victims/stress", dirname(self));
	return path;
}

static void options(int argc, char **argv)
{
	static const struct option known[] = {{"crashes", required_argument, NULL, 'n'},
		{"json", required_argument, NULL, 'j'}, {"check", required_argument, NULL, 'c'},
		{"settle", required_argument, NULL, 's'}, {"seed", required_argument, NULL, 'r'},
		{"way", required_argument, NULL, 'w'}, {"quick", no_argument, NULL, 'q'},
		{"help", no_argument, NULL, 'h'}, {0}};
	int o;

	while ((o = getopt_long(argc, argv, "+", known, NULL)) != -1)
		switch (o) {
		case 'n':
			b.crashes = (unsigned)atoi(optarg);
			break;
		case 'q':
			b.crashes = 100;
			break;
		case 'j':
			b.json = optarg;
			break;
		case 'c':
			b.check = optarg;
			break;
		case 's':
			b.settle_ms = (unsigned)atoi(optarg);
			break;
		case 'r':
			b.random = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		case 'w':
			b.way = strcmp(optarg, "reclaim") == 0    ? TWIN_WAY_RECLAIM
				: strcmp(optarg, "in-place") == 0 ? TWIN_WAY_IN_PLACE
								  : TWIN_WAY_AUTO;
			break;
		default:
			printf("restore [--quick] [--crashes=N] [--way=auto|reclaim|in-place] "
			       "[--json=FILE] "
			       "[--seed=N] [--settle=MS] [--check=COMMAND] [-- COMMAND...]\n");
			exit(o == 'h' ? 0 : 2);
		}
	b.argv = argv + optind;
}

int main(int argc, char **argv)
{
	static char *stress[2];
	sigset_t blocked;

	b.random = (uint32_t)now_nsec();
	options(argc, argv);
	b.crashes = MIN2(b.crashes, LATENCIES_MAX);
	printf("--seed=%u\n", b.random);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!b.argv || !b.argv[0]) {
		stress[0] = stress_program();
		b.argv = stress;
		b.memfd = memfd_create("victim", 0);
		if (b.memfd < 0 || ftruncate(b.memfd, sizeof(*b.shared)) < 0)
			die("memfd");
		b.shared = mmap(
			NULL, sizeof(*b.shared), PROT_READ | PROT_WRITE, MAP_SHARED, b.memfd, 0);
		if (b.shared == MAP_FAILED)
			die("mmap");
	}
	for (size_t i = 0; i < ELEMENTSOF(classes); i++) {
		classes[i].latency = calloc(b.crashes, sizeof(double));
		if (!classes[i].latency)
			die("memory");
	}
	start();
	for (unsigned i = 0; i < b.crashes; i++) {
		struct class *c = &classes[below(ELEMENTSOF(classes))];
		const char *wrong;

		if (c->how == BY_ORDER && !b.shared) {
			i--;
			continue;
		}
		c->crashes++;
		wrong = one(c);
		if (!wrong) {
			c->good++;
			continue;
		}
		fprintf(stderr, "crash %u, %s: %s\n", i, c->name, wrong);
		stop();
		start();
	}
	stop();
	return tell() ? 0 : 1;
}
