/* SPDX-License-Identifier: Apache-2.0 */
/* The bus' parts that need no bus: paths, addresses, who may, error names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "config/utf8.h"
#include "supervisor/bus/bus_internal.h"
#include "tests/unit/test_bus_mock.h"

static void test_paths(void **state _unused_)
{
	struct bus b = {.manager = &mock};
	_cleanup_free_ char *path = NULL;
	void *found = NULL;
	char **paths = NULL;

	mock_init(NULL);
	assert_true(bus_node_path("odd.name-1", &path) >= 0);
	assert_string_equal(path, "/org/twinit1/node/odd_2ename_2d1");
	assert_int_equal(bus_find_node(NULL, path, NULL, &b, &found, NULL), 1);
	assert_ptr_equal(found, &mock_nodes[2]);
	assert_int_equal(bus_find_node(NULL, BUS_NODE_PREFIX, NULL, &b, &found, NULL), 0);
	assert_int_equal(bus_find_node(NULL, BUS_NODE_PREFIX "/nobody", NULL, &b, &found, NULL), 0);
	assert_true(bus_enumerate_nodes(NULL, BUS_NODE_PREFIX, &b, &paths, NULL) >= 0);
	assert_string_equal(paths[0], "/org/twinit1/node/broken");
	assert_string_equal(paths[3], "/org/twinit1/node/voxel");
	assert_null(paths[4]);
	strv_free(paths);
}

static void test_job_paths(void **state _unused_)
{
	struct bus b = {.manager = &mock};
	struct job j = {.id = 17, .node = &mock_nodes[3]};
	void *found = NULL;

	mock_init(NULL);
	mock.jobs = &j;
	assert_int_equal(bus_find_job(NULL, BUS_JOB_PREFIX "/17", NULL, &b, &found, NULL), 1);
	assert_ptr_equal(found, &j);
	assert_int_equal(bus_find_job(NULL, BUS_JOB_PREFIX "/170", NULL, &b, &found, NULL), 0);
	assert_int_equal(bus_find_job(NULL, BUS_JOB_PREFIX "/017", NULL, &b, &found, NULL), 0);
}

static void test_addresses(void **state _unused_)
{
	struct bus *b = NULL;

	assert_int_equal(bus_address_check("unix:path=/run/x"), 0);
	assert_int_equal(bus_address_check("unix:path=/run/x;unix:abstract=y"), 0);
	assert_int_equal(bus_address_check("tcp:host=localhost,port=1"), -EINVAL);
	assert_int_equal(bus_address_check("unix:path=/run/x;tcp:host=localhost"), -EINVAL);
	assert_int_equal(bus_address_check("unixexec:path=/bin/sh"), -EINVAL);
	assert_int_equal(bus_address_check(""), -EINVAL);
	mock_init(NULL);
	assert_int_equal(bus_open(&mock, "tcp:host=localhost", &b), -EINVAL);
	assert_null(b);
	assert_null(mock.events.node_changed);
}

static void test_uids(void **state _unused_)
{
	assert_true(bus_uid_allowed(0));
	assert_true(bus_uid_allowed(geteuid()));
	assert_false(bus_uid_allowed(geteuid() + 1));
	assert_false(bus_uid_allowed((uid_t)-1));
}

static void check_error(
	int r, const char *name, const char *text, const char *want_name, const char *want_message)
{
	_cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
	assert_int_equal(bus_error_set(&e, r, name, "voxel", text), r);
	assert_string_equal(e.name, want_name);
	assert_string_equal(e.message, want_message);
}

static void test_errors(void **state _unused_)
{
	check_error(-ENODATA, NULL, "", BUS_ERROR_NO_TWIN, "voxel: it has no twin that could run");
	check_error(-EBUSY, NULL, "swapping", BUS_ERROR_NODE_BUSY, "voxel: swapping");
	check_error(-ESHUTDOWN, NULL, NULL, BUS_ERROR_SHUTTING_DOWN,
		"voxel: the system is shutting down");
	check_error(
		-ESRCH, BUS_ERROR_NODE_BUSY, NULL, BUS_ERROR_NODE_BUSY, "voxel: it is not running");
	check_error(-EXDEV, NULL, NULL, "System.Error.EXDEV", "voxel: Invalid cross-device link");
	check_error(-EIO, "org.example.Odd", NULL, "org.example.Odd", "voxel: Input/output error");
}

static void test_usage(void **state _unused_)
{
	struct bus_usage u;

	bus_usage_read(getpid(), &u);
	assert_int_equal(u.tasks, 1);
	assert_true(u.memory > 4096 && u.memory < UINT64_MAX);
	bus_usage_read(0, &u);
	assert_true(u.cpu_nsec == UINT64_MAX && u.memory == UINT64_MAX && u.tasks == UINT64_MAX);
}

static void test_text(void **state _unused_)
{
	static const char good[] = "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80";
	char cut[KEEPER_TEXT_MAX], longer[10000];

	assert_string_equal(bus_text(NULL), "");
	assert_ptr_equal(bus_text(good), good);
	assert_string_equal(bus_text("a\xff\x62"), "a\xef\xbf\xbd\x62");
	memset(cut, 'x', sizeof(cut));
	memcpy(cut + sizeof(cut) - 2, "\xc3", 2); /* half a character before the end */
	assert_true(utf8_valid(bus_text(cut), strlen(bus_text(cut))));
	memset(longer, 0xff, sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	const char *text = bus_text(longer);
	assert_true(strlen(text) > 4000 && strlen(text) < 4096);
	assert_true(utf8_valid(text, strlen(text)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_job_paths),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_uids),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_text),
	};
	return cmocka_run_group_tests_name("bus parts", tests, NULL, NULL);
}
