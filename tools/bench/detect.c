/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench detect: from a fault to its verdict and to the twin, for each way in which a failure is
 * seen; and, with --false-alarms=TIME, how often a healthy node on a machine at ten times its load
 * is taken for a failed one, while a hung one beside it has to be found.
 *
 * Real keepers are run on the tests' marker program, with this bench in the supervisor's place.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/parse.h"
#include "supervisor/keeper/protocol.h"

#define PATIENCE (60 * USEC_PER_SEC)
#define HUNG_EVERY (30 * USEC_PER_SEC) /* a new hung node, in a long run */
#define LOOPS_PER_CPU 10

static struct {
	char build[PATH_MAX], dir[32];
	const char *json;
	unsigned rounds;
	usec_t false_alarms;
	bool verbose;
} bench = {.rounds = 30};

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "detect: %s: %s\n", what, why);
	exit(1);
}

/* --- a keeper and its node ------------------------------------------------------------------ */

struct run {
	pid_t keeper, node;
	int fd;
	unsigned failovers, failed, starved; /* said since the start */
	struct keeper_failover_report last;
};

static void start(struct run *r, const char *id, const char *unit)
{
	char keeper[PATH_MAX + 16], args[5][80];
	int sv[2], text = memfd_create("unit", 0);

	snprintf(keeper, sizeof(keeper), "%s/twinit-keeper", bench.build);
	if (text < 0 || write(text, unit, strlen(unit)) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv) < 0)
		die("cannot start a keeper", strerror(errno));
	fcntl(sv[0], F_SETFD, FD_CLOEXEC);
	*r = (struct run){.fd = sv[0]};
	r->keeper = fork();
	if (r->keeper == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		snprintf(args[0], sizeof(args[0]), "--id=%s", id);
		snprintf(args[1], sizeof(args[1]), "--unit-path=/%s.ini", id);
		snprintf(args[2], sizeof(args[2]), "--unit-fd=%d", text);
		snprintf(args[3], sizeof(args[3]), "--control-fd=%d", sv[1]);
		snprintf(args[4], sizeof(args[4]), "--notify-dir=%s", bench.dir);
		if (!bench.verbose)
			dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execl(keeper, keeper, args[0], args[1], args[2], args[3], args[4], NULL);
		_exit(127);
	}
	close(sv[1]);
	close(text);
}

/* The next message, or false at the deadline. */
static bool next(struct run *r, struct keeper_msg *m, usec_t deadline)
{
	for (;;) {
		int e = keeper_recv(r->fd, m);
		usec_t now = now_usec();

		if (e == 1)
			break;
		if (e != -EAGAIN)
			die("a keeper ended", e < 0 ? strerror(-e) : "too early");
		if (now >= deadline)
			return false;
		poll(&(struct pollfd){.fd = r->fd, .events = POLLIN}, 1,
			(int)((deadline - now) / 1000) + 1);
	}
	if (m->type == KEEPER_MSG_STATE)
		r->node = m->state.main_pid;
	if (m->type == KEEPER_MSG_PROBE) {
		r->failed += m->probe.stage == STAGE_FAILED;
		r->starved = m->probe.n_starved;
	}
	if (m->type == KEEPER_MSG_FAILOVER) {
		r->failovers++;
		r->last = m->failover;
	}
	return true;
}

static void order(struct run *r, enum keeper_msg_type type, uint64_t serial)
{
	struct keeper_msg m = {.type = type, .serial = serial};

	if (keeper_send(r->fd, &m) < 0)
		die("a keeper", "does not listen");
}

/* A twin that is surely of before what comes now. */
static void checkpoint(struct run *r)
{
	usec_t deadline = now_usec() + PATIENCE;
	uint64_t serial = 0;
	struct keeper_msg m;

	while (next(r, &m, deadline)) {
		if (m.type == KEEPER_MSG_TWIN && m.twin.state == TWIN_ARMED && !serial)
			order(r, KEEPER_REQ_CHECKPOINT, serial = 1);
		if (m.type != KEEPER_MSG_REPLY || m.serial != serial)
			continue;
		if (m.reply.error == 0)
			return;
		usleep(10000);
		order(r, KEEPER_REQ_CHECKPOINT, ++serial);
	}
	die("no checkpoint", "the keeper made none");
}

static void stop(struct run *r)
{
	order(r, KEEPER_REQ_STOP, 0);
	for (usec_t end = now_usec() + PATIENCE; now_usec() < end; usleep(2000)) {
		struct keeper_msg m;

		while (keeper_recv(r->fd, &m) == 1)
			;
		if (waitpid(r->keeper, NULL, WNOHANG) == r->keeper) {
			close(r->fd);
			return;
		}
	}
	die("a keeper", "does not end");
}

static int free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(at);

	if (bind(fd, (struct sockaddr *)&at, len) < 0 ||
		getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		die("no port", strerror(errno));
	close(fd);
	return ntohs(at.sin_port);
}

/* text with each "PORT" replaced, behind the command line. */
static void make_unit(char *ret, size_t size, const char *steps, const char *more, int port)
{
	char all[3000], *to = ret;

	snprintf(all, sizeof(all),
		"[Service]\nExecStart=%.900s/tests/integration/marker %s\nRestart=on-failure\n%s",
		bench.build, steps, more);
	for (const char *s = all; *s && (size_t)(to - ret) < size - 8; s++) {
		if (strncmp(s, "PORT", 4) == 0) {
			to += sprintf(to, "%d", port);
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* --- how soon ------------------------------------------------------------------------------- */

/* No post-mortem, and no other twin than the one before the fault. */
#define PLAIN "[Twin]\nInterval=1h\n[Failover]\nPostMortem=no\n"

static const struct fault {
	const char *name, *steps, *more;
	int signal;   /* that is, or begins, the fault */
	unsigned set; /* ms in which its detector is to see it, by its settings; 0: at once */
} faults[] = {
	{"SIGSEGV", "sleep:5", PLAIN, SIGSEGV, 0},
	{"SIGABRT", "sleep:5", PLAIN, SIGABRT, 0},
	{"SIGKILL", "sleep:5", PLAIN, SIGKILL, 0},
	{"null pointer", "sleep:1 --fault crash", PLAIN, SIGUSR1, 0},
	{"exit(1)", "sleep:1 --fault exit:1", PLAIN, SIGUSR1, 0},
	{"thread ends", "sleep:1 --fault leave sleep:1000",
		"[Twin]\nInterval=1h\n[Failover]\nPostMortem=no\nOnThreadExit=failover\n", SIGUSR1,
		100},
	{"deadlock: watchdog", "watchdog sleep:5 --fault hang", "WatchdogSec=200ms\n" PLAIN,
		SIGUSR1, 200},
	{"endless loop: watchdog", "watchdog sleep:5 --fault spin", "WatchdogSec=200ms\n" PLAIN,
		SIGUSR1, 200},
	{"silent: alive", "mark:a sleep:5 --fault sleep:1000",
		PLAIN "[Probe a]\nKind=alive\nCycle=100ms\n", SIGUSR1, 200},
	{"too late: deadline", "mark:a sleep:2 mark:b sleep:3 --fault mark:a sleep:1000",
		PLAIN "[Probe d]\nKind=deadline\nFrom=a\nTo=b\nMaxTime=100ms\n", SIGUSR1, 100},
	{"wrong order: logical", "mark:a sleep:2 mark:b sleep:3 --fault mark:b sleep:3",
		PLAIN "[Probe l]\nKind=logical\nOrder=a>b>a\n", SIGUSR1, 0},
	{"deadlock: progress", "sleep:5 --fault hang",
		PLAIN "[Probe p]\nKind=progress\nWindow=200ms\nInterval=20ms\n", SIGUSR1, 220},
	{"deadlock: http", "serve:PORT --fault hang",
		PLAIN "[Probe h]\nKind=http\nUrl=http://127.0.0.1:PORT/\nInterval=50ms\n"
		      "Timeout=100ms\nTolerate=0\n",
		SIGUSR1, 150},
	{"status 500: http", "serve:PORT --fault status:500 serve:PORT",
		PLAIN "[Probe h]\nKind=http\nUrl=http://127.0.0.1:PORT/\nInterval=50ms\n"
		      "Timeout=100ms\nTolerate=0\n",
		SIGUSR1, 150},
	{"deadlock: ping", "serve:PORT --fault hang",
		PLAIN "[Probe p]\nKind=ping\nNode=/n\nMaster=http://127.0.0.1:PORT\n"
		      "Interval=50ms\nTimeout=100ms\nTolerate=0\n",
		SIGUSR1, 150},
	{"thread leak: resource", "sleep:5 --fault thread sleep:1",
		PLAIN "[Probe r]\nKind=resource\nMaxThreads=30\nInterval=50ms\nAction=failover\n",
		SIGUSR1, 80},
};

struct figures {
	double detect[1000], total[1000]; /* ms */
	unsigned n;
};

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double quantile(double *list, unsigned n, double q)
{
	unsigned at = (unsigned)(q * (n - 1) + .999);

	qsort(list, n, sizeof(*list), by_size);
	return n ? list[at < n ? at : n - 1] : 0;
}

static void one(const struct fault *f, struct figures *ret)
{
	usec_t deadline = now_usec() + PATIENCE;
	struct keeper_msg m;
	struct run r;
	char unit[3500];
	nsec_t begun;

	make_unit(unit, sizeof(unit), f->steps, f->more, free_port());
	start(&r, "node", unit);
	checkpoint(&r);
	/* Some phase of its detector's periods. */
	usleep(100000 + (useconds_t)(rand() % 100000));
	begun = now_nsec();
	if (kill(r.node, f->signal) < 0)
		die(f->name, strerror(errno));
	while (r.failovers == 0)
		if (!next(&r, &m, deadline))
			die(f->name, "was never seen");
	if (!r.last.ok || r.last.cold)
		die(f->name, r.last.detail);
	ret->detect[ret->n] = ((double)r.last.at * NSEC_PER_USEC - (double)begun) / 1e6;
	ret->total[ret->n] = ret->detect[ret->n] + (double)r.last.latency / 1e6;
	ret->n++;
	stop(&r);
}

static FILE *json_begin(const char *what)
{
	FILE *f = bench.json ? fopen(bench.json, "we") : NULL;
	struct utsname u;

	uname(&u);
	printf("bench detect\ncpu: %d\nkernel: %s %s\n", get_nprocs(), u.sysname, u.release);
	if (bench.json && !f)
		die(bench.json, strerror(errno));
	if (f)
		fprintf(f,
			"{\"bench\": \"%s\", \"facts\": {\"cpu\": %d, \"kernel\": \"%s %s\"}, "
			"\"rows\": [",
			what, get_nprocs(), u.sysname, u.release);
	return f;
}

static void json_end(FILE *f)
{
	if (f && (fputs("\n]}\n", f) < 0 || fclose(f) != 0))
		die(bench.json, strerror(errno));
}

static void measure(void)
{
	FILE *f = json_begin("detect");

	printf("%-24s%8s%8s%10s%8s%8s%12s%8s\n", "fault: seen by", "set ms", "rounds", "| verdict",
		"p99", "max", "| twin runs", "p99");
	for (unsigned i = 0; i < ELEMENTSOF(faults); i++) {
		struct figures v = {.n = 0};
		double q[5];

		while (v.n < bench.rounds)
			one(&faults[i], &v);
		q[0] = quantile(v.detect, v.n, .5);
		q[1] = quantile(v.detect, v.n, .99);
		q[2] = quantile(v.detect, v.n, 1);
		q[3] = quantile(v.total, v.n, .5);
		q[4] = quantile(v.total, v.n, .99);
		printf("%-24s%8u%8u%10.2f%8.2f%8.2f%12.2f%8.2f\n", faults[i].name, faults[i].set,
			v.n, q[0], q[1], q[2], q[3], q[4]);
		fflush(stdout);
		if (f)
			fprintf(f,
				"%s\n{\"fault\": \"%s\", \"set_ms\": %u, \"rounds\": %u, "
				"\"verdict_ms\": %.3f, \"verdict_p99_ms\": %.3f, "
				"\"verdict_max_ms\": %.3f, \"twin_ms\": %.3f, "
				"\"twin_p99_ms\": %.3f}",
				i ? "," : "", faults[i].name, faults[i].set, v.n, q[0], q[1], q[2],
				q[3], q[4]);
	}
	json_end(f);
}

/* --- how wrong ------------------------------------------------------------------------------ */

/* Every detector that goes by time. What they watch takes a tenth of what they give it where it has
 * a processor for itself. One node works and waits for nobody; one serves, and may have to wait for
 * a prober that is as short of time as it is, so that its own pace says nothing. */
#define WATCHED                                                                                    \
	"[Twin]\nInterval=500ms\nGenerations=8\n[Failover]\nPostMortem=no\n"                       \
	"[Probe progress]\nKind=progress\nWindow=500ms\nInterval=50ms\n"
static const struct subject {
	const char *id, *steps, *more;
} subjects[] = {
	{"works", "watchdog mark:m burn:30 mark:n sleep:5 --fault hang",
		"WatchdogSec=300ms\n" WATCHED "[Probe alive]\nKind=alive\nMark=m\nCycle=300ms\n"
		"[Probe deadline]\nKind=deadline\nFrom=m\nTo=m\nMaxTime=300ms\n"
		"[Probe order]\nKind=logical\nOrder=m>n>m\n"
		"[Probe exec]\nKind=exec\nCommand=/bin/true\nInterval=500ms\nTimeout=500ms\n"},
	{"serves", "serve:PORT burn:5 --fault hang",
		WATCHED
		"[Probe "
		"http]\nKind=http\nUrl=http://127.0.0.1:PORT/\nInterval=300ms\nTimeout=300ms\n"
		"[Probe tcp]\nKind=tcp\nAddress=PORT\nInterval=300ms\nTimeout=300ms\n"
		"[Probe ping]\nKind=ping\nNode=/n\nMaster=http://127.0.0.1:PORT\nInterval=300ms\n"
		"Timeout=300ms\n"},
};
#define SUBJECTS ELEMENTSOF(subjects)

static pid_t loops[1024];
static unsigned n_loops;

/* What others have running counts as well. */
static unsigned runnable(void)
{
	_cleanup_fclose_ FILE *f = fopen("/proc/loadavg", "re");
	unsigned n = 0;

	return f && fscanf(f, "%*f %*f %*f %u", &n) == 1 ? n : 0;
}

static void load_begin(void)
{
	unsigned before = runnable(), wanted = LOOPS_PER_CPU * (unsigned)get_nprocs();

	printf("runnable before: %u\n", before);
	wanted -= MIN2(before, wanted);
	while (n_loops < ELEMENTSOF(loops) && n_loops < wanted) {
		pid_t pid = fork();

		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			setsid(); /* the kernel shares out among sessions first */
			for (volatile unsigned i = 0;; i++)
				;
		}
		if (pid < 0)
			die("no load", strerror(errno));
		loops[n_loops++] = pid;
	}
}

static void load_end(void)
{
	while (n_loops > 0) {
		kill(loops[--n_loops], SIGKILL);
		waitpid(loops[n_loops], NULL, 0);
	}
}

static void start_subject(struct run *r, const struct subject *s, const char *id)
{
	char unit[3500];

	make_unit(unit, sizeof(unit), s->steps, s->more, free_port());
	start(r, id, unit);
	checkpoint(r);
}

static void listen_to(struct run *healthy)
{
	struct keeper_msg m;

	for (unsigned i = 0; i < SUBJECTS; i++)
		while (next(&healthy[i], &m, 0))
			;
}

/* A hung one beside them: how long it took to be found, in ms. */
static double find_hung(struct run *healthy, const struct subject *s)
{
	usec_t deadline, begun;
	struct keeper_msg m;
	struct run r;

	start_subject(&r, s, "hung");
	begun = now_usec();
	deadline = begun + PATIENCE;
	if (kill(r.node, SIGUSR1) < 0)
		die("the node that is to hang", strerror(errno));
	while (r.failovers == 0) {
		if (!next(&r, &m, MIN2(deadline, now_usec() + 100000)) && now_usec() >= deadline)
			die("a node that hangs", "was never found");
		listen_to(healthy);
	}
	stop(&r);
	return ((double)r.last.at - (double)begun) / 1000;
}

static int count_false_alarms(void)
{
	struct run healthy[SUBJECTS], sum = {0};
	struct figures hung = {.n = 0};
	FILE *f = json_begin("detect-false-alarms");
	usec_t begun, hung_at;
	double seconds, median, max;

	for (unsigned i = 0; i < SUBJECTS; i++)
		start_subject(&healthy[i], &subjects[i], subjects[i].id);
	load_begin();
	begun = now_usec();
	hung_at = begun + MIN2(bench.false_alarms / 4, HUNG_EVERY);
	while (now_usec() < begun + bench.false_alarms) {
		listen_to(healthy);
		usleep(100000);
		if (now_usec() < hung_at || hung.n >= ELEMENTSOF(hung.detect))
			continue;
		hung.detect[hung.n] = find_hung(healthy, &subjects[hung.n % SUBJECTS]);
		hung.n++;
		hung_at = MIN2(now_usec() + HUNG_EVERY, hung_at + bench.false_alarms / 2);
	}
	seconds = (double)(now_usec() - begun) / USEC_PER_SEC;
	load_end();
	for (unsigned i = 0; i < SUBJECTS; i++) {
		stop(&healthy[i]);
		sum.failed += healthy[i].failed;
		sum.failovers += healthy[i].failovers;
		sum.starved += healthy[i].starved;
	}
	median = quantile(hung.detect, hung.n, .5);
	max = quantile(hung.detect, hung.n, 1);
	printf("%.0f s at %d loops a processor: %u false alarms, %u failovers; starved and excused "
	       "%u "
	       "times\n%u hung nodes beside them, all found: median %.0f ms, max %.0f ms\n",
		seconds, LOOPS_PER_CPU, sum.failed, sum.failovers, sum.starved, hung.n, median,
		max);
	if (f)
		fprintf(f,
			"\n{\"seconds\": %.0f, \"loops_per_cpu\": %d, \"false_alarms\": %u, "
			"\"failovers\": %u, \"starved\": %u, \"hung\": %u, \"hung_ms\": %.0f, "
			"\"hung_max_ms\": %.0f}",
			seconds, LOOPS_PER_CPU, sum.failed, sum.failovers, sum.starved, hung.n,
			median, max);
	json_end(f);
	return sum.failed || sum.failovers || hung.n == 0;
}

/* --- options -------------------------------------------------------------------------------- */

static const char help[] = "bench detect: from a fault to its verdict and to the twin\n"
			   "  --quick              5 rounds of each fault instead of 30\n"
			   "  --rounds=N\n"
			   "  --json FILE          the table as a file, too\n"
			   "  --false-alarms=TIME  instead: a healthy node with all detectors that "
			   "go by time, at ten\n"
			   "                       loops a processor, and hung ones beside it. "
			   "Exit status 1 where one\n"
			   "                       was taken for the other\n"
			   "  --verbose            what the keepers log\n"
			   "Times in milliseconds, the median where nothing else is said. verdict: "
			   "from the signal that\n"
			   "is the fault, or upon which the program begins it (up to 25 ms later, "
			   "where it serves HTTP;\n"
			   "else 5), until the keeper acts. twin runs: until the last thread of "
			   "the twin does. set: what\n"
			   "the detector's settings leave it at most, with an answer at once.\n";

static void options(int argc, char **argv)
{
	static const struct option known[] = {{"quick", no_argument, NULL, 'q'},
		{"rounds", required_argument, NULL, 'r'}, {"json", required_argument, NULL, 'j'},
		{"false-alarms", required_argument, NULL, 'f'}, {"verbose", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'}, {0}};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) >= 0)
		switch (c) {
		case 'q':
			bench.rounds = 5;
			break;
		case 'r':
			bench.rounds = (unsigned)strtoul(optarg, NULL, 10);
			if (bench.rounds < 1 || bench.rounds > 1000)
				die("--rounds", "from 1 to 1000");
			break;
		case 'j':
			bench.json = optarg;
			break;
		case 'f':
			if (parse_time_span(optarg, &bench.false_alarms) < 0 ||
				bench.false_alarms < USEC_PER_SEC ||
				bench.false_alarms == USEC_INFINITY)
				die("--false-alarms", "a time such as 20s or 30min");
			break;
		case 'v':
			bench.verbose = true;
			break;
		case 'h':
			fputs(help, stdout);
			exit(0);
		default:
			exit(2);
		}
	if (optind < argc)
		die(argv[optind], "no arguments are taken");
}

int main(int argc, char **argv)
{
	struct timespec now;
	char self[PATH_MAX];
	int status = 0;
	ssize_t n;

	options(argc, argv);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = '\0';
	for (int i = 0; i < 3; i++) /* build/MODE/tools/bench/detect */
		dirname(self);
	snprintf(bench.build, sizeof(bench.build), "%s", self);
	strcpy(bench.dir, "/tmp/detect-XXXXXX");
	if (!mkdtemp(bench.dir))
		die(bench.dir, strerror(errno));
	clock_gettime(CLOCK_MONOTONIC, &now);
	srand((unsigned)now.tv_nsec);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (bench.false_alarms)
		status = count_false_alarms();
	else
		measure();
	rmdir(bench.dir);
	return status;
}
