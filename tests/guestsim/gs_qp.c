/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queue pairs: creation as create_user_qp() and create_kernel_qp() of mlx5_ib, transitions as
 * __mlx5_ib_modify_qp(), with its choice of optional parameters.
 */
#include "gs_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	uint8_t service;
	bool has_sq, has_rq;
} kinds[] = {
	[GS_RC] = {CX_QPST_RC, true, true},	    [GS_UC] = {CX_QPST_UC, true, true},
	[GS_UD] = {CX_QPST_UD, true, true},	    [GS_XRC_INI] = {CX_QPST_XRC, true, false},
	[GS_XRC_TGT] = {CX_QPST_XRC, false, false}, [GS_QP1] = {CX_QPST_QP1, true, true},
	[GS_UMR] = {CX_QPST_REG_UMR, true, false},
};

/* The receive queue is first in the buffer, the send queue follows. */
static void alloc_queues(struct gs_qp *qp, const struct gs_qp_attr *attr)
{
	unsigned sges = attr->recv_sges ? attr->recv_sges : 4;
	size_t rq_bytes;

	qp->rq_stride = 16;
	while (qp->rq_stride < sges * sizeof(struct cx_wqe_data))
		qp->rq_stride *= 2;
	if (kinds[qp->type].has_rq && !qp->srq)
		qp->rq_wrs = attr->recv_wrs ? attr->recv_wrs : 64;
	if (kinds[qp->type].has_sq)
		qp->sq_blocks = attr->send_blocks ? attr->send_blocks : 128;
	rq_bytes = (size_t)qp->rq_wrs * qp->rq_stride;
	/* Both sizes are powers of two of at least a block, so the send queue is aligned to it. */
	if (rq_bytes && rq_bytes < CX_WQE_BB)
		gs_fail("a receive queue of %zu bytes", rq_bytes);
	qp->buf_size = rq_bytes + (size_t)qp->sq_blocks * CX_WQE_BB;
	qp->scattered = attr->scattered;
	if (qp->buf_size)
		qp->buf = attr->scattered ? gs_ram_alloc_scattered(qp->vm, qp->buf_size)
					  : gs_ram_alloc(qp->vm, qp->buf_size, 4096);
	qp->rq = qp->buf;
	qp->sq = (uint8_t *)qp->buf + rq_bytes;
	qp->dbr = gs_ram_alloc(qp->vm, 8, 64);
	qp->rq_wr_id = gs_object_alloc(qp->vm, (qp->rq_wrs + 1) * sizeof(qp->rq_wr_id[0]));
	qp->sq_wr_id = gs_object_alloc(qp->vm, (qp->sq_blocks + 1) * sizeof(qp->sq_wr_id[0]));
	qp->sq_next = gs_object_alloc(qp->vm, (qp->sq_blocks + 1) * sizeof(qp->sq_next[0]));
}

/* get_rx_type() */
static unsigned rq_type(const struct gs_qp *qp)
{
	if (qp->srq || qp->type == GS_XRC_INI || qp->type == GS_XRC_TGT || qp->type == GS_UMR)
		return CX_RQ_SRQ;
	return qp->rq_wrs ? CX_RQ_REGULAR : CX_RQ_NONE;
}

static void fill_queues(const struct gs_qp *qp, uint8_t *qpc)
{
	cx_set(qpc, CX_QPC_RQ_TYPE, rq_type(qp));
	if (qp->rq_wrs) {
		cx_set(qpc, CX_QPC_LOG_RQ_SIZE, (uint32_t)__builtin_ctz(qp->rq_wrs));
		cx_set(qpc, CX_QPC_LOG_RQ_STRIDE, (uint32_t)__builtin_ctz(qp->rq_stride) - 4);
	}
	if (qp->sq_blocks)
		cx_set(qpc, CX_QPC_LOG_SQ_SIZE, (uint32_t)__builtin_ctz(qp->sq_blocks));
	else
		cx_set(qpc, CX_QPC_NO_SQ, 1);
}

/* What the driver names where the caller has none: its own CQ, SRQs and XRC domains. */
static void fill_links(const struct gs_qp *qp, const struct gs_qp_attr *attr, uint8_t *qpc)
{
	const struct gs_vm *vm = qp->vm;
	uint32_t xrcd = vm->xrcd1, srqn = vm->srq1->srqn;

	if (qp->srq) {
		xrcd = vm->xrcd0;
		srqn = qp->srq->srqn;
	} else if (qp->type == GS_XRC_INI || qp->type == GS_XRC_TGT) {
		srqn = vm->srq_xrc0->srqn;
	}
	if (qp->type == GS_XRC_TGT)
		xrcd = attr->xrcd;
	cx_set(qpc, CX_QPC_XRCD, xrcd);
	cx_set(qpc, CX_QPC_SRQN_RMPN_XRQN, srqn);
	cx_set(qpc, CX_QPC_CQN_SND, (qp->send_cq ? qp->send_cq : vm->cq0)->cqn);
	cx_set(qpc, CX_QPC_CQN_RCV, (qp->recv_cq ? qp->recv_cq : vm->cq0)->cqn);
}

static void fill_context(struct gs_qp *qp, const struct gs_qp_attr *attr, uint8_t *qpc)
{
	cx_set(qpc, CX_QPC_ST, kinds[qp->type].service);
	cx_set(qpc, CX_QPC_PM_STATE, CX_PM_MIGRATED);
	if (qp->type != GS_UMR)
		cx_set(qpc, CX_QPC_PD, qp->pd->pdn);
	cx_set(qpc, CX_QPC_UAR_PAGE, qp->uar);
	cx_set(qpc, CX_QPC_USER_INDEX, qp->uidx);
	cx_set64(qpc, CX_QPC_DBR_ADDR, gs_ram_gpa(qp->vm, qp->dbr));
	/* _create_kernel_qp(): fast registration, and the reserved key */
	cx_set(qpc, CX_QPC_FRE, qp->kernel);
	cx_set(qpc, CX_QPC_RLKY, qp->kernel);
	cx_set(qpc, CX_QPC_BLOCK_LB_MC, attr->block_loopback);
	fill_queues(qp, qpc);
	fill_links(qp, attr, qpc);
}

static void create_command(struct gs_qp *qp, const struct gs_qp_attr *attr)
{
	struct gs_buf buf = {.page_shift = CX_PAGE_SHIFT};
	uint8_t out[CX_OUT_BYTES], *in, *qpc;
	uint32_t len;

	if (qp->buf)
		buf = gs_buf_describe(qp->vm, qp->buf, qp->buf_size, 63);
	len = CX_CREATE_QP_IN_BYTES + 8 * buf.npages;
	in = gs_alloc(len);
	qpc = in + CX_QP_IN_QPC_AT;
	cx_set(in, CX_IN_OPCODE, CX_CMD_CREATE_QP);
	fill_context(qp, attr, qpc);
	cx_set(qpc, CX_QPC_LOG_PAGE_SIZE, buf.page_shift - CX_PAGE_SHIFT);
	cx_set(qpc, CX_QPC_PAGE_OFFSET, buf.page_offset);
	gs_buf_finish(&buf, in + CX_CREATE_QP_IN_PAS_AT);
	gs_cmd(qp->vm, in, len, out, sizeof(out));
	free(in);
	qp->qpn = cx_get(out, CX_OUT_OBJECT);
}

struct gs_qp *gs_qp_create(struct gs_pd *pd, const struct gs_qp_attr *attr)
{
	struct gs_qp *qp = gs_object_alloc(pd->vm, sizeof(*qp));

	qp->vm = pd->vm;
	qp->pd = pd;
	qp->type = attr->type;
	qp->send_cq = attr->send_cq;
	qp->recv_cq = attr->recv_cq ? attr->recv_cq : attr->send_cq;
	qp->srq = attr->srq;
	qp->signal_all = attr->signal_all;
	qp->kernel = attr->kernel || attr->type == GS_UMR;
	qp->uar = attr->uar ? attr->uar : pd->vm->uar;
	qp->uidx = gs_uidx_alloc(pd->vm, qp);
	alloc_queues(qp, attr);
	create_command(qp, attr);
	return qp;
}

int gs_qp_destroy(struct gs_qp *qp)
{
	int err = gs_cmd_object(qp->vm, CX_CMD_DESTROY_QP, 0, qp->qpn);

	if (err)
		return err;
	qp->destroyed = true;
	if (qp->buf && !qp->scattered)
		gs_ram_free(qp->vm, qp->buf, qp->buf_size);
	gs_ram_free(qp->vm, qp->dbr, 8);
	return 0;
}

/* ---- paths ---- */

struct gs_path gs_path_lid(uint16_t dlid)
{
	return (struct gs_path){.dlid = dlid};
}

struct gs_path gs_path_to(const struct gs_vm *vm)
{
	return gs_path_lid(vm->lid);
}

struct gs_path gs_path_gid(const struct gs_vm *vm)
{
	struct gs_path p = {.dlid = vm->lid, .grh = true, .hop_limit = 64};

	memcpy(p.dgid, vm->gid, sizeof(p.dgid));
	return p;
}

/* mlx5_set_path() of an InfiniBand port */
static void fill_path(uint8_t *ads, const struct gs_path *p)
{
	cx_set(ads, CX_ADS_RLID, p->dlid);
	cx_set(ads, CX_ADS_MLID, p->path_bits);
	cx_set(ads, CX_ADS_SL, p->sl);
	cx_set(ads, CX_ADS_VHCA_PORT_NUM, 1);
	cx_set(ads, CX_ADS_GRH, p->grh);
	if (!p->grh)
		return;
	cx_set(ads, CX_ADS_HOP_LIMIT, p->hop_limit);
	cx_set(ads, CX_ADS_TCLASS, p->traffic_class);
	cx_set(ads, CX_ADS_FLOW_LABEL, p->flow_label);
	memcpy(ads + CX_ADS_RGID_RIP_AT, p->dgid, sizeof(p->dgid));
}

/* ---- transitions ---- */

struct gs_link gs_link_default(void)
{
	return (struct gs_link){.access = GS_REMOTE_ALL,
				.qkey = 0x11111111,
				.mtu = 5,
				.min_rnr_timer = 1,
				.rnr_retry = 7,
				.retry_count = 7,
				.timeout = 14,
				.rd_atomic = 16,
				.dest_rd_atomic = 16};
}

int gs_qp_modify_raw(struct gs_qp *qp, uint16_t opcode, uint32_t opt_mask, const void *qpc)
{
	uint8_t in[CX_QP_IN_BYTES] = {0}, out[CX_OUT_BYTES];

	cx_set(in, CX_IN_OPCODE, opcode);
	cx_set(in, CX_IN_OBJECT, qp->qpn);
	if (!qpc)
		return gs_cmd_raw(qp->vm, in, CX_IN_BYTES, out, sizeof(out));
	cx_set(in, CX_QP_IN_OPT_PARAM_MASK, opt_mask);
	memcpy(in + CX_QP_IN_QPC_AT, qpc, CX_QPC_BYTES);
	return gs_cmd_raw(qp->vm, in, sizeof(in), out, sizeof(out));
}

/* What goes with every transition. */
static void common_context(const struct gs_qp *qp, uint8_t *qpc)
{
	memset(qpc, 0, CX_QPC_BYTES);
	cx_set(qpc, CX_QPC_ST, kinds[qp->type].service);
	cx_set(qpc, CX_QPC_PM_STATE, CX_PM_MIGRATED);
	cx_set(qpc, CX_QPC_PD, qp->pd->pdn);
	cx_set(qpc, CX_QPC_CQN_SND, (qp->send_cq ? qp->send_cq : qp->vm->cq0)->cqn);
	cx_set(qpc, CX_QPC_CQN_RCV, (qp->recv_cq ? qp->recv_cq : qp->vm->cq0)->cqn);
	cx_set(qpc, CX_QPC_LOG_ACK_REQ_FREQ, 8);
	if (qp->type == GS_QP1) {
		cx_set(qpc, CX_QPC_MTU, 1);
		cx_set(qpc, CX_QPC_LOG_MSG_MAX, 8);
	} else if (qp->type == GS_UD || qp->type == GS_UMR) {
		cx_set(qpc, CX_QPC_MTU, 5);
		cx_set(qpc, CX_QPC_LOG_MSG_MAX, 12);
	}
}

static bool is_connected(const struct gs_qp *qp)
{
	return qp->type != GS_UD && qp->type != GS_QP1 && qp->type != GS_UMR;
}

static bool is_reliable(const struct gs_qp *qp)
{
	return is_connected(qp) && qp->type != GS_UC;
}

/* set_qpc_atomic_flags(): reads and atomics count only once there are resources for them. */
static void fill_access(uint8_t *qpc, unsigned access, unsigned dest_rd_atomic)
{
	if (!dest_rd_atomic)
		access &= GS_REMOTE_WRITE;
	cx_set(qpc, CX_QPC_RRE, !!(access & GS_REMOTE_READ));
	cx_set(qpc, CX_QPC_RWE, !!(access & GS_REMOTE_WRITE));
	if (access & GS_REMOTE_ATOMIC) {
		cx_set(qpc, CX_QPC_RAE, 1);
		cx_set(qpc, CX_QPC_ATOMIC_MODE, 1); /* MLX5_ATOMIC_MODE_IB_COMP */
	}
}

/* fls(n - 1) of the driver: the logarithm, rounded up */
static uint32_t log_up(unsigned n)
{
	return n > 1 ? 32 - (uint32_t)__builtin_clz(n - 1) : 0;
}

int gs_qp_to_init(struct gs_qp *qp, const struct gs_link *l)
{
	uint8_t qpc[CX_QPC_BYTES];

	common_context(qp, qpc);
	cx_set(qpc + CX_QPC_PRIMARY_PATH_AT, CX_ADS_PKEY_INDEX, l->pkey_index);
	cx_set(qpc + CX_QPC_PRIMARY_PATH_AT, CX_ADS_VHCA_PORT_NUM, 1);
	if (is_connected(qp))
		fill_access(qpc, l->access, 0);
	else if (qp->type != GS_UMR)
		cx_set(qpc, CX_QPC_Q_KEY, l->qkey);
	if (qp->rq_wrs)
		cx_set64(qpc, CX_QPC_DBR_ADDR, gs_ram_gpa(qp->vm, qp->dbr));
	cx_set(qpc, CX_QPC_RLKY, qp->kernel);
	return gs_qp_modify_raw(qp, CX_CMD_RST2INIT_QP, 0, qpc);
}

int gs_qp_to_rtr(struct gs_qp *qp, const struct gs_link *l)
{
	uint8_t qpc[CX_QPC_BYTES];
	uint32_t opt = 0;

	common_context(qp, qpc);
	if (is_connected(qp)) {
		cx_set(qpc, CX_QPC_MTU, l->mtu);
		cx_set(qpc, CX_QPC_LOG_MSG_MAX, cx_get(qp->vm->caps, CX_HCA_LOG_MAX_MSG));
		cx_set(qpc, CX_QPC_REMOTE_QPN, l->remote_qpn);
		fill_path(qpc + CX_QPC_PRIMARY_PATH_AT, &l->path);
		cx_set(qpc, CX_QPC_NEXT_RCV_PSN, 0x123456);
	}
	if (is_reliable(qp) && qp->type != GS_XRC_INI) {
		cx_set(qpc, CX_QPC_MIN_RNR_NAK, l->min_rnr_timer);
		fill_access(qpc, l->access, l->dest_rd_atomic);
		if (l->dest_rd_atomic)
			cx_set(qpc, CX_QPC_LOG_RRA_MAX, log_up(l->dest_rd_atomic));
		opt = CX_OPT_RRE | CX_OPT_RWE | CX_OPT_RAE;
	}
	return gs_qp_modify_raw(qp, CX_CMD_INIT2RTR_QP, opt, qpc);
}

int gs_qp_to_rts(struct gs_qp *qp, const struct gs_link *l)
{
	uint8_t qpc[CX_QPC_BYTES];

	common_context(qp, qpc);
	if (is_reliable(qp) && qp->type != GS_XRC_TGT) {
		cx_set(qpc, CX_QPC_RNR_RETRY, l->rnr_retry);
		cx_set(qpc, CX_QPC_RETRY_COUNT, l->retry_count);
		if (l->rd_atomic)
			cx_set(qpc, CX_QPC_LOG_SRA_MAX, log_up(l->rd_atomic));
	}
	if (is_reliable(qp))
		cx_set(qpc + CX_QPC_PRIMARY_PATH_AT, CX_ADS_ACK_TIMEOUT, l->timeout);
	if (qp->type != GS_UMR)
		cx_set(qpc, CX_QPC_NEXT_SEND_PSN, 0x123456);
	return gs_qp_modify_raw(qp, CX_CMD_RTR2RTS_QP, 0, qpc);
}

int gs_qp_to_err(struct gs_qp *qp)
{
	return gs_qp_modify_raw(qp, CX_CMD_2ERR_QP, 0, NULL);
}

int gs_qp_to_reset(struct gs_qp *qp)
{
	int err = gs_qp_modify_raw(qp, CX_CMD_2RST_QP, 0, NULL);

	if (err)
		return err;
	qp->sq_post = qp->sq_done = 0;
	qp->rq_post = qp->rq_done = 0;
	qp->dbr[CX_DBR_RECV] = qp->dbr[CX_DBR_SEND] = 0;
	return 0;
}

void gs_qp_query(struct gs_qp *qp, uint8_t qpc[CX_QPC_BYTES])
{
	uint8_t in[CX_IN_BYTES] = {0}, out[CX_QUERY_QP_OUT_BYTES];

	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_QP);
	cx_set(in, CX_IN_OBJECT, qp->qpn);
	gs_cmd(qp->vm, in, sizeof(in), out, sizeof(out));
	memcpy(qpc, out + CX_QUERY_QP_OUT_QPC_AT, CX_QPC_BYTES);
}

uint8_t gs_qp_state(struct gs_qp *qp)
{
	uint8_t qpc[CX_QPC_BYTES];

	gs_qp_query(qp, qpc);
	return (uint8_t)cx_get(qpc, CX_QPC_STATE);
}

void gs_qp_bring_up(struct gs_qp *qp, const struct gs_link *l)
{
	if (gs_qp_to_init(qp, l) || gs_qp_to_rtr(qp, l) || gs_qp_to_rts(qp, l))
		gs_fail("QP %#x does not come up: status %#x, syndrome %#x", qp->qpn,
			qp->vm->status, qp->vm->syndrome);
}

void gs_qp_connect(struct gs_qp *a, struct gs_qp *b, const struct gs_link *l)
{
	struct gs_link to_b = *l, to_a = *l;

	to_b.remote_qpn = b->qpn;
	to_b.path.dlid = b->vm->lid;
	to_a.remote_qpn = a->qpn;
	to_a.path.dlid = a->vm->lid;
	if (l->path.grh) {
		memcpy(to_b.path.dgid, b->vm->gid, sizeof(to_b.path.dgid));
		memcpy(to_a.path.dgid, a->vm->gid, sizeof(to_a.path.dgid));
	}
	gs_qp_bring_up(a, &to_b);
	gs_qp_bring_up(b, &to_a);
}

static int multicast(struct gs_qp *qp, uint16_t opcode, const uint8_t mgid[16])
{
	uint8_t in[CX_MCG_IN_BYTES] = {0}, out[CX_OUT_BYTES];

	cx_set(in, CX_IN_OPCODE, opcode);
	cx_set(in, CX_IN_OBJECT, qp->qpn);
	memcpy(in + CX_MCG_IN_MULTICAST_GID_AT, mgid, 16);
	return gs_cmd_raw(qp->vm, in, sizeof(in), out, sizeof(out));
}

int gs_mcast_attach(struct gs_qp *qp, const uint8_t mgid[16])
{
	return multicast(qp, CX_CMD_ATTACH_TO_MCG, mgid);
}

int gs_mcast_detach(struct gs_qp *qp, const uint8_t mgid[16])
{
	return multicast(qp, CX_CMD_DETACH_FROM_MCG, mgid);
}
