/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/order.h"

#include <errno.h>
#include <string.h>

#include "supervisor/base/log.h"
#include "supervisor/job.h"

static int list_add(struct node_list *l, struct node *n)
{
	struct node **items;

	for (size_t i = 0; i < l->n; i++)
		if (l->items[i] == n)
			return 0;
	items = reallocarray(l->items, l->n + 1, sizeof(*items));
	if (!items)
		return -ENOMEM;
	items[l->n++] = n;
	l->items = items;
	return 0;
}

/* from's list and its reverse in to; both or, where memory ends between them, the first. */
static int link_both(
	struct node *from, struct node_list *list, struct node *to, struct node_list *reverse)
{
	int r = list_add(list, to);
	return r < 0 ? r : list_add(reverse, from);
}

static struct node *resolve(struct manager *m, const char *name)
{
	char id[NODE_ID_MAX];
	size_t len = strlen(name);
	struct node *n = manager_find_node(m, name);

	if (n || len <= 4 || len - 4 >= sizeof(id) || strcmp(name + len - 4, ".ini") != 0)
		return n;
	memcpy(id, name, len - 4);
	id[len - 4] = '\0';
	return manager_find_node(m, id);
}

static int resolve_order(struct manager *m, struct node *n)
{
	struct node *o;
	int r = 0, k;

	for (char **name = n->unit->after; *name; name++)
		if ((o = resolve(m, *name)) && (k = link_both(n, &n->after, o, &o->before)) < 0)
			r = k;
	for (char **name = n->unit->before; *name; name++)
		if ((o = resolve(m, *name)) && (k = link_both(o, &o->after, n, &n->before)) < 0)
			r = k;
	return r;
}

static int resolve_needs(struct manager *m, struct node *n)
{
	struct node *o;
	int r = 0, k;

	for (char **name = n->unit->requires; *name; name++) {
		o = resolve(m, *name);
		if (o && o->unit)
			k = link_both(n, &n->requires, o, &o->required_by);
		else if (n->missing_requires)
			k = 0; /* one is enough to fail it */
		else
			k = (n->missing_requires = strdup(*name)) ? 0 : -ENOMEM;
		r = k < 0 ? k : r;
	}
	for (char **name = n->unit->wants; *name; name++) {
		o = resolve(m, *name);
		if (!o || !o->unit) {
			log_node(LOG_NOTICE, n->id, "Wants=%s: %s, ignored", *name,
				o ? "that unit did not load" : "no such unit");
			continue;
		}
		if ((k = link_both(n, &n->wants, o, &o->wanted_by)) < 0)
			r = k;
	}
	return r;
}

/* One list of names: found is called with each node that they name. */
static int resolve_names(struct manager *m, struct node *n, const char *key, char **names,
	int (*found)(struct node *n, struct node *o))
{
	int r = 0;

	for (char **name = names; *name; name++) {
		struct node *o = resolve(m, *name);

		if (!o || !o->unit)
			log_node(LOG_NOTICE, n->id, "%s=%s: %s, ignored", key, *name,
				o ? "that unit did not load" : "no such unit");
		else if (o != n && found(n, o) < 0)
			r = -ENOMEM;
	}
	return r;
}

static int add_bound(struct node *n, struct node *o)
{
	return list_add(&o->bound_by, n);
}

static int add_part(struct node *n, struct node *o)
{
	return list_add(&o->parts, n);
}

static int add_on_failure(struct node *n, struct node *o)
{
	return list_add(&n->on_failure, o);
}

static int add_failsafe(struct node *n, struct node *o)
{
	return list_add(&n->failsafe, o);
}

static int add_dependent(struct node *n, struct node *o)
{
	return list_add(&n->dependents, o);
}

static int resolve_consequences(struct manager *m, struct node *n)
{
	const struct unit *u = n->unit;
	int r = 0;

	for (size_t i = 0; i < n->requires.n; i++)
		if (n->requires.items[i] != n && list_add(&n->requires.items[i]->dependents, n) < 0)
			r = -ENOMEM;
	if (resolve_names(m, n, "BindsTo", u->binds_to, add_bound) < 0 ||
		resolve_names(m, n, "PartOf", u->part_of, add_part) < 0 ||
		resolve_names(m, n, "OnFailure", u->on_failure, add_on_failure) < 0 ||
		resolve_names(m, n, "FailsafeUnit", u->failover.failsafe, add_failsafe) < 0 ||
		resolve_names(m, n, "Notify", u->failover.notify, add_dependent) < 0)
		r = -ENOMEM;
	return r;
}

void order_clear(struct node *n)
{
	struct node_list *lists[] = {&n->after, &n->before, &n->requires, &n->required_by,
		&n->wants, &n->wanted_by, &n->bound_by, &n->parts, &n->on_failure, &n->failsafe,
		&n->dependents};

	for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
		free(lists[i]->items);
		*lists[i] = (struct node_list){0};
	}
	free(n->missing_requires);
	n->missing_requires = NULL;
}

int order_resolve(struct manager *m)
{
	int r = 0, k;

	for (struct node *n = m->nodes; n; n = n->next)
		order_clear(n);
	for (struct node *n = m->nodes; n; n = n->next) {
		if (!n->unit)
			continue;
		if ((k = resolve_order(m, n)) < 0)
			r = k;
		if ((k = resolve_needs(m, n)) < 0)
			r = k;
		if ((k = resolve_consequences(m, n)) < 0)
			r = k;
	}
	return r;
}

/* Marks of the depth-first search: not seen, on the path from the root, seen to the end. */
enum { WHITE, GREY, BLACK };

struct search {
	bool (*in)(const struct node *n);
	struct node **path;
	size_t depth;
};

/* The node that closes a cycle (it is on the path), or NULL. As deep as there are nodes. */
static struct node *visit(struct search *s, struct node *n)
{
	n->mark = GREY;
	s->path[s->depth++] = n;
	for (size_t i = 0; i < n->after.n; i++) {
		struct node *o = n->after.items[i], *closing;

		if (!s->in(o) || o->mark == BLACK)
			continue;
		if (o->mark == GREY)
			return o;
		closing = visit(s, o);
		if (closing)
			return closing;
	}
	n->mark = BLACK;
	s->depth--;
	return NULL;
}

static void reverse(struct node **v, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		struct node *t = v[i];
		v[i] = v[n - 1 - i];
		v[n - 1 - i] = t;
	}
}

static void smallest_id_first(struct node **v, size_t n)
{
	size_t at = 0;

	for (size_t i = 1; i < n; i++)
		if (strcmp(v[i]->id, v[at]->id) < 0)
			at = i;
	/* A rotation by three reversals needs no second array. */
	reverse(v, at);
	reverse(v + at, n - at);
	reverse(v, n);
}

size_t order_find_cycle(
	struct manager *m, bool (*in)(const struct node *n), struct node **ret_cycle)
{
	struct search s = {.in = in, .path = ret_cycle};

	for (struct node *n = m->nodes; n; n = n->next)
		n->mark = WHITE;
	for (struct node *n = m->nodes; n; n = n->next) {
		struct node *closing;
		size_t first = 0;

		if (!in(n) || n->mark != WHITE)
			continue;
		closing = visit(&s, n);
		if (!closing)
			continue;
		/* What the path holds before that node only leads into the cycle. */
		while (ret_cycle[first] != closing)
			first++;
		memmove(ret_cycle, ret_cycle + first, (s.depth - first) * sizeof(*ret_cycle));
		smallest_id_first(ret_cycle, s.depth - first);
		return s.depth - first;
	}
	return 0;
}

void order_format_cycle(struct node *const *cycle, size_t n, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i <= n && used < size; i++)
		used += (size_t)snprintf(
			buf + used, size - used, "%s%s", i ? " -> " : "", cycle[i % n]->id);
	if (used >= size && size > 3)
		memcpy(buf + size - 4, "...", 4);
}

struct node *order_start_blocker(const struct node *n)
{
	/* Stops go before starts, whichever way round the two are ordered: so there is no
	 * moment at which a start and a stop wait for each other. */
	for (size_t i = 0; i < n->after.n; i++)
		if (n->after.items[i]->job)
			return n->after.items[i];
	for (size_t i = 0; i < n->before.n; i++)
		if (n->before.items[i]->job && job_will_stop(n->before.items[i]->job))
			return n->before.items[i];
	return NULL;
}

static struct node *still_to_stop(const struct node_list *l, const struct node *but)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i] != but && l->items[i]->job && job_will_stop(l->items[i]->job))
			return l->items[i];
	return NULL;
}

struct node *order_stop_blocker(const struct node *n)
{
	struct node *o = still_to_stop(&n->before, n);
	return o ? o : still_to_stop(&n->required_by, n);
}
