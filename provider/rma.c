/* SPDX-License-Identifier: BSD-2-Clause */
/* One-sided reads and writes: the functions of fi_rma(3). */
#include "op.h"

/* Keys are one more on the way than their users know them (mr.c). */
static bool set_remote(struct up_rma_iov *remote, const struct fi_rma_iov *from, size_t n)
{
	if (n > UP_IOV_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		remote[i] = (struct up_rma_iov){from[i].addr, from[i].len, from[i].key + 1};
	return true;
}

struct transfer {
	const struct iovec *iov;
	size_t n;
	fi_addr_t peer;
	const struct fi_rma_iov *remote;
	size_t nremote;
	uint64_t data;
	void *ctx;
	uint64_t flags;
	bool report;
};

/* With the endpoint held. */
static int start_write(struct upf_ep *ep, const struct transfer *t, up_peer peer,
		       const struct up_rma_iov *remote, struct upf_op *op)
{
	const struct iovec *iov = t->iov;
	struct iovec copy;
	size_t n = t->n;

	if (t->flags & FI_INJECT) {
		if (!upf_op_copy(op, t->iov, t->n, upf_iov_bytes(t->iov, t->n), &copy))
			return -EAGAIN;
		iov = &copy;
		n = 1;
	}
	return up_rma_write(ep->up, peer, iov, n, remote, t->nremote, t->data,
			    upf_up_flags(t->flags), upf_op_done, op);
}

static int start_read(struct upf_ep *ep, const struct transfer *t, up_peer peer,
		      const struct up_rma_iov *remote, struct upf_op *op)
{
	return up_rma_read(ep->up, peer, t->iov, t->n, remote, t->nremote,
			   upf_up_flags(t->flags) & UP_FENCE, upf_op_done, op);
}

static ssize_t start(struct fid_ep *fid, const struct transfer *t, bool write)
{
	struct upf_ep *ep = upf_ep_of(fid);
	struct up_rma_iov remote[UP_IOV_MAX];
	int ret = -EAGAIN, error = 0;
	up_peer peer = upf_peer(ep, t->peer, &error);
	struct upf_op *op;

	if (unlikely(!peer || !ep->txcq))
		return peer ? -FI_EOPBADSTATE : error;
	if (unlikely(!set_remote(remote, t->remote, t->nremote)))
		return -FI_EINVAL;
	if (t->flags & FI_INJECT && upf_iov_bytes(t->iov, t->n) > UP_INJECT_MAX)
		return -FI_EMSGSIZE;
	up_ep_enter(ep->up);
	op = upf_tx_op(ep, t->ctx, FI_RMA | (write ? FI_WRITE : FI_READ), t->report,
		       write ? UPF_CNTR_WRITE : UPF_CNTR_READ);
	if (op)
		ret = (write ? start_write : start_read)(ep, t, peer, remote, op);
	if (unlikely(op && ret))
		upf_tx_op_put(op);
	up_ep_leave(ep->up);
	return ret ? upf_refuse_to(ep, t->peer, peer, ret) : 0;
}

/* One remote piece, as long as the local ones. */
static ssize_t start_one(struct fid_ep *fid, const struct transfer *model, uint64_t addr,
			 uint64_t key, bool write)
{
	const struct fi_rma_iov remote = {addr, upf_iov_bytes(model->iov, model->n), key};
	struct transfer t = *model;

	t.remote = &remote;
	t.nremote = 1;
	return start(fid, &t, write);
}

static ssize_t start_vector(struct fid_ep *fid, const struct iovec *iov, size_t n, fi_addr_t peer,
			    uint64_t addr, uint64_t key, void *ctx, bool write)
{
	uint64_t flags = upf_ep_of(fid)->tx_flags;
	const struct transfer t = {
		.iov = iov,
		.n = n,
		.peer = peer,
		.ctx = ctx,
		/* What is read cannot be injected. */
		.flags = write ? flags : flags & ~(uint64_t)FI_INJECT,
		.report = upf_tx_reports(upf_ep_of(fid), flags),
	};

	return start_one(fid, &t, addr, key, write);
}

static ssize_t start_msg(struct fid_ep *fid, const struct fi_msg_rma *msg, uint64_t flags,
			 bool write)
{
	const struct transfer t = {
		.iov = msg->msg_iov,
		.n = msg->iov_count,
		.peer = msg->addr,
		.remote = msg->rma_iov,
		.nremote = msg->rma_iov_count,
		.data = msg->data,
		.ctx = msg->context,
		.flags = flags,
		.report = upf_tx_reports(upf_ep_of(fid), flags),
	};

	return start(fid, &t, write);
}

static ssize_t rma_read(struct fid_ep *fid, void *buf, size_t len, void *desc, fi_addr_t src,
			uint64_t addr, uint64_t key, void *ctx)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = len};

	return start_vector(fid, &iov, 1, src, addr, key, ctx, false);
}

static ssize_t rma_readv(struct fid_ep *fid, const struct iovec *iov, void **desc, size_t n,
			 fi_addr_t src, uint64_t addr, uint64_t key, void *ctx)
{
	return start_vector(fid, iov, n, src, addr, key, ctx, false);
}

static ssize_t rma_readmsg(struct fid_ep *fid, const struct fi_msg_rma *msg, uint64_t flags)
{
	if (flags & ~(uint64_t)UPF_TX_FLAGS)
		return -FI_EBADFLAGS;
	return start_msg(fid, msg, flags & ~(uint64_t)FI_INJECT, false);
}

static ssize_t rma_write(struct fid_ep *fid, const void *buf, size_t len, void *desc,
			 fi_addr_t dest, uint64_t addr, uint64_t key, void *ctx)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

	return start_vector(fid, &iov, 1, dest, addr, key, ctx, true);
}

static ssize_t rma_writev(struct fid_ep *fid, const struct iovec *iov, void **desc, size_t n,
			  fi_addr_t dest, uint64_t addr, uint64_t key, void *ctx)
{
	return start_vector(fid, iov, n, dest, addr, key, ctx, true);
}

static ssize_t rma_writemsg(struct fid_ep *fid, const struct fi_msg_rma *msg, uint64_t flags)
{
	if (flags & ~(uint64_t)UPF_TX_FLAGS)
		return -FI_EBADFLAGS;
	return start_msg(fid, msg, flags, true);
}

static ssize_t write_data(struct fid_ep *fid, const void *buf, size_t len, uint64_t data,
			  fi_addr_t dest, uint64_t addr, uint64_t key, void *ctx, uint64_t flags,
			  bool report)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
	const struct transfer t = {
		.iov = &iov,
		.n = 1,
		.peer = dest,
		.data = data,
		.ctx = ctx,
		.flags = flags,
		.report = report,
	};

	return start_one(fid, &t, addr, key, true);
}

static ssize_t rma_inject(struct fid_ep *fid, const void *buf, size_t len, fi_addr_t dest,
			  uint64_t addr, uint64_t key)
{
	return write_data(fid, buf, len, 0, dest, addr, key, NULL, FI_INJECT, false);
}

static ssize_t rma_writedata(struct fid_ep *fid, const void *buf, size_t len, void *desc,
			     uint64_t data, fi_addr_t dest, uint64_t addr, uint64_t key, void *ctx)
{
	uint64_t flags = upf_ep_of(fid)->tx_flags;

	return write_data(fid, buf, len, data, dest, addr, key, ctx, flags | FI_REMOTE_CQ_DATA,
			  upf_tx_reports(upf_ep_of(fid), flags));
}

static ssize_t rma_injectdata(struct fid_ep *fid, const void *buf, size_t len, uint64_t data,
			      fi_addr_t dest, uint64_t addr, uint64_t key)
{
	return write_data(fid, buf, len, data, dest, addr, key, NULL, FI_INJECT | FI_REMOTE_CQ_DATA,
			  false);
}

struct fi_ops_rma upf_rma_ops = {
	.size = sizeof(struct fi_ops_rma),
	.read = rma_read,
	.readv = rma_readv,
	.readmsg = rma_readmsg,
	.write = rma_write,
	.writev = rma_writev,
	.writemsg = rma_writemsg,
	.inject = rma_inject,
	.writedata = rma_writedata,
	.injectdata = rma_injectdata,
};
