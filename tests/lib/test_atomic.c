/* SPDX-License-Identifier: BSD-2-Clause */
/* Atomics: every operation and type against plain arithmetic, and with threads at the target. */
#include "rig.h"

#include "base/bytes.h"

#include <pthread.h>
#include <stdlib.h>

/* Wide enough for all integers, and exact for the small values that are used. */
typedef __int128 wide;

static const unsigned sizes[UP_ATOMIC_TYPES] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};

static bool is_float(enum up_atomic_type type)
{
	return type == UP_FLOAT || type == UP_DOUBLE;
}

static bool is_signed(enum up_atomic_type type)
{
	return !is_float(type) && !(type & 1);
}

/* An element as a number; floating point holds whole numbers here. */
static wide load(enum up_atomic_type type, const void *at)
{
	uint64_t raw = 0;
	double d;
	float f;

	if (type == UP_FLOAT) {
		memcpy(&f, at, sizeof(f));
		return (wide)f;
	}
	if (type == UP_DOUBLE) {
		memcpy(&d, at, sizeof(d));
		return (wide)d;
	}
	memcpy(&raw, at, sizes[type]);
	if (is_signed(type) && sizes[type] < 8 && raw >> (sizes[type] * 8 - 1))
		raw |= UINT64_MAX << (sizes[type] * 8);
	return is_signed(type) ? (wide)(int64_t)raw : (wide)raw;
}

static void store(enum up_atomic_type type, void *at, wide value)
{
	uint64_t raw = (uint64_t)value;
	double d = (double)value;
	float f = (float)value;

	if (type == UP_FLOAT)
		memcpy(at, &f, sizeof(f));
	else if (type == UP_DOUBLE)
		memcpy(at, &d, sizeof(d));
	else
		memcpy(at, &raw, sizes[type]);
}

static wide expected(enum up_atomic_op op, wide a, wide b, wide c)
{
	switch (op) {
	case UP_ATOMIC_MIN:
		return a < b ? a : b;
	case UP_ATOMIC_MAX:
		return a > b ? a : b;
	case UP_ATOMIC_SUM:
		return a + b;
	case UP_ATOMIC_PROD:
		return a * b;
	case UP_ATOMIC_LOR:
		return a || b;
	case UP_ATOMIC_LAND:
		return a && b;
	case UP_ATOMIC_BOR:
		return a | b;
	case UP_ATOMIC_BAND:
		return a & b;
	case UP_ATOMIC_LXOR:
		return !a != !b;
	case UP_ATOMIC_BXOR:
		return a ^ b;
	case UP_ATOMIC_READ:
		return a;
	case UP_ATOMIC_WRITE:
		return b;
	case UP_ATOMIC_CSWAP:
		return a == c ? b : a;
	case UP_ATOMIC_CSWAP_NE:
		return a != c ? b : a;
	case UP_ATOMIC_CSWAP_LE:
		return a <= c ? b : a;
	case UP_ATOMIC_CSWAP_LT:
		return a < c ? b : a;
	case UP_ATOMIC_CSWAP_GE:
		return a >= c ? b : a;
	case UP_ATOMIC_CSWAP_GT:
		return a > c ? b : a;
	default:
		return (b & c) | (a & ~c);
	}
}

struct bench {
	struct rig rig;
	uint64_t remote[512]; /* aligned for all types */
	uint8_t operand[2048], compare[2048], fetch[2048], model[2048], old[2048];
	struct up_region *region;
	uint64_t seed;
};

static void setup(struct bench *t, const struct up_ep_attr *attr)
{
	memset(t, 0, sizeof(*t));
	rig_setup(&t->rig, attr);
	t->seed = 99;
	assert_int_equal(up_region_open(t->rig.b, t->remote, sizeof(t->remote), 0,
					UP_RMA_READ | UP_RMA_ATOMIC, 9, &t->region),
			 0);
}

static void teardown(struct bench *t)
{
	up_region_close(t->region);
	rig_teardown(&t->rig);
}

static int atomic_retry(struct bench *t, enum up_atomic_op op, enum up_atomic_type type, size_t n,
			void *fetch, uint64_t addr, uint64_t key, unsigned flags,
			struct rig_done *done)
{
	int ret;

	while ((ret = up_rma_atomic(t->rig.a, t->rig.to_b, op, type, n, t->operand, t->compare,
				    fetch, addr, key, flags, rig_done, done)) == -EAGAIN) {
		up_progress(t->rig.a);
		up_progress(t->rig.b);
	}
	return ret;
}

static void one(struct bench *t, enum up_atomic_op op, enum up_atomic_type type, size_t n,
		bool fetch)
{
	struct rig_done done = {0};
	unsigned size = sizes[type];

	for (size_t i = 0; i < n; i++) {
		wide a = (wide)(unit_random(&t->seed) % 7) -
			 (is_signed(type) || is_float(type) ? 3 : 0);
		wide b = (wide)(unit_random(&t->seed) % 7) + is_float(type),
		     c = (wide)(unit_random(&t->seed) % 7);

		/* Wrapping around too. */
		if (!is_float(type) && i % 3 == 0)
			a = (wide)unit_random(&t->seed);
		store(type, (uint8_t *)t->remote + i * size, a);
		store(type, t->operand + i * size, b);
		store(type, t->compare + i * size, c);
		a = load(type, (uint8_t *)t->remote + i * size);
		store(type, t->old + i * size, a);
		store(type, t->model + i * size, expected(op, a, b, c));
	}
	assert_int_equal(atomic_retry(t, op, type, n, fetch ? t->fetch : NULL, 0, 9, 0, &done), 0);
	rig_until(&t->rig, &done.calls, 1);
	assert_int_equal(done.status, 0);
	assert_int_equal(done.bytes, n * size);
	assert_memory_equal(t->remote, t->model, n * size);
	if (fetch)
		assert_memory_equal(t->fetch, t->old, n * size);
}

static void every_operation(void **state)
{
	static const size_t counts[] = {1, 2, 17, UP_ATOMIC_MAX_COUNT};
	struct bench t;

	setup(&t, NULL);
	for (enum up_atomic_op op = 0; op < UP_ATOMIC_OPS; op++) {
		for (enum up_atomic_type type = 0; type < UP_ATOMIC_TYPES; type++) {
			for (unsigned k = 0; k < 8; k++) {
				if (up_atomic_valid(op, type, k & 1))
					one(&t, op, type, counts[k / 2], k & 1);
			}
		}
	}
	teardown(&t);
}

static void names(void **state)
{
	for (enum up_atomic_type type = 0; type < UP_ATOMIC_TYPES; type++)
		assert_int_equal(up_atomic_size(type), sizes[type]);
	assert_int_equal(up_atomic_size(UP_ATOMIC_TYPES), 0);
	assert_false(up_atomic_valid(UP_ATOMIC_READ, UP_INT8, false));
	assert_true(up_atomic_valid(UP_ATOMIC_READ, UP_INT8, true));
	assert_false(up_atomic_valid(UP_ATOMIC_BXOR, UP_DOUBLE, true));
	assert_true(up_atomic_valid(UP_ATOMIC_LXOR, UP_DOUBLE, true));
	assert_false(up_atomic_valid(UP_ATOMIC_OPS, UP_INT8, true));
	assert_false(up_atomic_valid(UP_ATOMIC_SUM, UP_ATOMIC_TYPES, true));
}

static void errors(void **state)
{
	static const struct {
		uint64_t addr, key;
		int status;
	} cases[] = {
		{0, 10, -ENOKEY},   {4096, 9, -ERANGE},
		{4089, 9, -ERANGE}, {UINT64_MAX - 7, 9, -ERANGE},
		{4, 9, -EINVAL},    {0, 11, -EACCES},
	};
	struct up_region *plain;
	struct bench t;

	setup(&t, NULL);
	up_region_open(t.rig.b, t.remote, sizeof(t.remote), 0, UP_RMA_READ | UP_RMA_WRITE, 11,
		       &plain);
	memset(t.operand, 1, 8);
	for (unsigned i = 0; i < 2 * UP_ARRAY_SIZE(cases); i++) {
		struct rig_done done = {0};
		unsigned c = i / 2;

		assert_int_equal(atomic_retry(&t, UP_ATOMIC_SUM, UP_INT64, 1,
					      i & 1 ? t.fetch : NULL, cases[c].addr, cases[c].key,
					      0, &done),
				 0);
		rig_until(&t.rig, &done.calls, 1);
		assert_int_equal(done.status, cases[c].status);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(t.remote); i++)
		assert_int_equal(t.remote[i], 0);
	assert_int_equal(atomic_retry(&t, UP_ATOMIC_SUM, UP_INT64, 0, NULL, 0, 9, 0, NULL),
			 -EINVAL);
	assert_int_equal(atomic_retry(&t, UP_ATOMIC_SUM, UP_INT64, UP_ATOMIC_MAX_COUNT + 1, NULL, 0,
				      9, 0, NULL),
			 -EINVAL);
	up_region_close(plain);
	teardown(&t);
}

/* Reading atomically needs the right to read, all other atomics theirs. */
static void rights(void **state)
{
	static const struct {
		enum up_atomic_op op;
		unsigned access;
		int status;
	} cases[] = {
		{UP_ATOMIC_READ, UP_RMA_READ, 0},
		{UP_ATOMIC_READ, UP_RMA_WRITE | UP_RMA_ATOMIC, -EACCES},
		{UP_ATOMIC_SUM, UP_RMA_ATOMIC, 0},
		{UP_ATOMIC_SUM, UP_RMA_READ | UP_RMA_WRITE, -EACCES},
	};
	struct bench t;

	setup(&t, NULL);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(cases); i++) {
		struct rig_done done = {0};
		struct up_region *region;

		up_region_open(t.rig.b, t.remote, 8, 0, cases[i].access, 10, &region);
		assert_int_equal(
			atomic_retry(&t, cases[i].op, UP_INT64, 1, t.fetch, 0, 10, 0, &done), 0);
		rig_until(&t.rig, &done.calls, 1);
		assert_int_equal(done.status, cases[i].status);
		up_region_close(region);
	}
	teardown(&t);
}

/* Elements in several places: more than one packet has, in one of them none. */
static void pieces(void **state)
{
	static const struct up_rma_iov there[] = {
		{8, 16, 9}, {4000, 0, 9}, {64, 1600, 9}, {2000, 432, 9}, {4088, 8, 9}};
	struct rig_done done = {0};
	struct up_rma_iov bad = {0, 12, 9};
	uint64_t *old, *add;
	struct bench t;
	int ret;

	setup(&t, NULL);
	add = (uint64_t *)t.operand;
	old = (uint64_t *)t.fetch;
	for (unsigned i = 0; i < 256; i++)
		add[i] = i + 1;
	for (unsigned i = 0; i < 512; i++)
		t.remote[i] = 1000 * i;
	while ((ret = up_rma_atomic_iov(t.rig.a, t.rig.to_b, UP_ATOMIC_SUM, UP_UINT64, t.operand,
					NULL, t.fetch, there, 5, 0, rig_done, &done)) == -EAGAIN)
		rig_run(&t.rig);
	assert_int_equal(ret, -EINVAL); /* one element too many */
	while ((ret = up_rma_atomic_iov(t.rig.a, t.rig.to_b, UP_ATOMIC_SUM, UP_UINT64, t.operand,
					NULL, t.fetch, there, 4, 0, rig_done, &done)) == -EAGAIN)
		rig_run(&t.rig);
	assert_int_equal(ret, 0);
	rig_until(&t.rig, &done.calls, 1);
	assert_int_equal(done.status, 0);
	assert_int_equal(done.bytes, 256 * 8);
	for (unsigned i = 0; i < 256; i++) {
		unsigned at = i < 2 ? 1 + i : i < 202 ? 8 + i - 2 : 250 + i - 202;

		assert_int_equal(old[i], 1000 * at);
		assert_int_equal(t.remote[at], 1000 * at + i + 1);
	}
	assert_int_equal(t.remote[0], 0);
	assert_int_equal(t.remote[3], 3000);
	assert_int_equal(t.remote[511], 511000);
	assert_int_equal(up_rma_atomic_iov(t.rig.a, t.rig.to_b, UP_ATOMIC_SUM, UP_UINT64, t.operand,
					   NULL, NULL, &bad, 1, 0, rig_done, &done),
			 -EINVAL);
	teardown(&t);
}

/* An atomic after a large write to the same memory finds what that wrote. */
static void after_write(void **state)
{
	enum { BYTES = 200000 };
	uint64_t *remote = calloc(1, BYTES), *local = calloc(1, BYTES);
	struct up_region *region;
	struct bench t;

	setup(&t, NULL);
	up_region_open(t.rig.b, remote, BYTES, 0, UP_RMA_WRITE | UP_RMA_ATOMIC, 33, &region);
	for (unsigned i = 0; i < 50; i++) {
		struct rig_done done[2] = {0};
		struct up_rma_iov to = {0, BYTES, 33};
		struct iovec from = {local, BYTES};

		local[0] = i;
		store(UP_UINT64, t.operand, 1000);
		while (up_rma_write(t.rig.a, t.rig.to_b, &from, 1, &to, 1, 0, 0, rig_done,
				    &done[0]))
			rig_run(&t.rig);
		assert_int_equal(
			atomic_retry(&t, UP_ATOMIC_SUM, UP_UINT64, 1, t.fetch, 0, 33, 0, &done[1]),
			0);
		rig_until(&t.rig, &done[1].calls, 1);
		assert_int_equal(load(UP_UINT64, t.fetch), i);
		assert_int_equal(remote[0], i + 1000);
	}
	up_region_close(region);
	teardown(&t);
	free(remote);
	free(local);
}

/* ---- with the application's own instructions ---- */

#define EACH 20000u

struct race {
	uint64_t *word;
	float *real;
};

static void *own_adds(void *arg)
{
	struct race *r = arg;

	for (unsigned i = 0; i < EACH; i++) {
		uint32_t was = __atomic_load_n((uint32_t *)r->real, __ATOMIC_RELAXED), next;
		float f;

		__atomic_fetch_add(r->word, 1, __ATOMIC_RELAXED);
		do {
			memcpy(&f, &was, sizeof(f));
			f += 1;
			memcpy(&next, &f, sizeof(f));
		} while (!__atomic_compare_exchange_n((uint32_t *)r->real, &was, next, false,
						      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	}
	return NULL;
}

static void with_threads(void **state)
{
	struct race race;
	struct bench t;
	pthread_t thread;
	float one_more = 1;
	uint64_t one_up = 1, start;

	setup(&t, NULL);
	race.word = &t.remote[0];
	race.real = (float *)&t.remote[1];
	pthread_create(&thread, NULL, own_adds, &race);
	for (unsigned i = 0; i < EACH; i++) {
		while (up_rma_atomic(t.rig.a, t.rig.to_b, UP_ATOMIC_SUM, UP_UINT64, 1, &one_up,
				     NULL, NULL, 0, 9, UP_INJECT, NULL, NULL))
			rig_run(&t.rig);
		while (up_rma_atomic(t.rig.a, t.rig.to_b, UP_ATOMIC_SUM, UP_FLOAT, 1, &one_more,
				     NULL, NULL, 8, 9, UP_INJECT, NULL, NULL))
			rig_run(&t.rig);
	}
	pthread_join(thread, NULL);
	for (start = rig_now_us(); t.remote[0] != 2 * EACH || *race.real != 2.0f * EACH;
	     rig_patience(start))
		rig_run(&t.rig);
	rig_run(&t.rig);
	assert_int_equal(t.remote[0], 2 * EACH);
	assert_true(*race.real == 2.0f * EACH);
	teardown(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),	cmocka_unit_test(every_operation),
		cmocka_unit_test(errors),	cmocka_unit_test(after_write),
		cmocka_unit_test(with_threads), cmocka_unit_test(rights),
		cmocka_unit_test(pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
