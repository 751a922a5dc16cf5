/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared receive queues, basic and of an XRC domain: use, limit and last-element events. */
#include "testlib.h"

#include <string.h>

enum { WRS = 64, QPS = 4 };

static void post_srq(struct gs_srq *srq, struct side *s, size_t off, size_t len)
{
	struct gs_sge sge = gs_sge(s->mr, s->buf + off, len);

	gs_post_srq_recv(srq, off, &sge, 1);
}

static struct gs_srq *make_srq(struct side *s)
{
	return gs_srq_create(s->pd, &(struct gs_srq_attr){.wrs = WRS, .sges = 3});
}

/* Several senders, one queue of receives: each message takes the next one, and only once. */
static void many_to_one(struct pair *p, enum gs_qp_type type)
{
	struct gs_link l = gs_link_default();
	struct gs_srq *srq = make_srq(&p->b);
	struct gs_qp_attr with = {
		.type = type, .send_cq = p->b.scq, .recv_cq = p->b.rcq, .srq = srq};
	struct side from[QPS], to[QPS];
	uint64_t seed = 5;

	for (unsigned i = 0; i < QPS; i++) {
		from[i] = p->a;
		to[i] = p->b;
		tl_side_qp(&from[i], type);
		to[i].qp = gs_qp_create(p->b.pd, &with);
		gs_qp_connect(from[i].qp, to[i].qp, &l);
	}
	for (unsigned n = 0; n < 40; n++)
		post_srq(srq, &p->b, n * 4096, 4096);
	for (unsigned n = 0; n < 1000; n++) {
		unsigned i = (unsigned)(gs_random(&seed) % QPS);
		size_t len = gs_random(&seed) % 4096;
		struct gs_wc wc;

		tl_fill(p->a.buf, len, n);
		tl_send(&from[i], 0, len);
		gs_cq_expect(p->a.scq, 0);
		wc = gs_cq_expect(p->b.rcq, 0);
		assert_ptr_equal(wc.qp, to[i].qp);
		assert_ptr_equal(wc.srq, srq);
		assert_int_equal(wc.byte_len, len);
		tl_check(p->b.buf + wc.wr_id, len, n);
		post_srq(srq, &p->b, wc.wr_id, 4096);
	}
}

static void test_rc(void **state)
{
	many_to_one(*state, GS_RC);
}

static void test_uc(void **state)
{
	many_to_one(*state, GS_UC);
}

static void test_ud(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_srq *srq = make_srq(&p->b);
	struct gs_qp_attr with = {
		.type = GS_UD, .send_cq = p->b.scq, .recv_cq = p->b.rcq, .srq = srq};
	struct gs_path path = gs_path_to(p->b.vm);
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 200);

	tl_side_qp(&p->a, GS_UD);
	p->b.qp = gs_qp_create(p->b.pd, &with);
	gs_qp_bring_up(p->a.qp, &l);
	gs_qp_bring_up(p->b.qp, &l);
	tl_fill(p->a.buf, 200, 2);
	for (unsigned n = 0; n < 300; n++) {
		post_srq(srq, &p->b, 0, 240);
		gs_post_send(p->a.qp, &(struct gs_send_wr){.op = CX_OP_SEND,
							   .flags = GS_SIGNALED,
							   .path = &path,
							   .dest_qpn = p->b.qp->qpn,
							   .dest_qkey = l.qkey,
							   .nsge = 1,
							   .sge = &sge});
		gs_cq_expect(p->a.scq, 0);
		assert_ptr_equal(gs_cq_expect(p->b.rcq, 0).srq, srq);
		tl_check(p->b.buf + 40, 200, 2);
	}
}

static void connect_srq(struct pair *p, struct gs_srq *srq, const struct gs_link *l)
{
	struct gs_qp_attr with = {
		.type = GS_RC, .send_cq = p->b.scq, .recv_cq = p->b.rcq, .srq = srq};

	tl_side_qp(&p->a, GS_RC);
	p->b.qp = gs_qp_create(p->b.pd, &with);
	gs_qp_connect(p->a.qp, p->b.qp, l);
}

/* Empty: not ready, until something is posted. */
static void test_rnr(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_srq *srq = make_srq(&p->b);

	connect_srq(p, srq, &l);
	tl_send(&p->a, 0, 64);
	gs_cq_expect_none(p->a.scq, 20);
	post_srq(srq, &p->b, 0, 64);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect(p->b.rcq, 0);
}

/* The event comes once, when fewer than the limit are left (10.2.9.3). */
static void limit(struct pair *p, struct gs_srq *srq, struct gs_cq *cq,
		  void (*send)(struct pair *p))
{
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned n = 0; n < 10; n++)
			post_srq(srq, &p->b, 64 * n, 64);
		assert_int_equal(gs_srq_arm_limit(srq, 5), 0);
		for (unsigned n = 0; n < 5; n++) {
			send(p);
			gs_cq_expect(cq, 0);
		}
		gs_event_expect_none(p->b.vm, CX_EVENT_SRQ_RQ_LIMIT, round ? 1 : 20);
		send(p);
		gs_cq_expect(cq, 0);
		gs_event_expect(p->b.vm, CX_EVENT_SRQ_RQ_LIMIT, srq->srqn);
		for (unsigned n = 0; n < 4; n++) {
			send(p);
			gs_cq_expect(cq, 0);
		}
		gs_event_expect_none(p->b.vm, CX_EVENT_SRQ_RQ_LIMIT, round ? 1 : 20);
	}
}

static void send_one(struct pair *p)
{
	tl_send(&p->a, 0, 64);
	gs_cq_expect(p->a.scq, 0);
}

static void test_limit(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_srq *srq = make_srq(&p->b);

	connect_srq(p, srq, &l);
	limit(p, srq, p->b.rcq, send_one);
	/* Armed when it is below already: at once. */
	assert_int_equal(gs_srq_arm_limit(srq, 5), 0);
	gs_event_expect(p->b.vm, CX_EVENT_SRQ_RQ_LIMIT, srq->srqn);
}

/* A QP in error takes nothing more of its SRQ, and says so; the SRQ serves the others. */
static void test_last_wqe(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_srq *srq = make_srq(&p->b);
	struct gs_qp *first;

	connect_srq(p, srq, &l);
	first = p->b.qp;
	connect_srq(p, srq, &l);
	for (unsigned n = 0; n < 10; n++)
		post_srq(srq, &p->b, 64 * n, 64);
	assert_int_equal(gs_qp_to_err(first), 0);
	gs_event_expect(p->b.vm, CX_EVENT_SRQ_LAST_WQE, first->qpn);
	gs_cq_expect_none(p->b.rcq, 20);
	for (unsigned n = 0; n < 10; n++) {
		send_one(p);
		assert_int_equal(gs_cq_expect(p->b.rcq, 0).wr_id, 64 * n);
	}
	gs_event_expect_none(p->b.vm, CX_EVENT_SRQ_LAST_WQE, 1);
}

static void test_bad_memory(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_srq *srq = make_srq(&p->b);
	struct gs_sge bad = gs_sge(p->b.mr, p->b.buf, 64);

	connect_srq(p, srq, &l);
	bad.key ^= 1;
	gs_post_srq_recv(srq, 1, &bad, 1);
	post_srq(srq, &p->b, 64, 64);
	tl_send(&p->a, 0, 64);
	gs_cq_expect(p->a.scq, CX_SYND_REMOTE_OP);
	assert_int_equal(gs_cq_expect(p->b.rcq, CX_SYND_LOCAL_PROT).wr_id, 1);
	/* Another QP uses what is left. */
	connect_srq(p, srq, &l);
	send_one(p);
	assert_int_equal(gs_cq_expect(p->b.rcq, 0).wr_id, 64);
}

/* An SRQ or CQ in use is not destroyed. */
static void test_in_use(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_srq *srq = make_srq(&p->b);

	connect_srq(p, srq, &l);
	assert_int_not_equal(gs_srq_destroy(srq), 0);
	assert_int_not_equal(gs_cq_destroy(p->b.rcq), 0);
	post_srq(srq, &p->b, 0, 64);
	send_one(p);
	gs_cq_expect(p->b.rcq, 0);
	assert_int_equal(gs_qp_destroy(p->b.qp), 0);
	p->b.qp = NULL;
	assert_int_equal(gs_srq_destroy(srq), 0);
	assert_int_equal(gs_cq_destroy(p->b.rcq), 0);
}

/* ---- XRC ---- */

struct xrc {
	struct pair *p;
	struct gs_qp *ini, *tgt;
	struct gs_srq *srq[3];
	struct gs_cq *cq[3];
	uint32_t xrcd;
};

/* One connection, and three receive queues behind it, with a completion queue each. */
static void xrc_open(struct xrc *x, struct pair *p)
{
	struct gs_link l = gs_link_default();
	struct gs_qp_attr ini = {.type = GS_XRC_INI, .send_cq = p->a.scq};
	struct gs_qp_attr tgt = {.type = GS_XRC_TGT};

	x->p = p;
	x->xrcd = gs_xrcd_alloc(p->b.vm);
	for (unsigned i = 0; i < 3; i++) {
		x->cq[i] = gs_cq_create(p->b.vm, 128);
		x->srq[i] = gs_srq_create(p->b.pd, &(struct gs_srq_attr){.wrs = WRS,
									 .sges = 2,
									 .xrc = true,
									 .xrcd = x->xrcd,
									 .cq = x->cq[i]});
	}
	tgt.xrcd = x->xrcd;
	x->ini = gs_qp_create(p->a.pd, &ini);
	x->tgt = gs_qp_create(p->b.pd, &tgt);
	gs_qp_connect(x->ini, x->tgt, &l);
	p->a.qp = x->ini;
}

static void xrc_send(struct xrc *x, uint8_t op, size_t len, uint32_t srqn)
{
	struct gs_sge sge = gs_sge(x->p->a.mr, x->p->a.buf, len);

	gs_post_send(x->ini, &(struct gs_send_wr){.op = op,
						  .flags = GS_SIGNALED,
						  .imm = 99,
						  .raddr = (uintptr_t)x->p->b.buf,
						  .rkey = x->p->b.mr->key,
						  .xrc_srqn = srqn,
						  .nsge = 1,
						  .sge = &sge});
}

static void test_xrc(void **state)
{
	struct pair *p = *state;
	struct xrc x;

	xrc_open(&x, p);
	for (unsigned n = 0; n < 600; n++) {
		unsigned i = n % 3;
		size_t len = n * 7 % 4096;
		struct gs_wc wc;

		tl_fill(p->a.buf, len, n);
		post_srq(x.srq[i], &p->b, 4096 * (1 + i), 4096);
		xrc_send(&x, n % 2 ? CX_OP_SEND_IMM : CX_OP_SEND, len, x.srq[i]->srqn);
		gs_cq_expect(p->a.scq, 0);
		wc = gs_cq_expect(x.cq[i], 0);
		assert_ptr_equal(wc.srq, x.srq[i]);
		assert_int_equal(wc.qpn, x.tgt->qpn);
		assert_int_equal(wc.byte_len, len);
		tl_check(p->b.buf + wc.wr_id, len, n);
	}
	/* What needs no receive, and what needs one for its immediate data. */
	tl_fill(p->a.buf, 1000, 6);
	xrc_send(&x, CX_OP_RDMA_WRITE, 1000, x.srq[0]->srqn);
	gs_cq_expect(p->a.scq, 0);
	tl_check(p->b.buf, 1000, 6);
	memset(p->a.buf, 0, 1000);
	xrc_send(&x, CX_OP_RDMA_READ, 1000, x.srq[0]->srqn);
	gs_cq_expect(p->a.scq, 0);
	tl_check(p->a.buf, 1000, 6);
	post_srq(x.srq[1], &p->b, 4096, 64);
	xrc_send(&x, CX_OP_RDMA_WRITE_IMM, 1000, x.srq[1]->srqn);
	gs_cq_expect(p->a.scq, 0);
	assert_int_equal(gs_cq_expect(x.cq[1], 0).imm, 99);
}

static struct xrc limit_xrc;

static void send_xrc(struct pair *p)
{
	xrc_send(&limit_xrc, CX_OP_SEND, 64, limit_xrc.srq[2]->srqn);
	gs_cq_expect(p->a.scq, 0);
}

static void test_xrc_limit(void **state)
{
	struct pair *p = *state;

	xrc_open(&limit_xrc, p);
	limit(p, limit_xrc.srq[2], limit_xrc.cq[2], send_xrc);
}

/* A number that is no SRQ of the domain. */
static void test_xrc_wrong_srq(void **state)
{
	struct pair *p = *state;
	struct gs_cq *cq = gs_cq_create(p->b.vm, 16);
	uint32_t wrong[3];
	struct xrc x;

	wrong[0] = 0xfffff0;
	wrong[1] = gs_srq_create(p->b.pd, &(struct gs_srq_attr){.wrs = 16,
								.sges = 1,
								.xrc = true,
								.xrcd = gs_xrcd_alloc(p->b.vm),
								.cq = cq})
			   ->srqn;
	wrong[2] = make_srq(&p->b)->srqn;
	for (unsigned i = 0; i < 3; i++) {
		xrc_open(&x, p);
		post_srq(x.srq[0], &p->b, 0, 64);
		xrc_send(&x, CX_OP_SEND, 64, wrong[i]);
		gs_cq_expect(p->a.scq, CX_SYND_REMOTE_INVAL_REQ);
		assert_int_equal(gs_qp_state(x.ini), CX_QPS_ERR);
		assert_int_equal(gs_qp_state(x.tgt), CX_QPS_ERR);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define SIDES_TEST(f) cmocka_unit_test_setup_teardown(f, tl_sides_open, tl_pair_close)
		SIDES_TEST(test_rc),
		SIDES_TEST(test_uc),
		SIDES_TEST(test_ud),
		SIDES_TEST(test_rnr),
		SIDES_TEST(test_limit),
		SIDES_TEST(test_last_wqe),
		SIDES_TEST(test_bad_memory),
		SIDES_TEST(test_in_use),
		SIDES_TEST(test_xrc),
		SIDES_TEST(test_xrc_limit),
		SIDES_TEST(test_xrc_wrong_srq),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
