/* SPDX-License-Identifier: BSD-2-Clause */
/* The wire format: the only code that takes packets apart (am/packet.h). */
#include "am/packet.h"

#include <underpass/am.h>

#include <errno.h>

#define SOURCE sizeof(struct up_pkt_source)
#define STAGED sizeof(struct up_pkt_staged)
#define HALF sizeof(struct up_pkt_half)
#define IMM sizeof(uint64_t)
#define LAST (UP_PKT_F_LAST | UP_PKT_F_LAST_HERE)

/* What each type must have; the sums of lengths that depend on more are in check(). */
static const struct {
	uint16_t flags; /* that it may have */
	bool op;	/* is required */
	uint32_t min, max;
} shapes[UP_PKT_TYPES] = {
	[UP_PKT_ANSWER] = {UP_PKT_F_MAP, true, 0, UINT32_MAX},
	[UP_PKT_AM_REQUEST] = {0, false, 0, UP_AM_HEAD_MAX + UP_AM_DATA_MAX},
	[UP_PKT_AM_REPLY] = {0, true, 0, UP_AM_HEAD_MAX + UP_AM_DATA_MAX},
	[UP_PKT_TAG_EAGER] = {UP_PKT_F_IMM | UP_PKT_F_UNTAGGED, false, 0, UINT32_MAX},
	[UP_PKT_TAG_RENDEZVOUS] = {UP_PKT_F_IMM | UP_PKT_F_UNTAGGED, true, SOURCE, SOURCE},
	[UP_PKT_TAG_PULL] = {0, true, 0, 0},
	[UP_PKT_WRITE] = {UP_PKT_F_IMM | LAST, false, 0, UINT32_MAX},
	[UP_PKT_WRITE_LARGE] = {UP_PKT_F_IMM | LAST, true, SOURCE, SOURCE + IMM},
	[UP_PKT_READ] = {UP_PKT_F_LAST, true, 0, 0},
	[UP_PKT_READ_LARGE] = {UP_PKT_F_LAST, true, SOURCE, SOURCE},
	[UP_PKT_ATOMIC] = {UP_PKT_F_FETCH | UP_PKT_F_COMPARE | LAST, false, 0, UINT32_MAX},
	[UP_PKT_MAP] = {0, true, 0, 0},
	[UP_PKT_STAGE] = {0, true, sizeof(struct up_pkt_map), sizeof(struct up_pkt_map)},
	[UP_PKT_WRITE_STAGED] = {LAST, true, STAGED, STAGED},
	[UP_PKT_READ_STAGED] = {UP_PKT_F_LAST, true, STAGED, STAGED},
	[UP_PKT_WRITE_HALF] = {0, true, HALF, HALF},
	[UP_PKT_READ_HALF] = {0, true, HALF, HALF},
};

static bool am_fits(const struct up_packet *p)
{
	uint32_t number = p->aux & 0xff, head = p->aux >> 8;

	return number < UP_AM_HANDLERS && head <= UP_AM_HEAD_MAX && head <= p->bytes &&
	       p->bytes - head <= UP_AM_DATA_MAX;
}

/* What the table cannot say. */
static bool check(const struct up_packet *p)
{
	size_t imm = p->flags & UP_PKT_F_IMM ? IMM : 0;

	switch (p->type) {
	case UP_PKT_ANSWER:
		return p->aux < 4096; /* errno values */
	case UP_PKT_AM_REQUEST:
		return am_fits(p) && p->a <= UP_AM_HEAD_MAX + UP_AM_DATA_MAX && (p->op || !p->a);
	case UP_PKT_AM_REPLY:
		return am_fits(p);
	case UP_PKT_TAG_EAGER:
	case UP_PKT_TAG_RENDEZVOUS:
		return !(p->flags & UP_PKT_F_UNTAGGED) || !p->a;
	case UP_PKT_WRITE:
		return p->bytes >= imm;
	case UP_PKT_WRITE_LARGE:
		return p->bytes == SOURCE + imm;
	case UP_PKT_ATOMIC:
		return p->op || !(p->flags & UP_PKT_F_FETCH);
	default:
		return true;
	}
}

static void swap(struct up_packet *p)
{
	p->flags = le16toh(p->flags);
	p->bytes = le32toh(p->bytes);
	p->op = le32toh(p->op);
	p->aux = le32toh(p->aux);
	p->a = le64toh(p->a);
	p->b = le64toh(p->b);
}

int up_packet_parse(struct up_packet *p, const void *packet, size_t len)
{
	if (len < sizeof(*p))
		return -EPROTO;
	memcpy(p, packet, sizeof(*p));
	/* The one fetch: nothing below may be read from the peer's memory again. */
	__asm__ volatile("" : "+m"(*p));
	swap(p);
	if (p->version != UP_PACKET_VERSION)
		return -EPROTONOSUPPORT;
	if (!p->type || p->type >= UP_PKT_TYPES || p->flags & ~shapes[p->type].flags ||
	    p->bytes > len - sizeof(*p) || p->bytes < shapes[p->type].min ||
	    p->bytes > shapes[p->type].max || (shapes[p->type].op && !p->op))
		return -EPROTO;
	return check(p) ? 0 : -EPROTO;
}
