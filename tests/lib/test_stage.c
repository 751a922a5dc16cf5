/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations through the stage and in halves (rma/stage.c), over the shm lane. Which way is taken
 * is not left to the clock here: the tests say it, and when a target is late.
 */
#include "rig.h"

#include "rma/stage.h"

#include <stdlib.h>
#include <unistd.h>

#define MEMORY ((size_t)2 << 20)
#define BASE UINT64_C(0x7000000000000000)
#define ALL (UP_RMA_READ | UP_RMA_WRITE | UP_RMA_ATOMIC)
#define NEVER (UINT64_MAX / 2)

/* The way of the tests that are for both. */
static enum up_way tested;

struct bench {
	struct rig rig;
	uint8_t *remote, *local, *out;
	struct up_region *region;
	uint64_t key;
	struct up_rma_stage *stage;
	struct rig_done done, more;
};

static int put(struct bench *t, uint64_t addr, size_t len, struct rig_done *done)
{
	struct up_rma_iov to = {addr, len, t->key};
	struct iovec from = {t->local, len};

	*done = (struct rig_done){0};
	return up_rma_write(t->rig.a, t->rig.to_b, &from, 1, &to, 1, 0, 0, rig_done, done);
}

static int get(struct bench *t, uint64_t addr, size_t len, struct rig_done *done)
{
	struct up_rma_iov from = {addr, len, t->key};
	struct iovec to = {t->out, len};

	*done = (struct rig_done){0};
	return up_rma_read(t->rig.a, t->rig.to_b, &to, 1, &from, 1, 0, rig_done, done);
}

static void choose(struct bench *t, enum up_way way)
{
	for (unsigned i = 0; i < 4; i++)
		t->stage->choices[i / 2][i % 2] = (struct up_choice){.way = way, .next = NEVER};
}

static unsigned open_parts(struct bench *t)
{
	return (unsigned)__builtin_popcount(t->stage->used);
}

static void fill(struct bench *t, unsigned seed)
{
	for (size_t i = 0; i < MEMORY; i++)
		t->local[i] = (uint8_t)(i * 7 + seed + (i >> 8));
}

static void until(struct bench *t, struct rig_done *done, int status)
{
	rig_until(&t->rig, &done->calls, 1);
	assert_int_equal(done->calls, 1);
	assert_int_equal(done->status, status);
}

/* Long operations bring the window and the stage. */
static void setup(struct bench *t)
{
	const struct up_ep_attr attr = {.thread = UP_THREAD_SINGLE, .lanes = "shm"};
	uint64_t start = rig_now_us();

	memset(t, 0, sizeof(*t));
	rig_setup(&t->rig, &attr);
	t->remote = calloc(1, MEMORY);
	t->local = calloc(1, MEMORY);
	t->out = calloc(1, MEMORY);
	assert_int_equal(up_region_open(t->rig.b, t->remote, MEMORY, BASE, ALL, 0, &t->region), 0);
	t->key = up_region_key(t->region);
	do {
		rig_patience(start);
		assert_int_equal(put(t, BASE, 65536, &t->done), 0);
		until(t, &t->done, 0);
		rig_run(&t->rig);
		t->stage = t->rig.a->peers[t->rig.to_b]->rma->stage;
		assert_non_null(t->stage);
	} while (t->stage->state != UP_STAGE_READY ||
		 !up_rma_window(t->rig.a->peers[t->rig.to_b], t->key));
	t->stage->late = NEVER;
	choose(t, tested);
}

static void teardown(struct bench *t)
{
	if (t->region)
		up_region_close(t->region);
	rig_teardown(&t->rig);
	free(t->remote);
	free(t->local);
	free(t->out);
}

static void data(void **state)
{
	static const size_t sizes[] = {16384,  32767,  32768,	   32769,      65536,
				       100001, 131072, 131072 + 1, MEMORY - 5, MEMORY};
	struct bench t;

	setup(&t);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(sizes); i++) {
		size_t n = sizes[i], at = MEMORY - n < 3 ? 0 : 3;

		fill(&t, i);
		memset(t.remote, 0, MEMORY);
		bool alone = tested == UP_WAY_HALVES && n < 32768;

		assert_int_equal(put(&t, BASE + at, n, &t.done), 0);
		assert_int_equal(t.done.calls, alone);
		assert_int_equal(open_parts(&t) > 0, !alone);
		until(&t, &t.done, 0);
		assert_int_equal(t.done.bytes, n);
		assert_memory_equal(t.remote + at, t.local, n);
		assert_int_equal(at ? t.remote[at - 1] : 0, 0);
		assert_int_equal(at + n < MEMORY ? t.remote[at + n] : 0, 0);
		memset(t.out, 0, n);
		assert_int_equal(get(&t, BASE + at, n, &t.done), 0);
		assert_int_equal(t.done.calls, alone);
		until(&t, &t.done, 0);
		assert_memory_equal(t.out, t.local, n);
		assert_int_equal(open_parts(&t), 0);
	}
	teardown(&t);
}

/* Lists, whose pieces do not end where chunks do. */
static void pieces(void **state)
{
	struct up_rma_iov remote[4] = {{BASE + 1, 40000, 0},
				       {BASE + 50000, 0, 0},
				       {BASE + 100000, 70001, 0},
				       {BASE + 300000, 9, 0}};
	struct iovec local[2];
	struct bench t;

	setup(&t);
	fill(&t, 3);
	for (unsigned i = 0; i < 4; i++)
		remote[i].key = t.key;
	local[0] = (struct iovec){t.local, 33333};
	local[1] = (struct iovec){t.local + 33333, 110010 - 33333};
	t.done = t.more = (struct rig_done){0};
	assert_int_equal(up_rma_write(t.rig.a, t.rig.to_b, local, 2, remote, 4, 0, UP_DELIVERED,
				      rig_done, &t.done),
			 0);
	assert_true(open_parts(&t) > 0);
	until(&t, &t.done, 0);
	assert_memory_equal(t.remote + 1, t.local, 40000);
	assert_memory_equal(t.remote + 100000, t.local + 40000, 70001);
	assert_memory_equal(t.remote + 300000, t.local + 110001, 9);
	local[0].iov_base = t.out;
	local[1].iov_base = t.out + 33333;
	assert_int_equal(
		up_rma_read(t.rig.a, t.rig.to_b, local, 2, remote, 4, 0, rig_done, &t.more), 0);
	until(&t, &t.more, 0);
	assert_memory_equal(t.out, t.local, 110010);
	teardown(&t);
}

/* A piece that does not lie inside as a whole is not touched at all. */
static void bounds(void **state)
{
	struct bench t;

	setup(&t);
	fill(&t, 1);
	memset(t.remote, 0, MEMORY);
	assert_int_equal(put(&t, BASE + MEMORY - 65535, 65536, &t.done), 0);
	until(&t, &t.done, -ERANGE);
	for (size_t i = MEMORY - 65535; i < MEMORY; i++)
		assert_int_equal(t.remote[i], 0);
	assert_int_equal(get(&t, BASE - 1, 65536, &t.done), 0);
	until(&t, &t.done, -ERANGE);
	assert_int_equal(put(&t, UINT64_MAX - 9, 65536, &t.done), 0);
	until(&t, &t.done, -ERANGE);
	t.key ^= 1;
	assert_int_equal(put(&t, BASE, 65536, &t.done), 0);
	until(&t, &t.done, -ENOKEY);
	assert_int_equal(open_parts(&t), 0);
	teardown(&t);
}

/* Small and long ones to the same place, as they were started. */
static void order(void **state)
{
	struct rig_done done[3];
	struct bench t;

	setup(&t);
	for (unsigned round = 0; round < 8; round++) {
		fill(&t, round);
		assert_int_equal(put(&t, BASE, 300000, &done[0]), 0);
		assert_int_equal(put(&t, BASE + 100, 64, &done[1]), 0);
		choose(&t, round & 1 ? UP_WAY_DIRECT : tested);
		assert_int_equal(put(&t, BASE + 120, 65536, &done[2]), 0);
		choose(&t, round & 2 ? UP_WAY_DIRECT : tested);
		for (unsigned i = 0; i < 3; i++)
			until(&t, &done[i], 0);
		assert_memory_equal(t.remote, t.local, 100);
		assert_memory_equal(t.remote + 100, t.local, 20);
		assert_memory_equal(t.remote + 120, t.local, 65536);
		assert_memory_equal(t.remote + 65656, t.local + 65656, 300000 - 65656);
	}
	teardown(&t);
}

static unsigned run_a(struct bench *t, unsigned times)
{
	unsigned n = 0;

	while (times--)
		n += up_progress(t->rig.a);
	return n;
}

/* The target does not call its library: what was staged is done without it, and its packets do
 * nothing later. Then, when it looks, there is a stage again. */
static void takes_over(void **state)
{
	uint64_t start = rig_now_us();
	struct bench t;

	setup(&t);
	fill(&t, 1);
	assert_int_equal(put(&t, BASE, 300000, &t.done), 0);
	run_a(&t, 100);
	assert_int_equal(t.done.calls, 0);
	t.stage->late = 0;
	run_a(&t, 100);
	assert_int_equal(t.done.calls, 1);
	assert_int_equal(t.done.status, 0);
	assert_memory_equal(t.remote, t.local, 300000);
	assert_int_equal(t.stage->state, UP_STAGE_UNTOLD);
	/* And so is a read, and a write over the same; both at once now, as nothing is open. */
	assert_int_equal(get(&t, BASE, 300000, &t.done), 0);
	assert_int_equal(t.done.calls, 1);
	assert_memory_equal(t.out, t.local, 300000);
	fill(&t, 2);
	assert_int_equal(put(&t, BASE, 300000, &t.done), 0);
	assert_int_equal(t.done.calls, 1);
	rig_run(&t.rig);
	assert_memory_equal(t.remote, t.local, 300000);
	assert_int_equal(t.done.calls, 1);
	while (t.stage->state != UP_STAGE_READY) {
		rig_patience(start);
		assert_int_equal(put(&t, BASE, 65536, &t.done), 0);
		until(&t, &t.done, 0);
		rig_run(&t.rig);
	}
	t.stage->late = NEVER;
	choose(&t, tested);
	fill(&t, 3);
	assert_int_equal(put(&t, BASE, 300000, &t.done), 0);
	assert_true(open_parts(&t) > 0);
	until(&t, &t.done, 0);
	assert_memory_equal(t.remote, t.local, 300000);
	teardown(&t);
}

/* A target that was stopped in the middle of a chunk has the memory until it goes on: nobody waits
 * for that inside of progress, nor when the peer is removed. */
static void stopped_inside(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		uint64_t *turn;
		struct bench t;

		setup(&t);
		fill(&t, 5);
		assert_int_equal(put(&t, BASE, 300000, &t.done), 0);
		run_a(&t, 100);
		turn = t.rig.b->peers[t.rig.to_a]->link->turn;
		__atomic_store_n(turn, *turn + 1, __ATOMIC_RELEASE);
		t.stage->late = 0;
		/* It would have no end. */
		alarm(RIG_PATIENCE_MS / 1000);
		run_a(&t, 100);
		assert_int_equal(t.done.calls, 0);
		if (i) {
			up_peer_remove(t.rig.a, t.rig.to_b);
			assert_int_equal(t.done.calls, 1);
			assert_int_equal(t.done.status, -ECANCELED);
		}
		alarm(0);
		__atomic_store_n(turn, *turn + 1, __ATOMIC_RELEASE);
		if (!i) {
			until(&t, &t.done, 0);
			assert_memory_equal(t.remote, t.local, 300000);
		}
		teardown(&t);
	}
}

/* The same for a read, and for several operations of which the target did a part. */
static void takes_over_the_rest(void **state)
{
	struct rig_done done[3];
	struct bench t;

	setup(&t);
	fill(&t, 1);
	memcpy(t.remote + 1000000, t.local, 200000);
	assert_int_equal(put(&t, BASE, 200000, &done[0]), 0);
	assert_int_equal(get(&t, BASE + 1000000, 200000, &done[1]), 0);
	assert_int_equal(put(&t, BASE + 150000, 200000, &done[2]), 0);
	up_progress(t.rig.b);
	run_a(&t, 1);
	assert_true(open_parts(&t) > 0);
	t.stage->late = 0;
	run_a(&t, 200);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(done[i].calls, 1);
		assert_int_equal(done[i].status, 0);
	}
	assert_memory_equal(t.remote, t.local, 150000);
	assert_memory_equal(t.remote + 150000, t.local, 200000);
	assert_memory_equal(t.out, t.local, 200000);
	memset(t.remote, 0, MEMORY);
	rig_run(&t.rig);
	for (size_t i = 0; i < MEMORY; i++)
		assert_int_equal(t.remote[i], 0);
	teardown(&t);
}

/* The target did it, and its answer has not been seen: it is not done again. */
static void leaves_what_was_done(void **state)
{
	struct bench t;

	setup(&t);
	fill(&t, 1);
	assert_int_equal(put(&t, BASE, 65536, &t.done), 0);
	up_progress(t.rig.b);
	assert_memory_equal(t.remote, t.local, 65536);
	memset(t.remote, 0, 65536);
	/* The lane is not polled here: its answers would end it. */
	t.stage->late = 0;
	for (unsigned i = 0; i < 64; i++)
		up_rma_stage_watch(t.stage);
	assert_int_equal(t.stage->state, UP_STAGE_UNTOLD);
	assert_int_equal(t.remote[1], 0);
	until(&t, &t.done, 0);
	assert_int_equal(t.remote[1], 0);
	teardown(&t);
}

static void late_with_a_small_one_behind(struct bench *t)
{
	setup(t);
	fill(t, 1);
	assert_int_equal(put(t, BASE, 65536, &t->done), 0);
	assert_int_equal(put(t, BASE + 10, 64, &t->more), 0);
	t->stage->late = 0;
	run_a(t, 200);
}

/* With a small write behind it that the target may find at any time, nothing is done for it. */
static void waits_for_what_is_behind(void **state)
{
	struct bench t;

	late_with_a_small_one_behind(&t);
	assert_int_equal(t.done.calls, 0);
	assert_int_equal(t.more.calls, 0);
	until(&t, &t.more, 0);
	assert_int_equal(t.done.calls, 1);
	assert_memory_equal(t.remote + 10, t.local, 64);
	assert_memory_equal(t.remote + 74, t.local + 74, 65536 - 74);
	teardown(&t);
}

/* Who sleeps is awake while it may have to take over. */
static void does_not_sleep_on_it(void **state)
{
	struct bench t;

	setup(&t);
	fill(&t, 1);
	t.stage->late = 1000000;
	assert_int_equal(put(&t, BASE, 65536, &t.done), 0);
	while (!t.done.calls)
		up_ep_wait(t.rig.a, -1);
	assert_memory_equal(t.remote, t.local, 65536);
	teardown(&t);
}

static void region_closes(void **state)
{
	struct bench t;

	setup(&t);
	memset(t.remote, 5, MEMORY);
	assert_int_equal(put(&t, BASE, 300000, &t.done), 0);
	up_region_close(t.region);
	t.region = NULL;
	until(&t, &t.done, -ENOKEY);
	/* This end's half was written while it was open. */
	for (size_t i = 0; i < (tested == UP_WAY_HALVES ? 140000 : MEMORY); i++)
		assert_int_equal(t.remote[i], 5);
	/* And the same taken over. */
	teardown(&t);
	setup(&t);
	assert_int_equal(put(&t, BASE, 300000, &t.done), 0);
	up_region_close(t.region);
	t.region = NULL;
	t.stage->late = 0;
	run_a(&t, 200);
	until(&t, &t.done, -ENOKEY);
	teardown(&t);
}

static void peer_goes(void **state)
{
	struct bench t;

	for (unsigned late = 0; late < 2; late++) {
		setup(&t);
		assert_int_equal(put(&t, BASE, 300000, &t.done), 0);
		if (late) {
			/* What was left behind of them ends too. */
			t.stage->late = 0;
			run_a(&t, 200);
			assert_int_equal(t.done.calls, 1);
		}
		up_peer_remove(t.rig.a, t.rig.to_b);
		assert_int_equal(t.done.calls, 1);
		assert_int_equal(t.done.status, late ? 0 : -ECANCELED);
		rig_run(&t.rig);
		teardown(&t);
	}
}

/* One of a half waits, so that the target can be done without. */
static void small_ones_wait(void **state)
{
	struct bench t;

	late_with_a_small_one_behind(&t);
	assert_int_equal(t.done.calls, 1);
	assert_memory_equal(t.remote, t.local, 65536);
	until(&t, &t.more, 0);
	assert_memory_equal(t.remote + 10, t.local, 64);
	teardown(&t);
}

/* With a message open, which may need the application to end, it goes through the stage. */
static void beside_a_message(void **state)
{
	struct iovec none = {NULL, 0};
	struct rig_done sent = {0};
	struct bench t;

	setup(&t);
	fill(&t, 1);
	assert_int_equal(
		up_tag_send(t.rig.a, t.rig.to_b, 1, &none, 0, 0, UP_DELIVERED, rig_done, &sent), 0);
	assert_int_equal(put(&t, BASE, 300000, &t.done), 0);
	until(&t, &t.done, 0);
	assert_int_equal(sent.calls, 0);
	assert_memory_equal(t.remote, t.local, 300000);
	teardown(&t);
}

static int refused(struct up_link *link, const struct iovec *iov, size_t n, uint64_t at, size_t len)
{
	return -EPERM;
}

/* A target that cannot reach the initiator's memory: that does all by itself, in order. */
static void target_cannot(void **state)
{
	struct up_lane_ops ops;
	struct up_lane *lane;
	struct bench t;

	setup(&t);
	fill(&t, 1);
	lane = t.rig.b->peers[t.rig.to_a]->link->lane;
	ops = *lane->ops;
	ops.get = ops.put = refused;
	lane->ops = &ops;
	assert_int_equal(put(&t, BASE, 300000, &t.done), 0);
	assert_true(open_parts(&t) > 0);
	assert_int_equal(put(&t, BASE + 10, 64, &t.more), 0);
	until(&t, &t.done, 0);
	until(&t, &t.more, 0);
	assert_memory_equal(t.remote, t.local, 10);
	assert_memory_equal(t.remote + 10, t.local, 64);
	assert_memory_equal(t.remote + 74, t.local + 74, 300000 - 74);
	assert_int_equal(get(&t, BASE + 74, 200000, &t.done), 0);
	until(&t, &t.done, 0);
	assert_memory_equal(t.out, t.local + 74, 200000);
	teardown(&t);
}

/* The target has mapped it again, but an initiator that has nothing open polls for no answer. */
static void ready_without_polling(void **state)
{
	struct bench t;

	setup(&t);
	assert_int_equal(put(&t, BASE, 300000, &t.done), 0);
	t.stage->late = 0;
	run_a(&t, 200);
	assert_int_equal(t.done.calls, 1);
	t.stage->again = 0;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(t.stage->state, i ? UP_STAGE_TELLING : UP_STAGE_UNTOLD);
		assert_int_equal(put(&t, BASE, 65536, &t.done), 0);
		assert_int_equal(t.done.calls, 1);
	}
	up_progress(t.rig.b);
	assert_int_equal(put(&t, BASE, 65536, &t.done), 0);
	assert_int_equal(t.stage->state, UP_STAGE_READY);
	rig_run(&t.rig);
	teardown(&t);
}

static int by_stage(void **state)
{
	tested = UP_WAY_STAGED;
	return 0;
}

static int by_halves(void **state)
{
	tested = UP_WAY_HALVES;
	return 0;
}

#define STAGED(test) cmocka_unit_test_setup(test, by_stage)
#define HALVES(test) cmocka_unit_test_setup(test, by_halves)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STAGED(data),
		STAGED(pieces),
		STAGED(bounds),
		STAGED(order),
		STAGED(takes_over),
		STAGED(stopped_inside),
		STAGED(takes_over_the_rest),
		STAGED(leaves_what_was_done),
		STAGED(does_not_sleep_on_it),
		STAGED(region_closes),
		STAGED(peer_goes),
		STAGED(waits_for_what_is_behind),
		STAGED(ready_without_polling),
		HALVES(data),
		HALVES(pieces),
		HALVES(bounds),
		HALVES(order),
		HALVES(takes_over),
		HALVES(stopped_inside),
		HALVES(takes_over_the_rest),
		HALVES(leaves_what_was_done),
		HALVES(does_not_sleep_on_it),
		HALVES(region_closes),
		HALVES(peer_goes),
		HALVES(small_ones_wait),
		HALVES(beside_a_message),
		HALVES(target_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
