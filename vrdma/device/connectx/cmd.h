/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands: what cmd.c gives to a handler, and the handlers that it calls, by file.
 *
 * A handler runs on the control thread, with the world running. It looks up what the input names,
 * checks and allocates first, and stops the world only around the change itself. The input is a
 * private copy at least as long as the table in cmd.c says; the output is zeroed, and status and
 * syndrome are filled in from what the handler returns.
 */
#ifndef UP_CONNECTX_CMD_H
#define UP_CONNECTX_CMD_H

#include "device/connectx/abi.h"
#include "device/connectx/connectx.h"

struct cx_cmd {
	struct cx_device *dev;
	uint16_t opcode, op_mod;
	uint16_t uid; /* the user context that it is for; 0: none, the kernel's own */
	bool raw;     /* composed by a process: it has no addresses, but umems */
	const uint8_t *in;
	uint32_t in_len;
	uint8_t *out;
	uint32_t out_len;
	uint32_t syndrome; /* enum cx_reason */
	/*
	 * A handler with much to do does a part, sets `again` and returns CX_OK: it is called once
	 * more when others had their turn. Not so when the device was reset meanwhile. What it
	 * works on and how far it is are its own, zero at first.
	 */
	bool again;
	void *work;
	uint32_t done;
};

typedef enum cx_status cx_handler(struct cx_cmd *c);

/*
 * Why a command failed, finer than the status. Drivers print it as the syndrome; docs/device.md
 * lists the numbers, so they are not reused.
 */
enum cx_reason {
	CX_WHY_UNKNOWN_OPCODE = 1,
	CX_WHY_SHORT_INPUT = 2,
	CX_WHY_SHORT_OUTPUT = 3,
	CX_WHY_NOT_ENABLED = 4,
	CX_WHY_NOT_RUNNING = 5,
	CX_WHY_DEVICE_ERROR = 6,
	CX_WHY_NO_MEMORY = 7,
	CX_WHY_LIST_MEMORY = 8, /* page lists of one device together */
	CX_WHY_PAGE_LIST = 9,	/* too short for the queue, or a page too large */
	CX_WHY_DOORBELL = 10,	/* doorbell record not aligned, or not memory */
	CX_WHY_SIZE = 11,	/* a size beyond the capabilities */
	CX_WHY_TYPE = 12,	/* a type or mode that the device does not have */
	CX_WHY_ATTRIBUTE = 13,	/* a value out of range */
	CX_WHY_NO_PD = 14,
	CX_WHY_NO_UAR = 15,
	CX_WHY_NO_EQ = 16,
	CX_WHY_NO_CQ = 17,
	CX_WHY_NO_SRQ = 18,
	CX_WHY_NO_QP = 19,
	CX_WHY_NO_MKEY = 20,
	CX_WHY_NO_XRCD = 21,
	CX_WHY_NO_COUNTER = 22,
	CX_WHY_IN_USE = 23,
	CX_WHY_TABLE_FULL = 24,
	CX_WHY_STATE = 25,
	CX_WHY_OUTSTANDING = 26, /* more completions than the new ring holds */
	CX_WHY_GROUP = 27,	 /* multicast group */
	CX_WHY_REGISTER = 28,
	CX_WHY_NO_UCTX = 29,
	CX_WHY_OWNER = 30,   /* another user context's, or the kernel's */
	CX_WHY_KERNELS = 31, /* not a command, or not an object, for user contexts */
	CX_WHY_NO_UMEM = 32,
	CX_WHY_UMEM_RANGE = 33, /* beyond the end of the umem */
	CX_WHY_READ_ONLY = 34,	/* the umem is, and the device would write to it */
};

static inline enum cx_status cx_fail(struct cx_cmd *c, enum cx_status status, enum cx_reason why)
{
	c->syndrome = why;
	return status;
}

/* `object` is there; else the reason is set. */
static inline bool cx_found(struct cx_cmd *c, const void *object, enum cx_reason why)
{
	if (!object)
		c->syndrome = why;
	return object;
}

static inline uint32_t cx_cmd_object(const struct cx_cmd *c)
{
	return cx_get(c->in, CX_IN_OBJECT);
}

/* cmd_uctx.c */
cx_handler cx_create_uctx, cx_destroy_uctx;
/* Whether the command's uid exists, and may send such a command. */
enum cx_status cx_uid_check(struct cx_cmd *c, bool for_users);
/* The command may change, destroy or query what `owner` made; else the reason is set. */
bool cx_acts_on(struct cx_cmd *c, uint16_t owner);
/* It may use that for something that it creates; else the reason is set. */
bool cx_refers_to(struct cx_cmd *c, uint16_t owner);
/* An object was created: to be kept in it, until cx_disown() when it goes. */
uint16_t cx_own(struct cx_cmd *c);
void cx_disown(struct cx_device *dev, uint16_t uid);

/* cmd_umem.c */
cx_handler cx_create_umem, cx_destroy_umem;
struct cx_umem {
	uint32_t id;
	uint16_t uid;
	bool writable; /* all of it */
	uint8_t page_shift;
	uint32_t users; /* queues, records and keys in it */
	uint32_t npages;
	uint64_t *pages;
	size_t list_len; /* bytes of pages[] that are there */
	uint64_t offset; /* of the first byte in the first page */
	uint64_t bytes;
};

/* How a command refers to a umem. */
struct cx_umem_use {
	bool valid;
	bool writes; /* the device does, or whoever has the key */
	uint32_t id;
	uint64_t offset;
};

/* CX_OK: *umem has `bytes` from the offset on, and the command may use it so. */
enum cx_status cx_umem_find(struct cx_cmd *c, const struct cx_umem_use *use, uint64_t bytes,
			    struct cx_umem **umem);
/* Where in the guest's memory a byte of the umem's pages is, as counted from the first of them. */
uint64_t cx_umem_address(const struct cx_umem *umem, uint64_t at);
/* One user less; 0: of none. */
void cx_umem_put(struct cx_device *dev, uint32_t id);
/* Frees some of the list. True when nothing of it is left. */
bool cx_umem_shrink(struct up_arena *arena, struct cx_umem *umem);

/*
 * cmd_queue.c: the ring that the page list at `pas_at` of the input describes, or that lies in a
 * umem, as every CREATE of a queue has it. Charged to the device until cx_ring_drop().
 */
struct cx_ring {
	uint8_t log_page_size; /* as in the context */
	uint32_t page_offset;
	uint64_t bytes;
	uint32_t element; /* bytes; no element lies across two pages */
	uint32_t pas_at;
	struct cx_umem_use umem;
};
/* Charges the device for so many entries; they are taken off its list_bytes again. */
enum cx_status cx_list_charge(struct cx_cmd *c, uint32_t npages);
enum cx_status cx_ring_take(struct cx_cmd *c, const struct cx_ring *ring, struct cx_buf *buf);
void cx_ring_drop(struct cx_device *dev, struct cx_buf *buf);
/*
 * A doorbell record: the offset is the address where there is no umem. CX_OK when it is aligned to
 * 8 and memory: then *id, if it is not 0, is for cx_umem_put().
 */
struct cx_record {
	uint32_t bytes;
	struct cx_umem_use umem;
};
enum cx_status cx_dbr_take(struct cx_cmd *c, const struct cx_record *dbr, uint64_t *gpa,
			   uint32_t *id);

/* caps.c */
cx_handler cx_query_hca_cap, cx_set_hca_cap;
void cx_caps_reset(struct cx_device *dev);
enum {
	CX_LOG_MAX_QP = 17,
	CX_LOG_MAX_QP_SZ = 15, /* send blocks of 64 bytes, receives */
	CX_LOG_MAX_CQ = 17,
	CX_LOG_MAX_CQ_SZ = 22,
	CX_LOG_MAX_EQ = 6,
	CX_LOG_MAX_EQ_SZ = 20,
	CX_LOG_MAX_MKEY = 20,
	CX_LOG_MAX_KLM_LIST_SIZE = 16,
	CX_LOG_MAX_PD = 16,
	CX_LOG_MAX_SRQ = 16,
	CX_LOG_MAX_SRQ_SZ = 15,
	CX_LOG_MAX_XRCD = 10,
	CX_LOG_MAX_RD_ATOMIC = 4,
	CX_MAX_COUNTERS = 256, /* their numbers have 8 bits */
	CX_LOG_MAX_UCTX = 13,  /* each has a UAR page at least */
	CX_LOG_MAX_UMEM = 18,
};

/* cmd_hca.c */
cx_handler cx_enable_hca, cx_disable_hca, cx_init_hca, cx_teardown_hca, cx_query_pages,
	cx_manage_pages, cx_query_issi, cx_set_issi, cx_query_adapter, cx_query_special_contexts,
	cx_nop;

/* cmd_res.c: numbers without a context: protection domains, XRC domains, UARs, counters */
cx_handler cx_alloc_pd, cx_dealloc_pd, cx_alloc_xrcd, cx_dealloc_xrcd, cx_alloc_uar, cx_dealloc_uar,
	cx_alloc_q_counter, cx_dealloc_q_counter, cx_query_q_counter;

/* A PD or an XRC domain. Users: QPs, SRQs, processes' keys. What is in use is not deallocated. */
struct cx_number {
	uint16_t uid;
	uint32_t users;
};

/* Sums over QPs that are gone; QPs that live are added when the set is read. */
struct cx_counter {
	struct cx_number base;
	uint64_t rnr;
};

/* What the command may refer to, or NULL, and the reason is set. */
struct cx_number *cx_pd_find(struct cx_cmd *c, uint32_t pdn);
struct cx_number *cx_xrcd_find(struct cx_cmd *c, uint32_t xrcdn);
bool cx_counter_find(struct cx_cmd *c, uint32_t id); /* 0 is none, and good */

/* A QP with this counter set goes away. World stopped. */
void cx_counter_absorb(struct cx_device *dev, const struct cx_qp *qp);

/* cmd_eq.c */
cx_handler cx_create_eq, cx_destroy_eq, cx_query_eq;
void cx_eq_free(struct cx_eq *eq); /* world stopped, no users left */

/* cmd_cq.c */
cx_handler cx_create_cq, cx_destroy_cq, cx_query_cq, cx_modify_cq;
void cx_cq_free(struct cx_cq *cq);
/* The one that the command refers to, or NULL, and the reason is set. */
struct up_cq *cx_cq_find(struct cx_cmd *c, uint32_t cqn);

/* cmd_mkey.c */
cx_handler cx_create_mkey, cx_query_mkey, cx_destroy_mkey;
/* The key of all memory for the kernel's QPs; made by INIT_HCA. 0 or a negative errno. */
int cx_special_mkeys_create(struct cx_device *dev);

/* up_mr.device of a process's key. */
struct cx_user_mkey {
	uint16_t uid;
	uint32_t umem; /* that its pages are of, or 0 */
	uint32_t pdn;
};

/* cmd_srq.c */
cx_handler cx_create_srq, cx_create_xrc_srq, cx_create_rmp, cx_destroy_srq, cx_destroy_xrc_srq,
	cx_destroy_rmp, cx_query_srq, cx_query_xrc_srq, cx_query_rmp, cx_arm_rq, cx_arm_xrc_srq,
	cx_modify_rmp;

/* cmd_qp.c, cmd_qp_modify.c */
cx_handler cx_create_qp, cx_destroy_qp, cx_query_qp, cx_modify_qp, cx_reset_qp, cx_error_qp;
void cx_qp_free(struct cx_qp *qp);
/*
 * What was posted before a command that ends a queue pair goes out before it, within bounds, as
 * from an adapter that begins when the doorbell is rung. False: the handler is to be called again.
 * World stopped.
 */
bool cx_qp_flush(struct cx_cmd *c, struct cx_qp *qp);
/* The one that the input names, which the command acts upon; or NULL, and the reason is set. */
struct cx_qp *cx_qp_get(struct cx_cmd *c);

/* cmd_vport.c */
cx_handler cx_query_vport_state, cx_query_hca_vport_context, cx_modify_hca_vport_context,
	cx_query_hca_vport_gid, cx_query_hca_vport_pkey, cx_query_vport_counter, cx_query_lag;

/* cmd_reg.c */
cx_handler cx_access_reg;

/* cmd_mcg.c */
cx_handler cx_attach_to_mcg, cx_detach_from_mcg, cx_mad_ifc;

/* device.c */
/* INIT_HCA: the port comes up. The world is stopped inside. */
void cx_device_start(struct cx_device *dev);
/* TEARDOWN_HCA: the port goes down, and every object of the guest is destroyed. */
void cx_device_stop(struct cx_device *dev);

#endif
