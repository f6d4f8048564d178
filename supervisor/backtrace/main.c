/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twinit-backtrace: says what a failed (or silent) node was doing, in a process of its own, so
 * that neither a damaged stack nor large debug information can hurt the keeper that asks.
 *
 *	twinit-backtrace [--folder=DIR] [--log-level=LEVEL] 3<ORDER
 *
 * The order comes on descriptor 3 (order.h). The traces go to the log, and with --folder to a
 * record there (record.h). Exit status 0: all of that was done.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "supervisor/backtrace/record.h"
#include "supervisor/backtrace/unwind.h"
#include "supervisor/base/log.h"

#define ORDER_FD 3
#define ORDER_BYTES_MAX (16u << 20)
/* Damaged memory can make libdw go round in circles. */
#define CPU_SECONDS_MAX 20
#define SECONDS_MAX 60
#define MEMORY_MAX (4ull << 30)
#define LOG_LINES_MAX 200

static char *read_all(void)
{
	char *text = NULL;
	size_t len = 0;

	for (;;) {
		char *more = realloc(text, len + 65537);
		ssize_t n;

		if (!more || len > ORDER_BYTES_MAX) {
			free(more ? more : text);
			return NULL;
		}
		text = more;
		n = read(ORDER_FD, text + len, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			text[len] = '\0';
			return text;
		}
		len += (size_t)n;
	}
}

static void log_trace(const struct order *o, const char *trace)
{
	unsigned lines = 0;
	const char *next;

	for (const char *line = trace; *line && lines < LOG_LINES_MAX; line = next, lines++) {
		size_t len = strcspn(line, "\n");
		log_node(LOG_NOTICE, o->node, "%.*s", (int)(len > 400 ? 400 : len), line);
		next = line + len + (line[len] == '\n');
	}
}

static int keep(const struct order *o, const char *folder, const char *trace)
{
	char name[ORDER_TEXT_MAX + 64];
	int fd = record_open_folder(folder), r;

	if (fd < 0) {
		log_node(LOG_WARNING, o->node, "%s: %s", folder, strerror(-fd));
		return fd;
	}
	/* There has to be room for it. */
	record_prune(fd, RECORDS_MAX - 1, RECORDS_BYTES_MAX / 2);
	r = record_write(fd, o, trace, name, sizeof(name));
	if (r < 0)
		log_node(LOG_WARNING, o->node, "no record in %s: %s", folder, strerror(-r));
	if (r == 0 && o->core) {
		int q = record_write_core(fd, o);
		if (q < 0)
			log_node(LOG_WARNING, o->node, "no core file in %s: %s", folder,
				strerror(-q));
	}
	record_prune(fd, RECORDS_MAX, RECORDS_BYTES_MAX);
	close(fd);
	return r;
}

/* What is read here is the node's own making, its debug information as well: none of it may make
 * this process stay for ever, eat the memory, or ask the network. */
static void limit_oneself(void)
{
	const struct rlimit cpu = {CPU_SECONDS_MAX, CPU_SECONDS_MAX};
	const struct rlimit memory = {MEMORY_MAX, MEMORY_MAX};
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	(void)setrlimit(RLIMIT_CPU, &cpu);
#ifndef __SANITIZE_ADDRESS__ /* which maps terabytes that it does not use */
	(void)setrlimit(RLIMIT_AS, &memory);
#else
	(void)memory;
#endif
	(void)unsetenv("DEBUGINFOD_URLS");
	if (fd >= 0) {
		(void)!write(fd, "500", 3);
		close(fd);
	}
	(void)alarm(SECONDS_MAX);
}

static int run(const char *folder)
{
	char *text = read_all(), *trace = NULL;
	struct order o;
	size_t len;
	FILE *f;
	int r;

	r = text ? order_parse(text, &o) : -ENOMEM;
	free(text);
	if (r < 0) {
		log_error("the order is not understood: %s", strerror(-r));
		return r;
	}
	f = open_memstream(&trace, &len);
	if (!f) {
		order_clear(&o);
		return -ENOMEM;
	}
	r = unwind_print(&o, f);
	if (r < 0)
		fprintf(f, "no back trace: %s\n", strerror(-r));
	r = fclose(f) == 0 ? 0 : -ENOMEM;
	if (r == 0)
		log_trace(&o, trace);
	if (r == 0 && folder)
		r = keep(&o, folder, trace);
	free(trace);
	order_clear(&o);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"folder", required_argument, NULL, 'f'},
		{"log-level", required_argument, NULL, 'l'},
		{0},
	};
	const char *folder = NULL;
	int c, level;

	log_open("twinit-backtrace");
	limit_oneself();
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'f')
			folder = optarg;
		else if (c == 'l' && (level = log_level_from_string(optarg)) >= 0)
			log_set_level(level);
		else
			return EXIT_FAILURE;
	}
	return run(folder) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
