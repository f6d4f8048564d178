/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which calls may be cut short by a stop, and how the rest of each is asked for. None of the
 * program's memory is changed for that: what cannot be said in registers (the second half of a
 * buffer in a vector) is asked for buffer by buffer.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#include "supervisor/twin/engine.h"

/* Vectors are read in portions of so many. */
#define VECTOR_PORTION 64
#define MEMORY_DEVICES 1 /* Documentation/admin-guide/devices.txt: zero, full, random, urandom */
/* After so many a terminal's read is content (drivers/tty/tty_io.c, iterate_tty_read()). */
#define TTY_PORTION 64UL
#define MMSGHDR_SIZE sizeof(struct mmsghdr)

enum { FD_ARG = 0, BUFFER_ARG = 1, LENGTH_ARG = 2, FLAGS_ARG = 3 };

enum file_type { BLOCKING_NOTHING, BLOCKING_PIPE, BLOCKING_SOCKET, BLOCKING_TTY, MEMORY_DEVICE };

/* What an open file is for us, where it may block: a copy of the descriptor shows it. */
static enum file_type type_of(const struct twin_engine *e, int fd, int *ret_copy)
{
	int copy = (int)syscall(SYS_pidfd_getfd, e->pidfd, fd, 0), flags;
	enum file_type type = BLOCKING_NOTHING;
	struct termios t;
	struct stat st;

	*ret_copy = copy;
	if (copy < 0 || fstat(copy, &st) < 0)
		return BLOCKING_NOTHING;
	flags = fcntl(copy, F_GETFL, 0);
	if (S_ISCHR(st.st_mode) && major(st.st_rdev) == MEMORY_DEVICES)
		return MEMORY_DEVICE;
	if (flags < 0 || (flags & O_NONBLOCK))
		return BLOCKING_NOTHING;
	if (S_ISFIFO(st.st_mode))
		type = BLOCKING_PIPE;
	else if (S_ISSOCK(st.st_mode))
		type = BLOCKING_SOCKET;
	else if (S_ISCHR(st.st_mode) && tcgetattr(copy, &t) == 0)
		type = BLOCKING_TTY;
	return type;
}

/* sendfile() and its kind: where the kernel keeps how far it has read. */
bool pieces_offset(const struct arch_regs *r, int *ret_fd, uint64_t *ret_pointer)
{
	if (arch_syscall_nr(r) != SYS_sendfile)
		return false;
	*ret_fd = (int)arch_syscall_arg(r, 1);
	*ret_pointer = arch_syscall_arg(r, 2);
	return true;
}

static enum file_type type_alone(const struct twin_engine *e, int fd)
{
	int copy;
	enum file_type type = type_of(e, fd, &copy);

	closep(&copy);
	return type;
}

/* The connection is lost, or will send no more: what came is what there is, and the reason is for
 * the program's next call. */
static bool has_ended(const struct twin_engine *e, int fd)
{
	struct pollfd p = {.fd = (int)syscall(SYS_pidfd_getfd, e->pidfd, fd, 0)};
	bool ended = p.fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP));

	closep(&p.fd);
	return ended;
}

/* A terminal that waits for more than one byte (VMIN) is asked for the rest of those. */
static bool broken_terminal_read(
	const struct twin_engine *e, const struct arch_regs *r, struct partial_call *p)
{
	struct termios t;
	int copy;
	bool broken = type_of(e, (int)arch_syscall_arg(r, FD_ARG), &copy) == BLOCKING_TTY &&
		      tcgetattr(copy, &t) == 0 && !(t.c_lflag & ICANON) && t.c_cc[VTIME] == 0;

	closep(&copy);
	p->kind = PARTIAL_BUFFER;
	p->total = broken ? MIN2(MIN2((uint64_t)t.c_cc[VMIN], TTY_PORTION),
				    arch_syscall_arg(r, LENGTH_ARG))
			  : 0;
	return broken;
}

static bool broken_read(
	const struct twin_engine *e, const struct arch_regs *r, struct partial_call *p)
{
	int fd = (int)arch_syscall_arg(r, FD_ARG);

	p->kind = PARTIAL_BUFFER;
	p->total = arch_syscall_arg(r, LENGTH_ARG);
	return type_alone(e, fd) == MEMORY_DEVICE || broken_terminal_read(e, r, p);
}

static bool broken_write(const struct twin_engine *e, const struct arch_regs *r,
	struct partial_call *p, enum partial_kind kind, int fd)
{
	enum file_type type = type_alone(e, fd);

	p->kind = kind;
	p->sends = true;
	p->socket = type == BLOCKING_SOCKET;
	if (p->total == 0)
		p->total = arch_syscall_arg(r, LENGTH_ARG);
	return type == BLOCKING_PIPE || type == BLOCKING_TTY ||
	       (type == BLOCKING_SOCKET && !has_ended(e, fd));
}

/* Bytes behind a vector; of buffer number *ret_i the first that is not done. */
static bool find_in_vector(pid_t tid, uint64_t at, uint64_t count, uint64_t done, uint64_t *ret_i,
	struct iovec *ret_rest, uint64_t *ret_total)
{
	struct iovec v[VECTOR_PORTION];
	uint64_t total = 0;
	bool found = false;

	for (uint64_t i = 0; i < count && count <= IOV_MAX; i++) {
		uint64_t in = i % VECTOR_PORTION, n = MIN2(count - i, (uint64_t)VECTOR_PORTION);
		if (in == 0 && image_read(tid, at + i * sizeof(v[0]), v, n * sizeof(v[0])) < 0)
			return false;
		if (!found && total + v[in].iov_len > done) {
			found = true;
			*ret_i = i;
			*ret_rest = (struct iovec){(uint8_t *)v[in].iov_base + (done - total),
				v[in].iov_len - (done - total)};
		}
		total += v[in].iov_len;
	}
	*ret_total = total;
	return found;
}

static bool broken_vector(
	const struct twin_engine *e, pid_t tid, const struct arch_regs *r, struct partial_call *p)
{
	struct iovec rest;
	uint64_t i;

	return find_in_vector(tid, arch_syscall_arg(r, BUFFER_ARG), arch_syscall_arg(r, LENGTH_ARG),
		       (uint64_t)arch_syscall_result(r), &i, &rest, &p->total) &&
	       broken_write(e, r, p, PARTIAL_VECTOR, (int)arch_syscall_arg(r, FD_ARG));
}

static bool waits_for_all(int flags)
{
	return (flags & MSG_WAITALL) && !(flags & (MSG_PEEK | MSG_DONTWAIT | MSG_OOB));
}

static bool broken_message(
	const struct twin_engine *e, pid_t tid, const struct arch_regs *r, struct partial_call *p)
{
	int fd = (int)arch_syscall_arg(r, FD_ARG), flags = (int)arch_syscall_arg(r, 2);
	struct msghdr m;
	struct iovec rest;
	uint64_t i;

	if (image_read(tid, arch_syscall_arg(r, BUFFER_ARG), &m, sizeof(m)) < 0 ||
		!find_in_vector(tid, (uint64_t)m.msg_iov, m.msg_iovlen,
			(uint64_t)arch_syscall_result(r), &i, &rest, &p->total))
		return false;
	if (arch_syscall_nr(r) == SYS_sendmsg)
		return !(flags & MSG_DONTWAIT) && broken_write(e, r, p, PARTIAL_MESSAGE, fd);
	p->kind = PARTIAL_MESSAGE;
	p->socket = true;
	/* What comes beside the bytes (descriptors) would be lost with the pieces. */
	return waits_for_all(flags) && !m.msg_control && type_alone(e, fd) == BLOCKING_SOCKET &&
	       !has_ended(e, fd);
}

/* recvmmsg() that is broken after some messages says so by their number, and leaves its word to the
 * kernel behind as an error of the socket (net/socket.c, do_recvmmsg()). */
static bool broken_messages(
	const struct twin_engine *e, const struct arch_regs *r, struct partial_call *p)
{
	int fd = (int)arch_syscall_arg(r, FD_ARG), flags = (int)arch_syscall_arg(r, FLAGS_ARG);
	int copy, error = 0;
	socklen_t len = sizeof(error);
	bool broken = type_of(e, fd, &copy) == BLOCKING_SOCKET && !(flags & MSG_DONTWAIT);

	p->kind = PARTIAL_MESSAGES;
	p->socket = true;
	p->total = arch_syscall_arg(r, LENGTH_ARG);
	if (broken && arch_syscall_nr(r) == SYS_recvmmsg)
		broken = !(flags & MSG_WAITFORONE) &&
			 getsockopt(copy, SOL_SOCKET, SO_ERROR, &error, &len) == 0 &&
			 error >= ERESTARTSYS;
	closep(&copy);
	return broken;
}

/* From a pipe to a socket. It ends as well when the pipe is empty. */
static bool broken_splice(
	const struct twin_engine *e, const struct arch_regs *r, struct partial_call *p)
{
	int copy, unread = 0;
	bool broken = type_of(e, (int)arch_syscall_arg(r, 0), &copy) == BLOCKING_PIPE &&
		      ioctl(copy, FIONREAD, &unread) == 0 && unread > 0;

	closep(&copy);
	p->total = arch_syscall_arg(r, 4);
	return broken && broken_write(e, r, p, PARTIAL_LENGTH, (int)arch_syscall_arg(r, 2)) &&
	       p->socket;
}

bool pieces_broken(
	struct twin_engine *e, pid_t tid, const struct arch_regs *r, struct partial_call *ret)
{
	int fd = (int)arch_syscall_arg(r, FD_ARG), flags = (int)arch_syscall_arg(r, FLAGS_ARG);
	long moved = arch_syscall_result(r);
	bool broken = false;

	*ret = (struct partial_call){.regs = *r, .done = (uint64_t)moved};
	if (!arch_in_syscall(r) || moved <= 0)
		return false;
	switch (arch_syscall_nr(r)) {
	case SYS_write:
		broken = (uint64_t)moved < arch_syscall_arg(r, LENGTH_ARG) &&
			 broken_write(e, r, ret, PARTIAL_BUFFER, fd);
		break;
	case SYS_sendto:
		broken = (uint64_t)moved < arch_syscall_arg(r, LENGTH_ARG) &&
			 !(flags & MSG_DONTWAIT) && broken_write(e, r, ret, PARTIAL_BUFFER, fd);
		break;
	case SYS_writev:
		broken = broken_vector(e, tid, r, ret);
		break;
	case SYS_sendmsg:
	case SYS_recvmsg:
		broken = broken_message(e, tid, r, ret);
		break;
	case SYS_sendmmsg:
	case SYS_recvmmsg:
		broken = (uint64_t)moved < arch_syscall_arg(r, LENGTH_ARG) &&
			 broken_messages(e, r, ret);
		break;
	case SYS_recvfrom:
		ret->kind = PARTIAL_BUFFER;
		ret->socket = true;
		ret->total = arch_syscall_arg(r, LENGTH_ARG);
		broken = waits_for_all(flags) && (uint64_t)moved < ret->total &&
			 type_alone(e, fd) == BLOCKING_SOCKET && !has_ended(e, fd);
		break;
	case SYS_read:
		broken =
			(uint64_t)moved < arch_syscall_arg(r, LENGTH_ARG) && broken_read(e, r, ret);
		break;
	case SYS_getrandom:
		ret->kind = PARTIAL_BUFFER;
		ret->total = arch_syscall_arg(r, 1);
		broken = true;
		break;
	case SYS_sendfile:
		ret->total = arch_syscall_arg(r, 3);
		/* Into a pipe it moves what there is room for, and no more. */
		broken = broken_write(e, r, ret, PARTIAL_LENGTH, fd) && ret->socket;
		break;
	case SYS_splice:
		broken = broken_splice(e, r, ret);
		break;
	}
	/* A filter that knows the program's calls may not know ours. */
	if (e->filtered && (ret->kind == PARTIAL_VECTOR || ret->kind == PARTIAL_MESSAGE))
		return false;
	return broken && ret->done < ret->total;
}

/* One buffer. Through a socket without a signal: a whole call would have had its count to say
 * instead of SIGPIPE. */
static void next_buffer(const struct twin_engine *e, const struct partial_call *p,
	const struct iovec *rest, int flags, struct arch_regs *r)
{
	bool receives = !p->sends;

	arch_set_syscall_arg(r, BUFFER_ARG, (uint64_t)rest->iov_base);
	arch_set_syscall_arg(r, LENGTH_ARG, rest->iov_len);
	if (!p->socket || (e->filtered && arch_syscall_nr(r) == SYS_write)) {
		arch_rewind_syscall(r, receives ? SYS_read : SYS_write);
		return;
	}
	arch_set_syscall_arg(r, FLAGS_ARG, (uint64_t)(receives ? flags : flags | MSG_NOSIGNAL));
	arch_set_syscall_arg(r, 4, 0);
	arch_set_syscall_arg(r, 5, 0);
	arch_rewind_syscall(r, receives ? SYS_recvfrom : SYS_sendto);
}

static bool next_in_vector(const struct twin_engine *e, pid_t memory, const struct partial_call *p,
	struct arch_regs *r)
{
	bool message = p->kind == PARTIAL_MESSAGE;
	uint64_t at = arch_syscall_arg(r, BUFFER_ARG), n = arch_syscall_arg(r, LENGTH_ARG), i,
		 total;
	int flags = message ? (int)n : 0;
	struct iovec rest;
	struct msghdr m;

	if (message) {
		if (image_read(memory, at, &m, sizeof(m)) < 0)
			return false;
		at = (uint64_t)m.msg_iov;
		n = m.msg_iovlen;
	}
	if (!find_in_vector(memory, at, n, p->done, &i, &rest, &total))
		return false;
	next_buffer(e, p, &rest, flags, r);
	return true;
}

bool pieces_next(const struct twin_engine *e, pid_t memory, const struct partial_call *p,
	struct arch_regs *ret)
{
	struct iovec rest;
	long nr = arch_syscall_nr(&p->regs);
	unsigned arg;

	*ret = p->regs;
	switch (p->kind) {
	case PARTIAL_BUFFER:
		if (nr == SYS_getrandom) {
			arch_set_syscall_arg(ret, 0, arch_syscall_arg(ret, 0) + p->done);
			arch_set_syscall_arg(ret, 1, p->total - p->done);
			arch_rewind_syscall(ret, nr);
			return true;
		}
		rest.iov_base = (uint8_t *)arch_syscall_arg(ret, BUFFER_ARG) + p->done;
		rest.iov_len = p->total - p->done;
		next_buffer(e, p, &rest,
			nr == SYS_write ? 0 : (int)arch_syscall_arg(ret, FLAGS_ARG), ret);
		return true;
	case PARTIAL_LENGTH:
		arg = nr == SYS_splice ? 4 : 3;
		arch_set_syscall_arg(ret, arg, p->total - p->done);
		arch_rewind_syscall(ret, nr);
		return true;
	case PARTIAL_VECTOR:
	case PARTIAL_MESSAGE:
		return next_in_vector(e, memory, p, ret);
	case PARTIAL_MESSAGES:
		arch_set_syscall_arg(ret, BUFFER_ARG,
			arch_syscall_arg(ret, BUFFER_ARG) + p->done * MMSGHDR_SIZE);
		arch_set_syscall_arg(ret, LENGTH_ARG, p->total - p->done);
		arch_rewind_syscall(ret, nr);
		return true;
	default:
		return false;
	}
}
