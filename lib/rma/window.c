/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Windows: regions of peers of the same host that the initiator uses by itself. What was allocated
 * by up_mem_alloc() is mapped, so that operations are loads and stores; other memory is read and
 * written through the lane, when that is faster than packets. The first operation with a key goes
 * by packets; its answer says that there can be a window (UP_PKT_F_MAP), and then this end asks how
 * (UP_PKT_MAP). Nothing waits for that: until the window is there, operations go on by packets.
 *
 * The owner lets this end in for as long as the region is open (lane/lane.h). Rights and bounds are
 * those of the answer, and are checked here: the memory was shared with processes of the same user,
 * who could do what they want with it in any case.
 *
 * Order. Such an access is over when its call returns. So that it does not overtake earlier ones,
 * there may be none: while something is open with the peer, the ordinary way is taken. Of many
 * large operations behind one another none would ever find that nothing is open; these wait for
 * what is before them, in the queue (up_rma_direct_turn()).
 */
#include "rma/quick.h"

#include <endian.h>
#include <string.h>

/* Of a peer; more are not mapped. */
#define MOST_WINDOWS 1024u
/* Mappings that may fail before it is not tried any more. */
#define MOST_FAILURES 16u
/* Bytes that are copied between two looks at whether the region is still open. */
#define QUANTUM ((size_t)1 << 20)
/* Bytes that one call moves at once; more is moved in turns, by the target. */
#define MOST ((size_t)4 << 20)

static struct up_rma_window **bucket(struct up_rma_peer *rp, uint64_t key)
{
	return &rp->windows[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 58];
}

struct up_rma_window *up_rma_window_find(struct up_rma_peer *rp, uint64_t key)
{
	struct up_rma_window *w = *bucket(rp, key);

	while (w && w->key != key)
		w = w->next;
	if (w)
		rp->last = w;
	return w;
}

static void drop(struct up_rma_peer *rp, struct up_rma_window *w)
{
	struct up_link *link = rp->peer->link;
	struct up_rma_window **at = bucket(rp, w->key);

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	rp->nwindows--;
	rp->last = NULL;
	link->lane->ops->mem_unmap(link, &w->view);
	free(w);
}

static bool is_stale(const struct up_rma_window *w)
{
	return __atomic_load_n(w->view.valid, __ATOMIC_RELAXED) != w->view.stamp;
}

static void drop_some(struct up_rma_peer *rp, bool (*which)(const struct up_rma_window *w))
{
	for (unsigned i = 0; i < UP_ARRAY_SIZE(rp->windows); i++) {
		struct up_rma_window *w = rp->windows[i];

		while (w) {
			struct up_rma_window *next = w->next;

			if (which(w))
				drop(rp, w);
			w = next;
		}
	}
}

static bool any(const struct up_rma_window *w)
{
	return true;
}

void up_rma_windows_fini(struct up_rma_peer *rp)
{
	drop_some(rp, any);
}

/* ---- asking ---- */

static bool parse(struct up_rma_window *w, struct up_lane_mem *mem, const struct up_packet *p,
		  const void *payload)
{
	struct up_pkt_map wire;
	uint64_t end;

	if (p->bytes != sizeof(wire))
		return false;
	memcpy(&wire, payload, sizeof(wire));
	w->base = le64toh(wire.base);
	w->bytes = le64toh(wire.bytes);
	w->access = (unsigned)le64toh(wire.access);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(mem->words); i++)
		mem->words[i] = le64toh(wire.lane[i]);
	return w->bytes && !__builtin_add_overflow(w->base, w->bytes - 1, &end);
}

static void add(struct up_rma_peer *rp, uint64_t key, const struct up_packet *p,
		const void *payload)
{
	struct up_link *link = rp->peer->link;
	struct up_rma_window *w = calloc(1, sizeof(*w)), **at = bucket(rp, key);
	struct up_lane_mem mem;

	if (!w || !parse(w, &mem, p, payload) ||
	    !link->lane->ops->mem_map(link, &mem, w->bytes, &w->view)) {
		rp->map_failures++;
		free(w);
		return;
	}
	w->key = key;
	w->next = *at;
	*at = w;
	rp->nwindows++;
	rp->last = w;
}

static void mapped(struct up_op *op, int status, const struct up_packet *p, const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);
	struct up_peer_state *peer = op->peer;
	uint64_t key = part->key;

	up_rma_part_free(peer, part);
	peer->rma->asking = false;
	if (!status && !peer->error)
		add(peer->rma, key, p, payload);
}

void up_rma_window_ask(struct up_peer_state *peer, uint64_t key)
{
	struct up_packet p = {.type = UP_PKT_MAP, .b = key};
	struct up_rma_peer *rp = up_rma_peer(peer);
	struct up_rma_part *part;

	if (!rp || rp->asking || rp->map_failures >= MOST_FAILURES ||
	    !peer->link->lane->ops->mem_map || up_rma_window_find(rp, key))
		return;
	if (rp->nwindows >= MOST_WINDOWS)
		drop_some(rp, is_stale);
	if (rp->nwindows >= MOST_WINDOWS)
		return;
	part = up_rma_part_create(peer, NULL, key, mapped);
	if (!part)
		return;
	if (!up_send_reserve(peer, &part->op, 0, sizeof(struct up_pkt_map))) {
		up_rma_part_free(peer, part);
		return;
	}
	up_send_commit(peer, &part->op, &p, 0);
	rp->asking = true;
}

static bool share(struct up_region *r)
{
	if (!r->told)
		r->told = r->lane->ops->mem_share(r->lane, r->memory, r->len, &r->shared);
	return r->told;
}

bool up_rma_map_packet(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
		       const void *payload)
{
	struct up_region *r = up_rma_region(ep->rma, p->b);
	struct up_pkt_map wire;

	if (!r || r->lane != from->link->lane || !share(r)) {
		up_send_answer(from, p->op, -ENOKEY, NULL, 0);
		return true;
	}
	wire.base = htole64(r->base);
	wire.bytes = htole64(r->len);
	wire.access = htole64(r->access);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(wire.lane); i++)
		wire.lane[i] = htole64(r->shared.words[i]);
	up_send_answer(from, p->op, 0, &wire, sizeof(wire));
	return true;
}

/* ---- use ---- */

/* One access, with no other before it. False: there is no window, or no way in any more. */
static bool enter(struct up_peer_state *peer, struct up_rma_window *w)
{
	if (up_lane_enter(peer->link, &w->view))
		return true;
	if (is_stale(w))
		drop(peer->rma, w);
	return false;
}

static bool may_use(struct up_peer_state *peer)
{
	if (!up_peer_quiet(peer) || peer->ep->unpolled >= UP_RMA_UNPOLLED)
		return false;
	peer->ep->unpolled++;
	return true;
}

/* Is there a window for each piece, and is it the better way? */
static bool has_windows(const struct up_peer_state *peer, const struct up_rma_call *c)
{
	if (!c->bytes || c->bytes > MOST)
		return false;
	for (size_t i = 0; i < c->nremote; i++) {
		const struct up_rma_iov *r = &c->remote[i];
		const struct up_rma_window *w = r->len ? up_rma_window(peer, r->key) : NULL;

		if (r->len && (!w || (!w->view.memory && r->len < peer->link->lane->direct_from)))
			return false;
	}
	return true;
}

static inline int check(const struct up_rma_window *w, uint64_t addr, size_t len, unsigned access)
{
	if (__builtin_expect((w->access & access) != access, 0))
		return -EACCES;
	return up_range_inside(addr, len, w->base, w->bytes) ? 0 : -ERANGE;
}

static inline void move(uint8_t *there, const struct up_rma_call *c, size_t offset, size_t len,
			unsigned access)
{
	if (__builtin_expect(c->nlocal == 1, 1)) {
		uint8_t *here = (uint8_t *)c->local[0].iov_base + offset;

		if (access == UP_RMA_WRITE)
			up_copy_short(there, here, len);
		else
			up_copy_short(here, there, len);
	} else if (access == UP_RMA_WRITE) {
		up_iov_read(there, c->local, c->nlocal, offset, len);
	} else {
		up_iov_write(c->local, c->nlocal, offset, there, len);
	}
}

static int move_through_lane(struct up_link *link, uint64_t there, const struct up_rma_call *c,
			     size_t offset, size_t len, unsigned access)
{
	const struct up_lane_ops *ops = link->lane->ops;
	struct iovec here[UP_IOV_MAX];
	size_t n = up_iov_slice(here, c->local, c->nlocal, offset, len);

	return access == UP_RMA_WRITE ? ops->put(link, here, n, there, len)
				      : ops->get(link, here, n, there, len);
}

/* One piece of remote memory. False: not, or not all of it, and *status is as it was. */
static bool move_piece(struct up_peer_state *peer, const struct up_rma_call *c,
		       const struct up_rma_iov *r, size_t offset, unsigned access, int *status)
{
	for (size_t done = 0; done < r->len && !*status;) {
		size_t len = r->len - done < QUANTUM ? r->len - done : QUANTUM;
		struct up_rma_window *w = up_rma_window(peer, r->key);
		uint64_t at;
		int failed = 0;

		if (!w || !enter(peer, w))
			return false;
		*status = check(w, r->addr, r->len, access);
		at = r->addr - w->base + done;
		if (!*status && w->view.memory)
			move(w->view.memory + at, c, offset + done, len, access);
		else if (!*status)
			failed = move_through_lane(peer->link, w->view.address + at, c,
						   offset + done, len, access);
		up_lane_leave(peer->link);
		if (failed) {
			/* The kernel does not allow it, or the memory is gone: the target knows. */
			drop(peer->rma, w);
			peer->rma->map_failures++;
			return false;
		}
		done += len;
	}
	return true;
}

bool up_rma_window_allows(struct up_peer_state *peer, const struct up_rma_iov *r, unsigned access)
{
	const struct up_rma_window *w = up_rma_window(peer, r->key);

	return w && !w->view.memory && !check(w, r->addr, r->len, access);
}

bool up_rma_move_all(struct up_peer_state *peer, const struct up_rma_call *c, unsigned access,
		     int *status)
{
	size_t offset = 0;

	for (size_t i = 0; i < c->nremote && !*status; i++) {
		if (!move_piece(peer, c, &c->remote[i], offset, access, status))
			return false;
		offset += c->remote[i].len;
	}
	return true;
}

static void end(struct up_peer_state *peer, const struct up_rma_call *c, int status)
{
	up_rma_tell(peer->ep, c->done, c->ctx, c->flags, status, c->bytes);
}

bool up_rma_direct_move(struct up_peer_state *peer, const struct up_rma_call *c, unsigned access)
{
	int status = 0;

	if (!peer->rma || !peer->rma->nwindows || !has_windows(peer, c) || !may_use(peer) ||
	    !up_rma_move_all(peer, c, access, &status))
		return false;
	end(peer, c, status);
	return true;
}

enum up_rma_turn up_rma_direct_turn(struct up_rma_op *w, unsigned access)
{
	const struct up_rma_call c = {w->local, w->nlocal, w->remote, w->nremote, w->bytes};
	struct up_peer_state *peer = w->peer;

	if (w->sent || w->out || w->status || !peer->rma->nwindows || !has_windows(peer, &c))
		return UP_RMA_PACKETS;
	/* These end without the application's help. */
	if (peer->rma->parts)
		return UP_RMA_WAIT;
	if (!up_peer_answered(peer) || !up_rma_move_all(peer, &c, access, &w->status))
		return UP_RMA_PACKETS;
	w->sent = w->bytes;
	w->all_sent = true;
	return UP_RMA_DONE;
}

bool up_rma_direct_atomic(struct up_peer_state *peer, const struct up_rma_atomic *c)
{
	struct up_rma_window *w = up_rma_window(peer, c->key);
	size_t bytes = c->call.bytes;
	uint8_t *memory;
	int status;

	if (!w || !w->view.memory || !may_use(peer) || !enter(peer, w))
		return false;
	status = check(w, c->addr, bytes, up_atomic_access(c->op));
	memory = w->view.memory + (c->addr - w->base);
	if (!status && !up_atomic_aligned(memory, c->size))
		status = -EINVAL;
	if (!status)
		up_atomic_apply(c->op, c->type, memory, c->count, c->operand, c->compare, c->fetch);
	up_lane_leave(peer->link);
	end(peer, &c->call, status);
	return true;
}
