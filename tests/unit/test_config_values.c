/* SPDX-License-Identifier: Apache-2.0 */
/* Each kind of value: what is taken, and how a wrong one is named. */
#include "tests/unit/test_config.h"

#include "config/parse.h"

static void expect_time(const char *s, usec_t want)
{
	usec_t v = 7;

	assert_int_equal(parse_time_span(s, &v), 0);
	assert_int_equal(v, want);
}

static void time_spans(void **state _unused_)
{
	static const char *const wrong[] = {"", "x", "1x", "-1", "+1", "1.", ".5s", "1 min s", "s",
		"infinity 1", "inf", "0x10", "1,5s", "1s,"};
	usec_t v = 7;

	expect_time("5", 5 * USEC_PER_SEC);
	expect_time("0", 0);
	expect_time("250ms", 250000);
	expect_time("1min 30s", 90 * USEC_PER_SEC);
	expect_time("1min30s", 90 * USEC_PER_SEC);
	expect_time("2 h  1 us", 7200 * USEC_PER_SEC + 1);
	expect_time("1d", 86400 * USEC_PER_SEC);
	expect_time("1.5s", 1500000);
	expect_time("0.000001", 1);
	expect_time("1.25h", 4500 * USEC_PER_SEC);
	expect_time("10µs", 10);
	expect_time("1 1", 2 * USEC_PER_SEC);
	expect_time("infinity", USEC_INFINITY);
	for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
		assert_int_equal(parse_time_span(wrong[i], &v), -EINVAL);
	assert_int_equal(parse_time_span("99999999999999999999", &v), -ERANGE);
	assert_int_equal(parse_time_span("18446744073709551615us", &v), -ERANGE);
	assert_int_equal(parse_time_span("18446744073709551614us 1us", &v), -ERANGE);
	assert_int_equal(parse_time_span("999999999999d", &v), -ERANGE);
	assert_int_equal(v, 7);
}

static void times_of_units(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "RestartSec=1min 30s\nTimeoutStartSec=0\n"
					     "TimeoutStopSec=infinity\nWatchdogSec=250ms\n"
					     "[Unit]\nStartLimitIntervalSec=infinity\n"
					     "[Twin]\nInterval=5ms\nQuietWindow=0\n");

	assert_int_equal(l.unit->restart_sec, 90 * USEC_PER_SEC);
	assert_int_equal(l.unit->timeout_start_usec, USEC_INFINITY);
	assert_int_equal(l.unit->timeout_stop_usec, USEC_INFINITY);
	assert_int_equal(l.unit->watchdog_usec, 250000);
	assert_int_equal(l.unit->start_limit_interval, USEC_INFINITY);
	assert_int_equal(l.unit->twin.interval, 5000);
	assert_int_equal(l.unit->twin.quiet_window, 0);
	done(&l);
	l = load_clean(SERVICE "WatchdogSec=infinity\n");
	assert_int_equal(l.unit->watchdog_usec, 0);
	done(&l);
	expect_wrong("Service", "RestartSec", "infinity", "out of range");
	expect_wrong("Service", "RestartSec", "soon", "\"soon\" is not understood");
	expect_wrong("Service", "WatchdogSec", "", "empty");
	expect_wrong("Twin", "Interval", "4999us", "\"4999us\" is out of range");
	expect_wrong("Twin", "Interval", "infinity", "out of range");
	expect_wrong("Twin", "QuietWindow", "infinity", "out of range");
}

static void sizes(void **state _unused_)
{
	static const char *const wrong[] = {"", "M", "64Mi", "64MB", "-1", "1.5G", "64X", "64m"};
	uint64_t v = 7;

	for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
		assert_int_equal(parse_size(wrong[i], &v), -EINVAL);
	assert_int_equal(parse_size("16E", &v), -ERANGE);
	assert_int_equal(v, 7);
	assert_int_equal(parse_size("64M", &v), 0);
	assert_int_equal(v, 64 << 20);
	assert_int_equal(parse_size("3 K", &v), 0);
	assert_int_equal(v, 3072);
	assert_int_equal(parse_size("12B", &v), 0);
	assert_int_equal(v, 12);
	assert_int_equal(parse_size("15E", &v), 0);
	assert_int_equal(v, UINT64_C(15) << 60);
}

static void numbers(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "Nice=-20\nOOMScoreAdjust=+1000\n"
					     "[Unit]\nStartLimitBurst=0\n[Twin]\nGenerations=8\n");

	assert_true(l.unit->nice_set);
	assert_int_equal(l.unit->nice, -20);
	assert_true(l.unit->oom_score_adjust_set);
	assert_int_equal(l.unit->oom_score_adjust, 1000);
	assert_int_equal(l.unit->start_limit_burst, 0);
	assert_int_equal(l.unit->twin.generations, 8);
	done(&l);
	expect_wrong("Service", "Nice", "20", "\"20\" is out of range");
	expect_wrong("Service", "Nice", "-21", "out of range");
	expect_wrong("Service", "Nice", "1x", "not understood");
	expect_wrong("Service", "Nice", "--1", "not understood");
	expect_wrong("Service", "OOMScoreAdjust", "-1001", "out of range");
	expect_wrong("Service", "OOMScoreAdjust", "99999999999999999999", "out of range");
	expect_wrong("Unit", "StartLimitBurst", "-1", "not understood");
	expect_wrong("Unit", "StartLimitBurst", "4294967296", "out of range");
	expect_wrong("Twin", "Generations", "0", "out of range");
	expect_wrong("Twin", "Generations", "9", "out of range");
	expect_wrong("Twin", "Generations", "", "empty");
}

static void booleans(void **state _unused_)
{
	static const char *const yes[] = {"1", "yes", "Y", "true", "T", "On"};
	static const char *const no[] = {"0", "no", "N", "FALSE", "f", "off"};

	for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
		bool v = false;

		assert_int_equal(parse_bool(yes[i], &v), 0);
		assert_true(v);
		assert_int_equal(parse_bool(no[i], &v), 0);
		assert_false(v);
	}
	expect_wrong("Twin", "Enabled", "maybe", "\"maybe\" is not understood");
	expect_wrong("Twin", "Enabled", "", "empty");
}

static void signals(void **state _unused_)
{
	static const struct {
		const char *text;
		int want;
	} good[] = {{"SIGINT", 2}, {"INT", 2}, {"2", 2}, {"SIGKILL", 9}, {"USR1", 10}, {"SYS", 31}};
	int v;

	for (size_t i = 0; i < ELEMENTSOF(good); i++) {
		assert_int_equal(parse_signal(good[i].text, &v), 0);
		assert_int_equal(v, good[i].want);
	}
	assert_int_equal(parse_signal("SIGRTMIN+3", &v), 0);
	assert_int_equal(v, SIGRTMIN + 3);
	assert_int_equal(parse_signal("RTMAX-1", &v), 0);
	assert_int_equal(v, SIGRTMAX - 1);
	assert_int_equal(parse_signal("RTMIN", &v), 0);
	assert_int_equal(v, SIGRTMIN);
	assert_int_equal(parse_signal("32", &v), -ERANGE);
	assert_int_equal(parse_signal("SIGRTMIN+99", &v), -ERANGE);
	assert_int_equal(parse_signal("SIGRTMIN-1", &v), -EINVAL);
	expect_wrong("Service", "KillSignal", "SIGNOPE", "\"SIGNOPE\" is not understood");
	expect_wrong("Service", "KillSignal", "SIG", "not understood");
	expect_wrong("Service", "KillSignal", "sigint", "not understood");
	expect_wrong("Service", "KillSignal", "0", "out of range");
	expect_wrong("Service", "KillSignal", "65", "out of range");
	expect_wrong("Service", "KillSignal", "", "empty");
}

static void cpu_lists(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "CPUAffinity=0-1,3\nCPUAffinity=8 9\n");
	const cpu_set_t *s = &l.unit->cpu_affinity;

	assert_true(l.unit->cpu_affinity_set);
	assert_int_equal(CPU_COUNT(s), 5);
	assert_true(CPU_ISSET(0, s) && CPU_ISSET(1, s) && CPU_ISSET(3, s));
	assert_true(CPU_ISSET(8, s) && CPU_ISSET(9, s));
	done(&l);
	l = load_clean(SERVICE "CPUAffinity=1023\n");
	done(&l);
	expect_wrong("Service", "CPUAffinity", "1024", "out of range");
	expect_wrong("Service", "CPUAffinity", "0-99999999999", "out of range");
	expect_wrong("Service", "CPUAffinity", "3-1", "not understood");
	expect_wrong("Service", "CPUAffinity", "0,3-1", "not understood");
	expect_wrong("Service", "CPUAffinity", "1-", "not understood");
	expect_wrong("Service", "CPUAffinity", "a", "not understood");
	expect_wrong("Service", "CPUAffinity", ",", "not understood");
	expect_wrong("Service", "CPUAffinity", "1-2-3", "not understood");
}

static void limits(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "LimitNOFILE=1024:4096\nLimitCORE=64M:infinity\n");

	assert_true(l.unit->limit_nofile.set);
	assert_int_equal(l.unit->limit_nofile.soft, 1024);
	assert_int_equal(l.unit->limit_nofile.hard, 4096);
	assert_int_equal(l.unit->limit_core.soft, 64 << 20);
	assert_int_equal(l.unit->limit_core.hard, RLIM_INFINITY);
	done(&l);
	l = load_clean(SERVICE "LimitNOFILE=infinity\nLimitCORE=0\n");
	assert_int_equal(l.unit->limit_nofile.soft, RLIM_INFINITY);
	assert_true(l.unit->limit_core.set);
	assert_int_equal(l.unit->limit_core.hard, 0);
	done(&l);
	expect_wrong("Service", "LimitNOFILE", "2:1", "soft limit of \"2:1\" is above");
	expect_wrong("Service", "LimitNOFILE", "infinity:1", "above the hard");
	expect_wrong("Service", "LimitNOFILE", "1K", "not understood");
	expect_wrong("Service", "LimitNOFILE", "1:", "not understood");
	expect_wrong("Service", "LimitNOFILE", ":1", "not understood");
	expect_wrong("Service", "LimitNOFILE", "1:2:3", "not understood");
	expect_wrong("Service", "LimitCORE", "18446744073709551615", "out of range");
}

static void enum_words(void **state _unused_)
{
	for (int i = 0; i < _RESTART_MAX; i++) {
		char text[128];
		struct loaded l;

		snprintf(text, sizeof(text), SERVICE "Restart=%s\nType=notify\n",
			unit_restart_to_string((enum unit_restart)i));
		l = load_clean(text);
		assert_int_equal(l.unit->restart, i);
		assert_int_equal(l.unit->type, UNIT_NOTIFY);
		done(&l);
	}
	assert_string_equal(unit_restart_to_string(RESTART_ON_ABNORMAL), "on-abnormal");
	assert_string_equal(unit_type_to_string(UNIT_SIMPLE), "simple");
	assert_string_equal(unit_output_to_string(OUTPUT_APPEND), "append");
	assert_string_equal(unit_output_to_string(_OUTPUT_MAX), "?");
	expect_wrong("Service", "Restart", "sometimes", "\"sometimes\" is not understood");
	expect_wrong("Service", "Restart", "Always", "not understood");
	expect_wrong("Service", "Restart", "", "empty");
}

static void types_that_twinit_has_not(void **state _unused_)
{
	struct loaded l;

	expect_wrong("Service", "Type", "exec", "Type=exec is not supported");
	expect_wrong("Service", "Type", "oneshot", "Type=oneshot is not supported");
	expect_wrong("Service", "Type", "forking", "Type=forking is not supported");
	expect_wrong("Service", "Type", "simpel", "\"simpel\" is not understood");
	l = load(SERVICE "Type=oneshot\n");
	assert_string_equal(l.diags.items[0].allowed, "simple, notify");
	done(&l);
}

static void standard_output(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "StandardOutput=append:/var/log/%i.log\n");

	assert_int_equal(l.unit->standard_output, OUTPUT_APPEND);
	assert_string_equal(l.unit->standard_output_path, "/var/log/talker.log");
	done(&l);
	l = load_clean(SERVICE "StandardOutput=file:/a b\nStandardOutput=null\n");
	assert_int_equal(l.unit->standard_output, OUTPUT_NULL);
	assert_null(l.unit->standard_output_path);
	done(&l);
	l = load_clean(SERVICE "StandardOutput=journal\n");
	assert_int_equal(l.unit->standard_output, OUTPUT_JOURNAL);
	done(&l);
	expect_wrong("Service", "StandardOutput", "file:", "needs a path");
	expect_wrong("Service", "StandardOutput", "append", "needs a path");
	expect_wrong("Service", "StandardOutput", "file:a", "\"a\" is not an absolute path");
	expect_wrong("Service", "StandardOutput", "null:/a", "not understood");
	expect_wrong("Service", "StandardOutput", "truncate:/a", "not understood");
	expect_wrong("Service", "StandardOutput", "", "empty");
}

static void accounts_and_folders(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "User=ros_user\nGroup=1000\n"
					     "WorkingDirectory=/opt/my node/%i\n");

	assert_string_equal(l.unit->user, "ros_user");
	assert_string_equal(l.unit->group, "1000");
	assert_string_equal(l.unit->working_directory, "/opt/my node/talker");
	assert_int_equal(l.unit->working_directory_line, 5);
	done(&l);
	expect_wrong("Service", "User", "a b", "\"a b\" is not a valid name");
	expect_wrong("Service", "User", "-1", "not a valid name");
	expect_wrong("Service", "Group", "a:b", "not a valid name");
	expect_wrong("Service", "WorkingDirectory", "~", "not an absolute path");
	expect_wrong("Service", "WorkingDirectory", "rel", "not an absolute path");
	expect_wrong("Service", "WorkingDirectory", "/%q", "unknown specifier %q");
}

/* PID 1 reads units: no file may keep it busy. */
static void too_many_names(void **state _unused_)
{
	static char text[200000];
	usec_t start = now_usec();
	size_t len = (size_t)sprintf(text, "[Unit]\n");

	for (unsigned i = 0; i < 9000; i++)
		len += (size_t)sprintf(text + len, "After=u%u\n", i);
	sprintf(text + len, "[Service]\nExecStart=/bin/true\n");
	struct loaded l = load(text);
	assert_int_equal(l.r, -EBADMSG);
	expect_diag(&l.diags.items[0], DIAG_ERROR, 1026, "After", "more than 1024 names");
	assert_true(now_usec() - start < 10 * USEC_PER_SEC);
	done(&l);
}

static void unit_names(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "[Unit]\nBefore=a.target b.ini a@1 \"c\" %i-x\n"
					     "[Install]\nWantedBy=default\n");

	EXPECT_LIST(l.unit->before, "a.target", "b", "a@1", "c", "talker-x");
	EXPECT_LIST(l.unit->wanted_by, "default");
	done(&l);
	expect_wrong("Unit", "After", "a /b", "\"/b\" is no unit name");
	expect_wrong("Unit", "Wants", "..", "\"..\" is no unit name");
	expect_wrong("Unit", "Requires", "a,b", "no unit name");
	expect_wrong("Unit", "After", "\"a", "never closed");
	/* Each wrong word is one error. */
	l = load(SERVICE "[Unit]\nAfter=a! b c!\n");
	assert_int_equal(l.diags.n, 2);
	done(&l);
}

static void environment_values(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "Environment=A=1 \"B=two words\" C='x y' D= E=a=b\n"
					     "Environment=\"NODE=%i\" 'P=100%%' F=a\\nb _G9=ä\n");

	EXPECT_LIST(l.unit->environment, "A=1", "B=two words", "C=x y", "D=", "E=a=b",
		"NODE=talker", "P=100%", "F=a\nb", "_G9=ä");
	done(&l);
	expect_wrong("Service", "Environment", "A", "\"A\" is no NAME=value");
	expect_wrong("Service", "Environment", "A=1 =2", "\"=2\" is no NAME=value");
	expect_wrong("Service", "Environment", "1A=2", "no NAME=value");
	expect_wrong("Service", "Environment", "A-B=2", "no NAME=value");
	expect_wrong("Service", "Environment", "A=\\x1b", "no NAME=value");
	expect_wrong("Service", "Environment", "A=\\xff", "no NAME=value");
	expect_wrong("Service", "Environment", "A='x", "never closed");
	expect_wrong("Service", "Environment", "A=%z", "unknown specifier %z");
}

static void environment_file_paths(void **state _unused_)
{
	struct loaded l = load_clean(SERVICE "EnvironmentFile=-/etc/a b\nEnvironmentFile=/%N\n");
	const struct env_file *f = l.unit->environment_files;

	assert_int_equal(l.unit->n_environment_files, 2);
	assert_string_equal(f[0].path, "/etc/a b");
	assert_true(f[0].optional);
	assert_int_equal(f[0].line, 3);
	assert_string_equal(f[1].path, "/talker");
	assert_false(f[1].optional);
	done(&l);
	expect_wrong("Service", "EnvironmentFile", "a", "not an absolute path");
	expect_wrong("Service", "EnvironmentFile", "-", "not an absolute path");
	expect_wrong("Service", "EnvironmentFile", "/a/*.env", "has wildcards");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_spans),
		cmocka_unit_test(times_of_units),
		cmocka_unit_test(sizes),
		cmocka_unit_test(numbers),
		cmocka_unit_test(booleans),
		cmocka_unit_test(signals),
		cmocka_unit_test(cpu_lists),
		cmocka_unit_test(limits),
		cmocka_unit_test(enum_words),
		cmocka_unit_test(types_that_twinit_has_not),
		cmocka_unit_test(standard_output),
		cmocka_unit_test(accounts_and_folders),
		cmocka_unit_test(too_many_names),
		cmocka_unit_test(unit_names),
		cmocka_unit_test(environment_values),
		cmocka_unit_test(environment_file_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
