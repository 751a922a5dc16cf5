/* SPDX-License-Identifier: BSD-2-Clause */
/* Write progress: the initiator's side of writes, and the target's of small ones. */
#include "rma/quick.h"

#include <endian.h>
#include <string.h>

#define FLAGS (UP_INJECT | UP_DELIVERED | UP_FENCE | UP_IMM)

/* In `aux`: more of a write with immediate data follows. */
#define MORE 1u

static size_t imm_bytes(unsigned flags)
{
	return flags & UP_IMM ? sizeof(uint64_t) : 0;
}

static bool is_small(const struct up_peer_state *peer, size_t bytes)
{
	return bytes + sizeof(uint64_t) <= up_max_payload(peer) &&
	       !up_bulk_direct(peer, bytes, false);
}

/* Room for the packet, with the immediate data in its place. NULL: none. */
static uint8_t *reserve(struct up_peer_state *peer, struct up_rma_part *part, struct up_packet *p,
			size_t bytes, unsigned flags, uint64_t imm)
{
	size_t before = imm_bytes(flags);
	uint8_t *to = up_send_reserve(peer, &part->op, before + bytes, 0);

	if (to && before) {
		imm = htole64(imm);
		memcpy(to, &imm, sizeof(imm));
		p->flags |= UP_PKT_F_IMM;
		to += before;
	}
	return to;
}

static void part_answered(struct up_op *op, int status, const struct up_packet *p,
			  const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);
	struct up_rma_op *w = part->whole;

	if (part->source.cookie)
		w->peer->rma->large--;
	up_rma_part_answered(part, status, p);
}

static void single_answered(struct up_op *op, int status, const struct up_packet *p,
			    const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);

	up_rma_look(part, p);
	up_rma_part_end(part, status);
}

/* ---- several packets ---- */

static bool send_small(struct up_rma_op *w, struct up_rma_part *part, const struct up_rma_iov *r,
		       unsigned flags, uint32_t aux, uint16_t last)
{
	struct up_packet p = {
		.type = UP_PKT_WRITE, .flags = last, .aux = aux, .a = r->addr, .b = r->key};
	uint8_t *to = reserve(w->peer, part, &p, r->len, flags, w->imm);

	if (!to)
		return false;
	up_iov_read(to, w->local, w->nlocal, w->sent, r->len);
	up_send_commit(w->peer, &part->op, &p, imm_bytes(flags) + r->len);
	return true;
}

static bool send_large(struct up_rma_op *w, struct up_rma_part *part, const struct up_rma_iov *r,
		       unsigned flags, uint32_t aux, uint16_t last)
{
	struct up_packet p = {
		.type = UP_PKT_WRITE_LARGE, .flags = last, .aux = aux, .a = r->addr, .b = r->key};
	size_t n = up_iov_slice(part->iov, w->local, w->nlocal, w->sent, r->len);
	uint8_t *to;

	if (!up_answer_lasting(w->peer))
		return false;
	part->source =
		(struct up_bulk_source){.peer = w->peer, .iov = part->iov, .n = n, .bytes = r->len};
	if (up_bulk_offer(w->peer->ep, &part->source))
		return false;
	to = reserve(w->peer, part, &p, sizeof(struct up_pkt_source), flags, w->imm);
	if (!to)
		return false;
	up_bulk_describe(to, &part->source);
	up_send_commit(w->peer, &part->op, &p, imm_bytes(flags) + sizeof(struct up_pkt_source));
	w->peer->rma->large++;
	return true;
}

/* The next remote piece; of a write without data there is an empty one. */
static bool send_piece(struct up_rma_op *w, const struct up_rma_iov *r)
{
	bool last = w->sent + r->len == w->bytes;
	unsigned flags = last ? w->flags : w->flags & ~(unsigned)UP_IMM;
	uint32_t aux = w->flags & UP_IMM && !last ? MORE : 0;
	bool small = is_small(w->peer, r->len);
	uint16_t flag = last ? UP_PKT_F_LAST : up_rma_last(w, w->piece + 1, r->key);
	struct up_rma_part *part;

	if (small && w->peer->rma->large)
		return false;
	/* The immediate data tells of a whole write, so it waits for the answers of the rest. */
	if (last && w->flags & UP_IMM && w->out)
		return false;
	part = up_rma_part_create(w->peer, w, r->key, part_answered);
	if (!part)
		return false;
	if (!(small ? send_small : send_large)(w, part, r, flags, aux, flag)) {
		up_rma_part_free(w->peer, part);
		return false;
	}
	w->out++;
	w->sent += r->len;
	w->all_sent = last;
	return true;
}

bool up_rma_drive_write(struct up_rma_op *w)
{
	static const struct up_rma_iov nothing;
	enum up_rma_turn turn = up_rma_turn(w, UP_RMA_WRITE);

	if (turn != UP_RMA_PACKETS)
		return turn == UP_RMA_DONE;
	while (!w->status && !w->all_sent) {
		while (w->piece < w->nremote && !w->remote[w->piece].len)
			w->piece++;
		if (w->way != UP_WAY_DIRECT) {
			if (!up_rma_send_staged(w, UP_RMA_WRITE))
				return false;
			continue;
		}
		if (!send_piece(w, w->piece < w->nremote ? &w->remote[w->piece] : &nothing))
			return false;
		w->piece++;
	}
	return true;
}

static int copy_injected(struct up_rma_op *w)
{
	w->copy = malloc(w->bytes ? w->bytes : 1);
	if (!w->copy)
		return -EAGAIN;
	up_iov_read(w->copy, w->local, w->nlocal, 0, w->bytes);
	w->local[0] = (struct iovec){.iov_base = w->copy, .iov_len = w->bytes};
	w->nlocal = 1;
	return 0;
}

static int write_many(struct up_peer_state *peer, const struct up_rma_call *c, enum up_way way)
{
	struct up_rma_op *w = up_rma_op_create(peer, up_rma_drive_write, c);

	if (!w)
		return -EAGAIN;
	if (c->flags & UP_INJECT && copy_injected(w)) {
		up_rma_op_discard(w);
		return -EAGAIN;
	}
	return up_rma_op_start(w, way);
}

static int write_one(struct up_peer_state *peer, const struct up_rma_call *c)
{
	struct up_packet p = {.type = UP_PKT_WRITE,
			      .flags = UP_PKT_F_LAST,
			      .a = c->remote[0].addr,
			      .b = c->remote[0].key};
	struct up_rma_part *part = up_rma_part_create(peer, NULL, p.b, single_answered);
	uint8_t *to;

	if (!part)
		return -EAGAIN;
	to = reserve(peer, part, &p, c->bytes, c->flags, c->imm);
	if (!to) {
		up_rma_part_free(peer, part);
		return -EAGAIN;
	}
	part->done = c->done;
	part->ctx = c->ctx;
	part->len = c->bytes;
	part->flags = c->flags;
	if (__builtin_expect(c->nlocal != 1, 0))
		up_iov_read(to, c->local, c->nlocal, 0, c->bytes);
	else if (c->bytes)
		up_copy_short(to, c->local[0].iov_base, c->bytes);
	up_send_commit(peer, &part->op, &p, imm_bytes(c->flags) + c->bytes);
	return 0;
}

static int start(struct up_ep *ep, up_peer to, const struct up_rma_call *c)
{
	int error;
	struct up_peer_state *peer = up_peer_start(ep, to, &error);
	enum up_way way = UP_WAY_DIRECT;

	if (!peer)
		return error;
	if (!(c->flags & UP_IMM) && up_rma_start(peer, c, UP_RMA_WRITE, &way))
		return 0;
	if (c->nremote == 1 && is_small(peer, c->bytes) && up_rma_writes_clear(peer) &&
	    up_rma_unfenced(peer, c->flags))
		return write_one(peer, c);
	return write_many(peer, c, way);
}

static __attribute__((noinline)) int check_and_start(struct up_ep *ep, up_peer peer,
						     struct up_rma_call *c)
{
	int ret;

	if (c->flags & ~FLAGS || !up_rma_valid(c) ||
	    (c->flags & UP_INJECT && c->bytes > UP_INJECT_MAX))
		return -EINVAL;
	up_ep_lock(ep);
	ret = start(ep, peer, c);
	up_ep_unlock(ep);
	return ret;
}

int up_rma_write(struct up_ep *ep, up_peer peer, const struct iovec *local, size_t nlocal,
		 const struct up_rma_iov *remote, size_t nremote, uint64_t imm, unsigned flags,
		 up_done *done, void *ctx)
{
	struct up_rma_call c;

	if (!(flags & ~(FLAGS & ~UP_IMM)) &&
	    up_rma_quick(ep, peer, local, nlocal, remote, nremote, UP_RMA_WRITE))
		return up_rma_quick_end(ep, flags & UP_INJECT ? NULL : done, ctx, remote->len);
	c = (struct up_rma_call){local, nlocal, remote, nremote, 0, imm, flags, done, ctx};
	return check_and_start(ep, peer, &c);
}

/* ---- the target ---- */

void up_rma_written(struct up_peer_state *from, size_t bytes, bool more, bool has_imm, uint64_t imm)
{
	struct up_rma_state *rma = from->ep->rma;
	struct up_rma_peer *rp = from->rma;

	if (more && up_rma_peer(from)) {
		from->rma->partial += bytes;
		return;
	}
	if (!has_imm)
		return;
	if (rp) {
		bytes += rp->partial;
		rp->partial = 0;
	}
	if (rma->notify)
		rma->notify(rma->notify_ctx, from->id, imm, bytes);
}

bool up_rma_write_packet(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
			 const void *payload)
{
	bool has_imm = p->flags & UP_PKT_F_IMM;
	size_t before = has_imm ? sizeof(uint64_t) : 0;
	struct up_rma_grant g = {0};
	uint64_t imm = 0;
	size_t bytes;
	int error = 0;

	if (p->bytes < before) {
		up_core_link_down(from->link, -EPROTO);
		return true;
	}
	bytes = p->bytes - before;
	if (before) {
		memcpy(&imm, payload, sizeof(imm));
		imm = le64toh(imm);
	}
	/* Without data no memory is used, so none is looked for. */
	if (bytes) {
		error = up_rma_grant(ep, &g, p->b, p->a, bytes, UP_RMA_WRITE);
		if (!error) {
			up_copy_short(g.memory, (const uint8_t *)payload + before, bytes);
			up_rma_grant_end(&g);
		}
	}
	if (error) {
		up_send_answer(from, p->op, error, NULL, 0);
		return true;
	}
	up_rma_answer(from, p->op, up_rma_answer_flags(from, &g, false));
	up_rma_touch(from, g.region, p->flags, UP_RMA_WRITE);
	if (has_imm || p->aux & MORE)
		up_rma_written(from, bytes, p->aux & MORE, has_imm, imm);
	return true;
}
