/* SPDX-License-Identifier: BSD-2-Clause */
/* Reliable connected queue pairs: every operation, size and list between two VMs. */
#include "testlib.h"

#include <stdlib.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

static const size_t sizes[] = {
	0,     1,      2,	7,    8,       9,	63,	      64,    65,
	255,   256,    1000,	4095, 4096,    4097,	8192,	      65535, 65536,
	65537, 100003, MIB - 1, MIB,  MIB + 1, 3 * MIB, 5 * MIB + 13,
};

static void test_send_sizes(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		tl_send_recv(&p->a, &p->b, sizes[i]);
		tl_send_recv(&p->b, &p->a, sizes[i]);
	}
}

/* A message shorter than the receive leaves the rest alone. */
static void test_send_short(void **state)
{
	struct pair *p = *state;
	struct gs_wc wc;

	memset(p->b.buf, 0x77, 8192);
	tl_fill(p->a.buf, 100, 3);
	tl_recv(&p->b, 0, 8192);
	tl_send(&p->a, 0, 100);
	gs_cq_expect(p->a.scq, 0);
	wc = gs_cq_expect(p->b.rcq, 0);
	assert_int_equal(wc.byte_len, 100);
	tl_check(p->b.buf, 100, 3);
	tl_check_same(p->b.buf + 100, 8192 - 100, 0x77);
}

static void rdma_roundtrip(struct pair *p, size_t len, size_t off)
{
	struct gs_wc wc;

	tl_fill(p->a.buf + off, len, len + 5);
	memset(p->b.buf, 0x11, len + 64);
	tl_rdma(&p->a, CX_OP_RDMA_WRITE, off, len, &p->b, 32);
	wc = gs_cq_expect(p->a.scq, 0);
	assert_int_equal(wc.send_op, CX_OP_RDMA_WRITE);
	tl_check(p->b.buf + 32, len, len + 5);
	tl_check_same(p->b.buf, 32, 0x11);
	tl_check_same(p->b.buf + 32 + len, 32, 0x11);

	memset(p->a.buf, 0x22, len + 64);
	tl_rdma(&p->a, CX_OP_RDMA_READ, 16, len, &p->b, 32);
	wc = gs_cq_expect(p->a.scq, 0);
	assert_int_equal(wc.send_op, CX_OP_RDMA_READ);
	assert_int_equal(wc.byte_len, len);
	tl_check(p->a.buf + 16, len, len + 5);
	tl_check_same(p->a.buf, 16, 0x22);
	tl_check_same(p->a.buf + 16 + len, 48, 0x22);
}

static void test_write_read_sizes(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		rdma_roundtrip(p, sizes[i], i % 3 ? 8 * i + 1 : 0);
	gs_cq_expect_none(p->b.rcq, 1);
}

/* Cuts [0, len) of a side's buffer into n pieces of different sizes, some of them empty. */
static unsigned cut(const struct side *s, struct gs_sge *sge, unsigned n, size_t len, uint64_t seed)
{
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		size_t rest = len - at,
		       part = i + 1 == n ? rest : gs_random(&seed) % (rest / 2 + 1);

		sge[i] = gs_sge(s->mr, s->buf + at, part);
		at += part;
	}
	return n;
}

static void test_sg_lists(void **state)
{
	struct pair *p = *state;
	struct gs_sge from[60], to[32];

	/* 60 pieces and a remote address fill the 63 segments that a request can have. */
	for (unsigned i = 1; i <= 31; i++) {
		unsigned n = i == 31 ? 60 : i;
		size_t len = n * 3001;
		struct gs_send_wr wr = {.op = CX_OP_SEND,
					.flags = GS_SIGNALED,
					.nsge = cut(&p->a, from, n, len, n),
					.sge = from};

		tl_fill(p->a.buf, len, n);
		memset(p->b.buf, 0, len + 8);
		gs_post_recv(p->b.qp, n, to, cut(&p->b, to, 32 - i, len, n * 7));
		gs_post_send(p->a.qp, &wr);
		gs_cq_expect(p->a.scq, 0);
		assert_int_equal(gs_cq_expect(p->b.rcq, 0).byte_len, len);
		tl_check(p->b.buf, len, n);
		tl_check_same(p->b.buf + len, 8, 0);

		memset(p->b.buf, 0, len);
		wr.op = CX_OP_RDMA_WRITE;
		wr.raddr = (uintptr_t)p->b.buf;
		wr.rkey = p->b.mr->key;
		gs_post_send(p->a.qp, &wr);
		gs_cq_expect(p->a.scq, 0);
		tl_check(p->b.buf, len, n);

		memset(p->a.buf, 0, len + 8);
		wr.op = CX_OP_RDMA_READ;
		gs_post_send(p->a.qp, &wr);
		gs_cq_expect(p->a.scq, 0);
		tl_check(p->a.buf, len, n);
		tl_check_same(p->a.buf + len, 8, 0);
	}
}

static void test_inline(void **state)
{
	struct pair *p = *state;
	uint8_t data[1000];

	for (unsigned len = 0; len <= 900; len += len < 70 ? 1 : 83) {
		struct gs_sge sge[2] = {{.addr = (uintptr_t)data, .len = len / 3},
					{.addr = (uintptr_t)data + len / 3, .len = len - len / 3}};
		struct gs_send_wr wr = {
			.op = CX_OP_SEND, .flags = GS_SIGNALED | GS_INLINE, .nsge = 2, .sge = sge};

		tl_fill(data, len, len);
		tl_recv(&p->b, 0, 4096);
		gs_post_send(p->a.qp, &wr);
		/* Inline data are taken at posting. */
		memset(data, 0xff, len);
		gs_cq_expect(p->a.scq, 0);
		assert_int_equal(gs_cq_expect(p->b.rcq, 0).byte_len, len);
		tl_check(p->b.buf, len, len);

		tl_fill(data, len, len + 1);
		wr.op = CX_OP_RDMA_WRITE;
		wr.raddr = (uintptr_t)p->b.buf + 5;
		wr.rkey = p->b.mr->key;
		gs_post_send(p->a.qp, &wr);
		gs_cq_expect(p->a.scq, 0);
		tl_check(p->b.buf + 5, len, len + 1);
	}
}

static void test_immediate(void **state)
{
	struct pair *p = *state;
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 500);
	struct gs_send_wr wr = {.op = CX_OP_SEND_IMM,
				.flags = GS_SIGNALED,
				.imm = 0x12345678,
				.nsge = 1,
				.sge = &sge};
	struct gs_wc wc;

	tl_recv(&p->b, 4096, 4096);
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	wc = gs_cq_expect(p->b.rcq, 0);
	assert_int_equal(wc.cqe_op, CX_CQE_RESP_SEND_IMM);
	assert_int_equal(wc.imm, 0x12345678);
	assert_int_equal(wc.byte_len, 500);

	/* A write with immediate data takes a receive, but not its memory. */
	memset(p->b.buf, 0x33, 8192);
	tl_fill(p->a.buf, 500, 9);
	tl_recv(&p->b, 4096, 4096);
	wr.op = CX_OP_RDMA_WRITE_IMM;
	wr.imm = 0xfedcba98;
	wr.raddr = (uintptr_t)p->b.buf;
	wr.rkey = p->b.mr->key;
	gs_post_send(p->a.qp, &wr);
	assert_int_equal(gs_cq_expect(p->a.scq, 0).send_op, CX_OP_RDMA_WRITE_IMM);
	wc = gs_cq_expect(p->b.rcq, 0);
	assert_int_equal(wc.cqe_op, CX_CQE_RESP_WR_IMM);
	assert_int_equal(wc.wr_id, 4096);
	assert_int_equal(wc.imm, 0xfedcba98);
	assert_int_equal(wc.byte_len, 500);
	tl_check(p->b.buf, 500, 9);
	tl_check_same(p->b.buf + 4096, 4096, 0x33);
}

/* Nothing moves, immediate data do; a remote key is not looked at for no bytes (C9-88). */
static void test_zero_length(void **state)
{
	struct pair *p = *state;
	struct gs_send_wr wr = {.op = CX_OP_RDMA_WRITE, .flags = GS_SIGNALED, .rkey = 0xdeadbe00};

	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	wr.op = CX_OP_RDMA_READ;
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	wr.op = CX_OP_RDMA_WRITE_IMM;
	wr.imm = 77;
	gs_post_recv(p->b.qp, 1, NULL, 0);
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	assert_int_equal(gs_cq_expect(p->b.rcq, 0).imm, 77);
	wr.op = CX_OP_SEND;
	gs_post_recv(p->b.qp, 2, NULL, 0);
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	assert_int_equal(gs_cq_expect(p->b.rcq, 0).byte_len, 0);
}

/* The region stays as it is; its key no longer works, at either end. */
static void test_send_invalidate(void **state)
{
	struct pair *p = *state;
	struct gs_mr *mr = gs_mr_alloc(p->b.pd, 16, false);
	struct gs_qp_attr attr = {.type = GS_RC, .kernel = true};
	struct gs_link l = gs_link_default();
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 64);
	struct gs_send_wr wr = {
		.op = CX_OP_RDMA_WRITE, .flags = GS_SIGNALED, .nsge = 1, .sge = &sge};
	struct gs_wc wc;

	tl_connect_attr(p, &attr, &l);
	gs_post_reg(p->b.qp, 1, mr, p->b.buf, 65536, (uintptr_t)p->b.buf, GS_ALL);
	gs_cq_expect(p->b.scq, 0);
	wr.raddr = (uintptr_t)p->b.buf;
	wr.rkey = mr->key;
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);

	tl_recv(&p->b, 4096, 64);
	wr.op = CX_OP_SEND_INVAL;
	wr.imm = mr->key;
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	wc = gs_cq_expect(p->b.rcq, 0);
	assert_int_equal(wc.cqe_op, CX_CQE_RESP_SEND_INV);
	assert_int_equal(wc.imm, mr->key);

	wr.op = CX_OP_RDMA_WRITE;
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, CX_SYND_REMOTE_ACCESS);
}

static uint64_t atomic_op(struct pair *p, struct gs_send_wr *wr)
{
	volatile uint64_t *result = (void *)p->a.buf;
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);
	struct gs_wc wc;

	*result = 0x5555;
	wr->flags = GS_SIGNALED;
	wr->nsge = 1;
	wr->sge = &sge;
	gs_post_send(p->a.qp, wr);
	wc = gs_cq_expect(p->a.scq, 0);
	assert_int_equal(wc.send_op, wr->op);
	return p->a.vm->host_endian_atomics ? *result : be64toh(*result);
}

static void test_atomics(void **state)
{
	struct pair *p = *state;
	uint64_t *target = (uint64_t *)(p->b.buf + 256);
	struct gs_send_wr wr = {.raddr = (uintptr_t)target, .rkey = p->b.mr->key};

	*target = 40;
	wr.op = CX_OP_ATOMIC_FA;
	wr.swap_add = 2;
	assert_int_equal(atomic_op(p, &wr), 40);
	assert_int_equal(*target, 42);
	wr.swap_add = (uint64_t)-43;
	assert_int_equal(atomic_op(p, &wr), 42);
	assert_int_equal(*target, (uint64_t)-1);

	wr.op = CX_OP_ATOMIC_CS;
	wr.compare = 7;
	wr.swap_add = 8;
	assert_int_equal(atomic_op(p, &wr), (uint64_t)-1);
	assert_int_equal(*target, (uint64_t)-1);
	wr.compare = (uint64_t)-1;
	wr.swap_add = 0x0102030405060708;
	assert_int_equal(atomic_op(p, &wr), (uint64_t)-1);
	assert_int_equal(*target, 0x0102030405060708);
}

/* Extended atomics: parts of a word are compared, swapped, or added to by themselves. */
static void test_masked_atomics(void **state)
{
	struct pair *p = *state;
	uint64_t *target = (uint64_t *)(p->b.buf + 256);
	struct gs_send_wr wr = {.raddr = (uintptr_t)target, .rkey = p->b.mr->key};

	*target = 0x1111222233334444;
	wr.op = CX_OP_ATOMIC_MASKED_CS;
	wr.compare = 0xffff2222ffff4444;
	wr.compare_mask = 0x0000ffff0000ffff;
	wr.swap_add = 0xaaaabbbbccccdddd;
	wr.swap_mask = 0xffff00000000ffff;
	assert_int_equal(atomic_op(p, &wr), 0x1111222233334444);
	assert_int_equal(*target, 0xaaaa22223333dddd);
	assert_int_equal(atomic_op(p, &wr), 0xaaaa22223333dddd);
	assert_int_equal(*target, 0xaaaa22223333dddd);

	/* Two halves: what overflows in the lower one does not reach the upper one. */
	wr.op = CX_OP_ATOMIC_MASKED_FA;
	wr.swap_add = 0x00000001f0000000;
	wr.compare_mask = 0x8000000080000000;
	assert_int_equal(atomic_op(p, &wr), 0xaaaa22223333dddd);
	assert_int_equal(*target, 0xaaaa22232333dddd);
}

struct adder {
	uint64_t *target;
	uint64_t added;
	bool stop;
};

static void *add_locally(void *arg)
{
	struct adder *a = arg;

	while (!__atomic_load_n(&a->stop, __ATOMIC_RELAXED)) {
		__atomic_fetch_add(a->target, 1, __ATOMIC_SEQ_CST);
		a->added++;
	}
	return NULL;
}

/* The guest's own atomic instructions and the device's lose nothing of one another. */
static void test_atomics_with_cpu(void **state)
{
	struct pair *p = *state;
	struct adder adder = {.target = (uint64_t *)(p->b.buf + 512)};
	struct gs_send_wr wr = {.op = CX_OP_ATOMIC_FA,
				.raddr = (uintptr_t)adder.target,
				.rkey = p->b.mr->key,
				.swap_add = 1ull << 32};
	enum { COUNT = 3000 };
	pthread_t t;

	*adder.target = 0;
	assert_int_equal(pthread_create(&t, NULL, add_locally, &adder), 0);
	for (unsigned i = 0; i < COUNT; i++) {
		uint64_t old = atomic_op(p, &wr);

		assert_int_equal(old >> 32, i);
	}
	__atomic_store_n(&adder.stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	assert_int_equal(*adder.target, ((uint64_t)COUNT << 32) + adder.added);
}

static void test_unsignalled(void **state)
{
	struct pair *p = *state;
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);
	struct gs_send_wr wr = {.op = CX_OP_RDMA_WRITE,
				.raddr = (uintptr_t)p->b.buf,
				.rkey = p->b.mr->key,
				.nsge = 1,
				.sge = &sge};

	for (unsigned i = 1; i <= 1000; i++) {
		wr.wr_id = i;
		wr.flags = i % 20 ? 0 : GS_SIGNALED;
		gs_post_send(p->a.qp, &wr);
		if (wr.flags)
			assert_int_equal(gs_cq_expect(p->a.scq, 0).wr_id, i);
	}
	gs_cq_expect_none(p->a.scq, 1);
}

/* What follows a fenced read sees its result: the data are read into the source of the write. */
static void test_fence(void **state)
{
	struct pair *p = *state;
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, MIB);
	struct gs_send_wr rd = {.op = CX_OP_RDMA_READ,
				.raddr = (uintptr_t)p->b.buf,
				.rkey = p->b.mr->key,
				.nsge = 1,
				.sge = &sge};
	struct gs_send_wr wr = rd;

	wr.op = CX_OP_RDMA_WRITE;
	wr.flags = GS_FENCE | GS_SIGNALED;
	wr.raddr = (uintptr_t)p->b.buf + 2 * MIB;
	for (unsigned i = 0; i < 20; i++) {
		tl_fill(p->b.buf, MIB, i);
		memset(p->a.buf, 0, MIB);
		gs_post_send_quiet(p->a.qp, &rd);
		gs_post_send(p->a.qp, &wr);
		gs_cq_expect(p->a.scq, 0);
		tl_check(p->b.buf + 2 * MIB, MIB, i);
	}
}

/* Writes are placed, and messages complete, in the order of posting. */
static void test_order(void **state)
{
	struct pair *p = *state;
	uint32_t *values = (uint32_t *)p->a.buf;
	struct gs_wc wc;

	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 32; i++) {
			values[i] = round * 32 + i;
			tl_recv(&p->b, 4096 + 64 * i, 64);
		}
		for (unsigned i = 0; i < 32; i++) {
			struct gs_sge sge = gs_sge(p->a.mr, &values[i], 4);
			struct gs_send_wr wr = {.wr_id = i,
						.op = i % 2 ? CX_OP_SEND : CX_OP_RDMA_WRITE_IMM,
						.flags = GS_SIGNALED,
						.imm = values[i],
						.raddr = (uintptr_t)p->b.buf,
						.rkey = p->b.mr->key,
						.nsge = 1,
						.sge = &sge};

			assert_true(gs_post_send_quiet(p->a.qp, &wr));
		}
		gs_ring_send(p->a.qp);
		for (unsigned i = 0; i < 32; i++) {
			wc = gs_cq_expect(p->b.rcq, 0);
			assert_int_equal(wc.wr_id, 4096 + 64 * i);
			if (i % 2)
				assert_int_equal(*(uint32_t *)(p->b.buf + wc.wr_id), values[i]);
			else
				assert_int_equal(wc.imm, values[i]);
			assert_int_equal(gs_cq_expect(p->a.scq, 0).wr_id, i);
		}
	}
}

/* Rings go round many times, with requests of every size in blocks across their end. */
static void test_ring_wrap(void **state)
{
	struct pair *p = *state;
	struct gs_sge from[30], to[1];
	uint64_t seed = 1;

	for (unsigned i = 0; i < 2000; i++) {
		size_t len = 1 + gs_random(&seed) % 500;
		unsigned n = 1 + (unsigned)(gs_random(&seed) % 29);
		struct gs_send_wr wr = {.wr_id = i,
					.op = CX_OP_SEND,
					.flags = GS_SIGNALED | (i % 5 == 0 ? GS_INLINE : 0),
					.nsge = cut(&p->a, from, n, len, seed),
					.sge = from};

		tl_fill(p->a.buf, len, i);
		to[0] = gs_sge(p->b.mr, p->b.buf, 512);
		gs_post_recv(p->b.qp, i, to, 1);
		gs_post_send(p->a.qp, &wr);
		assert_int_equal(gs_cq_expect(p->a.scq, 0).wr_id, i);
		assert_int_equal(gs_cq_expect(p->b.rcq, 0).wr_id, i);
		tl_check(p->b.buf, len, i);
	}
}

static void big_message(struct pair *p, size_t len)
{
	struct gs_vm_opts opts = {.ram = len + (64u << 20)};
	struct side big[2];
	struct gs_link l = gs_link_default();
	struct gs_sge sge[2];

	for (unsigned i = 0; i < 2; i++) {
		tl_side_close(i ? &p->b : &p->a);
		big[i] = (struct side){.vm = gs_vm_open(gs_daemon_socket(&tl_daemon, i), &opts)};
		big[i].pd = gs_pd_create(big[i].vm);
		big[i].scq = gs_cq_create(big[i].vm, 64);
		big[i].rcq = gs_cq_create(big[i].vm, 64);
		big[i].buf = gs_ram_alloc(big[i].vm, len, 2u << 20);
		big[i].mr = gs_mr_register_umr(big[i].pd, big[i].buf, len, GS_ALL);
		tl_side_qp(&big[i], GS_RC);
		sge[i] = gs_sge(big[i].mr, big[i].buf, len);
	}
	p->a = big[0];
	p->b = big[1];
	gs_qp_connect(p->a.qp, p->b.qp, &l);
	tl_fill(p->a.buf, len, 12);
	gs_post_recv(p->b.qp, 1, &sge[1], 1);
	tl_send(&p->a, 0, len);
	gs_cq_expect(p->a.scq, 0);
	assert_int_equal(gs_cq_expect(p->b.rcq, 0).byte_len, len);
	tl_check(p->b.buf, len, 12);
	tl_fill(p->b.buf, len, 13);
	tl_rdma(&p->a, CX_OP_RDMA_READ, 0, len, &p->b, 0);
	gs_cq_expect(p->a.scq, 0);
	tl_check(p->a.buf, len, 13);
}

static void test_large_message(void **state)
{
	big_message(*state, 96u << 20);
}

static void test_largest_message(void **state)
{
	big_message(*state, 1u << 30);
}

/* Queues and regions over pages that lie anywhere, and regions with an offset in their page. */
static void test_scattered(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_cq_attr cqa = {.entries = 512, .scattered = true};
	struct gs_qp_attr attr = {.type = GS_RC, .recv_wrs = 128, .scattered = true};
	enum { LEN = 3 * MIB };

	for (unsigned i = 0; i < 2; i++) {
		struct side *s = i ? &p->b : &p->a;

		s->buf = (uint8_t *)gs_ram_alloc_scattered(s->vm, LEN + 8192) + 1234 * i + 56;
		s->mr = gs_mr_register(s->pd, s->buf, LEN, GS_ALL);
		s->scq = gs_cq_create_attr(s->vm, &cqa);
		s->rcq = gs_cq_create_attr(s->vm, &cqa);
	}
	tl_connect_attr(p, &attr, &l);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes) && sizes[i] < LEN; i++)
		tl_send_recv(&p->a, &p->b, sizes[i]);
	rdma_roundtrip(p, 2 * MIB + 5, 77);
	for (unsigned i = 0; i < 1500; i++)
		tl_send_recv(&p->a, &p->b, 40);
}

/* Completions of 128 bytes. */
static void test_cqe128(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_cq_attr cqa = {.entries = 64, .cqe128 = true};
	struct gs_qp_attr attr = {.type = GS_RC};

	p->a.scq = gs_cq_create_attr(p->a.vm, &cqa);
	p->b.rcq = gs_cq_create_attr(p->b.vm, &cqa);
	tl_connect_attr(p, &attr, &l);
	for (unsigned i = 0; i < 300; i++)
		tl_send_recv(&p->a, &p->b, i);
}

/* Both ends in one VM. */
static void test_loopback(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct side s = p->a, t = p->a;

	tl_side_qp(&s, GS_RC);
	tl_side_qp(&t, GS_RC);
	t.buf = p->a.buf + 8 * MIB;
	gs_qp_connect(s.qp, t.qp, &l);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		tl_send_recv(&s, &t, sizes[i]);
	tl_fill(s.buf, MIB, 1);
	tl_rdma(&s, CX_OP_RDMA_WRITE, 0, MIB, &t, 0);
	gs_cq_expect(s.scq, 0);
	tl_check(t.buf, MIB, 1);
}

static void test_address_by_gid(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();

	l.path.grh = true;
	l.path.hop_limit = 1;
	tl_connect(p, GS_RC, &l);
	tl_ping(p);
}

/* Unreliable connections: messages pass; one without a receive is lost without a word. */
static void test_uc(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);
	struct gs_send_wr wr = {.op = CX_OP_RDMA_WRITE_IMM,
				.flags = GS_SIGNALED,
				.imm = 5,
				.raddr = (uintptr_t)p->b.buf,
				.rkey = p->b.mr->key,
				.nsge = 1,
				.sge = &sge};

	tl_connect(p, GS_UC, &l);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		tl_send_recv(&p->a, &p->b, sizes[i]);
	tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, MIB, &p->b, 0);
	gs_cq_expect(p->a.scq, 0);
	tl_check(p->b.buf, MIB, sizes[ARRAY_SIZE(sizes) - 1] + 1);
	tl_recv(&p->b, 4096, 64);
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	assert_int_equal(gs_cq_expect(p->b.rcq, 0).imm, 5);

	/* No receive: the sender does not learn of it. */
	tl_send(&p->a, 0, 64);
	gs_cq_expect(p->a.scq, 0);
	tl_send_recv(&p->a, &p->b, 32);
	/* A bad key: the same. */
	wr.op = CX_OP_RDMA_WRITE;
	wr.rkey ^= 0x100;
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	tl_send_recv(&p->a, &p->b, 32);
}

/* A good key, but the queue pair at the other end takes no writes. */
static void test_uc_without_rights(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();

	l.access = 0;
	tl_connect(p, GS_UC, &l);
	memset(p->a.buf, 0x11, 64);
	memset(p->b.buf, 0x6b, 64);
	tl_recv(&p->b, 4096, 64);
	tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, 64, &p->b, 0);
	gs_cq_expect(p->a.scq, 0);
	tl_rdma(&p->a, CX_OP_RDMA_WRITE_IMM, 0, 64, &p->b, 0);
	gs_cq_expect(p->a.scq, 0);
	tl_check_same(p->b.buf, 64, 0x6b);
	/* The receive is still there: for a message. */
	tl_send(&p->a, 0, 64);
	gs_cq_expect(p->a.scq, 0);
	assert_int_equal(gs_cq_expect(p->b.rcq, 0).wr_id, 4096);
	tl_check_same(p->b.buf + 4096, 64, 0x11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, tl_pair_open, tl_pair_close)
		PAIR_TEST(test_send_sizes),
		PAIR_TEST(test_send_short),
		PAIR_TEST(test_write_read_sizes),
		PAIR_TEST(test_sg_lists),
		PAIR_TEST(test_inline),
		PAIR_TEST(test_immediate),
		PAIR_TEST(test_zero_length),
		PAIR_TEST(test_send_invalidate),
		PAIR_TEST(test_atomics),
		PAIR_TEST(test_masked_atomics),
		PAIR_TEST(test_atomics_with_cpu),
		PAIR_TEST(test_unsignalled),
		PAIR_TEST(test_fence),
		PAIR_TEST(test_order),
		PAIR_TEST(test_ring_wrap),
		PAIR_TEST(test_large_message),
		PAIR_TEST(test_largest_message),
		PAIR_TEST(test_scattered),
		PAIR_TEST(test_cqe128),
		PAIR_TEST(test_loopback),
		PAIR_TEST(test_address_by_gid),
		PAIR_TEST(test_uc),
		PAIR_TEST(test_uc_without_rights),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
