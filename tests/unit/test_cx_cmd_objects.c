/* SPDX-License-Identifier: BSD-2-Clause */
/* Objects that commands create: what they need, what they hold on to, and how they end. */
#include "cx_rig.h"

#include "device/connectx/cmd.h"
#include "fabric/fabric_private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

/* What most tests stand on. */
static struct {
	uint32_t pd, uar, eqn, cqn;
} base;

static struct up_reaper *reaper;

static void create_base(void)
{
	base.pd = rig_alloc_number(CX_CMD_ALLOC_PD);
	base.uar = rig_alloc_number(CX_CMD_ALLOC_UAR);
	base.eqn = rig_create_eq(0);
	base.cqn = rig_create_cq(base.eqn);
}

static int setup(void **state)
{
	if (rig_setup_running(state))
		return -1;
	create_base();
	return 0;
}

static uint32_t destroy_eq(uint32_t eqn)
{
	rig_begin(CX_CMD_DESTROY_EQ, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_EQN, eqn);
	return rig_send();
}

static uint32_t create_qp(void)
{
	rig_begin_qp(CX_QPST_RC, base.cqn, base.pd, base.uar);
	rig_ok();
	return rig_object();
}

static void numbers_that_do_not_exist(void **state)
{
	static const uint16_t destroys[] = {
		CX_CMD_DEALLOC_PD,  CX_CMD_DEALLOC_UAR, CX_CMD_DEALLOC_XRCD,
		CX_CMD_DESTROY_CQ,  CX_CMD_DESTROY_QP,	CX_CMD_DESTROY_MKEY,
		CX_CMD_DESTROY_SRQ, CX_CMD_DESTROY_RMP, CX_CMD_DESTROY_XRC_SRQ,
		CX_CMD_2ERR_QP,	    CX_CMD_DESTROY_EQ,
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(destroys); i++) {
		assert_int_equal(rig_simple(destroys[i], 0), CX_BAD_RES);
		assert_int_equal(rig_simple(destroys[i], 0xffffff), CX_BAD_RES);
	}
}

static void in_use_is_not_destroyed(void **state)
{
	uint32_t qpn = create_qp();

	assert_int_equal(destroy_eq(base.eqn), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_CQ, base.cqn), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_PD, base.pd), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_UAR, base.uar), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_QP, qpn), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_QP, qpn), CX_BAD_RES);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_CQ, base.cqn), CX_OK);
	assert_int_equal(destroy_eq(base.eqn), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_PD, base.pd), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_UAR, base.uar), CX_OK);
}

static void teardown_destroys_what_is_left(void **state)
{
	create_qp();
	rig_begin_rmp(base.pd);
	rig_ok();
	rig_begin_mkey(CX_MKC_MODE_MTT, 4, 0);
	rig_ok();
	assert_int_equal(rig_simple(CX_CMD_TEARDOWN_HCA, 0), CX_OK);
	assert_int_equal(rig.dev->list_bytes, 0);
	assert_int_equal(rig.dev->hca.qps.used, 0);
	assert_int_equal(rig.dev->hca.srqs.used, 0);
	assert_int_equal(rig.dev->hca.mrs.used, 0);
	assert_int_equal(rig.dev->cqs.used, 0);
	assert_int_equal(rig.dev->pds.used, 0);
	assert_null(rig.dev->eqs[base.eqn]);
	assert_false(rig.dev->uars[base.uar].allocated);
	assert_int_equal(rig_simple(CX_CMD_INIT_HCA, 0), CX_OK);
}

static uint32_t create_datagram_qp(uint8_t st)
{
	rig_begin_qp(st, base.cqn, base.pd, base.uar);
	rig_ok();
	return rig_object();
}

/* There is one QP1, and the groups that a queue pair was in end with it. */
static void teardown_ends_what_others_see(void **state)
{
	const struct up_fabric_port *port = up_fabric_port(rig.port);
	uint32_t qpn;

	create_datagram_qp(CX_QPST_QP1);
	qpn = create_datagram_qp(CX_QPST_UD);
	rig_begin(CX_CMD_ATTACH_TO_MCG, 0, CX_MCG_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, qpn);
	rig.in[CX_MCG_IN_MULTICAST_GID_AT] = 0xff;
	rig_ok();
	assert_int_equal(port->nmemberships, 1);
	assert_int_equal(rig_simple(CX_CMD_TEARDOWN_HCA, 0), CX_OK);
	assert_int_equal(port->nmemberships, 0);
	assert_null(rig.dev->hca.special[1]);
	assert_int_equal(rig_simple(CX_CMD_INIT_HCA, 0), CX_OK);
	create_base();
	create_datagram_qp(CX_QPST_QP1);
}

static void create_some(void)
{
	for (unsigned i = 0; i < 200; i++)
		create_qp();
	rig_begin_rmp(base.pd);
	rig_ok();
	rig_begin_mkey(CX_MKC_MODE_MTT, 4, 0);
	rig_ok();
}

static int setup_with_reaper(void **state)
{
	if (setup(state))
		return -1;
	reaper = up_reaper_create();
	rig.dev->cfg.reaper = reaper;
	return reaper ? 0 : -1;
}

/* What the last driver left outlives the device. */
static int teardown_with_reaper(void **state)
{
	create_some();
	rig_teardown(state);
	up_reaper_destroy(reaper);
	return 0;
}

/* The memory goes later, but before there is more of it. */
static void next_driver_waits_for_what_is_left(void **state)
{
	struct pollfd left = {.fd = up_reaper_fd(reaper), .events = POLLIN};

	create_some();
	assert_int_equal(rig_simple(CX_CMD_TEARDOWN_HCA, 0), CX_OK);
	assert_int_equal(poll(&left, 1, 0), 1);
	assert_int_equal(rig.dev->hca.qps.used, 0);
	assert_int_equal(rig_simple(CX_CMD_INIT_HCA, 0), CX_OK);
	assert_true(cx_remains_settle(rig.dev));
	up_reaper_process(reaper);
	assert_int_equal(poll(&left, 1, 0), 0);
	create_base();
}

static void reset_starts_over(void **state)
{
	create_qp();
	cx_device_reset(rig.dev);
	assert_int_equal(rig.dev->hca.qps.used, 0);
	assert_false(rig.port->active);
	assert_int_equal(rig_read(CX_ISEG_CMDQ_ADDR_H), 0);
	assert_int_equal(rig_read(CX_ISEG_CMDQ_ADDR_L_SZ), 5 << 4 | 6);
}

static void cq_of_a_missing_eq(void **state)
{
	rig_begin_cq(base.eqn + 1);
	rig_fails(CX_BAD_RES, CX_WHY_NO_EQ);
	rig_begin_cq(0xffffffff);
	rig_fails(CX_BAD_RES, CX_WHY_NO_EQ);
}

static void cq_doorbell_records(void **state)
{
	uint8_t *cqc = rig.in + CX_CREATE_CQ_IN_CQC_AT;

	rig_begin_cq(base.eqn);
	cx_set64(cqc, CX_CQC_DBR_ADDR, RIG_GPA + 4);
	rig_fails(CX_BAD_PARAM, CX_WHY_DOORBELL);
	rig_begin_cq(base.eqn);
	cx_set64(cqc, CX_CQC_DBR_ADDR, RIG_GPA + RIG_RAM);
	rig_fails(CX_BAD_PARAM, CX_WHY_DOORBELL);
	rig_begin_cq(base.eqn);
	cx_set64(cqc, CX_CQC_DBR_ADDR, UINT64_MAX - 7);
	rig_fails(CX_BAD_PARAM, CX_WHY_DOORBELL);
}

/* A queue is not armed until its driver stores a record, be that zero (sequence 0, index 0). */
static void cq_begins_unarmed(void **state)
{
	uint8_t *cqc = rig.in + CX_CREATE_CQ_IN_CQC_AT;
	uint32_t *record;
	struct cx_cq *cq;

	rig_begin_cq(base.eqn);
	record = rig_at(cx_get64(cqc, CX_CQC_DBR_ADDR));
	rig_ok();
	cq = up_table_get(&rig.dev->cqs, rig_object());
	cx_cq_locate(cq);
	assert_ptr_equal(cq->dbr, record);
	assert_int_equal(be32toh(record[CX_DBR_CQ_ARM]), CX_ARM_INIT);
	assert_int_equal(record[CX_DBR_CQ_CI], 0);

	rig_begin_cq(base.eqn);
	record = rig_at(cx_get64(cqc, CX_CQC_DBR_ADDR));
	record[CX_DBR_CQ_ARM] = htobe32(1u << CX_ARM_SN_SHIFT);
	rig_ok();
	assert_int_equal(be32toh(record[CX_DBR_CQ_ARM]), 1u << CX_ARM_SN_SHIFT);
}

static void page_lists_must_suffice(void **state)
{
	uint8_t *cqc = rig.in + CX_CREATE_CQ_IN_CQC_AT;

	/* 64 entries of 64 bytes fill a page: with an offset they do not fit. */
	rig_begin_cq(base.eqn);
	cx_set(cqc, CX_CQC_PAGE_OFFSET, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	rig_begin_cq(base.eqn);
	cx_set(cqc, CX_CQC_PAGE_OFFSET, 1);
	rig_pages(CX_CREATE_CQ_IN_PAS_AT, 2);
	rig_ok();
	rig_begin_cq(base.eqn);
	rig.in_len = CX_CREATE_CQ_IN_PAS_AT;
	rig_fails(CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	rig_begin_cq(base.eqn);
	cx_set(cqc, CX_CQC_LOG_PAGE_SIZE, 31);
	rig_fails(CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	rig_begin_cq(base.eqn);
	cx_set(cqc, CX_CQC_LOG_CQ_SIZE, 31);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
	/* Entries of 128 bytes that would lie across two pages. */
	rig_begin_cq(base.eqn);
	cx_set(cqc, CX_CQC_CQE_SZ, CX_CQE_SZ_128);
	cx_set(cqc, CX_CQC_PAGE_OFFSET, 1);
	rig_pages(CX_CREATE_CQ_IN_PAS_AT, 4);
	rig_fails(CX_BAD_PARAM, CX_WHY_PAGE_LIST);
}

/* A guest lists one page over and over: what that costs the host is bounded. */
static void page_lists_are_bounded(void **state)
{
	uint8_t *eqc = rig.in + CX_CREATE_EQ_IN_EQC_AT;

	rig.dev->list_bytes = 64u << 20;
	rig_begin(CX_CMD_CREATE_EQ, 0, CX_CREATE_EQ_IN_BYTES);
	cx_set(eqc, CX_EQC_LOG_EQ_SIZE, 6);
	rig_pages(CX_CREATE_EQ_IN_PAS_AT, 1);
	rig_fails(CX_LIM_ERR, CX_WHY_LIST_MEMORY);
	rig.dev->list_bytes = 2 * sizeof(uint64_t);
}

static void eq_vector_and_size(void **state)
{
	uint8_t *eqc = rig.in + CX_CREATE_EQ_IN_EQC_AT;

	rig_begin(CX_CMD_CREATE_EQ, 0, CX_CREATE_EQ_IN_BYTES);
	cx_set(eqc, CX_EQC_INTR, CX_MSIX_VECTORS);
	rig_pages(CX_CREATE_EQ_IN_PAS_AT, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	rig_begin(CX_CMD_CREATE_EQ, 0, CX_CREATE_EQ_IN_BYTES);
	cx_set(eqc, CX_EQC_LOG_EQ_SIZE, 31);
	rig_pages(CX_CREATE_EQ_IN_PAS_AT, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
}

static void eqs_run_out(void **state)
{
	uint8_t *eqc = rig.in + CX_CREATE_EQ_IN_EQC_AT;

	for (unsigned n = 1; n < 1u << CX_LOG_MAX_EQ; n++)
		rig_create_eq(0);
	rig_begin(CX_CMD_CREATE_EQ, 0, CX_CREATE_EQ_IN_BYTES);
	cx_set(eqc, CX_EQC_LOG_EQ_SIZE, 6);
	rig_pages(CX_CREATE_EQ_IN_PAS_AT, 1);
	rig_fails(CX_NO_RES, CX_WHY_TABLE_FULL);
}

static void begin_resize(uint32_t log_size, uint32_t pages)
{
	uint8_t *cqc = rig.in + CX_MODIFY_CQ_IN_CQC_AT;

	rig_begin(CX_CMD_MODIFY_CQ, CX_MODIFY_CQ_OP_RESIZE, CX_MODIFY_CQ_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, base.cqn);
	cx_set(cqc, CX_CQC_LOG_CQ_SIZE, log_size);
	rig_pages(CX_MODIFY_CQ_IN_PAS_AT, pages);
}

static void cq_resize(void **state)
{
	struct cx_cq *cq = up_table_get(&rig.dev->cqs, base.cqn);
	const struct cx_cqe64 *last = rig_at(cq->buf.pages[0]);
	uint8_t *cqc = rig.out + CX_QUERY_CQ_OUT_CQC_AT;
	uint64_t lists = rig.dev->list_bytes;

	begin_resize(8, 4);
	rig_ok();
	/* The old ring ends with the entry that says so. */
	assert_int_equal(last->op_own >> CX_CQE_OPCODE_SHIFT, CX_CQE_RESIZE_CQ);
	assert_int_equal(cq->log_size, 8);
	assert_int_equal(cq->producer, 1);
	assert_int_equal(rig.dev->list_bytes, lists + 3 * sizeof(uint64_t));
	rig_begin(CX_CMD_QUERY_CQ, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, base.cqn);
	rig_ok();
	assert_int_equal(cx_get(cqc, CX_CQC_LOG_CQ_SIZE), 8);
	assert_int_equal(cx_get(cqc, CX_CQC_PRODUCER_COUNTER), 1);
}

static void cq_resize_keeps_what_is_unread(void **state)
{
	struct cx_cq *cq = up_table_get(&rig.dev->cqs, base.cqn);
	uint64_t lists = rig.dev->list_bytes;

	cq->producer = 40;
	begin_resize(5, 1);
	rig_fails(CX_BAD_OUTS_CQES, CX_WHY_OUTSTANDING);
	assert_int_equal(cq->log_size, 6);
	assert_int_equal(rig.dev->list_bytes, lists);
	begin_resize(12, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_PAGE_LIST);
}

static void cq_moderation(void **state)
{
	struct cx_cq *cq = up_table_get(&rig.dev->cqs, base.cqn);
	uint8_t *cqc = rig.in + CX_MODIFY_CQ_IN_CQC_AT;

	rig_begin(CX_CMD_MODIFY_CQ, CX_MODIFY_CQ_OP_MODIFY, CX_MODIFY_CQ_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, base.cqn);
	cx_set(rig.in, CX_MODIFY_CQ_IN_FIELD_SELECT, CX_MODIFY_CQ_PERIOD);
	cx_set(cqc, CX_CQC_CQ_PERIOD, 100);
	cx_set(cqc, CX_CQC_CQ_MAX_COUNT, 7);
	rig_ok();
	assert_int_equal(cq->moderation_us, 100);
	assert_int_equal(cq->moderation_count, 0);
}

static uint32_t create_xrc_srq(uint32_t xrcd)
{
	rig_begin_xrc_srq(base.pd, xrcd, base.cqn);
	cx_set(rig.in + CX_CREATE_SRQ_IN_SRQC_AT, CX_XRC_SRQC_USER_INDEX, 77);
	return rig_send();
}

static void xrc_srq(void **state)
{
	uint32_t xrcd = rig_alloc_number(CX_CMD_ALLOC_XRCD), srqn;
	struct up_srq *srq;

	assert_int_equal(create_xrc_srq(xrcd + 1), CX_BAD_RES);
	assert_int_equal(create_xrc_srq(xrcd), CX_OK);
	srqn = rig_object();
	srq = up_table_get(&rig.dev->hca.srqs, srqn);
	assert_true(srq->xrc);
	assert_int_equal(cx_srq(srq)->user_index, 77);
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_XRCD, xrcd), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_CQ, base.cqn), CX_RES_BUSY);
	/* Of one kind only: neither an RMP nor an SRQ. */
	assert_int_equal(rig_simple(CX_CMD_DESTROY_RMP, srqn), CX_BAD_RES);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_SRQ, srqn), CX_BAD_RES);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_XRC_SRQ, srqn), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_XRCD, xrcd), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_CQ, base.cqn), CX_OK);
}

static void rmp_limit(void **state)
{
	uint8_t *wq = rig.in + CX_MODIFY_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT;
	uint8_t *rmpc = rig.out + CX_QUERY_RMP_OUT_RMPC_AT;
	uint32_t rmpn;
	uint8_t *dbr;

	rig_begin_rmp(base.pd);
	dbr = rig_at(cx_get64(rig.in + CX_CREATE_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT, CX_WQ_DBR_ADDR));
	rig_ok();
	rmpn = rig_object();
	up_put_be32(dbr, 10);
	rig_begin(CX_CMD_MODIFY_RMP, 0, CX_MODIFY_RMP_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, rmpn);
	cx_set(rig.in, CX_MODIFY_RMP_IN_BITMASK_LWM, 1);
	cx_set(wq, CX_WQ_LWM, 5);
	rig_ok();
	rig_begin(CX_CMD_QUERY_RMP, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, rmpn);
	rig_ok();
	assert_int_equal(cx_get(rmpc, CX_RMPC_STATE), CX_RMP_STATE_RDY);
	assert_int_equal(cx_get(rmpc + CX_RMPC_WQ_AT, CX_WQ_LWM), 5);
	assert_int_equal(cx_get(rmpc + CX_RMPC_WQ_AT, CX_WQ_LOG_WQ_SZ), 4);
	/* Beyond the queue. */
	rig_begin(CX_CMD_MODIFY_RMP, 0, CX_MODIFY_RMP_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, rmpn);
	cx_set(rig.in, CX_MODIFY_RMP_IN_BITMASK_LWM, 1);
	cx_set(wq, CX_WQ_LWM, 16);
	rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
}

static void cyclic_rmp(void **state)
{
	uint8_t *wq = rig.in + CX_CREATE_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT;
	uint8_t *queried = rig.out + CX_QUERY_RMP_OUT_RMPC_AT + CX_RMPC_WQ_AT;
	uint32_t rmpn;

	for (uint32_t type = CX_WQ_TYPE_LINKED_LIST; type <= CX_WQ_TYPE_CYCLIC; type++) {
		const struct cx_srq *srq;

		rig_begin_rmp(base.pd);
		cx_set(wq, CX_WQ_WQ_TYPE, type);
		rig_ok();
		rmpn = rig_object();
		srq = cx_srq(up_table_get(&rig.dev->hca.srqs, rmpn));
		assert_int_equal(srq->cyclic, type == CX_WQ_TYPE_CYCLIC);
		rig_begin(CX_CMD_QUERY_RMP, 0, CX_IN_BYTES);
		cx_set(rig.in, CX_IN_OBJECT, rmpn);
		rig_ok();
		assert_int_equal(cx_get(queried, CX_WQ_WQ_TYPE), type);
	}
}

static void srq_shapes(void **state)
{
	uint8_t *wq = rig.in + CX_CREATE_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT;

	rig_begin_rmp(base.pd);
	cx_set(wq, CX_WQ_LOG_WQ_STRIDE, 4);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
	rig_begin_rmp(base.pd);
	cx_set(wq, CX_WQ_LOG_WQ_STRIDE, 10);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
	rig_begin_rmp(base.pd);
	cx_set(wq, CX_WQ_WQ_TYPE, CX_WQ_TYPE_CYCLIC + 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_TYPE);
	rig_begin_rmp(base.pd);
	cx_set(wq, CX_WQ_WQ_TYPE, CX_WQ_TYPE_CYCLIC);
	cx_set(rig.in + CX_CREATE_RMP_IN_RMPC_AT, CX_RMPC_BASIC_CYCLIC_RCV_WQE, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_TYPE);
	rig_begin_rmp(base.pd + 1);
	rig_fails(CX_BAD_RES, CX_WHY_NO_PD);
}

static void uars_are_pages_of_the_bar(void **state)
{
	uint32_t first = rig_alloc_number(CX_CMD_ALLOC_UAR), n = 0, status;

	assert_in_range(first, CX_UAR_FIRST, CX_UAR_PAGES - 1);
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_UAR, first), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_UAR, first), CX_BAD_RES);
	/* One page is the fixture's. */
	while ((status = rig_simple(CX_CMD_ALLOC_UAR, 0)) == CX_OK)
		n++;
	assert_int_equal(status, CX_NO_RES);
	assert_int_equal(n, CX_UAR_PAGES - CX_UAR_FIRST - 1);
}

static void queue_counters(void **state)
{
	uint32_t id;

	rig_begin(CX_CMD_ALLOC_Q_COUNTER, 0, CX_IN_BYTES);
	rig_ok();
	id = cx_get(rig.out, CX_ALLOC_Q_COUNTER_OUT_COUNTER_SET_ID);
	rig_begin(CX_CMD_QUERY_Q_COUNTER, 0, CX_QUERY_Q_COUNTER_IN_BYTES);
	cx_set(rig.in, CX_QUERY_Q_COUNTER_IN_COUNTER_SET_ID, id);
	rig_ok();
	assert_int_equal(cx_get(rig.out, CX_QUERY_Q_COUNTER_OUT_RNR_NAK_RETRY_ERR), 0);
	rig_begin(CX_CMD_DEALLOC_Q_COUNTER, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_DEALLOC_Q_COUNTER_IN_COUNTER_SET_ID, id);
	rig_ok();
	assert_int_equal(rig_send(), CX_BAD_RES);
}

static uint32_t query_counter(uint32_t id, bool clear)
{
	rig_begin(CX_CMD_QUERY_Q_COUNTER, 0, CX_QUERY_Q_COUNTER_IN_BYTES);
	cx_set(rig.in, CX_QUERY_Q_COUNTER_IN_COUNTER_SET_ID, id);
	cx_set(rig.in, CX_QUERY_Q_COUNTER_IN_CLEAR, clear);
	rig_ok();
	return cx_get(rig.out, CX_QUERY_Q_COUNTER_OUT_RNR_NAK_RETRY_ERR);
}

/* More queue pairs than the command looks at in one go, every other one with this counter. */
static void counters_of_many(void **state)
{
	enum { QPS = 5000, FIRST = 1000 };
	struct cx_qp *qps = calloc(QPS, sizeof(*qps));
	struct up_table *table = &rig.dev->hca.qps;
	uint32_t id;

	rig_begin(CX_CMD_ALLOC_Q_COUNTER, 0, CX_IN_BYTES);
	rig_ok();
	id = cx_get(rig.out, CX_ALLOC_Q_COUNTER_OUT_COUNTER_SET_ID);
	up_world_stop(rig.fabric);
	for (uint32_t i = 0; i < QPS; i++) {
		cx_set(qps[i].raw_ctx, CX_QPC_COUNTER_SET_ID, i % 2 ? id : 0);
		up_stat_add(&qps[i].base.stats.rnr, 3);
		assert_int_equal(up_table_set(table, FIRST + i, &qps[i].base), 0);
	}
	up_world_start(rig.fabric);
	assert_int_equal(query_counter(id, false), QPS / 2 * 3);
	assert_int_equal(query_counter(id, true), QPS / 2 * 3);
	assert_int_equal(query_counter(id, false), 0);
	up_stat_add(&qps[QPS - 1].base.stats.rnr, 1);
	assert_int_equal(query_counter(id, false), 1);
	up_world_stop(rig.fabric);
	for (uint32_t i = 0; i < QPS; i++)
		up_table_del(table, FIRST + i);
	up_world_start(rig.fabric);
	free(qps);
}

/*
 * The rings of an object follow the guest's memory as it comes and goes, at their next use: the
 * change itself touches none, however many there are.
 */
static void memory_map_changes(void **state)
{
	struct cx_cq *cq = up_table_get(&rig.dev->cqs, base.cqn);
	struct up_mem *mem = &rig.dev->hca.mem;
	uint64_t epoch;

	cx_cq_locate(cq);
	assert_non_null(cq->buf.flat);
	assert_non_null(cq->dbr);
	epoch = cq->epoch;
	up_world_stop(rig.fabric);
	up_mem_remove(mem, RIG_GPA, RIG_RAM);
	up_world_start(rig.fabric);
	assert_int_equal(cq->epoch, epoch);
	cx_cq_locate(cq);
	assert_null(cq->buf.flat);
	assert_null(cq->dbr);
	assert_null(cx_buf_at(&cq->buf, mem, 0, 64));
	up_world_stop(rig.fabric);
	assert_int_equal(up_mem_add(mem, RIG_GPA, RIG_RAM, rig.ram, true), 0);
	up_world_start(rig.fabric);
	cx_cq_locate(cq);
	assert_ptr_equal(cq->buf.flat, rig_at(cq->buf.pages[0]));
}

static void buffer_of_scattered_pages(void **state)
{
	uint64_t a = rig_alloc(4096), b = rig_alloc(4096);
	const uint64_t pages[] = {b, a};
	struct cx_buf buf;

	assert_int_equal(cx_buf_init(&buf, rig.dev->hca.arena, pages, 2, 12, 64, 8192), -EINVAL);
	assert_int_equal(cx_buf_init(&buf, rig.dev->hca.arena, pages, 2, 12, 64, 8128), 0);
	cx_buf_refresh(&buf, &rig.dev->hca.mem);
	assert_null(buf.flat);
	assert_ptr_equal(cx_buf_at(&buf, &rig.dev->hca.mem, 0, 64), (uint8_t *)rig_at(b) + 64);
	assert_ptr_equal(cx_buf_at(&buf, &rig.dev->hca.mem, 4032, 64), rig_at(a));
	assert_null(cx_buf_at(&buf, &rig.dev->hca.mem, 8128, 1));
	assert_null(cx_buf_at(&buf, &rig.dev->hca.mem, 8100, 64));
	cx_buf_fini(&buf, rig.dev->hca.arena);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(numbers_that_do_not_exist),
		TEST(in_use_is_not_destroyed),
		TEST(teardown_destroys_what_is_left),
		TEST(teardown_ends_what_others_see),
		cmocka_unit_test_setup_teardown(next_driver_waits_for_what_is_left,
						setup_with_reaper, teardown_with_reaper),
		TEST(reset_starts_over),
		TEST(cq_of_a_missing_eq),
		TEST(cq_doorbell_records),
		TEST(cq_begins_unarmed),
		TEST(page_lists_must_suffice),
		TEST(page_lists_are_bounded),
		TEST(eq_vector_and_size),
		TEST(eqs_run_out),
		TEST(cq_resize),
		TEST(cq_resize_keeps_what_is_unread),
		TEST(cq_moderation),
		TEST(xrc_srq),
		TEST(rmp_limit),
		TEST(cyclic_rmp),
		TEST(srq_shapes),
		TEST(uars_are_pages_of_the_bar),
		TEST(queue_counters),
		TEST(counters_of_many),
		TEST(memory_map_changes),
		TEST(buffer_of_scattered_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
