/* SPDX-License-Identifier: Apache-2.0 */
/* Kind=resource: memory, descriptors and threads of the node, against limits of what it has and of
 * how much that grows within Window=. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "probes/prober/check.h"

#define SAMPLES 64u

struct usage {
	usec_t at;
	uint64_t memory, descriptors, threads;
};
struct resource {
	struct usage ring[SAMPLES]; /* spread over Window= */
	unsigned n;
};

static int read_text(pid_t pid, const char *name, char *ret, size_t size)
{
	char path[64];
	_cleanup_close_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, ret, size - 1);
	if (n <= 0)
		return -ESRCH;
	ret[n] = '\0';
	return 0;
}

static int take(pid_t pid, struct usage *ret)
{
	char text[1024], path[64], *end;
	struct usage u = {.at = now_usec()};
	struct stat st;

	if (read_text(pid, "statm", text, sizeof(text)) < 0)
		return -ESRCH;
	(void)strtoull(text, &end, 10);
	u.memory = strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
	if (read_text(pid, "stat", text, sizeof(text)) < 0)
		return -ESRCH;
	/* proc(5): num_threads is field 20, and the name before it may hold anything. */
	end = strrchr(text, ')');
	for (int field = 2; end && field < 20; field++)
		end = strchr(end + 1, ' ');
	u.threads = end ? strtoull(end, NULL, 10) : 0;
	/* Since Linux 6.2 the size of that folder is the number of descriptors. */
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	if (stat(path, &st) == 0)
		u.descriptors = (uint64_t)st.st_size;
	*ret = u;
	return 0;
}

/* The oldest look that is no older than the window: what growth is measured from. */
static const struct usage *base_of(const struct resource *r, usec_t from)
{
	const struct usage *oldest = NULL;

	for (unsigned i = 0; i < MIN2(r->n, SAMPLES); i++)
		if (r->ring[i].at >= from && (!oldest || r->ring[i].at < oldest->at))
			oldest = &r->ring[i];
	return oldest;
}

static bool exceeds(struct check *c, const char *what, uint64_t now, uint64_t before,
	uint64_t limit, uint64_t growth)
{
	if (limit && now > limit) {
		check_bad(c, "%s: %llu, more than %llu", what, (unsigned long long)now,
			(unsigned long long)limit);
		return true;
	}
	if (growth && now > before && now - before > growth) {
		check_bad(c, "%s: grown by %llu to %llu within %llu s, more than %llu", what,
			(unsigned long long)(now - before), (unsigned long long)now,
			(unsigned long long)(c->settings->window / USEC_PER_SEC),
			(unsigned long long)growth);
		return true;
	}
	return false;
}

static void begin(struct check *c)
{
	const struct probe_settings *s = c->settings;
	struct resource *r = c->own;
	const struct usage *base, *newest;
	struct usage now;

	if (take(c->prober->pid, &now) < 0) {
		check_unknown(c);
		return;
	}
	base = base_of(r, now.at - MIN2(s->window, now.at));
	base = base ? base : &now;
	if (exceeds(c, "memory in bytes", now.memory, base->memory, s->max_memory,
		    s->max_memory_growth) ||
		exceeds(c, "descriptors", now.descriptors, base->descriptors, s->max_descriptors,
			s->max_descriptor_growth) ||
		exceeds(c, "threads", now.threads, base->threads, s->max_threads,
			s->max_thread_growth))
		return;
	newest = r->n ? &r->ring[(r->n - 1) % SAMPLES] : NULL;
	if (!newest || now.at - newest->at >= s->window / SAMPLES)
		r->ring[r->n++ % SAMPLES] = now;
	check_good(c);
}

static void restart(struct check *c)
{
	((struct resource *)c->own)->n = 0;
}

static int init(struct check *c)
{
	c->own = calloc(1, sizeof(struct resource));
	return c->own ? 0 : -ENOMEM;
}

const struct check_ops check_resource = {.init = init, .begin = begin, .restart = restart};
