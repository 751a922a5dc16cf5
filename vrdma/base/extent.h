/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Large pieces of memory for one guest's objects. The system bounds how many separate mappings a
 * process has (vm.max_map_count, 65,530 for all guests together), and memory that is mapped and
 * unmapped piece by piece comes to a mapping for each: a guest that frees every other one of its
 * objects has as many. Here pieces share extents, which are mapped as a whole and go as a whole;
 * what a piece took in between goes back to the system without a change of mappings.
 *
 * Any thread; each call holds the lock, but not while memory is given back.
 */
#ifndef UP_BASE_EXTENT_H
#define UP_BASE_EXTENT_H

#include "base/list.h"

#include <pthread.h>
#include <stddef.h>

#define UP_EXTENT_UNIT ((size_t)64 << 10)
#define UP_EXTENT_ALIGN_MAX ((size_t)1 << 20)

struct up_extents {
	pthread_mutex_t lock;
	struct up_list list;
};

void up_extents_init(struct up_extents *x);
/* No piece is in use. */
void up_extents_fini(struct up_extents *x);

/* Zeroed, a multiple of `align`, which is a power of two up to the maximum. NULL with errno. */
void *up_extents_take(struct up_extents *x, size_t bytes, size_t align);
/*
 * The end of a piece, or all of it: of `bytes`, as it was taken or left, `left` stay, which are a
 * multiple of the unit.
 */
void up_extents_give(struct up_extents *x, void *piece, size_t bytes, size_t left);

#endif
