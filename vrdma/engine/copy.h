/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The copy routine. Chooses between cached and non-temporal stores by size and by whether the
 * destination was copied to or from recently enough to be in a cache.
 */
#ifndef UP_ENGINE_COPY_H
#define UP_ENGINE_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What was copied lately, by hashed block address: one for each worker, used by it alone, all
 * zero at first. `clock` counts bytes copied; `reach` is how many of them a cache remembers. The
 * `last` copy of cached stores: where, and whether it went downwards. Pieces of `piece` bytes are
 * what the first-level cache holds twice of a copy's both sides.
 */
#define UP_COPY_SLOTS 4096
struct up_copy_history {
	uint64_t clock;
	uint64_t reach;
	size_t piece;
	struct {
		const void *dst;
		const void *src;
		bool down;
	} last;
	struct {
		uintptr_t block;
		uint64_t when;
	} slot[UP_COPY_SLOTS];
};

/*
 * Copies n bytes. `total` is the length of the whole message that this is a part of: what decides
 * the kind of store. Ranges that overlap (a guest may send a buffer into itself) end as memmove()
 * would leave them.
 *
 * Order: the last 8 bytes (all of them, when n is less than 8) are stored after all others, so
 * that a guest which polls the end of a buffer finds the rest there. Nothing else is ordered, as
 * the device says (ibv_query_qp_data_in_order() has 0). When it returns, a releasing store orders
 * all of it, non-temporal stores included.
 *
 * What it cost is returned, in bytes of a copy between buffers that are in no cache.
 */
uint64_t up_copy(struct up_copy_history *h, void *dst, const void *src, size_t n, uint64_t total);

#endif
