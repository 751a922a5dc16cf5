/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ConnectX access registers (ACCESS_REG): port and adapter settings. Included by abi.h only.
 */
#ifndef UP_CONNECTX_ABI_REG_H
#define UP_CONNECTX_ABI_REG_H

/* register_id; MLX5_REG_* */
enum {
	CX_REG_PCAP = 0x5001,
	CX_REG_PMTU = 0x5003,
	CX_REG_PTYS = 0x5004,
	CX_REG_PAOS = 0x5006,
	CX_REG_PPCNT = 0x5008,
	CX_REG_PVLC = 0x500f,
	CX_REG_NODE_DESC = 0x6001,
	CX_REG_HOST_ENDIANNESS = 0x7004,
	CX_REG_MCQS = 0x9060,
	CX_REG_MCQI = 0x9061,
	CX_REG_MCAM = 0x907f,
	CX_REG_OP_WRITE = 0, /* op_mod of the command */
	CX_REG_OP_READ = 1,
};

/* mlx5_ifc_pmtu_reg_bits: in bytes */
enum {
	CX_PMTU_BYTES = 16,
	CX_PMTU_LOCAL_PORT = CX_FIELD(0x00, 8, 8),
	CX_PMTU_MAX_MTU = CX_FIELD(0x04, 0, 16),
	CX_PMTU_ADMIN_MTU = CX_FIELD(0x08, 0, 16),
	CX_PMTU_OPER_MTU = CX_FIELD(0x0c, 0, 16),
};

/* mlx5_ifc_ptys_reg_bits */
enum {
	CX_PTYS_BYTES = 64,
	CX_PTYS_PROTO_MASK = CX_FIELD(0x00, 29, 3),
	CX_PTYS_IB_LINK_WIDTH_CAPABILITY = CX_FIELD(0x10, 0, 16),
	CX_PTYS_IB_PROTO_CAPABILITY = CX_FIELD(0x10, 16, 16),
	CX_PTYS_IB_LINK_WIDTH_ADMIN = CX_FIELD(0x1c, 0, 16),
	CX_PTYS_IB_PROTO_ADMIN = CX_FIELD(0x1c, 16, 16),
	CX_PTYS_IB_LINK_WIDTH_OPER = CX_FIELD(0x28, 0, 16),
	CX_PTYS_IB_PROTO_OPER = CX_FIELD(0x28, 16, 16),
};

/* ptys_reg: widths and speeds are bit masks (MLX5_PTYS_WIDTH_*, enum mlx5_ib_ptys speed bits) */
enum {
	CX_PTYS_PROTO_IB = 1 << 0,
	CX_PTYS_WIDTH_1X = 1 << 0,
	CX_PTYS_WIDTH_2X = 1 << 1,
	CX_PTYS_WIDTH_4X = 1 << 2,
	CX_PTYS_SPEED_SDR = 1 << 0,
	CX_PTYS_SPEED_DDR = 1 << 1,
	CX_PTYS_SPEED_QDR = 1 << 2,
	CX_PTYS_SPEED_FDR10 = 1 << 3,
	CX_PTYS_SPEED_FDR = 1 << 4,
	CX_PTYS_SPEED_EDR = 1 << 5,
};

/* mlx5_ifc_pvlc_reg_bits: a value n is lanes 0 to n - 1 */
enum {
	CX_PVLC_BYTES = 16,
	CX_PVLC_VL_HW_CAP = CX_FIELD(0x04, 28, 4),
	CX_PVLC_VL_ADMIN = CX_FIELD(0x08, 28, 4),
	CX_PVLC_VL_OPERATIONAL = CX_FIELD(0x0c, 28, 4),
};

/* mlx5_ifc_paos_reg_bits */
enum {
	CX_PAOS_BYTES = 16,
	CX_PAOS_ADMIN_STATUS = CX_FIELD(0x00, 20, 4),
	CX_PAOS_OPER_STATUS = CX_FIELD(0x00, 28, 4),
};

/* mlx5_ifc_ppcnt_reg_bits */
enum {
	CX_PPCNT_BYTES = 256,
};

/* ppcnt_reg.grp (MLX5_INFINIBAND_PORT_COUNTERS_GROUP, ..._EXTENDED_...): counters begin at 8 */
enum {
	CX_PPCNT_COUNTERS_AT = 0x08,
	CX_PPCNT_GRP_IB = 0x20, /* CX_IBCNT_* */
};

/*
 * mlx5_ifc_mcam_reg_bits: which management registers and features there are, a bit for each. Of the
 * 128 registers of a group, those with the lowest numbers are in the last word.
 */
enum {
	CX_MCAM_BYTES = 72,
	CX_MCAM_FEATURE_GROUP = CX_FIELD(0x00, 8, 8),
	CX_MCAM_ACCESS_REG_GROUP = CX_FIELD(0x00, 24, 8), /* 0: from 0x9000 */
	CX_MCAM_MCQI = CX_FIELD(0x08, 30, 1),
	CX_MCAM_MCQS = CX_FIELD(0x08, 31, 1),
};

/* mlx5_ifc_mcqs_reg_bits: a component of the firmware. Its update state 0 is idle. */
enum {
	CX_MCQS_BYTES = 16,
	CX_MCQS_LAST_INDEX_FLAG = CX_FIELD(0x00, 0, 1),
	CX_MCQS_COMPONENT_INDEX = CX_FIELD(0x00, 16, 16),
	CX_MCQS_IDENTIFIER = CX_FIELD(0x04, 16, 16),
	CX_MCQS_COMPONENT_STATUS = CX_FIELD(0x08, 23, 5),

	CX_MCQS_IDENTIFIER_BOOT_IMG = 1, /* MCQS_IDENTIFIER_BOOT_IMG */
	CX_MCQS_STATUS_PRESENT = 1,
};

/* mlx5_ifc_mcqi_reg_bits, and mlx5_ifc_mcqi_version_bits as its data */
enum {
	CX_MCQI_BYTES = 24, /* without data */
	CX_MCQI_READ_PENDING_COMPONENT = CX_FIELD(0x00, 0, 1),
	CX_MCQI_COMPONENT_INDEX = CX_FIELD(0x00, 16, 16),
	CX_MCQI_INFO_TYPE = CX_FIELD(0x08, 27, 5),
	CX_MCQI_INFO_SIZE = CX_FIELD(0x0c, 0, 32),
	CX_MCQI_OFFSET = CX_FIELD(0x10, 0, 32),
	CX_MCQI_DATA_SIZE = CX_FIELD(0x14, 16, 16),
	CX_MCQI_VERSION = CX_FIELD(0x1c, 0, 32),
	CX_MCQI_VERSION_BYTES = 124,

	CX_MCQI_INFO_TYPE_VERSION = 1, /* MCQI_INFO_TYPE_VERSION */
};

#endif
