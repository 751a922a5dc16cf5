/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory regions. A region of libfabric is the domain's: here it is one of libunderpass on each of
 * the domain's endpoints, all with one key. Keys that the user chooses may be 0, which libunderpass
 * keeps for "choose": so on the way every key is one more than here.
 */
#include "provider.h"

#include <stdlib.h>
#include <uthash.h>

struct use {
	struct use *next;
	struct upf_ep *ep;
	struct up_region *region;
};

struct upf_mr {
	struct fid_mr fid;
	struct upf_domain *domain;
	void *buf;
	size_t len;
	uint64_t base;
	unsigned access;
	struct upf_cntr *cntr; /* of what peers change, or NULL */
	struct use *uses;
	UT_hash_handle hh; /* struct upf_domain.mrs, by fid.key */
};

static void changed(void *ctx, up_peer from, unsigned access)
{
	const struct upf_mr *mr = ctx;

	upf_cntr_count(mr->cntr, false);
}

/* Whoever reads the counter makes the endpoint's progress. */
static int count_on(struct upf_mr *mr, struct use *use)
{
	int ret = upf_queue_add_ep(&mr->cntr->q, use->ep);

	if (!ret)
		up_region_set_touched(use->region, changed, mr);
	return ret;
}

static int open_on(struct upf_mr *mr, struct upf_ep *ep)
{
	struct use *use = calloc(1, sizeof(*use));
	int ret;

	if (!use)
		return -FI_ENOMEM;
	use->ep = ep;
	ret = up_region_open(ep->up, mr->buf, mr->len, mr->base, mr->access, mr->fid.key + 1,
			     &use->region);
	if (ret) {
		free(use);
		return upf_error(ret);
	}
	ret = mr->cntr ? count_on(mr, use) : 0;
	if (ret) {
		up_region_close(use->region);
		free(use);
		return ret;
	}
	use->next = mr->uses;
	mr->uses = use;
	return 0;
}

/* On one endpoint, or on all (NULL). */
static void close_on(struct upf_mr *mr, const struct upf_ep *ep)
{
	struct use **at = &mr->uses, *use;

	while ((use = *at)) {
		if (ep && use->ep != ep) {
			at = &use->next;
			continue;
		}
		*at = use->next;
		up_region_close(use->region);
		if (mr->cntr)
			upf_queue_del_ep(&mr->cntr->q, use->ep);
		free(use);
	}
}

int upf_mrs_open(struct upf_ep *ep)
{
	struct upf_mr *mr, *tmp;

	HASH_ITER (hh, ep->domain->mrs, mr, tmp) {
		int ret = open_on(mr, ep);

		if (ret) {
			upf_mrs_close(ep);
			return ret;
		}
	}
	return 0;
}

void upf_mrs_close(struct upf_ep *ep)
{
	struct upf_mr *mr, *tmp;

	HASH_ITER (hh, ep->domain->mrs, mr, tmp)
		close_on(mr, ep);
}

static int mr_close(struct fid *fid)
{
	struct upf_mr *mr = UPF_CONTAINER(fid, struct upf_mr, fid.fid);
	struct upf_domain *domain = mr->domain;

	pthread_mutex_lock(&domain->mutex);
	HASH_DEL(domain->mrs, mr);
	close_on(mr, NULL);
	pthread_mutex_unlock(&domain->mutex);
	if (mr->cntr)
		upf_unref(&mr->cntr->q.refs);
	upf_unref(&domain->refs);
	free(mr);
	return 0;
}

/* With the domain's mutex. */
static int bind_cntr(struct upf_mr *mr, struct upf_cntr *cntr)
{
	struct use *use, *stop;
	int ret = 0;

	mr->cntr = cntr;
	for (use = mr->uses; use && !ret; use = use->next)
		ret = count_on(mr, use);
	if (!ret) {
		upf_ref(&cntr->q.refs);
		return 0;
	}
	/* The last one failed; those before it are as they were. */
	for (stop = use, use = mr->uses; use->next != stop; use = use->next) {
		up_region_set_touched(use->region, NULL, NULL);
		upf_queue_del_ep(&cntr->q, use->ep);
	}
	mr->cntr = NULL;
	return ret;
}

/* A counter of what peers change: before they know the key, as fi_mr(3) says. */
static int mr_bind(struct fid *fid, struct fid *bfid, uint64_t flags)
{
	struct upf_mr *mr = UPF_CONTAINER(fid, struct upf_mr, fid.fid);
	struct upf_cntr *cntr;
	int ret = -FI_EINVAL;

	if (bfid->fclass != FI_CLASS_CNTR || flags != FI_REMOTE_WRITE)
		return -FI_EINVAL;
	cntr = UPF_CONTAINER(bfid, struct upf_cntr, fid.fid);
	pthread_mutex_lock(&mr->domain->mutex);
	if (cntr->q.domain == mr->domain && !mr->cntr)
		ret = bind_cntr(mr, cntr);
	pthread_mutex_unlock(&mr->domain->mutex);
	return ret;
}

/* A region is enabled from the beginning; who does not know says so. */
static int mr_control(struct fid *fid, int command, void *arg)
{
	return command == FI_ENABLE ? 0 : -FI_ENOSYS;
}

static struct fi_ops fid_ops = {
	.size = sizeof(struct fi_ops),
	.close = mr_close,
	.bind = mr_bind,
	.control = mr_control,
	.ops_open = upf_no_ops_open,
};

static unsigned access_of(uint64_t access)
{
	return (access & FI_REMOTE_READ ? UP_RMA_READ : 0) |
	       (access & FI_REMOTE_WRITE ? UP_RMA_WRITE | UP_RMA_ATOMIC : 0);
}

static struct upf_mr *find(struct upf_domain *domain, uint64_t key)
{
	struct upf_mr *mr;

	HASH_FIND(hh, domain->mrs, &key, sizeof(key), mr);
	return mr;
}

/* With the domain's mutex. */
static int add(struct upf_domain *domain, struct upf_mr *mr)
{
	struct up_list *at, *tmp;
	int ret = 0;

	if (domain->mr_mode & FI_MR_PROV_KEY) {
		do {
			mr->fid.key = domain->next_key++;
		} while (find(domain, mr->fid.key));
	} else if (find(domain, mr->fid.key)) {
		return -FI_ENOKEY;
	}
	up_list_each (at, tmp, &domain->eps) {
		if (!ret)
			ret = open_on(mr, UP_CONTAINER_OF(at, struct upf_ep, of_domain));
	}
	if (ret)
		close_on(mr, NULL);
	else
		HASH_ADD(hh, domain->mrs, fid.key, sizeof(mr->fid.key), mr);
	return ret;
}

static int mr_regattr(struct fid *fid, const struct fi_mr_attr *attr, uint64_t flags,
		      struct fid_mr **out)
{
	struct upf_domain *domain = UPF_CONTAINER(fid, struct upf_domain, fid.fid);
	struct upf_mr *mr;
	int ret;

	if (fid->fclass != FI_CLASS_DOMAIN || attr->iov_count != 1 || attr->offset ||
	    attr->iface != FI_HMEM_SYSTEM || flags & ~(uint64_t)FI_RMA_EVENT)
		return -FI_EINVAL;
	if (attr->requested_key == UINT64_MAX && !(domain->mr_mode & FI_MR_PROV_KEY))
		return -FI_EKEYREJECTED;
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return -FI_ENOMEM;
	mr->fid.fid.fclass = FI_CLASS_MR;
	mr->fid.fid.context = attr->context;
	mr->fid.fid.ops = &fid_ops;
	mr->fid.key = attr->requested_key;
	mr->fid.mem_desc = mr;
	mr->domain = domain;
	mr->buf = attr->mr_iov[0].iov_base;
	mr->len = attr->mr_iov[0].iov_len;
	mr->base = domain->mr_mode & FI_MR_VIRT_ADDR ? (uintptr_t)mr->buf : 0;
	mr->access = access_of(attr->access);
	pthread_mutex_lock(&domain->mutex);
	ret = add(domain, mr);
	pthread_mutex_unlock(&domain->mutex);
	if (ret) {
		free(mr);
		return ret;
	}
	upf_ref(&domain->refs);
	*out = &mr->fid;
	return 0;
}

static int mr_regv(struct fid *fid, const struct iovec *iov, size_t count, uint64_t access,
		   uint64_t offset, uint64_t requested_key, uint64_t flags, struct fid_mr **mr,
		   void *context)
{
	const struct fi_mr_attr attr = {
		.mr_iov = iov,
		.iov_count = count,
		.access = access,
		.offset = offset,
		.requested_key = requested_key,
		.context = context,
	};

	return mr_regattr(fid, &attr, flags, mr);
}

static int mr_reg(struct fid *fid, const void *buf, size_t len, uint64_t access, uint64_t offset,
		  uint64_t requested_key, uint64_t flags, struct fid_mr **mr, void *context)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

	return mr_regv(fid, &iov, 1, access, offset, requested_key, flags, mr, context);
}

struct fi_ops_mr upf_mr_ops = {
	.size = sizeof(struct fi_ops_mr),
	.reg = mr_reg,
	.regv = mr_regv,
	.regattr = mr_regattr,
};
