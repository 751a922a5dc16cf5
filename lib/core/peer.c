/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Peers: found by their address, named by a handle that is an index into a table and never used
 * again. Their ends are put off, see core/private.h.
 */
#include "core/private.h"
#include "base/log.h"

#include <stdlib.h>

#define FIRST_SLOTS 64u
#define FIRST_BUCKETS 64u

static struct up_peer_private **bucket(struct up_ep_private *core, uint32_t hash)
{
	return &core->buckets[hash & (core->nbuckets - 1)];
}

int up_peers_init(struct up_ep_private *core)
{
	up_list_init(&core->ended);
	up_list_init(&core->dead);
	core->pub.peers = calloc(FIRST_SLOTS, sizeof(*core->pub.peers));
	core->buckets = calloc(FIRST_BUCKETS, sizeof(*core->buckets));
	core->peer_slots = FIRST_SLOTS;
	core->nbuckets = FIRST_BUCKETS;
	/* Handle 0 is nobody, so that zeroed memory names nobody. */
	core->pub.npeers = 1;
	return core->pub.peers && core->buckets ? 0 : -ENOMEM;
}

/* ---- by address ---- */

static struct up_peer_private *find(struct up_ep_private *core, const uint8_t *addr, size_t len)
{
	uint32_t hash = up_addr_hash(addr);
	struct up_peer_private *p = *bucket(core, hash);

	while (p &&
	       (p->hash != hash || p->pub.addr_bytes != len || memcmp(p->pub.addr, addr, len) != 0))
		p = p->next;
	return p;
}

static void more_buckets(struct up_ep_private *core)
{
	struct up_peer_private **old = core->buckets, *p;
	struct up_peer_private **more = calloc(core->nbuckets * 2, sizeof(*more));
	uint32_t n = core->nbuckets;

	/* Long chains are no error. */
	if (!more)
		return;
	core->buckets = more;
	core->nbuckets *= 2;
	for (uint32_t i = 0; i < n; i++) {
		while ((p = old[i])) {
			old[i] = p->next;
			p->next = *bucket(core, p->hash);
			*bucket(core, p->hash) = p;
		}
	}
	free(old);
}

static void hash_in(struct up_ep_private *core, struct up_peer_private *p)
{
	if (core->nhashed++ == core->nbuckets)
		more_buckets(core);
	p->next = *bucket(core, p->hash);
	*bucket(core, p->hash) = p;
	p->hashed = true;
}

static void hash_out(struct up_ep_private *core, struct up_peer_private *p)
{
	struct up_peer_private **at = bucket(core, p->hash);

	if (!p->hashed)
		return;
	p->hashed = false;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	core->nhashed--;
}

/* ---- making ---- */

static void undead(struct up_ep_private *core, struct up_peer_private *p)
{
	if (!p->dead.next)
		return;
	up_list_unlink(&p->dead);
	p->dead.next = NULL;
	core->ndead--;
}

static int more_handles(struct up_ep_private *core)
{
	uint64_t n = core->peer_slots * 2;
	struct up_peer_state **peers;

	if (core->pub.npeers < core->peer_slots)
		return 0;
	peers = realloc(core->pub.peers, n * sizeof(*peers));
	if (!peers)
		return -ENOMEM;
	core->pub.peers = peers;
	core->peer_slots = n;
	return 0;
}

/* An address that was checked. NULL: no memory. */
static struct up_peer_private *make(struct up_ep_private *core, const uint8_t *addr, size_t len,
				    struct up_link *link)
{
	struct up_peer_private *p;

	if (more_handles(core))
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->pub.ep = &core->pub;
	p->pub.link = link;
	p->pub.answer_room = link->lane->answer_room;
	up_list_init(&p->pub.open);
	up_list_init(&p->pub.parked);
	up_list_init(&p->pub.stuck);
	p->pub.addr_bytes = len;
	memcpy(p->pub.addr, addr, len);
	p->links[0] = link;
	p->nlinks = 1;
	link->peer = &p->pub;
	p->hash = up_addr_hash(addr);
	hash_in(core, p);
	p->pub.id = core->pub.npeers++;
	core->pub.peers[p->pub.id] = &p->pub;
	return p;
}

/* The best lane that leads there. */
static int connect_lane(struct up_ep_private *core, const uint8_t *addr, struct up_link **link)
{
	struct up_addr_part part;

	for (unsigned i = 0; i < core->nlanes; i++) {
		struct up_lane *lane = core->lanes[i];
		int r;

		if (!up_addr_part(addr, lane->ops->name, &part))
			continue;
		r = lane->ops->connect(lane, part.part, part.bytes, link);
		if (r != -EHOSTUNREACH)
			return r;
	}
	return -EHOSTUNREACH;
}

static int add(struct up_ep_private *core, const uint8_t *addr, size_t len, up_peer *peer)
{
	struct up_peer_private *p = find(core, addr, len);
	struct up_link *link;
	int r;

	if (p) {
		p->added = true;
		undead(core, p);
		*peer = p->pub.id;
		return 0;
	}
	r = core->closing ? -ECANCELED : connect_lane(core, addr, &link);
	if (r)
		return r;
	/* Its contact came in meanwhile; or it was removed and its end is still to come. */
	if (link->peer) {
		up_peer_priv(link->peer)->added = true;
		*peer = link->peer->id;
		return up_peer_priv(link->peer)->removed ? -EAGAIN : 0;
	}
	p = make(core, addr, len, link);
	if (!p) {
		link->lane->ops->disconnect(link);
		return -ENOMEM;
	}
	p->added = true;
	*peer = p->pub.id;
	return 0;
}

int up_peer_add(struct up_ep *ep, const void *addr, size_t len, up_peer *peer)
{
	uint8_t copy[UP_ADDR_MAX];
	int r;

	if (!addr || !peer || len > sizeof(copy))
		return -EINVAL;
	memcpy(copy, addr, len);
	r = up_addr_check(copy, len);
	if (r)
		return r;
	up_ep_lock(ep);
	r = add(up_priv(ep), copy, len, peer);
	up_ep_unlock(ep);
	return r;
}

static int linked(struct up_ep_private *core, struct up_link *link, const uint8_t *addr, size_t len)
{
	struct up_peer_private *p = find(core, addr, len);

	/* It left, and comes again: its handle stays what it is, and it gets another. */
	if (p && p->pub.error) {
		hash_out(core, p);
		p = NULL;
	}
	if (!p) {
		if (core->ncame >= core->pub.attr.max_peers || core->closing)
			return -EUSERS;
		p = make(core, addr, len, link);
		if (!p)
			return -ENOMEM;
		p->came = true;
		core->ncame++;
		return 0;
	}
	if (link->peer == &p->pub)
		return 0;
	if (p->nlinks == UP_ARRAY_SIZE(p->links))
		return -EUSERS;
	link->peer = &p->pub;
	p->links[p->nlinks++] = link;
	return 0;
}

int up_core_linked(struct up_ep *ep, struct up_link *link, const void *addr, size_t len)
{
	uint8_t copy[UP_ADDR_MAX];
	int r;

	if (len > sizeof(copy))
		return -EINVAL;
	memcpy(copy, addr, len);
	r = up_addr_check(copy, len);
	return r ? r : linked(up_priv(ep), link, copy, len);
}

/* ---- ends ---- */

static void disconnect(struct up_peer_private *p)
{
	while (p->nlinks) {
		struct up_link *link = p->links[--p->nlinks];

		link->peer = NULL;
		link->lane->ops->disconnect(link);
	}
	p->pub.link = NULL;
}

static void forget(struct up_ep_private *core, struct up_peer_private *p)
{
	p->removed = true;
	undead(core, p);
	hash_out(core, p);
	core->pub.peers[p->pub.id] = NULL;
}

/* It is removed, and nothing leads to it any more. */
static void destroy(struct up_peer_private *p)
{
	up_list_del(&p->pub.stuck);
	free(p);
}

static void tell_protocols(struct up_ep_private *core, struct up_peer_private *p)
{
	if (p->gone)
		return;
	p->gone = true;
	for (unsigned i = 0; i < core->nprotocols; i++) {
		if (core->protocols[i]->peer_gone)
			core->protocols[i]->peer_gone(&core->pub, &p->pub);
	}
}

/* Its handle still tells why it is gone, until there are too many like it. */
static void keep_dead(struct up_ep_private *core, struct up_peer_private *p)
{
	struct up_peer_private *oldest;

	if (p->added || p->dead.next)
		return;
	up_list_add_tail(&core->dead, &p->dead);
	if (++core->ndead <= core->pub.attr.max_peers)
		return;
	oldest = UP_CONTAINER_OF(core->dead.next, struct up_peer_private, dead);
	forget(core, oldest);
	destroy(oldest);
}

/* Its error is set and it is on no list of ends; callbacks may add others there. */
static void settle(struct up_ep_private *core, struct up_peer_private *p)
{
	up_ops_fail(&p->pub);
	tell_protocols(core, p);
	disconnect(p);
	if (p->came) {
		p->came = false;
		core->ncame--;
	}
	/* On the list again: removed meanwhile by one of the callbacks, so it has a second turn. */
	if (p->ended.next)
		return;
	if (p->removed)
		destroy(p);
	else
		keep_dead(core, p);
}

static struct up_peer_private *first_ended(struct up_ep_private *core)
{
	struct up_list *first = core->ended.next;

	core->ended.next = first->next;
	first->next->prev = &core->ended;
	first->next = NULL;
	return UP_CONTAINER_OF(first, struct up_peer_private, ended);
}

unsigned up_peers_settle(struct up_ep_private *core)
{
	unsigned n = 0;

	while (!up_list_empty(&core->ended)) {
		settle(core, first_ended(core));
		n++;
	}
	return n;
}

static void put_off(struct up_ep_private *core, struct up_peer_private *p)
{
	if (!p->ended.next)
		up_list_add_tail(&core->ended, &p->ended);
}

void up_peer_remove(struct up_ep *ep, up_peer peer)
{
	struct up_ep_private *core = up_priv(ep);
	struct up_peer_state *p;

	up_ep_lock(ep);
	p = up_peer_find(ep, peer);
	if (p) {
		if (!p->error)
			p->error = -ECANCELED;
		forget(core, up_peer_priv(p));
		put_off(core, up_peer_priv(p));
		/* Not inside of a callback. */
		if (ep->depth == 1)
			up_activity(core, up_peers_settle(core));
		else
			up_core_kick(ep);
	}
	up_ep_unlock(ep);
}

void up_core_link_down(struct up_link *link, int error)
{
	struct up_peer_state *peer = link->peer;

	if (!peer || peer->error)
		return;
	up_log(error == -EHOSTDOWN ? LOG_DEBUG : LOG_WARNING, NULL, "peer %llu is gone: %s",
	       (unsigned long long)peer->id, strerror(-error));
	peer->error = error;
	put_off(up_priv(peer->ep), up_peer_priv(peer));
	up_core_kick(peer->ep);
}

int up_peer_error(struct up_ep *ep, up_peer peer)
{
	const struct up_peer_state *p;
	int r;

	up_ep_lock(ep);
	p = up_peer_find(ep, peer);
	r = p ? p->error : -EINVAL;
	up_ep_unlock(ep);
	return r;
}

unsigned up_peer_busy(struct up_ep *ep, up_peer peer)
{
	struct up_peer_state *p;
	unsigned n = 0;

	up_ep_lock(ep);
	p = up_peer_find(ep, peer);
	if (p)
		n = p->nopen + p->nqueued + up_peer_stuck(p);
	for (unsigned i = 0; p && i < up_priv(ep)->nprotocols; i++) {
		if (up_priv(ep)->protocols[i]->busy)
			n += up_priv(ep)->protocols[i]->busy(ep, p);
	}
	up_ep_unlock(ep);
	return n;
}

int up_peer_address(struct up_ep *ep, up_peer peer, void *addr, size_t *len)
{
	const struct up_peer_state *p;

	up_ep_lock(ep);
	p = up_peer_find(ep, peer);
	if (p) {
		memcpy(addr, p->addr, p->addr_bytes);
		*len = p->addr_bytes;
	}
	up_ep_unlock(ep);
	return p ? 0 : -EINVAL;
}

void up_peers_fini(struct up_ep_private *core)
{
	core->closing = true;
	if (core->pub.peers && core->buckets) {
		for (up_peer id = 1; id < core->pub.npeers; id++) {
			if (core->pub.peers[id])
				up_peer_remove(&core->pub, id);
		}
		up_peers_settle(core);
	}
	/* Callbacks of the protocols' ends may still name one. */
	core->pub.npeers = 0;
	free(core->pub.peers);
	free(core->buckets);
}
