/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The copy routine (engine/copy.h). `make bench` shows what its choices are worth: the bandwidth
 * rows, hot and cold, stand beside memcpy() on the same buffers. The figures in comments are
 * medians from a 2-core VM (Zen 5, 32 MiB of L3).
 */
#include "engine/copy.h"

#include <string.h>
#include <unistd.h>

#define BLOCK_SHIFT 14 /* 16 KiB, the unit of the history */
#define BLOCK ((size_t)1 << BLOCK_SHIFT)

/*
 * Below STREAM_TOTAL a message's reader probably still finds it in a cache, which is worth more
 * than a faster copy. Below STREAM_MIN the fence at the end eats the gain of streaming.
 */
#define STREAM_TOTAL ((uint64_t)1 << 20)
#define STREAM_MIN (2 * BLOCK)

/* How much faster at least a copy is whose buffers are both in the caches of the core. */
#define CACHED_SPEED 4

/* Bounds of caches: a VM sees figures from nothing to a whole socket's. */
#define L1_MIN ((long)16 << 10)
#define LLC_MIN ((long)4 << 20)
#define LLC_MAX ((long)32 << 20)

#if defined(__x86_64__)

#include <immintrin.h>

/*
 * Non-temporal stores need not fetch the destination's lines before they overwrite them: 24 GB/s
 * against 18 of memcpy() on buffers that are in no cache. 32-byte vectors do as well as 64-byte
 * ones, and prefetching the source gains nothing. Both return how much they copied; dst is
 * aligned to a cache line.
 */
__attribute__((target("avx2"))) static size_t stream_avx2(uint8_t *dst, const uint8_t *src,
							  size_t n)
{
	size_t at;

	for (at = 0; n - at >= 128; at += 128) {
		const __m256i *from = (const __m256i *)(src + at);
		__m256i *to = (__m256i *)(dst + at);
		__m256i a = _mm256_loadu_si256(from);
		__m256i b = _mm256_loadu_si256(from + 1);
		__m256i c = _mm256_loadu_si256(from + 2);
		__m256i d = _mm256_loadu_si256(from + 3);

		_mm256_stream_si256(to, a);
		_mm256_stream_si256(to + 1, b);
		_mm256_stream_si256(to + 2, c);
		_mm256_stream_si256(to + 3, d);
	}
	return at;
}

static size_t stream_sse2(uint8_t *dst, const uint8_t *src, size_t n)
{
	size_t at;

	for (at = 0; n - at >= 64; at += 64) {
		const __m128i *from = (const __m128i *)(src + at);
		__m128i *to = (__m128i *)(dst + at);
		__m128i a = _mm_loadu_si128(from);
		__m128i b = _mm_loadu_si128(from + 1);
		__m128i c = _mm_loadu_si128(from + 2);
		__m128i d = _mm_loadu_si128(from + 3);

		_mm_stream_si128(to, a);
		_mm_stream_si128(to + 1, b);
		_mm_stream_si128(to + 2, c);
		_mm_stream_si128(to + 3, d);
	}
	return at;
}

/* n is at least STREAM_MIN. */
static void copy_streaming(uint8_t *dst, const uint8_t *src, size_t n)
{
	size_t at = -(uintptr_t)dst & 63;

	memcpy(dst, src, 64);
	if (__builtin_cpu_supports("avx2"))
		at += stream_avx2(dst + at, src + at, n - at);
	else
		at += stream_sse2(dst + at, src + at, n - at);
	/* Streamed stores are not ordered by anything less, not even among themselves. */
	_mm_sfence();
	memcpy(dst + at, src + at, n - at);
}

/* Cached stores in a plain loop. n is at least 64. */
__attribute__((target("avx2"))) static void copy_vectors(uint8_t *dst, const uint8_t *src, size_t n)
{
	size_t at = -(uintptr_t)dst & 31;

	memcpy(dst, src, 32);
	for (; n - at >= 128; at += 128) {
		const __m256i *from = (const __m256i *)(src + at);
		__m256i *to = (__m256i *)(dst + at);
		__m256i a = _mm256_loadu_si256(from);
		__m256i b = _mm256_loadu_si256(from + 1);
		__m256i c = _mm256_loadu_si256(from + 2);
		__m256i d = _mm256_loadu_si256(from + 3);

		_mm256_store_si256(to, a);
		_mm256_store_si256(to + 1, b);
		_mm256_store_si256(to + 2, c);
		_mm256_store_si256(to + 3, d);
	}
	memcpy(dst + at, src + at, n - at);
}

/*
 * The C library copies sizes from 2 KiB to that of the L2 cache by `rep movsb`, which is the
 * fastest there is on most processors (107 GB/s at 64 KiB against 84 of the loop), but on AMD's
 * family 19h (Zen 3 and 4) was seen at 2.4 GB/s where dst and src are not aligned alike.
 */
#define REP_MIN 2048

static void copy_cached(uint8_t *dst, const uint8_t *src, size_t n)
{
	/* A hypervisor may hide AVX2 of a processor that has it. */
	if (n >= REP_MIN && __builtin_cpu_is("amdfam19h") && __builtin_cpu_supports("avx2"))
		copy_vectors(dst, src, n);
	else
		memcpy(dst, src, n);
}

#else

static void copy_streaming(uint8_t *dst, const uint8_t *src, size_t n)
{
	memcpy(dst, src, n);
}

static void copy_cached(uint8_t *dst, const uint8_t *src, size_t n)
{
	memcpy(dst, src, n);
}

#endif

/* Stores before it are visible before stores after it. */
static inline void order_stores(void)
{
#if defined(__x86_64__)
	/* The processor keeps their order, and that of a whole `rep movsb` to a later store. */
	__atomic_signal_fence(__ATOMIC_RELEASE);
#else
	__atomic_thread_fence(__ATOMIC_RELEASE);
#endif
}

/* The last store of a copy. */
static inline void store_last(uint8_t *dst, uint64_t v)
{
	order_stores();
	memcpy(dst, &v, sizeof(v));
}

/*
 * Copies of 64 bytes at most, and of less than 8. All is loaded before anything is stored, which is
 * right for ranges that overlap too. Words of 2, 4 and 8 bytes are stored whole, and no part of the
 * last store is stored twice: who saw the end of the data may use the buffer for something else at
 * once.
 */
static inline void copy_tiny(uint8_t *dst, const uint8_t *src, size_t n)
{
	uint32_t first, last;
	uint16_t half;

	if (n >= 4) {
		memcpy(&first, src, 4);
		memcpy(&last, src + n - 4, 4);
		if (n > 4)
			memcpy(dst, &first, 4);
		order_stores();
		memcpy(dst + n - 4, &last, 4);
	} else if (n >= 2) {
		uint8_t end = src[n - 1];

		memcpy(&half, src, 2);
		memcpy(dst, &half, 2);
		order_stores();
		if (n == 3)
			dst[2] = end;
	} else if (n) {
		*dst = *src;
	}
}

static inline void copy_small(uint8_t *dst, const uint8_t *src, size_t n)
{
	struct {
		uint64_t w[2];
	} a, b, c;
	uint64_t d, last;

	if (n < 8) {
		copy_tiny(dst, src, n);
		return;
	}
	memcpy(&last, src + n - 8, 8);
	if (n > 32) {
		memcpy(&a, src, 16);
		memcpy(&b, src + 16, 16);
		memcpy(&c, src + n - 32, 16);
		memcpy(&d, src + n - 16, 8);
		memcpy(dst, &a, 16);
		memcpy(dst + 16, &b, 16);
		memcpy(dst + n - 32, &c, 16);
		memcpy(dst + n - 16, &d, 8);
	} else if (n > 16) {
		memcpy(&a, src, 16);
		memcpy(&d, src + n - 16, 8);
		memcpy(dst, &a, 16);
		memcpy(dst + n - 16, &d, 8);
	} else if (n > 8) {
		memcpy(&d, src, 8);
		memcpy(dst, &d, 8);
	}
	store_last(dst + n - 8, last);
}

/* Neighbours stay neighbours, so that the blocks of one copy share cache lines of the table. */
static size_t slot_of(uintptr_t block)
{
	return (block + (block / UP_COPY_SLOTS) * 2654435761u) % UP_COPY_SLOTS;
}

/* A copy touches two bytes for each that it copies, so half of a cache holds a copy's worth. */
static void learn_caches(struct up_copy_history *h)
{
	long l1 = -1, llc = -1;

#ifdef _SC_LEVEL1_DCACHE_SIZE
	l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE);
#endif
#ifdef _SC_LEVEL3_CACHE_SIZE
	llc = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
	h->piece = (size_t)(l1 >= L1_MIN ? l1 : L1_MIN) / 4 & ~(size_t)63;
	if (llc < LLC_MIN)
		llc = LLC_MIN;
	h->reach = (uint64_t)(llc < LLC_MAX ? llc : LLC_MAX) / 2;
}

/* Is the destination in a cache? Asks for one block, which lies wholly inside of it. */
static bool is_hot(const struct up_copy_history *h, const uint8_t *dst, size_t n)
{
	uintptr_t block = ((uintptr_t)dst + n / 2) >> BLOCK_SHIFT;
	size_t i = slot_of(block);

	return h->slot[i].block == block && h->clock - h->slot[i].when < h->reach;
}

static void remember(struct up_copy_history *h, const uint8_t *p, size_t n)
{
	for (uintptr_t b = (uintptr_t)p >> BLOCK_SHIFT; b <= ((uintptr_t)p + n - 1) >> BLOCK_SHIFT;
	     b++) {
		size_t i = slot_of(b);

		h->slot[i].block = b;
		h->slot[i].when = h->clock;
	}
}

/*
 * A buffer that is sent again and again, or filled again and again, and fits the second level of
 * the caches but not the first: what the copy before ended with is in the first level still, so
 * this one begins there. Taken upwards each time, every piece would have been evicted just before
 * its turn. 64 KiB take 480 ns by turns against 580. The pieces are taken downwards, and each of
 * them upwards, which is what `rep movsb` and prefetchers are fast at. They are half as long as
 * would fit: with both sides of a piece in all of the first level, whatever is touched between two
 * copies evicts what comes next, line by line (1 to 7 % of the time of a message, Zen 4).
 */
static bool copy_by_turns(struct up_copy_history *h, uint8_t *dst, const uint8_t *src, size_t n)
{
	bool same_dst = h->last.dst == dst, same_src = h->last.src == src;
	bool down = !h->last.down && (same_dst || same_src);
	size_t left = n;

	h->last.dst = dst;
	h->last.src = src;
	h->last.down = down;
	while (down && left > h->piece) {
		left -= h->piece;
		copy_cached(dst + left, src + left, h->piece);
	}
	copy_cached(dst, src, left);
	return same_dst && same_src;
}

/* Of STREAM_MIN bytes and more. True: both buffers were in the core's caches. */
static bool copy_long(struct up_copy_history *h, uint8_t *dst, const uint8_t *src, size_t n,
		      uint64_t total)
{
	bool hot;

	if (!h->piece)
		learn_caches(h);
	if (total < STREAM_TOTAL)
		return copy_by_turns(h, dst, src, n);
	hot = is_hot(h, dst, n);
	remember(h, dst, n);
	remember(h, src, n);
	if (hot)
		copy_cached(dst, src, n);
	else
		copy_streaming(dst, src, n);
	return false;
}

static inline void copy_overlapping(void *dst, const void *src, size_t n)
{
	memmove(dst, src, n);
}

static inline uint64_t load_last(const uint8_t *src)
{
	uint64_t last;

	memcpy(&last, src, sizeof(last));
	return last;
}

uint64_t up_copy(struct up_copy_history *h, void *dst, const void *src, size_t n, uint64_t total)
{
	bool cached = false;
	uint64_t last;

	if (n <= 64) {
		copy_small(dst, src, n);
		return n;
	}
	h->clock += n;
	if ((uintptr_t)dst - (uintptr_t)src < n || (uintptr_t)src - (uintptr_t)dst < n) {
		copy_overlapping(dst, src, n);
		return n;
	}
	last = load_last((const uint8_t *)src + n - 8);
	if (n - 8 < STREAM_MIN)
		copy_cached(dst, src, n - 8);
	else
		cached = copy_long(h, dst, src, n - 8, total);
	store_last((uint8_t *)dst + n - 8, last);
	return cached ? n / CACHED_SPEED : n;
}
