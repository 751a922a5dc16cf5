/* SPDX-License-Identifier: BSD-2-Clause */
/* A table from small integer ids to objects (base/table.h). */
#include "base/table.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

static size_t slot_bytes(uint32_t capacity)
{
	return (size_t)capacity * sizeof(void *);
}

int up_table_init(struct up_table *t, uint32_t capacity, uint32_t first)
{
	memset(t, 0, sizeof(*t));
	if (!capacity || first >= capacity)
		return -EINVAL;
	/* Not calloc(): a recycled heap chunk would be cleared, and so made resident, at once. */
	t->slots = mmap(NULL, slot_bytes(capacity), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t->slots == MAP_FAILED) {
		t->slots = NULL;
		return -ENOMEM;
	}
	t->capacity = capacity;
	t->first = first;
	t->next = first;
	return 0;
}

void up_table_fini(struct up_table *t)
{
	if (t->slots)
		munmap(t->slots, slot_bytes(t->capacity));
	memset(t, 0, sizeof(*t));
}

static void put(struct up_table *t, uint32_t id, void *object)
{
	t->slots[id] = object;
	t->used++;
	if (id >= t->end)
		t->end = id + 1;
}

int64_t up_table_add(struct up_table *t, void *object)
{
	uint32_t id = t->next;

	if (!object)
		return -EINVAL;
	for (uint32_t left = t->capacity - t->first; left; left--) {
		uint32_t candidate = id;

		id = id + 1 < t->capacity ? id + 1 : t->first;
		if (!t->slots[candidate]) {
			put(t, candidate, object);
			t->next = id;
			return candidate;
		}
	}
	return -ENOSPC;
}

int up_table_set(struct up_table *t, uint32_t id, void *object)
{
	if (id >= t->capacity || !object)
		return -EINVAL;
	if (t->slots[id])
		return -EEXIST;
	put(t, id, object);
	return 0;
}

void *up_table_del(struct up_table *t, uint32_t id)
{
	void *object = up_table_get(t, id);

	if (object) {
		t->slots[id] = NULL;
		if (!--t->used)
			t->end = 0;
	}
	return object;
}

void *up_table_next(const struct up_table *t, uint32_t *id)
{
	while (*id < t->end) {
		void *object = t->slots[(*id)++];

		if (object)
			return object;
	}
	return NULL;
}
