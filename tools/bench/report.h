/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What all benches share: options, facts about the machine, and a table that is printed row by
 * row and, with --json FILE, written to a file as well:
 * {"bench": NAME, "facts": {...}, "rows": [{COLUMN: VALUE, ...}, ...]}.
 */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config/clock.h"

#define REPORT_LIST_MAX 16u

struct report_list {
	unsigned long items[REPORT_LIST_MAX];
	unsigned n;
};

struct report_options {
	bool quick;
	const char *json;
	unsigned rounds;       /* of a row, at most */
	double seconds;        /* of a row, about */
	struct report_list mb; /* memory written to */
	struct report_list threads;
	struct report_list dirty; /* percent */
	const char *choice[3];    /* values of the bench's own options, in their order */
};

/* An option of one bench alone: NAME=VALUE out of the words allowed, the first by default. */
struct report_choice {
	const char *name, *help;
	const char *words[5];
};

struct report_column {
	const char *name; /* as in the file */
	const char *head; /* as in the table */
	int width, digits;
};

struct report {
	const char *bench;
	const struct report_column *columns;
	unsigned n_columns, n_rows;
	FILE *json; /* NULL: none */
};

/*
 * Fill in *o, which holds the defaults of the full run; quick holds those of --quick. --help
 * prints about and ends the program, and so does a wrong option.
 */
void report_options(int argc, char **argv, const char *about, const struct report_choice *choices,
	unsigned n_choices, const struct report_options *quick, struct report_options *o);
/* Prints the facts and the head of the table. */
void report_begin(struct report *r, const char *bench, const struct report_options *o,
	const struct report_choice *choices, unsigned n_choices,
	const struct report_column *columns, unsigned n_columns);
/* NAN is "-", and null in the file. */
void report_row(struct report *r, const double *values);
void report_end(struct report *r);
