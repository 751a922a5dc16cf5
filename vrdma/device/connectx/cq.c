/* SPDX-License-Identifier: BSD-2-Clause */
/* Completion queues: their entries (struct mlx5_cqe64). Events for armed queues: cq_watch.c. */
#include "device/connectx/connectx.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/hint.h"
#include "device/connectx/abi_queue.h"

#include <errno.h>

/* The worker's time at the start of its turn, for timestamps. */
static _Thread_local uint64_t turn_now;

void cx_cq_set_turn(uint64_t now)
{
	turn_now = now;
}

static uint64_t stamp(struct cx_cq *cq)
{
	uint64_t now = cx_clock_ticks(turn_now ? turn_now : up_clock_ns());

	if (now > cq->last_stamp)
		cq->last_stamp = now;
	return cq->last_stamp;
}

uint32_t cx_cq_unread(const struct cx_cq *cq)
{
	return (cq->producer - up_fetch_be32(&cq->dbr[CX_DBR_CQ_CI])) & CX_CQ_CI_MASK;
}

/* The guest's index is read only when the ring would be full by the last one known. */
static bool is_full(struct cx_cq *cq)
{
	uint32_t size = 1u << cq->log_size;

	if (cq->overrun_ignore || cq->collapsed || cq->producer - cq->consumer < size)
		return false;
	cq->consumer = cq->producer - cx_cq_unread(cq);
	return cq->producer - cq->consumer >= size;
}

static struct cx_cqe64 *cqe_at(const struct cx_cq *cq)
{
	uint32_t index = cq->collapsed ? 0 : cq->producer & ((1u << cq->log_size) - 1);
	uint32_t size = 1u << cq->cqe_shift;
	uint8_t *at =
		cx_ring_at(&cq->buf, &cq->dev->hca.mem, (uint64_t)index << cq->cqe_shift, size);

	/* The 64 bytes that matter are the last ones. */
	return at ? (void *)(at + size - sizeof(struct cx_cqe64)) : NULL;
}

/* The word of an entry that its owner bit is in: sop_drop_qpn, wqe_counter, signature, op_own. */
static uint64_t last_word(uint32_t sop_qpn, uint16_t counter, uint8_t op_own)
{
	return (uint64_t)sop_qpn << 32 | (uint64_t)counter << 16 | op_own;
}

/*
 * The guest polls op_own, and looks at the rest once that has the wrap count of its position
 * (get_sw_cqe() and udma_from_device_barrier() of rdma-core): so it is stored last, with release.
 */
static void publish(struct cx_cq *cq, struct cx_cqe64 *slot, uint64_t last)
{
	last |= cq->producer >> cq->log_size & CX_CQE_OWNER;
	__atomic_store_n((uint64_t *)(void *)(slot + 1) - 1, htobe64(last), __ATOMIC_RELEASE);
	cq->producer++;
}

static UP_COLD void fail(struct cx_cq *cq, enum cx_cq_error why)
{
	cq->base.failed = true;
	cx_cq_error_event(cq->dev, cq->base.cqn, (uint8_t)why);
}

/* Room for the next entry; NULL when the queue has failed. */
static struct cx_cqe64 *claim(struct cx_cq *cq)
{
	struct cx_cqe64 *slot;

	if (cq->base.failed)
		return NULL;
	if (!cq->dbr || !(slot = cqe_at(cq))) {
		fail(cq, CX_CQ_ERROR_ACCESS);
		return NULL;
	}
	if (is_full(cq)) {
		fail(cq, CX_CQ_ERROR_OVERRUN);
		return NULL;
	}
	return slot;
}

static uint8_t syndrome(enum up_wc_status status)
{
	static const uint8_t syndromes[] = {
		[UP_WC_LOC_LEN_ERR] = CX_SYND_LOCAL_LENGTH,
		[UP_WC_LOC_QP_OP_ERR] = CX_SYND_LOCAL_QP_OP,
		[UP_WC_LOC_PROT_ERR] = CX_SYND_LOCAL_PROT,
		[UP_WC_WR_FLUSH_ERR] = CX_SYND_WR_FLUSH,
		[UP_WC_MW_BIND_ERR] = CX_SYND_MW_BIND,
		[UP_WC_BAD_RESP_ERR] = CX_SYND_BAD_RESP,
		[UP_WC_LOC_ACCESS_ERR] = CX_SYND_LOCAL_ACCESS,
		[UP_WC_REM_INV_REQ_ERR] = CX_SYND_REMOTE_INVAL_REQ,
		[UP_WC_REM_ACCESS_ERR] = CX_SYND_REMOTE_ACCESS,
		[UP_WC_REM_OP_ERR] = CX_SYND_REMOTE_OP,
		[UP_WC_RETRY_EXC_ERR] = CX_SYND_TRANSPORT_RETRY,
		[UP_WC_RNR_RETRY_EXC_ERR] = CX_SYND_RNR_RETRY,
		[UP_WC_REM_ABORT_ERR] = CX_SYND_REMOTE_ABORTED,
	};

	return syndromes[status];
}

/*
 * Version 1 of the CQE carries the user's index of the QP, or of the XRC SRQ that took a message;
 * version 0 the number of the SRQ, if any.
 */
static uint32_t resource(const struct up_wc *wc)
{
	const struct cx_qp *qp = UP_CONTAINER_OF(wc->qp, const struct cx_qp, base);
	const struct cx_srq *srq;

	if (!(wc->flags & UP_WC_SRQ))
		return qp->uidx_in_cqe ? qp->user_index : 0;
	srq = UP_CONTAINER_OF(wc->srq, const struct cx_srq, base);
	if (wc->srq->xrc)
		return srq->user_index != CX_NO_USER_INDEX ? srq->user_index : wc->srq->srqn;
	return qp->uidx_in_cqe ? qp->user_index : wc->srq->srqn;
}

static uint8_t response_opcode(enum up_opcode op)
{
	switch (op) {
	case UP_OP_WRITE_IMM:
		return CX_CQE_RESP_WR_IMM;
	case UP_OP_SEND_IMM:
		return CX_CQE_RESP_SEND_IMM;
	case UP_OP_SEND_INV:
		return CX_CQE_RESP_SEND_INV;
	default:
		return CX_CQE_RESP_SEND;
	}
}

/*
 * The P_Key of a datagram without immediate data: its value for QP1, whose driver searches the
 * table for it (handle_responder() of mlx5_ib), its index for the others, as rdma-core reports it.
 */
static uint32_t pkey_field(const struct up_wc *wc)
{
	const struct up_qp *qp = wc->qp;

	if (qp->is_special && wc->pkey_index < UP_ARRAY_SIZE(qp->hca->pkeys))
		return htobe32(qp->hca->pkeys[wc->pkey_index]);
	return htobe32(wc->pkey_index);
}

static void fill_response(struct cx_cqe64 *cqe, const struct up_wc *wc)
{
	uint32_t grh = wc->flags & UP_WC_GRH ? CX_CQE_GRH_IN_BUFFER << CX_CQE_GRH_SHIFT : 0;

	cqe->slid = htobe16(wc->slid);
	cqe->flags_rqpn = htobe32(grh | (uint32_t)wc->sl << CX_CQE_SL_SHIFT | wc->src_qpn);
	if (wc->op == UP_OP_SEND_INV)
		cqe->imm_inval_pkey = htobe32(wc->imm);
	else if (wc->op == UP_OP_SEND_IMM || wc->op == UP_OP_WRITE_IMM)
		cqe->imm_inval_pkey = wc->imm;
	else if (wc->qp->type == UP_QP_UD)
		cqe->imm_inval_pkey = pkey_field(wc);
}

/* All but the last word, which publish() stores: the other bytes of the entry are zero. */
static void fill(struct cx_cq *cq, struct cx_cqe64 *cqe, const struct up_wc *wc)
{
	memset(cqe, 0, offsetof(struct cx_cqe64, sop_drop_qpn));
	cqe->srqn_uidx = htobe32(resource(wc));
	if (wc->status == UP_WC_SUCCESS) {
		cqe->byte_cnt = htobe32(wc->byte_len);
		cqe->timestamp = htobe64(stamp(cq));
		if (wc->flags & UP_WC_RECV)
			fill_response(cqe, wc);
	} else {
		struct cx_err_cqe *err = (void *)cqe;

		err->syndrome = syndrome(wc->status);
		err->vendor_err_synd = (uint8_t)wc->status;
	}
}

static uint8_t entry_opcode(const struct up_wc *wc)
{
	bool recv = wc->flags & UP_WC_RECV;

	if (wc->status != UP_WC_SUCCESS)
		return recv ? CX_CQE_RESP_ERR : CX_CQE_REQ_ERR;
	return recv ? response_opcode(wc->op) : CX_CQE_REQ;
}

static uint8_t op_own(const struct up_wc *wc)
{
	bool solicited = wc->status == UP_WC_SUCCESS && (wc->flags & UP_WC_SOLICITED_EVENT);

	return (uint8_t)(entry_opcode(wc) << CX_CQE_OPCODE_SHIFT) |
	       (solicited ? CX_CQE_SOLICITED : 0);
}

/*
 * The entry is built where it belongs: until its owner bit turns, the guest looks at nothing else
 * of it. Built aside in fields and moved in vectors it would be loaded wider than it was stored,
 * which processors do not forward (SEND of 4 KiB 111 ns instead of 104).
 */
void cx_cq_post(struct up_cq *base, const struct up_wc *wc)
{
	struct cx_cq *cq = cx_cq(base);
	struct cx_cqe64 *slot;

	cx_cq_locate(cq);
	slot = claim(cq);
	if (!slot)
		return;
	fill(cq, slot, wc);
	publish(cq, slot,
		last_word((uint32_t)wc->raw_op << 24 | wc->qp->qpn, wc->index, op_own(wc)));
	cx_cq_watch_add(cq, wc->status != UP_WC_SUCCESS || (wc->flags & UP_WC_SOLICITED_EVENT));
}

/*
 * Without the lock, so with one worker only: another one might be posting. An address that is not
 * good any more does no harm here.
 */
void cx_cq_prefetch(struct up_cq *base)
{
	const struct cx_cq *cq = cx_cq(base);

	if (cq->buf.flat && !up_multi_worker)
		__builtin_prefetch(cqe_at(cq), 1);
}

int cx_cq_switch(struct cx_cq *cq, uint8_t log_size, uint8_t cqe_shift)
{
	struct cx_cqe64 *slot;

	cx_cq_locate(cq);
	if (cq->base.failed || !cq->dbr || !(slot = cqe_at(cq)))
		return -EFAULT;
	/* The driver copies what it has not read, one index on: this entry takes one as well. */
	cq->consumer = cq->producer - cx_cq_unread(cq);
	if (cq->producer - cq->consumer + 1 > 1u << log_size)
		return -EINVAL;
	if (cq->producer - cq->consumer >= 1u << cq->log_size)
		return -ENOSPC;
	memset(slot, 0, offsetof(struct cx_cqe64, sop_drop_qpn));
	publish(cq, slot, last_word(0, 0, CX_CQE_RESIZE_CQ << CX_CQE_OPCODE_SHIFT));
	cx_buf_fini(&cq->buf, cq->dev->hca.arena);
	cq->buf = cq->resize_buf;
	cq->resize_buf = (struct cx_buf){0};
	cq->log_size = log_size;
	cq->cqe_shift = cqe_shift;
	return 0;
}
