/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strings on D-Bus are UTF-8, and a bus daemon throws out who sends anything else. Status texts
 * come from nodes and may hold any bytes; texts of the keeper may be cut within a character.
 */
#include <string.h>

#include "config/utf8.h"
#include "supervisor/bus/bus_internal.h"

#define BUFFERS 4u
#define BUFFER_SIZE 4096u
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* The length of the character at s, or 0 where there is none. */
static size_t character(const char *s, size_t left)
{
	for (size_t n = 1; n <= MIN2(left, 4u); n++)
		if (utf8_valid(s, n))
			return n;
	return 0;
}

const char *bus_text(const char *s)
{
	static char buffers[BUFFERS][BUFFER_SIZE];
	static unsigned next;
	size_t len, used = 0;

	if (!s)
		return "";
	len = strlen(s);
	if (utf8_valid(s, len))
		return s;
	char *out = buffers[next++ % BUFFERS];
	for (size_t i = 0; i < len && used + 4 < BUFFER_SIZE;) {
		size_t n = character(s + i, len - i);
		memcpy(out + used, n ? s + i : REPLACEMENT, n ? n : strlen(REPLACEMENT));
		used += n ? n : strlen(REPLACEMENT);
		i += n ? n : 1;
	}
	out[used] = '\0';
	return out;
}
