/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Work queue elements of queue pairs into requests of the engine.
 *
 * An element is copied out of guest memory once and decoded from the copy: the guest may change
 * the original at any moment. Nothing beyond the size that its control segment states is looked
 * at. What the copy says is checked for form here; what it asks for, by the engine.
 *
 * A list entry of no bytes is no entry: drivers leave such entries out of the lists of queue
 * pairs, but rdma-core passes them on into shared receive queues (mlx5_post_srq_recv), where they
 * cannot mean anything but nothing.
 */
#include "device/connectx/connectx.h"

#include "base/bytes.h"
#include "base/hint.h"
#include "device/connectx/abi_queue.h"
#include "device/connectx/rings.h"

#include <assert.h>
#include <errno.h>

/* Segments that hold the list, of the 63 that an element can have. */
static_assert(CX_CTRL_DS_MASK - 1 <= UP_MAX_SEND_SGE, "a WQE's list fits");
static_assert((CX_CTRL_DS_MASK + 3) / 4 * CX_WQE_BB <= UP_MAX_WQE_BYTES, "a WQE fits");

/* What of a copied element is still to be decoded. */
struct segments {
	const uint8_t *at, *end;
};

static const void *take(struct segments *s, size_t size)
{
	const void *seg = s->at;

	if ((size_t)(s->end - s->at) < size)
		return NULL;
	s->at += size;
	return seg;
}

/*
 * Blocks posted and not yet advanced over; the count is 16 bits wide. The record is in a line that
 * the guest writes with every request: it is read again only when what it said last is used up.
 */
static uint16_t sq_posted(struct cx_qp *qp)
{
	/* Acquire: pairs with the barrier between element and record (udma_to_device_barrier()). */
	if (qp->sq_producer == qp->sq_consumer)
		qp->sq_producer = (uint16_t)up_fetch_be32(&qp->dbr[CX_DBR_SEND]);
	return (uint16_t)(qp->sq_producer - qp->sq_consumer);
}

static uint16_t rq_posted(struct cx_qp *qp)
{
	if (qp->rq_producer == qp->rq_consumer)
		qp->rq_producer = (uint16_t)up_fetch_be32(&qp->dbr[CX_DBR_RECV]);
	return (uint16_t)(qp->rq_producer - qp->rq_consumer);
}

bool cx_sq_pending(struct up_qp *base)
{
	struct cx_qp *qp = cx_qp(base);

	cx_qp_locate(qp);
	return qp->dbr && sq_posted(qp);
}

static bool load_block(const struct cx_qp *qp, uint16_t index, uint8_t *to)
{
	uint32_t mask = (1u << qp->log_sq_size) - 1;
	const uint8_t *from =
		cx_ring_at(&qp->buf, &qp->base.hca->mem,
			   qp->sq_offset + (uint64_t)(index & mask) * CX_WQE_BB, CX_WQE_BB);

	if (!from)
		return false;
	memcpy(to, from, CX_WQE_BB);
	/* The compiler may not go back to the original for what it finds in the copy. */
	__asm__ volatile("" ::: "memory");
	return true;
}

/* A data segment (struct mlx5_wqe_data_seg). */
static void decode_data(const uint8_t *seg, uint32_t len, struct up_sge *sge)
{
	sge->len = len;
	sge->key = up_get_be32(seg + 4);
	sge->addr = up_get_be64(seg + 8);
}

/* The gather list: data and inline segments in any mix. */
static int decode_mix(struct segments *s, struct up_send_wr *wr)
{
	uint32_t n = 0, inlined = 0, inline_bytes = 0;
	uint64_t length = 0, inline_sges = 0;

	while (s->at < s->end) {
		const uint8_t *seg = s->at;
		uint32_t count = up_get_be32(seg), len = count;
		struct up_sge *sge = &wr->sge[n];

		if (count & CX_INLINE) {
			len = count & CX_INLINE_MASK;
			if (!take(s, (4 + len + CX_WQE_DS - 1) & ~(CX_WQE_DS - 1)))
				return -EINVAL;
			memcpy(wr->data + inline_bytes, seg + 4, len);
			*sge = (struct up_sge){.addr = inline_bytes, .len = len};
			inline_bytes += len;
			if (len) {
				inline_sges |= 1ull << n;
				inlined++;
			}
		} else {
			s->at += CX_WQE_DS;
			decode_data(seg, len, sge);
		}
		length += len;
		n += len != 0;
	}
	wr->length = length;
	if (inlined && inlined == n) {
		wr->flags |= UP_WR_INLINE;
		wr->nsge = 0;
		wr->inline_sges = 0;
	} else {
		wr->nsge = n;
		wr->inline_sges = inline_sges;
	}
	return 1;
}

/* Mostly it is one piece of data. */
static inline int decode_list(struct segments *s, struct up_send_wr *wr)
{
	uint32_t count;

	if (s->end - s->at != CX_WQE_DS)
		return decode_mix(s, wr);
	count = up_get_be32(s->at);
	if (!count || count & CX_INLINE)
		return decode_mix(s, wr);
	decode_data(s->at, count, &wr->sge[0]);
	wr->length = count;
	wr->nsge = 1;
	return 1;
}

static int decode_raddr(struct segments *s, struct up_send_wr *wr)
{
	const struct cx_wqe_raddr *raddr = take(s, sizeof(*raddr));

	if (!raddr)
		return -EINVAL;
	wr->raddr = be64toh(raddr->raddr);
	wr->rkey = be32toh(raddr->rkey);
	return 1;
}

static int decode_atomic(struct segments *s, struct up_send_wr *wr)
{
	const struct cx_wqe_atomic *a = take(s, sizeof(*a));

	if (!a)
		return -EINVAL;
	wr->swap_add = be64toh(a->swap_add);
	wr->compare = be64toh(a->compare);
	return 1;
}

/* Of the sizes of extended atomics only 8 bytes is claimed. */
static int decode_masked_atomic(struct segments *s, struct up_send_wr *wr, uint32_t opmod)
{
	const struct cx_wqe_masked_atomic *m;
	int ret;

	if (opmod && opmod != (CX_OPMOD_EXT_ATOMIC | CX_OPMOD_ATOMIC_8))
		return -EINVAL;
	if (wr->op == UP_OP_MASKED_FETCH_ADD) {
		/* The second word is the boundary of the fields. */
		ret = decode_atomic(s, wr);
		wr->swap_add_mask = wr->compare;
		return ret;
	}
	m = take(s, sizeof(*m));
	if (!m)
		return -EINVAL;
	wr->swap_add = be64toh(m->swap_add);
	wr->compare = be64toh(m->compare);
	wr->swap_add_mask = be64toh(m->swap_add_mask);
	wr->compare_mask = be64toh(m->compare_mask);
	return 1;
}

static int decode_av(struct segments *s, struct up_send_wr *wr)
{
	const struct cx_wqe_av *av = take(s, CX_AV_BASE_SIZE);
	uint32_t dqp, grh;

	if (!av)
		return -EINVAL;
	dqp = be32toh(av->dqp);
	wr->dest_qpn = dqp & 0xffffff;
	wr->dest_qkey = be32toh(av->qkey);
	wr->av = (struct up_av){
		.dlid = be16toh(av->rlid),
		.sl = av->stat_rate_sl & 0xf,
		.path_bits = av->fl_mlid & 0x7f,
	};
	if (!(dqp & CX_AV_EXTENDED))
		return 1;
	if (!take(s, sizeof(*av) - CX_AV_BASE_SIZE))
		return -EINVAL;
	grh = be32toh(av->grh_gid_fl);
	wr->av.grh = grh & CX_AV_GRH;
	wr->av.sgid_index = (uint8_t)(grh >> CX_AV_SGID_SHIFT);
	wr->av.flow_label = grh & CX_AV_FLOW_MASK;
	wr->av.hop_limit = av->hop_limit;
	wr->av.traffic_class = av->tclass;
	memcpy(wr->av.dgid.raw, av->rgid, sizeof(wr->av.dgid.raw));
	return 1;
}

static int decode_xrc(struct segments *s, struct up_send_wr *wr)
{
	const struct cx_wqe_xrc *xrc = take(s, sizeof(*xrc));

	if (!xrc)
		return -EINVAL;
	wr->xrc_srqn = be32toh(xrc->srqn) & 0xffffff;
	return 1;
}

/* Registration is decoded where it is executed (umr.c). */
static int decode_umr(struct segments *s, struct up_send_wr *wr)
{
	wr->raw_len = (uint32_t)(s->end - s->at);
	memcpy(wr->data, s->at, wr->raw_len);
	return 1;
}

static int decode_send(struct segments *s, struct up_send_wr *wr, enum up_qp_type type)
{
	if (type == UP_QP_UD && decode_av(s, wr) < 0)
		return -EINVAL;
	return decode_list(s, wr);
}

static int decode_rdma(struct segments *s, struct up_send_wr *wr)
{
	return decode_raddr(s, wr) < 0 ? -EINVAL : decode_list(s, wr);
}

/* What comes back needs memory to go to. */
static int decode_response(struct segments *s, struct up_send_wr *wr, uint32_t opmod)
{
	int ret = decode_raddr(s, wr);

	if (ret > 0 && wr->op >= UP_OP_MASKED_CMP_SWAP)
		ret = decode_masked_atomic(s, wr, opmod);
	else if (ret > 0 && wr->op != UP_OP_READ)
		ret = decode_atomic(s, wr);
	if (ret > 0)
		ret = decode_list(s, wr);
	if (ret > 0 && (wr->inline_sges || wr->flags & UP_WR_INLINE))
		ret = -EINVAL;
	return ret;
}

static bool engine_op(uint8_t raw_op, enum up_opcode *op)
{
	static const uint8_t ops[] = {
		[CX_OP_NOP] = UP_OP_NOP + 1,
		[CX_OP_SEND_INVAL] = UP_OP_SEND_INV + 1,
		[CX_OP_RDMA_WRITE] = UP_OP_WRITE + 1,
		[CX_OP_RDMA_WRITE_IMM] = UP_OP_WRITE_IMM + 1,
		[CX_OP_SEND] = UP_OP_SEND + 1,
		[CX_OP_SEND_IMM] = UP_OP_SEND_IMM + 1,
		[CX_OP_RDMA_READ] = UP_OP_READ + 1,
		[CX_OP_ATOMIC_CS] = UP_OP_CMP_SWAP + 1,
		[CX_OP_ATOMIC_FA] = UP_OP_FETCH_ADD + 1,
		[CX_OP_ATOMIC_MASKED_CS] = UP_OP_MASKED_CMP_SWAP + 1,
		[CX_OP_ATOMIC_MASKED_FA] = UP_OP_MASKED_FETCH_ADD + 1,
		[CX_OP_UMR] = UP_OP_LOCAL + 1,
	};

	if (raw_op >= UP_ARRAY_SIZE(ops) || !ops[raw_op])
		return false;
	*op = ops[raw_op] - 1;
	return true;
}

static uint32_t wr_flags(uint8_t fm_ce_se)
{
	uint32_t fence = fm_ce_se & CX_CTRL_FENCE_MASK;

	return (fm_ce_se & CX_CTRL_CE_CQE ? UP_WR_SIGNALED : 0u) |
	       (fm_ce_se & CX_CTRL_SOLICITED ? UP_WR_SOLICITED : 0u) |
	       (fence >= CX_CTRL_FENCE_FENCE ? UP_WR_FENCE : 0u);
}

static int decode(const struct cx_qp *qp, const struct cx_wqe_ctrl *ctrl, uint32_t bytes,
		  struct up_send_wr *wr)
{
	struct segments s = {
		.at = (const uint8_t *)(ctrl + 1),
		.end = (const uint8_t *)ctrl + bytes,
	};
	uint32_t opmod = be32toh(ctrl->opmod_idx_opcode) >> 24;
	enum up_opcode op;

	if (!engine_op(wr->raw_op, &op))
		return -EINVAL;
	wr->op = op;
	wr->flags = wr_flags(ctrl->fm_ce_se);
	/* Immediate data goes on as it is; a key is a number. */
	wr->imm = op == UP_OP_SEND_INV || op == UP_OP_LOCAL ? be32toh(ctrl->imm) : ctrl->imm;
	if (op == UP_OP_NOP)
		return 1;
	if (op == UP_OP_LOCAL)
		return decode_umr(&s, wr);
	if (qp->base.type == UP_QP_XRC_INI && decode_xrc(&s, wr) < 0)
		return -EINVAL;
	if (op == UP_OP_WRITE || op == UP_OP_WRITE_IMM)
		return decode_rdma(&s, wr);
	if (op < UP_OP_WRITE)
		return decode_send(&s, wr, qp->base.type);
	return decode_response(&s, wr, opmod);
}

/*
 * The element that follows, if it is posted, comes from the guest's core while this one is being
 * executed. One that is not posted yet is left alone: the guest is about to write there.
 */
static void prefetch_next(const struct cx_qp *qp, uint32_t slots)
{
	uint32_t mask = (1u << qp->log_sq_size) - 1;

	if (qp->buf.flat)
		__builtin_prefetch(qp->buf.flat + qp->sq_offset +
				   (uint64_t)((qp->sq_consumer + slots) & mask) * CX_WQE_BB);
}

/* What a completion needs of a request that cannot be decoded. */
static UP_COLD int malformed(struct up_send_wr *wr, uint32_t slots)
{
	wr->op = UP_OP_NOP;
	wr->flags = 0;
	wr->length = 0;
	wr->nsge = 0;
	wr->slots = (uint16_t)slots;
	return -EINVAL;
}

int cx_sq_fetch(struct up_qp *base, struct up_send_wr *wr)
{
	struct cx_qp *qp = cx_qp(base);
	uint8_t wqe[UP_MAX_WQE_BYTES] __attribute__((aligned(CX_WQE_BB)));
	const struct cx_wqe_ctrl *ctrl = (const void *)wqe;
	uint32_t qpn_ds, ds, slots;
	uint16_t posted;

	cx_qp_locate(qp);
	/* The queue is looked at for some time after its last work, and its memory may be away for
	 * a moment meanwhile: without its record nothing is posted. */
	if (!qp->dbr)
		return 0;
	posted = sq_posted(qp);
	if (!posted)
		return 0;
	wr->index = qp->sq_consumer;
	wr->raw_op = CX_OP_NOP;
	wr->length = 0;
	wr->inline_sges = 0;
	/* More than the ring holds: which of it was meant cannot be told. */
	if (posted > 1u << qp->log_sq_size)
		return malformed(wr, posted);
	if (!load_block(qp, qp->sq_consumer, wqe))
		return -EFAULT;
	wr->raw_op = (uint8_t)be32toh(ctrl->opmod_idx_opcode);
	qpn_ds = be32toh(ctrl->qpn_ds);
	ds = qpn_ds & CX_CTRL_DS_MASK;
	slots = (ds * CX_WQE_DS + CX_WQE_BB - 1) / CX_WQE_BB;
	if (!slots || slots > posted || qpn_ds >> CX_CTRL_QPN_SHIFT != base->qpn)
		return malformed(wr, !slots ? 1 : slots > posted ? posted : slots);
	wr->slots = (uint16_t)slots;
	for (uint32_t i = 1; i < slots; i++)
		if (!load_block(qp, (uint16_t)(qp->sq_consumer + i), wqe + i * CX_WQE_BB))
			return -EFAULT;
	if (posted > slots)
		prefetch_next(qp, slots);
	if (decode(qp, ctrl, ds * CX_WQE_DS, wr) < 0)
		return malformed(wr, slots);
	return 1;
}

void cx_sq_advance(struct up_qp *base, const struct up_send_wr *wr)
{
	struct cx_qp *qp = cx_qp(base);

	qp->sq_consumer = (uint16_t)(qp->sq_consumer + wr->slots);
}

void cx_qp_reset(struct up_qp *base)
{
	struct cx_qp *qp = cx_qp(base);

	qp->sq_consumer = qp->sq_producer = 0;
	qp->rq_consumer = qp->rq_producer = 0;
}

int cx_scatter_list(const struct cx_buf *buf, const struct up_mem *mem, uint64_t off,
		    uint32_t bytes, struct up_recv_wr *wr)
{
	uint64_t length = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; i + CX_WQE_DS <= bytes; i += CX_WQE_DS) {
		const uint8_t *seg = cx_ring_at(buf, mem, off + i, CX_WQE_DS);
		uint64_t count_key, addr;
		uint32_t len, key;

		if (!seg)
			return -EFAULT;
		count_key = be64toh(up_fetch_u64(seg));
		addr = be64toh(up_fetch_u64(seg + 8));
		len = (uint32_t)(count_key >> 32);
		key = (uint32_t)count_key;
		if (key == CX_INVALID_LKEY)
			break;
		if (!len)
			continue;
		if (n == UP_MAX_RECV_SGE)
			return -EINVAL;
		wr->sge[n++] = (struct up_sge){.addr = addr, .len = len, .key = key};
		length += len;
	}
	wr->nsge = n;
	wr->length = length;
	return 0;
}

int cx_rq_take(struct up_qp *base, struct up_recv_wr *wr)
{
	struct cx_qp *qp = cx_qp(base);
	uint32_t mask = (1u << qp->log_rq_size) - 1;
	uint16_t posted;
	int err;

	cx_qp_locate(qp);
	if (!qp->dbr)
		return -EFAULT;
	posted = rq_posted(qp);
	if (!posted)
		return 0;
	if (posted > mask + 1)
		return -EINVAL;
	err = cx_scatter_list(&qp->buf, &base->hca->mem,
			      (uint64_t)(qp->rq_consumer & mask) << qp->log_rq_stride,
			      1u << qp->log_rq_stride, wr);
	if (err)
		return err;
	wr->index = qp->rq_consumer++;
	return 1;
}
