/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory of processes (umem): what the kernel pinned of it, as a list of pages with an offset. A
 * process names a umem where the kernel would give addresses, and places its queues, doorbell
 * records and keys in it; none of them leaves it, and none is written to that the process itself
 * may not write.
 */
#include "device/connectx/cmd.h"

#define STEP_PAGES (32u << 10) /* that a command fills in at a time */

/* Drivers may describe all of a process's memory by pages of its size. */
static enum cx_status parse(struct cx_cmd *c, struct cx_umem *umem)
{
	uint32_t shift = cx_get(c->in, CX_CREATE_UMEM_IN_LOG_PAGE_SIZE) + CX_PAGE_SHIFT;
	uint64_t npages = cx_get64(c->in, CX_CREATE_UMEM_IN_NUM_OF_MTT);
	uint64_t offset = cx_get(c->in, CX_CREATE_UMEM_IN_PAGE_OFFSET);

	if (!npages || npages > (c->in_len - CX_CREATE_UMEM_IN_MTT_AT) / CX_MTT_BYTES)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	if (offset >> shift || npages > UINT64_MAX >> shift)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_SIZE);
	umem->npages = (uint32_t)npages;
	umem->page_shift = (uint8_t)shift;
	umem->offset = offset;
	umem->bytes = (npages << shift) - offset;
	umem->writable = true;
	return CX_OK;
}

static void free_umem(struct cx_device *dev, struct cx_umem *umem)
{
	dev->list_bytes -= umem->npages * sizeof(*umem->pages);
	up_arena_free(dev->hca.arena, umem, sizeof(*umem));
}

bool cx_umem_shrink(struct up_arena *arena, struct cx_umem *umem)
{
	if (umem->list_len)
		umem->list_len = up_arena_shrink(arena, umem->pages, umem->list_len);
	return !umem->list_len;
}

/* With its number, but without its pages. */
static enum cx_status begin(struct cx_cmd *c)
{
	struct up_arena *arena = c->dev->hca.arena;
	struct cx_umem *umem = up_arena_alloc(arena, sizeof(*umem));
	enum cx_status status;
	int64_t id;

	if (!umem)
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	status = parse(c, umem);
	if (status == CX_OK)
		status = cx_list_charge(c, umem->npages);
	if (status != CX_OK) {
		up_arena_free(arena, umem, sizeof(*umem));
		return status;
	}
	umem->list_len = umem->npages * sizeof(*umem->pages);
	umem->pages = up_arena_alloc(arena, umem->list_len);
	id = umem->pages ? up_table_add(&c->dev->umems, umem) : -1;
	if (id < 0) {
		status = cx_fail(c, CX_NO_RES, umem->pages ? CX_WHY_TABLE_FULL : CX_WHY_NO_MEMORY);
		up_arena_free(arena, umem->pages, umem->list_len);
		free_umem(c->dev, umem);
		return status;
	}
	umem->id = (uint32_t)id;
	c->work = umem;
	return CX_OK;
}

static void fill(struct cx_cmd *c, struct cx_umem *umem)
{
	const uint8_t *list = c->in + CX_CREATE_UMEM_IN_MTT_AT;

	for (uint32_t n = 0; n < STEP_PAGES && c->done < umem->npages; n++, c->done++) {
		uint64_t entry = up_get_be64(list + (size_t)c->done * CX_MTT_BYTES);

		umem->pages[c->done] = entry & CX_MTT_ADDRESS_MASK;
		umem->writable &= !!(entry & CX_MTT_WRITE);
	}
}

enum cx_status cx_create_umem(struct cx_cmd *c)
{
	struct cx_umem *umem;

	if (!c->work) {
		enum cx_status status = begin(c);

		if (status != CX_OK)
			return status;
	}
	umem = c->work;
	fill(c, umem);
	c->again = c->done < umem->npages;
	if (c->again)
		return CX_OK;
	umem->uid = cx_own(c);
	cx_set(c->out, CX_OUT_OBJECT, umem->id);
	return CX_OK;
}

/* It keeps its number while a long list is freed, and there is no other command meanwhile. */
enum cx_status cx_destroy_umem(struct cx_cmd *c)
{
	struct cx_umem *umem = up_table_get(&c->dev->umems, cx_cmd_object(c));

	if (!cx_found(c, umem, CX_WHY_NO_UMEM) || !cx_acts_on(c, umem->uid))
		return CX_BAD_RES;
	if (umem->users)
		return cx_fail(c, CX_RES_BUSY, CX_WHY_IN_USE);
	c->again = !cx_umem_shrink(c->dev->hca.arena, umem);
	if (c->again)
		return CX_OK;
	cx_disown(c->dev, umem->uid);
	up_table_del(&c->dev->umems, umem->id);
	free_umem(c->dev, umem);
	return CX_OK;
}

enum cx_status cx_umem_find(struct cx_cmd *c, const struct cx_umem_use *use, uint64_t bytes,
			    struct cx_umem **found)
{
	struct cx_umem *umem = use->valid ? up_table_get(&c->dev->umems, use->id) : NULL;

	if (!cx_found(c, umem, CX_WHY_NO_UMEM) || !cx_refers_to(c, umem->uid))
		return CX_BAD_RES;
	if (use->offset > umem->bytes || bytes > umem->bytes - use->offset)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_UMEM_RANGE);
	if (use->writes && !umem->writable)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_READ_ONLY);
	*found = umem;
	return CX_OK;
}

uint64_t cx_umem_address(const struct cx_umem *umem, uint64_t at)
{
	return umem->pages[at >> umem->page_shift] + (at & ((UINT64_C(1) << umem->page_shift) - 1));
}

void cx_umem_put(struct cx_device *dev, uint32_t id)
{
	if (id)
		((struct cx_umem *)up_table_get(&dev->umems, id))->users--;
}
