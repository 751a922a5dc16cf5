/* SPDX-License-Identifier: BSD-2-Clause */
/* A table from small integer ids to objects (base/table.h). */
#include "base/table.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

/* The slots, and behind them a bit for each. */
static size_t table_bytes(uint32_t capacity)
{
	return (size_t)capacity * sizeof(void *) + ((size_t)capacity + 63) / 64 * sizeof(uint64_t);
}

int up_table_init(struct up_table *t, uint32_t capacity, uint32_t first)
{
	memset(t, 0, sizeof(*t));
	if (!capacity || first >= capacity)
		return -EINVAL;
	/* Not calloc(): a recycled heap chunk would be cleared, and so made resident, at once. */
	t->slots = mmap(NULL, table_bytes(capacity), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (t->slots == MAP_FAILED) {
		t->slots = NULL;
		return -ENOMEM;
	}
	t->busy = (uint64_t *)(void *)(t->slots + capacity);
	t->capacity = capacity;
	t->first = first;
	t->next = first;
	return 0;
}

void up_table_fini(struct up_table *t)
{
	if (t->slots)
		munmap(t->slots, table_bytes(t->capacity));
	memset(t, 0, sizeof(*t));
}

static void put(struct up_table *t, uint32_t id, void *object)
{
	t->slots[id] = object;
	t->used++;
	t->busy[id / 64] |= UINT64_C(1) << id % 64;
	if (id >= t->end)
		t->end = id + 1;
}

/* The first free id of [from, to), or `to`. */
static uint32_t find_free(const struct up_table *t, uint32_t from, uint32_t to)
{
	for (uint64_t id = from; id < to; id = (id / 64 + 1) * 64) {
		uint64_t free_ids = ~t->busy[id / 64] >> id % 64;

		if (!free_ids)
			continue;
		id += (unsigned)__builtin_ctzll(free_ids);
		return id < to ? (uint32_t)id : to;
	}
	return to;
}

int64_t up_table_add(struct up_table *t, void *object)
{
	uint32_t id;

	if (!object)
		return -EINVAL;
	id = find_free(t, t->next, t->capacity);
	if (id == t->capacity) {
		id = find_free(t, t->first, t->next);
		if (id == t->next)
			return -ENOSPC;
	}
	put(t, id, object);
	t->next = id + 1 < t->capacity ? id + 1 : t->first;
	return id;
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
		t->busy[id / 64] &= ~(UINT64_C(1) << id % 64);
		if (!--t->used)
			t->end = 0;
	}
	return object;
}

void up_table_swap(struct up_table *t, struct up_table *fresh)
{
	struct up_table old = *t;

	*t = *fresh;
	t->next = old.next;
	*fresh = old;
}

void up_table_clear(struct up_table *t)
{
	size_t bytes = table_bytes(t->capacity);

	if (madvise(t->slots, bytes, MADV_DONTNEED))
		memset(t->slots, 0, bytes);
	t->used = t->end = 0;
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
