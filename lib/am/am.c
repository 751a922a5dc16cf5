/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Active messages. A request with a completion or with room for a reply has an operation number,
 * and one answer: the reply, or, when the handler returned without one, an empty one of the core's.
 */
#include "core/core.h"
#include "base/bytes.h"

#include <underpass/am.h>

#include <stdlib.h>

#define POOL_CHUNK 64

struct am_op {
	struct up_op op;
	struct am_op *next; /* free one */
	up_done *done;
	void *ctx;
	size_t bytes; /* of head and data, for `done` */
};

struct am_chunk {
	struct am_chunk *next;
	struct am_op ops[POOL_CHUNK];
};

struct up_am_state {
	struct {
		up_am_handler *handler;
		void *arg;
	} handlers[UP_AM_HANDLERS];
	struct am_op *free;
	struct am_chunk *chunks;
};

/* A message in the hands of its handler. */
struct am_call {
	struct up_am pub;
	struct up_peer_state *peer;
	uint32_t op; /* 0: no answer (any more) */
};

/* The parts of a message: the peer may still write to its own copy. */
struct am_parts {
	_Alignas(16) uint8_t head[UP_AM_HEAD_MAX];
	_Alignas(16) uint8_t data[UP_AM_DATA_MAX];
};

/* ---- operations ---- */

static bool more_ops(struct up_am_state *am)
{
	struct am_chunk *chunk = calloc(1, sizeof(*chunk));

	if (!chunk)
		return false;
	chunk->next = am->chunks;
	am->chunks = chunk;
	for (unsigned i = 0; i < POOL_CHUNK; i++) {
		chunk->ops[i].next = am->free;
		am->free = &chunk->ops[i];
	}
	return true;
}

static void put_op(struct up_am_state *am, struct am_op *op)
{
	op->next = am->free;
	am->free = op;
}

/* Its end, by an answer without a reply or by a failure. */
static void answered(struct up_op *up_op, int status, const struct up_packet *p,
		     const void *payload)
{
	struct am_op *op = UP_CONTAINER_OF(up_op, struct am_op, op);
	struct up_ep *ep = up_op->peer->ep;
	up_done *done = op->done;
	void *ctx = op->ctx;
	size_t bytes = status ? 0 : op->bytes;

	put_op(ep->am, op);
	if (done) {
		done(ctx, status, bytes);
		up_core_told(ep);
	}
}

static struct am_op *get_op(struct up_am_state *am)
{
	struct am_op *op = am->free;

	if (!op) {
		if (!more_ops(am))
			return NULL;
		op = am->free;
	}
	am->free = op->next;
	op->op.answered = answered;
	return op;
}

/* ---- sending ---- */

static void put_parts(void *to, const void *head, size_t head_bytes, const void *data, size_t bytes)
{
	if (head_bytes)
		memcpy(to, head, head_bytes);
	if (bytes)
		memcpy((char *)to + head_bytes, data, bytes);
}

static bool parts_fit(unsigned number, const void *head, size_t head_bytes, const void *data,
		      size_t bytes)
{
	return number < UP_AM_HANDLERS && head_bytes <= UP_AM_HEAD_MAX && bytes <= UP_AM_DATA_MAX &&
	       (head || !head_bytes) && (data || !bytes);
}

struct am_send {
	const void *head;
	size_t head_bytes;
	const void *data;
	size_t bytes;
	size_t reply_room;
};

static int send(struct up_peer_state *peer, struct am_op *op, unsigned number,
		const struct am_send *s)
{
	struct up_packet p = {
		.type = UP_PKT_AM_REQUEST,
		.aux = number | (uint32_t)s->head_bytes << 8,
		.a = s->reply_room,
	};
	size_t payload = s->head_bytes + s->bytes;
	struct up_op *up_op = op ? &op->op : NULL;
	void *to = up_send_reserve(peer, up_op, payload, op ? (ptrdiff_t)s->reply_room : -1);

	if (!to)
		return peer->error ? -EHOSTDOWN : -EAGAIN;
	put_parts(to, s->head, s->head_bytes, s->data, s->bytes);
	up_send_commit(peer, up_op, &p, payload);
	return 0;
}

static int request(struct up_ep *ep, up_peer to, unsigned number, const struct am_send *s,
		   up_done *done, void *ctx)
{
	struct up_peer_state *peer;
	struct am_op *op = NULL;
	int r;

	peer = up_peer_get(ep, to, &r);
	if (!peer)
		return r;
	/* What waits was started earlier. */
	if (up_peer_stuck(peer))
		return -EAGAIN;
	if (done || s->reply_room) {
		op = get_op(ep->am);
		if (!op)
			return -EAGAIN;
		op->done = done;
		op->ctx = ctx;
		op->bytes = s->head_bytes + s->bytes;
	}
	r = send(peer, op, number, s);
	if (r && op)
		put_op(ep->am, op);
	return r;
}

int up_am_request(struct up_ep *ep, up_peer peer, unsigned number, const void *head,
		  size_t head_bytes, const void *data, size_t bytes, size_t reply_room,
		  unsigned flags, up_done *done, void *ctx)
{
	const struct am_send s = {head, head_bytes, data, bytes, reply_room};
	int r;

	if (!parts_fit(number, head, head_bytes, data, bytes) || flags ||
	    reply_room > UP_AM_HEAD_MAX + UP_AM_DATA_MAX)
		return -EINVAL;
	up_ep_lock(ep);
	r = request(ep, peer, number, &s, done, ctx);
	up_ep_unlock(ep);
	return r;
}

int up_am_reply(struct up_am *am, unsigned number, const void *head, size_t head_bytes,
		const void *data, size_t bytes)
{
	struct am_call *call = UP_CONTAINER_OF(am, struct am_call, pub);
	struct up_packet p = {
		.type = UP_PKT_AM_REPLY,
		.op = call->op,
		.aux = number | (uint32_t)head_bytes << 8,
	};
	void *to;

	if (!parts_fit(number, head, head_bytes, data, bytes) || !call->op || !am->reply_room ||
	    head_bytes + bytes > am->reply_room)
		return -EINVAL;
	to = up_answer_reserve(call->peer, head_bytes + bytes);
	if (!to)
		return -EINVAL;
	put_parts(to, head, head_bytes, data, bytes);
	up_reply_commit(call->peer, &p, head_bytes + bytes);
	call->op = 0;
	am->reply_room = 0;
	return 0;
}

/* ---- handling ---- */

/* False: there is no such handler. */
static bool call_handler(struct am_call *call, const struct up_packet *p, const void *payload)
{
	struct up_am_state *am = call->pub.ep->am;
	unsigned number = p->aux & 0xff;
	struct am_parts parts;
	size_t head = p->aux >> 8;

	if (!am->handlers[number].handler)
		return false;
	memcpy(parts.head, payload, head);
	memcpy(parts.data, (const char *)payload + head, p->bytes - head);
	call->pub.head = parts.head;
	call->pub.head_bytes = head;
	call->pub.data = parts.data;
	call->pub.bytes = p->bytes - head;
	am->handlers[number].handler(&call->pub, am->handlers[number].arg);
	return true;
}

static bool handle_request(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
			   const void *payload)
{
	struct am_call call = {
		.pub = {.ep = ep, .from = from->id, .reply_room = p->a},
		.peer = from,
		.op = p->op,
	};
	int status = call_handler(&call, p, payload) ? 0 : -EPROTO;

	up_send_answer(from, call.op, status, NULL, 0);
	return true;
}

static bool handle_reply(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
			 const void *payload)
{
	struct am_call call = {.pub = {.ep = ep, .from = from->id}, .peer = from};
	struct up_op *op = up_op_take(from, p, answered);

	if (!op)
		return true;
	call_handler(&call, p, payload);
	answered(op, 0, NULL, NULL);
	return true;
}

int up_am_set_handler(struct up_ep *ep, unsigned number, up_am_handler *handler, void *arg)
{
	if (number >= UP_AM_HANDLERS)
		return -EINVAL;
	up_ep_lock(ep);
	ep->am->handlers[number].handler = handler;
	ep->am->handlers[number].arg = arg;
	up_ep_unlock(ep);
	return 0;
}

/* ---- the protocol ---- */

static int init(struct up_ep *ep)
{
	ep->am = calloc(1, sizeof(*ep->am));
	return ep->am ? 0 : -ENOMEM;
}

/* All operations have ended with their peers. */
static void fini(struct up_ep *ep)
{
	struct am_chunk *chunk;

	while ((chunk = ep->am->chunks)) {
		ep->am->chunks = chunk->next;
		free(chunk);
	}
	free(ep->am);
}

const struct up_protocol up_am_protocol = {
	.name = "am",
	.init = init,
	.fini = fini,
	.handlers =
		{
			[UP_PKT_AM_REQUEST] = handle_request,
			[UP_PKT_AM_REPLY] = handle_reply,
		},
};
