/* SPDX-License-Identifier: BSD-2-Clause */
/* Receiving, and the completions. */
#include "lane/ofi/ofi.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define BATCH 16
/* Batches in one poll: others have their turn too. */
#define BATCHES 8
/* How long the lane rests when others are busy, and when it has no peers; and between how many
 * calls it looks at the clock then. */
#define REST_NS 20000u
#define REST_LONE_NS 100000u
#define REST_CALLS 64u
#define REST_AFTER 64u /* empty polls */
/* While nothing is expected, the events are looked at this seldom: they cost as much as a poll. */
#define EVENT_NS 2000000u
#define EVENT_POLLS 16u /* between two looks at the clock */

/* ---- receives ---- */

/* When there is nothing else to do, or when too many are not. */
void up_ofi_post_later(struct ofi_rx *rx)
{
	struct ofi_lane *lane = rx->pool->lane;

	rx->spent = true;
	if (lane->head)
		rx->work.conn = NULL;
	up_list_add_tail(&lane->spent, &rx->held);
	if (++lane->nspent >= OFI_RECEIVES / 2)
		up_ofi_repost(lane);
}

void up_ofi_spend(struct ofi_rx *rx)
{
	if (rx->copy)
		free(rx);
	else
		up_ofi_post_later(rx);
}

/* False: the provider wants no more now. */
static bool post_again(struct ofi_rx *rx)
{
	struct ofi_pool *pool = rx->pool;
	int ret = pool->ep ? up_ofi_rx_post(rx) : 0;

	if (ret == -FI_EAGAIN)
		return false;
	if (ret && rx->work.conn)
		up_ofi_conn_break(rx->work.conn);
	else if (ret)
		up_log(LOG_ERR, NULL, "ofi: cannot receive: %s", fi_strerror(-ret));
	return true;
}

void up_ofi_repost(struct ofi_lane *lane)
{
	while (!up_list_empty(&lane->spent)) {
		struct ofi_rx *rx = UP_CONTAINER_OF(lane->spent.next, struct ofi_rx, held);

		if (!post_again(rx))
			return;
		up_list_del(&rx->held);
		rx->spent = false;
		lane->nspent--;
	}
}

/* Where receives are scarce one message may not keep any: a copy waits in its place. */
static struct ofi_rx *set_aside(struct ofi_rx *rx)
{
	struct ofi_lane *lane = rx->pool->lane;
	size_t bytes = lane->head + rx->bytes;
	struct ofi_rx *copy = lane->scarce && !rx->copy ? malloc(sizeof(*copy) + bytes) : NULL;

	if (!copy)
		return rx;
	*copy = *rx;
	copy->copy = true;
	copy->data = (uint8_t *)(copy + 1);
	memcpy(copy->data, rx->data, bytes);
	up_list_init(&copy->held);
	up_ofi_post_later(rx);
	return copy;
}

static void hold(struct ofi_conn *c, struct ofi_rx *rx)
{
	rx = set_aside(rx);
	up_list_add_tail(&c->held, &rx->held);
	c->lane->nheld++;
}

/* Half of what the peer may send before it must know: it need not wait then. */
static void taken(struct ofi_conn *c, struct ofi_rx *rx)
{
	c->taken++;
	if (c->lane->head && c->taken - c->told >= OFI_CREDITS / 2)
		up_ofi_conn_tell(c);
	up_ofi_spend(rx);
}

static void deliver(struct ofi_conn *c, struct ofi_rx *rx)
{
	c->receives++;
	if (!up_list_empty(&c->held) ||
	    !up_ofi_conn_message(c, rx->data + c->lane->head, rx->bytes))
		hold(c, rx);
	else
		taken(c, rx);
}

/* Into its place. */
static void keep_early(struct ofi_conn *c, struct ofi_rx *rx)
{
	struct up_list *before = c->early.prev;

	rx = set_aside(rx);
	while (before != &c->early &&
	       (int32_t)(UP_CONTAINER_OF(before, struct ofi_rx, held)->number - rx->number) > 0)
		before = before->prev;
	up_list_add_tail(before->next, &rx->held);
}

static uint32_t newer(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0 ? a : b;
}

/* Is that the number of a message to come, and one that the peer may have sent by now? And can this
 * much of ours have been taken? If not the peer is none. */
static bool in_bounds(struct ofi_conn *c, uint32_t number, uint32_t acked)
{
	if (number - c->taken < OFI_CREDITS + OFI_OWN_CREDITS && (int32_t)(c->sends - acked) >= 0 &&
	    (int32_t)(number - c->receives) >= 0)
		return true;
	up_log(LOG_DEBUG, NULL, "ofi: a peer breaks the rules of a shared endpoint");
	up_ofi_conn_break(c);
	return false;
}

/*
 * Of datagrams: receives complete when their messages are there, and a short one may be there
 * before the long one that was sent first.
 */
static void arrived_shared(struct ofi_lane *lane, struct ofi_rx *rx, size_t bytes)
{
	struct ofi_conn *c = bytes < lane->head ? NULL : lane->kind->conn_find(lane, rx);
	struct ofi_head h;

	memcpy(&h, rx->data, sizeof(h));
	rx->number = le32toh(h.number);
	rx->work.conn = c;
	if (!c || !in_bounds(c, rx->number, le32toh(h.taken))) {
		up_ofi_spend(rx);
		return;
	}
	c->acked = newer(c->acked, le32toh(h.taken));
	if (rx->number != c->receives) {
		keep_early(c, rx);
		return;
	}
	deliver(c, rx);
	while (!up_list_empty(&c->early)) {
		rx = UP_CONTAINER_OF(c->early.next, struct ofi_rx, held);
		if (rx->number != c->receives)
			break;
		up_list_del(&rx->held);
		deliver(c, rx);
	}
}

static void arrived(struct ofi_rx *rx, size_t bytes)
{
	struct ofi_lane *lane = rx->pool->lane;

	rx->bytes = bytes - lane->head;
	if (lane->head)
		arrived_shared(lane, rx, bytes);
	else
		deliver(rx->work.conn, rx);
}

/* Offers again what was not taken. */
static unsigned offer_conn(struct ofi_conn *c)
{
	unsigned n = 0;

	while (!up_list_empty(&c->held)) {
		struct ofi_rx *rx = UP_CONTAINER_OF(c->held.next, struct ofi_rx, held);

		if (!up_ofi_conn_message(c, rx->data + c->lane->head, rx->bytes))
			break;
		up_list_del(&rx->held);
		c->lane->nheld--;
		taken(c, rx);
		n++;
	}
	return n;
}

static unsigned offer_held(struct ofi_lane *lane)
{
	struct up_list *pos, *tmp;
	unsigned n = 0;

	up_list_each (pos, tmp, &lane->conns)
		n += offer_conn(ofi_conn_of(pos));
	return n;
}

/* ---- completions ---- */

static void completed(struct ofi_lane *lane, const struct fi_cq_msg_entry *e)
{
	struct ofi_work *w =
		UP_CONTAINER_OF((struct fi_context2 *)e->op_context, struct ofi_work, provider);

	if (w->receive)
		arrived(UP_CONTAINER_OF(w, struct ofi_rx, work), e->len);
	else
		up_ofi_tx_done(lane, UP_CONTAINER_OF(w, struct ofi_tx, work));
}

/* Any error is the end of its connection. A receive that has none is posted again. */
static void failed(struct ofi_lane *lane)
{
	struct fi_cq_err_entry e = {0};
	struct ofi_work *w;

	if (fi_cq_readerr(lane->cq, &e, 0) < 0 || !e.op_context)
		return;
	w = UP_CONTAINER_OF((struct fi_context2 *)e.op_context, struct ofi_work, provider);
	up_log(LOG_DEBUG, NULL, "ofi: a transfer failed: %s", fi_strerror(e.err));
	if (w->conn)
		up_ofi_conn_break(w->conn);
	if (!w->receive)
		up_ofi_tx_done(lane, UP_CONTAINER_OF(w, struct ofi_tx, work));
	else if (!w->conn)
		up_ofi_spend(UP_CONTAINER_OF(w, struct ofi_rx, work));
}

/* One batch; *more: there may be another. */
static unsigned read_batch(struct ofi_lane *lane, bool *more)
{
	struct fi_cq_msg_entry e[BATCH];
	ssize_t got = fi_cq_read(lane->cq, e, BATCH);

	*more = got == BATCH || got == -FI_EAVAIL;
	if (got == -FI_EAVAIL) {
		failed(lane);
		return 1;
	}
	for (ssize_t i = 0; i < got; i++)
		completed(lane, &e[i]);
	return got > 0 ? (unsigned)got : 0;
}

void up_ofi_drain(struct ofi_lane *lane, unsigned most)
{
	unsigned n = 0, got = 1;
	bool more;

	while (got && n < most) {
		got = read_batch(lane, &more);
		n += got;
	}
}

/* ---- polling ---- */

static unsigned flush_stalled(struct ofi_lane *lane)
{
	struct up_list *pos, *tmp;
	unsigned n = 0;

	up_list_each (pos, tmp, &lane->links) {
		struct ofi_link *l = ofi_link_of(pos);

		if (!l->stalled)
			continue;
		up_ofi_flush(l);
		n += !l->stalled;
		if (l->dropped)
			up_ofi_link_settle(l);
	}
	return n;
}

static void flush_pending(struct ofi_lane *lane)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->conns)
		up_ofi_conn_flush(ofi_conn_of(pos));
}

static bool should_look(struct ofi_lane *lane)
{
	return lane->nsettling || lane->look ||
	       (++lane->polls % EVENT_POLLS == 0 &&
		up_clock_coarse_ns() >= lane->looked + EVENT_NS);
}

static unsigned look(struct ofi_lane *lane)
{
	unsigned n = lane->kind->events(lane);
	uint64_t now;

	lane->look = false;
	lane->looked = up_clock_coarse_ns();
	if (lane->nsettling && (now = up_clock_ns()) >= lane->checked + OFI_CHECK_NS) {
		up_ofi_deadlines(lane, now - lane->checked);
		lane->checked = now;
	}
	if (lane->looked >= lane->asked + ofi_alive_every(lane))
		up_ofi_alive(lane, lane->looked);
	return n;
}

static bool resting(struct ofi_lane *lane)
{
	if (!lane->rest)
		return false;
	if (up_clock_ns() < lane->rest) {
		lane->base.rests = REST_CALLS - 1;
		return true;
	}
	lane->rest = 0;
	return false;
}

/*
 * After a poll that found nothing, which costs several times what a message over shared memory
 * does. While nothing else happens either, whoever waits may wait for this lane.
 */
static void may_rest(struct ofi_lane *lane)
{
	uint64_t activity = up_core_activity(lane->base.ep);
	bool busy = activity != lane->activity;

	lane->activity = activity;
	if (++lane->empty < REST_AFTER || lane->base.alone || lane->nsettling || lane->nheld ||
	    lane->nstalled || lane->npending || lane->broken)
		return;
	if (up_list_empty(&lane->conns))
		lane->rest = up_clock_ns() + REST_LONE_NS;
	else if (busy)
		lane->rest = up_clock_ns() + REST_NS;
}

/*
 * Whoever sleeps is woken by sockets, and everything here that moves what is in them may leave it
 * in the queue above: so, while somebody may sleep, nothing stays there.
 */
static unsigned leave_nothing(struct ofi_lane *lane)
{
	unsigned n = 0, got;
	bool more;

	for (unsigned i = 0; i < BATCHES; i++) {
		got = read_batch(lane, &more);
		n += got;
		if (!got)
			return n;
	}
	up_ofi_kick(lane);
	return n;
}

static unsigned poll_all(struct ofi_lane *lane)
{
	bool more = true;
	unsigned n = 0;

	if (lane->nheld)
		n += offer_held(lane);
	for (unsigned i = 0; more && i < BATCHES; i++)
		n += read_batch(lane, &more);
	if (should_look(lane))
		n += look(lane);
	if (lane->npending)
		flush_pending(lane);
	if (lane->nstalled)
		n += flush_stalled(lane);
	if (lane->broken)
		up_ofi_reap(lane);
	if (!n)
		up_ofi_repost(lane);
	return n;
}

unsigned up_ofi_poll(struct up_lane *base)
{
	struct ofi_lane *lane = (struct ofi_lane *)base;
	unsigned n;

	if (lane->polling || resting(lane))
		return 0;
	lane->polling = true;
	if (lane->armed)
		up_ofi_awake(lane);
	n = poll_all(lane);
	if (lane->armed)
		n += leave_nothing(lane);
	if (n)
		lane->empty = 0;
	else
		may_rest(lane);
	lane->polling = false;
	return n;
}
