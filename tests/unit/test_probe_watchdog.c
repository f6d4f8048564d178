/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "probes/notify.h"
#include "probes/watchdog.h"

static void say(struct watchdog *w, usec_t at, const char *text)
{
	struct notify_message n;

	notify_parse(text, strlen(text), &n);
	probe_event(&w->probe,
		&(struct probe_event){.type = PROBE_EVENT_NOTIFY, .at = at, .notify = &n});
}

static void test_off(_unused_ void **state)
{
	struct watchdog w;
	usec_t again = 1;

	watchdog_init(&w, 0, 0);
	probe_start(&w.probe, 1000);
	assert_int_equal(probe_verdict(&w.probe, UINT64_MAX - 1, &again), PROBE_IDLE);
	assert_true(again == USEC_INFINITY);
	watchdog_init(&w, USEC_INFINITY, 0);
	probe_start(&w.probe, 1000);
	assert_int_equal(probe_verdict(&w.probe, UINT64_MAX - 1, &again), PROBE_IDLE);
}

static void test_expires(_unused_ void **state)
{
	struct watchdog w;
	usec_t again;

	watchdog_init(&w, 500, 0);
	probe_start(&w.probe, 1000);
	assert_int_equal(probe_verdict(&w.probe, 1000, &again), PROBE_ALIVE);
	assert_int_equal(again, 1500);
	assert_int_equal(probe_verdict(&w.probe, 1499, &again), PROBE_ALIVE);
	assert_int_equal(probe_verdict(&w.probe, 1500, &again), PROBE_FAILED);
	say(&w, 1400, "WATCHDOG=1");
	assert_int_equal(probe_verdict(&w.probe, 1500, &again), PROBE_ALIVE);
	assert_int_equal(again, 1900);
	say(&w, 1600, "STATUS=busy\nREADY=1");
	assert_int_equal(probe_verdict(&w.probe, 1900, &again), PROBE_FAILED);
	/* a swap: the twin gets a whole period */
	probe_start(&w.probe, 2000);
	assert_int_equal(probe_verdict(&w.probe, 2499, &again), PROBE_ALIVE);
}

static void test_trigger_and_period(_unused_ void **state)
{
	struct watchdog w;
	usec_t again;

	watchdog_init(&w, 0, 0);
	probe_start(&w.probe, 0);
	say(&w, 10, "WATCHDOG=trigger");
	assert_int_equal(probe_verdict(&w.probe, 10, &again), PROBE_FAILED);
	probe_start(&w.probe, 20);
	assert_int_equal(probe_verdict(&w.probe, 30, &again), PROBE_IDLE);
	say(&w, 40, "WATCHDOG_USEC=100");
	assert_int_equal(probe_verdict(&w.probe, 139, &again), PROBE_ALIVE);
	assert_int_equal(probe_verdict(&w.probe, 140, &again), PROBE_FAILED);
	say(&w, 150, "WATCHDOG_USEC=18446744073709551614");
	assert_int_equal(probe_verdict(&w.probe, 160, &again), PROBE_ALIVE);
	assert_true(again == USEC_INFINITY);
}

static void test_soft_stage(_unused_ void **state)
{
	struct watchdog w;
	usec_t again;
	char why[128];

	watchdog_init(&w, 1000, 400);
	probe_start(&w.probe, 0);
	assert_int_equal(probe_verdict(&w.probe, 399, &again), PROBE_ALIVE);
	assert_int_equal(again, 400);
	assert_int_equal(probe_verdict(&w.probe, 400, &again), PROBE_SUSPECT);
	assert_int_equal(again, 1000);
	say(&w, 500, "WATCHDOG=1");
	assert_int_equal(w.probe.last_good, 500);
	assert_true(w.probe.spoke);
	assert_int_equal(probe_verdict(&w.probe, 500, &again), PROBE_ALIVE);
	assert_int_equal(again, 900);
	/* a longer period has a later soft stage */
	say(&w, 600, "WATCHDOG_USEC=10000");
	assert_int_equal(probe_verdict(&w.probe, 4599, &again), PROBE_ALIVE);
	assert_int_equal(probe_verdict(&w.probe, 4600, &again), PROBE_SUSPECT);
	w.probe.ops->describe(&w.probe, 12600, why, sizeof(why));
	assert_string_equal(why, "no WATCHDOG=1 for 12 ms");
}

static void test_more_time(_unused_ void **state)
{
	struct watchdog w;
	usec_t again;

	watchdog_init(&w, 1000, 500);
	probe_start(&w.probe, 0);
	say(&w, 100, "EXTEND_TIMEOUT_USEC=5000");
	assert_int_equal(probe_verdict(&w.probe, 5099, &again), PROBE_ALIVE);
	assert_int_equal(again, 5100);
	assert_int_equal(probe_verdict(&w.probe, 5100, &again), PROBE_FAILED);
	/* a shorter one than what is left changes nothing, and a mark ends it */
	say(&w, 200, "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=10");
	assert_int_equal(probe_verdict(&w.probe, 1199, &again), PROBE_SUSPECT);
	assert_int_equal(probe_verdict(&w.probe, 1200, &again), PROBE_FAILED);
	w.probe.ops->excuse(&w.probe, 1200, 3000);
	assert_int_equal(probe_verdict(&w.probe, 4199, &again), PROBE_ALIVE);
	assert_int_equal(probe_verdict(&w.probe, 4200, &again), PROBE_FAILED);
}

/* A mark that lay in the socket while the node was replaced is not the twin's. */
static void test_marks_of_the_dead(_unused_ void **state)
{
	struct watchdog w;
	usec_t again;

	watchdog_init(&w, 1000, 0);
	probe_start(&w.probe, 5000);
	say(&w, 4999, "WATCHDOG=trigger\nWATCHDOG=1");
	assert_int_equal(probe_verdict(&w.probe, 5000, &again), PROBE_ALIVE);
	assert_false(w.probe.spoke);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_expires),
		cmocka_unit_test(test_trigger_and_period),
		cmocka_unit_test(test_soft_stage),
		cmocka_unit_test(test_more_time),
		cmocka_unit_test(test_marks_of_the_dead),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
