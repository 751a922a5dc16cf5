/* SPDX-License-Identifier: BSD-2-Clause */
/* Tagged messages: the functions of fi_tagged(3), with peek, claim and discard. */
#include "op.h"

/* ---- looking for messages ---- */

#define LOOKS (FI_PEEK | FI_CLAIM | FI_DISCARD)

/* A claimed message is kept in the context, which is a struct fi_context for that. */
static void set_claim(void *ctx, struct up_tag_message *m)
{
	((struct fi_context *)ctx)->internal[0] = m;
}

static struct up_tag_message *get_claim(const void *ctx)
{
	return ((const struct fi_context *)ctx)->internal[0];
}

static void tell_of(struct upf_ep *ep, void *ctx, const struct up_tag_info *info)
{
	struct upf_event e = {
		.ctx = ctx,
		.flags = FI_RECV | FI_TAGGED,
		.len = info->bytes,
		.tag = info->tag,
		.src = ep->want_source ? upf_source(ep, info->from) : FI_ADDR_NOTAVAIL,
	};

	if (info->has_imm) {
		e.flags |= FI_REMOTE_CQ_DATA;
		e.data = info->imm;
	}
	upf_cq_write(ep->rxcq, &e);
}

static ssize_t peek(struct upf_ep *ep, const struct fi_msg_tagged *msg, up_peer from,
		    uint64_t flags)
{
	bool take = flags & (FI_CLAIM | FI_DISCARD);
	const struct upf_event none = {
		.ctx = msg->context,
		.flags = FI_RECV | FI_TAGGED,
		.tag = msg->tag,
		.src = FI_ADDR_NOTAVAIL,
	};
	struct up_tag_message *m = NULL;
	struct up_tag_info info;

	/* A caller may do nothing else than this. */
	up_progress(ep->up);
	if (up_tag_peek(ep->up, from, msg->tag, msg->ignore, &info, take ? &m : NULL)) {
		if (flags & FI_CLAIM)
			set_claim(msg->context, NULL);
		upf_cq_write_error(ep->rxcq, &none, -FI_ENOMSG, 0);
		return 0;
	}
	if (flags & FI_DISCARD)
		up_tag_discard(ep->up, m);
	else if (take)
		set_claim(msg->context, m);
	tell_of(ep, msg->context, &info);
	return 0;
}

/* Receives what was claimed, or drops it. */
static ssize_t end_claim(struct upf_ep *ep, const struct upf_recv *r)
{
	struct up_tag_message *m = get_claim(r->ctx);
	struct upf_op *op;
	int ret = -EAGAIN;

	if (!m)
		return -FI_EINVAL;
	if (r->flags & FI_DISCARD) {
		set_claim(r->ctx, NULL);
		tell_of(ep, r->ctx, up_tag_claimed(m));
		up_tag_discard(ep->up, m);
		return 0;
	}
	up_ep_enter(ep->up);
	op = upf_rx_op(ep, r);
	if (op) {
		/* There is nothing to cancel any more. */
		op->recv = NULL;
		/* Before its completion, from which on the context is another's. */
		set_claim(r->ctx, NULL);
		ret = up_tag_recv_claimed(ep->up, m, r->iov, r->n, upf_received, op);
		if (ret) {
			set_claim(r->ctx, m);
			upf_rx_op_put(op);
		}
	}
	up_ep_leave(ep->up);
	return ret ? upf_refuse(ep, ret) : 0;
}

static ssize_t look(struct upf_ep *ep, const struct fi_msg_tagged *msg, uint64_t flags)
{
	up_peer from = UP_PEER_ANY;
	const struct upf_recv r = {
		.iov = msg->msg_iov,
		.n = msg->iov_count,
		.ctx = msg->context,
		.flags = flags,
		.tagged = true,
	};
	int error = 0;

	if (!ep->rxcq)
		return -FI_EOPBADSTATE;
	if (!(flags & (FI_PEEK | FI_CLAIM)) || (flags & FI_CLAIM && !msg->context))
		return -FI_EINVAL;
	if (!(flags & FI_PEEK))
		return end_claim(ep, &r);
	if (ep->directed && msg->addr != FI_ADDR_UNSPEC) {
		from = upf_peer(ep, msg->addr, &error);
		if (!from)
			return error;
	}
	return peek(ep, msg, from, flags);
}

/* ---- receiving ---- */

static ssize_t recv_any(struct fid_ep *fid, const struct iovec *iov, size_t n, fi_addr_t from,
			uint64_t tag, uint64_t ignore, void *ctx, uint64_t flags)
{
	const struct upf_recv r = {
		.iov = iov,
		.n = n,
		.from = from,
		.tag = tag,
		.ignore = ignore,
		.ctx = ctx,
		.flags = flags,
		.tagged = true,
	};

	return upf_recv(upf_ep_of(fid), &r);
}

static ssize_t tagged_recv(struct fid_ep *fid, void *buf, size_t len, void *desc, fi_addr_t from,
			   uint64_t tag, uint64_t ignore, void *ctx)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = len};

	return recv_any(fid, &iov, 1, from, tag, ignore, ctx, upf_ep_of(fid)->rx_flags);
}

static ssize_t tagged_recvv(struct fid_ep *fid, const struct iovec *iov, void **desc, size_t n,
			    fi_addr_t from, uint64_t tag, uint64_t ignore, void *ctx)
{
	return recv_any(fid, iov, n, from, tag, ignore, ctx, upf_ep_of(fid)->rx_flags);
}

static ssize_t tagged_recvmsg(struct fid_ep *fid, const struct fi_msg_tagged *msg, uint64_t flags)
{
	if (unlikely(flags & ~(uint64_t)UPF_RX_FLAGS))
		return flags & ~(uint64_t)(UPF_RX_FLAGS | LOOKS) ? -FI_EBADFLAGS
								 : look(upf_ep_of(fid), msg, flags);
	return recv_any(fid, msg->msg_iov, msg->iov_count, msg->addr, msg->tag, msg->ignore,
			msg->context, flags);
}

/* ---- sending ---- */

static ssize_t send_any(struct fid_ep *fid, const struct iovec *iov, size_t n, fi_addr_t to,
			uint64_t tag, uint64_t data, void *ctx, uint64_t flags, bool report)
{
	const struct upf_send s = {
		.iov = iov,
		.n = n,
		.to = to,
		.tag = tag,
		.data = data,
		.ctx = ctx,
		.flags = flags,
		.tagged = true,
		.report = report,
	};

	return upf_send(upf_ep_of(fid), &s);
}

static ssize_t send_buf(struct fid_ep *fid, const void *buf, size_t len, fi_addr_t to, uint64_t tag,
			uint64_t data, void *ctx, uint64_t flags, bool report)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

	return send_any(fid, &iov, 1, to, tag, data, ctx, flags, report);
}

static ssize_t tagged_send(struct fid_ep *fid, const void *buf, size_t len, void *desc,
			   fi_addr_t to, uint64_t tag, void *ctx)
{
	uint64_t flags = upf_ep_of(fid)->tx_flags;

	return send_buf(fid, buf, len, to, tag, 0, ctx, flags,
			upf_tx_reports(upf_ep_of(fid), flags));
}

static ssize_t tagged_sendv(struct fid_ep *fid, const struct iovec *iov, void **desc, size_t n,
			    fi_addr_t to, uint64_t tag, void *ctx)
{
	uint64_t flags = upf_ep_of(fid)->tx_flags;

	return send_any(fid, iov, n, to, tag, 0, ctx, flags, upf_tx_reports(upf_ep_of(fid), flags));
}

static ssize_t tagged_sendmsg(struct fid_ep *fid, const struct fi_msg_tagged *msg, uint64_t flags)
{
	if (flags & ~(uint64_t)UPF_TX_FLAGS)
		return -FI_EBADFLAGS;
	return send_any(fid, msg->msg_iov, msg->iov_count, msg->addr, msg->tag, msg->data,
			msg->context, flags, upf_tx_reports(upf_ep_of(fid), flags));
}

static ssize_t tagged_inject(struct fid_ep *fid, const void *buf, size_t len, fi_addr_t to,
			     uint64_t tag)
{
	return send_buf(fid, buf, len, to, tag, 0, NULL, FI_INJECT, false);
}

static ssize_t tagged_senddata(struct fid_ep *fid, const void *buf, size_t len, void *desc,
			       uint64_t data, fi_addr_t to, uint64_t tag, void *ctx)
{
	uint64_t flags = upf_ep_of(fid)->tx_flags;

	return send_buf(fid, buf, len, to, tag, data, ctx, flags | FI_REMOTE_CQ_DATA,
			upf_tx_reports(upf_ep_of(fid), flags));
}

static ssize_t tagged_injectdata(struct fid_ep *fid, const void *buf, size_t len, uint64_t data,
				 fi_addr_t to, uint64_t tag)
{
	return send_buf(fid, buf, len, to, tag, data, NULL, FI_INJECT | FI_REMOTE_CQ_DATA, false);
}

struct fi_ops_tagged upf_tagged_ops = {
	.size = sizeof(struct fi_ops_tagged),
	.recv = tagged_recv,
	.recvv = tagged_recvv,
	.recvmsg = tagged_recvmsg,
	.send = tagged_send,
	.sendv = tagged_sendv,
	.sendmsg = tagged_sendmsg,
	.inject = tagged_inject,
	.senddata = tagged_senddata,
	.injectdata = tagged_injectdata,
};
