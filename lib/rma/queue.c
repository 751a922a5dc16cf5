/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RMA progress: the target's queue of large transfers. Each peer's writes are placed one after the
 * other; reads, and the writes of different peers, take turns (bulk/).
 */
#include "rma/rma.h"

#include <endian.h>
#include <string.h>

#define MORE 1u

static void release(struct up_rma_request *q)
{
	q->peer->rma->requests--;
	up_list_del(&q->link);
	up_list_del(&q->user);
	up_rma_grant_end(&q->grant);
	up_pool_put(&q->peer->ep->rma->requests, q);
}

/* Each peer's first write runs. A transfer may end inside of its start, so this is a loop. */
static void run(struct up_rma_peer *rp)
{
	if (rp->running)
		return;
	rp->running = true;
	while (!up_list_empty(&rp->queue)) {
		struct up_rma_request *q =
			UP_CONTAINER_OF(rp->queue.next, struct up_rma_request, link);

		if (q->started)
			break;
		q->started = true;
		up_bulk_start(&q->bulk);
	}
	rp->running = false;
}

static void moved(struct up_bulk *b, int status)
{
	struct up_rma_request *q = UP_CONTAINER_OF(b, struct up_rma_request, bulk);
	struct up_peer_state *peer = q->peer;
	bool told = !status && !q->read && (q->has_imm || q->more);
	bool has_imm = q->has_imm, more = q->more, read = q->read;
	/* It can close only with the lock, which is held. */
	const struct up_region *changed = read ? NULL : q->grant.region;
	uint16_t flags = q->flags;
	size_t len = b->len;
	uint64_t imm = q->imm;

	if (status)
		up_send_answer(peer, q->op, status, NULL, 0);
	else
		up_rma_answer(peer, q->op, up_rma_answer_flags(peer, &q->grant, true));
	release(q);
	if (!status)
		up_rma_touch(peer, changed, flags, read ? UP_RMA_READ : UP_RMA_WRITE);
	if (told)
		up_rma_written(peer, len, more, has_imm, imm);
	run(peer->rma);
}

static bool refuse(struct up_peer_state *from, uint32_t op, int error)
{
	up_send_answer(from, op, error, NULL, 0);
	return true;
}

/* Each of them had room reserved for its answer, so an honest peer has no more. */
static bool too_many(const struct up_peer_state *peer)
{
	return peer->rma->requests > peer->link->lane->answer_room / up_lane_answer_cost(0);
}

/* Whatever becomes of it, the packet is taken. */
static bool accept(struct up_peer_state *from, const struct up_packet *p,
		   const struct up_pkt_source *source, const struct up_rma_request *model)
{
	struct up_ep *ep = from->ep;
	struct up_rma_request *q;
	int error;

	if (!up_rma_peer(from))
		return refuse(from, p->op, -ENOMEM);
	if (too_many(from)) {
		up_core_link_down(from->link, -EPROTO);
		return true;
	}
	q = up_pool_get(&ep->rma->requests);
	if (!q)
		return refuse(from, p->op, -ENOMEM);
	*q = *model;
	error = up_rma_grant(ep, &q->grant, p->b, p->a, source->bytes,
			     q->read ? UP_RMA_READ : UP_RMA_WRITE);
	if (error) {
		up_pool_put(&ep->rma->requests, q);
		return refuse(from, p->op, error);
	}
	q->peer = from;
	q->op = p->op;
	q->iov = (struct iovec){.iov_base = q->grant.memory, .iov_len = source->bytes};
	q->bulk = (struct up_bulk){.peer = from,
				   .iov = &q->iov,
				   .n = 1,
				   .len = source->bytes,
				   .remote = *source,
				   .put = q->read,
				   .done = moved};
	up_list_init(&q->user);
	up_list_init(&q->bulk.link);
	up_list_init(&q->bulk.segments);
	if (q->grant.region)
		up_list_add_tail(&q->grant.region->users, &q->user);
	from->rma->requests++;
	up_list_add_tail(q->read ? &ep->rma->serving : &from->rma->queue, &q->link);
	if (q->read)
		up_bulk_start(&q->bulk);
	else
		run(from->rma);
	return true;
}

static bool invalid(struct up_peer_state *from)
{
	up_core_link_down(from->link, -EPROTO);
	return true;
}

bool up_rma_write_large_packet(struct up_ep *ep, struct up_peer_state *from,
			       const struct up_packet *p, const void *payload)
{
	struct up_rma_request q = {
		.flags = p->flags, .has_imm = p->flags & UP_PKT_F_IMM, .more = p->aux & MORE};
	size_t before = q.has_imm ? sizeof(q.imm) : 0;
	struct up_pkt_source source;

	if (!p->op || p->bytes != before + sizeof(source) ||
	    up_bulk_parse(&source, (const uint8_t *)payload + before) || !source.bytes)
		return invalid(from);
	if (before) {
		memcpy(&q.imm, payload, sizeof(q.imm));
		q.imm = le64toh(q.imm);
	}
	return accept(from, p, &source, &q);
}

bool up_rma_read_large_packet(struct up_ep *ep, struct up_peer_state *from,
			      const struct up_packet *p, const void *payload)
{
	struct up_rma_request q = {.flags = p->flags, .read = true};
	struct up_pkt_source source;

	if (!p->op || p->bytes != sizeof(source) || up_bulk_parse(&source, payload) ||
	    !source.bytes)
		return invalid(from);
	return accept(from, p, &source, &q);
}

static void abort_request(struct up_rma_request *q, int status)
{
	struct up_peer_state *peer = q->peer;

	up_bulk_abort(&q->bulk);
	up_send_answer(peer, q->op, status, NULL, 0);
	release(q);
	if (peer->rma)
		run(peer->rma);
}

void up_rma_queue_region_gone(struct up_region *region)
{
	while (!up_list_empty(&region->users))
		abort_request(UP_CONTAINER_OF(region->users.next, struct up_rma_request, user),
			      -ENOKEY);
}

/* Those that have not started; the others ended with their transfers. */
void up_rma_queue_peer_gone(struct up_rma_peer *rp)
{
	struct up_list *at, *tmp;

	rp->running = true;
	while (!up_list_empty(&rp->queue))
		abort_request(UP_CONTAINER_OF(rp->queue.next, struct up_rma_request, link), 0);
	up_list_each (at, tmp, &rp->peer->ep->rma->serving) {
		struct up_rma_request *q = UP_CONTAINER_OF(at, struct up_rma_request, link);

		if (q->peer == rp->peer)
			abort_request(q, 0);
	}
}
