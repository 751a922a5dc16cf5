/* SPDX-License-Identifier: BSD-2-Clause */
/* Operations of several packets, and what the initiator's progress modules share. */
#include "rma/rma.h"

#include <string.h>

/* Operations of an endpoint that wait for their turn with a peer; then it is -EAGAIN. */
#define MOST_QUEUED 4096u

bool up_rma_valid(struct up_rma_call *c)
{
	size_t there = 0;

	if (!up_iov_valid(c->local, c->nlocal) || c->nremote > UP_IOV_MAX ||
	    (c->nremote && !c->remote))
		return false;
	for (size_t i = 0; i < c->nremote; i++) {
		if (__builtin_add_overflow(there, c->remote[i].len, &there))
			return false;
	}
	c->bytes = c->nlocal == 1 ? c->local[0].iov_len : up_iov_bytes(c->local, c->nlocal);
	return there == c->bytes;
}

struct up_rma_part *
up_rma_part_create(struct up_peer_state *peer, struct up_rma_op *whole, uint64_t key,
		   void (*answered)(struct up_op *op, int status, const struct up_packet *p,
				    const void *payload))
{
	struct up_rma_peer *rp = up_rma_peer(peer);
	struct up_rma_part *part = rp ? up_pool_get(&peer->ep->rma->parts) : NULL;

	if (!part)
		return NULL;
	rp->parts++;
	memset(&part->op, 0, sizeof(part->op));
	part->op.answered = answered;
	part->whole = whole;
	part->key = key;
	part->source.cookie = 0;
	return part;
}

uint16_t up_rma_last(const struct up_rma_op *w, size_t from, uint64_t key)
{
	for (size_t i = from; i < w->nremote; i++) {
		if (w->remote[i].len && w->remote[i].key == key)
			return 0;
	}
	return UP_PKT_F_LAST_HERE;
}

void up_rma_part_free(struct up_peer_state *peer, struct up_rma_part *part)
{
	peer->rma->parts--;
	up_bulk_withdraw(peer->ep, &part->source);
	up_pool_put(&peer->ep->rma->parts, part);
}

void up_rma_part_end(struct up_rma_part *part, int status)
{
	struct up_ep *ep = part->op.peer->ep;
	up_done *done = part->done;
	void *ctx = part->ctx;
	size_t len = part->len;
	unsigned flags = part->flags;

	part->op.peer->rma->parts--;
	up_pool_put(&ep->rma->parts, part);
	up_rma_tell(ep, done, ctx, flags, status, len);
}

/* Before its turn it can only fail: its peer is gone. */
static void failed(struct up_op *op, int status, const struct up_packet *p, const void *payload)
{
	struct up_rma_op *w = UP_CONTAINER_OF(op, struct up_rma_op, op);
	struct up_ep *ep = w->peer->ep;
	up_done *done = w->done;
	void *ctx = w->ctx;

	up_rma_op_discard(w);
	up_rma_tell(ep, done, ctx, 0, status, 0);
}

static struct up_list *queue_of(struct up_rma_op *w)
{
	struct up_rma_peer *rp = w->peer->rma;

	return w->drive == up_rma_drive_read ? &rp->reads : &rp->writes;
}

void up_rma_op_queue(struct up_rma_op *w)
{
	if (w->queued)
		return;
	w->queued = true;
	w->peer->nqueued++;
	up_list_add_tail(queue_of(w), &w->link);
	if (up_list_empty(&w->peer->rma->busy))
		up_list_add_tail(&w->peer->ep->rma->busy, &w->peer->rma->busy);
}

static int resume(struct up_op *op)
{
	struct up_rma_op *w = UP_CONTAINER_OF(op, struct up_rma_op, op);

	if (!up_peer_quiet(w->peer))
		return -EAGAIN;
	up_rma_op_queue(w);
	up_rma_drive(queue_of(w));
	return 0;
}

struct up_rma_op *up_rma_op_create(struct up_peer_state *peer, bool (*drive)(struct up_rma_op *w),
				   const struct up_rma_call *c)
{
	struct up_rma_op *w;

	if (peer->nqueued >= MOST_QUEUED || !up_rma_peer(peer))
		return NULL;
	w = up_pool_get(&peer->ep->rma->ops);
	if (!w)
		return NULL;
	memset(w, 0, offsetof(struct up_rma_op, nlocal));
	w->op.answered = failed;
	w->op.resume = resume;
	w->peer = peer;
	w->drive = drive;
	w->flags = c->flags;
	w->done = c->done;
	w->ctx = c->ctx;
	w->imm = c->imm;
	w->bytes = c->bytes;
	w->nlocal = c->nlocal;
	w->nremote = c->nremote;
	if (c->nlocal)
		memcpy(w->local, c->local, c->nlocal * sizeof(*c->local));
	if (c->nremote)
		memcpy(w->remote, c->remote, c->nremote * sizeof(*c->remote));
	up_list_init(&w->link);
	up_list_init(&w->redo);
	return w;
}

void up_rma_op_discard(struct up_rma_op *w)
{
	free(w->copy);
	up_pool_put(&w->peer->ep->rma->ops, w);
}

int up_rma_op_start(struct up_rma_op *w, enum up_way way)
{
	struct up_list *queue = queue_of(w);
	struct up_ep *ep = w->peer->ep;

	w->way = way;
	if (!up_rma_unfenced(w->peer, w->flags)) {
		up_op_park(w->peer, &w->op);
	} else {
		up_rma_op_queue(w);
		up_rma_drive(queue);
		if (!up_list_empty(queue))
			up_core_kick(ep);
	}
	return 0;
}

static void leave_queue(struct up_rma_op *w)
{
	if (w->queued) {
		up_list_del(&w->link);
		w->queued = false;
		w->peer->nqueued--;
	}
}

static void end_if_over(struct up_rma_op *w)
{
	struct up_ep *ep = w->peer->ep;
	up_done *done = w->done;
	void *ctx = w->ctx;
	int status = w->status;
	size_t bytes = w->bytes;
	unsigned flags = w->flags;

	if (w->queued || w->out)
		return;
	up_rma_op_discard(w);
	up_rma_tell(ep, done, ctx, flags, status, bytes);
}

void up_rma_drive(struct up_list *queue)
{
	while (!up_list_empty(queue)) {
		struct up_rma_op *w = UP_CONTAINER_OF(queue->next, struct up_rma_op, link);

		if (!w->drive(w))
			break;
		leave_queue(w);
		end_if_over(w);
	}
}

void up_rma_op_advance(struct up_rma_op *w, int status)
{
	struct up_list *queue = queue_of(w);

	w->out--;
	if (status && !w->status)
		w->status = status;
	if (!w->queued)
		end_if_over(w);
	up_rma_drive(queue);
}

void up_rma_part_answered(struct up_rma_part *part, int status, const struct up_packet *p)
{
	struct up_rma_op *w = part->whole;

	up_rma_look(part, p);
	up_rma_part_free(w->peer, part);
	up_rma_op_advance(w, status);
}
