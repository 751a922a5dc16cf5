/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sending. A short packet is injected: written into the link, copied by the provider, and not heard
 * of again. Others, and from time to time a short one, have a buffer that comes back with a
 * completion; it tells that everything before it is gone too, as a connection keeps the order.
 */
#include "lane/ofi/ofi.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define SMALL ((size_t)4096)
/* Long buffers that are kept for the next packets. */
#define SPARE_MAX 32

/* ---- buffers ---- */

static struct ofi_tx *new_tx(struct ofi_lane *lane, size_t room)
{
	struct ofi_tx *tx = malloc(sizeof(*tx) + room);

	if (!tx)
		return NULL;
	tx->work = (struct ofi_work){.receive = false};
	tx->room = room;
	up_list_init(&tx->node);
	if (!up_ofi_register(lane, tx->head, OFI_HEAD_ROOM + room, FI_SEND, &tx->mr))
		return tx;
	free(tx);
	return NULL;
}

struct ofi_tx *up_ofi_tx_get(struct ofi_lane *lane, size_t bytes)
{
	bool small = bytes <= SMALL;
	struct up_list *list = small ? &lane->spare_small : &lane->spare;
	struct ofi_tx *tx;

	if (!up_list_empty(list)) {
		tx = UP_CONTAINER_OF(list->prev, struct ofi_tx, node);
		up_list_del(&tx->node);
		lane->nspare -= !small;
		return tx;
	}
	return new_tx(lane, small ? SMALL : OFI_MAX_PACKET);
}

static void free_tx(struct ofi_tx *tx)
{
	if (tx->mr)
		up_ofi_close_fid(&tx->mr->fid);
	free(tx);
}

void up_ofi_tx_put(struct ofi_lane *lane, struct ofi_tx *tx)
{
	up_list_del(&tx->node);
	if (tx->room == SMALL) {
		up_list_add_tail(&lane->spare_small, &tx->node);
	} else if (lane->nspare < SPARE_MAX) {
		up_list_add_tail(&lane->spare, &tx->node);
		lane->nspare++;
	} else {
		free_tx(tx);
	}
}

static void free_list(struct up_list *list)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, list)
		free_tx(UP_CONTAINER_OF(pos, struct ofi_tx, node));
	up_list_init(list);
}

void up_ofi_tx_fini(struct ofi_lane *lane)
{
	free_list(&lane->spare);
	free_list(&lane->spare_small);
	free_list(&lane->orphans);
	lane->nspare = 0;
}

/* A message left. Of those that have no name to go to only the first counts, the hello. */
static void count(struct ofi_conn *c)
{
	c->sends += c->there || !c->sends;
	c->told = c->taken;
}

/* With the head that it has. */
static int post(struct ofi_conn *c, struct ofi_tx *tx)
{
	size_t head = c->lane->head;
	struct iovec iov = {.iov_base = tx->data - head, .iov_len = head + tx->bytes};
	void *desc = tx->mr ? fi_mr_desc(tx->mr) : NULL;
	const struct fi_msg msg = {
		.msg_iov = &iov,
		.desc = &desc,
		.iov_count = 1,
		.addr = c->to,
		.context = &tx->work.provider,
	};
	ssize_t ret;

	if (!c->ep)
		return -EPIPE;
	tx->work.conn = c;
	ret = fi_sendmsg(c->ep, &msg, FI_COMPLETION);
	if (!ret) {
		up_list_add_tail(&c->sent, &tx->node);
		return 0;
	}
	if (ret == -FI_EAGAIN)
		return -EAGAIN;
	up_ofi_conn_break(c);
	return -EPIPE;
}

int up_ofi_tx_post(struct ofi_conn *c, struct ofi_tx *tx)
{
	int ret;

	up_ofi_put_head(c, tx->head);
	ret = post(c, tx);
	if (!ret)
		count(c);
	return ret;
}

int up_ofi_tx_post_unnamed(struct ofi_conn *c, struct ofi_tx *tx)
{
	memset(tx->head, 0, sizeof(tx->head));
	return post(c, tx);
}

void up_ofi_tx_done(struct ofi_lane *lane, struct ofi_tx *tx)
{
	struct ofi_conn *c = tx->work.conn;

	if (c && c->link && c->link->conn == c)
		c->link->out -= tx->covers;
	up_ofi_tx_put(lane, tx);
}

/* ---- packets ---- */

static void stall(struct ofi_link *l, bool stalled)
{
	if (l->stalled == stalled)
		return;
	l->stalled = stalled;
	if (stalled)
		ofi_lane_of(l)->nstalled++;
	else
		ofi_lane_of(l)->nstalled--;
}

void up_ofi_flush(struct ofi_link *l)
{
	int ret = 0;

	if (l->state == OFI_LINK_UP && !up_list_empty(&l->conn->pending))
		ret = -EAGAIN;
	while (!ret && l->state == OFI_LINK_UP && !up_list_empty(&l->queue)) {
		struct ofi_tx *tx = UP_CONTAINER_OF(l->queue.next, struct ofi_tx, node);

		if (!ofi_may_send(l->conn)) {
			ret = -EAGAIN;
			break;
		}
		up_list_del(&tx->node);
		ret = up_ofi_tx_post(l->conn, tx);
		/* Back to its place, the first. */
		if (ret)
			up_list_add_tail(l->queue.next, &tx->node);
	}
	stall(l, ret == -EAGAIN);
}

static bool may_inject(const struct ofi_link *l, size_t bytes)
{
	return bytes <= ofi_lane_of(l)->inject && l->state == OFI_LINK_UP &&
	       up_list_empty(&l->queue) && l->conn->ep && up_list_empty(&l->conn->pending) &&
	       l->loose < OFI_LOOSE_MAX && ofi_may_send(l->conn);
}

void *up_ofi_reserve(struct up_link *base, size_t bytes, enum up_lane_class class)
{
	struct ofi_link *l = (struct ofi_link *)base;
	size_t most = class == UP_LANE_REQUEST ? OFI_WINDOW
					       : OFI_WINDOW + OFI_ANSWER_ROOM + 2 * OFI_MAX_PACKET;
	struct ofi_tx *tx;

	if (l->state == OFI_LINK_DOWN || bytes > OFI_MAX_PACKET || l->out + bytes > most)
		return NULL;
	if (may_inject(l, bytes))
		return l->small;
	tx = up_ofi_tx_get(ofi_lane_of(l), bytes);
	return tx ? tx->data : NULL;
}

/* Copies what the provider did not want to, to try it again. */
static void requeue(struct ofi_link *l, size_t bytes)
{
	struct ofi_tx *tx = up_ofi_tx_get(ofi_lane_of(l), bytes);

	if (!tx) {
		up_ofi_link_fail(l, -EHOSTDOWN);
		return;
	}
	memcpy(tx->data, l->small, bytes);
	tx->bytes = bytes;
	tx->covers = l->loose;
	l->loose = 0;
	up_list_add_tail(&l->queue, &tx->node);
	stall(l, true);
}

static void inject(struct ofi_link *l, size_t bytes)
{
	struct ofi_conn *c = l->conn;
	size_t head = c->lane->head;
	ssize_t ret;

	if (head)
		up_ofi_put_head(c, l->small_head);
	ret = fi_inject(c->ep, l->small - head, head + bytes, c->to);
	if (!ret)
		count(c);
	l->out += bytes;
	l->loose += bytes;
	if (__builtin_expect(ret == 0, 1))
		return;
	if (ret == -FI_EAGAIN)
		requeue(l, bytes);
	else
		up_ofi_conn_break(l->conn);
}

void up_ofi_commit(struct up_link *base, void *packet, size_t bytes)
{
	struct ofi_link *l = (struct ofi_link *)base;
	struct ofi_tx *tx;

	/* There will be an answer. */
	ofi_awaken(ofi_lane_of(l));
	if (packet == l->small) {
		inject(l, bytes);
		return;
	}
	tx = UP_CONTAINER_OF((uint8_t(*)[])packet, struct ofi_tx, data);
	tx->bytes = bytes;
	tx->covers = l->loose + bytes;
	l->loose = 0;
	l->out += bytes;
	up_list_add_tail(&l->queue, &tx->node);
	if (l->state == OFI_LINK_UP)
		up_ofi_flush(l);
	else if (l->state == OFI_LINK_IDLE)
		up_ofi_link_start(l);
}
