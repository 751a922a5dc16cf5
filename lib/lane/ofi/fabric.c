/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The provider's objects. Nothing here may run before an endpoint is opened, in a constructor say:
 * this library may itself be used by a provider, which libfabric loads under a lock of its own.
 */
#include "lane/ofi/direct.h"
#include "base/log.h"
#include "core/param.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define API FI_VERSION(1, 14)

/* Of which providers the one that is built on this library is none: it would come back here. */
#define NEVER "underpass"
/* Whose queues stay readable for ever once they were waited for (wake.c). */
#define OWN_BELL "net"
/* What a provider may ask for of memory: that messages are in registered memory is done; the others
 * are about memory that peers use. */
#define MEMORY (FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY)

static struct fi_info *make_hints(const char *provider, const struct ofi_kind *kind)
{
	struct fi_info *hints = fi_allocinfo();

	if (!hints)
		return NULL;
	hints->caps = FI_MSG;
	hints->mode = FI_CONTEXT | FI_CONTEXT2;
	hints->ep_attr->type = kind->type;
	hints->domain_attr->mr_mode = MEMORY;
	hints->domain_attr->threading = FI_THREAD_DOMAIN;
	if (kind->type == FI_EP_RDM) {
		hints->domain_attr->mr_mode |= FI_MR_ENDPOINT;
		hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
		hints->domain_attr->control_progress = FI_PROGRESS_MANUAL;
		hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
		hints->tx_attr->msg_order = FI_ORDER_SAS;
		hints->rx_attr->msg_order = FI_ORDER_SAS;
	}
	hints->fabric_attr->prov_name = strdup(provider);
	return hints;
}

bool up_ofi_internet(uint32_t format)
{
	return format == FI_SOCKADDR || format == FI_SOCKADDR_IN || format == FI_SOCKADDR_IN6;
}

uint32_t up_ofi_format(int family)
{
	return family == AF_INET ? FI_SOCKADDR_IN : FI_SOCKADDR_IN6;
}

static bool usable(const struct fi_info *info, const struct ofi_kind *kind)
{
	return !strstr(info->fabric_attr->prov_name, NEVER) &&
	       (kind->type == FI_EP_RDM || up_ofi_internet(info->addr_format)) &&
	       info->ep_attr->max_msg_size >= kind->head + OFI_MAX_PACKET;
}

/* The first entry that will do, as its own copy. */
static int find_kind(struct ofi_lane *lane, const char *name, const struct ofi_kind *kind)
{
	struct fi_info *hints = make_hints(name, kind), *list = NULL, *at;
	int ret;

	if (!hints)
		return -ENOMEM;
	ret = fi_getinfo(API, NULL, NULL, 0, hints, &list);
	fi_freeinfo(hints);
	for (at = ret ? NULL : list; at && !usable(at, kind); at = at->next)
		;
	lane->info = at ? fi_dupinfo(at) : NULL;
	lane->kind = kind;
	lane->head = kind->head;
	if (list)
		fi_freeinfo(list);
	if (lane->info)
		return 0;
	return at ? -ENOMEM : -EOPNOTSUPP;
}

static int use_direct(struct ofi_lane *lane)
{
	lane->info = up_direct_info();
	lane->kind = &up_ofi_msg;
	lane->head = up_ofi_msg.head;
	return lane->info ? 0 : -ENOMEM;
}

/* With connections where it has such, as these tell of their own end. */
static int find_provider(struct ofi_lane *lane, const char *name)
{
	int ret;

	lane->direct = !strcmp(name, DIRECT_NAME);
	if (lane->direct)
		return use_direct(lane);
	ret = find_kind(lane, name, &up_ofi_msg);
	if (ret == -EOPNOTSUPP)
		ret = find_kind(lane, name, &up_ofi_rdm);
	if (ret == -EOPNOTSUPP)
		up_log(LOG_DEBUG, NULL,
		       "ofi: libfabric has no provider %s, or it has no messages that can be used "
		       "here",
		       name);
	return ret;
}

/* The first of the list that there is. */
static int choose_provider(struct ofi_lane *lane)
{
	char *list = strdup(up_param_text(UP_PARAM_OFI_PROVIDER)), *at = list, *name;
	int ret = list ? -EOPNOTSUPP : -ENOMEM;

	while (ret == -EOPNOTSUPP && (name = strsep(&at, ",")))
		ret = find_provider(lane, name);
	free(list);
	if (!ret)
		lane->own_bell = !strcmp(lane->info->fabric_attr->prov_name, OWN_BELL);
	if (!ret)
		lane->ticks = lane->info->ep_attr->protocol == FI_PROTO_RXD;
	if (!ret && lane->info->ep_attr->protocol == FI_PROTO_RXM)
		lane->base.max_packet = OFI_RXM_PACKET;
	return ret;
}

int up_ofi_set_addr(void **addr, size_t *len, const union ofi_sockaddr *to)
{
	free(*addr);
	*addr = NULL;
	*len = 0;
	if (!to)
		return 0;
	*len = up_ofi_sockaddr_bytes(to);
	*addr = malloc(*len);
	if (!*addr)
		return -ENOMEM;
	memcpy(*addr, to, *len);
	return 0;
}

int up_ofi_register(struct ofi_lane *lane, void *mem, size_t bytes, uint64_t access,
		    struct fid_mr **mr)
{
	uint64_t mode = (uint64_t)lane->info->domain_attr->mr_mode;
	int ret;

	*mr = NULL;
	if (!(mode & FI_MR_LOCAL))
		return 0;
	ret = fi_mr_reg(lane->domain, mem, bytes, access, 0, 0, 0, mr, NULL);
	if (!ret && (mode & FI_MR_ENDPOINT)) {
		ret = fi_mr_bind(*mr, &lane->ep->fid, 0);
		if (!ret)
			ret = fi_mr_enable(*mr);
	}
	return ret;
}

static int open_cq(struct ofi_lane *lane)
{
	struct fi_cq_attr attr = {
		.size = OFI_EVENTS,
		.format = FI_CQ_FORMAT_MSG,
		.wait_obj = lane->own_bell || lane->ticks ? FI_WAIT_NONE : FI_WAIT_FD,
	};
	int ret = fi_cq_open(lane->domain, &attr, &lane->cq, lane);

	if (!ret || attr.wait_obj == FI_WAIT_NONE)
		return ret;
	attr.wait_obj = FI_WAIT_NONE;
	lane->ticks = true;
	return fi_cq_open(lane->domain, &attr, &lane->cq, lane);
}

int up_ofi_enable(struct ofi_lane *lane, struct fid_ep *ep)
{
	int ret = fi_ep_bind(ep, &lane->cq->fid, FI_TRANSMIT | FI_SELECTIVE_COMPLETION);

	if (!ret)
		ret = fi_ep_bind(ep, &lane->cq->fid, FI_RECV);
	return ret ? ret : fi_enable(ep);
}

int up_ofi_fabric_open(struct ofi_lane *lane)
{
	int ret = choose_provider(lane);

	if (ret)
		return ret;
	/* The addresses of its choice are for another use: connections choose their own way. */
	up_ofi_set_addr(&lane->info->src_addr, &lane->info->src_addrlen, NULL);
	up_ofi_set_addr(&lane->info->dest_addr, &lane->info->dest_addrlen, NULL);
	ret = lane->direct ? up_direct_fabric(lane)
			   : fi_fabric(lane->info->fabric_attr, &lane->fabric, lane);
	if (!ret)
		ret = fi_domain(lane->fabric, lane->info, &lane->domain, lane);
	if (!ret)
		ret = open_cq(lane);
	if (!ret)
		ret = lane->kind->open(lane);
	if (!ret)
		ret = up_ofi_wake_open(lane);
	lane->inject = lane->info->tx_attr->inject_size;
	lane->inject -= lane->inject < lane->head ? lane->inject : lane->head;
	if (lane->inject > OFI_INJECT_MAX)
		lane->inject = OFI_INJECT_MAX;
	if (ret)
		up_log(LOG_ERR, NULL, "ofi: provider %s: %s", lane->info->fabric_attr->prov_name,
		       fi_strerror(-ret));
	return ret;
}

void up_ofi_close_fid(struct fid *fid)
{
	int ret = fi_close(fid);

	if (ret)
		up_log(LOG_WARNING, NULL, "ofi: closing an object of libfabric's: %s",
		       fi_strerror(-ret));
}

void up_ofi_fabric_close(struct ofi_lane *lane)
{
	if (lane->cq)
		up_ofi_close_fid(&lane->cq->fid);
	if (lane->eq)
		up_ofi_close_fid(&lane->eq->fid);
	if (lane->domain)
		up_ofi_close_fid(&lane->domain->fid);
	if (lane->fabric)
		up_ofi_close_fid(&lane->fabric->fid);
	if (lane->info)
		fi_freeinfo(lane->info);
}
