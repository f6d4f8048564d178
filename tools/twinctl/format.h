/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Figures for people: spans, sizes, moments, colours, and a table whose columns fit. Each function
 * fills the caller's buffer and returns it, so that calls can stand in a printf.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/clock.h"

#define FORMAT_MAX 48

/* "0.71 ms" "34 ms" "3.2 s" "2 min 5 s" "1 h 3 min" "4 d 2 h" "infinity" */
const char *format_span(char buf[FORMAT_MAX], usec_t span);
/* "3.2 s ago"; at: CLOCK_MONOTONIC; "never" where it is 0. */
const char *format_ago(char buf[FORMAT_MAX], usec_t at);
/* "2025-01-31 13:05:59"; CLOCK_REALTIME. */
const char *format_moment(char buf[FORMAT_MAX], usec_t realtime);
/* "512 B" "3.1 MiB"; "-" for UINT64_MAX, which is the bus' "not known". */
const char *format_bytes(char buf[FORMAT_MAX], uint64_t bytes);

enum colour { COLOUR_NONE, COLOUR_GREEN, COLOUR_RED, COLOUR_YELLOW, COLOUR_BOLD, COLOUR_GREY };
/* The escape sequence, or "" where stdout is no terminal or NO_COLOR is set. */
const char *colour_on(enum colour c);
const char *colour_off(void);
enum colour colour_of_state(const char *active_state);

/* Text of others for a person's terminal, in place: control characters, which may move the cursor
 * or worse, become "?". Newlines are kept where asked for. */
void make_printable(char *text, bool keep_newlines);

/* A table in memory: cells are copied; a column is as wide as its widest cell, the last is free.
 * Columns whose head begins with ">" are aligned to the right. On a terminal the last column is
 * cut where the line would be longer than it is wide. */
struct table;
struct table *table_new(const char *const *heads, size_t n_columns);
void table_add(struct table *t, const char *text, enum colour c); /* the next cell */
void table_print(const struct table *t, bool with_heads);
void table_free(struct table *t);
