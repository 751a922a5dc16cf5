/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations that the initiator does alone (rma/window.c), over the shm lane: loads and stores on
 * memory of up_mem_alloc(), and long ones on any. That one went this way is seen by its end inside
 * of the call, without the target's progress. With RIG_THREADS=multiple the same between endpoints
 * of several threads, which do not take the quick way (rma/quick.h).
 */
#include "rig.h"

#include "rma/rma.h"

#include <underpass/am.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#define MEMORY ((size_t)2 << 20)
#define BASE UINT64_C(0x7000000000000000)
#define ALL (UP_RMA_READ | UP_RMA_WRITE | UP_RMA_ATOMIC)

/* Memory at b that a maps. */
struct bench {
	struct rig rig;
	uint8_t *remote, *local, *out;
	struct up_region *region;
	uint64_t key;
	struct rig_done done;
	unsigned notes;
	size_t note_bytes;
};

static void notify(void *ctx, up_peer from, uint64_t imm, size_t bytes)
{
	struct bench *t = ctx;

	t->notes++;
	t->note_bytes = bytes;
}

static int put(struct bench *t, uint64_t addr, size_t len, uint64_t key, unsigned flags)
{
	struct up_rma_iov to = {addr, len, key};
	struct iovec from = {t->local, len};

	t->done = (struct rig_done){0};
	return up_rma_write(t->rig.a, t->rig.to_b, &from, 1, &to, 1, 7, flags, rig_done, &t->done);
}

static int get(struct bench *t, uint64_t addr, size_t len, uint64_t key, unsigned flags)
{
	struct up_rma_iov from = {addr, len, key};
	struct iovec to = {t->out, len};

	t->done = (struct rig_done){0};
	return up_rma_read(t->rig.a, t->rig.to_b, &to, 1, &from, 1, flags, rig_done, &t->done);
}

static int add(struct bench *t, uint64_t addr, uint64_t key, uint64_t *old)
{
	const uint64_t one = 1;

	t->done = (struct rig_done){0};
	return up_rma_atomic(t->rig.a, t->rig.to_b, UP_ATOMIC_SUM, UP_UINT64, 1, &one, NULL, old,
			     addr, key, 0, rig_done, &t->done);
}

static unsigned windows(struct bench *t)
{
	struct up_rma_peer *rp = t->rig.a->peers[t->rig.to_b]->rma;

	return rp ? rp->nwindows : 0;
}

/* The first operation goes by packets, and brings the window. */
static void warm(struct bench *t, uint64_t base, uint64_t key)
{
	assert_int_equal(put(t, base, 8, key, 0), 0);
	assert_int_equal(t->done.calls, 0);
	rig_run(&t->rig);
	assert_int_equal(t->done.calls, 1);
	assert_int_equal(windows(t), 1);
}

static void setup(struct bench *t)
{
	const char *threads = getenv("RIG_THREADS");
	const struct up_ep_attr attr = {
		.thread = threads && !strcmp(threads, "multiple") ? UP_THREAD_MULTIPLE
								  : UP_THREAD_SINGLE,
		.lanes = "shm",
	};

	memset(t, 0, sizeof(*t));
	rig_setup(&t->rig, &attr);
	t->remote = up_mem_alloc(t->rig.b, MEMORY);
	assert_non_null(t->remote);
	t->local = calloc(1, MEMORY);
	t->out = calloc(1, MEMORY);
	assert_int_equal(up_region_open(t->rig.b, t->remote, MEMORY, BASE, ALL, 0, &t->region), 0);
	t->key = up_region_key(t->region);
	up_rma_set_notify(t->rig.b, notify, t);
	warm(t, BASE, t->key);
}

static void teardown(struct bench *t)
{
	up_region_close(t->region);
	rig_teardown(&t->rig);
	free(t->local);
	free(t->out);
}

/* It ended inside of the call. */
static void ended(const struct bench *t, int started, int status)
{
	assert_int_equal(started, 0);
	assert_int_equal(t->done.calls, 1);
	assert_int_equal(t->done.status, status);
}

static void data(void **state)
{
	static const size_t sizes[] = {1,      2,      3,      4,	   7,	  8,
				       9,      64,     4096,   4097,	   70000, (256 << 10) - 1,
				       262144, 262145, 786433, MEMORY - 5, MEMORY};
	struct bench t;

	setup(&t);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(sizes); i++) {
		size_t n = sizes[i], at = MEMORY - n < 3 ? 0 : 3;

		for (size_t k = 0; k < n; k++)
			t.local[k] = (uint8_t)(k * 7 + i + (k >> 8));
		memset(t.remote, 0, MEMORY);
		ended(&t, put(&t, BASE + at, n, t.key, 0), 0);
		assert_int_equal(t.done.bytes, n);
		assert_memory_equal(t.remote + at, t.local, n);
		assert_int_equal(at ? t.remote[at - 1] : 0, 0);
		assert_int_equal(at + n < MEMORY ? t.remote[at + n] : 0, 0);
		memset(t.out, 0, n);
		ended(&t, get(&t, BASE + at, n, t.key, UP_FENCE), 0);
		assert_memory_equal(t.out, t.local, n);
	}
	/* Injected: no word of its end. */
	assert_int_equal(put(&t, BASE, 8, t.key, UP_INJECT), 0);
	assert_int_equal(t.done.calls, 0);
	assert_memory_equal(t.remote, t.local, 8);
	teardown(&t);
}

static void pieces(void **state)
{
	struct bench t;
	struct up_rma_iov there[3];
	struct iovec here[3];

	setup(&t);
	for (size_t k = 0; k < 3000; k++)
		t.local[k] = (uint8_t)(k * 13);
	there[0] = (struct up_rma_iov){BASE + 5000, 1000, t.key};
	there[1] = (struct up_rma_iov){BASE + 77, 0, 12345};
	there[2] = (struct up_rma_iov){BASE + 100, 2000, t.key};
	here[0] = (struct iovec){t.local, 1};
	here[1] = (struct iovec){t.local + 1, 1998};
	here[2] = (struct iovec){t.local + 1999, 1001};
	t.done.calls = 0;
	ended(&t, up_rma_write(t.rig.a, t.rig.to_b, here, 3, there, 3, 0, 0, rig_done, &t.done), 0);
	assert_memory_equal(t.remote + 5000, t.local, 1000);
	assert_memory_equal(t.remote + 100, t.local + 1000, 2000);
	for (unsigned i = 0; i < 3; i++)
		here[i].iov_base = t.out + ((uint8_t *)here[i].iov_base - t.local);
	t.done.calls = 0;
	ended(&t, up_rma_read(t.rig.a, t.rig.to_b, here, 3, there, 3, 0, rig_done, &t.done), 0);
	assert_memory_equal(t.out, t.local, 3000);
	/* One piece without a window: all of it goes by packets. */
	there[2].key++;
	t.done.calls = 0;
	assert_int_equal(
		up_rma_write(t.rig.a, t.rig.to_b, here, 3, there, 3, 0, 0, rig_done, &t.done), 0);
	assert_int_equal(t.done.calls, 0);
	rig_run(&t.rig);
	assert_int_equal(t.done.status, -ENOKEY);
	teardown(&t);
}

/* The end of the memory is another region's: nothing of it changes. */
static void rights_and_bounds(void **state)
{
	struct up_region *half, *mute;
	uint64_t old = 0;
	struct bench t;

	setup(&t);
	assert_int_equal(
		up_region_open(t.rig.b, t.remote, MEMORY / 2, BASE, UP_RMA_WRITE, 5, &half), 0);
	assert_int_equal(up_region_open(t.rig.b, t.remote, 64, UINT64_MAX - 63, 0, 6, &mute), 0);
	put(&t, BASE, 8, 5, 0);
	rig_run(&t.rig);
	assert_int_equal(windows(&t), 2);
	memset(t.local, 0xaa, MEMORY);
	memset(t.remote, 0, MEMORY);
	ended(&t, put(&t, BASE + MEMORY / 2 - 7, 8, 5, 0), -ERANGE);
	ended(&t, put(&t, BASE - 1, 8, 5, UP_INJECT), -ERANGE);
	ended(&t, put(&t, BASE, MEMORY / 2 + 1, 5, 0), -ERANGE);
	ended(&t, put(&t, UINT64_MAX - 3, 8, 5, 0), -ERANGE);
	ended(&t, put(&t, UINT64_MAX - 7, 8, 5, 0), -ERANGE);
	ended(&t, get(&t, BASE, 8, 5, 0), -EACCES);
	ended(&t, add(&t, BASE, 5, &old), -EACCES);
	ended(&t, add(&t, BASE + 4, t.key, &old), -EINVAL);
	ended(&t, add(&t, BASE + MEMORY - 4, t.key, &old), -ERANGE);
	/* No right at all: refused by the target, so it never learns that there is something. */
	put(&t, UINT64_MAX - 63, 8, 6, 0);
	rig_run(&t.rig);
	assert_int_equal(t.done.status, -EACCES);
	assert_int_equal(windows(&t), 2);
	for (size_t i = 0; i < MEMORY; i++)
		assert_int_equal(t.remote[i], 0);
	up_region_close(half);
	up_region_close(mute);
	teardown(&t);
}

static void atomics(void **state)
{
	const uint32_t operand[3] = {5, 6, 7}, compare[3] = {0, 9, 0};
	uint32_t fetch[3] = {1, 1, 1}, *at;
	uint64_t old = 99;
	struct bench t;

	setup(&t);
	at = (uint32_t *)(t.remote + 16);
	for (uint64_t i = 0; i < 10; i++) {
		ended(&t, add(&t, BASE, t.key, &old), 0);
		assert_int_equal(old, i);
	}
	t.done = (struct rig_done){0};
	ended(&t,
	      up_rma_atomic(t.rig.a, t.rig.to_b, UP_ATOMIC_CSWAP, UP_UINT32, 3, operand, compare,
			    fetch, BASE + 16, t.key, UP_FENCE, rig_done, &t.done),
	      0);
	assert_int_equal(t.done.bytes, 12);
	assert_int_equal(at[0], 5);
	assert_int_equal(at[1], 0);
	assert_int_equal(at[2], 7);
	assert_int_equal(fetch[0] | fetch[1] | fetch[2], 0);
	teardown(&t);
}

/* Nothing overtakes what is open with the peer: small packets, a large write, an immediate. */
static void order(void **state)
{
	struct rig_done large = {0};
	struct up_rma_iov to = {BASE, 500000, 0};
	struct iovec from = {NULL, 500000};
	uint8_t *other = calloc(1, 500000);
	struct up_region *plain;
	struct bench t;

	setup(&t);
	assert_int_equal(up_region_open(t.rig.b, t.remote, 500000, BASE, UP_RMA_WRITE, 9, &plain),
			 0);
	from.iov_base = other;
	memset(other, 1, 500000);
	memset(t.local, 2, 8);
	/* A key that was not used yet, so these go by packets, and the next one behind them. */
	to.key = 9;
	assert_int_equal(
		up_rma_write(t.rig.a, t.rig.to_b, &from, 1, &to, 1, 0, 0, rig_done, &large), 0);
	assert_int_equal(put(&t, BASE, 8, t.key, 0), 0);
	assert_int_equal(t.done.calls, 0);
	assert_int_equal(t.remote[0], 0);
	rig_run(&t.rig);
	assert_int_equal(large.calls, 1);
	assert_int_equal(t.done.calls, 1);
	assert_int_equal(t.remote[0], 2);
	assert_int_equal(t.remote[8], 1);
	/* The immediate tells after its data is there, and comes by itself. */
	memset(t.local, 3, 8);
	assert_int_equal(put(&t, BASE, 8, t.key, UP_IMM), 0);
	memset(t.local, 4, 8);
	assert_int_equal(get(&t, BASE, 8, t.key, 0), 0);
	assert_int_equal(t.done.calls, 0);
	rig_run(&t.rig);
	assert_int_equal(t.notes, 1);
	assert_int_equal(t.note_bytes, 8);
	assert_int_equal(t.out[0], 3);
	ended(&t, put(&t, BASE, 8, t.key, 0), 0);
	assert_int_equal(t.remote[0], 4);
	up_region_close(plain);
	teardown(&t);
	free(other);
}

#define LONG ((size_t)100000)

/*
 * Other memory than of up_mem_alloc() is not mapped, but long operations on it are the initiator's
 * alone, too; short ones go by packets.
 */
static void ordinary_memory(void **state)
{
	uint8_t *plain = calloc(1, MEMORY);
	struct up_region *region;
	struct bench t;

	setup(&t);
	assert_int_equal(up_region_open(t.rig.b, plain, MEMORY, 0, UP_RMA_WRITE, 50, &region), 0);
	for (size_t i = 0; i < MEMORY; i++)
		t.local[i] = (uint8_t)(i * 11 + (i >> 8));
	assert_int_equal(put(&t, 0, 8, 50, 0), 0);
	rig_run(&t.rig);
	assert_int_equal(windows(&t), 1);
	assert_int_equal(put(&t, 0, LONG, 50, 0), 0);
	assert_int_equal(t.done.calls, 0);
	rig_run(&t.rig);
	assert_int_equal(windows(&t), 2);
	ended(&t, put(&t, 5, MEMORY - 5, 50, 0), 0);
	assert_memory_equal(plain + 5, t.local, MEMORY - 5);
	ended(&t, put(&t, MEMORY - LONG + 1, LONG, 50, 0), -ERANGE);
	ended(&t, put(&t, UINT64_MAX - 5, LONG, 50, 0), -ERANGE);
	ended(&t, get(&t, 0, LONG, 50, 0), -EACCES);
	assert_int_equal(put(&t, 0, 8, 50, 0), 0);
	assert_int_equal(t.done.calls, 0);
	rig_run(&t.rig);
	up_region_close(region);
	memset(plain, 0, MEMORY);
	assert_int_equal(put(&t, 0, LONG, 50, 0), 0);
	rig_run(&t.rig);
	assert_int_equal(t.done.status, -ENOKEY);
	assert_int_equal(plain[0], 0);
	teardown(&t);
	free(plain);
}

/* Of many that are started at once each waits for the one before; then it is the initiator's. */
static void one_behind_another(void **state)
{
	enum { N = 32 };
	uint8_t *plain = calloc(1, LONG);
	struct rig_done done[N] = {0};
	struct up_region *region;
	struct bench t;

	setup(&t);
	assert_int_equal(up_region_open(t.rig.b, plain, LONG, 0, ALL, 50, &region), 0);
	assert_int_equal(put(&t, 0, LONG, 50, 0), 0);
	rig_run(&t.rig);
	/* A small one first, which needs the target. */
	assert_int_equal(put(&t, 0, 8, 50, 0), 0);
	for (unsigned i = 0; i < N; i++) {
		struct up_rma_iov to = {0, 20000, 50};
		struct iovec from = {t.local + i * 20000, 20000};

		memset(from.iov_base, (int)i + 1, from.iov_len);
		assert_int_equal(up_rma_write(t.rig.a, t.rig.to_b, &from, 1, &to, 1, 0, 0, rig_done,
					      &done[i]),
				 0);
		assert_int_equal(done[i].calls, 0);
	}
	rig_until(&t.rig, &done[N - 1].calls, 1);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(done[i].calls, 1);
		assert_int_equal(done[i].status, 0);
	}
	assert_memory_equal(plain, t.local + (N - 1) * 20000, 20000);
	up_region_close(region);
	teardown(&t);
	free(plain);
}

/* Without progress a dead peer would never be noticed: now and then one goes by packets. */
static void run_without_progress(void **state)
{
	struct bench t;
	unsigned i = 0;

	setup(&t);
	while (!put(&t, BASE, 8, t.key, 0) && t.done.calls)
		assert_in_range(++i, 1, 100000);
	assert_int_equal(t.done.calls, 0);
	rig_run(&t.rig);
	assert_int_equal(t.done.calls, 1);
	ended(&t, put(&t, BASE, 8, t.key, 0), 0);
	teardown(&t);
}

struct nested {
	struct bench t;
	unsigned calls, progress;
};

static void poll_inside(void *ctx, int status, size_t bytes)
{
	struct nested *n = ctx;
	const struct rig_done before = n->t.done;
	struct up_rma_iov to = {BASE + 8, 8, n->t.key};
	struct iovec from = {n->t.local, 8};

	n->progress += up_progress(n->t.rig.a);
	assert_int_equal(n->t.done.calls, before.calls);
	/* Another one may start, and ends inside of this. */
	if (!n->calls++)
		assert_int_equal(up_rma_write(n->t.rig.a, n->t.rig.to_b, &from, 1, &to, 1, 0, 0,
					      poll_inside, n),
				 0);
}

/* A callback inside of the call is like any other: nothing moves while it runs. */
static void callback(void **state)
{
	struct up_rma_iov to;
	struct iovec from;
	struct nested n = {0};

	setup(&n.t);
	memset(n.t.local, 0x33, 8);
	to = (struct up_rma_iov){BASE, 8, n.t.key};
	from = (struct iovec){n.t.local, 8};
	/* Something for progress to find. */
	assert_int_equal(
		up_am_request(n.t.rig.b, n.t.rig.to_a, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL), 0);
	assert_int_equal(
		up_rma_write(n.t.rig.a, n.t.rig.to_b, &from, 1, &to, 1, 0, 0, poll_inside, &n), 0);
	assert_int_equal(n.calls, 2);
	assert_int_equal(n.progress, 0);
	assert_int_equal(n.t.remote[15], 0x33);
	assert_true(up_progress(n.t.rig.a) > 0);
	teardown(&n.t);
}

/* The key is closed, the memory another's: the old window leads nowhere. */
static void closed(void **state)
{
	struct up_region *again;
	uint8_t *other;
	struct bench t;

	setup(&t);
	up_region_close(t.region);
	memset(t.local, 0xee, 4096);
	assert_int_equal(put(&t, BASE, 8, t.key, 0), 0);
	assert_int_equal(t.done.calls, 0);
	assert_int_equal(windows(&t), 0);
	rig_run(&t.rig);
	assert_int_equal(t.done.status, -ENOKEY);
	assert_int_equal(t.remote[0], 0);
	up_mem_free(t.rig.b, t.remote);
	t.remote = up_mem_alloc(t.rig.b, 4096);
	assert_int_equal(up_region_open(t.rig.b, t.remote, 4096, 0, ALL, 42, &t.region), 0);
	warm(&t, 0, 42);
	/* The same key for other memory. */
	up_region_close(t.region);
	other = up_mem_alloc(t.rig.b, 4096);
	assert_int_equal(up_region_open(t.rig.b, other, 4096, 0, ALL, 42, &again), 0);
	memset(t.remote, 0, 4096);
	warm(&t, 0, 42);
	ended(&t, put(&t, 0, 4096, 42, 0), 0);
	assert_int_equal(t.remote[0], 0);
	assert_int_equal(other[4095], 0xee);
	/* One that is still open when the endpoint closes. */
	t.region = NULL;
	teardown(&t);
}

/* Memory that was freed takes no pages, although a peer still has it mapped. */
static void freed(void **state)
{
	struct bench t;
	uint8_t *seen;

	setup(&t);
	memset(t.local, 0x77, MEMORY);
	ended(&t, put(&t, BASE, MEMORY, t.key, 0), 0);
	seen = t.rig.a->peers[t.rig.to_b]->rma->last->view.memory;
	assert_int_equal(seen[MEMORY - 1], 0x77);
	up_region_close(t.region);
	t.region = NULL;
	up_mem_free(t.rig.b, t.remote);
	assert_int_equal(seen[MEMORY - 1], 0);
	teardown(&t);
}

/* ---- closing in the middle of use ---- */

#define ROUNDS 200u

struct race {
	struct bench t;
	uint64_t key;  /* that is open now; __atomic */
	unsigned used; /* accesses by loads and stores; __atomic */
	bool stop;
};

/* The other thread may need this one's processor. */
static void move(struct up_ep *ep)
{
	if (!up_progress(ep))
		sched_yield();
}

/* The initiator: writes the whole of whatever is open. */
static void *hammer(void *arg)
{
	struct race *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE)) {
		uint64_t key = __atomic_load_n(&r->key, __ATOMIC_ACQUIRE);

		if (put(&r->t, 0, MEMORY, key, 0)) {
			move(r->t.rig.a);
			continue;
		}
		if (r->t.done.calls)
			__atomic_add_fetch(&r->used, 1, __ATOMIC_RELEASE);
		while (!r->t.done.calls)
			move(r->t.rig.a);
		up_progress(r->t.rig.a);
	}
	return NULL;
}

static void untouched(const struct race *r)
{
	for (size_t i = 0; i < MEMORY; i += 512)
		assert_int_equal(r->t.remote[i], 0);
}

/* From the return of the close on the memory is the application's alone. */
static void close_in_use_of(uint8_t *memory)
{
	struct race r = {0};
	pthread_t thread;

	setup(&r.t);
	if (memory)
		r.t.remote = memory;
	memset(r.t.local, 0xff, MEMORY);
	pthread_create(&thread, NULL, hammer, &r);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		struct up_region *region;
		unsigned used = __atomic_load_n(&r.used, __ATOMIC_ACQUIRE);
		uint64_t key = 1000 + i % 3;

		assert_int_equal(up_region_open(r.t.rig.b, r.t.remote, MEMORY, 0, UP_RMA_WRITE, key,
						&region),
				 0);
		__atomic_store_n(&r.key, key, __ATOMIC_RELEASE);
		while (__atomic_load_n(&r.used, __ATOMIC_ACQUIRE) < used + 2)
			move(r.t.rig.b);
		for (volatile uint64_t k = i * 331 % 4001; k; k--)
			;
		up_region_close(region);
		memset(r.t.remote, 0, MEMORY);
		for (unsigned k = 0; k < 10; k++) {
			untouched(&r);
			up_progress(r.t.rig.b);
		}
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELEASE);
	/* Its last write may wait for an answer. */
	while (pthread_tryjoin_np(thread, NULL))
		move(r.t.rig.b);
	untouched(&r);
	teardown(&r.t);
}

static void close_in_use(void **state)
{
	uint8_t *memory = calloc(1, MEMORY);

	close_in_use_of(NULL);
	close_in_use_of(memory);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data),
		cmocka_unit_test(pieces),
		cmocka_unit_test(rights_and_bounds),
		cmocka_unit_test(atomics),
		cmocka_unit_test(order),
		cmocka_unit_test(ordinary_memory),
		cmocka_unit_test(one_behind_another),
		cmocka_unit_test(run_without_progress),
		cmocka_unit_test(callback),
		cmocka_unit_test(closed),
		cmocka_unit_test(freed),
		cmocka_unit_test(close_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
