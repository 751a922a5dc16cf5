/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transitions of queue pairs.
 *
 * A transition command carries a whole context, of which only some fields count: those that the
 * transition sets by itself, and those that its opt_param_mask names. They are copied into the
 * context that the device keeps for QUERY_QP, and the engine's attributes are read back from that,
 * so that both always say the same.
 */
#include "device/connectx/cmd.h"

#include <errno.h>

/* What has no bit in opt_param_mask gets one here. */
enum {
	SET_MTU = 1 << 26,
	SET_REMOTE_QPN = 1 << 27,
	SET_RQ_PSN = 1 << 28,
	SET_SQ_PSN = 1 << 29,
};

#define SET_ACCESS (CX_OPT_RRE | CX_OPT_RAE | CX_OPT_RWE)
#define SET_ALL_OPTIONAL ((1u << 26) - 1)

struct transition {
	uint16_t opcode;
	uint8_t from, to; /* enum up_qp_state */
	uint32_t sets;
};

static const struct transition transitions[] = {
	{CX_CMD_RST2INIT_QP, UP_QPS_RESET, UP_QPS_INIT,
	 SET_ACCESS | CX_OPT_PKEY_INDEX | CX_OPT_Q_KEY | CX_OPT_PM_STATE | CX_OPT_PRI_PORT |
		 CX_OPT_COUNTER_SET_ID},
	{CX_CMD_INIT2INIT_QP, UP_QPS_INIT, UP_QPS_INIT, 0},
	{CX_CMD_INIT2RTR_QP, UP_QPS_INIT, UP_QPS_RTR,
	 CX_OPT_PRIMARY_PATH | CX_OPT_RRA_MAX | CX_OPT_RNR_TIMEOUT | SET_MTU | SET_REMOTE_QPN |
		 SET_RQ_PSN},
	{CX_CMD_RTR2RTS_QP, UP_QPS_RTR, UP_QPS_RTS,
	 CX_OPT_ACK_TIMEOUT | CX_OPT_RETRY_COUNT | CX_OPT_RNR_RETRY | CX_OPT_SRA_MAX | SET_SQ_PSN},
	{CX_CMD_RTS2RTS_QP, UP_QPS_RTS, UP_QPS_RTS, 0},
	{CX_CMD_SQERR2RTS_QP, UP_QPS_SQE, UP_QPS_RTS, 0},
	{CX_CMD_RTS2SQD_QP, UP_QPS_RTS, UP_QPS_SQD, 0},
	{CX_CMD_SQD2RTS_QP, UP_QPS_SQD, UP_QPS_RTS, 0},
};

static const struct transition *find_transition(uint16_t opcode)
{
	for (unsigned i = 0; i < UP_ARRAY_SIZE(transitions); i++) {
		if (transitions[i].opcode == opcode)
			return &transitions[i];
	}
	return NULL;
}

/* Fields of the context by what sets them. Those of the path are in copy_path(). */
static const struct {
	uint32_t set_by;
	uint32_t field;
} fields[] = {
	{CX_OPT_RRE, CX_QPC_RRE},
	{CX_OPT_RWE, CX_QPC_RWE},
	{CX_OPT_RAE, CX_QPC_RAE},
	{CX_OPT_RAE, CX_QPC_ATOMIC_MODE},
	{CX_OPT_Q_KEY, CX_QPC_Q_KEY},
	{CX_OPT_RNR_TIMEOUT, CX_QPC_MIN_RNR_NAK},
	{CX_OPT_SRA_MAX, CX_QPC_LOG_SRA_MAX},
	{CX_OPT_RRA_MAX, CX_QPC_LOG_RRA_MAX},
	{CX_OPT_PM_STATE, CX_QPC_PM_STATE},
	{CX_OPT_RETRY_COUNT, CX_QPC_RETRY_COUNT},
	{CX_OPT_RNR_RETRY, CX_QPC_RNR_RETRY},
	{CX_OPT_COUNTER_SET_ID, CX_QPC_COUNTER_SET_ID},
	{SET_MTU, CX_QPC_MTU},
	{SET_MTU, CX_QPC_LOG_MSG_MAX},
	{SET_REMOTE_QPN, CX_QPC_REMOTE_QPN},
	{SET_RQ_PSN, CX_QPC_NEXT_RCV_PSN},
	{SET_SQ_PSN, CX_QPC_NEXT_SEND_PSN},
};

static const uint32_t path_fields[] = {
	CX_ADS_GRH,	  CX_ADS_MLID,	    CX_ADS_RLID,   CX_ADS_SRC_ADDR_INDEX,
	CX_ADS_STAT_RATE, CX_ADS_HOP_LIMIT, CX_ADS_TCLASS, CX_ADS_FLOW_LABEL,
	CX_ADS_SL,
};

static void copy_field(uint8_t *to, const uint8_t *from, uint32_t field)
{
	cx_set(to, field, cx_get(from, field));
}

static void copy_path(uint8_t *to, const uint8_t *from, uint32_t set)
{
	if (set & CX_OPT_PRIMARY_PATH) {
		for (unsigned i = 0; i < UP_ARRAY_SIZE(path_fields); i++)
			copy_field(to, from, path_fields[i]);
		memcpy(to + CX_ADS_RGID_RIP_AT, from + CX_ADS_RGID_RIP_AT, 16);
	}
	if (set & CX_OPT_PKEY_INDEX)
		copy_field(to, from, CX_ADS_PKEY_INDEX);
	if (set & CX_OPT_ACK_TIMEOUT)
		copy_field(to, from, CX_ADS_ACK_TIMEOUT);
	/* The path may come without a port when only the rest of it changes. */
	if ((set & (CX_OPT_PRI_PORT | CX_OPT_PRIMARY_PATH)) && cx_get(from, CX_ADS_VHCA_PORT_NUM))
		copy_field(to, from, CX_ADS_VHCA_PORT_NUM);
}

static void copy_context(uint8_t *to, const uint8_t *from, uint32_t set)
{
	for (unsigned i = 0; i < UP_ARRAY_SIZE(fields); i++) {
		if (set & fields[i].set_by)
			copy_field(to, from, fields[i].field);
	}
	copy_path(to + CX_QPC_PRIMARY_PATH_AT, from + CX_QPC_PRIMARY_PATH_AT, set);
	/* Kept for queries: there is no second path to migrate to. */
	if (set & CX_OPT_ALT_PATH)
		memcpy(to + CX_QPC_SECONDARY_PATH_AT, from + CX_QPC_SECONDARY_PATH_AT,
		       CX_ADS_BYTES);
}

static void path_to_av(struct up_av *av, const uint8_t *path)
{
	av->dlid = (uint16_t)cx_get(path, CX_ADS_RLID);
	av->sl = (uint8_t)cx_get(path, CX_ADS_SL);
	av->path_bits = (uint8_t)cx_get(path, CX_ADS_MLID);
	av->grh = cx_get(path, CX_ADS_GRH);
	av->sgid_index = (uint8_t)cx_get(path, CX_ADS_SRC_ADDR_INDEX);
	av->hop_limit = (uint8_t)cx_get(path, CX_ADS_HOP_LIMIT);
	av->traffic_class = (uint8_t)cx_get(path, CX_ADS_TCLASS);
	av->flow_label = cx_get(path, CX_ADS_FLOW_LABEL);
	memcpy(av->dgid.raw, path + CX_ADS_RGID_RIP_AT, sizeof(av->dgid.raw));
}

static void context_to_attr(struct up_qp_attr *attr, const uint8_t *qpc)
{
	const uint8_t *path = qpc + CX_QPC_PRIMARY_PATH_AT;

	attr->remote_qpn = cx_get(qpc, CX_QPC_REMOTE_QPN);
	attr->qkey = cx_get(qpc, CX_QPC_Q_KEY);
	attr->access = (cx_get(qpc, CX_QPC_RRE) ? UP_ACCESS_REMOTE_READ : 0) |
		       (cx_get(qpc, CX_QPC_RWE) ? UP_ACCESS_REMOTE_WRITE : 0) |
		       (cx_get(qpc, CX_QPC_RAE) ? UP_ACCESS_REMOTE_ATOMIC : 0);
	attr->pkey_index = (uint16_t)cx_get(path, CX_ADS_PKEY_INDEX);
	attr->mtu = (uint16_t)(128u << cx_get(qpc, CX_QPC_MTU));
	attr->min_rnr_timer = (uint8_t)cx_get(qpc, CX_QPC_MIN_RNR_NAK);
	attr->rnr_retry = (uint8_t)cx_get(qpc, CX_QPC_RNR_RETRY);
	attr->retry_count = (uint8_t)cx_get(qpc, CX_QPC_RETRY_COUNT);
	attr->ack_timeout = (uint8_t)cx_get(path, CX_ADS_ACK_TIMEOUT);
	attr->max_rd_atomic = (uint16_t)(1u << cx_get(qpc, CX_QPC_LOG_SRA_MAX));
	/* Without any, the driver clears the rights to read and to do atomics. */
	attr->max_dest_rd_atomic = (uint16_t)(1u << cx_get(qpc, CX_QPC_LOG_RRA_MAX));
	attr->drain_event = true;
	path_to_av(&attr->av, path);
}

static enum cx_status check(struct cx_cmd *c, const struct cx_qp *qp, const uint8_t *qpc,
			    uint32_t set)
{
	const uint8_t *path = qpc + CX_QPC_PRIMARY_PATH_AT;
	uint32_t mtu = cx_get(qpc, CX_QPC_MTU);

	/* enum ib_mtu: 256 to 4096 bytes. */
	if ((set & SET_MTU) && (mtu < 1 || mtu > 5) && qp->base.type != UP_QP_LOCAL)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	if ((set & CX_OPT_SRA_MAX) && cx_get(qpc, CX_QPC_LOG_SRA_MAX) > CX_LOG_MAX_RD_ATOMIC)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_SIZE);
	if ((set & CX_OPT_RRA_MAX) && cx_get(qpc, CX_QPC_LOG_RRA_MAX) > CX_LOG_MAX_RD_ATOMIC)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_SIZE);
	if ((set & CX_OPT_PKEY_INDEX) &&
	    cx_get(path, CX_ADS_PKEY_INDEX) >= UP_ARRAY_SIZE(c->dev->hca.pkeys))
		return cx_fail(c, CX_BAD_INDEX, CX_WHY_ATTRIBUTE);
	if ((set & CX_OPT_COUNTER_SET_ID) &&
	    !cx_counter_find(c, cx_get(qpc, CX_QPC_COUNTER_SET_ID)))
		return CX_BAD_RES;
	return CX_OK;
}

/* World stopped. */
static int move(struct cx_qp *qp, const uint8_t *qpc, uint32_t set, enum up_qp_state to)
{
	copy_context(qp->raw_ctx, qpc, set);
	context_to_attr(&qp->base.attr, qp->raw_ctx);
	return up_qp_modify(&qp->base, to);
}

enum cx_status cx_modify_qp(struct cx_cmd *c)
{
	const struct transition *t = find_transition(c->opcode);
	const uint8_t *qpc = c->in + CX_QP_IN_QPC_AT;
	struct cx_qp *qp = cx_qp_get(c);
	enum cx_status status;
	int err = -EINVAL;
	uint32_t set;

	if (!t)
		return cx_fail(c, CX_BAD_OP, CX_WHY_UNKNOWN_OPCODE);
	if (!qp)
		return CX_BAD_RES;
	set = t->sets | (cx_get(c->in, CX_QP_IN_OPT_PARAM_MASK) & SET_ALL_OPTIONAL);
	status = check(c, qp, qpc, set);
	if (status != CX_OK)
		return status;
	up_world_stop(c->dev->port->fabric);
	if (up_qp_state_get(&qp->base) == t->from) {
		/* Its driver gives the registration QP a domain here, not before. */
		if (t->from == UP_QPS_RESET && qp->base.type == UP_QP_LOCAL)
			qp->base.pdn = cx_get(qpc, CX_QPC_PD);
		err = move(qp, qpc, set, t->to);
	}
	up_world_start(c->dev->port->fabric);
	return err ? cx_fail(c, CX_BAD_QP_STATE, CX_WHY_STATE) : CX_OK;
}

static enum cx_status force(struct cx_cmd *c, enum up_qp_state to)
{
	struct cx_qp *qp = cx_qp_get(c);

	if (!qp)
		return CX_BAD_RES;
	up_world_stop(c->dev->port->fabric);
	/* In the error state what was posted is flushed; a reset would only forget it. */
	if (to != UP_QPS_RESET || cx_qp_flush(c, qp))
		up_qp_modify(&qp->base, to);
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}

enum cx_status cx_reset_qp(struct cx_cmd *c)
{
	return force(c, UP_QPS_RESET);
}

enum cx_status cx_error_qp(struct cx_cmd *c)
{
	return force(c, UP_QPS_ERR);
}
