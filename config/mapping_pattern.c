/* SPDX-License-Identifier: Apache-2.0 */
#include "config/mapping_pattern.h"

#include <fnmatch.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "config/macro.h"

#define NAME_MAX_HERE 4096

static const struct {
	const char *name, *what;
} vital[] = {
	{"", "memory without a name"},
	{"[heap]", "the heap"},
	{"[stack]", "the stack"},
	{"[vdso]", "the vdso"},
	{"[vvar]", "the vdso"},
	{"[vvar_vclock]", "the vdso"},
	{"[vsyscall]", "the vdso"},
	{"[uprobes]", "the kernel's own"},
};

static bool matches(const char *pattern, const char *name)
{
	char p[NAME_MAX_HERE], n[NAME_MAX_HERE];
	size_t pl = strlen(pattern), nl = strlen(name);

	if (pl < 2 || pattern[0] != '[' || pattern[pl - 1] != ']')
		return fnmatch(pattern, name, 0) == 0;
	if (nl < 2 || name[0] != '[' || name[nl - 1] != ']' || pl > sizeof(p) || nl > sizeof(n))
		return false;
	snprintf(p, sizeof(p), "%.*s", (int)(pl - 2), pattern + 1);
	snprintf(n, sizeof(n), "%.*s", (int)(nl - 2), name + 1);
	return fnmatch(p, n, 0) == 0;
}

bool mapping_pattern_matches(const char *pattern, const char *name)
{
	static const char deleted[] = " (deleted)";
	size_t len = strlen(name), tail = sizeof(deleted) - 1;
	char plain[NAME_MAX_HERE];

	if (matches(pattern, name))
		return true;
	if (len < tail || len >= sizeof(plain) || strcmp(name + len - tail, deleted) != 0)
		return false;
	snprintf(plain, sizeof(plain), "%.*s", (int)(len - tail), name);
	return matches(pattern, plain);
}

bool mapping_name_is_vital(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(vital); i++)
		if (strcmp(vital[i].name, name) == 0)
			return true;
	return false;
}

const char *mapping_pattern_vital(const char *pattern)
{
	for (size_t i = 0; i < ELEMENTSOF(vital); i++)
		if (matches(pattern, vital[i].name))
			return vital[i].what;
	return NULL;
}
