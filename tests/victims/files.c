/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors opened, closed, moved and watched at random, with a model in memory that a swap
 * rolls back: after it the descriptors must be as the model says. Offsets, access modes and
 * close-on-exec flags; what was closed since is there again, what was opened since is gone;
 * epoll sets; an append-only file keeps what was written; a pipe or deleted file that cannot be
 * had again reads as ended.
 */
#include "tests/victims/victim.h"

#include <dirent.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define FILES 4
#define SIZE 4096
#define SLOTS 6
#define WATCHED 4
#define DELETED FILES /* number of a file that has no name any more */

struct slot {
	bool open, cloexec;
	int fd, access;
	unsigned file, swaps; /* swaps: so many there had been when it was opened */
	off_t pos;
};
struct watch {
	int fd;
	uint32_t events; /* 0: not in the set */
	uint64_t data;
};

static struct slot slots[SLOTS];
static struct watch watches[WATCHED];
static int epfd, append_fd, pipe_fd[2] = {-1, -1};
static unsigned appended, others, pipe_swaps;
static uint32_t rnd = 1;

static void name_file(char *path, size_t size, unsigned nr)
{
	snprintf(path, size, "%s/file%u", getenv("VICTIM_DIR"), nr);
}

static uint8_t byte_at(unsigned file, off_t pos)
{
	return (uint8_t)((unsigned)pos * 31 + file * 7);
}

static unsigned count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	victim_check(d, "opendir");
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* . and .. and the folder itself */
}

static bool is_placeholder(int fd, unsigned swaps_then)
{
	struct stat st;

	victim_check(fstat(fd, &st) == 0, "descriptor %d is gone", fd);
	if (!S_ISSOCK(st.st_mode))
		return false;
	victim_check(swaps_then != atomic_load(&victim->swaps), "%d became a socket", fd);
	return true;
}

static void check_placeholder(int fd)
{
	char c;

	victim_check(read(fd, &c, 1) == 0, "a lost descriptor does not read as ended");
	victim_check(write(fd, "x", 1) < 0 && errno == EPIPE, "a lost descriptor takes data");
}

static void check_slot(struct slot *s)
{
	if (is_placeholder(s->fd, s->swaps)) {
		victim_check(s->file == DELETED, "file %u has a name", s->file);
		check_placeholder(s->fd);
		return;
	}
	off_t pos = lseek(s->fd, 0, SEEK_CUR);
	/* Since we looked, perhaps. */
	if (pos < 0 && errno == ESPIPE && s->file == DELETED && is_placeholder(s->fd, s->swaps))
		return;
	victim_check(
		pos == s->pos, "descriptor %d at %ld, not %ld", s->fd, (long)pos, (long)s->pos);
	int access = fcntl(s->fd, F_GETFL) & O_ACCMODE;
	victim_check(
		access == s->access, "descriptor %d: access %d, not %d", s->fd, access, s->access);
	bool cloexec = fcntl(s->fd, F_GETFD) & FD_CLOEXEC;
	victim_check(cloexec == s->cloexec, "descriptor %d: close-on-exec %d", s->fd, cloexec);
}

static void open_slot(struct slot *s)
{
	char path[128];
	int fd;

	s->file = victim_random(&rnd) % (FILES + 1);
	s->access = victim_random(&rnd) % 2 ? O_RDWR : O_RDONLY;
	s->cloexec = victim_random(&rnd) % 2;
	s->swaps = atomic_load(&victim->swaps);
	name_file(path, sizeof(path), s->file);
	if (s->file == DELETED)
		s->access = O_RDWR;
	fd = open(path,
		s->access | (s->cloexec ? O_CLOEXEC : 0) | (s->file == DELETED ? O_CREAT : 0),
		0600);
	victim_check(fd >= 0, "open %s", path);
	if (s->file == DELETED)
		unlink(path);
	s->fd = fd;
	s->pos = 0;
	s->open = true;
}

static void use_slot(struct slot *s)
{
	uint8_t buf[100];
	ssize_t n;

	if (s->file == DELETED)
		return;
	if (victim_random(&rnd) % 2) {
		off_t to = victim_random(&rnd) % SIZE;
		victim_check(lseek(s->fd, to, SEEK_SET) == to, "lseek");
		s->pos = to;
		return;
	}
	n = read(s->fd, buf, 1 + victim_random(&rnd) % sizeof(buf));
	victim_check(n > 0 || s->pos == SIZE, "read");
	for (ssize_t i = 0; i < n; i++)
		victim_check(buf[i] == byte_at(s->file, s->pos + i), "byte %ld of file %u",
			(long)s->pos + i, s->file);
	s->pos += n;
}

static void change_slot(void)
{
	struct slot *s = &slots[victim_random(&rnd) % SLOTS];

	if (!s->open)
		open_slot(s);
	else if (victim_random(&rnd) % 3 == 0) {
		victim_check(close(s->fd) == 0, "close %d", s->fd);
		s->open = false;
	} else if (!is_placeholder(s->fd, s->swaps))
		use_slot(s);
}

static void change_watch(void)
{
	static const uint32_t masks[] = {EPOLLIN, EPOLLIN | EPOLLPRI, EPOLLET | EPOLLPRI};
	struct watch *w = &watches[victim_random(&rnd) % WATCHED];
	struct epoll_event ev = {
		.events = masks[victim_random(&rnd) % 3], .data.u64 = victim_random(&rnd)};

	if (w->events && victim_random(&rnd) % 2) {
		victim_check(epoll_ctl(epfd, EPOLL_CTL_DEL, w->fd, NULL) == 0, "DEL %d", w->fd);
		w->events = 0;
		return;
	}
	victim_check(epoll_ctl(epfd, w->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, w->fd, &ev) == 0,
		"%s %d", w->events ? "MOD" : "ADD", w->fd);
	w->events = ev.events;
	w->data = ev.data.u64;
}

static void check_watches(void)
{
	char path[64], line[256];
	unsigned found = 0, expected = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epfd);
	FILE *f = fopen(path, "re");
	victim_check(f, "fdinfo");
	while (fgets(line, sizeof(line), f)) {
		unsigned fd, events;
		unsigned long long data;
		if (sscanf(line, "tfd: %u events: %x data: %llx", &fd, &events, &data) != 3)
			continue;
		found++;
		for (unsigned i = 0; i < WATCHED; i++)
			if (watches[i].fd == (int)fd)
				victim_check(
					watches[i].events == (events & ~(EPOLLERR | EPOLLHUP)) &&
						watches[i].data == data,
					"watch of %u: %x %llx, not %x %lx", fd, events, data,
					watches[i].events, watches[i].data);
	}
	fclose(f);
	for (unsigned i = 0; i < WATCHED; i++)
		expected += watches[i].events != 0;
	victim_check(found == expected, "%u watches, not %u", found, expected);
}

static void append(void)
{
	struct stat st;

	victim_check(write(append_fd, "eightch\n", 8) == 8, "append");
	appended++;
	victim_check(fstat(append_fd, &st) == 0 && st.st_size % 8 == 0, "torn append");
	victim_check(st.st_size >= 8L * appended, "%ld bytes after %u appends", (long)st.st_size,
		appended);
}

static void change_pipe(void)
{
	char c = 0;

	if (pipe_fd[0] < 0) {
		pipe_swaps = atomic_load(&victim->swaps);
		victim_check(pipe2(pipe_fd, O_NONBLOCK) == 0, "pipe");
		return;
	}
	if (is_placeholder(pipe_fd[0], pipe_swaps) + is_placeholder(pipe_fd[1], pipe_swaps)) {
		if (is_placeholder(pipe_fd[0], pipe_swaps))
			check_placeholder(pipe_fd[0]);
	} else if (pipe_swaps == atomic_load(&victim->swaps)) {
		/* A twin of the middle of this finds what the dead has left of the pipe. */
		bool whole =
			write(pipe_fd[1], "x", 1) == 1 && read(pipe_fd[0], &c, 1) == 1 && c == 'x';
		victim_check(whole || pipe_swaps != atomic_load(&victim->swaps), "the pipe");
	}
	victim_check(close(pipe_fd[0]) == 0 && close(pipe_fd[1]) == 0, "close the pipe");
	pipe_fd[0] = pipe_fd[1] = -1;
}

static void check_all(void)
{
	unsigned expected = others + (pipe_fd[0] >= 0 ? 2 : 0), n;

	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i].open) {
			check_slot(&slots[i]);
			expected++;
		}
	n = count_descriptors();
	victim_check(n == expected, "%u descriptors, not %u", n, expected);
	check_watches();
}

static void make_files(void)
{
	char path[128];

	for (unsigned i = 0; i < FILES; i++) {
		uint8_t bytes[SIZE];
		for (off_t k = 0; k < SIZE; k++)
			bytes[k] = byte_at(i, k);
		name_file(path, sizeof(path), i);
		int fd = open(path, O_WRONLY | O_CREAT, 0600);
		victim_check(fd >= 0 && write(fd, bytes, SIZE) == SIZE, "write %s", path);
		close(fd);
	}
	name_file(path, sizeof(path), 99);
	append_fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	epfd = epoll_create1(0);
	for (unsigned i = 0; i < WATCHED; i++)
		watches[i].fd = eventfd(0, 0);
	victim_check(append_fd >= 0 && epfd >= 0, "set-up");
}

int main(void)
{
	victim_begin();
	signal(SIGPIPE, SIG_IGN);
	make_files();
	others = count_descriptors();
	while (!victim_stopping()) {
		switch (victim_random(&rnd) % 5) {
		case 0:
		case 1:
			change_slot();
			break;
		case 2:
			change_watch();
			break;
		case 3:
			append();
			break;
		case 4:
			change_pipe();
			break;
		}
		check_all();
		victim_progress();
		if (victim_random(&rnd) % 4 == 0)
			victim_nap(200);
	}
	return 0;
}
