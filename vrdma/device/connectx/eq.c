/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Event queues: entries (struct mlx5_eqe) in guest memory, and the interrupts that tell of them.
 *
 * How far the guest came it tells in a word of a doorbell page (eq_update_ci() of Linux) that all
 * queues of a driver share: of several queues the last one's is seen, and of those that share an
 * interrupt hardly another. So each queue keeps the highest index that was seen, and where it sees
 * none it counts on time: a driver takes TAKEN entries or all for an interrupt, so that many are
 * gone after each TAKEN_TIME of interrupts. That serves two ends:
 *
 *  - A driver that leaves entries behind arms its queue and waits to be interrupted for them, but
 *    the arming is not seen. So a queue with more than TAKEN unread is interrupted again and again.
 *  - A full ring is not written to. Completion events are left for later, as their queues stay on
 *    the watch list (cq_watch.c); others wait here, in order.
 */
#include "device/connectx/connectx.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "device/connectx/abi_queue.h"

/* MLX5_EQ_POLLING_BUDGET; and time for a virtual processor that does not run at once. */
#define TAKEN 128u
#define TAKEN_TIME (4 * UP_MSEC)
#define ASK_PAUSE (1 * UP_MSEC)
/*
 * Events that wait for room in a ring: as many as a driver can have coming, which is about one of
 * each queue pair and completion queue. And how many a round writes.
 */
#define MIN_WAITING 64u
#define MAX_WAITING (1u << 18)
#define WAITING_STEP 512

static void eq_lost(struct cx_eq *eq, const char *why)
{
	if (!eq->lost)
		up_log(LOG_ERR, eq->dev->hca.name, "event queue %u %s: events are lost", eq->eqn,
		       why);
	eq->lost = true;
}

static uint32_t unread(const struct cx_eq *eq)
{
	return eq->producer - eq->consumer;
}

/* With so many unread the guest may have left some behind, or the ring be full soon. */
static bool is_behind(const struct cx_eq *eq)
{
	uint32_t half = 1u << eq->log_size >> 1;

	return eq->uar_page && unread(eq) >= (half < TAKEN ? half : TAKEN);
}

/* The word, with and without arming. */
static void read_index(struct cx_eq *eq)
{
	const uint8_t *word =
		eq->dev->uar_mem + (size_t)eq->uar_page * CX_UAR_PAGE_SIZE + CX_UAR_EQ_ARM;

	for (unsigned i = 0; i < 2; i++, word += CX_UAR_EQ_NO_ARM - CX_UAR_EQ_ARM) {
		uint32_t told = up_fetch_be32(word), taken = (told - eq->consumer) & CX_EQ_CI_MASK;

		if (told >> CX_EQ_NUMBER_SHIFT == eq->eqn && taken <= unread(eq))
			eq->consumer += taken;
	}
}

/* Brings the index up to date where that matters. Under the lock. */
static void settle(struct cx_eq *eq)
{
	bool behind = is_behind(eq);
	uint64_t now, steps, taken;

	if (behind) {
		read_index(eq);
		now = eq->dev->hca.net->clock();
		if (!eq->behind)
			eq->counted = now;
		steps = (now - eq->counted) / TAKEN_TIME;
		taken = steps * TAKEN;
		eq->consumer += taken < unread(eq) ? (uint32_t)taken : unread(eq);
		eq->counted += steps * TAKEN_TIME;
		behind = is_behind(eq);
	}
	behind |= eq->waiting != 0;
	if (behind != eq->behind)
		__atomic_fetch_add(&eq->dev->behind_eqs, behind ? 1 : -1, __ATOMIC_RELAXED);
	eq->behind = behind;
}

/* Of what is settled. */
static bool is_full(const struct cx_eq *eq)
{
	return eq->uar_page && unread(eq) >= 1u << eq->log_size;
}

/*
 * Writes one entry. The guest reads the owner byte, and what is before it only once that shows the
 * wrap count of its own position (next_eqe_sw() and dma_rmb() of Linux): so it is stored last.
 */
static void write_entry(struct cx_eq *eq, const struct cx_event *event)
{
	struct cx_eqe eqe = {.type = event->type, .sub_type = event->sub_type};
	uint32_t mask = (1u << eq->log_size) - 1;
	struct cx_eqe *slot;

	memcpy(eqe.data, event->data, sizeof(eqe.data));
	slot = (void *)cx_ring_at(&eq->buf, &eq->dev->hca.mem,
				  (uint64_t)(eq->producer & mask) * sizeof(*slot), sizeof(*slot));
	if (slot) {
		memcpy(slot, &eqe, offsetof(struct cx_eqe, owner));
		up_publish_u8(&slot->owner, eq->producer >> eq->log_size & 1);
		eq->producer++;
	} else {
		eq_lost(eq, "is not in memory");
	}
	__atomic_fetch_add(&eq->dev->hca.stats.events, 1, __ATOMIC_RELAXED);
}

static bool make_room(struct cx_eq *eq)
{
	struct up_arena *arena = eq->dev->hca.arena;
	uint32_t room = eq->room ? 2 * eq->room : MIN_WAITING;
	struct cx_event *events;

	if (eq->waiting < eq->room)
		return true;
	if (room > MAX_WAITING)
		return false;
	events = up_arena_alloc(arena, room * sizeof(*events));
	if (!events)
		return false;
	for (uint32_t i = 0; i < eq->waiting; i++)
		events[i] = eq->events[(eq->first + i) & (eq->room - 1)];
	up_arena_free(arena, eq->events, eq->room * sizeof(*events));
	eq->events = events;
	eq->room = room;
	eq->first = 0;
	return true;
}

static void keep(struct cx_eq *eq, const struct cx_event *event)
{
	if (!make_room(eq)) {
		eq_lost(eq, "is full, and the driver takes nothing from it");
		return;
	}
	eq->events[(eq->first + eq->waiting++) & (eq->room - 1)] = *event;
}

/* The control thread is here as well (commands' completions). */
static void lock(struct cx_eq *eq)
{
	up_lock_always_take(&eq->lock);
	cx_eq_locate(eq);
	settle(eq);
}

/* Is it behind? */
static bool unlock(struct cx_eq *eq)
{
	bool was_behind = eq->behind, behind;

	settle(eq);
	behind = eq->behind;
	up_lock_always_drop(&eq->lock);
	if (behind && !was_behind)
		up_worker_wake(eq->dev->port->worker);
	return behind;
}

void cx_eq_drop_events(struct cx_eq *eq, struct up_arena *arena)
{
	up_arena_free(arena, eq->events, eq->room * sizeof(*eq->events));
	eq->events = NULL;
	eq->room = eq->first = eq->waiting = 0;
}

/* As many as there is room for, of those that one round may take. */
static unsigned write_waiting(struct cx_eq *eq, bool *behind)
{
	unsigned n = 0;

	lock(eq);
	while (eq->waiting && n < WAITING_STEP && !is_full(eq)) {
		write_entry(eq, &eq->events[eq->first]);
		eq->first = (eq->first + 1) & (eq->room - 1);
		eq->waiting--;
		n++;
	}
	if (n && !eq->waiting)
		cx_eq_drop_events(eq, eq->dev->hca.arena);
	*behind = unlock(eq);
	return n;
}

unsigned cx_eq_serve(struct cx_device *dev, uint64_t now, uint64_t *due)
{
	unsigned posted = 0;

	if (!__atomic_load_n(&dev->behind_eqs, __ATOMIC_RELAXED))
		return 0;
	for (unsigned i = 0; i < CX_MAX_EQ; i++) {
		struct cx_eq *eq = dev->eqs[i];
		bool behind;
		unsigned n;

		if (!eq)
			continue;
		n = write_waiting(eq, &behind);
		if (n || (behind && now >= eq->ask_next)) {
			eq->ask_next = now + ASK_PAUSE;
			cx_eq_interrupt(eq);
		}
		if (behind && eq->ask_next < *due)
			*due = eq->ask_next;
		posted += n;
	}
	return posted;
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
	struct cx_event event = {.type = type, .sub_type = subtype};

	memcpy(event.data, data, sizeof(event.data));
	lock(eq);
	/* Of commands there are fewer than entries. */
	if (type != CX_EVENT_CMD && (eq->waiting || is_full(eq)))
		keep(eq, &event);
	else
		write_entry(eq, &event);
	unlock(eq);
	cx_eq_interrupt(eq);
}

bool cx_eq_post_completion(struct cx_eq *eq, uint32_t cqn)
{
	struct cx_eqe_comp comp = {.cqn = htobe32(cqn)};
	struct cx_event event = {.type = CX_EVENT_COMP};
	bool full;

	memcpy(event.data, &comp, sizeof(event.data));
	lock(eq);
	/* Of each completion queue one event is under way at most. */
	full = eq->users > 1u << eq->log_size && is_full(eq);
	if (!full)
		write_entry(eq, &event);
	unlock(eq);
	return !full;
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
