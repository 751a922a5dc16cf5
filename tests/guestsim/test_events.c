/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion events: arming, solicited events, wake-ups that must not be lost, moderation, and
 * resizing of completion queues under traffic.
 */
#include "testlib.h"

#include <string.h>

/* Time in which an event that must not come would have come. */
enum { QUIET_MS = 30 };

static void send_flags(struct side *s, unsigned flags)
{
	struct gs_sge sge = gs_sge(s->mr, s->buf, 32);

	gs_post_send(s->qp, &(struct gs_send_wr){.wr_id = 1,
						 .op = CX_OP_SEND,
						 .flags = flags | GS_SIGNALED,
						 .nsge = 1,
						 .sge = &sge});
}

/* An arming that was served, so that what follows is not the first one. */
static void serve_once(struct pair *p)
{
	gs_cq_arm(p->b.rcq, false);
	tl_send_recv(&p->a, &p->b, 8);
	assert_true(gs_cq_wait_event(p->b.rcq, GS_WAIT_MS));
}

static void test_arm(void **state)
{
	struct pair *p = *state;

	serve_once(p);
	for (unsigned i = 0; i < 100; i++) {
		/* Not armed: none. */
		tl_send_recv(&p->a, &p->b, 8);
		if (i == 0)
			assert_false(gs_cq_wait_event(p->b.rcq, QUIET_MS));
		/* Armed: one, for any number of completions. */
		gs_cq_arm(p->b.rcq, false);
		for (unsigned n = 0; n < 5; n++)
			tl_send_recv(&p->a, &p->b, 8);
		assert_true(gs_cq_wait_event(p->b.rcq, GS_WAIT_MS));
	}
	assert_false(gs_cq_wait_event(p->b.rcq, QUIET_MS));
}

/* Arming with an index behind the newest completion: the event is due at once. */
static void test_arm_late(void **state)
{
	struct pair *p = *state;

	serve_once(p);
	for (unsigned i = 0; i < 100; i++) {
		tl_recv(&p->b, 0, 64);
		tl_send(&p->a, 0, 64);
		gs_cq_expect(p->a.scq, 0);
		gs_cq_arm(p->b.rcq, false);
		assert_true(gs_cq_wait_event(p->b.rcq, GS_WAIT_MS));
		gs_cq_expect(p->b.rcq, 0);
	}
}

/* Of the send side, too. */
static void test_arm_send_queue(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < 100; i++) {
		gs_cq_arm(p->a.scq, false);
		tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, 64, &p->b, 0);
		assert_true(gs_cq_wait_event(p->a.scq, GS_WAIT_MS));
		gs_cq_expect(p->a.scq, 0);
	}
}

static void test_solicited(void **state)
{
	struct pair *p = *state;

	serve_once(p);
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned n = 0; n < 4; n++)
			tl_recv(&p->b, 64 * n, 64);
		gs_cq_arm(p->b.rcq, true);
		send_flags(&p->a, 0);
		send_flags(&p->a, 0);
		gs_cq_expect(p->b.rcq, 0);
		gs_cq_expect(p->b.rcq, 0);
		assert_false(gs_cq_wait_event(p->b.rcq, i ? 1 : QUIET_MS));
		send_flags(&p->a, GS_SOLICITED);
		assert_true(gs_cq_wait_event(p->b.rcq, GS_WAIT_MS));
		assert_true(gs_cq_expect(p->b.rcq, 0).solicited);
		/* Served: no further one. */
		send_flags(&p->a, GS_SOLICITED);
		gs_cq_expect(p->b.rcq, 0);
		assert_false(gs_cq_wait_event(p->b.rcq, i ? 1 : QUIET_MS));
		for (unsigned n = 0; n < 4; n++)
			gs_cq_expect(p->a.scq, 0);
	}
}

/* A completion with an error counts as solicited (11.4.2.2). */
static void test_solicited_error(void **state)
{
	struct pair *p = *state;

	serve_once(p);
	tl_recv(&p->b, 0, 64);
	gs_cq_arm(p->b.rcq, true);
	assert_int_equal(gs_qp_to_err(p->b.qp), 0);
	assert_true(gs_cq_wait_event(p->b.rcq, GS_WAIT_MS));
	gs_cq_expect(p->b.rcq, CX_SYND_WR_FLUSH);
}

/* ---- nothing is lost ---- */

struct player {
	struct side *s;
	unsigned rounds;
	bool first;
};

static void await_message(struct side *s)
{
	struct gs_wc wc;

	while (!gs_cq_poll(s->rcq, &wc, 1)) {
		gs_cq_arm(s->rcq, false);
		/* What came before the arming makes no event that is due for this index. */
		if (gs_cq_poll(s->rcq, &wc, 1))
			break;
		if (!gs_cq_wait_event(s->rcq, GS_WAIT_MS))
			gs_fail("a wake-up was lost");
	}
	if (wc.status)
		gs_fail("receive failed with %#x", wc.status);
}

static void *play(void *arg)
{
	struct player *pl = arg;
	struct gs_wc wc;

	for (unsigned i = 0; i < pl->rounds; i++) {
		if (!pl->first)
			await_message(pl->s);
		tl_recv(pl->s, 0, 64);
		send_flags(pl->s, 0);
		gs_cq_wait(pl->s->scq, &wc, 1);
		if (pl->first)
			await_message(pl->s);
	}
	return NULL;
}

/* Two guests that block between messages, in turns. */
static void test_ping_pong(void **state)
{
	struct pair *p = *state;
	struct player a = {.s = &p->a, .rounds = 10000, .first = true};
	struct player b = {.s = &p->b, .rounds = 10000};
	pthread_t t;

	tl_recv(&p->b, 0, 64);
	tl_recv(&p->a, 0, 64);
	assert_int_equal(pthread_create(&t, NULL, play, &b), 0);
	play(&a);
	pthread_join(t, NULL);
}

struct sender {
	struct side *s;
	unsigned count;
};

static void *send_bursts(void *arg)
{
	struct sender *sn = arg;
	uint64_t seed = 77;
	struct gs_wc wc;

	for (unsigned i = 0; i < sn->count; i++) {
		send_flags(sn->s, 0);
		gs_cq_wait(sn->s->scq, &wc, 1);
		if (wc.status)
			gs_fail("send failed with %#x", wc.status);
		/* Pauses of every length around the time that the other end takes to arm. */
		for (uint64_t n = gs_random(&seed) % 4096; n; n--)
			__asm__ volatile("" ::: "memory");
	}
	return NULL;
}

/* A sender that does not wait for the receiver: completions race with armings. */
static void test_race(void **state)
{
	struct pair *p = *state;
	struct sender sn = {.s = &p->a, .count = 30000};
	unsigned got = 0, posted = 0;
	pthread_t t;

	for (; posted < 60; posted++)
		tl_recv(&p->b, 0, 64);
	assert_int_equal(pthread_create(&t, NULL, send_bursts, &sn), 0);
	while (got < sn.count) {
		await_message(&p->b);
		got++;
		if (posted < sn.count) {
			tl_recv(&p->b, 0, 64);
			posted++;
		}
	}
	pthread_join(t, NULL);
	gs_cq_expect_none(p->b.rcq, 1);
}

/* Many CQs on one event queue: each gets its own events. */
static void test_many_queues(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	enum { N = 16 };
	struct side from[N], to[N];
	uint64_t seed = 3;

	for (unsigned i = 0; i < N; i++) {
		from[i] = p->a;
		to[i] = p->b;
		to[i].rcq = gs_cq_create(p->b.vm, 16);
		tl_side_qp(&from[i], GS_RC);
		tl_side_qp(&to[i], GS_RC);
		gs_qp_connect(from[i].qp, to[i].qp, &l);
		gs_cq_arm(to[i].rcq, false);
	}
	for (unsigned i = 0; i < 3000; i++) {
		unsigned n = (unsigned)(gs_random(&seed) % N);

		tl_recv(&to[n], 0, 64);
		send_flags(&from[n], 0);
		assert_true(gs_cq_wait_event(to[n].rcq, GS_WAIT_MS));
		gs_cq_expect(to[n].rcq, 0);
		gs_cq_expect(p->a.scq, 0);
		gs_cq_arm(to[n].rcq, false);
	}
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(to[i].rcq->events, 0);
}

/* ---- moderation ---- */

static void test_moderation(void **state)
{
	struct pair *p = *state;
	uint64_t t;

	serve_once(p);
	/* The count comes long before the period. */
	assert_int_equal(gs_cq_moderate(p->b.rcq, 4000, 8), 0);
	for (unsigned round = 0; round < 10; round++) {
		gs_cq_arm(p->b.rcq, false);
		for (unsigned i = 0; i < 8; i++)
			tl_send_recv(&p->a, &p->b, 8);
		assert_true(gs_cq_wait_event(p->b.rcq, GS_WAIT_MS));
	}
	assert_false(gs_cq_wait_event(p->b.rcq, QUIET_MS));
	/* The period, for fewer. */
	for (unsigned round = 0; round < 10; round++) {
		gs_cq_arm(p->b.rcq, false);
		t = gs_now_ns();
		tl_recv(&p->b, 0, 64);
		send_flags(&p->a, 0);
		assert_true(gs_cq_wait_event(p->b.rcq, GS_WAIT_MS));
		assert_true(gs_now_ns() - t >= 4000000);
		gs_cq_expect(p->a.scq, 0);
		gs_cq_expect(p->b.rcq, 0);
	}
	/* Off again. */
	assert_int_equal(gs_cq_moderate(p->b.rcq, 0, 0), 0);
	serve_once(p);
}

/* ---- resizing ---- */

static void test_resize(void **state)
{
	static const unsigned sizes[] = {64, 2048, 16, 4096, 32, 1024};
	struct pair *p = *state;

	for (unsigned i = 0; i < 40; i++) {
		unsigned waiting = i % 12;

		for (unsigned n = 0; n < waiting; n++) {
			tl_recv(&p->b, 64 * n, 64);
			tl_send(&p->a, 0, 64);
			gs_cq_expect(p->a.scq, 0);
		}
		assert_int_equal(gs_cq_resize(p->b.rcq, sizes[i % ARRAY_SIZE(sizes)]), 0);
		for (unsigned n = 0; n < waiting; n++)
			assert_int_equal(gs_cq_expect(p->b.rcq, 0).wr_id, 64 * n);
		for (unsigned n = 0; n < 100; n++)
			tl_send_recv(&p->a, &p->b, 8);
		serve_once(p);
	}
}

static void test_resize_under_traffic(void **state)
{
	struct pair *p = *state;
	struct sender sn = {.s = &p->a, .count = 20000};
	unsigned posted = 0;
	pthread_t t;

	for (; posted < 60; posted++)
		tl_recv(&p->b, 0, 64);
	assert_int_equal(pthread_create(&t, NULL, send_bursts, &sn), 0);
	for (unsigned got = 0; got < sn.count; got++) {
		await_message(&p->b);
		if (posted < sn.count) {
			tl_recv(&p->b, 0, 64);
			posted++;
		}
		if (got % 200 == 0)
			assert_int_equal(gs_cq_resize(p->b.rcq, got % 400 ? 128 : 512), 0);
	}
	pthread_join(t, NULL);
	gs_cq_expect_none(p->b.rcq, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, tl_pair_open, tl_pair_close)
		PAIR_TEST(test_arm),
		PAIR_TEST(test_arm_late),
		PAIR_TEST(test_arm_send_queue),
		PAIR_TEST(test_solicited),
		PAIR_TEST(test_solicited_error),
		PAIR_TEST(test_ping_pong),
		PAIR_TEST(test_race),
		PAIR_TEST(test_many_queues),
		PAIR_TEST(test_moderation),
		PAIR_TEST(test_resize),
		PAIR_TEST(test_resize_under_traffic),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
