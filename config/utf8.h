/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The little of UTF-8 that unit files need: is a text valid, and one character written out.
 * Shortest forms only, no surrogates, nothing above U+10FFFF. Never fails, never allocates.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool utf8_valid(const char *s, size_t len);

/* Writes 1 to 4 bytes and returns how many; 0 where c is no character. No NUL is added. */
size_t utf8_encode(uint32_t c, char out[4]);
