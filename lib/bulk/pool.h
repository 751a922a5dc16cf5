/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects of one size, so that starting an operation costs no malloc(). What was put back last is
 * handed out first, while it is still in the cache. The memory goes back with up_pool_fini().
 */
#ifndef UP_BULK_POOL_H
#define UP_BULK_POOL_H

#include <stddef.h>
#include <stdlib.h>

struct up_pool {
	void *free;  /* each points to the next */
	void *slabs; /* each begins with a pointer to the next */
	size_t size;
};

enum {
	UP_POOL_SLAB = 64, /* objects */
	UP_POOL_HEAD = 64, /* bytes of a slab before the first one */
};

static inline void up_pool_init(struct up_pool *pool, size_t size)
{
	pool->free = NULL;
	pool->slabs = NULL;
	pool->size = (size + 63) & ~(size_t)63;
}

static inline void up_pool_fini(struct up_pool *pool)
{
	while (pool->slabs) {
		void *slab = pool->slabs;

		pool->slabs = *(void **)slab;
		free(slab);
	}
	pool->free = NULL;
}

static inline void up_pool_put(struct up_pool *pool, void *object)
{
	*(void **)object = pool->free;
	pool->free = object;
}

/* Makes more; NULL: no memory. */
__attribute__((noinline)) void *up_pool_grow(struct up_pool *pool);

/* Not zeroed. NULL: no memory. */
static inline void *up_pool_get(struct up_pool *pool)
{
	void *object = pool->free;

	if (__builtin_expect(!object, 0))
		return up_pool_grow(pool);
	pool->free = *(void **)object;
	return object;
}

#endif
