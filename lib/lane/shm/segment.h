/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is in the memory that endpoints share, and what an address of this lane says. Both ends are
 * processes of one user on one machine, so the layout is the machine's own; SHM_VERSION changes
 * with it.
 *
 * An endpoint's segment, a sealed memfd:
 *
 *     header     identity, the wake-up epoch, the summary of the ready bits
 *     ready      a bit for each slot
 *     claims     a word for each slot
 *     shares     a word for each stretch of memory that peers may map
 *     slots      one for each peer that talks to this endpoint: control words and a ring
 *
 * Pages are there when they are first touched, so only slots in use take memory: SHM_SLOT_BYTES.
 *
 * A ring has one producer, who claimed the slot, and one consumer, the segment's owner. It is an
 * array of lines. A packet takes whole lines, in one piece; the first 8 bytes are its word, the
 * packet follows. The word is stored last, with release: the low 16 bits are the packet's bytes or
 * a mark, the others count the lines since the ring began, so that a word of an earlier lap is
 * never taken for a new one. A line that had payload at its beginning could hold any word; the
 * producer remembers those lines (`dirty`), and clears the word of the line where the next packet
 * will begin before it publishes the packet in front of it. Packets of one line, the fast path,
 * leave no such line behind.
 */
#ifndef UP_LANE_SHM_SEGMENT_H
#define UP_LANE_SHM_SEGMENT_H

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <underpass/ep.h>

#define SHM_MAGIC 0x6d68732d70753a31u
#define SHM_VERSION 4u
#define SHM_LINE 64u
#define SHM_PAGE 4096u
#define SHM_SLOT_BYTES (48u * 1024)
#define SHM_CONTROL_BYTES 1024u
#define SHM_RING_LINES ((SHM_SLOT_BYTES - SHM_CONTROL_BYTES) / SHM_LINE)
#define SHM_WORD_BYTES 8u
/* The longest packet, its word included. */
#define SHM_PACKET_LINES 68u
#define SHM_MAX_PACKET (SHM_PACKET_LINES * SHM_LINE - SHM_WORD_BYTES)
/* How much the consumer takes at most before it says so in `consumed`. */
#define SHM_PUBLISH_LINES 128u
/* up_lane.answer_room in lines. */
#define SHM_ANSWER_LINES 288u

/*
 * Room that a packet must leave free. One line is always left, for the mark of the end. Requests
 * leave what answers may need too: all that the peer reserved, and the lines that one of them skips
 * where the ring ends.
 *
 * So an answer always finds room. Let P be the position that the consumer published, C the one
 * where it is, H the producer's, H0 the one after the last request. When C <= H0: H0 - P was at
 * most the ring without the above, and all lines from H0 to H are answers that are outstanding, and
 * one skip. When C > H0: from C to H there are only outstanding answers and one skip, and from P to
 * C fewer than SHM_PUBLISH_LINES, and the packet that is being handled, with its skip; the static
 * assertion is that all this fits.
 */
#define SHM_KEEP_ANSWER 1u
#define SHM_KEEP_REQUEST (SHM_KEEP_ANSWER + SHM_ANSWER_LINES + SHM_PACKET_LINES)
static_assert(SHM_KEEP_REQUEST + SHM_PUBLISH_LINES + 2 * SHM_PACKET_LINES <= SHM_RING_LINES,
	      "room for answers");
static_assert(SHM_KEEP_REQUEST + 2 * SHM_PACKET_LINES <= SHM_RING_LINES, "room for requests");

/* In place of a packet's length. */
enum shm_mark {
	SHM_MARK_WRAP = 0xffff, /* go on at the ring's first line */
	SHM_MARK_END = 0xfffe,	/* the producer will never write here again */
};
static_assert(SHM_MAX_PACKET < SHM_MARK_END, "marks are no lengths");

/* Where a segment is. */
struct shm_addr {
	uint64_t host;	 /* the same for those that can reach each other: make_host() */
	uint64_t cookie; /* random; the segment has the same */
	int32_t pid;
	int32_t segment; /* descriptors of that process */
	int32_t pipe;
	uint32_t slots;
};
static_assert(sizeof(struct shm_addr) == 32, "no padding");
/*
 * This lane's part of an address, which is short, as there are users of libfabric that have 64
 * bytes for all of it: the same as far as `pipe`, then a byte that counts slots in units of 64.
 */
#define SHM_ADDR_BYTES (offsetof(struct shm_addr, slots) + 1)

/* Lines that a packet takes. */
static inline uint32_t shm_lines(size_t bytes)
{
	return (uint32_t)(bytes + SHM_WORD_BYTES + SHM_LINE - 1) / SHM_LINE;
}

/* Who claimed a slot, written before the claim is open. */
struct shm_contact {
	struct shm_addr from;
	uint64_t link;	   /* the claimant's number for its link, not 0 */
	uint64_t reply_to; /* the other end's number, when the claim is the answer to one; or 0 */
	uint32_t addr_bytes;
	uint32_t reserved;
	uint8_t addr[UP_ADDR_MAX]; /* the claimant's endpoint: what the core gets */
};
static_assert(sizeof(struct shm_contact) == 56 + UP_ADDR_MAX, "no padding");

enum shm_watch {
	SHM_COLD,    /* the consumer looks here only after its ready bit was set */
	SHM_HOT,     /* it looks here at every poll */
	SHM_REFUSED, /* it cannot reach the producer, and will never look here */
};

/* One line each for what is written by one side, and how often. */
struct shm_slot {
	alignas(SHM_LINE) uint32_t watch;     /* consumer, seldom; producer reads it always */
	alignas(SHM_LINE) uint64_t consumed;  /* consumer, often; producer reads it seldom */
	alignas(SHM_LINE) uint32_t want_room; /* producer, before it sleeps */
	alignas(SHM_LINE) uint64_t turn;      /* producer: odd while it is in the owner's memory */
	alignas(SHM_LINE) struct shm_contact contact;
	alignas(SHM_CONTROL_BYTES) uint8_t lines[SHM_RING_LINES][SHM_LINE];
};
static_assert(sizeof(struct shm_slot) == SHM_SLOT_BYTES && SHM_SLOT_BYTES % SHM_PAGE == 0,
	      "a slot is whole pages");
static_assert(offsetof(struct shm_slot, lines) == SHM_CONTROL_BYTES, "control words");

struct shm_header {
	uint64_t magic;
	uint32_t version;
	uint32_t slots;
	uint64_t cookie;
	uint32_t membarrier; /* the owner's process takes part in expedited barriers */
	uint32_t reserved;
	/* Odd: the owner sleeps, or is about to. Whoever wakes it writes to its pipe and then
	 * makes it even, by compare and swap (wake.c). */
	alignas(SHM_LINE) uint64_t epoch;
	alignas(SHM_LINE) uint64_t summary; /* a bit for each word of `ready` */
	alignas(SHM_LINE) uint64_t ready[]; /* then the claims, and the shares */
};
static_assert(offsetof(struct shm_header, epoch) == SHM_LINE &&
		      offsetof(struct shm_header, summary) == 2 * SHM_LINE &&
		      offsetof(struct shm_header, ready) == 3 * SHM_LINE &&
		      sizeof(struct shm_header) == 3 * SHM_LINE,
	      "a line each, and no padding");

/* Of a slot, in the order that wake.c relies on. */
static inline void shm_set_ready(struct shm_header *h, uint32_t index)
{
	__atomic_fetch_or(&h->ready[index / 64], 1ull << (index % 64), __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&h->summary, 1ull << (index / 64), __ATOMIC_SEQ_CST);
}

#define SHM_SLOTS_MAX (64u * 64) /* as many as two levels of 64 bits name */

/* A claim: 0 free; a process id while it is being made; with this bit, done. The owner frees it. */
#define SHM_CLAIM_OPEN (1ull << 63)

static inline uint64_t *shm_claims(struct shm_header *h, uint32_t slots)
{
	return h->ready + slots / 64;
}

/* Stretches of memory that can be shared at a time. */
#define SHM_SHARES 2048u

/* Odd while the stretch is shared, and another number each time. */
static inline uint64_t *shm_shares(struct shm_header *h, uint32_t slots)
{
	return shm_claims(h, slots) + slots;
}

static inline size_t shm_page_up(size_t bytes)
{
	return (bytes + SHM_PAGE - 1) & ~((size_t)SHM_PAGE - 1);
}

/* `slots` is a multiple of 64. */
static inline size_t shm_header_bytes(uint32_t slots)
{
	size_t n = sizeof(struct shm_header) + slots / 8 + slots * sizeof(uint64_t) +
		   SHM_SHARES * sizeof(uint64_t);

	return shm_page_up(n);
}

static inline size_t shm_segment_bytes(uint32_t slots)
{
	return shm_header_bytes(slots) + (size_t)slots * SHM_SLOT_BYTES;
}

#endif
