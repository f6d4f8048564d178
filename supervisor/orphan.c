/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/orphan.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>

#include "supervisor/base/log.h"
#include "supervisor/manager.h"
#include "supervisor/reap.h"

/* A command of ExecStartPre= leads its session, but may not have come to its setsid() yet; a
 * node never leads one, and was born into it. */
void orphan_note(struct node *n)
{
	pid_t main_pid = n->report.main_pid, control_pid = n->report.control_pid;
	pid_t session = control_pid;

	if (main_pid > 0)
		session = getsid(main_pid); /* -1: gone already, and reaped by its keeper */
	n->session = session > 1 && session != getsid(0) ? session : 0;
}

/* An old number may have come round as another node's keeper. */
static bool is_keeper(const struct manager *m, pid_t pid)
{
	for (const struct node *n = m->nodes; n; n = n->next)
		if (n->keeper_pid == pid)
			return true;
	return false;
}

static void kill_main(struct node *n, pid_t pid)
{
	n->orphan_pid = pid;
	log_node(LOG_ERR, n->id, "killing %d, which has no keeper any more", (int)pid);
	kill(pid, SIGKILL);
}

static void kill_session(const struct node *n, pid_t session)
{
	DIR *proc;
	struct dirent *e;
	unsigned killed = 0;

	/* The group that the session began with in one go: what forks in it cannot get away. */
	kill(-session, SIGKILL);
	proc = opendir("/proc");
	if (!proc) {
		log_node(LOG_ERR, n->id, "cannot find what its keeper has left: /proc: %m");
		return;
	}
	while ((e = readdir(proc))) {
		pid_t pid = isdigit((unsigned char)e->d_name[0]) ? atoi(e->d_name) : 0;

		if (pid <= 1 || getsid(pid) != session)
			continue;
		kill(pid, SIGKILL);
		killed++;
	}
	closedir(proc);
	if (killed > 0)
		log_node(LOG_DEBUG, n->id, "killed %u of session %d", killed, (int)session);
}

void orphan_take(struct node *n)
{
	pid_t pid = n->report.main_pid > 0 ? n->report.main_pid : n->report.control_pid;
	pid_t session = n->session;
	bool ours = reap_is_child(pid) && !is_keeper(n->manager, pid);

	n->report.main_pid = n->report.control_pid = n->session = 0;
	/* The number of a session is nobody else's as long as one of its processes is there. Where
	 * that one is not, a stranger's new session is told by its leader: ours have lost theirs.
	 */
	if (session > 0 && (ours || (kill(session, 0) < 0 && errno == ESRCH)))
		kill_session(n, session);
	if (ours)
		kill_main(n, pid);
}
