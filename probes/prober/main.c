/* SPDX-License-Identifier: Apache-2.0 */
/* twinit-prober: see prober.h. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "probes/prober/check.h"
#include "supervisor/base/log.h"

#define NICE (-5) /* before the crowd, behind the keepers */

static void run(struct prober *p, const struct prober_order *o)
{
	p->pid = o->pid;
	p->since = o->at;
	starvation_open(&p->node, o->pid);
	for (size_t i = 0; i < p->n_checks; i++)
		check_start(&p->checks[i]);
}

static void pause_all(struct prober *p)
{
	for (size_t i = 0; i < p->n_checks; i++)
		check_stop(&p->checks[i]);
	starvation_close(&p->node);
	p->pid = 0;
}

static void note_freeze(struct prober *p, const struct prober_order *o)
{
	p->frozen += o->length;
	for (size_t i = 0; o->before.at && p->pid == o->pid && i < p->n_checks; i++) {
		struct check *c = &p->checks[i];
		if (c->ops && c->ops->frozen)
			c->ops->frozen(c, &o->before, o->at);
	}
}

static void on_order(struct ev_loop *loop, ev_io *w, _unused_ int revents)
{
	struct prober *p = w->data;
	struct prober_order o;
	ssize_t n;

	while ((n = recv(w->fd, &o, sizeof(o), MSG_DONTWAIT)) > 0) {
		if (n != (ssize_t)sizeof(o) || o.version != PROBER_VERSION)
			continue;
		if (o.type == PROBER_RUN && o.pid > 0)
			run(p, &o);
		else if (o.type == PROBER_FROZEN)
			note_freeze(p, &o);
		else
			pause_all(p);
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		ev_break(loop, EVBREAK_ALL);
}

static int read_unit(const char *path, struct unit **ret)
{
	struct diag_list diags = DIAG_LIST_INIT;
	_cleanup_free_ char *text = NULL;
	struct stat st;
	ssize_t n;
	int r;

	if (fstat(PROBER_UNIT_FD, &st) < 0)
		return -errno;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	n = pread(PROBER_UNIT_FD, text, (size_t)st.st_size, 0);
	if (n < 0)
		return -errno;
	r = unit_load_text(path, text, (size_t)n, ret, &diags);
	diag_list_clear(&diags);
	return r;
}

static void be_ordinary(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "0", 1) < 0)
			log_debug("oom_score_adj stays as it is: %s", strerror(errno));
		close(fd);
	}
	(void)setpriority(PRIO_PROCESS, 0, NICE);
	signal(SIGPIPE, SIG_IGN);
	/* A terminal's Ctrl-C is for the supervisor. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	(void)close_range(PROBER_SOCKET_FD, ~0u, CLOSE_RANGE_CLOEXEC);
}

static int prober_init(struct prober *p, const char *path)
{
	int r = read_unit(path, &p->unit);

	if (r < 0)
		return r;
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): read_unit() has set it. */
	p->n_checks = p->unit->n_probes;
	p->checks = calloc(p->n_checks + 1, sizeof(*p->checks));
	p->loop = ev_default_loop(EVFLAG_NOENV);
	if (!p->checks || !p->loop)
		return -ENOMEM;
	p->node = p->self = (struct starvation_watch)STARVATION_WATCH_NONE;
	starvation_open(&p->self, getpid());
	for (size_t i = 0; i < p->n_checks; i++)
		check_init(&p->checks[i], p, (unsigned)i);
	ev_io_init(&p->orders, on_order, PROBER_SOCKET_FD, EV_READ);
	p->orders.data = p;
	ev_set_priority(&p->orders, EV_MAXPRI); /* the word of a freeze, before the looks */
	ev_io_start(p->loop, &p->orders);
	return 0;
}

int main(int argc, char **argv)
{
	enum { ID = 1, UNIT_PATH, LEVEL };
	static const struct option known[] = {
		{"id", required_argument, NULL, ID},
		{"unit-path", required_argument, NULL, UNIT_PATH},
		{"log-level", required_argument, NULL, LEVEL},
		{0},
	};
	static struct prober prober;
	const char *id = NULL, *path = NULL;
	int c, r;

	log_open("twinit-prober");
	while ((c = getopt_long(argc, argv, "", known, NULL)) >= 0)
		switch (c) {
		case ID:
			id = optarg;
			break;
		case UNIT_PATH:
			path = optarg;
			break;
		case LEVEL:
			log_set_level(MAX2(log_level_from_string(optarg), LOG_ERR));
			break;
		default:
			return 2;
		}
	if (!id || !path || optind < argc) {
		fprintf(stderr, "twinit-prober: started by twinit-keeper\n");
		return 2;
	}
	be_ordinary();
	r = prober_init(&prober, path);
	if (r < 0) {
		log_node(LOG_ERR, id, "cannot probe: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	ev_run(prober.loop, 0);
	pause_all(&prober);
	return EXIT_SUCCESS;
}
