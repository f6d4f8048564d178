/* SPDX-License-Identifier: Apache-2.0 */
/* twinit-keeper: the guard of one node. See keeper/protocol.h for how it is started. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/close_range.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "supervisor/keeper/guardian.h"
#include "supervisor/keeper/keeper.h"

#define INIT_NAME "twinit-nsinit"

struct options {
	const char *id, *unit_path, *notify_dir, *crash_dir;
	int unit_fd, control_fd;
	int log_level;
};

static int usage(const char *why)
{
	fprintf(stderr,
		"twinit-keeper: %s\n"
		"usage: twinit-keeper --id=ID --unit-path=PATH --unit-fd=N --control-fd=M "
		"--notify-dir=DIR [--crash-dir=DIR] [--log-level=LEVEL]\n"
		"Started by twinit; guards one node.\n",
		why);
	return -EINVAL;
}

static int parse_fd(const char *s)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(s, &end, 10);
	if (errno || end == s || *end || v < 0 || v > INT_MAX || fcntl((int)v, F_GETFD) < 0)
		return -EBADF;
	return (int)v;
}

static int parse_options(int argc, char **argv, struct options *o)
{
	enum { ID = 1, UNIT_PATH, UNIT_FD, CONTROL_FD, NOTIFY_DIR, CRASH_DIR, LOG_LEVEL };
	static const struct option known[] = {
		{"id", required_argument, NULL, ID},
		{"unit-path", required_argument, NULL, UNIT_PATH},
		{"unit-fd", required_argument, NULL, UNIT_FD},
		{"control-fd", required_argument, NULL, CONTROL_FD},
		{"notify-dir", required_argument, NULL, NOTIFY_DIR},
		{"crash-dir", required_argument, NULL, CRASH_DIR},
		{"log-level", required_argument, NULL, LOG_LEVEL},
		{0},
	};
	int c;

	*o = (struct options){.unit_fd = -1, .control_fd = -1, .log_level = log_level()};
	while ((c = getopt_long(argc, argv, "", known, NULL)) >= 0)
		switch (c) {
		case ID:
			o->id = optarg;
			break;
		case UNIT_PATH:
			o->unit_path = optarg;
			break;
		case UNIT_FD:
			o->unit_fd = parse_fd(optarg);
			break;
		case CONTROL_FD:
			o->control_fd = parse_fd(optarg);
			break;
		case CRASH_DIR:
			o->crash_dir = optarg;
			break;
		case NOTIFY_DIR:
			o->notify_dir = optarg;
			break;
		case LOG_LEVEL:
			o->log_level = log_level_from_string(optarg);
			if (o->log_level < 0)
				return usage("--log-level is no level");
			break;
		default:
			return usage("unknown option");
		}
	if (optind < argc)
		return usage("no arguments are taken");
	if (!o->id || !*o->id || !o->unit_path || !o->notify_dir)
		return usage("--id, --unit-path and --notify-dir are needed");
	if (o->unit_fd < 0 || o->control_fd < 0)
		return usage("--unit-fd and --control-fd have to be open descriptors");
	return 0;
}

static void on_sigchld(_unused_ struct ev_loop *loop, ev_signal *w, _unused_ int revents)
{
	events_drain(w->data);
}

static void on_twin_timer(_unused_ struct ev_loop *loop, ev_io *w, _unused_ int revents)
{
	events_drain(w->data);
}

static void on_sigterm(_unused_ struct ev_loop *loop, ev_signal *w, _unused_ int revents)
{
	guard_dispatch(w->data, &(struct guard_input){.event = GUARD_STOP});
}

static void set_signals(struct keeper *k)
{
	/* A terminal's Ctrl-C reaches the whole foreground group; the supervisor decides what
	 * it means, and says so by message. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	ev_signal_init(&k->sigchld, on_sigchld, SIGCHLD);
	ev_signal_init(&k->sigterm, on_sigterm, SIGTERM);
	k->sigchld.data = k->sigterm.data = k;
	ev_set_priority(&k->sigchld, EV_MAXPRI); /* a crash before everything else */
	ev_signal_start(k->loop, &k->sigchld);
	ev_signal_start(k->loop, &k->sigterm);
	/* The engine has set it up, and disarms it. */
	ev_io_init(&k->twin_io, on_twin_timer, twin_timer_fd(k->engine), EV_READ);
	k->twin_io.data = k;
	if (twin_timer_fd(k->engine) >= 0)
		ev_io_start(k->loop, &k->twin_io);
}

static void open_notify(struct keeper *k, const struct options *o)
{
	int r;

	k->notify_fd = -1;
	r = notify_socket_path(o->notify_dir, o->id, k->notify_path);
	if (r == 0) {
		(void)mkdir(o->notify_dir, 0755); /* the supervisor has made it already */
		r = notify_open(k->notify_path);
	}
	if (r < 0)
		log_node(LOG_WARNING, o->id, "no notification socket in %s: %s", o->notify_dir,
			strerror(-r));
	else
		k->notify_fd = r;
}

/* Beside us, wherever we are installed. NULL: the engine will say what it lacks. */
static const char *find_init(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
	char *slash;

	if (n <= 0 || (size_t)n >= sizeof(path))
		return NULL;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash + 1 - path) + sizeof(INIT_NAME) > sizeof(path))
		return NULL;
	memcpy(slash + 1, INIT_NAME, sizeof(INIT_NAME));
	return path;
}

static void open_cgroup(struct keeper *k)
{
	bool limited = k->unit->memory_max != UINT64_MAX;
	char why[KEEPER_TEXT_MAX];
	int r;

	node_cgroup_open(&k->cgroup, k->unit->id, why, sizeof(why));
	if (why[0])
		log_node(limited ? LOG_WARNING : LOG_NOTICE, k->unit->id, "%s: %s", why,
			limited ? "MemoryMax= has no effect"
				: "an OOM kill cannot be told from any SIGKILL");
	else if ((r = node_cgroup_limit(&k->cgroup, k->unit->memory_max)) < 0)
		log_node(LOG_WARNING, k->unit->id, "MemoryMax=: %s", strerror(-r));
}

static int keeper_init(struct keeper *k, const struct options *o)
{
	static const enum twin_way ways[_TAKEOVER_MAX] = {
		[TAKEOVER_AUTO] = TWIN_WAY_AUTO,
		[TAKEOVER_RECLAIM] = TWIN_WAY_RECLAIM,
		[TAKEOVER_IN_PLACE] = TWIN_WAY_IN_PLACE,
	};
	static const enum twin_children children[_CHILDREN_MAX] = {
		[CHILDREN_KEEP] = TWIN_CHILDREN_KEEP,
		[CHILDREN_KILL] = TWIN_CHILDREN_KILL,
		[CHILDREN_REFUSE] = TWIN_CHILDREN_REFUSE,
	};
	struct twin_config config = {.freeze_deadline = GUARDIAN_FREEZE_DEADLINE};
	int r;

	/* What was inherited for us is not for the node. */
	(void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	k->control_fd = o->control_fd;
	r = guardian_read_unit(o->id, o->unit_path, o->unit_fd, &k->unit);
	if (r < 0) {
		log_node(LOG_ERR, o->id, "cannot read the unit: %s", strerror(-r));
		return r;
	}
	close(o->unit_fd);
	/* Never ev_default_loop(): its own SIGCHLD handler would reap behind the engine. */
	k->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	if (!k->loop)
		return -ENOMEM;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): guardian_read_unit() has set it. */
	config.generations = MIN2(MAX2(k->unit->twin.generations, 1u), TWIN_GENERATIONS_MAX);
	config.way = ways[k->unit->twin.takeover];
	r = guardian_exclude(k->unit, &config);
	if (r < 0)
		return r;
	config.children = children[k->unit->twin.children];
	config.keep_remains = k->unit->failover.post_mortem;
	/* Under a limit of its own it is the node that has grown. */
	config.keep_oom_score = k->unit->memory_max != UINT64_MAX;
	if (k->unit->failover.core_dump) /* in place there would be no memory left to dump */
		config.way = TWIN_WAY_RECLAIM;
	if (k->unit->twin.identity == IDENTITY_NAMESPACE) {
		config.identity = TWIN_NAMESPACE;
		config.namespace_init = find_init();
	}
	r = twin_engine_new(&config, &k->engine);
	if (r < 0) {
		log_node(LOG_ERR, o->id, "cannot make the twin engine: %s", strerror(-r));
		return r;
	}
	open_notify(k, o);
	backtrace_init(k, o->crash_dir);
	open_cgroup(k);
	report_init(&k->report, k->loop, k->control_fd);
	arm_init(&k->arm, k);
	children_init(&k->children, k);
	r = probes_init(k);
	if (r < 0)
		return r;
	guard_init(k);
	start_init(k);
	set_signals(k);
	listen_init(k);
	return 0;
}

static void keeper_done(struct keeper *k)
{
	if (k->engine)
		twin_engine_free(k->engine);
	if (k->notify_fd >= 0) {
		(void)unlink(k->notify_path);
		close(k->notify_fd);
	}
	node_cgroup_close(&k->cgroup);
	probes_done(k);
	children_drop_all(&k->children);
	spawned_close(&k->spawned);
	spawn_plan_free(k->plan);
	if (k->loop)
		ev_loop_destroy(k->loop);
	unit_freep(&k->unit);
}

int main(int argc, char **argv)
{
	/* Static: locked and touched once, and no part of it on the stack of the hot path. */
	static struct keeper keeper = {
		.notify_fd = -1, .spawned = SPAWNED_NONE, .cgroup = NODE_CGROUP_NONE};
	struct options o;
	int r;

	log_open("twinit-keeper");
	if (parse_options(argc, argv, &o) < 0)
		return 2;
	log_set_level(o.log_level);
	guardian_harden(o.id);
	r = keeper_init(&keeper, &o);
	if (r == 0) {
		guard_dispatch(&keeper, &(struct guard_input){.event = GUARD_START});
		ev_run(keeper.loop, 0);
	}
	keeper_done(&keeper);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
