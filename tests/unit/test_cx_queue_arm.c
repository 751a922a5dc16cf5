/* SPDX-License-Identifier: BSD-2-Clause */
/* Arming of completion queues: no wake-up is lost, and hardly one is for nothing. */
#include "fake_cx.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define USEC 1000ull
#define MSEC 1000000ull
#define SEC 1000000000ull
#define INIT_RECORD 0x20000000u /* MLX5_CQ_INIT_CMD_SN */

static struct cx_eq *eq;
static struct cx_cq *cq;
static struct cx_qp *qp;
static uint64_t now;
static uint64_t lag; /* of a round that looked at the time long ago */
static uint32_t events_seen;

static int setup(void **state)
{
	if (fake_setup(state))
		return -1;
	eq = fake_eq(1, 0, 10);
	cq = fake_cq(eq, 8, 6, false);
	qp = fake_qp(UP_QP_RC, 4, false);
	up_put_be32(&cq->dbr[CX_DBR_CQ_ARM], INIT_RECORD);
	now = 1000 * SEC;
	lag = 0;
	events_seen = 0;
	return 0;
}

static void complete_on(struct cx_cq *on, bool solicited, enum up_wc_status status)
{
	struct up_wc wc = {.qp = &qp->base, .status = status, .op = UP_OP_SEND};

	wc.flags = UP_WC_RECV | (solicited ? UP_WC_SOLICITED_EVENT : 0u);
	up_lock_take(&on->base.lock);
	cx_cq_post(&on->base, &wc);
	up_lock_drop(&on->base.lock);
}

static void complete(void)
{
	complete_on(cq, false, UP_WC_SUCCESS);
}

static void consume(uint32_t upto)
{
	up_put_be32(&cq->dbr[CX_DBR_CQ_CI], upto & CX_CQ_CI_MASK);
}

static void arm(uint32_t sn, uint32_t ci, bool solicited)
{
	up_put_be32(&cq->dbr[CX_DBR_CQ_ARM], (sn & 3) << CX_ARM_SN_SHIFT |
						     (solicited ? CX_ARM_SOLICITED : 0) |
						     (ci & CX_CQ_CI_MASK));
}

/* A round of the worker now; returns when the next is due. */
static uint64_t look(void)
{
	uint64_t due = UINT64_MAX;

	fake.clock = now + lag;
	cx_cq_watch(&fake.dev, now, &due);
	return due;
}

/* Rounds when they are due until `until`. */
static void run_until(uint64_t until)
{
	uint64_t due = look();

	while (due <= until) {
		assert_true(due >= now);
		now = due;
		due = look();
	}
	now = until;
	look();
}

static void expect_events(uint32_t n)
{
	assert_int_equal(eq->producer - events_seen, n);
	events_seen = eq->producer;
}

static void armed_first_gets_the_event_at_once(void **state)
{
	arm(0, 0, false);
	up_put_be32(&cq->dbr[CX_DBR_CQ_ARM], 1u << CX_ARM_SN_SHIFT);
	look();
	expect_events(0);
	complete();
	look();
	expect_events(1);
	assert_int_equal(up_get_be32(fake_event(eq, 0)->data + 24), cq->base.cqn);
	assert_int_equal(fake_interrupts(0), 1);
	/* Once. */
	run_until(now + SEC);
	expect_events(0);
}

static void armed_later_gets_the_event_at_a_later_look(void **state)
{
	complete();
	run_until(now + 500 * USEC);
	expect_events(0);
	arm(1, 0, false);
	run_until(now + 2 * MSEC);
	expect_events(1);
}

static void long_idle_queue_is_still_looked_at(void **state)
{
	complete();
	run_until(now + 5 * SEC);
	expect_events(0);
	arm(1, 0, false);
	run_until(now + 10 * MSEC);
	expect_events(1);
}

static void unarmed_queue_gets_none(void **state)
{
	for (unsigned i = 0; i < 20; i++)
		complete();
	run_until(now + SEC);
	expect_events(0);
	consume(20);
	run_until(now + SEC);
	assert_true(up_list_empty(&fake.dev.watch));
	assert_int_equal(look(), UINT64_MAX);
}

static void next_sequence_number_arms_again(void **state)
{
	arm(1, 0, false);
	complete();
	look();
	expect_events(1);
	/* Armed without having taken anything: it was told of that, so an event comes later. */
	arm(2, 0, false);
	run_until(now + 20 * MSEC);
	expect_events(1);
	/* Armed before it took the last event: that one wakes it. */
	consume(1);
	arm(2, 1, false);
	complete();
	run_until(now + MSEC);
	expect_events(0);
	arm(3, 1, false);
	run_until(now + 2 * MSEC);
	expect_events(1);
}

static void sequence_numbers_wrap(void **state)
{
	for (uint32_t i = 1; i < 20; i++) {
		arm(i, i - 1, false);
		complete();
		run_until(now + 20 * USEC);
		expect_events(1);
		consume(i);
	}
}

static void stale_index_counts(void **state)
{
	arm(1, 0, false);
	complete();
	complete();
	look();
	expect_events(1);
	/* The guest takes one of two, and arms where it is. */
	consume(1);
	arm(2, 1, false);
	run_until(now + 20 * MSEC);
	expect_events(1);
}

/* As perftest does: one event for each completion, not two. */
static void arming_before_polling_is_no_second_event(void **state)
{
	for (uint32_t i = 0; i < 20; i++) {
		arm(i + 1, i ? i - 1 : 0, false);
		run_until(now + 20 * USEC);
		consume(i);
		complete();
		run_until(now + 20 * MSEC);
		expect_events(1);
	}
}

static void nothing_beyond_the_index_is_no_event(void **state)
{
	complete();
	complete();
	arm(1, 2, false);
	run_until(now + SEC);
	expect_events(0);
	complete();
	run_until(now + MSEC);
	expect_events(1);
}

static void index_wraps_at_24_bits(void **state)
{
	cq->producer = cq->consumer = 0x2ffffff;
	consume(0xffffff);
	arm(1, 0xffffff, false);
	look();
	expect_events(0);
	complete();
	look();
	expect_events(1);
	consume(0);
	arm(2, 0, false);
	run_until(now + MSEC);
	expect_events(0);
	assert_true(up_list_empty(&fake.dev.watch));
}

static void solicited_only_waits_for_a_solicited_one(void **state)
{
	arm(1, 0, true);
	complete();
	complete();
	run_until(now + MSEC);
	expect_events(0);
	complete_on(cq, true, UP_WC_SUCCESS);
	run_until(now + MSEC);
	expect_events(1);
	/* One behind the index does not count. */
	consume(2);
	arm(2, 3, true);
	complete();
	run_until(now + MSEC);
	expect_events(0);
	complete_on(cq, false, UP_WC_WR_FLUSH_ERR);
	run_until(now + MSEC);
	expect_events(1);
}

static void record_of_zero_counts_once(void **state)
{
	arm(0, 0, false);
	complete();
	look();
	expect_events(1);
	consume(1);
	complete();
	run_until(now + SEC);
	expect_events(0);
	consume(2);
	arm(1, 2, false);
	complete();
	run_until(now + 20 * USEC);
	expect_events(1);
}

static void completion_that_was_taken_counts(void **state)
{
	arm(1, 0, false);
	complete();
	consume(1);
	look();
	expect_events(1);
	/* Taken before the guest armed: not. */
	arm(2, 1, false);
	run_until(now + SEC);
	expect_events(0);
	assert_true(up_list_empty(&fake.dev.watch));
}

static void moderation_waits_for_the_period(void **state)
{
	cq->moderation_us = 300;
	arm(1, 0, false);
	complete();
	run_until(now + 290 * USEC);
	expect_events(0);
	complete();
	consume(2);
	run_until(now + 10 * USEC);
	expect_events(1);
	assert_true(up_list_empty(&fake.dev.watch));
}

/* The period is not shorter for a worker that was stopped between its look at the time and now. */
static void moderation_begins_with_the_completion(void **state)
{
	cq->moderation_us = 300;
	arm(1, 0, false);
	complete();
	lag = 200 * USEC;
	look();
	now += lag;
	lag = 0;
	run_until(now + 299 * USEC);
	expect_events(0);
	consume(1);
	run_until(now + USEC);
	expect_events(1);
}

static void moderation_ends_with_the_count(void **state)
{
	cq->moderation_us = 300;
	cq->moderation_count = 3;
	arm(1, 0, false);
	complete();
	complete();
	run_until(now + 10 * USEC);
	expect_events(0);
	complete();
	consume(3);
	run_until(now + USEC);
	expect_events(1);
	/* A count that nothing bounds does not hold events back. */
	cq->moderation_us = 0;
	arm(2, 3, false);
	complete();
	run_until(now + USEC);
	expect_events(1);
}

/* More queues wait than one round goes through: each of them is found all the same. */
static void many_queues_wait(void **state)
{
	enum { QUEUES = 700 };
	struct cx_cq *many[QUEUES];

	for (unsigned i = 0; i < QUEUES; i++) {
		many[i] = fake_cq(eq, 0, 6, false);
		up_put_be32(&many[i]->dbr[CX_DBR_CQ_ARM], INIT_RECORD);
		complete_on(many[i], false, UP_WC_SUCCESS);
	}
	run_until(now + 2 * SEC);
	expect_events(0);
	for (unsigned i = 0; i < QUEUES; i++)
		up_put_be32(&many[i]->dbr[CX_DBR_CQ_ARM], 1u << CX_ARM_SN_SHIFT);
	run_until(now + 20 * MSEC);
	expect_events(QUEUES);
}

static void looks_become_rarer(void **state)
{
	uint64_t start = now, due;
	unsigned looks = 0;

	complete();
	for (due = look(); due < start + SEC; due = look()) {
		assert_true(due - now <= MSEC);
		now = due;
		looks++;
	}
	assert_true(looks < 1100);
	now = start + 2 * SEC;
	look();
	assert_int_equal(look(), now + 10 * MSEC);
}

static void looks_start_later_for_a_guest_that_polls(void **state)
{
	uint64_t due;

	for (uint32_t i = 1; i < 10; i++) {
		complete();
		look();
		consume(i);
		run_until(now + 100 * USEC);
		assert_true(up_list_empty(&fake.dev.watch));
	}
	complete();
	due = look();
	assert_in_range(due - now, 1, 16 * USEC);
	/* More completions do not put it off. */
	now += 5 * USEC;
	complete();
	assert_int_equal(look(), due);
	/* It begins to use events: from the second on, they come at once. */
	arm(1, 9, false);
	run_until(now + 20 * USEC);
	expect_events(1);
	consume(11);
	arm(2, 11, false);
	complete();
	look();
	expect_events(1);
}

static void queues_of_one_event_queue_share_an_interrupt(void **state)
{
	struct cx_cq *other = fake_cq(eq, 4, 6, false);

	arm(1, 0, false);
	up_put_be32(&other->dbr[CX_DBR_CQ_ARM], 1u << CX_ARM_SN_SHIFT);
	complete();
	complete_on(other, false, UP_WC_SUCCESS);
	look();
	expect_events(2);
	assert_int_equal(fake_interrupts(0), 1);
}

static void event_queues_have_an_interrupt_each(void **state)
{
	struct cx_cq *other = fake_cq(fake_eq(2, 1, 4), 4, 6, false);

	arm(1, 0, false);
	up_put_be32(&other->dbr[CX_DBR_CQ_ARM], 1u << CX_ARM_SN_SHIFT);
	complete();
	complete_on(other, false, UP_WC_SUCCESS);
	look();
	assert_int_equal(fake_interrupts(0), 1);
	assert_int_equal(fake_interrupts(1), 1);
}

static void forgotten_queue_is_left_alone(void **state)
{
	complete();
	cx_cq_forget(cq);
	assert_true(up_list_empty(&fake.dev.watch));
	assert_int_equal(look(), UINT64_MAX);
}

static void more_queues_than_one_round_looks_at(void **state)
{
	struct cx_cq *many[100];

	for (unsigned i = 0; i < UP_ARRAY_SIZE(many); i++) {
		many[i] = fake_cq(eq, 1, 6, false);
		complete_on(many[i], false, UP_WC_SUCCESS);
	}
	run_until(now + 150 * USEC);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(many); i++)
		up_put_be32(&many[i]->dbr[CX_DBR_CQ_ARM], 1u << CX_ARM_SN_SHIFT);
	events_seen = eq->producer;
	run_until(now + 40 * MSEC);
	expect_events(UP_ARRAY_SIZE(many));
}

/*
 * A guest that does what drivers do, in random order and at random times; whenever it sleeps
 * although there is something to take, an event must come within the longest time between looks.
 */
struct guest {
	uint64_t seed;
	uint32_t taken, events, arm_sn;
	bool asleep;
};

static void take_some(struct guest *g, uint32_t most)
{
	while (most-- && fake_cqe(cq, g->taken))
		g->taken++;
	consume(g->taken);
}

static void take_event(struct guest *g)
{
	assert_int_equal(up_get_be32(fake_event(eq, g->events)->data + 24), cq->base.cqn);
	g->events++;
	g->arm_sn++;
	g->asleep = false;
}

static void guest_step(struct guest *g)
{
	uint64_t r = unit_random(&g->seed);

	if (g->asleep) {
		if (eq->producer != g->events)
			take_event(g);
		return;
	}
	switch (r % 5) {
	case 0:
		take_some(g, (uint32_t)(r >> 8) % 4);
		break;
	case 1:
		take_some(g, 1000);
		break;
	case 2:
		arm(g->arm_sn, g->taken, false);
		break;
	case 3:
		arm(g->arm_sn, g->taken, false);
		g->asleep = true;
		break;
	default:
		/* An event that it did not wait for. */
		if (eq->producer != g->events)
			take_event(g);
	}
}

static void no_wakeup_is_lost(void **state)
{
	struct guest g = {.seed = 0x1d872b41};

	arm(0, 0, false);
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t r = unit_random(&g.seed);

		if (r % 3 == 0 && cq->producer - g.taken < 200)
			complete();
		if (r % 3 == 1)
			guest_step(&g);
		now += r >> 32 & 0x3fff;
		if (r >> 48 & 1)
			look();
		/* A sleeping guest with work: let the time pass that the device may take. */
		if (g.asleep && cq->producer != g.taken && (r >> 50 & 7) == 0) {
			run_until(now + 30 * MSEC);
			assert_true(eq->producer != g.events);
		}
		/* At most one event is under way. */
		assert_true(eq->producer - g.events <= 1);
	}
	assert_true(g.events > 1000);
	assert_false(cq->base.failed);
}

/* The same with a guest that really sleeps on the interrupt. */
#define MESSAGES 20000u

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SEC + (uint64_t)ts.tv_nsec;
}

static uint32_t guest_take_all(uint32_t taken)
{
	for (;;) {
		const uint8_t *op_own = fake_at(&cq->buf, (taken & 255) * 64ull + 63);
		uint8_t v = __atomic_load_n(op_own, __ATOMIC_ACQUIRE);

		if (v >> 4 == CX_CQE_INVALID || (v & 1) != (taken >> 8 & 1))
			break;
		taken++;
	}
	__atomic_store_n(&cq->dbr[CX_DBR_CQ_CI], htobe32(taken & CX_CQ_CI_MASK), __ATOMIC_RELEASE);
	return taken;
}

static uint32_t guest_take_events(uint32_t events)
{
	for (;;) {
		const uint8_t *owner = fake_at(&eq->buf, (events & 1023) * 64ull + 63);

		if (__atomic_load_n(owner, __ATOMIC_ACQUIRE) != (events >> 10 & 1))
			return events;
		events++;
	}
}

static void *guest_main(void *arg)
{
	uint32_t taken = 0, events = 0;
	bool *woken = arg;

	while (taken < MESSAGES) {
		struct pollfd fd = {.fd = fake.dev.vectors[0], .events = POLLIN};

		__atomic_store_n(&cq->dbr[CX_DBR_CQ_ARM],
				 htobe32((events & 3) << CX_ARM_SN_SHIFT | (taken & 0xffffff)),
				 __ATOMIC_RELEASE);
		if (poll(&fd, 1, 60000) != 1) {
			*woken = false;
			break;
		}
		fake_interrupts(0);
		events = guest_take_events(events);
		taken = guest_take_all(taken);
	}
	__atomic_store_n(&cq->dbr[CX_DBR_CQ_CI], htobe32(MESSAGES), __ATOMIC_RELEASE);
	return NULL;
}

static uint32_t guest_index(void)
{
	return up_fetch_be32(&cq->dbr[CX_DBR_CQ_CI]);
}

/* One message at most, now and then. True once all are sent. */
static bool send_some(uint32_t *sent, uint64_t *seed)
{
	if (*sent < MESSAGES && *sent - guest_index() < 200 && unit_random(seed) % 4 == 0) {
		complete();
		++*sent;
	}
	return *sent == MESSAGES;
}

static void watch_once(void)
{
	uint64_t due = UINT64_MAX;

	cx_cq_watch(&fake.dev, clock_ns(), &due);
}

static void sleeping_guest_is_always_woken(void **state)
{
	bool woken = true;
	uint32_t sent = 0;
	pthread_t thread;
	uint64_t seed = 7;

	arm(0, 0, false);
	assert_int_equal(pthread_create(&thread, NULL, guest_main, &woken), 0);
	while (guest_index() != MESSAGES) {
		send_some(&sent, &seed);
		watch_once();
	}
	pthread_join(thread, NULL);
	assert_true(woken);
}

static void *sender_main(void *arg)
{
	uint32_t sent = 0;
	uint64_t seed = 5;

	while (!send_some(&sent, &seed))
		sched_yield();
	return NULL;
}

/* Completions of another worker than the one that watches. */
static void queue_completed_by_another_worker(void **state)
{
	bool woken = true;
	pthread_t guest, sender;

	up_multi_worker = true;
	arm(0, 0, false);
	assert_int_equal(pthread_create(&guest, NULL, guest_main, &woken), 0);
	assert_int_equal(pthread_create(&sender, NULL, sender_main, NULL), 0);
	while (guest_index() != MESSAGES) {
		watch_once();
		sched_yield();
	}
	pthread_join(sender, NULL);
	pthread_join(guest, NULL);
	up_multi_worker = false;
	assert_true(woken);
}

/* More completion queues than the event queue has entries: each gets its event. */
static void event_queue_is_full(void **state)
{
	enum { QUEUES = 20, SIZE = 4 };
	struct cx_eq *small = fake_eq(2, 1, 2);
	struct cx_cq *cqs[QUEUES];
	uint64_t seen = 0;
	uint32_t taken = 0;

	small->uar_page = 20;
	small->users = QUEUES;
	for (unsigned i = 0; i < QUEUES; i++) {
		cqs[i] = fake_cq(small, 8, 6, false);
		cqs[i]->base.cqn = i;
		up_put_be32(&cqs[i]->dbr[CX_DBR_CQ_ARM], 0);
		complete_on(cqs[i], false, UP_WC_SUCCESS);
	}
	for (unsigned round = 0; round < 1000 && taken < QUEUES; round++, now += MSEC) {
		look();
		assert_true(small->producer - taken <= SIZE);
		for (; taken < small->producer; taken++)
			seen |= 1ull << up_get_be32(fake_event(small, taken)->data + 24);
		up_put_be32(fake.dev.uar_mem + 20 * CX_UAR_PAGE_SIZE + CX_UAR_EQ_ARM,
			    small->eqn << 24 | taken);
	}
	assert_int_equal(seen, (1ull << QUEUES) - 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(armed_first_gets_the_event_at_once),
		TEST(armed_later_gets_the_event_at_a_later_look),
		TEST(long_idle_queue_is_still_looked_at),
		TEST(unarmed_queue_gets_none),
		TEST(next_sequence_number_arms_again),
		TEST(sequence_numbers_wrap),
		TEST(stale_index_counts),
		TEST(arming_before_polling_is_no_second_event),
		TEST(nothing_beyond_the_index_is_no_event),
		TEST(index_wraps_at_24_bits),
		TEST(solicited_only_waits_for_a_solicited_one),
		TEST(record_of_zero_counts_once),
		TEST(completion_that_was_taken_counts),
		TEST(moderation_waits_for_the_period),
		TEST(moderation_begins_with_the_completion),
		TEST(moderation_ends_with_the_count),
		TEST(many_queues_wait),
		TEST(looks_become_rarer),
		TEST(looks_start_later_for_a_guest_that_polls),
		TEST(queues_of_one_event_queue_share_an_interrupt),
		TEST(event_queues_have_an_interrupt_each),
		TEST(forgotten_queue_is_left_alone),
		TEST(more_queues_than_one_round_looks_at),
		TEST(no_wakeup_is_lost),
		TEST(sleeping_guest_is_always_woken),
		TEST(queue_completed_by_another_worker),
		TEST(event_queue_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
