/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An endpoint's address: what each of its lanes says about itself.
 *
 *   0  0x50 and the version (1 byte), length of all, in bytes (1)
 *   2  checksum of all other bytes (4, little endian)
 *   6  parts: length and, << 6, the lane (1), part
 *
 * It is short: users of libfabric may have no more than 64 bytes for an address (FI_NAME_MAX), and
 * an IPv6 address, say, takes a quarter of that. The checksum keeps rubbish and truncated copies
 * out; it is no protection against forgery, and every lane checks its part on its own.
 */
#include "core/private.h"

#define MAGIC 0x50
#define VERSION 3
#define SUM 2
#define HEAD 6
#define PART_MAX 63
static_assert(UP_ADDR_MAX <= UINT8_MAX, "the length is a byte");

/* Lanes by the first letter of their names; "fake" is one of tests. A lane's number is its place.
 */
static const char lanes[] = "sof";
static_assert(sizeof(lanes) <= 1 << 2, "a lane has two bits, and one number is nobody's");

static uint8_t lane_number(const char *name)
{
	return (uint8_t)(strchr(lanes, name[0]) - lanes);
}

/* FNV-1a over everything but the checksum. */
static uint32_t checksum(const uint8_t *addr, size_t len)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++) {
		if (i < SUM || i >= HEAD)
			h = (h ^ addr[i]) * 16777619u;
	}
	return h;
}

static uint32_t get_checksum(const uint8_t *addr)
{
	uint32_t v;

	memcpy(&v, addr + SUM, sizeof(v));
	return le32toh(v);
}

/* One part; its length, or 0 when there is no room. */
static size_t put_part(struct up_lane *lane, uint8_t *to, size_t room)
{
	size_t n;

	if (room < 2)
		return 0;
	room = room > PART_MAX ? PART_MAX : room - 1;
	n = lane->ops->address(lane, to + 1, room);
	if (!n || n > room)
		return 0;
	to[0] = (uint8_t)(n | (size_t)lane_number(lane->ops->name) << 6);
	return 1 + n;
}

int up_addr_make(struct up_ep_private *core)
{
	uint8_t *addr = core->addr;
	size_t len = HEAD;
	uint32_t sum;

	memset(addr, 0, UP_ADDR_MAX);
	for (unsigned i = 0; i < core->nlanes; i++) {
		size_t n = put_part(core->lanes[i], addr + len, core->pub.attr.max_addr - len);

		if (!n)
			return -EMSGSIZE;
		len += n;
	}
	addr[0] = MAGIC | VERSION;
	addr[1] = (uint8_t)len;
	sum = htole32(checksum(addr, len));
	memcpy(addr + SUM, &sum, sizeof(sum));
	core->addr_bytes = len;
	return 0;
}

/* The part at *at, which is moved past it. */
static bool next_part(const uint8_t *addr, size_t len, size_t *at, struct up_addr_part *part)
{
	if (len - *at < 1)
		return false;
	/* Of a number that nobody has the lane is the zero at the end. */
	part->lane = lanes[addr[*at] >> 6];
	part->bytes = addr[*at] & PART_MAX;
	if (len - *at - 1 < part->bytes)
		return false;
	part->part = addr + *at + 1;
	*at += 1u + part->bytes;
	return true;
}

int up_addr_check(const void *addr, size_t len)
{
	const uint8_t *a = addr;
	struct up_addr_part part;
	size_t at = HEAD;

	if (!a || len < HEAD || len > UP_ADDR_MAX || (a[0] & 0xf0) != MAGIC)
		return -EINVAL;
	if (a[0] != (MAGIC | VERSION))
		return -EPROTONOSUPPORT;
	if (a[1] != len || get_checksum(a) != checksum(a, len))
		return -EINVAL;
	while (at < len) {
		if (!next_part(a, len, &at, &part))
			return -EINVAL;
	}
	return 0;
}

bool up_addr_part(const uint8_t *addr, const char *lane, struct up_addr_part *part)
{
	size_t at = HEAD;

	while (next_part(addr, addr[1], &at, part)) {
		if (part->lane == lane[0])
			return true;
	}
	return false;
}

uint32_t up_addr_hash(const uint8_t *addr)
{
	return get_checksum(addr);
}
