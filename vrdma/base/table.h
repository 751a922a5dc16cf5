/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table from small integer ids to objects, with allocation of ids.
 *
 * Lookup is one bounds check and one load, so the data path can use it. The slots are zeroed
 * pages that are touched only where ids are in use. Ids are handed out round robin, so that an
 * id just freed is the last to come back: a stale number finds nothing instead of a stranger.
 *
 * The objects stay the caller's: nothing here frees one.
 *
 * Not locked: the fabric's stop-the-world rule (fabric/fabric.h) covers changes.
 */
#ifndef UP_BASE_TABLE_H
#define UP_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct up_table {
	void **slots;
	uint64_t *busy; /* a bit for each slot, so that a free one is found soon in a full table */
	uint32_t capacity;
	uint32_t first; /* ids below are never handed out by up_table_add() */
	uint32_t next;
	uint32_t used;
	uint32_t end; /* no id from here on is in use: how far up_table_next() looks */
};

int up_table_init(struct up_table *t, uint32_t capacity, uint32_t first);
void up_table_fini(struct up_table *t);

/* The id (>= first), or -ENOSPC. */
int64_t up_table_add(struct up_table *t, void *object);

/* Takes a particular id: 0, -EEXIST or -EINVAL. */
int up_table_set(struct up_table *t, uint32_t id, void *object);
void *up_table_del(struct up_table *t, uint32_t id);

static inline void *up_table_get(const struct up_table *t, uint32_t id)
{
	return id < t->capacity ? t->slots[id] : NULL;
}

/* Gives t the slots of `fresh`, which is empty and as large, and fresh those of t. Ids go on. */
void up_table_swap(struct up_table *t, struct up_table *fresh);
/* Empties it, whatever was in it, and gives back the memory of the slots. */
void up_table_clear(struct up_table *t);

/* The first object with an id of at least *id (which is advanced past it), or NULL at the end. */
void *up_table_next(const struct up_table *t, uint32_t *id);

#endif
