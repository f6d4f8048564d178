/* SPDX-License-Identifier: Apache-2.0 */
/* Whole units: defaults, every key, findings, files, and what only the machine can tell. */
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/test_config.h"

/* A folder for files of a test; put back by the teardown. */
struct folder {
	char path[64];
};

static char *in_folder(const struct folder *f, const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", f->path, name) > 0);
	return path;
}

static void write_file(const char *path, const char *text, size_t len, mode_t mode)
{
	_cleanup_close_ int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
}

static int setup(void **state)
{
	struct folder *f = malloc(sizeof(*f));

	strcpy(f->path, "/tmp/twinit-config-XXXXXX");
	*state = f;
	return mkdtemp(f->path) ? 0 : -1;
}

static int teardown(void **state)
{
	static const char *const names[] = {
		"talker.ini", "a.env", "node", "plain", "fifo.ini", "not this.ini"};
	struct folder *f = *state;
	int r;

	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		_cleanup_free_ char *path = in_folder(f, names[i]);

		unlink(path);
	}
	r = rmdir(f->path);
	free(f);
	return r;
}

static void defaults(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE);
	const struct unit *u = l.unit;

	assert_string_equal(u->id, "talker");
	assert_string_equal(u->path, "/etc/twinit/talker.ini");
	assert_string_equal(u->text, SERVICE);
	assert_int_equal(u->text_len, strlen(SERVICE));
	assert_string_equal(u->description, "talker");
	EXPECT_EMPTY(u->after);
	EXPECT_EMPTY(u->before);
	EXPECT_EMPTY(u->requires);
	EXPECT_EMPTY(u->wants);
	EXPECT_EMPTY(u->environment);
	EXPECT_EMPTY(u->wanted_by);
	assert_int_equal(u->start_limit_interval, 10 * USEC_PER_SEC);
	assert_int_equal(u->start_limit_burst, 5);
	assert_int_equal(u->type, UNIT_SIMPLE);
	assert_int_equal(u->exec_start.line, 2);
	assert_int_equal(u->n_exec_start_pre, 0);
	assert_int_equal(u->n_environment_files, 0);
	assert_null(u->user);
	assert_null(u->group);
	assert_null(u->working_directory);
	assert_int_equal(u->restart, RESTART_NO);
	assert_int_equal(u->restart_sec, 100 * USEC_PER_MSEC);
	assert_int_equal(u->timeout_start_usec, 90 * USEC_PER_SEC);
	assert_int_equal(u->timeout_stop_usec, 90 * USEC_PER_SEC);
	assert_int_equal(u->watchdog_usec, 0);
	assert_int_equal(u->kill_signal, SIGTERM);
	assert_int_equal(u->standard_output, OUTPUT_INHERIT);
	assert_false(u->nice_set || u->cpu_affinity_set || u->oom_score_adjust_set);
	assert_false(u->limit_nofile.set || u->limit_core.set);
	assert_true(u->twin.enabled);
	assert_int_equal(u->twin.interval, USEC_PER_SEC);
	assert_int_equal(u->twin.generations, 1);
	assert_int_equal(u->twin.quiet_window, 20 * USEC_PER_MSEC);
	assert_int_equal(u->twin.takeover, TAKEOVER_AUTO);
	assert_int_equal(u->twin.identity, IDENTITY_EXACT);
	assert_int_equal(u->twin.children, CHILDREN_KEEP);
	done(&l);
}

static void every_key_is_known(void **state _unused_)
{
	struct loaded l = load_clean(
		"[Unit]\nDescription=The %i at 100% %%\nDocumentation=man:talker(1)\nAfter=a\n"
		"Before=b\nRequires=c\nWants=d\nStartLimitIntervalSec=1min\nStartLimitBurst=3\n"
		"[Service]\nType=notify\nExecStartPre=/pre\nExecStart=/start\nEnvironment=A=1\n"
		"EnvironmentFile=/env\nUser=u\nGroup=g\nWorkingDirectory=/wd\nRestart=on-failure\n"
		"RestartSec=1\nTimeoutStartSec=2\nTimeoutStopSec=3\nWatchdogSec=4\n"
		"KillSignal=SIGINT\nStandardOutput=null\nNice=5\nCPUAffinity=0\nLimitNOFILE=6\n"
		"LimitCORE=7\nOOMScoreAdjust=8\n[Install]\nWantedBy=e\n"
		"[Twin]\nEnabled=no\nInterval=100ms\nGenerations=2\nQuietWindow=1ms\n"
		"Takeover=in-place\nChildren=kill\nIdentity=namespace\n");
	const struct unit *u = l.unit;

	assert_string_equal(u->description, "The talker at 100% %");
	EXPECT_LIST(u->after, "a");
	EXPECT_LIST(u->before, "b");
	EXPECT_LIST(u->requires, "c");
	EXPECT_LIST(u->wants, "d");
	assert_int_equal(u->start_limit_interval, 60 * USEC_PER_SEC);
	assert_int_equal(u->start_limit_burst, 3);
	assert_int_equal(u->type, UNIT_NOTIFY);
	assert_int_equal(u->restart, RESTART_ON_FAILURE);
	assert_int_equal(u->restart_sec, 1 * USEC_PER_SEC);
	assert_int_equal(u->timeout_start_usec, 2 * USEC_PER_SEC);
	assert_int_equal(u->timeout_stop_usec, 3 * USEC_PER_SEC);
	assert_int_equal(u->watchdog_usec, 4 * USEC_PER_SEC);
	assert_int_equal(u->kill_signal, SIGINT);
	assert_int_equal(u->standard_output, OUTPUT_NULL);
	assert_int_equal(u->nice, 5);
	assert_int_equal(u->limit_nofile.hard, 6);
	assert_int_equal(u->limit_core.soft, 7);
	assert_int_equal(u->oom_score_adjust, 8);
	EXPECT_LIST(u->wanted_by, "e");
	assert_false(u->twin.enabled);
	assert_int_equal(u->twin.interval, 100000);
	assert_int_equal(u->twin.generations, 2);
	assert_int_equal(u->twin.quiet_window, 1000);
	assert_int_equal(u->twin.takeover, TAKEOVER_IN_PLACE);
	assert_int_equal(u->twin.identity, IDENTITY_NAMESPACE);
	assert_int_equal(u->twin.children, CHILDREN_KILL);
	done(&l);
}

static void unknown_keys(void **state _unused_)
{
	static const char *const of_systemd[] = {"Unit", "Service", "Install"};
	struct loaded l;

	for (size_t i = 0; i < ELEMENTSOF(of_systemd); i++) {
		char text[128];

		snprintf(text, sizeof(text), SERVICE "[%s]\nFrobnicate=1\n", of_systemd[i]);
		l = load(text);
		assert_int_equal(l.r, 0);
		assert_int_equal(l.diags.n, 1);
		expect_diag(&l.diags.items[0], DIAG_WARNING, 4, "Frobnicate", "unknown key");
		assert_string_equal(l.diags.items[0].section, of_systemd[i]);
		done(&l);
	}
	l = load(SERVICE "[Twin]\nIntervall=1\n");
	assert_int_equal(l.r, -EBADMSG);
	expect_diag(&l.diags.items[0], DIAG_ERROR, 4, "Intervall", "unknown key");
	assert_string_equal(l.diags.items[0].allowed,
		"Enabled=, Interval=, Generations=, QuietWindow=, ExcludeMemory=, "
		"HonourDontFork=, Takeover=, Children=, GuardChildren=, Identity=");
	done(&l);
	/* Keys are spelled one way only, as in systemd. */
	expect_error(SERVICE "[Twin]\ninterval=1\n", 4, "interval", "unknown key");
}

static void unknown_sections(void **state _unused_)
{
	struct loaded l = load(SERVICE "[Socket]\nListenStream=1\nUser=a\n[service]\n");

	assert_int_equal(l.diags.n, 2);
	expect_diag(&l.diags.items[0], DIAG_ERROR, 3, NULL, "unknown section");
	assert_string_equal(l.diags.items[0].section, "Socket");
	assert_string_equal(l.diags.items[0].allowed,
		"[Unit], [Service], [Install], [Twin], [Failover], [Probe NAME]");
	expect_diag(&l.diags.items[1], DIAG_ERROR, 6, NULL, "unknown section");
	done(&l);
}

static void keys_in_the_wrong_section(void **state _unused_)
{
	expect_error("[Unit]\nExecStart=/a\n", 2, "ExecStart", "ExecStart= belongs in [Service]");
	expect_error(SERVICE "After=a\n", 3, "After", "After= belongs in [Unit]");
	expect_error(SERVICE "Interval=1\n", 3, "Interval", "Interval= belongs in [Twin]");
	expect_error(SERVICE "[Twin]\nWantedBy=1\n", 4, "WantedBy", "belongs in [Install]");
}

static void all_errors_are_found(void **state _unused_)
{
	static const struct {
		unsigned line;
		const char *key, *what;
	} want[] = {
		{1, NULL, "has no '='"},
		{3, "Nice", "belongs in [Service]"},
		{5, "Type", "not supported"},
		{6, "RestartSec", "not understood"},
		{7, "KillSignal", "not understood"},
		{8, NULL, "key is missing"},
		{9, NULL, "unknown section"},
		{11, "Generations", "out of range"},
		{0, "ExecStart", "is missing"},
	};
	struct loaded l = load("junk\n[Unit]\nNice=1\n[Service]\nType=oneshot\nRestartSec=x\n"
			       "KillSignal=y\n=z\n[Foo]\n[Twin]\nGenerations=100\n");

	assert_int_equal(l.diags.n, ELEMENTSOF(want));
	for (size_t i = 0; i < ELEMENTSOF(want); i++)
		expect_diag(&l.diags.items[i], DIAG_ERROR, want[i].line, want[i].key, want[i].what);
	done(&l);
}

static void findings_in_words(void **state _unused_)
{
	static const char *const want[] = {
		"/etc/twinit/talker.ini:1: section header lacks its ']'; "
		"allowed: [Section], Key=value, or a comment after # or ;",
		"/etc/twinit/talker.ini:3: [Service] Nice=: \"99\" is out of range; "
		"allowed: a whole number from -20 to 19",
		"/etc/twinit/talker.ini:4: [Foo]: unknown section; "
		"allowed: [Unit], [Service], [Install], [Twin], [Failover], [Probe NAME]",
		"/etc/twinit/talker.ini: [Service] ExecStart=: is missing; allowed: an absolute "
		"path "
		"and arguments, with - in front to ignore failure",
	};
	struct loaded l = load("[Unit\n[Service]\nNice=99\n[Foo]\n");

	assert_int_equal(l.diags.n, ELEMENTSOF(want));
	for (size_t i = 0; i < ELEMENTSOF(want); i++) {
		_cleanup_free_ char *s = diag_format(&l.diags.items[i]);

		assert_string_equal(s, want[i]);
	}
	done(&l);
}

static void findings_are_safe_to_print(void **state _unused_)
{
	char text[512], value[301];
	struct loaded l;
	const char *what;

	for (size_t i = 0; i < 300; i += 2)
		memcpy(value + i, "ä", 2);
	value[300] = 0;
	snprintf(text, sizeof(text), SERVICE "Restart=x%s\n", value);
	l = load(text);
	what = l.diags.items[0].what;
	assert_true(strlen(what) < 100);
	/* Cut between two characters: 'x' and 31 whole ones are 63 bytes of at most 64. */
	assert_non_null(strstr(what, "ä...\""));
	done(&l);
	l = load(SERVICE "Restart=\"a\tb\"\n");
	assert_non_null(strstr(l.diags.items[0].what, "a?b"));
	done(&l);
}

static void findings_add_up_over_files(void **state _unused_)
{
	struct loaded l = load("[Service]\n");
	struct unit *u = NULL;

	/* Errors of one file are no errors of the next. */
	assert_int_equal(unit_load_text("b.ini", SERVICE, strlen(SERVICE), &u, &l.diags), 0);
	assert_int_equal(l.diags.n, 1);
	assert_string_equal(u->id, "b");
	unit_free(u);
	u = NULL;
	assert_int_equal(unit_load_text("c.ini", "", 0, &u, &l.diags), -EBADMSG);
	assert_int_equal(l.diags.n, 2);
	assert_string_equal(l.diags.items[1].file, "c.ini");
	assert_null(u);
	/* Who wants the verdict only may do without a list. */
	assert_int_equal(unit_load_text("c.ini", "", 0, &u, NULL), -EBADMSG);
	done(&l);
}

static void ids(void **state _unused_)
{
	static const char *const wrong[] = {".ini", "/a/.b.ini", "a b.ini", "/a/", "a\xc3\xa4.ini"};
	struct unit *u = NULL;

	assert_int_equal(unit_load_text("dir.d/no-suffix", SERVICE, strlen(SERVICE), &u, NULL), 0);
	assert_string_equal(u->id, "no-suffix");
	unit_free(u);
	u = NULL;
	for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
		struct diag_list diags = DIAG_LIST_INIT;

		assert_int_equal(
			unit_load_text(wrong[i], SERVICE, strlen(SERVICE), &u, &diags), -EBADMSG);
		assert_int_equal(diags.n, 1);
		assert_non_null(strstr(diags.items[0].what, "is no unit name"));
		diag_list_clear(&diags);
	}
}

static void from_a_file(void **state)
{
	_cleanup_free_ char *path = in_folder(*state, "talker.ini");
	struct loaded l = {.diags = DIAG_LIST_INIT};

	write_file(path, SERVICE, strlen(SERVICE), 0600);
	assert_int_equal(unit_load(path, &l.unit, &l.diags), 0);
	assert_string_equal(l.unit->id, "talker");
	assert_string_equal(l.unit->path, path);
	assert_string_equal(l.unit->text, SERVICE);
	done(&l);
}

static void expect_unreadable(const char *path, int r, const char *what)
{
	struct loaded l = {.diags = DIAG_LIST_INIT};

	assert_int_equal(unit_load(path, &l.unit, &l.diags), r);
	assert_null(l.unit);
	assert_int_equal(l.diags.n, 1);
	assert_string_equal(l.diags.items[0].file, path);
	assert_int_equal(l.diags.items[0].line, 0);
	assert_non_null(strstr(l.diags.items[0].what, what));
	done(&l);
}

static void files_that_cannot_be_read(void **state)
{
	_cleanup_free_ char *missing = in_folder(*state, "not this.ini");
	_cleanup_free_ char *large = in_folder(*state, "talker.ini");
	_cleanup_free_ char *fifo = in_folder(*state, "fifo.ini");
	_cleanup_free_ char *text = calloc(1, UNIT_FILE_MAX + 1);
	struct folder *f = *state;

	expect_unreadable(missing, -ENOENT, "No such file");
	expect_unreadable(f->path, -EISDIR, "Is a directory");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	expect_unreadable(fifo, -EINVAL, "not a regular file");
	memset(text, '#', UNIT_FILE_MAX + 1);
	write_file(large, text, UNIT_FILE_MAX + 1, 0600);
	expect_unreadable(large, -EFBIG, "too large");
}

static void host_check(void **state)
{
	_cleanup_free_ char *node = in_folder(*state, "node"), *plain = in_folder(*state, "plain");
	_cleanup_free_ char *env = in_folder(*state, "a.env"), *text = NULL;
	struct folder *f = *state;
	struct loaded l;

	write_file(node, "", 0, 0755);
	write_file(plain, "", 0, 0644);
	write_file(env, "A=1\n", 4, 0644);
	assert_true(asprintf(&text,
			    "[Service]\nExecStart=%s\nWorkingDirectory=%s\n"
			    "EnvironmentFile=%s\nEnvironmentFile=-/nonexistent\n",
			    node, f->path, env) > 0);
	l = load_clean(text);
	unit_check_host(l.unit, &l.diags);
	assert_int_equal(l.diags.n, 0);
	done(&l);

	write_file(env, "A=1\nB\n1=2\n", 10, 0644);
	free(text);
	assert_true(asprintf(&text,
			    "[Service]\nExecStart=%s\nExecStartPre=/nonexistent\nExecStartPre=-%s\n"
			    "WorkingDirectory=%s\nEnvironmentFile=/nonexistent\nEnvironmentFile=%s",
			    plain, f->path, plain, env) > 0);
	l = load_clean(text);
	unit_check_host(l.unit, &l.diags);
	assert_int_equal(l.diags.n, 7);
	expect_diag(&l.diags.items[0], DIAG_ERROR, 3, "ExecStartPre", "No such file");
	expect_diag(&l.diags.items[1], DIAG_WARNING, 4, "ExecStartPre", "is a folder");
	expect_diag(&l.diags.items[2], DIAG_ERROR, 2, "ExecStart", "is not executable");
	expect_diag(&l.diags.items[3], DIAG_ERROR, 5, "WorkingDirectory", "is not a folder");
	expect_diag(&l.diags.items[4], DIAG_ERROR, 6, "EnvironmentFile", "No such file");
	assert_string_equal(l.diags.items[5].file, env);
	assert_int_equal(l.diags.items[5].line, 2);
	assert_int_equal(l.diags.items[6].line, 3);
	assert_int_equal(l.diags.items[6].level, DIAG_WARNING);
	done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(every_key_is_known),
		cmocka_unit_test(unknown_keys),
		cmocka_unit_test(unknown_sections),
		cmocka_unit_test(keys_in_the_wrong_section),
		cmocka_unit_test(all_errors_are_found),
		cmocka_unit_test(findings_in_words),
		cmocka_unit_test(findings_are_safe_to_print),
		cmocka_unit_test(findings_add_up_over_files),
		cmocka_unit_test(ids),
		cmocka_unit_test_setup_teardown(from_a_file, setup, teardown),
		cmocka_unit_test_setup_teardown(files_that_cannot_be_read, setup, teardown),
		cmocka_unit_test_setup_teardown(host_check, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
