/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Terms of the InfiniBand specification (volume 1) that the engine and its users share. Values
 * are the engine's own; a device ABI maps them to what its guest expects.
 */
#ifndef UP_ENGINE_TYPES_H
#define UP_ENGINE_TYPES_H

#include <stdbool.h>
#include <stdint.h>

/* Limits of one work request, as the widest device ABI claims them. */
#define UP_MAX_SEND_SGE 64
#define UP_MAX_RECV_SGE 32
#define UP_MAX_WQE_BYTES 1024
#define UP_MAX_MSG_BYTES (1u << 30)
#define UP_MTU_BYTES 4096u /* largest InfiniBand MTU; bounds a datagram */
#define UP_GRH_BYTES 40u
#define UP_MULTICAST_QPN 0xffffffu
#define UP_PKEY_DEFAULT 0xffffu

enum up_qp_type {
	UP_QP_RC,
	UP_QP_UC,
	UP_QP_UD,      /* QP0 and QP1 too, see up_qp.special */
	UP_QP_XRC_INI, /* sends only */
	UP_QP_XRC_TGT, /* receives only, into the XRC SRQ that each message names */
	UP_QP_LOCAL,   /* executes device-local work only (registrations) */
};

/* 10.3.1 of the specification. */
enum up_qp_state {
	UP_QPS_RESET, /* nothing may be posted; counters are zero */
	UP_QPS_INIT,  /* receives may be posted, nothing is executed */
	UP_QPS_RTR,   /* receives are executed */
	UP_QPS_RTS,   /* sends and receives are executed */
	UP_QPS_SQD,   /* receives are executed; a started send is finished, no other begins */
	UP_QPS_SQE,   /* unreliable types: receives are executed, sends are flushed */
	UP_QPS_ERR,   /* everything is flushed */
};

enum up_opcode {
	UP_OP_NOP,
	UP_OP_SEND,
	UP_OP_SEND_IMM,
	UP_OP_SEND_INV,
	UP_OP_WRITE,
	UP_OP_WRITE_IMM,
	UP_OP_READ,
	UP_OP_CMP_SWAP,
	UP_OP_FETCH_ADD,
	UP_OP_MASKED_CMP_SWAP,
	UP_OP_MASKED_FETCH_ADD,
	UP_OP_LOCAL, /* executed by the device: registration, invalidation, bind */
};

/* 11.6.2 of the specification. */
enum up_wc_status {
	UP_WC_SUCCESS,
	UP_WC_LOC_LEN_ERR,
	UP_WC_LOC_QP_OP_ERR,
	UP_WC_LOC_PROT_ERR,
	UP_WC_WR_FLUSH_ERR,
	UP_WC_MW_BIND_ERR,
	UP_WC_BAD_RESP_ERR,
	UP_WC_LOC_ACCESS_ERR,
	UP_WC_REM_INV_REQ_ERR,
	UP_WC_REM_ACCESS_ERR,
	UP_WC_REM_OP_ERR,
	UP_WC_RETRY_EXC_ERR,
	UP_WC_RNR_RETRY_EXC_ERR,
	UP_WC_REM_ABORT_ERR,
};

/* 11.6.3 of the specification. */
enum up_event {
	UP_EV_COMM_EST,
	UP_EV_SQ_DRAINED,
	UP_EV_LAST_WQE, /* the QP of an SRQ will take no further receive */
	UP_EV_SRQ_LIMIT,
	UP_EV_SRQ_ERROR,
	UP_EV_CQ_OVERRUN,
	UP_EV_QP_FATAL,	  /* a queue cannot be read, or a completion not be written */
	UP_EV_QP_REQUEST, /* responder: invalid request */
	UP_EV_QP_ACCESS,  /* responder: access violation */
	UP_EV_PORT_ACTIVE,
	UP_EV_PORT_DOWN,
};

enum up_access {
	UP_ACCESS_LOCAL_READ = 1 << 0,
	UP_ACCESS_LOCAL_WRITE = 1 << 1,
	UP_ACCESS_REMOTE_READ = 1 << 2,
	UP_ACCESS_REMOTE_WRITE = 1 << 3,
	UP_ACCESS_REMOTE_ATOMIC = 1 << 4,
};

struct up_gid {
	uint8_t raw[16];
};

/* Where a message goes. `grh`: the GID counts, as InfiniBand's global route header. */
struct up_av {
	uint16_t dlid;
	uint8_t sl;
	uint8_t path_bits; /* low bits of the source LID */
	bool grh;
	uint8_t sgid_index;
	uint8_t hop_limit;
	uint8_t traffic_class;
	uint32_t flow_label;
	struct up_gid dgid;
};

struct up_sge {
	uint64_t addr;
	uint32_t len;
	uint32_t key;
};

#endif
