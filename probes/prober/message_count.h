/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * How many TCPROS messages the TCP connections of a control group have sent, counted in the kernel
 * from the streams themselves.
 *
 * A TCPROS stream is messages, each a word of four bytes (little-endian), its length, and so many
 * bytes. A cgroup_skb program on the way out looks at nothing but those words: it knows where the
 * next one stands, and passes over the bodies unread. So it is exact, whatever the messages' sizes
 * are; it costs the same for one of a megabyte as for one of ten bytes; nothing is copied to
 * anybody; and neither does the node take part nor is there one subscriber more. Looked at and
 * dropped: captured packets (a copy of all that is sent), TCP_INFO (bytes; messages differ in
 * size), the node's own statistics (what it believes that it sent, told by a thread that may be the
 * one that hangs).
 *
 * A connection is followed from its SYN on. One that is older is found at the first message
 * that a write of its own begins with and ends, as nearly all do; until then it counts nothing.
 * After a length that is none (2^28 or more) it is looked for in the same way; where the very first
 * is none, the connection speaks something else and is left alone. IPv4, for that is what ROS 1
 * speaks unless it is told otherwise. Takes CAP_BPF and CAP_NET_ADMIN, and cgroup v2; gone with the
 * last descriptor.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/macro.h"

struct message_count {
	int map, link; /* -1: not there */
};
#define MESSAGE_COUNT_NONE                                                                         \
	{                                                                                          \
		.map = -1, .link = -1                                                              \
	}
/* All in network byte order. */
struct message_stream {
	uint32_t remote;
	uint16_t local_port, remote_port;
};

/* cgroup: an open folder of the unified hierarchy. Negative errno; -EPERM: without the right. */
_must_check_ int message_count_open(struct message_count *m, int cgroup);
void message_count_close(struct message_count *m);
/* Messages so far, the connection's header not counted. -ENOENT: not followed; it is from now on.
 * -EAGAIN: it has not been found where one begins. -EPROTO: it speaks something else. */
_must_check_ int message_count_read(
	const struct message_count *m, const struct message_stream *s, uint64_t *ret);
