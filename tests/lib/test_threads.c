/* SPDX-License-Identifier: BSD-2-Clause */
/* Tagged messages and one-sided operations from several threads on the same two endpoints. */
#include "rig.h"

#include "base/bytes.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define THREADS 3u
#define ROUNDS 150u
#define MOST 20000u

static struct rig rig;
static uint8_t *memory; /* at b, a part a thread */
static uint64_t counter;
static struct up_region *region;

struct worker {
	pthread_t thread;
	uint64_t number;
	uint8_t out[MOST], in[MOST], back[MOST];
	unsigned left; /* operations; changed inside of callbacks, which any thread may run */
	unsigned failed;
};

static void less(struct worker *w, int status)
{
	if (status)
		__atomic_fetch_add(&w->failed, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&w->left, 1, __ATOMIC_RELEASE);
}

static void done(void *ctx, int status, size_t bytes)
{
	less(ctx, status);
}

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	less(ctx, status);
}

/* Another thread may have what this one waits for, and need its processor. */
static void move(void)
{
	if (!(up_progress(rig.a) + up_progress(rig.b)))
		sched_yield();
}

static void wait_all(struct worker *w)
{
	while (__atomic_load_n(&w->left, __ATOMIC_ACQUIRE))
		move();
	if (w->failed)
		abort();
}

static void once(struct worker *w, unsigned round)
{
	size_t bytes = round % 4 == 3 ? MOST : 1 + round * 13 % 4000;
	struct iovec out = {w->out, bytes}, in = {w->in, bytes}, back = {w->back, bytes};
	struct up_rma_iov there = {w->number * MOST, bytes, 7};
	uint64_t one = 1, tag = w->number << 32 | round;

	memset(w->out, (int)(w->number * 50 + round), bytes);
	__atomic_store_n(&w->left, 4, __ATOMIC_RELAXED);
	if (up_tag_recv(rig.b, round & 1 ? UP_PEER_ANY : rig.to_a, tag, round & 2 ? 0 : 1ull << 60,
			&in, 1, received, w, NULL))
		abort();
	while (up_tag_send(rig.a, rig.to_b, tag, &out, 1, 0, 0, done, w) == -EAGAIN)
		move();
	while (up_rma_write(rig.a, rig.to_b, &out, 1, &there, 1, 0, 0, done, w) == -EAGAIN)
		move();
	while (up_rma_atomic(rig.a, rig.to_b, UP_ATOMIC_SUM, UP_UINT64, 1, &one, NULL, NULL, 0, 8,
			     0, done, w) == -EAGAIN)
		move();
	wait_all(w);
	__atomic_store_n(&w->left, 1, __ATOMIC_RELAXED);
	while (up_rma_read(rig.a, rig.to_b, &back, 1, &there, 1, 0, done, w) == -EAGAIN)
		move();
	wait_all(w);
	if (memcmp(w->in, w->out, bytes) != 0 || memcmp(w->back, w->out, bytes) != 0)
		abort();
}

static void *work(void *arg)
{
	for (unsigned round = 0; round < ROUNDS; round++)
		once(arg, round);
	return NULL;
}

static void run(enum up_progress_mode progress)
{
	struct up_ep_attr attr = {.thread = UP_THREAD_MULTIPLE, .progress = progress};
	struct worker *w = calloc(THREADS, sizeof(*w));
	struct up_region *sum;

	fake.direct = progress == UP_PROGRESS_AUTO;
	counter = 0;
	rig_setup(&rig, &attr);
	memory = calloc(THREADS, MOST);
	assert_int_equal(up_region_open(rig.b, memory, THREADS * MOST, 0,
					UP_RMA_READ | UP_RMA_WRITE, 7, &region),
			 0);
	assert_int_equal(
		up_region_open(rig.b, &counter, sizeof(counter), 0, UP_RMA_ATOMIC, 8, &sum), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].number = i;
		pthread_create(&w[i].thread, NULL, work, &w[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	up_region_close(sum);
	up_region_close(region);
	rig_teardown(&rig);
	assert_int_equal(counter, THREADS * ROUNDS);
	free(memory);
	free(w);
}

static void manual_progress(void **state)
{
	run(UP_PROGRESS_MANUAL);
}

static void automatic_progress(void **state)
{
	run(UP_PROGRESS_AUTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(manual_progress),
		cmocka_unit_test(automatic_progress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
