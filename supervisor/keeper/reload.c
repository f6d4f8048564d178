/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/reload.h"

#include <errno.h>
#include <string.h>

#include "config/strv.h"
#include "supervisor/keeper/keeper.h"

/* text with $MAINPID and ${MAINPID} put in; the only variable, so "$" is text otherwise. */
static char *expand(const char *text, const char *pid)
{
	static const char *const names[] = {"${MAINPID}", "$MAINPID"};
	char *out = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&out, &len);

	if (!f)
		return NULL;
	while (*text) {
		size_t skip = 0;

		for (size_t i = 0; i < ELEMENTSOF(names) && !skip; i++)
			if (strncmp(text, names[i], strlen(names[i])) == 0)
				skip = strlen(names[i]);
		if (skip)
			fputs(pid, f);
		else
			fputc(*text, f);
		text += skip ? skip : 1;
	}
	if (fclose(f) != 0) {
		free(out);
		return NULL;
	}
	return out;
}

static int expand_all(char *const *argv, const char *pid, struct strv *ret)
{
	int r = strv_init(ret);

	for (; r == 0 && *argv; argv++) {
		char *word = expand(*argv, pid);
		r = word ? strv_take(ret, word) : -ENOMEM;
	}
	return r;
}

static int launch(struct keeper *k, struct reload *l)
{
	struct spawn_plan plan = *k->plan;
	struct exec_command command = k->unit->exec_reload;
	struct strv argv = {0}, env = {0};
	char pid[16], variable[32];
	int r;

	snprintf(pid, sizeof(pid), "%d", k->main_pid);
	snprintf(variable, sizeof(variable), "MAINPID=%s", pid);
	r = expand_all(command.argv, pid, &argv);
	if (r == 0)
		r = strv_init(&env);
	for (char **e = plan.environment; r == 0 && *e; e++)
		r = strv_copy(&env, *e);
	if (r == 0)
		r = strv_copy(&env, variable);
	if (r == 0) {
		command.argv = argv.items;
		plan.environment = env.items;
		r = spawn_helper(&plan, &command, &l->spawned);
	}
	strv_clear(&argv);
	strv_clear(&env);
	return r;
}

static void kill_it(const struct reload *l)
{
	/* It may not have come to its setsid() yet. */
	if (l->spawned.pid > 0 && kill(-l->spawned.pid, SIGKILL) < 0)
		(void)kill(l->spawned.pid, SIGKILL);
}

static void on_timer(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct keeper *k = w->data;

	log_node(LOG_ERR, k->unit->id, "ExecReload= takes longer than TimeoutStartSec=, killed");
	kill_it(&k->reload);
}

void reload_init(struct keeper *k)
{
	k->reload.spawned = (struct spawned)SPAWNED_NONE;
	ev_init(&k->reload.timer, on_timer);
	k->reload.timer.data = k;
}

void reload_request(struct keeper *k, uint64_t serial)
{
	struct reload *l = &k->reload;
	int r;

	if (!k->unit->exec_reload.argv) {
		report_reply(&k->report, serial, -EOPNOTSUPP, "the unit has no ExecReload=");
		return;
	}
	if (k->state != NODE_RUNNING) {
		report_reply(&k->report, serial, -EBUSY, "the node does not run");
		return;
	}
	if (l->spawned.pid > 0) {
		report_reply(&k->report, serial, -EALREADY, "a reload is under way");
		return;
	}
	r = launch(k, l);
	if (r < 0) {
		report_reply(&k->report, serial, r, strerror(-r));
		return;
	}
	l->serial = serial;
	log_node(LOG_INFO, k->unit->id, "reloading");
	if (k->unit->timeout_start_usec == USEC_INFINITY)
		return;
	ev_now_update(k->loop);
	ev_timer_set(&l->timer, (double)k->unit->timeout_start_usec / USEC_PER_SEC, 0.);
	ev_timer_start(k->loop, &l->timer);
}

bool reload_ended(struct keeper *k, pid_t pid, int status)
{
	struct reload *l = &k->reload;
	struct wait_event end = wait_classify((struct wait_status){status}, false);
	struct spawn_failure failure;
	char text[KEEPER_TEXT_MAX] = "reloaded";
	bool ok = policy_result_of_end(NULL, &end, false) == RESULT_SUCCESS;

	if (pid <= 0 || pid != l->spawned.pid)
		return false;
	ev_timer_stop(k->loop, &l->timer);
	/* What it has left in its session is not for the node to live with. */
	if (kill(pid, 0) < 0 && errno == ESRCH)
		(void)kill(-pid, SIGKILL);
	if (spawn_result(&l->spawned, &failure) == 0)
		spawn_failure_format(&failure, k->unit, &k->unit->exec_reload, text, sizeof(text));
	else if (!ok && end.kind == WAIT_EXITED)
		snprintf(text, sizeof(text), "ExecReload= exited with status %d", end.exit_status);
	else if (!ok)
		snprintf(text, sizeof(text), "ExecReload= was killed by signal %d", end.signal);
	ok |= k->unit->exec_reload.ignore_failure;
	log_node(ok ? LOG_INFO : LOG_ERR, k->unit->id, "%s", text);
	report_reply(&k->report, l->serial, ok ? 0 : -EIO, text);
	l->serial = 0;
	spawned_close(&l->spawned);
	return true;
}

void reload_cancel(struct keeper *k)
{
	struct reload *l = &k->reload;

	if (l->spawned.pid <= 0)
		return;
	kill_it(l);
	ev_timer_stop(k->loop, &l->timer);
	report_reply(&k->report, l->serial, -ECANCELED, "the node went down");
	l->serial = 0;
	spawned_close(&l->spawned);
}
