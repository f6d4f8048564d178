/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/fault.h"

#include <elf.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#if UINTPTR_MAX > UINT32_MAX
typedef Elf64_Ehdr ehdr;
typedef Elf64_Phdr phdr;
typedef Elf64_Nhdr nhdr;
#else
typedef Elf32_Ehdr ehdr;
typedef Elf32_Phdr phdr;
typedef Elf32_Nhdr nhdr;
#endif

#define NOTES_MAX 4096u

bool fault_is_same(const struct fault *a, const struct fault *b)
{
	if (a->cause == RESULT_SUCCESS || a->cause != b->cause || a->number != b->number)
		return false;
	return a->instruction == b->instruction;
}

static bool located(const struct fault *f)
{
	return f->module[0] != '\0';
}

static bool is_known_as(const struct fault *a, const struct fault *b)
{
	if (a->cause != b->cause || a->number != b->number)
		return false;
	if (!located(a) || !located(b))
		return fault_is_same(a, b);
	return a->offset == b->offset && strcmp(a->module, b->module) == 0 &&
	       a->build_id_len == b->build_id_len &&
	       memcmp(a->build_id, b->build_id, a->build_id_len) == 0;
}

void fault_remember(struct fault_memory *m, struct fault *f)
{
	struct fault *slot = NULL;

	m->last = *f;
	if (f->cause == RESULT_SUCCESS)
		return;
	for (unsigned i = 0; i < FAULTS_KEPT && !slot; i++)
		if (m->known[i].times > 0 && is_known_as(&m->known[i], f))
			slot = &m->known[i];
	if (!slot) {
		slot = &m->known[m->next++ % FAULTS_KEPT];
		*slot = (struct fault){.times = 0};
	}
	f->times = slot->times + 1;
	*slot = *f;
	m->last = *f;
}

static bool peek(pid_t pid, uint64_t at, void *ret, size_t len)
{
	struct iovec mine = {ret, len}, theirs = {(void *)at, len};

	return process_vm_readv(pid, &mine, 1, &theirs, 1, 0) == (ssize_t)len;
}

/* One note segment; true when it held the build-id. */
static bool find_in_notes(struct fault *f, pid_t pid, uint64_t at, uint64_t size)
{
	nhdr n;

	/* The header that says so lies in the node's memory: it may say anything. */
	size = size < NOTES_MAX ? size : NOTES_MAX;
	for (uint64_t end = at + size; at + sizeof(n) <= end;) {
		uint64_t name, desc;

		if (!peek(pid, at, &n, sizeof(n)))
			return false;
		name = at + sizeof(n);
		desc = name + ((n.n_namesz + 3u) & ~3u);
		if (n.n_type == NT_GNU_BUILD_ID && n.n_namesz == sizeof(ELF_NOTE_GNU)) {
			f->build_id_len =
				n.n_descsz < FAULT_BUILD_ID_MAX ? n.n_descsz : FAULT_BUILD_ID_MAX;
			if (peek(pid, desc, f->build_id, f->build_id_len))
				return true;
			f->build_id_len = 0;
			return false;
		}
		at = desc + ((n.n_descsz + 3u) & ~3u);
	}
	return false;
}

/* base: where the file's first page is mapped. */
static void find_build_id(struct fault *f, pid_t pid, uint64_t base)
{
	ehdr e;
	phdr p;

	if (!peek(pid, base, &e, sizeof(e)) || memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 ||
		e.e_phentsize != sizeof(p))
		return;
	for (unsigned i = 0; i < e.e_phnum && i < 64; i++) {
		if (!peek(pid, base + e.e_phoff + i * sizeof(p), &p, sizeof(p)))
			return;
		/* Notes lie in the first page or two: mapped where they are in the file. */
		if (p.p_type == PT_NOTE && find_in_notes(f, pid, base + p.p_offset, p.p_filesz))
			return;
	}
}

void fault_locate(struct fault *f, pid_t pid)
{
	char path[32], line[512], first_name[256] = "";
	uint64_t base = 0;
	FILE *maps;

	if (!f->instruction)
		return;
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return;
	while (fgets(line, sizeof(line), maps)) {
		uint64_t from, to, offset;
		char name[256] = "";
		const char *slash;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*4s %" SCNx64 " %*s %*s %255[^\n]",
			    &from, &to, &offset, name) < 3)
			continue;
		if (offset == 0 && name[0] == '/') {
			base = from;
			memcpy(first_name, name, sizeof(name));
		}
		if (f->instruction < from || f->instruction >= to)
			continue;
		if (name[0] == '/') {
			slash = strrchr(name, '/');
			snprintf(f->module, sizeof(f->module), "%.63s", slash + 1);
			f->offset = f->instruction - from + offset;
			if (strcmp(name, first_name) == 0)
				find_build_id(f, pid, base);
		}
		break;
	}
	fclose(maps);
}

void fault_format(const struct fault *f, char *ret, size_t size)
{
	const char *sig = f->cause == RESULT_SIGNAL ? sigabbrev_np(f->number) : NULL;
	char id[2 * FAULT_BUILD_ID_MAX + 1] = "", where[192] = "", what[48], at[32] = "";

	ret[0] = '\0';
	if (f->cause == RESULT_SUCCESS)
		return;
	for (unsigned i = 0; i < f->build_id_len; i++)
		snprintf(id + 2 * i, 3, "%02x", f->build_id[i]);
	if (located(f))
		snprintf(where, sizeof(where), " in %s+0x%" PRIx64 "%s%s%s", f->module, f->offset,
			id[0] ? " (build-id " : "", id, id[0] ? ")" : "");
	else if (f->instruction)
		snprintf(where, sizeof(where), " in 0x%" PRIx64, f->instruction);
	if (sig)
		snprintf(what, sizeof(what), "SIG%s", sig);
	else if (f->cause == RESULT_EXIT_CODE)
		snprintf(what, sizeof(what), "exit status %d", f->number);
	else
		snprintf(what, sizeof(what), "%s", node_result_to_string(f->cause));
	if (f->address)
		snprintf(at, sizeof(at), " at 0x%" PRIx64, f->address);
	snprintf(ret, size, "%s%s%s, seen %u time%s", what, at, where, f->times,
		f->times == 1 ? "" : "s");
}
