/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The states of a queue pair after 10.3.1: which transitions there are, what is executed in each
 * state, and what QUERY_QP says of it.
 */
#include "testlib.h"

#include <string.h>

enum { QUIET_MS = 20 };

static const struct {
	uint16_t opcode;
	int from; /* CX_QPS_*, or -1: any state */
	uint8_t to;
} transitions[] = {
	{CX_CMD_RST2INIT_QP, CX_QPS_RST, CX_QPS_INIT},
	{CX_CMD_INIT2INIT_QP, CX_QPS_INIT, CX_QPS_INIT},
	{CX_CMD_INIT2RTR_QP, CX_QPS_INIT, CX_QPS_RTR},
	{CX_CMD_RTR2RTS_QP, CX_QPS_RTR, CX_QPS_RTS},
	{CX_CMD_RTS2RTS_QP, CX_QPS_RTS, CX_QPS_RTS},
	{CX_CMD_SQERR2RTS_QP, CX_QPS_SQER, CX_QPS_RTS},
	{CX_CMD_RTS2SQD_QP, CX_QPS_RTS, CX_QPS_SQD},
	{CX_CMD_SQD2RTS_QP, CX_QPS_SQD, CX_QPS_RTS},
	{CX_CMD_2ERR_QP, -1, CX_QPS_ERR},
	{CX_CMD_2RST_QP, -1, CX_QPS_RST},
};

static void must(int err)
{
	assert_int_equal(err, 0);
}

static void fill_qpc(uint8_t *qpc, const struct side *peer)
{
	memset(qpc, 0, CX_QPC_BYTES);
	cx_set(qpc, CX_QPC_ST, CX_QPST_RC);
	cx_set(qpc, CX_QPC_PM_STATE, CX_PM_MIGRATED);
	cx_set(qpc, CX_QPC_MTU, 5);
	cx_set(qpc, CX_QPC_LOG_MSG_MAX, 30);
	cx_set(qpc, CX_QPC_REMOTE_QPN, peer->qp->qpn);
	cx_set(qpc + CX_QPC_PRIMARY_PATH_AT, CX_ADS_RLID, peer->vm->lid);
	cx_set(qpc + CX_QPC_PRIMARY_PATH_AT, CX_ADS_VHCA_PORT_NUM, 1);
}

/* On the way to SQD the send queue is draining for a moment. */
static void await_state(struct gs_qp *qp, uint8_t state)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);

	while (gs_qp_state(qp) == CX_QPS_SQ_DRAINING && gs_wait_turn(&w))
		;
	assert_int_equal(gs_qp_state(qp), state);
}

static void go_to(struct gs_qp *qp, uint8_t state)
{
	static const uint16_t way[] = {CX_CMD_RST2INIT_QP, CX_CMD_INIT2RTR_QP, CX_CMD_RTR2RTS_QP};
	uint8_t qpc[CX_QPC_BYTES] = {0};

	cx_set(qpc, CX_QPC_MTU, 5);
	cx_set(qpc, CX_QPC_LOG_MSG_MAX, 30);
	must(gs_qp_to_reset(qp));
	for (unsigned i = 0; i < ARRAY_SIZE(way); i++)
		if (state > i && state != CX_QPS_ERR)
			must(gs_qp_modify_raw(qp, way[i], 0, qpc));
	if (state == CX_QPS_SQD)
		must(gs_qp_modify_raw(qp, CX_CMD_RTS2SQD_QP, 0, qpc));
	if (state == CX_QPS_ERR)
		must(gs_qp_to_err(qp));
	await_state(qp, state);
}

/* Every transition from every state of a connected QP. */
static void test_matrix(void **state)
{
	static const uint8_t states[] = {CX_QPS_RST, CX_QPS_INIT, CX_QPS_RTR,
					 CX_QPS_RTS, CX_QPS_SQD,  CX_QPS_ERR};
	struct pair *p = *state;
	uint8_t qpc[CX_QPC_BYTES];

	for (unsigned s = 0; s < ARRAY_SIZE(states); s++) {
		for (unsigned t = 0; t < ARRAY_SIZE(transitions); t++) {
			bool legal = transitions[t].from < 0 || transitions[t].from == states[s];
			int err;

			go_to(p->a.qp, states[s]);
			fill_qpc(qpc, &p->b);
			err = gs_qp_modify_raw(p->a.qp, transitions[t].opcode, 0,
					       transitions[t].from < 0 ? NULL : qpc);
			if (legal != !err)
				gs_fail("state %u, command %#x: %d, status %#x", states[s],
					transitions[t].opcode, err, p->a.vm->status);
			if (!legal)
				assert_int_equal(p->a.vm->status, CX_BAD_QP_STATE);
			await_state(p->a.qp, legal ? transitions[t].to : states[s]);
		}
	}
}

/* Attributes come back as they were given. */
static void test_query(void **state)
{
	struct pair *p = *state;
	uint8_t qpc[CX_QPC_BYTES], *path = qpc + CX_QPC_PRIMARY_PATH_AT;
	struct gs_link l = gs_link_default();

	must(gs_qp_to_reset(p->a.qp));
	l.remote_qpn = 0x1234;
	l.path = gs_path_gid(p->b.vm);
	l.path.sl = 3;
	l.path.traffic_class = 0x77;
	l.path.flow_label = 0xabcde;
	l.mtu = 3;
	l.min_rnr_timer = 17;
	l.rnr_retry = 5;
	l.retry_count = 4;
	l.timeout = 19;
	l.rd_atomic = 4;
	l.dest_rd_atomic = 8;
	l.access = GS_REMOTE_WRITE | GS_REMOTE_READ;
	gs_qp_bring_up(p->a.qp, &l);
	gs_qp_query(p->a.qp, qpc);
	assert_int_equal(cx_get(qpc, CX_QPC_STATE), CX_QPS_RTS);
	assert_int_equal(cx_get(qpc, CX_QPC_ST), CX_QPST_RC);
	assert_int_equal(cx_get(qpc, CX_QPC_PM_STATE), CX_PM_MIGRATED);
	assert_int_equal(cx_get(qpc, CX_QPC_REMOTE_QPN), 0x1234);
	assert_int_equal(cx_get(qpc, CX_QPC_MTU), 3);
	assert_int_equal(cx_get(qpc, CX_QPC_MIN_RNR_NAK), 17);
	assert_int_equal(cx_get(qpc, CX_QPC_RNR_RETRY), 5);
	assert_int_equal(cx_get(qpc, CX_QPC_RETRY_COUNT), 4);
	assert_int_equal(cx_get(qpc, CX_QPC_LOG_SRA_MAX), 2);
	assert_int_equal(cx_get(qpc, CX_QPC_LOG_RRA_MAX), 3);
	assert_int_equal(cx_get(qpc, CX_QPC_RRE), 1);
	assert_int_equal(cx_get(qpc, CX_QPC_RWE), 1);
	assert_int_equal(cx_get(qpc, CX_QPC_RAE), 0);
	assert_int_equal(cx_get(qpc, CX_QPC_NEXT_RCV_PSN), 0x123456);
	assert_int_equal(cx_get(qpc, CX_QPC_NEXT_SEND_PSN), 0x123456);
	assert_int_equal(cx_get(path, CX_ADS_RLID), p->b.vm->lid);
	assert_int_equal(cx_get(path, CX_ADS_SL), 3);
	assert_int_equal(cx_get(path, CX_ADS_ACK_TIMEOUT), 19);
	assert_int_equal(cx_get(path, CX_ADS_GRH), 1);
	assert_int_equal(cx_get(path, CX_ADS_TCLASS), 0x77);
	assert_int_equal(cx_get(path, CX_ADS_FLOW_LABEL), 0xabcde);
	assert_memory_equal(path + CX_ADS_RGID_RIP_AT, p->b.vm->gid, 16);
	assert_int_equal(cx_get(path, CX_ADS_VHCA_PORT_NUM), 1);
}

/* Rights change while the QP runs. */
static void test_change_rights(void **state)
{
	struct pair *p = *state;
	uint8_t qpc[CX_QPC_BYTES] = {0};

	tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, 8, &p->b, 0);
	gs_cq_expect(p->a.scq, 0);
	cx_set(qpc, CX_QPC_ST, CX_QPST_RC);
	cx_set(qpc, CX_QPC_RRE, 1);
	must(gs_qp_modify_raw(p->b.qp, CX_CMD_RTS2RTS_QP, CX_OPT_RRE | CX_OPT_RWE | CX_OPT_RAE,
			      qpc));
	tl_rdma(&p->a, CX_OP_RDMA_READ, 0, 8, &p->b, 0);
	gs_cq_expect(p->a.scq, 0);
	/* Fields without their bit in the mask do not count. */
	cx_set(qpc, CX_QPC_RRE, 0);
	cx_set(qpc, CX_QPC_REMOTE_QPN, 0x999);
	must(gs_qp_modify_raw(p->b.qp, CX_CMD_RTS2RTS_QP, CX_OPT_RNR_TIMEOUT, qpc));
	tl_rdma(&p->a, CX_OP_RDMA_READ, 0, 8, &p->b, 0);
	gs_cq_expect(p->a.scq, 0);
	tl_ping(p);
	tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, 8, &p->b, 0);
	gs_cq_expect(p->a.scq, CX_SYND_REMOTE_INVAL_REQ);
}

/* Receives may be posted from INIT on and are used from RTR on, sends are executed in RTS. */
static void test_what_runs(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default(), to = l;

	tl_connect(p, GS_RC, &l);
	to.remote_qpn = p->a.qp->qpn;
	to.path = gs_path_to(p->a.vm);
	must(gs_qp_to_reset(p->b.qp));
	must(gs_qp_to_init(p->b.qp, &to));
	tl_recv(&p->b, 0, 64);
	gs_cq_expect_none(p->b.rcq, QUIET_MS);
	must(gs_qp_to_rtr(p->b.qp, &to));
	tl_send(&p->a, 0, 64);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect(p->b.rcq, 0);
	/* Ready to receive only. */
	tl_recv(&p->a, 0, 64);
	tl_send(&p->b, 0, 64);
	gs_cq_expect_none(p->b.scq, QUIET_MS);
	must(gs_qp_to_rts(p->b.qp, &to));
	gs_cq_expect(p->b.scq, 0);
	gs_cq_expect(p->a.rcq, 0);
	tl_ping(p);
}

/* Drained: receives go on, sends wait until RTS. */
static void test_sqd(void **state)
{
	struct pair *p = *state;
	uint8_t qpc[CX_QPC_BYTES] = {0};

	cx_set(qpc, CX_QPC_ST, CX_QPST_RC);
	must(gs_qp_modify_raw(p->a.qp, CX_CMD_RTS2SQD_QP, 0, qpc));
	gs_event_expect(p->a.vm, CX_EVENT_SQ_DRAINED, p->a.qp->qpn);
	tl_send_recv(&p->b, &p->a, 100);
	tl_recv(&p->b, 0, 64);
	tl_send(&p->a, 0, 64);
	gs_cq_expect_none(p->a.scq, QUIET_MS);
	must(gs_qp_modify_raw(p->a.qp, CX_CMD_SQD2RTS_QP, 0, qpc));
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect(p->b.rcq, 0);
	tl_ping(p);
}

static void drain(struct gs_cq *cq)
{
	struct gs_wc wc;

	while (gs_cq_poll(cq, &wc, 1))
		;
}

/* Reset in the middle of transfers, over and over; each time the pair works again. */
static void test_reset_under_traffic(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	uint64_t seed = 4;

	l.timeout = 8;
	l.retry_count = 1;
	l.rnr_retry = 1;
	for (unsigned i = 0; i < 100; i++) {
		struct side *s = i % 2 ? &p->a : &p->b;

		tl_connect(p, GS_RC, &l);
		for (unsigned n = 0; n < 8; n++) {
			tl_recv(&p->b, 8 << 20, 1 << 20);
			tl_rdma(&p->a, n % 2 ? CX_OP_RDMA_WRITE : CX_OP_RDMA_READ, 0, 2 << 20,
				&p->b, 0);
			tl_send(&p->a, 0, 1 << 20);
		}
		for (uint64_t n = gs_random(&seed) % 2000000; n; n--)
			__asm__ volatile("" ::: "memory");
		if (i % 3 == 0)
			must(gs_qp_to_err(s->qp));
		must(gs_qp_to_reset(s->qp));
		drain(p->a.scq);
		drain(p->b.rcq);
	}
	tl_connect(p, GS_RC, &l);
	tl_ping(p);
}

static void test_bad_attributes(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	uint8_t qpc[CX_QPC_BYTES];

	must(gs_qp_to_reset(p->a.qp));
	l.pkey_index = 77;
	assert_int_not_equal(gs_qp_to_init(p->a.qp, &l), 0);
	l.pkey_index = 0;
	must(gs_qp_to_init(p->a.qp, &l));
	l.path = gs_path_to(p->b.vm);
	for (unsigned mtu = 0; mtu < 8; mtu++) {
		l.mtu = (uint8_t)mtu;
		if (mtu >= 1 && mtu <= 5)
			continue;
		assert_int_not_equal(gs_qp_to_rtr(p->a.qp, &l), 0);
		assert_int_equal(gs_qp_state(p->a.qp), CX_QPS_INIT);
	}
	/* Of a QP that does not exist. */
	fill_qpc(qpc, &p->b);
	p->a.qp->qpn ^= 0x8000;
	assert_int_not_equal(gs_qp_modify_raw(p->a.qp, CX_CMD_INIT2RTR_QP, 0, qpc), 0);
	assert_int_not_equal(gs_qp_to_err(p->a.qp), 0);
	p->a.qp->qpn ^= 0x8000;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, tl_pair_open, tl_pair_close)
		PAIR_TEST(test_matrix),
		PAIR_TEST(test_query),
		PAIR_TEST(test_change_rights),
		PAIR_TEST(test_what_runs),
		PAIR_TEST(test_sqd),
		PAIR_TEST(test_reset_under_traffic),
		PAIR_TEST(test_bad_attributes),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
