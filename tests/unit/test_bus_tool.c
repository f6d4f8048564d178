/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl's JSON writer and its figures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

/* twinctl is a program, not a library: its parts are built into the test. */
#include "tools/twinctl/format.c"
#include "tools/twinctl/json.c"

static char *written;
static size_t written_size;
static struct json json;

static int json_setup(void **state _unused_)
{
	FILE *f = open_memstream(&written, &written_size);
	json = json_to(f);
	return f ? 0 : -1;
}

static int json_teardown(void **state _unused_)
{
	free(written);
	return 0;
}

static void expect_json(const char *want)
{
	json_finish(&json);
	fclose(json.out);
	assert_string_equal(written, want);
}

static void test_json_nesting(void **state _unused_)
{
	json_object_begin(&json, NULL);
	json_array_begin(&json, "empty");
	json_array_end(&json);
	json_array_begin(&json, "a");
	json_uint(&json, NULL, UINT64_MAX);
	json_int(&json, NULL, INT64_MIN);
	json_object_begin(&json, NULL);
	json_bool(&json, "t", true);
	json_string(&json, "n", NULL);
	json_object_end(&json);
	json_array_end(&json);
	json_real(&json, "r", 0.5);
	json_real(&json, "nan", NAN);
	json_object_end(&json);
	expect_json("{\"empty\":[],\"a\":[18446744073709551615,-9223372036854775808,"
		    "{\"t\":true,\"n\":null}],\"r\":0.5,\"nan\":null}\n");
}

static void test_json_escapes(void **state _unused_)
{
	json_object_begin(&json, NULL);
	json_string(&json, "k\"\\", "\b\f\n\r\t\x01\x1f\x7f/");
	json_object_end(&json);
	expect_json("{\"k\\\"\\\\\":\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f/\"}\n");
}

#define BAD "\xef\xbf\xbd"
static void test_json_utf8(void **state _unused_)
{
	json_array_begin(&json, NULL);
	json_string(&json, NULL, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
	json_string(&json, NULL, "a\xff\x62");        /* no such byte */
	json_string(&json, NULL, "\xc0\xaf");         /* overlong */
	json_string(&json, NULL, "\xed\xa0\x80");     /* surrogate */
	json_string(&json, NULL, "\xf4\x90\x80\x80"); /* beyond U+10FFFF */
	json_string(&json, NULL, "\xe2\x82");         /* cut off */
	json_array_end(&json);
	expect_json("[\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\",\"a" BAD "b\",\"" BAD BAD
		    "\",\"" BAD BAD BAD "\",\"" BAD BAD BAD BAD "\",\"" BAD BAD "\"]\n");
}

static void test_json_nothing(void **state _unused_)
{
	expect_json("");
}

static void test_spans(void **state _unused_)
{
	static const struct {
		usec_t span;
		const char *want;
	} cases[] = {
		{0, "0"},
		{7, "0.01 ms"},
		{712, "0.71 ms"},
		{9990, "9.99 ms"},
		{34999, "34 ms"},
		{999999, "999 ms"},
		{1000000, "1 s"},
		{3250000, "3.2 s"},
		{59999999, "59.9 s"},
		{60000000, "1 min"},
		{125000000, "2 min 5 s"},
		{3780000000, "1 h 3 min"},
		{352800000000, "4 d 2 h"},
		{USEC_INFINITY, "infinity"},
		{USEC_INFINITY - 1, "213503982 d 8 h"},
	};
	char buf[FORMAT_MAX];

	for (size_t i = 0; i < ELEMENTSOF(cases); i++)
		assert_string_equal(format_span(buf, cases[i].span), cases[i].want);
	assert_string_equal(format_ago(buf, 0), "never");
	assert_string_equal(format_ago(buf, now_usec() + USEC_PER_SEC), "0 ago");
}

static void test_bytes(void **state _unused_)
{
	char buf[FORMAT_MAX];

	assert_string_equal(format_bytes(buf, 0), "0 B");
	assert_string_equal(format_bytes(buf, 1023), "1023 B");
	assert_string_equal(format_bytes(buf, 1536), "1.5 KiB");
	assert_string_equal(format_bytes(buf, 3 << 20), "3.0 MiB");
	assert_string_equal(format_bytes(buf, UINT64_MAX - 1), "16777216.0 TiB");
	assert_string_equal(format_bytes(buf, UINT64_MAX), "-");
	assert_string_equal(format_moment(buf, 0), "-");
}

static void test_nothing_moves_the_cursor(void **state _unused_)
{
	char text[] = "a\033[2Jb\tc\nd\x7f\xc2\x9b"
		      "e\xc3\xa4",
	     lines[] = "a\nb\r";

	make_printable(text, false);
	assert_string_equal(text, "a?[2Jb?c?d??e\xc3\xa4");
	make_printable(lines, true);
	assert_string_equal(lines, "a\nb?");
}

int main(void)
{
#define JSON_TEST(name) cmocka_unit_test_setup_teardown(name, json_setup, json_teardown)
	const struct CMUnitTest tests[] = {
		JSON_TEST(test_json_nesting),
		JSON_TEST(test_json_escapes),
		JSON_TEST(test_json_utf8),
		JSON_TEST(test_json_nothing),
		cmocka_unit_test(test_spans),
		cmocka_unit_test(test_nothing_moves_the_cursor),
		cmocka_unit_test(test_bytes),
	};
	return cmocka_run_group_tests_name("twinctl's parts", tests, NULL, NULL);
}
