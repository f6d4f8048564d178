/* SPDX-License-Identifier: Apache-2.0 */
/* ExecStart= and ExecStartPre=: quoting, escapes, specifiers, prefixes. */
#include "tests/unit/test_config.h"

static struct loaded load_exec(const char *value)
{
	_cleanup_free_ char *text = NULL;

	assert_true(asprintf(&text, "[Service]\nExecStart=%s\n", value) > 0);
	return load(text);
}

static void expect_argv(const char *value, const char *const *want)
{
	struct loaded l = load_exec(value);

	assert_int_equal(l.r, 0);
	assert_int_equal(l.diags.n, 0);
	expect_list(l.unit->exec_start.argv, want);
	done(&l);
}
#define EXPECT_ARGV(value, ...) expect_argv(value, (const char *const[]){__VA_ARGS__, NULL})

static void expect_refused(const char *value, const char *what)
{
	struct loaded l = load_exec(value);

	assert_int_equal(l.r, -EBADMSG);
	assert_int_equal(l.diags.n, 1);
	expect_diag(&l.diags.items[0], DIAG_ERROR, 2, "ExecStart", what);
	assert_non_null(l.diags.items[0].allowed);
	done(&l);
}

static void blanks_part_words(void **state _unused_)
{
	EXPECT_ARGV("/x", "/x");
	EXPECT_ARGV("  /x\t a   b  ", "/x", "a", "b");
}

static void quotes(void **state _unused_)
{
	EXPECT_ARGV("/x \"a b\" 'c d'", "/x", "a b", "c d");
	EXPECT_ARGV("/x \"\" ''", "/x", "", "");
	EXPECT_ARGV("/x \"it's\" 'say \"hi\"'", "/x", "it's", "say \"hi\"");
	EXPECT_ARGV("/x a\"b c\"d --name='x y'", "/x", "ab cd", "--name=x y");
	EXPECT_ARGV("\"/opt/my node/bin\" a", "/opt/my node/bin", "a");
	expect_refused("/x \"a", "has a \" that is never closed");
	expect_refused("/x 'a", "has a ' that is never closed");
	expect_refused("/x it's", "never closed");
}

static void escapes(void **state _unused_)
{
	EXPECT_ARGV("/x a\\sb \\\"q\\\" \\'", "/x", "a b", "\"q\"", "'");
	EXPECT_ARGV("/x \"a\\\"b\" 'c\\'d'", "/x", "a\"b", "c'd");
	EXPECT_ARGV("/x \\x41\\102\\u00e4\\U0001F916", "/x", "ABä🤖");
	EXPECT_ARGV("/x a\\tb\\nc\\\\d", "/x", "a\tb\nc\\d");
	/* systemd needs the backslash there, and its units have it. */
	EXPECT_ARGV("/x a \\; b", "/x", "a", ";", "b");
	expect_refused("/x a \\ ", "ends in a backslash");
	expect_refused("/x \"a\\ ", "ends in a backslash");
}

static void expect_kept(const char *value, const char *want)
{
	struct loaded l = load_exec(value);

	assert_int_equal(l.r, 0);
	assert_int_equal(l.diags.n, 1);
	expect_diag(&l.diags.items[0], DIAG_WARNING, 2, "ExecStart", "unknown escape");
	EXPECT_LIST(l.unit->exec_start.argv, "/x", want);
	done(&l);
}

static void unknown_escapes_are_kept_with_a_warning(void **state _unused_)
{
	expect_kept("/x ^[0-9]\\.$", "^[0-9]\\.$");
	expect_kept("/x a\\ b", "a\\ b");
	expect_kept("/x \\x00", "\\x00"); /* a NUL is no part of an argument */
	expect_kept("/x \\000", "\\000");
	expect_kept("/x \\400", "\\400");
	expect_kept("/x \\xg1", "\\xg1");
	expect_kept("/x \\x1", "\\x1");
	expect_kept("/x \\ud800", "\\ud800");
	expect_kept("/x \\U00110000", "\\U00110000");
	expect_kept("/x \\ä", "\\ä");
}

static void specifiers(void **state _unused_)
{
	EXPECT_ARGV("/x/%i %N %n 100%% %%i", "/x/talker", "talker", "talker.ini", "100%", "%i");
	EXPECT_ARGV("/x '__name:=%i'", "/x", "__name:=talker");
	expect_refused("/x %q", "unknown specifier %q");
	expect_refused("/x 100%", "single %");
	expect_refused("/x %ä", "single %");
	expect_refused("/x \"% \"", "single %");
}

static void semicolons_and_dollars_are_arguments(void **state _unused_)
{
	EXPECT_ARGV("/x ; a ;", "/x", ";", "a", ";");
	EXPECT_ARGV("/x a;b ;c", "/x", "a;b", ";c");
	EXPECT_ARGV("/bin/sh -c 'echo $HOME ${A} $$'", "/bin/sh", "-c", "echo $HOME ${A} $$");
	expect_refused("; /x", "\";\" is not an absolute path");
}

static void prefixes(void **state _unused_)
{
	struct loaded l = load_exec("-/x -a");

	assert_int_equal(l.r, 0);
	assert_true(l.unit->exec_start.ignore_failure);
	EXPECT_LIST(l.unit->exec_start.argv, "/x", "-a");
	done(&l);
	l = load_exec("/x");
	assert_false(l.unit->exec_start.ignore_failure);
	done(&l);
	expect_refused("@/x y", "the prefix '@' is not supported");
	expect_refused("+/x", "the prefix '+' is not supported");
	expect_refused("!/x", "the prefix '!' is not supported");
	expect_refused("!!/x", "the prefix '!' is not supported");
	expect_refused("-@/x", "the prefix '@' is not supported");
	expect_refused("-", "no program after the prefix");
	expect_refused("- /x", "no program after the prefix");
	expect_refused("\"\" /x", "no program");
}

static void paths(void **state _unused_)
{
	expect_refused("true", "\"true\" is not an absolute path");
	expect_refused("./x", "not an absolute path");
	expect_refused("--/x", "not an absolute path");
	expect_refused("/x/", "\"/x/\" is a folder");
}

static void only_one_exec_start(void **state _unused_)
{
	expect_error("[Service]\nExecStart=/a\nExecStart=/b\n", 3, "ExecStart", "in line 2");
}

static void exec_start_may_not_be_missing(void **state _unused_)
{
	struct loaded l;

	expect_error("[Service]\n", 0, "ExecStart", "is missing");
	expect_error("[Service]\nExecStart=/a\nExecStart=\n", 0, "ExecStart", "is missing");
	expect_error("[Service]\nExecStart=\n", 0, "ExecStart", "is missing");
	expect_error("", 0, "ExecStart", "is missing");
	expect_error("[Service]\nExecStartPre=/a\n", 0, "ExecStart", "is missing");
	l = load("[Service]\nExecStart=a\nExecStart=\n");
	assert_int_equal(l.diags.n, 2);
	done(&l);
}

static void commands_before_the_start(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "ExecStartPre=/a 1\nExecStartPre=-/b\n");
	const struct exec_command *c = l.unit->exec_start_pre;

	assert_int_equal(l.unit->n_exec_start_pre, 2);
	EXPECT_LIST(c[0].argv, "/a", "1");
	assert_false(c[0].ignore_failure);
	assert_int_equal(c[0].line, 3);
	EXPECT_LIST(c[1].argv, "/b");
	assert_true(c[1].ignore_failure);
	assert_int_equal(c[1].line, 4);
	done(&l);
	expect_wrong("Service", "ExecStartPre", "b", "not an absolute path");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blanks_part_words),
		cmocka_unit_test(quotes),
		cmocka_unit_test(escapes),
		cmocka_unit_test(unknown_escapes_are_kept_with_a_warning),
		cmocka_unit_test(specifiers),
		cmocka_unit_test(semicolons_and_dollars_are_arguments),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(paths),
		cmocka_unit_test(only_one_exec_start),
		cmocka_unit_test(exec_start_may_not_be_missing),
		cmocka_unit_test(commands_before_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
