/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/prober/message_count.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probes/prober/bpf_code.h"

#define STREAMS_MAX 1024
#define LENGTH_MAX (1 << 28)
#define WORDS_MAX 1024 /* in one packet (of up to 64 KB); with more the stream is lost */
#define FLAGS_SYN 0x02
#define FLAGS_PSH 0x08
#define FLAGS_ACK 0x10

enum { STATE_OTHER, STATE_LOST, STATE_TRIAL, STATE_FOLLOWED };
struct state {
	int64_t messages; /* the header is one: so it begins with -1 */
	uint32_t next;    /* sequence number of the next length */
	uint32_t state;
	uint32_t end, pushed; /* of the last packet */
};
#define AT(field) ((int)offsetof(struct state, field))

/* --- the program ---------------------------------------------------------------------------- */

enum { R0, R1, R2, R3, R4, R5, SKB, STATE, LENGTH, POS, FP };
/* on its stack */
enum {
	S_KEY = -8,
	S_NEW = S_KEY - (int)sizeof(struct state),
	S_IP = S_NEW - 24,
	S_TCP = S_IP - 24,
	S_WORD = S_TCP - 8,
	S_START = S_WORD - 8,
	S_SEQ = S_START - 8,
	S_FLAGS = S_SEQ - 8,
	S_ROUND = S_FLAGS - 8,
};
enum { L_OUT, L_HAVE, L_KNOWN, L_SEEK, L_LOST, L_LOOP, L_DONE, L_OTHER, L_STRADDLE, L_UNSURE };

static void jump_if(struct bpf_code *c, unsigned op, unsigned reg, int32_t value, unsigned to)
{
	bpf_jump(c, BPF_JMP | op | BPF_K, reg, 0, value, to);
}

static void go(struct bpf_code *c, unsigned to)
{
	bpf_jump(c, BPF_JMP | BPF_JA, 0, 0, 0, to);
}

/* len bytes of the packet from R2 on, to the stack. */
static void load_bytes(struct bpf_code *c, int to, int len, unsigned on_failure)
{
	bpf_mov(c, R1, SKB);
	bpf_mov(c, R3, FP);
	bpf_do_value(c, BPF_ADD, R3, to);
	bpf_set(c, R4, len);
	bpf_call(c, BPF_FUNC_skb_load_bytes);
	jump_if(c, BPF_JNE, R0, 0, on_failure);
}

static void set_state(struct bpf_code *c, int state)
{
	bpf_set(c, R1, state);
	bpf_store(c, BPF_W, STATE, AT(state), R1);
}

/* On trial it is not known what is counted; where it is confirmed, one is. */
static void count(struct bpf_code *c, unsigned otherwise)
{
	bpf_load(c, BPF_W, R1, STATE, AT(state));
	jump_if(c, BPF_JNE, R1, STATE_FOLLOWED, otherwise);
	bpf_load(c, BPF_DW, R1, STATE, AT(messages));
	bpf_do_value(c, BPF_ADD, R1, 1);
	bpf_store(c, BPF_DW, STATE, AT(messages), R1);
}

/* LENGTH of the payload, S_START of it, S_SEQ, S_FLAGS, S_KEY. */
static void take_headers(struct bpf_code *c)
{
	bpf_mov(c, SKB, R1);
	bpf_load(c, BPF_W, R0, SKB, offsetof(struct __sk_buff, protocol));
	jump_if(c, BPF_JNE, R0, htons(ETH_P_IP), L_OUT);
	bpf_load(c, BPF_W, LENGTH, SKB, offsetof(struct __sk_buff, len));
	bpf_set(c, R2, 0);
	load_bytes(c, S_IP, 20, L_OUT);
	bpf_load(c, BPF_B, R0, FP, S_IP + 9);
	jump_if(c, BPF_JNE, R0, IPPROTO_TCP, L_OUT);
	bpf_load(c, BPF_B, R2, FP, S_IP);
	bpf_do_value(c, BPF_AND, R2, 15);
	bpf_do_value(c, BPF_LSH, R2, 2);
	bpf_store(c, BPF_DW, FP, S_START, R2);
	load_bytes(c, S_TCP, 20, L_OUT);
	bpf_load(c, BPF_W, R0, FP, S_IP + 16);
	bpf_store(c, BPF_W, FP, S_KEY, R0);
	bpf_load(c, BPF_H, R0, FP, S_TCP);
	bpf_store(c, BPF_H, FP, S_KEY + 4, R0);
	bpf_load(c, BPF_H, R0, FP, S_TCP + 2);
	bpf_store(c, BPF_H, FP, S_KEY + 6, R0);
	bpf_load(c, BPF_B, R1, FP, S_TCP + 12);
	bpf_do_value(c, BPF_RSH, R1, 4);
	bpf_do_value(c, BPF_LSH, R1, 2);
	bpf_load(c, BPF_DW, R0, FP, S_START);
	bpf_do(c, BPF_ADD, R0, R1);
	bpf_store(c, BPF_DW, FP, S_START, R0);
	bpf_do(c, BPF_SUB, LENGTH, R0);
	bpf_load(c, BPF_W, R0, FP, S_TCP + 4);
	bpf_emit(c, BPF_ALU | BPF_END | BPF_TO_BE, R0, 0, 0, 32);
	bpf_store(c, BPF_DW, FP, S_SEQ, R0);
	bpf_load(c, BPF_B, R0, FP, S_TCP + 13);
	bpf_store(c, BPF_DW, FP, S_FLAGS, R0);
}

static void take_new(struct bpf_code *c, int map)
{
	bpf_load(c, BPF_DW, R0, FP, S_FLAGS);
	bpf_do_value(c, BPF_AND, R0, FLAGS_SYN);
	jump_if(c, BPF_JEQ, R0, 0, L_HAVE);
	bpf_set(c, R0, -1);
	bpf_store(c, BPF_DW, FP, S_NEW + AT(messages), R0);
	bpf_load(c, BPF_DW, R0, FP, S_SEQ);
	bpf_do_value(c, BPF_ADD, R0, 1);
	bpf_store(c, BPF_W, FP, S_NEW + AT(next), R0);
	bpf_set(c, R0, STATE_FOLLOWED);
	bpf_store(c, BPF_W, FP, S_NEW + AT(state), R0);
	bpf_set(c, R0, 0);
	bpf_store(c, BPF_DW, FP, S_NEW + AT(end), R0);
	bpf_load_map(c, R1, map);
	bpf_mov(c, R2, FP);
	bpf_do_value(c, BPF_ADD, R2, S_KEY);
	bpf_mov(c, R3, FP);
	bpf_do_value(c, BPF_ADD, R3, S_NEW);
	bpf_set(c, R4, BPF_ANY);
	bpf_call(c, BPF_FUNC_map_update_elem);
	go(c, L_OUT);
}

/* A stream that was lost: does a write begin with this packet? */
static void seek(struct bpf_code *c)
{
	bpf_load(c, BPF_W, R0, STATE, AT(state));
	jump_if(c, BPF_JEQ, R0, STATE_OTHER, L_OUT);
	jump_if(c, BPF_JNE, R0, STATE_LOST, L_KNOWN);
	bpf_load(c, BPF_W, R0, STATE, AT(pushed));
	jump_if(c, BPF_JEQ, R0, 0, L_SEEK);
	bpf_load(c, BPF_W, R0, STATE, AT(end));
	bpf_load(c, BPF_W, R1, FP, S_SEQ);
	bpf_jump(c, BPF_JMP | BPF_JNE | BPF_X, R0, R1, 0, L_SEEK);
	bpf_store(c, BPF_W, STATE, AT(next), R1);
	set_state(c, STATE_TRIAL);
	bpf_label(c, L_KNOWN);
}

/* R0: the sequence number behind this packet. */
static void note_end(struct bpf_code *c)
{
	bpf_load(c, BPF_W, R0, FP, S_SEQ);
	bpf_emit(c, BPF_ALU | BPF_ADD | BPF_X, R0, LENGTH, 0, 0);
	bpf_store(c, BPF_W, STATE, AT(end), R0);
	bpf_load(c, BPF_DW, R1, FP, S_FLAGS);
	bpf_do_value(c, BPF_AND, R1, FLAGS_PSH);
	bpf_store(c, BPF_W, STATE, AT(pushed), R1);
}

static void walk(struct bpf_code *c)
{
	bpf_load(c, BPF_W, POS, STATE, AT(next));
	bpf_load(c, BPF_W, R1, FP, S_SEQ);
	bpf_emit(c, BPF_ALU | BPF_SUB | BPF_X, POS, R1, 0, 0);
	/* Bytes that nobody has seen go by: it has been missed. Behind it all is as should be. */
	bpf_jump(c, BPF_JMP32 | BPF_JSLT | BPF_K, POS, 0, 0, L_LOST);
	bpf_set(c, R0, 0);
	bpf_store(c, BPF_DW, FP, S_ROUND, R0);

	bpf_label(c, L_LOOP);
	bpf_jump(c, BPF_JMP | BPF_JGE | BPF_X, POS, LENGTH, 0, L_DONE);
	bpf_load(c, BPF_DW, R0, FP, S_ROUND);
	bpf_do_value(c, BPF_ADD, R0, 1);
	bpf_store(c, BPF_DW, FP, S_ROUND, R0);
	jump_if(c, BPF_JGT, R0, WORDS_MAX, L_LOST);
	bpf_mov(c, R1, POS);
	bpf_do_value(c, BPF_ADD, R1, 4);
	bpf_jump(c, BPF_JMP | BPF_JGT | BPF_X, R1, LENGTH, 0, L_STRADDLE);
	bpf_load(c, BPF_DW, R2, FP, S_START);
	bpf_do(c, BPF_ADD, R2, POS);
	load_bytes(c, S_WORD, 4, L_LOST);
	bpf_load(c, BPF_W, R2, FP, S_WORD);
	jump_if(c, BPF_JGE, R2, LENGTH_MAX, L_OTHER);
	bpf_do_value(c, BPF_ADD, POS, 4);
	bpf_do(c, BPF_ADD, POS, R2);
	count(c, L_UNSURE);
	go(c, L_LOOP);
	/* An empty message has nothing that could confirm it. */
	bpf_label(c, L_UNSURE);
	jump_if(c, BPF_JNE, R2, 0, L_LOOP);
	go(c, L_LOST);
}

static void finish(struct bpf_code *c)
{
	bpf_label(c, L_DONE);
	bpf_load(c, BPF_W, R0, FP, S_SEQ);
	bpf_emit(c, BPF_ALU | BPF_ADD | BPF_X, R0, POS, 0, 0);
	bpf_store(c, BPF_W, STATE, AT(next), R0);
	/* A message ends where a write does. */
	bpf_jump(c, BPF_JMP | BPF_JNE | BPF_X, POS, LENGTH, 0, L_SEEK);
	bpf_load(c, BPF_DW, R0, FP, S_FLAGS);
	bpf_do_value(c, BPF_AND, R0, FLAGS_PSH);
	jump_if(c, BPF_JEQ, R0, 0, L_SEEK);
	bpf_load(c, BPF_W, R0, STATE, AT(state));
	jump_if(c, BPF_JEQ, R0, STATE_FOLLOWED, L_SEEK);
	set_state(c, STATE_FOLLOWED);
	count(c, L_SEEK);
	go(c, L_SEEK);

	bpf_label(c, L_OTHER);
	bpf_load(c, BPF_DW, R0, STATE, AT(messages));
	jump_if(c, BPF_JNE, R0, -1, L_LOST);
	set_state(c, STATE_OTHER);
	go(c, L_OUT);

	/* A length that is torn by the end of a packet: the message is one all the same. */
	bpf_label(c, L_STRADDLE);
	count(c, L_LOST);
	bpf_label(c, L_LOST);
	set_state(c, STATE_LOST);
	bpf_label(c, L_SEEK);
	note_end(c);
	bpf_label(c, L_OUT);
	bpf_set(c, R0, 1); /* it may go */
	bpf_emit(c, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void build(struct bpf_code *c, int map)
{
	take_headers(c);
	take_new(c, map);
	bpf_label(c, L_HAVE);
	jump_if(c, BPF_JSLE, LENGTH, 0, L_OUT);
	bpf_load_map(c, R1, map);
	bpf_mov(c, R2, FP);
	bpf_do_value(c, BPF_ADD, R2, S_KEY);
	bpf_call(c, BPF_FUNC_map_lookup_elem);
	jump_if(c, BPF_JEQ, R0, 0, L_OUT);
	bpf_mov(c, STATE, R0);
	seek(c);
	walk(c);
	finish(c);
	bpf_link_jumps(c);
}

/* --- the kernel's side of it ---------------------------------------------------------------- */

static int bpf(int command, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

static int load(int map)
{
	struct bpf_code code = {.n = 0};
	union bpf_attr attr;

	build(&code, map);
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_SKB;
	attr.expected_attach_type = BPF_CGROUP_INET_EGRESS;
	attr.insns = (uintptr_t)code.insn;
	attr.insn_cnt = code.n;
	attr.license = (uintptr_t) "Apache-2.0";
	return bpf(BPF_PROG_LOAD, &attr);
}

int message_count_open(struct message_count *m, int cgroup)
{
	_cleanup_close_ int map = -1, program = -1;
	union bpf_attr attr;
	int r;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_LRU_HASH;
	attr.key_size = sizeof(struct message_stream);
	attr.value_size = sizeof(struct state);
	attr.max_entries = STREAMS_MAX;
	map = bpf(BPF_MAP_CREATE, &attr);
	if (map < 0)
		return map;
	program = load(map);
	if (program < 0)
		return program;
	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)program;
	attr.link_create.target_fd = (uint32_t)cgroup;
	attr.link_create.attach_type = BPF_CGROUP_INET_EGRESS;
	r = bpf(BPF_LINK_CREATE, &attr);
	if (r < 0)
		return r;
	*m = (struct message_count){.map = STEAL_FD(map), .link = r};
	return 0;
}

void message_count_close(struct message_count *m)
{
	closep(&m->link);
	closep(&m->map);
	*m = (struct message_count)MESSAGE_COUNT_NONE;
}

int message_count_read(const struct message_count *m, const struct message_stream *s, uint64_t *ret)
{
	struct state v = {.state = STATE_LOST};
	union bpf_attr attr;
	int r;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)m->map;
	attr.key = (uintptr_t)s;
	attr.value = (uintptr_t)&v;
	r = bpf(BPF_MAP_LOOKUP_ELEM, &attr);
	if (r == -ENOENT) {
		attr.flags = BPF_NOEXIST;
		r = bpf(BPF_MAP_UPDATE_ELEM, &attr);
		return r < 0 && r != -EEXIST ? r : -ENOENT;
	}
	if (r < 0)
		return r;
	if (v.state == STATE_OTHER)
		return -EPROTO;
	if (v.state != STATE_FOLLOWED)
		return -EAGAIN;
	*ret = v.messages < 0 ? 0 : (uint64_t)v.messages;
	return 0;
}
