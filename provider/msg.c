/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages without a tag: the functions of fi_msg(3). */
#include "op.h"

static ssize_t recv_any(struct fid_ep *fid, const struct iovec *iov, size_t n, fi_addr_t from,
			void *ctx, uint64_t flags)
{
	const struct upf_recv r = {
		.iov = iov,
		.n = n,
		.from = from,
		.ctx = ctx,
		.flags = flags,
	};

	return upf_recv(upf_ep_of(fid), &r);
}

static ssize_t msg_recv(struct fid_ep *fid, void *buf, size_t len, void *desc, fi_addr_t from,
			void *ctx)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = len};

	return recv_any(fid, &iov, 1, from, ctx, upf_ep_of(fid)->rx_flags);
}

static ssize_t msg_recvv(struct fid_ep *fid, const struct iovec *iov, void **desc, size_t n,
			 fi_addr_t from, void *ctx)
{
	return recv_any(fid, iov, n, from, ctx, upf_ep_of(fid)->rx_flags);
}

static ssize_t msg_recvmsg(struct fid_ep *fid, const struct fi_msg *msg, uint64_t flags)
{
	if (flags & ~(uint64_t)(UPF_RX_FLAGS | FI_MULTI_RECV))
		return -FI_EBADFLAGS;
	return recv_any(fid, msg->msg_iov, msg->iov_count, msg->addr, msg->context, flags);
}

static ssize_t send_any(struct fid_ep *fid, const struct iovec *iov, size_t n, fi_addr_t to,
			uint64_t data, void *ctx, uint64_t flags, bool report)
{
	const struct upf_send s = {
		.iov = iov,
		.n = n,
		.to = to,
		.data = data,
		.ctx = ctx,
		.flags = flags,
		.report = report,
	};

	return upf_send(upf_ep_of(fid), &s);
}

static ssize_t send_buf(struct fid_ep *fid, const void *buf, size_t len, fi_addr_t to,
			uint64_t data, void *ctx, uint64_t flags, bool report)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

	return send_any(fid, &iov, 1, to, data, ctx, flags, report);
}

static ssize_t msg_send(struct fid_ep *fid, const void *buf, size_t len, void *desc, fi_addr_t to,
			void *ctx)
{
	uint64_t flags = upf_ep_of(fid)->tx_flags;

	return send_buf(fid, buf, len, to, 0, ctx, flags, upf_tx_reports(upf_ep_of(fid), flags));
}

static ssize_t msg_sendv(struct fid_ep *fid, const struct iovec *iov, void **desc, size_t n,
			 fi_addr_t to, void *ctx)
{
	uint64_t flags = upf_ep_of(fid)->tx_flags;

	return send_any(fid, iov, n, to, 0, ctx, flags, upf_tx_reports(upf_ep_of(fid), flags));
}

static ssize_t msg_sendmsg(struct fid_ep *fid, const struct fi_msg *msg, uint64_t flags)
{
	if (flags & ~(uint64_t)UPF_TX_FLAGS)
		return -FI_EBADFLAGS;
	return send_any(fid, msg->msg_iov, msg->iov_count, msg->addr, msg->data, msg->context,
			flags, upf_tx_reports(upf_ep_of(fid), flags));
}

static ssize_t msg_inject(struct fid_ep *fid, const void *buf, size_t len, fi_addr_t to)
{
	return send_buf(fid, buf, len, to, 0, NULL, FI_INJECT, false);
}

static ssize_t msg_senddata(struct fid_ep *fid, const void *buf, size_t len, void *desc,
			    uint64_t data, fi_addr_t to, void *ctx)
{
	uint64_t flags = upf_ep_of(fid)->tx_flags;

	return send_buf(fid, buf, len, to, data, ctx, flags | FI_REMOTE_CQ_DATA,
			upf_tx_reports(upf_ep_of(fid), flags));
}

static ssize_t msg_injectdata(struct fid_ep *fid, const void *buf, size_t len, uint64_t data,
			      fi_addr_t to)
{
	return send_buf(fid, buf, len, to, data, NULL, FI_INJECT | FI_REMOTE_CQ_DATA, false);
}

struct fi_ops_msg upf_msg_ops = {
	.size = sizeof(struct fi_ops_msg),
	.recv = msg_recv,
	.recvv = msg_recvv,
	.recvmsg = msg_recvmsg,
	.send = msg_send,
	.sendv = msg_sendv,
	.sendmsg = msg_sendmsg,
	.inject = msg_inject,
	.senddata = msg_senddata,
	.injectdata = msg_injectdata,
};
