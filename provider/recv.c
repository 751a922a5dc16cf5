/* SPDX-License-Identifier: BSD-2-Clause */
/* Receiving of messages, tagged and not, and cancelling that. */
#include "op.h"

/* Of a message that came, for a receive of this end's. */
static struct upf_event event_of(const struct upf_op *op, const struct up_tag_info *info)
{
	struct upf_event e = {
		.ctx = op->ctx,
		.flags = op->flags & ~(uint64_t)FI_MULTI_RECV,
		.len = info->bytes,
		.buf = op->buf,
		.tag = info->tag,
		.src = FI_ADDR_NOTAVAIL,
	};

	if (info->has_imm) {
		e.flags |= FI_REMOTE_CQ_DATA;
		e.data = info->imm;
	}
	return e;
}

static void tell(struct upf_ep *ep, struct upf_event *e, int status, size_t room, bool report,
		 struct upf_cntr *cntr)
{
	size_t olen = 0;

	if (cntr)
		upf_cntr_count(cntr, status);
	if (likely(!status)) {
		if (report)
			upf_cq_write(ep->rxcq, e);
		return;
	}
	if (status == -EMSGSIZE) {
		olen = e->len - room;
		e->len = room;
	} else {
		e->len = 0;
	}
	upf_cq_write_error(ep->rxcq, e, status, olen);
}

void upf_rx_op_put(struct upf_op *op)
{
	up_list_del(&op->link);
	op->ep->nrecvs--;
	upf_op_put(op);
}

/* Of a buffer for several messages. */
static void received_multi(struct upf_op *op, int status, const struct up_tag_info *info)
{
	struct upf_ep *ep = op->ep;
	struct upf_event e = {.ctx = op->ctx, .flags = FI_RECV | FI_MSG, .src = FI_ADDR_NOTAVAIL};
	bool report = op->report, last = info->last;
	struct upf_cntr *cntr = op->cntr;
	size_t room = 0;

	if (!status || status == -EMSGSIZE) {
		e = event_of(op, info);
		e.buf = info->data;
		room = (size_t)((uint8_t *)op->buf + op->len - (uint8_t *)info->data);
		if (ep->want_source)
			e.src = upf_source(ep, info->from);
	}
	if (last) {
		e.flags |= FI_MULTI_RECV;
		upf_rx_op_put(op);
	}
	tell(ep, &e, status, room, report || last, cntr);
}

void upf_received(void *ctx, int status, const struct up_tag_info *info)
{
	struct upf_op *op = ctx;
	struct upf_ep *ep = op->ep;
	bool report = op->report;
	struct upf_cntr *cntr = op->cntr;
	size_t room = op->len;
	struct upf_event e;

	if (unlikely(ep->closing)) {
		if (!(op->flags & FI_MULTI_RECV) || info->last)
			upf_rx_op_put(op);
		return;
	}
	if (unlikely(op->flags & FI_MULTI_RECV)) {
		received_multi(op, status, info);
		return;
	}
	e = event_of(op, info);
	if (ep->want_source && !status)
		e.src = upf_source(ep, info->from);
	upf_rx_op_put(op);
	tell(ep, &e, status, room, report, cntr);
}

struct upf_op *upf_rx_op(struct upf_ep *ep, const struct upf_recv *r)
{
	struct upf_op *op = ep->nrecvs < ep->rx_size ? upf_op_get(ep) : NULL;

	if (!op)
		return NULL;
	op->ctx = r->ctx;
	op->flags = FI_RECV | (r->tagged ? FI_TAGGED : FI_MSG | (r->flags & FI_MULTI_RECV));
	op->report = !ep->rx_selective || r->flags & FI_COMPLETION;
	op->cntr = ep->cntrs[UPF_CNTR_RECV];
	op->buf = r->n ? r->iov[0].iov_base : NULL;
	op->len = r->n == 1 ? r->iov[0].iov_len : upf_iov_bytes(r->iov, r->n);
	up_list_add_tail(&ep->recvs, &op->link);
	ep->nrecvs++;
	return op;
}

static int post(struct upf_ep *ep, const struct upf_recv *r, up_peer from, struct upf_op *op)
{
	if (r->tagged)
		return up_tag_recv(ep->up, from, r->tag, r->ignore, r->iov, r->n, upf_received, op,
				   &op->recv);
	if (r->flags & FI_MULTI_RECV)
		return up_msg_recv_multi(ep->up, from, op->buf, op->len, ep->min_multi_recv,
					 upf_received, op, &op->recv);
	return up_msg_recv(ep->up, from, r->iov, r->n, upf_received, op, &op->recv);
}

ssize_t upf_recv(struct upf_ep *ep, const struct upf_recv *r)
{
	up_peer from = UP_PEER_ANY;
	int ret = -EAGAIN, error = 0;
	struct upf_op *op;

	if (unlikely(!ep->rxcq))
		return -FI_EOPBADSTATE;
	if (ep->directed && r->from != FI_ADDR_UNSPEC) {
		from = upf_peer(ep, r->from, &error);
		if (unlikely(!from))
			return error;
	}
	if (unlikely(r->flags & FI_MULTI_RECV && !r->tagged && (r->n != 1 || !r->iov[0].iov_len)))
		return -FI_EINVAL;
	up_ep_enter(ep->up);
	op = upf_rx_op(ep, r);
	if (op)
		ret = post(ep, r, from, op);
	if (unlikely(op && ret))
		upf_rx_op_put(op);
	up_ep_leave(ep->up);
	if (likely(!ret))
		return 0;
	return from == UP_PEER_ANY ? upf_refuse(ep, ret) : upf_refuse_to(ep, r->from, from, ret);
}
