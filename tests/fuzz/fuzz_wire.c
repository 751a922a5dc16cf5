/* SPDX-License-Identifier: BSD-2-Clause */
/* The second decoder (fuzz_wire.h). */
#include "fuzz_wire.h"

#include "device/connectx/abi_queue.h"

static bool add_piece(struct wire *w, const uint8_t *seg, uint32_t left, uint32_t *size)
{
	uint32_t count = up_get_be32(seg);
	struct wire_piece *p = &w->piece[w->npieces++];

	*size = CX_WQE_DS;
	*p = (struct wire_piece){
		.len = count,
		.key = up_get_be32(seg + 4),
		.addr = up_get_be64(seg + 8),
	};
	if (count >> 31) {
		p->len = count & 0x3ff;
		p->inlined = seg + 4;
		*size = ((uint32_t)p->len + 4 + 15) / 16 * 16;
	}
	w->length += p->len;
	return *size <= left;
}

static bool decode_pieces(struct wire *w, const uint8_t *at, uint32_t left)
{
	uint32_t size;

	while (left) {
		if (!add_piece(w, at, left, &size))
			return false;
		at += size;
		left -= size;
	}
	return true;
}

/* Bytes before the list, after the control segment and the XRC segment. */
static uint32_t head_bytes(const uint8_t *bytes, const uint8_t *av, bool datagram, struct wire *w)
{
	switch (bytes[3]) {
	case CX_OP_SEND:
	case CX_OP_SEND_IMM:
	case CX_OP_SEND_INVAL:
		return !datagram ? 0 : av[8] >> 7 ? 48 : 16;
	case CX_OP_RDMA_READ:
		w->is_read = true;
		w->one_sided = true;
		return 16;
	case CX_OP_RDMA_WRITE:
	case CX_OP_RDMA_WRITE_IMM:
		w->one_sided = true;
		return 16;
	case CX_OP_ATOMIC_CS:
	case CX_OP_ATOMIC_FA:
	case CX_OP_ATOMIC_MASKED_FA:
		w->one_sided = w->is_atomic = true;
		return 32;
	case CX_OP_ATOMIC_MASKED_CS:
		w->one_sided = w->is_atomic = true;
		return 48;
	default:
		return UINT32_MAX;
	}
}

bool wire_decode(struct wire *w, const uint8_t *bytes, uint32_t len, bool datagram, bool xrc)
{
	uint32_t at = xrc ? 32 : 16, head;

	memset(w, 0, sizeof(*w));
	w->is_local = bytes[3] == CX_OP_NOP || bytes[3] == CX_OP_UMR;
	if (w->is_local)
		return true;
	/* The address vector says in its third word how long it is. */
	if (at > len || (datagram && at + 16 > len))
		return false;
	head = head_bytes(bytes, bytes + at, datagram, w);
	if (head > len - at)
		return false;
	if (w->one_sided) {
		w->raddr = up_get_be64(bytes + at);
		w->rkey = up_get_be32(bytes + at + 8);
	}
	return decode_pieces(w, bytes + at + head, len - at - head);
}

void wire_decode_list(struct wire *w, const uint8_t *bytes, uint32_t len)
{
	memset(w, 0, sizeof(*w));
	for (uint32_t at = 0; at < len; at += CX_WQE_DS) {
		struct wire_piece *p = &w->piece[w->npieces];

		p->len = up_get_be32(bytes + at);
		p->key = up_get_be32(bytes + at + 4);
		p->addr = up_get_be64(bytes + at + 8);
		if (p->key == CX_INVALID_LKEY)
			return;
		w->length += p->len;
		w->npieces++;
	}
}
