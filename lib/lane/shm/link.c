/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of links. Each end claims a slot in the other's segment: the one that makes contact does
 * so in connect(), the other when it notices the claim, and says in its own which link it answers.
 * When both make contact at once, each takes the other's claim for the answer.
 *
 * The end. Whoever stops to send writes a mark into its ring, behind all packets; whoever reads it
 * marks its own ring's end and frees the slot that the first one used. So a slot is free only when
 * its producer has said that it will not write there again, or does not exist any more.
 */
#include "base/log.h"
#include "lane/shm/shm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

static struct shm_link *link_new(struct shm_lane *lane)
{
	struct shm_link *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->base.lane = &lane->base;
	l->id = ++lane->next_id;
	l->peer.pidfd = l->peer.pipe = -1;
	up_list_init(&l->maps);
	up_list_add_tail(&lane->links, &l->node);
	return l;
}

static void unwatch(struct shm_link *l)
{
	int epoll = shm_lane_of(l)->epoll;

	if (!shm_is_ours(shm_lane_of(l)))
		return;
	/* Closing is not enough: a forked child may have the descriptors. */
	if (l->peer.pidfd >= 0)
		epoll_ctl(epoll, EPOLL_CTL_DEL, l->peer.pidfd, NULL);
	if (l->peer.pipe >= 0)
		epoll_ctl(epoll, EPOLL_CTL_DEL, l->peer.pipe, NULL);
}

void up_shm_link_free(struct shm_link *l)
{
	up_shm_maps_fini(l);
	unwatch(l);
	up_shm_peer_close(&l->peer);
	up_list_del(&l->node);
	free(l);
}

static int watch(struct shm_link *l)
{
	int epoll = shm_lane_of(l)->epoll;
	struct epoll_event death = {.events = EPOLLIN, .data.ptr = l};
	struct epoll_event no_reader = {.events = 0, .data.ptr = l};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, l->peer.pidfd, &death) < 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, l->peer.pipe, &no_reader) < 0)
		return -ENOMEM;
	return 0;
}

/* Makes the way to the peer. 0; -ESRCH: there is none any more; -EHOSTUNREACH, -ENOMEM. */
static int reach(struct shm_link *l, const struct shm_addr *a, uint64_t reply_to)
{
	struct shm_lane *lane = shm_lane_of(l);
	struct shm_contact c = {.from = lane->addr, .link = l->id, .reply_to = reply_to};
	int err = up_shm_peer_open(&l->peer, a);

	if (err)
		return err;
	c.addr_bytes = (uint32_t)up_ep_address(lane->base.ep, c.addr);
	err = watch(l);
	if (!err)
		err = up_shm_claim(&l->peer, &c);
	if (err) {
		unwatch(l);
		up_shm_peer_close(&l->peer);
		return err;
	}
	up_shm_tx_init(l);
	up_shm_ring_bell(l);
	return 0;
}

static bool is_peer(const struct shm_link *l, const struct shm_addr *a)
{
	return l->peer.addr.cookie == a->cookie;
}

static struct shm_link *find_up(struct shm_lane *lane, const struct shm_addr *a)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->links) {
		struct shm_link *l = shm_link_of(pos);

		if (l->state == SHM_LINK_UP && is_peer(l, a))
			return l;
	}
	return NULL;
}

/* The link that waits for this claim: by number, or for the first contact, when both made it. */
static struct shm_link *find_waiting(struct shm_lane *lane, const struct shm_contact *c)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->links) {
		struct shm_link *l = shm_link_of(pos);

		if (l->rx.state != SHM_RX_NONE || !is_peer(l, &c->from))
			continue;
		if (c->reply_to ? c->reply_to == l->id
				: l->state == SHM_LINK_UP || l->state == SHM_LINK_DROPPED)
			return l;
	}
	return NULL;
}

int up_shm_connect(struct up_lane *base, const void *addr, size_t len, struct up_link **link)
{
	struct shm_lane *lane = (struct shm_lane *)base;
	struct shm_addr a;
	struct shm_link *l;
	int err;

	if (len < SHM_ADDR_BYTES)
		return -EINVAL;
	memcpy(&a, addr, offsetof(struct shm_addr, slots));
	a.slots = ((const uint8_t *)addr)[SHM_ADDR_BYTES - 1] * 64u;
	err = up_shm_addr_check(lane, &a);
	if (err)
		return err;
	l = find_up(lane, &a);
	if (!l) {
		l = link_new(lane);
		if (!l)
			return -ENOMEM;
		err = reach(l, &a, 0);
		if (err == -ESRCH) {
			l->gone = true;
			up_shm_link_end(l, -EHOSTDOWN);
		} else if (err) {
			up_shm_link_free(l);
			return err;
		}
	}
	*link = &l->base;
	return 0;
}

static struct shm_rx rx_new(const struct shm_lane *lane, uint32_t index)
{
	return (struct shm_rx){
		.slot = &lane->slots[index],
		.seq = SHM_RING_LINES,
		.published = SHM_RING_LINES,
		.index = index,
		.state = SHM_RX_OPEN,
	};
}

static void bind(struct shm_lane *lane, struct shm_link *l, uint32_t index)
{
	l->rx = rx_new(lane, index);
	lane->by_slot[index] = l;
}

static void refuse(struct shm_lane *lane, uint32_t index, int pid)
{
	up_log(LOG_ERR, NULL, "shm: a contact from process %d is refused", pid);
	__atomic_store_n(&lane->slots[index].watch, SHM_REFUSED, __ATOMIC_RELEASE);
}

/* Who was refused has seen it, and marked the end of its ring? */
static void free_refused(struct shm_lane *lane, uint32_t index)
{
	const struct shm_rx rx = rx_new(lane, index);

	if (up_shm_rx_has_end(&rx))
		up_shm_slot_free(lane, index);
}

static struct shm_link *accept_new(struct shm_lane *lane, uint32_t index,
				   const struct shm_contact *c)
{
	struct shm_link *l = link_new(lane);
	int err = l ? reach(l, &c->from, c->link) : -ENOMEM;

	if (err && err != -ESRCH) {
		if (l)
			up_shm_link_free(l);
		refuse(lane, index, c->from.pid);
		return NULL;
	}
	if (err) {
		/* What it sent before it went is still delivered. */
		l->gone = true;
		lane->trouble = true;
	}
	bind(lane, l, index);
	if (up_core_linked(lane->base.ep, &l->base, c->addr, c->addr_bytes) < 0)
		up_shm_disconnect(&l->base);
	return l;
}

struct shm_link *up_shm_accept(struct shm_lane *lane, uint32_t index)
{
	uint64_t claim = __atomic_load_n(&lane->claims[index], __ATOMIC_ACQUIRE);
	struct shm_contact c;
	struct shm_link *l;

	if (!(claim & SHM_CLAIM_OPEN))
		return NULL;
	if (lane->slots[index].watch == SHM_REFUSED) {
		free_refused(lane, index);
		return NULL;
	}
	memcpy(&c, &lane->slots[index].contact, sizeof(c));
	if (c.addr_bytes > sizeof(c.addr) || !c.link || up_shm_addr_check(lane, &c.from)) {
		refuse(lane, index, (int)(uint32_t)claim);
		return NULL;
	}
	l = find_waiting(lane, &c);
	if (l) {
		bind(lane, l, index);
		return l;
	}
	if (c.reply_to) {
		refuse(lane, index, c.from.pid);
		return NULL;
	}
	if (find_up(lane, &c.from)) {
		/* Its earlier link has ended, but what is in that ring comes first. */
		shm_set_ready(lane->header, index);
		return NULL;
	}
	return accept_new(lane, index, &c);
}

static void cool(struct shm_link *l)
{
	struct shm_lane *lane = shm_lane_of(l);

	if (!l->rx.hot)
		return;
	l->rx.hot = false;
	for (uint32_t i = 0; i < lane->nhot; i++) {
		if (lane->hot[i] == l) {
			lane->hot[i] = lane->hot[--lane->nhot];
			return;
		}
	}
}

void up_shm_rx_end(struct shm_link *l)
{
	struct shm_lane *lane = shm_lane_of(l);

	cool(l);
	lane->by_slot[l->rx.index] = NULL;
	l->rx.state = SHM_RX_ENDED;
	l->rx.slot = NULL;
	up_shm_slot_free(lane, l->rx.index);
	lane->trouble = true;
}

void up_shm_link_end(struct shm_link *l, int error)
{
	up_shm_tx_end(l);
	shm_lane_of(l)->trouble = true;
	if (error == -EPROTO && l->rx.state == SHM_RX_OPEN) {
		cool(l);
		l->rx.state = SHM_RX_BROKEN;
	}
	if (l->state != SHM_LINK_UP)
		return;
	l->state = SHM_LINK_ENDING;
	l->error = error;
}

void up_shm_link_gone(struct shm_link *l)
{
	if (l->gone)
		return;
	l->gone = true;
	unwatch(l);
	/* Its memory is still mapped; nobody reads it. */
	up_shm_tx_end(l);
	shm_lane_of(l)->trouble = true;
}

void up_shm_disconnect(struct up_link *base)
{
	struct shm_link *l = (struct shm_link *)base;

	up_shm_tx_end(l);
	up_shm_maps_fini(l);
	l->base.peer = NULL;
	l->state = SHM_LINK_DROPPED;
	shm_lane_of(l)->trouble = true;
}
