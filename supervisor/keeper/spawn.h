/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * From a unit to a process. Everything that can be looked up (users, groups, environment files)
 * is looked up before the fork, in the keeper, where an error can be told in words; the new
 * process only does system calls, and what fails there comes back through a close-on-exec pipe
 * as step and errno ("ExecStart=/x: No such file or directory").
 *
 * The node is neither leader of its session nor of its process group, so that the pid it has
 * is bound by nothing but the process itself and can be taken again by a twin; yet session and
 * group are its own, so that kill(0, ...) in it reaches no one else. An anchor process makes
 * both, makes the node as its sibling (CLONE_PARENT) and ends; its number stays reserved as
 * long as the group has members.
 */
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>

#include "config/unit.h"
#include "supervisor/keeper/cgroup.h"
#include "supervisor/keeper/protocol.h"

/* What was in hand when it failed; each has systemd's exit status and its key in the unit. */
enum spawn_step {
	SPAWN_EXEC,
	SPAWN_CHDIR,
	SPAWN_CGROUP,
	SPAWN_STDIN,
	SPAWN_STDOUT,
	SPAWN_NICE,
	SPAWN_SCHEDULER,
	SPAWN_AFFINITY,
	SPAWN_LIMIT_NOFILE,
	SPAWN_LIMIT_CORE,
	SPAWN_OOM_ADJUST,
	SPAWN_GROUP,
	SPAWN_USER,
	_SPAWN_STEP_MAX
};
struct spawn_failure {
	enum spawn_step step;
	int error; /* negative errno */
};
/* "WorkingDirectory=/nowhere: No such file or directory" */
void spawn_failure_format(const struct spawn_failure *f, const struct unit *u,
	const struct exec_command *command, char *ret, size_t size);
int spawn_exit_status(enum spawn_step step); /* 203, 200, ... */

/* All that the new process needs, ready before the fork. The unit is borrowed. */
struct spawn_plan {
	const struct unit *unit;
	char **environment;
	bool switch_user;
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t n_groups;
	bool lends;              /* Identity=namespace, and User= has no right to make namespaces */
	int event_fd;            /* that the node inherits; -1: none */
	int cgroup[_CGROUP_MAX]; /* node_cgroup.procs, borrowed */
};
/* On failure ret_why holds one sentence and *ret_exit_status systemd's status for it. */
_must_check_ int spawn_plan_new(const struct unit *u, const char *notify_path,
	struct spawn_plan **ret, char ret_why[KEEPER_TEXT_MAX], int *ret_exit_status);
void spawn_plan_free(struct spawn_plan *p);

struct spawned {
	pid_t pid;    /* 0: none */
	pid_t group;  /* process group and session */
	pid_t anchor; /* ends by itself and is to be reaped; 0: none */
	int go_fd;    /* spawn_release() */
	bool lent;    /* it is traced: it may be lent what the engine needs of it */
	int status_fd;
};
#define SPAWNED_NONE                                                                               \
	{                                                                                          \
		.go_fd = -1, .status_fd = -1                                                       \
	}

/* The node inherits fd, and has its number in $TWINIT_EVENT_FD. */
_must_check_ int spawn_plan_set_event_fd(struct spawn_plan *p, int fd);

/* What is spawned enters it. */
void spawn_plan_set_cgroup(struct spawn_plan *p, const struct node_cgroup *c);

/* The node, waiting for spawn_release(). */
_must_check_ int spawn_node(const struct spawn_plan *p, struct spawned *ret);
/* A helper command, leader of a session of its own, going at once. */
_must_check_ int spawn_helper(
	const struct spawn_plan *p, const struct exec_command *c, struct spawned *ret);
void spawn_release(struct spawned *s);
/* 1: it was executed; 0: it failed, *ret says how; -EAGAIN: not decided yet. The pipe is closed
 * by the first two, and a second question is answered with -EAGAIN. */
_must_check_ int spawn_result(struct spawned *s, struct spawn_failure *ret);
void spawned_close(struct spawned *s); /* its descriptors, and forget it */

#define SPAWN_GO "g"
#define SPAWN_GO_LENT "l"
/* What a node that makes its own namespaces has to be able to do. */
#define SPAWN_LENT_CAPABILITIES (1ULL << 21) /* CAP_SYS_ADMIN */

/* In the new process, after the fork; never returns. child.c */
_Noreturn void child_run(
	const struct spawn_plan *p, const struct exec_command *c, int go_fd, int status_fd);
