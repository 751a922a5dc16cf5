/* SPDX-License-Identifier: BSD-2-Clause */
/* Send work queue elements (device/connectx/wqe.c). */
#include "fake_cx.h"

#include <errno.h>
#include <string.h>

#define RKEY 0x1122

static struct cx_qp *qp;
static struct up_send_wr wr;

/* A work queue element under construction. */
static uint8_t wqe[UP_MAX_WQE_BYTES];
static uint32_t size;

static int setup(void **state)
{
	if (fake_setup(state))
		return -1;
	memset(&wr, 0xa5, sizeof(wr));
	qp = fake_qp(UP_QP_RC, 5, false);
	return 0;
}

static void begin(uint8_t op, uint8_t fm_ce_se, uint32_t imm)
{
	struct cx_wqe_ctrl ctrl = {
		.opmod_idx_opcode = htobe32((uint32_t)qp->sq_consumer << 8 | op),
		.fm_ce_se = fm_ce_se,
		.imm = imm,
	};

	memset(wqe, 0, sizeof(wqe));
	memcpy(wqe, &ctrl, sizeof(ctrl));
	size = sizeof(ctrl);
}

static void add(const void *seg, uint32_t bytes)
{
	memcpy(wqe + size, seg, bytes);
	size += bytes;
}

static void add_data(uint32_t len, uint32_t key, uint64_t addr)
{
	struct cx_wqe_data data = {htobe32(len), htobe32(key), htobe64(addr)};

	add(&data, sizeof(data));
}

static void add_inline(const char *text)
{
	uint32_t len = (uint32_t)strlen(text), word = htobe32(CX_INLINE | len);

	memcpy(wqe + size, &word, sizeof(word));
	memcpy(wqe + size + 4, text, len);
	size += (4 + len + 15) & ~15u;
}

static void add_raddr(void)
{
	struct cx_wqe_raddr raddr = {.raddr = htobe64(0x123456789abcdef0), .rkey = htobe32(RKEY)};

	add(&raddr, sizeof(raddr));
}

static void count_posted(uint16_t ahead)
{
	up_put_be32(&qp->dbr[CX_DBR_SEND], (uint16_t)(qp->sq_consumer + ahead));
	/* As when all that an earlier look found is used up: only then is there another. */
	qp->sq_producer = qp->sq_consumer;
}

/* Into the ring at the consumer's place, with the number of segments given. */
static void place(uint32_t ds)
{
	uint32_t blocks = (ds * 16 + 63) / 64, mask = (1u << qp->log_sq_size) - 1;

	up_put_be32(wqe + 4, qp->base.qpn << CX_CTRL_QPN_SHIFT | ds);
	for (uint32_t i = 0; i < blocks; i++)
		memcpy(fake_at(&qp->buf, qp->sq_offset + ((qp->sq_consumer + i) & mask) * 64),
		       wqe + i * 64, 64);
	count_posted((uint16_t)blocks);
}

static int fetch(void)
{
	place(size / 16);
	return cx_sq_fetch(&qp->base, &wr);
}

static void expect_malformed(uint16_t slots)
{
	assert_int_equal(wr.index, qp->sq_consumer);
	assert_int_equal(wr.slots, slots);
	assert_int_equal(wr.flags, 0);
	assert_int_equal(wr.length, 0);
	assert_int_equal(wr.op, UP_OP_NOP);
}

static void empty_queue(void **state)
{
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), 0);
	assert_false(cx_sq_pending(&qp->base));
	count_posted(1);
	assert_true(cx_sq_pending(&qp->base));
}

static void write_of_8_inline_bytes(void **state)
{
	begin(CX_OP_RDMA_WRITE, CX_CTRL_CE_CQE, 0);
	add_raddr();
	add_inline("12345678");
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.op, UP_OP_WRITE);
	assert_int_equal(wr.raw_op, CX_OP_RDMA_WRITE);
	assert_int_equal(wr.flags, UP_WR_SIGNALED | UP_WR_INLINE);
	assert_int_equal(wr.index, 0);
	assert_int_equal(wr.slots, 1);
	assert_int_equal(wr.raddr, 0x123456789abcdef0);
	assert_int_equal(wr.rkey, RKEY);
	assert_int_equal(wr.length, 8);
	assert_int_equal(wr.nsge, 0);
	assert_memory_equal(wr.data, "12345678", 8);
	/* It stays until it is advanced over. */
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), 1);
	cx_sq_advance(&qp->base, &wr);
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), 0);
	assert_int_equal(qp->sq_consumer, 1);
}

static void opcodes(void **state)
{
	static const struct {
		uint8_t raw;
		enum up_opcode op;
	} table[] = {
		{CX_OP_SEND, UP_OP_SEND},
		{CX_OP_SEND_IMM, UP_OP_SEND_IMM},
		{CX_OP_SEND_INVAL, UP_OP_SEND_INV},
		{CX_OP_RDMA_WRITE, UP_OP_WRITE},
		{CX_OP_RDMA_WRITE_IMM, UP_OP_WRITE_IMM},
		{CX_OP_RDMA_READ, UP_OP_READ},
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(table); i++) {
		bool key = table[i].raw == CX_OP_SEND_INVAL;

		begin(table[i].raw, 0, htobe32(0xc0ffee00));
		if (table[i].raw == CX_OP_RDMA_WRITE || table[i].raw == CX_OP_RDMA_WRITE_IMM ||
		    table[i].raw == CX_OP_RDMA_READ)
			add_raddr();
		add_data(100, 0x55, 0x1000);
		add_data(28, 0x66, UINT64_MAX);
		assert_int_equal(fetch(), 1);
		assert_int_equal(wr.op, table[i].op);
		assert_int_equal(wr.imm, key ? 0xc0ffee00 : htobe32(0xc0ffee00));
		assert_int_equal(wr.nsge, 2);
		assert_int_equal(wr.length, 128);
		assert_int_equal(wr.sge[0].addr, 0x1000);
		assert_int_equal(wr.sge[0].len, 100);
		assert_int_equal(wr.sge[0].key, 0x55);
		assert_int_equal(wr.sge[1].addr, UINT64_MAX);
		assert_int_equal(wr.sge[1].key, 0x66);
		assert_int_equal(wr.inline_sges, 0);
	}
}

static void unknown_opcodes_are_malformed(void **state)
{
	static const uint8_t known[] = {0x00, 0x01, 0x08, 0x09, 0x0a, 0x0b,
					0x10, 0x11, 0x12, 0x14, 0x15, 0x25};

	for (unsigned op = 0; op < 256; op++) {
		if (memchr(known, (int)op, sizeof(known)))
			continue;
		begin((uint8_t)op, CX_CTRL_CE_CQE, 0);
		add_data(8, 1, 2);
		add_data(8, 1, 2);
		add_data(8, 1, 2);
		add_data(8, 1, 2);
		assert_int_equal(fetch(), -EINVAL);
		expect_malformed(2);
		assert_int_equal(wr.raw_op, op);
	}
}

static void flags(void **state)
{
	static const struct {
		uint8_t fm_ce_se;
		uint32_t flags;
	} table[] = {
		{0, 0},
		{CX_CTRL_CE_CQE, UP_WR_SIGNALED},
		{CX_CTRL_CE_CQE_EQE, UP_WR_SIGNALED},
		{CX_CTRL_SOLICITED, UP_WR_SOLICITED},
		{CX_CTRL_FENCE_SMALL, 0},
		{CX_CTRL_FENCE_FENCE, UP_WR_FENCE},
		{CX_CTRL_FENCE_STRONG, UP_WR_FENCE},
		{CX_CTRL_FENCE_SMALL_FENCE | CX_CTRL_CE_CQE, UP_WR_FENCE | UP_WR_SIGNALED},
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(table); i++) {
		begin(CX_OP_SEND, table[i].fm_ce_se, 0);
		assert_int_equal(fetch(), 1);
		assert_int_equal(wr.flags, table[i].flags);
		assert_int_equal(wr.length, 0);
		assert_int_equal(wr.nsge, 0);
	}
}

static void entries_of_no_bytes_are_left_out(void **state)
{
	begin(CX_OP_SEND, 0, 0);
	add_data(0, 1, 2);
	add_data(16, 3, 4);
	add_inline("");
	add_data(0, 5, 6);
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.nsge, 1);
	assert_int_equal(wr.sge[0].key, 3);
	assert_int_equal(wr.length, 16);
	assert_false(wr.flags & UP_WR_INLINE);
}

static void several_inline_segments_are_one(void **state)
{
	begin(CX_OP_SEND, 0, 0);
	add_inline("hello, ");
	add_inline("");
	add_inline("this is a somewhat longer text");
	assert_int_equal(fetch(), 1);
	assert_true(wr.flags & UP_WR_INLINE);
	assert_int_equal(wr.length, 37);
	assert_int_equal(wr.nsge, 0);
	assert_memory_equal(wr.data, "hello, this is a somewhat longer text", 37);
}

static void inline_header_before_data(void **state)
{
	begin(CX_OP_SEND, 0, 0);
	add_inline("header");
	add_data(4096, 7, 0x8000);
	add_inline("trailer");
	assert_int_equal(fetch(), 1);
	assert_false(wr.flags & UP_WR_INLINE);
	assert_int_equal(wr.nsge, 3);
	assert_int_equal(wr.inline_sges, 5);
	assert_int_equal(wr.length, 6 + 4096 + 7);
	assert_memory_equal(wr.data + wr.sge[0].addr, "header", 6);
	assert_int_equal(wr.sge[1].key, 7);
	assert_memory_equal(wr.data + wr.sge[2].addr, "trailer", 7);
	assert_int_equal(wr.sge[2].len, 7);
	/* Nothing of an earlier request is left in the next. */
	begin(CX_OP_SEND, 0, 0);
	add_data(8, 7, 0x8000);
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.inline_sges, 0);
}

static void largest_element(void **state)
{
	begin(CX_OP_SEND, 0, 0);
	for (unsigned i = 0; i < 62; i++)
		add_data(i + 1, i, i);
	assert_int_equal(size, 1008);
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.slots, 16);
	assert_int_equal(wr.nsge, 62);
	assert_int_equal(wr.sge[61].len, 62);
}

static void largest_inline(void **state)
{
	uint32_t word = htobe32(CX_INLINE | 988);

	begin(CX_OP_SEND, 0, 0);
	memset(wqe + 16, 0x5a, 992);
	memcpy(wqe + 16, &word, 4);
	size = 1008;
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.length, 988);
	assert_int_equal(wr.data[987], 0x5a);
}

static void inline_longer_than_the_element(void **state)
{
	static const uint32_t lengths[] = {13, 100, 1023, 0x3ff};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(lengths); i++) {
		begin(CX_OP_SEND, 0, 0);
		add_data(CX_INLINE | lengths[i], 0, 0);
		assert_int_equal(fetch(), -EINVAL);
		expect_malformed(1);
	}
}

static void elements_wrap_around(bool scattered)
{
	qp = fake_qp(UP_QP_RC, 7, scattered);
	for (unsigned i = 0; i < 500; i++) {
		uint32_t n = i % 14;

		begin(CX_OP_SEND, CX_CTRL_CE_CQE, 0);
		for (uint32_t k = 0; k < n; k++)
			add_data(i + k + 1, i, k);
		assert_int_equal(fetch(), 1);
		assert_int_equal(wr.nsge, n);
		assert_int_equal(wr.slots, (n + 1 + 3) / 4);
		for (uint32_t k = 0; k < n; k++)
			assert_int_equal(wr.sge[k].len, i + k + 1);
		cx_sq_advance(&qp->base, &wr);
	}
}

static void wrap_around_the_ring(void **state)
{
	elements_wrap_around(false);
	elements_wrap_around(true);
}

static void counter_wraps_at_16_bits(void **state)
{
	qp->sq_consumer = 0xffff;
	begin(CX_OP_SEND, 0, 0);
	for (unsigned i = 0; i < 5; i++)
		add_data(1, 2, 3);
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.index, 0xffff);
	cx_sq_advance(&qp->base, &wr);
	assert_int_equal(qp->sq_consumer, 1);
	assert_false(cx_sq_pending(&qp->base));
}

static void counter_beyond_the_ring_is_malformed(void **state)
{
	begin(CX_OP_SEND, 0, 0);
	place(1);
	count_posted(32);
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), 1);
	count_posted(33);
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), -EINVAL);
	expect_malformed(33);
	count_posted(0xffff);
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), -EINVAL);
	/* The queue ends there. */
	cx_sq_advance(&qp->base, &wr);
	assert_false(cx_sq_pending(&qp->base));
}

static void element_beyond_the_counter_is_malformed(void **state)
{
	begin(CX_OP_SEND, 0, 0);
	for (unsigned i = 0; i < 9; i++)
		add_data(1, 2, 3);
	place(10);
	count_posted(2);
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), -EINVAL);
	expect_malformed(2);
}

static void element_without_size_is_malformed(void **state)
{
	begin(CX_OP_SEND, 0, 0);
	place(1);
	fake_at(&qp->buf, qp->sq_offset)[7] = 0;
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), -EINVAL);
	expect_malformed(1);
}

static void element_of_another_queue_is_malformed(void **state)
{
	begin(CX_OP_SEND, 0, 0);
	place(1);
	fake_at(&qp->buf, qp->sq_offset)[6] ^= 1;
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), -EINVAL);
	expect_malformed(1);
}

/* Nothing behind the stated size is looked at: cutting any element short never reads on. */
static void elements_cut_short(void **state)
{
	static const uint8_t ops[] = {CX_OP_RDMA_WRITE, CX_OP_RDMA_READ, CX_OP_ATOMIC_CS,
				      CX_OP_ATOMIC_MASKED_CS, CX_OP_ATOMIC_MASKED_FA};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(ops); i++) {
		begin(ops[i], 0, 0);
		place(1);
		assert_int_equal(cx_sq_fetch(&qp->base, &wr), -EINVAL);
	}
	for (unsigned i = 2; i < UP_ARRAY_SIZE(ops); i++) {
		begin(ops[i], 0, 0);
		add_raddr();
		place(2);
		assert_int_equal(cx_sq_fetch(&qp->base, &wr), -EINVAL);
	}
}

static void atomics(void **state)
{
	struct cx_wqe_atomic atomic = {htobe64(0x1111), htobe64(0x2222)};

	for (unsigned i = 0; i < 2; i++) {
		begin(i ? CX_OP_ATOMIC_FA : CX_OP_ATOMIC_CS, CX_CTRL_CE_CQE, 0);
		add_raddr();
		add(&atomic, sizeof(atomic));
		add_data(8, 3, 0x4000);
		assert_int_equal(fetch(), 1);
		assert_int_equal(wr.op, i ? UP_OP_FETCH_ADD : UP_OP_CMP_SWAP);
		assert_int_equal(wr.swap_add, 0x1111);
		assert_int_equal(wr.compare, 0x2222);
		assert_int_equal(wr.length, 8);
		assert_int_equal(wr.sge[0].addr, 0x4000);
	}
}

static void masked_atomics(void **state)
{
	struct cx_wqe_masked_atomic cs = {htobe64(1), htobe64(2), htobe64(3), htobe64(4)};
	struct cx_wqe_atomic fa = {htobe64(5), htobe64(6)};

	begin(CX_OP_ATOMIC_MASKED_CS, 0, 0);
	wqe[0] = CX_OPMOD_EXT_ATOMIC | CX_OPMOD_ATOMIC_8;
	add_raddr();
	add(&cs, sizeof(cs));
	add_data(8, 3, 0x4000);
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.op, UP_OP_MASKED_CMP_SWAP);
	assert_int_equal(wr.swap_add, 1);
	assert_int_equal(wr.compare, 2);
	assert_int_equal(wr.swap_add_mask, 3);
	assert_int_equal(wr.compare_mask, 4);
	begin(CX_OP_ATOMIC_MASKED_FA, 0, 0);
	add_raddr();
	add(&fa, sizeof(fa));
	add_data(8, 3, 0x4000);
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.op, UP_OP_MASKED_FETCH_ADD);
	assert_int_equal(wr.swap_add, 5);
	assert_int_equal(wr.swap_add_mask, 6);
	assert_int_equal(wr.nsge, 1);
}

static void masked_atomics_of_other_sizes_are_malformed(void **state)
{
	for (unsigned opmod = 1; opmod < 256; opmod++) {
		if (opmod == 9)
			continue;
		begin(CX_OP_ATOMIC_MASKED_FA, 0, 0);
		wqe[0] = (uint8_t)opmod;
		add_raddr();
		add_data(8, 3, 0x4000);
		add_data(8, 3, 0x4000);
		assert_int_equal(fetch(), -EINVAL);
	}
}

static void what_comes_back_needs_memory(void **state)
{
	begin(CX_OP_RDMA_READ, 0, 0);
	add_raddr();
	add_inline("inline");
	assert_int_equal(fetch(), -EINVAL);
	begin(CX_OP_RDMA_READ, 0, 0);
	add_raddr();
	add_data(8, 3, 0x4000);
	add_inline("inline");
	assert_int_equal(fetch(), -EINVAL);
}

static void datagrams(void **state)
{
	struct cx_wqe_av av = {
		.qkey = htobe32(0x80010000),
		.dqp = htobe32(CX_AV_EXTENDED | 0xabcdef),
		.stat_rate_sl = 0x35,
		.fl_mlid = 0x81,
		.rlid = htobe16(0xc001),
		.tclass = 0x44,
		.hop_limit = 0x33,
		.grh_gid_fl = htobe32(CX_AV_GRH | 2u << CX_AV_SGID_SHIFT | 0xfffff),
		.rgid = {0xff, 0x12, [15] = 0x99},
	};

	qp->base.type = UP_QP_UD;
	begin(CX_OP_SEND_IMM, 0, 0);
	add(&av, sizeof(av));
	add_data(32, 3, 0x4000);
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.dest_qpn, 0xabcdef);
	assert_int_equal(wr.dest_qkey, 0x80010000);
	assert_int_equal(wr.av.dlid, 0xc001);
	assert_int_equal(wr.av.sl, 5);
	assert_int_equal(wr.av.path_bits, 1);
	assert_true(wr.av.grh);
	assert_int_equal(wr.av.sgid_index, 2);
	assert_int_equal(wr.av.flow_label, 0xfffff);
	assert_int_equal(wr.av.hop_limit, 0x33);
	assert_int_equal(wr.av.traffic_class, 0x44);
	assert_memory_equal(wr.av.dgid.raw, av.rgid, 16);
	assert_int_equal(wr.length, 32);
	assert_int_equal(wr.nsge, 1);
}

static void compact_address(void **state)
{
	struct cx_wqe_av av = {.qkey = htobe32(7), .dqp = htobe32(0x11), .rlid = htobe16(3)};

	qp->base.type = UP_QP_UD;
	begin(CX_OP_SEND, 0, 0);
	add(&av, CX_AV_BASE_SIZE);
	add_data(32, 3, 0x4000);
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.dest_qpn, 0x11);
	assert_int_equal(wr.av.dlid, 3);
	assert_false(wr.av.grh);
	assert_int_equal(wr.nsge, 1);
	/* The long form does not fit any more. */
	av.dqp = htobe32(CX_AV_EXTENDED | 0x11);
	begin(CX_OP_SEND, 0, 0);
	add(&av, CX_AV_BASE_SIZE);
	add_data(32, 3, 0x4000);
	assert_int_equal(fetch(), -EINVAL);
	begin(CX_OP_SEND, 0, 0);
	place(1);
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), -EINVAL);
}

static void xrc_names_its_srq(void **state)
{
	struct cx_wqe_xrc xrc = {.srqn = htobe32(0xff000123)};

	qp->base.type = UP_QP_XRC_INI;
	begin(CX_OP_RDMA_WRITE_IMM, 0, 0);
	add(&xrc, sizeof(xrc));
	add_raddr();
	add_data(32, 3, 0x4000);
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.xrc_srqn, 0x123);
	assert_int_equal(wr.rkey, RKEY);
	begin(CX_OP_SEND, 0, 0);
	place(1);
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), -EINVAL);
}

static void no_operation(void **state)
{
	begin(CX_OP_NOP, CX_CTRL_CE_CQE, 0);
	add_data(32, 3, 0x4000);
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.op, UP_OP_NOP);
	assert_int_equal(wr.length, 0);
	assert_int_equal(wr.flags, UP_WR_SIGNALED);
}

static void registration_is_passed_on(void **state)
{
	uint8_t body[160];

	for (unsigned i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 7);
	begin(CX_OP_UMR, CX_CTRL_CE_CQE, htobe32(0x1234567));
	add(body, sizeof(body));
	assert_int_equal(fetch(), 1);
	assert_int_equal(wr.op, UP_OP_LOCAL);
	assert_int_equal(wr.imm, 0x1234567);
	assert_int_equal(wr.raw_len, sizeof(body));
	assert_memory_equal(wr.data, body, sizeof(body));
}

static void ring_that_left_memory(void **state)
{
	begin(CX_OP_SEND, 0, 0);
	place(1);
	qp->buf.flat = NULL;
	qp->buf.pages[0] = 0;
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), -EFAULT);
	/* What is posted cannot be told: an idle queue's memory may be away for a moment. */
	qp->dbr = NULL;
	assert_int_equal(cx_sq_fetch(&qp->base, &wr), 0);
	assert_false(cx_sq_pending(&qp->base));
}

static void reset_starts_over(void **state)
{
	qp->sq_consumer = 7;
	qp->rq_consumer = 9;
	cx_qp_reset(&qp->base);
	assert_int_equal(qp->sq_consumer, 0);
	assert_int_equal(qp->rq_consumer, 0);
}

/* Any bytes in the ring: a request that keeps its promises, or an error with a way on. */
static void random_elements(void **state)
{
	static const enum up_qp_type types[] = {UP_QP_RC, UP_QP_UD, UP_QP_XRC_INI, UP_QP_LOCAL};
	uint64_t seed = 0x77aa55;

	for (unsigned i = 0; i < 200000; i++) {
		uint64_t r = unit_random(&seed);
		uint32_t ds = r & 0x3f, n = 0;
		int got;

		qp->base.type = types[r >> 8 & 3];
		for (unsigned k = 0; k < sizeof(wqe); k += 8) {
			uint64_t v = unit_random(&seed);

			/* Small counts, so that there is something to decode. */
			if (k % 16 == 0 && (v & 3))
				v &= htobe64(0x800000ff00000000);
			memcpy(wqe + k, &v, 8);
		}
		wqe[3] = r >> 16 & 1 ? wqe[3] : (uint8_t)(r >> 17 & 0x1f);
		place(ds);
		count_posted((uint16_t)(r >> 32 & 0x1f));
		got = cx_sq_fetch(&qp->base, &wr);
		if (got <= 0) {
			assert_true(got == 0 || (got == -EINVAL && wr.slots >= 1));
			continue;
		}
		assert_in_range(wr.slots, 1, 16);
		if (wr.op != UP_OP_LOCAL && wr.op != UP_OP_NOP) {
			uint64_t length = 0;

			for (n = 0; n < wr.nsge; n++) {
				length += wr.sge[n].len;
				if (wr.inline_sges >> n & 1)
					assert_true(wr.sge[n].addr + wr.sge[n].len <= 1008);
			}
			assert_true(wr.flags & UP_WR_INLINE ? wr.length <= 1008
							    : wr.length == length);
			assert_true(n <= 62);
		}
		cx_sq_advance(&qp->base, &wr);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(empty_queue),
		TEST(write_of_8_inline_bytes),
		TEST(opcodes),
		TEST(unknown_opcodes_are_malformed),
		TEST(flags),
		TEST(entries_of_no_bytes_are_left_out),
		TEST(several_inline_segments_are_one),
		TEST(inline_header_before_data),
		TEST(largest_element),
		TEST(largest_inline),
		TEST(inline_longer_than_the_element),
		TEST(wrap_around_the_ring),
		TEST(counter_wraps_at_16_bits),
		TEST(counter_beyond_the_ring_is_malformed),
		TEST(element_beyond_the_counter_is_malformed),
		TEST(element_without_size_is_malformed),
		TEST(element_of_another_queue_is_malformed),
		TEST(elements_cut_short),
		TEST(atomics),
		TEST(masked_atomics),
		TEST(masked_atomics_of_other_sizes_are_malformed),
		TEST(what_comes_back_needs_memory),
		TEST(datagrams),
		TEST(compact_address),
		TEST(xrc_names_its_srq),
		TEST(no_operation),
		TEST(registration_is_passed_on),
		TEST(ring_that_left_memory),
		TEST(reset_starts_over),
		TEST(random_elements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
