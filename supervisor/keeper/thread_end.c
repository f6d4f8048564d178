/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/thread_end.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "supervisor/keeper/keeper.h"

#define PF_EXITING 0x4u /* include/linux/sched.h; proc_pid_stat(5) calls the field "flags" */

static bool read_at(int folder, const char *tid, const char *name, char *ret, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%.20s/%s", tid, name);
	fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, ret, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	ret[n] = '\0';
	return true;
}

static bool task_lives(int folder, const char *tid)
{
	char text[4096];
	const char *p;
	uint64_t pending;
	unsigned flags;

	/* The name may hold anything, so the fields are counted from its end. */
	if (!read_at(folder, tid, "stat", text, sizeof(text)) || !(p = strrchr(text, ')')) ||
		sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) != 1 || (flags & PF_EXITING))
		return false;
	/* exit_group(2) and fatal signals give each thread a SIGKILL of its own. */
	return read_at(folder, tid, "status", text, sizeof(text)) &&
	       (p = strstr(text, "\nSigPnd:")) && sscanf(p + 8, "%" SCNx64, &pending) == 1 &&
	       !(pending >> (SIGKILL - 1) & 1);
}

bool process_lives(pid_t pid)
{
	const struct dirent *d;
	bool lives = false;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && !lives && (d = readdir(dir)))
		lives = d->d_name[0] != '.' && task_lives(dirfd(dir), d->d_name);
	if (dir)
		closedir(dir);
	return lives;
}

static void on_timer(_unused_ struct ev_loop *loop, ev_timer *w, _unused_ int revents)
{
	struct keeper *k = w->data;
	struct thread_end *t = &k->thread_end;
	enum on_thread_exit policy = k->unit->failover.on_thread_exit;
	unsigned n = t->pending;
	char why[96];

	if (!process_lives(k->main_pid))
		return; /* its end is to come; this repeats */
	thread_end_forget(k);
	t->n += n;
	if (n == 1)
		snprintf(why, sizeof(why), "thread %d (%s) has ended, the others go on", t->tid,
			t->name);
	else
		snprintf(why, sizeof(why), "%u threads have ended, the last was %d (%s)", n, t->tid,
			t->name);
	arm_report(&k->arm);
	if (policy == THREAD_EXIT_IGNORE)
		return;
	log_node(LOG_WARNING, k->unit->id, "%s", why);
	if (policy == THREAD_EXIT_FAILOVER && !k->leaving)
		guard_dispatch(k, &(struct guard_input){.event = GUARD_HANG,
					  .seen = now_nsec(),
					  .cause = RESULT_THREAD_EXIT,
					  .why = why});
}

void thread_end_init(struct keeper *k)
{
	ev_init(&k->thread_end.timer, on_timer);
	k->thread_end.timer.data = k;
}

void thread_end_note(struct keeper *k, const struct twin_event *e)
{
	struct thread_end *t = &k->thread_end;

	if (k->state != NODE_RUNNING)
		return;
	t->pending += e->count;
	t->tid = e->tid;
	memcpy(t->name, e->name, sizeof(t->name));
	if (ev_is_active(&t->timer))
		return;
	ev_now_update(k->loop);
	t->timer.repeat = THREAD_END_PATIENCE;
	ev_timer_again(k->loop, &t->timer);
}

void thread_end_forget(struct keeper *k)
{
	k->thread_end.pending = 0;
	ev_timer_stop(k->loop, &k->thread_end.timer);
}

bool thread_end_suspects(const struct keeper *k)
{
	return k->unit->failover.on_thread_exit == THREAD_EXIT_FAILOVER &&
	       k->thread_end.pending > 0;
}
