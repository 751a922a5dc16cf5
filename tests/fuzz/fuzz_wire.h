/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queue elements as fuzz_wqe.c reads them: a second decoder, written from the layouts alone, to
 * compare with the device's.
 */
#ifndef UP_TESTS_FUZZ_WIRE_H
#define UP_TESTS_FUZZ_WIRE_H

#include "fuzz.h"

struct wire_piece {
	uint64_t addr, len;
	uint32_t key;
	const uint8_t *inlined; /* the data itself, else NULL */
};

struct wire {
	bool is_local; /* registration, or nothing */
	bool one_sided, is_read, is_atomic;
	uint64_t raddr;
	uint32_t rkey;
	uint64_t length; /* of all pieces */
	unsigned npieces;
	struct wire_piece piece[64];
};

/* A send element of `len` bytes; pieces point into it. False when it has no meaning. */
bool wire_decode(struct wire *w, const uint8_t *bytes, uint32_t len, bool datagram, bool xrc);
/* A receive element. */
void wire_decode_list(struct wire *w, const uint8_t *bytes, uint32_t len);

#endif
