/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands on shared receive queues. There are three kinds: SRQs (ISSI 0), receive memory pools
 * (RMP, which take their place with ISSI 1), and SRQs of an XRC domain, which name the CQ that
 * their messages complete to. They share one space of numbers. All are linked lists of elements,
 * but for an RMP that asks to be cyclic.
 */
#include "device/connectx/cmd.h"

#include "device/connectx/abi_queue.h"

/* Messages under way that end in one go: 32,768 of them took 2 ms, with the world stopped. */
#define FORGET_STEP 512

static_assert(sizeof(((struct cx_srq *)0)->raw_ctx) >= CX_SRQC_BYTES &&
		      sizeof(((struct cx_srq *)0)->raw_ctx) >= CX_WQ_BYTES,
	      "a context fits");

/* What the three contexts say in three ways. */
struct srq_params {
	struct cx_ring ring;
	uint32_t log_size, log_stride, pdn, xrcd, cqn, user_index, limit;
	struct cx_record dbr;
	const uint8_t *ctx;
	uint32_t ctx_bytes;
	bool xrc, rmp, cyclic;
};

/* srqc and the head of xrc_srqc are the same. */
static struct srq_params srqc_params(const struct cx_cmd *c)
{
	const uint8_t *srqc = c->in + CX_CREATE_SRQ_IN_SRQC_AT;
	struct srq_params p = {
		.log_size = cx_get(srqc, CX_SRQC_LOG_SRQ_SIZE),
		.log_stride = cx_get(srqc, CX_SRQC_LOG_RQ_STRIDE) + 4,
		.pdn = cx_get(srqc, CX_SRQC_PD),
		.user_index = CX_NO_USER_INDEX,
		.limit = cx_get(srqc, CX_SRQC_LWM),
		.dbr.umem.offset = cx_get64(srqc, CX_SRQC_DBR_ADDR),
		.ctx = srqc,
		.ctx_bytes = CX_SRQC_BYTES,
	};

	p.ring.log_page_size = (uint8_t)cx_get(srqc, CX_SRQC_LOG_PAGE_SIZE);
	p.ring.page_offset = cx_get(srqc, CX_SRQC_PAGE_OFFSET);
	p.ring.pas_at = CX_CREATE_SRQ_IN_PAS_AT;
	return p;
}

static struct srq_params xrc_params(const struct cx_cmd *c)
{
	const uint8_t *ctx = c->in + CX_CREATE_SRQ_IN_SRQC_AT;
	struct srq_params p = srqc_params(c);

	p.xrc = true;
	p.xrcd = cx_get(ctx, CX_XRC_SRQC_XRCD);
	p.cqn = cx_get(ctx, CX_XRC_SRQC_CQN);
	if (!cx_get(ctx, CX_XRC_SRQC_USER_INDEX_EQUAL_XRC_SRQN))
		p.user_index = cx_get(ctx, CX_XRC_SRQC_USER_INDEX);
	p.ring.umem = (struct cx_umem_use){
		.valid = cx_get(c->in, CX_CREATE_XRC_SRQ_IN_XRC_SRQ_UMEM_VALID),
		.id = cx_get(c->in, CX_CREATE_XRC_SRQ_IN_XRC_SRQ_UMEM_ID),
		.offset = cx_get64(c->in, CX_CREATE_XRC_SRQ_IN_XRC_SRQ_UMEM_OFFSET),
	};
	p.dbr.umem.valid = cx_get(ctx, CX_XRC_SRQC_DBR_UMEM_VALID);
	p.dbr.umem.id = cx_get(ctx, CX_XRC_SRQC_DBR_UMEM_ID);
	return p;
}

static struct srq_params rmp_params(const struct cx_cmd *c)
{
	const uint8_t *wq = c->in + CX_CREATE_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT;
	struct srq_params p = {
		.log_size = cx_get(wq, CX_WQ_LOG_WQ_SZ),
		.log_stride = cx_get(wq, CX_WQ_LOG_WQ_STRIDE),
		.pdn = cx_get(wq, CX_WQ_PD),
		.user_index = CX_NO_USER_INDEX,
		.limit = cx_get(wq, CX_WQ_LWM),
		.dbr.umem = {.valid = cx_get(wq, CX_WQ_DBR_UMEM_VALID),
			     .id = cx_get(wq, CX_WQ_DBR_UMEM_ID),
			     .offset = cx_get64(wq, CX_WQ_DBR_ADDR)},
		.ctx = wq,
		.ctx_bytes = CX_WQ_BYTES,
		.rmp = true,
		.cyclic = cx_get(wq, CX_WQ_WQ_TYPE) == CX_WQ_TYPE_CYCLIC,
	};

	p.ring.log_page_size = (uint8_t)cx_get(wq, CX_WQ_LOG_WQ_PG_SZ);
	p.ring.page_offset = cx_get(wq, CX_WQ_PAGE_OFFSET);
	p.ring.pas_at = CX_CREATE_RMP_IN_PAS_AT;
	p.ring.umem = (struct cx_umem_use){
		.valid = cx_get(wq, CX_WQ_WQ_UMEM_VALID),
		.id = cx_get(wq, CX_WQ_WQ_UMEM_ID),
		.offset = cx_get64(wq, CX_WQ_WQ_UMEM_OFFSET),
	};
	return p;
}

/* An element has a link and at least one data segment. */
#define LOG_STRIDE_MIN 5

static enum cx_status check_params(struct cx_cmd *c, const struct srq_params *p)
{
	uint32_t max_bytes = UP_MAX_RECV_SGE * CX_OCTWORD_BYTES;

	if (p->log_size > CX_LOG_MAX_SRQ_SZ || p->log_stride < LOG_STRIDE_MIN ||
	    1u << p->log_stride > max_bytes)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_SIZE);
	if (!cx_pd_find(c, p->pdn))
		return CX_BAD_RES;
	if (p->xrc && (!cx_xrcd_find(c, p->xrcd) || !cx_cq_find(c, p->cqn)))
		return CX_BAD_RES;
	return CX_OK;
}

static void fill(struct cx_cmd *c, struct cx_srq *srq, const struct srq_params *p)
{
	srq->dev = c->dev;
	srq->base.hca = &c->dev->hca;
	srq->base.pdn = p->pdn;
	srq->base.xrc = p->xrc;
	srq->base.xrcd = p->xrcd;
	if (p->xrc)
		srq->base.cq = &((struct cx_cq *)up_table_get(&c->dev->cqs, p->cqn))->base;
	srq->log_size = (uint8_t)p->log_size;
	srq->log_stride = (uint8_t)p->log_stride;
	srq->limit = (uint16_t)p->limit;
	srq->user_index = p->user_index;
	srq->is_rmp = p->rmp;
	srq->cyclic = p->cyclic;
	memcpy(srq->raw_ctx, p->ctx, p->ctx_bytes);
	up_srq_init(&srq->base);
}

/* Counts the queue as a user of what it refers to, or no longer. World stopped. */
static void count_user(struct cx_srq *srq, uint32_t n)
{
	struct cx_number *pd = up_table_get(&srq->dev->pds, srq->base.pdn);
	struct cx_number *xrcd = up_table_get(&srq->dev->xrcds, srq->base.xrcd);

	pd->users += n;
	if (!srq->base.xrc)
		return;
	xrcd->users += n;
	srq->base.cq->users += n;
}

static enum cx_status publish(struct cx_cmd *c, struct cx_srq *srq)
{
	int64_t srqn;

	up_world_stop(c->dev->port->fabric);
	srqn = up_table_add(&c->dev->hca.srqs, &srq->base);
	if (srqn >= 0) {
		srq->base.srqn = (uint32_t)srqn;
		srq->uid = cx_own(c);
		count_user(srq, 1);
	}
	up_world_start(c->dev->port->fabric);
	if (srqn < 0)
		return cx_fail(c, CX_NO_RES, CX_WHY_TABLE_FULL);
	cx_set(c->out, CX_OUT_OBJECT, srq->base.srqn);
	return CX_OK;
}

static enum cx_status take_memory(struct cx_cmd *c, struct cx_srq *srq, struct srq_params *p)
{
	enum cx_status status;

	p->dbr.bytes = CX_SRQ_DBR_BYTES;
	p->ring.element = 1u << p->log_stride;
	p->ring.bytes = (uint64_t)p->ring.element << p->log_size;
	status = cx_dbr_take(c, &p->dbr, &srq->dbr_gpa, &srq->dbr_umem);
	if (status != CX_OK)
		return status;
	status = cx_ring_take(c, &p->ring, &srq->buf);
	if (status != CX_OK)
		cx_umem_put(c->dev, srq->dbr_umem);
	return status;
}

static void drop_memory(struct cx_srq *srq)
{
	cx_ring_drop(srq->dev, &srq->buf);
	cx_umem_put(srq->dev, srq->dbr_umem);
}

static enum cx_status create(struct cx_cmd *c, struct srq_params *p)
{
	enum cx_status status;
	struct cx_srq *srq;

	c->raw = c->uid && (p->ring.umem.valid || p->dbr.umem.valid);
	status = check_params(c, p);
	if (status != CX_OK)
		return status;
	srq = up_arena_alloc(c->dev->hca.arena, sizeof(*srq));
	if (!srq)
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	fill(c, srq, p);
	status = take_memory(c, srq, p);
	if (status == CX_OK) {
		status = publish(c, srq);
		if (status != CX_OK)
			drop_memory(srq);
	}
	if (status != CX_OK)
		up_arena_free(c->dev->hca.arena, srq, sizeof(*srq));
	return status;
}

enum cx_status cx_create_srq(struct cx_cmd *c)
{
	struct srq_params p = srqc_params(c);

	return create(c, &p);
}

enum cx_status cx_create_xrc_srq(struct cx_cmd *c)
{
	struct srq_params p = xrc_params(c);

	return create(c, &p);
}

enum cx_status cx_create_rmp(struct cx_cmd *c)
{
	const uint8_t *rmpc = c->in + CX_CREATE_RMP_IN_RMPC_AT;
	struct srq_params p = rmp_params(c);

	/* Neither elements without a link nor ones of strides. */
	if (cx_get(rmpc, CX_RMPC_BASIC_CYCLIC_RCV_WQE) ||
	    cx_get(rmpc + CX_RMPC_WQ_AT, CX_WQ_WQ_TYPE) > CX_WQ_TYPE_CYCLIC)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	return create(c, &p);
}

enum kind {
	SRQ,
	XRC,
	RMP,
};

static struct cx_srq *srq_get(struct cx_cmd *c, enum kind kind)
{
	struct up_srq *base = up_table_get(&c->dev->hca.srqs, cx_cmd_object(c));
	enum kind is;

	c->syndrome = CX_WHY_NO_SRQ;
	if (!base)
		return NULL;
	is = base->xrc ? XRC : cx_srq(base)->is_rmp ? RMP : SRQ;
	return is == kind && cx_acts_on(c, cx_srq(base)->uid) ? cx_srq(base) : NULL;
}

static void srq_free(struct cx_srq *srq)
{
	count_user(srq, -1u);
	up_table_del(&srq->dev->hca.srqs, srq->base.srqn);
	cx_disown(srq->dev, srq->uid);
	drop_memory(srq);
	up_arena_free(srq->dev->hca.arena, srq, sizeof(*srq));
}

static enum cx_status destroy(struct cx_cmd *c, enum kind kind)
{
	struct cx_srq *srq = srq_get(c, kind);

	if (!srq)
		return CX_BAD_RES;
	if (srq->base.users)
		return cx_fail(c, CX_RES_BUSY, CX_WHY_IN_USE);
	up_world_stop(c->dev->port->fabric);
	c->again = !up_srq_forget(&srq->base, FORGET_STEP);
	if (!c->again)
		srq_free(srq);
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}

enum cx_status cx_destroy_srq(struct cx_cmd *c)
{
	return destroy(c, SRQ);
}

enum cx_status cx_destroy_xrc_srq(struct cx_cmd *c)
{
	return destroy(c, XRC);
}

enum cx_status cx_destroy_rmp(struct cx_cmd *c)
{
	return destroy(c, RMP);
}

static enum cx_status arm(struct cx_cmd *c, enum kind kind, uint32_t limit)
{
	struct cx_srq *srq = srq_get(c, kind);

	if (!srq)
		return CX_BAD_RES;
	if (limit >= 1u << srq->log_size)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	up_world_stop(c->dev->port->fabric);
	srq->limit = (uint16_t)limit;
	cx_srq_check_limit(srq);
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}

enum cx_status cx_arm_rq(struct cx_cmd *c)
{
	if (c->op_mod != CX_ARM_SRQ_OP_SRQ)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	return arm(c, SRQ, cx_get(c->in, CX_ARM_SRQ_IN_LWM));
}

enum cx_status cx_arm_xrc_srq(struct cx_cmd *c)
{
	if (c->op_mod != CX_ARM_SRQ_OP_XRC)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	return arm(c, XRC, cx_get(c->in, CX_ARM_SRQ_IN_LWM));
}

enum cx_status cx_modify_rmp(struct cx_cmd *c)
{
	const uint8_t *wq = c->in + CX_MODIFY_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT;

	if (!cx_get(c->in, CX_MODIFY_RMP_IN_BITMASK_LWM))
		return srq_get(c, RMP) ? CX_OK : CX_BAD_RES;
	return arm(c, RMP, cx_get(wq, CX_WQ_LWM));
}

static enum cx_status query(struct cx_cmd *c, enum kind kind)
{
	uint8_t *srqc = c->out + CX_QUERY_SRQ_OUT_SRQC_AT;
	const struct cx_srq *srq = srq_get(c, kind);

	if (!srq)
		return CX_BAD_RES;
	memcpy(srqc, srq->raw_ctx, CX_SRQC_BYTES);
	up_world_stop(c->dev->port->fabric);
	cx_set(srqc, CX_SRQC_STATE, srq->base.error ? CX_SRQ_STATE_ERROR : CX_SRQ_STATE_GOOD);
	cx_set(srqc, CX_SRQC_LWM, srq->limit);
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}

enum cx_status cx_query_srq(struct cx_cmd *c)
{
	return query(c, SRQ);
}

enum cx_status cx_query_xrc_srq(struct cx_cmd *c)
{
	return query(c, XRC);
}

enum cx_status cx_query_rmp(struct cx_cmd *c)
{
	uint8_t *rmpc = c->out + CX_QUERY_RMP_OUT_RMPC_AT;
	const struct cx_srq *srq = srq_get(c, RMP);

	if (!srq)
		return CX_BAD_RES;
	memcpy(rmpc + CX_RMPC_WQ_AT, srq->raw_ctx, CX_WQ_BYTES);
	up_world_stop(c->dev->port->fabric);
	cx_set(rmpc, CX_RMPC_STATE, srq->base.error ? CX_RMP_STATE_ERR : CX_RMP_STATE_RDY);
	cx_set(rmpc + CX_RMPC_WQ_AT, CX_WQ_LWM, srq->limit);
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}
