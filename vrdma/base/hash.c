/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hash of all tables (base/hash.h): SipHash-1-3, after Aumasson and Bernstein, "SipHash: a fast
 * short-input PRF". One compression and three finalization rounds are enough where the hash itself
 * is never shown.
 */
#include "base/hash.h"

#include <endian.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static uint64_t secret[2]; /* set before main() */

/* Without random numbers (an old kernel, a filter of system calls) a guest has to guess less. */
__attribute__((constructor)) static void choose_secret(void)
{
	struct timespec now;

	if (getrandom(secret, sizeof(secret), GRND_NONBLOCK) == sizeof(secret))
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	secret[0] = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec;
	secret[1] = (uint64_t)getpid() * 0x9e3779b97f4a7c15u;
}

struct state {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static inline void round_once(struct state *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static inline void absorb(struct state *s, uint64_t word)
{
	s->v3 ^= word;
	round_once(s);
	s->v0 ^= word;
}

uint32_t up_hash(const void *key, size_t len)
{
	struct state s = {
		.v0 = secret[0] ^ 0x736f6d6570736575u,
		.v1 = secret[1] ^ 0x646f72616e646f6du,
		.v2 = secret[0] ^ 0x6c7967656e657261u,
		.v3 = secret[1] ^ 0x7465646279746573u,
	};
	const uint8_t *at = key;
	uint64_t word;
	size_t left;

	for (left = len; left >= sizeof(word); left -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		absorb(&s, le64toh(word));
	}
	word = 0;
	memcpy(&word, at, left);
	absorb(&s, le64toh(word) | (uint64_t)len << 56);
	s.v2 ^= 0xff;
	for (unsigned i = 0; i < 3; i++)
		round_once(&s);
	return (uint32_t)(s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
}
