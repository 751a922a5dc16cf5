/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleeping and waking up without a fence where packets are sent.
 *
 * Two sides talk through pairs of words of which each writes one and then reads the other:
 *
 *   producer: stores a packet's word, then reads `watch`
 *   consumer: stores watch = SHM_COLD, then reads the next packet's word
 *
 * Neither may miss the other: either the producer sees COLD and rings the bell, or the consumer
 * sees the packet. Usually that takes a full fence on both sides. Here the consumer, who does this
 * seldom, calls up_shm_barrier() in between: membarrier(2) runs a full fence on every processor
 * that runs a thread of a registered process. For the producer it falls somewhere into its program.
 * When it falls before the read of `watch`, that read sees COLD. When it falls after, the packet's
 * word was stored before, and the consumer, reading after the barrier, sees it. A producer that is
 * not running has passed a fence in the scheduler. The compiler is held by a signal fence. Where
 * one of the two processes cannot take part, the producer has a fence of its own (up_link.fence).
 *
 * The same for the room in a ring, with the parts exchanged: the consumer stores `consumed` and
 * then reads `want_room`; the producer, before it sleeps, stores want_room, calls the barrier, and
 * reads `consumed`.
 *
 * The bell. The producer sets its ready bit, then the bit's word in the summary, then looks whether
 * the owner sleeps, all of it sequentially consistent. The owner, before it sleeps, makes the
 * epoch odd, and then looks at the summary. In the order of these accesses either the summary's
 * bit comes before the look at it, or the odd epoch before the look at that. A producer that finds
 * its ready bit set already did all this before, and does nothing: the owner, when it clears the
 * bit, makes the ring hot, and when it makes it cold again the first paragraph holds.
 *
 * Whoever wakes an owner writes to the pipe first and changes the epoch then, so that a process
 * that is killed in between has not swallowed a wake-up of others; and changes it only from the
 * epoch that it saw, so that it does not take away a later sleep's.
 */
#include "lane/shm/shm.h"
#include "lane/shm/sync.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

bool up_shm_membarrier_init(void)
{
	int all = MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;
	long has = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	if (has < 0 || (has & all) != all)
		return false;
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

void up_shm_barrier(const struct shm_lane *lane)
{
	/* Without it, all producers have fences of their own, and so has this side. */
	shm_fence();
	if (lane->membarrier)
		syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

/*
 * A byte into a pipe whose readers may be gone, without SIGPIPE for the application: the signal
 * comes to this thread, which takes it before anybody sees it. A full pipe is readable: nothing to
 * do.
 */
static void write_quietly(int pipe)
{
	const struct timespec now = {0};
	sigset_t set, old, before;
	int keep = errno;

	sigemptyset(&before);
	sigpending(&before);
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	if (write(pipe, "", 1) < 0 && errno == EPIPE && !sigismember(&before, SIGPIPE))
		sigtimedwait(&set, NULL, &now);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = keep;
}

static void wake(struct shm_header *h, int pipe)
{
	uint64_t seen = __atomic_load_n(&h->epoch, __ATOMIC_SEQ_CST);

	if (!(seen & 1))
		return;
	write_quietly(pipe);
	__atomic_compare_exchange_n(&h->epoch, &seen, seen + 1, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
}

void up_shm_wake_peer(struct shm_link *l)
{
	if (l->peer.header)
		wake(l->peer.header, l->peer.pipe);
}

void up_shm_wake_self(struct shm_lane *lane)
{
	wake(lane->header, lane->pipe[1]);
	lane->armed = false;
}

void up_shm_ring_bell(struct shm_link *l)
{
	struct shm_header *h = l->peer.header;
	uint32_t index = l->peer.index;

	if (__atomic_load_n(&h->ready[index / 64], __ATOMIC_RELAXED) >> (index % 64) & 1)
		return;
	shm_set_ready(h, index);
	up_shm_wake_peer(l);
}

static bool pending(const struct shm_lane *lane)
{
	if (lane->trouble || __atomic_load_n(&lane->header->summary, __ATOMIC_SEQ_CST))
		return true;
	for (uint32_t i = 0; i < lane->nhot; i++)
		if (up_shm_rx_pending(&lane->hot[i]->rx))
			return true;
	return false;
}

static void set_watch(const struct shm_lane *lane, uint32_t watch)
{
	for (uint32_t i = 0; i < lane->nhot; i++)
		__atomic_store_n(&lane->hot[i]->rx.slot->watch, watch, __ATOMIC_RELAXED);
}

/* Asks for a wake-up from every peer whose ring was too full for a packet. */
static void want_room(struct shm_lane *lane)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->links) {
		struct shm_link *l = shm_link_of(pos);

		if (l->tx.starved)
			__atomic_store_n(&l->peer.slot->want_room, 1, __ATOMIC_RELEASE);
	}
}

static bool room_came(struct shm_lane *lane)
{
	struct up_list *pos, *tmp;
	bool any = false;

	up_list_each (pos, tmp, &lane->links) {
		struct shm_link *l = shm_link_of(pos);

		if (l->tx.starved && up_shm_tx_moved(l))
			any = true;
	}
	return any || lane->trouble;
}

/* Takes what is in the pipe; was there anything? */
static bool drain_pipe(const struct shm_lane *lane)
{
	char buf[64];
	bool any = false;
	ssize_t n;

	while ((n = read(lane->pipe[0], buf, sizeof(buf))) > 0) {
		any = true;
		if ((size_t)n < sizeof(buf))
			break;
	}
	return any;
}

/*
 * Several threads may sleep on the descriptor, and others poll meanwhile. While `armed` is set, the
 * epoch is odd and all rings are cold, or a byte is in the pipe, or about to be: poll() that makes
 * a ring hot writes one, and so does a second arm() that took one away and then found something.
 */
bool up_shm_arm(struct up_lane *base)
{
	struct shm_lane *lane = (struct shm_lane *)base;
	bool sleepers = lane->armed;
	uint64_t epoch;

	if (pending(lane))
		return false;
	sleepers |= drain_pipe(lane);
	epoch = __atomic_load_n(&lane->header->epoch, __ATOMIC_RELAXED);
	__atomic_store_n(&lane->header->epoch, (epoch + 2) | 1, __ATOMIC_SEQ_CST);
	set_watch(lane, SHM_COLD);
	if (lane->nstarved)
		want_room(lane);
	up_shm_barrier(lane);
	if (pending(lane) || (lane->nstarved && room_came(lane))) {
		set_watch(lane, SHM_HOT);
		if (sleepers)
			up_shm_wake_self(lane);
		else
			__atomic_store_n(&lane->header->epoch, (epoch + 5) & ~1ull,
					 __ATOMIC_SEQ_CST);
		return false;
	}
	for (uint32_t i = 0; i < lane->nhot; i++)
		lane->hot[i]->rx.hot = false;
	lane->nhot = 0;
	lane->armed = lane->look = true;
	return true;
}
