/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table of 64-bit numbers by small index, 0 where nothing was set. It grows without moving, so it
 * is read without a lock; whoever sets holds one.
 */
#ifndef UPF_TABLE_H
#define UPF_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define UPF_TABLE_CHUNK 4096u
#define UPF_TABLE_CHUNKS 1024u
#define UPF_TABLE_MAX ((uint64_t)UPF_TABLE_CHUNK * UPF_TABLE_CHUNKS)

struct upf_table {
	uint64_t *chunks[UPF_TABLE_CHUNKS];
};

static inline uint64_t upf_table_get(const struct upf_table *t, uint64_t i)
{
	const uint64_t *chunk;

	if (__builtin_expect(i >= UPF_TABLE_MAX, 0))
		return 0;
	chunk = __atomic_load_n(&t->chunks[i / UPF_TABLE_CHUNK], __ATOMIC_ACQUIRE);
	return chunk ? __atomic_load_n(&chunk[i % UPF_TABLE_CHUNK], __ATOMIC_ACQUIRE) : 0;
}

/* False: no memory, or the index is too large. */
bool upf_table_set(struct upf_table *t, uint64_t i, uint64_t value);
void upf_table_fini(struct upf_table *t);

#endif
