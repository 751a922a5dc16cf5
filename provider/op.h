/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of operations share: messages, one-sided operations, atomics. */
#ifndef UPF_OP_H
#define UPF_OP_H

#include "provider.h"

/* Flags that need an operation of their own even where the data leaves at once. */
#define UPF_LATE (FI_DELIVERY_COMPLETE | FI_MATCH_COMPLETE | FI_FENCE)

/* What one operation may have. */
#define UPF_TX_FLAGS                                                                               \
	(FI_COMPLETION | FI_MORE | FI_INJECT | FI_INJECT_COMPLETE | FI_TRANSMIT_COMPLETE |         \
	 FI_DELIVERY_COMPLETE | FI_MATCH_COMPLETE | FI_FENCE | FI_REMOTE_CQ_DATA)
#define UPF_RX_FLAGS (FI_COMPLETION | FI_MORE)

static inline struct upf_ep *upf_ep_of(struct fid_ep *fid)
{
	return UPF_CONTAINER(fid, struct upf_ep, fid);
}

static inline unsigned upf_up_flags(uint64_t flags)
{
	return (flags & (FI_DELIVERY_COMPLETE | FI_MATCH_COMPLETE) ? UP_DELIVERED : 0) |
	       (flags & FI_FENCE ? UP_FENCE : 0) | (flags & FI_REMOTE_CQ_DATA ? UP_IMM : 0);
}

/* Has an operation with these flags a completion when it succeeds? */
static inline bool upf_tx_reports(const struct upf_ep *ep, uint64_t flags)
{
	return !ep->tx_selective || flags & FI_COMPLETION;
}

/* What a function that started nothing returns: with -FI_EAGAIN there is more room perhaps. */
static inline ssize_t upf_refuse(struct upf_ep *ep, int error)
{
	if (error == -EAGAIN)
		upf_ep_progress(ep);
	return upf_error(error);
}

/* The same of a function that names a peer: it may have left meanwhile (leave.c), and then its
 * address leads to it again. */
static inline ssize_t upf_refuse_to(struct upf_ep *ep, fi_addr_t addr, up_peer peer, int error)
{
	if (error == -EINVAL && upf_table_get(&ep->peers, addr) != peer)
		error = -EAGAIN;
	return upf_refuse(ep, error);
}

/* Tells of the end of an operation that had none of its own. */
static inline void upf_tell(struct upf_ep *ep, void *ctx, uint64_t flags, bool report,
			    enum upf_cntr_kind kind)
{
	if (ep->cntrs[kind])
		upf_cntr_count(ep->cntrs[kind], false);
	if (report) {
		const struct upf_event e = {.ctx = ctx, .flags = flags, .src = FI_ADDR_NOTAVAIL};

		upf_cq_write(ep->txcq, &e);
	}
}

/*
 * An operation of this end, with the endpoint held. NULL: as many as there may be are open, or
 * their completions unread. `flags`: of the completion.
 */
struct upf_op *upf_tx_op(struct upf_ep *ep, void *ctx, uint64_t flags, bool report,
			 enum upf_cntr_kind kind);
void upf_tx_op_put(struct upf_op *op);
/* UP_INJECT_MAX bytes that the operation has until its end; once. NULL: no memory. */
void *upf_op_memory(struct upf_op *op);
/* Copies what is to be injected there, and makes *iov name the copy. False: no memory. */
bool upf_op_copy(struct upf_op *op, const struct iovec *from, size_t n, size_t bytes,
		 struct iovec *iov);

/* SIZE_MAX: more than there can be. */
static inline size_t upf_iov_bytes(const struct iovec *iov, size_t n)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++) {
		if (__builtin_add_overflow(bytes, iov[i].iov_len, &bytes))
			return SIZE_MAX;
	}
	return bytes;
}

/* send.c: messages of both kinds. */
struct upf_send {
	const struct iovec *iov;
	size_t n;
	fi_addr_t to;
	uint64_t tag;
	uint64_t data;
	void *ctx;
	uint64_t flags;
	bool tagged;
	bool report; /* success has a completion */
};
ssize_t upf_send(struct upf_ep *ep, const struct upf_send *s);

/* recv.c */
struct upf_recv {
	const struct iovec *iov;
	size_t n;
	fi_addr_t from;
	uint64_t tag;
	uint64_t ignore;
	void *ctx;
	uint64_t flags;
	bool tagged;
};
ssize_t upf_recv(struct upf_ep *ep, const struct upf_recv *r);
/* A receive among those that can be cancelled, with the endpoint held. NULL: there are too many. */
struct upf_op *upf_rx_op(struct upf_ep *ep, const struct upf_recv *r);
void upf_rx_op_put(struct upf_op *op);
up_tag_received upf_received;

#endif
