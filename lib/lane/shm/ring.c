/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The producer's side of a ring (segment.h has its layout). On the fast path a packet is written to
 * its lines, published by one store, and one word is read that seldom changes: no locked
 * instruction, no fence, no line of control words that moves.
 */
#include "base/log.h"
#include "lane/shm/shm.h"
#include "lane/shm/sync.h"

#include <errno.h>

static uint64_t *line_word(const struct shm_tx *tx, uint32_t at)
{
	return (uint64_t *)(tx->lines + (size_t)at * SHM_LINE);
}

static void store_word(const struct shm_tx *tx, uint32_t at, uint64_t low)
{
	__atomic_store_n(line_word(tx, at), tx->seq << 16 | low, __ATOMIC_RELEASE);
}

static bool test_dirty(const struct shm_tx *tx, uint32_t at)
{
	return tx->dirty[at / 64] >> (at % 64) & 1;
}

static __attribute__((noinline)) void set_dirty(struct shm_tx *tx, uint32_t first, uint32_t end)
{
	for (uint32_t i = first; i < end; i++)
		tx->dirty[i / 64] |= 1ull << (i % 64);
}

void up_shm_tx_init(struct shm_link *l)
{
	struct shm_tx *tx = &l->tx;

	/* Not from 0: the words of a new ring are 0. */
	tx->seq = tx->consumed = SHM_RING_LINES;
	tx->at = 0;
	l->base.fence = !shm_lane_of(l)->membarrier || !l->peer.header->membarrier;
	l->base.turn = &l->peer.slot->turn;
	tx->lines = l->peer.slot->lines[0];
}

/* Reads how far the consumer is. False: that is nonsense. */
static bool refresh(struct shm_link *l)
{
	struct shm_tx *tx = &l->tx;
	uint64_t now = __atomic_load_n(&l->peer.slot->consumed, __ATOMIC_ACQUIRE);

	if (now - tx->consumed > tx->seq - tx->consumed) {
		up_log(LOG_ERR, NULL, "shm: process %d has broken its ring's position",
		       l->peer.addr.pid);
		up_shm_link_end(l, -EPROTO);
		return false;
	}
	tx->consumed = now;
	return true;
}

static void clear_starved(struct shm_link *l)
{
	if (l->tx.starved)
		shm_lane_of(l)->nstarved--;
	l->tx.starved = false;
}

static __attribute__((noinline)) void *reserve_slow(struct shm_link *l, uint32_t need,
						    uint32_t keep)
{
	struct shm_lane *lane = shm_lane_of(l);
	struct shm_tx *tx = &l->tx;

	if (SHM_LIKELY(tx->lines && refresh(l))) {
		if (tx->seq - tx->consumed + need + keep <= SHM_RING_LINES) {
			clear_starved(l);
			return tx->lines;
		}
		lane->nstarved += !tx->starved;
		tx->starved = true;
		return NULL;
	}
	/* An answer to nobody needs a place all the same. */
	return keep == SHM_KEEP_ANSWER ? lane->scratch : NULL;
}

void *up_shm_reserve(struct up_link *base, size_t bytes, enum up_lane_class class)
{
	struct shm_link *l = (struct shm_link *)base;
	struct shm_tx *tx = &l->tx;
	uint32_t keep = class == UP_LANE_REQUEST ? SHM_KEEP_REQUEST : SHM_KEEP_ANSWER;
	uint32_t lines = shm_lines(bytes);
	uint32_t left = SHM_RING_LINES - tx->at;
	uint32_t skip = lines > left ? left : 0;

	assert(bytes <= SHM_MAX_PACKET);
	if (SHM_UNLIKELY(!tx->lines ||
			 tx->seq - tx->consumed + lines + skip + keep > SHM_RING_LINES)) {
		uint8_t *at = reserve_slow(l, lines + skip, keep);

		if (!at || at != tx->lines)
			return at ? at + SHM_WORD_BYTES : NULL;
	}
	if (SHM_UNLIKELY(skip)) {
		store_word(tx, tx->at, SHM_MARK_WRAP);
		tx->seq += skip;
		tx->at = 0;
	}
	if (lines > 1)
		set_dirty(tx, tx->at + 1, tx->at + lines);
	return tx->lines + (size_t)tx->at * SHM_LINE + SHM_WORD_BYTES;
}

/* Lets the consumer know, unless it is looking anyway; wake.c has the proof. */
static inline void tell(struct shm_link *l)
{
	if (SHM_UNLIKELY(l->base.fence))
		shm_fence();
	else
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (SHM_UNLIKELY(__atomic_load_n(&l->peer.slot->watch, __ATOMIC_RELAXED) != SHM_HOT))
		up_shm_ring_bell(l);
}

static inline void publish(struct shm_link *l, uint32_t lines, uint64_t low)
{
	struct shm_tx *tx = &l->tx;
	uint32_t next = tx->at + lines;

	if (next == SHM_RING_LINES)
		next = 0;
	if (SHM_UNLIKELY(test_dirty(tx, next))) {
		__atomic_store_n(line_word(tx, next), 0, __ATOMIC_RELAXED);
		tx->dirty[next / 64] &= ~(1ull << (next % 64));
	}
	store_word(tx, tx->at, low);
	tx->seq += lines;
	tx->at = next;
	tell(l);
}

void up_shm_commit(struct up_link *base, void *packet, size_t bytes)
{
	struct shm_link *l = (struct shm_link *)base;

	if (SHM_UNLIKELY(!l->tx.lines || packet == shm_lane_of(l)->scratch + SHM_WORD_BYTES))
		return;
	publish(l, shm_lines(bytes), bytes);
}

void up_shm_tx_end(struct shm_link *l)
{
	clear_starved(l);
	if (!l->tx.lines)
		return;
	/* This line is always free (SHM_KEEP_ANSWER). */
	if (shm_is_ours(shm_lane_of(l)))
		publish(l, 1, SHM_MARK_END);
	l->tx.lines = NULL;
	l->base.turn = NULL;
}

bool up_shm_tx_moved(struct shm_link *l)
{
	uint64_t before = l->tx.consumed;

	if (!refresh(l) || l->tx.consumed == before)
		return false;
	clear_starved(l);
	return true;
}

bool up_shm_taken(struct up_link *base)
{
	struct shm_link *l = (struct shm_link *)base;

	return l->tx.lines && refresh(l) && l->tx.consumed == l->tx.seq;
}
