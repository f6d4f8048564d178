/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/report.h"

#include <errno.h>
#include <string.h>

#include "supervisor/base/log.h"

static void flush(struct report *r)
{
	while (r->n > 0 && r->fd >= 0) {
		int e = keeper_send(r->fd, &r->ring[r->first]);

		if (e == -EAGAIN || e == -ENOBUFS)
			break;
		if (e < 0) {
			report_close(r);
			return;
		}
		r->first = (r->first + 1) % REPORT_RING;
		r->n--;
	}
	if (r->n == 0)
		ev_io_stop(r->loop, &r->writable);
	else
		ev_io_start(r->loop, &r->writable);
}

static void on_writable(_unused_ struct ev_loop *loop, ev_io *w, _unused_ int revents)
{
	flush(w->data);
}

void report_init(struct report *r, struct ev_loop *loop, int fd)
{
	r->loop = loop;
	r->fd = fd;
	r->first = r->n = r->lost = 0;
	ev_io_init(&r->writable, on_writable, MAX2(fd, 0), EV_WRITE);
	r->writable.data = r;
}

void report_send(struct report *r, const struct keeper_msg *msg)
{
	if (r->fd < 0)
		return;
	if (msg->type == KEEPER_MSG_TWIN) {
		/* Never ahead of what waits: the order of what is sent is the order of what was. */
		int e = r->n > 0 ? 0 : keeper_send(r->fd, msg);

		if (e < 0 && e != -EAGAIN && e != -ENOBUFS)
			report_close(r);
		return;
	}
	if (r->n == REPORT_RING) {
		r->first = (r->first + 1) % REPORT_RING;
		r->n--;
		if (r->lost++ == 0)
			log_warning("supervisor does not read; the oldest reports are dropped");
	}
	r->ring[(r->first + r->n++) % REPORT_RING] = *msg;
	flush(r);
}

void report_reply(struct report *r, uint64_t serial, int error, const char *text)
{
	struct keeper_msg m = {.type = KEEPER_MSG_REPLY, .serial = serial, .reply.error = error};

	if (serial == 0)
		return;
	snprintf(m.reply.text, sizeof(m.reply.text), "%s", text);
	report_send(r, &m);
}

void report_close(struct report *r)
{
	ev_io_stop(r->loop, &r->writable);
	r->fd = -1;
	r->n = 0;
}
