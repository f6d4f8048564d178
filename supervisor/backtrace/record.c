/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/backtrace/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "config/clock.h"
#include "supervisor/backtrace/core.h"

#define NAME_LENGTH (ORDER_TEXT_MAX + 48)

/* With all that leads there: nobody else has a reason to make it. */
static int make_folder(const char *path)
{
	char folder[PATH_MAX];

	if (snprintf(folder, sizeof(folder), "%s", path) >= (int)sizeof(folder))
		return -ENAMETOOLONG;
	for (char *p = folder + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(folder, 0755) < 0 && errno != EEXIST && errno != EROFS)
			return -errno;
		*p = '/';
	}
	return mkdir(folder, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int record_open_folder(const char *path)
{
	struct stat st;
	int fd, r = make_folder(path);

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Whoever may write there could have us follow a name of his choice. */
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (st.st_uid != geteuid() || (st.st_mode & 022))
		r = -EPERM;
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

static void name_of(const struct order *o, const char *suffix, char ret[NAME_LENGTH])
{
	snprintf(ret, NAME_LENGTH, "%s@%" PRIu64 ".%s", o->node, o->realtime, suffix);
}

static int create(int folder, const char *name)
{
	int fd;

	(void)unlinkat(folder, name, 0);
	fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

static void print_head(const struct order *o, FILE *f)
{
	time_t seconds = (time_t)(o->realtime / USEC_PER_SEC);
	char when[64];
	struct tm tm;

	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(f, "NODE=%s\nTIME=%s.%06uZ\nREALTIME_USEC=%" PRIu64 "\nKIND=%s\nCAUSE=%s\n",
		o->node, when, (unsigned)(o->realtime % USEC_PER_SEC), o->realtime, o->kind,
		o->cause);
	if (o->signal)
		fprintf(f, "SIGNAL=%d (SIG%s)\n", o->signal,
			sigabbrev_np(o->signal) ? sigabbrev_np(o->signal) : "?");
	if (o->fault[0])
		fprintf(f, "FAULT=%s\n", o->fault);
	fprintf(f, "PID=%d\nOUTCOME=%s\n", o->pid, o->outcome);
	if (o->info)
		fputs(o->info, f);
}

static void print_registers(const struct order *o, FILE *f)
{
	struct arch_register_name all[48];

	for (size_t i = 0; i < o->n_threads; i++) {
		const struct order_thread *t = &o->threads[i];
		unsigned n = t->known ? arch_list_registers(&t->regs, all, ELEMENTSOF(all)) : 0;

		if (n == 0)
			continue;
		fprintf(f, "\nregisters of thread %d \"%s\"\n", t->tid, t->name);
		for (unsigned k = 0; k < n; k++)
			fprintf(f, "  %-8s 0x%016" PRIx64 "%s", all[k].name, all[k].value,
				k % 3 == 2 || k + 1 == n ? "\n" : "");
	}
}

int record_write(int folder, const struct order *o, const char *trace, char *ret, size_t size)
{
	char name[NAME_LENGTH], partial[NAME_LENGTH];
	int fd, r = 0;
	FILE *f;

	name_of(o, "crash", name);
	name_of(o, "partial", partial);
	fd = create(folder, partial);
	if (fd < 0)
		return fd;
	f = fdopen(fd, "w");
	if (!f) {
		close(fd);
		r = -ENOMEM;
	} else {
		print_head(o, f);
		fprintf(f, "\n%s", trace);
		print_registers(o, f);
		if (ferror(f))
			r = -EIO;
		if (fclose(f) != 0)
			r = -errno;
	}
	if (r == 0 && renameat(folder, partial, folder, name) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(folder, partial, 0);
	else
		snprintf(ret, size, "%s", name);
	return r;
}

int record_write_core(int folder, const struct order *o)
{
	char name[NAME_LENGTH], partial[NAME_LENGTH];
	int fd, r;

	name_of(o, "core", name);
	name_of(o, "partial", partial);
	fd = create(folder, partial);
	if (fd < 0)
		return fd;
	r = core_write(fd, o, RECORDS_BYTES_MAX);
	close(fd);
	if (r == 0 && renameat(folder, partial, folder, name) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(folder, partial, 0);
	return r;
}

/* --- limits ---------------------------------------------------------------------------------- */

struct entry {
	uint64_t realtime, bytes;
	bool record;
	char name[NAME_MAX + 1];
};

/* NODE@TIME.crash, .core or .partial */
static bool parse_name(const char *name, struct entry *ret)
{
	const char *at = strrchr(name, '@'), *dot = strrchr(name, '.');
	char *end;

	if (!at || !dot || dot < at)
		return false;
	ret->realtime = strtoull(at + 1, &end, 10);
	ret->record = strcmp(dot, ".crash") == 0;
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	return end == dot &&
	       (ret->record || strcmp(dot, ".core") == 0 || strcmp(dot, ".partial") == 0);
}

static int newest_first(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->realtime < y->realtime ? 1 : x->realtime > y->realtime ? -1 : 0;
}

static struct entry *list(int folder, size_t *ret_n)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct entry *entries = NULL, *more, e;
	struct stat st;
	size_t n = 0;

	for (struct dirent *item; d && (item = readdir(d));) {
		if (!parse_name(item->d_name, &e) ||
			fstatat(folder, e.name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		e.bytes = (uint64_t)st.st_blocks * 512; /* cores have holes */
		more = reallocarray(entries, n + 1, sizeof(*more));
		if (!more)
			break;
		entries = more;
		entries[n++] = e;
	}
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
	if (n > 0)
		qsort(entries, n, sizeof(*entries), newest_first);
	*ret_n = n;
	return entries;
}

void record_prune(int folder, unsigned max_records, uint64_t max_bytes)
{
	uint64_t bytes = 0, newest = 0;
	unsigned records = 0;
	size_t n;
	struct entry *entries = list(folder, &n);

	for (size_t i = 0; i < n; i++) {
		newest = i == 0 ? entries[i].realtime : newest;
		bytes += entries[i].bytes;
		records += entries[i].record;
		if (entries[i].realtime != newest && (records > max_records || bytes > max_bytes))
			(void)unlinkat(folder, entries[i].name, 0);
	}
	free(entries);
}
