/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "config/diag.h"

static void diag_done(struct diag *d)
{
	free(d->file);
	free(d->section);
	free(d->key);
	free(d->what);
	free(d->allowed);
}

void diag_list_clear(struct diag_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		diag_done(&l->items[i]);
	free(l->items);
	*l = (struct diag_list)DIAG_LIST_INIT;
}

bool diag_list_has_errors(const struct diag_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->items[i].level == DIAG_ERROR)
			return true;
	return false;
}

static int copy_text(char **ret, const char *s)
{
	if (!s)
		return 0;
	*ret = strdup(s);
	return *ret ? 0 : -ENOMEM;
}

static int list_grow(struct diag_list *l)
{
	size_t want = l->allocated ? l->allocated * 2 : 8;
	struct diag *items;

	if (l->n < l->allocated)
		return 0;
	items = reallocarray(l->items, want, sizeof(*items));
	if (!items)
		return -ENOMEM;
	l->items = items;
	l->allocated = want;
	return 0;
}

int diag_add(struct diag_list *l, enum diag_level level, const struct diag_place *at,
	const char *allowed, const char *what, ...)
{
	struct diag d = {.level = level, .line = at->line};
	va_list ap;
	int r;

	if (!l)
		return 0;
	va_start(ap, what);
	r = vasprintf(&d.what, what, ap);
	va_end(ap);
	if (r < 0) {
		d.what = NULL; /* vasprintf() leaves it undefined */
		goto fail;
	}
	if (copy_text(&d.file, at->file) < 0 || copy_text(&d.section, at->section) < 0 ||
		copy_text(&d.key, at->key) < 0 || copy_text(&d.allowed, allowed) < 0 ||
		list_grow(l) < 0)
		goto fail;
	l->items[l->n++] = d;
	return 0;
fail:
	diag_done(&d);
	return -ENOMEM;
}

char *diag_format(const struct diag *d)
{
	bool section = d->section && *d->section, key = d->key && *d->key;
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	if (!f)
		return NULL;
	fputs(d->file ? d->file : "", f);
	if (d->line)
		fprintf(f, ":%u", d->line);
	fputs(": ", f);
	if (section)
		fprintf(f, "[%s]%s", d->section, key ? " " : ": ");
	if (key)
		fprintf(f, "%s=: ", d->key);
	fputs(d->what ? d->what : "", f);
	if (d->allowed)
		fprintf(f, "; allowed: %s", d->allowed);
	if (fclose(f) != 0) {
		free(out);
		return NULL;
	}
	return out;
}

struct excerpt excerpt_of(const char *text)
{
	struct excerpt e;
	size_t n = strlen(text), cut = MIN2(n, (size_t)EXCERPT_MAX);

	/* Never cut inside of a UTF-8 sequence: go back to where one starts. */
	while (cut < n && cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80)
		cut--;
	for (size_t i = 0; i < cut; i++) {
		unsigned char c = (unsigned char)text[i];

		e.text[i] = c < 0x20 || c == 0x7f ? '?' : text[i];
	}
	strcpy(e.text + cut, cut < n ? "..." : "");
	return e;
}
