/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What guest and device write into the rings in guest memory: segments of send and receive work
 * queue elements (WQE), completion and event queue entries (CQE, EQE), doorbell records, doorbell
 * pages. Each definition names the structure of Linux (include/linux/mlx5) or rdma-core
 * (providers/mlx5) that drivers know it by.
 *
 * Every field of more than a byte is big endian. Bits count from the least significant.
 */
#ifndef UP_CONNECTX_ABI_QUEUE_H
#define UP_CONNECTX_ABI_QUEUE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define CX_PACKED __attribute__((packed))
#define CX_SIZE(type, size) static_assert(sizeof(struct type) == (size), #type)
#define CX_AT(type, field, offset)                                                                 \
	static_assert(offsetof(struct type, field) == (offset), #type "." #field)

/* Doorbell records: words of 32 bits. MLX5_RCV_DBR, MLX5_SND_DBR; set_ci_db, arm_db. */
enum cx_dbr {
	CX_DBR_RECV = 0,   /* QP: receives posted, low 16 bits. SRQ: the only word */
	CX_DBR_SEND = 1,   /* QP: send blocks posted, low 16 bits */
	CX_DBR_CQ_CI = 0,  /* CQ: entries consumed, low 24 bits */
	CX_DBR_CQ_ARM = 1, /* CQ: CX_ARM_* */
};

/* CQ arm record, struct mlx5_core_cq.arm_db: sequence << 28 | command | consumer index. */
#define CX_ARM_CI_MASK 0xffffffu
#define CX_ARM_SOLICITED (1u << 24)
#define CX_ARM_SN_SHIFT 28
#define CX_ARM_SN_MASK 3u
#define CX_ARM_INIT (2u << CX_ARM_SN_SHIFT) /* never armed: MLX5_CQ_INIT_CMD_SN */
#define CX_CQ_CI_MASK 0xffffffu

/* UAR page, 4096 bytes. MLX5_CQ_DOORBELL, MLX5_EQ_DOORBEL_OFFSET, MLX5_BF_OFFSET. */
#define CX_UAR_PAGE_SIZE 4096u
#define CX_UAR_CQ_ARM 0x20u    /* arm record, then CQ number */
#define CX_UAR_EQ_ARM 0x40u    /* EQ number << 24 | consumer index */
#define CX_UAR_EQ_NO_ARM 0x48u /* the same, without arming */
#define CX_EQ_NUMBER_SHIFT 24
#define CX_EQ_CI_MASK 0xffffffu
#define CX_UAR_BF_OFFSET 0x800u /* first 8 bytes of a WQE, at one of CX_UAR_BF_COUNT places */
#define CX_UAR_BF_STRIDE 0x100u
#define CX_UAR_BF_COUNT 4u

/* Send WQEs: blocks of 64 bytes (MLX5_SEND_WQE_BB) holding segments in units of 16. */
#define CX_WQE_BB 64u
#define CX_WQE_BB_SHIFT 6u
#define CX_WQE_DS 16u

/* MLX5_OPCODE_* */
enum cx_opcode {
	CX_OP_NOP = 0x00,
	CX_OP_SEND_INVAL = 0x01,
	CX_OP_RDMA_WRITE = 0x08,
	CX_OP_RDMA_WRITE_IMM = 0x09,
	CX_OP_SEND = 0x0a,
	CX_OP_SEND_IMM = 0x0b,
	CX_OP_TSO = 0x0e,
	CX_OP_RDMA_READ = 0x10,
	CX_OP_ATOMIC_CS = 0x11,
	CX_OP_ATOMIC_FA = 0x12,
	CX_OP_ATOMIC_MASKED_CS = 0x14,
	CX_OP_ATOMIC_MASKED_FA = 0x15,
	CX_OP_BIND_MW = 0x18,
	CX_OP_SET_PSV = 0x20,
	CX_OP_GET_PSV = 0x21,
	CX_OP_CHECK_PSV = 0x22,
	CX_OP_UMR = 0x25,
};

/* struct mlx5_wqe_ctrl_seg */
struct cx_wqe_ctrl {
	uint32_t opmod_idx_opcode; /* opmod << 24 | WQE index << 8 | opcode */
	uint32_t qpn_ds;	   /* QP number << 8 | segments of 16 bytes, this one included */
	uint8_t signature;
	uint8_t reserved[2];
	uint8_t fm_ce_se; /* CX_CTRL_* */
	uint32_t imm;	  /* immediate data as is; key to invalidate; umr_mkey */
} CX_PACKED;
CX_SIZE(cx_wqe_ctrl, 16);
CX_AT(cx_wqe_ctrl, fm_ce_se, 11);
CX_AT(cx_wqe_ctrl, imm, 12);

#define CX_CTRL_DS_MASK 0x3fu
#define CX_CTRL_QPN_SHIFT 8
#define CX_CTRL_SOLICITED 0x02u
#define CX_CTRL_CE_MASK 0x0cu	 /* MLX5_WQE_CTRL_CQ_UPDATE is 2 << 2 */
#define CX_CTRL_CE_CQE 0x08u	 /* report the completion; 0 only errors */
#define CX_CTRL_CE_CQE_EQE 0x0cu /* MLX5_WQE_CTRL_CQ_UPDATE_AND_EQE */
#define CX_CTRL_FENCE_MASK 0xe0u /* MLX5_FENCE_MODE_* */
#define CX_CTRL_FENCE_NONE 0x00u
#define CX_CTRL_FENCE_SMALL 0x20u /* after local operations before it */
#define CX_CTRL_FENCE_FENCE 0x40u /* after reads and atomics before it */
#define CX_CTRL_FENCE_STRONG 0x60u
#define CX_CTRL_FENCE_SMALL_FENCE 0x80u /* both; what rdma-core sets */

/*
 * opmod of masked atomics: 0 is 8 bytes; bit 3 chooses extended atomics, whose operand has
 * 4 << (opmod & 7) bytes.
 */
#define CX_OPMOD_EXT_ATOMIC 0x08u
#define CX_OPMOD_ATOMIC_8 0x01u

/* struct mlx5_wqe_raddr_seg */
struct cx_wqe_raddr {
	uint64_t raddr;
	uint32_t rkey;
	uint32_t reserved;
} CX_PACKED;
CX_SIZE(cx_wqe_raddr, 16);

/*
 * struct mlx5_wqe_atomic_seg. Compare and swap: swap and compare; fetch and add: add and zero;
 * masked fetch and add: add and field boundary.
 */
struct cx_wqe_atomic {
	uint64_t swap_add;
	uint64_t compare;
} CX_PACKED;
CX_SIZE(cx_wqe_atomic, 16);

/* struct mlx5_wqe_masked_atomic_seg: masked compare and swap, 8 bytes. */
struct cx_wqe_masked_atomic {
	uint64_t swap_add;
	uint64_t compare;
	uint64_t swap_add_mask;
	uint64_t compare_mask;
} CX_PACKED;
CX_SIZE(cx_wqe_masked_atomic, 32);

/*
 * struct mlx5_wqe_av, struct mlx5_av: the datagram segment. Without CX_AV_EXTENDED only the first
 * 16 bytes (struct mlx5_base_av) are there.
 */
struct cx_wqe_av {
	uint32_t qkey;
	uint32_t reserved;
	uint32_t dqp;	      /* CX_AV_EXTENDED | QP number */
	uint8_t stat_rate_sl; /* rate << 4 | service level */
	uint8_t fl_mlid;      /* force loopback << 7 | path bits of the source LID */
	uint16_t rlid;
	uint8_t reserved0[4];
	uint8_t rmac[6];
	uint8_t tclass;
	uint8_t hop_limit;
	uint32_t grh_gid_fl; /* CX_AV_GRH | source GID index << 20 | flow label */
	uint8_t rgid[16];
} CX_PACKED;
CX_SIZE(cx_wqe_av, 48);
CX_AT(cx_wqe_av, rlid, 14);
CX_AT(cx_wqe_av, tclass, 26);
CX_AT(cx_wqe_av, rgid, 32);

#define CX_AV_BASE_SIZE 16u
#define CX_AV_EXTENDED (1u << 31) /* MLX5_EXTENDED_UD_AV */
#define CX_AV_GRH (1u << 30)
#define CX_AV_SGID_SHIFT 20
#define CX_AV_FLOW_MASK 0xfffffu

/* struct mlx5_wqe_xrc_seg */
struct cx_wqe_xrc {
	uint32_t srqn;
	uint8_t reserved[12];
} CX_PACKED;
CX_SIZE(cx_wqe_xrc, 16);

/* struct mlx5_wqe_data_seg: an element of a gather or scatter list. */
struct cx_wqe_data {
	uint32_t byte_count; /* in a send WQE CX_INLINE tells an inline segment */
	uint32_t lkey;
	uint64_t addr;
} CX_PACKED;
CX_SIZE(cx_wqe_data, 16);

#define CX_INVALID_LKEY 0x100u /* MLX5_INVALID_LKEY: ends a scatter list */

/*
 * struct mlx5_wqe_inline_seg: this word, then the data, padded to 16 bytes in all.
 * MLX5_INLINE_SEG, MLX5_WQE_INLINE_SEG_BYTE_COUNT_MASK.
 */
#define CX_INLINE (1u << 31)
#define CX_INLINE_MASK 0x3ffu

/* struct mlx5_wqe_srq_next_seg: heads an element of a shared receive queue. */
struct cx_wqe_srq_next {
	uint8_t reserved0[2];
	uint16_t next_wqe_index;
	uint8_t signature;
	uint8_t reserved1[11];
} CX_PACKED;
CX_SIZE(cx_wqe_srq_next, 16);
CX_AT(cx_wqe_srq_next, next_wqe_index, 2);

/* struct mlx5_wqe_umr_ctrl_seg: change of a memory key by work request. */
struct cx_wqe_umr_ctrl {
	uint8_t flags; /* CX_UMR_* */
	uint8_t reserved0[3];
	uint16_t xlt_octowords; /* entries to write, in 16 bytes */
	uint16_t xlt_offset;	/* where, in 16 bytes; bsf_octowords without TRANSLATION_OFFSET */
	uint64_t mkey_mask;	/* CX_MKEY_MASK_*: the fields of the mkey segment that count */
	uint32_t xlt_offset_47_16;
	uint8_t reserved1[28];
} CX_PACKED;
CX_SIZE(cx_wqe_umr_ctrl, 48);
CX_AT(cx_wqe_umr_ctrl, mkey_mask, 8);
CX_AT(cx_wqe_umr_ctrl, xlt_offset_47_16, 16);

/* MLX5_UMR_*, MLX5_WQE_UMR_CTRL_FLAG_* */
#define CX_UMR_CHECK_QPN 0x08u
#define CX_UMR_TRANSLATION_OFFSET 0x10u
#define CX_UMR_CHECK_NOT_FREE 0x20u /* as the kernel names it: fails unless the key is free */
#define CX_UMR_CHECK_FREE 0x40u	    /* fails if the key is free */
#define CX_UMR_INLINE 0x80u

/* MLX5_MKEY_MASK_* */
#define CX_MKEY_MASK_LEN (1ull << 0)
#define CX_MKEY_MASK_PAGE_SIZE (1ull << 1)
#define CX_MKEY_MASK_START_ADDR (1ull << 6)
#define CX_MKEY_MASK_PD (1ull << 7)
#define CX_MKEY_MASK_EN_RINVAL (1ull << 8)
#define CX_MKEY_MASK_EN_SIGERR (1ull << 9)
#define CX_MKEY_MASK_BSF_EN (1ull << 12)
#define CX_MKEY_MASK_KEY (1ull << 13)
#define CX_MKEY_MASK_QPN (1ull << 14)
#define CX_MKEY_MASK_LR (1ull << 17)
#define CX_MKEY_MASK_LW (1ull << 18)
#define CX_MKEY_MASK_RR (1ull << 19)
#define CX_MKEY_MASK_RW (1ull << 20)
#define CX_MKEY_MASK_A (1ull << 21)
#define CX_MKEY_MASK_SMALL_FENCE (1ull << 23)
#define CX_MKEY_MASK_RELAXED_WRITE (1ull << 25)
#define CX_MKEY_MASK_FREE (1ull << 29)
#define CX_MKEY_MASK_RELAXED_READ (1ull << 47)

/* struct mlx5_mkey_seg, struct mlx5_ifc_mkc_bits, struct mlx5_wqe_mkey_context_seg */
struct cx_mkey_seg {
	uint8_t status; /* CX_MKEY_FREE */
	uint8_t reserved0;
	uint8_t flags; /* CX_MKEY_UMR_EN.. | access mode 1:0 */
	uint8_t ma_mode;
	uint32_t qpn_mkey7_0; /* QP number << 8 | variant */
	uint32_t reserved1;
	uint32_t flags_pd; /* CX_MKEY_LENGTH64.. | PD */
	uint64_t start_addr;
	uint64_t len;
	uint32_t bsfs_octo_size;
	uint8_t reserved2[16];
	uint32_t xlt_oct_size; /* translations_octword_size */
	uint8_t reserved3[3];
	uint8_t log2_page_size; /* low 5 bits */
	uint32_t reserved4;
} CX_PACKED;
CX_SIZE(cx_mkey_seg, 64);
CX_AT(cx_mkey_seg, start_addr, 16);
CX_AT(cx_mkey_seg, xlt_oct_size, 52);
CX_AT(cx_mkey_seg, log2_page_size, 59);

#define CX_MKEY_FREE 0x40u		  /* in status */
#define CX_MKEY_ACCESS_MODE_HI_MASK 0x1cu /* in status: access mode 4:2 */
/* In flags: MLX5_PERM_* */
#define CX_MKEY_UMR_EN 0x80u
#define CX_MKEY_A 0x40u
#define CX_MKEY_RW 0x20u
#define CX_MKEY_RR 0x10u
#define CX_MKEY_LW 0x08u
#define CX_MKEY_LR 0x04u
#define CX_MKEY_ACCESS_MODE_MASK 0x03u
/* In flags_pd: MLX5_MKEY_LEN64, MLX5_MKEY_BSF_EN, MLX5_MKEY_REMOTE_INVAL */
#define CX_MKEY_LENGTH64 (1u << 31)
#define CX_MKEY_BSF_EN (1u << 30)
#define CX_MKEY_REMOTE_INVAL (1u << 24)
#define CX_MKEY_PD_MASK 0xffffffu

/* Of a page's entry, struct mlx5_mtt, beside its address. */
#define CX_MTT_READ 1u
#define CX_MTT_WRITE 2u
#define CX_MTT_PRESENT (CX_MTT_READ | CX_MTT_WRITE)

/* struct mlx5_klm, struct mlx5_ksm (where bcount means nothing: all have the page size). */
struct cx_klm {
	uint32_t bcount;
	uint32_t key;
	uint64_t va;
} CX_PACKED;
CX_SIZE(cx_klm, 16);

/*
 * struct mlx5_wqe_umr_repeat_block_seg, struct mlx5_wqe_umr_repeat_ent_seg: an interleaved list,
 * which an entry of this kind begins; its op stands where a klm has its key.
 */
struct cx_klm_repeat {
	uint32_t bcount; /* of a round */
	uint32_t op;	 /* CX_KLM_REPEAT */
	uint32_t rounds;
	uint16_t reserved;
	uint16_t count; /* of entries */
} CX_PACKED;
CX_SIZE(cx_klm_repeat, 16);
struct cx_klm_strided {
	uint16_t stride;
	uint16_t bcount;
	uint32_t key;
	uint64_t va;
} CX_PACKED;
CX_SIZE(cx_klm_strided, 16);

#define CX_KLM_REPEAT 0x400u /* no key: FIRST_MR is above it */

#define CX_XLT_OCTOWORD 16u
#define CX_XLT_ALIGN 64u /* MLX5_UMR_MTT_ALIGNMENT */

/* struct mlx5_cqe64, struct mlx5_err_cqe. A CQE of 128 bytes has this at offset 64. */
struct cx_cqe64 {
	uint8_t reserved0[2];
	uint16_t wqe_id;
	uint8_t reserved4[13];
	uint8_t ml_path;
	uint8_t reserved18[4];
	uint16_t slid;
	uint32_t flags_rqpn; /* CX_CQE_GRH.. << 28 | service level << 24 | source QP number */
	uint8_t hds_ip_ext;
	uint8_t l4_hdr_type;
	uint16_t vlan_info;
	uint32_t srqn_uidx;
	uint32_t imm_inval_pkey;
	uint8_t app;
	uint8_t app_op;
	uint16_t app_info;
	uint32_t byte_cnt;
	uint64_t timestamp;
	uint32_t sop_drop_qpn; /* send opcode << 24 | QP number */
	uint16_t wqe_counter;
	uint8_t signature;
	uint8_t op_own; /* opcode << 4 | format << 2 | solicited << 1 | owner */
} CX_PACKED;
CX_SIZE(cx_cqe64, 64);
CX_AT(cx_cqe64, ml_path, 17);
CX_AT(cx_cqe64, slid, 22);
CX_AT(cx_cqe64, srqn_uidx, 32);
CX_AT(cx_cqe64, imm_inval_pkey, 36);
CX_AT(cx_cqe64, byte_cnt, 44);
CX_AT(cx_cqe64, timestamp, 48);
CX_AT(cx_cqe64, sop_drop_qpn, 56);
CX_AT(cx_cqe64, wqe_counter, 60);
CX_AT(cx_cqe64, op_own, 63);

struct cx_err_cqe {
	uint8_t reserved0[32];
	uint32_t srqn_uidx;
	uint8_t reserved36[18];
	uint8_t vendor_err_synd;
	uint8_t syndrome; /* enum cx_syndrome */
	uint32_t s_wqe_opcode_qpn;
	uint16_t wqe_counter;
	uint8_t signature;
	uint8_t op_own;
} CX_PACKED;
CX_SIZE(cx_err_cqe, 64);
CX_AT(cx_err_cqe, vendor_err_synd, 54);
CX_AT(cx_err_cqe, syndrome, 55);
CX_AT(cx_err_cqe, s_wqe_opcode_qpn, 56);

/* A user index that says: CQEs of version 0 (MLX5_IB_DEFAULT_UIDX). */
#define CX_NO_USER_INDEX 0xffffffu

#define CX_CQE_OWNER 0x01u
#define CX_CQE_SOLICITED 0x02u
#define CX_CQE_OPCODE_SHIFT 4
#define CX_CQE_GRH_SHIFT 28
#define CX_CQE_GRH_IN_BUFFER 1u /* MLX5_GRH_IN_BUFFER */
#define CX_CQE_SL_SHIFT 24

/* MLX5_CQE_* */
enum cx_cqe_opcode {
	CX_CQE_REQ = 0,
	CX_CQE_RESP_WR_IMM = 1,
	CX_CQE_RESP_SEND = 2,
	CX_CQE_RESP_SEND_IMM = 3,
	CX_CQE_RESP_SEND_INV = 4,
	CX_CQE_RESIZE_CQ = 5,
	CX_CQE_REQ_ERR = 13,
	CX_CQE_RESP_ERR = 14,
	CX_CQE_INVALID = 15,
};

/* MLX5_CQE_SYNDROME_* */
enum cx_syndrome {
	CX_SYND_LOCAL_LENGTH = 0x01,
	CX_SYND_LOCAL_QP_OP = 0x02,
	CX_SYND_LOCAL_PROT = 0x04,
	CX_SYND_WR_FLUSH = 0x05,
	CX_SYND_MW_BIND = 0x06,
	CX_SYND_BAD_RESP = 0x10,
	CX_SYND_LOCAL_ACCESS = 0x11,
	CX_SYND_REMOTE_INVAL_REQ = 0x12,
	CX_SYND_REMOTE_ACCESS = 0x13,
	CX_SYND_REMOTE_OP = 0x14,
	CX_SYND_TRANSPORT_RETRY = 0x15,
	CX_SYND_RNR_RETRY = 0x16,
	CX_SYND_REMOTE_ABORTED = 0x22,
};

/* struct mlx5_eqe */
struct cx_eqe {
	uint8_t reserved0;
	uint8_t type; /* enum cx_event_type */
	uint8_t reserved2;
	uint8_t sub_type;
	uint8_t reserved4[28];
	uint8_t data[28]; /* one of struct cx_eqe_* */
	uint16_t reserved60;
	uint8_t signature;
	uint8_t owner; /* low bit of the wrap count */
} CX_PACKED;
CX_SIZE(cx_eqe, 64);
CX_AT(cx_eqe, data, 32);
CX_AT(cx_eqe, owner, 63);

#define CX_EQE_DATA_SIZE 28u

/* MLX5_EVENT_TYPE_* */
enum cx_event_type {
	CX_EVENT_COMP = 0x00,
	CX_EVENT_PATH_MIG = 0x01,
	CX_EVENT_COMM_EST = 0x02,
	CX_EVENT_SQ_DRAINED = 0x03,
	CX_EVENT_CQ_ERROR = 0x04,
	CX_EVENT_WQ_CATAS_ERROR = 0x05,
	CX_EVENT_PATH_MIG_FAILED = 0x07,
	CX_EVENT_INTERNAL_ERROR = 0x08,
	CX_EVENT_PORT_CHANGE = 0x09,
	CX_EVENT_CMD = 0x0a,
	CX_EVENT_PAGE_REQUEST = 0x0b,
	CX_EVENT_WQ_INVAL_REQ_ERROR = 0x10,
	CX_EVENT_WQ_ACCESS_ERROR = 0x11,
	CX_EVENT_SRQ_CATAS_ERROR = 0x12,
	CX_EVENT_SRQ_LAST_WQE = 0x13,
	CX_EVENT_SRQ_RQ_LIMIT = 0x14,
};

/* MLX5_PORT_CHANGE_SUBTYPE_* */
enum cx_port_change {
	CX_PORT_DOWN = 1,
	CX_PORT_ACTIVE = 4,
	CX_PORT_INITIALIZED = 5,
	CX_PORT_LID = 6,
	CX_PORT_PKEY = 7,
	CX_PORT_GUID = 8,
	CX_PORT_CLIENT_REREG = 9,
};

/* struct mlx5_eqe_comp */
struct cx_eqe_comp {
	uint32_t reserved[6];
	uint32_t cqn;
} CX_PACKED;
CX_SIZE(cx_eqe_comp, CX_EQE_DATA_SIZE);

/* struct mlx5_eqe_qp_srq */
struct cx_eqe_qp_srq {
	uint32_t reserved0[5];
	uint8_t type; /* enum cx_event_queue; only with QP events */
	uint8_t reserved21[3];
	uint32_t qp_srq_n;
} CX_PACKED;
CX_SIZE(cx_eqe_qp_srq, CX_EQE_DATA_SIZE);

/* MLX5_EVENT_QUEUE_TYPE_* */
enum cx_event_queue {
	CX_EVENT_QUEUE_QP = 0,
	CX_EVENT_QUEUE_RQ = 1,
	CX_EVENT_QUEUE_SQ = 2,
};

/* struct mlx5_eqe_cq_err */
struct cx_eqe_cq_err {
	uint32_t cqn;
	uint8_t reserved4[7];
	uint8_t syndrome; /* enum cx_cq_error */
	uint8_t reserved12[16];
} CX_PACKED;
CX_SIZE(cx_eqe_cq_err, CX_EQE_DATA_SIZE);
CX_AT(cx_eqe_cq_err, syndrome, 11);

enum cx_cq_error {
	CX_CQ_ERROR_OVERRUN = 1,
	CX_CQ_ERROR_ACCESS = 2,
};

/* struct mlx5_eqe_port_state */
struct cx_eqe_port {
	uint8_t reserved0[8];
	uint8_t port; /* number << 4 */
	uint8_t reserved9[19];
} CX_PACKED;
CX_SIZE(cx_eqe_port, CX_EQE_DATA_SIZE);

/* struct mlx5_eqe_cmd */
struct cx_eqe_cmd {
	uint32_t vector; /* a bit a command slot */
	uint32_t reserved[6];
} CX_PACKED;
CX_SIZE(cx_eqe_cmd, CX_EQE_DATA_SIZE);

/* struct mlx5_eqe_page_req */
struct cx_eqe_page_req {
	uint16_t ec_function;
	uint16_t func_id;
	uint32_t num_pages; /* signed: negative asks the driver to take pages back */
	uint32_t reserved[5];
} CX_PACKED;
CX_SIZE(cx_eqe_page_req, CX_EQE_DATA_SIZE);

#endif
