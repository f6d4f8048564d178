/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/event_fd.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

int event_fd_open(struct event_fd *e)
{
	int fds[2];

	event_fd_close(e);
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	*e = (struct event_fd){fds[0], fds[1]};
	return 0;
}

void event_fd_close(struct event_fd *e)
{
	closep(&e->keeper);
	closep(&e->node);
	*e = (struct event_fd)EVENT_FD_NONE;
}

void event_fd_tell(const struct event_fd *e, const struct keeper_failover_report *r)
{
	char text[256];
	int n;

	if (e->keeper < 0)
		return;
	n = snprintf(text, sizeof(text),
		"FAILOVER=1\nCAUSE=%s\nGENERATION=%u\nROLLBACK_USEC=%llu\nLATENCY_USEC=%llu\n",
		node_result_to_string(r->cause), r->generation, (unsigned long long)r->rollback,
		(unsigned long long)(r->latency / NSEC_PER_USEC));
	/* A node that does not read is not waited for. */
	(void)send(e->keeper, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}
