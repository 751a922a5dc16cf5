/* SPDX-License-Identifier: BSD-2-Clause */
/* Completion queue entries (device/connectx/cq.c); arming is in test_cx_queue_arm.c. */
#include "fake_cx.h"

#include <errno.h>
#include <string.h>

static struct cx_eq *eq;
static struct cx_qp *qp;

static int setup(void **state)
{
	if (fake_setup(state))
		return -1;
	eq = fake_eq(1, 0, 6);
	memset(eq->event_mask, 0xff, sizeof(eq->event_mask));
	qp = fake_qp(UP_QP_RC, 4, false);
	return 0;
}

static struct up_wc request_wc(uint16_t index)
{
	return (struct up_wc){.qp = &qp->base, .raw_op = CX_OP_RDMA_WRITE, .index = index};
}

static struct up_wc receive_wc(enum up_opcode op)
{
	return (struct up_wc){.qp = &qp->base,
			      .op = op,
			      .flags = UP_WC_RECV,
			      .index = 0x1122,
			      .byte_len = 4000,
			      .imm = htobe32(0xa1b2c3d4)};
}

static const struct cx_cqe64 *post(struct cx_cq *cq, const struct up_wc *wc)
{
	const struct cx_cqe64 *cqe;
	uint32_t at = cq->producer;

	cx_cq_post(&cq->base, wc);
	cqe = fake_cqe(cq, at);
	assert_non_null(cqe);
	return cqe;
}

static unsigned opcode(const struct cx_cqe64 *cqe)
{
	return cqe->op_own >> CX_CQE_OPCODE_SHIFT;
}

static void request_completes(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 4, 6, false);
	struct up_wc wc = request_wc(0xfffe);
	const struct cx_cqe64 *cqe = post(cq, &wc);

	assert_int_equal(opcode(cqe), CX_CQE_REQ);
	assert_int_equal(be32toh(cqe->sop_drop_qpn), CX_OP_RDMA_WRITE << 24 | qp->base.qpn);
	assert_int_equal(be16toh(cqe->wqe_counter), 0xfffe);
	assert_int_equal(be32toh(cqe->srqn_uidx), 0x123);
	assert_int_not_equal(cqe->timestamp, 0);
	assert_null(fake_cqe(cq, 1));
}

static void read_reports_its_length(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 4, 6, false);
	struct up_wc wc = request_wc(1);

	wc.byte_len = 1u << 30;
	assert_int_equal(be32toh(post(cq, &wc)->byte_cnt), 1u << 30);
}

static void receives_have_an_opcode_each(void **state)
{
	static const struct {
		enum up_opcode op;
		unsigned opcode;
		uint32_t imm;
	} table[] = {
		{UP_OP_WRITE_IMM, CX_CQE_RESP_WR_IMM, 0xa1b2c3d4},
		{UP_OP_SEND, CX_CQE_RESP_SEND, 0},
		{UP_OP_SEND_IMM, CX_CQE_RESP_SEND_IMM, 0xa1b2c3d4},
	};
	struct cx_cq *cq = fake_cq(eq, 4, 6, false);

	for (unsigned i = 0; i < UP_ARRAY_SIZE(table); i++) {
		struct up_wc wc = receive_wc(table[i].op);
		const struct cx_cqe64 *cqe = post(cq, &wc);

		assert_int_equal(opcode(cqe), table[i].opcode);
		assert_int_equal(be32toh(cqe->imm_inval_pkey), table[i].imm);
		assert_int_equal(be32toh(cqe->byte_cnt), 4000);
		assert_int_equal(be16toh(cqe->wqe_counter), 0x1122);
	}
}

static void invalidated_key_is_a_number(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 4, 6, false);
	struct up_wc wc = receive_wc(UP_OP_SEND_INV);
	const struct cx_cqe64 *cqe;

	wc.imm = 0x4455;
	cqe = post(cq, &wc);
	assert_int_equal(opcode(cqe), CX_CQE_RESP_SEND_INV);
	assert_int_equal(be32toh(cqe->imm_inval_pkey), 0x4455);
}

static void datagram_tells_where_it_came_from(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 4, 6, false);
	struct up_wc wc = receive_wc(UP_OP_SEND);
	const struct cx_cqe64 *cqe;
	uint32_t flags;

	qp->base.type = UP_QP_UD;
	wc.flags |= UP_WC_GRH;
	wc.src_qpn = 0xabcdef;
	wc.slid = 0x1234;
	wc.sl = 5;
	cqe = post(cq, &wc);
	flags = be32toh(cqe->flags_rqpn);
	assert_int_equal(flags & 0xffffff, 0xabcdef);
	assert_int_equal(flags >> 24 & 0xf, 5);
	assert_int_equal(flags >> 28 & 3, CX_CQE_GRH_IN_BUFFER);
	assert_int_equal(be16toh(cqe->slid), 0x1234);
	assert_int_equal(cqe->ml_path, 0);
	assert_int_equal(cqe->imm_inval_pkey, 0);
	/* QP1 gets the key's value. */
	qp->base.is_special = true;
	qp->base.special = 1;
	assert_int_equal(be32toh(post(cq, &wc)->imm_inval_pkey), UP_PKEY_DEFAULT);
}

static void solicited_shows(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 4, 6, false);
	struct up_wc wc = receive_wc(UP_OP_SEND);

	assert_false(post(cq, &wc)->op_own & CX_CQE_SOLICITED);
	wc.flags |= UP_WC_SOLICITED_EVENT;
	assert_true(post(cq, &wc)->op_own & CX_CQE_SOLICITED);
}

static void errors_have_a_syndrome_each(void **state)
{
	static const uint8_t syndromes[] = {
		[UP_WC_LOC_LEN_ERR] = 0x01,    [UP_WC_LOC_QP_OP_ERR] = 0x02,
		[UP_WC_LOC_PROT_ERR] = 0x04,   [UP_WC_WR_FLUSH_ERR] = 0x05,
		[UP_WC_MW_BIND_ERR] = 0x06,    [UP_WC_BAD_RESP_ERR] = 0x10,
		[UP_WC_LOC_ACCESS_ERR] = 0x11, [UP_WC_REM_INV_REQ_ERR] = 0x12,
		[UP_WC_REM_ACCESS_ERR] = 0x13, [UP_WC_REM_OP_ERR] = 0x14,
		[UP_WC_RETRY_EXC_ERR] = 0x15,  [UP_WC_RNR_RETRY_EXC_ERR] = 0x16,
		[UP_WC_REM_ABORT_ERR] = 0x22,
	};
	struct cx_cq *cq = fake_cq(eq, 5, 6, false);

	for (unsigned i = UP_WC_LOC_LEN_ERR; i <= UP_WC_REM_ABORT_ERR; i++) {
		struct up_wc wc = request_wc(9);
		const struct cx_err_cqe *err;

		wc.status = i;
		err = (const void *)post(cq, &wc);
		assert_int_equal(err->op_own >> 4, CX_CQE_REQ_ERR);
		assert_int_equal(err->syndrome, syndromes[i]);
		assert_int_not_equal(err->vendor_err_synd, 0);
		assert_int_equal(be32toh(err->s_wqe_opcode_qpn) & 0xffffff, qp->base.qpn);
		assert_int_equal(be16toh(err->wqe_counter), 9);
		assert_int_equal(be32toh(err->srqn_uidx), 0x123);
		wc.flags = UP_WC_RECV;
		assert_int_equal(opcode(post(cq, &wc)), CX_CQE_RESP_ERR);
	}
}

static void version_0_names_the_srq(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 4, 6, false);
	struct cx_srq *srq = fake_srq(4, 6, false);
	struct up_wc wc = receive_wc(UP_OP_SEND);

	qp->uidx_in_cqe = false;
	assert_int_equal(post(cq, &wc)->srqn_uidx, 0);
	wc.srq = &srq->base;
	wc.flags |= UP_WC_SRQ;
	assert_int_equal(be32toh(post(cq, &wc)->srqn_uidx), 0x55);
	qp->uidx_in_cqe = true;
	assert_int_equal(be32toh(post(cq, &wc)->srqn_uidx), 0x123);
}

static void xrc_names_the_srq_by_user_index(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 4, 6, false);
	struct cx_srq *srq = fake_srq(4, 6, false);
	struct up_wc wc = receive_wc(UP_OP_SEND);

	wc.srq = &srq->base;
	wc.flags |= UP_WC_SRQ;
	srq->base.xrc = true;
	assert_int_equal(be32toh(post(cq, &wc)->srqn_uidx), 0x77);
	srq->user_index = CX_NO_USER_INDEX;
	assert_int_equal(be32toh(post(cq, &wc)->srqn_uidx), 0x55);
}

/* The owner bit flips with every lap, over rings of both strides and on pages anywhere. */
static void laps(uint8_t log_size, uint8_t shift, bool scattered)
{
	struct cx_cq *cq = fake_cq(eq, log_size, shift, scattered);

	for (uint32_t i = 0; i < 5u << log_size; i++) {
		struct up_wc wc = request_wc((uint16_t)i);

		assert_null(fake_cqe(cq, i));
		assert_int_equal(be16toh(post(cq, &wc)->wqe_counter), (uint16_t)i);
		up_put_be32(&cq->dbr[CX_DBR_CQ_CI], (i + 1) & 0xffffff);
	}
	assert_false(cq->base.failed);
}

static void owner_flips_with_every_lap(void **state)
{
	laps(3, 6, false);
	laps(0, 6, false);
	laps(3, 7, false);
	laps(8, 6, true);
	laps(7, 7, true);
}

static void entry_of_128_bytes_leaves_its_first_half(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 2, 7, false);
	struct up_wc wc = request_wc(3);
	uint8_t zero[64] = {0};

	post(cq, &wc);
	assert_memory_equal(fake_at(&cq->buf, 0), zero, sizeof(zero));
}

static void producer_is_cut_to_24_bits_at_the_guest(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 2, 6, false);

	cq->producer = 0xfffffe;
	cq->consumer = 0xfffffe;
	for (uint32_t i = 0; i < 8; i++) {
		struct up_wc wc = request_wc((uint16_t)i);

		post(cq, &wc);
		up_put_be32(&cq->dbr[CX_DBR_CQ_CI], cq->producer & 0xffffff);
	}
	assert_false(cq->base.failed);
	assert_int_equal(cq->producer, 0x1000006);
}

static void overrun_ends_the_queue(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 2, 6, false);
	struct up_wc wc = request_wc(1);

	for (unsigned i = 0; i < 4; i++)
		post(cq, &wc);
	assert_false(cq->base.failed);
	cx_cq_post(&cq->base, &wc);
	assert_true(cq->base.failed);
	assert_int_equal(fake_event(eq, 0)->type, CX_EVENT_CQ_ERROR);
	assert_int_equal(up_get_be32(fake_event(eq, 0)->data), cq->base.cqn);
	assert_int_equal(fake_event(eq, 0)->data[11], CX_CQ_ERROR_OVERRUN);
	/* Nothing more, also when there is room again. */
	up_put_be32(&cq->dbr[CX_DBR_CQ_CI], 4);
	cx_cq_post(&cq->base, &wc);
	assert_int_equal(cq->producer, 4);
	assert_int_equal(eq->producer, 1);
}

static void room_is_found_in_the_record(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 2, 6, false);
	struct up_wc wc = request_wc(1);

	for (unsigned i = 0; i < 4; i++)
		post(cq, &wc);
	up_put_be32(&cq->dbr[CX_DBR_CQ_CI], 2);
	post(cq, &wc);
	post(cq, &wc);
	cx_cq_post(&cq->base, &wc);
	assert_true(cq->base.failed);
}

static void consumer_ahead_of_producer_is_an_overrun(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 2, 6, false);
	struct up_wc wc = request_wc(1);

	for (unsigned i = 0; i < 4; i++)
		post(cq, &wc);
	up_put_be32(&cq->dbr[CX_DBR_CQ_CI], 100);
	cx_cq_post(&cq->base, &wc);
	assert_true(cq->base.failed);
}

static void overrun_may_be_ignored(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 2, 6, false);
	struct up_wc wc = request_wc(1);

	cq->overrun_ignore = true;
	for (unsigned i = 0; i < 9; i++)
		post(cq, &wc);
	assert_false(cq->base.failed);
}

static void collapsed_queue_has_one_entry(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 2, 6, false);

	cq->collapsed = true;
	for (uint16_t i = 0; i < 9; i++) {
		struct up_wc wc = request_wc(i);
		const struct cx_cqe64 *cqe = (const void *)fake_at(&cq->buf, 0);

		cx_cq_post(&cq->base, &wc);
		assert_int_equal(be16toh(cqe->wqe_counter), i);
	}
	assert_int_equal(*fake_at(&cq->buf, 127), CX_CQE_INVALID << 4);
}

static void ring_that_left_memory_ends_the_queue(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 2, 6, false);
	struct up_wc wc = request_wc(1);

	cq->buf.flat = NULL;
	cq->buf.pages[0] = 0x1000;
	cx_cq_post(&cq->base, &wc);
	assert_true(cq->base.failed);
	assert_int_equal(fake_event(eq, 0)->data[11], CX_CQ_ERROR_ACCESS);
}

static void timestamps_never_go_back(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 4, 6, false);
	struct up_wc wc = request_wc(1);
	uint64_t due = UINT64_MAX, first;

	cx_cq_watch(&fake.dev, 3200, &due);
	first = be64toh(post(cq, &wc)->timestamp);
	assert_int_equal(first, 500);
	cx_cq_watch(&fake.dev, 64, &due);
	assert_int_equal(be64toh(post(cq, &wc)->timestamp), 500);
	cx_cq_watch(&fake.dev, 6400, &due);
	assert_int_equal(be64toh(post(cq, &wc)->timestamp), 1000);
	cx_cq_watch(&fake.dev, 0, &due);
}

static void give_ring(struct cx_cq *cq, uint8_t log_size, uint8_t shift)
{
	size_t bytes = (size_t)1 << (log_size + shift);

	fake_ring(&cq->resize_buf, bytes, false);
	for (size_t i = 1; i <= 1u << log_size; i++)
		*fake_at(&cq->resize_buf, (i << shift) - 1) = CX_CQE_INVALID << CX_CQE_OPCODE_SHIFT;
}

static void resize_goes_on_in_the_new_ring(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 2, 6, false);
	struct up_wc wc = request_wc(1);
	const struct cx_cqe64 *last;
	uint8_t *old = cq->buf.flat;

	post(cq, &wc);
	post(cq, &wc);
	give_ring(cq, 4, 7);
	assert_int_equal(cx_cq_switch(cq, 4, 7), 0);
	/* The old ring ends with an entry that says so, at index 2. */
	last = (const void *)(old + 2 * sizeof(*last));
	assert_int_equal(opcode(last), CX_CQE_RESIZE_CQ);
	assert_int_equal(last->op_own & CX_CQE_OWNER, 0);
	assert_null(cq->resize_buf.pages);
	/* The new one goes on behind it. */
	assert_int_equal(cq->producer, 3);
	wc.index = 0x33;
	assert_int_equal(be16toh(post(cq, &wc)->wqe_counter), 0x33);
	last = (const void *)fake_at(&cq->buf, 3 * 128 + 64);
	assert_int_equal(be16toh(last->wqe_counter), 0x33);
}

static void resize_needs_room_on_both_sides(void **state)
{
	struct cx_cq *cq = fake_cq(eq, 2, 6, false);
	struct up_wc wc = request_wc(1);

	give_ring(cq, 1, 6);
	for (unsigned i = 0; i < 4; i++)
		post(cq, &wc);
	assert_int_equal(cx_cq_switch(cq, 1, 6), -EINVAL);
	assert_int_equal(cx_cq_switch(cq, 5, 6), -ENOSPC);
	up_put_be32(&cq->dbr[CX_DBR_CQ_CI], 2);
	assert_int_equal(cx_cq_switch(cq, 1, 6), -EINVAL);
	up_put_be32(&cq->dbr[CX_DBR_CQ_CI], 3);
	assert_int_equal(cq->producer, 4);
	assert_int_equal(cx_cq_switch(cq, 1, 6), 0);
	assert_int_equal(cq->producer, 5);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(request_completes),
		TEST(read_reports_its_length),
		TEST(receives_have_an_opcode_each),
		TEST(invalidated_key_is_a_number),
		TEST(datagram_tells_where_it_came_from),
		TEST(solicited_shows),
		TEST(errors_have_a_syndrome_each),
		TEST(version_0_names_the_srq),
		TEST(xrc_names_the_srq_by_user_index),
		TEST(owner_flips_with_every_lap),
		TEST(entry_of_128_bytes_leaves_its_first_half),
		TEST(producer_is_cut_to_24_bits_at_the_guest),
		TEST(overrun_ends_the_queue),
		TEST(room_is_found_in_the_record),
		TEST(consumer_ahead_of_producer_is_an_overrun),
		TEST(overrun_may_be_ignored),
		TEST(collapsed_queue_has_one_entry),
		TEST(ring_that_left_memory_ends_the_queue),
		TEST(timestamps_never_go_back),
		TEST(resize_goes_on_in_the_new_ring),
		TEST(resize_needs_room_on_both_sides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
