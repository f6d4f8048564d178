/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NAMES_MAX 64
#define REMOVE_TRIES 20

/* --- where ---------------------------------------------------------------------------------- */

/* Is word one of list ("rw,memory,cpu")? */
static bool has_word(const char *list, size_t len, const char *word)
{
	size_t n = strlen(word);

	for (const char *end = list + len; list < end;) {
		const char *comma = memchr(list, ',', (size_t)(end - list));
		size_t k = comma ? (size_t)(comma - list) : (size_t)(end - list);
		if (k == n && memcmp(list, word, n) == 0)
			return true;
		list += k + 1;
	}
	return false;
}

/* The path of our group: "0::PATH" or "4:memory:PATH". */
static int own_path(const char *text, const char *controller, char ret[PATH_MAX])
{
	for (const char *line = text, *next; *line; line = next) {
		const char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;

		next = strchrnul(line, '\n');
		if (path && path < next) {
			size_t listed = (size_t)(path - list - 1);
			bool ours =
				controller ? has_word(list + 1, listed, controller) : listed == 0;
			if (ours && next - path - 1 < PATH_MAX) {
				snprintf(ret, PATH_MAX, "%.*s", (int)(next - path - 1), path + 1);
				return 0;
			}
		}
		next += *next == '\n';
	}
	return -ENOENT;
}

struct mount_line {
	char root[PATH_MAX], point[PATH_MAX], type[64], options[512];
};

/* proc_pid_mountinfo(5). Blanks in paths, as \040, are in none that a cgroup has. */
static bool parse_mount(const char *line, struct mount_line *m)
{
	const char *dash = strstr(line, " - "), *end = strchrnul(line, '\n');

	return dash && dash < end &&
	       sscanf(line, "%*d %*d %*s %4095s %4095s", m->root, m->point) == 2 &&
	       sscanf(dash + 3, "%63s %*s %511s", m->type, m->options) == 2;
}

int cgroup_find(
	const char *mountinfo, const char *cgroup, const char *controller, char ret[PATH_MAX])
{
	char own[PATH_MAX];
	struct mount_line m;
	int r = own_path(cgroup, controller, own);

	if (r < 0)
		return r;
	r = -ENOENT;
	for (const char *line = mountinfo; *line; line = strchrnul(line, '\n')) {
		size_t n;

		line += *line == '\n';
		if (!*line || !parse_mount(line, &m) ||
			strcmp(m.type, controller ? "cgroup" : "cgroup2") != 0)
			continue;
		if (controller && !has_word(m.options, strlen(m.options), controller))
			continue;
		n = strcmp(m.root, "/") == 0 ? 0 : strlen(m.root);
		r = -EXDEV;
		/* In a namespace of groups what lies above its root is "/..". */
		if (strncmp(own, m.root, n) != 0 || (own[n] && own[n] != '/') ||
			strncmp(own + n, "/..", 3) == 0)
			continue;
		if (snprintf(ret, PATH_MAX, "%s%s", m.point,
			    strcmp(own + n, "/") == 0 ? "" : own + n) >= PATH_MAX)
			return -ENAMETOOLONG;
		return 0;
	}
	return r;
}

int cgroup_count(const char *text, const char *key, uint64_t *ret)
{
	size_t n = strlen(key);

	for (const char *line = text; *line; line = strchrnul(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, n) == 0 && line[n] == ' ') {
			*ret = strtoull(line + n + 1, NULL, 10);
			return 0;
		}
	}
	return -ENODATA;
}

/* --- files ---------------------------------------------------------------------------------- */

/* A whole file of /proc, as a string; NULL: it cannot be read. */
static char *read_all(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;

	if (f && getdelim(&text, &size, '\0', f) < 0) {
		free(text);
		text = NULL;
	}
	if (f)
		fclose(f);
	return text;
}

static int write_file(const char *folder, const char *name, const char *value)
{
	char path[PATH_MAX];
	int fd, r = 0;

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) < 0)
		r = -errno;
	close(fd);
	return r;
}

static int open_in(const char *folder, const char *name, int flags)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Makes and takes the first name that no living keeper has. */
static int take_folder(const char *parent, const char *node, char ret[PATH_MAX])
{
	if (mkdir(parent, 0755) < 0 && errno != EEXIST)
		return -errno;
	for (unsigned i = 1; i <= NAMES_MAX; i++) {
		char number[16] = "";
		int fd;

		if (i > 1)
			snprintf(number, sizeof(number), ".%u", i);
		if (snprintf(ret, PATH_MAX, "%s/%s%s", parent, node, number) >= PATH_MAX)
			return -ENAMETOOLONG;
		if (mkdir(ret, 0755) < 0 && errno != EEXIST)
			return -errno;
		fd = open(ret, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* Removed since by its keeper, which was at its end. */
		if (fd < 0 && errno == ENOENT) {
			i--;
			continue;
		}
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			struct stat a, b;
			if (fstat(fd, &a) == 0 && stat(ret, &b) == 0 && a.st_ino == b.st_ino)
				return fd;
			i--; /* removed between the two */
		}
		close(fd);
	}
	return -EBUSY;
}

static int place_open(struct node_cgroup *c, int which, const char *base, const char *node)
{
	char parent[PATH_MAX];
	int r;

	if (snprintf(parent, sizeof(parent), "%s/" CGROUP_PARENT, base) >= (int)sizeof(parent))
		return -ENAMETOOLONG;
	r = take_folder(parent, node, c->path[which]);
	if (r >= 0) {
		c->folder[which] = r;
		r = open_in(c->path[which], "cgroup.procs", O_WRONLY);
	}
	if (r < 0) {
		closep(&c->folder[which]);
		c->folder[which] = -1;
		c->path[which][0] = '\0';
		return r;
	}
	c->procs[which] = r;
	return 0;
}

/* --- the two hierarchies -------------------------------------------------------------------- */

/* Let the groups below have the memory controller. A group that has processes of its own may not
 * give it on (-EBUSY), but for the root of all: the supervisor there is PID 1. */
static int delegate_memory(const char *base)
{
	char parent[PATH_MAX], *text;
	bool have;
	int r;

	if (snprintf(parent, sizeof(parent), "%s/cgroup.controllers", base) >= (int)sizeof(parent))
		return -ENAMETOOLONG;
	text = read_all(parent);
	have = text && strstr(text, "memory");
	free(text);
	if (!have)
		return -ENOENT;
	r = write_file(base, "cgroup.subtree_control", "+memory");
	if (r < 0)
		return r;
	snprintf(parent, sizeof(parent), "%.*s/" CGROUP_PARENT, PATH_MAX - 16, base);
	if (mkdir(parent, 0755) < 0 && errno != EEXIST)
		return -errno;
	return write_file(parent, "cgroup.subtree_control", "+memory");
}

static int open_unified(struct node_cgroup *c, const char *base, const char *node)
{
	int memory = delegate_memory(base);
	int r = place_open(c, CGROUP_UNIFIED, base, node);

	if (r < 0)
		return r;
	if (memory < 0)
		return memory;
	c->counter = open_in(c->path[CGROUP_UNIFIED], "memory.events", O_RDONLY);
	c->v2 = c->counter >= 0;
	return c->v2 ? 0 : c->counter;
}

static int open_v1(struct node_cgroup *c, const char *base, const char *node)
{
	int r = place_open(c, CGROUP_MEMORY, base, node);

	if (r < 0)
		return r;
	c->counter = open_in(c->path[CGROUP_MEMORY], "memory.oom_control", O_RDONLY);
	return c->counter < 0 ? c->counter : 0;
}

void node_cgroup_open(struct node_cgroup *c, const char *node, char *why, size_t size)
{
	char *mounts = read_all("/proc/self/mountinfo"), *own = read_all("/proc/self/cgroup");
	char base[PATH_MAX];
	int r = -ENOENT, v1;

	*c = (struct node_cgroup)NODE_CGROUP_NONE;
	why[0] = '\0';
	if (mounts && own) {
		r = cgroup_find(mounts, own, NULL, base);
		if (r == 0)
			r = open_unified(c, base, node);
		v1 = c->v2 ? -ENOENT : cgroup_find(mounts, own, "memory", base);
		if (v1 == 0)
			r = open_v1(c, base, node);
	}
	free(mounts);
	free(own);
	if (c->counter >= 0)
		node_cgroup_account(c, node_cgroup_kills(c)); /* of those who had it before */
	else if (r == -EBUSY)
		snprintf(why, size,
			"the supervisor's own control group has processes in it, so that it cannot "
			"give on the memory controller");
	else if (r == -ENOENT || r == -EXDEV)
		snprintf(why, size, "no memory controller is to be had here");
	else
		snprintf(why, size, "no control group: %s", strerror(-r));
}

void node_cgroup_close(struct node_cgroup *c)
{
	const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
	char parent[PATH_MAX], *slash;

	closep(&c->counter);
	for (int i = 0; i < _CGROUP_MAX; i++) {
		closep(&c->procs[i]);
		if (!c->path[i][0])
			continue;
		/* Who was killed a moment ago may be on its way out. What stays is used again by
		 * the next keeper of that node. */
		for (unsigned k = 0; rmdir(c->path[i]) < 0 && errno == EBUSY && k < REMOVE_TRIES;
			k++)
			nanosleep(&pause, NULL);
		closep(&c->folder[i]);
		snprintf(parent, sizeof(parent), "%s", c->path[i]);
		slash = strrchr(parent, '/');
		*slash = '\0';
		(void)rmdir(parent); /* the last one does it */
	}
	*c = (struct node_cgroup)NODE_CGROUP_NONE;
}

int node_cgroup_limit(const struct node_cgroup *c, uint64_t bytes)
{
	char text[24];

	if (c->counter < 0)
		return -EOPNOTSUPP;
	snprintf(text, sizeof(text), "%" PRIu64, bytes);
	if (bytes == UINT64_MAX)
		snprintf(text, sizeof(text), c->v2 ? "max" : "-1");
	return c->v2 ? write_file(c->path[CGROUP_UNIFIED], "memory.max", text)
		     : write_file(c->path[CGROUP_MEMORY], "memory.limit_in_bytes", text);
}

uint64_t node_cgroup_kills(const struct node_cgroup *c)
{
	char text[1024];
	uint64_t now;
	ssize_t n = c->counter < 0 ? -1 : pread(c->counter, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	if (cgroup_count(text, "oom_kill", &now) < 0 || now <= c->accounted)
		return 0;
	return now - c->accounted;
}

void node_cgroup_account(struct node_cgroup *c, uint64_t n)
{
	c->accounted += n;
}
