/* SPDX-License-Identifier: BSD-2-Clause */
/* Domains: what endpoints, regions and queues have in common. */
#include "provider.h"

#include <stdlib.h>

static int domain_close(struct fid *fid)
{
	struct upf_domain *domain = UPF_CONTAINER(fid, struct upf_domain, fid.fid);

	if (upf_busy(&domain->refs))
		return -FI_EBUSY;
	if (domain->eq)
		upf_unref(&domain->eq->q.refs);
	upf_unref(&domain->fabric->refs);
	pthread_mutex_destroy(&domain->mutex);
	free(domain);
	return 0;
}

/* An event queue, for regions and address vectors that tell of their end there. */
static int domain_bind(struct fid *fid, struct fid *bfid, uint64_t flags)
{
	struct upf_domain *domain = UPF_CONTAINER(fid, struct upf_domain, fid.fid);

	/* FI_REG_MR, with which registering ends by an event, is not there. */
	if (bfid->fclass != FI_CLASS_EQ || flags || domain->eq)
		return -FI_EINVAL;
	domain->eq = UPF_CONTAINER(bfid, struct upf_eq, fid.fid);
	upf_ref(&domain->eq->q.refs);
	return 0;
}

static int no_scalable_ep(struct fid_domain *domain, struct fi_info *info, struct fid_ep **sep,
			  void *context)
{
	return -FI_ENOSYS;
}

static int no_stx(struct fid_domain *domain, struct fi_tx_attr *attr, struct fid_stx **stx,
		  void *context)
{
	return -FI_ENOSYS;
}

static int no_srx(struct fid_domain *domain, struct fi_rx_attr *attr, struct fid_ep **rx_ep,
		  void *context)
{
	return -FI_ENOSYS;
}

static int no_collective(struct fid_domain *domain, enum fi_collective_op coll,
			 struct fi_collective_attr *attr, uint64_t flags)
{
	return -FI_ENOSYS;
}

static struct fi_ops fid_ops = {
	.size = sizeof(struct fi_ops),
	.close = domain_close,
	.bind = domain_bind,
	.control = upf_no_control,
	.ops_open = upf_no_ops_open,
};

static struct fi_ops_domain ops = {
	.size = sizeof(struct fi_ops_domain),
	.av_open = upf_av_open,
	.cq_open = upf_cq_open,
	.endpoint = upf_endpoint,
	.scalable_ep = no_scalable_ep,
	.cntr_open = upf_cntr_open,
	.poll_open = upf_poll_open,
	.stx_ctx = no_stx,
	.srx_ctx = no_srx,
	.query_atomic = upf_query_atomic,
	.query_collective = no_collective,
};

/* What was said as one of the two models of old, in bits. */
static int mr_bits(int mode)
{
	if (mode == UPF_MR_BASIC)
		return FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	return mode == UPF_MR_SCALABLE ? 0 : mode;
}

int upf_domain_open(struct fid_fabric *fabric, struct fi_info *info, struct fid_domain **out,
		    void *context)
{
	const struct fi_domain_attr *attr = info->domain_attr;
	struct upf_domain *domain;

	if (!attr || upf_check_domain(attr))
		return -FI_EINVAL;
	domain = calloc(1, sizeof(*domain));
	if (!domain)
		return -FI_ENOMEM;
	domain->fid.fid.fclass = FI_CLASS_DOMAIN;
	domain->fid.fid.context = context;
	domain->fid.fid.ops = &fid_ops;
	domain->fid.ops = &ops;
	domain->fid.mr = &upf_mr_ops;
	domain->fabric = UPF_CONTAINER(fabric, struct upf_fabric, fid);
	domain->threading = attr->threading;
	domain->progress =
		attr->data_progress == FI_PROGRESS_AUTO ? FI_PROGRESS_AUTO : FI_PROGRESS_MANUAL;
	domain->shared =
		domain->threading != FI_THREAD_DOMAIN || domain->progress == FI_PROGRESS_AUTO;
	domain->mr_mode = mr_bits(attr->mr_mode);
	pthread_mutex_init(&domain->mutex, NULL);
	up_list_init(&domain->eps);
	upf_ref(&domain->fabric->refs);
	*out = &domain->fid;
	return 0;
}
