/* SPDX-License-Identifier: BSD-2-Clause */
/* Reliable and unreliable connections: operations, states, and what each error becomes. */
#include "fake_hca.h"
#include "unit.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

static int setup_type(void **state, enum up_qp_type type)
{
	struct fake_pair *p = fake_pair_create(type);

	for (unsigned i = 0; i < FAKE_RAM; i++)
		p->ha->ram[i] = (uint8_t)(i * 7 + (i >> 8));
	memset(p->hb->ram, 0, FAKE_RAM);
	*state = p;
	return 0;
}

static int setup_rc(void **state)
{
	return setup_type(state, UP_QP_RC);
}

static int setup_uc(void **state)
{
	return setup_type(state, UP_QP_UC);
}

static void send_arrives(void **state)
{
	struct fake_pair *p = *state;
	struct up_wc wc;

	fake_recv(p->b, 4096, 1000);
	fake_post(p->a, UP_OP_SEND_IMM, 0, 777)->imm = 0xabcd;
	assert_int_equal(fake_run(p->a), UP_RUN_IDLE);
	wc = fake_wc(p->hb);
	assert_int_equal(wc.status, UP_WC_SUCCESS);
	assert_int_equal(wc.byte_len, 777);
	assert_int_equal(wc.imm, 0xabcd);
	assert_int_equal(wc.op, UP_OP_SEND_IMM);
	assert_true(wc.flags & UP_WC_RECV);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_memory_equal(p->hb->ram + 4096, p->ha->ram, 777);
	assert_int_equal(p->hb->ram[4096 + 777], 0);
}

static void large_write_takes_turns(void **state)
{
	struct fake_pair *p = *state;
	struct up_budget budget = {.messages = 1, .bytes = 64 * 1024};

	fake_post_remote(p, UP_OP_WRITE, 0, 1 << 20, 1 << 20);
	assert_int_equal(up_qp_run(fake_exec, &p->a->base, 1, &budget), UP_RUN_MORE);
	assert_int_equal(budget.bytes, 0);
	assert_int_equal(p->ha->cq->count, 0);
	assert_int_equal(fake_run(p->a), UP_RUN_IDLE);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(p->hb->cq->count, 0);
	assert_memory_equal(p->hb->ram + (1 << 20), p->ha->ram, 1 << 20);
}

/* What ends within the slack is not cut; what would still not end is, where it would be without. */
static void slack_is_for_what_ends(void **state)
{
	struct fake_pair *p = *state;
	struct up_budget budget = {.messages = 2, .bytes = 8192, .slack = 2048};

	fake_post_remote(p, UP_OP_WRITE, 0, 8192 + 2048, 1 << 20);
	fake_post_remote(p, UP_OP_WRITE, 0, 8192 + 2049, 1 << 21);
	assert_int_equal(up_qp_run(fake_exec, &p->a->base, 1, &budget), UP_RUN_MORE);
	assert_int_equal(budget.bytes, 0);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_null(p->a->base.wr);

	budget.bytes = 8192;
	assert_int_equal(up_qp_run(fake_exec, &p->a->base, 1, &budget), UP_RUN_MORE);
	assert_int_equal(p->ha->cq->count, 0);
	assert_int_equal(p->a->base.done, 8192);
	assert_int_equal(fake_run(p->a), UP_RUN_IDLE);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_memory_equal(p->hb->ram + (1 << 21), p->ha->ram, 8192 + 2049);
}

/* A request that the device executes by itself is charged with what it says it took. */
static void local_requests_take_turns(void **state)
{
	struct fake_pair *p = *state;
	struct up_budget budget = {.messages = 16, .bytes = 64 * 1024};

	for (unsigned i = 0; i < 8; i++) {
		struct up_send_wr *wr = fake_post(p->a, UP_OP_LOCAL, 0, 0);

		wr->imm = p->ha->all->key;
		wr->raw_len = 40 * 1024;
	}
	assert_int_equal(up_qp_run(fake_exec, &p->a->base, 1, &budget), UP_RUN_MORE);
	assert_int_equal(budget.bytes, 0);
	assert_int_equal(p->ha->cq->count, 2);
	assert_int_equal(fake_run(p->a), UP_RUN_IDLE);
	assert_int_equal(p->ha->cq->count, 8);
	p->ha->cq->count = 0;
}

#define PIECES 65536u

/* The RAM of an adapter, byte by byte, through as many lists as there may be. */
static struct up_mr *scattered(struct fake_hca *h, struct up_mr *list[UP_MR_MAX_DEPTH])
{
	struct up_mr *below = h->all;

	for (unsigned d = 0; d < UP_MR_MAX_DEPTH; d++) {
		struct up_mr *mr = up_mr_create(&h->base, UP_MR_LIST, PIECES);

		assert_non_null(mr);
		for (uint32_t i = 0; i < PIECES; i++)
			mr->pieces[i] = (struct up_mr_piece){
				.key = below->key, .len = 1, .addr = (d ? 0 : FAKE_GPA) + i};
		mr->count = PIECES;
		mr->length = PIECES;
		mr->pdn = FAKE_PD;
		mr->access = 0x1f;
		mr->valid = true;
		assert_int_equal(up_mr_seal_list(mr), 0);
		below = list[d] = mr;
	}
	return below;
}

/*
 * A turn is bounded by what it takes to find memory, too: 5 ms for 512 bytes of such lists at both
 * ends, if only stretches counted.
 */
static void searches_take_turns(void **state)
{
	struct fake_pair *p = *state;
	struct up_budget budget = {.messages = 1, .bytes = 256 * 1024};
	struct up_mr *list[UP_MR_MAX_DEPTH];
	struct up_mr *mr = scattered(p->hb, list);
	struct up_send_wr *wr = fake_post(p->a, UP_OP_WRITE, 0, 4096);

	wr->rkey = mr->key;
	assert_int_equal(up_qp_run(fake_exec, &p->a->base, 1, &budget), UP_RUN_MORE);
	assert_in_range(p->a->base.done, 1, 16);
	assert_in_range(budget.bytes, 0, 128 * 1024);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_memory_equal(p->hb->ram, p->ha->ram, 4096);

	/* Messages that are found in one go count as well. */
	for (unsigned i = 0; i < 32; i++)
		fake_post(p->a, UP_OP_WRITE, 4096 + i, 1)->rkey = mr->key;
	budget = (struct up_budget){.messages = 64, .bytes = 256 * 1024};
	assert_int_equal(up_qp_run(fake_exec, &p->a->base, 1, &budget), UP_RUN_MORE);
	assert_in_range(p->ha->cq->count, 1, 16);
	fake_run(p->a);
	assert_int_equal(p->ha->cq->count, 32);
	p->ha->cq->count = 0;
	for (unsigned d = UP_MR_MAX_DEPTH; d--;)
		up_mr_destroy(&p->hb->base, list[d]);
}

static void read_fetches(void **state)
{
	struct fake_pair *p = *state;
	struct up_wc wc;

	memset(p->hb->ram + 100, 0x5a, 5000);
	fake_post_remote(p, UP_OP_READ, 8192, 5000, 100);
	fake_run(p->a);
	wc = fake_wc(p->ha);
	assert_int_equal(wc.status, UP_WC_SUCCESS);
	assert_int_equal(wc.byte_len, 5000);
	assert_memory_equal(p->ha->ram + 8192, p->hb->ram + 100, 5000);
}

static void atomics_apply(void **state)
{
	struct fake_pair *p = *state;
	uint64_t *word = (uint64_t *)(void *)(p->hb->ram + 64), old;
	struct up_send_wr *wr;

	*word = 40;
	wr = fake_post_remote(p, UP_OP_FETCH_ADD, 0, 8, 64);
	wr->swap_add = 2;
	fake_run(p->a);
	memcpy(&old, p->ha->ram, 8);
	assert_int_equal(old, 40);
	assert_int_equal(*word, 42);
	fake_wc(p->ha);

	wr = fake_post_remote(p, UP_OP_CMP_SWAP, 0, 8, 64);
	wr->compare = 41;
	wr->swap_add = 7;
	fake_run(p->a);
	assert_int_equal(*word, 42);
	fake_wc(p->ha);

	/* Two fields of 32 bits: the carry of the lower one goes nowhere. */
	*word = 0xffffffffull;
	wr = fake_post_remote(p, UP_OP_MASKED_FETCH_ADD, 0, 8, 64);
	wr->swap_add = 1;
	wr->swap_add_mask = 1ull << 31;
	fake_run(p->a);
	assert_int_equal(*word, 0);
	fake_wc(p->ha);

	*word = 0x1122;
	wr = fake_post_remote(p, UP_OP_MASKED_CMP_SWAP, 0, 8, 64);
	wr->compare = 0x22;
	wr->compare_mask = 0xff;
	wr->swap_add = 0x3300;
	wr->swap_add_mask = 0xff00;
	fake_run(p->a);
	assert_int_equal(*word, 0x3322);
	fake_wc(p->ha);
}

/* Less than a word may be left of a turn's bytes. */
static void atomic_is_applied_once_in_a_short_turn(void **state)
{
	struct fake_pair *p = *state;
	struct up_budget budget = {.messages = 2, .bytes = 3};
	uint64_t word = 0;

	fake_post_remote(p, UP_OP_FETCH_ADD, 0, 8, 64)->swap_add = 1;
	up_qp_run(fake_exec, &p->a->base, 1, &budget);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	memcpy(&word, p->hb->ram + 64, sizeof(word));
	assert_int_equal(word, 1);
}

/*
 * A list may have pieces that are no memory. What was written there before, by whichever guest, is
 * not what an atomic finds.
 */
static void atomic_finds_nothing_in_no_memory(void **state)
{
	struct fake_pair *p = *state;
	struct up_mr *none = up_mr_create(&p->hb->base, UP_MR_NULL, 0);
	struct up_mr *list = up_mr_create(&p->hb->base, UP_MR_LIST, 1);
	static const uint64_t zero;
	struct up_send_wr *wr;

	assert_true(none && list);
	none->access = UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE;
	none->valid = none->absolute = true;
	list->pdn = FAKE_PD;
	list->access = UP_ACCESS_REMOTE_WRITE | UP_ACCESS_REMOTE_ATOMIC;
	list->pieces[0] = (struct up_mr_piece){.key = none->key, .len = 4096};
	list->count = 1;
	list->length = 4096;
	assert_int_equal(up_mr_seal_list(list), 0);
	list->valid = true;
	for (unsigned i = 0; i < 2; i++) {
		wr = fake_post(p->a, i ? UP_OP_FETCH_ADD : UP_OP_WRITE, i ? 8192 : 0, i ? 8 : 64);
		wr->rkey = list->key;
		wr->swap_add = 1;
		fake_run(p->a);
		assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	}
	assert_memory_equal(p->ha->ram + 8192, &zero, sizeof(zero));
	up_mr_destroy(&p->hb->base, list);
	up_mr_destroy(&p->hb->base, none);
}

/* Both ends' statuses and states after a refused request. */
static void expect_refusal(struct fake_pair *p, enum up_wc_status status, enum up_event event)
{
	struct up_wc wc;

	fake_run(p->a);
	wc = fake_wc(p->ha);
	assert_int_equal(wc.status, status);
	assert_int_equal(up_qp_state_get(&p->a->base), UP_QPS_ERR);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_ERR);
	assert_int_equal(p->b->events[event], 1);
}

static void bad_rkey_is_an_access_error(void **state)
{
	struct fake_pair *p = *state;

	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0)->rkey ^= 1;
	expect_refusal(p, UP_WC_REM_ACCESS_ERR, UP_EV_QP_ACCESS);
}

static void wrapping_range_is_an_access_error(void **state)
{
	struct fake_pair *p = *state;

	p->hb->all->absolute = false;
	p->hb->all->start = FAKE_GPA;
	p->hb->all->length = 4096;
	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0)->raddr = UINT64_MAX - 8;
	expect_refusal(p, UP_WC_REM_ACCESS_ERR, UP_EV_QP_ACCESS);
}

static void missing_right_is_an_access_error(void **state)
{
	struct fake_pair *p = *state;

	p->hb->all->access &= ~UP_ACCESS_REMOTE_READ;
	fake_post_remote(p, UP_OP_READ, 0, 64, 0);
	expect_refusal(p, UP_WC_REM_ACCESS_ERR, UP_EV_QP_ACCESS);
}

static void disabled_operation_is_an_invalid_request(void **state)
{
	struct fake_pair *p = *state;

	p->b->base.attr.access &= ~UP_ACCESS_REMOTE_WRITE;
	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0);
	expect_refusal(p, UP_WC_REM_INV_REQ_ERR, UP_EV_QP_REQUEST);
}

/* So it is answered (9.7.4.1); the responder's own side is told of a violation of access. */
static void misaligned_atomic_is_an_invalid_request(void **state)
{
	struct fake_pair *p = *state;

	fake_post_remote(p, UP_OP_FETCH_ADD, 0, 8, 4);
	expect_refusal(p, UP_WC_REM_INV_REQ_ERR, UP_EV_QP_ACCESS);
}

static void zero_length_ignores_the_key(void **state)
{
	struct fake_pair *p = *state;

	fake_post_remote(p, UP_OP_WRITE, 0, 0, 0)->rkey = 0;
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
}

static void short_receive_fails_both(void **state)
{
	struct fake_pair *p = *state;

	fake_recv(p->b, 0, 10);
	fake_post(p->a, UP_OP_SEND, 0, 11);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_REM_INV_REQ_ERR);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_LOC_LEN_ERR);
	assert_int_equal(p->hb->ram[0], 0);
}

static void bad_receive_buffer_fails_both(void **state)
{
	struct fake_pair *p = *state;

	fake_recv(p->b, 0, 100);
	p->b->recvs[0].sge[0].key ^= 1;
	fake_post(p->a, UP_OP_SEND, 0, 11);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_REM_OP_ERR);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_LOC_PROT_ERR);
}

static void bad_lkey_leaves_the_peer_alone(void **state)
{
	struct fake_pair *p = *state;

	fake_recv(p->b, 0, 100);
	fake_post(p->a, UP_OP_SEND, 0, 11)->sge[0].key ^= 1;
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_LOC_PROT_ERR);
	assert_int_equal(p->hb->cq->count, 0);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_RTS);
	assert_int_equal(p->b->rq_taken, 0);
}

static void rnr_is_retried_then_reported(void **state)
{
	struct fake_pair *p = *state;
	uint64_t now = 1;
	unsigned looks = 0;

	fake_post(p->a, UP_OP_SEND, 0, 11);
	while (fake_run_at(p->a, now) == UP_RUN_WAIT && !p->ha->cq->count) {
		now = p->a->base.wait_next;
		assert_true(++looks < 100000);
	}
	/* Two retries, each 10 us after the try before: the second is the last. */
	assert_in_range(now, 20000, 29999);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_RNR_RETRY_EXC_ERR);
	assert_int_equal(p->a->base.stats.rnr, 1);
}

static void rnr_ends_when_a_receive_is_posted(void **state)
{
	struct fake_pair *p = *state;

	fake_post(p->a, UP_OP_SEND, 0, 11);
	assert_int_equal(fake_run(p->a), UP_RUN_WAIT);
	fake_recv(p->b, 0, 100);
	assert_int_equal(fake_run_at(p->a, 2000), UP_RUN_IDLE);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_SUCCESS);
}

static void silent_peer_is_a_retry_error(void **state)
{
	struct fake_pair *p = *state;
	uint64_t now = 1;
	unsigned looks = 0;

	assert_int_equal(up_qp_modify(&p->b->base, UP_QPS_RESET), 0);
	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0);
	while (fake_run_at(p->a, now) == UP_RUN_WAIT && !p->ha->cq->count) {
		now = p->a->base.wait_next;
		assert_true(++looks < 100000);
	}
	assert_int_equal(fake_wc(p->ha).status, UP_WC_RETRY_EXC_ERR);
}

/* A guest can change its QPs as often as it likes, until a narrow count comes round. */
static void route_is_never_taken_for_a_later_one(void **state)
{
	struct fake_pair *p = *state;

	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0);
	fake_run(p->a);
	fake_wc(p->ha);
	fake_qp_destroy(p->b);
	up_route_epoch += UINT32_MAX;
	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0);
	assert_int_equal(fake_run(p->a), UP_RUN_WAIT);
	p->b = fake_qp_create(p->hb, UP_QP_RC, NULL);
}

static void reset_in_mid_message_breaks_it(void **state)
{
	struct fake_pair *p = *state;
	struct up_budget budget = {.messages = 1, .bytes = 4096};
	uint64_t now = 1;

	fake_recv(p->b, 0, 1 << 20);
	fake_post(p->a, UP_OP_SEND, 0, 1 << 20);
	assert_int_equal(up_qp_run(fake_exec, &p->a->base, now, &budget), UP_RUN_MORE);
	assert_int_equal(up_qp_modify(&p->b->base, UP_QPS_RESET), 0);
	fake_raise(p->b, p->a, UP_QPS_RTS);
	fake_recv(p->b, 0, 1 << 20);
	while (!p->ha->cq->count) {
		fake_run_at(p->a, now);
		now = p->a->base.wait_next;
	}
	assert_int_equal(fake_wc(p->ha).status, UP_WC_RETRY_EXC_ERR);
	assert_int_equal(p->hb->cq->count, 0);
}

/* As a message does of which only the first page was copied. */
static void begin_message(struct fake_qp *qp)
{
	struct up_budget budget = {.messages = 1, .bytes = 4096};

	assert_int_equal(up_qp_run(fake_exec, &qp->base, 1, &budget), UP_RUN_MORE);
}

/*
 * A queue pair whose path changes in mid-message finds one of the same number at the new place,
 * which an earlier message of its own left waiting: that one is not continued by this one.
 */
static void message_ends_where_it_began(void **state)
{
	struct fake_pair *p = *state;
	struct fake_qp *here = fake_qp_create(p->ha, UP_QP_RC, NULL);
	struct fake_qp *there = fake_qp_create(p->hb, UP_QP_RC, NULL);
	struct up_send_wr *wr;
	uint64_t now = 1;

	assert_int_equal(here->base.qpn, there->base.qpn);
	up_qp_modify(&p->a->base, UP_QPS_RESET);
	fake_connect(p->a, here);
	wr = fake_post(p->a, UP_OP_WRITE, 0, 1 << 20);
	wr->raddr = FAKE_GPA + (2 << 20);
	wr->rkey = p->ha->all->key;
	begin_message(p->a);

	up_qp_modify(&p->a->base, UP_QPS_RESET);
	fake_connect(p->a, there);
	fake_recv(there, 0, 1 << 20);
	fake_post(p->a, UP_OP_SEND, 0, 1 << 20);
	begin_message(p->a);

	p->a->base.attr.av.dlid = p->ha->base.lid;
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RTS), 0);
	while (!p->ha->cq->count) {
		fake_run_at(p->a, now);
		now = p->a->base.wait_next;
	}
	assert_int_equal(fake_wc(p->ha).status, UP_WC_RETRY_EXC_ERR);
	assert_int_equal(p->hb->cq->count, 0);
	fake_qp_destroy(here);
	fake_qp_destroy(there);
}

/* The same of an unreliable connection, whose receiver turns to another sender and back. */
static void uc_message_ends_with_its_sender(void **state)
{
	struct fake_pair *p = *state;
	struct fake_qp *to = fake_qp_create(p->hb, UP_QP_UC, NULL);
	struct up_send_wr *wr;

	assert_int_equal(p->a->base.qpn, p->b->base.qpn);
	up_qp_modify(&p->a->base, UP_QPS_RESET);
	up_qp_modify(&p->b->base, UP_QPS_RESET);
	fake_connect(p->a, to);
	fake_recv(to, 0, 1 << 20);
	fake_post(p->a, UP_OP_SEND, 0, 1 << 20);
	begin_message(p->a);

	fake_raise(p->b, to, UP_QPS_RTS);
	to->base.attr.av.dlid = p->hb->base.lid;
	assert_int_equal(up_qp_modify(&to->base, UP_QPS_RTS), 0);
	fake_post(p->b, UP_OP_SEND, 0, 64)->flags = 0;
	fake_run(p->b);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_SUCCESS);
	wr = fake_post(p->b, UP_OP_WRITE, 0, 1 << 20);
	wr->raddr = FAKE_GPA + (2 << 20);
	wr->rkey = p->hb->all->key;
	begin_message(p->b);

	to->base.attr.av.dlid = p->ha->base.lid;
	assert_int_equal(up_qp_modify(&to->base, UP_QPS_RTS), 0);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(p->hb->cq->count, 0);
	fake_qp_destroy(to);
}

static void error_flushes_both_queues(void **state)
{
	struct fake_pair *p = *state;

	fake_recv(p->a, 0, 100);
	fake_recv(p->a, 0, 100);
	fake_post(p->a, UP_OP_SEND, 0, 11);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_ERR), 0);
	assert_int_equal(fake_run(p->a), UP_RUN_WAIT);
	assert_int_equal(p->ha->cq->count, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(p->ha->cq->wc[i].status, UP_WC_WR_FLUSH_ERR);
	/* What is posted later is flushed too. */
	fake_recv(p->a, 0, 100);
	assert_int_equal(fake_run_at(p->a, p->a->base.wait_next), UP_RUN_WAIT);
	assert_int_equal(p->ha->cq->count, 4);
}

/* A queue pair of which nobody hears any more does not go on as if all were well. */
static void lost_completion_ends_the_sender(void **state)
{
	struct fake_pair *p = *state;

	p->ha->cq->full = true;
	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0);
	fake_post_remote(p, UP_OP_WRITE, 0, 64, 4096);
	assert_int_equal(fake_run(p->a), UP_RUN_WAIT);
	assert_int_equal(up_qp_state_get(&p->a->base), UP_QPS_ERR);
	assert_int_equal(p->a->events[UP_EV_QP_FATAL], 1);
	assert_int_equal(p->hb->ram[4096 + 1], 0);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_RTS);
}

static void lost_completion_ends_the_receiver(void **state)
{
	struct fake_pair *p = *state;

	p->hb->cq->full = true;
	fake_recv(p->b, 0, 100);
	fake_post(p->a, UP_OP_SEND, 0, 11);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_REM_OP_ERR);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_ERR);
	assert_int_equal(p->b->events[UP_EV_QP_FATAL], 1);
}

static void *run_thread(void *arg)
{
	fake_run(((struct fake_pair *)arg)->a);
	return NULL;
}

/* With several workers it may fail after the sender found it well: it receives no more. */
static void peer_that_fails_meanwhile_takes_nothing(void **state)
{
	const struct timespec moment = {.tv_nsec = 20000000};
	struct fake_pair *p = *state;
	pthread_t thread;

	up_multi_worker = true;
	fake_recv(p->b, 0, 100);
	fake_post(p->a, UP_OP_SEND, 0, 11);
	up_lock_take(&p->b->base.resp_lock);
	assert_int_equal(pthread_create(&thread, NULL, run_thread, p), 0);
	/* It comes to the lock before or after the change: either way it may not send. */
	nanosleep(&moment, NULL);
	up_qp_fail_locked(&p->b->base);
	up_lock_drop(&p->b->base.resp_lock);
	pthread_join(thread, NULL);
	up_multi_worker = false;
	assert_int_equal(p->b->rq_taken, 0);
	assert_int_equal(p->ha->cq->count, 0);
	assert_int_equal(p->hb->cq->count, 0);
}

static void malformed_request_is_reported(void **state)
{
	struct fake_pair *p = *state;

	fake_post(p->a, UP_OP_SEND, 0, 11);
	p->a->sq_error = -22;
	fake_run(p->a);
	assert_int_equal(p->ha->cq->wc[0].status, UP_WC_LOC_QP_OP_ERR);
	assert_int_equal(up_qp_state_get(&p->a->base), UP_QPS_ERR);
}

static void send_with_invalidate_revokes(void **state)
{
	struct fake_pair *p = *state;
	struct up_mr *mr = up_mr_create(&p->hb->base, UP_MR_PHYS, 0);

	mr->pdn = FAKE_PD;
	mr->valid = mr->remote_inv = mr->registrable = true;
	fake_recv(p->b, 0, 100);
	fake_post(p->a, UP_OP_SEND_INV, 0, 11)->imm = mr->key;
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(p->hb).op, UP_OP_SEND_INV);
	assert_false(mr->valid);
	up_mr_destroy(&p->hb->base, mr);
}

static void first_message_in_rtr_establishes(void **state)
{
	struct fake_pair *p = *state;

	assert_int_equal(up_qp_modify(&p->b->base, UP_QPS_RESET), 0);
	fake_raise(p->b, p->a, UP_QPS_RTR);
	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0);
	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0);
	fake_run(p->a);
	assert_int_equal(p->b->events[UP_EV_COMM_EST], 1);
}

static void drained_queue_says_so(void **state)
{
	struct fake_pair *p = *state;

	p->a->base.attr.drain_event = true;
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_SQD), 0);
	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0);
	fake_run(p->a);
	fake_run(p->a);
	assert_int_equal(p->a->events[UP_EV_SQ_DRAINED], 1);
	assert_int_equal(p->ha->cq->count, 0);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RTS), 0);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
}

static void impossible_transitions_are_refused(void **state)
{
	struct fake_pair *p = *state;

	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_INIT), -22);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_ERR), 0);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RTS), -22);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RESET), 0);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RTR), -22);
}

static void stranger_is_not_answered(void **state)
{
	struct fake_pair *p = *state;
	struct fake_qp *c = fake_qp_create(p->ha, UP_QP_RC, NULL);

	/* Points at b, but b is connected to a. */
	fake_raise(c, p->b, UP_QPS_RTS);
	fake_recv(p->b, 0, 100);
	fake_post(c, UP_OP_SEND, 0, 11);
	assert_int_equal(fake_run(c), UP_RUN_WAIT);
	assert_int_equal(p->hb->cq->count, 0);
	fake_qp_destroy(c);
}

static void uc_drops_what_finds_no_receive(void **state)
{
	struct fake_pair *p = *state;

	fake_post(p->a, UP_OP_SEND, 0, 11);
	assert_int_equal(fake_run(p->a), UP_RUN_IDLE);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(p->hb->cq->count, 0);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_RTS);
}

static void uc_drops_what_the_key_forbids(void **state)
{
	struct fake_pair *p = *state;

	fake_post_remote(p, UP_OP_WRITE, 0, 64, 0)->rkey ^= 1;
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(p->hb->ram[0], 0);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_RTS);
}

/* What the queue pair does not take is not done, however good the key is. */
static void uc_drops_what_the_queue_pair_refuses(void **state)
{
	struct fake_pair *p = *state;

	p->b->base.attr.access = UP_ACCESS_REMOTE_READ;
	fake_recv(p->b, 0, 100);
	fake_post_remote(p, UP_OP_WRITE, 64, 64, 64);
	fake_post_remote(p, UP_OP_WRITE_IMM, 64, 64, 64);
	fake_post_remote(p, UP_OP_WRITE_IMM, 0, 0, 0);
	fake_run(p->a);
	assert_int_equal(p->ha->cq->count, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(p->ha->cq->wc[i].status, UP_WC_SUCCESS);
	assert_int_equal(p->hb->ram[64 + 1], 0);
	assert_int_equal(p->hb->cq->count, 0);
	assert_int_equal(p->b->rq_taken, 0);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_RTS);
}

/* The key covers all addresses, but there is no memory: only the copy finds out. */
static void uc_completes_no_receive_when_the_copy_fails(void **state)
{
	struct fake_pair *p = *state;

	fake_recv(p->b, 0, 100);
	fake_post_remote(p, UP_OP_WRITE_IMM, 0, 64, FAKE_RAM);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(p->hb->cq->count, 0);
	assert_int_equal(up_qp_state_get(&p->b->base), UP_QPS_RTS);
	/* The next message finds the receive. */
	fake_post_remote(p, UP_OP_WRITE_IMM, 0, 64, 4096)->imm = 0xabcd;
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(p->hb).imm, 0xabcd);
	assert_memory_equal(p->hb->ram + 4096, p->ha->ram, 64);
}

/* A receive that a cut message left behind is not for one that takes none. */
static void uc_write_completes_no_receive(void **state)
{
	struct fake_pair *p = *state;

	fake_recv(p->b, 0, 100);
	fake_post_remote(p, UP_OP_WRITE_IMM, 0, 64, FAKE_RAM);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	fake_post_remote(p, UP_OP_WRITE, 0, 64, 4096);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_memory_equal(p->hb->ram + 4096, p->ha->ram, 64);
	assert_int_equal(p->hb->cq->count, 0);
	fake_post(p->a, UP_OP_SEND, 0, 11);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(p->hb).byte_len, 11);
}

static void uc_cannot_read(void **state)
{
	struct fake_pair *p = *state;

	fake_post_remote(p, UP_OP_READ, 0, 64, 0);
	fake_run(p->a);
	assert_int_equal(p->ha->cq->wc[0].status, UP_WC_LOC_QP_OP_ERR);
}

/* 10.3.1: an error of the send queue stops that alone, until it is taken back to RTS. */
static void uc_send_error_leaves_the_receives(void **state)
{
	struct fake_pair *p = *state;

	fake_post(p->a, UP_OP_SEND, 0, 11)->sge[0].key ^= 1;
	fake_post(p->a, UP_OP_SEND, 0, 11);
	fake_run(p->a);
	assert_int_equal(p->ha->cq->count, 2);
	assert_int_equal(p->ha->cq->wc[0].status, UP_WC_LOC_PROT_ERR);
	assert_int_equal(p->ha->cq->wc[1].status, UP_WC_WR_FLUSH_ERR);
	assert_int_equal(up_qp_state_get(&p->a->base), UP_QPS_SQE);
	p->ha->cq->count = 0;
	fake_recv(p->a, 0, 100);
	fake_post(p->b, UP_OP_SEND, 0, 12);
	fake_run(p->b);
	assert_int_equal(fake_wc(p->ha).byte_len, 12);
	assert_int_equal(fake_wc(p->hb).status, UP_WC_SUCCESS);
	assert_int_equal(up_qp_modify(&p->a->base, UP_QPS_RTS), 0);
	fake_recv(p->b, 0, 100);
	fake_post(p->a, UP_OP_SEND, 0, 13);
	fake_run(p->a);
	assert_int_equal(fake_wc(p->ha).status, UP_WC_SUCCESS);
	assert_int_equal(fake_wc(p->hb).byte_len, 13);
}

#define RC(f) cmocka_unit_test_setup_teardown(f, setup_rc, fake_pair_teardown)
#define UC(f) cmocka_unit_test_setup_teardown(f, setup_uc, fake_pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RC(send_arrives),
		RC(large_write_takes_turns),
		RC(slack_is_for_what_ends),
		RC(local_requests_take_turns),
		RC(searches_take_turns),
		RC(read_fetches),
		RC(atomics_apply),
		RC(atomic_is_applied_once_in_a_short_turn),
		RC(atomic_finds_nothing_in_no_memory),
		RC(bad_rkey_is_an_access_error),
		RC(wrapping_range_is_an_access_error),
		RC(missing_right_is_an_access_error),
		RC(disabled_operation_is_an_invalid_request),
		RC(misaligned_atomic_is_an_invalid_request),
		RC(zero_length_ignores_the_key),
		RC(short_receive_fails_both),
		RC(bad_receive_buffer_fails_both),
		RC(bad_lkey_leaves_the_peer_alone),
		RC(rnr_is_retried_then_reported),
		RC(rnr_ends_when_a_receive_is_posted),
		RC(silent_peer_is_a_retry_error),
		RC(route_is_never_taken_for_a_later_one),
		RC(reset_in_mid_message_breaks_it),
		RC(message_ends_where_it_began),
		RC(error_flushes_both_queues),
		RC(lost_completion_ends_the_sender),
		RC(lost_completion_ends_the_receiver),
		RC(peer_that_fails_meanwhile_takes_nothing),
		RC(malformed_request_is_reported),
		RC(send_with_invalidate_revokes),
		RC(first_message_in_rtr_establishes),
		RC(drained_queue_says_so),
		RC(impossible_transitions_are_refused),
		RC(stranger_is_not_answered),
		UC(uc_drops_what_finds_no_receive),
		UC(uc_message_ends_with_its_sender),
		UC(uc_drops_what_the_key_forbids),
		UC(uc_drops_what_the_queue_pair_refuses),
		UC(uc_completes_no_receive_when_the_copy_fails),
		UC(uc_write_completes_no_receive),
		UC(uc_cannot_read),
		UC(uc_send_error_leaves_the_receives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
