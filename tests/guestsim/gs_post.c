/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Posting as libmlx5 does: a request is segments of 16 bytes in a ring of 64-byte blocks, then the
 * doorbell record, then the first 8 bytes of the request into the UAR page.
 */
#include "gs_internal.h"

#include <string.h>

enum { DS = CX_WQE_DS };

uint8_t *gs_sq_block(struct gs_qp *qp, uint16_t index)
{
	return qp->sq + (size_t)(index & (qp->sq_blocks - 1)) * CX_WQE_BB;
}

static unsigned blocks_of(unsigned bytes)
{
	return (bytes + CX_WQE_BB - 1) / CX_WQE_BB;
}

bool gs_wqe_begin(struct gs_wqe *w, struct gs_qp *qp, unsigned bytes)
{
	if ((uint16_t)(qp->sq_post - qp->sq_done) + blocks_of(bytes) > qp->sq_blocks)
		return false;
	w->qp = qp;
	w->start = gs_sq_block(qp, qp->sq_post);
	w->at = w->start + sizeof(struct cx_wqe_ctrl);
	w->ds = 1;
	return true;
}

/* Segments may continue at the ring's begin. */
void gs_wqe_add(struct gs_wqe *w, const void *segment, unsigned len)
{
	uint8_t *end = w->qp->sq + (size_t)w->qp->sq_blocks * CX_WQE_BB;
	const uint8_t *from = segment;

	for (unsigned done = 0; done < len; done += DS) {
		unsigned n = len - done < DS ? len - done : DS;

		if (w->at == end)
			w->at = w->qp->sq;
		memcpy(w->at, from + done, n);
		if (n < DS)
			memset(w->at + n, 0, DS - n);
		w->at += DS;
		w->ds++;
	}
}

void gs_wqe_end(struct gs_wqe *w, uint64_t wr_id, uint8_t op, uint8_t fm_ce_se, uint32_t imm_be)
{
	struct gs_qp *qp = w->qp;
	struct cx_wqe_ctrl *ctrl = (struct cx_wqe_ctrl *)w->start;
	unsigned block = qp->sq_post & (qp->sq_blocks - 1);

	*ctrl = (struct cx_wqe_ctrl){.opmod_idx_opcode = htobe32((uint32_t)qp->sq_post << 8 | op),
				     .qpn_ds = htobe32(qp->qpn << CX_CTRL_QPN_SHIFT | w->ds),
				     .fm_ce_se = fm_ce_se,
				     .imm = imm_be};
	qp->last_ctrl = w->start;
	qp->sq_post = (uint16_t)(qp->sq_post + blocks_of(w->ds * DS));
	qp->sq_wr_id[block] = wr_id;
	qp->sq_next[block] = qp->sq_post;
}

static void add_datagram(struct gs_wqe *w, const struct gs_send_wr *wr)
{
	const struct gs_path *p = wr->path;
	struct cx_wqe_av av = {.qkey = htobe32(wr->dest_qkey),
			       .dqp = htobe32(CX_AV_EXTENDED | wr->dest_qpn),
			       .stat_rate_sl = p->sl,
			       .fl_mlid = p->path_bits,
			       .rlid = htobe16(p->dlid)};

	if (p->grh) {
		av.tclass = p->traffic_class;
		av.hop_limit = p->hop_limit;
		av.grh_gid_fl = htobe32(CX_AV_GRH | (p->flow_label & CX_AV_FLOW_MASK));
		memcpy(av.rgid, p->dgid, sizeof(av.rgid));
	}
	gs_wqe_add(w, &av, sizeof(av));
}

static void add_raddr(struct gs_wqe *w, const struct gs_send_wr *wr)
{
	struct cx_wqe_raddr r = {.raddr = htobe64(wr->raddr), .rkey = htobe32(wr->rkey)};

	gs_wqe_add(w, &r, sizeof(r));
}

/* set_atomic_seg(), and the kernel's masked form */
static void add_atomic(struct gs_wqe *w, const struct gs_send_wr *wr)
{
	struct cx_wqe_masked_atomic m = {.swap_add = htobe64(wr->swap_add),
					 .compare = htobe64(wr->compare),
					 .swap_add_mask = htobe64(wr->swap_mask),
					 .compare_mask = htobe64(wr->compare_mask)};

	switch (wr->op) {
	case CX_OP_ATOMIC_FA:
		m.compare = 0;
		gs_wqe_add(w, &m, sizeof(struct cx_wqe_atomic));
		break;
	case CX_OP_ATOMIC_CS:
	case CX_OP_ATOMIC_MASKED_FA:
		if (wr->op == CX_OP_ATOMIC_MASKED_FA)
			m.compare = htobe64(wr->compare_mask); /* field boundary */
		gs_wqe_add(w, &m, sizeof(struct cx_wqe_atomic));
		break;
	default:
		gs_wqe_add(w, &m, sizeof(m));
		break;
	}
}

static void add_operation(struct gs_wqe *w, const struct gs_send_wr *wr)
{
	struct cx_wqe_xrc xrc = {.srqn = htobe32(wr->xrc_srqn)};

	if (w->qp->type == GS_XRC_INI)
		gs_wqe_add(w, &xrc, sizeof(xrc));
	if (w->qp->type == GS_UD || w->qp->type == GS_QP1)
		add_datagram(w, wr);
	switch (wr->op) {
	case CX_OP_RDMA_WRITE:
	case CX_OP_RDMA_WRITE_IMM:
	case CX_OP_RDMA_READ:
		add_raddr(w, wr);
		break;
	case CX_OP_ATOMIC_CS:
	case CX_OP_ATOMIC_FA:
	case CX_OP_ATOMIC_MASKED_CS:
	case CX_OP_ATOMIC_MASKED_FA:
		add_raddr(w, wr);
		add_atomic(w, wr);
		break;
	default:
		break;
	}
}

/* set_data_inl_seg(): a word with the length, then the bytes of all pieces. */
static void add_inline(struct gs_wqe *w, const struct gs_send_wr *wr)
{
	uint8_t seg[4 + CX_INLINE_MASK + DS];
	uint32_t len = 0;

	for (unsigned i = 0; i < wr->nsge; i++) {
		if (len + wr->sge[i].len > CX_INLINE_MASK)
			gs_fail("too much inline data");
		memcpy(seg + 4 + len, (const void *)(uintptr_t)wr->sge[i].addr, wr->sge[i].len);
		len += wr->sge[i].len;
	}
	if (!len)
		return;
	up_put_be32(seg, CX_INLINE | len);
	gs_wqe_add(w, seg, 4 + len);
}

/* libmlx5 leaves empty pieces out, of atomics too. */
static void add_data(struct gs_wqe *w, const struct gs_send_wr *wr)
{
	for (unsigned i = 0; i < wr->nsge; i++) {
		struct cx_wqe_data d = {.byte_count = htobe32(wr->sge[i].len),
					.lkey = htobe32(wr->sge[i].key),
					.addr = htobe64(wr->sge[i].addr)};

		if (wr->sge[i].len)
			gs_wqe_add(w, &d, sizeof(d));
	}
}

static unsigned most_bytes(const struct gs_qp *qp, const struct gs_send_wr *wr)
{
	unsigned bytes = sizeof(struct cx_wqe_ctrl) + sizeof(struct cx_wqe_raddr) +
			 sizeof(struct cx_wqe_masked_atomic);

	if (qp->type == GS_UD || qp->type == GS_QP1 || qp->type == GS_XRC_INI)
		bytes += sizeof(struct cx_wqe_av);
	if (!(wr->flags & GS_INLINE))
		return bytes + wr->nsge * (unsigned)sizeof(struct cx_wqe_data);
	bytes += 4 + DS;
	for (unsigned i = 0; i < wr->nsge; i++)
		bytes += wr->sge[i].len;
	return bytes;
}

/* send_ieth(): immediate data goes as it is, a key is a number. */
static uint32_t immediate(const struct gs_send_wr *wr)
{
	switch (wr->op) {
	case CX_OP_SEND_IMM:
	case CX_OP_RDMA_WRITE_IMM:
	case CX_OP_SEND_INVAL:
		return htobe32(wr->imm);
	default:
		return 0;
	}
}

bool gs_post_send_quiet(struct gs_qp *qp, const struct gs_send_wr *wr)
{
	uint8_t control = 0;
	struct gs_wqe w;

	if (!gs_wqe_begin(&w, qp, most_bytes(qp, wr)))
		return false;
	add_operation(&w, wr);
	if (wr->flags & GS_INLINE)
		add_inline(&w, wr);
	else
		add_data(&w, wr);
	if (wr->flags & GS_SIGNALED || qp->signal_all)
		control |= CX_CTRL_CE_CQE;
	if (wr->flags & GS_SOLICITED)
		control |= CX_CTRL_SOLICITED;
	if (wr->flags & GS_FENCE)
		control |= CX_CTRL_FENCE_SMALL_FENCE;
	gs_wqe_end(&w, wr->wr_id, wr->op, control, immediate(wr));
	return true;
}

/* post_send_db() */
void gs_ring_send(struct gs_qp *qp)
{
	__atomic_store_n(&qp->dbr[CX_DBR_SEND], htobe32(qp->sq_post), __ATOMIC_RELEASE);
	gs_uar_store64(qp->vm, qp->uar, CX_UAR_BF_OFFSET + qp->bf_offset,
		       up_get_be64(qp->last_ctrl));
	qp->bf_offset ^= CX_UAR_BF_STRIDE;
}

void gs_post_send(struct gs_qp *qp, const struct gs_send_wr *wr)
{
	if (!gs_post_send_quiet(qp, wr))
		gs_fail("QP %#x: the send queue is full", qp->qpn);
	gs_ring_send(qp);
}

void gs_post_recv(struct gs_qp *qp, uint64_t wr_id, const struct gs_sge *sge, unsigned nsge)
{
	unsigned index = qp->rq_post & (qp->rq_wrs - 1);
	struct cx_wqe_data *data = (struct cx_wqe_data *)(qp->rq + (size_t)index * qp->rq_stride);
	unsigned room = qp->rq_stride / (unsigned)sizeof(*data), n = 0;

	if ((uint16_t)(qp->rq_post - qp->rq_done) >= qp->rq_wrs)
		gs_fail("QP %#x: the receive queue is full", qp->qpn);
	for (unsigned i = 0; i < nsge; i++) {
		if (!sge[i].len)
			continue;
		if (n == room)
			gs_fail("QP %#x: room for %u scatter elements", qp->qpn, room);
		data[n++] = (struct cx_wqe_data){.byte_count = htobe32(sge[i].len),
						 .lkey = htobe32(sge[i].key),
						 .addr = htobe64(sge[i].addr)};
	}
	if (n < room)
		data[n] = (struct cx_wqe_data){.lkey = htobe32(CX_INVALID_LKEY)};
	qp->rq_wr_id[index] = wr_id;
	qp->rq_post++;
	__atomic_store_n(&qp->dbr[CX_DBR_RECV], htobe32(qp->rq_post), __ATOMIC_RELEASE);
}

void gs_post_raw(struct gs_qp *qp, uint64_t wr_id, const void *wqe, unsigned len, bool fix)
{
	struct gs_wqe w;
	uint8_t ctrl[sizeof(struct cx_wqe_ctrl)];

	if (!gs_wqe_begin(&w, qp, len))
		gs_fail("QP %#x: the send queue is full", qp->qpn);
	memcpy(ctrl, wqe, sizeof(ctrl));
	gs_wqe_add(&w, (const uint8_t *)wqe + sizeof(ctrl), len - (unsigned)sizeof(ctrl));
	gs_wqe_end(&w, wr_id, ctrl[3], ctrl[11], up_get_be32(ctrl + 12));
	if (fix)
		up_put_be32(w.start + 12, up_get_be32(ctrl + 12));
	else
		memcpy(w.start, ctrl, sizeof(ctrl));
	gs_ring_send(qp);
}

struct gs_sge gs_sge(const struct gs_mr *mr, const void *ptr, size_t len)
{
	return (struct gs_sge){.addr = (uintptr_t)ptr, .len = (uint32_t)len, .key = mr->key};
}
