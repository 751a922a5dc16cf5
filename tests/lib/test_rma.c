/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes and reads (underpass/rma.h): sizes, pieces, order, rights, many at once, ends. */
#include "rig.h"

#include "base/bytes.h"

#include <stdlib.h>

#define MEMORY ((size_t)4 << 20)
#define BASE UINT64_C(0x7000000000000000)

struct notes {
	unsigned calls;
	uint64_t imm;
	size_t bytes;
	up_peer from;
	const uint8_t *watched; /* what it holds when the notification comes */
	uint8_t seen;
};

static void notify(void *ctx, up_peer from, uint64_t imm, size_t bytes)
{
	struct notes *n = ctx;

	n->calls++;
	n->imm = imm;
	n->bytes = bytes;
	n->from = from;
	if (n->watched)
		n->seen = *n->watched;
}

/* Memory at b that a uses, and a copy of what it should hold. */
struct bench {
	struct rig rig;
	uint8_t *remote, *model, *local, *out;
	struct up_region *region;
	uint64_t key;
	uint64_t seed;
	struct notes notes;
};

static void setup_on(struct bench *t, const struct up_ep_attr *attr)
{
	memset(t, 0, sizeof(*t));
	rig_setup(&t->rig, attr);
	t->remote = calloc(1, MEMORY);
	t->model = calloc(1, MEMORY);
	t->local = malloc(MEMORY);
	t->out = malloc(MEMORY);
	t->seed = 4711;
	assert_int_equal(up_region_open(t->rig.b, t->remote, MEMORY, BASE,
					UP_RMA_READ | UP_RMA_WRITE, 0, &t->region),
			 0);
	t->key = up_region_key(t->region);
	up_rma_set_notify(t->rig.b, notify, &t->notes);
}

static void setup(struct bench *t)
{
	setup_on(t, NULL);
}

static void teardown(struct bench *t)
{
	assert_memory_equal(t->remote, t->model, MEMORY);
	up_region_close(t->region);
	rig_teardown(&t->rig);
	free(t->remote);
	free(t->model);
	free(t->local);
	free(t->out);
}

static void fill(struct bench *t, uint8_t *data, size_t n)
{
	uint64_t word = unit_random(&t->seed);

	for (size_t i = 0; i < n; i++) {
		data[i] = (uint8_t)(word >> 56);
		word = word * UINT64_C(6364136223846793005) + 1;
	}
}

static size_t cut_local(struct bench *t, struct iovec *iov, uint8_t *data, size_t bytes)
{
	size_t n = unit_random(&t->seed) % 3 ? 1 : 1 + unit_random(&t->seed) % UP_IOV_MAX, at = 0;

	for (size_t i = 0; i < n; i++) {
		size_t len = i + 1 == n ? bytes - at : unit_random(&t->seed) % (bytes - at + 1);

		iov[i] = (struct iovec){.iov_base = data + at, .iov_len = len};
		at += len;
	}
	return n;
}

/* Pieces that do not overlap, in any order of address. */
static size_t cut_remote(struct bench *t, struct up_rma_iov *iov, size_t bytes)
{
	size_t n = unit_random(&t->seed) % 3 ? 1 : 1 + unit_random(&t->seed) % 4, at = 0;
	size_t stride = MEMORY / n;

	if (bytes > stride)
		n = 1;
	stride = MEMORY / n;
	for (size_t i = 0; i < n; i++) {
		size_t len = i + 1 == n ? bytes - at : unit_random(&t->seed) % (bytes - at + 1);

		iov[i] = (struct up_rma_iov){.addr = BASE + (n - 1 - i) * stride +
						     unit_random(&t->seed) % (stride - len + 1),
					     .len = len,
					     .key = t->key};
		at += len;
	}
	return n;
}

static void model_write(struct bench *t, const struct up_rma_iov *iov, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		memcpy(t->model + (iov[i].addr - BASE), t->local + at, iov[i].len);
		at += iov[i].len;
	}
}

static int write_retry(struct bench *t, const struct iovec *local, size_t nlocal,
		       const struct up_rma_iov *remote, size_t nremote, uint64_t imm,
		       unsigned flags, struct rig_done *done)
{
	int ret;

	while ((ret = up_rma_write(t->rig.a, t->rig.to_b, local, nlocal, remote, nremote, imm,
				   flags, rig_done, done)) == -EAGAIN) {
		up_progress(t->rig.a);
		up_progress(t->rig.b);
	}
	return ret;
}

static int read_retry(struct bench *t, const struct iovec *local, size_t nlocal,
		      const struct up_rma_iov *remote, size_t nremote, struct rig_done *done)
{
	int ret;

	while ((ret = up_rma_read(t->rig.a, t->rig.to_b, local, nlocal, remote, nremote, 0,
				  rig_done, done)) == -EAGAIN) {
		up_progress(t->rig.a);
		up_progress(t->rig.b);
	}
	return ret;
}

static void write_then_read(struct bench *t, size_t bytes, unsigned flags)
{
	struct rig_done written = {0}, got = {0};
	struct up_rma_iov remote[UP_IOV_MAX];
	struct iovec local[UP_IOV_MAX];
	unsigned notes = t->notes.calls;
	size_t nl, nr, at = 0;

	fill(t, t->local, bytes);
	nl = cut_local(t, local, t->local, bytes);
	nr = cut_remote(t, remote, bytes);
	assert_int_equal(write_retry(t, local, nl, remote, nr, bytes + 5, flags, &written), 0);
	model_write(t, remote, nr);
	if (flags & UP_INJECT)
		rig_until(&t->rig, &t->notes.calls, notes + 1);
	else
		rig_until(&t->rig, &written.calls, 1);
	assert_int_equal(written.status, 0);
	assert_int_equal(written.bytes, flags & UP_INJECT ? 0 : bytes);
	for (size_t i = 0; i < nr; i++)
		assert_memory_equal(t->remote + (remote[i].addr - BASE),
				    t->local + (at += remote[i].len) - remote[i].len,
				    remote[i].len);
	assert_int_equal(t->notes.calls - notes, !!(flags & UP_IMM));
	if (flags & UP_IMM) {
		assert_int_equal(t->notes.imm, bytes + 5);
		assert_int_equal(t->notes.bytes, bytes);
		assert_int_equal(t->notes.from, t->rig.to_a);
	}
	memset(t->out, 0, bytes);
	nl = cut_local(t, local, t->out, bytes);
	assert_int_equal(read_retry(t, local, nl, remote, nr, &got), 0);
	rig_until(&t->rig, &got.calls, 1);
	assert_int_equal(got.status, 0);
	assert_int_equal(got.bytes, bytes);
	assert_memory_equal(t->out, t->local, bytes);
}

static void sizes(bool direct)
{
	static const size_t edges[] = {0,    1,	   8,	 24,   64,   4000, 4096,  4304,	   4305,
				       4312, 4313, 8152, 8153, 8160, 8161, 65536, 1 << 20, MEMORY};
	struct bench t;

	fake.direct = direct;
	setup(&t);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(edges); i++) {
		for (unsigned k = 0; k < 4; k++)
			write_then_read(&t, edges[i],
					(k & 1 ? UP_IMM : 0u) | (k & 2 ? UP_DELIVERED : 0u));
		if (edges[i] <= UP_INJECT_MAX)
			write_then_read(&t, edges[i], UP_INJECT | UP_IMM);
	}
	for (unsigned i = 0; i < 300; i++)
		write_then_read(&t, unit_random(&t.seed) % ((size_t)1 << unit_random(&t.seed) % 21),
				i & 1 ? UP_IMM : 0);
	teardown(&t);
}

static void all_sizes(void **state)
{
	sizes(false);
}

static void all_sizes_direct(void **state)
{
	sizes(true);
}

/* Writes to the same bytes, small and large: the last one stays, and notifications keep the order.
 */
static void order(void **state)
{
	struct rig_done done[64] = {0};
	struct bench t;

	for (unsigned direct = 0; direct < 2; direct++) {
		fake.direct = direct;
		setup(&t);
		t.notes.watched = t.remote;
		for (unsigned round = 0; round < 20; round++) {
			unsigned calls = t.notes.calls;

			memset(done, 0, sizeof(done));
			for (unsigned i = 0; i < 64; i++) {
				size_t len = unit_random(&t.seed) % 3 ? 8 : 20000 + i * 700;
				struct up_rma_iov to = {BASE, len, t.key};
				struct iovec from = {t.local + i * 65536, len};

				memset(from.iov_base, (int)(round + i), len);
				memset(t.model, (int)(round + i), len);
				assert_int_equal(
					write_retry(&t, &from, 1, &to, 1, i, UP_IMM, &done[i]), 0);
			}
			for (unsigned i = 0; i < 64; i++)
				rig_until(&t.rig, &done[i].calls, 1);
			rig_run(&t.rig);
			assert_int_equal(t.notes.calls - calls, 64);
			assert_int_equal(t.notes.imm, 63);
			assert_int_equal(t.notes.seen, (uint8_t)(round + 63));
			for (unsigned i = 0; i < 64; i++)
				assert_int_equal(done[i].calls, 1);
			assert_memory_equal(t.remote, t.model, 100000);
		}
		teardown(&t);
	}
}

struct many {
	unsigned left;
	unsigned failed;
};

static void count(void *ctx, int status, size_t bytes)
{
	struct many *m = ctx;

	m->left--;
	m->failed += status != 0;
}

static void taken(void *ctx, int status, const struct up_tag_info *info)
{
	count(ctx, status, info->bytes);
}

/* Thousands of operations at once, in both directions, of all sizes. */
static void storm(bool direct)
{
	enum { N = 3000, LEN = 1000 };
	uint8_t *own = calloc(1, MEMORY), *back = calloc(1, MEMORY);
	struct up_region *region;
	struct many many = {0};
	struct bench t;

	fake.direct = direct;
	setup(&t);
	fill(&t, t.local, MEMORY);
	assert_int_equal(up_region_open(t.rig.a, own, MEMORY, 0, UP_RMA_READ | UP_RMA_WRITE, 0x1234,
					&region),
			 0);
	for (unsigned i = 0; i < N; i++) {
		size_t at = (size_t)i * LEN, len = i % 100 ? LEN : LEN * 20;
		struct up_rma_iov there = {BASE + at, LEN, t.key}, here = {at, LEN, 0x1234};
		struct up_rma_iov all = {BASE, len * 10, t.key};
		struct iovec from = {t.local + at, LEN}, to = {t.out, len * 10};

		while (up_rma_write(t.rig.a, t.rig.to_b, &from, 1, &there, 1, 0, 0, count, &many))
			rig_run(&t.rig);
		while (up_rma_write(t.rig.b, t.rig.to_a, &from, 1, &here, 1, 0, 0, count, &many))
			rig_run(&t.rig);
		while (up_rma_read(t.rig.a, t.rig.to_b, &to, 1, &all, 1, 0, count, &many))
			rig_run(&t.rig);
		many.left += 3;
	}
	rig_until(&t.rig, &many.left, 0);
	assert_int_equal(many.failed, 0);
	memcpy(t.model, t.local, (size_t)N * LEN);
	assert_memory_equal(own, t.local, (size_t)N * LEN);
	up_region_close(region);
	teardown(&t);
	free(own);
	free(back);
}

/*
 * More large operations both ways than there is room for answers, where each end has to pull: the
 * two may not wait for each other.
 */
static void both_full(void **state)
{
	enum { N = 900, LEN = 12000 };
	struct up_rma_iov there, here = {0, LEN, 0x1234};
	uint8_t *own = calloc(1, LEN);
	struct up_region *region;
	struct many many = {0};
	struct iovec from, to;
	struct bench t;
	unsigned started = 0;
	uint64_t start;

	fake.direct = false;
	setup(&t);
	from = (struct iovec){t.local, LEN};
	to = (struct iovec){t.out, LEN};
	there = (struct up_rma_iov){BASE, LEN, t.key};
	fill(&t, t.local, LEN);
	memcpy(t.model, t.local, LEN);
	up_region_open(t.rig.a, own, LEN, 0, UP_RMA_WRITE, 0x1234, &region);
	for (unsigned i = 0; i < N; i++) {
		/* All before anything moves, then with a little of it. */
		if (i > N / 2)
			up_progress(i & 1 ? t.rig.a : t.rig.b);
		started += !up_tag_send(t.rig.a, t.rig.to_b, 1, &from, 1, 0, 0, count, &many);
		started += !up_tag_send(t.rig.b, t.rig.to_a, 1, &from, 1, 0, 0, count, &many);
		started +=
			!up_rma_write(t.rig.a, t.rig.to_b, &from, 1, &there, 1, 0, 0, count, &many);
		started +=
			!up_rma_write(t.rig.b, t.rig.to_a, &from, 1, &here, 1, 0, 0, count, &many);
		started += !up_tag_recv(t.rig.b, t.rig.to_a, 1, 0, &to, 1, taken, &many, NULL);
		started += !up_tag_recv(t.rig.a, t.rig.to_b, 1, 0, &to, 1, taken, &many, NULL);
	}
	assert_in_range(started, 2 * N, 6 * N);
	/* What has no counterpart, as its send had no room, is sent now. */
	start = rig_now_us();
	while (-many.left < started) {
		bool sent = !up_tag_send(t.rig.a, t.rig.to_b, 1, &from, 1, 0, 0, NULL, NULL);

		sent |= !up_tag_send(t.rig.b, t.rig.to_a, 1, &from, 1, 0, 0, NULL, NULL);
		if (sent)
			rig_run(&t.rig);
		up_progress(t.rig.a);
		up_progress(t.rig.b);
		rig_patience(start);
	}
	assert_int_equal(-many.left, started);
	assert_int_equal(many.failed, 0);
	up_region_close(region);
	teardown(&t);
	free(own);
}

static void storms(void **state)
{
	storm(false);
	storm(true);
}

static void expect_write(struct bench *t, uint64_t addr, size_t len, uint64_t key, int status)
{
	struct up_rma_iov to = {addr, len, key};
	struct rig_done done = {0};
	struct iovec from = {t->local, len};

	memset(t->local, 0xaa, len);
	assert_int_equal(write_retry(t, &from, 1, &to, 1, 0, UP_IMM, &done), 0);
	rig_until(&t->rig, &done.calls, 1);
	assert_int_equal(done.status, status);
	assert_int_equal(done.bytes, 0);
}

static void expect_read(struct bench *t, uint64_t addr, size_t len, uint64_t key, int status)
{
	struct up_rma_iov to = {addr, len, key};
	struct rig_done done = {0};
	struct iovec from = {t->out, len};

	assert_int_equal(read_retry(t, &from, 1, &to, 1, &done), 0);
	rig_until(&t->rig, &done.calls, 1);
	assert_int_equal(done.status, status);
}

/* The memory stays zero (teardown() compares), no notification comes. */
static void rights_and_bounds(void **state)
{
	static const size_t lengths[] = {8, 4000, 100000};
	struct up_region *read_only, *write_only, *none;
	struct bench t;

	for (unsigned direct = 0; direct < 2; direct++) {
		fake.direct = direct;
		setup(&t);
		up_region_open(t.rig.b, t.remote, MEMORY, 0, UP_RMA_READ, 5, &read_only);
		up_region_open(t.rig.b, t.remote, MEMORY, 0, UP_RMA_WRITE, UINT64_MAX, &write_only);
		assert_int_equal(up_region_open(t.rig.b, t.remote, 8, 0, 0, 5, &none), -EEXIST);
		assert_int_equal(up_region_open(t.rig.b, t.remote, 8, 0, 0, t.key, &none), -EEXIST);
		for (unsigned i = 0; i < 3; i++) {
			size_t n = lengths[i];

			expect_write(&t, BASE, n, t.key + 1, -ENOKEY);
			expect_write(&t, BASE, n, t.key + (UINT64_C(1) << 32), -ENOKEY);
			expect_write(&t, BASE - 1, n, t.key, -ERANGE);
			expect_write(&t, BASE + MEMORY - n + 1, n, t.key, -ERANGE);
			expect_write(&t, UINT64_MAX - 3, n, t.key, -ERANGE);
			expect_write(&t, UINT64_MAX - n + 1, n, t.key, -ERANGE);
			expect_write(&t, 0, n, 5, -EACCES);
			expect_read(&t, BASE, n, t.key + 1, -ENOKEY);
			expect_read(&t, BASE - 1, n, t.key, -ERANGE);
			expect_read(&t, BASE + MEMORY - n + 1, n, t.key, -ERANGE);
			expect_read(&t, UINT64_MAX - 3, n, t.key, -ERANGE);
			expect_read(&t, 0, n, UINT64_MAX, -EACCES);
			expect_read(&t, 0, n, 5, 0);
		}
		assert_int_equal(t.notes.calls, 0);
		up_region_close(read_only);
		expect_read(&t, 0, 8, 5, -ENOKEY);
		up_region_close(write_only);
		teardown(&t);
	}
}

/* A closed region is left alone from the return of its close on. */
static void close_under_way(void **state)
{
	struct rig_done done[3] = {0};
	struct bench t;

	for (unsigned direct = 0; direct < 2; direct++) {
		struct up_region *region;
		uint8_t *victim = calloc(1, MEMORY);
		struct up_rma_iov at = {0, MEMORY, 77};
		struct iovec from, to;

		fake.direct = direct;
		setup(&t);
		from = (struct iovec){t.local, MEMORY};
		to = (struct iovec){t.out, MEMORY};
		memset(done, 0, sizeof(done));
		up_region_open(t.rig.b, victim, MEMORY, 0, UP_RMA_READ | UP_RMA_WRITE, 77, &region);
		write_retry(&t, &from, 1, &at, 1, 0, 0, &done[0]);
		read_retry(&t, &to, 1, &at, 1, &done[1]);
		write_retry(&t, &from, 1, &at, 1, 0, UP_IMM, &done[2]);
		up_progress(t.rig.b);
		up_progress(t.rig.a);
		up_progress(t.rig.b);
		up_region_close(region);
		free(victim);
		for (unsigned i = 0; i < 3; i++) {
			rig_until(&t.rig, &done[i].calls, 1);
			assert_int_equal(done[i].status, -ENOKEY);
		}
		assert_int_equal(t.notes.calls, 0);
		teardown(&t);
	}
}

/* ---- regions of somebody else's ---- */

struct store {
	uint8_t *memory;
	unsigned out;
	unsigned asked;
};

static void *store_get(void *ctx, uint64_t key, uint64_t addr, size_t len, unsigned access,
		       void **cookie, int *error)
{
	struct store *s = ctx;

	s->asked++;
	if (key != 4242 || !up_range_inside(addr, len, 0, MEMORY)) {
		*error = key == 4242 ? -ERANGE : -ENOKEY;
		return NULL;
	}
	s->out++;
	*cookie = s;
	return s->memory + addr;
}

static void store_put(void *ctx, void *cookie)
{
	struct store *s = cookie;

	s->out--;
}

static void resolver(void **state)
{
	static const struct up_resolve_ops ops = {store_get, store_put};
	static const size_t lengths[] = {8, 3000, 500000};
	struct bench t;
	struct store store = {0};

	setup(&t);
	store.memory = t.remote;
	up_rma_set_resolver(t.rig.b, &ops, &store);
	for (unsigned i = 0; i < 3; i++) {
		struct up_rma_iov at = {100, lengths[i], 4242};
		struct iovec from = {t.local, lengths[i]};
		struct rig_done done = {0};

		fill(&t, t.local, lengths[i]);
		memcpy(t.model + 100, t.local, lengths[i]);
		write_retry(&t, &from, 1, &at, 1, 0, 0, &done);
		rig_until(&t.rig, &done.calls, 1);
		assert_int_equal(done.status, 0);
		assert_int_equal(store.out, 0);
		expect_read(&t, 100, lengths[i], 4242, 0);
		assert_memory_equal(t.out, t.local, lengths[i]);
		expect_read(&t, MEMORY - 7, lengths[i], 4242, -ERANGE);
		expect_read(&t, 0, lengths[i], 4243, -ENOKEY);
	}
	assert_int_equal(store.out, 0);
	teardown(&t);
}

/* A fenced read sees what earlier writes wrote. */
static void fence(void **state)
{
	struct bench t;

	for (unsigned direct = 0; direct < 2; direct++) {
		fake.direct = direct;
		setup(&t);
		for (unsigned i = 0; i < 50; i++) {
			size_t len = i & 1 ? 300000 : 100;
			struct up_rma_iov at = {BASE, len, t.key};
			struct iovec from = {t.local, len}, to = {t.out, len};
			struct rig_done wrote = {0}, got = {0};

			fill(&t, t.local, len);
			memcpy(t.model, t.local, len);
			write_retry(&t, &from, 1, &at, 1, 0, 0, &wrote);
			while (up_rma_read(t.rig.a, t.rig.to_b, &to, 1, &at, 1, UP_FENCE, rig_done,
					   &got))
				rig_run(&t.rig);
			rig_until(&t.rig, &got.calls, 1);
			assert_int_equal(wrote.calls, 1);
			assert_memory_equal(t.out, t.local, len);
		}
		teardown(&t);
	}
}

static void bad_arguments(void **state)
{
	struct up_rma_iov at = {BASE, 8, 1}, huge[2] = {{0, SIZE_MAX, 1}, {0, 9, 1}};
	struct up_region *region;
	struct bench t;
	struct iovec eight, nine;

	setup(&t);
	eight = (struct iovec){t.local, 8};
	nine = (struct iovec){t.local, 9};
	assert_int_equal(up_rma_write(t.rig.a, t.rig.to_b, &nine, 1, &at, 1, 0, 0, NULL, NULL),
			 -EINVAL);
	assert_int_equal(up_rma_write(t.rig.a, t.rig.to_b, &eight, 1, huge, 2, 0, 0, NULL, NULL),
			 -EINVAL);
	assert_int_equal(up_rma_write(t.rig.a, t.rig.to_b, &eight, 1, &at, 1, 0, 64, NULL, NULL),
			 -EINVAL);
	assert_int_equal(up_rma_read(t.rig.a, t.rig.to_b, &eight, 1, &at, 1, UP_IMM, NULL, NULL),
			 -EINVAL);
	assert_int_equal(up_rma_read(t.rig.a, 99, &eight, 1, &at, 1, 0, NULL, NULL), -EINVAL);
	assert_int_equal(up_region_open(t.rig.b, t.remote, 16, UINT64_MAX - 8, 0, 0, &region),
			 -EINVAL);
	assert_int_equal(up_region_open(t.rig.b, t.remote, 16, 0, 8, 0, &region), -EINVAL);
	teardown(&t);
}

/* Everything that is open ends once, when the lane breaks and when an endpoint closes. */
/* Only the lane of tests breaks at a wish, and moves nothing by itself. */
struct touches {
	unsigned writes, atomics;
};

static void touched(void *ctx, up_peer from, unsigned access)
{
	struct touches *t = ctx;

	t->writes += access == UP_RMA_WRITE;
	t->atomics += access & UP_RMA_ATOMIC ? 1 : 0;
}

/* Of one region: each write that has a piece there, once. */
static void touched_region(void **state)
{
	const size_t lens[] = {8, 20000, 300000};
	struct touches touches = {0};
	struct up_region *other;
	unsigned writes = 0;
	uint8_t here[64];
	struct bench t;

	setup(&t);
	up_region_set_touched(t.region, touched, &touches);
	assert_int_equal(up_region_open(t.rig.b, here, sizeof(here), 0, UP_RMA_WRITE, 77, &other),
			 0);
	memset(t.local, 0, MEMORY);
	for (unsigned i = 0; i < 18; i++) {
		size_t len = lens[i % 3];
		/* The other region's piece is not there, the last, or the second one. */
		const struct up_rma_iov there[3] = {
			{BASE, len, t.key}, {0, i / 6 == 2 ? 8 : 0, 77}, {BASE + len, len, t.key}};
		const struct up_rma_iov last[2] = {{BASE, len, t.key}, {0, 8, 77}};
		bool is_last = i / 6 == 1;
		struct iovec from = {t.local, is_last ? len + 8 : 2 * len + there[1].len};
		struct rig_done done = {0};
		int ret;

		while ((ret = up_rma_write(t.rig.a, t.rig.to_b, &from, 1, is_last ? last : there,
					   is_last ? 2 : 3, 0, UP_DELIVERED, rig_done, &done)) ==
		       -EAGAIN)
			rig_run(&t.rig);
		assert_int_equal(ret, 0);
		rig_until(&t.rig, &done.calls, 1);
		assert_int_equal(done.status, 0);
		assert_int_equal(touches.writes, ++writes);
	}
	assert_int_equal(touches.atomics, 0);
	up_region_close(other);
	teardown(&t);
}

static void ends(void **state)
{
	static const struct up_ep_attr on_fake = {.thread = UP_THREAD_SINGLE, .lanes = "fake"};
	struct bench t;

	for (unsigned how = 0; how < 2; how++) {
		struct rig_done done[6] = {0};
		struct up_rma_iov at;
		struct iovec from, to;

		fake.direct = false;
		setup_on(&t, &on_fake);
		at = (struct up_rma_iov){BASE, MEMORY, t.key};
		from = (struct iovec){t.local, MEMORY};
		to = (struct iovec){t.out, MEMORY};
		write_retry(&t, &from, 1, &at, 1, 0, 0, &done[0]);
		read_retry(&t, &to, 1, &at, 1, &done[1]);
		write_retry(&t, &from, 1, &at, 1, 0, 0, &done[2]);
		at.len = from.iov_len = 8;
		write_retry(&t, &from, 1, &at, 1, 0, 0, &done[3]);
		at.len = to.iov_len = 100000;
		read_retry(&t, &to, 1, &at, 1, &done[4]);
		assert_int_equal(up_rma_write(t.rig.a, t.rig.to_b, &from, 1,
					      &(struct up_rma_iov){BASE, 8, t.key}, 1, 0, UP_FENCE,
					      rig_done, &done[5]),
				 0);
		up_progress(t.rig.b);
		up_progress(t.rig.a);
		up_progress(t.rig.b);
		if (how)
			fake_break(t.rig.a, t.rig.b);
		else
			up_ep_close(t.rig.a);
		for (unsigned i = 0; i < 20; i++) {
			up_progress(t.rig.b);
			if (how)
				up_progress(t.rig.a);
		}
		for (unsigned i = 0; i < 6; i++) {
			assert_int_equal(done[i].calls, 1);
			assert_int_equal(done[i].status, how ? -EHOSTDOWN : -ECANCELED);
		}
		if (how)
			up_ep_close(t.rig.a);
		t.rig.a = rig_open(&on_fake);
		memcpy(t.model, t.remote, MEMORY);
		teardown(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_sizes),
		cmocka_unit_test(all_sizes_direct),
		cmocka_unit_test(order),
		cmocka_unit_test(storms),
		cmocka_unit_test(rights_and_bounds),
		cmocka_unit_test(close_under_way),
		cmocka_unit_test(resolver),
		cmocka_unit_test(fence),
		cmocka_unit_test(bad_arguments),
		cmocka_unit_test(touched_region),
		cmocka_unit_test(ends),
		cmocka_unit_test(both_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
