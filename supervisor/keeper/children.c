/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/children.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "supervisor/child_guard/child_guard.h"
#include "supervisor/keeper/helper.h"
#include "supervisor/keeper/keeper.h"
#include "supervisor/twin/procfs.h"

static_assert(CHILD_GUARD_SOCKET_FD == HELPER_FD, "the first that is handed on");

static void forget(struct child *c)
{
	struct child_host *h = c->host;

	if (c->fd >= 0) {
		ev_io_stop(h->keeper->loop, &c->io);
		close(STEAL_FD(c->fd)); /* it reads the end of the file, and lets go */
		h->n_guarded--;
		h->n_armed -= c->armed;
	}
	c->armed = false;
	c->state = CHILD_FREE;
}

static void leave(struct child *c)
{
	forget(c);
	c->state = CHILD_LEFT;
}

/* --- what guards say ------------------------------------------------------------------------ */

static void log_took_over(const struct child *c, const struct child_report *r)
{
	const char *name = sigabbrev_np(r->signal);
	char pid[16], signal[16], latency[24], rollback[24], where[32] = "";
	const char *const fields[] = {"CAUSE", "signal", "SIGNAL", signal, "CHILD_PID", pid,
		"LATENCY_USEC", latency, "ROLLBACK_USEC", rollback, "WAY", "in-place",
		r->text[0] ? "LOST" : NULL, r->text, NULL};

	snprintf(pid, sizeof(pid), "%d", c->pid);
	snprintf(signal, sizeof(signal), "%d", r->signal);
	snprintf(
		latency, sizeof(latency), "%llu", (unsigned long long)(r->latency / NSEC_PER_USEC));
	snprintf(rollback, sizeof(rollback), "%llu", (unsigned long long)r->rollback);
	if (r->address)
		snprintf(where, sizeof(where), " at 0x%llx", (unsigned long long)r->address);
	log_fields(LOG_WARNING, c->host->keeper->unit->id, fields,
		"child %d (%s): signal (SIG%s)%s: twin took over in %s us", c->pid, c->name,
		name ? name : signal, where, latency);
}

static void take_report(struct child *c, const struct child_report *r)
{
	struct child_host *h = c->host;
	const char *id = h->keeper->unit->id, *name = sigabbrev_np(r->signal);

	switch (r->word) {
	case CHILD_ARMED:
		if (c->armed)
			return;
		c->armed = true;
		h->n_armed++;
		log_node(LOG_INFO, id, "child %d (%s): guarded", c->pid, c->name);
		break;
	case CHILD_TOOK_OVER:
		h->n_failovers++;
		c->tries = 0;
		log_took_over(c, r);
		break;
	case CHILD_LEFT_TO_DIE:
		log_node(LOG_WARNING, id, "child %d (%s): signal (SIG%s), and no twin: %s", c->pid,
			c->name, name ? name : "?", r->text);
		return;
	case CHILD_REFUSED:
		log_node(LOG_INFO, id, "child %d (%s): cannot be guarded: %s", c->pid, c->name,
			r->text);
		leave(c);
		break;
	case CHILD_ENDED:
		c->ended = true;
		return;
	case _CHILD_WORD_MAX:
		return;
	}
	arm_report(&h->keeper->arm);
}

static void lose(struct child *c)
{
	struct child_host *h = c->host;
	bool ended = c->ended;

	forget(c);
	if (!ended) {
		log_node(LOG_WARNING, h->keeper->unit->id, "child %d (%s): its guard has ended",
			c->pid, c->name);
		c->state = ++c->tries < CHILD_GUARD_TRIES ? CHILD_SEEN : CHILD_LEFT;
	}
	arm_report(&h->keeper->arm);
}

static void on_report(_unused_ struct ev_loop *loop, ev_io *w, _unused_ int revents)
{
	struct child *c = w->data;
	struct child_report r;
	ssize_t n = recv(c->fd, &r, sizeof(r), MSG_DONTWAIT);

	if (n == (ssize_t)sizeof(r) && r.version == CHILD_GUARD_VERSION) {
		r.text[sizeof(r.text) - 1] = '\0';
		take_report(c, &r);
	} else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		lose(c);
	}
}

/* --- who is to be guarded ------------------------------------------------------------------- */

/* false: it is no process that could be guarded. */
static bool read_stat(pid_t pid, uint64_t *ret_started, char ret_name[16])
{
	char text[512];
	const char *begin, *end;

	if (proc_read(text, sizeof(text), "%d/stat", pid) <= 0 || !(begin = strchr(text, '(')) ||
		!(end = strrchr(text, ')')) ||
		proc_stat_field(text, CHILD_STAT_STARTED, ret_started) < 0)
		return false;
	snprintf(ret_name, 16, "%.*s", (int)(end - begin - 1), begin + 1);
	return end[1] == ' ' && end[2] != 'Z' && end[2] != 'X';
}

/* Of its main thread: who makes them elsewhere is found out to be no leaf later, which does no
 * harm, for they stay in place. Zombies do not count: twins of a guard that was killed are such. */
static bool has_children(pid_t pid)
{
	char text[4096], name[16], *p = text, *end;
	uint64_t started;

	if (proc_read(text, sizeof(text), "%d/task/%d/children", pid, pid) <= 0)
		return false;
	for (long child; (child = strtol(p, &end, 10)) > 0 && end != p; p = end)
		if (read_stat((pid_t)child, &started, name))
			return true;
	return false;
}

static int launch(struct child *c)
{
	struct keeper *k = c->host->keeper;
	char id[96], path[PATH_MAX + 16], level[32], child[80];
	char *argv[] = {NULL, id, path, level, child, NULL};
	_cleanup_close_ int text = -1, ours = -1, theirs = -1;
	int fds[2], r;

	text = helper_unit_text(k->unit);
	if (text < 0)
		return text;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -errno;
	ours = fds[0];
	theirs = fds[1];
	snprintf(id, sizeof(id), "--id=%s", k->unit->id);
	snprintf(path, sizeof(path), "--unit-path=%s", k->unit->path);
	snprintf(level, sizeof(level), "--log-level=%d", log_level());
	snprintf(child, sizeof(child), "--child=%d:%llu:%d", c->pid, (unsigned long long)c->started,
		k->main_pid);
	r = helper_spawn("twinit-child-guard", argv, (const int[]){theirs, text}, 2);
	if (r < 0)
		return r;
	c->fd = STEAL_FD(ours);
	c->state = CHILD_GUARDED;
	c->armed = c->ended = false;
	c->host->n_guarded++;
	ev_io_init(&c->io, on_report, c->fd, EV_READ);
	c->io.data = c;
	ev_io_start(k->loop, &c->io);
	return 0;
}

static void guard(struct child *c)
{
	struct child_host *h = c->host;
	int r;

	if (h->n_guarded >= CHILDREN_GUARDED) {
		if (!h->told_many)
			log_node(LOG_WARNING, h->keeper->unit->id,
				"more than %u children: child %d (%s) and others are not guarded",
				CHILDREN_GUARDED, c->pid, c->name);
		h->told_many = true;
		return; /* there may be room later */
	}
	r = launch(c);
	if (r < 0) {
		log_node(LOG_WARNING, h->keeper->unit->id, "child %d (%s): no guard: %s", c->pid,
			c->name, strerror(-r));
		c->state = ++c->tries < CHILD_GUARD_TRIES ? CHILD_SEEN : CHILD_LEFT;
	}
}

static struct child *find(struct child_host *h, pid_t pid)
{
	struct child *unused = NULL;

	for (unsigned i = 0; i < ELEMENTSOF(h->list); i++) {
		struct child *c = &h->list[i];
		if (c->state != CHILD_FREE && c->pid == pid)
			return c;
		if (c->state == CHILD_FREE && !unused)
			unused = c;
	}
	if (unused)
		unused->pid = 0;
	return unused;
}

static void look_at(struct child_host *h, pid_t pid)
{
	struct child *c = find(h, pid);
	char name[sizeof(c->name)];
	uint64_t started;

	if (!c)
		return;
	if (c->pid == pid && c->state == CHILD_GUARDED) {
		c->there = true; /* its guard says when it has ended */
		return;
	}
	if (!read_stat(pid, &started, name))
		return;
	if (c->pid == pid && c->started == started) {
		c->there = true;
		snprintf(c->name, sizeof(c->name), "%s", name);
		if (c->state == CHILD_SEEN && !has_children(pid))
			guard(c);
		return;
	}
	*c = (struct child){.host = h,
		.state = CHILD_SEEN,
		.pid = pid,
		.started = started,
		.there = true,
		.fd = -1};
	snprintf(c->name, sizeof(c->name), "%s", name);
}

void children_init(struct child_host *h, struct keeper *k)
{
	h->keeper = k;
	for (unsigned i = 0; i < ELEMENTSOF(h->list); i++)
		h->list[i] = (struct child){.host = h, .fd = -1};
}

void children_look(struct child_host *h)
{
	struct keeper *k = h->keeper;
	pid_t pids[CHILDREN_KNOWN];
	unsigned n;

	if (!k->unit->twin.guard_children)
		return;
	if (twin_is_subreaper(k->engine)) {
		if (!h->told_subreaper)
			log_node(LOG_WARNING, k->unit->id,
				"children are not guarded: the node takes in orphans, and would "
				"get their twins");
		h->told_subreaper = true;
		children_drop_all(h);
		return;
	}
	for (unsigned i = 0; i < ELEMENTSOF(h->list); i++)
		h->list[i].there = false;
	n = twin_children(k->engine, pids, ELEMENTSOF(pids));
	for (unsigned i = 0; i < n; i++)
		look_at(h, pids[i]);
	for (unsigned i = 0; i < ELEMENTSOF(h->list); i++) {
		struct child *c = &h->list[i];
		if (!c->there && c->state != CHILD_GUARDED && c->state != CHILD_FREE)
			forget(c);
	}
}

void children_drop_all(struct child_host *h)
{
	for (unsigned i = 0; i < ELEMENTSOF(h->list); i++)
		if (h->list[i].state != CHILD_FREE)
			forget(&h->list[i]);
}
