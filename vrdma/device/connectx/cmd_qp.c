/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands on queue pairs: creation, query and end. (Their states: cmd_qp_modify.c.) */
#include "device/connectx/cmd.h"

#include "device/connectx/abi_queue.h"

#include <errno.h>

#define LOG_RQ_STRIDE_UNIT 4 /* qpc.log_rq_stride is in units of 16 bytes */
#define LOG_RQ_STRIDE_MAX 9  /* UP_MAX_RECV_SGE segments */
static_assert(UP_MAX_RECV_SGE * CX_OCTWORD_BYTES == 1 << LOG_RQ_STRIDE_MAX, "receive WQE");
static_assert(sizeof(((struct cx_qp *)0)->raw_ctx) == CX_QPC_BYTES, "a context fits");
/* Of the port, for a queue pair that goes: the longest queue of short messages takes as many. */
#define FLUSH_TURNS 512

struct cx_qp *cx_qp_get(struct cx_cmd *c)
{
	struct up_qp *qp = up_table_get(&c->dev->hca.qps, cx_cmd_object(c));

	return cx_found(c, qp, CX_WHY_NO_QP) && cx_acts_on(c, cx_qp(qp)->uid) ? cx_qp(qp) : NULL;
}

static enum cx_status parse_type(struct cx_cmd *c, struct cx_qp *qp, const uint8_t *qpc)
{
	struct up_qp *base = &qp->base;

	qp->service_type = (uint8_t)cx_get(qpc, CX_QPC_ST);
	base->has_sq = !cx_get(qpc, CX_QPC_NO_SQ);
	switch (qp->service_type) {
	case CX_QPST_RC:
		base->type = UP_QP_RC;
		break;
	case CX_QPST_UC:
		base->type = UP_QP_UC;
		break;
	case CX_QPST_XRC:
		/* The two ends of an XRC connection differ in whether they send. */
		base->type = base->has_sq ? UP_QP_XRC_INI : UP_QP_XRC_TGT;
		break;
	case CX_QPST_QP0:
	case CX_QPST_QP1:
		base->is_special = true;
		base->special = qp->service_type == CX_QPST_QP1;
		base->type = UP_QP_UD;
		break;
	case CX_QPST_UD:
		base->type = UP_QP_UD;
		break;
	case CX_QPST_REG_UMR:
		base->type = UP_QP_LOCAL;
		break;
	default:
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	}
	/* These reach what no process may: all memory, regions of pages, management. */
	if (c->uid &&
	    (base->is_special || base->type == UP_QP_LOCAL || base->privileged || qp->fre))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_KERNELS);
	return CX_OK;
}

static bool may_share_receives(const struct up_qp *qp)
{
	return qp->type == UP_QP_RC || qp->type == UP_QP_UC || qp->type == UP_QP_UD;
}

static enum cx_status parse_receives(struct cx_cmd *c, struct cx_qp *qp, const uint8_t *qpc)
{
	struct up_srq *srq;

	switch (cx_get(qpc, CX_QPC_RQ_TYPE)) {
	case CX_RQ_NONE:
		return CX_OK;
	case CX_RQ_REGULAR:
		qp->base.has_rq = may_share_receives(&qp->base);
		return CX_OK;
	case CX_RQ_SRQ:
		/* XRC messages name their SRQ themselves; the driver gives some default. */
		if (!may_share_receives(&qp->base))
			return CX_OK;
		srq = up_table_get(&c->dev->hca.srqs, cx_get(qpc, CX_QPC_SRQN_RMPN_XRQN));
		if (!srq || srq->xrc)
			return cx_fail(c, CX_BAD_RES, CX_WHY_NO_SRQ);
		if (!cx_refers_to(c, cx_srq(srq)->uid))
			return CX_BAD_RES;
		qp->base.srq = srq;
		return CX_OK;
	default:
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	}
}

/* Kernels before 5.14 own the pages of processes, too. */
static bool find_uar(struct cx_cmd *c, uint32_t page)
{
	const struct cx_uar *uar = page < CX_UAR_PAGES ? &c->dev->uars[page] : NULL;

	if (!uar || !uar->allocated) {
		c->syndrome = CX_WHY_NO_UAR;
		return false;
	}
	return !uar->uid || cx_refers_to(c, uar->uid);
}

/* What the QP refers to. Each must exist as far as the QP uses it. */
static enum cx_status parse_references(struct cx_cmd *c, struct cx_qp *qp, const uint8_t *qpc)
{
	struct up_qp *base = &qp->base;

	base->pdn = cx_get(qpc, CX_QPC_PD);
	base->xrcd = cx_get(qpc, CX_QPC_XRCD);
	/* The registration QP gets its domain when it is initialized. */
	if (base->type == UP_QP_LOCAL)
		base->pdn = 0;
	else if (!cx_pd_find(c, base->pdn))
		return CX_BAD_RES;
	if (base->type == UP_QP_XRC_TGT && !cx_xrcd_find(c, base->xrcd))
		return CX_BAD_RES;
	base->send_cq = cx_cq_find(c, cx_get(qpc, CX_QPC_CQN_SND));
	if (base->has_sq && !base->send_cq)
		return CX_BAD_RES;
	base->recv_cq = cx_cq_find(c, cx_get(qpc, CX_QPC_CQN_RCV));
	if ((base->has_rq || base->srq) && !base->recv_cq)
		return CX_BAD_RES;
	qp->uar_page = cx_get(qpc, CX_QPC_UAR_PAGE);
	return base->has_sq && !find_uar(c, qp->uar_page) ? CX_BAD_RES : CX_OK;
}

static enum cx_status take_memory(struct cx_cmd *c, struct cx_qp *qp, const uint8_t *qpc,
				  const struct cx_ring *ring)
{
	const struct cx_record dbr = {
		.bytes = CX_DBR_BYTES,
		.umem = {.valid = cx_get(qpc, CX_QPC_DBR_UMEM_VALID),
			 .id = cx_get(qpc, CX_QPC_DBR_UMEM_ID),
			 .offset = cx_get64(qpc, CX_QPC_DBR_ADDR)},
	};
	enum cx_status status = cx_dbr_take(c, &dbr, &qp->dbr_gpa, &qp->dbr_umem);

	if (status != CX_OK)
		return status;
	status = cx_ring_take(c, ring, &qp->buf);
	if (status != CX_OK)
		cx_umem_put(c->dev, qp->dbr_umem);
	return status;
}

static void drop_memory(struct cx_qp *qp)
{
	cx_ring_drop(qp->dev, &qp->buf);
	cx_umem_put(qp->dev, qp->dbr_umem);
}

/* The buffer holds the receive queue, then the send queue. */
static enum cx_status parse_ring(struct cx_cmd *c, struct cx_qp *qp, const uint8_t *qpc)
{
	uint32_t rq_bytes = 0, sq_bytes = 0;
	struct cx_ring ring = {
		.log_page_size = (uint8_t)cx_get(qpc, CX_QPC_LOG_PAGE_SIZE),
		.page_offset = cx_get(qpc, CX_QPC_PAGE_OFFSET),
		.element = CX_WQE_BB,
		.pas_at = CX_CREATE_QP_IN_PAS_AT,
		.umem = {.valid = cx_get(c->in, CX_CREATE_QP_IN_WQ_UMEM_VALID),
			 .id = cx_get(c->in, CX_CREATE_QP_IN_WQ_UMEM_ID),
			 .offset = cx_get64(c->in, CX_CREATE_QP_IN_WQ_UMEM_OFFSET)},
	};

	qp->log_rq_size = (uint8_t)cx_get(qpc, CX_QPC_LOG_RQ_SIZE);
	qp->log_rq_stride = (uint8_t)(cx_get(qpc, CX_QPC_LOG_RQ_STRIDE) + LOG_RQ_STRIDE_UNIT);
	qp->log_sq_size = (uint8_t)cx_get(qpc, CX_QPC_LOG_SQ_SIZE);
	if (qp->base.has_rq && qp->log_rq_stride > LOG_RQ_STRIDE_MAX)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_SIZE);
	if (qp->base.has_rq) {
		rq_bytes = 1u << (qp->log_rq_size + qp->log_rq_stride);
		if (ring.element < 1u << qp->log_rq_stride)
			ring.element = 1u << qp->log_rq_stride;
	}
	if (qp->base.has_sq) {
		sq_bytes = CX_WQE_BB << qp->log_sq_size;
		if (rq_bytes % CX_WQE_BB)
			return cx_fail(c, CX_BAD_PARAM, CX_WHY_SIZE);
	}
	qp->sq_offset = rq_bytes;
	ring.bytes = rq_bytes + sq_bytes;
	return ring.bytes ? take_memory(c, qp, qpc, &ring) : CX_OK;
}

static enum cx_status parse(struct cx_cmd *c, struct cx_qp *qp)
{
	const uint8_t *qpc = c->in + CX_QP_IN_QPC_AT;
	enum cx_status status;

	c->raw = c->uid && (cx_get(c->in, CX_CREATE_QP_IN_WQ_UMEM_VALID) ||
			    cx_get(qpc, CX_QPC_DBR_UMEM_VALID));
	qp->dev = c->dev;
	qp->base.hca = &c->dev->hca;
	qp->base.attr.mtu = UP_MTU_BYTES;
	qp->base.privileged = cx_get(qpc, CX_QPC_RLKY);
	qp->base.block_loopback = cx_get(qpc, CX_QPC_BLOCK_LB_MC);
	qp->fre = cx_get(qpc, CX_QPC_FRE);
	qp->user_index = cx_get(qpc, CX_QPC_USER_INDEX);
	qp->uidx_in_cqe = qp->user_index != CX_NO_USER_INDEX;
	memcpy(qp->raw_ctx, qpc, sizeof(qp->raw_ctx));
	status = parse_type(c, qp, qpc);
	if (status == CX_OK)
		status = parse_receives(c, qp, qpc);
	if (status == CX_OK)
		status = parse_references(c, qp, qpc);
	return status == CX_OK ? parse_ring(c, qp, qpc) : status;
}

/* Counts the QP as a user of its domains, or no longer. World stopped. */
static void count_user(struct cx_qp *qp, uint32_t n)
{
	struct cx_number *pd = up_table_get(&qp->dev->pds, qp->base.pdn);
	struct cx_number *xrcd = up_table_get(&qp->dev->xrcds, qp->base.xrcd);

	if (qp->base.type != UP_QP_LOCAL)
		pd->users += n;
	if (qp->base.type == UP_QP_XRC_TGT)
		xrcd->users += n;
}

/* World stopped. */
static int publish(struct cx_qp *qp)
{
	int err = up_qp_create(&qp->base);

	if (err)
		return err;
	err = cx_uar_use(qp, true);
	if (err) {
		up_qp_destroy(&qp->base);
		return err;
	}
	count_user(qp, 1);
	return 0;
}

static enum cx_status publish_failed(struct cx_cmd *c, int err)
{
	switch (err) {
	case -EEXIST:
		return cx_fail(c, CX_BAD_RES_STATE, CX_WHY_IN_USE);
	case -ENOSPC:
		return cx_fail(c, CX_NO_RES, CX_WHY_TABLE_FULL);
	default:
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	}
}

enum cx_status cx_create_qp(struct cx_cmd *c)
{
	struct cx_qp *qp = up_arena_alloc(c->dev->hca.arena, sizeof(*qp));
	enum cx_status status;
	int err;

	if (!qp)
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	status = parse(c, qp);
	if (status != CX_OK) {
		up_arena_free(c->dev->hca.arena, qp, sizeof(*qp));
		return status;
	}
	up_world_stop(c->dev->port->fabric);
	err = publish(qp);
	up_world_start(c->dev->port->fabric);
	if (err) {
		drop_memory(qp);
		up_arena_free(c->dev->hca.arena, qp, sizeof(*qp));
		return publish_failed(c, err);
	}
	qp->uid = cx_own(c);
	cx_set(c->out, CX_OUT_OBJECT, qp->base.qpn);
	return CX_OK;
}

void cx_qp_free(struct cx_qp *qp)
{
	cx_uar_use(qp, false);
	cx_counter_absorb(qp->dev, qp);
	count_user(qp, -1u);
	up_qp_destroy(&qp->base);
	cx_disown(qp->dev, qp->uid);
	drop_memory(qp);
	up_arena_free(qp->dev->hca.arena, qp, sizeof(*qp));
}

bool cx_qp_flush(struct cx_cmd *c, struct cx_qp *qp)
{
	c->again = up_qp_state_get(&qp->base) == UP_QPS_RTS && c->done++ < FLUSH_TURNS &&
		   up_fabric_flush(&qp->base);
	return !c->again;
}

enum cx_status cx_destroy_qp(struct cx_cmd *c)
{
	struct cx_qp *qp = cx_qp_get(c);

	if (!qp)
		return CX_BAD_RES;
	up_world_stop(c->dev->port->fabric);
	if (cx_qp_flush(c, qp)) {
		c->again = !up_mcast_forget(&qp->base);
		if (!c->again)
			cx_qp_free(qp);
	}
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}

static uint32_t state_code(const struct up_qp *qp)
{
	static const uint8_t codes[] = {
		[UP_QPS_RESET] = CX_QPS_RST, [UP_QPS_INIT] = CX_QPS_INIT,
		[UP_QPS_RTR] = CX_QPS_RTR,   [UP_QPS_RTS] = CX_QPS_RTS,
		[UP_QPS_SQD] = CX_QPS_SQD,   [UP_QPS_SQE] = CX_QPS_SQER,
		[UP_QPS_ERR] = CX_QPS_ERR,
	};
	enum up_qp_state state = up_qp_state_get(qp);

	return state == UP_QPS_SQD && !qp->drained ? CX_QPS_SQ_DRAINING : codes[state];
}

enum cx_status cx_query_qp(struct cx_cmd *c)
{
	uint8_t *qpc = c->out + CX_QUERY_QP_OUT_QPC_AT;
	struct cx_qp *qp = cx_qp_get(c);

	if (!qp)
		return CX_BAD_RES;
	memcpy(qpc, qp->raw_ctx, sizeof(qp->raw_ctx));
	up_world_stop(c->dev->port->fabric);
	cx_qp_locate(qp);
	cx_set(qpc, CX_QPC_STATE, state_code(&qp->base));
	cx_set(qpc, CX_QPC_HW_SQ_WQEBB_COUNTER, qp->sq_consumer);
	cx_set(qpc, CX_QPC_HW_RQ_COUNTER, qp->rq_consumer);
	if (qp->dbr) {
		cx_set(qpc, CX_QPC_SW_SQ_WQEBB_COUNTER,
		       up_fetch_be32(&qp->dbr[CX_DBR_SEND]) & 0xffff);
		cx_set(qpc, CX_QPC_SW_RQ_COUNTER, up_fetch_be32(&qp->dbr[CX_DBR_RECV]));
	}
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}
