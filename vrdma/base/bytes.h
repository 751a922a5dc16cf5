/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Big-endian fields of guest structures, and arithmetic on guest-supplied ranges.
 *
 * The fetch helpers read guest memory exactly once: the compiler may not read again after a
 * check, because the access is volatile. The publish helpers order what was written before them
 * (release); each caller names the guest's side of the pair.
 */
#ifndef UP_BASE_BYTES_H
#define UP_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t up_get_be16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return be16toh(v);
}

static inline uint32_t up_get_be32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static inline uint64_t up_get_be64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static inline uint32_t up_get_be24(const void *p)
{
	const uint8_t *b = p;

	return (uint32_t)b[0] << 16 | (uint32_t)b[1] << 8 | b[2];
}

static inline void up_put_be16(void *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void up_put_be32(void *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void up_put_be64(void *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

/* One acquiring read of an aligned big-endian word that a guest stores (doorbell records). */
static inline uint32_t up_fetch_be32(const void *p)
{
	return be32toh(__atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE));
}

static inline uint64_t up_fetch_u64(const void *p)
{
	return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
}

/* One releasing store of a byte that a guest polls (owner bytes of CQEs, EQEs, commands). */
static inline void up_publish_u8(void *p, uint8_t v)
{
	__atomic_store_n((uint8_t *)p, v, __ATOMIC_RELEASE);
}

/* memcpy() that makes no call for a word, and moves it by one access: who looks at it meanwhile
 * sees all of it or nothing. */
static inline void up_copy_short(void *to, const void *from, size_t len)
{
	switch (len) {
	case 4:
		memcpy(to, from, 4);
		break;
	case 8:
		memcpy(to, from, 8);
		break;
	default:
		memcpy(to, from, len);
		break;
	}
}

/* True if [addr, addr + len) lies inside [start, start + size), without wrapping. */
static inline bool up_range_inside(uint64_t addr, uint64_t len, uint64_t start, uint64_t size)
{
	uint64_t at, left;

	return !__builtin_sub_overflow(addr, start, &at) &&
	       !__builtin_sub_overflow(size, at, &left) && len <= left;
}

#define UP_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define UP_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
