/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Which twin goes when there are too many. A fault may be older than the newest twin, by how much
 * nobody knows: so the distance between kept twins doubles with their age. Of N generations the
 * newest is 0 checkpoints old, the next at least 1, then 3, 7, 15 and so on, each at most twice
 * that.
 *
 * numbers: of the checkpoints that the twins are from, the newest first, each higher than the
 * next; n of them, at least 1. Returns the index to drop. Pure.
 */
#include <stdint.h>

static inline unsigned generation_to_drop(const uint64_t *numbers, unsigned n)
{
	for (unsigned i = 1; i + 1 < n; i++)
		if (numbers[i - 1] - numbers[i + 1] <= UINT64_C(1) << i)
			return i;
	return n - 1;
}
