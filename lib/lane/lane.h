/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lane moves packets between endpoints, reliably and in order between each two; some can reach a
 * peer's memory too. What is in the packets is no business of a lane's.
 *
 * Locks. All functions are called with the endpoint's lock held, and so are the calls back.
 */
#ifndef UP_LANE_LANE_H
#define UP_LANE_LANE_H

#include <underpass/ep.h>

struct up_lane;
struct up_link;

/* Of a packet: which part of the other end's memory it may take. */
enum up_lane_class {
	UP_LANE_REQUEST, /* waits when there is no room */
	UP_LANE_ANSWER,	 /* always has room, within what the initiator reserved */
};

/* How a peer finds memory that is shared with it, in the lane's own words. */
struct up_lane_mem {
	uint64_t words[8];
};

/*
 * A peer's memory that this end may use by itself. It does so between up_lane_enter() and
 * up_lane_leave() only: once the owner has taken it back, nobody can enter.
 */
struct up_lane_window {
	uint8_t *memory;       /* where it is mapped; NULL: get() and put() reach it */
	uint64_t address;      /* for these */
	const uint64_t *valid; /* the owner's: reads `stamp` while the memory is shared */
	uint64_t stamp;
};

struct up_lane_ops {
	const char *name;

	/* 0; -EOPNOTSUPP where the machine has no such lane; or another negative errno. */
	int (*open)(struct up_ep *ep, struct up_lane **lane);
	void (*close)(struct up_lane *lane);
	/* This lane's part of the endpoint's address; at most `room` bytes. */
	size_t (*address)(const struct up_lane *lane, void *buf, size_t room);

	/*
	 * A link to the lane's part of a peer's address. It does not wait for the other end. 0,
	 * -EHOSTUNREACH: the lane does not lead there, -EINVAL, -ENOMEM. A peer that connected
	 * first has a link already, which up_core_linked() announced: the same is returned.
	 */
	int (*connect)(struct up_lane *lane, const void *addr, size_t len, struct up_link **link);
	/* Frees the link: what was committed still arrives, nothing more is delivered from it. */
	void (*disconnect)(struct up_link *link);

	/*
	 * Room for a packet of `bytes`, aligned to 8; NULL: none now. commit() sends it, with at
	 * most as many bytes; nothing else is called on the link in between.
	 */
	void *(*reserve)(struct up_link *link, size_t bytes, enum up_lane_class class);
	void (*commit)(struct up_link *link, void *packet, size_t bytes);

	/* Delivers what has come (up_core_packet()) and moves what waits. How much it did. */
	unsigned (*poll)(struct up_lane *lane);
	/* The descriptor is readable after arm() once poll() may find something. arm(): false when
	 * something is there already. */
	int (*fd)(struct up_lane *lane);
	bool (*arm)(struct up_lane *lane);

	/*
	 * Moves `len` bytes from or to the peer's memory at once: 0, -EOPNOTSUPP (for good: use
	 * packets), -EFAULT, -EHOSTDOWN. May be NULL.
	 */
	int (*get)(struct up_link *link, const struct iovec *local, size_t n, uint64_t remote,
		   size_t len);
	int (*put)(struct up_link *link, const struct iovec *local, size_t n, uint64_t remote,
		   size_t len);

	/* Has the peer taken all packets that were sent? May be NULL. */
	bool (*taken)(struct up_link *link);

	/* Memory for up_mem_alloc(). May be NULL, and so may all that follow. */
	void *(*mem_alloc)(struct up_lane *lane, size_t bytes);
	void (*mem_free)(struct up_lane *lane, void *mem);
	/* Is [addr, addr + len) of that memory, so that peers can map it? */
	bool (*mem_holds)(struct up_lane *lane, const void *addr, size_t len);
	/* Lets peers use [addr, addr + len) by themselves, and says how they find it; false: too
	 * much is shared already. */
	bool (*mem_share)(struct up_lane *lane, const void *addr, size_t len,
			  struct up_lane_mem *out);
	/* Takes it back: waits until nobody is in it any more. */
	void (*mem_unshare)(struct up_lane *lane, const struct up_lane_mem *mem);
	/* The same of memory that one peer alone was told of; does not wait unless it shall. */
	void (*mem_revoke)(struct up_link *link, const struct up_lane_mem *mem, bool wait);
	/* Is the peer in any of it just now? A stopped one may be for long. */
	bool (*mem_entered)(struct up_link *link);
	/* A window onto `len` bytes that a peer shares. Good until unmap or the link's end. False:
	 * not possible. */
	bool (*mem_map)(struct up_link *link, const struct up_lane_mem *mem, size_t len,
			struct up_lane_window *out);
	void (*mem_unmap)(struct up_link *link, const struct up_lane_window *w);
};

struct up_lane {
	const struct up_lane_ops *ops;
	struct up_ep *ep;
	size_t max_packet; /* bytes, header included; 4192 at least, for active messages */
	/* What all answers that are outstanding on one link may take together, each counted by
	 * up_lane_answer_cost(). */
	size_t answer_room;
	/* From how many bytes on a transfer through get()/put() is faster than packets. */
	size_t direct_from;
	bool alone; /* the endpoint has no other lane; the core's */
	/* The lane's: polls that the core may leave out. It counts them down. */
	uint32_t rests;
};

/* Bytes of answer_room that an answer with this payload takes: whole lines of 64, for a ring's word
 * of 8 bytes, the header of 32, and the payload. */
static inline size_t up_lane_answer_cost(size_t payload)
{
	return (8 + 32 + payload + 63) & ~(size_t)63;
}

struct up_link {
	struct up_lane *lane;
	struct up_peer_state *peer; /* the core's; NULL until somebody knows whose link it is */
	/* For windows, NULL when none may be used: a word that the owner of the memory sees, odd
	 * while this end is in one. With `fence` the owner cannot see to the order of accesses. */
	uint64_t *turn;
	bool fence;
};

static inline void up_lane_leave(const struct up_link *link)
{
	__atomic_store_n(link->turn, *link->turn + 1, __ATOMIC_RELEASE);
}

/*
 * May the memory be used? Then until up_lane_leave(), which must come soon, as the owner may be
 * waiting. The owner changes *valid, has a barrier on all processors (or else everybody has one
 * here), and then looks at the turns; so one of the two sees what the other has written.
 */
static inline bool up_lane_enter(const struct up_link *link, const struct up_lane_window *w)
{
	if (__builtin_expect(!link->turn, 0))
		return false;
	if (__builtin_expect(link->fence, 0))
		__atomic_exchange_n(link->turn, *link->turn + 1, __ATOMIC_SEQ_CST);
	else
		__atomic_store_n(link->turn, *link->turn + 1, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(__atomic_load_n(w->valid, __ATOMIC_SEQ_CST) == w->stamp, 1))
		return true;
	up_lane_leave(link);
	return false;
}

extern const struct up_lane_ops up_lane_shm; /* processes of one host */
extern const struct up_lane_ops up_lane_ofi; /* hosts; where the build has libfabric */

/* ---- the core's part ---- */

/*
 * A packet came. It is the peer's memory: whoever takes it copies before it looks. False: not now
 * (a bound is reached); the lane keeps it and what is behind it, and offers it again in a later
 * poll.
 */
bool up_core_packet(struct up_link *link, const void *packet, size_t bytes);
/* A peer that was not connected to made contact; `addr` is its endpoint's whole address. 0, or a
 * negative errno: the lane drops the link. */
int up_core_linked(struct up_ep *ep, struct up_link *link, const void *addr, size_t len);
/* Counts what has happened at the endpoint, over all lanes. */
uint64_t up_core_activity(const struct up_ep *ep);
/* The peer or the lane is gone, with -EHOSTDOWN or -EPROTO: all that is open with it ends. The link
 * stays until disconnect(). */
void up_core_link_down(struct up_link *link, int error);

#endif
