/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queues that fail or are emptied: flushing, requests that are malformed or not of the service,
 * completion queues that run over, and the event of a connection's first message.
 */
#include "testlib.h"

#include <string.h>

/* ---- flushing ---- */

static void test_flush(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < 20; i++)
		tl_recv(&p->a, 64 * i, 64);
	assert_int_equal(gs_qp_to_err(p->a.qp), 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(gs_cq_expect(p->a.rcq, CX_SYND_WR_FLUSH).wr_id, 64 * i);
	/* What is posted in this state is flushed, too (C10-31). */
	for (unsigned i = 0; i < 30; i++) {
		tl_send(&p->a, 64 * i, 64);
		tl_recv(&p->a, 64 * i, 64);
	}
	for (unsigned i = 0; i < 30; i++) {
		assert_int_equal(gs_cq_expect(p->a.scq, CX_SYND_WR_FLUSH).wr_id, 64 * i);
		assert_int_equal(gs_cq_expect(p->a.rcq, CX_SYND_WR_FLUSH).wr_id, 64 * i);
	}
	tl_reconnect(p);
}

/* One bad request: those before it succeed, it fails although unsignalled, the rest is flushed. */
static void test_flush_after_error(void **state)
{
	struct pair *p = *state;
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);
	struct gs_send_wr wr = tl_request(p, CX_OP_RDMA_WRITE, &sge);
	uint32_t good = wr.rkey;

	for (unsigned i = 0; i < 40; i++) {
		wr.wr_id = i;
		wr.rkey = i == 10 ? good ^ 1 : good;
		wr.flags = i % 2 ? GS_SIGNALED : 0;
		assert_true(gs_post_send_quiet(p->a.qp, &wr));
	}
	gs_ring_send(p->a.qp);
	for (unsigned i = 1; i < 10; i += 2)
		assert_int_equal(gs_cq_expect(p->a.scq, 0).wr_id, i);
	assert_int_equal(gs_cq_expect(p->a.scq, CX_SYND_REMOTE_ACCESS).wr_id, 10);
	for (unsigned i = 11; i < 40; i++)
		assert_int_equal(gs_cq_expect(p->a.scq, CX_SYND_WR_FLUSH).wr_id, i);
	gs_cq_expect_none(p->a.scq, 1);
	tl_reconnect(p);
}

/* A reset forgets what was posted, without a completion. */
static void test_reset_forgets(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();

	tl_connect(p, GS_RC, &l);
	for (unsigned i = 0; i < 10; i++) {
		tl_send(&p->a, 0, 64);
		tl_recv(&p->a, 0, 64);
	}
	gs_cq_expect_none(p->a.scq, 10);
	assert_int_equal(gs_qp_to_reset(p->a.qp), 0);
	assert_int_equal(gs_qp_to_reset(p->b.qp), 0);
	gs_qp_connect(p->a.qp, p->b.qp, &l);
	gs_cq_expect_none(p->a.scq, 10);
	gs_cq_expect_none(p->a.rcq, 1);
	tl_ping(p);
}

/* ---- malformed requests ---- */

struct wqe {
	struct cx_wqe_ctrl ctrl;
	uint8_t rest[256];
};

static void expect_malformed(struct pair *p, const struct wqe *w, unsigned len, bool fix)
{
	struct gs_wc wc;

	gs_post_raw(p->a.qp, 7, w, len, fix);
	gs_cq_wait(p->a.scq, &wc, 1);
	assert_int_equal(wc.cqe_op, CX_CQE_REQ_ERR);
	assert_int_equal(wc.status, CX_SYND_LOCAL_QP_OP);
	assert_int_equal(gs_qp_state(p->a.qp), CX_QPS_ERR);
	assert_int_equal(gs_qp_state(p->b.qp), CX_QPS_RTS);
	tl_reconnect(p);
}

static struct wqe raw_wqe(const struct gs_qp *qp, uint8_t op, unsigned ds)
{
	struct wqe w = {0};

	w.ctrl.opmod_idx_opcode = htobe32((uint32_t)qp->sq_post << 8 | op);
	w.ctrl.qpn_ds = htobe32(qp->qpn << CX_CTRL_QPN_SHIFT | ds);
	w.ctrl.fm_ce_se = CX_CTRL_CE_CQE;
	return w;
}

static void test_malformed(void **state)
{
	static const uint8_t bad_ops[] = {0x02, 0x07, 0x0c, 0x0e, 0x13, 0x1f, 0x26, 0x7f, 0xff};
	struct pair *p = *state;
	struct wqe w;

	for (unsigned i = 0; i < ARRAY_SIZE(bad_ops); i++) {
		w = raw_wqe(p->a.qp, bad_ops[i], 2);
		expect_malformed(p, &w, 32, true);
	}
	/* No size; less than the operation needs; more than was posted. */
	w = raw_wqe(p->a.qp, CX_OP_SEND, 0);
	expect_malformed(p, &w, 16, false);
	w = raw_wqe(p->a.qp, CX_OP_RDMA_WRITE, 1);
	expect_malformed(p, &w, 16, false);
	w = raw_wqe(p->a.qp, CX_OP_ATOMIC_CS, 2);
	expect_malformed(p, &w, 32, false);
	w = raw_wqe(p->a.qp, CX_OP_UMR, 2);
	expect_malformed(p, &w, 32, false);
	w = raw_wqe(p->a.qp, CX_OP_SEND, 63);
	expect_malformed(p, &w, 16, false);
	/* Inline data beyond the end of the request. */
	w = raw_wqe(p->a.qp, CX_OP_SEND, 2);
	up_put_be32(w.rest, CX_INLINE | 500);
	expect_malformed(p, &w, 32, false);
}

/* Operations that the service does not have. */
static void test_wrong_service(void **state)
{
	static const uint8_t not_uc[] = {CX_OP_RDMA_READ, CX_OP_ATOMIC_CS, CX_OP_ATOMIC_FA};
	static const uint8_t not_ud[] = {CX_OP_RDMA_WRITE, CX_OP_RDMA_READ, CX_OP_ATOMIC_FA,
					 CX_OP_SEND_INVAL};
	struct pair *p = *state;
	struct gs_link l = tl_quick_link();
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);
	struct gs_path path = gs_path_to(p->b.vm);
	struct gs_send_wr wr;

	for (unsigned i = 0; i < ARRAY_SIZE(not_uc); i++) {
		tl_connect(p, GS_UC, &l);
		wr = tl_request(p, not_uc[i], &sge);
		gs_post_send(p->a.qp, &wr);
		gs_cq_expect(p->a.scq, CX_SYND_LOCAL_QP_OP);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(not_ud); i++) {
		tl_connect(p, GS_UD, &l);
		wr = tl_request(p, not_ud[i], &sge);
		wr.path = &path;
		gs_post_send(p->a.qp, &wr);
		gs_cq_expect(p->a.scq, CX_SYND_LOCAL_QP_OP);
	}
	tl_reconnect(p);
}

/* A send counter that runs ahead of what was ever written. */
static void test_doorbell_ahead(void **state)
{
	struct pair *p = *state;
	struct gs_wc wc;

	__atomic_store_n(&p->a.qp->dbr[CX_DBR_SEND], htobe32(0x8000), __ATOMIC_RELEASE);
	gs_uar_store64(p->a.vm, p->a.qp->uar, CX_UAR_BF_OFFSET,
		       (uint64_t)p->a.qp->qpn << CX_CTRL_QPN_SHIFT);
	gs_cq_wait(p->a.scq, &wc, 1);
	assert_int_not_equal(wc.status, 0);
	tl_reconnect(p);
}

/* ---- completion queues and events ---- */

static void test_cq_overrun(void **state)
{
	struct pair *p = *state;
	struct gs_link l = tl_quick_link();
	struct gs_qp_attr attr = {.type = GS_RC};
	struct gs_cq *small = gs_cq_create(p->a.vm, 4), *kept = p->a.scq;
	struct gs_event ev;

	p->a.scq = small;
	tl_connect_attr(p, &attr, &l);
	for (unsigned i = 0; i < 6; i++)
		tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, 8, &p->b, 0);
	assert_true(gs_event_wait(p->a.vm, CX_EVENT_CQ_ERROR, &ev, GS_WAIT_MS));
	assert_int_equal(ev.number, small->cqn);
	assert_int_equal(ev.syndrome, 1);
	/* Its owner would wait for the completions that are lost. */
	gs_event_expect(p->a.vm, CX_EVENT_WQ_CATAS_ERROR, p->a.qp->qpn);
	assert_int_equal(gs_qp_state(p->a.qp), CX_QPS_ERR);
	assert_int_equal(gs_qp_state(p->b.qp), CX_QPS_RTS);
	/* The same for one that comes to the queue later. */
	tl_connect_attr(p, &attr, &l);
	tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, 8, &p->b, 0);
	gs_event_expect(p->a.vm, CX_EVENT_WQ_CATAS_ERROR, p->a.qp->qpn);
	assert_int_equal(gs_qp_state(p->a.qp), CX_QPS_ERR);
	p->a.scq = kept;
	tl_reconnect(p);
}

/* A CQ that may be overrun: no error. */
static void test_cq_overrun_ignored(void **state)
{
	struct pair *p = *state;
	struct gs_link l = tl_quick_link();
	struct gs_qp_attr attr = {.type = GS_RC};
	struct gs_cq_attr cqa = {.entries = 4, .ignore_overrun = true};
	struct gs_cq *kept = p->a.scq;

	p->a.scq = gs_cq_create_attr(p->a.vm, &cqa);
	tl_connect_attr(p, &attr, &l);
	for (unsigned i = 0; i < 20; i++)
		tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, 8, &p->b, 0);
	gs_event_expect_none(p->a.vm, CX_EVENT_CQ_ERROR, 50);
	assert_int_equal(gs_qp_state(p->a.qp), CX_QPS_RTS);
	p->a.scq = kept;
	tl_reconnect(p);
}

/* The first message at a QP that is not yet ready to send. */
static void test_comm_est(void **state)
{
	struct pair *p = *state;
	struct gs_link l = tl_quick_link(), to;

	tl_connect(p, GS_RC, &l);
	assert_int_equal(gs_qp_to_reset(p->b.qp), 0);
	gs_event_forget(p->b.vm);
	to = l;
	to.remote_qpn = p->a.qp->qpn;
	to.path = gs_path_to(p->a.vm);
	assert_int_equal(gs_qp_to_init(p->b.qp, &to), 0);
	tl_recv(&p->b, 0, 64);
	tl_recv(&p->b, 0, 64);
	assert_int_equal(gs_qp_to_rtr(p->b.qp, &to), 0);
	tl_send(&p->a, 0, 64);
	gs_cq_expect(p->b.rcq, 0);
	gs_event_expect(p->b.vm, CX_EVENT_COMM_EST, p->b.qp->qpn);
	/* Once only. */
	tl_send(&p->a, 0, 64);
	gs_cq_expect(p->b.rcq, 0);
	gs_event_expect_none(p->b.vm, CX_EVENT_COMM_EST, 20);
}

/* Doorbells that trap, the word in two stores, while a worker looks at the page. */
static void test_doorbells_in_halves(void **state)
{
	const struct gs_vm_opts opts = {.no_mmap = true};
	struct gs_link l = gs_link_default();
	struct pair p = {0};

	tl_side_open(&p.b, 1);
	p.a.vm = gs_vm_open(gs_daemon_socket(&tl_daemon, 0), &opts);
	p.a.vm->halves = true;
	tl_side_fill(&p.a);
	tl_connect(&p, GS_RC, &l);
	for (unsigned i = 0; i < 200; i++)
		tl_ping(&p);
	tl_side_close(&p.a);
	tl_side_close(&p.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define QUICK_TEST(f) cmocka_unit_test_setup_teardown(f, tl_quick_open, tl_pair_close)
		QUICK_TEST(test_flush),		QUICK_TEST(test_flush_after_error),
		QUICK_TEST(test_reset_forgets), QUICK_TEST(test_malformed),
		QUICK_TEST(test_wrong_service), QUICK_TEST(test_doorbell_ahead),
		QUICK_TEST(test_cq_overrun),	QUICK_TEST(test_cq_overrun_ignored),
		QUICK_TEST(test_comm_est),	cmocka_unit_test(test_doorbells_in_halves),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
