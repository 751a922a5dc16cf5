/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An endpoint's address: what each of its lanes says about itself.
 *
 *   0  'U', version (1 byte), length of all, in bytes (1), number of parts (1)
 *   4  checksum of all other bytes (4, little endian)
 *   8  parts: the lane, by the first letter of its name (1), length of the part (1), part
 *
 * It is short: users of libfabric may have no more than 64 bytes for an address (FI_NAME_MAX). The
 * checksum keeps rubbish and truncated copies out; it is no protection against forgery, and every
 * lane checks its part on its own.
 */
#include "core/private.h"

#define MAGIC 'U'
#define VERSION 2
#define HEAD 8
static_assert(UP_ADDR_MAX <= UINT8_MAX, "the length is a byte");

/* FNV-1a over everything but the checksum. */
static uint32_t checksum(const uint8_t *addr, size_t len)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++) {
		if (i < 4 || i >= HEAD)
			h = (h ^ addr[i]) * 16777619u;
	}
	return h;
}

static uint32_t get_checksum(const uint8_t *addr)
{
	uint32_t v;

	memcpy(&v, addr + 4, sizeof(v));
	return le32toh(v);
}

/* One part; its length, or 0 when there is no room. */
static size_t put_part(struct up_lane *lane, uint8_t *to, size_t room)
{
	size_t n;

	if (room < 2)
		return 0;
	n = lane->ops->address(lane, to + 2, room - 2);
	if (!n || n > room - 2)
		return 0;
	to[0] = (uint8_t)lane->ops->name[0];
	to[1] = (uint8_t)n;
	return 2 + n;
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
	addr[0] = MAGIC;
	addr[1] = VERSION;
	addr[2] = (uint8_t)len;
	addr[3] = (uint8_t)core->nlanes;
	sum = htole32(checksum(addr, len));
	memcpy(addr + 4, &sum, sizeof(sum));
	core->addr_bytes = len;
	return 0;
}

/* The part at *at, which is moved past it. */
static bool next_part(const uint8_t *addr, size_t len, size_t *at, struct up_addr_part *part)
{
	if (len - *at < 2)
		return false;
	part->lane = (char)addr[*at];
	part->bytes = addr[*at + 1];
	if (len - *at - 2 < part->bytes)
		return false;
	part->part = addr + *at + 2;
	*at += 2 + part->bytes;
	return true;
}

int up_addr_check(const void *addr, size_t len)
{
	const uint8_t *a = addr;
	struct up_addr_part part;
	size_t at = HEAD;

	if (!a || len < HEAD || len > UP_ADDR_MAX || a[0] != MAGIC)
		return -EINVAL;
	if (a[1] != VERSION)
		return -EPROTONOSUPPORT;
	if (a[2] != len || get_checksum(a) != checksum(a, len))
		return -EINVAL;
	for (unsigned i = 0; i < a[3]; i++) {
		if (!next_part(a, len, &at, &part))
			return -EINVAL;
	}
	return at == len ? 0 : -EINVAL;
}

bool up_addr_part(const uint8_t *addr, const char *lane, struct up_addr_part *part)
{
	size_t at = HEAD;

	while (next_part(addr, addr[2], &at, part)) {
		if (part->lane == lane[0])
			return true;
	}
	return false;
}

uint32_t up_addr_hash(const uint8_t *addr)
{
	return get_checksum(addr);
}
