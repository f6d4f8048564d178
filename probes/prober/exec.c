/* SPDX-License-Identifier: Apache-2.0 */
/* Kind=exec: a command that judges the node, by exit status 0. As the unit's user, with its
 * environment, and MAINPID= in it; in a session of its own, which is killed when its time is over.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "config/strv.h"
#include "probes/prober/check.h"
#include "supervisor/base/log.h"
#include "supervisor/keeper/spawn.h"

struct command {
	ev_child child;
	struct spawned spawned;
	pid_t pid; /* 0: none */
};

static void end_all(struct check *c)
{
	struct command *e = c->own;

	if (e->pid <= 0)
		return;
	/* It may not have come to its setsid() yet. The child watcher stays and reaps it. */
	if (kill(-e->pid, SIGKILL) < 0)
		(void)kill(e->pid, SIGKILL);
}

static void on_end(struct ev_loop *loop, ev_child *w, _unused_ int revents)
{
	struct check *c = w->data;
	struct command *e = c->own;
	struct spawn_failure failure;
	int status = w->rstatus;
	bool failed = spawn_result(&e->spawned, &failure) == 0;

	ev_child_stop(loop, w);
	(void)kill(-e->pid, SIGKILL); /* what it left in its session */
	spawned_close(&e->spawned);
	e->pid = 0;
	if (failed)
		check_bad(c, "%s: %s", c->settings->command.argv[0], strerror(-failure.error));
	else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		check_good(c);
	else if (WIFEXITED(status))
		check_bad(c, "%s exited with status %d", c->settings->command.argv[0],
			WEXITSTATUS(status));
	else
		check_bad(c, "%s was killed by SIG%s", c->settings->command.argv[0],
			sigabbrev_np(WTERMSIG(status)) ?: "?");
}

/* The plan's environment and the node's pid. */
static int launch(struct check *c, struct spawn_plan *plan, struct spawned *ret)
{
	struct spawn_plan with = *plan;
	struct strv env = {0};
	char pid[32];
	int r = strv_init(&env);

	snprintf(pid, sizeof(pid), "MAINPID=%d", c->prober->pid);
	for (char **e = plan->environment; r == 0 && *e; e++)
		r = strv_copy(&env, *e);
	if (r == 0)
		r = strv_copy(&env, pid);
	if (r == 0) {
		with.environment = env.items;
		r = spawn_helper(&with, &c->settings->command, ret);
	}
	strv_clear(&env);
	return r;
}

static void begin(struct check *c)
{
	struct command *e = c->own;
	struct spawn_plan *plan = NULL;
	char why[KEEPER_TEXT_MAX];
	int r, status;

	/* One that was killed is still on its way: this look says nothing. */
	if (e->pid > 0) {
		check_unknown(c);
		return;
	}
	r = spawn_plan_new(c->prober->unit, NULL, &plan, why, &status);
	if (r == 0) {
		r = launch(c, plan, &e->spawned);
		spawn_plan_free(plan);
	}
	if (r < 0) {
		log_node(LOG_WARNING, c->prober->unit->id, "probe %s: cannot run its command: %s",
			c->settings->name, strerror(-r));
		check_unknown(c);
		return;
	}
	e->pid = e->spawned.pid;
	ev_child_set(&e->child, e->pid, 0);
	ev_child_start(c->prober->loop, &e->child);
}

static int init(struct check *c)
{
	struct command *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->spawned = (struct spawned)SPAWNED_NONE;
	ev_init(&e->child, on_end);
	e->child.data = c;
	c->own = e;
	return 0;
}

const struct check_ops check_exec = {.init = init, .begin = begin, .cancel = end_all};
