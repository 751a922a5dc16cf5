/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Capabilities. The driver reads each group twice, as what could be (MAX) and what is (CUR), and
 * sets some of it before INIT_HCA. Groups that are not here read as zeroes: nothing of them.
 */
#include "device/connectx/cmd.h"

struct setting {
	uint32_t field;
	uint32_t value;
};

/* What a device of this kind has, and no more: a bit that is set here is a promise. */
static const struct setting general[] = {
	/*
	 * One InfiniBand port, whose state is read with the vport commands. Not its counters
	 * (vport_counters): with that the driver answers queries of performance management by
	 * itself, and forgets the header (process_pma_cmd() in its mad.c); else it asks with
	 * MAD_IFC.
	 */
	{CX_HCA_PORT_TYPE, 0},
	{CX_HCA_NUM_PORTS, 1},
	{CX_HCA_IB_VIRT, 1},
	{CX_HCA_PKEY_TABLE_SIZE, 0}, /* 128 entries, the least that can be said */
	{CX_HCA_GID_TABLE_SIZE, 0},  /* 8 entries */
	{CX_HCA_LOCAL_CA_ACK_DELAY, 16},
	{CX_HCA_VHCA_ID, 1},

	/* Transports. */
	{CX_HCA_RC, 1},
	{CX_HCA_UC, 1},
	{CX_HCA_UD, 1},
	{CX_HCA_XRC, 1},
	{CX_HCA_ATOMIC, 1},
	{CX_HCA_PKV, 1},
	{CX_HCA_QKV, 1},
	{CX_HCA_LOG_MAX_MSG, 30},
	{CX_HCA_LOG_MAX_RA_REQ_QP, CX_LOG_MAX_RD_ATOMIC},
	{CX_HCA_LOG_MAX_RA_RES_QP, CX_LOG_MAX_RD_ATOMIC},
	{CX_HCA_COMPACT_ADDRESS_VECTOR, 1},
	{CX_HCA_LOG_MAX_MCG, 13},
	{CX_HCA_BLOCK_LB_MC, 1},
	{CX_HCA_MAX_QP_MCG, UP_MCAST_MAX_QPS},

	/* Objects. */
	{CX_HCA_LOG_MAX_QP, CX_LOG_MAX_QP},
	{CX_HCA_LOG_MAX_QP_SZ, CX_LOG_MAX_QP_SZ},
	{CX_HCA_MAX_WQE_SZ_SQ, UP_MAX_WQE_BYTES},
	{CX_HCA_MAX_WQE_SZ_RQ, UP_MAX_RECV_SGE *CX_OCTWORD_BYTES},
	{CX_HCA_LOG_MAX_CQ, CX_LOG_MAX_CQ},
	{CX_HCA_LOG_MAX_CQ_SZ, CX_LOG_MAX_CQ_SZ},
	{CX_HCA_CQE_VERSION, 1},
	{CX_HCA_CQ_OI, 1},
	{CX_HCA_CQ_RESIZE, 1},
	{CX_HCA_CQ_MODERATION, 1},
	{CX_HCA_LOG_MAX_EQ, CX_LOG_MAX_EQ},
	{CX_HCA_LOG_MAX_EQ_SZ, CX_LOG_MAX_EQ_SZ},
	{CX_HCA_MAX_NUM_EQS, CX_MSIX_VECTORS},
	{CX_HCA_LOG_MAX_SRQ, CX_LOG_MAX_SRQ},
	{CX_HCA_LOG_MAX_SRQ_SZ, CX_LOG_MAX_SRQ_SZ},
	{CX_HCA_LOG_MAX_RMP, CX_LOG_MAX_SRQ},
	{CX_HCA_LOG_MAX_XRCD, CX_LOG_MAX_XRCD},
	{CX_HCA_LOG_MAX_PD, CX_LOG_MAX_PD},
	{CX_HCA_LOG_MAX_UCTX, CX_LOG_MAX_UCTX},
	{CX_HCA_LOG_MAX_UMEM, CX_LOG_MAX_UMEM},
	{CX_HCA_MAX_QP_CNT, CX_MAX_COUNTERS - 1},
	{CX_HCA_OUT_OF_SEQ_CNT, 1},
	{CX_HCA_RETRANSMISSION_Q_COUNTERS, 1},

	/* Memory: registration, invalidation and binding by work request. */
	{CX_HCA_LOG_MAX_MKEY, CX_LOG_MAX_MKEY},
	{CX_HCA_LOG_PG_SZ, CX_PAGE_SHIFT},
	{CX_HCA_LOG_MAX_MRW_SZ, 60},
	{CX_HCA_LOG_MAX_KLM_LIST_SIZE, CX_LOG_MAX_KLM_LIST_SIZE},
	{CX_HCA_MAX_INDIRECTION, UP_MR_MAX_DEPTH},
	{CX_HCA_IMAICL, 1},
	{CX_HCA_FIXED_BUFFER_SIZE, 1},
	{CX_HCA_DUMP_FILL_MKEY, 1},
	{CX_HCA_UMR_FENCE, 2}, /* none is needed: requests are executed one after the other */
	{CX_HCA_UMR_EXTENDED_TRANSLATION_OFFSET, 1},
	{CX_HCA_MAX_SGL_FOR_OPTIMIZED_PERFORMANCE, UP_MAX_RECV_SGE},

	/* The rest. */
	{CX_HCA_MCAM_REG, 1},
	{CX_HCA_UAR_SZ, 5}, /* 1 << n MiB */
	{CX_HCA_LOG_BF_REG_SIZE, 9},
	{CX_HCA_DEVICE_FREQUENCY_KHZ, CX_TIMER_KHZ},
	{CX_HCA_FAST_TEARDOWN, 1},
	{CX_HCA_FORCE_TEARDOWN, 1},
	{CX_HCA_CACHE_LINE_128BYTE, 1},
};

static void fill(uint8_t *caps, const struct setting *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		cx_set(caps, s[i].field, s[i].value);
}

static void fill_atomic(const struct cx_device *dev, uint8_t *caps)
{
	cx_set(caps, CX_ATOMIC_SUPPORTED_REQ_8B_ENDIANNESS_MODE_1, 1);
	cx_set(caps, CX_ATOMIC_REQ_8B_ENDIANNESS_MODE, dev->host_atomics);
	cx_set(caps, CX_ATOMIC_OPERATIONS,
	       CX_ATOMIC_OP_CMP_SWAP | CX_ATOMIC_OP_FETCH_ADD | CX_ATOMIC_OP_MASKED_CMP_SWAP |
		       CX_ATOMIC_OP_MASKED_FETCH_ADD);
	cx_set(caps, CX_ATOMIC_SIZE_QP, CX_ATOMIC_SIZE_8);
}

void cx_caps_reset(struct cx_device *dev)
{
	memset(dev->caps, 0, sizeof(dev->caps));
	fill(dev->caps, general, UP_ARRAY_SIZE(general));
	cx_set(dev->caps, CX_HCA_CACHE_LINE_128BYTE, 0);
	dev->host_atomics = false;
}

enum cx_status cx_query_hca_cap(struct cx_cmd *c)
{
	uint32_t group = c->op_mod >> 1, mode = c->op_mod & 1;
	uint8_t caps[CX_CAP_BYTES] = {0};
	uint32_t room = c->out_len - CX_CAP_AT;

	if (group >= CX_CAP_GROUPS)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	if (group == CX_CAP_GENERAL && mode == CX_CAP_MODE_CUR)
		memcpy(caps, c->dev->caps, sizeof(caps));
	else if (group == CX_CAP_GENERAL)
		fill(caps, general, UP_ARRAY_SIZE(general));
	else if (group == CX_CAP_ATOMIC)
		fill_atomic(c->dev, caps);
	memcpy(c->out + CX_CAP_AT, caps, room < sizeof(caps) ? room : sizeof(caps));
	return CX_OK;
}

static enum cx_status set_general(struct cx_cmd *c, const uint8_t *caps)
{
	uint32_t log_max_qp = cx_get(caps, CX_HCA_LOG_MAX_QP);

	/* UAR pages are 4 KiB, and commands carry no checksums. */
	if (log_max_qp > CX_LOG_MAX_QP || cx_get(caps, CX_HCA_LOG_UAR_PAGE_SZ) ||
	    cx_get(caps, CX_HCA_CMDIF_CHECKSUM))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	cx_set(c->dev->caps, CX_HCA_LOG_MAX_QP, log_max_qp);
	cx_set(c->dev->caps, CX_HCA_CACHE_LINE_128BYTE, cx_get(caps, CX_HCA_CACHE_LINE_128BYTE));
	return CX_OK;
}

enum cx_status cx_set_hca_cap(struct cx_cmd *c)
{
	const uint8_t *caps = c->in + CX_CAP_AT;

	if (c->dev->hca_running)
		return cx_fail(c, CX_BAD_SYS_STATE, CX_WHY_STATE);
	switch (c->op_mod >> 1) {
	case CX_CAP_GENERAL:
		return set_general(c, caps);
	case CX_CAP_ATOMIC:
		c->dev->host_atomics = cx_get(caps, CX_ATOMIC_REQ_8B_ENDIANNESS_MODE) == 1;
		return CX_OK;
	default:
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	}
}
