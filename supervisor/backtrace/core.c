/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/backtrace/core.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <unistd.h>

#if UINTPTR_MAX > UINT32_MAX
#define CLASS ELFCLASS64
typedef Elf64_Ehdr ehdr;
typedef Elf64_Phdr phdr;
typedef Elf64_Nhdr nhdr;
#else
#define CLASS ELFCLASS32
typedef Elf32_Ehdr ehdr;
typedef Elf32_Phdr phdr;
typedef Elf32_Nhdr nhdr;
#endif

#define PAGE 4096u

struct mapping {
	uint64_t from, to, offset, keep; /* keep: bytes of it that go into the file */
	unsigned flags;
	char name[256];
};
struct core {
	const struct order *o;
	int fd, memory_fd;
	struct mapping *maps;
	size_t n_maps;
	char *notes;
	size_t notes_len;
};

static bool wanted(const struct mapping *m, const char *perms)
{
	if (perms[3] == 's' || strcmp(m->name, "[vvar]") == 0 ||
		strcmp(m->name, "[vvar_vclock]") == 0 || strcmp(m->name, "[vsyscall]") == 0)
		return false;
	return perms[0] == 'r';
}

static int read_maps(struct core *c)
{
	char path[32], line[600], perms[8];
	struct mapping *more, m;
	FILE *f;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", c->o->memory_pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (r == 0 && fgets(line, sizeof(line), f)) {
		m = (struct mapping){0};
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %*s %*s %255[^\n]",
			    &m.from, &m.to, perms, &m.offset, m.name) < 4)
			continue;
		m.flags = (perms[0] == 'r' ? PF_R : 0u) | (perms[1] == 'w' ? PF_W : 0u) |
			  (perms[2] == 'x' ? PF_X : 0u);
		if (!wanted(&m, perms))
			m.keep = 0;
		else if (m.name[0] == '/' && perms[1] != 'w')
			m.keep = m.offset == 0 ? PAGE : 0; /* the build-id is there */
		else
			m.keep = m.to - m.from;
		more = reallocarray(c->maps, c->n_maps + 1, sizeof(*more));
		if (!more)
			r = -ENOMEM;
		else {
			c->maps = more;
			c->maps[c->n_maps++] = m;
		}
	}
	fclose(f);
	return r;
}

static int add_note(struct core *c, unsigned type, const void *data, size_t len)
{
	const nhdr head = {.n_namesz = 5, .n_descsz = (unsigned)len, .n_type = type};
	size_t padded = (len + 3) & ~(size_t)3, total = sizeof(head) + 8 + padded;
	char *more = realloc(c->notes, c->notes_len + total), *p;

	if (!more)
		return -ENOMEM;
	c->notes = more;
	p = more + c->notes_len;
	memset(p, 0, total);
	memcpy(p, &head, sizeof(head));
	memcpy(p + sizeof(head), "CORE", 5);
	memcpy(p + sizeof(head) + 8, data, len);
	c->notes_len += total;
	return 0;
}

static int add_thread(struct core *c, const struct order_thread *t)
{
	struct elf_prstatus status = {.pr_pid = t->tid};

	if (!t->known)
		return 0;
	status.pr_cursig = (short)(t->at_fault ? c->o->signal : 0);
	status.pr_info.si_signo = status.pr_cursig;
	status.pr_ppid = getppid();
	_Static_assert(sizeof(status.pr_reg) == sizeof(t->regs), "the kernel's register set");
	memcpy(&status.pr_reg, &t->regs, sizeof(t->regs));
	return add_note(c, NT_PRSTATUS, &status, sizeof(status));
}

static size_t read_proc(const struct core *c, const char *name, void *buf, size_t size)
{
	char path[48];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", c->o->memory_pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, buf, size) : -1;
	if (fd >= 0)
		close(fd);
	return n > 0 ? (size_t)n : 0;
}

/* NT_FILE: count, page size, then from, to and page offset of each, then the names. */
static int add_files(struct core *c)
{
	uint64_t head[2] = {0, PAGE}, entry[3];
	char *data = NULL;
	size_t len = 0;
	FILE *f;
	int r;

	for (size_t i = 0; i < c->n_maps; i++)
		head[0] += c->maps[i].name[0] == '/';
	f = open_memstream(&data, &len);
	if (!f)
		return -ENOMEM;
	fwrite(head, sizeof(head), 1, f);
	for (size_t i = 0; i < c->n_maps; i++) {
		entry[0] = c->maps[i].from;
		entry[1] = c->maps[i].to;
		entry[2] = c->maps[i].offset / PAGE;
		if (c->maps[i].name[0] == '/')
			fwrite(entry, sizeof(entry), 1, f);
	}
	for (size_t i = 0; i < c->n_maps; i++)
		if (c->maps[i].name[0] == '/')
			fwrite(c->maps[i].name, strlen(c->maps[i].name) + 1, 1, f);
	r = fclose(f) == 0 ? add_note(c, NT_FILE, data, len) : -ENOMEM;
	free(data);
	return r;
}

static int add_notes(struct core *c)
{
	struct elf_prpsinfo info = {.pr_sname = 'R', .pr_pid = c->o->pid};
	char auxv[1024];
	size_t n;
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->o->n_threads; i++)
		if (c->o->threads[i].at_fault)
			r = add_thread(c, &c->o->threads[i]);
	for (size_t i = 0; r == 0 && i < c->o->n_threads; i++)
		if (!c->o->threads[i].at_fault)
			r = add_thread(c, &c->o->threads[i]);
	n = read_proc(c, "cmdline", info.pr_psargs, sizeof(info.pr_psargs) - 1);
	for (size_t i = 0; i + 1 < n; i++)
		if (!info.pr_psargs[i])
			info.pr_psargs[i] = ' ';
	for (size_t i = 0; i < c->o->n_threads; i++)
		if (c->o->threads[i].tid == c->o->pid)
			memcpy(info.pr_fname, c->o->threads[i].name, sizeof(info.pr_fname) - 1);
	if (r == 0)
		r = add_note(c, NT_PRPSINFO, &info, sizeof(info));
	n = read_proc(c, "auxv", auxv, sizeof(auxv));
	if (r == 0 && n > 0)
		r = add_note(c, NT_AUXV, auxv, n);
	return r < 0 ? r : add_files(c);
}

static int write_at(const struct core *c, uint64_t at, const void *data, size_t len)
{
	ssize_t n = pwrite(c->fd, data, len, (off_t)at);

	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -ENOSPC;
}

static int write_heads(const struct core *c, uint64_t data_at)
{
	uint64_t heads = c->n_maps + 1, at = sizeof(ehdr);
	ehdr e = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, CLASS,
			__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB,
			EV_CURRENT},
		.e_type = ET_CORE,
		.e_machine = ARCH_ELF_MACHINE,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(ehdr),
		.e_ehsize = sizeof(ehdr),
		.e_phentsize = sizeof(phdr),
		.e_phnum = (uint16_t)heads,
	};
	phdr p = {.p_type = PT_NOTE,
		.p_offset = sizeof(ehdr) + heads * sizeof(phdr),
		.p_filesz = c->notes_len,
		.p_align = 4};
	int r;

	if (heads >= PN_XNUM)
		return -EFBIG;
	r = write_at(c, 0, &e, sizeof(e));
	if (r == 0)
		r = write_at(c, at, &p, sizeof(p));
	for (size_t i = 0; r == 0 && i < c->n_maps; i++) {
		const struct mapping *m = &c->maps[i];
		p = (phdr){.p_type = PT_LOAD,
			.p_flags = m->flags,
			.p_offset = data_at,
			.p_vaddr = m->from,
			.p_filesz = m->keep,
			.p_memsz = m->to - m->from,
			.p_align = PAGE};
		data_at += m->keep;
		r = write_at(c, at += sizeof(p), &p, sizeof(p));
	}
	return r == 0 ? write_at(c, at + sizeof(p), c->notes, c->notes_len) : r;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return n > 0 && p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static int write_memory(const struct core *c, const struct mapping *m, uint64_t at)
{
	static uint8_t buf[64 * PAGE];
	int r = 0;

	for (uint64_t done = 0; r == 0 && done < m->keep; done += sizeof(buf)) {
		size_t len = m->keep - done < sizeof(buf) ? (size_t)(m->keep - done) : sizeof(buf);
		ssize_t n = pread(c->memory_fd, buf, len, (off_t)(m->from + done));

		if (n <= 0)
			continue; /* a hole that reads as zeros */
		for (size_t page = 0; r == 0 && page < (size_t)n; page += PAGE) {
			size_t part = (size_t)n - page < PAGE ? (size_t)n - page : PAGE;
			if (!is_zero(buf + page, part))
				r = write_at(c, at + done + page, buf + page, part);
		}
	}
	return r;
}

static int write_all(const struct core *c, uint64_t max_bytes)
{
	uint64_t at = sizeof(ehdr) + (c->n_maps + 1) * sizeof(phdr) + c->notes_len, total = 0;
	int r;

	at = (at + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	for (size_t i = 0; i < c->n_maps; i++)
		total += c->maps[i].keep;
	if (total > max_bytes)
		return -EFBIG;
	r = write_heads(c, at);
	if (r == 0 && ftruncate(c->fd, (off_t)(at + total)) < 0)
		r = -errno;
	for (size_t i = 0; r == 0 && i < c->n_maps; i++) {
		r = write_memory(c, &c->maps[i], at);
		at += c->maps[i].keep;
	}
	return r;
}

int core_write(int fd, const struct order *o, uint64_t max_bytes)
{
	struct core c = {.o = o, .fd = fd};
	char path[32];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/mem", o->memory_pid);
	c.memory_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (c.memory_fd < 0)
		return -errno;
	r = read_maps(&c);
	if (r == 0)
		r = add_notes(&c);
	if (r == 0)
		r = write_all(&c, max_bytes);
	close(c.memory_fd);
	free(c.maps);
	free(c.notes);
	return r;
}
