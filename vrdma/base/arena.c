/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory for one guest's objects (base/arena.h). Sizes are rounded up to one of 26 classes. A chunk
 * begins with its header, at a multiple of its size, so that an object's address leads to it.
 * Chunks with room are on their class's list. What is larger than any class is a piece of its own,
 * as the chunks are (base/extent.h).
 */
#include "base/arena.h"

#include "base/bytes.h"
#include "base/extent.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK ((size_t)1 << 20)
#define HEADER 64
#define SMALL 64	  /* up to here in steps of 16 */
#define MEDIUM 1024	  /* up to here in steps of 64 */
#define LARGE (128 << 10) /* up to here in powers of two */
#define NR_CLASSES (SMALL / 16 + (MEDIUM - SMALL) / 64 + 7)
#define SHRINK_STEP ((size_t)1 << 20) /* some hundred microseconds */

struct chunk {
	struct up_list node; /* of those with room */
	uint32_t size;	     /* of an object */
	uint32_t used;
	uint32_t fresh; /* where the objects begin that were never used */
	void *freed;	/* a list of others: each begins with a pointer to the next */
};
static_assert(sizeof(struct chunk) <= HEADER, "the header");

struct up_arena {
	struct up_extents extents;
	pthread_mutex_t lock; /* of what follows */
	struct up_list room[NR_CLASSES];
	size_t objects;
};

/*
 * The address sanitizer sees the ends of objects, and those that are gone, only in memory that it
 * hands out itself.
 */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define CHECKED true
#else
#define CHECKED false
#endif

struct up_arena *up_arena_create(void)
{
	struct up_arena *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	pthread_mutex_init(&a->lock, NULL);
	up_extents_init(&a->extents);
	for (unsigned i = 0; i < NR_CLASSES; i++)
		up_list_init(&a->room[i]);
	return a;
}

/* The class of a size up to LARGE, and the size of its objects. */
static unsigned class_of(size_t size, uint32_t *rounded)
{
	unsigned i = 0;

	if (!size)
		size = 1;
	if (size <= SMALL) {
		*rounded = (uint32_t)(size + 15) & ~15u;
		return *rounded / 16 - 1;
	}
	if (size <= MEDIUM) {
		*rounded = (uint32_t)(size + 63) & ~63u;
		return SMALL / 16 + *rounded / 64 - 2;
	}
	for (*rounded = 2 * MEDIUM; *rounded < size; *rounded *= 2)
		i++;
	return SMALL / 16 + (MEDIUM - SMALL) / 64 + i;
}

static struct chunk *chunk_create(struct up_arena *a, uint32_t size)
{
	struct chunk *c = up_extents_take(&a->extents, CHUNK, CHUNK);

	if (!c)
		return NULL;
	c->size = size;
	c->fresh = HEADER;
	return c;
}

static void chunk_destroy(struct up_arena *a, struct chunk *c)
{
	up_extents_give(&a->extents, c, CHUNK, 0);
}

static bool is_full(const struct chunk *c)
{
	return !c->freed && c->fresh + c->size > CHUNK;
}

/* An object of a chunk with room. Fresh memory is zero. */
static void *take(struct chunk *c)
{
	void *object = c->freed;

	c->used++;
	if (object) {
		memcpy(&c->freed, object, sizeof(c->freed));
		memset(object, 0, c->size);
	} else {
		object = (uint8_t *)c + c->fresh;
		c->fresh += c->size;
	}
	if (is_full(c))
		up_list_del(&c->node);
	return object;
}

static void *alloc_small(struct up_arena *a, size_t size)
{
	uint32_t rounded;
	struct up_list *room = &a->room[class_of(size, &rounded)];

	if (up_list_empty(room)) {
		struct chunk *c = chunk_create(a, rounded);

		if (!c)
			return NULL;
		up_list_add_tail(room, &c->node);
	}
	return take(UP_CONTAINER_OF(room->next, struct chunk, node));
}

static void *alloc_checked(size_t size)
{
	void *object;

	if (size < SMALL || size > LARGE)
		return calloc(1, size + !size);
	if (posix_memalign(&object, SMALL, size))
		return NULL;
	return memset(object, 0, size);
}

void *up_arena_alloc(struct up_arena *a, size_t size)
{
	void *object;

	if (CHECKED)
		return alloc_checked(size);
	if (size > LARGE)
		return up_extents_take(&a->extents, size, UP_EXTENT_UNIT);
	pthread_mutex_lock(&a->lock);
	object = alloc_small(a, size);
	a->objects += object != NULL;
	pthread_mutex_unlock(&a->lock);
	return object;
}

static void free_small(struct up_arena *a, void *object, size_t size)
{
	struct chunk *c = (struct chunk *)((uintptr_t)object & -CHUNK);
	uint32_t rounded;
	struct up_list *room = &a->room[class_of(size, &rounded)];

	assert(c->size == rounded && c->used);
	if (is_full(c))
		up_list_add_tail(room, &c->node);
	memcpy(object, &c->freed, sizeof(c->freed));
	c->freed = object;
	/* One is kept, for a guest that makes and destroys the same object over and over. */
	if (--c->used || (room->next == &c->node && room->prev == &c->node))
		return;
	up_list_unlink(&c->node);
	chunk_destroy(a, c);
}

void up_arena_free(struct up_arena *a, void *object, size_t size)
{
	if (!object)
		return;
	if (CHECKED) {
		free(object);
		return;
	}
	if (size > LARGE) {
		up_extents_give(&a->extents, object, size, 0);
		return;
	}
	pthread_mutex_lock(&a->lock);
	free_small(a, object, size);
	a->objects--;
	pthread_mutex_unlock(&a->lock);
}

size_t up_arena_shrink(struct up_arena *a, void *object, size_t size)
{
	size_t left;

	if (CHECKED || size <= LARGE + SHRINK_STEP) {
		up_arena_free(a, object, size);
		return 0;
	}
	left = ((size + UP_EXTENT_UNIT - 1) & -UP_EXTENT_UNIT) - SHRINK_STEP;
	up_extents_give(&a->extents, object, size, left);
	return left;
}

void up_arena_trim(struct up_arena *a)
{
	struct up_list *pos, *tmp;

	assert(!a->objects);
	for (unsigned i = 0; i < NR_CLASSES; i++) {
		up_list_each (pos, tmp, &a->room[i])
			chunk_destroy(a, UP_CONTAINER_OF(pos, struct chunk, node));
		up_list_init(&a->room[i]);
	}
}

void up_arena_destroy(struct up_arena *a)
{
	if (!a)
		return;
	up_arena_trim(a);
	up_extents_fini(&a->extents);
	pthread_mutex_destroy(&a->lock);
	free(a);
}
