/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations that are open: their memory, and the ends of those that this end started. */
#include "op.h"

#include <stdlib.h>

static bool more(struct upf_ep *ep)
{
	struct upf_op_slab *slab = malloc(sizeof(*slab));

	if (!slab)
		return false;
	slab->next = ep->slabs;
	ep->slabs = slab;
	for (unsigned i = 0; i < UP_ARRAY_SIZE(slab->ops); i++) {
		slab->ops[i].ep = ep;
		slab->ops[i].link.next = (void *)ep->free;
		ep->free = &slab->ops[i];
	}
	return true;
}

struct upf_op *upf_op_get(struct upf_ep *ep)
{
	struct upf_op *op;

	if (unlikely(!ep->free) && !more(ep))
		return NULL;
	op = ep->free;
	ep->free = (void *)op->link.next;
	op->bounce = NULL;
	return op;
}

void upf_op_put(struct upf_op *op)
{
	if (unlikely(op->bounce != NULL)) {
		op->bounce->next = op->ep->bounces;
		op->ep->bounces = op->bounce;
	}
	op->link.next = (void *)op->ep->free;
	op->ep->free = op;
}

void upf_ops_fini(struct upf_ep *ep)
{
	struct upf_op_slab *slab;
	struct upf_bounce *bounce;

	while ((bounce = ep->bounces)) {
		ep->bounces = bounce->next;
		free(bounce);
	}
	while ((slab = ep->slabs)) {
		ep->slabs = slab->next;
		free(slab);
	}
}

void upf_tx_op_put(struct upf_op *op)
{
	op->ep->nsends--;
	upf_op_put(op);
}

struct upf_op *upf_tx_op(struct upf_ep *ep, void *ctx, uint64_t flags, bool report,
			 enum upf_cntr_kind kind)
{
	struct upf_op *op;

	if (unlikely(ep->nsends >= ep->tx_size || (report && !upf_cq_has_room(ep->txcq))))
		return NULL;
	op = upf_op_get(ep);
	if (!op)
		return NULL;
	ep->nsends++;
	op->ctx = ctx;
	op->flags = flags;
	op->report = report;
	op->cq = ep->txcq;
	op->cntr = ep->cntrs[kind];
	return op;
}

void *upf_op_memory(struct upf_op *op)
{
	struct upf_bounce *bounce = op->ep->bounces;

	if (bounce)
		op->ep->bounces = bounce->next;
	else
		bounce = malloc(sizeof(*bounce));
	op->bounce = bounce;
	return bounce ? bounce->data : NULL;
}

bool upf_op_copy(struct upf_op *op, const struct iovec *from, size_t n, size_t bytes,
		 struct iovec *iov)
{
	uint8_t *to = upf_op_memory(op);

	if (!to)
		return false;
	iov->iov_base = to;
	iov->iov_len = bytes;
	for (size_t i = 0; i < n; i++) {
		if (from[i].iov_len)
			memcpy(to, from[i].iov_base, from[i].iov_len);
		to += from[i].iov_len;
	}
	return true;
}

void upf_op_done(void *ctx, int status, size_t bytes)
{
	struct upf_op *op = ctx;
	struct upf_cntr *cntr = op->cntr;
	struct upf_cq *cq = op->cq;
	const struct upf_event e = {.ctx = op->ctx, .flags = op->flags, .src = FI_ADDR_NOTAVAIL};
	bool report = op->report, closing = op->ep->closing;

	upf_tx_op_put(op);
	if (unlikely(closing))
		return;
	if (cntr)
		upf_cntr_count(cntr, status);
	if (unlikely(status))
		upf_cq_write_error(cq, &e, status, 0);
	else if (report)
		upf_cq_write(cq, &e);
}
