/* SPDX-License-Identifier: BSD-2-Clause */
/* Transfers: moving memory that a peer offers, in quanta. */
#include "bulk/bulk.h"
#include "bulk/bulk_private.h"

#include <errno.h>

/* Of a direct transfer in one turn: some 50 us of copying. */
#define QUANTUM ((size_t)512 << 10)
/* What a round of turns may move before the rest of progress has its turn. */
#define ROUND ((size_t)2 << 20)

/* A stretch that was asked for. */
struct segment {
	struct up_op op;
	struct up_list link;
	struct up_bulk *bulk; /* NULL: nobody wants it any more */
	struct up_pool *pool;
	size_t offset;
	size_t len;
};

bool up_bulk_direct(const struct up_peer_state *peer, size_t bytes, bool put)
{
	const struct up_lane *lane = peer->link->lane;

	return (put ? lane->ops->put : lane->ops->get) && bytes >= lane->direct_from;
}

size_t up_max_answer(const struct up_peer_state *peer)
{
	size_t quarter = peer->link->lane->answer_room / 4;
	size_t most = up_max_payload(peer);

	if (up_lane_answer_cost(most) <= quarter)
		return most;
	return quarter > 192 ? (quarter - 128) & ~(size_t)63 : 64;
}

bool up_answer_spare(const struct up_peer_state *peer, size_t bytes)
{
	return peer->answer_room >= up_lane_answer_cost(bytes) + peer->link->lane->answer_room / 4;
}

static void orphan_segments(struct up_bulk *b)
{
	while (!up_list_empty(&b->segments)) {
		struct segment *s = UP_CONTAINER_OF(b->segments.next, struct segment, link);

		up_list_del(&s->link);
		s->bulk = NULL;
	}
}

void up_bulk_abort(struct up_bulk *b)
{
	up_list_del(&b->link);
	orphan_segments(b);
}

static void finish(struct up_bulk *b, int status)
{
	up_bulk_abort(b);
	b->done(b, status);
}

static void move_to(struct up_bulk *b, struct up_list *list)
{
	up_list_del(&b->link);
	up_list_add_tail(list, &b->link);
}

static bool pull(struct up_bulk *b);

static void pull_answered(struct up_op *op, int status, const struct up_packet *p,
			  const void *payload)
{
	struct segment *s = UP_CONTAINER_OF(op, struct segment, op);
	struct up_peer_state *peer = op->peer;
	struct up_bulk *b = s->bulk;
	size_t offset = s->offset, len = s->len;

	if (b)
		up_list_del(&s->link);
	up_pool_put(s->pool, s);
	if (!b)
		return;
	if (!status && p->bytes != len) {
		finish(b, -EPROTO);
		up_core_link_down(peer->link, -EPROTO);
		return;
	}
	if (status) {
		finish(b, status);
		return;
	}
	up_iov_write(b->iov, b->n, offset, payload, len);
	b->moved += len;
	if (b->moved == b->len)
		finish(b, 0);
	else
		pull(b);
}

static bool pull_segment(struct up_bulk *b, size_t len)
{
	struct up_pool *pool = &b->peer->ep->bulk->segments;
	struct up_packet p = {.type = UP_PKT_TAG_PULL,
			      .aux = (uint32_t)len,
			      .a = b->remote.cookie,
			      .b = b->asked};
	struct segment *s = up_pool_get(pool);

	if (!s)
		return false;
	*s = (struct segment){.op.answered = pull_answered,
			      .bulk = b,
			      .pool = pool,
			      .offset = b->asked,
			      .len = len};
	if (!up_send_reserve(b->peer, &s->op, 0, (ptrdiff_t)len)) {
		up_pool_put(pool, s);
		return false;
	}
	up_send_commit(b->peer, &s->op, &p, 0);
	up_list_add_tail(&b->segments, &s->link);
	b->asked += len;
	return true;
}

/* Asks for as much as there is room for. True: it did something. */
static bool pull(struct up_bulk *b)
{
	size_t most = up_max_answer(b->peer);
	bool some = false;

	while (b->asked < b->len) {
		size_t len = b->len - b->asked < most ? b->len - b->asked : most;

		if (!up_list_empty(&b->segments) && !up_answer_spare(b->peer, len))
			break;
		if (!pull_segment(b, len))
			break;
		some = true;
	}
	if (b->asked == b->len)
		move_to(b, &b->peer->ep->bulk->waiting);
	return some;
}

/* One quantum; the bytes that it moved, or a negative errno. */
static ssize_t move_directly(struct up_bulk *b)
{
	const struct up_lane_ops *ops = b->peer->link->lane->ops;
	size_t len = b->len - b->moved < QUANTUM ? b->len - b->moved : QUANTUM;
	struct iovec piece[UP_IOV_MAX];
	size_t n = up_iov_slice(piece, b->iov, b->n, b->moved, len);
	uint64_t at = b->remote.address + b->moved;
	int ret = b->put ? ops->put(b->peer->link, piece, n, at, len)
			 : ops->get(b->peer->link, piece, n, at, len);

	if (ret)
		return ret;
	b->moved += len;
	return (ssize_t)len;
}

/* A turn. The bytes that it moved, or 1 for something else; it may have ended the transfer. */
static size_t turn(struct up_bulk *b)
{
	ssize_t moved;

	if (!b->direct)
		return pull(b);
	moved = move_directly(b);
	if (moved == -EOPNOTSUPP && !b->put && !b->moved) {
		b->direct = false;
		return pull(b);
	}
	if (moved < 0 || b->moved == b->len)
		finish(b, moved < 0 ? (int)moved : 0);
	return moved < 0 ? 1 : (size_t)moved;
}

void up_bulk_start(struct up_bulk *b)
{
	struct up_ep *ep = b->peer->ep;

	up_list_init(&b->segments);
	up_list_init(&b->link);
	b->asked = b->moved = 0;
	if (!b->len) {
		b->done(b, 0);
		return;
	}
	b->direct = b->remote.address && up_bulk_direct(b->peer, b->len, b->put);
	if (b->put && !b->direct) {
		b->done(b, -EOPNOTSUPP);
		return;
	}
	up_list_add_tail(&ep->bulk->active, &b->link);
	/* It may be gone after its turn. */
	turn(b);
	if (!up_list_empty(&ep->bulk->active))
		up_core_kick(ep);
}

/* As many turns as there are transfers, or a round's worth of bytes. */
static unsigned progress(struct up_ep *ep)
{
	struct up_list *active = &ep->bulk->active, *at, *tmp;
	size_t moved = 0, turns = 0;
	unsigned did = 0;

	up_list_each (at, tmp, active)
		turns++;
	while (turns-- && moved < ROUND && !up_list_empty(active)) {
		struct up_bulk *b = UP_CONTAINER_OF(active->next, struct up_bulk, link);
		size_t some;

		move_to(b, active);
		some = turn(b);
		moved += some;
		did += some != 0;
	}
	return did;
}

static const struct up_list *work(const struct up_ep *ep)
{
	return &ep->bulk->active;
}

static bool end_one(struct up_list *list, struct up_peer_state *peer, int status)
{
	struct up_list *at, *tmp;

	up_list_each (at, tmp, list) {
		struct up_bulk *b = UP_CONTAINER_OF(at, struct up_bulk, link);

		if (b->peer == peer) {
			finish(b, status);
			return true;
		}
	}
	return false;
}

static void peer_gone(struct up_ep *ep, struct up_peer_state *peer)
{
	int status = peer->error ? peer->error : -ECANCELED;

	/* One at a time: its end may change the lists. */
	while (end_one(&ep->bulk->active, peer, status) ||
	       end_one(&ep->bulk->waiting, peer, status))
		;
}

bool up_peer_answered(const struct up_peer_state *peer)
{
	const struct up_list *at;

	for (at = peer->open.next; at != &peer->open; at = at->next) {
		const struct up_op *op = UP_CONTAINER_OF(at, const struct up_op, open);

		if (op->answered != pull_answered && !op->aside)
			return false;
	}
	return true;
}

static int init(struct up_ep *ep)
{
	struct up_bulk_state *bulk = calloc(1, sizeof(*bulk));

	if (!bulk)
		return -ENOMEM;
	up_list_init(&bulk->active);
	up_list_init(&bulk->waiting);
	up_slots_init(&bulk->sources);
	up_pool_init(&bulk->segments, sizeof(struct segment));
	ep->bulk = bulk;
	return 0;
}

static void fini(struct up_ep *ep)
{
	up_slots_fini(&ep->bulk->sources);
	up_pool_fini(&ep->bulk->segments);
	free(ep->bulk);
	ep->bulk = NULL;
}

const struct up_protocol up_bulk_protocol = {
	.name = "bulk",
	.init = init,
	.fini = fini,
	.progress = progress,
	.work = work,
	.peer_gone = peer_gone,
	.handlers = {[UP_PKT_TAG_PULL] = up_bulk_pulled},
};
