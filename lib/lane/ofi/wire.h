/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What this lane says on the wire, beside the packets that it carries: its part of an address, and
 * the messages of its own. All little endian.
 *
 * A connection carries messages of the provider's. The first one each way is a struct ofi_hello;
 * after it, one of 8 bytes is a struct ofi_note, and every other one is a packet, which has 32
 * bytes at least.
 */
#ifndef UP_LANE_OFI_WIRE_H
#define UP_LANE_OFI_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <underpass/ep.h>

#define OFI_VERSION 1
#define OFI_IPS_MAX 8
#define OFI_IP_BYTES 16

/* This lane's part of an address, short as all of it has to be (core/address.c). The addresses
 * that follow have 4 or 16 bytes each by the family. */
struct ofi_addr {
	uint64_t cookie;   /* random: names the endpoint, whoever has the port by now */
	uint16_t protocol; /* of the provider, both halves of FI_PROTO_...: the same at both ends */
	uint16_t port;
	uint8_t version;
	uint8_t shape; /* family, 4 or 6 as in IPv4 and IPv6, and << 4: how many, at least 1 */
	uint8_t ip[];
};
#define OFI_ADDR_HEAD offsetof(struct ofi_addr, ip)
static_assert(OFI_ADDR_HEAD == 14, "wire format");

#define OFI_HELLO_MAGIC 0x6f6c6c65484f5055u /* "UPOHello" */

/* Who talks, to whom. The first message of who connected; of the other one, that it agrees. */
struct ofi_hello {
	uint64_t magic;
	uint32_t version;
	uint32_t addr_bytes;
	uint64_t from; /* cookies */
	uint64_t to;
	uint8_t addr[UP_ADDR_MAX]; /* the sender's endpoint; only `addr_bytes` are sent */
};
static_assert(offsetof(struct ofi_hello, addr) == 32, "wire format");

#define OFI_NOTE_MAGIC 0x4e4f5055u

enum ofi_note_kind {
	/* Nothing follows: the sender's link has ended. */
	OFI_NOTE_BYE = 1,
	/* In place of a hello: both ends connected at once, and the other connection stays. */
	OFI_NOTE_CROSSED = 2,
};

struct ofi_note {
	uint32_t magic;
	uint32_t kind;
};
static_assert(sizeof(struct ofi_note) == 8, "wire format");

#endif
