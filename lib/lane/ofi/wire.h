/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What this lane says on the wire, beside the packets that it carries: its part of an address, and
 * the messages of its own. All little endian.
 *
 * A connection carries messages of the provider's, behind a struct ofi_head where it shares its
 * endpoint with others. The first one each way is a struct ofi_hello; after it, one of 8 bytes is a
 * struct ofi_note, and every other one is a packet, which has 32 bytes at least.
 */
#ifndef UP_LANE_OFI_WIRE_H
#define UP_LANE_OFI_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <underpass/ep.h>

#define OFI_VERSION 2
#define OFI_IPS_MAX 8
#define OFI_IP_BYTES 16
#define OFI_COOKIE_BYTES 6

/* This lane's part of an address, short as all of it has to be (core/address.c). What follows are
 * addresses of 4 or 16 bytes each, or the provider's own name for the endpoint. */
struct ofi_addr {
	uint8_t cookie[OFI_COOKIE_BYTES]; /* random: names the endpoint, whoever has the port by now
					   */
	uint8_t port[2];
	uint8_t protocol; /* of the provider, folded: the same at both ends */
	uint8_t shape;	  /* enum ofi_shape, << 2: how many addresses, less 1, << 5: version */
	uint8_t ip[];
};
#define OFI_ADDR_HEAD offsetof(struct ofi_addr, ip)
static_assert(OFI_ADDR_HEAD == 10, "wire format");

enum ofi_shape {
	OFI_SHAPE_IPV4 = 0,
	OFI_SHAPE_IPV6 = 1,
	OFI_SHAPE_NAME = 2,
};

/* In front of each message where connections share an endpoint. */
struct ofi_head {
	uint64_t to; /* the receiver's name for the connection; 0: it has none yet, and makes one */
	uint32_t number; /* of the connection's messages that way, from 0 */
	uint32_t taken;	 /* how many of the receiver's the sender has taken */
};
#define OFI_HEAD_ROOM sizeof(struct ofi_head)
static_assert(OFI_HEAD_ROOM == 16, "wire format");

/* Behind the address in a hello where connections share an endpoint: where the sender listens for
 * the socket that tells each of the other's end. Who connects says the head's `to`, 8 bytes. */
struct ofi_door {
	uint16_t port; /* 0: nowhere */
	uint8_t shape; /* as above */
	/* 1: whom the sender has connected to may knock, too; 0: of earlier versions. */
	uint8_t both;
	uint8_t ip[];
};
#define OFI_DOOR_HEAD offsetof(struct ofi_door, ip)
#define OFI_DOOR_MAX (OFI_DOOR_HEAD + OFI_IPS_MAX * OFI_IP_BYTES)
static_assert(OFI_DOOR_HEAD == 4, "wire format");

#define OFI_HELLO_MAGIC 0x6f6c6c65484f5055u /* "UPOHello" */

/* Who talks, to whom. The first message of who connected; of the other one, that it agrees. */
struct ofi_hello {
	uint64_t magic;
	uint32_t version;
	uint32_t addr_bytes;
	uint64_t from; /* cookies */
	uint64_t to;
	uint64_t name; /* the sender's for the connection, where it shares an endpoint; else 0 */
	/* The sender's endpoint, `addr_bytes`, and a door where there are such. */
	uint8_t addr[UP_ADDR_MAX + OFI_DOOR_MAX];
};
static_assert(offsetof(struct ofi_hello, addr) == 40, "wire format");

#define OFI_NOTE_MAGIC 0x4e4f5055u

enum ofi_note_kind {
	/* Nothing follows: the sender's link has ended. */
	OFI_NOTE_BYE = 1,
	/* In place of a hello: both ends connected at once, and the other connection stays. */
	OFI_NOTE_CROSSED = 2,
	/* Nothing: whether it can be sent tells of a peer that nobody watches. It names no
	 * connection; those of earlier versions do. */
	OFI_NOTE_NUDGE = 3,
	/* Nothing: its head tells what was taken, as no packet is there that could. */
	OFI_NOTE_TAKEN = 4,
};

struct ofi_note {
	uint32_t magic;
	uint32_t kind;
};
static_assert(sizeof(struct ofi_note) == 8, "wire format");

#endif
