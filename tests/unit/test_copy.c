/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The copy routine (engine/copy.h). The file is included, so that the kinds of copy are tested
 * which this machine's processor would not choose.
 */
#include "unit.h"

#include "engine/copy.c"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define ROOM ((size_t)4 << 20)
#define LARGE STREAM_TOTAL

static uint8_t *src, *dst;
static struct up_copy_history *history;

static int setup(void **state)
{
	uint64_t seed = 88172645463325252u;

	src = aligned_alloc(4096, ROOM);
	dst = aligned_alloc(4096, ROOM);
	history = calloc(1, sizeof(*history));
	for (size_t i = 0; i < ROOM; i++)
		src[i] = (uint8_t)(unit_random(&seed) | 1);
	return 0;
}

static int teardown(void **state)
{
	free(src);
	free(dst);
	free(history);
	return 0;
}

/* Copies with a margin around, which must stay. */
static void expect_copy(size_t to, size_t from, size_t n, uint64_t total)
{
	memset(dst + to, 0, n + 128);
	up_copy(history, dst + to + 64, src + from, n, total);
	assert_memory_equal(dst + to + 64, src + from, n);
	for (size_t i = 0; i < 64; i++)
		assert_true(!dst[to + i] && !dst[to + 64 + n + i]);
}

static void small_sizes_at_every_alignment(void **state)
{
	for (size_t n = 0; n <= 300; n++) {
		size_t step = n > 70 ? 7 : 1;

		for (size_t to = 0; to < 64; to += step)
			expect_copy(to, (to * 29 + n) % 64, n, n);
	}
}

static void sizes_around_the_thresholds(void **state)
{
	static const size_t around[] = {2048, 4096, 16384, STREAM_MIN, 65536, 131072, LARGE};

	for (size_t i = 0; i < sizeof(around) / sizeof(*around); i++)
		for (size_t n = around[i] - 9; n <= around[i] + 9; n++)
			for (size_t to = 0; to < 64; to += 13) {
				expect_copy(to, n % 64, n, n);
				/* As a part of a long message, to memory that is cold. */
				memset(history, 0, sizeof(*history));
				expect_copy(to, n % 64, n, LARGE);
			}
}

static void parts_make_a_message(void **state)
{
	const size_t quantum = 128 * 1024, total = ROOM - 77;

	for (int round = 0; round < 3; round++) {
		memset(dst, 0, ROOM);
		for (size_t at = 0; at < total; at += quantum)
			up_copy(history, dst + 13 + at, src + at,
				total - at < quantum ? total - at : quantum, total);
		assert_memory_equal(dst + 13, src, total);
		assert_int_equal(dst[13 + total], 0);
	}
}

static void overlapping_ranges_copy_as_memmove(void **state)
{
	static const size_t sizes[] = {1, 3, 8, 15, 31, 63, 64, 65, 1000, 70000, LARGE};
	static const size_t shifts[] = {0, 1, 7, 8, 60, 4096};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (size_t k = 0; k < sizeof(shifts) / sizeof(*shifts); k++) {
			size_t n = sizes[i], by = shifts[k];

			memcpy(dst, src, n + by);
			up_copy(history, dst + by, dst, n, n);
			assert_memory_equal(dst + by, src, n);
			memcpy(dst, src, n + by);
			up_copy(history, dst, dst + by, n, n);
			assert_memory_equal(dst, src + by, n);
		}
}

/* Every other copy of the same buffers goes downwards, and ends with what is there at its start. */
static void same_buffers_by_turns(void **state)
{
	static const size_t sizes[] = {STREAM_MIN + 8, 65536, 65536 + 13, LARGE - 1};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (int round = 0; round < 4; round++) {
			/* Into the same place; it was the other way round before. */
			expect_copy(3, (size_t)round / 2, sizes[i], sizes[i]);
			assert_int_equal(history->last.down, round % 2 != 0);
		}
	expect_copy(3, 1, 65536, 65536);
	assert_false(history->last.down);
	expect_copy(4, 2, 65536, 65536);
	assert_false(history->last.down);
}

/* A turn is a stretch of time: what is in the caches already takes less of it. */
static void cached_copies_cost_less(void **state)
{
	const size_t n = 65536;

	assert_int_equal(up_copy(history, dst, src, n, n), n);
	assert_in_range(up_copy(history, dst, src, n, n), 1, n / 2);
	assert_int_equal(up_copy(history, dst, src + n, n, n), n);
	assert_int_equal(up_copy(history, dst, src, n, LARGE), n);
	assert_int_equal(up_copy(history, dst, src, n, LARGE), n);
	assert_int_equal(up_copy(history, dst, src, 64, 64), 64);
}

#if defined(__x86_64__)
static void every_kind_of_loop(void **state)
{
	bool avx2 = __builtin_cpu_supports("avx2");

	for (size_t to = 0; to < 256; to += 64)
		for (size_t n = STREAM_MIN; n < STREAM_MIN + 200; n += 3) {
			size_t done;

			memset(dst, 0, 2 * STREAM_MIN);
			done = stream_sse2(dst + to, src + 5, n);
			_mm_sfence();
			assert_in_range(n - done, 0, 63);
			assert_memory_equal(dst + to, src + 5, done);
			if (!avx2)
				continue;
			memset(dst, 0, 2 * STREAM_MIN);
			done = stream_avx2(dst + to, src + 5, n);
			_mm_sfence();
			assert_in_range(n - done, 0, 127);
			assert_memory_equal(dst + to, src + 5, done);
			memset(dst, 0, 2 * STREAM_MIN);
			copy_vectors(dst + to + n % 64, src + 5, n);
			assert_memory_equal(dst + to + n % 64, src + 5, n);
			assert_int_equal(dst[to + n % 64 + n], 0);
		}
}
#endif

static void learns_what_is_hot(void **state)
{
	const size_t n = 128 * 1024;

	history->reach = 8 * n;
	history->piece = n;
	assert_false(is_hot(history, dst, n));
	up_copy(history, dst, src, n, LARGE);
	assert_true(is_hot(history, dst, n));
	assert_true(is_hot(history, dst + 100, n - 200));
	/* What was read is in a cache, too. */
	assert_true(is_hot(history, src, n));
	assert_false(is_hot(history, dst + n, n));
	/* It is forgotten after as many bytes as the cache holds. */
	for (size_t i = 1; i < 8; i++)
		up_copy(history, dst + i * n, src + i * n, n, LARGE);
	assert_true(is_hot(history, dst, n));
	up_copy(history, dst + 8 * n, src + 8 * n, n, LARGE);
	assert_false(is_hot(history, dst, n));
	assert_true(is_hot(history, dst + n, n));
}

/* A stream to ever new memory is cold throughout, wherever its parts begin. */
static void stream_of_parts_stays_cold(void **state)
{
	const size_t n = STREAM_MIN + 8;

	history->reach = ROOM;
	for (size_t at = 1; at + n <= ROOM; at += n) {
		assert_false(is_hot(history, dst + at, n - 8));
		up_copy(history, dst + at, src + at, n, ROOM);
	}
}

static void small_messages_leave_no_trace(void **state)
{
	up_copy(history, dst, src, LARGE - 1, LARGE - 1);
	up_copy(history, dst, src, STREAM_MIN - 1, LARGE);
	for (size_t i = 0; i < UP_COPY_SLOTS; i++)
		assert_int_equal(history->slot[i].block, 0);
	assert_int_equal(history->clock, LARGE - 1 + STREAM_MIN - 1);
}

static void reach_is_sensible(void **state)
{
	up_copy(history, dst, src, LARGE, LARGE);
	assert_in_range(history->reach, LLC_MIN / 2, LLC_MAX / 2);
}

/* ThreadSanitizer would report the race that a polling guest is. */
#if defined(__has_feature)
#define HAVE_TSAN __has_feature(thread_sanitizer)
#elif defined(__SANITIZE_THREAD__)
#define HAVE_TSAN 1
#else
#define HAVE_TSAN 0
#endif

/* What the poller waits for, one message after the other. */
static struct {
	uint8_t *end; /* atomic; NULL: stop */
	size_t n;
	bool whole;
} poll_job;

static void *poller(void *arg)
{
	for (;;) {
		uint8_t *end;

		while (!(end = __atomic_load_n(&poll_job.end, __ATOMIC_ACQUIRE)))
			sched_yield();
		if (end == src)
			return NULL;
		while (!__atomic_load_n(end, __ATOMIC_ACQUIRE))
			sched_yield();
		poll_job.whole = !memcmp(end + 1 - poll_job.n, src, poll_job.n);
		__atomic_store_n(&poll_job.end, NULL, __ATOMIC_RELEASE);
	}
}

/* A guest that polls the last byte of a buffer finds the rest of the message there. */
/* Not under ThreadSanitizer: the race is what it is about. */
__attribute__((unused)) static void last_byte_comes_last(void **state)
{
	static const size_t sizes[] = {2, 4, 7, 9, 24, 64, 65, 300, 4096, 70000, STREAM_MIN + 77};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, poller, NULL), 0);
	for (int round = 0; round < 1000; round++) {
		size_t n = sizes[round % (sizeof(sizes) / sizeof(*sizes))];

		memset(dst, 0, n);
		poll_job.n = n;
		__atomic_store_n(&poll_job.end, dst + n - 1, __ATOMIC_RELEASE);
		history->reach = 1; /* nothing is hot: large ones are streamed */
		up_copy(history, dst, src, n, round % 2 ? LARGE : n);
		while (__atomic_load_n(&poll_job.end, __ATOMIC_ACQUIRE))
			sched_yield();
		assert_true(poll_job.whole);
	}
	__atomic_store_n(&poll_job.end, src, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(small_sizes_at_every_alignment),
		TEST(sizes_around_the_thresholds),
		TEST(same_buffers_by_turns),
		TEST(cached_copies_cost_less),
		TEST(parts_make_a_message),
		TEST(overlapping_ranges_copy_as_memmove),
#if defined(__x86_64__)
		TEST(every_kind_of_loop),
#endif
		TEST(learns_what_is_hot),
		TEST(stream_of_parts_stays_cold),
		TEST(small_messages_leave_no_trace),
		TEST(reach_is_sensible),
#if !HAVE_TSAN
		TEST(last_byte_comes_last),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
