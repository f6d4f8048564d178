/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/backtrace/unwind.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_MAX 128

/* libstdc++'s; there is no C header for it. */
char *__cxa_demangle(const char *name, char *buffer, size_t *length, int *status);

struct unwinding {
	const struct order *order;
	FILE *f;
	Dwfl *dwfl;
	int memory_fd;
	unsigned n_frames;
};

struct frame {
	Dwarf_Addr pc;
	bool exact;
};
struct live_thread {
	pid_t tid;
	unsigned n;
	struct frame frames[FRAMES_MAX];
};

static bool read_word(_unused_ Dwfl *dwfl, Dwarf_Addr at, Dwarf_Word *ret, void *arg)
{
	const struct unwinding *u = arg;
	unsigned long word;

	for (size_t i = 0; i < u->order->n_threads; i++) {
		const struct order_thread *t = &u->order->threads[i];
		if (t->stack && at - t->stack_at < t->stack_len &&
			t->stack_len - (at - t->stack_at) >= sizeof(word)) {
			memcpy(&word, t->stack + (at - t->stack_at), sizeof(word));
			*ret = word;
			return true;
		}
	}
	if (pread(u->memory_fd, &word, sizeof(word), (off_t)at) != (ssize_t)sizeof(word))
		return false;
	*ret = word;
	return true;
}

/* *cursor: the thread after the one before; NULL at first. */
static pid_t next_thread(_unused_ Dwfl *dwfl, void *arg, void **cursor)
{
	const struct unwinding *u = arg;
	const struct order_thread *t = *cursor, *end = u->order->threads + u->order->n_threads;

	for (t = t ? t + 1 : u->order->threads; t < end; t++)
		if (t->known) {
			*cursor = (void *)t;
			return t->tid;
		}
	return 0;
}

static bool set_registers(Dwfl_Thread *thread, void *thread_arg)
{
	const struct order_thread *t = thread_arg;
	Dwarf_Word words[ARCH_DWARF_REGISTERS_MAX];
	uint64_t values[ARCH_DWARF_REGISTERS_MAX], pc;
	unsigned n = arch_dwarf_registers(&t->regs, values, &pc);

	for (unsigned i = 0; i < n; i++)
		words[i] = values[i];
	dwfl_thread_state_register_pc(thread, pc);
	return dwfl_thread_state_registers(thread, 0, n, words);
}

static void print_source(struct unwinding *u, Dwfl_Module *module, Dwarf_Addr pc)
{
	Dwfl_Line *line = module ? dwfl_module_getsrc(module, pc) : NULL;
	const char *file;
	int number;

	if (!line)
		return;
	file = dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL);
	if (file)
		fprintf(u->f, " at %s:%d", file, number);
}

static void print_pc(struct unwinding *u, Dwarf_Addr pc, bool exact)
{
	Dwfl_Module *module;
	const char *name = NULL, *symbol = NULL, *slash;
	Dwarf_Addr look, start = 0;
	GElf_Off offset = 0;
	GElf_Sym sym;
	char *pretty;

	/* A return address may belong to the next function. */
	look = exact ? pc : pc - 1;
	module = dwfl_addrmodule(u->dwfl, look);
	if (module) {
		name = dwfl_module_info(module, NULL, &start, NULL, NULL, NULL, NULL, NULL);
		symbol = dwfl_module_addrinfo(module, look, &offset, &sym, NULL, NULL, NULL);
	}
	slash = name ? strrchr(name, '/') : NULL;
	fprintf(u->f, "  #%-3u 0x%016" PRIx64 " ", u->n_frames, (uint64_t)pc);
	pretty = symbol ? __cxa_demangle(symbol, NULL, NULL, NULL) : NULL;
	if (symbol)
		fprintf(u->f, "%s+0x%" PRIx64, pretty ? pretty : symbol,
			(uint64_t)(offset + (exact ? 0 : 1)));
	else
		fputs("?", u->f);
	free(pretty);
	if (name)
		fprintf(u->f, " (%s+0x%" PRIx64 ")", slash ? slash + 1 : name,
			(uint64_t)(pc - start));
	print_source(u, module, look);
	fputs("\n", u->f);
	u->n_frames++;
}

static int print_frame(Dwfl_Frame *frame, void *arg)
{
	struct unwinding *u = arg;
	Dwarf_Addr pc;
	bool exact;

	if (!dwfl_frame_pc(frame, &pc, &exact))
		return DWARF_CB_ABORT;
	print_pc(u, pc, exact);
	return u->n_frames >= FRAMES_MAX ? DWARF_CB_ABORT : DWARF_CB_OK;
}

static void print_thread(struct unwinding *u, const struct order_thread *t)
{
	const char *why;

	fprintf(u->f, "thread %d \"%s\"%s\n", t->tid, t->name, t->at_fault ? " (at fault)" : "");
	if (!t->known) {
		fputs("  its registers were not at hand\n", u->f);
		return;
	}
	u->n_frames = 0;
	(void)dwfl_errno();
	if (dwfl_getthread_frames(u->dwfl, t->tid, print_frame, u) == 0)
		return;
	if (u->n_frames >= FRAMES_MAX) {
		fputs("  ... deeper than is printed\n", u->f);
		return;
	}
	why = dwfl_errmsg(0);
	fprintf(u->f, "  (%s)\n", why ? why : "ends here");
}

static int take_frame(Dwfl_Frame *frame, void *arg)
{
	struct live_thread *t = arg;
	struct frame *to = &t->frames[t->n];

	if (!dwfl_frame_pc(frame, &to->pc, &to->exact))
		return DWARF_CB_ABORT;
	return ++t->n >= FRAMES_MAX ? DWARF_CB_ABORT : DWARF_CB_OK;
}

/* Nobody has read its registers: libdw stops it itself, until the last frame is known. Names are
 * looked for when it runs again. */
static int print_live_thread(Dwfl_Thread *thread, void *arg)
{
	struct unwinding *u = arg;
	struct live_thread t = {.tid = dwfl_thread_tid(thread)};
	const char *why;
	int r;

	(void)dwfl_errno();
	r = dwfl_thread_getframes(thread, take_frame, &t);
	why = r < 0 ? dwfl_errmsg(0) : NULL;
	fprintf(u->f, "thread %d \"\"\n", t.tid);
	u->n_frames = 0;
	for (unsigned i = 0; i < t.n; i++)
		print_pc(u, t.frames[i].pc, t.frames[i].exact);
	if (t.n >= FRAMES_MAX)
		fputs("  ... deeper than is printed\n", u->f);
	else if (r != 0)
		fprintf(u->f, "  (%s)\n", why ? why : "ends here");
	return DWARF_CB_OK;
}

/* What unwinding reads of a file is read before any thread is stopped for it. */
static int load_frames(Dwfl_Module *module, _unused_ void **user, _unused_ const char *name,
	_unused_ Dwarf_Addr start, _unused_ void *arg)
{
	Dwarf_Addr bias;

	(void)dwfl_module_eh_cfi(module, &bias);
	return DWARF_CB_OK;
}

static int print_all(struct unwinding *u)
{
	if (u->order->n_threads == 0) {
		(void)dwfl_getmodules(u->dwfl, load_frames, NULL, 0);
		return dwfl_getthreads(u->dwfl, print_live_thread, u) < 0 ? -ESRCH : 0;
	}
	for (size_t i = 0; i < u->order->n_threads; i++)
		if (u->order->threads[i].at_fault)
			print_thread(u, &u->order->threads[i]);
	for (size_t i = 0; i < u->order->n_threads; i++)
		if (!u->order->threads[i].at_fault)
			print_thread(u, &u->order->threads[i]);
	return 0;
}

int unwind_print(const struct order *o, FILE *f)
{
	static const Dwfl_Thread_Callbacks threads = {
		.next_thread = next_thread,
		.memory_read = read_word,
		.set_initial_registers = set_registers,
	};
	static char *no_path;
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_linux_proc_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.debuginfo_path = &no_path,
	};
	struct unwinding u = {.order = o, .f = f};
	char path[32];
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", o->memory_pid);
	u.memory_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (u.memory_fd < 0)
		return -errno;
	u.dwfl = dwfl_begin(&callbacks);
	if (!u.dwfl)
		r = -ENOMEM;
	if (r == 0 && (dwfl_linux_proc_report(u.dwfl, o->memory_pid) != 0 ||
			      dwfl_report_end(u.dwfl, NULL, NULL) != 0))
		r = -ESRCH;
	if (r == 0 && o->n_threads == 0)
		r = dwfl_linux_proc_attach(u.dwfl, o->pid, false) == 0 ? 0 : -EPERM;
	else if (r == 0 && !dwfl_attach_state(u.dwfl, NULL, o->pid, &threads, &u))
		r = -EINVAL;
	if (r == 0)
		r = print_all(&u);
	if (u.dwfl)
		dwfl_end(u.dwfl);
	close(u.memory_fd);
	return r;
}
