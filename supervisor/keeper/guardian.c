/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "supervisor/base/log.h"

#define PRIORITY 10
#define OOM_SCORE_ADJ "-900"

int guardian_read_unit(const char *id, const char *path, int fd, struct unit **ret)
{
	struct diag_list diags = DIAG_LIST_INIT;
	_cleanup_free_ char *text = NULL;
	struct stat st;
	size_t len = 0;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	while (len < (size_t)st.st_size) {
		ssize_t n = pread(fd, text + len, (size_t)st.st_size - len, (off_t)len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	r = unit_load_text(path, text, len, ret, &diags);
	/* The supervisor has shown the warnings when it read the same bytes. */
	for (size_t i = 0; r < 0 && i < diags.n; i++) {
		_cleanup_free_ char *line = diag_format(&diags.items[i]);
		if (line)
			log_node(LOG_ERR, id, "%s", line);
	}
	diag_list_clear(&diags);
	return r;
}

/* All best effort: a keeper without these is slower under pressure, but it is a keeper. */
void guardian_harden(const char *id)
{
	/* Children are born plain: neither policy nor priority goes on to them. */
	struct sched_param p = {.sched_priority = PRIORITY};
	struct rlimit memlock;
	int fd;

	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &p) < 0)
		log_node(LOG_WARNING, id, "no real-time priority for the keeper: %s",
			strerror(errno));
	/* Under a finite limit a lock that works today makes an allocation fail tomorrow. */
	if (geteuid() != 0 && getrlimit(RLIMIT_MEMLOCK, &memlock) == 0 &&
		memlock.rlim_cur != RLIM_INFINITY)
		log_node(LOG_WARNING, id,
			"the keeper's memory is not locked: LimitMEMLOCK is finite");
	else if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_node(LOG_WARNING, id, "the keeper's memory is not locked: %s", strerror(errno));
	fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, OOM_SCORE_ADJ, strlen(OOM_SCORE_ADJ)) < 0)
		log_node(LOG_DEBUG, id, "oom_score_adj stays as it is: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

int guardian_exclude(const struct unit *u, struct twin_config *config)
{
	static const enum twin_dont_fork dont_fork[_DONT_FORK_MAX] = {
		[DONT_FORK_NO] = TWIN_DONT_FORK_COPY,
		[DONT_FORK_YES] = TWIN_DONT_FORK_ZERO,
		[DONT_FORK_ZERO] = TWIN_DONT_FORK_ZERO,
		[DONT_FORK_SHARE] = TWIN_DONT_FORK_SHARE,
	};
	struct twin_exclusion *list;

	config->dont_fork = dont_fork[u->twin.dont_fork];
	if (u->twin.n_exclusions == 0)
		return 0;
	list = calloc(u->twin.n_exclusions, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < u->twin.n_exclusions; i++)
		list[i] = (struct twin_exclusion){
			u->twin.exclusions[i].pattern, u->twin.exclusions[i].share};
	config->exclusions = list;
	config->n_exclusions = (unsigned)u->twin.n_exclusions;
	return 0;
}
