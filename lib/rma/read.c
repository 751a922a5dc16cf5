/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read progress: the initiator's side of reads, and the target's of small ones. A stretch that is
 * long and in one piece here is written by the target, through the lane; the rest comes in answers.
 */
#include "rma/quick.h"

#include <string.h>

static void lied(struct up_peer_state *peer)
{
	up_core_link_down(peer->link, -EPROTO);
}

static int check(const struct up_rma_part *part, int status, const struct up_packet *p)
{
	if (status || p->bytes == part->len)
		return status;
	lied(part->op.peer);
	return -EPROTO;
}

static void single_answered(struct up_op *op, int status, const struct up_packet *p,
			    const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);

	status = check(part, status, p);
	if (!status && part->len)
		up_copy_short(part->to.iov_base, payload, part->len);
	up_rma_look(part, p);
	up_rma_part_end(part, status);
}

static void segment_answered(struct up_op *op, int status, const struct up_packet *p,
			     const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);
	struct up_rma_op *w = part->whole;

	status = check(part, status, p);
	if (!status)
		up_iov_write(w->local, w->nlocal, part->offset, payload, part->len);
	up_rma_part_answered(part, status, p);
}

/* Where the target's lane cannot write here, the same stretch is read in segments. */
static void large_answered(struct up_op *op, int status, const struct up_packet *p,
			   const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);
	struct up_rma_op *w = part->whole;

	if (status == -EOPNOTSUPP && !w->status) {
		w->peer->rma->no_put = true;
		up_list_add_tail(&w->redo, &part->redo);
		up_rma_op_queue(w);
		up_rma_op_advance(w, 0);
		return;
	}
	up_rma_part_answered(part, status, p);
}

/* A stretch of one remote piece. */
struct stretch {
	uint64_t addr;
	uint64_t key;
	size_t offset; /* in the local memory */
	size_t len;
};

/* Is the operation whole with the next `len` bytes of the stretch? */
static uint16_t last_flag(const struct up_rma_op *w, const struct stretch *s, size_t len)
{
	return s->offset + len == w->bytes ? UP_PKT_F_LAST : 0;
}

/* How much it asked for; 0: no room. */
static size_t read_segment(struct up_rma_op *w, const struct stretch *s)
{
	size_t most = up_max_answer(w->peer);
	size_t len = s->len < most ? s->len : most;
	struct up_packet p = {.type = UP_PKT_READ,
			      .flags = last_flag(w, s, len),
			      .aux = (uint32_t)len,
			      .a = s->addr,
			      .b = s->key};
	struct up_rma_part *part;

	if (w->out && !up_answer_spare(w->peer, len))
		return 0;
	part = up_rma_part_create(w->peer, w, s->key, segment_answered);
	if (!part)
		return 0;
	part->offset = s->offset;
	part->len = len;
	if (!up_send_reserve(w->peer, &part->op, 0, (ptrdiff_t)len)) {
		up_rma_part_free(w->peer, part);
		return 0;
	}
	up_send_commit(w->peer, &part->op, &p, 0);
	w->out++;
	return len;
}

static size_t read_large(struct up_rma_op *w, const struct stretch *s, const struct iovec *to)
{
	struct up_packet p = {.type = UP_PKT_READ_LARGE,
			      .flags = last_flag(w, s, to->iov_len),
			      .a = s->addr,
			      .b = s->key};
	struct up_bulk_source source = {.peer = w->peer, .iov = to, .n = 1, .bytes = to->iov_len};
	struct up_rma_part *part = up_rma_part_create(w->peer, w, s->key, large_answered);
	void *payload;

	if (!part)
		return 0;
	payload = up_send_reserve(w->peer, &part->op, sizeof(struct up_pkt_source), 0);
	if (!payload) {
		up_rma_part_free(w->peer, part);
		return 0;
	}
	part->addr = s->addr;
	part->offset = s->offset;
	part->len = to->iov_len;
	up_bulk_describe(payload, &source);
	up_send_commit(w->peer, &part->op, &p, sizeof(struct up_pkt_source));
	w->out++;
	return to->iov_len;
}

/* The piece of local memory that the stretch begins in, as far as the stretch reaches. */
static struct iovec local_piece(const struct up_rma_op *w, const struct stretch *s)
{
	struct iovec pieces[UP_IOV_MAX];

	up_iov_slice(pieces, w->local, w->nlocal, s->offset, s->len);
	return pieces[0];
}

static size_t ask(struct up_rma_op *w, const struct stretch *s)
{
	struct iovec to;

	if (!w->peer->rma->no_put && up_bulk_direct(w->peer, s->len, true)) {
		to = local_piece(w, s);
		if (up_bulk_direct(w->peer, to.iov_len, true))
			return read_large(w, s, &to);
	}
	return read_segment(w, s);
}

static bool drive_redo(struct up_rma_op *w)
{
	while (!up_list_empty(&w->redo)) {
		struct up_rma_part *part = UP_CONTAINER_OF(w->redo.next, struct up_rma_part, redo);
		struct stretch s = {part->addr, part->key, part->offset, part->len};
		size_t asked = s.len && !w->status ? read_segment(w, &s) : s.len;

		if (s.len && !asked)
			return false;
		part->addr += asked;
		part->offset += asked;
		part->len -= asked;
		if (!part->len) {
			up_list_del(&part->redo);
			up_rma_part_free(w->peer, part);
		}
	}
	return true;
}

bool up_rma_drive_read(struct up_rma_op *w)
{
	enum up_rma_turn turn = up_rma_turn(w, UP_RMA_READ);

	if (turn != UP_RMA_PACKETS)
		return turn == UP_RMA_DONE;
	if (!drive_redo(w))
		return false;
	while (!w->status && w->sent < w->bytes) {
		const struct up_rma_iov *r = &w->remote[w->piece];
		struct stretch s = {r->addr + w->into, r->key, w->sent, r->len - w->into};
		size_t asked;

		if (w->way != UP_WAY_DIRECT && s.len) {
			if (!up_rma_send_staged(w, UP_RMA_READ))
				return false;
			continue;
		}
		asked = s.len ? ask(w, &s) : 0;
		if (s.len && !asked)
			return false;
		w->sent += asked;
		w->into += asked;
		if (w->into == r->len) {
			w->piece++;
			w->into = 0;
		}
	}
	return true;
}

static int read_many(struct up_peer_state *peer, const struct up_rma_call *c, enum up_way way)
{
	struct up_rma_op *w = up_rma_op_create(peer, up_rma_drive_read, c);

	return w ? up_rma_op_start(w, way) : -EAGAIN;
}

static int read_one(struct up_peer_state *peer, const struct up_rma_call *c)
{
	struct up_packet p = {.type = UP_PKT_READ,
			      .flags = UP_PKT_F_LAST,
			      .aux = (uint32_t)c->bytes,
			      .a = c->remote[0].addr,
			      .b = c->remote[0].key};
	struct up_rma_part *part = up_rma_part_create(peer, NULL, p.b, single_answered);

	if (!part)
		return -EAGAIN;
	part->done = c->done;
	part->ctx = c->ctx;
	part->len = c->bytes;
	part->flags = c->flags;
	part->to = c->local[0];
	if (!up_send_reserve(peer, &part->op, 0, (ptrdiff_t)c->bytes)) {
		up_rma_part_free(peer, part);
		return -EAGAIN;
	}
	up_send_commit(peer, &part->op, &p, 0);
	return 0;
}

static bool is_small(const struct up_peer_state *peer, size_t bytes)
{
	return bytes <= up_max_answer(peer) && !up_bulk_direct(peer, bytes, true);
}

static int start(struct up_ep *ep, up_peer to, const struct up_rma_call *c)
{
	int error;
	struct up_peer_state *peer = up_peer_start(ep, to, &error);
	enum up_way way = UP_WAY_DIRECT;

	if (!peer)
		return error;
	if (up_rma_start(peer, c, UP_RMA_READ, &way))
		return 0;
	if (c->nremote == 1 && c->nlocal == 1 && is_small(peer, c->bytes) &&
	    up_rma_unfenced(peer, c->flags))
		return read_one(peer, c);
	return read_many(peer, c, way);
}

static __attribute__((noinline)) int check_and_start(struct up_ep *ep, up_peer peer,
						     struct up_rma_call *c)
{
	int ret;

	if (c->flags & ~(unsigned)UP_FENCE || !up_rma_valid(c))
		return -EINVAL;
	up_ep_lock(ep);
	ret = start(ep, peer, c);
	up_ep_unlock(ep);
	return ret;
}

int up_rma_read(struct up_ep *ep, up_peer peer, const struct iovec *local, size_t nlocal,
		const struct up_rma_iov *remote, size_t nremote, unsigned flags, up_done *done,
		void *ctx)
{
	struct up_rma_call c;

	if (!(flags & ~(unsigned)UP_FENCE) &&
	    up_rma_quick(ep, peer, local, nlocal, remote, nremote, UP_RMA_READ))
		return up_rma_quick_end(ep, done, ctx, remote->len);
	c = (struct up_rma_call){local, nlocal, remote, nremote, 0, 0, flags, done, ctx};
	return check_and_start(ep, peer, &c);
}

/* ---- the target ---- */

bool up_rma_read_packet(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
			const void *payload)
{
	struct up_rma_grant g = {0};
	void *to;
	int error;

	if (!p->op || p->bytes || p->aux > up_max_payload(from)) {
		lied(from);
		return true;
	}
	error = p->aux ? up_rma_grant(ep, &g, p->b, p->a, p->aux, UP_RMA_READ) : 0;
	if (error) {
		up_send_answer(from, p->op, error, NULL, 0);
		return true;
	}
	to = up_answer_reserve(from, p->aux);
	if (to) {
		if (p->aux)
			up_copy_short(to, g.memory, p->aux);
		up_rma_answer_commit(from, p->op, up_rma_answer_flags(from, &g, false), p->aux);
		up_rma_touch(from, NULL, p->flags, UP_RMA_READ);
	} else {
		lied(from);
	}
	up_rma_grant_end(&g);
	return true;
}
