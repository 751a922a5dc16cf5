/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An endpoint's address: what each of its lanes says about itself.
 *
 *   0  "UPA", version (1 byte)
 *   4  length of all, in bytes (2, little endian), number of parts (1), 0
 *   8  checksum of all other bytes (4, little endian)
 *  12  parts: length of the name (1), length of the part (1), name, part
 *
 * The checksum keeps rubbish and truncated copies out; it is no protection against forgery, and
 * every lane checks its part on its own.
 */
#include "core/private.h"

#define VERSION 1
#define HEAD 12

static const uint8_t magic[3] = {'U', 'P', 'A'};

/* FNV-1a over everything but the checksum. */
static uint32_t checksum(const uint8_t *addr, size_t len)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++) {
		if (i < 8 || i >= HEAD)
			h = (h ^ addr[i]) * 16777619u;
	}
	return h;
}

static uint32_t get_checksum(const uint8_t *addr)
{
	uint32_t v;

	memcpy(&v, addr + 8, sizeof(v));
	return le32toh(v);
}

/* One part; its length, or 0 when there is no room. */
static size_t put_part(struct up_lane *lane, uint8_t *to, size_t room)
{
	size_t name = strlen(lane->ops->name), n;

	if (room < 2 + name)
		return 0;
	room -= 2 + name;
	n = lane->ops->address(lane, to + 2 + name, room < 255 ? room : 255);
	if (n > room || n > 255)
		return 0;
	to[0] = (uint8_t)name;
	to[1] = (uint8_t)n;
	memcpy(to + 2, lane->ops->name, name);
	return 2 + name + n;
}

int up_addr_make(struct up_ep_private *core)
{
	uint8_t *addr = core->addr;
	size_t len = HEAD;
	uint32_t sum;

	memset(addr, 0, UP_ADDR_MAX);
	memcpy(addr, magic, sizeof(magic));
	addr[3] = VERSION;
	for (unsigned i = 0; i < core->nlanes; i++) {
		size_t n = put_part(core->lanes[i], addr + len, UP_ADDR_MAX - len);

		if (!n)
			return -EMSGSIZE;
		len += n;
	}
	addr[4] = (uint8_t)len;
	addr[5] = (uint8_t)(len >> 8);
	addr[6] = (uint8_t)core->nlanes;
	sum = htole32(checksum(addr, len));
	memcpy(addr + 8, &sum, sizeof(sum));
	core->addr_bytes = len;
	return 0;
}

/* The part at *at, which is moved past it. */
static bool next_part(const uint8_t *addr, size_t len, size_t *at, struct up_addr_part *part)
{
	if (len - *at < 2)
		return false;
	part->name_bytes = addr[*at];
	part->bytes = addr[*at + 1];
	if (len - *at - 2 < part->name_bytes + part->bytes)
		return false;
	part->name = (const char *)addr + *at + 2;
	part->part = addr + *at + 2 + part->name_bytes;
	*at += 2 + part->name_bytes + part->bytes;
	return true;
}

static size_t addr_len(const uint8_t *addr)
{
	return (size_t)(addr[4] | addr[5] << 8);
}

int up_addr_check(const void *addr, size_t len)
{
	const uint8_t *a = addr;
	struct up_addr_part part;
	size_t at = HEAD;

	if (!a || len < HEAD || len > UP_ADDR_MAX || memcmp(a, magic, sizeof(magic)) != 0)
		return -EINVAL;
	if (a[3] != VERSION)
		return -EPROTONOSUPPORT;
	if (addr_len(a) != len || a[7] || get_checksum(a) != checksum(a, len))
		return -EINVAL;
	for (unsigned i = 0; i < a[6]; i++) {
		if (!next_part(a, len, &at, &part))
			return -EINVAL;
	}
	return at == len ? 0 : -EINVAL;
}

bool up_addr_part(const uint8_t *addr, const char *lane, struct up_addr_part *part)
{
	size_t at = HEAD, name = strlen(lane);

	while (next_part(addr, addr_len(addr), &at, part)) {
		if (part->name_bytes == name && !memcmp(part->name, lane, name))
			return true;
	}
	return false;
}

uint32_t up_addr_hash(const uint8_t *addr)
{
	return get_checksum(addr);
}
