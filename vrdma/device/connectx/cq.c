/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion queues: entries (struct mlx5_cqe64), and events for armed queues.
 *
 * Arming. The guest arms a queue by a record in its memory: a sequence number of two bits, whether
 * any or only a solicited completion counts, and a consumer index; an event is due for the first
 * completion beyond that index, whether or not the guest finds that completion by itself before.
 * It also stores a doorbell, which nobody reads here. Why no wake-up is lost all the same:
 *
 *  - The guest's driver and library count the events of a queue as they take them, and arm with the
 *    count (mlx5_eq_comp_int(), mlx5_cq_event()). So an arm record with the number of the last one
 *    served was written before the guest knew of that event: it is still to come, and wakes the
 *    guest. Any other number is a new arming. Thus at most one event of a queue is under way, and
 *    the guest cannot overrun an event queue that has an entry for each of its queues.
 *
 *  - A queue that got a completion is on the watch list until its consumer index record says that
 *    every completion was taken and no event is due; while it is there, its arm record is read
 *    again and again. Say that the guest armed at index i, and a completion c lies beyond i. If
 *    the guest took c before it armed, nobody waits for c. Else the consumer index was not past c
 *    when it armed, so the queue was on the list from the moment that c was written on until a
 *    look after the arming; or c was written after the arming, and a look follows it. Either look
 *    sees the record.
 *
 *  - Taken off the list while the guest arms: the look found all completions taken, so they were
 *    taken before. The next completion puts the queue back, and is followed by a look.
 *
 * A record that was never written: the kernel's begin with sequence number 2
 * (MLX5_CQ_INIT_CMD_SN), which is no arming; rdma-core's with 0, which is also a valid first one
 * and is taken for it. So a process that never arms gets one event that it did not ask for.
 *
 * The record lies in a cache line that the guest writes: each look takes it away. So looks become
 * rarer the longer nothing happens, and start later for a guest that polls.
 */
#include "device/connectx/connectx.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "device/connectx/abi_queue.h"

#include <errno.h>

/* Time between looks: doubling between the first two, the third after a second without news. */
#define LOOK_FIRST (2 * UP_USEC)
#define LOOK_LAST (1 * UP_MSEC)
#define LOOK_IDLE (10 * UP_MSEC)
/* How long the first look at a guest that polls is put off, doubling. */
#define POLLED_DELAY_MIN (1 * UP_USEC)
#define POLLED_DELAY_MAX (16 * UP_USEC)
/*
 * How long an event waits when the last one told of the same completions. A guest that arms before
 * it polls is about to take them (perftest does, and is out of step after an event too many); one
 * that sleeps on them all the same is woken.
 */
#define TOLD_DELAY (10 * UP_MSEC)
/* Looks in one round of each kind. */
#define LOOKS_MAX 64
/* Queues of the list that one round goes through for those to be looked at, and until the next. */
#define SCAN_MAX 512
#define SCAN_PAUSE (200 * UP_USEC)

/* The worker's time at the start of its turn, for timestamps; see cx_cq_watch(). */
static _Thread_local uint64_t turn_now;

static uint64_t stamp(struct cx_cq *cq)
{
	uint64_t now = cx_clock_ticks(turn_now ? turn_now : up_clock_ns());

	if (now > cq->last_stamp)
		cq->last_stamp = now;
	return cq->last_stamp;
}

/* a - b for indexes of 24 bits: positive when a is beyond b. */
static int32_t distance(uint32_t a, uint32_t b)
{
	return (int32_t)((a - b) << 8) >> 8;
}

static uint32_t unread(const struct cx_cq *cq)
{
	return (cq->producer - up_fetch_be32(&cq->dbr[CX_DBR_CQ_CI])) & CX_CQ_CI_MASK;
}

/* The guest's index is read only when the ring would be full by the last one known. */
static bool is_full(struct cx_cq *cq)
{
	uint32_t size = 1u << cq->log_size;

	if (cq->overrun_ignore || cq->collapsed || cq->producer - cq->consumer < size)
		return false;
	cq->consumer = cq->producer - unread(cq);
	return cq->producer - cq->consumer >= size;
}

static struct cx_cqe64 *cqe_at(const struct cx_cq *cq)
{
	uint32_t index = cq->collapsed ? 0 : cq->producer & ((1u << cq->log_size) - 1);
	uint32_t size = 1u << cq->cqe_shift;
	uint8_t *at =
		cx_ring_at(&cq->buf, &cq->dev->hca.mem, (uint64_t)index << cq->cqe_shift, size);

	/* The 64 bytes that matter are the last ones. */
	return at ? (void *)(at + size - sizeof(struct cx_cqe64)) : NULL;
}

/*
 * The guest polls op_own, and looks at the rest once that has the wrap count of its position
 * (get_sw_cqe() and udma_from_device_barrier() of rdma-core): so it is stored last, with release.
 * It is stored with the word around it, of which the guest reads nothing before either.
 */
static void publish(struct cx_cq *cq, struct cx_cqe64 *slot, struct cx_cqe64 *cqe)
{
	uint64_t last;

	cqe->op_own |= (uint8_t)(cq->producer >> cq->log_size & CX_CQE_OWNER);
	memcpy(&last, (const uint8_t *)cqe + sizeof(*cqe) - sizeof(last), sizeof(last));
	memcpy(slot, cqe, sizeof(*cqe) - sizeof(last));
	__atomic_store_n((uint64_t *)(void *)(slot + 1) - 1, last, __ATOMIC_RELEASE);
	cq->producer++;
}

static void fail(struct cx_cq *cq, enum cx_cq_error why)
{
	cq->dead = true;
	cx_cq_error_event(cq->dev, cq->base.cqn, (uint8_t)why);
}

/* Room for the next entry; NULL when the queue has failed. */
static struct cx_cqe64 *claim(struct cx_cq *cq)
{
	struct cx_cqe64 *slot;

	if (cq->dead)
		return NULL;
	if (!cq->dbr || !(slot = cqe_at(cq))) {
		fail(cq, CX_CQ_ERROR_ACCESS);
		return NULL;
	}
	if (is_full(cq)) {
		fail(cq, CX_CQ_ERROR_OVERRUN);
		return NULL;
	}
	return slot;
}

static uint8_t syndrome(enum up_wc_status status)
{
	static const uint8_t syndromes[] = {
		[UP_WC_LOC_LEN_ERR] = CX_SYND_LOCAL_LENGTH,
		[UP_WC_LOC_QP_OP_ERR] = CX_SYND_LOCAL_QP_OP,
		[UP_WC_LOC_PROT_ERR] = CX_SYND_LOCAL_PROT,
		[UP_WC_WR_FLUSH_ERR] = CX_SYND_WR_FLUSH,
		[UP_WC_MW_BIND_ERR] = CX_SYND_MW_BIND,
		[UP_WC_BAD_RESP_ERR] = CX_SYND_BAD_RESP,
		[UP_WC_LOC_ACCESS_ERR] = CX_SYND_LOCAL_ACCESS,
		[UP_WC_REM_INV_REQ_ERR] = CX_SYND_REMOTE_INVAL_REQ,
		[UP_WC_REM_ACCESS_ERR] = CX_SYND_REMOTE_ACCESS,
		[UP_WC_REM_OP_ERR] = CX_SYND_REMOTE_OP,
		[UP_WC_RETRY_EXC_ERR] = CX_SYND_TRANSPORT_RETRY,
		[UP_WC_RNR_RETRY_EXC_ERR] = CX_SYND_RNR_RETRY,
		[UP_WC_REM_ABORT_ERR] = CX_SYND_REMOTE_ABORTED,
	};

	return syndromes[status];
}

/*
 * Version 1 of the CQE carries the user's index of the QP, or of the XRC SRQ that took a message;
 * version 0 the number of the SRQ, if any.
 */
static uint32_t resource(const struct up_wc *wc)
{
	const struct cx_qp *qp = UP_CONTAINER_OF(wc->qp, const struct cx_qp, base);
	const struct cx_srq *srq;

	if (!(wc->flags & UP_WC_SRQ))
		return qp->uidx_in_cqe ? qp->user_index : 0;
	srq = UP_CONTAINER_OF(wc->srq, const struct cx_srq, base);
	if (wc->srq->xrc)
		return srq->user_index != CX_NO_USER_INDEX ? srq->user_index : wc->srq->srqn;
	return qp->uidx_in_cqe ? qp->user_index : wc->srq->srqn;
}

static uint8_t response_opcode(enum up_opcode op)
{
	switch (op) {
	case UP_OP_WRITE_IMM:
		return CX_CQE_RESP_WR_IMM;
	case UP_OP_SEND_IMM:
		return CX_CQE_RESP_SEND_IMM;
	case UP_OP_SEND_INV:
		return CX_CQE_RESP_SEND_INV;
	default:
		return CX_CQE_RESP_SEND;
	}
}

/*
 * The P_Key of a datagram without immediate data: its value for QP1, whose driver searches the
 * table for it (handle_responder() of mlx5_ib), its index for the others, as rdma-core reports it.
 */
static uint32_t pkey_field(const struct up_wc *wc)
{
	const struct up_qp *qp = wc->qp;

	if (qp->is_special && wc->pkey_index < UP_ARRAY_SIZE(qp->hca->pkeys))
		return htobe32(qp->hca->pkeys[wc->pkey_index]);
	return htobe32(wc->pkey_index);
}

static void fill_response(struct cx_cqe64 *cqe, const struct up_wc *wc)
{
	uint32_t grh = wc->flags & UP_WC_GRH ? CX_CQE_GRH_IN_BUFFER << CX_CQE_GRH_SHIFT : 0;

	cqe->ml_path = wc->path_bits;
	cqe->slid = htobe16(wc->slid);
	cqe->flags_rqpn = htobe32(grh | (uint32_t)wc->sl << CX_CQE_SL_SHIFT | wc->src_qpn);
	if (wc->op == UP_OP_SEND_INV)
		cqe->imm_inval_pkey = htobe32(wc->imm);
	else if (wc->op == UP_OP_SEND_IMM || wc->op == UP_OP_WRITE_IMM)
		cqe->imm_inval_pkey = wc->imm;
	else if (wc->qp->type == UP_QP_UD)
		cqe->imm_inval_pkey = pkey_field(wc);
	if (wc->flags & UP_WC_SOLICITED_EVENT)
		cqe->op_own |= CX_CQE_SOLICITED;
}

static void fill(struct cx_cq *cq, struct cx_cqe64 *cqe, const struct up_wc *wc)
{
	bool recv = wc->flags & UP_WC_RECV;
	uint8_t opcode;

	cqe->srqn_uidx = htobe32(resource(wc));
	cqe->sop_drop_qpn = htobe32((uint32_t)wc->raw_op << 24 | wc->qp->qpn);
	cqe->wqe_counter = htobe16(wc->index);
	if (wc->status == UP_WC_SUCCESS) {
		opcode = recv ? response_opcode(wc->op) : CX_CQE_REQ;
		cqe->byte_cnt = htobe32(wc->byte_len);
		cqe->timestamp = htobe64(stamp(cq));
		if (recv)
			fill_response(cqe, wc);
	} else {
		struct cx_err_cqe *err = (void *)cqe;

		opcode = recv ? CX_CQE_RESP_ERR : CX_CQE_REQ_ERR;
		err->syndrome = syndrome(wc->status);
		err->vendor_err_synd = (uint8_t)wc->status;
	}
	cqe->op_own |= (uint8_t)(opcode << CX_CQE_OPCODE_SHIFT);
}

/*
 * Puts the queue in front of the watch list. The flag may be seen set here while cx_cq_watch() has
 * just taken the queue off: then that waits for the lock that the caller holds, and looks at what
 * was posted under it.
 */
static void watch(struct cx_cq *cq)
{
	struct cx_device *dev = cq->dev;

	if (__atomic_load_n(&cq->watch_fresh, __ATOMIC_RELAXED))
		return;
	up_lock_take(&dev->watch_lock);
	up_list_del(&cq->watch);
	up_list_add_tail(dev->watch.next, &cq->watch);
	__atomic_store_n(&cq->watch_fresh, true, __ATOMIC_RELAXED);
	up_lock_drop(&dev->watch_lock);
	/* It may be another worker's, and asleep. */
	up_worker_wake(dev->port->worker);
}

void cx_cq_post(struct up_cq *base, const struct up_wc *wc)
{
	struct cx_cq *cq = cx_cq(base);
	struct cx_cqe64 cqe = {0};
	bool was_dead = cq->dead;
	struct cx_cqe64 *slot = claim(cq);

	if (!slot) {
		/* Whoever completes to a queue that fails is in trouble with it. */
		if (!was_dead)
			cx_qp_event((struct up_qp *)wc->qp, UP_EV_QP_FATAL);
		return;
	}
	fill(cq, &cqe, wc);
	publish(cq, slot, &cqe);
	if (wc->status != UP_WC_SUCCESS || (wc->flags & UP_WC_SOLICITED_EVENT)) {
		cq->solicited_producer = cq->producer;
		cq->untold_solicited = true;
	}
	cq->untold = true;
	watch(cq);
}

/* Without the lock, so with one worker only: another one might be posting. */
void cx_cq_prefetch(struct up_cq *base)
{
	const struct cx_cq *cq = cx_cq(base);

	if (cq->buf.flat && !up_multi_worker)
		__builtin_prefetch(cqe_at(cq), 1);
}

int cx_cq_switch(struct cx_cq *cq, uint8_t log_size, uint8_t cqe_shift)
{
	struct cx_cqe64 cqe = {.op_own = CX_CQE_RESIZE_CQ << CX_CQE_OPCODE_SHIFT};
	struct cx_cqe64 *slot;

	if (cq->dead || !cq->dbr || !(slot = cqe_at(cq)))
		return -EFAULT;
	/* The driver copies what it has not read, one index on: this entry takes one as well. */
	cq->consumer = cq->producer - unread(cq);
	if (cq->producer - cq->consumer + 1 > 1u << log_size)
		return -EINVAL;
	if (cq->producer - cq->consumer >= 1u << cq->log_size)
		return -ENOSPC;
	publish(cq, slot, &cqe);
	cx_buf_fini(&cq->buf);
	cq->buf = cq->resize_buf;
	cq->resize_buf = (struct cx_buf){0};
	cq->log_size = log_size;
	cq->cqe_shift = cqe_shift;
	return 0;
}

static bool is_armed(const struct cx_cq *cq, uint32_t record)
{
	if (!cq->have_served)
		return record != CX_ARM_INIT;
	return (record ^ cq->served_arm) >> CX_ARM_SN_SHIFT & CX_ARM_SN_MASK;
}

static bool beyond(const struct cx_cq *cq, uint32_t record)
{
	uint32_t last = record & CX_ARM_SOLICITED ? cq->solicited_producer : cq->producer;

	return distance(last, record & CX_ARM_CI_MASK) > 0;
}

/* Did the last event tell of all that this record asks for? */
static bool is_told(const struct cx_cq *cq, uint32_t record)
{
	return !(record & CX_ARM_SOLICITED ? cq->untold_solicited : cq->untold);
}

/*
 * When an event for this record is due: at once, or when moderation lets it. A count alone would
 * keep the last completions for ever, so it matters only within a period.
 */
static uint64_t event_time(const struct cx_cq *cq, uint32_t record)
{
	int32_t count = distance(cq->producer, record & CX_ARM_CI_MASK);

	if (is_told(cq, record))
		return cq->first_pending + TOLD_DELAY;
	if (cq->moderation_count && count >= cq->moderation_count)
		return cq->first_pending;
	return cq->first_pending + cq->moderation_us * UP_USEC;
}

/*
 * When a wait begins. The turn may have begun long ago, before the completion that another worker
 * wrote: no period may end too soon for that.
 */
static uint64_t pending_since(const struct cx_cq *cq, uint64_t now)
{
	return cq->moderation_us ? cq->dev->hca.net->clock() : now;
}

/* A guest that arms wants to know at once; one that only polls, to be left alone. */
static void set_delay(struct cx_cq *cq, bool uses_events, bool all_read)
{
	uint32_t delay = cq->watch_delay * 2;

	if (uses_events)
		cq->watch_delay = 0;
	else if (all_read)
		cq->watch_delay = delay < POLLED_DELAY_MIN   ? POLLED_DELAY_MIN
				  : delay > POLLED_DELAY_MAX ? POLLED_DELAY_MAX
							     : delay;
}

/* Back on the list, behind those with fresh completions; unless one came in the meantime. */
static void park(struct cx_cq *cq, uint64_t when)
{
	struct cx_device *dev = cq->dev;

	cq->watch_next = when;
	up_lock_take(&dev->watch_lock);
	if (!cq->watch_fresh && up_list_empty(&cq->watch)) {
		up_list_add_tail(&dev->watch, &cq->watch);
		if (when < dev->watch_due)
			dev->watch_due = when;
	}
	up_lock_drop(&dev->watch_lock);
}

static uint64_t next_look(struct cx_cq *cq, uint64_t now)
{
	uint64_t step = cq->watch_step * 2;

	if (now - cq->watch_since > UP_SEC)
		step = LOOK_IDLE;
	else if (step < LOOK_FIRST)
		step = LOOK_FIRST;
	else if (step > LOOK_LAST)
		step = LOOK_LAST;
	cq->watch_step = step;
	return now + step;
}

static void serve(struct cx_cq *cq, uint32_t record)
{
	cq->have_served = true;
	cq->served_arm = record;
	cq->untold = cq->untold_solicited = false;
	cq->first_pending = 0;
	cx_eq_post_completion(cq->eq, cq->base.cqn);
}

/* Reads the records, posts the event if it is due. Returns the EQ to interrupt, or NULL. */
static struct cx_eq *look(struct cx_cq *cq, uint64_t now)
{
	struct cx_eq *raised = NULL;
	bool all_read, is_set, pending;
	uint64_t next, due;
	uint32_t record;

	cq->watch_next = 0;
	if (!cq->dbr)
		return NULL;
	/* In this order: an arming stored before the index that is read here is seen. */
	all_read = !unread(cq);
	record = up_fetch_be32(&cq->dbr[CX_DBR_CQ_ARM]);
	is_set = is_armed(cq, record);
	pending = is_set && beyond(cq, record) && !(all_read && is_told(cq, record));
	next = next_look(cq, now);
	if (!pending || !cq->first_pending)
		cq->first_pending = pending ? pending_since(cq, now) : 0;
	due = event_time(cq, record);
	if (pending && due <= now) {
		serve(cq, record);
		raised = cq->eq;
		pending = false;
	}
	set_delay(cq, is_set, all_read);
	if (pending)
		park(cq, due < next ? due : next);
	else if (!all_read)
		park(cq, next);
	return raised;
}

/* A queue with new completions: looks at it, or, where the guest polls, a little later. */
static struct cx_eq *look_fresh(struct cx_cq *cq, uint64_t now)
{
	uint64_t when = now + cq->watch_delay;

	cq->watch_since = now;
	cq->watch_step = 0;
	if (!cq->watch_delay)
		return look(cq, now);
	park(cq, cq->watch_next && cq->watch_next < when ? cq->watch_next : when);
	return NULL;
}

/* The first queue of the list if it has fresh completions, taken off the list. */
static struct cx_cq *pop_fresh(struct cx_device *dev)
{
	struct cx_cq *cq = NULL;

	up_lock_take(&dev->watch_lock);
	if (!up_list_empty(&dev->watch)) {
		cq = UP_CONTAINER_OF(dev->watch.next, struct cx_cq, watch);
		if (cq->watch_fresh) {
			up_list_del(&cq->watch);
			__atomic_store_n(&cq->watch_fresh, false, __ATOMIC_RELAXED);
		} else {
			cq = NULL;
		}
	}
	up_lock_drop(&dev->watch_lock);
	return cq;
}

/*
 * Takes the queues that are to be looked at off the list, and sets when the next ones are. Those
 * that were passed over go to the end, so that a long list is gone through in several rounds.
 */
static unsigned pop_due(struct cx_device *dev, uint64_t now, struct cx_cq *due[LOOKS_MAX])
{
	struct up_list *pos, *tmp, *last;
	uint64_t next = UINT64_MAX;
	unsigned n = 0, scanned = 0;

	up_lock_take(&dev->watch_lock);
	last = dev->watch.prev;
	up_list_each (pos, tmp, &dev->watch) {
		struct cx_cq *cq = UP_CONTAINER_OF(pos, struct cx_cq, watch);

		if (scanned++ == SCAN_MAX) {
			next = now + SCAN_PAUSE;
			break;
		}
		if (!cq->watch_fresh) {
			up_list_del(pos);
			if (cq->watch_next <= now && n < LOOKS_MAX) {
				due[n++] = cq;
			} else {
				up_list_add_tail(&dev->watch, pos);
				next = cq->watch_next < next ? cq->watch_next : next;
			}
		}
		if (pos == last)
			break;
	}
	dev->watch_due = next;
	up_lock_drop(&dev->watch_lock);
	return n;
}

static uint64_t next_due(struct cx_device *dev, uint64_t now)
{
	uint64_t when = UINT64_MAX;

	up_lock_take(&dev->watch_lock);
	if (!up_list_empty(&dev->watch)) {
		const struct cx_cq *first = UP_CONTAINER_OF(dev->watch.next, struct cx_cq, watch);

		when = first->watch_fresh ? now : dev->watch_due;
	}
	up_lock_drop(&dev->watch_lock);
	return when;
}

/* Several queues of one event queue share an interrupt. */
struct interrupts {
	struct cx_eq *eq;
	unsigned events;
};

static void note_event(struct interrupts *irq, struct cx_eq *eq)
{
	if (!eq)
		return;
	if (irq->eq && irq->eq != eq)
		cx_eq_interrupt(irq->eq);
	irq->eq = eq;
	irq->events++;
}

unsigned cx_cq_watch(struct cx_device *dev, uint64_t now, uint64_t *due)
{
	struct interrupts irq = {0};
	struct cx_cq *cqs[LOOKS_MAX], *cq;
	uint64_t when;
	unsigned n;

	turn_now = now;
	for (unsigned i = 0; i < LOOKS_MAX && (cq = pop_fresh(dev)); i++) {
		up_lock_take(&cq->base.lock);
		note_event(&irq, look_fresh(cq, now));
		up_lock_drop(&cq->base.lock);
	}
	if (now >= dev->watch_due) {
		n = pop_due(dev, now, cqs);
		for (unsigned i = 0; i < n; i++) {
			up_lock_take(&cqs[i]->base.lock);
			note_event(&irq, look(cqs[i], now));
			up_lock_drop(&cqs[i]->base.lock);
		}
	}
	if (irq.eq)
		cx_eq_interrupt(irq.eq);
	when = next_due(dev, now);
	if (when < *due)
		*due = when;
	return irq.events;
}

void cx_cq_forget(struct cx_cq *cq)
{
	up_list_del(&cq->watch);
	cq->watch_fresh = false;
}
