/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the core share, and nobody else sees.
 *
 * Ends of peers. A callback may remove a peer, and a lane may find one broken in the middle of a
 * send, while functions further out still hold the peer's state. So both only mark the peer and
 * put it on `ended`; its operations end, and its state is freed, where nothing can hold it: in
 * up_progress() outside of all lanes and protocols, or at once when no callback is running.
 */
#ifndef UP_CORE_PRIVATE_H
#define UP_CORE_PRIVATE_H

#include "core/core.h"
#include "base/bytes.h"

#include <pthread.h>

#define UP_LANES_MAX 4
#define UP_PROTOCOLS_MAX 4

/* A peer, with what is not for protocols. */
struct up_peer_private {
	struct up_peer_state pub;
	struct up_list ended;	      /* struct up_ep_private.ended; next NULL: it is not */
	struct up_peer_private *next; /* of the same hash */
	uint32_t hash;
	bool hashed;	     /* its address leads here */
	bool removed;	     /* by the application: no handle leads here any more */
	bool came;	     /* made contact first, counts for max_peers */
	bool added;	     /* by the application, who will remove it */
	bool gone;	     /* its operations ended, and the protocols were told */
	struct up_list dead; /* struct up_ep_private.dead; next NULL: it is not */
	/* What delivers from it; one of them is pub.link. */
	struct up_link *links[UP_LANES_MAX];
	unsigned nlinks;
};

enum up_refused {
	UP_REFUSED_WAIT = 1 << 0, /* for up_ep_arm() */
	UP_REFUSED_AUTO = 1 << 1, /* for the thread */
	UP_REFUSED_ALL = 3,
};

/* An operation number is a slot's index and how often the slot was used. */
#define UP_OP_INDEX_BITS 20
#define UP_OP_INDEX_MASK ((1u << UP_OP_INDEX_BITS) - 1)

struct up_op_slot {
	struct up_op *op; /* NULL: free */
	uint32_t number;  /* of the last use */
	uint32_t next;	  /* free one; 0: none */
};

/* The thread of automatic progress (core/auto.c). */
struct up_auto {
	pthread_t thread;
	int epoll; /* the lanes, and `kick` */
	int kick;  /* eventfd */
	bool running;
	bool stop;   /* __atomic */
	bool asleep; /* with the lock: a kick is needed */
	/* How often in a row a lane had something that it could not deliver. */
	unsigned held;
};

struct up_ep_private {
	struct up_ep pub;
	struct up_lane *lanes[UP_LANES_MAX];
	unsigned nlanes;
	const struct up_protocol *protocols[UP_PROTOCOLS_MAX];
	unsigned nprotocols;
	unsigned nprogress;
	/* Of those that have any: what there is to do, and who does it. */
	struct {
		const struct up_list *work;
		unsigned (*run)(struct up_ep *ep);
	} progress[UP_PROTOCOLS_MAX];
	up_packet_handler *handlers[UP_PKT_TYPES];

	struct up_op_slot *slots;
	uint32_t nslots;
	uint32_t free_slot;

	struct up_list stuck; /* struct up_peer_state.stuck */
	struct up_list ended; /* struct up_peer_private.ended */

	/*
	 * What happened so far, by whoever it was moved; waiting (core/wait.c) compares. `armed`:
	 * somebody sleeps on `event`, which becomes readable (`raised`) with the next thing.
	 */
	uint64_t activity;
	uint64_t serial; /* of the endpoint: tells it from an earlier one at the same address */
	bool armed;
	bool raised;
	bool kicked;		/* since the last progress */
	bool looked;		/* there was progress since the lanes were last armed in vain, */
	unsigned vain;		/* which was so often in a row, */
	uint64_t vain_activity; /* while this was the same */
	/* Somebody found no room, which no lane announces when it comes: one bit for each of those
	 * who sleep, so that it looks again soon. */
	uint8_t refused;
	int epoll; /* up_ep_fd(): the event, the timer, and with manual progress the lanes */
	int event; /* eventfd */
	int timer; /* timerfd: for what waits for room, which no lane announces */
	bool timed;
	bool retry; /* the timer is for an operation that was refused */
	uint64_t spin_ns;
	bool leading;	    /* a thread sleeps in up_ep_wait() */
	unsigned following; /* others, on `moved` */
	pthread_cond_t moved;

	uint64_t calls; /* of up_progress() by the application; __atomic, auto.c looks at it */
	struct up_auto automatic;

	struct up_peer_private **buckets; /* by hash of the address, a power of two of them */
	uint32_t nbuckets;
	uint64_t peer_slots; /* allocated in pub.peers */
	uint32_t nhashed;
	bool closing;	 /* no more peers */
	pid_t owner_pid; /* that opened it */
	uint32_t ncame;
	/* Gone ones that nobody added, so that nobody may remove them either: the oldest is
	 * forgotten when there are more than max_peers. */
	struct up_list dead;
	uint32_t ndead;

	pthread_mutex_t mutex;
	uintptr_t owner; /* pthread_self() of the holder; __atomic */
	unsigned wanted; /* threads that wait for it; __atomic */

	size_t max_packet;
	size_t addr_bytes;
	uint8_t addr[UP_ADDR_MAX];
	const void *asker; /* who asked last what has happened, and how much had (core/wait.c) */
	uint64_t asked;
};

static inline struct up_ep_private *up_priv(struct up_ep *ep)
{
	return (struct up_ep_private *)ep;
}

static inline struct up_peer_private *up_peer_priv(struct up_peer_state *peer)
{
	return (struct up_peer_private *)peer;
}

/* ---- address.c ---- */

struct up_addr_part {
	char lane; /* first letter of its name */
	const uint8_t *part;
	size_t bytes;
};

/* Writes the endpoint's own into core->addr; -EMSGSIZE when the lanes' parts are too long. */
int up_addr_make(struct up_ep_private *core);
/* 0, -EINVAL, -EPROTONOSUPPORT. */
int up_addr_check(const void *addr, size_t len);
/* The part of a checked address for a lane; false: it has none. */
bool up_addr_part(const uint8_t *addr, const char *lane, struct up_addr_part *part);
/* Of a checked address. */
uint32_t up_addr_hash(const uint8_t *addr);

/* ---- peer.c ---- */

int up_peers_init(struct up_ep_private *core);
/* With -ECANCELED for what is open; outside of everything. */
void up_peers_fini(struct up_ep_private *core);
/* Ends the peers on `ended`: how many. */
unsigned up_peers_settle(struct up_ep_private *core);

/* ---- op.c ---- */

int up_ops_init(struct up_ep_private *core);
void up_ops_fini(struct up_ep_private *core);
/* Ends all operations of the peer with its error. */
void up_ops_fail(struct up_peer_state *peer);
unsigned up_ops_resume(struct up_ep_private *core);
bool up_op_answer(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
		  const void *payload);

/* ---- lanes.c ---- */

/* All that this library was built with, then those that were added, best first; NULL at the end. */
const struct up_lane_ops *const *up_lanes(void);
/* For tests: another one, before all others. */
void up_lanes_add(const struct up_lane_ops *ops);

/* ---- ep.c ---- */

unsigned up_core_progress(struct up_ep_private *core);

/* ---- wait.c ---- */

int up_wait_init(struct up_ep_private *core);
void up_wait_fini(struct up_ep_private *core);
/* Somebody sleeps: wakes all. */
void up_wait_raise(struct up_ep_private *core);

/* `n` things happened. */
static inline void up_activity(struct up_ep_private *core, unsigned n)
{
	core->activity += n;
	if (__builtin_expect(core->armed, 0) && n)
		up_wait_raise(core);
}

/* ---- auto.c ---- */

int up_auto_start(struct up_ep_private *core);
/* Without the lock. */
void up_auto_stop(struct up_ep_private *core);

#endif
