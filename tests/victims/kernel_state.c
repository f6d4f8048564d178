/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of state that the kernel keeps for a process: each line sets something up, and what it
 * then reads must never change. A line whose set-up the kernel refuses is left out.
 */
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/membarrier.h>
#include <linux/mempolicy.h>
#include <asm/ldt.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>

#include "tests/victims/victim.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
#define MDWE_REFUSE_EXEC_GAIN 1UL
#define MDWE_NO_INHERIT 2UL
#define ARCH_GET_XCOMP_PERM 0x1022
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILE 18
#define SIZE (1 << 20)
#define UNSUPPORTED (-77777)

static long hash(long h, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		h = (h ^ ((const uint8_t *)data)[i]) * 1000003;
	return h & 0x7fffffffffff;
}

/* A file of /proc/self, or of one line of it the part that begins with the key. */
static long proc_value(const char *file, const char *key)
{
	static char text[65536];
	char path[64];
	long h = 7;
	size_t n;

	snprintf(path, sizeof(path), "/proc/self/%s", file);
	FILE *f = fopen(path, "re");
	victim_check(f, "%s", path);
	if (key) {
		while (fgets(text, sizeof(text), f))
			if (strncmp(text, key, strlen(key)) == 0)
				h = hash(h, text, strlen(text));
	} else {
		while ((n = fread(text, 1, sizeof(text), f)) > 0)
			h = hash(h, text, n);
	}
	fclose(f);
	return h;
}

static int set_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 0);
}
static long get_dumpable(void)
{
	return prctl(PR_GET_DUMPABLE);
}

static int set_securebits(void)
{
	return prctl(PR_SET_SECUREBITS, 0x4 | 0x10); /* NO_SETUID_FIXUP, KEEP_CAPS */
}
static long get_securebits(void)
{
	return prctl(PR_GET_SECUREBITS);
}

static int set_capabilities(void)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct caps[2];

	if (prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT) < 0 || syscall(SYS_capget, &head, caps) < 0)
		return -1;
	caps[0].inheritable |= 1u << CAP_NET_BIND_SERVICE | 1u << CAP_KILL;
	caps[0].effective &= ~(1u << CAP_SYS_RAWIO);
	if (syscall(SYS_capset, &head, caps) < 0)
		return -1;
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0);
}
static long get_capabilities(void)
{
	return proc_value("status", "Cap");
}

static int set_merge(void)
{
	return prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
}
static long get_merge(void)
{
	return prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
}

static int set_mdwe(void)
{
	return prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN | MDWE_NO_INHERIT, 0, 0, 0);
}
static long get_mdwe(void)
{
	return prctl(PR_GET_MDWE, 0, 0, 0, 0);
}

static int set_core_filter(void)
{
	FILE *f = fopen("/proc/self/coredump_filter", "we");
	return f && fputs("0x21", f) >= 0 && fclose(f) == 0 ? 0 : -1;
}
static long get_core_filter(void)
{
	return proc_value("coredump_filter", NULL);
}

static int set_personality(void)
{
	return personality(ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT) < 0 ? -1 : 0;
}
static long get_personality(void)
{
	return personality(0xffffffff);
}

static int set_policy(void)
{
	unsigned long nodes = 1;
	return (int)syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 8 * sizeof(nodes));
}
static long get_policy(void)
{
	int mode = -1;
	return syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0) < 0 ? -1 : mode;
}

static int set_membarrier(void)
{
	return (int)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}
static long get_membarrier(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

static int set_ldt(void)
{
	struct user_desc d = {
		.entry_number = 3, .base_addr = 0x1234000, .limit = 77, .seg_32bit = 1};
	return (int)syscall(SYS_modify_ldt, 1, &d, sizeof(d));
}
static long get_ldt(void)
{
	char table[256] = {0};
	long n = syscall(SYS_modify_ldt, 0, table, sizeof(table));
	return hash(n, table, sizeof(table));
}

static int set_amx(void)
{
	return (int)syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE);
}
static long get_amx(void)
{
	uint64_t features = 0;
	return syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM, &features) < 0 ? -1 : (long)features;
}

static int set_keyring(void)
{
	long ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "victim", 0, 0, 0);
	return ring > 0 && syscall(SYS_add_key, "user", "victim-key", "x", 1, ring) > 0 ? 0 : -1;
}
static long get_keyring(void)
{
	return syscall(
		SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "victim-key", 0);
}

static char *advised;
static int set_advice(void)
{
	/* With a fence on both sides, for it may not grow together with its neighbours. */
	char *room = mmap(NULL, 8 * SIZE + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return -1;
	advised = room + 4096;
	victim_check(mprotect(advised, 8 * SIZE, PROT_READ | PROT_WRITE) == 0, "mprotect");
	memset(advised, 0x55, 8 * SIZE);
	/* What the machine does not have leaves no flag, and is then not looked for. */
	(void)madvise(advised, SIZE, MADV_MERGEABLE);
	(void)madvise(advised + SIZE, SIZE, MADV_DONTDUMP);
	(void)madvise(advised + 2 * SIZE, SIZE, MADV_HUGEPAGE);
	(void)madvise(advised + 3 * SIZE, SIZE, MADV_NOHUGEPAGE);
	(void)madvise(advised + 4 * SIZE, SIZE, MADV_RANDOM);
	(void)madvise(advised + 5 * SIZE, SIZE, MADV_DONTFORK);
	(void)madvise(advised + 6 * SIZE, SIZE, MADV_WIPEONFORK);
	return mprotect(advised + 7 * SIZE, SIZE, PROT_READ);
}
static long advice_flags(void)
{
	char line[512];
	unsigned long start = 0, end = 0, s, e;
	long h = 11;
	FILE *f = fopen("/proc/self/smaps", "re");

	victim_check(f, "smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &s, &e) == 2) {
			start = s;
			end = e;
		} else if (start >= (unsigned long)advised &&
			   end <= (unsigned long)advised + 8 * SIZE &&
			   strncmp(line, "VmFlags:", 8) == 0)
			h = hash(h ^ (long)(start - (unsigned long)advised), line, strlen(line));
	}
	fclose(f);
	return h;
}
static long get_advice(void)
{
	unsigned swaps;
	long h;

	/* Of a text that is half of one process and half of another one makes nothing. */
	do {
		swaps = atomic_load(&victim->swaps);
		h = advice_flags();
	} while (atomic_load(&victim->swaps) != swaps);
	for (size_t i = 0; i < 8; i++)
		victim_check(advised[i * SIZE + 4096] == 0x55,
			"advised memory %zu has other contents", i);
	return h;
}

static volatile int *segment;
static int set_shm(void)
{
	int id = shmget(IPC_PRIVATE, 4096, 0600);
	void *at = id < 0 ? (void *)-1 : shmat(id, NULL, 0);
	if (at == (void *)-1)
		return -1;
	segment = at;
	*segment = 4711;
	/* Gone with its last user. */
	return shmctl(id, IPC_RMID, NULL);
}
static long get_shm(void)
{
	return *segment;
}

static volatile int *secret;
static int set_secret(void)
{
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return -1;
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return -1;
	secret = p;
	*secret = 815;
	return 0;
}
static long get_secret(void)
{
	return *secret;
}

static int set_memfd(void)
{
	return (int)memfd_create("victim-memfd", MFD_ALLOW_SEALING | MFD_CLOEXEC);
}
static long get_memfd(void)
{
	return proc_value("maps", "never there"); /* the descriptor is victim files' matter */
}

static int set_nothing(void)
{
	return 0;
}
static long get_identity(void)
{
	long h = proc_value("cmdline", NULL);
	char exe[256];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe));
	victim_check(n > 0, "exe");
	h = hash(h, exe, (size_t)n);
	h ^= proc_value("environ", NULL) ^ proc_value("auxv", NULL) ^ proc_value("cgroup", NULL);
	h ^= proc_value("limits", NULL) ^ proc_value("loginuid", NULL) ^ proc_value("cpuset", NULL);
	return h ^ proc_value("status", "Groups") ^ proc_value("status", "Speculation");
}

/* As if the program named itself by its arguments (PR_SET_MM_ARG_START, _END). */
static int set_arguments(void)
{
	static char line[] = "renamed\0victim";
	if (prctl(PR_SET_MM, PR_SET_MM_ARG_END, line + sizeof(line), 0, 0) < 0)
		return -1;
	return prctl(PR_SET_MM, PR_SET_MM_ARG_START, line, 0, 0);
}

static int set_speculation(void)
{
	return prctl(PR_SET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, PR_SPEC_DISABLE, 0, 0);
}
static long get_speculation(void)
{
	return prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0) * 100 +
	       prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_INDIRECT_BRANCH, 0, 0, 0);
}

static int set_mce(void)
{
	return prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
}
static long get_mce(void)
{
	return prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
}

static int set_flusher(void)
{
	return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}
static long get_flusher(void)
{
	return prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0);
}

static struct line {
	const char *name;
	int (*set)(void);
	long (*get)(void);
	long value;
} lines[] = {
	{"identity", set_nothing, get_identity, 0},
	{"arguments", set_arguments, get_identity, 0},
	{"dumpable", set_dumpable, get_dumpable, 0},
	{"securebits", set_securebits, get_securebits, 0},
	{"memory merge", set_merge, get_merge, 0},
	{"core filter", set_core_filter, get_core_filter, 0},
	{"personality", set_personality, get_personality, 0},
	{"memory policy", set_policy, get_policy, 0},
	{"membarrier", set_membarrier, get_membarrier, 0},
	{"ldt", set_ldt, get_ldt, 0},
	{"amx permission", set_amx, get_amx, 0},
	{"session keyring", set_keyring, get_keyring, 0},
	{"madvise", set_advice, get_advice, 0},
	{"sysv memory", set_shm, get_shm, 0},
	{"secret memory", set_secret, get_secret, 0},
	{"memfd", set_memfd, get_memfd, 0},
	{"speculation", set_speculation, get_speculation, 0},
	{"machine checks", set_mce, get_mce, 0},
	{"io flusher", set_flusher, get_flusher, 0},
	{"capabilities", set_capabilities, get_capabilities, 0},
	{"no exec gain", set_mdwe, get_mdwe, 0},
};

int main(void)
{
	const size_t n = sizeof(lines) / sizeof(lines[0]);

	victim_begin();
	for (size_t i = 0; i < n; i++)
		if (lines[i].set() < 0) {
			if (!getenv("VICTIM_FD"))
				printf("%s: not here (%s)\n", lines[i].name, strerror(errno));
			lines[i].get = NULL;
		}
	for (size_t i = 0; i < n; i++)
		lines[i].value = lines[i].get ? lines[i].get() : UNSUPPORTED;
	while (!victim_stopping()) {
		for (size_t i = 0; i < n; i++) {
			long v = lines[i].get ? lines[i].get() : UNSUPPORTED;
			victim_check(v == lines[i].value, "%s: %ld, not %ld", lines[i].name, v,
				lines[i].value);
		}
		victim_nap(500);
		victim_progress();
	}
	return 0;
}
