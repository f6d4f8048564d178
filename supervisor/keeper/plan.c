/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of spawning that is done before the fork: who the node is and what its environment
 * says. Looking users up (NSS) may take its time; the keeper may, PID 1 may not.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "config/strv.h"
#include "supervisor/keeper/spawn.h"

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

static bool parse_id(const char *s, unsigned *ret)
{
	unsigned long v;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoul(s, &end, 10);
	/* The highest is "no id" to chown(2) and setresuid(2). */
	if (errno || *end || v >= UINT32_MAX)
		return false;
	*ret = (unsigned)v;
	return true;
}

static bool same_name(const char *entry, const char *name)
{
	const char *a = strchr(entry, '='), *b = strchr(name, '=');

	return a && b && a - entry == b - name && strncmp(entry, name, (size_t)(a - entry)) == 0;
}

/* entry ("NAME=value", owned by the list afterwards) in place of an older one of its name. */
static int env_set(char ***list, char *entry)
{
	size_t n = 0;
	char **bigger;

	if (!entry)
		return -ENOMEM;
	for (; *list && (*list)[n]; n++)
		if (same_name((*list)[n], entry)) {
			free((*list)[n]);
			(*list)[n] = entry;
			return 0;
		}
	bigger = realloc(*list, (n + 2) * sizeof(char *));
	if (!bigger) {
		free(entry);
		return -ENOMEM;
	}
	bigger[n] = entry;
	bigger[n + 1] = NULL;
	*list = bigger;
	return 0;
}

static int env_setf(char ***list, const char *fmt, ...) _printf_(2, 3);
static int env_setf(char ***list, const char *fmt, ...)
{
	char *entry = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&entry, fmt, ap) < 0)
		entry = NULL;
	va_end(ap);
	return env_set(list, entry);
}

static int groups_of(struct spawn_plan *p, const char *user)
{
	int n = 32;

	for (;;) {
		gid_t *bigger = realloc(p->groups, (size_t)n * sizeof(gid_t));
		int got = n;

		if (!bigger)
			return -ENOMEM;
		p->groups = bigger;
		if (getgrouplist(user, p->gid, p->groups, &got) >= 0) {
			p->n_groups = (size_t)got;
			return 0;
		}
		n = MAX2(got, n * 2);
	}
}

static int find_user(struct spawn_plan *p, char ***env, char why[KEEPER_TEXT_MAX])
{
	const char *name = p->unit->user;
	struct passwd *pw;
	unsigned id;
	int r;

	errno = 0;
	pw = parse_id(name, &id) ? getpwuid(id) : getpwnam(name);
	if (!pw) {
		/* getpwnam(3): "not found" comes as any of these. */
		bool missing = errno == 0 || errno == ENOENT || errno == ESRCH || errno == EBADF ||
			       errno == EPERM;
		r = missing ? -ESRCH : -errno;
		snprintf(why, KEEPER_TEXT_MAX, "User=%s: %s", name,
			missing ? "no such user" : strerror(-r));
		return r;
	}
	p->uid = pw->pw_uid;
	p->gid = pw->pw_gid;
	r = groups_of(p, pw->pw_name);
	if (r == 0)
		r = env_setf(env, "HOME=%s", pw->pw_dir);
	if (r == 0)
		r = env_setf(env, "USER=%s", pw->pw_name);
	if (r == 0)
		r = env_setf(env, "LOGNAME=%s", pw->pw_name);
	if (r == 0)
		r = env_setf(env, "SHELL=%s", *pw->pw_shell ? pw->pw_shell : "/bin/sh");
	return r;
}

static int find_group(struct spawn_plan *p, char why[KEEPER_TEXT_MAX])
{
	const char *name = p->unit->group;
	struct group *gr;
	unsigned id;

	if (parse_id(name, &id)) {
		p->gid = id;
	} else {
		gr = getgrnam(name);
		if (!gr) {
			snprintf(why, KEEPER_TEXT_MAX, "Group=%s: no such group", name);
			return -ESRCH;
		}
		p->gid = gr->gr_gid;
	}
	return 0;
}

/* Ours first, the unit's over them, and last what the unit may not contradict. */
static int build_environment(
	struct spawn_plan *p, char ***env, const char *notify_path, const char **ret_path)
{
	char **own = NULL;
	int r;

	r = unit_environment(p->unit, &own, ret_path);
	if (r < 0)
		return r;
	for (char **e = own; *e && r == 0; e++)
		r = env_setf(env, "%s", *e);
	strv_free(own);
	if (r == 0 && notify_path)
		r = env_setf(env, "NOTIFY_SOCKET=%s", notify_path);
	/* Never WATCHDOG_PID: a twin may have another pid, and sd_watchdog_enabled() would
	 * then say no. */
	if (r == 0 && p->unit->watchdog_usec && p->unit->watchdog_usec != USEC_INFINITY)
		r = env_setf(env, "WATCHDOG_USEC=%llu", (unsigned long long)p->unit->watchdog_usec);
	return r;
}

static int fill(
	struct spawn_plan *p, const char *notify_path, char why[KEEPER_TEXT_MAX], int *status)
{
	const char *bad_path = NULL, *lang = getenv("LANG");
	int r;

	*status = spawn_exit_status(SPAWN_EXEC);
	r = env_setf(&p->environment, "PATH=%s", PATH_DEFAULT);
	if (r == 0 && lang)
		r = env_setf(&p->environment, "LANG=%s", lang);
	if (r < 0)
		return r;
	p->uid = geteuid();
	p->gid = getegid();
	p->switch_user = p->unit->user || p->unit->group;
	if (p->unit->user) {
		*status = spawn_exit_status(SPAWN_USER);
		r = find_user(p, &p->environment, why);
		if (r < 0)
			return r;
	}
	if (p->unit->group) {
		*status = spawn_exit_status(SPAWN_GROUP);
		r = find_group(p, why);
		if (r < 0)
			return r;
	}
	/* An unprivileged keeper may name its own user; there is nothing to switch then. */
	if (geteuid() != 0 && p->uid == geteuid() && p->gid == getegid())
		p->switch_user = false;
	p->lends = p->switch_user && p->uid != 0 && p->unit->twin.enabled &&
		   p->unit->twin.identity == IDENTITY_NAMESPACE;
	*status = spawn_exit_status(SPAWN_EXEC);
	r = build_environment(p, &p->environment, notify_path, &bad_path);
	if (r < 0 && bad_path)
		snprintf(why, KEEPER_TEXT_MAX, "EnvironmentFile=%s: %s", bad_path, strerror(-r));
	return r;
}

int spawn_plan_new(const struct unit *u, const char *notify_path, struct spawn_plan **ret,
	char ret_why[KEEPER_TEXT_MAX], int *ret_exit_status)
{
	struct spawn_plan *p = calloc(1, sizeof(*p));
	int r;

	*ret_exit_status = spawn_exit_status(SPAWN_EXEC);
	ret_why[0] = '\0';
	if (p) {
		p->unit = u;
		p->event_fd = -1;
		for (int i = 0; i < _CGROUP_MAX; i++)
			p->cgroup[i] = -1;
		r = fill(p, notify_path, ret_why, ret_exit_status);
	} else {
		r = -ENOMEM;
	}
	if (r < 0) {
		if (!ret_why[0])
			snprintf(ret_why, KEEPER_TEXT_MAX, "cannot prepare to start: %s",
				strerror(-r));
		spawn_plan_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int spawn_plan_set_event_fd(struct spawn_plan *p, int fd)
{
	p->event_fd = fd;
	return env_setf(&p->environment, "TWINIT_EVENT_FD=%d", fd);
}

void spawn_plan_set_cgroup(struct spawn_plan *p, const struct node_cgroup *c)
{
	memcpy(p->cgroup, c->procs, sizeof(p->cgroup));
}

void spawn_plan_free(struct spawn_plan *p)
{
	if (!p)
		return;
	if (p->environment)
		strv_free(p->environment);
	free(p->groups);
	free(p);
}
