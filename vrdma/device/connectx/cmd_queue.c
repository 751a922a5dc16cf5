/* SPDX-License-Identifier: BSD-2-Clause */
/* What the commands that create queues share: page lists, doorbell records, the memory map. */
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
	err = cx_buf_init(buf, pages, npages, shift, offset, ring->bytes);
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
	cx_buf_fini(buf);
}

uint32_t *cx_dbr_at(const struct cx_device *dev, uint64_t gpa, uint32_t bytes)
{
	return gpa % 8 ? NULL : up_mem_at(&dev->hca.mem, gpa, bytes, false);
}

enum cx_status cx_dbr_check(struct cx_cmd *c, uint64_t gpa, uint32_t bytes)
{
	if (!cx_dbr_at(c->dev, gpa, bytes))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_DOORBELL);
	return CX_OK;
}

static void refresh_cq(struct cx_device *dev, struct cx_cq *cq)
{
	cx_buf_refresh(&cq->buf, &dev->hca.mem);
	cq->dbr = cx_dbr_at(dev, cq->dbr_gpa, CX_DBR_BYTES);
}

static void refresh_srq(struct cx_device *dev, struct cx_srq *srq)
{
	cx_buf_refresh(&srq->buf, &dev->hca.mem);
	srq->dbr = cx_dbr_at(dev, srq->dbr_gpa, CX_SRQ_DBR_BYTES);
}

static void refresh_qp(struct cx_device *dev, struct cx_qp *qp)
{
	cx_buf_refresh(&qp->buf, &dev->hca.mem);
	/* Without queues of its own (an XRC target) it has no record, and the address is 0. */
	qp->dbr = qp->buf.bytes ? cx_dbr_at(dev, qp->dbr_gpa, CX_DBR_BYTES) : NULL;
}

/*
 * A guest can have hundreds of thousands of queues, and change its memory map all the time, so the
 * world is let go now and then. Workers meanwhile use a queue's old address, which is good until
 * the caller has unmapped the memory; queues do not come or go, as all this is the control thread.
 */
#define BATCH 512

static void pause_world(struct cx_device *dev, uint32_t *n)
{
	if (++*n % BATCH)
		return;
	up_world_start(dev->port->fabric);
	up_world_stop(dev->port->fabric);
}

void cx_queues_refresh(struct cx_device *dev)
{
	struct up_srq *srq;
	struct cx_cq *cq;
	struct up_qp *qp;
	uint32_t n = 0;

	for (unsigned i = 0; i < CX_MAX_EQ; i++) {
		if (dev->eqs[i])
			cx_buf_refresh(&dev->eqs[i]->buf, &dev->hca.mem);
	}
	for (uint32_t id = 0; (cq = up_table_next(&dev->cqs, &id)); pause_world(dev, &n))
		refresh_cq(dev, cq);
	for (uint32_t id = 0; (srq = up_table_next(&dev->hca.srqs, &id)); pause_world(dev, &n))
		refresh_srq(dev, cx_srq(srq));
	for (uint32_t id = 0; (qp = up_table_next(&dev->hca.qps, &id)); pause_world(dev, &n))
		refresh_qp(dev, cx_qp(qp));
}
