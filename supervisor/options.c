/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <string.h>

#include "config/unit.h"
#include "supervisor/base/log.h"
#include "supervisor/shutdown.h"

#define RUNTIME_DIR_DEFAULT "/run/twinit"
#define STATE_DIR_DEFAULT "/var/lib/twinit"
#define KEEPER_NAME "twinit-keeper"

static const char *const unit_path_default[] = {
	TWINIT_SYSCONFDIR "/twinit/units", TWINIT_LIBEXECDIR "/units"};

enum {
	OPT_UNIT_PATH = 256,
	OPT_START,
	OPT_KEEPER,
	OPT_RUNTIME_DIR,
	OPT_STATE_DIR,
	OPT_LOG_LEVEL,
	OPT_NO_BUS,
	OPT_BUS_ADDRESS,
	OPT_SHUTDOWN_TIMEOUT,
	OPT_VERSION,
	OPT_HELP,
};

static const struct option long_options[] = {
	{"unit-path", required_argument, NULL, OPT_UNIT_PATH},
	{"start", required_argument, NULL, OPT_START},
	{"keeper", required_argument, NULL, OPT_KEEPER},
	{"runtime-dir", required_argument, NULL, OPT_RUNTIME_DIR},
	{"state-dir", required_argument, NULL, OPT_STATE_DIR},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"no-bus", no_argument, NULL, OPT_NO_BUS},
	{"bus-address", required_argument, NULL, OPT_BUS_ADDRESS},
	{"shutdown-timeout", required_argument, NULL, OPT_SHUTDOWN_TIMEOUT},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static const char help[] =
	"twinit [OPTION...]\n"
	"\n"
	"Start units in order, one keeper a node; replace a node that dies by its twin.\n"
	"\n"
	"  --unit-path=DIR         a folder of units, repeatable; the first that has a unit wins\n"
	"                          (" TWINIT_SYSCONFDIR "/twinit/units, " TWINIT_LIBEXECDIR
	"/units)\n"
	"  --start=ID              start this unit, repeatable; without any, all that are\n"
	"                          WantedBy=default.target or multi-user.target\n"
	"  --keeper=PATH           the keeper's program (beside this one, else in\n"
	"                          " TWINIT_LIBEXECDIR ")\n"
	"  --runtime-dir=DIR       sockets live here (" RUNTIME_DIR_DEFAULT ")\n"
	"  --state-dir=DIR         crash records are kept here (" STATE_DIR_DEFAULT ")\n"
	"  --bus-address=ADDRESS   D-Bus to join ($DBUS_SYSTEM_BUS_ADDRESS, else the system's)\n"
	"  --no-bus                join none\n"
	"  --shutdown-timeout=SEC  for all nodes to stop together (120)\n"
	"  --log-level=LEVEL       err, warning, notice, info (the default), debug\n"
	"  --version, --help       and exit\n";

static int add_string(char ***list, const char *s)
{
	size_t n = 0;
	char **grown;

	while (*list && (*list)[n])
		n++;
	grown = reallocarray(*list, n + 2, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*list = grown;
	grown[n + 1] = NULL;
	grown[n] = strdup(s);
	return grown[n] ? 0 : -ENOMEM;
}

static int set_string(char **where, const char *s)
{
	free(*where);
	*where = strdup(s);
	return *where ? 0 : -ENOMEM;
}

static int set_seconds(usec_t *where, const char *s)
{
	unsigned long seconds;
	char *end;

	errno = 0;
	seconds = strtoul(s, &end, 10);
	if (errno != 0 || end == s || *end != '\0' || *s == '-' || seconds > UINT32_MAX)
		return -EINVAL;
	*where = seconds * USEC_PER_SEC;
	return 0;
}

static int set_level(const char *s)
{
	int level = log_level_from_string(s);

	if (level < 0)
		return level;
	log_set_level(level);
	return 0;
}

static int apply(struct options *o, int opt, const char *arg)
{
	switch (opt) {
	case OPT_UNIT_PATH:
		return add_string(&o->unit_path, arg);
	case OPT_START:
		return add_string(&o->start, arg);
	case OPT_KEEPER:
		return set_string(&o->keeper_path, arg);
	case OPT_RUNTIME_DIR:
		return set_string(&o->runtime_dir, arg);
	case OPT_STATE_DIR:
		return set_string(&o->state_dir, arg);
	case OPT_LOG_LEVEL:
		return set_level(arg);
	case OPT_NO_BUS:
		o->no_bus = true;
		return 0;
	case OPT_BUS_ADDRESS:
		return set_string(&o->bus_address, arg);
	case OPT_SHUTDOWN_TIMEOUT:
		return set_seconds(&o->shutdown_timeout, arg);
	case OPT_VERSION:
		puts("twinit " TWINIT_VERSION);
		o->done = true;
		return 0;
	case OPT_HELP:
		fputs(help, stdout);
		o->done = true;
		return 0;
	default:
		return -EINVAL;
	}
}

/* Beside us in a build tree, in libexec once installed. */
static int default_keeper(char **ret)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash && asprintf(ret, "%.*s/" KEEPER_NAME, (int)(slash - self), self) >= 0) {
			if (access(*ret, X_OK) == 0)
				return 0;
			free(*ret);
		}
	}
	*ret = strdup(TWINIT_LIBEXECDIR "/" KEEPER_NAME);
	return *ret ? 0 : -ENOMEM;
}

/* Nodes get paths in there, and live elsewhere. */
static int make_absolute(char **path)
{
	_cleanup_free_ char *here = NULL;
	char *joined;

	if (**path == '/')
		return 0;
	here = getcwd(NULL, 0);
	if (!here)
		return -errno;
	if (asprintf(&joined, "%s/%s", here, *path) < 0)
		return -ENOMEM;
	free(*path);
	*path = joined;
	return 0;
}

static int fill_defaults(struct options *o)
{
	bool own_path = o->unit_path;
	int r = 0;

	for (size_t i = 0; !own_path && r == 0 && i < ELEMENTSOF(unit_path_default); i++)
		r = add_string(&o->unit_path, unit_path_default[i]);
	if (r == 0 && !o->runtime_dir)
		r = set_string(&o->runtime_dir, RUNTIME_DIR_DEFAULT);
	if (r == 0 && !o->state_dir)
		r = set_string(&o->state_dir, STATE_DIR_DEFAULT);
	if (r == 0)
		r = make_absolute(&o->runtime_dir);
	if (r == 0)
		r = make_absolute(&o->state_dir);
	if (r == 0 && !o->keeper_path)
		r = default_keeper(&o->keeper_path);
	return r;
}

static int parse(int argc, char **argv, struct options *o)
{
	bool forgiving = getpid() == 1;
	int opt, r;

	/* What is wrong goes to the log, not to a stderr that nobody may read. */
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		const char *word = argv[optind - 1];

		r = apply(o, opt, optarg);
		if (r == -EINVAL)
			log_node(forgiving ? LOG_WARNING : LOG_ERR, NULL,
				"%s: no such option, or a value it does not take", word);
		if (r < 0 && !(forgiving && r == -EINVAL))
			return r;
	}
	if (optind < argc && !forgiving) {
		log_error("%s: twinit takes options only", argv[optind]);
		return -EINVAL;
	}
	return fill_defaults(o);
}

int options_parse(int argc, char **argv, struct options *ret)
{
	struct options o = {.shutdown_timeout = SHUTDOWN_TIMEOUT_DEFAULT_USEC};
	int r = parse(argc, argv, &o);

	if (r < 0)
		options_clear(&o);
	else
		*ret = o;
	return r;
}

void options_clear(struct options *o)
{
	strv_free(o->unit_path);
	strv_free(o->start);
	free(o->keeper_path);
	free(o->runtime_dir);
	free(o->state_dir);
	free(o->bus_address);
	*o = (struct options){0};
}
