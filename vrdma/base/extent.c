/* SPDX-License-Identifier: BSD-2-Clause */
/* Large pieces of memory for one guest's objects (base/extent.h). */
#include "base/extent.h"

#include "base/bytes.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define UNITS 1024u
#define SHARED (UNITS * UP_EXTENT_UNIT)
/* A piece from here on has an extent of its own: of these there are few. */
#define OWN (SHARED / 2)

struct extent {
	struct up_list node;
	uint8_t *base;
	size_t size;
	bool own;
	/* Of one that is shared: */
	unsigned free;	   /* units */
	unsigned too_many; /* no run of so many is free */
	uint64_t used[UNITS / 64];
};

static size_t round_up(size_t bytes, size_t to)
{
	return (bytes + to - 1) & -to;
}

static void *map(size_t bytes)
{
	uint8_t *at, *base;

	at = mmap(NULL, bytes + UP_EXTENT_ALIGN_MAX, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return NULL;
	base = (uint8_t *)round_up((uintptr_t)at, UP_EXTENT_ALIGN_MAX);
	if (base != at)
		munmap(at, (size_t)(base - at));
	munmap(base + bytes, UP_EXTENT_ALIGN_MAX - (size_t)(base - at));
	return base;
}

static struct extent *extent_create(size_t size, bool own)
{
	struct extent *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->base = map(size);
	if (!e->base) {
		free(e);
		return NULL;
	}
	e->size = size;
	e->own = own;
	e->free = UNITS;
	e->too_many = UNITS + 1;
	return e;
}

static void extent_destroy(struct extent *e)
{
	munmap(e->base, e->size);
	free(e);
}

void up_extents_init(struct up_extents *x)
{
	pthread_mutex_init(&x->lock, NULL);
	up_list_init(&x->list);
}

void up_extents_fini(struct up_extents *x)
{
	assert(up_list_empty(&x->list));
	pthread_mutex_destroy(&x->lock);
}

static bool is_used(const struct extent *e, unsigned unit)
{
	return e->used[unit / 64] >> unit % 64 & 1;
}

static void flip(struct extent *e, unsigned first, unsigned n)
{
	for (unsigned i = first; i < first + n; i++)
		e->used[i / 64] ^= 1ull << i % 64;
}

/* The first run of n free units at a multiple of `align` units. */
static bool find_run(struct extent *e, unsigned n, unsigned align, unsigned *first)
{
	unsigned at = 0, len;

	if (e->own || e->free < n || n >= e->too_many)
		return false;
	while (at + n <= UNITS) {
		for (len = 0; len < n && !is_used(e, at + len); len++)
			;
		if (len == n) {
			*first = at;
			return true;
		}
		at = (at + len + align) & -align;
	}
	if (align == 1)
		e->too_many = n;
	return false;
}

/* Under the lock. */
static void *take_shared(struct up_extents *x, unsigned n, unsigned align)
{
	struct up_list *pos, *tmp;
	struct extent *e = NULL;
	unsigned first = 0;

	up_list_each (pos, tmp, &x->list) {
		e = UP_CONTAINER_OF(pos, struct extent, node);
		if (find_run(e, n, align, &first))
			break;
		e = NULL;
	}
	if (!e) {
		e = extent_create(SHARED, false);
		if (!e)
			return NULL;
		up_list_add_tail(&x->list, &e->node);
	}
	flip(e, first, n);
	e->free -= n;
	return e->base + first * UP_EXTENT_UNIT;
}

static void *take_own(struct up_extents *x, size_t bytes)
{
	struct extent *e = extent_create(bytes, true);

	if (!e)
		return NULL;
	pthread_mutex_lock(&x->lock);
	up_list_add_tail(&x->list, &e->node);
	pthread_mutex_unlock(&x->lock);
	return e->base;
}

void *up_extents_take(struct up_extents *x, size_t bytes, size_t align)
{
	size_t units = round_up(bytes, UP_EXTENT_UNIT) / UP_EXTENT_UNIT;
	void *at;

	assert(align <= UP_EXTENT_ALIGN_MAX);
	if (bytes >= OWN)
		return take_own(x, units * UP_EXTENT_UNIT);
	pthread_mutex_lock(&x->lock);
	at = take_shared(x, (unsigned)units,
			 align > UP_EXTENT_UNIT ? (unsigned)(align / UP_EXTENT_UNIT) : 1);
	pthread_mutex_unlock(&x->lock);
	return at;
}

static struct extent *find(struct up_extents *x, const uint8_t *at)
{
	struct up_list *pos, *tmp;
	struct extent *e = NULL;

	pthread_mutex_lock(&x->lock);
	up_list_each (pos, tmp, &x->list) {
		e = UP_CONTAINER_OF(pos, struct extent, node);
		if (at >= e->base && at < e->base + e->size)
			break;
		e = NULL;
	}
	pthread_mutex_unlock(&x->lock);
	assert(e);
	return e;
}

/* Only its owner knows it, and nobody else looks for what lies in it. */
static void give_own(struct up_extents *x, struct extent *e, size_t left)
{
	size_t size = e->size;

	pthread_mutex_lock(&x->lock);
	e->size = left;
	if (!left)
		up_list_unlink(&e->node);
	pthread_mutex_unlock(&x->lock);
	munmap(e->base + left, size - left);
	if (!left)
		free(e);
}

static void give_shared(struct up_extents *x, struct extent *e, uint8_t *at, size_t bytes)
{
	unsigned n = (unsigned)(bytes / UP_EXTENT_UNIT);
	bool unused;

	/* While the units are still taken: the next owner finds zeros. */
	if (madvise(at, bytes, MADV_DONTNEED))
		memset(at, 0, bytes);
	pthread_mutex_lock(&x->lock);
	flip(e, (unsigned)((size_t)(at - e->base) / UP_EXTENT_UNIT), n);
	e->free += n;
	e->too_many = UNITS + 1;
	unused = e->free == UNITS;
	if (unused)
		up_list_unlink(&e->node);
	pthread_mutex_unlock(&x->lock);
	if (unused)
		extent_destroy(e);
}

void up_extents_give(struct up_extents *x, void *piece, size_t bytes, size_t left)
{
	struct extent *e = find(x, piece);

	if (e->own)
		give_own(x, e, left);
	else
		give_shared(x, e, (uint8_t *)piece + left, round_up(bytes, UP_EXTENT_UNIT) - left);
}
