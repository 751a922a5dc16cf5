/* SPDX-License-Identifier: BSD-2-Clause */
/* Datagrams: what is delivered, what is dropped, and what the receiver sees. */
#include "fake_hca.h"
#include "unit.h"

#include <string.h>

#define QKEY 0x1234u

static int setup(void **state)
{
	struct fake_pair *p = fake_pair_create(UP_QP_UD);

	memset(p->ha->ram, 0x61, 8192);
	*state = p;
	return 0;
}

static struct up_send_wr *post(struct fake_pair *p, uint32_t len)
{
	struct up_send_wr *wr = fake_post(p->a, UP_OP_SEND, 0, len);

	wr->dest_qpn = p->b->base.qpn;
	wr->dest_qkey = QKEY;
	wr->av.dlid = p->hb->base.lid;
	return wr;
}

static void expect_dropped(struct fake_pair *p)
{
	assert_int_equal(fake_run(p->a), UP_RUN_IDLE);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(p->hb->cq->count, 0);
	assert_int_equal(p->b->rq_taken, 0);
}

static void data_follows_the_header_space(void **state)
{
	struct fake_pair *p = *state;
	struct up_wc wc;

	fake_recv(p->b, 0, 1000);
	post(p, 500);
	fake_run(p->a);
	wc = fake_wc(p->hb);
	assert_int_equal(wc.status, UP_WC_SUCCESS);
	assert_int_equal(wc.byte_len, 540);
	assert_int_equal(wc.src_qpn, p->a->base.qpn);
	assert_int_equal(wc.slid, p->ha->base.lid);
	assert_false(wc.flags & UP_WC_GRH);
	assert_int_equal(p->hb->ram[39], 0);
	assert_int_equal(p->hb->ram[40], 0x61);
	assert_int_equal(p->hb->ram[539], 0x61);
	assert_int_equal(p->hb->ram[540], 0);
}

/* o11-5.1.1: there is no communication to be established. (ib_mad takes any event for a fatal one.)
 */
static void first_datagram_in_rtr_is_no_event(void **state)
{
	struct fake_pair *p = *state;

	assert_int_equal(up_qp_modify(&p->b->base, UP_QPS_RESET), 0);
	fake_raise(p->b, p->a, UP_QPS_RTR);
	fake_recv(p->b, 0, 1000);
	post(p, 500);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_SUCCESS);
	assert_int_equal(p->b->events[UP_EV_COMM_EST], 0);
}

/* The key covers all addresses, but there is no memory: nothing is delivered of such a message. */
static void nothing_arrives_when_the_source_is_no_memory(void **state)
{
	struct fake_pair *p = *state;
	struct up_send_wr *wr;

	fake_recv(p->b, 0, 1000);
	wr = post(p, 500);
	wr->nsge = 2;
	wr->sge[0].len = 250;
	wr->sge[1] =
		(struct up_sge){.addr = FAKE_GPA + FAKE_RAM, .len = 250, .key = wr->sge[0].key};
	fake_run(p->a);
	assert_int_equal(p->ha->cq->wc[0].status, UP_WC_LOC_PROT_ERR);
	assert_int_equal(p->hb->cq->count, 0);
	assert_int_equal(p->b->rq_taken, 0);
	assert_int_equal(p->hb->ram[40], 0);
}

/* A key of single bytes, `n` of them, each a stretch of its own. */
static struct up_mr *crumbs(struct fake_hca *h, unsigned n)
{
	struct up_mr *mr = up_mr_create(&h->base, UP_MR_LIST, n);

	assert_non_null(mr);
	for (unsigned i = 0; i < n; i++)
		mr->pieces[i] =
			(struct up_mr_piece){.addr = FAKE_GPA + i, .len = 1, .key = h->all->key};
	mr->count = n;
	mr->length = n;
	mr->pdn = h->all->pdn;
	mr->access = h->all->access;
	mr->valid = true;
	assert_int_equal(up_mr_seal_list(mr), 0);
	return mr;
}

/*
 * Looking up thousands of stretches for one datagram would hold everybody up. The sender is at
 * fault, not whoever is sent to; what is less scattered arrives, and is charged to the turn.
 */
static void scattered_datagrams_are_bounded(void **state)
{
	struct up_budget budget = {.messages = 16, .bytes = 64 * 1024};
	struct fake_pair *p = *state;
	struct up_mr *mr = crumbs(p->ha, 2000);
	struct up_send_wr *wr;

	fake_recv(p->b, 0, 1000);
	wr = post(p, 200);
	wr->sge[0].key = mr->key;
	wr->sge[0].addr = 0;
	up_qp_run(fake_exec, &p->a->base, 1, &budget);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_true(budget.bytes <= 64 * 1024 - 200 * 256 || !budget.bytes);

	fake_recv(p->b, 0, 1000);
	wr = post(p, 900);
	wr->sge[0].key = mr->key;
	wr->sge[0].addr = 0;
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_LOC_PROT_ERR);
	assert_int_equal(p->hb->cq->count, 0);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_RTS);
	up_mr_destroy(&p->ha->base, mr);
}

/* The receiver's own list: its completion says so. */
static void scattered_receives_are_bounded(void **state)
{
	struct fake_pair *p = *state;
	struct up_mr *mr = crumbs(p->hb, 2000);

	fake_recv(p->b, 0, 2000);
	p->b->recvs[0].sge[0].key = mr->key;
	p->b->recvs[0].sge[0].addr = 0;
	post(p, 1000);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_LOC_PROT_ERR);
	up_mr_destroy(&p->hb->base, mr);
}

static void global_header_is_written(void **state)
{
	struct fake_pair *p = *state;
	struct up_send_wr *wr;

	fake_recv(p->b, 0, 1000);
	wr = post(p, 8);
	wr->av.grh = true;
	wr->av.hop_limit = 3;
	wr->av.dgid.raw[15] = 2;
	fake_run(p->a);
	assert_true(fake_wc(p->hb).flags & UP_WC_GRH);
	assert_int_equal(p->hb->ram[0], 0x60);
	/* 12 BTH, 8 DETH, 8 data, 4 ICRC. */
	assert_int_equal(p->hb->ram[5], 32);
	assert_int_equal(p->hb->ram[6], 0x1b);
	assert_int_equal(p->hb->ram[7], 3);
	assert_int_equal(p->hb->ram[8 + 15], 1);
	assert_int_equal(p->hb->ram[24 + 15], 2);
}

static void wrong_qkey_is_dropped(void **state)
{
	struct fake_pair *p = *state;

	fake_recv(p->b, 0, 1000);
	post(p, 8)->dest_qkey = QKEY + 1;
	expect_dropped(p);
}

static void controlled_qkey_sends_the_own_one(void **state)
{
	struct fake_pair *p = *state;

	fake_recv(p->b, 0, 1000);
	post(p, 8)->dest_qkey = 0x80000001u;
	fake_run(p->a);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_SUCCESS);
}

static void unknown_address_is_dropped(void **state)
{
	struct fake_pair *p = *state;

	fake_recv(p->b, 0, 1000);
	post(p, 8)->av.dlid = 77;
	expect_dropped(p);
	post(p, 8)->dest_qpn = 0xfffff;
	expect_dropped(p);
}

static void no_receive_is_dropped(void **state)
{
	struct fake_pair *p = *state;

	post(p, 8);
	expect_dropped(p);
	assert_int_equal(p->b->base.stats.rnr, 1);
}

static void longer_than_the_mtu_stops_the_sender(void **state)
{
	struct fake_pair *p = *state;

	post(p, UP_MTU_BYTES + 1);
	post(p, 8);
	fake_run(p->a);
	assert_int_equal(p->ha->cq->count, 2);
	assert_int_equal(p->ha->cq->wc[0].status, UP_WC_LOC_LEN_ERR);
	assert_int_equal(p->ha->cq->wc[1].status, UP_WC_WR_FLUSH_ERR);
	assert_int_equal(up_qp_state_get(&p->a->base), UP_QPS_SQE);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RTS), 0);
}

static void short_receive_fails_the_receiver(void **state)
{
	struct fake_pair *p = *state;

	fake_recv(p->b, 0, 47);
	post(p, 8);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_LOC_LEN_ERR);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_ERR);
}

static void group_reaches_every_member(void **state)
{
	struct fake_pair *p = *state;
	struct fake_qp *c = fake_qp_create(p->hb, UP_QP_UD, NULL);

	fake_raise(c, p->a, UP_QPS_RTR);
	fake_recv(p->b, 0, 1000);
	fake_recv(c, 2000, 1000);
	post(p, 8)->dest_qpn = UP_MULTICAST_QPN;
	fake_run(p->a);
	assert_int_equal(p->hb->cq->count, 2);
	assert_true(p->hb->cq->wc[0].multicast);
	assert_int_equal(p->hb->ram[40], 0x61);
	assert_int_equal(p->hb->ram[2040], 0x61);
	fake_qp_destroy(c);
}

static void member_may_block_what_it_sends_itself(void **state)
{
	struct fake_pair *p = *state;
	struct fake_qp *c = fake_qp_create(p->ha, UP_QP_UD, NULL);
	struct up_send_wr *wr;

	p->a->base.block_loopback = true;
	fake_recv(p->a, 0, 1000);
	fake_recv(p->b, 0, 1000);
	post(p, 8)->dest_qpn = UP_MULTICAST_QPN;
	fake_run(p->a);
	assert_false(fake_wc(p->ha).flags & UP_WC_RECV);
	assert_ptr_equal(fake_wc(p->hb).qp, &p->b->base);
	assert_int_equal(p->a->rq_taken, 0);
	/* Of others it has its copy, those of the same adapter too. */
	fake_raise(c, p->b, UP_QPS_RTS);
	wr = fake_post(c, UP_OP_SEND, 0, 8);
	wr->dest_qpn = UP_MULTICAST_QPN;
	wr->dest_qkey = QKEY;
	fake_run(c);
	assert_int_equal(p->a->rq_taken, 1);
	/* What it sends to its own number is no multicast. */
	fake_recv(p->a, 0, 1000);
	wr = post(p, 8);
	wr->dest_qpn = p->a->base.qpn;
	wr->av.dlid = p->ha->base.lid;
	fake_run(p->a);
	assert_int_equal(p->a->rq_taken, 2);
	fake_qp_destroy(c);
}

/* A large group has its copies in as many turns as they take. */
static void group_is_served_in_several_turns(void **state)
{
	struct fake_qp *more[6];
	struct fake_pair *p = *state;
	unsigned turns = 0, had = 0;

	fake_recv(p->b, 0, 1000);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(more); i++) {
		more[i] = fake_qp_create(p->hb, UP_QP_UD, NULL);
		fake_raise(more[i], p->a, UP_QPS_RTR);
		fake_recv(more[i], 2000 * (i + 1), 1000);
	}
	post(p, 8)->dest_qpn = UP_MULTICAST_QPN;
	while (!p->ha->cq->count) {
		struct up_budget budget = {.messages = 16, .bytes = 1};

		up_qp_run(fake_exec, &p->a->base, 1, &budget);
		assert_in_range(p->hb->cq->count, had, had + 1);
		had = p->hb->cq->count;
		assert_true(++turns < 100);
	}
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(had, 1 + UP_ARRAY_SIZE(more));
	assert_true(turns >= had);
	/* The next one begins with the first member again. */
	fake_recv(p->b, 0, 1000);
	post(p, 8)->dest_qpn = UP_MULTICAST_QPN;
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(p->hb->cq->count, had + 1);
	assert_ptr_equal(p->hb->cq->wc[had].qp, &p->b->base);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(more); i++)
		fake_qp_destroy(more[i]);
}

static void writes_are_not_for_datagrams(void **state)
{
	struct fake_pair *p = *state;

	fake_post(p->a, UP_OP_WRITE, 0, 8);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_LOC_QP_OP_ERR);
}

/* 13.4.2: a MAD is 256 bytes. Another length would be too long for a receive, and end QP1. */
static void other_lengths_do_not_reach_the_managers(void **state)
{
	static const uint32_t lengths[] = {0, 8, 255, 257, UP_MTU_BYTES};
	struct fake_pair *p = *state;

	fake_recv(p->b, 0, UP_GRH_BYTES + 256);
	p->b->base.is_special = true;
	p->b->base.special = 1;
	for (unsigned i = 0; i < UP_ARRAY_SIZE(lengths); i++) {
		/* The sender's own key goes out, 10.2.4.4. */
		p->a->base.attr.qkey = 0x80010000u;
		post(p, lengths[i])->dest_qkey = 0x80010000u;
		expect_dropped(p);
	}
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_RTS);
	post(p, 256)->dest_qkey = 0x80010000u;
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(p->hb).byte_len, UP_GRH_BYTES + 256);
	p->b->base.is_special = false;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, fake_pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(data_follows_the_header_space),
		T(first_datagram_in_rtr_is_no_event),
		T(nothing_arrives_when_the_source_is_no_memory),
		T(scattered_datagrams_are_bounded),
		T(scattered_receives_are_bounded),
		T(global_header_is_written),
		T(wrong_qkey_is_dropped),
		T(controlled_qkey_sends_the_own_one),
		T(unknown_address_is_dropped),
		T(no_receive_is_dropped),
		T(longer_than_the_mtu_stops_the_sender),
		T(short_receive_fails_the_receiver),
		T(group_reaches_every_member),
		T(member_may_block_what_it_sends_itself),
		T(group_is_served_in_several_turns),
		T(other_lengths_do_not_reach_the_managers),
		T(writes_are_not_for_datagrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
