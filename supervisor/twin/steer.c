/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next pid of our choice, for tasks that may not ask for one by set_tid: the kernel gives out
 * the first free number behind the last one, and that a privileged process can set. The task then
 * clones at once.
 *
 * Between the two, some microseconds, anybody's fork may take the number, and what is done about
 * it is: the place that the kernel stood at is put back right after the clone, so that no other
 * moment leads others to our numbers; two tracers never steer at the same time (a lock on the
 * file, which CRIU takes as well); a number in use is not tried for. Who has taken it and ends
 * soon is waited for by the caller. Who has taken it and stays has won.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "supervisor/twin/engine.h"

/* All that anybody does while holding the lock is one clone. Whoever has it for longer, dead or
 * stopped, is not waited for: two that steer at once miss now and then, that is all. */
#define LOCK_PATIENCE 3000000ULL
#define LOCK_PAUSE 20000L

void steer_open(struct steering *s)
{
	s->fd = open("/proc/sys/kernel/ns_last_pid", O_RDWR | O_CLOEXEC);
	s->locked = false;
	s->before = s->seen = 0;
}

void steer_close(struct steering *s)
{
	closep(&s->fd);
	s->fd = -1;
}

static void lock(struct steering *s)
{
	const struct timespec pause = {0, LOCK_PAUSE};
	nsec_t until = 0;

	while (flock(s->fd, LOCK_EX | LOCK_NB) < 0) {
		nsec_t now = now_nsec();
		if (errno != EWOULDBLOCK)
			return;
		if (until == 0)
			until = now + LOCK_PATIENCE;
		if (now > until)
			return;
		(void)nanosleep(&pause, NULL);
	}
	s->locked = true;
}

static int set_last(struct steering *s, pid_t last)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", last);

	return pwrite(s->fd, text, (size_t)n, 0) == n ? 0 : -EPERM;
}

bool steer_in_use(pid_t pid)
{
	/* As a group's number as well; only sessions cannot be seen so. */
	return kill(pid, 0) == 0 || errno != ESRCH || kill(-pid, 0) == 0 || errno != ESRCH;
}

/* Where the kernel stands; 0 where somebody steers just now, or nobody may look. */
static pid_t look(struct steering *s)
{
	char text[16];
	ssize_t n;

	lock(s);
	n = s->locked ? pread(s->fd, text, sizeof(text) - 1, 0) : 0;
	text[n > 0 ? n : 0] = '\0';
	if (s->locked)
		(void)flock(s->fd, LOCK_UN);
	s->locked = false;
	return (pid_t)strtol(text, NULL, 10);
}

void steer_look(struct steering *s)
{
	s->seen = s->fd < 0 ? 0 : look(s);
}

/*
 * Numbers are given out in a circle. A new task whose number does not lie on the way from the
 * first look to the second was born while somebody had moved the place, and may stand in the way
 * of a node that needs that very number to come back.
 */
bool steer_is_strays(struct steering *s, pid_t born)
{
	pid_t first = s->seen, now;

	if (s->fd < 0 || first <= 0 || born <= 0)
		return false;
	now = look(s);
	if (now <= 0)
		return false;
	if (first <= now)
		return born <= first || born > now;
	return born <= first && born > now;
}

int steer_begin(struct steering *s, pid_t wanted)
{
	char text[16];
	ssize_t n;
	int r;

	if (s->fd < 0)
		return -EPERM;
	lock(s);
	n = pread(s->fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	s->before = (pid_t)strtol(text, NULL, 10);
	/* To look is slower than to write, so it comes before. */
	r = steer_in_use(wanted) ? -EEXIST : set_last(s, wanted - 1);
	if (r < 0) {
		s->before = 0;
		steer_end(s);
	}
	return r;
}

void steer_end(struct steering *s)
{
	if (s->before > 0)
		(void)set_last(s, s->before);
	s->before = 0;
	if (s->locked)
		(void)flock(s->fd, LOCK_UN);
	s->locked = false;
}
