/* SPDX-License-Identifier: BSD-2-Clause */
/* Queue pairs: creation, and the state machine of 10.3.1. World stopped throughout. */

#include "base/bytes.h"
#include "engine/exec.h"

#include <errno.h>

static void take_users(struct up_qp *qp, uint32_t n)
{
	if (qp->send_cq)
		qp->send_cq->users += n;
	if (qp->recv_cq)
		qp->recv_cq->users += n;
	if (qp->srq)
		qp->srq->users += n;
}

int up_qp_create(struct up_qp *qp)
{
	int64_t id;

	if (qp->is_special && qp->hca->special[qp->special])
		return -EEXIST;
	id = up_table_add(&qp->hca->qps, qp);
	if (id < 0)
		return (int)id;
	qp->qpn = (uint32_t)id;
	if (qp->is_special)
		qp->hca->special[qp->special] = qp;
	qp->state = UP_QPS_RESET;
	up_lock_init(&qp->resp_lock);
	up_list_init(&qp->resp.parked);
	up_responder_reset(qp);
	up_sched_init(&qp->sched);
	take_users(qp, 1);
	return 0;
}

void up_qp_discard(struct up_qp *qp)
{
	up_requester_reset(qp);
	up_responder_reset(qp);
}

void up_qp_destroy(struct up_qp *qp)
{
	qp->hca->net->forget(qp);
	up_qp_discard(qp);
	take_users(qp, -1u);
	if (qp->is_special)
		qp->hca->special[qp->special] = NULL;
	up_table_del(&qp->hca->qps, qp->qpn);
	up_route_epoch++;
}

void up_srq_init(struct up_srq *srq)
{
	up_lock_init(&srq->lock);
	up_list_init(&srq->parked);
}

bool up_srq_forget(struct up_srq *srq, unsigned most)
{
	struct up_list *pos, *tmp;

	srq->closing = true;
	up_list_each (pos, tmp, &srq->parked) {
		if (!most--)
			break;
		up_responder_reset(UP_CONTAINER_OF(pos, struct up_qp, resp.parked));
	}
	return up_list_empty(&srq->parked);
}

static bool allowed(enum up_qp_state from, enum up_qp_state to)
{
	switch (to) {
	case UP_QPS_RESET:
	case UP_QPS_ERR:
		return true;
	case UP_QPS_INIT:
		return from == UP_QPS_RESET || from == UP_QPS_INIT;
	case UP_QPS_RTR:
		return from == UP_QPS_INIT;
	case UP_QPS_RTS:
		return from == UP_QPS_RTR || from == UP_QPS_RTS || from == UP_QPS_SQD ||
		       from == UP_QPS_SQE;
	case UP_QPS_SQD:
		return from == UP_QPS_RTS || from == UP_QPS_SQD;
	default:
		return false;
	}
}

int up_qp_modify(struct up_qp *qp, enum up_qp_state to)
{
	enum up_qp_state from = up_qp_state_get(qp);

	if (!allowed(from, to))
		return -EINVAL;
	if (to == UP_QPS_RESET) {
		up_requester_reset(qp);
		up_responder_reset(qp);
		qp->resp.established = false;
		qp->hca->ops->qp_reset(qp);
	}
	if (to == UP_QPS_RTS)
		qp->resp.established = true;
	if (to != UP_QPS_SQD)
		qp->drained = false;
	__atomic_store_n(&qp->state, (uint8_t)to, __ATOMIC_RELEASE);
	up_route_epoch++;
	qp->hca->net->kick(qp);
	return 0;
}
