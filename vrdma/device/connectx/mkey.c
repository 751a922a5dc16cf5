/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the command that creates a memory key and the work request that changes one have in common:
 * the rights in its context, and the entries of its translation.
 */
#include "device/connectx/connectx.h"

#include "device/connectx/abi.h"
#include "device/connectx/abi_queue.h"

static const struct {
	uint64_t mask;
	uint8_t flag;
	uint32_t access;
} rights[] = {
	{CX_MKEY_MASK_LR, CX_MKEY_LR, UP_ACCESS_LOCAL_READ},
	{CX_MKEY_MASK_LW, CX_MKEY_LW, UP_ACCESS_LOCAL_WRITE},
	{CX_MKEY_MASK_RR, CX_MKEY_RR, UP_ACCESS_REMOTE_READ},
	{CX_MKEY_MASK_RW, CX_MKEY_RW, UP_ACCESS_REMOTE_WRITE},
	{CX_MKEY_MASK_A, CX_MKEY_A, UP_ACCESS_REMOTE_ATOMIC},
};

void cx_mkey_set_access(struct up_mr *mr, uint8_t flags, uint64_t mask)
{
	for (unsigned i = 0; i < UP_ARRAY_SIZE(rights); i++) {
		if (!(mask & rights[i].mask))
			continue;
		if (flags & rights[i].flag)
			mr->access |= rights[i].access;
		else
			mr->access &= ~rights[i].access;
	}
}

uint8_t cx_mkey_access_flags(const struct up_mr *mr)
{
	uint8_t flags = 0;

	for (unsigned i = 0; i < UP_ARRAY_SIZE(rights); i++) {
		if (mr->access & rights[i].access)
			flags |= rights[i].flag;
	}
	return flags;
}

uint32_t cx_mkey_entry_bytes(const struct up_mr *mr)
{
	return mr->kind == UP_MR_PAGES ? CX_MTT_BYTES : sizeof(struct cx_klm);
}

static void write_pages(struct up_mr *mr, uint32_t first, const uint8_t *from, uint32_t n,
			uint64_t of_zero)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t entry = up_get_be64(from + i * CX_MTT_BYTES);

		mr->pages[first + i] = entry ? entry & CX_MTT_ADDRESS_MASK : of_zero;
	}
}

struct up_mr_piece cx_mkey_piece(const struct up_mr *mr, const uint8_t *from)
{
	struct cx_klm klm;

	memcpy(&klm, from, sizeof(klm));
	return (struct up_mr_piece){
		.addr = be64toh(klm.va),
		.len = mr->equal ? 1ull << mr->page_shift : be32toh(klm.bcount),
		.key = be32toh(klm.key),
	};
}

static void write_pieces(struct up_mr *mr, uint32_t first, const uint8_t *from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		mr->pieces[first + i] = cx_mkey_piece(mr, from + i * sizeof(struct cx_klm));
}

void cx_mkey_write_entries(struct up_mr *mr, uint32_t first, const uint8_t *from, uint32_t n,
			   uint64_t of_zero)
{
	if (mr->kind == UP_MR_PAGES)
		write_pages(mr, first, from, n, of_zero);
	else
		write_pieces(mr, first, from, n);
}
