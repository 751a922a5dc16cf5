/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the rings and doorbell records of queues lie in the daemon's memory. */
#include "base/hint.h"
#include "device/connectx/connectx.h"

uint32_t *cx_dbr_at(const struct up_mem *mem, uint64_t gpa, uint32_t bytes)
{
	return gpa % 8 ? NULL : up_mem_at(mem, gpa, bytes, false);
}

UP_COLD void cx_eq_look_up(struct cx_eq *eq)
{
	const struct up_mem *mem = &eq->dev->hca.mem;

	cx_buf_refresh(&eq->buf, mem);
	eq->epoch = mem->epoch;
}

UP_COLD void cx_cq_look_up(struct cx_cq *cq)
{
	const struct up_mem *mem = &cq->base.hca->mem;

	cx_buf_refresh(&cq->buf, mem);
	cq->dbr = cx_dbr_at(mem, cq->dbr_gpa, CX_DBR_BYTES);
	cq->epoch = mem->epoch;
}

UP_COLD void cx_srq_look_up(struct cx_srq *srq)
{
	const struct up_mem *mem = &srq->base.hca->mem;

	cx_buf_refresh(&srq->buf, mem);
	srq->dbr = cx_dbr_at(mem, srq->dbr_gpa, CX_SRQ_DBR_BYTES);
	srq->epoch = mem->epoch;
}

/*
 * The worker that sends from the QP and one that sends to it have no lock in common. The one that
 * comes second finds that nothing is left to do, and nobody writes what is good already.
 */
UP_COLD void cx_qp_look_up(struct cx_qp *qp)
{
	const struct up_mem *mem = &qp->base.hca->mem;

	up_lock_take(&qp->dev->locate_lock);
	if (qp->epoch != mem->epoch) {
		cx_buf_refresh(&qp->buf, mem);
		/* Without queues of its own (an XRC target) it has no record, and the address is 0.
		 */
		qp->dbr = qp->buf.bytes ? cx_dbr_at(mem, qp->dbr_gpa, CX_DBR_BYTES) : NULL;
		__atomic_store_n(&qp->epoch, mem->epoch, __ATOMIC_RELEASE);
	}
	up_lock_drop(&qp->dev->locate_lock);
}
