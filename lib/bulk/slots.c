/* SPDX-License-Identifier: BSD-2-Clause */
/* Ids with generations (bulk/slots.h), and the slow half of pools (bulk/pool.h). */
#include "bulk/pool.h"
#include "bulk/slots.h"

#include <stdint.h>

#define NONE UINT32_MAX
#define FIRST 64u
#define MOST (1u << 24)

void up_slots_init(struct up_slots *s)
{
	s->slot = NULL;
	s->n = 0;
	s->free = NONE;
}

void up_slots_fini(struct up_slots *s)
{
	free(s->slot);
	up_slots_init(s);
}

static int grow(struct up_slots *s)
{
	uint32_t n = s->n ? s->n * 2 : FIRST;
	struct up_slot *slot;

	if (n > MOST)
		return -1;
	slot = realloc(s->slot, n * sizeof(*slot));
	if (!slot)
		return -1;
	for (uint32_t i = n; i-- > s->n;) {
		slot[i] = (struct up_slot){.generation = 1, .next = s->free};
		s->free = i;
	}
	s->slot = slot;
	s->n = n;
	return 0;
}

uint64_t up_slots_add(struct up_slots *s, void *object)
{
	uint32_t i;

	if (s->free == NONE && grow(s))
		return 0;
	i = s->free;
	s->free = s->slot[i].next;
	s->slot[i].object = object;
	return (uint64_t)s->slot[i].generation << 32 | i;
}

void up_slots_del(struct up_slots *s, uint64_t id)
{
	struct up_slot *slot;

	if (!up_slots_get(s, id))
		return;
	slot = &s->slot[(uint32_t)id];
	slot->object = NULL;
	if (!++slot->generation)
		slot->generation = 1;
	slot->next = s->free;
	s->free = (uint32_t)id;
}

void *up_pool_grow(struct up_pool *pool)
{
	char *slab = aligned_alloc(64, UP_POOL_HEAD + UP_POOL_SLAB * pool->size);

	if (!slab)
		return NULL;
	*(void **)(void *)slab = pool->slabs;
	pool->slabs = slab;
	for (unsigned i = UP_POOL_SLAB; i-- > 1;)
		up_pool_put(pool, slab + UP_POOL_HEAD + i * pool->size);
	return slab + UP_POOL_HEAD;
}
