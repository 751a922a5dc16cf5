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
 */
#ifndef UP_RMA_RMA_H
#define UP_RMA_RMA_H

#include "base/bytes.h"
#include "bulk/bulk.h"

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
	struct up_list users;		/* struct up_rma_request */
	struct up_region *next, **self; /* chain of keys that were chosen; self NULL: not there */
};

#define UP_RMA_CHAINS 1024u

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
	unsigned large; /* writes on their way for the target's queue */
	bool no_put;	/* the peer's lane does not write to this memory */

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
	struct up_list busy;	/* struct up_rma_peer */
	struct up_list serving; /* struct up_rma_request, reads */
	struct up_pool parts;
	struct up_pool ops;
	struct up_pool requests;
};

/* NULL: no memory. */
struct up_rma_peer *up_rma_peer(struct up_peer_state *peer);

/* ---- the initiator's side ---- */

/* A packet that has an answer to come. */
struct up_rma_part {
	struct up_op op;
	struct up_rma_op *whole; /* NULL: it is one by itself, with the next four */
	up_done *done;
	void *ctx;
	size_t len;
	unsigned flags;
	void *fetch;   /* where old values go */
	size_t offset; /* in the whole's local memory */
	struct iovec to;

	/* Of large ones. */
	struct up_list redo; /* struct up_rma_op.redo: to be read in segments */
	uint64_t addr;
	uint64_t key;
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

	/* Atomics. */
	uint32_t atomic; /* operation and type, as in the packet */
	uint16_t pflags;
	uint8_t *fetch;

	size_t nlocal;
	size_t nremote;
	struct iovec local[UP_IOV_MAX];
	struct up_rma_iov remote[UP_IOV_MAX];
};

/* op.c. NULL: no memory. The part's operation is ready to be sent. */
struct up_rma_part *up_rma_part_create(struct up_peer_state *peer, struct up_rma_op *whole,
				       void (*answered)(struct up_op *op, int status,
							const struct up_packet *p,
							const void *payload));
void up_rma_part_free(struct up_peer_state *peer, struct up_rma_part *part);
/* Frees a part that is by itself, and tells of its end. */
void up_rma_part_end(struct up_rma_part *part, int status);

/* NULL: no memory, or too many wait already. */
struct up_rma_op *up_rma_op_create(struct up_peer_state *peer, bool (*drive)(struct up_rma_op *w),
				   unsigned flags, up_done *done, void *ctx);
void up_rma_op_discard(struct up_rma_op *w);
/* Sends what it can, at once or after a fence. 0. */
int up_rma_op_start(struct up_rma_op *w);
/* Puts it into its queue, unless it is there. */
void up_rma_op_queue(struct up_rma_op *w);
/* One of its parts has ended. */
void up_rma_op_advance(struct up_rma_op *w, int status);
void up_rma_drive(struct up_list *queue);

/* write.c */
/* May a small write be sent right now? */
static inline bool up_rma_writes_clear(const struct up_peer_state *peer)
{
	return !peer->rma || (!peer->rma->large && up_list_empty(&peer->rma->writes));
}
bool up_rma_drive_write(struct up_rma_op *w);
bool up_rma_drive_read(struct up_rma_op *w);
bool up_rma_drive_atomic(struct up_rma_op *w);

/* Are the lists well formed, and as long as each other? */
bool up_rma_valid(const struct iovec *local, size_t nlocal, const struct up_rma_iov *remote,
		  size_t nremote, size_t *bytes);

/* ---- the target's side ---- */

/* A large transfer. Writes wait for their turn, reads do not. */
struct up_rma_request {
	struct up_list link; /* the peer's queue, or the state's */
	struct up_list user; /* the region's */
	struct up_peer_state *peer;
	struct up_bulk bulk;
	struct up_rma_grant grant;
	struct iovec iov;
	uint32_t op;
	bool read;
	bool started;
	bool has_imm;
	bool more;
	uint64_t imm;
};

void up_rma_queue_region_gone(struct up_region *region);
void up_rma_queue_peer_gone(struct up_rma_peer *rp);
/* Data is in its place. */
void up_rma_written(struct up_peer_state *from, size_t bytes, bool more, bool has_imm,
		    uint64_t imm);

up_packet_handler up_rma_write_packet, up_rma_write_large_packet, up_rma_read_packet,
	up_rma_read_large_packet, up_rma_atomic_packet;

/* atomic.c: element by element. `old`, unless NULL, gets what was there. Memory is aligned. */
void up_atomic_apply(enum up_atomic_op op, enum up_atomic_type type, void *memory, size_t count,
		     const void *operand, const void *compare, void *old);
/* Does the operation take operands, a compare array? */
static inline bool up_atomic_has_operand(enum up_atomic_op op)
{
	return op != UP_ATOMIC_READ;
}
static inline bool up_atomic_has_compare(enum up_atomic_op op)
{
	return op >= UP_ATOMIC_CSWAP;
}

#endif
