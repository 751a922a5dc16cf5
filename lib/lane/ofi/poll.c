/* SPDX-License-Identifier: BSD-2-Clause */
/* Receiving, and the completions. */
#include "lane/ofi/ofi.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>

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

static int post(struct ofi_conn *c, struct ofi_rx *rx)
{
	return (int)fi_recv(c->ep, rx->data, OFI_MAX_PACKET, NULL, FI_ADDR_UNSPEC,
			    &rx->work.provider);
}

int up_ofi_post_all(struct ofi_conn *c)
{
	int ret = 0;

	for (unsigned i = 0; i < OFI_RECEIVES && !ret; i++)
		ret = post(c, &c->rx[i]);
	return ret;
}

/* It is posted again when there is nothing else to do, or when too many are not. */
static void spend(struct ofi_rx *rx)
{
	struct ofi_lane *lane = rx->work.conn->lane;

	rx->spent = true;
	up_list_add_tail(&lane->spent, &rx->held);
	if (++lane->nspent >= OFI_RECEIVES / 2)
		up_ofi_repost(lane);
}

void up_ofi_repost(struct ofi_lane *lane)
{
	while (!up_list_empty(&lane->spent)) {
		struct ofi_rx *rx = UP_CONTAINER_OF(lane->spent.next, struct ofi_rx, held);
		struct ofi_conn *c = rx->work.conn;

		up_list_del(&rx->held);
		rx->spent = false;
		lane->nspent--;
		if (c->ep && post(c, rx))
			up_ofi_conn_break(c);
	}
}

static void hold(struct ofi_rx *rx)
{
	up_list_add_tail(&rx->work.conn->held, &rx->held);
	rx->work.conn->lane->nheld++;
}

static void arrived(struct ofi_rx *rx, size_t bytes)
{
	struct ofi_conn *c = rx->work.conn;

	rx->bytes = bytes;
	if (!up_list_empty(&c->held) || !up_ofi_conn_message(c, rx->data, bytes))
		hold(rx);
	else
		spend(rx);
}

/* Offers again what was not taken. */
static unsigned offer_conn(struct ofi_conn *c)
{
	unsigned n = 0;

	while (!up_list_empty(&c->held)) {
		struct ofi_rx *rx = UP_CONTAINER_OF(c->held.next, struct ofi_rx, held);

		if (!up_ofi_conn_message(c, rx->data, rx->bytes))
			break;
		up_list_del(&rx->held);
		c->lane->nheld--;
		spend(rx);
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

static void completed(const struct fi_cq_msg_entry *e)
{
	struct ofi_work *w =
		UP_CONTAINER_OF((struct fi_context2 *)e->op_context, struct ofi_work, provider);

	if (w->receive)
		arrived(UP_CONTAINER_OF(w, struct ofi_rx, work), e->len);
	else
		up_ofi_tx_done(UP_CONTAINER_OF(w, struct ofi_tx, work));
}

/* Any error is the end of its connection. */
static void failed(struct ofi_lane *lane)
{
	struct fi_cq_err_entry e = {0};
	struct ofi_work *w;

	if (fi_cq_readerr(lane->cq, &e, 0) < 0 || !e.op_context)
		return;
	w = UP_CONTAINER_OF((struct fi_context2 *)e.op_context, struct ofi_work, provider);
	up_ofi_conn_break(w->conn);
	if (!w->receive)
		up_ofi_tx_done(UP_CONTAINER_OF(w, struct ofi_tx, work));
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
		completed(&e[i]);
	return got > 0 ? (unsigned)got : 0;
}

unsigned up_ofi_drain(struct ofi_lane *lane)
{
	unsigned n = 0, got;
	bool more;

	while ((got = read_batch(lane, &more)))
		n += got;
	return n;
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

static bool should_look(struct ofi_lane *lane)
{
	return lane->nsettling || lane->look ||
	       (++lane->polls % EVENT_POLLS == 0 &&
		up_clock_coarse_ns() >= lane->looked + EVENT_NS);
}

static unsigned look(struct ofi_lane *lane)
{
	unsigned n = up_ofi_events(lane);
	uint64_t now;

	lane->look = false;
	lane->looked = up_clock_coarse_ns();
	if (lane->nsettling && (now = up_clock_ns()) >= lane->checked + OFI_CHECK_NS) {
		lane->checked = now;
		up_ofi_deadlines(lane);
	}
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
	    lane->nstalled || lane->broken)
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
