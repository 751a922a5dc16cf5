/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the end of a one-sided operation stands for (underpass/types.h), of each size and kind: what
 * may be done with the buffer then, what is in the target's memory, and what was left alone.
 */
#include "rig.h"

#include "base/bytes.h"

#include <stdlib.h>
#include <sys/mman.h>

#define SIZE ((size_t)4 << 20)
#define GUARD ((size_t)120000)
#define BASE UINT64_C(0x7000000000000000)
#define KEY 9u

/* Memory at b, of which a region is the middle. */
struct bench {
	struct rig rig;
	uint8_t *memory, *there, *here;
	struct up_region *region;
	unsigned notes;
};

static void note(void *ctx, up_peer from, uint64_t imm, size_t bytes)
{
	++*(unsigned *)ctx;
}

static void setup(struct bench *t, bool direct)
{
	fake.direct = direct;
	memset(t, 0, sizeof(*t));
	rig_setup(&t->rig, NULL);
	t->memory = mmap(NULL, GUARD + SIZE + GUARD, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(t->memory != MAP_FAILED);
	memset(t->memory, 0x5a, GUARD + SIZE + GUARD);
	t->there = t->memory + GUARD;
	t->here = malloc(SIZE);
	assert_non_null(t->here);
	assert_int_equal(up_region_open(t->rig.b, t->there, SIZE, BASE, UP_RMA_READ | UP_RMA_WRITE,
					KEY, &t->region),
			 0);
	up_rma_set_notify(t->rig.b, note, &t->notes);
}

static void teardown(struct bench *t)
{
	if (t->region)
		up_region_close(t->region);
	rig_teardown(&t->rig);
	if (t->memory)
		munmap(t->memory, GUARD + SIZE + GUARD);
	free(t->here);
}

static bool all_are(const uint8_t *mem, size_t bytes, uint8_t value)
{
	for (size_t i = 0; i < bytes; i++) {
		if (mem[i] != value)
			return false;
	}
	return true;
}

static int start(struct bench *t, bool write, const struct up_rma_iov *remote, size_t n,
		 size_t bytes, unsigned flags, up_done *done, void *ctx)
{
	struct iovec local = {t->here, bytes};
	int ret;

	do {
		ret = write ? up_rma_write(t->rig.a, t->rig.to_b, &local, 1, remote, n, 1, flags,
					   done, ctx)
			    : up_rma_read(t->rig.a, t->rig.to_b, &local, 1, remote, n, flags, done,
					  ctx);
		if (ret == -EAGAIN)
			rig_run(&t->rig);
	} while (ret == -EAGAIN);
	return ret;
}

/* ---- outside of the region ---- */

static void refused(struct bench *t, const struct up_rma_iov *remote, size_t n, size_t bytes)
{
	for (unsigned write = 0; write < 2; write++) {
		struct rig_done done = {0};

		memset(t->here, 0xee, bytes);
		assert_int_equal(
			start(t, write, remote, n, bytes, write ? UP_IMM : 0, rig_done, &done), 0);
		rig_until(&t->rig, &done.calls, 1);
		rig_run(&t->rig);
		assert_int_equal(done.calls, 1);
		assert_int_equal(done.status, -ERANGE);
		assert_int_equal(done.bytes, 0);
	}
}

/* Below and above it, across its ends, and where addresses wrap around. */
static void outside(void **state)
{
	static const size_t lengths[] = {2, 64, 4000, 100000};
	struct bench t;

	for (unsigned i = 0; i < 2 * UP_ARRAY_SIZE(lengths); i++) {
		size_t n = lengths[i / 2];
		const uint64_t addrs[] = {BASE - n,    BASE - 1,	   BASE + SIZE - n + 1,
					  BASE + SIZE, UINT64_MAX - n + 2, UINT64_MAX};
		const struct up_rma_iov pieces[] = {{BASE, n, KEY}, {BASE + SIZE - 1, n, KEY}};

		setup(&t, i % 2);
		for (unsigned k = 0; k < UP_ARRAY_SIZE(addrs); k++)
			refused(&t, &(struct up_rma_iov){addrs[k], n, KEY}, 1, n);
		assert_true(all_are(t.memory, GUARD + SIZE + GUARD, 0x5a));
		/* Only the second of two pieces. */
		refused(&t, pieces, 2, 2 * n);
		assert_true(all_are(t.memory, GUARD, 0x5a));
		assert_true(all_are(t.there + n, SIZE - n + GUARD, 0x5a));
		assert_int_equal(t.notes, 0);
		teardown(&t);
	}
}

/* ---- completion levels ---- */

struct level {
	struct bench *t;
	size_t bytes;
	uint8_t value;
	unsigned calls;
	bool placed; /* when it ended */
};

/* What was injected is in its place when a later write is. */
static void await_injected(struct bench *t)
{
	const struct up_rma_iov to = {BASE + SIZE - 1, 1, KEY};
	struct rig_done done = {0};

	assert_int_equal(start(t, true, &to, 1, 1, UP_DELIVERED, rig_done, &done), 0);
	rig_until(&t->rig, &done.calls, 1);
	assert_int_equal(done.status, 0);
}

/* From here on the buffer is the application's. */
static void ended(void *ctx, int status, size_t bytes)
{
	struct level *l = ctx;

	assert_int_equal(status, 0);
	l->calls++;
	l->placed = all_are(l->t->there, l->bytes, l->value);
	memset(l->t->here, 0xff, l->bytes);
}

static void levels(void **state)
{
	static const size_t lengths[] = {8, 4000, 20000, SIZE};
	static const unsigned flags[] = {UP_INJECT, UP_INJECT | UP_IMM, 0, UP_DELIVERED,
					 UP_DELIVERED | UP_IMM};
	struct bench t;

	for (unsigned i = 0; i < 2 * UP_ARRAY_SIZE(lengths) * UP_ARRAY_SIZE(flags); i++) {
		unsigned how = flags[i / 2 % UP_ARRAY_SIZE(flags)];
		size_t n = lengths[i / 2 / UP_ARRAY_SIZE(flags)];
		const struct up_rma_iov to = {BASE, n, KEY};

		if (how & UP_INJECT && n > UP_INJECT_MAX)
			continue;
		setup(&t, i % 2);
		/* The second and later ones may go another way than the first. */
		for (uint8_t value = 1; value < 5; value++) {
			struct level l = {&t, n, value, 0, false};

			memset(t.here, value, n);
			assert_int_equal(start(&t, true, &to, 1, n, how, ended, &l), 0);
			if (how & UP_INJECT) {
				memset(t.here, 0xff, n);
				await_injected(&t);
			} else {
				rig_until(&t.rig, &l.calls, 1);
			}
			if (how & UP_DELIVERED)
				assert_true(l.placed);
			rig_run(&t.rig);
			assert_int_equal(l.calls, how & UP_INJECT ? 0 : 1);
			assert_true(all_are(t.there, n, value));
			assert_int_equal(t.notes, how & UP_IMM ? value : 0);
		}
		teardown(&t);
	}
}

/* ---- a region that is closed while it is read ---- */

/*
 * At each point of the read; the memory is not there any more when the close has returned, so that
 * whoever still used it would die of it. What has not ended by then is refused.
 */
static void closed_under_a_read(void **state)
{
	static const size_t lengths[] = {8, 20000, SIZE};
	const struct up_rma_iov from = {BASE, SIZE, KEY};
	struct bench t;

	for (unsigned i = 0; i < 2 * UP_ARRAY_SIZE(lengths); i++) {
		for (unsigned steps = 0; steps < 12; steps++) {
			struct up_rma_iov at = from;
			struct rig_done done = {0};
			bool before;

			setup(&t, i % 2);
			at.len = lengths[i / 2];
			assert_int_equal(start(&t, false, &at, 1, at.len, 0, rig_done, &done), 0);
			for (unsigned k = 0; k < steps; k++)
				up_progress(k % 2 ? t.rig.a : t.rig.b);
			before = done.calls;
			up_region_close(t.region);
			t.region = NULL;
			munmap(t.memory, GUARD + SIZE + GUARD);
			t.memory = NULL;
			rig_until(&t.rig, &done.calls, 1);
			rig_run(&t.rig);
			assert_int_equal(done.calls, 1);
			if (before || done.status != -ENOKEY) {
				assert_int_equal(done.status, 0);
				assert_true(steps > 0);
				assert_true(all_are(t.here, at.len, 0x5a));
			}
			teardown(&t);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outside),
		cmocka_unit_test(levels),
		cmocka_unit_test(closed_under_a_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
