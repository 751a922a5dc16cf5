/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared receive queues: with ISSI 1 a basic one is a receive memory pool (RMP), an XRC one an
 * XRC SRQ. Either is a list of elements linked by index; free elements hang behind the tail.
 */
#include "gs_internal.h"

#include <stdlib.h>
#include <string.h>

static struct cx_wqe_srq_next *element(struct gs_srq *srq, uint16_t index)
{
	return (struct cx_wqe_srq_next *)(srq->ring + (size_t)index * srq->stride);
}

static void create_rmp(struct gs_srq *srq, struct gs_buf *buf)
{
	uint32_t len = CX_CREATE_RMP_IN_BYTES + 8 * buf->npages;
	uint8_t out[CX_OUT_BYTES], *in = gs_alloc(len);
	uint8_t *rmpc = in + CX_CREATE_RMP_IN_RMPC_AT, *wq = rmpc + CX_RMPC_WQ_AT;

	cx_set(in, CX_IN_OPCODE, CX_CMD_CREATE_RMP);
	cx_set(rmpc, CX_RMPC_STATE, CX_RMP_STATE_RDY);
	cx_set(wq, CX_WQ_WQ_TYPE, CX_WQ_TYPE_LINKED_LIST);
	cx_set(wq, CX_WQ_PAGE_OFFSET, buf->page_offset);
	cx_set(wq, CX_WQ_PD, srq->pd->pdn);
	cx_set64(wq, CX_WQ_DBR_ADDR, gs_ram_gpa(srq->vm, srq->dbr));
	cx_set(wq, CX_WQ_LOG_WQ_STRIDE, (uint32_t)__builtin_ctz(srq->stride));
	cx_set(wq, CX_WQ_LOG_WQ_PG_SZ, buf->page_shift - CX_PAGE_SHIFT);
	cx_set(wq, CX_WQ_LOG_WQ_SZ, (uint32_t)__builtin_ctz(srq->wrs));
	gs_buf_finish(buf, in + CX_CREATE_RMP_IN_PAS_AT);
	gs_cmd(srq->vm, in, len, out, sizeof(out));
	free(in);
	srq->srqn = cx_get(out, CX_OUT_OBJECT);
}

static void create_xrc(struct gs_srq *srq, const struct gs_srq_attr *attr, struct gs_buf *buf)
{
	uint32_t len = CX_CREATE_SRQ_IN_BYTES + 8 * buf->npages;
	uint8_t out[CX_OUT_BYTES], *in = gs_alloc(len);
	uint8_t *srqc = in + CX_CREATE_SRQ_IN_SRQC_AT;

	srq->uidx = gs_uidx_alloc(srq->vm, srq);
	cx_set(in, CX_IN_OPCODE, CX_CMD_CREATE_XRC_SRQ);
	cx_set(srqc, CX_XRC_SRQC_LOG_XRC_SRQ_SIZE, (uint32_t)__builtin_ctz(srq->wrs));
	cx_set(srqc, CX_XRC_SRQC_LOG_RQ_STRIDE, (uint32_t)__builtin_ctz(srq->stride) - 4);
	cx_set(srqc, CX_XRC_SRQC_XRCD, attr->xrcd);
	cx_set(srqc, CX_XRC_SRQC_PAGE_OFFSET, buf->page_offset);
	cx_set(srqc, CX_XRC_SRQC_CQN, attr->cq->cqn);
	cx_set(srqc, CX_XRC_SRQC_LOG_PAGE_SIZE, buf->page_shift - CX_PAGE_SHIFT);
	cx_set(srqc, CX_XRC_SRQC_USER_INDEX, srq->uidx);
	cx_set(srqc, CX_XRC_SRQC_PD, srq->pd->pdn);
	cx_set64(srqc, CX_XRC_SRQC_DBR_ADDR, gs_ram_gpa(srq->vm, srq->dbr));
	gs_buf_finish(buf, in + CX_CREATE_SRQ_IN_PAS_AT);
	gs_cmd(srq->vm, in, len, out, sizeof(out));
	free(in);
	srq->srqn = cx_get(out, CX_OUT_OBJECT);
}

struct gs_srq *gs_srq_create(struct gs_pd *pd, const struct gs_srq_attr *attr)
{
	struct gs_srq *srq = gs_object_alloc(pd->vm, sizeof(*srq));
	unsigned stride = 32;
	struct gs_buf buf;
	size_t bytes;

	while (stride < sizeof(struct cx_wqe_srq_next) + attr->sges * sizeof(struct cx_wqe_data))
		stride *= 2;
	bytes = (size_t)attr->wrs * stride;
	srq->is_srq = true;
	srq->vm = pd->vm;
	srq->pd = pd;
	srq->xrc = attr->xrc;
	srq->wrs = attr->wrs;
	srq->stride = stride;
	srq->ring = gs_ram_alloc(pd->vm, bytes, 4096);
	srq->dbr = gs_ram_alloc(pd->vm, 8, 64);
	srq->wr_id = gs_object_alloc(pd->vm, attr->wrs * sizeof(srq->wr_id[0]));
	srq->tail = (uint16_t)(attr->wrs - 1);
	for (unsigned i = 0; i < attr->wrs; i++)
		element(srq, (uint16_t)i)->next_wqe_index =
			htobe16((uint16_t)((i + 1) & (attr->wrs - 1)));
	/* wq.page_offset has five bits. */
	buf = gs_buf_describe(pd->vm, srq->ring, bytes, 31);
	if (attr->xrc)
		create_xrc(srq, attr, &buf);
	else
		create_rmp(srq, &buf);
	return srq;
}

int gs_srq_destroy(struct gs_srq *srq)
{
	int err = gs_cmd_object(srq->vm, srq->xrc ? CX_CMD_DESTROY_XRC_SRQ : CX_CMD_DESTROY_RMP, 0,
				srq->srqn);

	if (err)
		return err;
	gs_ram_free(srq->vm, srq->ring, (size_t)srq->wrs * srq->stride);
	return 0;
}

static int arm_rmp(struct gs_srq *srq, uint16_t limit)
{
	uint8_t in[CX_MODIFY_RMP_IN_BYTES] = {0}, out[CX_OUT_BYTES];
	uint8_t *rmpc = in + CX_MODIFY_RMP_IN_RMPC_AT;

	cx_set(in, CX_IN_OPCODE, CX_CMD_MODIFY_RMP);
	cx_set(in, CX_MODIFY_RMP_IN_RMP_STATE, CX_RMP_STATE_RDY);
	cx_set(in, CX_IN_OBJECT, srq->srqn);
	cx_set(in, CX_MODIFY_RMP_IN_BITMASK_LWM, 1);
	cx_set(rmpc, CX_RMPC_STATE, CX_RMP_STATE_RDY);
	cx_set(rmpc + CX_RMPC_WQ_AT, CX_WQ_LWM, limit);
	return gs_cmd_raw(srq->vm, in, sizeof(in), out, sizeof(out));
}

int gs_srq_arm_limit(struct gs_srq *srq, uint16_t limit)
{
	uint8_t in[CX_IN_BYTES] = {0}, out[CX_OUT_BYTES];

	if (!srq->xrc)
		return arm_rmp(srq, limit);
	cx_set(in, CX_IN_OPCODE, CX_CMD_ARM_XRC_SRQ);
	cx_set(in, CX_IN_OP_MOD, CX_ARM_SRQ_OP_XRC);
	cx_set(in, CX_IN_OBJECT, srq->srqn);
	cx_set(in, CX_ARM_SRQ_IN_LWM, limit);
	return gs_cmd_raw(srq->vm, in, sizeof(in), out, sizeof(out));
}

uint32_t gs_xrcd_alloc(struct gs_vm *vm)
{
	return gs_cmd_alloc(vm, CX_CMD_ALLOC_XRCD);
}

/* mlx5_free_srq_wqe() */
void gs_srq_release(struct gs_srq *srq, uint16_t index)
{
	if (index >= srq->wrs)
		gs_fail("SRQ %#x: completion for element %u of %u", srq->srqn, index, srq->wrs);
	element(srq, srq->tail)->next_wqe_index = htobe16(index);
	srq->tail = index;
}

void gs_post_srq_recv(struct gs_srq *srq, uint64_t wr_id, const struct gs_sge *sge, unsigned nsge)
{
	struct cx_wqe_srq_next *next = element(srq, srq->head);
	struct cx_wqe_data *data = (struct cx_wqe_data *)(next + 1);
	unsigned room = (srq->stride - (unsigned)sizeof(*next)) / (unsigned)sizeof(*data);

	if (srq->head == srq->tail)
		gs_fail("SRQ %#x is full", srq->srqn);
	if (nsge > room)
		gs_fail("SRQ %#x: %u scatter elements, room for %u", srq->srqn, nsge, room);
	srq->wr_id[srq->head] = wr_id;
	srq->head = be16toh(next->next_wqe_index);
	for (unsigned i = 0; i < nsge; i++)
		data[i] = (struct cx_wqe_data){.byte_count = htobe32(sge[i].len),
					       .lkey = htobe32(sge[i].key),
					       .addr = htobe64(sge[i].addr)};
	if (nsge < room)
		data[nsge] = (struct cx_wqe_data){.lkey = htobe32(CX_INVALID_LKEY)};
	srq->counter++;
	__atomic_store_n(srq->dbr, htobe32(srq->counter), __ATOMIC_RELEASE);
}
