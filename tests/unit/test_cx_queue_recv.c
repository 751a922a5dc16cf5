/* SPDX-License-Identifier: BSD-2-Clause */
/* Receive queues, private and shared (device/connectx/wqe.c, srq.c). */
#include "fake_cx.h"

#include <errno.h>
#include <string.h>

static struct up_recv_wr wr;

static int setup(void **state)
{
	memset(&wr, 0xa5, sizeof(wr));
	return fake_setup(state);
}

static void put_entry(uint8_t *at, uint32_t len, uint32_t key, uint64_t addr)
{
	struct cx_wqe_data data = {htobe32(len), htobe32(key), htobe64(addr)};

	memcpy(at, &data, sizeof(data));
}

static void post_receives(struct cx_qp *qp, uint16_t counter)
{
	up_put_be32(&qp->dbr[CX_DBR_RECV], counter);
	/* As when all that an earlier look found is used up: only then is there another. */
	qp->rq_producer = qp->rq_consumer;
}

static uint8_t *rq_entry(struct cx_qp *qp, uint32_t index, uint32_t i)
{
	uint32_t mask = (1u << qp->log_rq_size) - 1;

	return fake_at(&qp->buf, ((uint64_t)(index & mask) << qp->log_rq_stride) + i * 16);
}

static void receive_ends_with_its_stride(void **state)
{
	struct cx_qp *qp = fake_qp(UP_QP_RC, 4, false);

	assert_int_equal(cx_rq_take(&qp->base, &wr), 0);
	for (uint32_t i = 0; i < 4; i++)
		put_entry(rq_entry(qp, 0, i), 100 + i, i + 1, 0x1000 * i);
	post_receives(qp, 1);
	assert_int_equal(cx_rq_take(&qp->base, &wr), 1);
	assert_int_equal(wr.index, 0);
	assert_int_equal(wr.nsge, 4);
	assert_int_equal(wr.length, 406);
	assert_int_equal(wr.sge[3].addr, 0x3000);
	assert_int_equal(wr.sge[3].key, 4);
	assert_int_equal(cx_rq_take(&qp->base, &wr), 0);
}

static void receive_ends_with_the_invalid_key(void **state)
{
	struct cx_qp *qp = fake_qp(UP_QP_RC, 4, false);

	put_entry(rq_entry(qp, 0, 0), 100, 1, 0);
	put_entry(rq_entry(qp, 0, 1), 0, CX_INVALID_LKEY, 0);
	put_entry(rq_entry(qp, 0, 2), 100, 1, 0);
	put_entry(rq_entry(qp, 1, 0), 0, CX_INVALID_LKEY, 0);
	post_receives(qp, 2);
	assert_int_equal(cx_rq_take(&qp->base, &wr), 1);
	assert_int_equal(wr.nsge, 1);
	assert_int_equal(wr.length, 100);
	/* A receive of nothing. */
	assert_int_equal(cx_rq_take(&qp->base, &wr), 1);
	assert_int_equal(wr.nsge, 0);
	assert_int_equal(wr.length, 0);
}

static void entries_of_no_bytes_are_left_out(void **state)
{
	struct cx_qp *qp = fake_qp(UP_QP_RC, 4, false);

	put_entry(rq_entry(qp, 0, 0), 0, 1, 0);
	put_entry(rq_entry(qp, 0, 1), UINT32_MAX, 2, 0);
	put_entry(rq_entry(qp, 0, 2), 0, 3, 0);
	put_entry(rq_entry(qp, 0, 3), UINT32_MAX, 4, 0);
	post_receives(qp, 1);
	assert_int_equal(cx_rq_take(&qp->base, &wr), 1);
	assert_int_equal(wr.nsge, 2);
	assert_int_equal(wr.length, 2ull * UINT32_MAX);
	assert_int_equal(wr.sge[1].key, 4);
}

static void receive_counter_wraps(bool scattered)
{
	struct cx_qp *qp = fake_qp(UP_QP_RC, 7, scattered);

	qp->rq_consumer = 0xfff0;
	for (uint32_t i = 0; i < 50; i++) {
		put_entry(rq_entry(qp, 0xfff0 + i, 0), i + 1, 5, 0);
		put_entry(rq_entry(qp, 0xfff0 + i, 1), 0, CX_INVALID_LKEY, 0);
		post_receives(qp, (uint16_t)(0xfff1 + i));
		assert_int_equal(cx_rq_take(&qp->base, &wr), 1);
		assert_int_equal(wr.index, (uint16_t)(0xfff0 + i));
		assert_int_equal(wr.length, i + 1);
	}
}

static void receive_ring_wraps(void **state)
{
	receive_counter_wraps(false);
	receive_counter_wraps(true);
}

static void counter_beyond_the_ring_is_malformed(void **state)
{
	struct cx_qp *qp = fake_qp(UP_QP_RC, 4, false);

	post_receives(qp, 16);
	assert_int_equal(cx_rq_take(&qp->base, &wr), 1);
	post_receives(qp, 18);
	assert_int_equal(cx_rq_take(&qp->base, &wr), -EINVAL);
	assert_int_equal(qp->rq_consumer, 1);
}

static void receive_ring_that_left_memory(void **state)
{
	struct cx_qp *qp = fake_qp(UP_QP_RC, 4, false);

	post_receives(qp, 1);
	qp->buf.flat = NULL;
	qp->buf.pages[0] = 0;
	assert_int_equal(cx_rq_take(&qp->base, &wr), -EFAULT);
	qp->dbr = NULL;
	assert_int_equal(cx_rq_take(&qp->base, &wr), -EFAULT);
}

static void more_pieces_than_the_engine_takes(void **state)
{
	static struct cx_buf ring;
	uint32_t n = UP_MAX_RECV_SGE + 1;

	fake_ring(&ring, n * 16, false);
	for (uint32_t i = 0; i < n; i++)
		put_entry(fake_at(&ring, i * 16), 1, 2, 3);
	put_entry(fake_at(&ring, 0), 0, 2, 3);
	assert_int_equal(cx_scatter_list(&ring, &fake.dev.hca.mem, 0, n * 16, &wr), 0);
	assert_int_equal(wr.nsge, UP_MAX_RECV_SGE);
	put_entry(fake_at(&ring, 0), 1, 2, 3);
	assert_int_equal(cx_scatter_list(&ring, &fake.dev.hca.mem, 0, n * 16, &wr), -EINVAL);
}

/* Shared queues. */

static void fill(struct cx_srq *srq, uint32_t index, uint32_t len)
{
	uint8_t *at = fake_at(&srq->buf, (uint64_t)index << srq->log_stride);

	put_entry(at + 16, len, 0x77, 0x1000);
	put_entry(at + 32, 0, CX_INVALID_LKEY, 0);
}

static void link_to(struct cx_srq *srq, uint32_t index, uint16_t next)
{
	up_put_be16(fake_at(&srq->buf, ((uint64_t)index << srq->log_stride) + 2), next);
}

static void post_shared(struct cx_srq *srq, uint16_t counter)
{
	up_put_be32(srq->dbr, counter);
}

static void expect_take(struct cx_srq *srq, uint16_t index, uint32_t len)
{
	assert_int_equal(cx_srq_take(&srq->base, &wr), 1);
	assert_int_equal(wr.index, index);
	assert_int_equal(wr.length, len);
}

static void first_lap_is_in_order(void **state)
{
	struct cx_srq *srq = fake_srq(3, 6, false);

	assert_int_equal(cx_srq_take(&srq->base, &wr), 0);
	for (uint32_t i = 0; i < 7; i++)
		fill(srq, i, i + 1);
	post_shared(srq, 7);
	for (uint16_t i = 0; i < 7; i++)
		expect_take(srq, i, i + 1u);
	assert_int_equal(cx_srq_take(&srq->base, &wr), 0);
}

/* mlx5_free_srq_wqe(), set_next_tail(): elements come back in the order in which they completed. */
static void links_are_followed(void **state)
{
	struct cx_srq *srq = fake_srq(2, 6, false);

	for (uint32_t i = 0; i < 4; i++)
		fill(srq, i, 10 + i);
	post_shared(srq, 3);
	expect_take(srq, 0, 10);
	expect_take(srq, 1, 11);
	expect_take(srq, 2, 12);
	/* 3 was the tail; 1, 2, 0 come back behind it. */
	link_to(srq, 3, 1);
	link_to(srq, 1, 2);
	link_to(srq, 2, 0);
	post_shared(srq, 6);
	expect_take(srq, 3, 13);
	expect_take(srq, 1, 11);
	expect_take(srq, 2, 12);
	assert_int_equal(cx_srq_take(&srq->base, &wr), 0);
}

static void cyclic_queue_takes_elements_as_they_lie(void **state)
{
	struct cx_srq *srq = fake_srq(2, 6, false);

	srq->cyclic = true;
	for (uint32_t i = 0; i < 4; i++) {
		fill(srq, i, 10 + i);
		link_to(srq, i, (uint16_t)i);
	}
	post_shared(srq, 4);
	for (uint16_t i = 0; i < 4; i++)
		expect_take(srq, i, 10u + i);
	post_shared(srq, 5);
	expect_take(srq, 0, 10);
	assert_int_equal(cx_srq_take(&srq->base, &wr), 0);
}

static void hostile_links_stay_in_the_ring(void **state)
{
	struct cx_srq *srq = fake_srq(3, 6, true);

	for (uint32_t i = 0; i < 8; i++) {
		fill(srq, i, i + 1);
		link_to(srq, i, (uint16_t)(0xfff8 | i));
	}
	post_shared(srq, 8);
	for (unsigned i = 0; i < 8; i++)
		expect_take(srq, 0, 1);
}

static void shared_counter_wraps(void **state)
{
	struct cx_srq *srq = fake_srq(8, 6, true);

	srq->taken = 0xfff0;
	srq->head = 0xf0;
	for (uint32_t i = 0; i < 300; i++) {
		fill(srq, (0xf0 + i) & 0xff, i + 1);
		post_shared(srq, (uint16_t)(0xfff1 + i));
		expect_take(srq, (0xf0 + i) & 0xff, i + 1);
	}
}

static void shared_counter_beyond_the_ring_is_malformed(void **state)
{
	struct cx_srq *srq = fake_srq(3, 6, false);

	post_shared(srq, 9);
	assert_int_equal(cx_srq_take(&srq->base, &wr), -EINVAL);
	assert_int_equal(srq->taken, 0);
}

static void shared_ring_that_left_memory(void **state)
{
	struct cx_srq *srq = fake_srq(3, 6, false);

	post_shared(srq, 1);
	srq->buf.flat = NULL;
	srq->buf.pages[0] = 0;
	assert_int_equal(cx_srq_take(&srq->base, &wr), -EFAULT);
	srq->dbr = NULL;
	assert_int_equal(cx_srq_take(&srq->base, &wr), -EFAULT);
	cx_srq_check_limit(srq);
}

static void limit_is_told_once(void **state)
{
	struct cx_srq *srq = fake_srq(3, 6, false);
	struct cx_eq *eq = fake_eq(1, 0, 4);

	eq->event_mask[0] = UINT64_MAX;
	for (uint32_t i = 0; i < 8; i++)
		fill(srq, i, 1);
	post_shared(srq, 5);
	srq->limit = 3;
	cx_srq_check_limit(srq);
	assert_int_equal(eq->producer, 0);
	expect_take(srq, 0, 1);
	expect_take(srq, 1, 1);
	assert_int_equal(eq->producer, 0);
	/* Two are left: fewer than three. */
	expect_take(srq, 2, 1);
	assert_int_equal(eq->producer, 1);
	assert_int_equal(fake_event(eq, 0)->type, CX_EVENT_SRQ_RQ_LIMIT);
	assert_int_equal(up_get_be32(fake_event(eq, 0)->data + 24), srq->base.srqn);
	expect_take(srq, 3, 1);
	assert_int_equal(eq->producer, 1);
	/* Armed while below it already. */
	srq->limit = 2;
	cx_srq_check_limit(srq);
	assert_int_equal(eq->producer, 2);
	assert_int_equal(srq->limit, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(receive_ends_with_its_stride),
		TEST(receive_ends_with_the_invalid_key),
		TEST(entries_of_no_bytes_are_left_out),
		TEST(receive_ring_wraps),
		TEST(counter_beyond_the_ring_is_malformed),
		TEST(receive_ring_that_left_memory),
		TEST(more_pieces_than_the_engine_takes),
		TEST(first_lap_is_in_order),
		TEST(links_are_followed),
		TEST(cyclic_queue_takes_elements_as_they_lie),
		TEST(hostile_links_stay_in_the_ring),
		TEST(shared_counter_wraps),
		TEST(shared_counter_beyond_the_ring_is_malformed),
		TEST(shared_ring_that_left_memory),
		TEST(limit_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
