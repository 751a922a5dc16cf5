/* SPDX-License-Identifier: BSD-2-Clause */
/* What the commands that create queues share: where rings and doorbell records lie. */
#include "device/connectx/cmd.h"

#include <errno.h>
#include <stdlib.h>

/*
 * What the page lists of one device may take: rings of 32 GiB in 4 KiB pages. A guest can list the
 * same page over and over, so its own memory is no bound.
 */
#define MAX_LIST_BYTES (64ull << 20)

/* A ring in a umem is a list of pages of this size, or the umem's if that is less. */
#define UMEM_RING_SHIFT 21

/* The ring's pages, and where it begins in the first one. */
struct layout {
	uint8_t shift;
	uint32_t offset, npages;
	const struct cx_umem *umem; /* or NULL: the list is in the command */
	uint64_t first;		    /* page's place in the umem */
};

enum cx_status cx_list_charge(struct cx_cmd *c, uint32_t npages)
{
	uint64_t bytes = (uint64_t)npages * sizeof(uint64_t);

	if (c->dev->list_bytes + bytes > MAX_LIST_BYTES)
		return cx_fail(c, CX_LIM_ERR, CX_WHY_LIST_MEMORY);
	c->dev->list_bytes += bytes;
	return CX_OK;
}

static uint32_t count_pages(const struct cx_ring *ring, const struct layout *l)
{
	return (uint32_t)((l->offset + ring->bytes - 1) >> l->shift) + 1;
}

static enum cx_status lay_out_list(struct cx_cmd *c, const struct cx_ring *ring, struct layout *l)
{
	uint32_t shift = ring->log_page_size + CX_PAGE_SHIFT;

	if (shift > 31)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	l->shift = (uint8_t)shift;
	l->offset = ring->page_offset << (shift - CX_PAGE_OFFSET_UNITS_SHIFT);
	l->npages = count_pages(ring, l);
	if (l->npages > (c->in_len - ring->pas_at) / CX_MTT_BYTES)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	return CX_OK;
}

static enum cx_status lay_out_umem(struct cx_cmd *c, const struct cx_ring *ring, struct layout *l,
				   struct cx_umem **umem)
{
	enum cx_status status = cx_umem_find(c, &ring->umem, ring->bytes, umem);
	uint64_t at;

	if (status != CX_OK)
		return status;
	at = (*umem)->offset + ring->umem.offset;
	l->umem = *umem;
	l->shift = (*umem)->page_shift < UMEM_RING_SHIFT ? (*umem)->page_shift : UMEM_RING_SHIFT;
	l->offset = (uint32_t)(at & ((1u << l->shift) - 1));
	l->first = at - l->offset;
	l->npages = count_pages(ring, l);
	return CX_OK;
}

static void fill(const struct cx_cmd *c, const struct cx_ring *ring, const struct layout *l,
		 uint64_t *pages)
{
	for (uint32_t i = 0; i < l->npages; i++) {
		if (l->umem)
			pages[i] = cx_umem_address(l->umem, l->first + ((uint64_t)i << l->shift));
		else
			pages[i] = up_get_be64(c->in + ring->pas_at + i * CX_MTT_BYTES) &
				   CX_MTT_ADDRESS_MASK;
	}
}

static enum cx_status init_buf(struct cx_cmd *c, const struct cx_ring *ring, const struct layout *l,
			       struct cx_buf *buf)
{
	uint64_t *pages = malloc(l->npages * sizeof(*pages));
	int err;

	if (!pages)
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	fill(c, ring, l, pages);
	err = cx_buf_init(buf, c->dev->hca.arena, pages, l->npages, l->shift, l->offset,
			  ring->bytes);
	free(pages);
	if (err)
		return cx_fail(c, err == -ENOMEM ? CX_NO_RES : CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	return CX_OK;
}

enum cx_status cx_ring_take(struct cx_cmd *c, const struct cx_ring *ring, struct cx_buf *buf)
{
	struct cx_umem *umem = NULL;
	struct layout l = {0};
	enum cx_status status;

	status = ring->umem.valid || c->raw ? lay_out_umem(c, ring, &l, &umem)
					    : lay_out_list(c, ring, &l);
	if (status != CX_OK)
		return status;
	if (l.offset % ring->element)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	status = cx_list_charge(c, l.npages);
	if (status != CX_OK)
		return status;
	status = init_buf(c, ring, &l, buf);
	if (status != CX_OK) {
		c->dev->list_bytes -= l.npages * sizeof(*buf->pages);
		return status;
	}
	if (umem) {
		umem->users++;
		buf->umem = umem->id;
	}
	cx_buf_refresh(buf, &c->dev->hca.mem);
	return CX_OK;
}

void cx_ring_drop(struct cx_device *dev, struct cx_buf *buf)
{
	dev->list_bytes -= buf->npages * sizeof(*buf->pages);
	cx_umem_put(dev, buf->umem);
	cx_buf_fini(buf, dev->hca.arena);
}

/* A record is aligned to 8 bytes and has no more, so that it lies in one page of a umem. */
static enum cx_status place_record(struct cx_cmd *c, const struct cx_record *dbr, uint64_t *gpa,
				   struct cx_umem **umem)
{
	enum cx_status status;

	*gpa = dbr->umem.offset;
	if (!dbr->umem.valid && !c->raw)
		return CX_OK;
	status = cx_umem_find(c, &dbr->umem, dbr->bytes, umem);
	if (status == CX_OK)
		*gpa = cx_umem_address(*umem, (*umem)->offset + dbr->umem.offset);
	return status;
}

enum cx_status cx_dbr_take(struct cx_cmd *c, const struct cx_record *dbr, uint64_t *gpa,
			   uint32_t *id)
{
	struct cx_umem *umem = NULL;
	enum cx_status status = place_record(c, dbr, gpa, &umem);

	if (status != CX_OK)
		return status;
	if (!cx_dbr_at(&c->dev->hca.mem, *gpa, dbr->bytes))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_DOORBELL);
	if (umem) {
		umem->users++;
		*id = umem->id;
	}
	return CX_OK;
}
