/* SPDX-License-Identifier: BSD-2-Clause */
/* Doorbells: hints in UAR pages, the background sweep, trapped stores (device/connectx/uar.c). */
#include "fake_cx.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define USEC 1000ull
#define PAGE (CX_UAR_FIRST + 3)

static uint64_t now;

static int setup(void **state)
{
	now = 1000000 * USEC;
	if (fake_setup(state))
		return -1;
	fake.dev.last_poll = now;
	return 0;
}

static struct cx_qp *used_qp(uint32_t page)
{
	struct cx_qp *qp = fake_qp(UP_QP_RC, 4, false);

	qp->uar_page = page;
	assert_int_equal(cx_uar_use(qp, true), 0);
	return qp;
}

static uint64_t word_of(const struct cx_qp *qp, uint16_t index)
{
	uint8_t bytes[8];
	uint64_t word;

	up_put_be32(bytes, (uint32_t)index << 8 | CX_OP_SEND);
	up_put_be32(bytes + 4, qp->base.qpn << 8 | 3);
	memcpy(&word, bytes, sizeof(word));
	return word;
}

/* As the guest stores it, in one of the four places. */
static void ring(const struct cx_qp *qp, unsigned where, uint16_t index)
{
	uint64_t word = word_of(qp, index);

	memcpy(fake.dev.uar_mem + qp->uar_page * 4096 + 0x800 + where * 0x100, &word, sizeof(word));
}

static void post(struct cx_qp *qp, uint16_t counter)
{
	up_put_be32(&qp->dbr[CX_DBR_SEND], counter);
}

static unsigned poll_at(uint64_t when)
{
	uint64_t due = UINT64_MAX;

	return cx_poll(&fake.dev.hca, when, &due);
}

static void page_file_is_of_fixed_size(void **state)
{
	assert_int_equal(lseek(fake.dev.uar_fd, 0, SEEK_END), CX_BAR0_SIZE);
	assert_int_equal(ftruncate(fake.dev.uar_fd, 4096), -1);
	assert_int_equal(errno, EPERM);
}

static void hint_kicks_the_queue_that_it_names(void **state)
{
	struct cx_qp *a = used_qp(PAGE), *b = used_qp(PAGE + 1);

	assert_int_equal(poll_at(now), 0);
	for (unsigned i = 0; i < 4; i++) {
		ring(b, i, 1);
		fake.kicks = 0;
		assert_int_equal(poll_at(now), 1);
		assert_int_equal(fake.kicks, 1);
		assert_ptr_equal(fake.kicked[0], &b->base);
		assert_int_equal(poll_at(now), 0);
	}
	ring(a, 0, 1);
	ring(b, 0, 2);
	fake.kicks = 0;
	assert_int_equal(poll_at(now), 2);
	assert_int_equal(fake.kicks, 2);
	assert_int_equal(fake.dev.hca.stats.hints, 6);
}

static void hint_for_no_queue_is_harmless(void **state)
{
	struct cx_qp *qp = used_qp(PAGE);

	memset(fake.dev.uar_mem + PAGE * 4096, 0xff, 4096);
	poll_at(now);
	assert_int_equal(fake.kicks, 0);
	ring(qp, 0, 1);
	assert_int_equal(poll_at(now), 1);
	assert_int_equal(fake.kicks, 1);
}

static void old_words_are_no_hints(void **state)
{
	struct cx_qp *qp = used_qp(PAGE);

	ring(qp, 0, 1);
	poll_at(now);
	cx_uar_use(qp, false);
	assert_int_equal(fake.dev.uar_watch_count, 0);
	ring(qp, 1, 2);
	assert_int_equal(cx_uar_use(qp, true), 0);
	fake.kicks = 0;
	assert_int_equal(poll_at(now), 0);
	assert_int_equal(fake.kicks, 0);
}

static void page_is_watched_while_it_has_users(void **state)
{
	struct cx_qp *a = used_qp(PAGE), *b = used_qp(PAGE), *c = used_qp(PAGE + 5);

	assert_int_equal(fake.dev.uar_watch_count, 2);
	cx_uar_use(a, false);
	ring(b, 0, 1);
	assert_int_equal(poll_at(now), 1);
	cx_uar_use(b, false);
	assert_int_equal(fake.dev.uar_watch_count, 1);
	ring(c, 0, 1);
	assert_int_equal(poll_at(now), 1);
	assert_ptr_equal(fake.kicked[1], &c->base);
	cx_uar_use(c, false);
	assert_int_equal(fake.dev.uar_watch_count + fake.dev.sweep_count, 0);
	assert_int_equal(poll_at(now), 0);
}

/* A guest can have thousands: they are gone through in pieces, and without a pause in between. */
static void many_pages_take_several_rounds(void **state)
{
	enum { PAGES = 1200 };
	struct cx_qp *qps[PAGES];
	unsigned found = 0, rounds = 0;
	uint64_t due;

	for (unsigned i = 0; i < PAGES; i++)
		qps[i] = used_qp(CX_UAR_FIRST + i);
	for (unsigned i = 0; i < PAGES; i++)
		ring(qps[i], i % 4, 1);
	do {
		unsigned n;

		due = UINT64_MAX;
		n = cx_poll(&fake.dev.hca, now, &due);
		assert_true(n && n <= 512);
		found += n;
		rounds++;
	} while (due <= now);
	assert_int_equal(found, PAGES);
	assert_int_equal(rounds, 3);
	/* Pages that go meanwhile are no obstacle. */
	poll_at(now);
	for (unsigned i = 0; i < PAGES - 1; i++)
		cx_uar_use(qps[i], false);
	ring(qps[PAGES - 1], 0, 2);
	assert_int_equal(poll_at(now), 1);
	due = UINT64_MAX;
	assert_int_equal(cx_poll(&fake.dev.hca, now, &due), 0);
	assert_true(due > now);
}

static void pages_outside_of_the_area_are_refused(void **state)
{
	struct cx_qp *qp = fake_qp(UP_QP_RC, 4, false);

	qp->uar_page = CX_UAR_FIRST - 1;
	assert_int_equal(cx_uar_use(qp, true), -EINVAL);
	qp->uar_page = CX_UAR_PAGES;
	assert_int_equal(cx_uar_use(qp, true), -EINVAL);
	qp->uar_page = CX_UAR_PAGES - 1;
	assert_int_equal(cx_uar_use(qp, true), 0);
	poll_at(now);
}

static void queue_without_sends_has_no_doorbell(void **state)
{
	struct cx_qp *qp = fake_qp(UP_QP_XRC_TGT, 4, false);

	qp->base.has_sq = false;
	qp->uar_page = 0;
	assert_int_equal(cx_uar_use(qp, true), 0);
	assert_int_equal(fake.dev.sweep_count, 0);
	assert_int_equal(cx_uar_use(qp, false), 0);
}

static void lost_hint_is_found_by_the_sweep(void **state)
{
	struct cx_qp *qps[12];
	unsigned rounds = 0;

	for (unsigned i = 0; i < UP_ARRAY_SIZE(qps); i++)
		qps[i] = used_qp(PAGE);
	post(qps[7], 1);
	while (!fake.kicks && rounds++ < 20)
		poll_at(now += 1 * USEC);
	assert_int_equal(fake.kicks, 1);
	assert_ptr_equal(fake.kicked[0], &qps[7]->base);
	assert_true(rounds <= UP_ARRAY_SIZE(qps));
	/* After a sleep all of them are looked at at once. */
	post(qps[3], 1);
	qps[7]->sq_consumer = 1;
	assert_int_equal(poll_at(now + 1000 * USEC), 1);
	assert_ptr_equal(fake.kicked[1], &qps[3]->base);
}

static void sweep_skips_what_needs_no_kick(void **state)
{
	static const enum up_qp_state idle[] = {UP_QPS_RESET, UP_QPS_INIT, UP_QPS_RTR, UP_QPS_SQD};
	static const enum up_qp_state swept[] = {UP_QPS_RTS, UP_QPS_SQE, UP_QPS_ERR};
	struct cx_qp *qp = used_qp(PAGE);
	struct up_list runs;

	post(qp, 1);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(idle); i++) {
		qp->base.state = (uint8_t)idle[i];
		assert_int_equal(poll_at(now), 0);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(swept); i++) {
		qp->base.state = (uint8_t)swept[i];
		assert_int_equal(poll_at(now), 1);
	}
	qp->base.sched.heap_index = 0;
	assert_int_equal(poll_at(now), 0);
	qp->base.sched.heap_index = -1;
	up_list_init(&runs);
	up_list_add_tail(&runs, &qp->base.sched.run);
	assert_int_equal(poll_at(now), 0);
	up_list_del(&qp->base.sched.run);
	assert_int_equal(poll_at(now), 1);
}

static void sweep_follows_queues_that_come_and_go(void **state)
{
	struct cx_qp *qps[40];

	for (unsigned i = 0; i < UP_ARRAY_SIZE(qps); i++)
		qps[i] = used_qp(PAGE + i % 7);
	poll_at(now + 20 * USEC);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(qps); i += 2)
		cx_uar_use(qps[i], false);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(qps); i++)
		post(qps[i], 1);
	assert_int_equal(poll_at(now + 1000 * USEC), 20);
	assert_int_equal(fake.kicks, 20);
	for (unsigned i = 1; i < UP_ARRAY_SIZE(qps); i += 2)
		cx_uar_use(qps[i], false);
	assert_int_equal(fake.dev.sweep_count, 0);
	assert_int_equal(poll_at(now + 2000 * USEC), 0);
}

static void trapped_store_kicks_at_once(void **state)
{
	struct cx_qp *qp = used_qp(PAGE);
	uint64_t word = word_of(qp, 1);
	uint64_t page = PAGE * 4096;

	cx_uar_write(&fake.dev, page + 0x900, &word, sizeof(word));
	assert_int_equal(fake.kicks, 1);
	assert_ptr_equal(fake.kicked[0], &qp->base);
	assert_int_equal(fake.wakes, 1);
	/* In two halves: told with the second. */
	word = word_of(qp, 2);
	cx_uar_write(&fake.dev, page + 0xa00, &word, 4);
	assert_int_equal(fake.kicks, 1);
	cx_uar_write(&fake.dev, page + 0xa04, (uint8_t *)&word + 4, 4);
	assert_int_equal(fake.kicks, 2);
	/* A whole element, as a driver that combines stores writes it. */
	cx_uar_write(&fake.dev, page + 0x808, &word, 8);
	assert_int_equal(fake.kicks, 2);
}

static void trapped_arming_wakes_the_worker(void **state)
{
	uint64_t word = 0;

	cx_uar_write(&fake.dev, PAGE * 4096 + CX_UAR_CQ_ARM, &word, sizeof(word));
	cx_uar_write(&fake.dev, PAGE * 4096 + CX_UAR_EQ_ARM, &word, 4);
	assert_int_equal(fake.kicks, 0);
	assert_int_equal(fake.wakes, 2);
}

static void trapped_store_elsewhere_is_ignored(void **state)
{
	uint8_t bytes[128] = {0};

	cx_uar_write(&fake.dev, CX_UAR_OFFSET - 8, bytes, 8);
	cx_uar_write(&fake.dev, CX_BAR0_SIZE - 4, bytes, 8);
	cx_uar_write(&fake.dev, UINT64_MAX - 3, bytes, 8);
	cx_uar_write(&fake.dev, PAGE * 4096, bytes, 128);
	assert_int_equal(fake.wakes + fake.kicks, 0);
	/* Across two pages, and unaligned. */
	memset(bytes, 0xff, sizeof(bytes));
	cx_uar_write(&fake.dev, PAGE * 4096 - 3, bytes, 8);
	cx_uar_write(&fake.dev, PAGE * 4096 + 0x7fd, bytes, 64);
	assert_int_equal(fake.kicks, 0);
}

static void armed_queue_is_served_by_the_poll(void **state)
{
	struct cx_eq *eq = fake_eq(1, 0, 4);
	struct cx_cq *cq = fake_cq(eq, 4, 6, false);
	struct cx_qp *qp = used_qp(PAGE);
	struct up_wc wc = {.qp = &qp->base};
	uint64_t due = UINT64_MAX;

	up_put_be32(&cq->dbr[CX_DBR_CQ_ARM], 1u << CX_ARM_SN_SHIFT);
	cx_cq_post(&cq->base, &wc);
	assert_int_equal(cx_poll(&fake.dev.hca, now, &due), 1);
	assert_int_equal(eq->producer, 1);
	assert_true(due > now && due < now + 1000 * USEC);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(page_file_is_of_fixed_size),
		TEST(hint_kicks_the_queue_that_it_names),
		TEST(hint_for_no_queue_is_harmless),
		TEST(old_words_are_no_hints),
		TEST(page_is_watched_while_it_has_users),
		TEST(many_pages_take_several_rounds),
		TEST(pages_outside_of_the_area_are_refused),
		TEST(queue_without_sends_has_no_doorbell),
		TEST(lost_hint_is_found_by_the_sweep),
		TEST(sweep_skips_what_needs_no_kick),
		TEST(sweep_follows_queues_that_come_and_go),
		TEST(trapped_store_kicks_at_once),
		TEST(trapped_arming_wakes_the_worker),
		TEST(trapped_store_elsewhere_is_ignored),
		TEST(armed_queue_is_served_by_the_poll),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
