/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/twin/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "supervisor/twin/engine.h"
#include "supervisor/twin/owned.h"
#include "supervisor/twin/procfs.h"

#define FDINFO_MAX 65536
#define ARGS(...)                                                                                  \
	(const uint64_t[6])                                                                        \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

int files_reserve(struct file_table *t)
{
	size_t n = MAX2(t->n_max, (size_t)128), ep = MAX2(t->epoll_max, (size_t)128);
	size_t pool = MAX2(t->pool_max, (size_t)4096);

	/* The last scan said what it needed by overshooting n, n_epoll, pool_len. */
	while (n < t->n * 2)
		n *= 2;
	while (ep < t->n_epoll * 2)
		ep *= 2;
	while (pool < t->pool_len * 2)
		pool *= 2;
	if (n > t->n_max) {
		struct file_entry *p = realloc(t->entries, n * sizeof(*p));
		if (!p)
			return -ENOMEM;
		t->entries = p;
		t->n_max = n;
	}
	if (ep > t->epoll_max) {
		struct epoll_entry *p = realloc(t->epoll, ep * sizeof(*p));
		if (!p)
			return -ENOMEM;
		t->epoll = p;
		t->epoll_max = ep;
	}
	if (pool > t->pool_max) {
		char *p = realloc(t->pool, pool);
		if (!p)
			return -ENOMEM;
		t->pool = p;
		t->pool_max = pool;
	}
	return 0;
}

void files_free(struct file_table *t)
{
	free(t->entries);
	free(t->epoll);
	free(t->pool);
	memset(t, 0, sizeof(*t));
}

/* FNV-1a: links are compared, not looked up, and an accident of 64 bits is not to be feared. */
static uint64_t hash(const char *s, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ULL;
	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)s[i]) * 0x100000001b3ULL;
	return h;
}

static enum file_kind kind_of(const char *link)
{
	if (link[0] == '/')
		return FILE_PATH;
	if (strncmp(link, "socket:", 7) == 0)
		return FILE_SOCKET;
	if (strncmp(link, "pipe:", 5) == 0)
		return FILE_PIPE;
	if (strcmp(link, "anon_inode:[eventpoll]") == 0)
		return FILE_EPOLL;
	if (strcmp(link, "anon_inode:[signalfd]") == 0)
		return FILE_SIGNALFD;
	if (strcmp(link, "anon_inode:[pidfd]") == 0)
		return FILE_PIDFD;
	return FILE_OTHER;
}

static void read_flags(struct file_table *table, struct file_entry *f, pid_t pid)
{
	uint64_t flags = 0;
	char text[4096];

	if (proc_read(text, sizeof(text), "%d/fdinfo/%d", pid, f->fd) > 0 &&
		proc_field(text, "flags", 8, &flags) == 0) {
		f->flags = (int)(flags & ~(uint64_t)O_CLOEXEC);
		f->close_on_exec = flags & O_CLOEXEC;
		f->flags_known = true;
		if (f->kind == FILE_PATH)
			file_locks_read(&table->locks, f->fd, text);
	}
}

/* The offset belongs to the open file, so a short-lived copy of the descriptor shows it; that it
 * has one is seen only there. Standard streams are never opened again. */
static int read_path_entry(
	struct file_table *table, struct file_entry *f, const char *link, pid_t pid, int pidfd)
{
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, f->fd, 0);
	off_t at;

	if (fd < 0)
		return errno == EBADF ? 0 : -errno; /* closed by now, or we have no room */
	at = lseek(fd, 0, SEEK_CUR);
	f->offset = MAX2((int64_t)at, (int64_t)-1);
	f->status = fcntl(fd, F_GETFL);
	if (!table->unfit && owned_queue(fd, link, pid))
		table->unfit = "it has asked to be told of messages (mq_notify)";
	close(fd);
	if (f->fd > 2)
		read_flags(table, f, pid);
	return 0;
}

void files_note_flags(struct file_table *t, pid_t pid)
{
	for (size_t i = 0; i < t->n; i++)
		if (!t->entries[i].flags_known)
			read_flags(t, &t->entries[i], pid);
}

static int read_epoll(struct file_table *t, pid_t pid, int epfd)
{
	static char text[FDINFO_MAX];
	char path[64];
	size_t len = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, epfd);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Whole lines only: half a number is another number. */
	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0) {
		char *line = text, *end;
		len += (size_t)n;
		text[len] = '\0';
		for (; (end = memchr(line, '\n', len - (size_t)(line - text))); line = end + 1) {
			struct epoll_entry ep = {.epfd = epfd};
			unsigned long long data;
			*end = '\0';
			if (sscanf(line, "tfd: %d events: %x data: %llx", &ep.fd, &ep.events,
				    &data) != 3)
				continue;
			ep.data = data;
			if (t->n_epoll < t->epoll_max)
				t->epoll[t->n_epoll] = ep;
			t->n_epoll++;
		}
		len -= (size_t)(line - text);
		memmove(text, line, len);
	}
	return n < 0 ? -errno : 0;
}

/* Rings and registrations belong to the memory they were made for. */
static const char *unfit_reason(const char *link)
{
	if (strcmp(link, "anon_inode:[io_uring]") == 0)
		return "it uses io_uring";
	if (strcmp(link, "anon_inode:[userfaultfd]") == 0)
		return "it uses userfaultfd";
	return NULL;
}

/* What was closed while we looked is left out; nothing else is, for a descriptor that is missing
 * here would be taken for one that was opened since, or closed. */
static int add_entry(struct file_table *t, int fd, pid_t pid, int pidfd, int dir)
{
	char link[4096], name[16];
	struct file_entry f = {.fd = fd, .offset = -1, .status = -1};
	ssize_t len;

	snprintf(name, sizeof(name), "%d", fd);
	len = readlinkat(dir, name, link, sizeof(link) - 1);
	if (len < 0)
		return errno == ENOENT ? 0 : -errno;
	link[len] = '\0';
	f.kind = kind_of(link);
	f.link_hash = hash(link, (size_t)len);
	if (f.kind == FILE_OTHER && !t->unfit)
		t->unfit = unfit_reason(link);
	t->perf |= f.kind == FILE_OTHER && strcmp(link, "anon_inode:[perf_event]") == 0;
	if (f.kind == FILE_PATH) {
		int r = read_path_entry(t, &f, link, pid, pidfd);
		if (r < 0)
			return r;
		if (t->pool_len + (size_t)len + 1 <= t->pool_max) {
			memcpy(t->pool + t->pool_len, link, (size_t)len + 1);
			f.path = (uint32_t)t->pool_len;
		}
		t->pool_len += (size_t)len + 1;
	}
	if (t->n < t->n_max)
		t->entries[t->n] = f;
	t->n++;
	return 0;
}

int files_scan(struct file_table *t, pid_t pid, int pidfd, int dir)
{
	char buf[8192];
	long len;
	int r = 0;

	t->n = t->n_epoll = 0;
	t->unfit = NULL;
	t->perf = false;
	t->locks.n = 0;
	t->locks.incomplete = false;
	t->pool_len = 1; /* 0 means "no path" */
	t->incomplete = false;
	if (lseek(dir, 0, SEEK_SET) < 0)
		return -errno;
	while ((len = syscall(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
		for (long at = 0; r == 0 && at < len;) {
			struct dirent64 *d = (struct dirent64 *)(buf + at);
			at += d->d_reclen;
			if (d->d_name[0] >= '0' && d->d_name[0] <= '9')
				r = add_entry(t, atoi(d->d_name), pid, pidfd, dir);
		}
		if (r < 0)
			return r;
	}
	if (len < 0)
		return -errno;
	if (t->n > t->n_max || t->pool_len > t->pool_max)
		return -ENOSPC;
	for (size_t i = 0; i < t->n; i++)
		if (t->entries[i].kind == FILE_EPOLL) {
			r = read_epoll(t, pid, t->entries[i].fd);
			if (r < 0)
				return r;
		}
	return t->n_epoll > t->epoll_max ? -ENOSPC : 0;
}

const struct file_entry *files_find(const struct file_table *t, int fd)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->entries[i].fd == fd)
			return &t->entries[i];
	return NULL;
}

int files_lowest_free(const struct file_table *t)
{
	int fd = 0;
	while (files_find(t, fd))
		fd++;
	return fd;
}

const struct epoll_entry *files_find_epoll(const struct file_table *t, int epfd, int fd)
{
	for (size_t i = 0; i < t->n_epoll; i++)
		if (t->epoll[i].fd == fd && (epfd < 0 || t->epoll[i].epfd == epfd))
			return &t->epoll[i];
	return NULL;
}

bool repair_add(struct twin_engine *e, long nr, const uint64_t args[6])
{
	struct routine_call *c;

	if (e->n_repairs >= e->repairs_max) {
		e->repairs_full = true;
		return false;
	}
	c = &e->repairs[e->n_repairs++];
	*c = (struct routine_call){.nr = (uint64_t)nr};
	memcpy(c->args, args, sizeof(c->args));
	return true;
}

uint64_t repair_data(struct twin_engine *e, const void *data, size_t len)
{
	uint64_t at = e->repair_data_at + e->repair_data_len;

	if (e->repair_data_len + len > e->repair_data_max) {
		e->repairs_full = true;
		return 0;
	}
	memcpy(e->repair_data + e->repair_data_len, data, len);
	e->repair_data_len += (len + 15) & ~(size_t)15;
	return at;
}

/* A name alone does not make the same file: it may have been opened anew, in another way. */
static bool same_file(const struct file_entry *a, const struct file_entry *b)
{
	const int kept = O_ACCMODE | O_APPEND;

	if (a->link_hash != b->link_hash)
		return false;
	return a->kind != FILE_PATH || !a->flags_known || !b->flags_known ||
	       ((a->flags & kept) == (b->flags & kept) && a->close_on_exec == b->close_on_exec);
}

static bool same_then_and_now(const struct file_table *then, const struct file_table *now, int fd)
{
	const struct file_entry *t = files_find(then, fd), *n = files_find(now, fd);
	return t && n && same_file(t, n);
}

/*
 * The number that the kernel will give next. All threads are dead and repairs are made in order
 * of number, so the table is known: what is as it was, and what has been given back so far.
 */
static int next_free(
	const struct file_table *then, const struct file_table *now, int giving_back, int from)
{
	int fd = from;
	while (same_then_and_now(then, now, fd) || (fd < giving_back && files_find(then, fd)))
		fd++;
	return fd;
}

static bool copy_fd(struct twin_engine *e, int from, const struct file_entry *to)
{
	uint64_t flags = to->close_on_exec ? O_CLOEXEC : 0;
	return repair_add(e, SYS_dup3, ARGS((uint64_t)from, (uint64_t)to->fd, flags));
}

static bool close_fd(struct twin_engine *e, int fd)
{
	return repair_add(e, SYS_close, ARGS((uint64_t)fd));
}

/* What was closed since: an empty epoll set for an epoll set, else an end of a socketpair whose
 * other end is closed, which reads as the end of a connection. */
static bool give_back(struct twin_engine *e, const struct file_table *then,
	const struct file_table *now, const struct file_entry *f)
{
	int first = next_free(then, now, f->fd, 0), second;
	uint64_t type = SOCK_STREAM | (f->close_on_exec ? SOCK_CLOEXEC : 0), at;
	int pair[2] = {-1, -1};

	if (f->kind == FILE_EPOLL)
		return repair_add(
			       e, SYS_epoll_create1, ARGS(f->close_on_exec ? EPOLL_CLOEXEC : 0)) &&
		       (first == f->fd || (copy_fd(e, first, f) && close_fd(e, first)));
	second = next_free(then, now, f->fd, first + 1);
	at = repair_data(e, pair, sizeof(pair));
	if (!at || !repair_add(e, SYS_socketpair, ARGS(AF_UNIX, type, 0, at)))
		return false;
	if (first == f->fd)
		return close_fd(e, second);
	if (second != f->fd && !copy_fd(e, first, f))
		return false;
	return close_fd(e, first) && (second == f->fd || close_fd(e, second));
}

/* A file is opened over its placeholder: where that fails (it has been unlinked) the number is
 * taken all the same, and the numbers of those that follow are as foreseen. */
static bool open_again(struct twin_engine *e, const struct file_table *then,
	const struct file_table *now, const struct file_entry *f)
{
	int opened = next_free(then, now, f->fd + 1, 0);
	char renamed[128];
	const char *path = namespace_path(e, then->pool + f->path, renamed, sizeof(renamed));
	uint64_t flags = (uint64_t)(f->flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY)), at;

	if (f->kind != FILE_PATH || !f->path || f->offset < 0)
		return true;
	at = repair_data(e, path, strlen(path) + 1);
	return at && repair_add(e, SYS_openat, ARGS((uint64_t)AT_FDCWD, at, flags)) &&
	       copy_fd(e, opened, f) && close_fd(e, opened);
}

static void reconcile_epoll(struct twin_engine *e, const struct file_table *then,
	const struct file_table *now, struct twin_swap *ret)
{
	for (size_t i = 0; i < now->n_epoll; i++) {
		const struct epoll_entry *n = &now->epoll[i];
		const struct file_entry *set = files_find(then, n->epfd);
		if (!set || set->kind != FILE_EPOLL || files_find_epoll(then, n->epfd, n->fd))
			continue;
		/* Of an extra entry whose descriptor is closed by us, the set forgets it itself. */
		if (!files_find(then, n->fd))
			continue;
		ret->epoll_changes += repair_add(
			e, SYS_epoll_ctl, ARGS((uint64_t)n->epfd, EPOLL_CTL_DEL, (uint64_t)n->fd));
	}
	for (size_t i = 0; i < then->n_epoll; i++) {
		const struct epoll_entry *t = &then->epoll[i];
		const struct epoll_entry *n = files_find_epoll(now, t->epfd, t->fd);
		const struct file_entry *was = files_find(then, t->fd),
					*is = files_find(now, t->fd);
		bool same = was && is && same_file(was, is);
		bool signals = was && was->kind == FILE_SIGNALFD;
		struct epoll_event ev = {.events = t->events, .data.u64 = t->data};
		uint64_t at;

		/* A MOD of an unchanged edge-triggered entry brings back edges that were consumed.
		 */
		if (n && same && n->events == t->events && n->data == t->data && !signals &&
			!(t->events & EPOLLET))
			continue;
		at = repair_data(e, &ev, sizeof(ev));
		if (!at)
			return;
		/* Such an entry cannot be modified, nor anything be modified into one; and an entry
		 * of a signalfd waits for the signals of the process that added it. */
		if (n && same && (signals || ((t->events | n->events) & EPOLLEXCLUSIVE))) {
			if (repair_add(e, SYS_epoll_ctl,
				    ARGS((uint64_t)t->epfd, EPOLL_CTL_DEL, (uint64_t)t->fd)))
				n = NULL;
		}
		ret->epoll_changes += repair_add(e, SYS_epoll_ctl,
			ARGS((uint64_t)t->epfd, n && same ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
				(uint64_t)t->fd, at));
	}
}

/*
 * Standard streams are left where they are, under whatever number: they were opened by somebody
 * else, who goes on writing to them, and what they say of the time since the checkpoint is
 * wanted.
 */
static bool is_standard_stream(pid_t pid, int fd)
{
	for (int std = 0; std <= 2; std++)
		if (fd == std || syscall(SYS_kcmp, pid, pid, KCMP_FILE, fd, std) == 0)
			return true;
	return false;
}

/* Descriptors beside the standard streams, by fcntl(F_SETFL). */
static void restore_status(struct twin_engine *e, pid_t pid, const struct file_table *then,
	const struct file_table *now)
{
	for (size_t i = 0; i < then->n; i++) {
		const struct file_entry *t = &then->entries[i], *n = files_find(now, t->fd);
		if (t->status < 0 || (n && same_file(n, t) && n->status == t->status) ||
			is_standard_stream(pid, t->fd))
			continue;
		(void)repair_add(e, SYS_fcntl, ARGS((uint64_t)t->fd, F_SETFL, (uint64_t)t->status));
	}
}

/* Last of all: to seek in a file of /proc is to read it up to there, and what lies behind that is
 * found by the next read() as it was then; half read, the description of an epoll set must not be
 * that of before. */
static void restore_offsets(struct twin_engine *e, pid_t pid, const struct file_table *then,
	const struct file_table *now, struct twin_swap *ret)
{
	for (size_t i = 0; i < then->n; i++) {
		const struct file_entry *t = &then->entries[i], *n = files_find(now, t->fd);
		bool same = n && same_file(n, t);

		if (t->offset < 0 || (same && n->offset == t->offset) ||
			(same && (t->flags & O_APPEND)) || (same && is_standard_stream(pid, t->fd)))
			continue;
		if (!same && (t->kind != FILE_PATH || !t->path || t->offset == 0))
			continue;
		bool added = repair_add(
			e, SYS_lseek, ARGS((uint64_t)t->fd, (uint64_t)t->offset, SEEK_SET));
		ret->offsets_restored += same && added;
	}
}

void files_reconcile(struct twin_engine *e, pid_t pid, const struct file_table *then,
	const struct file_table *now, struct twin_swap *ret)
{
	/* Opened since: closed, before numbers are given back. */
	for (size_t i = 0; i < now->n; i++) {
		const struct file_entry *n = &now->entries[i], *t = files_find(then, n->fd);
		if (t && same_file(t, n))
			continue;
		ret->fds_closed += repair_add(e, SYS_close, ARGS((uint64_t)n->fd));
	}
	for (size_t i = 0; i < then->n; i++) {
		const struct file_entry *t = &then->entries[i], *n = files_find(now, t->fd);
		if (n && same_file(n, t))
			continue;
		ret->fds_replaced += give_back(e, then, now, t) && open_again(e, then, now, t);
	}
	restore_status(e, pid, then, now);
	file_locks_reconcile(e, &then->locks, &now->locks, ret->fds_closed + ret->fds_replaced > 0);
	reconcile_epoll(e, then, now, ret);
	restore_offsets(e, pid, then, now, ret);
}
