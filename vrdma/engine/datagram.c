/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unreliable datagrams, to one queue pair or a multicast group. What cannot be delivered is
 * dropped, as on a wire: the sender's completion says only that it was sent.
 */

#include "base/bytes.h"
#include "engine/exec.h"

#define QKEY_GSI 0x80010000u
#define QKEY_CONTROLLED 0x80000000u
#define GRH_NEXT_IBA 0x1b
/* What a delivery costs beside the copy, in bytes that could be copied meanwhile. */
#define DELIVERY_COST 512
#define MAD_BYTES 256

/* Table 4 of volume 1 (global route header): 40 bytes, big endian. */
static void build_grh(uint8_t grh[UP_GRH_BYTES], const struct up_qp *qp,
		      const struct up_send_wr *wr)
{
	/* What follows on a wire: 12 bytes BTH, 8 DETH, immediate data, payload padded, 4 ICRC. */
	uint64_t payload =
		12 + 8 + (wr->op == UP_OP_SEND_IMM ? 4 : 0) + ((wr->length + 3) & ~3ull) + 4;

	up_put_be32(grh, 6u << 28 | (uint32_t)wr->av.traffic_class << 20 |
				 (wr->av.flow_label & 0xfffff));
	up_put_be16(grh + 4, (uint16_t)payload);
	grh[6] = GRH_NEXT_IBA;
	grh[7] = wr->av.hop_limit;
	memcpy(grh + 8, qp->hca->gid.raw, 16);
	memcpy(grh + 24, wr->av.dgid.raw, 16);
}

struct delivery {
	struct up_exec *x;
	struct up_qp *from;
	struct up_send_wr *wr;
	uint32_t qkey;
	bool multicast;
	bool local_fault;
	uint64_t budget; /* what may be spent on it in this turn */
};

static bool accepts(const struct delivery *d, const struct up_qp *to)
{
	enum up_qp_state s = up_qp_state_get(to);

	if (to->type != UP_QP_UD || !(to->has_rq || to->srq) || !to->hca->alive)
		return false;
	if (s != UP_QPS_RTR && s != UP_QPS_RTS && s != UP_QPS_SQD && s != UP_QPS_SQE)
		return false;
	/* P_Keys: full members of the one partition that every port has. */
	if (to->attr.pkey_index != 0 || d->from->attr.pkey_index != 0)
		return false;
	/*
	 * 13.4.2: a MAD is 256 bytes, and no port lets anything else through to its managers. (A
	 * longer one would not fit their receives, and so end their queue pair.)
	 */
	if (to->is_special && d->wr->length != MAD_BYTES)
		return false;
	if (to->is_special)
		return to->special == 0 ? d->from->is_special && d->from->special == 0
					: d->qkey == QKEY_GSI;
	return to->attr.qkey == d->qkey;
}

static struct up_wc datagram_wc(const struct delivery *d, const struct up_qp *to,
				const struct up_recv_wr *rwr, enum up_wc_status status)
{
	const struct up_send_wr *wr = d->wr;
	struct up_wc wc = {
		.qp = to,
		.srq = to->srq,
		.status = status,
		.op = wr->op,
		.flags = UP_WC_RECV | (to->srq ? UP_WC_SRQ : 0u) | (wr->av.grh ? UP_WC_GRH : 0u) |
			 (wr->flags & UP_WR_SOLICITED ? UP_WC_SOLICITED_EVENT : 0u),
		.index = rwr->index,
		.byte_len = (uint32_t)wr->length + UP_GRH_BYTES,
		.imm = wr->imm,
		.src_qpn = d->from->is_special ? d->from->special : d->from->qpn,
		.slid = d->from->hca->lid,
		.sl = wr->av.sl,
		.multicast = d->multicast,
	};

	return wc;
}

/* Header and data into the receive: false when the receiver's memory is at fault. */
static bool place(struct delivery *d, struct up_qp *to, const struct up_recv_wr *rwr)
{
	struct up_send_wr *wr = d->wr;
	struct up_mr_use dst_use = up_local_use(to, true);
	struct up_cursor dst, src;
	uint8_t grh[UP_GRH_BYTES];

	if (to->srq)
		dst_use.pdn = to->srq->pdn;
	if (up_sges_check(to->hca, &dst_use, rwr->sge, rwr->nsge, 0, wr->length + UP_GRH_BYTES,
			  NULL))
		return false;
	if (wr->av.grh) {
		build_grh(grh, d->from, wr);
		up_cursor_flat(&src, grh);
		up_cursor_sges(&dst, to->hca, &dst_use, rwr->sge, rwr->nsge, 0);
		if (up_transfer_all(d->x, &dst, &src, sizeof(grh)) != UP_TRANSFER_OK)
			return false;
	}
	up_cursor_request(&src, d->from, wr, false, 0);
	up_cursor_sges(&dst, to->hca, &dst_use, rwr->sge, rwr->nsge, UP_GRH_BYTES);
	return up_transfer_all(d->x, &dst, &src, wr->length) == UP_TRANSFER_OK;
}

static void fail(struct up_qp *to, const struct up_wc *wc)
{
	up_complete_locked(to, to->recv_cq, wc);
	up_qp_fail_locked(to);
}

/* Under to->resp_lock. */
static void deliver_locked(struct delivery *d, struct up_qp *to)
{
	struct up_recv_wr *rwr = &d->x->recv;
	struct up_wc wc;
	int got;

	got = to->srq ? up_srq_next(to->srq, rwr) : to->hca->ops->rq_take(to, rwr);
	if (got < 0) {
		up_qp_fail_locked(to);
		up_raise_qp(to, UP_EV_QP_FATAL);
	}
	if (got <= 0) {
		up_stat_add(&to->stats.rnr, 1);
		up_stat_add(&to->hca->stats.rnr, 1);
		return;
	}
	if (rwr->length < d->wr->length + UP_GRH_BYTES) {
		wc = datagram_wc(d, to, rwr, UP_WC_LOC_LEN_ERR);
		fail(to, &wc);
	} else if (!place(d, to, rwr)) {
		wc = datagram_wc(d, to, rwr, UP_WC_LOC_PROT_ERR);
		fail(to, &wc);
	} else {
		wc = datagram_wc(d, to, rwr, UP_WC_SUCCESS);
		if (!up_complete_locked(to, to->recv_cq, &wc))
			return;
		up_stat_add(&to->stats.received, 1);
		up_stat_add(&to->hca->stats.rx_messages, 1);
		up_stat_add(&to->hca->stats.rx_bytes, d->wr->length);
	}
}

/*
 * Keys were checked, but memory may be missing, or a key in a list be another's. That must show
 * before a receive is taken: the receiver's completion comes with all of the data or not at all.
 */
static bool source_is_there(struct delivery *d)
{
	struct up_cursor src;

	up_cursor_request(&src, d->from, d->wr, false, 0);
	if (up_cursor_probe(src, d->wr->length))
		d->local_fault = true;
	return !d->local_fault;
}

static void deliver(struct delivery *d, struct up_qp *to)
{
	struct up_hca *a = d->from->hca, *b = to->hca;

	if (!accepts(d, to))
		return;
	up_rwlock_read(a < b ? &a->mr_lock : &b->mr_lock);
	if (a != b)
		up_rwlock_read(a < b ? &b->mr_lock : &a->mr_lock);
	up_lock_take(&to->resp_lock);
	d->x->cost = 0;
	if (accepts(d, to) && source_is_there(d))
		deliver_locked(d, to);
	up_lock_drop(&to->resp_lock);
	up_rwlock_drop(&a->mr_lock);
	if (a != b)
		up_rwlock_drop(&b->mr_lock);
	/* The source was looked up twice. */
	d->wr->cost += 2 * d->x->cost + DELIVERY_COST;
}

/* struct up_net_ops.multicast calls this for each member, until the turn is used up. */
static bool deliver_copy(struct up_qp *to, void *arg)
{
	struct delivery *d = arg;

	if (to != d->from || !to->block_loopback)
		deliver(d, to);
	return d->wr->cost < d->budget;
}

static struct up_qp *lookup(struct up_hca *hca, uint32_t qpn)
{
	return qpn < UP_ARRAY_SIZE(hca->special) ? hca->special[qpn] : up_table_get(&hca->qps, qpn);
}

enum up_wc_status up_datagram_send(struct up_exec *x, struct up_qp *qp, struct up_send_wr *wr,
				   uint64_t budget, bool *more)
{
	struct delivery d = {.x = x, .from = qp, .wr = wr, .budget = budget};
	struct up_hca *hca;
	struct up_qp *to;

	*more = false;
	if (wr->length > UP_MTU_BYTES)
		return UP_WC_LOC_LEN_ERR;
	/* 10.2.4.4: with the high bit the sender's own key goes out, not the request's. */
	d.qkey = wr->dest_qkey & QKEY_CONTROLLED ? qp->attr.qkey : wr->dest_qkey;
	d.multicast = wr->dest_qpn == UP_MULTICAST_QPN;
	if (d.multicast) {
		*more = qp->hca->net->multicast(qp->hca, &wr->av, &qp->done, deliver_copy, &d) &&
			!d.local_fault;
	} else {
		hca = qp->hca->net->route(qp->hca, &wr->av);
		to = hca ? lookup(hca, wr->dest_qpn) : NULL;
		if (to)
			deliver(&d, to);
	}
	return d.local_fault ? UP_WC_LOC_PROT_ERR : UP_WC_SUCCESS;
}
