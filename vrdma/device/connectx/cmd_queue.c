/* SPDX-License-Identifier: BSD-2-Clause */
/* What the commands that create queues share: page lists and doorbell records. */
#include "device/connectx/cmd.h"

#include <errno.h>
#include <stdlib.h>

/*
 * What the page lists of one device may take: rings of 32 GiB in 4 KiB pages. A guest can list the
 * same page over and over, so its own memory is no bound.
 */
#define MAX_LIST_BYTES (64ull << 20)

static enum cx_status geometry(const struct cx_cmd *c, const struct cx_ring *ring, uint8_t *shift,
			       uint32_t *offset, uint32_t *npages)
{
	uint64_t need;

	*shift = (uint8_t)(ring->log_page_size + CX_PAGE_SHIFT);
	if (*shift > 31)
		return CX_BAD_PARAM;
	*offset = ring->page_offset << (*shift - CX_PAGE_OFFSET_UNITS_SHIFT);
	if (*offset % ring->element)
		return CX_BAD_PARAM;
	need = (*offset + ring->bytes - 1) >> *shift;
	if (need >= (c->in_len - ring->pas_at) / CX_MTT_BYTES)
		return CX_BAD_PARAM;
	*npages = (uint32_t)need + 1;
	return CX_OK;
}

enum cx_status cx_ring_take(struct cx_cmd *c, const struct cx_ring *ring, struct cx_buf *buf)
{
	uint32_t offset, npages;
	uint64_t *pages;
	uint8_t shift;
	int err;

	if (geometry(c, ring, &shift, &offset, &npages) != CX_OK)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	if (c->dev->list_bytes + npages * sizeof(*pages) > MAX_LIST_BYTES)
		return cx_fail(c, CX_LIM_ERR, CX_WHY_LIST_MEMORY);
	pages = malloc(npages * sizeof(*pages));
	if (!pages)
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	for (uint32_t i = 0; i < npages; i++)
		pages[i] =
			up_get_be64(c->in + ring->pas_at + i * CX_MTT_BYTES) & CX_MTT_ADDRESS_MASK;
	err = cx_buf_init(buf, c->dev->hca.arena, pages, npages, shift, offset, ring->bytes);
	free(pages);
	if (err)
		return cx_fail(c, err == -ENOMEM ? CX_NO_RES : CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	c->dev->list_bytes += buf->npages * sizeof(*buf->pages);
	cx_buf_refresh(buf, &c->dev->hca.mem);
	return CX_OK;
}

void cx_ring_drop(struct cx_device *dev, struct cx_buf *buf)
{
	dev->list_bytes -= buf->npages * sizeof(*buf->pages);
	cx_buf_fini(buf, dev->hca.arena);
}

enum cx_status cx_dbr_check(struct cx_cmd *c, uint64_t gpa, uint32_t bytes)
{
	if (!cx_dbr_at(&c->dev->hca.mem, gpa, bytes))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_DOORBELL);
	return CX_OK;
}
