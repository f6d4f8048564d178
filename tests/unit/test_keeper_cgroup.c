/* SPDX-License-Identifier: Apache-2.0 */
/* Where a process's control groups are, out of what the kernel says; the groups of two keepers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/macro.h"
#include "supervisor/keeper/cgroup.h"

#define V2 "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define HYBRID                                                                                     \
	"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"                                                    \
	"31 23 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"                               \
	"32 31 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"                            \
	"33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"              \
	"34 31 0:30 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
/* A container that sees its own part alone, without a namespace of groups. */
#define CONTAINER                                                                                  \
	"40 31 0:30 /docker/1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"               \
	"41 31 0:28 /docker/1f /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"

static void is(const char *mounts, const char *own, const char *controller, const char *expected)
{
	char path[PATH_MAX] = "";

	assert_int_equal(cgroup_find(mounts, own, controller, path), 0);
	assert_string_equal(path, expected);
}

static void test_find(_unused_ void **state)
{
	char path[PATH_MAX];

	is(V2, "0::/init.scope\n", NULL, "/sys/fs/cgroup/init.scope");
	is(V2, "0::/\n", NULL, "/sys/fs/cgroup");
	assert_int_equal(cgroup_find(V2, "0::/a\n", "memory", path), -ENOENT);
	is(HYBRID, "7:cpu,cpuacct:/x\n5:memory:/pool/a\n0::/b\n", "memory",
		"/sys/fs/cgroup/memory/pool/a");
	is(HYBRID, "7:cpu,cpuacct:/x\n5:memory:/pool/a\n0::/b\n", "cpuacct",
		"/sys/fs/cgroup/cpu,cpuacct/x");
	is(HYBRID, "5:memory:/pool/a\n0::/b\n", NULL, "/sys/fs/cgroup/unified/b");
	is(CONTAINER, "5:memory:/docker/1f\n0::/docker/1f/x\n", "memory", "/sys/fs/cgroup/memory");
	is(CONTAINER, "5:memory:/docker/1f\n0::/docker/1f/x\n", NULL, "/sys/fs/cgroup/unified/x");
	/* Ours is not in what is mounted, nor is one whose name only begins as ours does. */
	assert_int_equal(cgroup_find(CONTAINER, "0::/docker/1f2\n", NULL, path), -EXDEV);
	assert_int_equal(cgroup_find(V2, "0::/../other\n", NULL, path), -EXDEV);
	assert_int_equal(cgroup_find("", "0::/\n", NULL, path), -ENOENT);
	assert_int_equal(cgroup_find(V2, "", NULL, path), -ENOENT);
}

static void test_count(_unused_ void **state)
{
	uint64_t n = 99;

	assert_int_equal(cgroup_count("low 0\nmax 4\noom 2\noom_kill 3\n", "oom_kill", &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(
		cgroup_count("oom_kill_disable 1\nunder_oom 0\noom_kill 5\n", "oom_kill", &n), 0);
	assert_int_equal(n, 5);
	assert_int_equal(cgroup_count("oom_kill_disable 1\n", "oom_kill", &n), -ENODATA);
	assert_int_equal(cgroup_count("", "oom_kill", &n), -ENODATA);
}

/* On this machine, as it is. */
static void test_two_of_a_name(_unused_ void **state)
{
	struct node_cgroup a, b, c;
	char why[256], first[PATH_MAX], node[64];
	struct stat st;
	int place;

	snprintf(node, sizeof(node), "test-%d", getpid());
	node_cgroup_open(&a, node, why, sizeof(why));
	place = a.path[CGROUP_UNIFIED][0] ? CGROUP_UNIFIED : CGROUP_MEMORY;
	if (!a.path[place][0]) {
		print_message("no control groups here: %s\n", why);
		skip();
	}
	assert_true((a.counter >= 0) == !why[0]);
	strcpy(first, a.path[place]);
	node_cgroup_open(&b, node, why, sizeof(why));
	assert_string_not_equal(b.path[place], first);
	node_cgroup_close(&b);
	assert_int_equal(stat(a.path[place], &st), 0);
	/* Who dies without closing leaves it to the next. */
	close(a.folder[CGROUP_UNIFIED]);
	close(a.folder[CGROUP_MEMORY]);
	node_cgroup_open(&c, node, why, sizeof(why));
	assert_string_equal(c.path[place], first);
	node_cgroup_close(&c);
	assert_int_equal(stat(first, &st), -1);
	/* All that is left of the first is descriptors. */
	for (int i = 0; i < _CGROUP_MAX; i++)
		closep(&a.procs[i]);
	closep(&a.counter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_two_of_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
