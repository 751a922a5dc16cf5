/* SPDX-License-Identifier: BSD-2-Clause */
/* Rings in guest memory, given as lists of pages. */
#include "device/connectx/connectx.h"

#include <errno.h>
#include <string.h>

static bool is_stretch(const struct cx_buf *b)
{
	for (uint32_t i = 1; i < b->npages; i++) {
		if (b->pages[i] - b->pages[0] != (uint64_t)i << b->page_shift)
			return false;
	}
	return true;
}

int cx_buf_init(struct cx_buf *b, struct up_arena *arena, const uint64_t *pages, uint32_t npages,
		uint8_t page_shift, uint32_t offset, uint64_t bytes)
{
	uint64_t room = (uint64_t)npages << page_shift;

	memset(b, 0, sizeof(*b));
	if (!bytes || page_shift > 31 || offset > room || bytes > room - offset)
		return -EINVAL;
	b->npages = (uint32_t)((offset + bytes - 1) >> page_shift) + 1;
	b->pages = up_arena_alloc(arena, b->npages * sizeof(*b->pages));
	if (!b->pages)
		return -ENOMEM;
	memcpy(b->pages, pages, b->npages * sizeof(*b->pages));
	b->page_shift = page_shift;
	b->offset = offset;
	b->bytes = bytes;
	b->stretch = is_stretch(b);
	return 0;
}

void cx_buf_fini(struct cx_buf *b, struct up_arena *arena)
{
	up_arena_free(arena, b->pages, b->npages * sizeof(*b->pages));
	memset(b, 0, sizeof(*b));
}

void cx_buf_refresh(struct cx_buf *b, const struct up_mem *mem)
{
	b->flat = NULL;
	if (b->stretch)
		b->flat = up_mem_at(mem, b->pages[0] + b->offset, b->bytes, true);
}

void *cx_buf_at(const struct cx_buf *b, const struct up_mem *mem, uint64_t off, uint32_t len)
{
	uint64_t pos = b->offset + off;

	if (off >= b->bytes || len > b->bytes - off)
		return NULL;
	if (b->flat)
		return b->flat + off;
	return up_mem_at(mem,
			 b->pages[pos >> b->page_shift] + (pos & ((1ull << b->page_shift) - 1)),
			 len, true);
}
