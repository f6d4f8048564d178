/* SPDX-License-Identifier: Apache-2.0 */
/* twinit-backtrace: see registers.h. */
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/user.h>

#include "config/parse.h"
#include "supervisor/base/log.h"
#include "supervisor/postmortem/registers.h"

#define FRAMES_MAX 48u
#define LINES_MAX 1500u
#define PATIENCE 60u /* seconds, then SIGALRM ends it */
#define LEVEL LOG_WARNING

/* libstdc++'s; there is no C header for it. */
char *__cxa_demangle(const char *name, char *buffer, size_t *length, int *status);

struct trace {
	const char *id;
	pid_t pid;
	const struct postmortem_registers *registers; /* NULL: ask the process */
	unsigned next, lines, frames;
};

static void say(struct trace *t, const char *fmt, ...) _printf_(2, 3);
static void say(struct trace *t, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (t->lines++ >= LINES_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_node(LEVEL, t->id, "%s", text);
}

/* --- what libdw asks for -------------------------------------------------------------------- */

static pid_t next_thread(_unused_ Dwfl *dwfl, void *arg, void **thread_arg)
{
	struct trace *t = arg;
	const struct twin_registers *r;

	if (t->next >= t->registers->n_threads)
		return 0;
	r = &t->registers->threads[t->next++];
	*thread_arg = (void *)(uintptr_t)r;
	return r->tid;
}

static bool memory_read(_unused_ Dwfl *dwfl, Dwarf_Addr at, Dwarf_Word *ret, void *arg)
{
	const struct trace *t = arg;
	struct iovec here = {.iov_base = ret, .iov_len = sizeof(*ret)};
	struct iovec there = {.iov_base = (void *)(uintptr_t)at, .iov_len = sizeof(*ret)};

	return process_vm_readv(t->pid, &here, 1, &there, 1, 0) == (ssize_t)sizeof(*ret);
}

/* DWARF's numbers for the registers, by the processor's ABI. */
static bool set_initial_registers(Dwfl_Thread *thread, void *thread_arg)
{
	const struct twin_registers *r = thread_arg;
	struct user_regs_struct u;

	if (r->len != sizeof(u))
		return false;
	memcpy(&u, r->data, sizeof(u));
#if defined(__x86_64__)
	const Dwarf_Word words[] = {u.rax, u.rdx, u.rcx, u.rbx, u.rsi, u.rdi, u.rbp, u.rsp, u.r8,
		u.r9, u.r10, u.r11, u.r12, u.r13, u.r14, u.r15, u.rip};

	return dwfl_thread_state_registers(thread, 0, ELEMENTSOF(words), words);
#elif defined(__aarch64__)
	Dwarf_Word words[32];

	for (int i = 0; i < 31; i++)
		words[i] = u.regs[i];
	words[31] = u.sp;
	dwfl_thread_state_register_pc(thread, u.pc);
	return dwfl_thread_state_registers(thread, 0, ELEMENTSOF(words), words);
#else
	return false;
#endif
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
	.next_thread = next_thread,
	.memory_read = memory_read,
	.set_initial_registers = set_initial_registers,
};

/* --- words ---------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return slash ? slash + 1 : path ? path : "?";
}

static void thread_name(const struct trace *t, pid_t tid, char ret[32])
{
	char path[64];
	_cleanup_close_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", t->pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, ret, 31);
	ret[MAX2(n, 0)] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

static int on_frame(Dwfl_Frame *frame, void *arg)
{
	struct trace *t = arg;
	Dwfl *dwfl = dwfl_thread_dwfl(dwfl_frame_thread(frame));
	const char *symbol = NULL, *module_path = NULL, *source = NULL;
	_cleanup_free_ char *plain = NULL;
	char where[160] = "", function[256] = "??";
	bool is_activation;
	Dwfl_Module *module;
	GElf_Off offset = 0;
	GElf_Sym sym;
	Dwarf_Addr pc, asked;
	int line = 0, status = 1;

	if (!dwfl_frame_pc(frame, &pc, &is_activation))
		return DWARF_CB_ABORT;
	/* A return address may be that of the next function, after one that never returns. */
	asked = is_activation ? pc : pc - 1;
	module = dwfl_addrmodule(dwfl, asked);
	if (module) {
		Dwfl_Line *l = dwfl_module_getsrc(module, asked);

		symbol = dwfl_module_addrinfo(module, asked, &offset, &sym, NULL, NULL, NULL);
		module_path = dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
		source = l ? dwfl_lineinfo(l, NULL, &line, NULL, NULL, NULL) : NULL;
	}
	if (symbol) {
		plain = __cxa_demangle(symbol, NULL, NULL, &status);
		snprintf(function, sizeof(function), "%.200s+0x%llx",
			status == 0 && plain ? plain : symbol, (unsigned long long)offset);
	}
	if (source)
		snprintf(where, sizeof(where), " at %.140s:%d", base_name(source), line);
	say(t, "  #%-2u 0x%012llx %s (%.60s)%s", t->frames, (unsigned long long)pc, function,
		base_name(module_path), where);
	return ++t->frames < FRAMES_MAX ? DWARF_CB_OK : DWARF_CB_ABORT;
}

static int on_thread(Dwfl_Thread *thread, void *arg)
{
	struct trace *t = arg;
	pid_t tid = dwfl_thread_tid(thread);
	char name[32];
	int r;

	thread_name(t, tid, name);
	say(t, " thread %d (%s):", tid, name);
	t->frames = 0;
	r = dwfl_thread_getframes(thread, on_frame, t);
	if (t->frames == 0)
		say(t, "  cannot be unwound: %s", r < 0 ? dwfl_errmsg(-1) : "no frame");
	return DWARF_CB_OK;
}

static int run(struct trace *t)
{
	static char *debug_path;
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_linux_proc_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.debuginfo_path = &debug_path,
	};
	Dwfl *dwfl = dwfl_begin(&callbacks);
	const char *step = "cannot begin";
	bool ok = false;

	if (dwfl) {
		step = "cannot read its mappings";
		ok = dwfl_linux_proc_report(dwfl, t->pid) == 0 &&
		     dwfl_report_end(dwfl, NULL, NULL) == 0;
	}
	if (ok) {
		step = "cannot be read";
		ok = t->registers ? dwfl_attach_state(dwfl, NULL, t->pid, &thread_callbacks, t)
				  : dwfl_linux_proc_attach(dwfl, t->pid, false) == 0;
	}
	if (ok) {
		step = "no threads";
		ok = dwfl_getthreads(dwfl, on_thread, t) == 0;
	}
	if (!ok)
		log_node(LOG_ERR, t->id, "no back trace of process %d: %s: %s", t->pid, step,
			dwfl_errmsg(-1) ?: "?");
	if (dwfl)
		dwfl_end(dwfl);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- start ------------------------------------------------------------------------------------ */

static int map_registers(int fd, const struct postmortem_registers **ret)
{
	const struct postmortem_registers *r;
	off_t size = lseek(fd, 0, SEEK_END);

	if (size < (off_t)sizeof(*r))
		return -EBADMSG;
	r = mmap(NULL, sizeof(*r), PROT_READ, MAP_PRIVATE, fd, 0);
	if (r == MAP_FAILED)
		return -errno;
	if (r->magic != POSTMORTEM_MAGIC || r->n_threads > POSTMORTEM_THREADS_MAX)
		return -EBADMSG;
	*ret = r;
	return 0;
}

/* It may take its time: nothing waits for it, and it must not be what a node waits for. */
static void be_humble(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "500", 3) < 0)
			log_debug("oom_score_adj stays as it is: %s", strerror(errno));
		close(fd);
	}
	(void)setpriority(PRIO_PROCESS, 0, 5);
	/* libdw would ask servers on the network for what is not installed. */
	unsetenv("DEBUGINFOD_URLS");
	signal(SIGALRM, SIG_DFL);
	alarm(PATIENCE);
}

static int number(const char *s)
{
	uint64_t v;

	return parse_u64(s, &v) == 0 && v <= INT_MAX ? (int)v : -1;
}

int main(int argc, char **argv)
{
	enum { ID = 1, PID, REGISTERS, WHY, LEVEL_OPTION };
	static const struct option known[] = {
		{"id", required_argument, NULL, ID},
		{"pid", required_argument, NULL, PID},
		{"registers-fd", required_argument, NULL, REGISTERS},
		{"why", required_argument, NULL, WHY},
		{"log-level", required_argument, NULL, LEVEL_OPTION},
		{0},
	};
	struct trace t = {.pid = -1};
	const char *why = "asked for";
	int c, fd = -1, r;

	log_open("twinit-backtrace");
	while ((c = getopt_long(argc, argv, "", known, NULL)) >= 0)
		switch (c) {
		case ID:
			t.id = optarg;
			break;
		case PID:
			t.pid = number(optarg);
			break;
		case REGISTERS:
			fd = number(optarg);
			break;
		case WHY:
			why = optarg;
			break;
		case LEVEL_OPTION:
			log_set_level(MAX2(log_level_from_string(optarg), LOG_ERR));
			break;
		default:
			return 2;
		}
	if (!t.id || t.pid <= 0 || optind < argc) {
		fprintf(stderr, "twinit-backtrace: started by twinit-keeper; "
				"--id=ID --pid=PID [--registers-fd=N] [--why=TEXT]\n");
		return 2;
	}
	be_humble();
	if (fd >= 0) {
		r = map_registers(fd, &t.registers);
		if (r < 0) {
			log_node(LOG_ERR, t.id, "no back trace: registers: %s", strerror(-r));
			return EXIT_FAILURE;
		}
	}
	say(&t, "back trace of process %d (%s):", t.pid, why);
	return run(&t);
}
