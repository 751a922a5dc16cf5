/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regions: memory that peers may use, by key. A key that the library chooses is the number of a
 * slot; one that the application chose is found in a hash of its own.
 */
#include "rma/rma.h"

#include <unistd.h>

#define ALL (UP_RMA_READ | UP_RMA_WRITE | UP_RMA_ATOMIC)

static struct up_region **chain(const struct up_rma_state *rma, uint64_t key)
{
	return &rma->chosen[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 54];
}

struct up_region *up_rma_region(const struct up_rma_state *rma, uint64_t key)
{
	struct up_region *r = up_slots_get(&rma->keys, key);

	if (__builtin_expect(!r && rma->nchosen, 0)) {
		for (r = *chain(rma, key); r && r->key != key; r = r->next)
			;
	}
	return r;
}

static int add_chosen(struct up_rma_state *rma, struct up_region *r)
{
	if (!rma->chosen)
		rma->chosen = calloc(UP_RMA_CHAINS, sizeof(struct up_region *));
	if (!rma->chosen)
		return -ENOMEM;
	if (up_rma_region(rma, r->key))
		return -EEXIST;
	r->self = chain(rma, r->key);
	r->next = *r->self;
	if (r->next)
		r->next->self = &r->next;
	*r->self = r;
	rma->nchosen++;
	return 0;
}

/* A key of the library's that the application has chosen too is left out. */
static int add_slot(struct up_rma_state *rma, struct up_region *r)
{
	uint64_t key = up_slots_add(&rma->keys, r);

	for (unsigned tries = 0; key && rma->nchosen && tries < 16; tries++) {
		struct up_region *other = *chain(rma, key);

		while (other && other->key != key)
			other = other->next;
		if (!other)
			break;
		up_slots_del(&rma->keys, key);
		key = up_slots_add(&rma->keys, r);
	}
	r->key = key;
	return key ? 0 : -ENOMEM;
}

static void del(struct up_rma_state *rma, struct up_region *r)
{
	if (!r->self) {
		up_slots_del(&rma->keys, r->key);
		return;
	}
	*r->self = r->next;
	if (r->next)
		r->next->self = r->self;
	rma->nchosen--;
}

/* Peers of that lane may use the memory by themselves, once they ask (window.c). */
static void find_lane(struct up_region *r)
{
	struct up_lane *lane = up_ep_mem_lane(r->ep);

	if (!lane || !lane->ops->mem_share || !r->len)
		return;
	r->lane = lane;
	r->mapped = lane->ops->mem_holds(lane, r->memory, r->len);
}

static void unshare(struct up_region *r)
{
	if (r->told)
		r->lane->ops->mem_unshare(r->lane, &r->shared);
}

int up_region_open(struct up_ep *ep, void *addr, size_t len, uint64_t base, unsigned access,
		   uint64_t key, struct up_region **region)
{
	struct up_region *r;
	uint64_t end;
	int ret;

	if (!region || (!addr && len) || access & ~ALL ||
	    __builtin_add_overflow((uintptr_t)addr, len, &end) ||
	    (len && __builtin_add_overflow(base, len - 1, &end)))
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->ep = ep;
	r->memory = addr;
	r->len = len;
	r->base = base;
	r->access = access;
	r->key = key;
	up_list_init(&r->users);
	up_ep_lock(ep);
	ret = key ? add_chosen(ep->rma, r) : add_slot(ep->rma, r);
	if (!ret)
		find_lane(r);
	up_ep_unlock(ep);
	if (ret)
		free(r);
	else
		*region = r;
	return ret;
}

/*
 * Packets are served with the lock held, from looking at the key until the data is in its place;
 * what takes longer is in the queue, and ends here. Peers that use the memory by themselves are
 * waited for.
 */
void up_region_close(struct up_region *region)
{
	struct up_ep *ep;

	if (!region)
		return;
	ep = region->ep;
	up_ep_lock(ep);
	del(ep->rma, region);
	unshare(region);
	up_rma_queue_region_gone(region);
	up_ep_unlock(ep);
	free(region);
}

void up_rma_regions_fini(struct up_ep *ep)
{
	struct up_rma_state *rma = ep->rma;

	for (uint32_t i = 0; i < rma->keys.n; i++) {
		struct up_region *r = rma->keys.slot[i].object;

		if (r)
			unshare(r);
		free(r);
	}
	for (unsigned i = 0; rma->chosen && i < UP_RMA_CHAINS; i++) {
		while (rma->chosen[i]) {
			struct up_region *r = rma->chosen[i];

			rma->chosen[i] = r->next;
			unshare(r);
			free(r);
		}
	}
	free(rma->chosen);
}

uint64_t up_region_key(const struct up_region *region)
{
	return region->key;
}

int up_rma_grant(struct up_ep *ep, struct up_rma_grant *g, uint64_t key, uint64_t addr, size_t len,
		 unsigned access)
{
	struct up_rma_state *rma = ep->rma;
	struct up_region *r = up_rma_region(rma, key);
	int error = -ENOKEY;

	g->region = r;
	g->ops = NULL;
	if (__builtin_expect(r != NULL, 1)) {
		if ((r->access & access) != access)
			return -EACCES;
		if (!up_range_inside(addr, len, r->base, r->len))
			return -ERANGE;
		g->memory = r->memory + (addr - r->base);
		return 0;
	}
	if (!rma->resolver)
		return -ENOKEY;
	g->ops = rma->resolver;
	g->ctx = rma->resolver_ctx;
	g->memory = g->ops->get(g->ctx, key, addr, len, access, &g->cookie, &error);
	return g->memory ? 0 : error < 0 ? error : -ENOKEY;
}

void up_rma_set_resolver(struct up_ep *ep, const struct up_resolve_ops *ops, void *ctx)
{
	up_ep_lock(ep);
	ep->rma->resolver = ops;
	ep->rma->resolver_ctx = ctx;
	up_ep_unlock(ep);
}

void up_rma_set_touched(struct up_ep *ep, up_rma_touched *touched, void *ctx)
{
	up_ep_lock(ep);
	ep->rma->touched = touched;
	ep->rma->touched_ctx = ctx;
	up_ep_unlock(ep);
}

void up_region_set_touched(struct up_region *region, up_rma_touched *touched, void *ctx)
{
	up_ep_lock(region->ep);
	region->touched = touched;
	region->touched_ctx = ctx;
	up_ep_unlock(region->ep);
}

void up_rma_set_notify(struct up_ep *ep, up_rma_notify *notify, void *ctx)
{
	up_ep_lock(ep);
	ep->rma->notify = notify;
	ep->rma->notify_ctx = ctx;
	up_ep_unlock(ep);
}

/* Where no lane's peers can map memory, it is like any other. */
static void *plain_alloc(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), whole;
	void *mem;

	if (__builtin_add_overflow(bytes, page - 1, &whole)) {
		errno = ENOMEM;
		return NULL;
	}
	whole &= ~(page - 1);
	mem = aligned_alloc(page, whole ? whole : page);
	if (mem)
		memset(mem, 0, whole);
	return mem;
}

void *up_mem_alloc(struct up_ep *ep, size_t bytes)
{
	struct up_lane *lane;
	void *mem;

	up_ep_lock(ep);
	lane = up_ep_mem_lane(ep);
	mem = lane ? lane->ops->mem_alloc(lane, bytes) : plain_alloc(bytes);
	up_ep_unlock(ep);
	return mem;
}

void up_mem_free(struct up_ep *ep, void *mem)
{
	struct up_lane *lane;

	up_ep_lock(ep);
	lane = up_ep_mem_lane(ep);
	if (!lane)
		free(mem);
	else if (mem)
		lane->ops->mem_free(lane, mem);
	up_ep_unlock(ep);
}
