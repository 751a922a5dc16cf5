/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Open operations: their numbers, the packets that start and answer them, the room for answers, and
 * those that wait for room.
 */
#include "core/private.h"
#include "base/log.h"

#include <stdlib.h>

#define HEADER sizeof(struct up_packet)

/* ---- numbers ---- */

#define FIRST_SLOTS 256u

/* Slot 0 is nobody's, so that no number is 0. */
static __attribute__((noinline)) bool more_slots(struct up_ep_private *core)
{
	uint32_t n = core->nslots ? core->nslots * 2 : FIRST_SLOTS;
	struct up_op_slot *slots;

	if (n > UP_OP_INDEX_MASK + 1)
		return false;
	slots = realloc(core->slots, n * sizeof(*slots));
	if (!slots)
		return false;
	core->slots = slots;
	for (uint32_t i = n - 1; i >= core->nslots && i; i--) {
		slots[i] = (struct up_op_slot){.number = i, .next = core->free_slot};
		core->free_slot = i;
	}
	core->nslots = n;
	return true;
}

int up_ops_init(struct up_ep_private *core)
{
	up_list_init(&core->stuck);
	return more_slots(core) ? 0 : -ENOMEM;
}

void up_ops_fini(struct up_ep_private *core)
{
	free(core->slots);
}

/* There is a free slot. */
static void open_op(struct up_ep_private *core, struct up_peer_state *peer, struct up_op *op,
		    size_t room)
{
	struct up_op_slot *slot = &core->slots[core->free_slot];

	core->free_slot = slot->next;
	slot->number += 1u << UP_OP_INDEX_BITS;
	slot->op = op;
	op->number = slot->number;
	op->room = room;
	op->peer = peer;
	peer->answer_room -= room;
	peer->nopen++;
	up_list_add_tail(&peer->open, &op->open);
}

/* It has a number. */
static void close_op(struct up_ep_private *core, struct up_op *op)
{
	struct up_peer_state *peer = op->peer;
	uint32_t i = op->number & UP_OP_INDEX_MASK;

	core->slots[i].op = NULL;
	core->slots[i].next = core->free_slot;
	core->free_slot = i;
	op->number = 0;
	peer->answer_room += op->room;
	op->room = 0;
	peer->nopen--;
	up_list_unlink(&op->open);
}

/* The open operation that an answer names, or NULL. */
static struct up_op *find_op(struct up_ep_private *core, const struct up_peer_state *from,
			     const struct up_packet *p)
{
	uint32_t i = p->op & UP_OP_INDEX_MASK;
	struct up_op *op;

	if (i >= core->nslots || core->slots[i].number != p->op)
		return NULL;
	op = core->slots[i].op;
	return op && op->peer == from ? op : NULL;
}

/* No honest peer sends more than the room that it was told of. */
static bool too_long(struct up_peer_state *from, const struct up_op *op, const struct up_packet *p)
{
	if (__builtin_expect(up_lane_answer_cost(p->bytes) <= op->room, 1))
		return false;
	up_core_link_down(from->link, -EPROTO);
	return true;
}

/* The peer stays on the list of stuck ones; up_ops_resume() takes it off. */
static void unpark(struct up_op *op)
{
	up_list_unlink(&op->parked);
	op->parked.next = NULL;
	op->peer->nparked--;
}

/* ---- sending ---- */

static void *refuse(struct up_ep_private *core)
{
	core->refused = UP_REFUSED_ALL;
	return NULL;
}

void *up_send_reserve(struct up_peer_state *peer, struct up_op *op, size_t payload,
		      ptrdiff_t answer)
{
	struct up_ep_private *core = up_priv(peer->ep);
	struct up_link *link = peer->link;
	size_t room = 0;
	char *packet;

	if (__builtin_expect(peer->error != 0, 0))
		return NULL;
	if (answer >= 0) {
		room = up_lane_answer_cost((size_t)answer);
		if (room > peer->answer_room)
			return refuse(core);
		if (__builtin_expect(!core->free_slot, 0) && !more_slots(core))
			return refuse(core);
	}
	packet = link->lane->ops->reserve(link, HEADER + payload, UP_LANE_REQUEST);
	if (__builtin_expect(!packet, 0))
		return refuse(core);
	if (answer >= 0)
		open_op(core, peer, op, room);
	peer->refusals = 0;
	peer->pending = packet;
	return packet + HEADER;
}

/* ---- answers ---- */

/* A place for what cannot be sent; up_reply_commit() knows it. */
static void *lost(struct up_peer_state *peer)
{
	peer->pending = peer->ep->scratch;
	return (char *)peer->ep->scratch + HEADER;
}

void *up_answer_reserve(struct up_peer_state *peer, size_t payload)
{
	struct up_link *link = peer->link;
	char *packet;

	if (__builtin_expect(peer->error != 0, 0))
		return payload > up_priv(peer->ep)->max_packet - HEADER ? NULL : lost(peer);
	if (payload > link->lane->max_packet - HEADER)
		return NULL;
	packet = link->lane->ops->reserve(link, HEADER + payload, UP_LANE_ANSWER);
	if (__builtin_expect(!packet, 0)) {
		/* A lane that broke has said so already. */
		if (!peer->error) {
			up_log(LOG_ERR, NULL, "peer %llu has no room for an answer",
			       (unsigned long long)peer->id);
			up_core_link_down(link, -EPROTO);
		}
		return lost(peer);
	}
	peer->pending = packet;
	return packet + HEADER;
}

void up_answer_commit(struct up_peer_state *peer, uint32_t op, int status, size_t payload)
{
	struct up_packet p = {.type = UP_PKT_ANSWER, .op = op, .aux = (uint32_t)-status};

	up_reply_commit(peer, &p, payload);
}

void up_send_answer(struct up_peer_state *peer, uint32_t op, int status, const void *payload,
		    size_t bytes)
{
	void *to;

	if (!op)
		return;
	to = up_answer_reserve(peer, bytes);
	assert(to);
	if (bytes)
		memcpy(to, payload, bytes);
	up_answer_commit(peer, op, status, bytes);
}

struct up_op *up_op_take(struct up_peer_state *from, const struct up_packet *p,
			 void (*answered)(struct up_op *op, int status, const struct up_packet *p,
					  const void *payload))
{
	struct up_ep_private *core = up_priv(from->ep);
	struct up_op *op = find_op(core, from, p);

	if (!op || op->answered != answered || too_long(from, op, p))
		return NULL;
	close_op(core, op);
	if (op->parked.next)
		unpark(op);
	return op;
}

bool up_op_answer(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
		  const void *payload)
{
	struct up_op *op = find_op(up_priv(ep), from, p);

	/* Of an operation that was cancelled or never was. */
	if (!op || too_long(from, op, p))
		return true;
	close_op(up_priv(ep), op);
	if (__builtin_expect(op->parked.next != NULL, 0))
		unpark(op);
	op->answered(op, -(int)p->aux, p, payload);
	return true;
}

/* ---- waiting for room ---- */

void up_op_park(struct up_peer_state *peer, struct up_op *op)
{
	struct up_ep_private *core = up_priv(peer->ep);

	op->peer = peer;
	if (up_list_empty(&peer->stuck))
		up_list_add_tail(&core->stuck, &peer->stuck);
	up_list_add_tail(&peer->parked, &op->parked);
	peer->nparked++;
	up_core_kick(&core->pub);
}

/* The first one of the peer's: did it go on? */
static bool resume_first(struct up_peer_state *peer)
{
	struct up_op *op = UP_CONTAINER_OF(peer->parked.next, struct up_op, parked);
	int r;

	/* Off the list first, as resume() may free it. */
	unpark(op);
	peer->nparked++;
	r = op->resume(op);
	if (r == -EAGAIN) {
		up_list_add_tail(peer->parked.next, &op->parked);
		return false;
	}
	peer->nparked--;
	if (r) {
		if (op->number)
			close_op(up_priv(peer->ep), op);
		op->answered(op, r, NULL, NULL);
	}
	return true;
}

unsigned up_ops_resume(struct up_ep_private *core)
{
	struct up_list *last = core->stuck.prev, *pos = NULL;
	unsigned n = 0;

	/* Each peer once; who parks meanwhile comes behind the last. Nobody frees a peer here. */
	while (pos != last) {
		struct up_peer_state *peer;

		pos = core->stuck.next;
		peer = UP_CONTAINER_OF(pos, struct up_peer_state, stuck);
		while (!peer->error && !up_list_empty(&peer->parked) && resume_first(peer))
			n++;
		up_list_del(pos);
		if (!up_list_empty(&peer->parked))
			up_list_add_tail(&core->stuck, pos);
	}
	return n;
}

void up_ops_fail(struct up_peer_state *peer)
{
	struct up_ep_private *core = up_priv(peer->ep);
	struct up_op *op;

	while (!up_list_empty(&peer->open) || !up_list_empty(&peer->parked)) {
		if (!up_list_empty(&peer->open))
			op = UP_CONTAINER_OF(peer->open.next, struct up_op, open);
		else
			op = UP_CONTAINER_OF(peer->parked.next, struct up_op, parked);
		if (op->number)
			close_op(core, op);
		if (op->parked.next)
			unpark(op);
		op->answered(op, peer->error, NULL, NULL);
	}
}
