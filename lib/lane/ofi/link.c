/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of links: made when the core wants one or when a peer makes contact, connected when
 * there is something to send, and freed when the core has let go and all has been sent.
 */
#include "lane/ofi/ofi.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

struct ofi_link *up_ofi_link_new(struct ofi_lane *lane, const struct ofi_target *to)
{
	struct ofi_link *l = aligned_alloc(64, (sizeof(*l) + 63) & ~(size_t)63);

	if (!l)
		return NULL;
	memset(l, 0, sizeof(*l));
	l->base.lane = &lane->base;
	l->target = *to;
	up_list_init(&l->queue);
	up_list_add_tail(&lane->links, &l->node);
	return l;
}

void up_ofi_link_free(struct ofi_link *l)
{
	struct ofi_lane *lane = ofi_lane_of(l);
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->conns) {
		struct ofi_conn *c = ofi_conn_of(pos);

		if (c->link != l)
			continue;
		c->link = NULL;
		up_ofi_conn_break(c);
	}
	up_list_each (pos, tmp, &l->queue)
		up_ofi_tx_put(lane, UP_CONTAINER_OF(pos, struct ofi_tx, node));
	lane->nstalled -= l->stalled;
	up_ofi_settling(lane, -(l->deadline != 0));
	up_list_del(&l->node);
	free(l);
}

/* 0: none. */
static void set_deadline(struct ofi_link *l, uint64_t deadline)
{
	struct ofi_lane *lane = ofi_lane_of(l);

	up_ofi_settling(lane, (deadline != 0) - (l->deadline != 0));
	l->deadline = deadline;
}

struct ofi_link *up_ofi_link_find(struct ofi_lane *lane, uint64_t cookie)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->links) {
		struct ofi_link *l = ofi_link_of(pos);

		if (l->target.cookie == cookie && !l->dropped && l->state != OFI_LINK_DOWN)
			return l;
	}
	return NULL;
}

int up_ofi_connect(struct up_lane *base, const void *addr, size_t len, struct up_link **link)
{
	struct ofi_lane *lane = (struct ofi_lane *)base;
	struct ofi_target to;
	struct ofi_link *l;
	int ret = up_ofi_addr_parse(lane, &to, addr, len);

	if (ret)
		return ret;
	l = up_ofi_link_find(lane, to.cookie);
	if (!l)
		l = up_ofi_link_new(lane, &to);
	if (!l)
		return -ENOMEM;
	*link = &l->base;
	return 0;
}

/* The next of the peer's addresses. False: there is no more. */
static bool try_next(struct ofi_link *l)
{
	while (l->tried < l->target.n && !l->conn)
		l->conn = up_ofi_conn_open(l, &l->target.at[l->tried++]);
	return l->conn != NULL;
}

void up_ofi_link_start(struct ofi_link *l)
{
	l->state = OFI_LINK_CONNECTING;
	set_deadline(l, up_clock_ns() + (l->target.n + 1) * ofi_lane_of(l)->timeout);
	if (!try_next(l))
		up_ofi_link_fail(l, -EHOSTDOWN);
}

void up_ofi_link_up(struct ofi_link *l, struct ofi_conn *c)
{
	l->state = OFI_LINK_UP;
	l->conn = c;
	c->link = l;
	set_deadline(l, 0);
	up_ofi_flush(l);
	if (l->dropped)
		up_ofi_link_settle(l);
}

void up_ofi_link_lost(struct ofi_link *l)
{
	l->conn = NULL;
	if (l->state != OFI_LINK_CONNECTING || !try_next(l))
		up_ofi_link_fail(l, -EHOSTDOWN);
}

void up_ofi_link_fail(struct ofi_link *l, int error)
{
	if (l->state == OFI_LINK_DOWN)
		return;
	l->state = OFI_LINK_DOWN;
	set_deadline(l, 0);
	if (l->dropped)
		up_ofi_link_settle(l);
	else
		up_core_link_down(&l->base, error);
}

void up_ofi_link_settle(struct ofi_link *l)
{
	struct ofi_lane *lane = ofi_lane_of(l);

	if (!l->dropped || (l->state == OFI_LINK_CONNECTING && !up_list_empty(&l->queue)))
		return;
	if (l->state == OFI_LINK_UP) {
		/* What the provider did not take is sent in poll(), until the deadline. */
		if (!up_list_empty(&l->queue)) {
			set_deadline(l, up_clock_ns() + lane->timeout);
			return;
		}
		up_ofi_conn_leave(l->conn);
	}
	up_ofi_link_free(l);
}

void up_ofi_disconnect(struct up_link *base)
{
	struct ofi_link *l = (struct ofi_link *)base;

	l->base.peer = NULL;
	l->dropped = true;
	if (ofi_is_ours(ofi_lane_of(l)))
		up_ofi_link_settle(l);
}
