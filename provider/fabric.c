/* SPDX-License-Identifier: BSD-2-Clause */
/* The fabric: there is one. */
#include "provider.h"

#include <stdlib.h>

static int fabric_close(struct fid *fid)
{
	struct upf_fabric *fabric = UPF_CONTAINER(fid, struct upf_fabric, fid.fid);

	if (upf_busy(&fabric->refs))
		return -FI_EBUSY;
	free(fabric);
	return 0;
}

static int no_passive_ep(struct fid_fabric *fabric, struct fi_info *info, struct fid_pep **pep,
			 void *context)
{
	return -FI_ENOSYS;
}

static int no_wait_open(struct fid_fabric *fabric, struct fi_wait_attr *attr,
			struct fid_wait **waitset)
{
	return -FI_ENOSYS;
}

static struct fi_ops fid_ops = {
	.size = sizeof(struct fi_ops),
	.close = fabric_close,
	.bind = upf_no_bind,
	.control = upf_no_control,
	.ops_open = upf_no_ops_open,
};

static struct fi_ops_fabric ops = {
	.size = sizeof(struct fi_ops_fabric),
	.domain = upf_domain_open,
	.passive_ep = no_passive_ep,
	.eq_open = upf_eq_open,
	.wait_open = no_wait_open,
	.trywait = upf_trywait,
};

int upf_fabric_open(struct fi_fabric_attr *attr, struct fid_fabric **out, void *context)
{
	struct upf_fabric *fabric;

	if (attr->name && strcmp(attr->name, UPF_NAME) != 0)
		return -FI_ENODATA;
	fabric = calloc(1, sizeof(*fabric));
	if (!fabric)
		return -FI_ENOMEM;
	fabric->fid.fid.fclass = FI_CLASS_FABRIC;
	fabric->fid.fid.context = context;
	fabric->fid.fid.ops = &fid_ops;
	fabric->fid.ops = &ops;
	fabric->fid.api_version = attr->api_version;
	*out = &fabric->fid;
	return 0;
}
