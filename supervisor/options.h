/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The command line of twinit as a struct, with the defaults filled in. The kernel hands its own
 * leftover words to an init: so PID 1 logs what it does not understand and goes on, where anyone
 * else gets -EINVAL.
 */
#include <stdbool.h>

#include "config/clock.h"
#include "config/macro.h"

struct options {
	char **unit_path; /* NULL-terminated, as are the ids */
	char **start;
	char *keeper_path;
	char *runtime_dir;
	char *state_dir;
	char *bus_address; /* NULL: from the environment, or the system bus */
	usec_t shutdown_timeout;
	bool no_bus;
	bool done; /* --help or --version was answered: exit 0 */
};

_must_check_ int options_parse(int argc, char **argv, struct options *ret);
void options_clear(struct options *o);
