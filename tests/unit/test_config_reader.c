/* SPDX-License-Identifier: Apache-2.0 */
/* What stock libinih does to a unit file, and what must not happen to ours. One test a trap. */
#include "tests/unit/test_config.h"

static void long_line_stays_whole(void **state _unused_)
{
	char text[4096], value[3001];
	struct loaded l;

	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = 0;
	/* Where libinih would cut, the tail looks like a key of its own. */
	memcpy(value + 190, " Nice=5 ", 8);
	snprintf(text, sizeof(text), SERVICE "[Unit]\nDescription=%s\nAfter=a\n", value);
	l = load_clean(text);
	assert_string_equal(l.unit->description, value);
	assert_false(l.unit->nice_set);
	EXPECT_LIST(l.unit->after, "a");
	done(&l);
}

static void semicolon_is_text(void **state _unused_)
{
	struct loaded l = load_clean("[Unit]\nDescription=one ; two ;three\n"
				     "[Service]\nExecStart=/bin/x a ; b ;\nUser=a\n");

	assert_string_equal(l.unit->description, "one ; two ;three");
	EXPECT_LIST(l.unit->exec_start.argv, "/bin/x", "a", ";", "b", ";");
	done(&l);
}

static void hash_is_text_within_a_line(void **state _unused_)
{
	struct loaded l = load_clean("[Service]\nExecStart=/bin/x # no comment\n");

	EXPECT_LIST(l.unit->exec_start.argv, "/bin/x", "#", "no", "comment");
	done(&l);
}

static void backslash_continues(void **state _unused_)
{
	struct loaded l = load_clean("[Service]\nExecStart=/bin/x \\\n  one\\\n\ttwo \\\nthree\n"
				     "User=a\n");

	EXPECT_LIST(l.unit->exec_start.argv, "/bin/x", "one", "two", "three");
	assert_string_equal(l.unit->user, "a");
	assert_int_equal(l.unit->exec_start.line, 2);
	done(&l);
}

static void continuation_is_one_blank(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "[Unit]\nDescription=a\\\nb\\\n  c\n");

	assert_string_equal(l.unit->description, "a b   c");
	done(&l);
}

static void comments_within_a_continuation(void **state _unused_)
{
	struct loaded l = load_clean("[Service]\nExecStart=/bin/x \\\n# one \\\n  ; two\n three\n");

	EXPECT_LIST(l.unit->exec_start.argv, "/bin/x", "three");
	done(&l);
}

static void comment_does_not_continue(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "# a comment \\\nUser=a\n");

	assert_string_equal(l.unit->user, "a");
	done(&l);
}

static void escaped_backslash_does_not_continue(void **state _unused_)
{
	struct loaded l = load_clean("[Service]\nExecStart=/bin/x a\\\\\nUser=a\n");

	EXPECT_LIST(l.unit->exec_start.argv, "/bin/x", "a\\");
	assert_string_equal(l.unit->user, "a");
	done(&l);
}

static void continuation_up_to_the_end_of_file(void **state _unused_)
{
	struct loaded l = load_clean("[Service]\nExecStart=/bin/x a \\");

	EXPECT_LIST(l.unit->exec_start.argv, "/bin/x", "a");
	done(&l);
}

static void blank_line_ends_a_continuation(void **state _unused_)
{
	struct loaded l = load_clean("[Service]\nExecStart=/bin/x a \\\n\nUser=b\n");

	EXPECT_LIST(l.unit->exec_start.argv, "/bin/x", "a");
	assert_string_equal(l.unit->user, "b");
	done(&l);
}

static void blank_after_backslash_is_told(void **state _unused_)
{
	expect_error(
		"[Service]\nExecStart=/bin/x a \\ \n\n", 2, "ExecStart", "ends in a backslash");
}

static void indentation_means_nothing(void **state _unused_)
{
	struct loaded l = load_clean("  [Service]\n\tExecStart=/bin/x\n   User=a\n\t \n  # no\n");

	EXPECT_LIST(l.unit->exec_start.argv, "/bin/x");
	assert_string_equal(l.unit->user, "a");
	done(&l);
}

static void indented_line_is_no_more_of_the_key(void **state _unused_)
{
	expect_error(SERVICE "Environment=A=1\n    more\n", 4, NULL, "has no '='");
}

static void colon_does_not_split(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "StandardOutput=file:/a=b:c\n");

	assert_string_equal(l.unit->standard_output_path, "/a=b:c");
	done(&l);
	expect_error(SERVICE "User: a\n", 3, NULL, "has no '='");
	expect_error(SERVICE "User:a=b\n", 3, NULL, "key has a character other");
}

static void repeated_keys_add(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "[Unit]\nAfter=a b\nAfter=c\nAfter=a c d.ini\n"
					     "[Service]\nUser=a\nUser=b\n");

	EXPECT_LIST(l.unit->after, "a", "b", "c", "d");
	assert_string_equal(l.unit->user, "b");
	done(&l);
}

static void empty_value_resets(void **state _unused_)
{
	struct loaded l = load_clean(
		"[Unit]\nAfter=a\nAfter=\nAfter=b\nDescription=x\nDescription=\n"
		"[Service]\nExecStart=/bin/a\nExecStart=\nExecStart=/bin/b\n"
		"ExecStartPre=/bin/c\nExecStartPre=\nExecStartPre=/bin/d\n"
		"Environment=A=1\nEnvironment=\nEnvironment=B=2\n"
		"EnvironmentFile=/a\nEnvironmentFile=\nEnvironmentFile=/b\n"
		"User=a\nUser=\nWorkingDirectory=/a\nWorkingDirectory=\n"
		"Nice=1\nNice=\nCPUAffinity=1\nCPUAffinity=\nOOMScoreAdjust=1\nOOMScoreAdjust=\n"
		"LimitNOFILE=1\nLimitNOFILE=\n[Install]\nWantedBy=a\nWantedBy=  \n");
	const struct unit *u = l.unit;

	EXPECT_LIST(u->after, "b");
	assert_string_equal(u->description, "talker");
	EXPECT_LIST(u->exec_start.argv, "/bin/b");
	assert_int_equal(u->n_exec_start_pre, 1);
	EXPECT_LIST(u->exec_start_pre[0].argv, "/bin/d");
	EXPECT_LIST(u->environment, "B=2");
	assert_int_equal(u->n_environment_files, 1);
	assert_string_equal(u->environment_files[0].path, "/b");
	assert_null(u->user);
	assert_null(u->working_directory);
	assert_false(u->nice_set);
	assert_false(u->cpu_affinity_set);
	assert_int_equal(CPU_COUNT(&u->cpu_affinity), 0);
	assert_false(u->oom_score_adjust_set);
	assert_false(u->limit_nofile.set);
	EXPECT_EMPTY(u->wanted_by);
	done(&l);
}

static void crlf_bom_and_no_newline_at_the_end(void **state _unused_)
{
	struct loaded l = load_clean("\xef\xbb\xbf[Service]\r\nExecStart=/bin/x \\\r\n a\r\n"
				     "\r\nUser=b");

	EXPECT_LIST(l.unit->exec_start.argv, "/bin/x", "a");
	assert_string_equal(l.unit->user, "b");
	done(&l);
}

static void sections_may_come_twice(void **state _unused_)
{
	struct loaded l = load_clean("[Service]\nUser=a\n[Unit]\nAfter=b\n" SERVICE);

	assert_string_equal(l.unit->user, "a");
	done(&l);
}

static void overlong_names_are_told(void **state _unused_)
{
	/* 49 bytes are what libinih can take, 50 it would cut without a word. */
	char k49[50], k50[51], text[256];
	struct loaded l;

	memset(k50, 'K', 50);
	k50[50] = 0;
	memcpy(k49, k50, 49);
	k49[49] = 0;
	snprintf(text, sizeof(text), SERVICE "%s=1\n", k49);
	l = load(text);
	assert_int_equal(l.r, 0);
	assert_int_equal(l.diags.n, 1);
	expect_diag(&l.diags.items[0], DIAG_WARNING, 3, k49, "unknown key");
	done(&l);
	snprintf(text, sizeof(text), SERVICE "%s=1\n", k50);
	expect_error(text, 3, NULL, "key is longer than 49 bytes");

	snprintf(text, sizeof(text), SERVICE "[%s]\nUser=a\n", k49);
	l = load(text);
	assert_int_equal(l.diags.n, 1);
	assert_string_equal(l.diags.items[0].section, k49);
	done(&l);
	snprintf(text, sizeof(text), SERVICE "[%s]\nUser=a\n", k50);
	expect_error(text, 3, NULL, "name longer than 49 bytes");
}

static void broken_headers_are_told(void **state _unused_)
{
	expect_error(SERVICE "[Unit\nUser=1\n", 3, NULL, "lacks its ']'");
	expect_error(SERVICE "[Unit] x\n", 3, NULL, "followed by other text");
	expect_error(SERVICE "[Unit] ; x\n", 3, NULL, "followed by other text");
	expect_error(SERVICE "[]\n", 3, NULL, "has no name");
	expect_error(SERVICE "[a ;b]\n", 3, NULL, "[ ] ;");
	expect_error(SERVICE "[\n", 3, NULL, "lacks its ']'");
	/* The stand-in that libinih gets for a broken header is no section for others. */
	expect_error(SERVICE "[?]\nUser=1\n", 3, NULL, "unknown section");
}

static void keys_after_a_broken_header_go_nowhere(void **state _unused_)
{
	expect_error("[Unit\nExecStart=/bin/x\nFoo=1\n", 1, NULL, "lacks its ']'");
}

static void header_without_keys_is_seen(void **state _unused_)
{
	expect_error(SERVICE "[Bogus]", 3, NULL, "unknown section");
}

static void key_before_any_section(void **state _unused_)
{
	expect_error("User=a\n" SERVICE, 1, "User", "before the first section");
}

static void broken_lines_are_told(void **state _unused_)
{
	expect_error(SERVICE "just words\n", 3, NULL, "has no '='");
	expect_error(SERVICE "=x\n", 3, NULL, "key is missing");
	expect_error(SERVICE "Us er=x\n", 3, NULL, "character other");
	expect_error(SERVICE "\"User\"=x\n", 3, NULL, "character other");
}

static void expect_bytes_error(const char *text, size_t len, const char *key, const char *what)
{
	struct loaded l = load_bytes(text, len);

	assert_int_equal(l.r, -EBADMSG);
	assert_int_equal(l.diags.n, 1);
	expect_diag(&l.diags.items[0], DIAG_ERROR, 3, key, what);
	done(&l);
}
#define EXPECT_BYTES_ERROR(text, key, what) expect_bytes_error(text, sizeof(text) - 1, key, what)

static void bytes_that_are_no_text(void **state _unused_)
{
	EXPECT_BYTES_ERROR(SERVICE "User=a\0b\n", "User", "value has a NUL byte");
	EXPECT_BYTES_ERROR(SERVICE "Us\0er=a\n", NULL, "key has a NUL byte");
	EXPECT_BYTES_ERROR(SERVICE "\0\n", NULL, "line has a NUL byte");
	EXPECT_BYTES_ERROR(SERVICE "[Un\0it]\n", NULL, "header has a NUL byte");
	EXPECT_BYTES_ERROR(SERVICE "User=\xff\n", "User", "value is not valid UTF-8");
	EXPECT_BYTES_ERROR(SERVICE "User=\xc3\n", "User", "value is not valid UTF-8");
	EXPECT_BYTES_ERROR(SERVICE "User=\xc0\x80\n", "User", "not valid UTF-8"); /* overlong */
	EXPECT_BYTES_ERROR(
		SERVICE "User=\xed\xa0\x80\n", "User", "not valid UTF-8"); /* surrogate */
	EXPECT_BYTES_ERROR(SERVICE "User=\xf4\x90\x80\x80\n", "User", "not valid UTF-8");
	EXPECT_BYTES_ERROR(SERVICE "Us\xe9r=a\n", NULL, "key is not valid UTF-8");
	EXPECT_BYTES_ERROR(SERVICE "User=a\x1b[0m\n", "User", "value has a control character");
	EXPECT_BYTES_ERROR(SERVICE "User=a\rNice=1\n", "User", "control character");
}

static void utf8_and_tabs_are_text(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "[Unit]\nDescription=Fahr\tgrün 機 🤖\n");

	assert_string_equal(l.unit->description, "Fahr\tgrün 機 🤖");
	done(&l);
}

static void a_broken_exec_start_is_one_error(void **state _unused_)
{
	struct loaded l = load_bytes("[Service]\nExecStart=/bin/\0x\n", 28);

	assert_int_equal(l.diags.n, 1);
	expect_diag(&l.diags.items[0], DIAG_ERROR, 2, "ExecStart", "NUL");
	done(&l);
}

static void lines_are_the_files_own(void **state _unused_)
{
	struct loaded l = load("# one\n\n[Service]\nExecStart=/bin/x \\\n# five\n  a \\\n  b\n\n"
			       "Nice=99\nUser=a \\\n b\n");

	assert_int_equal(l.diags.n, 2);
	expect_diag(&l.diags.items[0], DIAG_ERROR, 9, "Nice", "99");
	expect_diag(&l.diags.items[1], DIAG_ERROR, 10, "User", "a   b");
	done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_line_stays_whole),
		cmocka_unit_test(semicolon_is_text),
		cmocka_unit_test(hash_is_text_within_a_line),
		cmocka_unit_test(backslash_continues),
		cmocka_unit_test(continuation_is_one_blank),
		cmocka_unit_test(comments_within_a_continuation),
		cmocka_unit_test(comment_does_not_continue),
		cmocka_unit_test(escaped_backslash_does_not_continue),
		cmocka_unit_test(continuation_up_to_the_end_of_file),
		cmocka_unit_test(blank_line_ends_a_continuation),
		cmocka_unit_test(blank_after_backslash_is_told),
		cmocka_unit_test(indentation_means_nothing),
		cmocka_unit_test(indented_line_is_no_more_of_the_key),
		cmocka_unit_test(colon_does_not_split),
		cmocka_unit_test(repeated_keys_add),
		cmocka_unit_test(empty_value_resets),
		cmocka_unit_test(crlf_bom_and_no_newline_at_the_end),
		cmocka_unit_test(sections_may_come_twice),
		cmocka_unit_test(overlong_names_are_told),
		cmocka_unit_test(broken_headers_are_told),
		cmocka_unit_test(keys_after_a_broken_header_go_nowhere),
		cmocka_unit_test(header_without_keys_is_seen),
		cmocka_unit_test(key_before_any_section),
		cmocka_unit_test(broken_lines_are_told),
		cmocka_unit_test(bytes_that_are_no_text),
		cmocka_unit_test(utf8_and_tabs_are_text),
		cmocka_unit_test(a_broken_exec_start_is_one_error),
		cmocka_unit_test(lines_are_the_files_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
