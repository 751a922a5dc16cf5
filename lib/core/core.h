/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The endpoint from inside: its lock, its peers, and the operations that are open with them. It
 * knows no protocol: am/, tag/ and rma/ register themselves by type of packet.
 *
 * Locks. One lock an endpoint, recursive, as callbacks may call back; none with UP_THREAD_SINGLE.
 * Everything below is used with it held unless it says otherwise.
 */
#ifndef UP_CORE_CORE_H
#define UP_CORE_CORE_H

#include "am/packet.h"
#include "base/list.h"
#include "lane/lane.h"

#include <errno.h>

struct up_am_state;
struct up_bulk_state;
struct up_tag_state;
struct up_rma_state;
struct up_rma_peer;

/*
 * An operation that waits for its peer. Embedded in the protocol's own; created from a pool. All
 * zero but for the two functions before its first use, and again before it is used for another.
 */
struct up_op {
	struct up_list open;   /* struct up_peer_state.open, in the order of starting */
	struct up_list parked; /* struct up_peer_state.parked; next NULL: it is not */
	struct up_peer_state *peer;
	uint32_t number; /* on the wire; 0: none */
	bool aside;	 /* nobody waits for its end: it holds up no fence */
	size_t room;	 /* of answer_room, reserved; given back when the answer comes */
	/*
	 * An answer came, or the operation failed (packet NULL, status < 0). It is off the list and
	 * has no number any more; the callee ends it and frees it.
	 */
	void (*answered)(struct up_op *op, int status, const struct up_packet *p,
			 const void *payload);
	/*
	 * Of a parked operation: tries to go on. -EAGAIN: still no room, it stays the first. 0:
	 * all was sent; the callee may have ended and freed it. Another error: the core ends it by
	 * answered(), so the callee has not.
	 */
	int (*resume)(struct up_op *op);
};

struct up_peer_state {
	up_peer id;
	struct up_ep *ep;
	struct up_link *link;
	struct up_rma_peer *rma; /* rma's; NULL at first */
	int error;		 /* why no operation can start, 0: one can */
	unsigned nopen;		 /* operations that have a number: sent, and not answered yet */
	unsigned nqueued;	 /* that were started and wait in a protocol's own lists */
	unsigned nparked;	 /* to resume; one that is being resumed is among them */
	unsigned refusals;	 /* of messages, since a packet to it last found room */
	size_t kept;		 /* bytes of injected messages that wait for room; tag's */
	void *pending;		 /* the core's: the packet that was reserved */
	size_t answer_room;	 /* left */
	struct up_list open;	 /* struct up_op, with a number */
	struct up_list parked;	 /* struct up_op, to resume */
	struct up_list stuck; /* struct up_peer_state, of the endpoint: has operations to resume */
	size_t addr_bytes;
	uint8_t addr[UP_ADDR_MAX];
};

/* What a protocol does with packets of a type. False: not now, as up_core_packet(). */
typedef bool up_packet_handler(struct up_ep *ep, struct up_peer_state *from,
			       const struct up_packet *p, const void *payload);

struct up_protocol {
	const char *name;
	int (*init)(struct up_ep *ep);
	void (*fini)(struct up_ep *ep);
	/* In every progress in which the list of what there is to do is not empty; how much it did.
	 * Both may be NULL. */
	unsigned (*progress)(struct up_ep *ep);
	const struct up_list *(*work)(const struct up_ep *ep);
	/* After all operations with the peer have failed. May be NULL. */
	void (*peer_gone)(struct up_ep *ep, struct up_peer_state *peer);
	/* What it keeps of the peer's, or for it, that is no operation. May be NULL. */
	unsigned (*busy)(struct up_ep *ep, struct up_peer_state *peer);
	/* Is there something that a close shall wait for? May be NULL. */
	bool (*lingers)(const struct up_ep *ep);
	up_packet_handler *handlers[UP_PKT_TYPES]; /* NULL: another protocol's */
};

/* In this order; ended in the reverse one. */
extern const struct up_protocol up_bulk_protocol, up_am_protocol, up_tag_protocol, up_rma_protocol;

struct up_ep_private; /* core/ep.c */

struct up_ep {
	struct up_ep_attr attr;
	struct up_am_state *am;
	struct up_bulk_state *bulk;
	struct up_tag_state *tag;
	struct up_rma_state *rma;
	struct up_ep_private *core;
	struct up_peer_state **peers; /* by handle; NULL: removed, and [0] always */
	uint64_t npeers;	      /* slots */
	void *scratch;		      /* where answers are written that nobody can get */
	unsigned unpolled; /* operations since the last progress that asked nothing of their peer */
	bool withheld;	   /* the core's: a lane keeps a packet that a protocol did not take */
	bool shared;	   /* several threads may be here */
	unsigned depth;	   /* how often the lock is held, without threads too */
};

/* The lock for endpoints with several threads; use the two below. */
void up_ep_lock_shared(struct up_ep *ep);
void up_ep_unlock_shared(struct up_ep *ep);

static inline void up_ep_lock(struct up_ep *ep)
{
	if (ep->shared)
		up_ep_lock_shared(ep);
	ep->depth++;
}

static inline void up_ep_unlock(struct up_ep *ep)
{
	if (!--ep->depth && ep->shared)
		up_ep_unlock_shared(ep);
}

/* The peer of a handle; NULL: nobody's. */
static inline struct up_peer_state *up_peer_find(const struct up_ep *ep, up_peer id)
{
	return id < ep->npeers ? ep->peers[id] : NULL;
}

/* The same if operations can start, else NULL with *error. */
static inline struct up_peer_state *up_peer_get(struct up_ep *ep, up_peer id, int *error)
{
	struct up_peer_state *peer = up_peer_find(ep, id);

	if (__builtin_expect(peer && !peer->error, 1))
		return peer;
	*error = peer ? -EHOSTDOWN : -EINVAL;
	return NULL;
}

/*
 * There is work for a progress function that no lane announces: whoever sleeps makes progress.
 * To be called where such work begins outside of progress; in other places it costs little.
 */
void up_core_kick(struct up_ep *ep);
/* A protocol may take now what it did not take before. */
static inline void up_core_room(struct up_ep *ep)
{
	if (__builtin_expect(ep->withheld, 0)) {
		ep->withheld = false;
		up_core_kick(ep);
	}
}
void up_core_happened(struct up_ep *ep);
/*
 * With every callback that tells the application of an end: that may be inside of one thread's call
 * while another sleeps until it.
 */
static inline void up_core_told(struct up_ep *ep)
{
	if (__builtin_expect(ep->shared, 0))
		up_core_happened(ep);
}

/* The first lane of the endpoint that has mem_alloc, or NULL. */
struct up_lane *up_ep_mem_lane(struct up_ep *ep);

/*
 * Room for a packet whose answer may have `answer` bytes of payload (-1: there is none), or NULL.
 * With an answer the op gets its number, goes on the peer's list, and the room is reserved;
 * op->answered must be set. Fill the payload at the pointer and call up_send_commit() next.
 */
void *up_send_reserve(struct up_peer_state *peer, struct up_op *op, size_t payload,
		      ptrdiff_t answer);
/* `p->op`, `p->bytes` and the version are filled in from what was reserved; `payload` may be less
 * than that. */
static inline void up_send_commit(struct up_peer_state *peer, const struct up_op *op,
				  struct up_packet *p, size_t payload)
{
	struct up_link *link = peer->link;

	p->version = UP_PACKET_VERSION;
	p->bytes = (uint32_t)payload;
	p->op = op ? op->number : 0;
	up_packet_put(peer->pending, p);
	link->lane->ops->commit(link, peer->pending, sizeof(*p) + payload);
}
/* Answers a request of number `op` (nothing happens for 0). Always has room. */
void up_send_answer(struct up_peer_state *peer, uint32_t op, int status, const void *payload,
		    size_t bytes);
/*
 * The same in two steps, for data that is placed there directly. Never NULL, unless the payload
 * exceeds what the lane takes in one packet: what goes to a peer that is gone, or that reserved
 * too little, is dropped.
 */
void *up_answer_reserve(struct up_peer_state *peer, size_t payload);
void up_answer_commit(struct up_peer_state *peer, uint32_t op, int status, size_t payload);
/* The same for an answer of another type; `p->bytes` and the version are filled in. */
static inline void up_reply_commit(struct up_peer_state *peer, struct up_packet *p, size_t payload)
{
	struct up_link *link = peer->link;

	if (__builtin_expect(peer->pending == peer->ep->scratch, 0))
		return;
	p->version = UP_PACKET_VERSION;
	p->bytes = (uint32_t)payload;
	up_packet_put(peer->pending, p);
	link->lane->ops->commit(link, peer->pending, sizeof(*p) + payload);
}

/*
 * The operation that an answer of a peer names, off the list and without its number; NULL when
 * there is none, as it is late or forged, or when the answer takes more than was reserved. Only for
 * answers of other types than UP_PKT_ANSWER; `answered` must be the operation's own.
 */
struct up_op *up_op_take(struct up_peer_state *from, const struct up_packet *p,
			 void (*answered)(struct up_op *op, int status, const struct up_packet *p,
					  const void *payload));

/* Keeps an operation to resume it when there may be room, after those that are kept already, in
 * order: an operation of the same peer may not overtake it (see up_peer_stuck()). */
void up_op_park(struct up_peer_state *peer, struct up_op *op);
/* Are there parked operations? Then new ones park, or answer -EAGAIN. */
static inline bool up_peer_stuck(const struct up_peer_state *peer)
{
	return peer->nparked != 0;
}

/*
 * Can an operation start, and is there nothing that it could overtake? One look at four words; the
 * other functions tell why not, and know which of the open ones nobody can overtake.
 */
static inline bool up_peer_clear(const struct up_peer_state *peer)
{
	return !((unsigned)peer->error | peer->nopen | peer->nqueued | peer->nparked);
}

/* The peer of a handle for an operation that may not overtake parked ones: NULL with *error, which
 * is -EAGAIN while there are any. */
static inline struct up_peer_state *up_peer_start(struct up_ep *ep, up_peer id, int *error)
{
	struct up_peer_state *peer = up_peer_get(ep, id, error);

	if (!peer || !up_peer_stuck(peer))
		return peer;
	*error = -EAGAIN;
	return NULL;
}

/* Gathers and scatters; offsets count over all pieces. Return the bytes moved. */
size_t up_iov_bytes(const struct iovec *iov, size_t n);
size_t up_iov_read(void *to, const struct iovec *iov, size_t n, size_t offset, size_t len);
size_t up_iov_write(const struct iovec *iov, size_t n, size_t offset, const void *from, size_t len);
/* The stretch [offset, offset + len) as pieces of its own: how many (at most UP_IOV_MAX). */
size_t up_iov_slice(struct iovec *out, const struct iovec *iov, size_t n, size_t offset,
		    size_t len);

#endif
