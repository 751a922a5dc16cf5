/* SPDX-License-Identifier: BSD-2-Clause */
/* Sending of messages, tagged and not. */
#include "op.h"

static int post(struct upf_ep *ep, const struct upf_send *s, up_peer peer, const struct iovec *iov,
		size_t n, unsigned flags, up_done *done, void *ctx)
{
	if (s->tagged)
		return up_tag_send(ep->up, peer, s->tag, iov, n, s->data, flags, done, ctx);
	return up_msg_send(ep->up, peer, iov, n, s->data, flags, done, ctx);
}

static uint64_t done_flags(const struct upf_send *s)
{
	return FI_SEND | (s->tagged ? FI_TAGGED : FI_MSG);
}

static ssize_t send_large(struct upf_ep *ep, const struct upf_send *s, up_peer peer, size_t bytes)
{
	const struct iovec *iov = s->iov;
	struct iovec copy;
	struct upf_op *op;
	size_t n = s->n;
	int ret = -EAGAIN;

	up_ep_enter(ep->up);
	op = upf_tx_op(ep, s->ctx, done_flags(s), s->report, UPF_CNTR_SEND);
	if (op && s->flags & FI_INJECT) {
		n = 1;
		iov = upf_op_copy(op, s->iov, s->n, bytes, &copy) ? &copy : NULL;
	}
	if (op && (iov || !n))
		ret = post(ep, s, peer, iov, n, upf_up_flags(s->flags), upf_op_done, op);
	if (op && ret)
		upf_tx_op_put(op);
	up_ep_leave(ep->up);
	return ret ? upf_refuse_to(ep, s->to, peer, ret) : 0;
}

/*
 * The data leaves at once, so it ends here; what is injected may also be kept by the library. Other
 * messages that it would keep end when they leave: who has their completion may go.
 */
static ssize_t send_small(struct upf_ep *ep, const struct upf_send *s, up_peer peer, size_t bytes)
{
	unsigned flags = UP_INJECT | (s->flags & FI_INJECT ? 0 : UP_AT_ONCE);
	int ret = -EAGAIN;

	if (likely(!s->report || upf_cq_has_room(ep->txcq)))
		ret = post(ep, s, peer, s->iov, s->n, flags | upf_up_flags(s->flags), NULL, NULL);
	if (unlikely(ret == -EAGAIN && flags & UP_AT_ONCE))
		return send_large(ep, s, peer, bytes);
	if (unlikely(ret))
		return upf_refuse_to(ep, s->to, peer, ret);
	upf_tell(ep, s->ctx, done_flags(s), s->report, UPF_CNTR_SEND);
	return 0;
}

ssize_t upf_send(struct upf_ep *ep, const struct upf_send *s)
{
	size_t bytes = s->n == 1 ? s->iov[0].iov_len : upf_iov_bytes(s->iov, s->n);
	int error = 0;
	up_peer peer = upf_peer(ep, s->to, &error);

	if (unlikely(!peer || !ep->txcq))
		return peer ? -FI_EOPBADSTATE : error;
	if (s->flags & FI_INJECT && bytes > UP_INJECT_MAX)
		return -FI_EMSGSIZE;
	if (bytes <= UP_INJECT_MAX && !(s->flags & UPF_LATE))
		return send_small(ep, s, peer, bytes);
	return send_large(ep, s, peer, bytes);
}
