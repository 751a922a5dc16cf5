/* SPDX-License-Identifier: BSD-2-Clause */
/* Queue pairs by command: types, transitions, attributes, and what QUERY_QP says of them. */
#include "cx_rig.h"

#include "device/connectx/cmd.h"
#include "engine/exec.h"

static struct {
	uint32_t pd, uar, cqn;
} base;

static int setup(void **state)
{
	if (rig_setup_running(state))
		return -1;
	base.pd = rig_alloc_number(CX_CMD_ALLOC_PD);
	base.uar = rig_alloc_number(CX_CMD_ALLOC_UAR);
	base.cqn = rig_create_cq(rig_create_eq(0));
	return 0;
}

static void begin(uint8_t st)
{
	rig_begin_qp(st, base.cqn, base.pd, base.uar);
}

static struct cx_qp *create(uint8_t st)
{
	begin(st);
	rig_ok();
	return cx_qp(up_table_get(&rig.dev->hca.qps, rig_object()));
}

static void begin_move(const struct cx_qp *qp, uint16_t opcode, uint32_t mask)
{
	rig_begin(opcode, 0, CX_QP_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, qp->base.qpn);
	cx_set(rig.in, CX_QP_IN_OPT_PARAM_MASK, mask);
}

static void to_init(const struct cx_qp *qp)
{
	begin_move(qp, CX_CMD_RST2INIT_QP, 0);
	cx_set(rig_qpc(), CX_QPC_PM_STATE, CX_PM_MIGRATED);
	cx_set(rig_qpc(), CX_QPC_RWE, 1);
	cx_set(rig_qpc(), CX_QPC_RRE, 1);
	cx_set(rig_qpc() + CX_QPC_PRIMARY_PATH_AT, CX_ADS_VHCA_PORT_NUM, 1);
	rig_ok();
}

static void to_rtr(const struct cx_qp *qp)
{
	uint8_t *path = rig_qpc() + CX_QPC_PRIMARY_PATH_AT;

	begin_move(qp, CX_CMD_INIT2RTR_QP, 0);
	cx_set(rig_qpc(), CX_QPC_MTU, 3);
	cx_set(rig_qpc(), CX_QPC_REMOTE_QPN, 0x42);
	cx_set(rig_qpc(), CX_QPC_NEXT_RCV_PSN, 0x111);
	cx_set(rig_qpc(), CX_QPC_LOG_RRA_MAX, 2);
	cx_set(rig_qpc(), CX_QPC_MIN_RNR_NAK, 12);
	cx_set(path, CX_ADS_RLID, 9);
	cx_set(path, CX_ADS_SL, 3);
	cx_set(path, CX_ADS_GRH, 1);
	cx_set(path, CX_ADS_HOP_LIMIT, 64);
	cx_set(path, CX_ADS_TCLASS, 5);
	cx_set(path, CX_ADS_FLOW_LABEL, 0x12345);
	memset(path + CX_ADS_RGID_RIP_AT, 0xab, 16);
	rig_ok();
}

static void to_rts(const struct cx_qp *qp)
{
	begin_move(qp, CX_CMD_RTR2RTS_QP, 0);
	cx_set(rig_qpc(), CX_QPC_RETRY_COUNT, 6);
	cx_set(rig_qpc(), CX_QPC_RNR_RETRY, 5);
	cx_set(rig_qpc(), CX_QPC_LOG_SRA_MAX, 3);
	cx_set(rig_qpc(), CX_QPC_NEXT_SEND_PSN, 0x222);
	cx_set(rig_qpc() + CX_QPC_PRIMARY_PATH_AT, CX_ADS_ACK_TIMEOUT, 14);
	rig_ok();
}

static const uint8_t *query(const struct cx_qp *qp)
{
	rig_begin(CX_CMD_QUERY_QP, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, qp->base.qpn);
	rig_ok();
	return rig.out + CX_QUERY_QP_OUT_QPC_AT;
}

static void types(void **state)
{
	static const struct {
		uint8_t st;
		enum up_qp_type type;
	} known[] = {
		{CX_QPST_RC, UP_QP_RC},		{CX_QPST_UC, UP_QP_UC},	 {CX_QPST_UD, UP_QP_UD},
		{CX_QPST_XRC, UP_QP_XRC_INI},	{CX_QPST_QP0, UP_QP_UD}, {CX_QPST_QP1, UP_QP_UD},
		{CX_QPST_REG_UMR, UP_QP_LOCAL},
	};
	static const uint8_t unknown[] = {4, CX_QPST_DCI, CX_QPST_DCT, 9, 0xa, 0xb, 0xff};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(known); i++)
		assert_int_equal(create(known[i].st)->base.type, known[i].type);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(unknown); i++) {
		begin(unknown[i]);
		rig_fails(CX_BAD_PARAM, CX_WHY_TYPE);
	}
}

static void special_qps_are_unique(void **state)
{
	struct cx_qp *qp = create(CX_QPST_QP1);

	assert_ptr_equal(rig.dev->hca.special[1], &qp->base);
	assert_null(rig.dev->hca.special[0]);
	begin(CX_QPST_QP1);
	rig_fails(CX_BAD_RES_STATE, CX_WHY_IN_USE);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_QP, qp->base.qpn), CX_OK);
	assert_null(rig.dev->hca.special[1]);
	create(CX_QPST_QP1);
}

static void layout_of_the_buffer(void **state)
{
	struct cx_qp *qp = create(CX_QPST_RC);

	/* 16 receives of 64 bytes, then 16 blocks. */
	assert_int_equal(qp->sq_offset, 1024);
	assert_int_equal(qp->buf.bytes, 2048);
	assert_int_equal(qp->user_index, 0x123);
	assert_true(qp->uidx_in_cqe);
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_USER_INDEX, 0xffffff);
	rig_ok();
	assert_false(cx_qp(up_table_get(&rig.dev->hca.qps, rig_object()))->uidx_in_cqe);
}

static void bad_contexts(void **state)
{
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_PD, base.pd + 1);
	rig_fails(CX_BAD_RES, CX_WHY_NO_PD);
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_CQN_SND, 0);
	rig_fails(CX_BAD_RES, CX_WHY_NO_CQ);
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_CQN_RCV, 0xffffff);
	rig_fails(CX_BAD_RES, CX_WHY_NO_CQ);
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_UAR_PAGE, base.uar + 1);
	rig_fails(CX_BAD_RES, CX_WHY_NO_UAR);
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_UAR_PAGE, 0xffffff);
	rig_fails(CX_BAD_RES, CX_WHY_NO_UAR);
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_RQ_TYPE, CX_RQ_SRQ);
	rig_fails(CX_BAD_RES, CX_WHY_NO_SRQ);
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_LOG_RQ_STRIDE, 6);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_LOG_SQ_SIZE, 15);
	rig_fails(CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	begin(CX_QPST_RC);
	cx_set64(rig_qpc(), CX_QPC_DBR_ADDR, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_DOORBELL);
	/* A receive queue so small that the send queue would not be aligned. */
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_LOG_RQ_SIZE, 0);
	cx_set(rig_qpc(), CX_QPC_LOG_RQ_STRIDE, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
}

static void with_a_shared_receive_queue(void **state)
{
	struct cx_qp *qp;
	uint32_t rmpn;

	rig_begin_rmp(base.pd);
	rig_ok();
	rmpn = rig_object();
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_RQ_TYPE, CX_RQ_SRQ);
	cx_set(rig_qpc(), CX_QPC_SRQN_RMPN_XRQN, rmpn);
	rig_ok();
	qp = cx_qp(up_table_get(&rig.dev->hca.qps, rig_object()));
	assert_int_equal(qp->base.srq->srqn, rmpn);
	assert_false(qp->base.has_rq);
	assert_int_equal(qp->sq_offset, 0);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_RMP, rmpn), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_QP, qp->base.qpn), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_RMP, rmpn), CX_OK);
}

/* As the driver makes it: no queues, no record, no doorbell page. */
static void xrc_target(void **state)
{
	uint32_t xrcd = rig_alloc_number(CX_CMD_ALLOC_XRCD);

	for (unsigned i = 0; i < 2; i++) {
		rig_begin_qp(CX_QPST_XRC, base.cqn, base.pd, 0);
		cx_set(rig_qpc(), CX_QPC_NO_SQ, 1);
		cx_set(rig_qpc(), CX_QPC_RQ_TYPE, CX_RQ_SRQ);
		cx_set(rig_qpc(), CX_QPC_XRCD, xrcd + i);
		cx_set64(rig_qpc(), CX_QPC_DBR_ADDR, 0);
		rig.in_len = CX_CREATE_QP_IN_BYTES;
		assert_int_equal(rig_send(), i ? CX_BAD_RES : CX_OK);
		if (!i)
			assert_int_equal(rig_simple(CX_CMD_DEALLOC_XRCD, xrcd), CX_RES_BUSY);
	}
}

static void attributes(void **state)
{
	struct cx_qp *qp = create(CX_QPST_RC);
	const struct up_qp_attr *attr = &qp->base.attr;
	const uint8_t *qpc;

	to_init(qp);
	assert_int_equal(attr->access, UP_ACCESS_REMOTE_WRITE | UP_ACCESS_REMOTE_READ);
	to_rtr(qp);
	assert_int_equal(attr->mtu, 1024);
	assert_int_equal(attr->remote_qpn, 0x42);
	assert_int_equal(attr->max_dest_rd_atomic, 4);
	assert_int_equal(attr->min_rnr_timer, 12);
	assert_int_equal(attr->av.dlid, 9);
	assert_int_equal(attr->av.sl, 3);
	assert_true(attr->av.grh);
	assert_int_equal(attr->av.hop_limit, 64);
	assert_int_equal(attr->av.traffic_class, 5);
	assert_int_equal(attr->av.flow_label, 0x12345);
	assert_int_equal(attr->av.dgid.raw[15], 0xab);
	to_rts(qp);
	assert_int_equal(attr->retry_count, 6);
	assert_int_equal(attr->rnr_retry, 5);
	assert_int_equal(attr->ack_timeout, 14);
	assert_int_equal(attr->max_rd_atomic, 8);

	qpc = query(qp);
	assert_int_equal(cx_get(qpc, CX_QPC_STATE), CX_QPS_RTS);
	assert_int_equal(cx_get(qpc, CX_QPC_MTU), 3);
	assert_int_equal(cx_get(qpc, CX_QPC_REMOTE_QPN), 0x42);
	assert_int_equal(cx_get(qpc, CX_QPC_NEXT_RCV_PSN), 0x111);
	assert_int_equal(cx_get(qpc, CX_QPC_NEXT_SEND_PSN), 0x222);
	assert_int_equal(cx_get(qpc, CX_QPC_RETRY_COUNT), 6);
	assert_int_equal(cx_get(qpc, CX_QPC_PM_STATE), CX_PM_MIGRATED);
	qpc += CX_QPC_PRIMARY_PATH_AT;
	assert_int_equal(cx_get(qpc, CX_ADS_RLID), 9);
	assert_int_equal(cx_get(qpc, CX_ADS_ACK_TIMEOUT), 14);
	assert_int_equal(cx_get(qpc, CX_ADS_VHCA_PORT_NUM), 1);
}

/* Fields that a transition does not set, and the mask does not name, stay. */
static void mask_decides(void **state)
{
	struct cx_qp *qp = create(CX_QPST_RC);

	to_init(qp);
	to_rtr(qp);
	to_rts(qp);
	begin_move(qp, CX_CMD_RTS2RTS_QP, CX_OPT_RNR_TIMEOUT);
	cx_set(rig_qpc(), CX_QPC_MIN_RNR_NAK, 20);
	rig_ok();
	assert_int_equal(qp->base.attr.min_rnr_timer, 20);
	assert_int_equal(qp->base.attr.access, UP_ACCESS_REMOTE_WRITE | UP_ACCESS_REMOTE_READ);
	assert_int_equal(qp->base.attr.av.dlid, 9);
	assert_int_equal(qp->base.attr.remote_qpn, 0x42);
	begin_move(qp, CX_CMD_RTS2RTS_QP, CX_OPT_RWE | CX_OPT_RRE | CX_OPT_RAE);
	cx_set(rig_qpc(), CX_QPC_RAE, 1);
	rig_ok();
	assert_int_equal(qp->base.attr.access, UP_ACCESS_REMOTE_ATOMIC);
	assert_int_equal(qp->base.attr.min_rnr_timer, 20);
}

static void transitions(void **state)
{
	static const uint16_t moves[] = {
		CX_CMD_RST2INIT_QP, CX_CMD_INIT2INIT_QP, CX_CMD_INIT2RTR_QP, CX_CMD_RTR2RTS_QP,
		CX_CMD_RTS2RTS_QP,  CX_CMD_RTS2SQD_QP,	 CX_CMD_SQD2RTS_QP,  CX_CMD_SQERR2RTS_QP,
	};
	/* By the state that the QP is in before, which is RESET, INIT, RTR, RTS, ERR. */
	static const uint8_t allowed[] = {0x01, 0x06, 0x08, 0x30, 0x00};

	for (unsigned from = 0; from < UP_ARRAY_SIZE(allowed); from++) {
		for (unsigned m = 0; m < UP_ARRAY_SIZE(moves); m++) {
			struct cx_qp *qp = create(CX_QPST_RC);
			bool may = allowed[from] >> m & 1;

			if (from >= 1)
				to_init(qp);
			if (from >= 2)
				to_rtr(qp);
			if (from >= 3)
				to_rts(qp);
			if (from >= 4)
				rig_simple(CX_CMD_2ERR_QP, qp->base.qpn);
			begin_move(qp, moves[m], 0);
			cx_set(rig_qpc(), CX_QPC_MTU, 5);
			assert_int_equal(rig_send(), may ? CX_OK : CX_BAD_QP_STATE);
			assert_int_equal(rig_simple(CX_CMD_2RST_QP, qp->base.qpn), CX_OK);
			assert_int_equal(cx_get(query(qp), CX_QPC_STATE), CX_QPS_RST);
			assert_int_equal(rig_simple(CX_CMD_DESTROY_QP, qp->base.qpn), CX_OK);
		}
	}
}

/* A refused transition leaves no trace. */
static void refused_transition(void **state)
{
	struct cx_qp *qp = create(CX_QPST_RC);

	begin_move(qp, CX_CMD_INIT2RTR_QP, 0);
	cx_set(rig_qpc(), CX_QPC_MTU, 5);
	cx_set(rig_qpc(), CX_QPC_REMOTE_QPN, 0x99);
	rig_fails(CX_BAD_QP_STATE, CX_WHY_STATE);
	assert_int_equal(qp->base.attr.remote_qpn, 0);
	assert_int_equal(cx_get(query(qp), CX_QPC_REMOTE_QPN), 0);
}

static void attributes_out_of_range(void **state)
{
	struct cx_qp *qp = create(CX_QPST_RC);

	begin_move(qp, CX_CMD_RST2INIT_QP, 0);
	cx_set(rig_qpc() + CX_QPC_PRIMARY_PATH_AT, CX_ADS_PKEY_INDEX, 1);
	rig_fails(CX_BAD_INDEX, CX_WHY_ATTRIBUTE);
	to_init(qp);
	for (uint32_t mtu = 0; mtu < 8; mtu += mtu ? 1 : 6) {
		begin_move(qp, CX_CMD_INIT2RTR_QP, 0);
		cx_set(rig_qpc(), CX_QPC_MTU, mtu);
		rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	}
	begin_move(qp, CX_CMD_INIT2RTR_QP, 0);
	cx_set(rig_qpc(), CX_QPC_MTU, 5);
	cx_set(rig_qpc(), CX_QPC_LOG_RRA_MAX, 5);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
}

/* Its driver gives the registration QP a protection domain when it initializes it. */
static void registration_qp(void **state)
{
	struct cx_qp *qp = create(CX_QPST_REG_UMR);

	assert_int_equal(qp->base.pdn, 0);
	begin_move(qp, CX_CMD_RST2INIT_QP, 0);
	cx_set(rig_qpc(), CX_QPC_PD, base.pd);
	rig_ok();
	assert_int_equal(qp->base.pdn, base.pd);
	begin_move(qp, CX_CMD_INIT2RTR_QP, 0);
	rig_ok();
	/* It does not hold the domain: the driver frees that first. */
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_PD, base.pd), CX_OK);
}

static void only_the_kernel_has_the_reserved_key(void **state)
{
	struct up_mr_use use = {.access = UP_ACCESS_LOCAL_READ};
	struct cx_qp *qp;
	uint32_t key;

	rig_begin(CX_CMD_QUERY_SPECIAL_CONTEXTS, 0, CX_IN_BYTES);
	rig_ok();
	key = cx_get(rig.out, CX_QUERY_SPECIAL_CONTEXTS_OUT_RESD_LKEY);
	assert_int_not_equal(key, 0);
	use.privileged = create(CX_QPST_RC)->base.privileged;
	assert_int_not_equal(up_mr_check(&rig.dev->hca, key, &use, RIG_GPA, 64), 0);
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_RLKY, 1);
	rig_ok();
	qp = cx_qp(up_table_get(&rig.dev->hca.qps, rig_object()));
	use.privileged = qp->base.privileged;
	assert_int_equal(up_mr_check(&rig.dev->hca, key, &use, RIG_GPA, 64), 0);
	use.access = UP_ACCESS_REMOTE_READ;
	assert_int_not_equal(up_mr_check(&rig.dev->hca, key, &use, RIG_GPA, 64), 0);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_MKEY, key >> 8), CX_BAD_RES);
}

/*
 * What its context says of a receive queue that it does not have was not checked: nothing may be
 * taken from there. The ring is the last that the guest has of memory.
 */
static void nothing_is_received_without_a_queue(void **state)
{
	struct up_send_wr *wr = calloc(1, sizeof(*wr));
	struct up_exec *x = up_exec_create();
	struct cx_qp *qp;

	assert_non_null(wr);
	wr->op = UP_OP_SEND;
	begin(CX_QPST_RC);
	cx_set(rig_qpc(), CX_QPC_RQ_TYPE, CX_RQ_NONE);
	cx_set(rig_qpc(), CX_QPC_LOG_RQ_SIZE, 15);
	cx_set(rig_qpc(), CX_QPC_LOG_RQ_STRIDE, 7);
	cx_set(rig_qpc(), CX_QPC_LOG_SQ_SIZE, 0);
	cx_set(rig_qpc(), CX_QPC_PAGE_OFFSET, 63);
	up_put_be64(rig.in + CX_CREATE_QP_IN_PAS_AT, RIG_GPA + RIG_RAM - 4096);
	rig_ok();
	qp = cx_qp(up_table_get(&rig.dev->hca.qps, rig_object()));
	up_put_be32(rig_at(qp->dbr_gpa), 1);
	assert_int_equal(up_responder_begin(x, &qp->base, wr), UP_ACK_RNR);
	up_exec_destroy(x);
	free(wr);
}

static void multicast_to_itself_is_blocked(void **state)
{
	const struct up_qp *qp;

	assert_false(create(CX_QPST_UD)->base.block_loopback);
	begin(CX_QPST_UD);
	cx_set(rig_qpc(), CX_QPC_BLOCK_LB_MC, 1);
	rig_ok();
	qp = up_table_get(&rig.dev->hca.qps, rig_object());
	assert_true(qp->block_loopback);
}

static void multicast_groups(void **state)
{
	struct cx_qp *ud = create(CX_QPST_UD), *rc = create(CX_QPST_RC);
	const struct {
		uint16_t opcode;
		uint32_t qpn;
		uint32_t status;
	} steps[] = {
		{CX_CMD_DETACH_FROM_MCG, ud->base.qpn, CX_BAD_RES},
		{CX_CMD_ATTACH_TO_MCG, ud->base.qpn, CX_OK},
		{CX_CMD_ATTACH_TO_MCG, rc->base.qpn, CX_BAD_PARAM},
		{CX_CMD_ATTACH_TO_MCG, 0xffffff, CX_BAD_RES},
		{CX_CMD_DETACH_FROM_MCG, ud->base.qpn, CX_OK},
		{CX_CMD_ATTACH_TO_MCG, ud->base.qpn, CX_OK},
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(steps); i++) {
		rig_begin(steps[i].opcode, 0, CX_MCG_IN_BYTES);
		cx_set(rig.in, CX_IN_OBJECT, steps[i].qpn);
		rig.in[CX_MCG_IN_MULTICAST_GID_AT] = 0xff;
		rig.in[CX_MCG_IN_MULTICAST_GID_AT + 1] = 0x12;
		assert_int_equal(rig_send(), steps[i].status);
	}
	/* Still attached, and gone all the same. */
	assert_int_equal(rig_simple(CX_CMD_DESTROY_QP, ud->base.qpn), CX_OK);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(types),
		TEST(special_qps_are_unique),
		TEST(layout_of_the_buffer),
		TEST(bad_contexts),
		TEST(with_a_shared_receive_queue),
		TEST(xrc_target),
		TEST(attributes),
		TEST(mask_decides),
		TEST(transitions),
		TEST(refused_transition),
		TEST(attributes_out_of_range),
		TEST(registration_qp),
		TEST(only_the_kernel_has_the_reserved_key),
		TEST(nothing_is_received_without_a_queue),
		TEST(multicast_groups),
		TEST(multicast_to_itself_is_blocked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
