/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a connection does over time: how long and how often it tries, what it finishes when its send
 * queue is drained, and what the limits on outstanding requests forbid.
 */
#include "fake_hca.h"
#include "unit.h"

#include <errno.h>
#include <string.h>

static int setup(void **state)
{
	struct fake_pair *p = fake_pair_create(UP_QP_RC);

	*state = p;
	return 0;
}

/* Runs until the only request has completed; when that was. */
static uint64_t time_of_completion(struct fake_pair *p)
{
	uint64_t now = 1;

	for (unsigned looks = 0; !p->ha->cq->count; looks++) {
		assert_true(looks < 100000);
		assert_int_equal(fake_run_at(p->a, now), UP_RUN_WAIT);
		now = p->a->base.wait_next;
		fake_run_at(p->a, now);
	}
	return now - 1;
}

/* 9.7.5.2.8: the code of a receiver's timer, in microseconds. */
static void receiver_timer_is_that_of_the_table(void **state)
{
	static const double us[32] = {655360, 10,    20,    30,	    40,	    60,	    80,	    120,
				      160,    240,   320,   480,    640,    960,    1280,   1920,
				      2560,   3840,  5120,  7680,   10240,  15360,  20480,  30720,
				      40960,  61440, 81920, 122880, 163840, 245760, 327680, 491520};
	struct fake_pair *p = *state;

	p->a->base.attr.rnr_retry = 1;
	for (unsigned code = 0; code < 32; code++) {
		uint64_t took;

		p->b->base.attr.min_rnr_timer = (uint8_t)code;
		fake_post(p->a, UP_OP_SEND, 0, 8);
		took = time_of_completion(p);
		assert_int_equal(fake_wc(p->ha).status, UP_WC_RNR_RETRY_EXC_ERR);
		assert_true((double)took == us[code] * 1000);
		assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RESET), 0);
		fake_raise(p->a, p->b, UP_QPS_RTS);
		p->a->base.attr.rnr_retry = 1;
	}
}

static void not_ready_counts_retries(void **state)
{
	struct fake_pair *p = *state;

	for (uint8_t retries = 0; retries < 7; retries++) {
		p->a->base.attr.rnr_retry = retries;
		p->b->base.attr.min_rnr_timer = 20;
		fake_post(p->a, UP_OP_SEND, 0, 8);
		if (!retries)
			fake_run(p->a);
		else
			assert_int_equal(time_of_completion(p), retries * 10240000);
		assert_int_equal(fake_wc(p->ha).status, UP_WC_RNR_RETRY_EXC_ERR);
		assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RESET), 0);
		fake_raise(p->a, p->b, UP_QPS_RTS);
	}
}

/* 4.096 us << n without an answer, after the first try and after each retry; 7 is no special count.
 */
static void silence_counts_retries(void **state)
{
	struct fake_pair *p = *state;

	assert_int_equal(up_qp_modify(&p->b->base, UP_QPS_RESET), 0);
	for (uint8_t retries = 0; retries <= 7; retries++) {
		p->a->base.attr.retry_count = retries;
		p->a->base.attr.ack_timeout = 10;
		fake_post_remote(p, UP_OP_WRITE, 0, 8, 0);
		assert_int_equal(time_of_completion(p), (retries + 1) * (4096u << 10));
		assert_int_equal(fake_wc(p->ha).status, UP_WC_RETRY_EXC_ERR);
		assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RESET), 0);
		fake_raise(p->a, p->b, UP_QPS_RTS);
	}
}

/* An answer in between begins a new count: each kind of wait has its own. */
static void counts_begin_anew(void **state)
{
	struct fake_pair *p = *state;
	uint64_t now = 1;

	p->a->base.attr.rnr_retry = 1;
	p->b->base.attr.min_rnr_timer = 20;
	for (unsigned i = 0; i < 4; i++) {
		fake_post(p->a, UP_OP_SEND, 0, 8);
		assert_int_equal(fake_run_at(p->a, now), UP_RUN_WAIT);
		now += 9000000;
		assert_int_equal(fake_run_at(p->a, now), UP_RUN_WAIT);
		fake_recv(p->b, 0, 8);
		assert_int_equal(fake_run_at(p->a, now), UP_RUN_IDLE);
		assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
		assert_int_equal(fake_wc(p->hb).status, UP_WC_SUCCESS);
	}
}

/* 10.3.1.5: what had begun is finished, and only then the queue is drained. */
static void drained_queue_finishes_what_it_began(void **state)
{
	struct up_budget budget = {.messages = 1, .bytes = 4096};
	struct fake_pair *p = *state;

	p->a->base.attr.drain_event = true;
	memset(p->ha->ram, 0x3c, 1 << 20);
	fake_post_remote(p, UP_OP_WRITE, 0, 1 << 20, 0);
	fake_post_remote(p, UP_OP_WRITE, 2 << 20, 8, 2 << 20);
	assert_int_equal(up_qp_run(fake_exec, &p->a->base, 1, &budget), UP_RUN_MORE);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_SQD), 0);
	budget = (struct up_budget){.messages = 1, .bytes = 4096};
	assert_int_equal(up_qp_run(fake_exec, &p->a->base, 1, &budget), UP_RUN_MORE);
	assert_int_equal(p->a->events[UP_EV_SQ_DRAINED], 0);
	assert_int_equal(fake_run(p->a), UP_RUN_IDLE);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_memory_equal(p->hb->ram, p->ha->ram, 1 << 20);
	assert_int_equal(p->a->events[UP_EV_SQ_DRAINED], 1);
	assert_int_equal(fake_run(p->a), UP_RUN_IDLE);
	assert_int_equal(p->a->events[UP_EV_SQ_DRAINED], 1);
	/* Back to work; drained again, it says so again. */
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RTS), 0);
	assert_int_equal(fake_run(p->a), UP_RUN_IDLE);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_SQD), 0);
	fake_run(p->a);
	assert_int_equal(p->a->events[UP_EV_SQ_DRAINED], 2);
}

/* The queue is to drain while a send waits for a receive. */
static void drain_a_waiting_queue(struct fake_pair *p)
{
	p->a->base.attr.drain_event = true;
	p->a->base.attr.rnr_retry = 7;
	fake_post(p->a, UP_OP_SEND, 0, 8);
	assert_int_equal(fake_run(p->a), UP_RUN_WAIT);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_SQD), 0);
}

/* One that waits for a receive is finished too, or fails, but does not hang in the queue. */
static void draining_queue_waits_for_a_receiver(void **state)
{
	struct fake_pair *p = *state;

	drain_a_waiting_queue(p);
	assert_int_equal(fake_run_at(p->a, 5000), UP_RUN_WAIT);
	assert_int_equal(p->a->events[UP_EV_SQ_DRAINED], 0);
	fake_recv(p->b, 0, 8);
	assert_int_equal(fake_run_at(p->a, 9000), UP_RUN_IDLE);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_SUCCESS);
	assert_int_equal(p->a->events[UP_EV_SQ_DRAINED], 1);
}

/* A send that waits for a receive is not kept: its record may be taken back, and given again. */
static void waiting_request_is_taken_back(void **state)
{
	struct fake_pair *p = *state;
	uint64_t now = 1;

	p->a->base.attr.drain_event = true;
	p->a->base.attr.rnr_retry = 7;
	for (unsigned draining = 0; draining < 2; draining++) {
		fake_post(p->a, UP_OP_SEND, 0, 8);
		assert_int_equal(fake_run_at(p->a, now), UP_RUN_WAIT);
		assert_null(p->a->base.wr);
		if (draining)
			assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_SQD), 0);
		p->a->sq_posted--;
		fake_recv(p->b, 0, 8);
		now = p->a->base.wait_next;
		assert_int_equal(fake_run_at(p->a, now), UP_RUN_IDLE);
		assert_int_equal(p->a->base.wait, UP_WAIT_NONE);
		assert_int_equal(p->ha->cq->count + p->hb->cq->count, 0);
		assert_int_equal(p->a->events[UP_EV_SQ_DRAINED], draining);
		p->a->sq_posted++;
		if (draining)
			assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RTS), 0);
		assert_int_equal(fake_run_at(p->a, now), UP_RUN_IDLE);
		assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
		assert_int_equal(fake_wc(p->hb).status, UP_WC_SUCCESS);
	}
}

/* Nor is it what it was, when its owner wrote rubbish over it: an error, not a drained queue. */
static void waiting_request_is_spoilt(void **state)
{
	struct fake_pair *p = *state;

	drain_a_waiting_queue(p);
	p->a->sq_error = -EINVAL;
	fake_recv(p->b, 0, 8);
	fake_run_at(p->a, p->a->base.wait_next);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_LOC_QP_OP_ERR);
	assert_int_equal(p->hb->cq->count, 0);
	assert_int_equal(up_qp_state_get(&p->a->base), UP_QPS_ERR);
	assert_int_equal(p->a->events[UP_EV_SQ_DRAINED], 0);
}

/* Without resources for them the responder takes neither reads nor atomics, but writes. */
static void responder_without_resources_refuses(void **state)
{
	static const enum up_opcode ops[] = {UP_OP_READ, UP_OP_FETCH_ADD, UP_OP_CMP_SWAP,
					     UP_OP_MASKED_CMP_SWAP};
	struct fake_pair *p = *state;

	p->b->base.attr.max_dest_rd_atomic = 0;
	fake_post_remote(p, UP_OP_WRITE, 0, 8, 0);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(ops); i++) {
		fake_post_remote(p, ops[i], 0, 8, 0);
		fake_run(p->a);
		assert_int_equal(fake_wc(p->ha).status, UP_WC_REM_INV_REQ_ERR);
		assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_ERR);
		assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RESET), 0);
		assert_int_equal(up_qp_modify(&p->b->base, UP_QPS_RESET), 0);
		fake_connect(p->a, p->b);
		p->b->base.attr.max_dest_rd_atomic = 0;
	}
}

/* A key that is revoked between two turns of a message: no success, at either end. */
static void key_is_revoked_in_mid_message(void **state)
{
	struct up_budget budget = {.messages = 1, .bytes = 4096};
	struct fake_pair *p = *state;

	fake_post_remote(p, UP_OP_WRITE, 0, 1 << 20, 0);
	assert_int_equal(up_qp_run(fake_exec, &p->a->base, 1, &budget), UP_RUN_MORE);
	p->hb->all->valid = false;
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_REM_ACCESS_ERR);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_ERR);
	assert_int_equal(p->b->events[UP_EV_QP_ACCESS], 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, fake_pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(receiver_timer_is_that_of_the_table),
		T(not_ready_counts_retries),
		T(silence_counts_retries),
		T(counts_begin_anew),
		T(drained_queue_finishes_what_it_began),
		T(draining_queue_waits_for_a_receiver),
		T(waiting_request_is_taken_back),
		T(waiting_request_is_spoilt),
		T(responder_without_resources_refuses),
		T(key_is_revoked_in_mid_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
