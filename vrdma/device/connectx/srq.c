/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared receive queues. Their elements are a linked list: each begins with the index of the next
 * (struct mlx5_wqe_srq_next_seg), so that a driver can give elements back in any order. The device
 * starts at element 0 and follows the links; the doorbell record counts what was ever posted. A
 * cyclic one (MLX5_WQ_TYPE_CYCLIC) has the same elements, taken round and round as they lie.
 *
 * A link is in place before the element that holds it is posted, so it is read when that element
 * is taken. Every link is cut to the size of the ring: a hostile list leads in circles there.
 */
#include "device/connectx/connectx.h"

#include "base/bytes.h"
#include "device/connectx/abi_queue.h"
#include "device/connectx/rings.h"

#include <errno.h>

/* Elements posted and not taken; the count is 16 bits wide. */
static uint16_t available(const struct cx_srq *srq)
{
	return (uint16_t)(up_fetch_be32(&srq->dbr[CX_DBR_RECV]) - srq->taken);
}

/* The event comes once for each time that a limit was armed. */
static void check_limit(struct cx_srq *srq, uint16_t left)
{
	if (left >= srq->limit)
		return;
	srq->limit = 0;
	cx_srq_event(&srq->base, UP_EV_SRQ_LIMIT);
}

void cx_srq_check_limit(struct cx_srq *srq)
{
	cx_srq_locate(srq);
	if (srq->dbr)
		check_limit(srq, available(srq));
}

int cx_srq_take(struct up_srq *base, struct up_recv_wr *wr)
{
	struct cx_srq *srq = cx_srq(base);
	const struct up_mem *mem = &base->hca->mem;
	uint32_t mask = (1u << srq->log_size) - 1;
	uint32_t head_bytes = sizeof(struct cx_wqe_srq_next);
	uint64_t at = (uint64_t)srq->head << srq->log_stride;
	const uint8_t *element;
	uint16_t left;
	uint64_t link;
	int err;

	cx_srq_locate(srq);
	if (!srq->dbr)
		return -EFAULT;
	left = available(srq);
	if (!left)
		return 0;
	if (left > mask + 1)
		return -EINVAL;
	element = cx_ring_at(&srq->buf, mem, at, head_bytes);
	if (!element)
		return -EFAULT;
	link = up_fetch_u64(element);
	err = cx_scatter_list(&srq->buf, mem, at + head_bytes, (1u << srq->log_stride) - head_bytes,
			      wr);
	if (err)
		return err;
	wr->index = (uint16_t)srq->head;
	/* The link is at byte 2 of the element. */
	srq->head = (srq->cyclic ? srq->head + 1 : (uint32_t)(be64toh(link) >> 32)) & mask;
	srq->taken++;
	check_limit(srq, (uint16_t)(left - 1));
	return 1;
}
