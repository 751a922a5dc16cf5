/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory for one guest's objects. A guest can have a million of them, and what they took is to go
 * back to the system when they go, while those of other guests stay. The allocator of the C library
 * keeps it, or looks through all of its memory for what could be given back, with its lock held
 * for tens of milliseconds. Here objects of one size share chunks of a megabyte, and a chunk goes
 * with its last object.
 *
 * The caller remembers an object's size. Any thread; each call holds the arena's lock.
 */
#ifndef UP_BASE_ARENA_H
#define UP_BASE_ARENA_H

#include <stddef.h>

struct up_arena;

/* NULL with errno. */
struct up_arena *up_arena_create(void);
/* Gives back what it keeps for later, when nothing of it is in use. */
void up_arena_trim(struct up_arena *a);
/* Nothing of it is in use. */
void up_arena_destroy(struct up_arena *a);

/* Zeroed; aligned to 64 bytes from 64 on, to 16 below. Not NULL for size 0. NULL with errno. */
void *up_arena_alloc(struct up_arena *a, size_t size);
/* NULL is allowed. */
void up_arena_free(struct up_arena *a, void *object, size_t size);
/*
 * Gives back a part of a large object, from its end. Returns the size that is left: that of an
 * object for the next call, or 0 when all of it is gone.
 */
size_t up_arena_shrink(struct up_arena *a, void *object, size_t size);

#endif
