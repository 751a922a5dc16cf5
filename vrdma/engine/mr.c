/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory regions and windows (engine/mr.h).
 *
 * Everything in a region that a guest chose (addresses, lengths, page and piece tables) may be
 * nonsense: positions are computed as distances from the start, which cannot wrap once the
 * range check passed, and the last word is always the VM's memory map.
 */
#include "engine/mr.h"

#include "base/bytes.h"
#include "base/hint.h"
#include "engine/hca.h"

#include <assert.h>
#include <errno.h>

/* Every access reads a region: what it needs lies in one cache line. */
#define MR_ALIGN 64
static_assert(offsetof(struct up_mr, device) <= MR_ALIGN, "hot part of struct up_mr");

#define WRITES (UP_ACCESS_LOCAL_WRITE | UP_ACCESS_REMOTE_WRITE | UP_ACCESS_REMOTE_ATOMIC)

/*
 * What the regions of one VM may take of the host's memory: enough to register all of the guest's
 * memory in 4 KiB pages 16 times over, and some more for a small VM's cache of empty regions.
 */
#define LIMIT_FLOOR (UINT64_C(256) << 20)
#define LIMIT_SHARE 32
/* Of memory that is none, how much is read or written at a time. */
#define NULL_BYTES (64u << 10)

/*
 * What ranges add up to is the guest's choice where it has an IOMMU, and how long a file is that
 * nobody wrote to, whoever runs the VM's: no VM has more than the host.
 */
static uint64_t memory_limit(const struct up_mem *m)
{
	uint64_t ram = 0;

	if (m->backing)
		ram = *m->backing;
	for (unsigned i = 0; i < m->now.count && !m->backing; i++)
		ram += m->now.ranges[i].size;
	return LIMIT_FLOOR + (ram < m->most ? ram : m->most) / LIMIT_SHARE;
}

#define MR_BYTES ((sizeof(struct up_mr) + MR_ALIGN - 1) & -(size_t)MR_ALIGN)

static uint64_t table_bytes(enum up_mr_kind kind, uint32_t capacity)
{
	switch (kind) {
	case UP_MR_PAGES:
		return capacity * sizeof(uint64_t);
	case UP_MR_LIST:
		return capacity * sizeof(struct up_mr_piece);
	case UP_MR_PHYS:
	case UP_MR_NULL:
		break;
	}
	return 0;
}

static uint64_t footprint(const struct up_mr *mr)
{
	return MR_BYTES + table_bytes(mr->kind, mr->capacity);
}

static struct up_mr *alloc_mr(struct up_arena *arena, enum up_mr_kind kind, uint32_t capacity)
{
	struct up_mr *mr = up_arena_alloc(arena, MR_BYTES);

	if (!mr)
		return NULL;
	mr->arena = arena;
	mr->kind = kind;
	mr->qpn = UP_MR_ANY_QP;
	mr->capacity = capacity;
	return mr;
}

bool up_mr_shrink_table(struct up_mr *mr)
{
	if (mr->table_len)
		mr->table_len = up_arena_shrink(mr->arena, mr->pages, mr->table_len);
	if (mr->table_len)
		return false;
	mr->pages = NULL;
	return true;
}

void up_mr_free(struct up_mr *mr)
{
	up_arena_free(mr->arena, mr->pages, mr->table_len);
	up_arena_free(mr->arena, mr, MR_BYTES);
}

int up_mr_make_table(struct up_mr *mr)
{
	size_t bytes = table_bytes(mr->kind, mr->capacity);

	if (mr->pages || !bytes)
		return 0;
	mr->pages = up_arena_alloc(mr->arena, bytes);
	if (!mr->pages)
		return -ENOMEM;
	mr->table_len = bytes;
	return 0;
}

struct up_mr *up_mr_alloc(struct up_hca *hca, enum up_mr_kind kind, uint32_t capacity)
{
	if (hca->mr_bytes + MR_BYTES + table_bytes(kind, capacity) > memory_limit(&hca->mem)) {
		errno = ENOMEM;
		return NULL;
	}
	return alloc_mr(hca->arena, kind, capacity);
}

int up_mr_link(struct up_hca *hca, struct up_mr *mr)
{
	int64_t index = up_table_add(&hca->mrs, mr);

	if (index < 0)
		return -ENOSPC;
	mr->key = (uint32_t)index << 8;
	hca->mr_bytes += footprint(mr);
	return 0;
}

struct up_mr *up_mr_create(struct up_hca *hca, enum up_mr_kind kind, uint32_t capacity)
{
	struct up_mr *mr = up_mr_alloc(hca, kind, capacity);

	if (!mr)
		return NULL;
	if (up_mr_link(hca, mr)) {
		up_mr_free(mr);
		errno = ENOSPC;
		return NULL;
	}
	if (up_mr_make_table(mr)) {
		up_mr_destroy(hca, mr);
		errno = ENOMEM;
		return NULL;
	}
	return mr;
}

void up_mr_unlink(struct up_hca *hca, struct up_mr *mr)
{
	up_table_del(&hca->mrs, mr->key >> 8);
	hca->mr_bytes -= footprint(mr);
}

void up_mr_destroy(struct up_hca *hca, struct up_mr *mr)
{
	up_mr_unlink(hca, mr);
	up_mr_free(mr);
}

int up_mr_seal_list(struct up_mr *mr)
{
	uint64_t offset = 0;

	for (uint32_t i = 0; i < mr->count; i++) {
		mr->pieces[i].offset = offset;
		if (__builtin_add_overflow(offset, mr->pieces[i].len, &offset))
			return -EINVAL;
	}
	mr->period = offset;
	return 0;
}

struct up_mr *up_mr_get(const struct up_hca *hca, uint32_t key)
{
	struct up_mr *mr = up_table_get(&hca->mrs, key >> 8);

	return mr && mr->key == key ? mr : NULL;
}

static bool in_bounds(const struct up_mr *mr, uint64_t addr, uint64_t len)
{
	/* A region may go beyond the end of the address space, an access may not. */
	if (len && addr + (len - 1) < addr)
		return false;
	return mr->absolute || up_range_inside(addr, len, mr->start, mr->length);
}

/* The region of `key` if it allows the access, else NULL. */
static const struct up_mr *authorize(const struct up_hca *hca, uint32_t key,
				     const struct up_mr_use *use, uint64_t addr, uint64_t len)
{
	const struct up_mr *mr = up_mr_get(hca, key);

	if (!mr || !mr->valid || (use->access & ~mr->access))
		return NULL;
	if (mr->privileged ? !use->privileged : mr->pdn != use->pdn && mr->kind != UP_MR_NULL)
		return NULL;
	if (mr->qpn != UP_MR_ANY_QP && mr->qpn != use->qpn)
		return NULL;
	return in_bounds(mr, addr, len) ? mr : NULL;
}

int up_mr_check(const struct up_hca *hca, uint32_t key, const struct up_mr_use *use, uint64_t addr,
		uint64_t len)
{
	return authorize(hca, key, use, addr, len) ? 0 : -EACCES;
}

static int phys_span(const struct up_mem *m, uint64_t gpa, uint64_t len, bool write,
		     struct up_span *span)
{
	uint64_t room;

	span->ptr = up_mem_run(m, gpa, write, &room);
	if (!span->ptr)
		return -EFAULT;
	span->len = (size_t)(len < room ? len : room);
	return 0;
}

/*
 * The first page holds the region's start at the offset that its virtual address has in a page:
 * a device translates whole pages of the virtual range.
 */
static int pages_span(const struct up_mr *mr, const struct up_mem *m, uint64_t addr, uint64_t len,
		      bool write, struct up_span *span)
{
	unsigned shift = mr->page_shift & 63;
	uint64_t page = UINT64_C(1) << shift;
	uint64_t at, i, run;
	int rc;

	if (__builtin_add_overflow(addr - mr->start, mr->start & (page - 1), &at))
		return -EFAULT;
	i = at >> shift;
	at &= page - 1;
	if (i >= mr->count)
		return -EFAULT;
	rc = phys_span(m, mr->pages[i] + at, len, write, span);
	if (rc)
		return rc;
	/* span->len reaches to the end of the range at most: it bounds the walk. */
	for (run = page - at; run < span->len; run += page, i++)
		if (i + 1 >= mr->count || mr->pages[i + 1] != mr->pages[i] + page)
			break;
	if (run < span->len)
		span->len = run;
	return 0;
}

/* The piece that holds position `pos` of a list, or NULL. */
static const struct up_mr_piece *find_piece(const struct up_mr *mr, uint64_t pos)
{
	uint32_t low = 0, high = mr->count; /* pieces[low].offset <= pos < pieces[high].offset */

	if (!high)
		return NULL;
	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		if (mr->pieces[mid].offset <= pos)
			low = mid;
		else
			high = mid;
	}
	return pos - mr->pieces[low].offset < mr->pieces[low].len ? &mr->pieces[low] : NULL;
}

/*
 * Nobody reads what goes to the sink, which every thread has its own of: guests of two workers
 * would write to it at once. But an atomic answers with the first word that it finds there, which
 * may be of another tenant's data.
 */
UP_COLD static int null_span(uint64_t len, bool write, struct up_span *span)
{
	static _Thread_local uint8_t sink[NULL_BYTES] __attribute__((aligned(8)));
	static uint8_t zeroes[NULL_BYTES];

	if (write)
		memset(sink, 0, sizeof(uint64_t));
	span->ptr = write ? sink : zeroes;
	span->len = (size_t)(len < NULL_BYTES ? len : NULL_BYTES);
	return 0;
}

static int flat_span(const struct up_mr *mr, const struct up_mem *m, uint64_t addr, uint64_t len,
		     bool write, struct up_span *span)
{
	if (mr->kind == UP_MR_PAGES)
		return pages_span(mr, m, addr, len, write, span);
	if (mr->kind == UP_MR_PHYS)
		return phys_span(m, addr, len, write, span);
	return null_span(len, write, span);
}

/* Where a position in a list is: a key, the address there, and what is left of the piece. */
static int locate(const struct up_mr *mr, uint64_t pos, uint32_t *key, uint64_t *addr,
		  uint64_t *left)
{
	const struct up_mr_piece *piece;
	uint64_t round = 0, skip;

	if (mr->rounds) {
		if (!mr->period || pos / mr->period >= mr->rounds)
			return -EFAULT;
		round = pos / mr->period;
		pos %= mr->period;
	}
	piece = find_piece(mr, pos);
	if (!piece)
		return -EFAULT;
	skip = pos - piece->offset;
	*left = piece->len - skip;
	*key = piece->key;
	/* The product has 64 bits: both factors have 32. */
	if (__builtin_add_overflow(piece->addr, round * piece->stride, addr) ||
	    __builtin_add_overflow(*addr, skip, addr))
		return -EFAULT;
	return 0;
}

/* A list lends its own remote rights to its pieces; they must only allow the local access. */
static int list_span(const struct up_hca *hca, const struct up_mr *mr, const struct up_mr_use *use,
		     uint64_t addr, uint64_t len, struct up_span *span)
{
	bool write = use->access & WRITES;
	struct up_mr_use inner = {
		.pdn = use->pdn,
		.qpn = use->qpn,
		.access = write ? UP_ACCESS_LOCAL_WRITE : UP_ACCESS_LOCAL_READ,
	};
	uint32_t steps = 0;

	for (unsigned depth = 0; mr && mr->kind == UP_MR_LIST; depth++) {
		uint64_t left = 0;
		uint32_t key = 0;
		int err = locate(mr, addr - mr->start, &key, &addr, &left);

		if (err || depth == UP_MR_MAX_DEPTH)
			return err ? err : -EACCES;
		if (len > left)
			len = left;
		steps += 33u - (uint32_t)__builtin_clz(mr->count | 1);
		mr = authorize(hca, key, &inner, addr, len);
	}
	span->steps = steps;
	return mr ? flat_span(mr, &hca->mem, addr, len, write, span) : -EACCES;
}

static inline int region_span(const struct up_hca *hca, const struct up_mr *mr,
			      const struct up_mr_use *use, uint64_t addr, uint64_t len,
			      struct up_span *span)
{
	if (__builtin_expect(mr->kind == UP_MR_LIST, 0))
		return list_span(hca, mr, use, addr, len, span);
	span->steps = 0;
	return flat_span(mr, &hca->mem, addr, len, use->access & WRITES, span);
}

int up_mr_span(const struct up_hca *hca, uint32_t key, const struct up_mr_use *use, uint64_t addr,
	       uint64_t len, struct up_span *span)
{
	const struct up_mr *mr = authorize(hca, key, use, addr, len);

	return mr ? region_span(hca, mr, use, addr, len, span) : -EACCES;
}

int up_mr_resolve(const struct up_hca *hca, uint32_t key, const struct up_mr_use *use,
		  uint64_t addr, uint64_t len, struct up_span *span)
{
	const struct up_mr *mr = authorize(hca, key, use, addr, len);

	if (!mr)
		return -EACCES;
	if (len > UP_MR_RESOLVE_MAX || region_span(hca, mr, use, addr, len, span))
		span->len = 0;
	return 0;
}

int up_mr_invalidate(struct up_hca *hca, uint32_t key, const struct up_mr_use *use, bool remote)
{
	struct up_mr *mr = up_mr_get(hca, key);

	if (!mr || mr->pdn != use->pdn || (remote && !mr->remote_inv))
		return -EACCES;
	if (mr->qpn != UP_MR_ANY_QP && mr->qpn != use->qpn)
		return -EACCES;
	mr->valid = false;
	return 0;
}
