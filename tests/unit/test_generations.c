/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "config/macro.h"
#include "supervisor/twin/generations.h"

#define MOST 8

static void ages_double(_unused_ void **state)
{
	for (unsigned keep = 1; keep <= MOST; keep++) {
		uint64_t numbers[MOST + 1];
		unsigned n = 0;

		for (uint64_t now = 1; now < 2000; now++) {
			memmove(numbers + 1, numbers, n * sizeof(numbers[0]));
			numbers[0] = now;
			n++;
			while (n > keep) {
				unsigned i = generation_to_drop(numbers, n);
				assert_in_range(i, keep > 1 ? 1 : 0, n - 1);
				memmove(numbers + i, numbers + i + 1,
					(n - i - 1) * sizeof(numbers[0]));
				n--;
			}
			for (unsigned i = 0; i < n && now > 1000; i++) {
				uint64_t least = (UINT64_C(1) << i) - 1;
				assert_in_range(now - numbers[i], least, 2 * least);
			}
			assert_int_equal(n, MIN2(now, keep));
		}
	}
}

static void gaps_of_dropped_twins_are_filled(_unused_ void **state)
{
	/* A swap has used up what was newer than 10. */
	const uint64_t numbers[] = {13, 12, 10, 4};

	assert_int_equal(generation_to_drop(numbers, 4), 3);
	assert_int_equal(generation_to_drop((uint64_t[]){14, 13, 12, 10}, 4), 1);
	assert_int_equal(generation_to_drop((uint64_t[]){5}, 1), 0);
	assert_int_equal(generation_to_drop((uint64_t[]){6, 5}, 2), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ages_double),
		cmocka_unit_test(gaps_of_dropped_twins_are_filled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
