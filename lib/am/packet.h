/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The wire format, version 1: what lanes carry. Every packet begins with this header, 32 bytes,
 * little endian whatever the machine is; `bytes` of payload follow. tests/lib keeps recorded
 * packets: a change that they do not survive is a new version.
 *
 * A request that wants an answer has an operation number, which the answer carries back; it is the
 * initiator's, never 0, and means nothing to the target. How much an answer may take was reserved
 * at the initiator before the request was sent (`room`), so that an answer never waits.
 */
#ifndef UP_AM_PACKET_H
#define UP_AM_PACKET_H

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define UP_PACKET_VERSION 1

enum up_packet_type {
	/* Either way. */
	UP_PKT_ANSWER = 1, /* op; aux: status as a positive errno; payload: data, as the op wants */

	/* Active messages. aux: number | head bytes << 8; payload: head, data. */
	UP_PKT_AM_REQUEST, /* op or 0; a: room for the reply's head and data, 0: none */
	UP_PKT_AM_REPLY,   /* op */

	/* Messages. a: tag, 0 with F_UNTAGGED; b: immediate data with F_IMM. */
	UP_PKT_TAG_EAGER,      /* op: answered when matched and placed, or 0; payload: all of it */
	UP_PKT_TAG_RENDEZVOUS, /* op; payload: struct up_pkt_source */
	UP_PKT_TAG_PULL, /* op: the receiver's; aux: bytes; a: the source's cookie; b: offset */

	/* One-sided. a: address; b: key. */
	UP_PKT_WRITE,	    /* op or 0; payload: immediate data (8 bytes) with F_IMM, then data;
			     * aux: 1 when more of a write with immediate data follows */
	UP_PKT_WRITE_LARGE, /* op; payload: as WRITE, but struct up_pkt_source for the data */
	UP_PKT_READ,	    /* op; aux: bytes */
	UP_PKT_READ_LARGE,  /* op; payload: struct up_pkt_source, of the buffer that is to be filled
			     */
	UP_PKT_ATOMIC, /* op or 0; aux: operation | type << 8 | count << 16; operand, compare */
	UP_PKT_MAP,    /* op; how can the memory be mapped? The answer has struct up_pkt_map */

	/* One-sided, by memory of the initiator's that both reach (rma/stage.c). */
	UP_PKT_STAGE, /* op; aux: how often the target was told; payload: struct up_pkt_map of
		       * that memory, for what follows */
	UP_PKT_WRITE_STAGED, /* op; payload: struct up_pkt_staged */
	UP_PKT_READ_STAGED,  /* op; payload: struct up_pkt_staged */
	UP_PKT_WRITE_HALF,   /* op; payload: struct up_pkt_half */
	UP_PKT_READ_HALF,    /* op; payload: struct up_pkt_half */

	UP_PKT_TYPES
};

enum up_packet_flags {
	UP_PKT_F_IMM = 1 << 0,	     /* b, or the first 8 bytes of payload, are immediate data */
	UP_PKT_F_FETCH = 1 << 1,     /* atomics: the answer has the old values */
	UP_PKT_F_COMPARE = 1 << 2,   /* atomics: a compare array follows the operands */
	UP_PKT_F_UNTAGGED = 1 << 3,  /* of messages without a tag, which only such receives take */
	UP_PKT_F_MAP = 1 << 4,	     /* answers: the key's memory can be mapped, see UP_PKT_MAP */
	UP_PKT_F_LAST = 1 << 5,	     /* one-sided: nothing of the same operation follows */
	UP_PKT_F_LAST_HERE = 1 << 6, /* or something does, but with other keys than this */
	UP_PKT_FLAGS = 127,
};

struct up_packet {
	uint8_t version;
	uint8_t type;
	uint16_t flags;
	uint32_t bytes; /* of payload */
	uint32_t op;
	uint32_t aux;
	uint64_t a;
	uint64_t b;
};
static_assert(sizeof(struct up_packet) == 32, "wire format");
static_assert(offsetof(struct up_packet, a) == 16, "wire format");

/* Memory at the sender that the receiver is to move from or to. */
struct up_pkt_source {
	uint64_t bytes;	  /* in all */
	uint64_t cookie;  /* names the memory in UP_PKT_TAG_PULL */
	uint64_t address; /* where it starts, for lanes that reach a peer's memory; 0: in pieces */
};
static_assert(sizeof(struct up_pkt_source) == 24, "wire format");

/* A region that processes of the same host can map. */
struct up_pkt_map {
	uint64_t base; /* the address of its first byte */
	uint64_t bytes;
	uint64_t access;  /* enum up_rma_access */
	uint64_t lane[8]; /* as the lane describes the memory (struct up_lane_mem) */
};
static_assert(sizeof(struct up_pkt_map) == 88, "wire format");

/* A part of a piece of the target's memory, and where in the stage its bytes are or shall be. */
struct up_pkt_staged {
	uint64_t piece; /* the address where the piece begins */
	uint64_t bytes; /* of it */
	uint32_t at;	/* in the stage */
	uint32_t len;
};
static_assert(sizeof(struct up_pkt_staged) == 24, "wire format");

/* The same, but the bytes are in the initiator's memory, and the target copies them by itself. */
struct up_pkt_half {
	struct up_pkt_staged part; /* at: the chunk of the stage where it says that it did */
	uint64_t address;	   /* the initiator's */
};
static_assert(sizeof(struct up_pkt_half) == 32, "wire format");

/*
 * Copies and checks the header of a packet of `len` bytes that a peer wrote and may still be
 * changing: everything after uses *p. 0, -EPROTO, or -EPROTONOSUPPORT for another version.
 */
int up_packet_parse(struct up_packet *p, const void *packet, size_t len);

static inline void up_packet_word(void *packet, unsigned i, uint64_t word)
{
	word = htole64(word);
	memcpy((char *)packet + 8 * i, &word, 8);
}

/*
 * Writes it, in the wire's byte order. By words, put together here: copied as a whole right after
 * its fields were set, it would wait for these to leave the processor's store buffer.
 */
static inline void up_packet_put(void *packet, const struct up_packet *p)
{
	uint64_t first = p->version | (uint64_t)p->type << 8 | (uint64_t)p->flags << 16 |
			 (uint64_t)p->bytes << 32;
	uint64_t second = p->op | (uint64_t)p->aux << 32;

	up_packet_word(packet, 0, first);
	up_packet_word(packet, 1, second);
	up_packet_word(packet, 2, p->a);
	up_packet_word(packet, 3, p->b);
}

#endif
