/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory of processes: what lies in it, and that nothing leaves it. */
#include "cx_rig.h"

#include "device/connectx/cmd.h"

static uint32_t pd, uar, eqn, umem;
static uint64_t first; /* page of the umem, of three */

static int setup(void **state)
{
	if (rig_setup_running(state))
		return -1;
	rig.uid = CX_SHARED_UID;
	eqn = rig_create_eq(0);
	rig_become_user();
	pd = rig_alloc_number(CX_CMD_ALLOC_PD);
	uar = rig_alloc_number(CX_CMD_ALLOC_UAR);
	umem = rig_create_umem(3);
	first = up_get_be64(rig.in + CX_CREATE_UMEM_IN_MTT_AT) & CX_MTT_ADDRESS_MASK;
	return 0;
}

static uint8_t *cqc(void)
{
	return rig.in + CX_CREATE_CQ_IN_CQC_AT;
}

/* 64 entries, a page. */
static void begin_cq(uint64_t offset, uint64_t record)
{
	rig_begin_cq(eqn);
	cx_set(rig.in, CX_CREATE_CQ_IN_CQ_UMEM_VALID, 1);
	cx_set(rig.in, CX_CREATE_CQ_IN_CQ_UMEM_ID, umem);
	cx_set64(rig.in, CX_CREATE_CQ_IN_CQ_UMEM_OFFSET, offset);
	cx_set(cqc(), CX_CQC_DBR_UMEM_VALID, 1);
	cx_set(cqc(), CX_CQC_DBR_UMEM_ID, umem);
	cx_set64(cqc(), CX_CQC_DBR_ADDR, record);
}

static void queue_in_a_umem(void **state)
{
	const struct cx_cq *cq;

	begin_cq(64, 2 * 4096 + 8);
	rig_ok();
	cq = up_table_get(&rig.dev->cqs, rig_object());
	assert_int_equal(cq->dbr_gpa, first + 2 * 4096 + 8);
	assert_int_equal(cq->buf.pages[0], first);
	assert_int_equal(cq->buf.offset, 64);
	assert_int_equal(cq->buf.npages, 2);
	/* The record of a process may be memory that it only reads. */
	assert_int_equal(up_get_be32((uint8_t *)rig_at(cq->dbr_gpa) + 4), 0);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_CQ, cq->base.cqn), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_BAD_RES);
	assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), CX_WHY_NO_UMEM);
}

static void nothing_leaves_it(void **state)
{
	static const uint64_t rings[] = {2 * 4096 + 64, 3 * 4096, UINT64_MAX - 63, 1ull << 63};
	static const uint64_t records[] = {3 * 4096 - 4, 3 * 4096, UINT64_MAX - 7, 1ull << 63};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(rings); i++) {
		begin_cq(rings[i], 0);
		rig_fails(CX_BAD_PARAM, CX_WHY_UMEM_RANGE);
		begin_cq(0, records[i]);
		rig_fails(CX_BAD_PARAM, CX_WHY_UMEM_RANGE);
	}
	begin_cq(2 * 4096, 3 * 4096 - 8);
	rig_ok();
}

/* A list in the command, and an address, are nothing that a process can give. */
static void no_addresses(void **state)
{
	begin_cq(0, 0);
	cx_set(rig.in, CX_CREATE_CQ_IN_CQ_UMEM_VALID, 0);
	rig_fails(CX_BAD_RES, CX_WHY_NO_UMEM);
	begin_cq(0, 0);
	cx_set(cqc(), CX_CQC_DBR_UMEM_VALID, 0);
	rig_fails(CX_BAD_RES, CX_WHY_NO_UMEM);
	begin_cq(0, 0);
	cx_set(rig.in, CX_CREATE_CQ_IN_CQ_UMEM_ID, umem + 1);
	rig_fails(CX_BAD_RES, CX_WHY_NO_UMEM);
	begin_cq(0, 0);
	cx_set(cqc(), CX_CQC_DBR_UMEM_ID, UINT32_MAX);
	rig_fails(CX_BAD_RES, CX_WHY_NO_UMEM);
	/* Nothing of these has hold of the umem. */
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_OK);
}

static void elements_and_records_are_aligned(void **state)
{
	begin_cq(32, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	begin_cq(0, 4);
	rig_fails(CX_BAD_PARAM, CX_WHY_DOORBELL);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_OK);
}

static void begin_qp(void)
{
	rig_begin_qp(CX_QPST_RC, 0, pd, uar);
	cx_set(rig.in, CX_CREATE_QP_IN_WQ_UMEM_VALID, 1);
	cx_set(rig.in, CX_CREATE_QP_IN_WQ_UMEM_ID, umem);
	cx_set64(rig.in, CX_CREATE_QP_IN_WQ_UMEM_OFFSET, 4096);
	cx_set(rig_qpc(), CX_QPC_DBR_UMEM_VALID, 1);
	cx_set(rig_qpc(), CX_QPC_DBR_UMEM_ID, umem);
	cx_set64(rig_qpc(), CX_QPC_DBR_ADDR, 8);
}

static void queue_pair_in_a_umem(void **state)
{
	const struct up_qp *qp;
	uint32_t cqn;

	cqn = (begin_cq(0, 0), rig_send(), rig_object());
	begin_qp();
	cx_set(rig_qpc(), CX_QPC_CQN_SND, cqn);
	cx_set(rig_qpc(), CX_QPC_CQN_RCV, cqn);
	rig_ok();
	qp = up_table_get(&rig.dev->hca.qps, rig_object());
	assert_int_equal(cx_qp((struct up_qp *)qp)->buf.pages[0], first + 4096);
	assert_int_equal(cx_qp((struct up_qp *)qp)->dbr_gpa, first + 8);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_QP, qp->qpn), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_CQ, cqn), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_OK);
}

static void pool_in_a_umem(void **state)
{
	uint8_t *wq = rig.in + CX_CREATE_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT;
	const struct up_srq *srq;

	rig_begin_rmp(pd);
	cx_set(wq, CX_WQ_WQ_UMEM_VALID, 1);
	cx_set(wq, CX_WQ_WQ_UMEM_ID, umem);
	cx_set64(wq, CX_WQ_WQ_UMEM_OFFSET, 2 * 4096);
	cx_set(wq, CX_WQ_DBR_UMEM_VALID, 1);
	cx_set(wq, CX_WQ_DBR_UMEM_ID, umem);
	cx_set64(wq, CX_WQ_DBR_ADDR, 4096);
	rig_ok();
	srq = up_table_get(&rig.dev->hca.srqs, rig_object());
	assert_int_equal(cx_srq((struct up_srq *)srq)->buf.pages[0], first + 2 * 4096);
	assert_int_equal(cx_srq((struct up_srq *)srq)->dbr_gpa, first + 4096);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_RMP, srq->srqn), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_OK);
}

/* Large pages, and a beginning inside of one. */
static void large_pages(void **state)
{
	const struct cx_cq *cq;

	rig_begin_umem(1);
	cx_set(rig.in, CX_CREATE_UMEM_IN_LOG_PAGE_SIZE, 10);
	cx_set(rig.in, CX_CREATE_UMEM_IN_PAGE_OFFSET, 0x280040);
	up_put_be64(rig.in + CX_CREATE_UMEM_IN_MTT_AT, 0x400000 | CX_MTT_WRITE);
	rig_ok();
	umem = rig_object();
	begin_cq(0x80000 - 0x40, 0);
	rig_ok();
	cq = up_table_get(&rig.dev->cqs, rig_object());
	assert_int_equal(cq->dbr_gpa, 0x680040);
	assert_int_equal(cq->buf.page_shift, 21);
	assert_int_equal(cq->buf.pages[0] + cq->buf.offset, 0x700000);
	begin_cq(0x400000 - 0x280040 - 4096, 0);
	rig_ok();
	begin_cq(0x400000 - 0x280040 - 4096 + 64, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_UMEM_RANGE);
}

static void resized_into_a_umem(void **state)
{
	const struct cx_cq *cq;
	uint32_t old = umem;

	begin_cq(0, 0);
	rig_ok();
	cq = up_table_get(&rig.dev->cqs, rig_object());
	umem = rig_create_umem(2);
	rig_begin(CX_CMD_MODIFY_CQ, CX_MODIFY_CQ_OP_RESIZE, CX_MODIFY_CQ_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, cq->base.cqn);
	cx_set(rig.in, CX_CREATE_CQ_IN_CQ_UMEM_VALID, 1);
	cx_set(rig.in, CX_CREATE_CQ_IN_CQ_UMEM_ID, umem);
	cx_set(cqc(), CX_CQC_LOG_CQ_SIZE, 7);
	rig_ok();
	assert_int_equal(cq->log_size, 7);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_RES_BUSY);
	/* The record is there still. */
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, old), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_CQ, cq->base.cqn), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, old), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_OK);
}

/* ---- keys ---- */

static void begin_key(uint64_t start, uint64_t len, uint64_t offset)
{
	rig_begin_mkey(CX_MKC_MODE_MTT, 2, 0);
	cx_set(rig.in, CX_CREATE_MKEY_IN_MKEY_UMEM_VALID, 1);
	cx_set(rig.in, CX_CREATE_MKEY_IN_MKEY_UMEM_ID, umem);
	cx_set64(rig.in, CX_CREATE_MKEY_IN_MKEY_UMEM_OFFSET, offset);
	cx_set(rig_mkc(), CX_MKC_PD, pd);
	cx_set64(rig_mkc(), CX_MKC_START_ADDR, start);
	cx_set64(rig_mkc(), CX_MKC_LEN, len);
}

static void *at(uint32_t index, uint64_t addr)
{
	const struct up_mr *mr = up_table_get(&rig.dev->hca.mrs, index);
	struct up_mr_use use = {.pdn = pd, .qpn = 1, .access = UP_ACCESS_LOCAL_WRITE};
	struct up_span span;

	return up_mr_span(&rig.dev->hca, mr->key, &use, addr, 1, &span) ? NULL : span.ptr;
}

static void key_of_a_umem(void **state)
{
	uint32_t index;

	begin_key(0x7f0000000100, 3 * 4096 - 0x100, 0x100);
	rig_ok();
	index = rig_object();
	assert_ptr_equal(at(index, 0x7f0000000100), (uint8_t *)rig_at(first) + 0x100);
	assert_ptr_equal(at(index, 0x7f0000002fff), (uint8_t *)rig_at(first) + 0x2fff);
	assert_null(at(index, 0x7f0000003000));
	assert_null(at(index, 0x7f00000000ff));
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_PD, pd), CX_RES_BUSY);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_MKEY, index), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, umem), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DEALLOC_PD, pd), CX_OK);
}

static void key_beyond_a_umem(void **state)
{
	begin_key(0x7f0000000100, 3 * 4096 - 0x100 + 1, 0x100);
	rig_fails(CX_BAD_PARAM, CX_WHY_UMEM_RANGE);
	begin_key(0x7f0000000000, UINT64_MAX, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_UMEM_RANGE);
	begin_key(0x7f0000000000, 4096, UINT64_MAX - 4095);
	rig_fails(CX_BAD_PARAM, CX_WHY_UMEM_RANGE);
	begin_key(0x7f0000000100, 4096, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	begin_key(0x7f0000000000, 4096, 0);
	cx_set(rig_mkc(), CX_MKC_LENGTH64, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	/* The list in the command is nothing. */
	begin_key(0x7f0000000000, 4096, 0);
	cx_set(rig.in, CX_CREATE_MKEY_IN_MKEY_UMEM_VALID, 0);
	cx_set(rig.in, CX_CREATE_MKEY_IN_MKEY_UMEM_ID, 0);
	cx_set(rig.in, CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE, 1);
	rig_pages(CX_CREATE_MKEY_IN_ENTRIES_AT, 2);
	rig_fails(CX_BAD_RES, CX_WHY_NO_UMEM);
	rig_begin_mkey(CX_MKC_MODE_PA, 0, 0);
	cx_set(rig_mkc(), CX_MKC_PD, pd);
	rig_fails(CX_BAD_PARAM, CX_WHY_KERNELS);
}

/* The umem's pages are larger than the address allows. */
static void key_at_another_place(void **state)
{
	uint32_t index;

	rig_begin_umem(1);
	cx_set(rig.in, CX_CREATE_UMEM_IN_LOG_PAGE_SIZE, 9);
	up_put_be64(rig.in + CX_CREATE_UMEM_IN_MTT_AT, 0x600000 | CX_MTT_WRITE);
	rig_ok();
	umem = rig_object();
	begin_key(0x7f0000003000, 0x4000, 0x1000);
	rig_ok();
	index = rig_object();
	assert_ptr_equal(at(index, 0x7f0000003000), rig_at(0x601000));
	assert_ptr_equal(at(index, 0x7f0000006fff), (uint8_t *)rig_at(0x604000) + 0xfff);
}

static void read_only(void **state)
{
	rig_begin_umem(3);
	rig.in[CX_CREATE_UMEM_IN_MTT_AT + 15] &= (uint8_t)~CX_MTT_WRITE;
	rig_ok();
	umem = rig_object();
	begin_cq(0, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_READ_ONLY);
	begin_key(0, 4096, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_READ_ONLY);
	begin_key(0, 4096, 0);
	cx_set(rig_mkc(), CX_MKC_LW, 0);
	cx_set(rig_mkc(), CX_MKC_RW, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_READ_ONLY);
	begin_key(0, 4096, 0);
	cx_set(rig_mkc(), CX_MKC_LW, 0);
	rig_ok();
}

/* ---- lists ---- */

static void shapes_that_are_refused(void **state)
{
	rig_begin_umem(1);
	cx_set64(rig.in, CX_CREATE_UMEM_IN_NUM_OF_MTT, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	rig_begin_umem(1);
	cx_set64(rig.in, CX_CREATE_UMEM_IN_NUM_OF_MTT, 1ull << 61 | 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	rig_begin_umem(1);
	cx_set(rig.in, CX_CREATE_UMEM_IN_PAGE_OFFSET, 4096);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
	/* 513 pages of 1 << 43 bytes and more are beyond any address only with as many again. */
	rig_begin_umem(1);
	cx_set(rig.in, CX_CREATE_UMEM_IN_LOG_PAGE_SIZE, 31);
	cx_set(rig.in, CX_CREATE_UMEM_IN_PAGE_OFFSET, UINT32_MAX);
	rig_ok();
}

static void lists_are_bounded(void **state)
{
	uint64_t before = rig.dev->list_bytes;

	rig.dev->list_bytes = (64ull << 20) - 8;
	rig_begin_umem(2);
	rig_fails(CX_LIM_ERR, CX_WHY_LIST_MEMORY);
	rig_begin_umem(1);
	rig_ok();
	assert_int_equal(rig.dev->list_bytes, 64ull << 20);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_UMEM, rig_object()), CX_OK);
	assert_int_equal(rig.dev->list_bytes, (64ull << 20) - 8);
	rig.dev->list_bytes = before;
}

static void reset_takes_all(void **state)
{
	begin_cq(0, 0);
	rig_ok();
	begin_key(0, 4096, 0);
	rig_ok();
	rig.uid = 0;
	assert_int_equal(rig_simple(CX_CMD_TEARDOWN_HCA, 0), CX_OK);
	assert_int_equal(rig.dev->umems.used, 0);
	assert_int_equal(rig.dev->uctxs.used, 0);
	assert_int_equal(rig.dev->list_bytes, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(queue_in_a_umem),
		TEST(nothing_leaves_it),
		TEST(no_addresses),
		TEST(elements_and_records_are_aligned),
		TEST(queue_pair_in_a_umem),
		TEST(pool_in_a_umem),
		TEST(large_pages),
		TEST(resized_into_a_umem),
		TEST(key_of_a_umem),
		TEST(key_beyond_a_umem),
		TEST(key_at_another_place),
		TEST(read_only),
		TEST(shapes_that_are_refused),
		TEST(lists_are_bounded),
		TEST(reset_takes_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
