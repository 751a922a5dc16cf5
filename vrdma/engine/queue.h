/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queue objects and what passes through them. A device ABI embeds these in its own objects and
 * reads and writes the guest's rings; the engine calls it through struct up_hca_ops (hca.h).
 */
#ifndef UP_ENGINE_QUEUE_H
#define UP_ENGINE_QUEUE_H

#include "base/list.h"
#include "base/lock.h"
#include "engine/types.h"

struct up_hca;
struct up_qp;

/* The ring itself is the device ABI's; `lock` guards it (several QPs and workers may complete). */
struct up_cq {
	struct up_hca *hca;
	uint32_t cqn;
	struct up_lock lock;
	uint32_t users; /* QPs and SRQs that refer to it; a CQ in use is not destroyed */
	bool failed;	/* it lost a completion and takes no further one; set in cq_post */
};

struct up_srq {
	struct up_hca *hca;
	uint32_t srqn;
	uint32_t pdn;
	uint32_t xrcd; /* XRC only */
	bool xrc;
	bool closing;	  /* XRC only: it goes away, no message finds it */
	bool error;	  /* malformed; takes no further message */
	struct up_cq *cq; /* XRC only: where its receives complete */
	struct up_lock lock;
	struct up_list parked; /* struct up_responder.parked of messages under way into it */
	uint32_t users;
};

enum up_wr_flags {
	UP_WR_SIGNALED = 1 << 0,
	UP_WR_SOLICITED = 1 << 1,
	UP_WR_FENCE = 1 << 2,
	UP_WR_INLINE = 1 << 3,
};

/* A send work request, copied out of guest memory once and checked for form. */
struct up_send_wr {
	enum up_opcode op;
	uint32_t flags; /* enum up_wr_flags */
	uint16_t index; /* the device's name for it, carried to the completion */
	uint16_t slots; /* ring slots that it takes */
	uint8_t raw_op; /* the device's opcode, carried to the completion */
	uint32_t imm;	/* immediate data as on the wire, or the key to invalidate */
	uint64_t raddr;
	uint32_t rkey;
	uint64_t swap_add;
	uint64_t compare;
	uint64_t swap_add_mask;
	uint64_t compare_mask;
	uint32_t dest_qpn; /* UD */
	uint32_t dest_qkey;
	uint32_t xrc_srqn;
	struct up_av av; /* UD */
	uint64_t length; /* of the data, all pieces */
	uint32_t nsge;
	/* Without UP_WR_INLINE, bit i: sge[i] is inline data, at data + sge[i].addr; it has no key.
	 */
	uint64_t inline_sges;
	uint32_t raw_len; /* of data[], for UP_OP_LOCAL */
	/* Of what is executed in one go (UP_OP_LOCAL, datagrams), in bytes of the turn's budget. */
	uint64_t cost;
	struct up_sge sge[UP_MAX_SEND_SGE];
	uint8_t data[UP_MAX_WQE_BYTES]; /* inline data (length bytes), or the raw request */
};

/* A receive work request. */
struct up_recv_wr {
	uint16_t index;
	uint32_t nsge;
	uint64_t length;
	struct up_sge sge[UP_MAX_RECV_SGE];
};

enum up_wc_flags {
	UP_WC_RECV = 1 << 0,
	UP_WC_SOLICITED_EVENT = 1 << 1, /* wakes a CQ that is armed for solicited events */
	UP_WC_GRH = 1 << 2,
	UP_WC_SRQ = 1 << 3,
};

struct up_wc {
	const struct up_qp *qp;
	const struct up_srq *srq; /* with UP_WC_SRQ */
	enum up_wc_status status;
	enum up_opcode op; /* the sender's */
	uint8_t raw_op;
	uint32_t flags; /* enum up_wc_flags */
	uint16_t index;
	uint32_t byte_len;
	uint32_t imm;	  /* immediate data or invalidated key */
	uint32_t src_qpn; /* UD */
	uint16_t slid;
	uint8_t sl;
	uint16_t pkey_index;
	bool multicast;
};

#endif
