/* SPDX-License-Identifier: BSD-2-Clause */
/* Atomics between endpoints: the initiator's side, and the target's. Arrays are split by packet. */
#include "rma/rma.h"

#include <assert.h>
#include <string.h>

#define FLAGS (UP_INJECT | UP_DELIVERED | UP_FENCE)

/* Bytes of payload of an element. */
static size_t element(const struct up_rma_atomic *c)
{
	return c->size * ((c->operand != NULL) + (c->compare != NULL));
}

/* How many elements one packet and its answer may have. */
static size_t most_elements(const struct up_peer_state *peer, const struct up_rma_atomic *c)
{
	size_t there = element(c) ? up_max_payload(peer) / element(c) : UP_ATOMIC_MAX_COUNT;
	size_t back;

	assert(c->size);
	back = c->fetch ? up_max_answer(peer) / c->size : there;

	return there < back ? there : back;
}

/* May all of them go in one packet? */
static bool fits_one(const struct up_peer_state *peer, const struct up_rma_atomic *c)
{
	return c->count * element(c) <= up_max_payload(peer) &&
	       (!c->fetch || c->call.bytes <= up_max_answer(peer));
}

static bool fetched(struct up_rma_part *part, int *status, const struct up_packet *p,
		    const void *payload)
{
	if (*status || !part->fetch)
		return true;
	if (p->bytes != part->len) {
		up_core_link_down(part->op.peer->link, -EPROTO);
		*status = -EPROTO;
		return false;
	}
	up_copy_short(part->fetch, payload, part->len);
	return true;
}

static void single_answered(struct up_op *op, int status, const struct up_packet *p,
			    const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);

	fetched(part, &status, p, payload);
	up_rma_look(part, p);
	up_rma_part_end(part, status);
}

static void part_answered(struct up_op *op, int status, const struct up_packet *p,
			  const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);

	fetched(part, &status, p, payload);
	up_rma_part_answered(part, status, p);
}

/* `count` elements from number `from` on. `last`: see up_rma_last(). */
static int send(struct up_peer_state *peer, struct up_rma_part *part, const struct up_rma_atomic *c,
		size_t from, size_t count, uint16_t last)
{
	size_t bytes = count * c->size;
	struct up_packet p = {
		.type = UP_PKT_ATOMIC,
		.flags = (uint16_t)(last | (c->fetch ? UP_PKT_F_FETCH : 0) |
				    (c->compare ? UP_PKT_F_COMPARE : 0)),
		.aux = (uint32_t)c->op | (uint32_t)c->type << 8 | (uint32_t)count << 16,
		.a = c->addr + (from - c->first) * c->size,
		.b = c->key,
	};
	uint8_t *to = up_send_reserve(peer, &part->op, count * element(c),
				      c->fetch ? (ptrdiff_t)bytes : 0);
	uint8_t *at = to;

	if (!to)
		return -EAGAIN;
	part->len = bytes;
	part->fetch = c->fetch ? c->fetch + from * c->size : NULL;
	if (c->operand) {
		up_copy_short(at, c->operand + from * c->size, bytes);
		at += bytes;
	}
	if (c->compare)
		up_copy_short(at, c->compare + from * c->size, bytes);
	up_send_commit(peer, &part->op, &p, count * element(c));
	return 0;
}

/* ---- one packet ---- */

static int atomic_one(struct up_peer_state *peer, const struct up_rma_atomic *c)
{
	struct up_rma_part *part = up_rma_part_create(peer, NULL, c->key, single_answered);

	if (!part)
		return -EAGAIN;
	part->done = c->call.done;
	part->ctx = c->call.ctx;
	part->flags = c->call.flags;
	if (send(peer, part, c, 0, c->count, UP_PKT_F_LAST)) {
		up_rma_part_free(peer, part);
		return -EAGAIN;
	}
	return 0;
}

/* ---- several, or later ---- */

/* Of several pieces: those from element number `w->sent` on are in the next one. */
static void next_piece(struct up_rma_op *w, struct up_rma_atomic *c)
{
	while (w->sent == c->end) {
		const struct up_rma_iov *r = &w->remote[w->piece++];

		c->addr = r->addr;
		c->key = r->key;
		c->first = c->end;
		c->end += r->len / c->size;
	}
}

/* Flags of a packet with which all elements before `end` are sent. */
static uint16_t last_flags(const struct up_rma_op *w, const struct up_rma_atomic *c, size_t end)
{
	if (end == c->count)
		return UP_PKT_F_LAST;
	return end == c->end ? up_rma_last(w, w->piece, c->key) : 0;
}

bool up_rma_drive_atomic(struct up_rma_op *w)
{
	struct up_rma_atomic *c = w->copy;
	size_t most = most_elements(w->peer, c);

	while (!w->status && w->sent < c->count) {
		struct up_rma_part *part;
		size_t n;

		if (w->peer->rma->large)
			return false;
		next_piece(w, c);
		n = c->end - w->sent < most ? c->end - w->sent : most;
		part = up_rma_part_create(w->peer, w, c->key, part_answered);
		if (!part)
			return false;
		if (send(w->peer, part, c, w->sent, n, last_flags(w, c, w->sent + n))) {
			up_rma_part_free(w->peer, part);
			return false;
		}
		w->out++;
		w->sent += n;
	}
	return true;
}

/* Of its own, with the operands behind it. */
static struct up_rma_atomic *copy(const struct up_rma_atomic *c)
{
	size_t bytes = c->count * c->size;
	struct up_rma_atomic *own = malloc(sizeof(*own) + 2 * bytes);
	uint8_t *data;

	if (!own)
		return NULL;
	*own = *c;
	data = (uint8_t *)(own + 1);
	if (c->operand)
		own->operand = memcpy(data, c->operand, bytes);
	if (c->compare)
		own->compare = memcpy(data + bytes, c->compare, bytes);
	return own;
}

static int atomic_many(struct up_peer_state *peer, const struct up_rma_atomic *c)
{
	struct up_rma_op *w = up_rma_op_create(peer, up_rma_drive_atomic, &c->call);

	if (!w)
		return -EAGAIN;
	w->copy = copy(c);
	if (!w->copy) {
		up_rma_op_discard(w);
		return -EAGAIN;
	}
	return up_rma_op_start(w, UP_WAY_DIRECT);
}

static int start(struct up_ep *ep, up_peer to, const struct up_rma_atomic *c)
{
	int error;
	struct up_peer_state *peer = up_peer_start(ep, to, &error);

	if (!peer)
		return error;
	if (c->call.nremote)
		return atomic_many(peer, c);
	if (up_rma_direct_atomic(peer, c))
		return 0;
	if (fits_one(peer, c) && up_rma_writes_clear(peer) && up_rma_unfenced(peer, c->call.flags))
		return atomic_one(peer, c);
	return atomic_many(peer, c);
}

static int check_and_start(struct up_ep *ep, up_peer peer, struct up_rma_atomic *c,
			   const void *operand, const void *compare)
{
	unsigned flags = c->call.flags;
	int ret;

	if (!up_atomic_valid(c->op, c->type, c->fetch != NULL) || !c->count ||
	    c->count > UP_ATOMIC_MAX_COUNT || flags & ~FLAGS || (flags & UP_INJECT && c->fetch) ||
	    (up_atomic_has_operand(c->op) && !operand) ||
	    (up_atomic_has_compare(c->op) && !compare))
		return -EINVAL;
	c->size = up_atomic_size(c->type);
	c->call.bytes = c->count * c->size;
	c->operand = up_atomic_has_operand(c->op) ? operand : NULL;
	c->compare = up_atomic_has_compare(c->op) ? compare : NULL;
	up_ep_lock(ep);
	ret = start(ep, peer, c);
	up_ep_unlock(ep);
	return ret;
}

int up_rma_atomic(struct up_ep *ep, up_peer peer, enum up_atomic_op op, enum up_atomic_type type,
		  size_t count, const void *operand, const void *compare, void *fetch,
		  uint64_t addr, uint64_t key, unsigned flags, up_done *done, void *ctx)
{
	/* Field by field: to clear it as a whole first takes longer than all of the call. */
	struct up_rma_atomic c;

	c.op = op;
	c.type = type;
	c.count = count;
	c.fetch = fetch;
	c.addr = addr;
	c.key = key;
	c.first = 0;
	c.end = count;
	c.call = (struct up_rma_call){NULL, 0, NULL, 0, 0, 0, flags, done, ctx};
	return check_and_start(ep, peer, &c, operand, compare);
}

int up_rma_atomic_iov(struct up_ep *ep, up_peer peer, enum up_atomic_op op,
		      enum up_atomic_type type, const void *operand, const void *compare,
		      void *fetch, const struct up_rma_iov *remote, size_t nremote, unsigned flags,
		      up_done *done, void *ctx)
{
	struct up_rma_atomic c = {
		.op = op,
		.type = type,
		.fetch = fetch,
		.call = {.flags = flags, .done = done, .ctx = ctx},
	};
	size_t size = up_atomic_size(type);

	if (!remote || !nremote || nremote > UP_IOV_MAX || !size)
		return -EINVAL;
	for (size_t i = 0; i < nremote; i++) {
		if (remote[i].len % size || remote[i].len / size > UP_ATOMIC_MAX_COUNT)
			return -EINVAL;
		c.count += remote[i].len / size;
	}
	if (nremote == 1) {
		c.addr = remote->addr;
		c.key = remote->key;
		c.end = c.count;
	} else {
		c.call.remote = remote;
		c.call.nremote = nremote;
	}
	return check_and_start(ep, peer, &c, operand, compare);
}

/* ---- the target ---- */

static int apply(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
		 const uint8_t *payload)
{
	enum up_atomic_op op = p->aux & 0xff;
	enum up_atomic_type type = p->aux >> 8 & 0xff;
	size_t count = p->aux >> 16, bytes = count * up_atomic_size(type);
	bool operand = up_atomic_has_operand(op), compare = up_atomic_has_compare(op);
	bool fetch = p->flags & UP_PKT_F_FETCH;
	struct up_rma_grant g;
	void *old = NULL;
	int error;

	error = up_rma_grant(ep, &g, p->b, p->a, bytes, up_atomic_access(op));
	if (error)
		return error;
	if (!up_atomic_aligned(g.memory, up_atomic_size(type))) {
		up_rma_grant_end(&g);
		return -EINVAL;
	}
	if (fetch) {
		old = up_answer_reserve(from, bytes);
		if (!old) {
			up_rma_grant_end(&g);
			return -EPROTO;
		}
	}
	up_atomic_apply(op, type, g.memory, count, operand ? payload : NULL,
			compare ? payload + bytes : NULL, old);
	up_rma_grant_end(&g);
	if (fetch)
		up_rma_answer_commit(from, p->op, up_rma_answer_flags(from, &g, false), bytes);
	else
		up_rma_answer(from, p->op, up_rma_answer_flags(from, &g, false));
	up_rma_touch(from, op == UP_ATOMIC_READ ? NULL : g.region, p->flags,
		     UP_RMA_ATOMIC | (fetch ? UP_RMA_READ : UP_RMA_WRITE));
	return 0;
}

bool up_rma_atomic_packet(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
			  const void *payload)
{
	enum up_atomic_op op = p->aux & 0xff;
	enum up_atomic_type type = p->aux >> 8 & 0xff;
	size_t count = p->aux >> 16;
	bool fetch = p->flags & UP_PKT_F_FETCH;
	size_t arrays = up_atomic_has_operand(op) + up_atomic_has_compare(op);
	int error = 0;

	if (!up_atomic_valid(op, type, fetch) || !count || count > UP_ATOMIC_MAX_COUNT ||
	    p->bytes != count * up_atomic_size(type) * arrays || (fetch && !p->op) ||
	    !(p->flags & UP_PKT_F_COMPARE) != !up_atomic_has_compare(op))
		error = -EPROTO;
	if (!error)
		error = apply(ep, from, p, payload);
	if (error == -EPROTO)
		up_core_link_down(from->link, -EPROTO);
	else if (error)
		up_send_answer(from, p->op, error, NULL, 0);
	return true;
}
