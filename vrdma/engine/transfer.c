/* SPDX-License-Identifier: BSD-2-Clause */
/* Moving bytes between two scatter lists, and atomics. */

#include "engine/exec.h"

#include <errno.h>

/*
 * Stretches of memory in one turn. A guest may scatter a message over single bytes, each of which
 * costs more to look up than to copy.
 */
#define MAX_SPANS 512

/*
 * What a stretch counts where the rest may go on in a later turn: one, and the steps by which its
 * two ends were found. A list may have 65,536 pieces and lie in three others: 512 bytes of such
 * took 2.6 ms to find, at one end alone.
 */
static uint32_t looks_for(const struct up_span *one, const struct up_span *other)
{
	return 1 + one->steps + other->steps;
}

void up_cursor_sges(struct up_cursor *c, const struct up_hca *hca, const struct up_mr_use *use,
		    const struct up_sge *sge, uint32_t nsge, uint64_t skip)
{
	*c = (struct up_cursor){.hca = hca, .use = *use, .sge = sge, .nsge = nsge};
	while (c->nsge && skip >= c->sge->len) {
		skip -= c->sge->len;
		c->sge++;
		c->nsge--;
	}
	c->off = skip;
}

void up_cursor_request(struct up_cursor *c, const struct up_qp *qp, struct up_send_wr *wr,
		       bool write, uint64_t skip)
{
	struct up_mr_use use = up_local_use(qp, write);

	if (wr->flags & UP_WR_INLINE) {
		up_cursor_flat(c, wr->data + skip);
		return;
	}
	up_cursor_sges(c, qp->hca, &use, wr->sge, wr->nsge, skip);
	c->wr = wr->inline_sges ? wr : NULL;
}

void up_cursor_flat(struct up_cursor *c, void *flat)
{
	c->hca = NULL;
	c->flat = flat;
}

/* The next contiguous stretch, at most n bytes. The cursor does not move. */
static int cursor_peek(struct up_cursor *c, uint64_t n, struct up_span *span)
{
	uint64_t left;

	if (!c->hca) {
		span->ptr = c->flat;
		span->len = n;
		span->steps = 0;
		return 0;
	}
	while (c->nsge && c->off == c->sge->len) {
		c->sge++;
		c->nsge--;
		c->off = 0;
	}
	if (!c->nsge)
		return -EINVAL;
	left = c->sge->len - c->off;
	if (left > n)
		left = n;
	if (c->wr && c->wr->inline_sges >> (c->sge - c->wr->sge) & 1) {
		span->ptr = c->wr->data + c->sge->addr + c->off;
		span->len = left;
		span->steps = 0;
		return 0;
	}
	return up_mr_span(c->hca, c->sge->key, &c->use, c->sge->addr + c->off, left, span);
}

static void cursor_skip(struct up_cursor *c, uint64_t n)
{
	if (c->hca)
		c->off += n;
	else
		c->flat += n;
}

int up_cursor_probe(struct up_cursor c, uint64_t n)
{
	struct up_span span;
	unsigned spans;
	int err = 0;

	for (spans = 0; n && !err; spans++) {
		if (spans == MAX_SPANS / 2)
			return -E2BIG;
		err = cursor_peek(&c, n, &span);
		if (!err) {
			cursor_skip(&c, span.len);
			n -= span.len;
		}
	}
	return err;
}

/* In one go only stretches count: who made the one list has no say in how the other is found. */
static enum up_transfer transfer(struct up_exec *x, struct up_cursor *dst, struct up_cursor *src,
				 uint64_t *n, uint64_t total, bool one_go)
{
	uint64_t left = *n, cost = 0;
	unsigned spans, looks = 0;

	for (spans = 0; left && (one_go ? spans : looks) < MAX_SPANS; spans++) {
		struct up_span d, s;
		size_t len;

		if (cursor_peek(src, left, &s))
			return UP_TRANSFER_SRC;
		if (cursor_peek(dst, s.len, &d))
			return UP_TRANSFER_DST;
		looks += looks_for(&d, &s);
		len = d.len < s.len ? d.len : s.len;
		cost += up_copy(&x->history, d.ptr, s.ptr, len, total);
		cursor_skip(src, len);
		cursor_skip(dst, len);
		left -= len;
	}
	*n -= left;
	x->cost = cost > looks * UP_LOOK_COST ? cost : looks * UP_LOOK_COST;
	return UP_TRANSFER_OK;
}

enum up_transfer up_transfer(struct up_exec *x, struct up_cursor *dst, struct up_cursor *src,
			     uint64_t *n, uint64_t total)
{
	return transfer(x, dst, src, n, total, false);
}

enum up_transfer up_transfer_all(struct up_exec *x, struct up_cursor *dst, struct up_cursor *src,
				 uint64_t n)
{
	uint64_t part = n;
	enum up_transfer result = transfer(x, dst, src, &part, n, true);

	return result == UP_TRANSFER_OK && part < n ? UP_TRANSFER_DST : result;
}

bool up_transfer_whole(struct up_exec *x, const struct up_send_wr *wr)
{
	uint64_t n = wr->length, least;

	if (x->here.len < n || x->there.len < n || !n || up_op_is_atomic(wr->op))
		return false;
	if (wr->op == UP_OP_READ)
		x->cost = up_copy(&x->history, x->here.ptr, x->there.ptr, n, n);
	else
		x->cost = up_copy(&x->history, x->there.ptr, x->here.ptr, n, n);
	least = looks_for(&x->here, &x->there) * UP_LOOK_COST;
	if (x->cost < least)
		x->cost = least;
	return true;
}

int up_sges_check(const struct up_hca *hca, const struct up_mr_use *use, const struct up_sge *sge,
		  uint32_t nsge, uint64_t inlined, uint64_t len, struct up_span *first)
{
	if (first)
		first->len = 0;
	for (uint32_t i = 0; i < nsge && len; i++) {
		uint64_t n = sge[i].len < len ? sge[i].len : len;
		bool has_key = n && !(inlined >> i & 1);
		int err = 0;

		if (has_key && first && !i)
			err = up_mr_resolve(hca, sge->key, use, sge->addr, n, first);
		else if (has_key)
			err = up_mr_check(hca, sge[i].key, use, sge[i].addr, n);
		if (err)
			return -EACCES;
		len -= n;
	}
	return len ? -EACCES : 0;
}

int up_request_check(const struct up_qp *qp, const struct up_send_wr *wr, bool write,
		     struct up_span *first)
{
	struct up_mr_use use = up_local_use(qp, write);

	return up_sges_check(qp->hca, &use, wr->sge, wr->nsge, wr->inline_sges, up_op_length(wr),
			     first);
}

/*
 * Adds field by field: a set bit in `boundary` is the highest bit of a field, from which no carry
 * goes on (extended atomics, struct mlx5_wqe_masked_add in the device ABI).
 */
static uint64_t masked_add(uint64_t a, uint64_t b, uint64_t boundary)
{
	uint64_t tops = (a ^ b) & boundary;

	return ((a & ~boundary) + (b & ~boundary)) ^ tops;
}

static uint64_t masked_result(uint64_t old, const struct up_send_wr *wr)
{
	if (wr->op == UP_OP_MASKED_FETCH_ADD)
		return masked_add(old, wr->swap_add, wr->swap_add_mask);
	if ((old ^ wr->compare) & wr->compare_mask)
		return old;
	return (old & ~wr->swap_add_mask) | (wr->swap_add & wr->swap_add_mask);
}

/*
 * The processor's own instructions on the guests' own memory: atomic against the guests' CPUs,
 * and against other workers.
 */
uint64_t up_atomic_apply(uint64_t *target, const struct up_send_wr *wr)
{
	uint64_t old;

	switch (wr->op) {
	case UP_OP_FETCH_ADD:
		return __atomic_fetch_add(target, wr->swap_add, __ATOMIC_SEQ_CST);
	case UP_OP_CMP_SWAP:
		old = wr->compare;
		__atomic_compare_exchange_n(target, &old, wr->swap_add, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
		return old;
	default:
		old = __atomic_load_n(target, __ATOMIC_RELAXED);
		while (!__atomic_compare_exchange_n(target, &old, masked_result(old, wr), false,
						    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
		return old;
	}
}
