/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared receive queues and extended reliable connections. */
#include "fake_hca.h"
#include "unit.h"

#include <string.h>

static struct fake_hca *ha, *hb;

static int setup(void **state)
{
	fake_world_create(&ha, &hb);
	return 0;
}

static int teardown(void **state)
{
	fake_world_destroy(ha, hb);
	return 0;
}

static void two_queue_pairs_share_one_queue(void **state)
{
	struct fake_srq *srq = fake_srq_create(hb, false);
	struct fake_qp *a[2], *b[2];
	struct up_wc wc;

	for (int i = 0; i < 2; i++) {
		a[i] = fake_qp_create(ha, UP_QP_RC, NULL);
		b[i] = fake_qp_create(hb, UP_QP_RC, srq);
		fake_connect(a[i], b[i]);
	}
	fake_srq_recv(srq, 0, 100);
	fake_srq_recv(srq, 100, 100);
	for (int i = 1; i >= 0; i--) {
		fake_post(a[i], UP_OP_SEND, 0, 50);
		fake_run(a[i]);
		wc = fake_wc(hb);
		assert_int_equal(wc.status, UP_WC_SUCCESS);
		assert_ptr_equal(wc.qp, &b[i]->base);
		assert_ptr_equal(wc.srq, &srq->base);
		assert_true(wc.flags & UP_WC_SRQ);
		assert_int_equal(wc.index, 1 - i);
		assert_int_equal(fake_wc(ha).status, UP_WC_SUCCESS);
	}
	for (int i = 0; i < 2; i++) {
		fake_qp_destroy(a[i]);
		fake_qp_destroy(b[i]);
	}
	assert_int_equal(srq->base.users, 0);
	fake_srq_destroy(srq);
}

static void error_says_last_wqe_and_leaves_the_queue(void **state)
{
	struct fake_srq *srq = fake_srq_create(hb, false);
	struct fake_qp *b = fake_qp_create(hb, UP_QP_RC, srq);

	fake_srq_recv(srq, 0, 100);
	assert_int_equal(up_qp_modify(&b->base, UP_QPS_ERR), 0);
	fake_run(b);
	fake_run(b);
	assert_int_equal(b->events[UP_EV_LAST_WQE], 1);
	assert_int_equal(srq->taken, 0);
	assert_int_equal(hb->cq->count, 0);
	fake_qp_destroy(b);
	fake_srq_destroy(srq);
}

/* A queue that cannot be read is told of once, however many use it, connected or not. */
static void malformed_queue_is_in_error(void **state)
{
	struct fake_srq *srq = fake_srq_create(hb, false);
	struct fake_qp *a = fake_qp_create(ha, UP_QP_RC, NULL);
	struct fake_qp *b = fake_qp_create(hb, UP_QP_RC, srq);
	struct fake_qp *from = fake_qp_create(ha, UP_QP_UD, NULL);
	struct fake_qp *to = fake_qp_create(hb, UP_QP_UD, srq);
	struct up_send_wr *wr;

	fake_connect(a, b);
	fake_connect(from, to);
	srq->error = -22;
	wr = fake_post(from, UP_OP_SEND, 0, 50);
	wr->av.dlid = 2;
	wr->dest_qpn = to->base.qpn;
	wr->dest_qkey = to->base.attr.qkey;
	fake_run(from);
	assert_int_equal(fake_wc(ha).status, UP_WC_SUCCESS);
	assert_int_equal(up_qp_state_get(&to->base), UP_QPS_ERR);
	assert_int_equal(srq->events[UP_EV_SRQ_ERROR], 1);
	/* Also when it could be read again. */
	srq->error = 0;
	fake_srq_recv(srq, 0, 100);
	fake_post(a, UP_OP_SEND, 0, 50);
	fake_run(a);
	assert_int_equal(fake_wc(ha).status, UP_WC_REM_OP_ERR);
	assert_int_equal(up_qp_state_get(&b->base), UP_QPS_ERR);
	assert_int_equal(srq->events[UP_EV_SRQ_ERROR], 1);
	fake_qp_destroy(a);
	fake_qp_destroy(b);
	fake_qp_destroy(from);
	fake_qp_destroy(to);
	fake_srq_destroy(srq);
}

static void xrc_goes_to_the_queue_that_the_message_names(void **state)
{
	struct fake_srq *one = fake_srq_create(hb, true), *two = fake_srq_create(hb, true);
	struct fake_qp *a = fake_qp_create(ha, UP_QP_XRC_INI, NULL);
	struct fake_qp *b = fake_qp_create(hb, UP_QP_XRC_TGT, NULL);

	fake_connect(a, b);
	fake_srq_recv(one, 0, 100);
	fake_srq_recv(two, 0, 100);
	fake_post(a, UP_OP_SEND, 0, 50)->xrc_srqn = two->base.srqn;
	fake_run(a);
	assert_ptr_equal(fake_wc(hb).srq, &two->base);
	assert_int_equal(one->taken, 0);
	assert_int_equal(fake_wc(ha).status, UP_WC_SUCCESS);
	fake_qp_destroy(a);
	fake_qp_destroy(b);
	fake_srq_destroy(one);
	fake_srq_destroy(two);
}

static void xrc_domain_is_checked(void **state)
{
	struct fake_srq *srq = fake_srq_create(hb, true);
	struct fake_qp *a = fake_qp_create(ha, UP_QP_XRC_INI, NULL);
	struct fake_qp *b = fake_qp_create(hb, UP_QP_XRC_TGT, NULL);

	fake_connect(a, b);
	srq->base.xrcd = 9;
	fake_srq_recv(srq, 0, 100);
	fake_post(a, UP_OP_SEND, 0, 50)->xrc_srqn = srq->base.srqn;
	fake_run(a);
	assert_int_equal(fake_wc(ha).status, UP_WC_REM_INV_REQ_ERR);
	assert_int_equal(srq->taken, 0);
	fake_qp_destroy(a);
	fake_qp_destroy(b);
	fake_srq_destroy(srq);
}

/* The target is in a domain of the driver's; the memory in that of the SRQ's owner. */
static void xrc_memory_is_that_of_the_queue_named(void **state)
{
	static const enum up_opcode ops[] = {UP_OP_WRITE, UP_OP_READ, UP_OP_FETCH_ADD};
	struct fake_srq *srq = fake_srq_create(hb, true), *other = fake_srq_create(hb, true);
	struct fake_qp *a = fake_qp_create(ha, UP_QP_XRC_INI, NULL);
	struct fake_qp *b = fake_qp_create(hb, UP_QP_XRC_TGT, NULL);
	struct up_send_wr *wr;

	b->base.pdn = FAKE_PD + 1;
	other->base.pdn = FAKE_PD + 1;
	fake_connect(a, b);
	for (unsigned i = 0; i <= UP_ARRAY_SIZE(ops); i++) {
		bool last = i == UP_ARRAY_SIZE(ops);

		wr = fake_post(a, last ? UP_OP_WRITE : ops[i], 64, 8);
		wr->raddr = FAKE_GPA;
		wr->rkey = hb->all->key;
		wr->xrc_srqn = last ? other->base.srqn : srq->base.srqn;
		fake_run(a);
		assert_int_equal(fake_wc(ha).status, last ? UP_WC_REM_ACCESS_ERR : UP_WC_SUCCESS);
	}
	fake_qp_destroy(a);
	fake_qp_destroy(b);
	fake_srq_destroy(srq);
	fake_srq_destroy(other);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Nothing keeps a process from destroying the queue that a message is on its way into. */
static void xrc_queue_goes_in_mid_message(void **state)
{
	struct fake_srq *srq = fake_srq_create(hb, true);
	struct fake_qp *a = fake_qp_create(ha, UP_QP_XRC_INI, NULL);
	struct fake_qp *b = fake_qp_create(hb, UP_QP_XRC_TGT, NULL);
	struct up_budget budget = {.messages = 1, .bytes = 4096};
	uint64_t now = 1;

	fake_connect(a, b);
	fake_srq_recv(srq, 0, 1 << 20);
	fake_post(a, UP_OP_SEND, 0, 1 << 20)->xrc_srqn = srq->base.srqn;
	assert_int_equal(up_qp_run(fake_exec, &a->base, now, &budget), UP_RUN_MORE);
	fake_srq_destroy(srq);
	while (!ha->cq->count) {
		fake_run_at(a, now);
		now = a->base.wait_next;
	}
	assert_int_equal(fake_wc(ha).status, UP_WC_RETRY_EXC_ERR);
	assert_int_equal(hb->cq->count, 0);
	fake_qp_destroy(a);
	fake_qp_destroy(b);
}

/* Messages under way end some at a time, and meanwhile nobody finds the queue. */
static void xrc_queue_goes_in_steps(void **state)
{
	enum { PAIRS = 5 };
	struct fake_srq *srq = fake_srq_create(hb, true);
	struct fake_qp *a[PAIRS + 1], *b[PAIRS + 1];
	unsigned left = 0;

	for (unsigned i = 0; i <= PAIRS; i++) {
		a[i] = fake_qp_create(ha, UP_QP_XRC_INI, NULL);
		b[i] = fake_qp_create(hb, UP_QP_XRC_TGT, NULL);
		fake_connect(a[i], b[i]);
		fake_srq_recv(srq, 0, 1 << 20);
		fake_post(a[i], UP_OP_SEND, 0, 1 << 20)->xrc_srqn = srq->base.srqn;
	}
	for (unsigned i = 0; i < PAIRS; i++) {
		struct up_budget budget = {.messages = 1, .bytes = 4096};

		assert_int_equal(up_qp_run(fake_exec, &a[i]->base, 1, &budget), UP_RUN_MORE);
	}
	assert_false(up_srq_forget(&srq->base, 2));
	for (unsigned i = 0; i < PAIRS; i++)
		left += b[i]->base.resp.busy;
	assert_int_equal(left, PAIRS - 2);
	fake_run(a[PAIRS]);
	assert_int_equal(fake_wc(ha).status, UP_WC_REM_INV_REQ_ERR);
	assert_false(up_srq_forget(&srq->base, 2));
	assert_true(up_srq_forget(&srq->base, 2));
	fake_srq_destroy(srq);
	for (unsigned i = 0; i <= PAIRS; i++) {
		fake_qp_destroy(a[i]);
		fake_qp_destroy(b[i]);
	}
}

/* A queue that goes later is none of the business of a QP whose message came through. */
static void xrc_queue_goes_after_a_long_message(void **state)
{
	struct fake_srq *srq = fake_srq_create(hb, true), *other = fake_srq_create(hb, true);
	struct fake_qp *a = fake_qp_create(ha, UP_QP_XRC_INI, NULL);
	struct fake_qp *b = fake_qp_create(hb, UP_QP_XRC_TGT, NULL);
	struct up_budget budget = {.messages = 1, .bytes = 4096};
	uint64_t session;

	fake_connect(a, b);
	session = b->base.resp.session;
	fake_srq_recv(srq, 0, 1 << 20);
	fake_post(a, UP_OP_SEND, 0, 1 << 20)->xrc_srqn = srq->base.srqn;
	assert_int_equal(up_qp_run(fake_exec, &a->base, 1, &budget), UP_RUN_MORE);
	assert_false(up_list_empty(&srq->base.parked));
	fake_srq_destroy(other);
	while (!ha->cq->count)
		fake_run(a);
	assert_int_equal(fake_wc(ha).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(hb).status, UP_WC_SUCCESS);
	assert_true(up_list_empty(&srq->base.parked));
	fake_srq_destroy(srq);
	assert_int_equal(b->base.resp.session, session);
	fake_qp_destroy(a);
	fake_qp_destroy(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(two_queue_pairs_share_one_queue),
		T(error_says_last_wqe_and_leaves_the_queue),
		T(malformed_queue_is_in_error),
		T(xrc_goes_to_the_queue_that_the_message_names),
		T(xrc_domain_is_checked),
		T(xrc_memory_is_that_of_the_queue_named),
		T(xrc_queue_goes_in_mid_message),
		T(xrc_queue_goes_in_steps),
		T(xrc_queue_goes_after_a_long_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
