/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects by a 64-bit id that may come back from a peer: the number of a slot and the slot's
 * generation, so that a stale or invented id finds nothing. Ids are never 0.
 */
#ifndef UP_BULK_SLOTS_H
#define UP_BULK_SLOTS_H

#include <stddef.h>
#include <stdint.h>

struct up_slot {
	void *object; /* NULL: free */
	uint32_t generation;
	uint32_t next; /* free slot, when this one is */
};

struct up_slots {
	struct up_slot *slot;
	uint32_t n;
	uint32_t free; /* UINT32_MAX: none */
};

void up_slots_init(struct up_slots *s);
void up_slots_fini(struct up_slots *s);
/* 0: no memory. */
uint64_t up_slots_add(struct up_slots *s, void *object);
void up_slots_del(struct up_slots *s, uint64_t id);

static inline void *up_slots_get(const struct up_slots *s, uint64_t id)
{
	uint32_t i = (uint32_t)id;

	if (i >= s->n || s->slot[i].generation != (uint32_t)(id >> 32))
		return NULL;
	return s->slot[i].object;
}

#endif
