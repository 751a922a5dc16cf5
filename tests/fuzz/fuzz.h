/* SPDX-License-Identifier: BSD-2-Clause */
/* What the fuzzers share: taking an input apart, and checks that end the run. */
#ifndef UP_TESTS_FUZZ_H
#define UP_TESTS_FUZZ_H

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

/* The next `size` bytes, or NULL when there are fewer. */
static inline const uint8_t *fuzz_take(struct fuzz_input *in, size_t size)
{
	const uint8_t *at = in->at;

	if (in->left < size)
		return NULL;
	in->at += size;
	in->left -= size;
	return at;
}

/* Little-endian numbers; 0 once the input has ended. */
static inline uint64_t fuzz_number(struct fuzz_input *in, size_t bytes)
{
	const uint8_t *at = fuzz_take(in, bytes);
	uint64_t v = 0;

	while (at && bytes--)
		v = v << 8 | at[bytes];
	return v;
}

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
	return (uint8_t)fuzz_number(in, 1);
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
	return (uint16_t)fuzz_number(in, 2);
}

static inline uint32_t fuzz_u32(struct fuzz_input *in)
{
	return (uint32_t)fuzz_number(in, 4);
}

#endif
