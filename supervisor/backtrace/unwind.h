/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Back traces with symbols of threads that stand nowhere any more: registers from the order,
 * memory from whatever task shares it, call frame information and symbols from the files that are
 * mapped there (libdw; debug information is used where it is installed, never fetched).
 *
 * A frame that cannot be unwound ends a trace; the end says why. 0, or negative errno where not
 * even the mappings could be read: nothing has been written then.
 */
#include <stdio.h>

#include "supervisor/backtrace/order.h"

_must_check_ int unwind_print(const struct order *o, FILE *f);
