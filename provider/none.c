/* SPDX-License-Identifier: BSD-2-Clause */
/* What an object cannot do: operations for the tables of those that have nothing to say. */
#include "provider.h"

int upf_no_bind(struct fid *fid, struct fid *bfid, uint64_t flags)
{
	return -FI_ENOSYS;
}

int upf_no_control(struct fid *fid, int command, void *arg)
{
	return -FI_ENOSYS;
}

int upf_no_ops_open(struct fid *fid, const char *name, uint64_t flags, void **ops, void *context)
{
	return -FI_ENOSYS;
}
