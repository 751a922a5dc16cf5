/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Event queues: entries (struct mlx5_eqe) in guest memory, and the interrupts that tell of them.
 *
 * The consumer index of an event queue goes to a doorbell page word that all queues of a driver
 * share, so it cannot be known. It is not needed: of one completion queue at most one event is
 * under way at a time (cq_watch.c), and the others come from commands and errors.
 */
#include "device/connectx/connectx.h"

#include "base/bytes.h"
#include "base/log.h"
#include "device/connectx/abi_queue.h"

static void eq_lost(struct cx_eq *eq)
{
	if (!eq->lost)
		up_log(LOG_ERR, eq->dev->hca.name, "event queue %u is not in memory", eq->eqn);
	eq->lost = true;
}

/*
 * Writes one entry. The guest reads the owner byte, and what is before it only once that shows the
 * wrap count of its own position (next_eqe_sw() and dma_rmb() of Linux): so it is stored last.
 */
static void put(struct cx_eq *eq, uint8_t type, uint8_t subtype, const void *data)
{
	struct cx_eqe eqe = {.type = type, .sub_type = subtype};
	uint32_t mask = (1u << eq->log_size) - 1;
	struct cx_eqe *slot;

	memcpy(eqe.data, data, sizeof(eqe.data));
	/* The control thread is here as well (commands' completions). */
	up_lock_always_take(&eq->lock);
	cx_eq_locate(eq);
	slot = (void *)cx_ring_at(&eq->buf, &eq->dev->hca.mem,
				  (uint64_t)(eq->producer & mask) * sizeof(*slot), sizeof(*slot));
	if (slot) {
		memcpy(slot, &eqe, offsetof(struct cx_eqe, owner));
		up_publish_u8(&slot->owner, eq->producer >> eq->log_size & 1);
		eq->producer++;
	} else {
		eq_lost(eq);
	}
	up_lock_always_drop(&eq->lock);
	__atomic_fetch_add(&eq->dev->hca.stats.events, 1, __ATOMIC_RELAXED);
}

/*
 * The vectors change with the world stopped only, so a worker's descriptor stays open until it was
 * raised.
 */
void cx_eq_interrupt(struct cx_eq *eq)
{
	int fd = eq->vector < CX_MSIX_VECTORS ? eq->dev->vectors[eq->vector] : -1;

	if (fd < 0)
		return;
	up_vfio_raise(fd);
	__atomic_fetch_add(&eq->dev->hca.stats.interrupts, 1, __ATOMIC_RELAXED);
}

void cx_eq_post(struct cx_eq *eq, uint8_t type, uint8_t subtype, const uint8_t data[28])
{
	put(eq, type, subtype, data);
	cx_eq_interrupt(eq);
}

void cx_eq_post_completion(struct cx_eq *eq, uint32_t cqn)
{
	struct cx_eqe_comp comp = {.cqn = htobe32(cqn)};

	put(eq, CX_EVENT_COMP, 0, &comp);
}

static bool wants(const struct cx_eq *eq, uint8_t type)
{
	return eq->event_mask[type / 64] >> type % 64 & 1;
}

void cx_async_event(struct cx_device *dev, uint8_t type, uint8_t subtype, const uint8_t data[28])
{
	for (unsigned i = 0; i < CX_MAX_EQ; i++) {
		struct cx_eq *eq = dev->eqs[i];

		if (eq && wants(eq, type)) {
			cx_eq_post(eq, type, subtype, data);
			return;
		}
	}
}

static void queue_event(struct cx_device *dev, uint8_t type, enum cx_event_queue queue,
			uint32_t number)
{
	struct cx_eqe_qp_srq e = {.type = (uint8_t)queue, .qp_srq_n = htobe32(number)};

	cx_async_event(dev, type, 0, (const uint8_t *)&e);
}

void cx_qp_event(struct up_qp *qp, enum up_event event)
{
	static const uint8_t types[] = {
		[UP_EV_COMM_EST] = CX_EVENT_COMM_EST,
		[UP_EV_SQ_DRAINED] = CX_EVENT_SQ_DRAINED,
		[UP_EV_LAST_WQE] = CX_EVENT_SRQ_LAST_WQE,
		[UP_EV_QP_FATAL] = CX_EVENT_WQ_CATAS_ERROR,
		[UP_EV_QP_REQUEST] = CX_EVENT_WQ_INVAL_REQ_ERROR,
		[UP_EV_QP_ACCESS] = CX_EVENT_WQ_ACCESS_ERROR,
	};

	if (event < UP_ARRAY_SIZE(types) && types[event])
		queue_event(cx_dev(qp->hca), types[event], CX_EVENT_QUEUE_QP, qp->qpn);
}

/* Processes that subscribe to events of a pool get them by this type (get_legacy_obj_type()). */
void cx_srq_event(struct up_srq *srq, enum up_event event)
{
	enum cx_event_queue queue = cx_srq(srq)->is_rmp ? CX_EVENT_QUEUE_RQ : CX_EVENT_QUEUE_QP;

	if (event == UP_EV_SRQ_LIMIT)
		queue_event(cx_dev(srq->hca), CX_EVENT_SRQ_RQ_LIMIT, queue, srq->srqn);
	else if (event == UP_EV_SRQ_ERROR)
		queue_event(cx_dev(srq->hca), CX_EVENT_SRQ_CATAS_ERROR, queue, srq->srqn);
}

void cx_cq_error_event(struct cx_device *dev, uint32_t cqn, uint8_t syndrome)
{
	struct cx_eqe_cq_err e = {.cqn = htobe32(cqn), .syndrome = syndrome};

	cx_async_event(dev, CX_EVENT_CQ_ERROR, 0, (const uint8_t *)&e);
}

void cx_port_event(struct up_hca *hca, enum up_event event)
{
	struct cx_eqe_port e = {.port = 1 << 4};

	cx_async_event(cx_dev(hca), CX_EVENT_PORT_CHANGE,
		       event == UP_EV_PORT_ACTIVE ? CX_PORT_ACTIVE : CX_PORT_DOWN,
		       (const uint8_t *)&e);
}
