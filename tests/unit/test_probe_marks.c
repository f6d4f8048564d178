/* SPDX-License-Identifier: Apache-2.0 */
/* alive, deadline, logical: marks in, verdicts out, by plain calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "probes/alive.h"
#include "probes/deadline.h"
#include "probes/logical.h"
#include "probes/notify.h"

static void mark(struct probe *p, usec_t at, const char *names)
{
	struct notify_message n = {0};

	/* "a b": two marks in one datagram */
	for (const char *s = names; *s; s += strspn(s, " ")) {
		size_t len = strcspn(s, " ");
		memcpy(n.marks[n.n_marks++], s, len);
		s += len;
	}
	probe_event(p, &(struct probe_event){.type = PROBE_EVENT_NOTIFY, .at = at, .notify = &n});
}

static usec_t again;
#define VERDICT(p, at, v) assert_int_equal(probe_verdict(&(p)->probe, at, &again), v)

static struct alive an_alive(struct probe_settings *s)
{
	struct alive a;

	s->name = s->mark = (char *)"m";
	s->cycle = 1000;
	alive_init(&a, s);
	probe_start(&a.probe, 10000);
	return a;
}

static void test_alive(_unused_ void **state)
{
	struct probe_settings s = {.min_marks = 2, .max_marks = 3};
	struct alive a = an_alive(&s);
	char why[200];

	VERDICT(&a, 10000, PROBE_ALIVE);
	assert_int_equal(again, 11000);
	mark(&a.probe, 10100, "m");
	assert_false(a.probe.at_ease);
	mark(&a.probe, 10200, "x m");
	assert_true(a.probe.at_ease);
	VERDICT(&a, 10999, PROBE_ALIVE);
	VERDICT(&a, 11000, PROBE_ALIVE);
	assert_int_equal(a.probe.last_good, 11000);
	assert_int_equal(again, 12000);
	/* too few */
	mark(&a.probe, 11100, "m");
	VERDICT(&a, 11999, PROBE_ALIVE);
	VERDICT(&a, 12000, PROBE_FAILED);
	assert_int_equal(a.probe.last_good, 11000);
	a.probe.ops->describe(&a.probe, 12000, why, sizeof(why));
	assert_string_equal(why, "mark \"m\" came 1 times in a cycle of 1 ms (2 to 3 wanted)");
	/* it stays failed until it is started anew */
	mark(&a.probe, 12500, "m m m");
	VERDICT(&a, 13500, PROBE_FAILED);
	probe_start(&a.probe, 20000);
	mark(&a.probe, 19999, "m m"); /* of the dead */
	mark(&a.probe, 20001, "m m m m");
	VERDICT(&a, 20999, PROBE_ALIVE);
	VERDICT(&a, 21000, PROBE_FAILED);
}

static void test_alive_tolerates(_unused_ void **state)
{
	struct probe_settings s = {.min_marks = 1, .tolerate = 2};
	struct alive a = an_alive(&s);

	assert_int_equal(a.probe.notice, 3000);
	VERDICT(&a, 11000, PROBE_SUSPECT);
	VERDICT(&a, 12000, PROBE_SUSPECT);
	mark(&a.probe, 12100, "m");
	VERDICT(&a, 13000, PROBE_ALIVE);
	VERDICT(&a, 14000, PROBE_SUSPECT);
	VERDICT(&a, 15000, PROBE_SUSPECT);
	VERDICT(&a, 16000, PROBE_FAILED);
}

/* A mark after the end of a cycle that nobody has judged yet belongs to the next one. */
static void test_alive_late_host(_unused_ void **state)
{
	struct probe_settings s = {.min_marks = 1, .max_marks = 2};
	struct alive a = an_alive(&s);

	mark(&a.probe, 11500, "m");
	VERDICT(&a, 11500, PROBE_FAILED);
	/* One long cycle may have as many as it is long. */
	probe_start(&a.probe, 20000);
	for (int i = 0; i < 5; i++)
		mark(&a.probe, 20100, "m");
	VERDICT(&a, 22500, PROBE_ALIVE);
}

static void test_alive_excused(_unused_ void **state)
{
	struct probe_settings s = {.min_marks = 1};
	struct alive a = an_alive(&s);

	VERDICT(&a, 11000, PROBE_FAILED);
	a.probe.ops->excuse(&a.probe, 11000, 5000);
	VERDICT(&a, 11000, PROBE_ALIVE);
	assert_int_equal(again, 16000);
	VERDICT(&a, 15999, PROBE_ALIVE);
	VERDICT(&a, 16000, PROBE_FAILED);
}

static struct deadline a_deadline(struct probe_settings *s, const char *from, const char *to)
{
	struct deadline d;

	s->name = (char *)"d";
	s->from = (char *)(uintptr_t)from;
	s->to = (char *)(uintptr_t)to;
	deadline_init(&d, s);
	probe_start(&d.probe, 1000);
	return d;
}

static void test_deadline(_unused_ void **state)
{
	struct probe_settings s = {.min_time = 100, .max_time = 500};
	struct deadline d = a_deadline(&s, "grab", "publish");

	VERDICT(&d, 9000, PROBE_ALIVE);
	assert_true(again == USEC_INFINITY);
	mark(&d.probe, 9000, "publish"); /* the twin began in the middle */
	VERDICT(&d, 9000, PROBE_ALIVE);
	mark(&d.probe, 10000, "grab");
	mark(&d.probe, 10050, "grab"); /* does not put it off */
	VERDICT(&d, 10500, PROBE_ALIVE);
	assert_int_equal(again, 10501);
	mark(&d.probe, 10500, "publish");
	VERDICT(&d, 11000, PROBE_ALIVE);
	assert_int_equal(d.probe.last_good, 10500);
	mark(&d.probe, 11000, "grab");
	VERDICT(&d, 11501, PROBE_FAILED);
	assert_int_equal(d.probe.notice, 500);
	d.probe.ops->excuse(&d.probe, 11501, 1000);
	VERDICT(&d, 12501, PROBE_ALIVE);
	VERDICT(&d, 12502, PROBE_FAILED);
}

static void test_deadline_too_early_and_too_late(_unused_ void **state)
{
	struct probe_settings s = {.min_time = 100, .max_time = 500};
	struct deadline d = a_deadline(&s, "a", "b");
	char why[200];

	mark(&d.probe, 2000, "a");
	mark(&d.probe, 2099, "b");
	VERDICT(&d, 2100, PROBE_FAILED);
	assert_int_equal(d.probe.notice, 0);
	d.probe.ops->describe(&d.probe, 2100, why, sizeof(why));
	assert_string_equal(why, "\"b\" came 0.099 ms after \"a\" (0.100 to 0.500 ms)");
	/* came before anybody looked, and was late all the same */
	probe_start(&d.probe, 3000);
	mark(&d.probe, 3000, "a");
	mark(&d.probe, 3501, "b a");
	VERDICT(&d, 3502, PROBE_FAILED);
	assert_int_equal(d.probe.judged, 3000); /* and not what has begun since */
	d.probe.ops->excuse(&d.probe, 3502, 1000);
	VERDICT(&d, 4502, PROBE_ALIVE);
	VERDICT(&d, 4503, PROBE_FAILED);
	assert_int_equal(d.probe.judged, 0);
}

static void test_deadline_from_mark_to_mark(_unused_ void **state)
{
	struct probe_settings s = {.min_time = 90, .max_time = 110};
	struct deadline d = a_deadline(&s, "tick", "tick");

	for (usec_t t = 2000; t < 3000; t += 100) {
		mark(&d.probe, t, "tick");
		VERDICT(&d, t, PROBE_ALIVE);
	}
	VERDICT(&d, 3010, PROBE_ALIVE);
	VERDICT(&d, 3011, PROBE_FAILED);
}

static void test_logical(_unused_ void **state)
{
	static char *marks[] = {(char *)"a", (char *)"b", (char *)"c", NULL};
	static struct probe_edge edges[] = {{0, 1}, {1, 2}, {2, 0}, {1, 1}};
	struct probe_settings s = {
		.name = (char *)"l", .marks = marks, .n_marks = 3, .edges = edges, .n_edges = 4};
	struct logical l;
	char why[200];

	logical_init(&l, &s);
	probe_start(&l.probe, 0);
	mark(&l.probe, 1, "c"); /* the first may be any */
	mark(&l.probe, 2, "a x b");
	mark(&l.probe, 3, "b c a");
	VERDICT(&l, 4, PROBE_ALIVE);
	assert_int_equal(l.probe.last_good, 3);
	mark(&l.probe, 5, "c b");
	VERDICT(&l, 5, PROBE_FAILED);
	l.probe.ops->describe(&l.probe, 5, why, sizeof(why));
	assert_string_equal(why, "\"c\" came after \"a\"");
	mark(&l.probe, 6, "a b c");
	VERDICT(&l, 6, PROBE_FAILED);
	probe_start(&l.probe, 10);
	mark(&l.probe, 9, "a");
	mark(&l.probe, 11, "c");
	VERDICT(&l, 11, PROBE_ALIVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alive),
		cmocka_unit_test(test_alive_tolerates),
		cmocka_unit_test(test_alive_late_host),
		cmocka_unit_test(test_alive_excused),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_deadline_too_early_and_too_late),
		cmocka_unit_test(test_deadline_from_mark_to_mark),
		cmocka_unit_test(test_logical),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
