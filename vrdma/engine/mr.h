/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory regions and windows: what a key allows, and the host memory behind it.
 *
 * A key is index << 8 | variant: volume 1, section 10.6 of the specification lets the consumer own
 * a key's low 8 bits. The index names a slot of the HCA's table; the variant must match too.
 *
 * Ownership: created and destroyed with the world stopped. Changed while running (registration
 * and invalidation by work request) by the worker of the HCA, under the write side of
 * hca->mr_lock; used by any worker under its read side.
 */
#ifndef UP_ENGINE_MR_H
#define UP_ENGINE_MR_H

#include "engine/types.h"

#include <stddef.h>

struct up_arena;
struct up_hca;

#define UP_MR_ANY_QP 0xffffffu
#define UP_MR_MAX_DEPTH 4 /* of lists that refer to keys of lists */

enum up_mr_kind {
	UP_MR_PHYS,  /* all of the VM's memory, by guest-physical address */
	UP_MR_PAGES, /* equal pages, a guest-physical address each */
	UP_MR_LIST,  /* pieces of other regions */
	UP_MR_NULL,  /* no memory, and of no domain: reads find zeroes, what is written is gone */
};

struct up_mr_piece {
	uint64_t addr; /* in the piece's own region */
	uint64_t len;
	uint64_t offset; /* of this piece in the list, set by up_mr_seal_list() */
	uint32_t key;
	uint32_t stride; /* how much further each round of the list begins (up_mr.rounds) */
};

struct up_mr {
	uint32_t key;
	enum up_mr_kind kind; /* fixed at creation, as is capacity */
	uint32_t pdn;
	uint32_t qpn;	  /* the only QP that may use it, or UP_MR_ANY_QP (type 2 windows) */
	uint32_t access;  /* enum up_access */
	bool valid;	  /* false: allocated, but every access fails (freed, invalidated) */
	bool remote_inv;  /* a SEND with invalidate may revoke it */
	bool registrable; /* work requests may change it */
	bool absolute;	  /* the length is all of the address space */
	uint64_t start;
	uint64_t length;
	uint8_t page_shift;
	bool privileged;   /* of no domain: for QPs with up_qp.privileged, and only locally */
	bool equal;	   /* all pieces of a list are of the page's size */
	uint32_t capacity; /* of pages[] or pieces[] */
	uint32_t count;	   /* in use */
	union {
		uint64_t *pages;
		struct up_mr_piece *pieces;
	};
	void *device;	  /* the device ABI's own */
	size_t table_len; /* bytes of pages[] or pieces[] that are there */
	uint32_t rounds;  /* that a list is gone through, each piece a stride further; or 0 */
	uint64_t period;  /* bytes of a round, set by up_mr_seal_list() */
	struct up_arena *arena;
};

/* A stretch of host memory. */
struct up_span {
	uint8_t *ptr;
	size_t len;
	uint32_t steps; /* of the searches in lists that led to it; 0: there were none */
};

/* What a stretch of memory, or a step to it, costs, in bytes that could be copied meanwhile. */
#define UP_LOOK_COST UINT64_C(256)

/*
 * Creates a region with room for `capacity` (0 is allowed) zeroed pages or pieces, for any QP, not
 * valid yet, and puts it in a slot of the table; the caller sets the rest, and the key's variant.
 * NULL with errno: ENOMEM (a VM's regions may take a share of its memory's size) or ENOSPC.
 */
struct up_mr *up_mr_create(struct up_hca *hca, enum up_mr_kind kind, uint32_t capacity);
/*
 * The same in steps. Of allocating (NULL with errno ENOMEM; to be freed if not linked) and putting
 * it in the table of regions (0 or -ENOSPC) the first needs no stopped world. Its own table
 * up_mr_make_table() makes before anything is written to it: a driver keeps thousands of large
 * regions in reserve, and most are never used. That table counts against the bound from the start,
 * so that making it (0 or -ENOMEM) does not.
 */
struct up_mr *up_mr_alloc(struct up_hca *hca, enum up_mr_kind kind, uint32_t capacity);
int up_mr_link(struct up_hca *hca, struct up_mr *mr);
int up_mr_make_table(struct up_mr *mr);
void up_mr_destroy(struct up_hca *hca, struct up_mr *mr);
/* The same in two steps, of which the second needs no stopped world. */
void up_mr_unlink(struct up_hca *hca, struct up_mr *mr);
void up_mr_free(struct up_mr *mr);
/*
 * Frees a part of the table, which may be hundreds of MiB, of a region that nobody uses (unlinked,
 * or neither valid nor registrable). True when nothing of it is left.
 */
bool up_mr_shrink_table(struct up_mr *mr);

/* Computes the offsets of pieces[0..count) and their sum. -EINVAL when the lengths overflow. */
int up_mr_seal_list(struct up_mr *mr);

/* The region of a key, valid or not; NULL when no such key exists. */
struct up_mr *up_mr_get(const struct up_hca *hca, uint32_t key);

/* What an access comes with; all of it must match the region. */
struct up_mr_use {
	uint32_t pdn;
	uint32_t qpn;
	uint32_t access;
	bool privileged;
};

/*
 * 0, or -EACCES when [addr, addr + len) under `key` may not be used so. len may be 0: then key and
 * rights count, and addr must not lie outside of the region. The pieces of a list are not looked
 * at (a hostile nest of lists would make that endless); up_mr_span() checks each as it comes.
 */
int up_mr_check(const struct up_hca *hca, uint32_t key, const struct up_mr_use *use, uint64_t addr,
		uint64_t len);

/*
 * up_mr_check(), and up_mr_span() as well, so that nothing is looked up twice: span->len is 0 where
 * the latter would fail, or where it would look at more than UP_MR_RESOLVE_MAX bytes.
 */
#define UP_MR_RESOLVE_MAX (UINT64_C(256) << 10)
int up_mr_resolve(const struct up_hca *hca, uint32_t key, const struct up_mr_use *use,
		  uint64_t addr, uint64_t len, struct up_span *span);

/*
 * Resolves the longest contiguous host stretch at `addr`, at most `len` bytes (len > 0), with the
 * same checks as up_mr_check() on the whole of [addr, addr + len). -EACCES, or -EFAULT when the
 * pages behind it are not memory of the VM. It looks as far as `len`, so pass what is to be copied
 * now, not the rest of a long message.
 */
int up_mr_span(const struct up_hca *hca, uint32_t key, const struct up_mr_use *use, uint64_t addr,
	       uint64_t len, struct up_span *span);

/* Revokes a key: local (any key of the same HCA and PD) or remote (needs remote_inv). -EACCES. */
int up_mr_invalidate(struct up_hca *hca, uint32_t key, const struct up_mr_use *use, bool remote);

#endif
