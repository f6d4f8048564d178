/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "config/strv.h"
#include "config/unit.h"

void strv_free(char **l)
{
	if (!l)
		return;
	strv_reset(l);
	free(l);
}

void strv_reset(char **l)
{
	for (char **s = l; *s; s++)
		free(*s);
	*l = NULL;
}

int strv_init(struct strv *l)
{
	*l = (struct strv){.items = calloc(4, sizeof(char *)), .allocated = 4};
	return l->items ? 0 : -ENOMEM;
}

int strv_take(struct strv *l, char *s)
{
	if (!s)
		return -ENOMEM;
	if (l->n + 1 >= l->allocated) {
		size_t want = l->allocated * 2;
		char **items = reallocarray(l->items, want, sizeof(*items));

		if (!items) {
			free(s);
			return -ENOMEM;
		}
		l->items = items;
		l->allocated = want;
	}
	l->items[l->n++] = s;
	l->items[l->n] = NULL;
	return 0;
}

int strv_copy(struct strv *l, const char *s)
{
	return strv_take(l, strdup(s));
}

void strv_clear(struct strv *l)
{
	strv_free(l->items);
	*l = (struct strv){0};
}

size_t strv_length(char *const *l)
{
	size_t n = 0;

	while (l[n])
		n++;
	return n;
}

int strv_append(char ***l, char **more)
{
	size_t n = strv_length(*l), m = strv_length(more);
	char **items = reallocarray(*l, n + m + 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	memcpy(items + n, more, (m + 1) * sizeof(*items));
	*l = items;
	free(more);
	return 0;
}

void strv_cut(char **l, size_t n)
{
	strv_reset(l + n);
}

void strv_uniq(char **l, size_t n_known)
{
	size_t n = n_known;

	for (char **s = l + n_known; *s; s++) {
		size_t i = 0;

		while (i < n && strcmp(l[i], *s) != 0)
			i++;
		if (i < n)
			free(*s);
		else
			l[n++] = *s;
	}
	l[n] = NULL;
}
