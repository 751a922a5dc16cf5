/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events for armed completion queues.
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

#include "base/clock.h"
#include "device/connectx/abi_queue.h"

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

/* a - b for indexes of 24 bits: positive when a is beyond b. */
static int32_t distance(uint32_t a, uint32_t b)
{
	return (int32_t)((a - b) << 8) >> 8;
}

/* With the device's watch_lock. */
static void set_state(struct cx_cq *cq, enum cx_watch_state state)
{
	__atomic_store_n(&cq->watch.state, state, __ATOMIC_RELAXED);
}

/*
 * Puts the queue in front of the watch list. It may be seen as fresh here while cx_cq_watch() has
 * just taken it off: then that waits for the lock that the caller holds, and looks at what was
 * posted under it.
 */
static void put_first(struct cx_cq *cq)
{
	struct cx_device *dev = cq->dev;

	if (__atomic_load_n(&cq->watch.state, __ATOMIC_RELAXED) == CX_WATCH_FRESH)
		return;
	up_lock_take(&dev->watch_lock);
	up_list_del(&cq->watch.node);
	up_list_add_tail(dev->watch.next, &cq->watch.node);
	set_state(cq, CX_WATCH_FRESH);
	up_lock_drop(&dev->watch_lock);
	/* It may be another worker's, and asleep. */
	up_worker_wake(dev->port->worker);
}

void cx_cq_watch_add(struct cx_cq *cq, bool solicited)
{
	struct cx_cq_watch *w = &cq->watch;

	if (solicited) {
		w->solicited_producer = cq->producer;
		w->untold_solicited = true;
	}
	w->untold = true;
	put_first(cq);
}

static bool is_armed(const struct cx_cq *cq, uint32_t record)
{
	if (!cq->watch.have_served)
		return record != CX_ARM_INIT;
	return (record ^ cq->watch.served_arm) >> CX_ARM_SN_SHIFT & CX_ARM_SN_MASK;
}

static bool beyond(const struct cx_cq *cq, uint32_t record)
{
	uint32_t last = record & CX_ARM_SOLICITED ? cq->watch.solicited_producer : cq->producer;

	return distance(last, record & CX_ARM_CI_MASK) > 0;
}

/* Did the last event tell of all that this record asks for? */
static bool is_told(const struct cx_cq *cq, uint32_t record)
{
	return !(record & CX_ARM_SOLICITED ? cq->watch.untold_solicited : cq->watch.untold);
}

/*
 * When an event for this record is due: at once, or when moderation lets it. A count alone would
 * keep the last completions for ever, so it matters only within a period.
 */
static uint64_t event_time(const struct cx_cq *cq, uint32_t record)
{
	int32_t count = distance(cq->producer, record & CX_ARM_CI_MASK);

	if (is_told(cq, record))
		return cq->watch.first_pending + TOLD_DELAY;
	if (cq->moderation_count && count >= cq->moderation_count)
		return cq->watch.first_pending;
	return cq->watch.first_pending + cq->moderation_us * UP_USEC;
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
	uint32_t delay = cq->watch.delay * 2;

	if (uses_events)
		cq->watch.delay = 0;
	else if (all_read)
		cq->watch.delay = delay < POLLED_DELAY_MIN   ? POLLED_DELAY_MIN
				  : delay > POLLED_DELAY_MAX ? POLLED_DELAY_MAX
							     : delay;
}

/* Back on the list, behind those with fresh completions; unless one came in the meantime. */
static void park(struct cx_cq *cq, uint64_t when)
{
	struct cx_device *dev = cq->dev;

	cq->watch.next = when;
	up_lock_take(&dev->watch_lock);
	if (cq->watch.state == CX_WATCH_OFF) {
		up_list_add_tail(&dev->watch, &cq->watch.node);
		set_state(cq, CX_WATCH_PARKED);
		if (when < dev->watch_due)
			dev->watch_due = when;
	}
	up_lock_drop(&dev->watch_lock);
}

static uint64_t next_look(struct cx_cq *cq, uint64_t now)
{
	uint64_t step = cq->watch.step * 2;

	if (now - cq->watch.since > UP_SEC)
		step = LOOK_IDLE;
	else if (step < LOOK_FIRST)
		step = LOOK_FIRST;
	else if (step > LOOK_LAST)
		step = LOOK_LAST;
	cq->watch.step = step;
	return now + step;
}

/* False: the event queue is full. */
static bool serve(struct cx_cq *cq, uint32_t record)
{
	if (!cx_eq_post_completion(cq->eq, cq->base.cqn))
		return false;
	cq->watch.have_served = true;
	cq->watch.served_arm = record;
	cq->watch.untold = cq->watch.untold_solicited = false;
	cq->watch.first_pending = 0;
	return true;
}

/* Reads the records, posts the event if it is due. Returns the EQ to interrupt, or NULL. */
static struct cx_eq *look(struct cx_cq *cq, uint64_t now)
{
	struct cx_eq *raised = NULL;
	bool all_read, is_set, pending;
	uint64_t next, due;
	uint32_t record;

	cq->watch.next = 0;
	cx_cq_locate(cq);
	if (!cq->dbr)
		return NULL;
	/* In this order: an arming stored before the index that is read here is seen. */
	all_read = !cx_cq_unread(cq);
	record = up_fetch_be32(&cq->dbr[CX_DBR_CQ_ARM]);
	is_set = is_armed(cq, record);
	pending = is_set && beyond(cq, record) && !(all_read && is_told(cq, record));
	next = next_look(cq, now);
	if (!pending || !cq->watch.first_pending)
		cq->watch.first_pending = pending ? pending_since(cq, now) : 0;
	due = event_time(cq, record);
	if (pending && due <= now) {
		pending = !serve(cq, record);
		raised = pending ? NULL : cq->eq;
		due = next;
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
	uint64_t when = now + cq->watch.delay;

	cq->watch.since = now;
	cq->watch.step = 0;
	if (!cq->watch.delay)
		return look(cq, now);
	park(cq, cq->watch.next && cq->watch.next < when ? cq->watch.next : when);
	return NULL;
}

static void take_off(struct cx_cq *cq)
{
	up_list_del(&cq->watch.node);
	set_state(cq, CX_WATCH_OFF);
}

/* The first queue of the list if it has fresh completions, taken off the list. */
static struct cx_cq *pop_fresh(struct cx_device *dev)
{
	struct cx_cq *cq = NULL;

	up_lock_take(&dev->watch_lock);
	if (!up_list_empty(&dev->watch)) {
		cq = UP_CONTAINER_OF(dev->watch.next, struct cx_cq, watch.node);
		if (cq->watch.state == CX_WATCH_FRESH)
			take_off(cq);
		else
			cq = NULL;
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
		struct cx_cq *cq = UP_CONTAINER_OF(pos, struct cx_cq, watch.node);

		if (scanned++ == SCAN_MAX) {
			next = now + SCAN_PAUSE;
			break;
		}
		if (cq->watch.state == CX_WATCH_PARKED) {
			if (cq->watch.next <= now && n < LOOKS_MAX) {
				take_off(cq);
				due[n++] = cq;
			} else {
				up_list_del(pos);
				up_list_add_tail(&dev->watch, pos);
				next = cq->watch.next < next ? cq->watch.next : next;
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
		const struct cx_cq *first =
			UP_CONTAINER_OF(dev->watch.next, struct cx_cq, watch.node);

		when = first->watch.state == CX_WATCH_FRESH ? now : dev->watch_due;
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

	cx_cq_set_turn(now);
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
	take_off(cq);
}
