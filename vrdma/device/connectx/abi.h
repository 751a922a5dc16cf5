/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ConnectX control interface: initialization segment, command queue, commands and contexts.
 * (WQEs, CQEs and EQEs are in abi_queue.h.)
 *
 * All of it is big endian. A structure is not declared as C bit-fields, whose layout the language
 * leaves open, but as fields: CX_FIELD(word, bit, width) is a number of `width` bits whose first
 * (most significant) bit is bit `bit` of the 32-bit word at byte offset `word`; bit 0 is the most
 * significant. Names are those of the guest driver's include/linux/mlx5/mlx5_ifc.h, in capitals.
 *
 *	state = cx_get(qpc, CX_QPC_STATE);
 *	cx_set(qpc, CX_QPC_STATE, CX_QPS_RTS);
 */
#ifndef UP_CONNECTX_ABI_H
#define UP_CONNECTX_ABI_H

#include "base/bytes.h"

#include <assert.h>

#define CX_FIELD(word, bit, width)                                                                 \
	(((word)*8 + (bit)) << 8 | (width) | CX_IN_WORD((word) % 4 == 0, bit, width))
/* 0, or no constant at all for a field that crosses words. */
#define CX_IN_WORD(aligned, bit, width)                                                            \
	(0 *                                                                                       \
	 (int)sizeof(char[(aligned) && ((bit) + (width) <= 32 || ((bit) == 0 && (width) == 64))    \
				  ? 1                                                              \
				  : -1]))
/* The last field of a structure lies in it. */
#define CX_ENDS(structure, field)                                                                  \
	static_assert(((structure##_##field) >> 8) + ((structure##_##field) & 0xff) <=             \
			      structure##_BYTES * 8,                                               \
		      #structure)

/* A field of at most 32 bits, all in one word. */
static inline uint32_t cx_get(const void *base, uint32_t field)
{
	uint32_t first = field >> 8, width = field & 0xff;
	uint32_t word = up_get_be32((const uint8_t *)base + first / 32 * 4);

	return (word << first % 32) >> (32 - width);
}

static inline void cx_set(void *base, uint32_t field, uint32_t value)
{
	uint32_t first = field >> 8, width = field & 0xff;
	uint8_t *at = (uint8_t *)base + first / 32 * 4;
	uint32_t shift = 32 - first % 32 - width;
	uint32_t mask = 0xffffffffu >> (32 - width) << shift;

	up_put_be32(at, (up_get_be32(at) & ~mask) | (value << shift & mask));
}

/* A field of 64 bits. */
static inline uint64_t cx_get64(const void *base, uint32_t field)
{
	return up_get_be64((const uint8_t *)base + (field >> 11));
}

static inline void cx_set64(void *base, uint32_t field, uint64_t value)
{
	up_put_be64((uint8_t *)base + (field >> 11), value);
}

/*
 * Initialization segment: BAR0 below the MSI-X table. mlx5_ifc_initial_seg_bits, struct
 * mlx5_init_seg. Byte offsets of registers of 32 bits.
 */
enum {
	CX_ISEG_FW_REV = 0x00,		 /* minor << 16 | major */
	CX_ISEG_CMDIF_REV_FW_SUB = 0x04, /* command interface revision << 16 | firmware subminor */
	CX_ISEG_CMDQ_ADDR_H = 0x10,
	CX_ISEG_CMDQ_ADDR_L_SZ = 0x14, /* address, and the fields below */
	CX_ISEG_CMD_DBELL = 0x18,      /* a bit a slot */
	CX_ISEG_INITIALIZING = 0x1fc,
	CX_ISEG_HEALTH = 0x200, /* struct health_buffer, CX_HEALTH_* */
	CX_ISEG_INTERNAL_TIMER_H = 0x1000,
	CX_ISEG_INTERNAL_TIMER_L = 0x1004,
	CX_ISEG_HEALTH_COUNTER = 0x1010, /* 24 bits, must change while the device is well */

	CX_CMDIF_REV = 5,
	CX_FW_REV_MAJOR = 16,
	CX_FW_REV_MINOR = 35,
	CX_FW_REV_SUBMINOR = 1000,
	CX_FW_VERSION = CX_FW_REV_MAJOR << 24 | CX_FW_REV_MINOR << 16 | CX_FW_REV_SUBMINOR,
	CX_TIMER_KHZ = 156250,
};

/* cmdq_addr_l_sz: address 31..12, then these */
#define CX_ISEG_CMDQ_ADDR_L_MASK 0xfffff000u
#define CX_ISEG_NIC_INTERFACE_SHIFT 8 /* 3 bits, CX_NIC_IFC_* */
#define CX_ISEG_NIC_INTERFACE_MASK 7u
#define CX_ISEG_LOG_CMDQ_SIZE_SHIFT 4

/* initializing: bit 31 while the firmware boots; bit 30: a driver may ask for a software reset */
#define CX_ISEG_FW_RESET_SUPPORTED (1u << 30)

/* MLX5_NIC_IFC_* */
enum {
	CX_NIC_IFC_FULL = 0,
	CX_NIC_IFC_DISABLED = 1,
	CX_NIC_IFC_NO_DRAM = 2,
	CX_NIC_IFC_SW_RESET = 7,
};

/* struct health_buffer: byte offsets; all zero is healthy */
enum {
	CX_HEALTH_BYTES = 64,
	CX_HEALTH_FW_VER = 0x30,
	CX_HEALTH_HW_ID = 0x34,
	CX_HEALTH_RFR_SEVERITY = 0x38, /* 8 bits: CX_HEALTH_RFR, then severity */
	CX_HEALTH_SYND = 0x3d,
	CX_HEALTH_RFR = 0x80,		   /* the firmware requests a reset */
	CX_HEALTH_SYND_FW_INTERNAL = 0x01, /* MLX5_HEALTH_SYNDR_FW_ERR */
};

/* Command queue: 32 slots of 64 bytes in one page; struct mlx5_cmd_layout. */
enum {
	CX_CMDQ_LOG_SLOTS = 5,
	CX_CMDQ_LOG_STRIDE = 6,
	CX_CMDQ_SLOTS = 1 << CX_CMDQ_LOG_SLOTS,
	CX_CMDQ_BYTES = 4096,
};

struct cx_cmd_slot {
	uint8_t type; /* CX_CMD_TYPE */
	uint8_t reserved0[3];
	uint8_t inlen[4];  /* of the whole input */
	uint8_t in_ptr[8]; /* mailbox chain with what follows in[] */
	uint8_t in[16];
	uint8_t out[16];
	uint8_t out_ptr[8];
	uint8_t outlen[4];
	uint8_t token;
	uint8_t sig;
	uint8_t reserved1;
	uint8_t status_own; /* delivery status << 1 | owner, 1: the device's */
};
static_assert(sizeof(struct cx_cmd_slot) == 1 << CX_CMDQ_LOG_STRIDE, "mlx5_cmd_layout");
static_assert(offsetof(struct cx_cmd_slot, out_ptr) == 48, "mlx5_cmd_layout");
static_assert(offsetof(struct cx_cmd_slot, status_own) == 63, "mlx5_cmd_layout");

enum {
	CX_CMD_TYPE = 7, /* MLX5_PCI_CMD_XPORT */
	CX_CMD_OWNER_HW = 1,
	CX_CMD_INLINE = 16,
	CX_MBOX_DATA = 512,
};

/* struct mlx5_cmd_prot_block */
struct cx_mailbox {
	uint8_t data[CX_MBOX_DATA];
	uint8_t reserved0[48];
	uint8_t next[8];
	uint8_t block_num[4];
	uint8_t reserved1;
	uint8_t token;
	uint8_t ctrl_sig;
	uint8_t sig;
};
static_assert(sizeof(struct cx_mailbox) == 576, "mlx5_cmd_prot_block");
static_assert(offsetof(struct cx_mailbox, next) == 560, "mlx5_cmd_prot_block");

/* MLX5_CMD_DELIVERY_STAT_*: whether a command arrived */
enum {
	CX_DELIVERY_OK = 0x0,
	CX_DELIVERY_BAD_SIG = 0x1,
	CX_DELIVERY_BAD_TOKEN = 0x2,
	CX_DELIVERY_BAD_BLOCK = 0x3,
	CX_DELIVERY_BAD_OUT_PTR = 0x4,
	CX_DELIVERY_BAD_IN_PTR = 0x5,
	CX_DELIVERY_FW_ERR = 0x6,
	CX_DELIVERY_BAD_IN_LEN = 0x7,
	CX_DELIVERY_BAD_OUT_LEN = 0x8,
	CX_DELIVERY_RES_NOT_CLEAR = 0x9,
	CX_DELIVERY_BAD_DESCR = 0x10,
};

/* MLX5_CMD_STAT_*: how it ended */
enum cx_status {
	CX_OK = 0x00,
	CX_INT_ERR = 0x01,
	CX_BAD_OP = 0x02,
	CX_BAD_PARAM = 0x03,
	CX_BAD_SYS_STATE = 0x04,
	CX_BAD_RES = 0x05,
	CX_RES_BUSY = 0x06,
	CX_LIM_ERR = 0x08,
	CX_BAD_RES_STATE = 0x09,
	CX_BAD_INDEX = 0x0a,
	CX_NO_RES = 0x0f,
	CX_BAD_QP_STATE = 0x10,
	CX_BAD_PKT = 0x30,
	CX_BAD_OUTS_CQES = 0x40,
	CX_BAD_INP_LEN = 0x50,
	CX_BAD_OUTP_LEN = 0x51,
};

/* MLX5_CMD_OP_*: the commands that the device knows */
enum cx_command {
	CX_CMD_QUERY_HCA_CAP = 0x100,
	CX_CMD_QUERY_ADAPTER = 0x101,
	CX_CMD_INIT_HCA = 0x102,
	CX_CMD_TEARDOWN_HCA = 0x103,
	CX_CMD_ENABLE_HCA = 0x104,
	CX_CMD_DISABLE_HCA = 0x105,
	CX_CMD_QUERY_PAGES = 0x107,
	CX_CMD_MANAGE_PAGES = 0x108,
	CX_CMD_SET_HCA_CAP = 0x109,
	CX_CMD_QUERY_ISSI = 0x10a,
	CX_CMD_SET_ISSI = 0x10b,
	CX_CMD_SET_DRIVER_VERSION = 0x10d,

	CX_CMD_CREATE_MKEY = 0x200,
	CX_CMD_QUERY_MKEY = 0x201,
	CX_CMD_DESTROY_MKEY = 0x202,
	CX_CMD_QUERY_SPECIAL_CONTEXTS = 0x203,

	CX_CMD_CREATE_EQ = 0x301,
	CX_CMD_DESTROY_EQ = 0x302,
	CX_CMD_QUERY_EQ = 0x303,

	CX_CMD_CREATE_CQ = 0x400,
	CX_CMD_DESTROY_CQ = 0x401,
	CX_CMD_QUERY_CQ = 0x402,
	CX_CMD_MODIFY_CQ = 0x403,

	CX_CMD_CREATE_QP = 0x500,
	CX_CMD_DESTROY_QP = 0x501,
	CX_CMD_RST2INIT_QP = 0x502,
	CX_CMD_INIT2RTR_QP = 0x503,
	CX_CMD_RTR2RTS_QP = 0x504,
	CX_CMD_RTS2RTS_QP = 0x505,
	CX_CMD_SQERR2RTS_QP = 0x506,
	CX_CMD_2ERR_QP = 0x507,
	CX_CMD_RTS2SQD_QP = 0x508,
	CX_CMD_2RST_QP = 0x50a,
	CX_CMD_QUERY_QP = 0x50b,
	CX_CMD_SQD2RTS_QP = 0x50c,
	CX_CMD_MAD_IFC = 0x50d,
	CX_CMD_INIT2INIT_QP = 0x50e,

	CX_CMD_CREATE_SRQ = 0x700,
	CX_CMD_DESTROY_SRQ = 0x701,
	CX_CMD_QUERY_SRQ = 0x702,
	CX_CMD_ARM_RQ = 0x703,
	CX_CMD_CREATE_XRC_SRQ = 0x705,
	CX_CMD_DESTROY_XRC_SRQ = 0x706,
	CX_CMD_QUERY_XRC_SRQ = 0x707,
	CX_CMD_ARM_XRC_SRQ = 0x708,

	CX_CMD_QUERY_VPORT_STATE = 0x750,
	CX_CMD_QUERY_HCA_VPORT_CONTEXT = 0x762,
	CX_CMD_MODIFY_HCA_VPORT_CONTEXT = 0x763,
	CX_CMD_QUERY_HCA_VPORT_GID = 0x764,
	CX_CMD_QUERY_HCA_VPORT_PKEY = 0x765,
	CX_CMD_QUERY_VPORT_COUNTER = 0x770,
	CX_CMD_ALLOC_Q_COUNTER = 0x771,
	CX_CMD_DEALLOC_Q_COUNTER = 0x772,
	CX_CMD_QUERY_Q_COUNTER = 0x773,

	CX_CMD_ALLOC_PD = 0x800,
	CX_CMD_DEALLOC_PD = 0x801,
	CX_CMD_ALLOC_UAR = 0x802,
	CX_CMD_DEALLOC_UAR = 0x803,
	CX_CMD_ACCESS_REG = 0x805,
	CX_CMD_ATTACH_TO_MCG = 0x806,
	CX_CMD_DETACH_FROM_MCG = 0x807,
	CX_CMD_NOP = 0x80d,
	CX_CMD_ALLOC_XRCD = 0x80e,
	CX_CMD_DEALLOC_XRCD = 0x80f,

	CX_CMD_QUERY_LAG = 0x842,

	CX_CMD_CREATE_RMP = 0x90c,
	CX_CMD_MODIFY_RMP = 0x90d,
	CX_CMD_DESTROY_RMP = 0x90e,
	CX_CMD_QUERY_RMP = 0x90f,

	CX_CMD_CREATE_UCTX = 0xa04,
	CX_CMD_DESTROY_UCTX = 0xa06,
	CX_CMD_CREATE_UMEM = 0xa08,
	CX_CMD_DESTROY_UMEM = 0xa0a,
};

/*
 * Buffers of queues: pages of 1 << (log_page_size + CX_PAGE_SHIFT) bytes; page_offset, where the
 * queue begins in the first one, is in units of a 64th of the page.
 */
#define CX_PAGE_SHIFT 12
#define CX_PAGE_OFFSET_UNITS_SHIFT 6

#include "device/connectx/abi_cap.h"
#include "device/connectx/abi_cmd.h"
#include "device/connectx/abi_ctx.h"
#include "device/connectx/abi_reg.h"

#endif
