/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that fail: the completion status at both ends, the state of both QPs and the
 * asynchronous events, after chapters 9.9 and 11.6 of the InfiniBand specification. Each test ends
 * with a message that passes: an error stays with the QP that made it.
 */
#include "testlib.h"

#include <string.h>

enum { MIB = 1024 * 1024 };

/* Posts; fails unless the requester gets `status` and its QP is in error. */
static void expect_request(struct pair *p, const struct gs_send_wr *wr, uint8_t status)
{
	struct gs_wc wc;

	gs_post_send(p->a.qp, wr);
	wc = gs_cq_expect(p->a.scq, status);
	assert_int_equal(wc.cqe_op, CX_CQE_REQ_ERR);
	assert_int_equal(wc.wr_id, wr->wr_id);
	assert_int_equal(gs_qp_state(p->a.qp), CX_QPS_ERR);
}

/* ---- local protection ---- */

static void expect_local(struct pair *p, uint8_t op, struct gs_sge sge)
{
	struct gs_send_wr wr = tl_request(p, op, &sge);

	expect_request(p, &wr, CX_SYND_LOCAL_PROT);
	/* The other end learns nothing of it. */
	assert_int_equal(gs_qp_state(p->b.qp), CX_QPS_RTS);
	tl_reconnect(p);
}

static void test_local_key(void **state)
{
	static const uint8_t ops[] = {CX_OP_SEND, CX_OP_RDMA_WRITE, CX_OP_RDMA_READ};
	struct pair *p = *state;
	struct gs_pd *other = gs_pd_create(p->a.vm);
	struct gs_mr *foreign = gs_mr_register(other, p->a.buf, MIB, GS_ALL);
	struct gs_mr *small = gs_mr_register(p->a.pd, p->a.buf + 4096, 4096, GS_ALL);

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		struct gs_sge good = gs_sge(p->a.mr, p->a.buf, 64), bad;

		bad = good;
		bad.key ^= 0x55; /* wrong variant */
		expect_local(p, ops[i], bad);
		bad.key = 0x00ffff00; /* no such index */
		expect_local(p, ops[i], bad);
		bad.key = 0;
		expect_local(p, ops[i], bad);
		expect_local(p, ops[i], gs_sge(foreign, p->a.buf, 64));
		expect_local(p, ops[i], gs_sge(small, p->a.buf + 4095, 2));
		expect_local(p, ops[i], gs_sge(small, p->a.buf + 8191, 2));
		bad = gs_sge(small, p->a.buf + 8192, 1);
		expect_local(p, ops[i], bad);
		bad.addr = UINT64_MAX - 3; /* wraps */
		bad.len = 8;
		expect_local(p, ops[i], bad);
		bad.len = 0x3fffffff;
		bad.addr = (uintptr_t)p->a.buf + 4096;
		expect_local(p, ops[i], bad);
	}
}

/* The second piece is bad: still no byte may count as sent. */
static void test_local_key_later(void **state)
{
	struct pair *p = *state;
	struct gs_sge sge[2] = {gs_sge(p->a.mr, p->a.buf, MIB), gs_sge(p->a.mr, p->a.buf, 64)};
	struct gs_send_wr wr = tl_request(p, CX_OP_SEND, sge);

	sge[1].key ^= 1;
	wr.nsge = 2;
	tl_recv(&p->b, 0, 2 * MIB);
	expect_request(p, &wr, CX_SYND_LOCAL_PROT);
	gs_cq_expect_none(p->b.rcq, 20);
	tl_reconnect(p);
}

static void test_local_write_right(void **state)
{
	struct pair *p = *state;
	struct gs_mr *ro = gs_mr_register(p->a.pd, p->a.buf, 4096, GS_REMOTE_READ);

	expect_local(p, CX_OP_RDMA_READ, gs_sge(ro, p->a.buf, 64));
	expect_local(p, CX_OP_ATOMIC_FA, gs_sge(ro, p->a.buf, 8));
}

/* A receive whose memory cannot be used: its owner's error, and the sender hears of it. */
static void receive_fails(struct pair *p, struct gs_sge sge)
{
	struct gs_wc wc;

	gs_post_recv(p->b.qp, 5, &sge, 1);
	tl_recv(&p->b, 8192, 64);
	tl_send(&p->a, 0, 64);
	gs_cq_expect(p->a.scq, CX_SYND_REMOTE_OP);
	wc = gs_cq_expect(p->b.rcq, CX_SYND_LOCAL_PROT);
	assert_int_equal(wc.cqe_op, CX_CQE_RESP_ERR);
	assert_int_equal(wc.wr_id, 5);
	wc = gs_cq_expect(p->b.rcq, CX_SYND_WR_FLUSH);
	assert_int_equal(wc.wr_id, 8192);
	assert_int_equal(gs_qp_state(p->a.qp), CX_QPS_ERR);
	assert_int_equal(gs_qp_state(p->b.qp), CX_QPS_ERR);
	tl_reconnect(p);
}

static void test_receive_memory(void **state)
{
	struct pair *p = *state;
	struct gs_mr *ro = gs_mr_register(p->b.pd, p->b.buf, 4096, GS_REMOTE_READ);
	struct gs_mr *foreign = gs_mr_register(gs_pd_create(p->b.vm), p->b.buf, 4096, GS_ALL);
	struct gs_sge bad = gs_sge(p->b.mr, p->b.buf, 64);

	receive_fails(p, gs_sge(ro, p->b.buf, 64));
	receive_fails(p, gs_sge(foreign, p->b.buf, 64));
	bad.key ^= 0x80;
	receive_fails(p, bad);
	bad = gs_sge(p->b.mr, p->b.buf + TL_BUF - 32, 64);
	receive_fails(p, bad);
	bad.addr = UINT64_MAX - 31;
	receive_fails(p, bad);
}

/* ---- remote access ---- */

static void expect_remote(struct pair *p, const struct gs_send_wr *wr, uint8_t status,
			  uint8_t event)
{
	memset(p->b.buf, 0x6b, 8192);
	tl_recv(&p->b, 0, 64);
	expect_request(p, wr, status);
	gs_event_expect(p->b.vm, event, p->b.qp->qpn);
	assert_int_equal(gs_qp_state(p->b.qp), CX_QPS_ERR);
	gs_cq_expect(p->b.rcq, CX_SYND_WR_FLUSH);
	tl_check_same(p->b.buf, 8192, 0x6b);
	tl_reconnect(p);
}

static void remote_denied(struct pair *p, struct gs_send_wr wr)
{
	expect_remote(p, &wr, CX_SYND_REMOTE_ACCESS, CX_EVENT_WQ_ACCESS_ERROR);
}

static const uint8_t rdma_ops[] = {CX_OP_RDMA_WRITE, CX_OP_RDMA_READ, CX_OP_ATOMIC_CS,
				   CX_OP_ATOMIC_FA};

static void test_remote_key(void **state)
{
	struct pair *p = *state;
	struct gs_mr *foreign = gs_mr_register(gs_pd_create(p->b.vm), p->b.buf, MIB, GS_ALL);
	struct gs_mr *small = gs_mr_register(p->b.pd, p->b.buf, 4096, GS_ALL);
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);

	for (unsigned i = 0; i < ARRAY_SIZE(rdma_ops); i++) {
		struct gs_send_wr wr = tl_request(p, rdma_ops[i], &sge);

		wr.rkey = p->b.mr->key ^ 3;
		remote_denied(p, wr);
		wr.rkey = 0x7fffff00;
		remote_denied(p, wr);
		wr.rkey = foreign->key;
		remote_denied(p, wr);
		wr.rkey = small->key;
		wr.raddr = (uintptr_t)p->b.buf + 4096;
		remote_denied(p, wr);
		wr.raddr = (uintptr_t)p->b.buf - 8;
		remote_denied(p, wr);
		wr.raddr = UINT64_MAX - 7;
		remote_denied(p, wr);
		wr.raddr = 0;
		remote_denied(p, wr);
	}
}

static void test_remote_bounds(void **state)
{
	struct pair *p = *state;
	struct gs_mr *small = gs_mr_register(p->b.pd, p->b.buf, 4096, GS_ALL);
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);
	struct gs_send_wr wr = tl_request(p, CX_OP_RDMA_WRITE, &sge);

	wr.rkey = small->key;
	wr.raddr = (uintptr_t)p->b.buf + 4092; /* half of it */
	remote_denied(p, wr);
	wr.op = CX_OP_RDMA_READ;
	remote_denied(p, wr);
	wr.raddr = UINT64_MAX - 3; /* wraps around to 4 */
	remote_denied(p, wr);
	wr.op = CX_OP_RDMA_WRITE;
	remote_denied(p, wr);
	sge.len = 4097;
	wr.raddr = (uintptr_t)p->b.buf;
	remote_denied(p, wr);
	/* A large write of which only the last byte is outside leaves nothing behind. */
	sge.len = MIB;
	wr.rkey = gs_mr_register(p->b.pd, p->b.buf, MIB - 1, GS_ALL)->key;
	remote_denied(p, wr);
}

static void test_remote_rights(void **state)
{
	static const struct {
		uint8_t op;
		unsigned lacks;
	} cases[] = {{CX_OP_RDMA_WRITE, GS_REMOTE_WRITE},
		     {CX_OP_RDMA_READ, GS_REMOTE_READ},
		     {CX_OP_ATOMIC_CS, GS_REMOTE_ATOMIC},
		     {CX_OP_ATOMIC_FA, GS_REMOTE_ATOMIC}};
	struct pair *p = *state;
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct gs_send_wr wr = tl_request(p, cases[i].op, &sge);
		struct gs_link l = tl_quick_link();

		wr.rkey = gs_mr_register(p->b.pd, p->b.buf, 4096, GS_ALL & ~cases[i].lacks)->key;
		remote_denied(p, wr);
		/* The QP itself does not take the operation: that is an invalid request (9.7.4.1).
		 */
		wr.rkey = p->b.mr->key;
		l.access = GS_REMOTE_ALL & ~cases[i].lacks;
		tl_connect(p, GS_RC, &l);
		expect_remote(p, &wr, CX_SYND_REMOTE_INVAL_REQ, CX_EVENT_WQ_INVAL_REQ_ERROR);
	}
}

static void test_atomic_alignment(void **state)
{
	struct pair *p = *state;
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);

	for (unsigned off = 1; off < 8; off++) {
		struct gs_send_wr wr = tl_request(p, CX_OP_ATOMIC_FA, &sge);

		wr.raddr += off;
		expect_remote(p, &wr, CX_SYND_REMOTE_INVAL_REQ, CX_EVENT_WQ_ACCESS_ERROR);
	}
}

/* ---- lengths ---- */

static void test_receive_too_small(void **state)
{
	static const size_t sizes[] = {1, 65, 4097, 3 * MIB};
	struct pair *p = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t len = sizes[i];

		memset(p->b.buf + len - 1, 0x3c, 64);
		tl_recv(&p->b, 0, len - 1);
		tl_send(&p->a, 0, len);
		gs_cq_expect(p->a.scq, CX_SYND_REMOTE_INVAL_REQ);
		gs_cq_expect(p->b.rcq, CX_SYND_LOCAL_LENGTH);
		tl_check_same(p->b.buf + len - 1, 64, 0x3c);
		assert_int_equal(gs_qp_state(p->b.qp), CX_QPS_ERR);
		tl_reconnect(p);
	}
}

/* More than the 1 GiB of log_max_msg. The key of all memory has no bounds that would hide it. */
static void test_message_too_long(void **state)
{
	struct pair *p = *state;
	struct gs_sge sge[2] = {{.addr = 0, .len = 0x20000001, .key = p->a.pd->dma_key},
				{.addr = 0, .len = 0x20000000, .key = p->a.pd->dma_key}};
	struct gs_send_wr wr = tl_request(p, CX_OP_RDMA_WRITE, sge);

	wr.nsge = 2;
	expect_request(p, &wr, CX_SYND_LOCAL_LENGTH);
	tl_reconnect(p);
}

/* ---- receiver not ready ---- */

static void test_rnr(void **state)
{
	struct pair *p = *state;
	struct gs_link l = tl_quick_link();

	tl_send(&p->a, 0, 64);
	gs_cq_expect(p->a.scq, CX_SYND_RNR_RETRY);
	assert_int_equal(gs_qp_state(p->a.qp), CX_QPS_ERR);
	assert_int_equal(gs_qp_state(p->b.qp), CX_QPS_RTS);

	/* For ever, until there is a receive. */
	l.rnr_retry = 7;
	l.min_rnr_timer = 1;
	tl_connect(p, GS_RC, &l);
	tl_fill(p->a.buf, 64, 4);
	tl_send(&p->a, 0, 64);
	gs_cq_expect_none(p->a.scq, 100);
	tl_recv(&p->b, 0, 64);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect(p->b.rcq, 0);
	tl_check(p->b.buf, 64, 4);

	/* A write with immediate data needs a receive, too; it does not write before it has one. */
	memset(p->b.buf, 0, 64);
	tl_rdma(&p->a, CX_OP_RDMA_WRITE_IMM, 0, 64, &p->b, 0);
	gs_cq_expect_none(p->a.scq, 20);
	tl_recv(&p->b, 4096, 64);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect(p->b.rcq, 0);
	tl_check(p->b.buf, 64, 4);
	tl_reconnect(p);
}

/* A send fails, and never sooner than after `least` ns. */
static void expect_time(struct pair *p, const struct gs_link *l, uint32_t qpn, uint8_t status,
			uint64_t least)
{
	enum { ROUNDS = 9 };

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct gs_link to = *l;
		uint64_t t;

		tl_connect(p, GS_RC, l);
		if (qpn) {
			assert_int_equal(gs_qp_to_reset(p->a.qp), 0);
			to.path = gs_path_to(p->b.vm);
			to.remote_qpn = qpn;
			gs_qp_bring_up(p->a.qp, &to);
		}
		t = gs_now_ns();
		tl_send(&p->a, 0, 64);
		gs_cq_expect(p->a.scq, status);
		t = gs_now_ns() - t;
		if (t < least)
			gs_fail("it took %lu ns, less than %lu", t, least);
	}
}

static void test_retry_times(void **state)
{
	struct pair *p = *state;
	struct gs_link l = tl_quick_link();

	/* Three tries of at least 4.2 ms each (9.7.6.1.3). */
	expect_time(p, &l, 0xfffff0, CX_SYND_TRANSPORT_RETRY, 3 * 4194304ull);
	/* Three times the timer of the receiver: code 20 is 10.24 ms (9.7.5.2.8). */
	l.rnr_retry = 3;
	l.min_rnr_timer = 20;
	expect_time(p, &l, 0, CX_SYND_RNR_RETRY, 3 * 10240000ull);
	tl_reconnect(p);
}

/* What waits for a receive does not hold up another QP. */
static void test_rnr_beside(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_qp *stuck = p->a.qp, *stuck_peer = p->b.qp;
	struct gs_sge sge = gs_sge(p->b.mr, p->b.buf + MIB, 64);

	tl_side_qp(&p->a, GS_RC);
	tl_side_qp(&p->b, GS_RC);
	gs_qp_connect(p->a.qp, p->b.qp, &l);
	assert_int_equal(gs_qp_to_reset(stuck), 0);
	assert_int_equal(gs_qp_to_reset(stuck_peer), 0);
	gs_qp_connect(stuck, stuck_peer, &l);
	sge = gs_sge(p->a.mr, p->a.buf + MIB, 64);
	gs_post_send(stuck, &(struct gs_send_wr){.wr_id = 99,
						 .op = CX_OP_SEND,
						 .flags = GS_SIGNALED,
						 .nsge = 1,
						 .sge = &sge});
	for (unsigned i = 0; i < 200; i++)
		tl_send_recv(&p->a, &p->b, 100);
	sge = gs_sge(p->b.mr, p->b.buf + MIB, 64);
	gs_post_recv(stuck_peer, 98, &sge, 1);
	assert_int_equal(gs_cq_expect(p->a.scq, 0).wr_id, 99);
	assert_int_equal(gs_cq_expect(p->b.rcq, 0).wr_id, 98);
}

/* ---- nobody there ---- */

static void expect_no_answer(struct pair *p)
{
	tl_send(&p->a, 0, 64);
	gs_cq_expect(p->a.scq, CX_SYND_TRANSPORT_RETRY);
	assert_int_equal(gs_qp_state(p->a.qp), CX_QPS_ERR);
}

static void test_no_peer(void **state)
{
	struct pair *p = *state;
	struct gs_link l = tl_quick_link();

	/* No such QP. */
	tl_connect(p, GS_RC, &l);
	assert_int_equal(gs_qp_to_reset(p->a.qp), 0);
	l.path = gs_path_to(p->b.vm);
	l.remote_qpn = 0xfffff0;
	gs_qp_bring_up(p->a.qp, &l);
	expect_no_answer(p);

	/* No such port. */
	assert_int_equal(gs_qp_to_reset(p->a.qp), 0);
	l.path = gs_path_lid(0x7777);
	l.remote_qpn = p->b.qp->qpn;
	gs_qp_bring_up(p->a.qp, &l);
	expect_no_answer(p);

	/* No such GID. */
	assert_int_equal(gs_qp_to_reset(p->a.qp), 0);
	l.path = gs_path_gid(p->b.vm);
	l.path.dgid[15] ^= 0xff;
	l.path.dlid = 0;
	gs_qp_bring_up(p->a.qp, &l);
	expect_no_answer(p);
	tl_reconnect(p);
}

static void test_peer_not_ready(void **state)
{
	struct pair *p = *state;
	struct gs_link l = tl_quick_link();

	/* Reset, then initialized: it does not answer in either state. */
	assert_int_equal(gs_qp_to_reset(p->b.qp), 0);
	expect_no_answer(p);
	tl_connect(p, GS_RC, &l);
	assert_int_equal(gs_qp_to_reset(p->b.qp), 0);
	assert_int_equal(gs_qp_to_init(p->b.qp, &l), 0);
	tl_recv(&p->b, 0, 64);
	expect_no_answer(p);
	gs_cq_expect_none(p->b.rcq, 1);
	/* In error. */
	tl_connect(p, GS_RC, &l);
	assert_int_equal(gs_qp_to_err(p->b.qp), 0);
	expect_no_answer(p);
	/* Of another service. */
	tl_connect(p, GS_RC, &l);
	tl_side_qp(&p->b, GS_UD);
	gs_qp_bring_up(p->b.qp, &l);
	assert_int_equal(gs_qp_to_reset(p->a.qp), 0);
	l.path = gs_path_to(p->b.vm);
	l.remote_qpn = p->b.qp->qpn;
	gs_qp_bring_up(p->a.qp, &l);
	expect_no_answer(p);
	tl_reconnect(p);
}

/* Destroyed while a message waits for a receive there. */
static void test_peer_goes(void **state)
{
	struct pair *p = *state;
	struct gs_link l = tl_quick_link();

	l.rnr_retry = 7;
	tl_connect(p, GS_RC, &l);
	tl_send(&p->a, 0, 64);
	gs_cq_expect_none(p->a.scq, 10);
	assert_int_equal(gs_qp_destroy(p->b.qp), 0);
	p->b.qp = NULL;
	gs_cq_expect(p->a.scq, CX_SYND_TRANSPORT_RETRY);
	tl_reconnect(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define QUICK_TEST(f) cmocka_unit_test_setup_teardown(f, tl_quick_open, tl_pair_close)
		QUICK_TEST(test_local_key),
		QUICK_TEST(test_local_key_later),
		QUICK_TEST(test_local_write_right),
		QUICK_TEST(test_receive_memory),
		QUICK_TEST(test_remote_key),
		QUICK_TEST(test_remote_bounds),
		QUICK_TEST(test_remote_rights),
		QUICK_TEST(test_atomic_alignment),
		QUICK_TEST(test_receive_too_small),
		QUICK_TEST(test_message_too_long),
		QUICK_TEST(test_rnr),
		QUICK_TEST(test_retry_times),
		QUICK_TEST(test_rnr_beside),
		QUICK_TEST(test_no_peer),
		QUICK_TEST(test_peer_not_ready),
		QUICK_TEST(test_peer_goes),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
