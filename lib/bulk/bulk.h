/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Large transfers, which tag/ and rma/ share. One end offers memory (a source) and tells the other
 * in a packet (struct up_pkt_source); the other end moves it (a transfer): through the lane where
 * that reaches the peer's memory, else by UP_PKT_TAG_PULL segments, whose answers bring the data.
 *
 * Transfers are worked off in turns, a quantum each, so that a long one does not hold up the rest.
 * They are not among the operations that wait in order for room (up_op_park()): an operation behind
 * a fence waits for the peer, and the peer may be waiting for a transfer.
 */
#ifndef UP_BULK_BULK_H
#define UP_BULK_BULK_H

#include "bulk/pool.h"
#include "bulk/slots.h"
#include "core/core.h"

#include <underpass/tag.h>

#include <limits.h>

struct up_bulk_state {
	struct up_list active;	/* struct up_bulk with something to start */
	struct up_list waiting; /* all asked for, answers to come */
	struct up_slots sources;
	struct up_pool segments;
};

/* Memory on offer; embedded in the operation that offers it. */
struct up_bulk_source {
	struct up_peer_state *peer; /* who may pull */
	const struct iovec *iov;
	size_t n;
	size_t bytes;
	uint64_t cookie; /* 0: not on offer */
};

/* 0 or -ENOMEM. The rest of *s is set. */
int up_bulk_offer(struct up_ep *ep, struct up_bulk_source *s);
/* Nothing reads the memory for packets any more. */
void up_bulk_withdraw(struct up_ep *ep, struct up_bulk_source *s);
/* The wire's form, into 24 bytes at `to`. */
void up_bulk_describe(void *to, const struct up_bulk_source *s);
/* And back: *to is checked to have a length that this machine can address. 0 or -EPROTO. */
int up_bulk_parse(struct up_pkt_source *to, const void *payload);

/* A transfer; embedded in what waits for it. */
struct up_bulk {
	struct up_list link;
	struct up_list segments; /* asked for, without an answer */
	struct up_peer_state *peer;
	const struct iovec *iov; /* this end's memory, at least `len` bytes */
	size_t n;
	size_t len;
	size_t asked;
	size_t moved;
	struct up_pkt_source remote;
	bool put;    /* from here to there */
	bool direct; /* through the lane */
	/* Ends it: 0 or a negative errno; -EOPNOTSUPP only for put. It may free the transfer. */
	void (*done)(struct up_bulk *b, int status);
};

/* All fields from peer to remote, put and done are set, asked and moved are not. May call done().
 */
void up_bulk_start(struct up_bulk *b);
/* Ends it without done(). */
void up_bulk_abort(struct up_bulk *b);

/* Can a transfer of `bytes` with this peer go through the lane, and is that faster? */
bool up_bulk_direct(const struct up_peer_state *peer, size_t bytes, bool put);

/* Are these pieces that an operation may have? */
static inline bool up_iov_valid(const struct iovec *iov, size_t n)
{
	size_t bytes = 0;

	if (n > UP_IOV_MAX || (n && !iov))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (__builtin_add_overflow(bytes, iov[i].iov_len, &bytes) || bytes > SSIZE_MAX)
			return false;
	}
	return true;
}

/* The largest payload of a packet to the peer. */
static inline size_t up_max_payload(const struct up_peer_state *peer)
{
	return peer->link->lane->max_packet - sizeof(struct up_packet);
}

/* The largest payload of an answer, such that several find room at a time. */
size_t up_max_answer(const struct up_peer_state *peer);
/* May one more segment of several be asked for, and leave room to other operations? */
bool up_answer_spare(const struct up_peer_state *peer, size_t bytes);

/*
 * May an operation start that ends only when the peer has taken part, by a receive of its own or by
 * pulling? These hold at most half of the room for answers: the other half is for what the peer
 * answers by itself, pulling among it. Else two ends could each wait for the other's pulling with
 * no room to pull.
 */
static inline bool up_answer_lasting(const struct up_peer_state *peer)
{
	return peer->answer_room >= up_lane_answer_cost(0) + peer->link->lane->answer_room / 2;
}

/* Has every operation ended that was sent to the peer? Those count that the application started. */
bool up_peer_answered(const struct up_peer_state *peer);
/* And none waits to be sent? For fences. */
static inline bool up_peer_quiet(const struct up_peer_state *peer)
{
	return !peer->nqueued && (!peer->nopen || up_peer_answered(peer));
}

#endif
