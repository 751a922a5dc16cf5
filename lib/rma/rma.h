/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One-sided operations from inside.
 *
 * What fits one packet is one struct up_rma_part. Everything else is a struct up_rma_op that sends
 * parts as room allows, driven by its progress module (write.c with the atomics, read.c): one queue
 * a peer and direction, whose first operation sends.
 *
 * Order of writes. The target places small writes as they come, and large ones from its RMA queue
 * (queue.c), a peer's one after the other. So that no small one overtakes a large one, the
 * initiator sends a small one only when no large one is on its way; a large one after others waits
 * in the target's queue. Atomics count as small writes. Reads keep no order.
 *
 * A piece of remote memory is checked as a whole before any of it is touched.
 *
 * What a peer of the same host shares is used by loads and stores (window.c).
 */
#ifndef UP_RMA_RMA_H
#define UP_RMA_RMA_H

#include "base/bytes.h"
#include "bulk/bulk.h"
#include "bulk/choice.h"

#include <underpass/rma.h>

struct up_rma_op;

/* ---- memory of this endpoint ---- */

struct up_region {
	struct up_ep *ep;
	uint8_t *memory;
	size_t len;
	uint64_t base;
	uint64_t key;
	unsigned access;
	struct up_lane *lane;		/* whose peers can use the memory by themselves; or NULL */
	bool mapped;			/* and then by loads and stores */
	bool told;			/* one of them asked: */
	struct up_lane_mem shared;	/* how they find it */
	struct up_list users;		/* struct up_rma_request */
	struct up_region *next, **self; /* chain of keys that were chosen; self NULL: not there */
	up_rma_touched *touched;	/* or NULL */
	void *touched_ctx;
};

#define UP_RMA_CHAINS 1024u

/* NULL: no region has this key. */
struct up_region *up_rma_region(const struct up_rma_state *rma, uint64_t key);

/* An access that was granted. */
struct up_rma_grant {
	uint8_t *memory;
	struct up_region *region; /* or NULL: */
	const struct up_resolve_ops *ops;
	void *ctx;
	void *cookie;
};

/* 0, -ENOKEY, -EACCES, -ERANGE, or the resolver's. */
int up_rma_grant(struct up_ep *ep, struct up_rma_grant *g, uint64_t key, uint64_t addr, size_t len,
		 unsigned access);
static inline void up_rma_grant_end(const struct up_rma_grant *g)
{
	if (__builtin_expect(!g->region && g->ops, 0))
		g->ops->put(g->ctx, g->cookie);
}
void up_rma_regions_fini(struct up_ep *ep);

/* ---- state ---- */

/* With a peer, from the first time that it is needed. */
struct up_rma_peer {
	struct up_list busy; /* struct up_rma_state.busy: has operations in its queues */
	struct up_peer_state *peer;
	struct up_list writes; /* struct up_rma_op, atomics too */
	struct up_list reads;
	unsigned large; /* writes on their way that the target itself, or its queue, copies */
	bool no_put;	/* the peer's lane does not write to this memory */
	unsigned parts; /* that are open */
	bool asking;	/* for a window */
	unsigned map_failures;
	unsigned nwindows;
	struct up_rma_window *last; /* that was used, or NULL */
	struct up_rma_window *windows[64];
	struct up_rma_stage *stage; /* NULL: there is none (stage.c) */

	/* The target's side. */
	struct up_list queue; /* struct up_rma_request: writes */
	unsigned requests;    /* reads too */
	bool running;
	uint64_t partial; /* bytes of a write with immediate data whose end is to come */
};

struct up_rma_state {
	struct up_slots keys;
	struct up_region **chosen; /* UP_RMA_CHAINS chains */
	unsigned nchosen;
	const struct up_resolve_ops *resolver;
	void *resolver_ctx;
	up_rma_notify *notify;
	void *notify_ctx;
	up_rma_touched *touched;
	void *touched_ctx;
	struct up_list busy;	/* struct up_rma_peer */
	struct up_list serving; /* struct up_rma_request, reads */
	unsigned nstages;
	struct up_pool parts;
	struct up_pool ops;
	struct up_pool requests;
};

/* NULL: no memory. */
__attribute__((noinline)) struct up_rma_peer *up_rma_peer_create(struct up_peer_state *peer);
static inline struct up_rma_peer *up_rma_peer(struct up_peer_state *peer)
{
	return __builtin_expect(peer->rma != NULL, 1) ? peer->rma : up_rma_peer_create(peer);
}

/* ---- the initiator's side ---- */

/* What one call of the application starts. */
struct up_rma_call {
	const struct iovec *local;
	size_t nlocal;
	const struct up_rma_iov *remote;
	size_t nremote;
	size_t bytes;
	uint64_t imm;
	unsigned flags;
	up_done *done;
	void *ctx;
};

/* Is there no fence that holds the operation up? */
static inline bool up_rma_unfenced(const struct up_peer_state *peer, unsigned flags)
{
	return !(flags & UP_FENCE) || up_peer_quiet(peer);
}

/* A packet that has an answer to come. */
struct up_rma_part {
	struct up_op op;
	struct up_rma_op *whole; /* NULL: it is one by itself, with the next four */
	up_done *done;
	void *ctx;
	size_t len;
	unsigned flags;
	unsigned chunk; /* of the stage */
	bool half;	/* the target copies it by itself */
	void *fetch;	/* where old values go */
	size_t offset;	/* in the whole's local memory */
	uint64_t key;
	struct iovec to;

	/* Of large and staged ones. */
	struct up_list redo; /* struct up_rma_op.redo: to be read in segments; or the stage's */
	uint64_t addr;
	struct up_bulk_source source;
	struct iovec iov[UP_IOV_MAX];
};

struct up_rma_op {
	struct up_op op;     /* for waiting at a fence */
	struct up_list link; /* its queue */
	bool queued;
	struct up_peer_state *peer;
	/* Sends what it can. True: all was sent, or no more shall be. */
	bool (*drive)(struct up_rma_op *w);
	up_done *done;
	void *ctx;
	unsigned flags;
	uint64_t imm;
	int status;
	unsigned out; /* parts */
	size_t bytes;
	size_t sent;
	size_t piece; /* remote one, and how much of it was sent */
	size_t into;
	bool all_sent;
	void *copy; /* of injected data or operands; or NULL */
	struct up_list redo;
	enum up_way way;
	uint64_t began; /* to go that way: nanoseconds */

	/* Atomics. */
	uint32_t atomic; /* operation and type, as in the packet */
	uint8_t *fetch;

	size_t nlocal;
	size_t nremote;
	struct iovec local[UP_IOV_MAX];
	struct up_rma_iov remote[UP_IOV_MAX];
};

/* op.c. NULL: no memory. The part's operation is ready to be sent. */
struct up_rma_part *
up_rma_part_create(struct up_peer_state *peer, struct up_rma_op *whole, uint64_t key,
		   void (*answered)(struct up_op *op, int status, const struct up_packet *p,
				    const void *payload));
/* Flag of a packet to a key after which the operation goes on with pieces `from` and the ones
 * behind it: is it the last to that key? */
uint16_t up_rma_last(const struct up_rma_op *w, size_t from, uint64_t key);
void up_rma_part_free(struct up_peer_state *peer, struct up_rma_part *part);
/* An answer was all that a part waited for: frees it, and the operation goes on. */
void up_rma_part_answered(struct up_rma_part *part, int status, const struct up_packet *p);
/* Frees a part that is by itself, and tells of its end. */
void up_rma_part_end(struct up_rma_part *part, int status);

/* With copies of the call's lists. NULL: no memory, or too many wait already. */
struct up_rma_op *up_rma_op_create(struct up_peer_state *peer, bool (*drive)(struct up_rma_op *w),
				   const struct up_rma_call *c);
void up_rma_op_discard(struct up_rma_op *w);
/* Sends what it can, at once or after a fence. 0. */
int up_rma_op_start(struct up_rma_op *w, enum up_way way);
/* Puts it into its queue, unless it is there. */
void up_rma_op_queue(struct up_rma_op *w);
/* One of its parts has ended. */
void up_rma_op_advance(struct up_rma_op *w, int status);
void up_rma_drive(struct up_list *queue);

/* Tells the application that an operation has ended, if it wants to know. */
static inline void up_rma_tell(struct up_ep *ep, up_done *done, void *ctx, unsigned flags,
			       int status, size_t bytes)
{
	if (done && (status || !(flags & UP_INJECT))) {
		done(ctx, status, status ? 0 : bytes);
		up_core_told(ep);
	}
}

/* write.c */
/* May a small write be sent right now? */
static inline bool up_rma_writes_clear(const struct up_peer_state *peer)
{
	return !peer->rma || (!peer->rma->large && up_list_empty(&peer->rma->writes));
}
bool up_rma_drive_write(struct up_rma_op *w);
bool up_rma_drive_read(struct up_rma_op *w);
bool up_rma_drive_atomic(struct up_rma_op *w);

/* Are the call's lists well formed, and as long as each other? Then its `bytes` are set. */
bool up_rma_valid(struct up_rma_call *c);

/* ---- windows: memory of peers that this end uses by itself ---- */

struct up_rma_window {
	struct up_rma_window *next; /* of the same bucket */
	uint64_t key;
	uint64_t base;
	size_t bytes;
	unsigned access;
	struct up_lane_window view;
};

struct up_rma_window *up_rma_window_find(struct up_rma_peer *rp, uint64_t key);
static inline struct up_rma_window *up_rma_window(const struct up_peer_state *peer, uint64_t key)
{
	struct up_rma_peer *rp = peer->rma;

	if (!rp || !rp->nwindows)
		return NULL;
	return rp->last && rp->last->key == key ? rp->last : up_rma_window_find(rp, key);
}
void up_rma_windows_fini(struct up_rma_peer *rp);
/* Asks for one, unless there is one, or it cannot be now. */
void up_rma_window_ask(struct up_peer_state *peer, uint64_t key);

/* An answer came: does the peer say that the memory can be mapped? */
static inline void up_rma_look(const struct up_rma_part *part, const struct up_packet *p)
{
	if (__builtin_expect(p && p->flags & UP_PKT_F_MAP, 0))
		up_rma_window_ask(part->op.peer, part->key);
}

/* Direct operations in a row without progress; then one takes the ordinary way, which finds out
 * whether the peer still lives. */
#define UP_RMA_UNPOLLED 4096u

/* What one atomic starts; operand and compare are NULL where the operation takes none. */
struct up_rma_atomic {
	enum up_atomic_op op;
	enum up_atomic_type type;
	size_t count;
	size_t size; /* of an element */
	const uint8_t *operand;
	const uint8_t *compare;
	uint8_t *fetch;
	/* Of the remote piece whose turn it is: elements [first, end) start at `addr`. */
	uint64_t addr;
	uint64_t key;
	size_t first;
	size_t end;
	struct up_rma_call call; /* what all operations have; `remote` with several pieces only */
};

/* The whole operation, its end included. False: it cannot be done this way, nothing was told. */
bool up_rma_direct_move(struct up_peer_state *peer, const struct up_rma_call *c, unsigned access);
bool up_rma_direct_atomic(struct up_peer_state *peer, const struct up_rma_atomic *c);

enum up_rma_turn { UP_RMA_PACKETS, UP_RMA_WAIT, UP_RMA_DONE };
/* What is to become of the first operation of a queue; when it is done, its status is set. */
enum up_rma_turn up_rma_direct_turn(struct up_rma_op *w, unsigned access);

/* May this end use the whole piece, and only by the lane's copies? */
bool up_rma_window_allows(struct up_peer_state *peer, const struct up_rma_iov *r, unsigned access);

/* The parts of an operation that move bytes; its end is the caller's. False: not all of it. */
bool up_rma_move_all(struct up_peer_state *peer, const struct up_rma_call *c, unsigned access,
		     int *status);

/* ---- the stage: memory through which both ends copy at the same time (stage.c, staged.c) ---- */

/* The direct way for a call of the application, as up_rma_direct_move(), or another: then false,
 * with *way. */
bool up_rma_start_large(struct up_peer_state *peer, const struct up_rma_call *c, unsigned access,
			enum up_way *way);
static inline bool up_rma_start(struct up_peer_state *peer, const struct up_rma_call *c,
				unsigned access, enum up_way *way)
{
	if (__builtin_expect(c->bytes >= peer->link->lane->direct_from, 0))
		return up_rma_start_large(peer, c, access, way);
	return up_rma_direct_move(peer, c, access);
}
/* up_rma_direct_turn() for all operations that may go another way. */
enum up_rma_turn up_rma_turn(struct up_rma_op *w, unsigned access);
/* Of the next remote piece, for the other ways: what there is a chunk for, or two halves. False:
 * nothing now. */
bool up_rma_send_staged(struct up_rma_op *w, unsigned access);
/* Are there parts on their way? */
bool up_rma_stage_busy(const struct up_rma_stage *s);
/* Then their target is watched: true when something happened. */
bool up_rma_stage_watch(struct up_rma_stage *s);
void up_rma_stage_fini(struct up_rma_peer *rp);

/* ---- the target's side ---- */

/* The flags of an answer about memory that was granted. */
static inline uint16_t up_rma_answer_flags(const struct up_peer_state *from,
					   const struct up_rma_grant *g, bool large)
{
	const struct up_region *r = g->region;
	bool window = r && r->lane == from->link->lane && (large || r->mapped);

	/* What a peer does by itself, nobody here hears of. */
	return window && !from->ep->rma->touched && !r->touched ? UP_PKT_F_MAP : 0;
}
static inline void up_rma_answer_commit(struct up_peer_state *from, uint32_t op, uint16_t flags,
					size_t payload)
{
	struct up_packet p = {.type = UP_PKT_ANSWER, .flags = flags, .op = op};

	up_reply_commit(from, &p, payload);
}
/* Without payload; nothing happens for op 0. */
static inline void up_rma_answer(struct up_peer_state *from, uint32_t op, uint16_t flags)
{
	if (op) {
		up_answer_reserve(from, 0);
		up_rma_answer_commit(from, op, flags, 0);
	}
}

/* A large transfer. Writes wait for their turn, reads do not. */
struct up_rma_request {
	struct up_list link; /* the peer's queue, or the state's */
	struct up_list user; /* the region's */
	struct up_peer_state *peer;
	struct up_bulk bulk;
	struct up_rma_grant grant;
	struct iovec iov;
	uint32_t op;
	uint16_t flags; /* the packet's */
	bool read;
	bool started;
	bool has_imm;
	bool more;
	uint64_t imm;
};

void up_rma_queue_region_gone(struct up_region *region);
void up_rma_queue_peer_gone(struct up_rma_peer *rp);
/* What a packet with these flags asked for was done. `changed`: a region, or NULL. */
static inline void up_rma_touch(struct up_peer_state *from, const struct up_region *changed,
				uint16_t flags, unsigned access)
{
	const struct up_rma_state *rma = from->ep->rma;

	if (__builtin_expect(rma->touched && flags & UP_PKT_F_LAST, 0))
		rma->touched(rma->touched_ctx, from->id, access);
	if (__builtin_expect(changed && changed->touched, 0) &&
	    flags & (UP_PKT_F_LAST | UP_PKT_F_LAST_HERE))
		changed->touched(changed->touched_ctx, from->id, access);
}
/* Data is in its place. */
void up_rma_written(struct up_peer_state *from, size_t bytes, bool more, bool has_imm,
		    uint64_t imm);

up_packet_handler up_rma_map_packet, up_rma_write_packet, up_rma_write_large_packet,
	up_rma_read_packet, up_rma_read_large_packet, up_rma_atomic_packet, up_rma_stage_packet,
	up_rma_write_staged_packet, up_rma_read_staged_packet, up_rma_write_half_packet,
	up_rma_read_half_packet;

/* atomic.c: element by element. `old`, unless NULL, gets what was there. Memory is aligned. */
void up_atomic_apply(enum up_atomic_op op, enum up_atomic_type type, void *memory, size_t count,
		     const void *operand, const void *compare, void *old);
/* `size` is a power of two. */
static inline bool up_atomic_aligned(const void *memory, size_t size)
{
	return !((uintptr_t)memory & (size - 1));
}
/* Does the operation take operands, a compare array? */
static inline bool up_atomic_has_operand(enum up_atomic_op op)
{
	return op != UP_ATOMIC_READ;
}
static inline bool up_atomic_has_compare(enum up_atomic_op op)
{
	return op >= UP_ATOMIC_CSWAP;
}
/* The right that it needs. */
static inline unsigned up_atomic_access(enum up_atomic_op op)
{
	return op == UP_ATOMIC_READ ? UP_RMA_READ : UP_RMA_ATOMIC;
}

#endif
