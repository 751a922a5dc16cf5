/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ConnectX commands: what a command takes and gives apart from the contexts (abi_ctx.h).
 *
 * Every input begins with the fields CX_IN_*, every output with CX_OUT_*; what the numbers of
 * objects that most commands name are called differs, but not where they stand, which is why one
 * CX_IN_OBJECT and one CX_OUT_OBJECT serve for all. _BYTES is the size of the fixed part, before
 * a list that follows it. Included by abi.h only.
 */
#ifndef UP_CONNECTX_ABI_CMD_H
#define UP_CONNECTX_ABI_CMD_H

/* mlx5_ifc_mbox_in_bits, mlx5_ifc_mbox_out_bits */
enum {
	CX_IN_BYTES = 16, /* the least that a command has */
	CX_IN_OPCODE = CX_FIELD(0x00, 0, 16),
	CX_IN_UID = CX_FIELD(0x00, 16, 16),
	CX_IN_OP_MOD = CX_FIELD(0x04, 16, 16),
	CX_IN_OBJECT = CX_FIELD(0x08, 8, 24), /* qpn, cqn, srqn, rmpn, mkey_index, pd, uar, ... */

	CX_OUT_BYTES = 16,
	CX_OUT_STATUS = CX_FIELD(0x00, 0, 8),
	CX_OUT_SYNDROME = CX_FIELD(0x04, 0, 32),
	CX_OUT_OBJECT = CX_FIELD(0x08, 8, 24),
};

/* MLX5_SHARED_RESOURCE_UID: made by the kernel for all user contexts */
#define CX_SHARED_UID 0xffff

/* mlx5_ifc_create_uctx_in_bits, mlx5_ifc_create_uctx_out_bits, mlx5_ifc_destroy_uctx_in_bits */
enum {
	CX_CREATE_UCTX_IN_BYTES = 64,
	CX_CREATE_UCTX_IN_CAP = CX_FIELD(0x10, 0, 32), /* uctx.cap */
	CX_CREATE_UCTX_OUT_UID = CX_FIELD(0x08, 16, 16),
	CX_DESTROY_UCTX_IN_UID = CX_FIELD(0x08, 16, 16),
};

/* mlx5_ifc_create_umem_in_bits with mlx5_ifc_umem_bits: an offset in bytes, and a list of MTTs */
enum {
	CX_CREATE_UMEM_IN_BYTES = 48,
	CX_CREATE_UMEM_IN_LOG_PAGE_SIZE = CX_FIELD(0x20, 27, 5),
	CX_CREATE_UMEM_IN_PAGE_OFFSET = CX_FIELD(0x24, 0, 32),
	CX_CREATE_UMEM_IN_NUM_OF_MTT = CX_FIELD(0x28, 0, 64),
	CX_CREATE_UMEM_IN_MTT_AT = 0x30,
};

/* mlx5_ifc_query_pages_out_bits */
enum {
	CX_QUERY_PAGES_OUT_BYTES = 16,
	CX_QUERY_PAGES_OUT_NUM_PAGES = CX_FIELD(0x0c, 0, 32),
};

/* mlx5_ifc_manage_pages_in_bits */
enum {
	CX_MANAGE_PAGES_IN_BYTES = 16,
	CX_MANAGE_PAGES_IN_INPUT_NUM_ENTRIES = CX_FIELD(0x0c, 0, 32),
	CX_MANAGE_PAGES_IN_PAS_AT = 0x10,
};

/* mlx5_ifc_manage_pages_out_bits */
enum {
	CX_MANAGE_PAGES_OUT_BYTES = 16,
	CX_MANAGE_PAGES_OUT_OUTPUT_NUM_ENTRIES = CX_FIELD(0x08, 0, 32),
};

/* op_mod of QUERY_PAGES (MLX5_QUERY_PAGES_IN_OP_MOD_*), MANAGE_PAGES (MLX5_PAGES_*) */
enum {
	CX_PAGES_BOOT = 1,
	CX_PAGES_INIT = 2,
	CX_PAGES_REGULAR = 3,
	CX_PAGES_CANT_GIVE = 0,
	CX_PAGES_GIVE = 1,
	CX_PAGES_TAKE = 2,
};

/* mlx5_ifc_query_issi_out_bits */
enum {
	CX_QUERY_ISSI_OUT_BYTES = 112,
	CX_QUERY_ISSI_OUT_CURRENT_ISSI = CX_FIELD(0x08, 16, 16),
	CX_QUERY_ISSI_OUT_SUPPORTED_ISSI_DW0 = CX_FIELD(0x6c, 0, 32),
};

/* mlx5_ifc_set_issi_in_bits */
enum {
	CX_SET_ISSI_IN_CURRENT_ISSI = CX_FIELD(0x08, 16, 16),
};

/* mlx5_ifc_query_adapter_out_bits */
enum {
	CX_QUERY_ADAPTER_OUT_BYTES = 272,
	CX_QUERY_ADAPTER_OUT_IEEE_VENDOR_ID = CX_FIELD(0x28, 8, 24),
	CX_QUERY_ADAPTER_OUT_VSD_VENDOR_ID = CX_FIELD(0x2c, 16, 16),
	CX_QUERY_ADAPTER_OUT_VSD_CONTD_PSID_AT = 0x100, /* 16 bytes */
};

/* mlx5_ifc_teardown_hca_in_bits */
enum {
	CX_TEARDOWN_HCA_IN_PROFILE = CX_FIELD(0x08, 16, 16),
};

/* teardown_hca_in.profile; MLX5_TEARDOWN_HCA_IN_PROFILE_* */
enum {
	CX_TEARDOWN_GRACEFUL = 0,
	CX_TEARDOWN_FORCE = 1,
	CX_TEARDOWN_PREPARE_FAST = 2,
};

/* mlx5_ifc_create_eq_in_bits, mlx5_ifc_query_eq_out_bits; an EQ number is 8 bits wide */
enum {
	CX_CREATE_EQ_IN_BYTES = 272,
	CX_CREATE_EQ_IN_EQC_AT = 0x10,
	CX_CREATE_EQ_IN_EVENT_BITMASK_AT =
		0x58, /* four words of 64 bits, the first for types 0..63 */
	CX_CREATE_EQ_IN_PAS_AT = 0x110,
	CX_EQN = CX_FIELD(0x08, 24, 8), /* of all EQ commands, in and out */
	CX_QUERY_EQ_OUT_BYTES = 272,
	CX_QUERY_EQ_OUT_EQC_AT = 0x10,
	CX_QUERY_EQ_OUT_EVENT_BITMASK_AT = 0x58,
};

/* mlx5_ifc_create_mkey_in_bits, mlx5_ifc_query_mkey_out_bits */
enum {
	CX_CREATE_MKEY_IN_BYTES = 272,
	CX_CREATE_MKEY_IN_MKEY_UMEM_VALID = CX_FIELD(0x0c, 1, 1),
	CX_CREATE_MKEY_IN_MKC_AT = 0x10,
	CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE = CX_FIELD(0x60, 0, 32),
	CX_CREATE_MKEY_IN_MKEY_UMEM_ID = CX_FIELD(0x64, 0, 32),
	CX_CREATE_MKEY_IN_MKEY_UMEM_OFFSET = CX_FIELD(0x68, 0, 64),
	CX_CREATE_MKEY_IN_ENTRIES_AT = 0x110, /* MTTs or KLMs */
	CX_QUERY_MKEY_OUT_MKC_AT = 0x10,
};

/* mlx5_ifc_query_special_contexts_out_bits */
enum {
	CX_QUERY_SPECIAL_CONTEXTS_OUT_DUMP_FILL_MKEY = CX_FIELD(0x08, 0, 32),
	CX_QUERY_SPECIAL_CONTEXTS_OUT_RESD_LKEY = CX_FIELD(0x0c, 0, 32),
};

/* mlx5_ifc_create_cq_in_bits, mlx5_ifc_modify_cq_in_bits, mlx5_ifc_query_cq_out_bits */
enum {
	CX_CREATE_CQ_IN_BYTES = 272,
	CX_CREATE_CQ_IN_CQC_AT = 0x10,
	CX_CREATE_CQ_IN_CQ_UMEM_OFFSET = CX_FIELD(0x50, 0, 64), /* these three: MODIFY_CQ too */
	CX_CREATE_CQ_IN_CQ_UMEM_ID = CX_FIELD(0x58, 0, 32),
	CX_CREATE_CQ_IN_CQ_UMEM_VALID = CX_FIELD(0x5c, 0, 1),
	CX_CREATE_CQ_IN_PAS_AT = 0x110,
	CX_MODIFY_CQ_IN_BYTES = 272,
	CX_MODIFY_CQ_IN_FIELD_SELECT = CX_FIELD(0x0c, 0, 32), /* CX_MODIFY_CQ_* */
	CX_MODIFY_CQ_IN_CQC_AT = 0x10,
	CX_MODIFY_CQ_IN_PAS_AT = 0x110,
	CX_QUERY_CQ_OUT_BYTES = 272,
	CX_QUERY_CQ_OUT_CQC_AT = 0x10,
};

/* MODIFY_CQ: op_mod (MLX5_CQ_OPMOD_RESIZE) and field select (enum of cq.h: MLX5_CQ_MODIFY_*) */
enum {
	CX_MODIFY_CQ_OP_MODIFY = 0,
	CX_MODIFY_CQ_OP_RESIZE = 1,
	CX_MODIFY_CQ_PERIOD = 1 << 0,
	CX_MODIFY_CQ_COUNT = 1 << 1,
	CX_MODIFY_CQ_OVERRUN = 1 << 2,
	CX_MODIFY_CQ_RESIZE_LOG_SIZE = 1 << 0,
	CX_MODIFY_CQ_RESIZE_PAGE_OFFSET = 1 << 1,
	CX_MODIFY_CQ_RESIZE_LOG_PAGE_SIZE = 1 << 2,
};

/*
 * mlx5_ifc_create_qp_in_bits, mlx5_ifc_query_qp_out_bits and the transitions, which all have the
 * layout of mlx5_ifc_rst2init_qp_in_bits but for 2ERR and 2RST, which end after the number.
 */
enum {
	CX_CREATE_QP_IN_BYTES = 272,
	CX_CREATE_QP_IN_WQ_UMEM_OFFSET = CX_FIELD(0x100, 0, 64),
	CX_CREATE_QP_IN_WQ_UMEM_ID = CX_FIELD(0x108, 0, 32),
	CX_CREATE_QP_IN_WQ_UMEM_VALID = CX_FIELD(0x10c, 0, 1),
	CX_CREATE_QP_IN_PAS_AT = 0x110,
	CX_QP_IN_BYTES = 272,
	CX_QP_IN_OPT_PARAM_MASK = CX_FIELD(0x10, 0, 32), /* CX_OPT_* */
	CX_QP_IN_QPC_AT = 0x18,				 /* CREATE_QP too */
	CX_QUERY_QP_OUT_BYTES = 272,
	CX_QUERY_QP_OUT_QPC_AT = 0x18,
};

/* mlx5_ifc_create_srq_in_bits, mlx5_ifc_create_xrc_srq_in_bits, and what queries them */
enum {
	CX_CREATE_SRQ_IN_BYTES = 272,
	CX_CREATE_SRQ_IN_SRQC_AT = 0x10,
	CX_CREATE_XRC_SRQ_IN_XRC_SRQ_UMEM_OFFSET = CX_FIELD(0x50, 0, 64),
	CX_CREATE_XRC_SRQ_IN_XRC_SRQ_UMEM_ID = CX_FIELD(0x58, 0, 32),
	CX_CREATE_XRC_SRQ_IN_XRC_SRQ_UMEM_VALID = CX_FIELD(0x5c, 0, 1),
	CX_CREATE_SRQ_IN_PAS_AT = 0x110,
	CX_QUERY_SRQ_OUT_BYTES = 272,
	CX_QUERY_SRQ_OUT_SRQC_AT = 0x10,
	CX_ARM_SRQ_IN_LWM = CX_FIELD(0x0c, 16, 16), /* ARM_RQ, ARM_XRC_SRQ */
	CX_ARM_SRQ_OP_SRQ = 1,			    /* op_mod of ARM_RQ */
	CX_ARM_SRQ_OP_XRC = 1,			    /* op_mod of ARM_XRC_SRQ */
};

/* mlx5_ifc_create_rmp_in_bits, mlx5_ifc_modify_rmp_in_bits, mlx5_ifc_query_rmp_out_bits */
enum {
	CX_CREATE_RMP_IN_BYTES = 272,
	CX_CREATE_RMP_IN_RMPC_AT = 0x20,
	CX_CREATE_RMP_IN_PAS_AT = 0x110, /* rmpc.wq.pas */
	CX_MODIFY_RMP_IN_BYTES = 272,
	CX_MODIFY_RMP_IN_RMP_STATE = CX_FIELD(0x08, 0, 4),
	CX_MODIFY_RMP_IN_BITMASK_LWM = CX_FIELD(0x14, 31, 1),
	CX_MODIFY_RMP_IN_RMPC_AT = 0x20,
	CX_QUERY_RMP_OUT_BYTES = 272,
	CX_QUERY_RMP_OUT_RMPC_AT = 0x20,
};

/* mlx5_ifc_query_hca_vport_context_in_bits: all vport commands */
enum {
	CX_VPORT_IN_BYTES = 16,
	CX_VPORT_IN_OTHER_VPORT = CX_FIELD(0x08, 0, 1),
	CX_VPORT_IN_PORT_NUM = CX_FIELD(0x08, 12, 4),
	CX_VPORT_IN_INDEX = CX_FIELD(0x0c, 16, 16), /* gid_index, pkey_index */
};

/* mlx5_ifc_query_hca_vport_context_out_bits */
enum {
	CX_QUERY_HCA_VPORT_CONTEXT_OUT_BYTES = 528,
	CX_QUERY_HCA_VPORT_CONTEXT_OUT_HVC_AT = 0x10,
};

/* mlx5_ifc_modify_hca_vport_context_in_bits */
enum {
	CX_MODIFY_HCA_VPORT_CONTEXT_IN_BYTES = 528,
	CX_MODIFY_HCA_VPORT_CONTEXT_IN_HVC_AT = 0x10,
};

/* mlx5_ifc_query_hca_vport_gid_out_bits */
enum {
	CX_QUERY_HCA_VPORT_GID_OUT_BYTES = 16,
	CX_QUERY_HCA_VPORT_GID_OUT_GIDS_NUM = CX_FIELD(0x0c, 0, 16),
	CX_QUERY_HCA_VPORT_GID_OUT_GID_AT = 0x10,
};

/* mlx5_ifc_query_hca_vport_pkey_out_bits */
enum {
	CX_QUERY_HCA_VPORT_PKEY_OUT_BYTES = 16,
	CX_QUERY_HCA_VPORT_PKEY_OUT_PKEY_AT = 0x10, /* words of 32 bits, the key in the low half */
};

/* vport_number or index: the whole table (MLX5_MAX_GIDS and pkey queries of vport.c) */
#define CX_VPORT_INDEX_ALL 0xffffu

/* mlx5_ifc_query_vport_state_out_bits */
enum {
	CX_QUERY_VPORT_STATE_OUT_ADMIN_STATE = CX_FIELD(0x0c, 24, 4),
	CX_QUERY_VPORT_STATE_OUT_STATE = CX_FIELD(0x0c, 28, 4),
};

/* mlx5_ifc_query_lag_out_bits, whose context is mlx5_ifc_lagc_bits */
enum {
	CX_QUERY_LAG_OUT_LAG_STATE = CX_FIELD(0x08, 29, 3),
	CX_LAG_DISABLED = 0,
};

/* mlx5_ifc_query_vport_counter_in_bits */
enum {
	CX_QUERY_VPORT_COUNTER_IN_BYTES = 32,
};

/* mlx5_ifc_query_vport_counter_out_bits */
enum {
	CX_QUERY_VPORT_COUNTER_OUT_BYTES = 528,
	CX_QUERY_VPORT_COUNTER_OUT_RX_UC_PACKETS = CX_FIELD(0x30, 0, 64),
	CX_QUERY_VPORT_COUNTER_OUT_RX_UC_OCTETS = CX_FIELD(0x38, 0, 64),
	CX_QUERY_VPORT_COUNTER_OUT_TX_UC_PACKETS = CX_FIELD(0x40, 0, 64),
	CX_QUERY_VPORT_COUNTER_OUT_TX_UC_OCTETS = CX_FIELD(0x48, 0, 64),
};

/* mlx5_ifc_query_q_counter_in_bits */
enum {
	CX_QUERY_Q_COUNTER_IN_BYTES = 32,
	CX_QUERY_Q_COUNTER_IN_CLEAR = CX_FIELD(0x18, 0, 1),
	CX_QUERY_Q_COUNTER_IN_COUNTER_SET_ID = CX_FIELD(0x1c, 24, 8),
};

/* mlx5_ifc_query_q_counter_out_bits */
enum {
	CX_QUERY_Q_COUNTER_OUT_BYTES = 256,
	CX_QUERY_Q_COUNTER_OUT_RNR_NAK_RETRY_ERR = CX_FIELD(0x48, 0, 32),
};

/* mlx5_ifc_alloc_q_counter_out_bits */
enum {
	CX_ALLOC_Q_COUNTER_OUT_COUNTER_SET_ID = CX_FIELD(0x08, 24, 8),
	CX_DEALLOC_Q_COUNTER_IN_COUNTER_SET_ID = CX_FIELD(0x08, 24, 8),
};

/* mlx5_ifc_attach_to_mcg_in_bits: and mlx5_ifc_detach_from_mcg_in_bits */
enum {
	CX_MCG_IN_BYTES = 32,
	CX_MCG_IN_MULTICAST_GID_AT = 0x10, /* 16 bytes */
};

/* mlx5_ifc_mad_ifc_in_bits */
enum {
	CX_MAD_IFC_IN_BYTES = 272,
	CX_MAD_IFC_IN_PORT = CX_FIELD(0x08, 24, 8),
	CX_MAD_IFC_IN_MAD_AT = 0x10, /* 256 bytes */
};

/* mlx5_ifc_mad_ifc_out_bits */
enum {
	CX_MAD_IFC_OUT_BYTES = 272,
	CX_MAD_IFC_OUT_RESPONSE_MAD_PACKET_AT = 0x10, /* 256 bytes */
};

/* mlx5_ifc_access_register_in_bits: op_mod 0 writes, 1 reads */
enum {
	CX_ACCESS_REG_IN_BYTES = 16,
	CX_ACCESS_REG_IN_REGISTER_ID = CX_FIELD(0x08, 16, 16),
	CX_ACCESS_REG_IN_REGISTER_DATA_AT = 0x10,
};

/* mlx5_ifc_access_register_out_bits */
enum {
	CX_ACCESS_REG_OUT_BYTES = 16,
	CX_ACCESS_REG_OUT_REGISTER_DATA_AT = 0x10,
};

#endif
