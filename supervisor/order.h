/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Who comes after whom. The words of unit files (After, Before, Requires, Wants) become lists of
 * nodes; everything else asks these lists.
 *
 * After= orders, and only orders: starts one way, stops the other way round. Requires= and Wants=
 * pull in and do not order starts, as with systemd; but a required node is stopped only after
 * those that require it. Waves need no table: a job may run when it has no blocker, and all jobs
 * without one run together.
 */
#include "supervisor/manager.h"

/* Fill the lists of all nodes. Names are unit ids; a trailing ".ini" is forgiven. A Requires=
 * that names nothing usable is kept in missing_requires, a Wants= is logged and left out, an
 * After= or Before= left out. -ENOMEM: some lists are incomplete, all are valid. */
_must_check_ int order_resolve(struct manager *m);
void order_clear(struct node *n);

/*
 * One cycle of After among the nodes that "in" accepts, each after the next, the smallest id
 * first: its length, 0 where there is none. ret_cycle takes MANAGER_NODES_MAX nodes.
 */
size_t order_find_cycle(
	struct manager *m, bool (*in)(const struct node *n), struct node **ret_cycle);
/* "a -> b -> c -> a", cut with "..." where size does not suffice. */
void order_format_cycle(struct node *const *cycle, size_t n, char *buf, size_t size);

/* The node that a start of n has to wait for, or NULL: one that n comes after and that is still
 * to be started or stopped, or one that comes after n and is still to be stopped. */
struct node *order_start_blocker(const struct node *n);
/* The same for a stop: one that comes after n or requires n and is still to be stopped. */
struct node *order_stop_blocker(const struct node *n);
