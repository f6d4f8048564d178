/* SPDX-License-Identifier: Apache-2.0 */
/* [Probe NAME] and the watchdog's keys: what is taken, and what is told of what is not. */
#include "tests/unit/test_config.h"

static void test_defaults(_unused_ void **state)
{
	struct loaded l = load_clean(SERVICE "[Probe grab]\nKind=alive\n");
	const struct probe_settings *p = &l.unit->probes[0];

	assert_int_equal(l.unit->n_probes, 1);
	assert_string_equal(p->name, "grab");
	assert_string_equal(p->mark, "grab");
	assert_int_equal(p->kind, KIND_ALIVE);
	assert_int_equal(p->action, ACTION_FAILOVER);
	assert_int_equal(p->cycle, USEC_PER_SEC);
	assert_int_equal(p->min_marks, 1);
	assert_int_equal(p->max_marks, 0);
	assert_int_equal(p->tolerate, 0);
	assert_int_equal(p->line, 3);
	assert_int_equal(l.unit->notify_access, NOTIFY_ALL);
	assert_int_equal(l.unit->watchdog_soft_usec, 0);
	done(&l);
	l = load_clean(SERVICE);
	assert_int_equal(l.unit->n_probes, 0);
	done(&l);
}

static void test_every_kind(_unused_ void **state)
{
	struct loaded l = load_clean(SERVICE
		"WatchdogSec=2s\nWatchdogSoftSec=500ms\nNotifyAccess=main\n"
		"[Probe "
		"a]\nKind=alive\nMark=m/1\nCycle=100ms\nMinMarks=9\nMaxMarks=11\nTolerate=2\n"
		"[Probe d]\nKind=deadline\nFrom=grab\nTo=publish\nMinTime=1ms\nMaxTime=50ms\n"
		"[Probe l]\nKind=logical\nOrder=grab>filter>publish publish>grab\nAction=report\n"
		"[Probe p]\nKind=ping\nNode=/voxel\nMaster=http://127.0.0.1:11311\n"
		"[Probe c]\nKind=tcp\nAddress=[::1]:80\nInterval=50ms\nTimeout=20ms\n"
		"[Probe h]\nKind=http\nUrl=http://127.0.0.1/x\nStatus=204\nTolerate=0\n"
		"[Probe b]\nKind=dbus\nBusName=org.example.Camera\n"
		"[Probe e]\nKind=exec\nCommand=/bin/test -e \"/run/%i x\"\n"
		"[Probe s]\nKind=progress\nWindow=3s\nStartDelay=1min\n"
		"[Probe r]\nKind=resource\nMaxMemory=64M\nMaxDescriptorGrowth=10\n"
		"[Probe t]\nKind=topic\nNode=/n\nTopic=/points\nMinHz=9\n"
		"[Probe a]\nCycle=200ms\n");
	const struct probe_settings *p = l.unit->probes;

	assert_int_equal(l.unit->n_probes, 11);
	for (size_t i = 0; i < 11; i++)
		assert_int_equal(p[i].kind, i);
	assert_int_equal(l.unit->watchdog_soft_usec, 500 * USEC_PER_MSEC);
	assert_int_equal(l.unit->notify_access, NOTIFY_MAIN);
	assert_string_equal(p[0].mark, "m/1");
	assert_int_equal(p[0].cycle, 200 * USEC_PER_MSEC); /* said again further down */
	assert_int_equal(p[0].tolerate, 2);
	assert_int_equal(p[1].max_time, 50 * USEC_PER_MSEC);
	EXPECT_LIST(p[2].marks, "grab", "filter", "publish");
	assert_int_equal(p[2].n_edges, 3);
	assert_int_equal(p[2].edges[2].from, 2);
	assert_int_equal(p[2].edges[2].to, 0);
	assert_int_equal(p[2].action, ACTION_REPORT);
	assert_int_equal(p[3].tolerate, 1);
	assert_int_equal(p[5].status, 204);
	assert_int_equal(p[5].tolerate, 0);
	assert_string_equal(p[7].command.argv[2], "/run/talker x");
	assert_int_equal(p[8].start_delay, 60 * USEC_PER_SEC);
	assert_int_equal(p[9].max_memory, 64 << 20);
	assert_int_equal(p[9].action, ACTION_RESTART);
	done(&l);
}

static void test_wrong_sections(_unused_ void **state)
{
	struct loaded l;

	expect_error(SERVICE "[Probe]\nKind=alive\n", 3, NULL, "no valid name");
	expect_error(SERVICE "[Probe a b]\nKind=alive\n", 3, NULL, "no valid name");
	expect_error(SERVICE "[Probe watchdog]\nKind=alive\n", 3, NULL, "no valid name");
	expect_error(SERVICE "[Probes]\nKind=alive\n", 3, NULL, "unknown section");
	expect_error(SERVICE "[Probe x]\n", 3, "Kind", "is missing");
	expect_error(SERVICE "[Probe x]\nInterval=2s\n[Probe x]\n", 3, "Kind", "is missing");
	l = load(SERVICE "[Probe x]\nKind=alive\nInterwal=2s\n");
	assert_int_equal(l.diags.n, 1);
	expect_diag(&l.diags.items[0], DIAG_ERROR, 5, "Interwal", "unknown key");
	assert_string_equal(l.diags.items[0].section, "Probe x");
	assert_non_null(strstr(l.diags.items[0].allowed, "Interval="));
	done(&l);
	expect_error(SERVICE "[Probe x]\nKind=alive\nGenerations=2\n", 5, "Generations",
		"belongs in [Twin]");
	expect_error(SERVICE "MaxMarks=1\n", 3, "MaxMarks", "belongs in [Probe]");
}

static void test_too_many(_unused_ void **state)
{
	char text[4000] = SERVICE;

	for (int i = 0; i <= PROBES_MAX; i++)
		sprintf(text + strlen(text), "[Probe p%d]\nKind=alive\n", i);
	expect_error(text, 3 + 2 * PROBES_MAX, NULL, "too many probes");
}

static void expect_bad(const char *lines, unsigned line, const char *key, const char *what)
{
	_cleanup_free_ char *text = NULL;

	assert_true(asprintf(&text, SERVICE "[Probe x]\n%s", lines) > 0);
	expect_error(text, line, key, what);
}

static void test_keys_of_other_kinds(_unused_ void **state)
{
	expect_bad("Kind=alive\nUrl=http://x\n", 5, "Url", "is no key of Kind=alive");
	expect_bad("Cycle=1s\nKind=logical\nOrder=a>b\n", 4, "Cycle", "is no key of Kind=logical");
	expect_bad("Kind=deadline\nFrom=a\nTo=b\n", 3, "MaxTime", "is missing");
	expect_bad("Kind=logical\n", 3, "Order", "is missing");
	expect_bad("Kind=logical\nOrder=a>b\nOrder=\n", 6, "Order", "is empty");
	expect_bad("Kind=tcp\n", 3, "Address", "is missing");
	expect_bad("Kind=exec\n", 3, "Command", "is missing");
	expect_bad("Kind=resource\n", 3, NULL, "no limit");
	expect_bad("Kind=alive\nMinMarks=3\nMaxMarks=2\n", 6 - 0, "MaxMarks", "below");
	expect_bad("Kind=deadline\nFrom=a\nTo=b\nMaxTime=1s\nMinTime=2s\n", 8, "MinTime", "above");
}

static void test_wrong_values(_unused_ void **state)
{
	static const struct {
		const char *key, *value;
	} wrong[] = {{"Kind", "heartbeat"}, {"Action", "reboot"}, {"Cycle", "0"},
		{"Cycle", "infinity"}, {"Interval", "1ms"}, {"Mark", "a b"}, {"Mark", ""},
		{"Mark", "123456789012345678901234567890123"}, {"MinMarks", "-1"}, {"From", "a>b"},
		{"Order", "a"}, {"Order", "a>"}, {"Order", ">"}, {"Order", "a> b"}, {"Node", "1x"},
		{"Node", "/a//b"}, {"Master", "127.0.0.1:11311"}, {"Master", "http://"},
		{"Address", "localhost:80"}, {"Address", "0"}, {"Address", "65536"},
		{"Address", "1.2.3:80"}, {"Address", "[::1:80"}, {"Address", ""},
		{"Url", "ftp://x/"}, {"Status", "42"}, {"BusName", "x"}, {"BusName", "a..b"},
		{"Bus", "session"}, {"Command", "true"}, {"Command", "/bin/"},
		{"MaxMemory", "much"}, {"MinHz", "x"}, {"MinHz", "1.2345"}, {"MinHz", "."},
		{"MinHz", ""}, {"MaxHz", "1000000"}, {"MaxHz", "-1"}, {"Topic", "a b"},
		{"Window", "1us"}, {"Tolerate", "1001"}};

	for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
		_cleanup_free_ char *text = NULL;
		struct loaded l;
		bool found = false;

		assert_true(asprintf(&text, SERVICE "[Probe x]\n%s=%s\n", wrong[i].key,
				    wrong[i].value) > 0);
		l = load(text);
		for (size_t d = 0; d < l.diags.n; d++)
			found |= l.diags.items[d].key && l.diags.items[d].line == 4 &&
				 strcmp(l.diags.items[d].key, wrong[i].key) == 0 &&
				 l.diags.items[d].allowed;
		if (!found)
			fail_msg("%s=%s is not said to be wrong", wrong[i].key, wrong[i].value);
		done(&l);
	}
}

static void test_topic(_unused_ void **state)
{
	struct loaded l = load_clean(SERVICE "Environment=ROS_MASTER_URI=http://10.0.0.1:11311\n"
					     "[Probe x]\nKind=topic\nNode=/n\nTopic=/points\n"
					     "MinHz=9.5\nMaxHz=12\n");

	assert_string_equal(l.unit->probes[0].topic, "/points");
	assert_string_equal(l.unit->probes[0].master, "http://10.0.0.1:11311");
	assert_int_equal(l.unit->probes[0].min_hz, 9500);
	assert_int_equal(l.unit->probes[0].max_hz, 12000);
	assert_int_equal(l.unit->probes[0].window, 2 * USEC_PER_SEC);
	assert_int_equal(l.unit->probes[0].tolerate, 1);
	done(&l);
	l = load_clean(SERVICE "[Probe x]\nKind=topic\nNode=/n\nTopic=/points\nMinHz=0.125\n");
	assert_int_equal(l.unit->probes[0].min_hz, 125);
	done(&l);
	expect_bad("Kind=topic\nNode=/n\nMinHz=1\n", 3, "Topic", "is missing");
	expect_bad("Kind=topic\nNode=/n\nTopic=/x\n", 3, NULL, "no limit");
	expect_bad("Kind=topic\nNode=/n\nTopic=/x\nMinHz=2\nMaxHz=1\n", 8, "MaxHz", "below");
	expect_bad("Kind=topic\nNode=/n\nTopic=x\nMinHz=2\n", 6, "Topic", "no / in front");
	expect_bad("Kind=topic\nTopic=/x\nMinHz=2\n", 3, "Node", "is missing");
}

static void test_command_twice(_unused_ void **state)
{
	expect_error(SERVICE "[Probe x]\nKind=exec\nCommand=/bin/true\nCommand=/bin/false\n", 6,
		"Command", "there is a Command= in line 5 already");
}

static void test_soft_stage(_unused_ void **state)
{
	expect_error(SERVICE "WatchdogSec=1s\nWatchdogSoftSec=1s\n", 4, "WatchdogSoftSec",
		"not before WatchdogSec=");
	expect_error(SERVICE "WatchdogSoftSec=1s\n", 3, "WatchdogSoftSec", "not before");
	expect_wrong("Service", "NotifyAccess", "exec", "is not understood");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_every_kind),
		cmocka_unit_test(test_wrong_sections),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_keys_of_other_kinds),
		cmocka_unit_test(test_wrong_values),
		cmocka_unit_test(test_topic),
		cmocka_unit_test(test_command_twice),
		cmocka_unit_test(test_soft_stage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
