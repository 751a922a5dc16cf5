/* SPDX-License-Identifier: BSD-2-Clause */
/* The protocol of one-sided operations: its state in an endpoint and with a peer, and its ends. */
#include "rma/rma.h"

struct up_rma_peer *up_rma_peer_create(struct up_peer_state *peer)
{
	struct up_rma_peer *rp = calloc(1, sizeof(*rp));

	if (!rp)
		return NULL;
	rp->peer = peer;
	up_list_init(&rp->writes);
	up_list_init(&rp->reads);
	up_list_init(&rp->queue);
	up_list_init(&rp->busy);
	peer->rma = rp;
	return rp;
}

static int init(struct up_ep *ep)
{
	struct up_rma_state *rma = calloc(1, sizeof(*rma));

	if (!rma)
		return -ENOMEM;
	up_slots_init(&rma->keys);
	up_list_init(&rma->busy);
	up_list_init(&rma->serving);
	up_pool_init(&rma->parts, sizeof(struct up_rma_part));
	up_pool_init(&rma->ops, sizeof(struct up_rma_op));
	up_pool_init(&rma->requests, sizeof(struct up_rma_request));
	ep->rma = rma;
	return 0;
}

static bool idle(const struct up_rma_peer *rp)
{
	return up_list_empty(&rp->writes) && up_list_empty(&rp->reads) &&
	       !(rp->stage && up_rma_stage_busy(rp->stage));
}

/* True: the first operation of the queue went on. */
static bool drive(struct up_list *queue)
{
	const struct up_list *first = queue->next;
	size_t sent;

	if (up_list_empty(queue))
		return false;
	sent = UP_CONTAINER_OF(first, const struct up_rma_op, link)->sent;
	up_rma_drive(queue);
	return queue->next != first ||
	       UP_CONTAINER_OF(first, const struct up_rma_op, link)->sent != sent;
}

/* Write progress and read progress; the target's queue is moved by bulk/. */
static unsigned progress(struct up_ep *ep)
{
	struct up_list *busy = &ep->rma->busy, *last = busy->prev, *at = NULL;
	unsigned n = 0;

	/* Callbacks may add peers, behind the last; they end none. */
	while (at != last && !up_list_empty(busy)) {
		struct up_rma_peer *rp;

		at = busy->next;
		rp = UP_CONTAINER_OF(at, struct up_rma_peer, busy);
		up_list_del(at);
		n += drive(&rp->writes);
		n += drive(&rp->reads);
		if (rp->stage && up_rma_stage_busy(rp->stage))
			n += up_rma_stage_watch(rp->stage);
		if (up_list_empty(at) && !idle(rp))
			up_list_add_tail(busy, at);
	}
	return n;
}

static const struct up_list *work(const struct up_ep *ep)
{
	return &ep->rma->busy;
}

/* With a status an operation sends no more, so its queue runs empty. */
static void end_queue(struct up_list *queue, int status)
{
	struct up_list *at, *tmp;

	up_list_each (at, tmp, queue) {
		struct up_rma_op *w = UP_CONTAINER_OF(at, struct up_rma_op, link);

		w->status = status;
	}
	up_rma_drive(queue);
}

static void peer_gone(struct up_ep *ep, struct up_peer_state *peer)
{
	struct up_rma_peer *rp = peer->rma;
	int status = peer->error ? peer->error : -ECANCELED;

	if (!rp)
		return;
	end_queue(&rp->writes, status);
	end_queue(&rp->reads, status);
	up_rma_queue_peer_gone(rp);
	up_rma_stage_fini(rp);
	up_rma_windows_fini(rp);
	up_list_del(&rp->busy);
	peer->rma = NULL;
	free(rp);
}

/* The peers are gone, and with them all operations. Regions that were left open end here. */
static void fini(struct up_ep *ep)
{
	struct up_rma_state *rma = ep->rma;

	up_rma_regions_fini(ep);
	up_slots_fini(&rma->keys);
	up_pool_fini(&rma->parts);
	up_pool_fini(&rma->ops);
	up_pool_fini(&rma->requests);
	free(rma);
	ep->rma = NULL;
}

const struct up_protocol up_rma_protocol = {
	.name = "rma",
	.init = init,
	.fini = fini,
	.progress = progress,
	.work = work,
	.peer_gone = peer_gone,
	.handlers = {[UP_PKT_WRITE] = up_rma_write_packet,
		     [UP_PKT_WRITE_LARGE] = up_rma_write_large_packet,
		     [UP_PKT_READ] = up_rma_read_packet,
		     [UP_PKT_READ_LARGE] = up_rma_read_large_packet,
		     [UP_PKT_ATOMIC] = up_rma_atomic_packet,
		     [UP_PKT_MAP] = up_rma_map_packet,
		     [UP_PKT_STAGE] = up_rma_stage_packet,
		     [UP_PKT_WRITE_STAGED] = up_rma_write_staged_packet,
		     [UP_PKT_READ_STAGED] = up_rma_read_staged_packet,
		     [UP_PKT_WRITE_HALF] = up_rma_write_half_packet,
		     [UP_PKT_READ_HALF] = up_rma_read_half_packet},
};
