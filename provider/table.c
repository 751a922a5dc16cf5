/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables by index (table.h): the part that writes. */
#include "table.h"

#include <stdlib.h>

bool upf_table_set(struct upf_table *t, uint64_t i, uint64_t value)
{
	uint64_t *chunk;

	if (i >= UPF_TABLE_MAX)
		return false;
	chunk = t->chunks[i / UPF_TABLE_CHUNK];
	if (!chunk) {
		chunk = calloc(UPF_TABLE_CHUNK, sizeof(*chunk));
		if (!chunk)
			return false;
		__atomic_store_n(&t->chunks[i / UPF_TABLE_CHUNK], chunk, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&chunk[i % UPF_TABLE_CHUNK], value, __ATOMIC_RELEASE);
	return true;
}

void upf_table_fini(struct upf_table *t)
{
	for (unsigned i = 0; i < UPF_TABLE_CHUNKS; i++)
		free(t->chunks[i]);
}
