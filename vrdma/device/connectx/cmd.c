/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command queue: fetches commands from guest memory, hands them to their handlers, and returns
 * what those answer.
 *
 * Slots and mailboxes are the guest's and may change under our hands: each part is copied once,
 * and only the copies count. Work is bounded: by the length of a command, and in time by
 * BUDGET_NS, after which what is left waits for the next turn of the event loop, in the middle of a
 * long command too. A device executes one command at a time.
 */
#include "device/connectx/cmd.h"

#include "base/clock.h"
#include "base/log.h"
#include "device/connectx/abi_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_IN (40u << 20) /* a page list of 5 M entries */
#define MAX_OUT (64u << 10)
#define SMALL 1024
#define BUDGET_NS 500000 /* what a register access may have to wait for */
#define STEP_BOXES 512	 /* mailboxes between two looks at the clock: tens of microseconds */

/* What must have happened before a command. */
enum phase {
	ALWAYS,
	ENABLED, /* ENABLE_HCA */
	RUNNING, /* INIT_HCA */
};

struct command {
	uint16_t opcode;
	uint16_t in_len, out_len; /* at least */
	enum phase phase;
	bool user; /* may be sent for a user context */
	cx_handler *handler;
	const char *name;
};

#define ROW(user, op, phase, in, out, handler)                                                     \
	{                                                                                          \
		CX_CMD_##op, in, out, phase, user, handler, #op                                    \
	}
#define COMMAND(...) ROW(false, __VA_ARGS__)
#define USER_COMMAND(...) ROW(true, __VA_ARGS__)

/* Sorted by opcode. */
static const struct command commands[] = {
	USER_COMMAND(QUERY_HCA_CAP, ENABLED, CX_IN_BYTES, CX_OUT_BYTES, cx_query_hca_cap),
	USER_COMMAND(QUERY_ADAPTER, ENABLED, CX_IN_BYTES, CX_QUERY_ADAPTER_OUT_BYTES,
		     cx_query_adapter),
	COMMAND(INIT_HCA, ENABLED, CX_IN_BYTES, CX_OUT_BYTES, cx_init_hca),
	COMMAND(TEARDOWN_HCA, ALWAYS, CX_IN_BYTES, CX_OUT_BYTES, cx_teardown_hca),
	COMMAND(ENABLE_HCA, ALWAYS, CX_IN_BYTES, CX_OUT_BYTES, cx_enable_hca),
	COMMAND(DISABLE_HCA, ALWAYS, CX_IN_BYTES, CX_OUT_BYTES, cx_disable_hca),
	COMMAND(QUERY_PAGES, ALWAYS, CX_IN_BYTES, CX_OUT_BYTES, cx_query_pages),
	COMMAND(MANAGE_PAGES, ALWAYS, CX_IN_BYTES, CX_OUT_BYTES, cx_manage_pages),
	COMMAND(SET_HCA_CAP, ENABLED, CX_CAP_AT + CX_CAP_BYTES, CX_OUT_BYTES, cx_set_hca_cap),
	USER_COMMAND(QUERY_ISSI, ENABLED, CX_IN_BYTES, CX_QUERY_ISSI_OUT_BYTES, cx_query_issi),
	COMMAND(SET_ISSI, ENABLED, CX_IN_BYTES, CX_OUT_BYTES, cx_set_issi),

	USER_COMMAND(CREATE_MKEY, RUNNING, CX_CREATE_MKEY_IN_BYTES, CX_OUT_BYTES, cx_create_mkey),
	USER_COMMAND(QUERY_MKEY, RUNNING, CX_IN_BYTES, CX_QUERY_MKEY_OUT_MKC_AT + CX_MKC_BYTES,
		     cx_query_mkey),
	USER_COMMAND(DESTROY_MKEY, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_destroy_mkey),
	COMMAND(QUERY_SPECIAL_CONTEXTS, RUNNING, CX_IN_BYTES, CX_OUT_BYTES,
		cx_query_special_contexts),

	COMMAND(CREATE_EQ, RUNNING, CX_CREATE_EQ_IN_BYTES, CX_OUT_BYTES, cx_create_eq),
	COMMAND(DESTROY_EQ, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_destroy_eq),
	COMMAND(QUERY_EQ, RUNNING, CX_IN_BYTES, CX_QUERY_EQ_OUT_BYTES, cx_query_eq),

	USER_COMMAND(CREATE_CQ, RUNNING, CX_CREATE_CQ_IN_BYTES, CX_OUT_BYTES, cx_create_cq),
	USER_COMMAND(DESTROY_CQ, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_destroy_cq),
	USER_COMMAND(QUERY_CQ, RUNNING, CX_IN_BYTES, CX_QUERY_CQ_OUT_CQC_AT + CX_CQC_BYTES,
		     cx_query_cq),
	USER_COMMAND(MODIFY_CQ, RUNNING, CX_MODIFY_CQ_IN_BYTES, CX_OUT_BYTES, cx_modify_cq),

	USER_COMMAND(CREATE_QP, RUNNING, CX_CREATE_QP_IN_BYTES, CX_OUT_BYTES, cx_create_qp),
	USER_COMMAND(DESTROY_QP, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_destroy_qp),
	USER_COMMAND(RST2INIT_QP, RUNNING, CX_QP_IN_BYTES, CX_OUT_BYTES, cx_modify_qp),
	USER_COMMAND(INIT2RTR_QP, RUNNING, CX_QP_IN_BYTES, CX_OUT_BYTES, cx_modify_qp),
	USER_COMMAND(RTR2RTS_QP, RUNNING, CX_QP_IN_BYTES, CX_OUT_BYTES, cx_modify_qp),
	USER_COMMAND(RTS2RTS_QP, RUNNING, CX_QP_IN_BYTES, CX_OUT_BYTES, cx_modify_qp),
	USER_COMMAND(SQERR2RTS_QP, RUNNING, CX_QP_IN_BYTES, CX_OUT_BYTES, cx_modify_qp),
	USER_COMMAND(2ERR_QP, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_error_qp),
	USER_COMMAND(RTS2SQD_QP, RUNNING, CX_QP_IN_BYTES, CX_OUT_BYTES, cx_modify_qp),
	USER_COMMAND(2RST_QP, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_reset_qp),
	USER_COMMAND(QUERY_QP, RUNNING, CX_IN_BYTES, CX_QUERY_QP_OUT_QPC_AT + CX_QPC_BYTES,
		     cx_query_qp),
	USER_COMMAND(SQD2RTS_QP, RUNNING, CX_QP_IN_BYTES, CX_OUT_BYTES, cx_modify_qp),
	COMMAND(MAD_IFC, RUNNING, CX_MAD_IFC_IN_BYTES, CX_MAD_IFC_OUT_BYTES, cx_mad_ifc),
	USER_COMMAND(INIT2INIT_QP, RUNNING, CX_QP_IN_BYTES, CX_OUT_BYTES, cx_modify_qp),

	COMMAND(CREATE_SRQ, RUNNING, CX_CREATE_SRQ_IN_BYTES, CX_OUT_BYTES, cx_create_srq),
	USER_COMMAND(DESTROY_SRQ, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_destroy_srq),
	USER_COMMAND(QUERY_SRQ, RUNNING, CX_IN_BYTES, CX_QUERY_SRQ_OUT_BYTES, cx_query_srq),
	USER_COMMAND(ARM_RQ, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_arm_rq),
	USER_COMMAND(CREATE_XRC_SRQ, RUNNING, CX_CREATE_SRQ_IN_BYTES, CX_OUT_BYTES,
		     cx_create_xrc_srq),
	USER_COMMAND(DESTROY_XRC_SRQ, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_destroy_xrc_srq),
	USER_COMMAND(QUERY_XRC_SRQ, RUNNING, CX_IN_BYTES, CX_QUERY_SRQ_OUT_BYTES, cx_query_xrc_srq),
	USER_COMMAND(ARM_XRC_SRQ, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_arm_xrc_srq),

	USER_COMMAND(QUERY_VPORT_STATE, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_query_vport_state),
	USER_COMMAND(QUERY_HCA_VPORT_CONTEXT, RUNNING, CX_IN_BYTES,
		     CX_QUERY_HCA_VPORT_CONTEXT_OUT_BYTES, cx_query_hca_vport_context),
	COMMAND(MODIFY_HCA_VPORT_CONTEXT, RUNNING, CX_MODIFY_HCA_VPORT_CONTEXT_IN_BYTES,
		CX_OUT_BYTES, cx_modify_hca_vport_context),
	COMMAND(QUERY_HCA_VPORT_GID, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_query_hca_vport_gid),
	COMMAND(QUERY_HCA_VPORT_PKEY, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_query_hca_vport_pkey),
	USER_COMMAND(QUERY_VPORT_COUNTER, RUNNING, CX_IN_BYTES, CX_QUERY_VPORT_COUNTER_OUT_BYTES,
		     cx_query_vport_counter),
	USER_COMMAND(ALLOC_Q_COUNTER, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_alloc_q_counter),
	USER_COMMAND(DEALLOC_Q_COUNTER, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_dealloc_q_counter),
	USER_COMMAND(QUERY_Q_COUNTER, RUNNING, CX_QUERY_Q_COUNTER_IN_BYTES,
		     CX_QUERY_Q_COUNTER_OUT_BYTES, cx_query_q_counter),

	USER_COMMAND(ALLOC_PD, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_alloc_pd),
	USER_COMMAND(DEALLOC_PD, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_dealloc_pd),
	USER_COMMAND(ALLOC_UAR, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_alloc_uar),
	USER_COMMAND(DEALLOC_UAR, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_dealloc_uar),
	COMMAND(ACCESS_REG, ENABLED, CX_ACCESS_REG_IN_BYTES, CX_OUT_BYTES, cx_access_reg),
	USER_COMMAND(ATTACH_TO_MCG, RUNNING, CX_MCG_IN_BYTES, CX_OUT_BYTES, cx_attach_to_mcg),
	USER_COMMAND(DETACH_FROM_MCG, RUNNING, CX_MCG_IN_BYTES, CX_OUT_BYTES, cx_detach_from_mcg),
	USER_COMMAND(NOP, ENABLED, CX_IN_BYTES, CX_OUT_BYTES, cx_nop),
	USER_COMMAND(ALLOC_XRCD, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_alloc_xrcd),
	USER_COMMAND(DEALLOC_XRCD, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_dealloc_xrcd),

	USER_COMMAND(QUERY_LAG, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_query_lag),

	USER_COMMAND(CREATE_RMP, RUNNING, CX_CREATE_RMP_IN_BYTES, CX_OUT_BYTES, cx_create_rmp),
	USER_COMMAND(MODIFY_RMP, RUNNING, CX_MODIFY_RMP_IN_BYTES, CX_OUT_BYTES, cx_modify_rmp),
	USER_COMMAND(DESTROY_RMP, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_destroy_rmp),
	USER_COMMAND(QUERY_RMP, RUNNING, CX_IN_BYTES, CX_QUERY_RMP_OUT_BYTES, cx_query_rmp),

	COMMAND(CREATE_UCTX, RUNNING, CX_CREATE_UCTX_IN_BYTES, CX_OUT_BYTES, cx_create_uctx),
	COMMAND(DESTROY_UCTX, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_destroy_uctx),
	USER_COMMAND(CREATE_UMEM, RUNNING, CX_CREATE_UMEM_IN_BYTES, CX_OUT_BYTES, cx_create_umem),
	USER_COMMAND(DESTROY_UMEM, RUNNING, CX_IN_BYTES, CX_OUT_BYTES, cx_destroy_umem),
};

static int compare_opcode(const void *key, const void *element)
{
	return (int)*(const uint16_t *)key - ((const struct command *)element)->opcode;
}

static const struct command *find_command(uint16_t opcode)
{
	return bsearch(&opcode, commands, UP_ARRAY_SIZE(commands), sizeof(commands[0]),
		       compare_opcode);
}

static enum cx_status check_phase(struct cx_cmd *c, const struct command *cmd)
{
	if (cmd->phase == ALWAYS)
		return CX_OK;
	if (c->dev->fatal)
		return cx_fail(c, CX_INT_ERR, CX_WHY_DEVICE_ERROR);
	if (!c->dev->hca_enabled)
		return cx_fail(c, CX_BAD_SYS_STATE, CX_WHY_NOT_ENABLED);
	if (cmd->phase == RUNNING && !c->dev->hca_running)
		return cx_fail(c, CX_BAD_SYS_STATE, CX_WHY_NOT_RUNNING);
	return CX_OK;
}

static enum cx_status dispatch(struct cx_cmd *c)
{
	const struct command *cmd = find_command(c->opcode);
	enum cx_status status;

	if (!cmd)
		return cx_fail(c, CX_BAD_OP, CX_WHY_UNKNOWN_OPCODE);
	if (c->in_len < cmd->in_len)
		return cx_fail(c, CX_BAD_INP_LEN, CX_WHY_SHORT_INPUT);
	if (c->out_len < cmd->out_len)
		return cx_fail(c, CX_BAD_OUTP_LEN, CX_WHY_SHORT_OUTPUT);
	status = check_phase(c, cmd);
	if (status == CX_OK)
		status = cx_uid_check(c, cmd->user);
	if (status == CX_OK)
		status = cmd->handler(c);
	if (status != CX_OK)
		up_log(LOG_DEBUG, c->dev->hca.name, "%s: status 0x%x, syndrome %u", cmd->name,
		       status, c->syndrome);
	return status;
}

/* The command in progress, if there is one: what was fetched of it, and what it answers. */
struct cx_exchange {
	struct cx_device *dev;
	bool busy;
	unsigned index;		 /* of the slot */
	struct cx_eq *told;	 /* the event queue for its completion, as it began */
	struct cx_cmd_slot slot; /* a copy */
	uint32_t in_len, out_len;
	uint32_t fetched;  /* of the input */
	uint64_t next_box; /* the mailbox with what follows */
	uint8_t *in, *out;
	uint8_t small_in[SMALL], small_out[SMALL];
	uint64_t out_block[MAX_OUT / CX_MBOX_DATA]; /* mailboxes that take the output */
	unsigned nblocks;
	struct cx_cmd cmd;
};

int cx_cmd_init(struct cx_device *dev)
{
	/* find_command() relies on it. */
	for (unsigned i = 1; i < UP_ARRAY_SIZE(commands); i++)
		assert(commands[i - 1].opcode < commands[i].opcode);
	dev->exchange = calloc(1, sizeof(*dev->exchange));
	if (!dev->exchange)
		return -ENOMEM;
	dev->exchange->dev = dev;
	return 0;
}

void cx_cmd_fini(struct cx_device *dev)
{
	cx_cmd_cancel(dev);
	free(dev->exchange);
}

static uint8_t *room(uint8_t *small, uint32_t len)
{
	return len <= SMALL ? small : malloc(len);
}

static void put_room(uint8_t **buf, const uint8_t *small)
{
	if (*buf != small)
		free(*buf);
	*buf = NULL;
}

static void end_exchange(struct cx_exchange *x)
{
	put_room(&x->in, x->small_in);
	put_room(&x->out, x->small_out);
	x->busy = false;
}

void cx_cmd_cancel(struct cx_device *dev)
{
	dev->pending_slots = 0;
	end_exchange(dev->exchange);
}

/* Copies some of what follows the inline part from the chain of mailboxes. A delivery status. */
static uint8_t fetch_input(struct cx_exchange *x)
{
	const struct up_mem *mem = &x->dev->hca.mem;
	uint8_t next[8];

	for (unsigned n = 0; x->fetched < x->in_len && n < STEP_BOXES; n++) {
		uint32_t left = x->in_len - x->fetched;

		if (up_mem_read(mem, x->next_box, x->in + x->fetched,
				left < CX_MBOX_DATA ? left : CX_MBOX_DATA) ||
		    up_mem_read(mem, x->next_box + offsetof(struct cx_mailbox, next), next,
				sizeof(next)))
			return CX_DELIVERY_BAD_IN_PTR;
		x->next_box = up_get_be64(next);
		x->fetched += CX_MBOX_DATA;
	}
	return CX_DELIVERY_OK;
}

/* Finds the output mailboxes before anything is executed. */
static uint8_t find_output(struct cx_exchange *x)
{
	const struct up_mem *mem = &x->dev->hca.mem;
	uint64_t gpa = up_get_be64(x->slot.out_ptr);

	for (uint32_t done = CX_CMD_INLINE; done < x->out_len; done += CX_MBOX_DATA) {
		const struct cx_mailbox *box = up_mem_at(mem, gpa, sizeof(*box), true);

		if (!box)
			return CX_DELIVERY_BAD_OUT_PTR;
		x->out_block[x->nblocks++] = gpa;
		gpa = up_get_be64(box->next);
	}
	return CX_DELIVERY_OK;
}

static uint8_t prepare(struct cx_exchange *x)
{
	x->in_len = up_get_be32(x->slot.inlen);
	x->out_len = up_get_be32(x->slot.outlen);
	if (x->slot.type != CX_CMD_TYPE)
		return CX_DELIVERY_BAD_DESCR;
	if (x->in_len < CX_IN_BYTES || x->in_len > MAX_IN)
		return CX_DELIVERY_BAD_IN_LEN;
	/* Some outputs are declared shorter; the inline part is always there. */
	if (x->out_len < CX_OUT_BYTES)
		x->out_len = CX_OUT_BYTES;
	if (x->out_len > MAX_OUT)
		return CX_DELIVERY_BAD_OUT_LEN;
	x->in = room(x->small_in, x->in_len);
	x->out = room(x->small_out, x->out_len);
	if (!x->in || !x->out)
		return CX_DELIVERY_FW_ERR;
	memset(x->out, 0, x->out_len);
	memcpy(x->in, x->slot.in, CX_CMD_INLINE);
	x->fetched = CX_CMD_INLINE;
	x->next_box = up_get_be64(x->slot.in_ptr);
	x->nblocks = 0;
	x->cmd = (struct cx_cmd){.dev = x->dev};
	return CX_DELIVERY_OK;
}

static void begin_command(struct cx_exchange *x)
{
	x->cmd.opcode = (uint16_t)cx_get(x->in, CX_IN_OPCODE);
	x->cmd.op_mod = (uint16_t)cx_get(x->in, CX_IN_OP_MOD);
	x->cmd.uid = (uint16_t)cx_get(x->in, CX_IN_UID);
	x->cmd.in = x->in;
	x->cmd.in_len = x->in_len;
	x->cmd.out = x->out;
	x->cmd.out_len = x->out_len;
}

/* True when the command is done. */
static bool run_handler(struct cx_exchange *x)
{
	enum cx_status status;

	x->cmd.again = false;
	status = dispatch(&x->cmd);
	if (x->cmd.again)
		return false;
	if (status != CX_OK)
		memset(x->out, 0, x->out_len);
	cx_set(x->out, CX_OUT_STATUS, status);
	cx_set(x->out, CX_OUT_SYNDROME, status == CX_OK ? 0 : x->cmd.syndrome);
	up_stat_add(&x->dev->hca.stats.commands, 1);
	return true;
}

static void return_output(struct cx_exchange *x)
{
	uint32_t done = CX_CMD_INLINE;

	for (unsigned i = 0; i < x->nblocks; i++, done += CX_MBOX_DATA) {
		uint32_t left = x->out_len - done;

		up_mem_write(&x->dev->hca.mem, x->out_block[i], x->out + done,
			     left < CX_MBOX_DATA ? left : CX_MBOX_DATA);
	}
	memcpy(x->slot.out, x->out, CX_CMD_INLINE);
}

static void completion_event(struct cx_device *dev, unsigned index)
{
	struct cx_eqe_cmd e = {.vector = htobe32(1u << index)};

	cx_eq_post(dev->cmd_eq, CX_EVENT_CMD, 0, (const uint8_t *)&e);
}

static struct cx_cmd_slot *slot_at(struct cx_device *dev, unsigned index)
{
	struct cx_cmd_slot *slot =
		up_mem_at(&dev->hca.mem, dev->cmdq_gpa + ((uint64_t)index << CX_CMDQ_LOG_STRIDE),
			  sizeof(*slot), true);

	if (!slot)
		cx_device_fatal(dev, dev->hca.mem.now.count
					     ? "the command queue is not in memory"
					     : "no guest memory is shared with the daemon; start "
					       "QEMU as 'underpass qemu-args' says");
	return slot;
}

static void finish(struct cx_exchange *x, uint8_t delivery)
{
	struct cx_device *dev = x->dev;
	struct cx_cmd_slot *slot = slot_at(dev, x->index);

	end_exchange(x);
	if (!slot)
		return;
	memcpy(slot->out, x->slot.out, sizeof(slot->out));
	/* The driver polls this byte (poll_timeout() of Linux), or looks once it got the event. */
	up_publish_u8(&slot->status_own, (uint8_t)(delivery << 1));
	/* Not for the CREATE_EQ that made the queue: the driver polls for that one. */
	if (x->told && x->told == dev->cmd_eq)
		completion_event(dev, x->index);
}

static void begin(struct cx_exchange *x, unsigned index)
{
	const struct cx_cmd_slot *slot = slot_at(x->dev, index);
	uint8_t delivery;

	if (!slot)
		return;
	memcpy(&x->slot, slot, sizeof(x->slot));
	/* The compiler may not go back to the original for what it finds in the copy. */
	__asm__ volatile("" ::: "memory");
	if (!(x->slot.status_own & CX_CMD_OWNER_HW))
		return;
	x->busy = true;
	x->index = index;
	x->told = x->dev->cmd_eq;
	delivery = prepare(x);
	if (delivery != CX_DELIVERY_OK)
		finish(x, delivery);
}

/* A bounded part of what the command needs: it is executed once all of it was fetched. */
static void go_on(struct cx_exchange *x)
{
	uint8_t delivery = CX_DELIVERY_OK;

	if (!x->cmd.in) {
		delivery = fetch_input(x);
		if (delivery == CX_DELIVERY_OK && x->fetched < x->in_len)
			return;
		if (delivery == CX_DELIVERY_OK)
			delivery = find_output(x);
		begin_command(x);
	}
	if (delivery == CX_DELIVERY_OK) {
		if (!run_handler(x))
			return;
		return_output(x);
	}
	finish(x, delivery);
}

/* Makes work_fd readable or not. */
static void set_work(struct cx_device *dev, bool pending)
{
	uint64_t value = 1;
	ssize_t n;

	if (pending == dev->work_set)
		return;
	n = pending ? write(dev->work_fd, &value, sizeof(value))
		    : read(dev->work_fd, &value, sizeof(value));
	if (n == sizeof(value))
		dev->work_set = pending;
}

static void next_slot(struct cx_device *dev)
{
	unsigned index = (unsigned)__builtin_ctz(dev->pending_slots);

	dev->pending_slots &= dev->pending_slots - 1;
	begin(dev->exchange, index);
}

void cx_cmd_resume(struct cx_device *dev)
{
	struct cx_exchange *x = dev->exchange;
	uint64_t end = up_clock_ns() + BUDGET_NS;

	while (x->busy || dev->pending_slots) {
		if (!x->busy)
			next_slot(dev);
		if (x->busy)
			go_on(x);
		if (up_clock_ns() > end)
			break;
	}
	set_work(dev, x->busy || dev->pending_slots);
}

void cx_cmd_doorbell(struct cx_device *dev, uint32_t slots)
{
	/* No driver, or one that has not said where its queue is. */
	if (!dev->bus_master || !dev->cmdq_gpa)
		return;
	dev->pending_slots |= slots;
	cx_cmd_resume(dev);
}
