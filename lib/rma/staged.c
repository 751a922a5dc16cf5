/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Parts of operations that go through the stage (stage.c), or that the target copies by itself.
 * Their packets are requests like small writes and reads, and the target does them as they come, so
 * their order is that of packets.
 *
 * An operation in halves: the target is asked to copy the first, this end copies the second, and
 * then waits for the answer. As with a direct one nothing else is open when it begins, and nothing
 * that is to be in order with it is sent before its end; so it does not matter that a target which
 * cannot reach this memory has its half done by this end, later.
 *
 * When the target does not answer in time, the initiator takes the stage back, does by itself what
 * the target has not done, and ends these parts; that the target finds their packets later, and
 * that it cannot use the stage any more, does nothing. This keeps the order, as long as there is
 * nothing behind these parts that the target may find and do: else they wait, as that does too.
 */
#include "rma/stage.h"

#include "base/clock.h"

#include <endian.h>
#include <string.h>

/* Between two looks at the clock. */
#define POLLS 16u

static void part_answered(struct up_op *op, int status, const struct up_packet *p,
			  const void *payload);

static unsigned access_of(const struct up_rma_op *w)
{
	return w->drive == up_rma_drive_read ? UP_RMA_READ : UP_RMA_WRITE;
}

/* From when the operation before it ended, as several may be on their way. */
static void measure(struct up_rma_stage *s, const struct up_rma_op *w)
{
	unsigned access = access_of(w);
	uint64_t now = up_clock_ns(), *ended = &s->ended[access == UP_RMA_READ];
	struct up_choice *choice = up_stage_choice(s, access, w->bytes);

	up_choice_took(choice, w->way, w->bytes, now - (w->began > *ended ? w->began : *ended),
		       now);
	*ended = now;
	if (choice->way != UP_WAY_DIRECT)
		s->patience = UP_STAGE_PATIENCE;
}

/* ---- sending ---- */

static struct up_rma_part *get_part(struct up_rma_stage *s, struct up_rma_op *w,
				    const struct up_rma_iov *r, size_t len)
{
	struct up_rma_part *part = up_rma_part_create(w->peer, w, r->key, part_answered);

	if (!part)
		return NULL;
	part->chunk = (unsigned)__builtin_ctz(~s->used);
	part->half = false;
	part->addr = r->addr + w->into;
	part->offset = w->sent;
	part->len = len;
	return part;
}

/* Is it the last of the operation, or the last write with this key? */
static uint16_t last_flag(const struct up_rma_part *part, const struct up_rma_iov *r,
			  unsigned access)
{
	const struct up_rma_op *w = part->whole;

	if (part->offset + part->len == w->bytes)
		return UP_PKT_F_LAST;
	if (access == UP_RMA_READ || w->into + part->len < r->len)
		return 0;
	return up_rma_last(w, w->piece + 1, r->key);
}

static bool send_part(struct up_rma_stage *s, struct up_rma_part *part, const struct up_rma_iov *r,
		      unsigned access)
{
	struct up_rma_op *w = part->whole;
	struct up_packet p = {.type = access == UP_RMA_WRITE ? UP_PKT_WRITE_STAGED
							     : UP_PKT_READ_STAGED,
			      .flags = last_flag(part, r, access),
			      .a = part->addr,
			      .b = r->key};
	struct up_pkt_staged wire = {.piece = htole64(r->addr),
				     .bytes = htole64(r->len),
				     .at = htole32(part->chunk * (uint32_t)UP_STAGE_CHUNK),
				     .len = htole32((uint32_t)part->len)};
	uint8_t *to = up_send_reserve(w->peer, &part->op, sizeof(wire), 0);

	if (!to)
		return false;
	if (access == UP_RMA_WRITE)
		up_iov_read(s->memory->chunks[part->chunk], w->local, w->nlocal, part->offset,
			    part->len);
	memcpy(to, &wire, sizeof(wire));
	up_send_commit(w->peer, &part->op, &p, sizeof(wire));
	return true;
}

static void enter(struct up_rma_stage *s, struct up_rma_part *part)
{
	struct up_ep *ep = s->peer->ep;
	struct up_list *busy = &s->peer->rma->busy;

	if (up_list_empty(&s->parts)) {
		s->stuck = false;
		s->looked_at = 0;
		if (up_list_empty(busy))
			up_list_add_tail(&ep->rma->busy, busy);
		up_core_kick(ep);
	}
	up_list_add_tail(&s->parts, &part->redo);
	s->used |= 1u << part->chunk;
}

/* So many bytes more are on their way, or done. */
static void go_on(struct up_rma_op *w, const struct up_rma_iov *r, size_t len)
{
	w->sent += len;
	w->into += len;
	w->all_sent = w->sent == w->bytes;
	if (w->into == r->len) {
		w->piece++;
		w->into = 0;
	}
}

static bool send_chunk(struct up_rma_op *w, unsigned access)
{
	const struct up_rma_iov *r = &w->remote[w->piece];
	struct up_rma_stage *s = w->peer->rma->stage;
	size_t left = r->len - w->into, len = left < UP_STAGE_CHUNK ? left : UP_STAGE_CHUNK;
	struct up_rma_part *part;

	if (s->used == (1u << UP_STAGE_CHUNKS) - 1 ||
	    (access == UP_RMA_WRITE && w->peer->rma->large))
		return false;
	part = get_part(s, w, r, len);
	if (!part)
		return false;
	if (!send_part(s, part, r, access)) {
		up_rma_part_free(w->peer, part);
		return false;
	}
	if (!w->sent)
		w->began = up_clock_ns();
	enter(s, part);
	w->out++;
	go_on(w, r, len);
	return true;
}

/* What the target gets of the next stretch; 0: nothing. */
static size_t first_half(const struct up_rma_op *w, const struct up_rma_iov *r, size_t len,
			 struct iovec *here)
{
	struct iovec pieces[UP_IOV_MAX];
	size_t half = len / 2 - (r->addr + w->into + len / 2) % UP_HALF_PAGE;

	if (len < 2 * w->peer->link->lane->direct_from)
		return 0;
	up_iov_slice(pieces, w->local, w->nlocal, w->sent, half);
	*here = pieces[0];
	return here->iov_len;
}

static bool send_half(struct up_rma_stage *s, struct up_rma_op *w, const struct up_rma_iov *r,
		      const struct iovec *here, unsigned access)
{
	struct up_rma_part *part = get_part(s, w, r, here->iov_len);
	struct up_packet p = {.type = access == UP_RMA_WRITE ? UP_PKT_WRITE_HALF : UP_PKT_READ_HALF,
			      .a = r->addr + w->into,
			      .b = r->key};
	struct up_pkt_half wire = {.part = {.piece = htole64(r->addr),
					    .bytes = htole64(r->len),
					    .len = htole32((uint32_t)here->iov_len)},
				   .address = htole64((uintptr_t)here->iov_base)};
	uint8_t *to;

	if (!part)
		return false;
	wire.part.at = htole32(part->chunk * (uint32_t)UP_STAGE_CHUNK);
	to = up_send_reserve(w->peer, &part->op, sizeof(wire), 0);
	if (!to) {
		up_rma_part_free(w->peer, part);
		return false;
	}
	memcpy(to, &wire, sizeof(wire));
	up_send_commit(w->peer, &part->op, &p, sizeof(wire));
	part->half = true;
	w->peer->rma->large += access == UP_RMA_WRITE;
	enter(s, part);
	w->out++;
	go_on(w, r, here->iov_len);
	return true;
}

/* The other half. False: this end cannot. */
static bool move_half(struct up_rma_op *w, const struct up_rma_iov *r, size_t len, unsigned access)
{
	struct up_rma_iov remote = {r->addr + w->into, len, r->key};
	struct iovec local[UP_IOV_MAX];
	struct up_rma_call c = {.local = local, .remote = &remote, .nremote = 1, .bytes = len};

	c.nlocal = up_iov_slice(local, w->local, w->nlocal, w->sent, len);
	if (!up_rma_move_all(w->peer, &c, access, &w->status))
		return false;
	go_on(w, r, len);
	return true;
}

static bool send_halves(struct up_rma_op *w, unsigned access)
{
	const struct up_rma_iov *r = &w->remote[w->piece];
	struct up_peer_state *peer = w->peer;
	struct up_rma_stage *s = peer->rma->stage;
	size_t left = r->len - w->into, len = left < 2 * UP_HALF_MOST ? left : 2 * UP_HALF_MOST;
	size_t theirs;
	struct iovec here;

	/* These end without the application's help. */
	if (peer->rma->parts)
		return false;
	if (!up_peer_answered(peer) || !up_rma_window_allows(peer, r, access)) {
		w->way = UP_WAY_STAGED;
		return send_chunk(w, access);
	}
	if (!w->sent)
		w->began = up_clock_ns();
	theirs = first_half(w, r, len, &here);
	if (theirs && !send_half(s, w, r, &here, access))
		return false;
	if (!move_half(w, r, len - theirs, access))
		w->way = UP_WAY_STAGED;
	else if (!theirs && w->all_sent && !w->status)
		measure(s, w);
	return true;
}

bool up_rma_send_staged(struct up_rma_op *w, unsigned access)
{
	return w->way == UP_WAY_HALVES ? send_halves(w, access) : send_chunk(w, access);
}

/* ---- answers ---- */

static void leave(struct up_rma_stage *s, struct up_rma_part *part)
{
	s->used &= ~(1u << part->chunk);
	if (part->half)
		s->peer->rma->large -= access_of(part->whole) == UP_RMA_WRITE;
	up_list_del(&part->redo);
}

/* By this end, what the target was to do. */
static int move_part(const struct up_rma_part *part)
{
	struct up_rma_op *w = part->whole;
	struct up_rma_iov remote = {part->addr, part->len, part->key};
	struct iovec local[UP_IOV_MAX];
	struct up_rma_call c = {.local = local, .remote = &remote, .nremote = 1};
	int status = 0;

	c.nlocal = up_iov_slice(local, w->local, w->nlocal, part->offset, part->len);
	c.bytes = part->len;
	/* The region is closed: the target would have found the same. */
	if (!up_rma_move_all(w->peer, &c, access_of(w), &status))
		status = -ENOKEY;
	return status;
}

static void part_answered(struct up_op *op, int status, const struct up_packet *p,
			  const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);
	struct up_rma_op *w = part->whole;
	struct up_rma_stage *s = w->peer->rma->stage;

	if (part->half && status == -EOPNOTSUPP)
		status = move_part(part);
	else if (!part->half && !status && access_of(w) == UP_RMA_READ)
		up_iov_write(w->local, w->nlocal, part->offset, s->memory->chunks[part->chunk],
			     part->len);
	leave(s, part);
	s->stuck = false;
	s->looked_at = 0;
	if (!status && w->sent == w->bytes && w->out == 1)
		measure(s, w);
	up_rma_part_answered(part, status, p);
}

/* ---- the direct way ---- */

/* What is left of the operation as one of its own. */
static struct up_rma_call rest(const struct up_rma_op *w, struct iovec *local,
			       struct up_rma_iov *remote)
{
	struct up_rma_call c = {.local = local, .remote = remote, .bytes = w->bytes - w->sent};

	c.nlocal = up_iov_slice(local, w->local, w->nlocal, w->sent, c.bytes);
	c.nremote = w->nremote - w->piece;
	memcpy(remote, &w->remote[w->piece], c.nremote * sizeof(*remote));
	if (c.nremote) {
		remote[0].addr += w->into;
		remote[0].len -= w->into;
	}
	return c;
}

/* The stage is not there any more. */
static enum up_rma_turn go_on_directly(struct up_rma_op *w, unsigned access)
{
	struct up_rma_iov remote[UP_IOV_MAX];
	struct iovec local[UP_IOV_MAX];
	struct up_rma_call c;

	if (w->status)
		return UP_RMA_PACKETS;
	if (w->out)
		return UP_RMA_WAIT;
	c = rest(w, local, remote);
	if (up_rma_move_all(w->peer, &c, access, &w->status)) {
		w->sent = w->bytes;
		w->all_sent = true;
		return UP_RMA_DONE;
	}
	memcpy(w->remote, remote, c.nremote * sizeof(*remote));
	w->nremote = c.nremote;
	w->piece = w->into = 0;
	w->way = UP_WAY_DIRECT;
	return UP_RMA_PACKETS;
}

enum up_rma_turn up_rma_turn(struct up_rma_op *w, unsigned access)
{
	struct up_rma_stage *s = w->peer->rma->stage;
	enum up_rma_turn turn;
	uint64_t start;

	if (w->way != UP_WAY_DIRECT && s->state == UP_STAGE_READY)
		return UP_RMA_PACKETS;
	if (w->way != UP_WAY_DIRECT && w->sent)
		return go_on_directly(w, access);
	w->way = UP_WAY_DIRECT;
	if (w->flags & UP_IMM)
		return UP_RMA_PACKETS;
	if (!s || w->bytes < w->peer->link->lane->direct_from)
		return up_rma_direct_turn(w, access);
	start = up_clock_ns();
	turn = up_rma_direct_turn(w, access);
	if (turn == UP_RMA_DONE && !w->status) {
		uint64_t now = up_clock_ns();

		up_choice_took(up_stage_choice(s, access, w->bytes), UP_WAY_DIRECT, w->bytes,
			       now - start, now);
	}
	return turn;
}

static void orphan_answered(struct up_op *op, int status, const struct up_packet *p,
			    const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);

	up_pool_put(&op->peer->ep->rma->parts, part);
}

/* Has the target done it? Then its answer comes. */
static bool placed(const struct up_rma_stage *s, const struct up_rma_part *part)
{
	return __atomic_load_n(&s->memory->placed[part->chunk].op, __ATOMIC_ACQUIRE) ==
	       part->op.number;
}

/* Is nothing open but parts of the stage, and what nobody waits for? And can all be done here? */
static bool can_take_over(const struct up_rma_stage *s)
{
	const struct up_list *at;

	for (at = s->peer->open.next; at != &s->peer->open; at = at->next) {
		const struct up_op *op = UP_CONTAINER_OF(at, const struct up_op, open);
		const struct up_rma_part *part = UP_CONTAINER_OF(op, const struct up_rma_part, op);

		if (op->aside)
			continue;
		if (op->answered != part_answered || !up_rma_window(s->peer, part->key))
			return false;
	}
	return true;
}

/* The part is over; its answer, when it comes, is nobody's. */
static void orphan(struct up_rma_stage *s, struct up_rma_part *part)
{
	leave(s, part);
	part->whole = NULL;
	part->op.answered = orphan_answered;
	part->op.aside = true;
	s->peer->rma->parts--;
}

/* Is the target copying? One that was stopped there goes on with that, and answers, or dies. */
static bool is_inside(const struct up_rma_stage *s)
{
	struct up_link *link = s->peer->link;

	return link->lane->ops->mem_entered(link);
}

static void take_over(struct up_rma_stage *s, uint64_t now)
{
	struct {
		struct up_rma_op *whole;
		int status;
	} over[UP_STAGE_CHUNKS];
	struct up_list *at, *tmp;
	unsigned n = 0;

	up_stage_take_back(s, now);
	up_list_each (at, tmp, &s->parts) {
		struct up_rma_part *part = UP_CONTAINER_OF(at, struct up_rma_part, redo);

		if (placed(s, part))
			continue;
		over[n].whole = part->whole;
		over[n++].status = move_part(part);
		orphan(s, part);
	}
	/* All is in its place before anybody is told, as that may start more. */
	for (unsigned i = 0; i < n; i++)
		up_rma_op_advance(over[i].whole, over[i].status);
}

bool up_rma_stage_busy(const struct up_rma_stage *s)
{
	return !up_list_empty(&s->parts);
}

/* Nobody may sleep meanwhile. */
bool up_rma_stage_watch(struct up_rma_stage *s)
{
	uint64_t now;

	if (s->state != UP_STAGE_READY || s->stuck)
		return false;
	up_core_kick(s->peer->ep);
	if (s->polls++ % POLLS)
		return false;
	now = up_clock_ns();
	if (!s->looked_at)
		s->looked_at = now;
	if (now - s->looked_at < s->late)
		return false;
	s->looked_at = now;
	s->stuck = is_inside(s) || !can_take_over(s);
	if (!s->stuck)
		take_over(s, now);
	return !s->stuck;
}

/* ---- the target ---- */

struct staged {
	uint64_t piece, bytes;
	uint64_t address; /* of a half */
	uint32_t at, len;
	bool half;
};

/* Where the piece is, is not checked: that is what is granted or not. */
static bool is_valid(const struct staged *t, const struct up_packet *p, size_t most)
{
	return t->len && t->len <= most && !(t->at % UP_STAGE_CHUNK) &&
	       t->at / UP_STAGE_CHUNK < UP_STAGE_CHUNKS && t->len <= t->bytes &&
	       p->a - t->piece <= t->bytes - t->len;
}

static struct staged staged_from_wire(const struct up_pkt_staged *wire)
{
	return (struct staged){.piece = le64toh(wire->piece),
			       .bytes = le64toh(wire->bytes),
			       .at = le32toh(wire->at),
			       .len = le32toh(wire->len)};
}

static bool parse_chunk(struct staged *to, const struct up_packet *p, const void *payload)
{
	struct up_pkt_staged wire;

	memcpy(&wire, payload, sizeof(wire));
	*to = staged_from_wire(&wire);
	return is_valid(to, p, UP_STAGE_CHUNK);
}

static bool parse_half(struct staged *to, const struct up_packet *p, const void *payload)
{
	struct up_pkt_half wire;
	uint64_t end;

	memcpy(&wire, payload, sizeof(wire));
	*to = staged_from_wire(&wire.part);
	to->half = true;
	to->address = le64toh(wire.address);
	return is_valid(to, p, UP_HALF_MOST) && !__builtin_add_overflow(to->address, to->len, &end);
}

static int copy_half(struct up_link *link, const struct staged *t, uint8_t *here, unsigned access)
{
	const struct up_lane_ops *ops = link->lane->ops;
	struct iovec iov = {.iov_base = here, .iov_len = t->len};
	int ret = access == UP_RMA_WRITE ? ops->get(link, &iov, 1, t->address, t->len)
					 : ops->put(link, &iov, 1, t->address, t->len);

	return ret ? -EOPNOTSUPP : 0;
}

/* Between the stage, or the initiator's memory, and memory that was granted for the whole piece. */
static int move(struct up_peer_state *from, const struct up_packet *p, const struct staged *t,
		uint8_t *piece, unsigned access)
{
	struct up_rma_stage *s = from->rma ? from->rma->stage : NULL;
	unsigned chunk = t->at / (uint32_t)UP_STAGE_CHUNK;
	uint8_t *here = piece + (p->a - t->piece);
	struct up_stage_memory *memory;
	int error = 0;

	if (!s || !s->mapped || !up_lane_enter(from->link, &s->theirs))
		return -ECANCELED;
	memory = (struct up_stage_memory *)s->theirs.memory;
	if (t->half)
		error = copy_half(from->link, t, here, access);
	else if (access == UP_RMA_WRITE)
		memcpy(here, memory->chunks[chunk], t->len);
	else
		memcpy(memory->chunks[chunk], here, t->len);
	if (!error)
		__atomic_store_n(&memory->placed[chunk].op, p->op, __ATOMIC_RELEASE);
	up_lane_leave(from->link);
	return error;
}

static bool serve(struct up_peer_state *from, const struct up_packet *p, const struct staged *t,
		  unsigned access)
{
	struct up_rma_grant g = {0};
	uint16_t flags = 0;
	int error = up_rma_grant(from->ep, &g, p->b, t->piece, t->bytes, access);

	if (!error) {
		error = move(from, p, t, g.memory, access);
		flags = up_rma_answer_flags(from, &g, true);
		up_rma_grant_end(&g);
	}
	if (error) {
		up_send_answer(from, p->op, error, NULL, 0);
	} else {
		up_rma_answer(from, p->op, flags);
		up_rma_touch(from, access == UP_RMA_WRITE ? g.region : NULL, p->flags, access);
	}
	return true;
}

static bool serve_packet(struct up_peer_state *from, const struct up_packet *p, const void *payload,
			 unsigned access,
			 bool (*parse)(struct staged *, const struct up_packet *, const void *))
{
	struct staged t;

	if (parse(&t, p, payload))
		return serve(from, p, &t, access);
	up_core_link_down(from->link, -EPROTO);
	return true;
}

bool up_rma_write_staged_packet(struct up_ep *ep, struct up_peer_state *from,
				const struct up_packet *p, const void *payload)
{
	return serve_packet(from, p, payload, UP_RMA_WRITE, parse_chunk);
}

bool up_rma_read_staged_packet(struct up_ep *ep, struct up_peer_state *from,
			       const struct up_packet *p, const void *payload)
{
	return serve_packet(from, p, payload, UP_RMA_READ, parse_chunk);
}

bool up_rma_write_half_packet(struct up_ep *ep, struct up_peer_state *from,
			      const struct up_packet *p, const void *payload)
{
	return serve_packet(from, p, payload, UP_RMA_WRITE, parse_half);
}

bool up_rma_read_half_packet(struct up_ep *ep, struct up_peer_state *from,
			     const struct up_packet *p, const void *payload)
{
	return serve_packet(from, p, payload, UP_RMA_READ, parse_half);
}
