/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Descriptors that refer to the process itself: after a swap they do so again.
 *
 * Not kept: what an epoll set knows of such a pidfd, and owners of standard streams.
 */
struct twin_engine;
struct twin;
/* At leisure, with the table of the twin scanned: appends to the calls of the new main thread. */
void selfref_keep(struct twin_engine *e, const struct twin *w);
