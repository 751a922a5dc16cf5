/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The consumer's side: which rings a poll looks at, and how packets are taken from one.
 *
 * A ring that had packets lately is hot: every poll reads the line where the next packet will
 * begin, which costs nothing but a load while nothing comes. The others are cold, and their
 * producers set a bit. Both are seldom changed into the other: a ring becomes hot by its bit, and
 * cold by a sweep that finds nothing came for a while, or by arm().
 */
#include "base/clock.h"
#include "base/log.h"
#include "lane/shm/shm.h"
#include "lane/shm/sync.h"

#include <errno.h>
#include <sys/epoll.h>

#define BATCH 64u	       /* packets of one ring in one poll */
#define CLOCK_POLLS 128u       /* between two looks at the clock */
#define WATCH_PERIOD 10000000u /* nanoseconds between two looks at the descriptors */
#define WATCH_EVENTS 16

static inline uint64_t *next_word(const struct shm_rx *rx)
{
	return (uint64_t *)rx->slot->lines[rx->at];
}

/* The low bits of a word that is the next packet's; else a number beyond them. */
static inline uint64_t match(uint64_t word, const struct shm_rx *rx)
{
	return word - (rx->seq << 16);
}

bool up_shm_rx_pending(const struct shm_rx *rx)
{
	return match(__atomic_load_n(next_word(rx), __ATOMIC_ACQUIRE), rx) <= UINT16_MAX;
}

static void publish(struct shm_link *l)
{
	struct shm_slot *slot = l->rx.slot;

	l->rx.published = l->rx.seq;
	__atomic_store_n(&slot->consumed, l->rx.seq, __ATOMIC_RELEASE);
	/* Against a producer that is about to sleep: wake.c. */
	if (SHM_UNLIKELY(l->base.fence))
		shm_fence();
	else
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (SHM_UNLIKELY(__atomic_load_n(&slot->want_room, __ATOMIC_ACQUIRE))) {
		__atomic_store_n(&slot->want_room, 0, __ATOMIC_RELAXED);
		up_shm_wake_peer(l);
	}
}

static __attribute__((noinline)) void broken(struct shm_link *l, const char *what)
{
	up_log(LOG_ERR, NULL, "shm: the ring of process %d has %s", l->peer.addr.pid, what);
	up_shm_link_end(l, -EPROTO);
}

/* False: nothing more comes from the ring. */
static __attribute__((noinline)) bool take_mark(struct shm_link *l, uint64_t mark)
{
	struct shm_rx *rx = &l->rx;

	if (mark == SHM_MARK_WRAP && rx->at) {
		rx->seq += SHM_RING_LINES - rx->at;
		rx->at = 0;
		return true;
	}
	if (mark == SHM_MARK_END) {
		up_shm_rx_end(l);
		up_shm_link_end(l, -EHOSTDOWN);
	} else {
		broken(l, "a packet of a wrong length");
	}
	return false;
}

static inline void advance(struct shm_link *l, uint32_t lines)
{
	struct shm_rx *rx = &l->rx;

	rx->seq += lines;
	rx->at += lines;
	if (rx->at == SHM_RING_LINES)
		rx->at = 0;
	if (SHM_UNLIKELY(rx->seq - rx->published >= SHM_PUBLISH_LINES))
		publish(l);
}

/* Takes the packets of one ring; how many. The word is read once, the core copies the rest. */
static unsigned receive(struct shm_link *l)
{
	struct shm_rx *rx = &l->rx;
	unsigned n = 0;

	while (n < BATCH) {
		uint64_t *line = next_word(rx);
		uint64_t word = __atomic_load_n(line, __ATOMIC_ACQUIRE);
		uint64_t bytes = match(word, rx);
		uint32_t lines;

		if (bytes > SHM_MAX_PACKET) {
			if (bytes <= UINT16_MAX) {
				if (!take_mark(l, bytes))
					return n + 1;
				continue;
			}
			if (SHM_UNLIKELY(word && (int64_t)bytes > 0)) {
				broken(l, "a word of a later lap");
				return n;
			}
			break;
		}
		lines = shm_lines(bytes);
		if (SHM_UNLIKELY(lines > SHM_RING_LINES - rx->at)) {
			broken(l, "a packet across its end");
			return n;
		}
		if (SHM_LIKELY(l->state == SHM_LINK_UP) &&
		    !up_core_packet(&l->base, line + 1, bytes))
			break;
		/* The core may have used the link, and found it broken. */
		if (SHM_UNLIKELY(rx->state != SHM_RX_OPEN))
			return n + 1;
		advance(l, lines);
		n++;
	}
	if (rx->seq != rx->published)
		publish(l);
	rx->active |= n > 0;
	return n;
}

void up_shm_heat(struct shm_lane *lane, struct shm_link *l)
{
	if (l->rx.hot || l->rx.state != SHM_RX_OPEN)
		return;
	l->rx.hot = l->rx.active = true;
	lane->hot[lane->nhot++] = l;
	__atomic_store_n(&l->rx.slot->watch, SHM_HOT, __ATOMIC_RELAXED);
	if (lane->armed)
		up_shm_wake_self(lane);
}

static __attribute__((noinline)) unsigned take_ready(struct shm_lane *lane)
{
	uint64_t words = __atomic_exchange_n(&lane->header->summary, 0, __ATOMIC_SEQ_CST);
	unsigned done = 0;

	/* The header is the peers' to write, so how many there are is taken from our own copy. */
	words &= lane->addr.slots / 64 < 64 ? (1ull << lane->addr.slots / 64) - 1 : UINT64_MAX;
	for (; words; words &= words - 1) {
		uint32_t w = (uint32_t)__builtin_ctzll(words);
		uint64_t bits = __atomic_exchange_n(&lane->header->ready[w], 0, __ATOMIC_SEQ_CST);

		for (; bits; bits &= bits - 1) {
			uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(bits);
			struct shm_link *l = lane->by_slot[index];

			if (!l) {
				l = up_shm_accept(lane, index);
				done += l != NULL;
			}
			if (!l || l->rx.state != SHM_RX_OPEN)
				continue;
			up_shm_heat(lane, l);
			done += receive(l);
		}
	}
	return done;
}

/* Makes those rings cold where nothing came since the last time; wake.c says why this is safe. */
static __attribute__((noinline)) void sweep(struct shm_lane *lane)
{
	uint32_t kept = 0, n;

	if (lane->nhot < 2)
		return;
	for (uint32_t i = 0; i < lane->nhot; i++) {
		struct shm_link *l = lane->hot[i];

		if (!l->rx.active) {
			__atomic_store_n(&l->rx.slot->watch, SHM_COLD, __ATOMIC_RELAXED);
			continue;
		}
		l->rx.active = false;
		lane->hot[i] = lane->hot[kept];
		lane->hot[kept++] = l;
	}
	if (kept == lane->nhot)
		return;
	up_shm_barrier(lane);
	n = kept;
	for (uint32_t i = kept; i < lane->nhot; i++) {
		struct shm_link *l = lane->hot[i];

		l->rx.hot = up_shm_rx_pending(&l->rx);
		if (l->rx.hot) {
			__atomic_store_n(&l->rx.slot->watch, SHM_HOT, __ATOMIC_RELAXED);
			lane->hot[n++] = l;
		}
	}
	lane->nhot = n;
}

/* Which peers are gone? One that refuses this end will never answer. */
static __attribute__((noinline)) void watch(struct shm_lane *lane)
{
	struct epoll_event events[WATCH_EVENTS];
	struct up_list *pos, *tmp;
	int n = epoll_wait(lane->epoll, events, WATCH_EVENTS, 0);

	lane->look = false;
	lane->watched = up_clock_coarse_ns();
	for (int i = 0; i < n; i++)
		if (events[i].data.ptr)
			up_shm_link_gone(events[i].data.ptr);
	up_list_each (pos, tmp, &lane->links) {
		struct shm_link *l = shm_link_of(pos);

		if (l->rx.state == SHM_RX_NONE && l->tx.lines &&
		    __atomic_load_n(&l->peer.slot->watch, __ATOMIC_RELAXED) == SHM_REFUSED)
			up_shm_link_gone(l);
	}
}

bool up_shm_rx_has_end(const struct shm_rx *from)
{
	struct shm_rx rx = *from;

	while (rx.seq - from->seq < SHM_RING_LINES) {
		uint64_t bytes = match(__atomic_load_n(next_word(&rx), __ATOMIC_ACQUIRE), &rx);
		uint32_t lines = SHM_RING_LINES - rx.at;

		if (bytes == SHM_MARK_END)
			return true;
		if (bytes <= SHM_MAX_PACKET)
			lines = shm_lines(bytes);
		else if (bytes != SHM_MARK_WRAP)
			return false;
		if (lines > SHM_RING_LINES - rx.at)
			return false;
		rx.seq += lines;
		rx.at = (rx.at + lines) % SHM_RING_LINES;
	}
	return false;
}

/*
 * The peer is gone: what it left in its ring is delivered. When the core cannot take it all now, a
 * peer that ended its ring in order is waited for; one that was killed has operations that shall
 * end in bounded time. More than a ring holds was not left there: somebody goes on to write.
 */
static unsigned finish(struct shm_lane *lane, struct shm_link *l)
{
	unsigned n = 0, got = 0;

	while (n < SHM_RING_LINES && l->rx.state == SHM_RX_OPEN && (got = receive(l)) != 0)
		n += got;
	if (l->rx.state == SHM_RX_OPEN && l->state == SHM_LINK_UP && up_shm_rx_has_end(&l->rx))
		lane->trouble = true;
	else if (l->rx.state == SHM_RX_OPEN || l->rx.state == SHM_RX_BROKEN)
		up_shm_rx_end(l);
	if (l->rx.state != SHM_RX_OPEN)
		up_shm_link_end(l, -EHOSTDOWN);
	return n;
}

/* Tells the core of ends, and frees what nobody needs. Nothing else frees links. */
static __attribute__((noinline)) unsigned settle(struct shm_lane *lane)
{
	struct up_list *pos, *tmp;
	unsigned done = 0;

	lane->trouble = false;
	up_list_each (pos, tmp, &lane->links) {
		struct shm_link *l = shm_link_of(pos);

		if (l->gone && (l->state == SHM_LINK_UP || l->rx.state == SHM_RX_OPEN ||
				l->rx.state == SHM_RX_BROKEN))
			done += finish(lane, l);
		if (l->state == SHM_LINK_ENDING) {
			l->state = SHM_LINK_DOWN;
			up_core_link_down(&l->base, l->error);
			done++;
		}
		if (l->state == SHM_LINK_DROPPED &&
		    (l->rx.state == SHM_RX_ENDED || (l->gone && l->rx.state != SHM_RX_OPEN)))
			up_shm_link_free(l);
	}
	return done;
}

static __attribute__((noinline)) unsigned poll_all(struct shm_lane *lane)
{
	unsigned done = 0;

	/* A call back may not poll: it would be given the packet that is being handled. */
	if (lane->polling)
		return 0;
	lane->polling = true;
	for (uint32_t i = 0; i < lane->nhot; i++)
		done += receive(lane->hot[i]);
	if (SHM_UNLIKELY(__atomic_load_n(&lane->header->summary, __ATOMIC_RELAXED)))
		done += take_ready(lane);
	if (SHM_UNLIKELY(lane->polls % SHM_SWEEP_POLLS == 0))
		sweep(lane);
	if (SHM_UNLIKELY(lane->look || (lane->polls % CLOCK_POLLS == 0 &&
					up_clock_coarse_ns() - lane->watched >= WATCH_PERIOD))) {
		watch(lane);
		/* A peer that is gone may have sent something first. */
		if (lane->trouble)
			done += take_ready(lane);
	}
	if (SHM_UNLIKELY(lane->trouble))
		done += settle(lane);
	lane->polling = false;
	return done;
}

/* May poll_all() find anything? */
static inline bool anything(const struct shm_lane *lane)
{
	for (uint32_t i = 0; i < lane->nhot; i++) {
		const struct shm_rx *rx = &lane->hot[i]->rx;

		/* Words of earlier laps are smaller, and so is 0. */
		if ((int64_t)match(__atomic_load_n(next_word(rx), __ATOMIC_RELAXED), rx) >= 0)
			return true;
	}
	return __atomic_load_n(&lane->header->summary, __ATOMIC_RELAXED) || lane->trouble ||
	       lane->look || lane->polls % CLOCK_POLLS == 0;
}

/* Whoever polls comes by here all the time, mostly for nothing. */
unsigned up_shm_poll(struct up_lane *base)
{
	struct shm_lane *lane = (struct shm_lane *)base;

	lane->polls++;
	return anything(lane) ? poll_all(lane) : 0;
}
