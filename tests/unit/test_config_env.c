/* SPDX-License-Identifier: Apache-2.0 */
/* Environment files in systemd's format, and the environment that a unit has in the end. */
#include <fcntl.h>

#include "tests/unit/test_config.h"

#include "config/env.h"

static void expect_env(const char *text, const char *const *want)
{
	struct strv env;

	assert_int_equal(strv_init(&env), 0);
	assert_int_equal(env_parse(text, strlen(text), &env, NULL, NULL), 0);
	expect_list(env.items, want);
	strv_clear(&env);
}
#define EXPECT_ENV(text, ...) expect_env(text, (const char *const[]){__VA_ARGS__, NULL})
#define EXPECT_NO_ENV(text) expect_env(text, (const char *const[]){NULL})

static void plain_lines(void **state _unused_)
{
	EXPECT_ENV("A=1\nB=two words \n C = 3\t\nD=", "A=1", "B=two words", "C=3", "D=");
	EXPECT_ENV("A=a=b;c # d\n", "A=a=b;c # d");
	EXPECT_ENV("A=1\r\nB='2'\r\n", "A=1", "B=2");
	EXPECT_NO_ENV("");
}

static void comments(void **state _unused_)
{
	EXPECT_ENV("# A=1\n ; B=2\n\n\n\t\nC=3\n#", "C=3");
	EXPECT_ENV("# a \\\nB=2\n", "B=2");
}

static void quoted_values(void **state _unused_)
{
	EXPECT_ENV("A=\" a b \"\nB=' c d '\n", "A= a b ", "B= c d ");
	EXPECT_ENV("A='a'\"b\" 'c'\n", "A=abc");
	EXPECT_ENV("A='a\nb'\nB=\"c\nd\"\nC=1", "A=a\nb", "B=c\nd", "C=1");
	EXPECT_ENV("A='a\\n$b'\n", "A=a\\n$b");
	EXPECT_ENV("A=\"\\\"\\\\\\`\\$\\n\"\n", "A=\"\\`$\\n");
	EXPECT_ENV("A=\"a\\\nb\"\n", "A=ab");
	/* Within an unquoted value quotes are text. */
	EXPECT_ENV("A=a\"b\"\n", "A=a\"b\"");
	EXPECT_ENV("A='open\n", "A=open\n");
	EXPECT_ENV("A=\"open\\", "A=open\\");
}

static void backslashes(void **state _unused_)
{
	EXPECT_ENV("A=a\\\nb\nB=\\$c\\ \n", "A=ab", "B=$c ");
	EXPECT_ENV("A=a\\", "A=a");
	EXPECT_ENV("A=\\\n\nB=1", "A=", "B=1");
}

static int note_line(void *user, unsigned line, const char *what)
{
	char *text = user;

	assert_non_null(strstr(what, "skipped"));
	sprintf(text + strlen(text), "%u ", line);
	return 0;
}

static void lines_that_assign_nothing(void **state _unused_)
{
	static const char text[] = "A=1\njunk\n=x\n1B=2\nexport C=3\nD='a\nb'\nalso junk\nE=\x01\n"
				   "F=2";
	char lines[64] = "";
	struct strv env;

	assert_int_equal(strv_init(&env), 0);
	assert_int_equal(env_parse(text, strlen(text), &env, note_line, lines), 0);
	EXPECT_LIST(env.items, "A=1", "D=a\nb", "F=2");
	assert_string_equal(lines, "2 3 4 5 8 9 ");
	strv_clear(&env);
}

static void bytes_that_are_no_text(void **state _unused_)
{
	struct strv env;

	assert_int_equal(strv_init(&env), 0);
	assert_int_equal(env_parse("A=\0b\n", 5, &env, NULL, NULL), -EBADMSG);
	assert_int_equal(env_parse("A=\xff\n", 4, &env, NULL, NULL), -EBADMSG);
	EXPECT_EMPTY(env.items);
	strv_clear(&env);
}

/* A file of its own for a test, deleted by its name's clean-up. */
static void unlinkp(char **path)
{
	unlink(*path);
	free(*path);
}
static char *temporary(const char *text)
{
	char *path = strdup("/tmp/twinit-env-XXXXXX");
	_cleanup_close_ int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return path;
}

static void files_have_a_limit(void **state _unused_)
{
	_cleanup_(unlinkp) char *path = temporary("");
	struct strv env;

	/* A sparse file: its size costs nothing, reading it all would. */
	assert_int_equal(truncate(path, 64 << 20), 0);
	assert_int_equal(strv_init(&env), 0);
	assert_int_equal(env_read(path, &env, NULL, NULL), -EFBIG);
	strv_clear(&env);
}

static void later_ones_win(void **state _unused_)
{
	_cleanup_(unlinkp) char *one = temporary("B=one\nC=one\n");
	_cleanup_(unlinkp) char *two = temporary("C=two\nD=two\n");
	_cleanup_free_ char *text = NULL;
	const char *path = NULL;
	struct loaded l;
	char **env;

	assert_true(asprintf(&text,
			    SERVICE "EnvironmentFile=%s\nEnvironmentFile=-/nonexistent\n"
				    "EnvironmentFile=%s\n"
				    "Environment=A=0 A=unit B=unit AB=x\n",
			    one, two) > 0);
	l = load_clean(text);
	assert_int_equal(unit_environment(l.unit, &env, &path), 0);
	EXPECT_LIST(env, "A=unit", "B=one", "AB=x", "C=two", "D=two");
	assert_null(path);
	strv_free(env);
	done(&l);
}

static void no_environment_is_an_empty_list(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE);
	const char *path = NULL;
	char **env;

	assert_int_equal(unit_environment(l.unit, &env, &path), 0);
	EXPECT_EMPTY(env);
	strv_free(env);
	done(&l);
}

static void files_that_cannot_be_read(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "EnvironmentFile=/nonexistent\n");
	const char *path = NULL;
	char **env = NULL;

	assert_int_equal(unit_environment(l.unit, &env, &path), -ENOENT);
	assert_string_equal(path, "/nonexistent");
	assert_null(env);
	assert_int_equal(unit_environment(l.unit, &env, NULL), -ENOENT);
	done(&l);
	/* Only a missing file is what "-" allows. */
	l = load_clean(SERVICE "EnvironmentFile=-/tmp\n");
	assert_int_equal(unit_environment(l.unit, &env, &path), -EISDIR);
	assert_string_equal(path, "/tmp");
	done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_lines),
		cmocka_unit_test(comments),
		cmocka_unit_test(quoted_values),
		cmocka_unit_test(backslashes),
		cmocka_unit_test(lines_that_assign_nothing),
		cmocka_unit_test(bytes_that_are_no_text),
		cmocka_unit_test(files_have_a_limit),
		cmocka_unit_test(later_ones_win),
		cmocka_unit_test(no_environment_is_an_empty_list),
		cmocka_unit_test(files_that_cannot_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
