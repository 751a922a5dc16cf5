/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shared-memory lane from inside.
 *
 * Nothing of it has a name in the file system, so nothing stays behind: segments are memfds that
 * peers open through /proc/PID/fd, and so is the pipe that wakes an endpoint up. (An eventfd cannot
 * be opened that way, and taking a copy of one with pidfd_getfd() needs the right to trace, which
 * Yama denies.) Where /proc does not allow it the lane leads nowhere, -EHOSTUNREACH.
 *
 * Death. The lane watches two descriptors of each peer: its pidfd, and its own end of the peer's
 * pipe, which reports an error when no reader is left. The first misses a process that executes
 * another program, the second one whose forked children still have the pipe.
 */
#ifndef UP_LANE_SHM_SHM_H
#define UP_LANE_SHM_SHM_H

#include "base/bytes.h"
#include "base/list.h"
#include "lane/lane.h"
#include "lane/shm/segment.h"

#include <unistd.h>

#define SHM_LIKELY(x) __builtin_expect(!!(x), 1)
#define SHM_UNLIKELY(x) __builtin_expect(!!(x), 0)

enum shm_link_state {
	SHM_LINK_UP,	  /* packets go both ways, or will when the peer has answered */
	SHM_LINK_ENDING,  /* nothing is delivered any more; the next poll tells the core */
	SHM_LINK_DOWN,	  /* the core knows, and still holds the link */
	SHM_LINK_DROPPED, /* the core has let go; waits until the peer stops to write */
};

enum shm_rx_state {
	SHM_RX_NONE,   /* the peer has no slot here yet */
	SHM_RX_OPEN,   /* may have packets */
	SHM_RX_BROKEN, /* has nonsense: not read any more, kept until the peer is gone */
	SHM_RX_ENDED,  /* the peer writes no more; the slot is free again */
};

/* Somebody else's segment: the header, the slot that is ours, and the peer's descriptors. */
struct shm_peer {
	struct shm_addr addr;
	struct shm_header *header; /* NULL: the peer cannot be reached */
	struct shm_slot *slot;
	uint32_t index; /* of the slot */
	int pidfd;
	int pipe; /* for writing */
};

/* The producer's side of our slot at the peer. */
struct shm_tx {
	uint8_t *lines; /* NULL: nothing can be sent */
	uint64_t seq;	/* lines since the beginning */
	uint64_t consumed;
	uint32_t at; /* line where the next packet begins */
	bool starved;
	uint64_t dirty[(SHM_RING_LINES + 63) / 64];
};

/* The consumer's side of the peer's slot here. */
struct shm_rx {
	struct shm_slot *slot;
	uint64_t seq;
	uint64_t published;
	uint32_t at;
	uint32_t index;
	enum shm_rx_state state;
	bool hot;
	bool active; /* since the last sweep */
};

struct shm_link {
	struct up_link base;
	struct up_list node; /* shm_lane.links */
	uint64_t id;
	enum shm_link_state state;
	int error;
	bool gone;	   /* the peer's endpoint does not exist any more, for this end */
	bool no_direct;	   /* get and put are not allowed */
	uint64_t alive_at; /* when get and put last made sure of the peer, coarse nanoseconds */
	struct shm_rx rx;
	struct shm_tx tx;
	struct shm_peer peer;
	struct up_list maps; /* struct shm_map (share.c) */
};

struct shm_lane {
	struct up_lane base;
	struct shm_addr addr;
	struct shm_header *header; /* peers can write to it: `addr` has what must not change */
	uint64_t *claims;
	struct shm_slot *slots;
	int segment, pipe[2], epoll;

	bool membarrier;
	bool polling;
	bool look;    /* the next poll shall look who is gone: that may be why it woke up */
	bool armed;   /* somebody may be asleep on the descriptor */
	bool trouble; /* settle() has something to do */
	uint32_t nstarved;
	uint32_t polls;
	uint64_t watched; /* when the descriptors were last looked at, coarse nanoseconds */
	uint32_t nhot;
	struct shm_link **hot;	   /* rings that every poll looks at */
	struct shm_link **by_slot; /* of this segment */
	uint64_t next_id;
	struct up_list links;
	struct up_list mems; /* struct shm_mem (share.c) */
	uint64_t *stamps;    /* SHM_SHARES of them: what the segment's shares say; or NULL */
	uint32_t next_share; /* may be free */
	/* Where answers to peers that are gone are written; never read. */
	alignas(SHM_LINE) uint8_t scratch[SHM_PACKET_LINES * SHM_LINE];
};

static inline struct shm_lane *shm_lane_of(const struct shm_link *l)
{
	return (struct shm_lane *)l->base.lane;
}

/* False in a forked child, whose parent and its peers must not notice what is closed there. */
static inline bool shm_is_ours(const struct shm_lane *lane)
{
	return getpid() == lane->addr.pid;
}

static inline struct shm_link *shm_link_of(struct up_list *node)
{
	return UP_CONTAINER_OF(node, struct shm_link, node);
}

/* ---- segment.c ---- */
int up_shm_segment_open(struct shm_lane *lane, uint32_t slots);
void up_shm_segment_close(struct shm_lane *lane);
/* Is it an address of this machine, pid namespace and user? 0, -EINVAL, -EHOSTUNREACH. */
int up_shm_addr_check(const struct shm_lane *lane, const struct shm_addr *a);
/* 0; -ESRCH: it does not exist any more; -EHOSTUNREACH: not allowed; -ENOMEM. */
int up_shm_peer_open(struct shm_peer *p, const struct shm_addr *a);
void up_shm_peer_close(struct shm_peer *p);
/* A slot of the peer's for us; the contact is written there. 0 or -ENOMEM. */
int up_shm_claim(struct shm_peer *p, const struct shm_contact *c);
/* Frees a slot of this segment; nobody may write to it any more. */
void up_shm_slot_free(struct shm_lane *lane, uint32_t index);

/* ---- wake.c ---- */
bool up_shm_membarrier_init(void);
/* All that other threads have done so far in program order is seen from here on. */
void up_shm_barrier(const struct shm_lane *lane);
/* Sets the ready bit of our slot and wakes the peer. */
void up_shm_ring_bell(struct shm_link *l);
void up_shm_wake_peer(struct shm_link *l);
/* Makes the lane's own descriptor readable if somebody may sleep on it. */
void up_shm_wake_self(struct shm_lane *lane);
bool up_shm_arm(struct up_lane *base);

/* ---- poll.c ---- */
#define SHM_SWEEP_POLLS 16384u /* between two sweeps */
unsigned up_shm_poll(struct up_lane *base);
void up_shm_heat(struct shm_lane *lane, struct shm_link *l);
/* Is something in the ring, good or bad? */
bool up_shm_rx_pending(const struct shm_rx *rx);
/* Is the mark of the end among what is left there? */
bool up_shm_rx_has_end(const struct shm_rx *rx);

/* ---- link.c ---- */
int up_shm_connect(struct up_lane *base, const void *addr, size_t len, struct up_link **link);
void up_shm_disconnect(struct up_link *base);
/* A claimed slot of ours that no link has yet. NULL: none can be made, or not now. */
struct shm_link *up_shm_accept(struct shm_lane *lane, uint32_t index);
/* The link can carry nothing any more; the core hears of it from the next settle. */
void up_shm_link_end(struct shm_link *l, int error);
/* The peer has ended its ring, or is gone: its slot is free. */
void up_shm_rx_end(struct shm_link *l);
/* The descriptors say that the peer's endpoint does not exist any more. */
void up_shm_link_gone(struct shm_link *l);
void up_shm_link_free(struct shm_link *l);

/* ---- ring.c ---- */
void up_shm_tx_init(struct shm_link *l);
void *up_shm_reserve(struct up_link *base, size_t bytes, enum up_lane_class class);
void up_shm_commit(struct up_link *base, void *packet, size_t bytes);
/* Marks the end of our ring at the peer; nothing is sent any more. */
void up_shm_tx_end(struct shm_link *l);
/* Has the consumer gone on since a packet last found no room? */
bool up_shm_tx_moved(struct shm_link *l);
bool up_shm_taken(struct up_link *base);

/* ---- memory.c ---- */
int up_shm_get(struct up_link *base, const struct iovec *local, size_t n, uint64_t remote,
	       size_t len);
int up_shm_put(struct up_link *base, const struct iovec *local, size_t n, uint64_t remote,
	       size_t len);
/* Does the peer's endpoint still exist, as far as its descriptors say? */
bool up_shm_peer_alive(struct shm_link *l);

/* ---- share.c ---- */
void *up_shm_mem_alloc(struct up_lane *base, size_t bytes);
void up_shm_mem_free(struct up_lane *base, void *mem);
bool up_shm_mem_holds(struct up_lane *base, const void *addr, size_t len);
bool up_shm_mem_share(struct up_lane *base, const void *addr, size_t len, struct up_lane_mem *out);
void up_shm_mem_unshare(struct up_lane *base, const struct up_lane_mem *mem);
void up_shm_mem_revoke(struct up_link *base, const struct up_lane_mem *mem, bool wait);
bool up_shm_mem_entered(struct up_link *base);
bool up_shm_mem_map(struct up_link *base, const struct up_lane_mem *mem, size_t len,
		    struct up_lane_window *out);
void up_shm_mem_unmap(struct up_link *base, const struct up_lane_window *w);
void up_shm_mem_fini(struct shm_lane *lane);
void up_shm_maps_fini(struct shm_link *l);

#endif
