/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Address vectors. A fi_addr_t is an index, in tables and in maps. Endpoints learn of an address
 * when it is used first: each keeps its own peer of it (struct upf_ep.peers), and the way back.
 */
#include "provider.h"

#include <stdlib.h>
#include <uthash.h>

struct upf_av_entry {
	struct upf_addr addr;
	uint64_t index;
	/* The same address may be inserted several times: the others are behind the first. */
	struct upf_av_entry *same;
	UT_hash_handle hh; /* struct upf_av.hash, by addr; the first one only */
};

bool upf_addr_valid(const void *addr, size_t len)
{
	struct upf_addr a;

	if (!addr || len < sizeof(a))
		return false;
	memcpy(&a, addr, sizeof(a));
	return a.bytes && a.bytes <= sizeof(a.addr);
}

void upf_addr_set(struct upf_addr *addr, const void *bytes, size_t len)
{
	memset(addr, 0, sizeof(*addr));
	addr->bytes = (uint8_t)len;
	memcpy(addr->addr, bytes, len);
}

static struct upf_av_entry *entry_at(const struct upf_av *av, fi_addr_t addr)
{
	return (struct upf_av_entry *)(uintptr_t)upf_table_get(&av->entries, addr);
}

static struct upf_av_entry *find(struct upf_av *av, const struct upf_addr *addr)
{
	struct upf_av_entry *e;

	HASH_FIND(hh, av->hash, addr, sizeof(*addr), e);
	return e;
}

/* ---- inserting ---- */

/* An index that is free, the next new one mostly. */
static uint64_t free_index(struct upf_av *av)
{
	if (!av->nfree)
		return av->count;
	return av->free[--av->nfree];
}

/* With the mutex. 0, or a positive error. */
static int insert_one(struct upf_av *av, const uint8_t *addr, fi_addr_t *fi_addr)
{
	struct upf_av_entry *e, *first;

	if (!upf_addr_valid(addr, sizeof(e->addr)))
		return FI_EINVAL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return FI_ENOMEM;
	memcpy(&e->addr, addr, sizeof(e->addr));
	e->index = free_index(av);
	if (!upf_table_set(&av->entries, e->index, (uintptr_t)e)) {
		free(e);
		return FI_ENOMEM;
	}
	if (e->index == av->count)
		av->count++;
	first = find(av, &e->addr);
	if (first) {
		e->same = first->same;
		first->same = e;
	} else {
		HASH_ADD(hh, av->hash, addr, sizeof(e->addr), e);
	}
	*fi_addr = e->index;
	return 0;
}

static void post_error(struct upf_av *av, size_t i, int error, void *context)
{
	const struct fi_eq_err_entry e = {
		.fid = &av->fid.fid,
		.context = context,
		.data = i,
		.err = error,
		.prov_errno = error,
	};

	upf_eq_post(av->eq, FI_AV_COMPLETE, true, &e, sizeof(e));
}

static int post_end(struct upf_av *av, uint64_t inserted, void *context)
{
	const struct fi_eq_entry e = {
		.fid = &av->fid.fid,
		.context = context,
		.data = inserted,
	};

	return upf_eq_post(av->eq, FI_AV_COMPLETE, false, &e, sizeof(e));
}

static int av_insert(struct fid_av *fid, const void *addr, size_t count, fi_addr_t *fi_addr,
		     uint64_t flags, void *context)
{
	struct upf_av *av = UPF_CONTAINER(fid, struct upf_av, fid);
	bool event = av->flags & FI_EVENT;
	int inserted = 0;

	if (flags & ~(uint64_t)(FI_MORE | FI_SYNC_ERR) || (event && !av->eq) ||
	    (flags & FI_SYNC_ERR && (event || !context)))
		return -FI_EINVAL;
	pthread_mutex_lock(&av->mutex);
	for (size_t i = 0; i < count; i++) {
		fi_addr_t at = FI_ADDR_NOTAVAIL;
		int error =
			insert_one(av, (const uint8_t *)addr + i * sizeof(struct upf_addr), &at);

		inserted += !error;
		if (fi_addr)
			fi_addr[i] = at;
		if (error && event)
			post_error(av, i, error, context);
		if (flags & FI_SYNC_ERR)
			((int *)context)[i] = error;
	}
	pthread_mutex_unlock(&av->mutex);
	return event ? post_end(av, (uint64_t)inserted, context) : inserted;
}

static int av_insertsvc(struct fid_av *fid, const char *node, const char *service,
			fi_addr_t *fi_addr, uint64_t flags, void *context)
{
	return -FI_ENOSYS;
}

static int av_insertsym(struct fid_av *fid, const char *node, size_t nodecnt, const char *service,
			size_t svccnt, fi_addr_t *fi_addr, uint64_t flags, void *context)
{
	return -FI_ENOSYS;
}

/* ---- removing ---- */

/* Out of the chain of its address. The one that is left for the address, or NULL. */
static struct upf_av_entry *unlink_entry(struct upf_av *av, struct upf_av_entry *e)
{
	struct upf_av_entry *first = find(av, &e->addr), *at = first;

	if (first != e) {
		while (at->same != e)
			at = at->same;
		at->same = e->same;
		return first;
	}
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the hash has it */
	HASH_DEL(av->hash, e);
	if (e->same)
		HASH_ADD(hh, av->hash, addr, sizeof(e->addr), e->same);
	return e->same;
}

/* An endpoint that knows the address forgets it. NULL: no more do. With the mutex. */
static struct upf_ep *forget_one(struct upf_av *av, uint64_t index, const struct upf_av_entry *left,
				 up_peer *peer)
{
	struct up_list *at, *tmp;

	up_list_each (at, tmp, &av->eps) {
		struct upf_ep *ep = UP_CONTAINER_OF(at, struct upf_ep, of_av);

		*peer = upf_table_get(&ep->peers, index);
		if (!*peer)
			continue;
		upf_table_set(&ep->peers, index, 0);
		if (left && !upf_table_get(&ep->peers, left->index))
			upf_table_set(&ep->peers, left->index, *peer);
		if (upf_table_get(&ep->sources, *peer) == index + 1)
			upf_table_set(&ep->sources, *peer, left ? left->index + 1 : 0);
		return ep;
	}
	return NULL;
}

/* Without the mutex where the library is called. */
static void forget(struct upf_av *av, uint64_t index, const struct upf_av_entry *left)
{
	struct upf_ep *ep;
	up_peer peer;

	while ((ep = forget_one(av, index, left, &peer))) {
		if (left)
			continue;
		pthread_mutex_unlock(&av->mutex);
		upf_leave(ep, peer);
		pthread_mutex_lock(&av->mutex);
	}
}

void upf_av_forget(struct upf_ep *ep, up_peer peer)
{
	struct upf_av *av = ep->av;
	uint8_t full[UP_ADDR_MAX];
	struct upf_addr addr;
	size_t len;

	if (!av || up_peer_address(ep->up, peer, full, &len) || len > sizeof(addr.addr))
		return;
	upf_addr_set(&addr, full, len);
	pthread_mutex_lock(&av->mutex);
	upf_table_set(&ep->sources, peer, 0);
	for (const struct upf_av_entry *e = find(av, &addr); e; e = e->same) {
		if (upf_table_get(&ep->peers, e->index) == peer)
			upf_table_set(&ep->peers, e->index, 0);
	}
	pthread_mutex_unlock(&av->mutex);
}

static int remove_one(struct upf_av *av, fi_addr_t addr)
{
	struct upf_av_entry *e = entry_at(av, addr), *left;
	uint64_t *more;

	if (!e)
		return -FI_EINVAL;
	more = realloc(av->free, (av->nfree + 1) * sizeof(*more));
	if (!more)
		return -FI_ENOMEM;
	av->free = more;
	left = unlink_entry(av, e);
	upf_table_set(&av->entries, addr, 0);
	free(e);
	forget(av, addr, left);
	av->free[av->nfree++] = addr;
	return 0;
}

static int av_remove(struct fid_av *fid, fi_addr_t *fi_addr, size_t count, uint64_t flags)
{
	struct upf_av *av = UPF_CONTAINER(fid, struct upf_av, fid);
	int ret = 0;

	if (flags)
		return -FI_EINVAL;
	pthread_mutex_lock(&av->removing);
	for (size_t i = 0; i < count && !ret; i++) {
		pthread_mutex_lock(&av->mutex);
		ret = remove_one(av, fi_addr[i]);
		pthread_mutex_unlock(&av->mutex);
	}
	pthread_mutex_unlock(&av->removing);
	return ret;
}

/* ---- looking up ---- */

static int av_lookup(struct fid_av *fid, fi_addr_t fi_addr, void *addr, size_t *addrlen)
{
	struct upf_av *av = UPF_CONTAINER(fid, struct upf_av, fid);
	const struct upf_av_entry *e;
	int ret = -FI_EINVAL;

	pthread_mutex_lock(&av->mutex);
	e = entry_at(av, fi_addr);
	if (e) {
		memcpy(addr, &e->addr, *addrlen < sizeof(e->addr) ? *addrlen : sizeof(e->addr));
		*addrlen = sizeof(e->addr);
		ret = 0;
	}
	pthread_mutex_unlock(&av->mutex);
	return ret;
}

/* The bytes as they are, in hexadecimal. */
static const char *av_straddr(struct fid_av *fid, const void *addr, char *buf, size_t *len)
{
	static const char digits[] = "0123456789abcdef", scheme[] = "underpass://";
	struct upf_addr a;
	size_t at = 0;

	memcpy(&a, addr, sizeof(a));
	if (a.bytes > sizeof(a.addr))
		a.bytes = 0;
	for (; at < sizeof(scheme) - 1 && at + 1 < *len; at++)
		buf[at] = scheme[at];
	for (size_t i = 0; i < 2u * a.bytes && at + 1 < *len; i++)
		buf[at++] = digits[i & 1 ? a.addr[i / 2] & 15 : a.addr[i / 2] >> 4];
	if (*len)
		buf[at] = '\0';
	*len = sizeof(scheme) + 2 * a.bytes;
	return buf;
}

/* With the endpoint held, so that the peer does not leave in between (leave.c). 0, or an error of
 * the library's. */
static int use(struct upf_ep *ep, fi_addr_t addr, const struct upf_addr *copy, up_peer *peer)
{
	struct upf_av *av = ep->av;
	const struct upf_av_entry *e;
	int ret = up_peer_add(ep->up, copy->addr, copy->bytes, peer);

	if (!ret && !upf_stay(ep, *peer))
		ret = -EAGAIN;
	if (ret)
		return ret;
	pthread_mutex_lock(&av->mutex);
	e = entry_at(av, addr);
	/* Not what was removed meanwhile. */
	if (!e || memcmp(&e->addr, copy, sizeof(*copy)) != 0)
		ret = -EINVAL;
	else if (!upf_table_set(&ep->peers, addr, *peer))
		ret = -ENOMEM;
	/* What this leaves out, upf_av_source() finds. */
	if (!ret && !upf_table_get(&ep->sources, *peer))
		upf_table_set(&ep->sources, *peer, addr + 1);
	pthread_mutex_unlock(&av->mutex);
	return ret;
}

up_peer upf_av_peer(struct upf_ep *ep, fi_addr_t addr, int *error)
{
	const struct upf_av_entry *e;
	struct upf_addr copy;
	up_peer peer;
	int ret;

	*error = -FI_EOPBADSTATE;
	if (!ep->enabled)
		return 0;
	pthread_mutex_lock(&ep->av->mutex);
	e = entry_at(ep->av, addr);
	if (e)
		copy = e->addr;
	pthread_mutex_unlock(&ep->av->mutex);
	*error = -FI_EINVAL;
	if (!e)
		return 0;
	up_ep_enter(ep->up);
	ret = use(ep, addr, &copy, &peer);
	up_ep_leave(ep->up);
	*error = upf_error(ret);
	if (ret == -EAGAIN)
		upf_ep_progress(ep);
	return ret ? 0 : peer;
}

fi_addr_t upf_av_source(struct upf_ep *ep, up_peer peer)
{
	uint8_t full[UP_ADDR_MAX];
	struct upf_addr addr;
	const struct upf_av_entry *e;
	fi_addr_t source = FI_ADDR_NOTAVAIL;
	up_peer known;
	size_t len;

	/* A longer one is not of this provider, and cannot have been inserted. */
	if (up_peer_address(ep->up, peer, full, &len) || len > sizeof(addr.addr))
		return source;
	upf_addr_set(&addr, full, len);
	pthread_mutex_lock(&ep->av->mutex);
	e = find(ep->av, &addr);
	if (e)
		source = e->index;
	pthread_mutex_unlock(&ep->av->mutex);
	/* Kept until the address is removed, so as one that was used; but not an earlier one of the
	 * address, nor one that is just going. */
	if (!e || up_peer_add(ep->up, full, len, &known) || known != peer || !upf_stay(ep, peer))
		return source;
	pthread_mutex_lock(&ep->av->mutex);
	e = find(ep->av, &addr);
	if (e && e->index == source &&
	    (upf_table_get(&ep->peers, source) == peer || upf_table_set(&ep->peers, source, peer)))
		upf_table_set(&ep->sources, peer, source + 1);
	pthread_mutex_unlock(&ep->av->mutex);
	return source;
}

/* ---- life ---- */

static int av_close(struct fid *fid)
{
	struct upf_av *av = UPF_CONTAINER(fid, struct upf_av, fid.fid);

	if (!up_list_empty(&av->eps))
		return -FI_EBUSY;
	HASH_CLEAR(hh, av->hash);
	for (uint64_t i = 0; i < av->count; i++)
		free(entry_at(av, i));
	if (av->eq)
		upf_unref(&av->eq->q.refs);
	upf_unref(&av->domain->refs);
	pthread_mutex_destroy(&av->mutex);
	pthread_mutex_destroy(&av->removing);
	upf_table_fini(&av->entries);
	free(av->free);
	free(av);
	return 0;
}

static int av_bind(struct fid *fid, struct fid *bfid, uint64_t flags)
{
	struct upf_av *av = UPF_CONTAINER(fid, struct upf_av, fid.fid);

	if (bfid->fclass != FI_CLASS_EQ || flags || av->eq)
		return -FI_EINVAL;
	av->eq = UPF_CONTAINER(bfid, struct upf_eq, fid.fid);
	upf_ref(&av->eq->q.refs);
	return 0;
}

static struct fi_ops fid_ops = {
	.size = sizeof(struct fi_ops),
	.close = av_close,
	.bind = av_bind,
	.control = upf_no_control,
	.ops_open = upf_no_ops_open,
};

static struct fi_ops_av ops = {
	.size = sizeof(struct fi_ops_av),
	.insert = av_insert,
	.insertsvc = av_insertsvc,
	.insertsym = av_insertsym,
	.remove = av_remove,
	.lookup = av_lookup,
	.straddr = av_straddr,
};

int upf_av_open(struct fid_domain *fid, struct fi_av_attr *attr, struct fid_av **out, void *context)
{
	struct upf_domain *domain = UPF_CONTAINER(fid, struct upf_domain, fid);
	struct upf_av *av;

	/* Vectors of a name are shared between processes; contexts are of scalable endpoints. */
	if (attr->name || attr->rx_ctx_bits || attr->flags & ~(uint64_t)(FI_EVENT | FI_SYMMETRIC))
		return -FI_ENOSYS;
	if ((unsigned)attr->type > FI_AV_TABLE)
		return -FI_EINVAL;
	av = calloc(1, sizeof(*av));
	if (!av)
		return -FI_ENOMEM;
	pthread_mutex_init(&av->mutex, NULL);
	pthread_mutex_init(&av->removing, NULL);
	up_list_init(&av->eps);
	av->domain = domain;
	av->flags = attr->flags;
	attr->type = attr->type == FI_AV_UNSPEC ? FI_AV_TABLE : attr->type;
	av->fid.fid.fclass = FI_CLASS_AV;
	av->fid.fid.context = context;
	av->fid.fid.ops = &fid_ops;
	av->fid.ops = &ops;
	upf_ref(&domain->refs);
	*out = &av->fid;
	return 0;
}
