/* SPDX-License-Identifier: BSD-2-Clause */
/* Multicast groups of QPs, and management datagrams that the driver hands to the port. */
#include "device/connectx/cmd.h"

#include <errno.h>

static enum cx_status group_failed(struct cx_cmd *c, int err)
{
	switch (err) {
	case 0:
		return CX_OK;
	case -ENOSPC:
	case -ENOMEM:
		return cx_fail(c, CX_LIM_ERR, CX_WHY_GROUP);
	case -ENOENT:
		return cx_fail(c, CX_BAD_RES, CX_WHY_GROUP);
	default:
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_GROUP);
	}
}

static struct up_gid group(const struct cx_cmd *c)
{
	struct up_gid gid;

	memcpy(gid.raw, c->in + CX_MCG_IN_MULTICAST_GID_AT, sizeof(gid.raw));
	return gid;
}

enum cx_status cx_attach_to_mcg(struct cx_cmd *c)
{
	struct cx_qp *qp = cx_qp_get(c);
	struct up_gid gid = group(c);

	if (!qp)
		return CX_BAD_RES;
	if (qp->base.type != UP_QP_UD)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	return group_failed(c, up_mcast_attach(c->dev->port, &gid, &qp->base));
}

enum cx_status cx_detach_from_mcg(struct cx_cmd *c)
{
	struct cx_qp *qp = cx_qp_get(c);
	struct up_gid gid = group(c);

	if (!qp)
		return CX_BAD_RES;
	return group_failed(c, up_mcast_detach(c->dev->port, &gid, &qp->base));
}

/* Without an answer the response stays zero: a trap's repression has none. */
enum cx_status cx_mad_ifc(struct cx_cmd *c)
{
	uint8_t response[256] = {0};

	if (up_mad_process(c->dev->port, c->in + CX_MAD_IFC_IN_MAD_AT, response))
		memcpy(c->out + CX_MAD_IFC_OUT_RESPONSE_MAD_PACKET_AT, response, sizeof(response));
	return CX_OK;
}
