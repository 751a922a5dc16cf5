/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What requester, responder and datagrams tell the guest: completions and events, and that a queue
 * pair or a shared receive queue has failed.
 */

#include "engine/exec.h"

#include "base/hint.h"

#include <errno.h>

static bool post(struct up_cq *cq, const struct up_wc *wc)
{
	bool posted;

	if (!cq)
		return true;
	up_lock_take(&cq->lock);
	cq->hca->ops->cq_post(cq, wc);
	posted = !cq->failed;
	up_lock_drop(&cq->lock);
	return posted;
}

/* Once for a QP: what is flushed afterwards is lost as well. */
static UP_COLD void completion_lost(struct up_qp *qp)
{
	if (up_qp_state_get(qp) == UP_QPS_ERR)
		return;
	up_qp_fail_locked(qp);
	up_raise_qp(qp, UP_EV_QP_FATAL);
}

bool up_complete_locked(struct up_qp *qp, struct up_cq *cq, const struct up_wc *wc)
{
	bool posted = post(cq, wc);

	if (!posted)
		completion_lost(qp);
	return posted;
}

bool up_complete(struct up_qp *qp, struct up_cq *cq, const struct up_wc *wc)
{
	bool posted = post(cq, wc);

	if (!posted) {
		up_lock_take(&qp->resp_lock);
		completion_lost(qp);
		up_lock_drop(&qp->resp_lock);
	}
	return posted;
}

int up_srq_next(struct up_srq *srq, struct up_recv_wr *wr)
{
	int got = -EINVAL;

	up_lock_take(&srq->lock);
	if (!srq->error) {
		got = srq->hca->ops->srq_take(srq, wr);
		if (got < 0) {
			srq->error = true;
			srq->hca->ops->srq_event(srq, UP_EV_SRQ_ERROR);
		}
	}
	up_lock_drop(&srq->lock);
	return got;
}

void up_raise_qp(struct up_qp *qp, enum up_event event)
{
	qp->hca->ops->qp_event(qp, event);
}

UP_COLD void up_qp_fail_locked(struct up_qp *qp)
{
	__atomic_store_n(&qp->state, UP_QPS_ERR, __ATOMIC_RELEASE);
	up_stat_add(&qp->stats.errors, 1);
	up_stat_add(&qp->hca->stats.errors, 1);
	qp->hca->net->kick(qp);
}

UP_COLD void up_qp_fail(struct up_qp *qp)
{
	up_lock_take(&qp->resp_lock);
	up_qp_fail_locked(qp);
	up_lock_drop(&qp->resp_lock);
}
