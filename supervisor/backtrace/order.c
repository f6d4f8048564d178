/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/backtrace/order.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int take_bytes(const char *hex, uint8_t *ret, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
		if (high < 0 || low < 0)
			return -EBADMSG;
		ret[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int take_stack(struct order *o, const char *value)
{
	struct order_thread *t = o->n_threads ? &o->threads[o->n_threads - 1] : NULL;
	char *hex;
	size_t len;

	if (!t || t->stack)
		return -EBADMSG;
	t->stack_at = strtoull(value, &hex, 16);
	if (*hex != ' ')
		return -EBADMSG;
	len = strlen(++hex) / 2;
	t->stack = malloc(len + 1);
	if (!t->stack)
		return -ENOMEM;
	t->stack_len = len;
	return take_bytes(hex, t->stack, len);
}

static int take_regs(struct order *o, const char *hex)
{
	struct order_thread *t;

	if (o->n_threads == 0 || strlen(hex) != 2 * sizeof(t->regs))
		return -EBADMSG;
	t = &o->threads[o->n_threads - 1];
	t->known = true;
	return take_bytes(hex, (uint8_t *)&t->regs, sizeof(t->regs));
}

static int take_thread(struct order *o, const char *value)
{
	struct order_thread t = {0}, *more;
	int at_fault;

	if (sscanf(value, "%d %d %31[^\n]", &t.tid, &at_fault, t.name) < 2 || t.tid <= 0)
		return -EBADMSG;
	if (o->n_threads >= ORDER_THREADS_MAX)
		return -EBADMSG;
	t.at_fault = at_fault;
	more = reallocarray(o->threads, o->n_threads + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	o->threads = more;
	o->threads[o->n_threads++] = t;
	return 0;
}

static int take_info(struct order *o, const char *value)
{
	size_t len = strlen(value);
	char *more = realloc(o->info, o->info_len + len + 2);

	if (!more)
		return -ENOMEM;
	o->info = more;
	memcpy(more + o->info_len, value, len);
	memcpy(more + o->info_len + len, "\n", 2);
	o->info_len += len + 1;
	return 0;
}

static void copy(char *to, size_t size, const char *value)
{
	snprintf(to, size, "%s", value);
}

static int take(struct order *o, const char *key, const char *value)
{
	if (strcmp(key, "NODE") == 0)
		copy(o->node, sizeof(o->node), value);
	else if (strcmp(key, "KIND") == 0)
		copy(o->kind, sizeof(o->kind), value);
	else if (strcmp(key, "CAUSE") == 0)
		copy(o->cause, sizeof(o->cause), value);
	else if (strcmp(key, "FAULT") == 0)
		copy(o->fault, sizeof(o->fault), value);
	else if (strcmp(key, "OUTCOME") == 0)
		copy(o->outcome, sizeof(o->outcome), value);
	else if (strcmp(key, "SIGNAL") == 0)
		o->signal = atoi(value);
	else if (strcmp(key, "PID") == 0)
		o->pid = atoi(value);
	else if (strcmp(key, "MEMORY_PID") == 0)
		o->memory_pid = atoi(value);
	else if (strcmp(key, "REALTIME_USEC") == 0)
		o->realtime = strtoull(value, NULL, 10);
	else if (strcmp(key, "CORE") == 0)
		o->core = strcmp(value, "yes") == 0;
	else if (strcmp(key, "INFO") == 0)
		return take_info(o, value);
	else if (strcmp(key, "THREAD") == 0)
		return take_thread(o, value);
	else if (strcmp(key, "STACK") == 0)
		return take_stack(o, value);
	else if (strcmp(key, "REGS") == 0)
		return take_regs(o, value);
	else
		return -EBADMSG;
	return 0;
}

int order_parse(char *text, struct order *ret)
{
	struct order o = {0};
	char *line, *rest = text;
	int r = 0;

	while (r == 0 && (line = strsep(&rest, "\n"))) {
		char *equals = strchr(line, '=');
		if (!*line)
			continue;
		if (!equals) {
			r = -EBADMSG;
			break;
		}
		*equals = '\0';
		r = take(&o, line, equals + 1);
	}
	/* The name becomes part of a file's. */
	if (r == 0 && (!o.node[0] || o.node[0] == '.' || strchr(o.node, '/') || o.pid <= 0 ||
			      o.realtime == 0))
		r = -EBADMSG;
	if (r < 0) {
		order_clear(&o);
		return r;
	}
	*ret = o;
	return 0;
}

void order_clear(struct order *o)
{
	for (size_t i = 0; i < o->n_threads; i++)
		free(o->threads[i].stack);
	free(o->info);
	free(o->threads);
	*o = (struct order){.pid = 0};
}
