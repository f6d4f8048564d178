/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A small assembler for eBPF: instructions one after the other, jumps to labels that may come
 * later. */
#include <linux/bpf.h>
#include <stdint.h>

#include "config/macro.h"

#define BPF_CODE_MAX 200
#define BPF_LABELS_MAX 16

struct bpf_code {
	struct bpf_insn insn[BPF_CODE_MAX];
	unsigned n;
	unsigned label[BPF_LABELS_MAX];
	struct {
		unsigned at, label;
	} jump[BPF_CODE_MAX];
	unsigned n_jumps;
};

static inline void bpf_emit(
	struct bpf_code *c, unsigned code, unsigned dst, unsigned src, int off, int32_t imm)
{
	c->insn[c->n++] = (struct bpf_insn){.code = (uint8_t)code,
		.dst_reg = dst & 15,
		.src_reg = src & 15,
		.off = (int16_t)off,
		.imm = imm};
}
static inline void bpf_mov(struct bpf_code *c, unsigned dst, unsigned src)
{
	bpf_emit(c, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}
static inline void bpf_set(struct bpf_code *c, unsigned dst, int32_t value)
{
	bpf_emit(c, BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value);
}
/* op: BPF_ADD, BPF_SUB, ... */
static inline void bpf_do(struct bpf_code *c, unsigned op, unsigned dst, unsigned src)
{
	bpf_emit(c, BPF_ALU64 | op | BPF_X, dst, src, 0, 0);
}
static inline void bpf_do_value(struct bpf_code *c, unsigned op, unsigned dst, int32_t value)
{
	bpf_emit(c, BPF_ALU64 | op | BPF_K, dst, 0, 0, value);
}
/* size: BPF_B, BPF_H, BPF_W, BPF_DW */
static inline void bpf_load(struct bpf_code *c, unsigned size, unsigned dst, unsigned src, int off)
{
	bpf_emit(c, BPF_LDX | BPF_MEM | size, dst, src, off, 0);
}
static inline void bpf_store(struct bpf_code *c, unsigned size, unsigned dst, int off, unsigned src)
{
	bpf_emit(c, BPF_STX | BPF_MEM | size, dst, src, off, 0);
}
static inline void bpf_call(struct bpf_code *c, int function)
{
	bpf_emit(c, BPF_JMP | BPF_CALL, 0, 0, 0, function);
}
static inline void bpf_load_map(struct bpf_code *c, unsigned dst, int fd)
{
	bpf_emit(c, BPF_LD | BPF_DW | BPF_IMM, dst, BPF_PSEUDO_MAP_FD, 0, fd);
	bpf_emit(c, 0, 0, 0, 0, 0);
}
/* code: with class, operation and source */
static inline void bpf_jump(
	struct bpf_code *c, unsigned code, unsigned dst, unsigned src, int32_t value, unsigned to)
{
	c->jump[c->n_jumps].at = c->n;
	c->jump[c->n_jumps++].label = to;
	bpf_emit(c, code, dst, src, 0, value);
}
static inline void bpf_label(struct bpf_code *c, unsigned label)
{
	c->label[label] = c->n;
}
static inline void bpf_link_jumps(struct bpf_code *c)
{
	for (unsigned i = 0; i < c->n_jumps; i++)
		c->insn[c->jump[i].at].off =
			(int16_t)(c->label[c->jump[i].label] - c->jump[i].at - 1);
}
